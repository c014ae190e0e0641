//! Which of our reliable writers have published nothing yet.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use rustdds::GUID;

/// The writers of a participant that have nothing to repeat.
#[derive(Debug, Default)]
pub(super) struct Silent(Mutex<HashSet<GUID>>);

impl Silent {
    pub(super) fn add(&self, writer: GUID) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(writer);
    }

    /// It publishes, or is gone.
    pub(super) fn remove(&self, writer: GUID) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&writer);
    }

    pub(super) fn has(&self, writer: GUID) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&writer)
    }
}
