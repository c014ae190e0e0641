//! One request on its way: what is asked, and the way back to whoever asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use super::kind::Kind;

/// Of a reason, which may repeat a stranger's text.
const ERROR_CHARS_MAX: usize = 500;

/// How a request ended.
pub(in crate::ros2) enum Ending<K: Kind> {
    /// With what was asked for.
    Served(Box<K::Reply>),
    /// Because whoever asked wanted no more; as far as it went.
    Canceled(Box<K::Reply>),
    /// Without it, or with a part of it that did not end, and why.
    Failed(Box<K::Reply>, String),
}

impl<K: Kind> Ending<K> {
    /// Without any part of it.
    pub(in crate::ros2) fn failed(why: impl Into<String>) -> Self {
        Self::Failed(Box::default(), why.into())
    }

    /// As it is told.
    pub(super) fn into_reply(self) -> K::Reply {
        let (mut reply, why, is_canceled) = match self {
            Self::Served(reply) => return *reply,
            Self::Canceled(reply) => (reply, "canceled".to_owned(), true),
            Self::Failed(reply, why) => (reply, why.chars().take(ERROR_CHARS_MAX).collect(), false),
        };
        K::give_reason(&mut reply, why, is_canceled);
        *reply
    }
}

/// The way back to whoever asked.
pub(super) trait Asker<K: Kind>: Send {
    /// What is told of the way of asking.
    fn because(&self) -> &'static str;

    /// It is its turn.
    fn begun(&mut self) {}

    /// A piece of the answer is there.
    fn said(&mut self, piece: &str) {
        let _ = piece;
    }

    /// It has ended.
    fn ended(self: Box<Self>, ending: Ending<K>);
}

/// How many requests ended in which way.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) served: AtomicU64,
    pub(super) failed: AtomicU64,
}

/// A request. It ends once: with what is said of it, or, where it is dropped, with that nobody serves it.
pub(in crate::ros2) struct Ticket<K: Kind> {
    request: K,
    give_up: Arc<AtomicBool>,
    tally: Arc<Tally>,
    asker: Option<Box<dyn Asker<K>>>,
}

impl<K: Kind> Ticket<K> {
    pub(super) fn new(
        request: K,
        asker: Box<dyn Asker<K>>,
        give_up: Arc<AtomicBool>,
        tally: Arc<Tally>,
    ) -> Self {
        Self { request, give_up, tally, asker: Some(asker) }
    }

    /// What is asked.
    pub(in crate::ros2) fn request(&self) -> &K {
        &self.request
    }

    /// What is told of the way in which it was asked.
    pub(in crate::ros2) fn because(&self) -> &'static str {
        self.asker.as_ref().map_or("", |asker| asker.because())
    }

    /// Set when whoever asked wants no more.
    pub(in crate::ros2) fn give_up(&self) -> &Arc<AtomicBool> {
        &self.give_up
    }

    /// Whether it is set.
    pub(in crate::ros2) fn is_given_up(&self) -> bool {
        self.give_up.load(Relaxed)
    }

    /// Says that it is its turn now.
    pub(in crate::ros2) fn begin(&mut self) {
        self.asker.iter_mut().for_each(|asker| asker.begun());
    }

    /// Passes a piece of the answer on.
    pub(in crate::ros2) fn say(&mut self, piece: &str) {
        self.asker.iter_mut().for_each(|asker| asker.said(piece));
    }

    /// Ends it.
    pub(in crate::ros2) fn end(mut self, ending: Ending<K>) {
        self.close(ending);
    }

    fn close(&mut self, ending: Ending<K>) {
        let Some(asker) = self.asker.take() else { return };
        match &ending {
            Ending::Served(_) => {
                self.tally.served.fetch_add(1, Relaxed);
            }
            Ending::Canceled(_) => {}
            Ending::Failed(_, why) => {
                let failed = self.tally.failed.fetch_add(1, Relaxed) + 1;
                // At powers of two: who asks again and again must not fill the log.
                if failed.is_power_of_two() {
                    let why: String = why.chars().take(ERROR_CHARS_MAX).collect();
                    log::warn!("{} ({failed} so far): {why:?}", K::UNSERVED);
                }
            }
        }
        asker.ended(ending);
    }
}

impl<K: Kind> Drop for Ticket<K> {
    fn drop(&mut self) {
        self.close(Ending::failed("the node has stopped answering"));
    }
}
