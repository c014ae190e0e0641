//! How an image topic is read at this moment, as its publishers ask for.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use rustdds::policy::Reliability;
use rustdds::{DomainParticipant, Topic, TopicDescription};

use crate::ros2::transport::{Choice, ImageReliability, Why};

/// What is known of one image topic.
#[derive(Debug)]
pub(super) struct Images {
    wanted: ImageReliability,
    buffer_bytes: Option<u64>,
    choice: Mutex<Choice>,
    bytes_max: AtomicU64,
}

impl Images {
    /// A topic of which nobody is known yet.
    pub(super) fn new(wanted: ImageReliability, buffer_bytes: Option<u64>) -> Self {
        let choice = Mutex::new(Choice::of(wanted, buffer_bytes, &[]));
        Self { wanted, buffer_bytes, choice, bytes_max: AtomicU64::new(0) }
    }

    pub(super) fn choice(&self) -> Choice {
        *self.choice.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The largest image that has come, in bytes.
    pub(super) fn bytes_max(&self) -> u64 {
        self.bytes_max.load(Relaxed)
    }

    pub(super) fn came(&self, body_bytes: usize) {
        self.bytes_max.fetch_max(body_bytes as u64, Relaxed);
    }

    /// Chooses anew for the publishers that are there, if any is; says whether the choice calls for another reader.
    pub(super) fn choose(&self, participant: &DomainParticipant, topic: &Topic) -> bool {
        let before = self.choice();
        // Asking RustDDS is dear, and most nodes choose once.
        if matches!(before.why, Why::LargeBuffer) || self.wanted == ImageReliability::BestEffort {
            return false;
        }
        let (name, kind) = (topic.name(), topic.get_type());
        let discovered = participant.discovered_writers();
        let theirs = discovered.iter().map(|writer| &writer.publication_topic_data);
        let ours = theirs.filter(|data| data.topic_name == name && data.type_name == kind.name());
        // What a writer does not say is as the standard has it (DDS 1.4, 2.2.3): reliable.
        let offers: Vec<bool> = ours.map(|data| data.reliability != Some(Reliability::BestEffort)).collect();
        if offers.is_empty() {
            return false;
        }
        let choice = Choice::of(self.wanted, self.buffer_bytes, &offers);
        *self.choice.lock().unwrap_or_else(PoisonError::into_inner) = choice;
        choice.is_reliable != before.is_reliable
    }
}
