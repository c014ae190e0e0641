//! What the asking thread writes down for the reporting thread and for the end.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::answer::Published;
use crate::ros2::accounts::{Accounts, DropReason};
use crate::ros2::clock::Moment;

/// Latencies that are kept for percentiles; the oldest give way.
const KEPT_LATENCIES: usize = 4096;

/// Figures about answers.
#[derive(Debug)]
pub(super) struct Board {
    notes: Mutex<Notes>,
}

#[derive(Debug, Clone)]
pub(super) struct Notes {
    pub(super) started: Moment,
    pub(super) answers: u64,
    pub(super) last_answer_steady_ns: Option<i64>,
    pub(super) last: Option<(f64, f64)>,
    pub(super) failure: Option<String>,
    pub(super) stamps_suspect: u64,
    pub(super) unpublished: u64,
    ages_ms: Vec<f64>,
    camera_to_answer_ms: Vec<f64>,
    rejected: [u64; DropReason::ALL.len()],
}

/// What a node did from its start to its end.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// Every frame's whereabouts.
    pub accounts: Accounts,
    /// Answers published.
    pub answers: u64,
    /// Answers whose frame bore an impossible stamp.
    pub stamps_suspect: u64,
    /// Messages that could not be published.
    pub unpublished: u64,
    /// Ages of answers when published, in milliseconds, in the order of publishing; the last few thousand.
    pub ages_ms: Vec<f64>,
    /// From the arrival of a frame to its answer, likewise.
    pub camera_to_answer_ms: Vec<f64>,
}

impl Board {
    pub(super) fn new(started: Moment) -> Self {
        let notes = Notes {
            started,
            answers: 0,
            last_answer_steady_ns: None,
            last: None,
            failure: None,
            stamps_suspect: 0,
            unpublished: 0,
            ages_ms: Vec::with_capacity(KEPT_LATENCIES),
            camera_to_answer_ms: Vec::with_capacity(KEPT_LATENCIES),
            rejected: [0; DropReason::ALL.len()],
        };
        Self { notes: Mutex::new(notes) }
    }

    pub(super) fn answered(&self, published: &Published, now: Moment) {
        let mut notes = self.lock();
        let slot = (notes.answers % KEPT_LATENCIES as u64) as usize;
        keep(&mut notes.ages_ms, slot, published.age_ms);
        keep(&mut notes.camera_to_answer_ms, slot, published.camera_to_answer_ms);
        notes.answers += 1;
        notes.last = Some((published.age_ms, published.answer_ms));
        notes.last_answer_steady_ns = Some(now.steady_ns);
        notes.failure = None;
        notes.stamps_suspect += u64::from(published.stamp_suspect);
        notes.unpublished += published.unpublished;
    }

    pub(super) fn failed(&self, message: String) {
        let mut notes = self.lock();
        if notes.failure.as_ref() != Some(&message) {
            log::error!("no answer: {message}");
            notes.failure = Some(message);
        }
    }

    /// Whether a rejection is worth a line: the first, second, fourth, eighth … of its kind.
    pub(super) fn is_news(&self, reason: DropReason) -> bool {
        let count = &mut self.lock().rejected[reason as usize];
        *count += 1;
        count.is_power_of_two()
    }

    /// Lets `read` look at the notes.
    pub(super) fn read<T>(&self, read: impl FnOnce(&Notes) -> T) -> T {
        read(&self.lock())
    }

    pub(super) fn summary(&self, accounts: Accounts) -> Summary {
        let Notes { answers, stamps_suspect, unpublished, ages_ms, camera_to_answer_ms, .. } =
            self.lock().clone();
        Summary { accounts, answers, stamps_suspect, unpublished, ages_ms, camera_to_answer_ms }
    }

    fn lock(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn keep(kept: &mut Vec<f64>, slot: usize, value: f64) {
    match kept.get_mut(slot) {
        Some(old) => *old = value,
        None => kept.push(value),
    }
}
