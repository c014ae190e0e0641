//! The receiving thread: takes samples for all readers, sleeps while there are none, and reads image topics as their
//! publishers ask for.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

use rustdds::dds::CreateResult;
use rustdds::{DomainParticipant, QosPolicies, Topic};

use super::entities::Entities;
use super::greeting::Greeting;
use super::image_readers::Images;
use super::reader::{Reader, Sink};

/// Samples of one reader that are taken before the next reader has its turn.
const SAMPLES_PER_TURN: usize = 32;
/// The longest sleep, and how often publishers are looked at although none is said to have come or gone.
const NAP: Duration = Duration::from_secs(1);

/// What the thread shares with who subscribes.
pub(super) struct Receiving {
    participant: DomainParticipant,
    subscriber: rustdds::Subscriber,
    entities: Entities,
    /// Readers that the thread has not taken over yet.
    arriving: Mutex<Vec<Reader>>,
    stop: AtomicBool,
}

impl Receiving {
    pub(super) fn new(
        participant: DomainParticipant,
        subscriber: rustdds::Subscriber,
        entities: Entities,
    ) -> Self {
        let (arriving, stop) = Default::default();
        Self { participant, subscriber, entities, arriving, stop }
    }

    pub(super) fn start(self: &Arc<Self>, greeting: Greeting) -> io::Result<JoinHandle<()>> {
        let receiving = Arc::clone(self);
        std::thread::Builder::new().name("ros2-receive".into()).spawn(move || receiving.receive(greeting))
    }

    /// The thread ends soon after, at the latest when it is woken.
    pub(super) fn stop(&self) {
        self.stop.store(true, Relaxed);
    }

    pub(super) fn entities(&self) -> &Entities {
        &self.entities
    }

    /// Reads a topic. `images` is given where it is one of images.
    pub(super) fn add(
        &self,
        topic: Topic,
        qos: &QosPolicies,
        sink: Sink,
        images: Option<Arc<Images>>,
    ) -> CreateResult<()> {
        let reader = Reader::new(&self.subscriber, topic, qos, sink, images)?;
        self.entities.add_reader(reader.guid());
        self.arriving.lock().unwrap_or_else(PoisonError::into_inner).push(reader);
        Ok(())
    }

    /// Takes what there is, then sleeps until a reader has something.
    fn receive(&self, mut greeting: Greeting) {
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut readers: Vec<Reader> = Vec::new();
        let mut looked = Instant::now();
        while !self.stop.load(Relaxed) {
            let mut is_news = greeting.greet(&waker);
            let mut arriving = self.arriving.lock().unwrap_or_else(PoisonError::into_inner);
            is_news |= !arriving.is_empty() || NAP <= looked.elapsed();
            readers.append(&mut arriving);
            drop(arriving);
            if is_news {
                for reader in &mut readers {
                    reader.suit_publishers(&self.participant, &self.subscriber, &self.entities);
                }
                looked = Instant::now();
            }
            let mut is_drained = true;
            for reader in &mut readers {
                // Before looking: what comes between the look and the sleep must wake us.
                reader.arm(&waker);
                is_drained &= reader.take_up_to(SAMPLES_PER_TURN, &self.participant);
                reader.retire();
            }
            if is_drained {
                // The timeout is a net: nothing is known to be missed.
                let greeting = greeting.due().map(|due| due.saturating_duration_since(Instant::now()));
                let due = readers.iter().filter_map(Reader::due).chain(greeting).min();
                std::thread::park_timeout(due.map_or(NAP, |due| due.min(NAP)));
            }
        }
    }
}

/// Wakes a thread that parks.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
