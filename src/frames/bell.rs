//! Wakes whoever waits for any of several listeners.
//!
//! Why not a condition variable alone: what comes between a look at the listeners and the wait would be missed. A bell that was rung
//! ends the next wait at once.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Rung by several, heard by one.
#[derive(Debug, Default)]
pub struct Bell {
    is_rung: Mutex<bool>,
    rings: Condvar,
}

impl Bell {
    /// Ends the wait, this one or the next.
    pub fn ring(&self) {
        *self.is_rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.rings.notify_all();
    }

    /// Waits until it is rung, or has been since the last wait, at most `timeout`.
    pub fn wait(&self, timeout: Duration) {
        let is_rung = self.is_rung.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.rings.wait_timeout_while(is_rung, timeout, |is_rung| !*is_rung);
        *waited.unwrap_or_else(PoisonError::into_inner).0 = false;
    }
}

#[cfg(test)]
#[test]
fn a_ring_before_the_wait_is_heard_once() {
    let bell = Bell::default();
    bell.ring();
    bell.ring();
    // It would wait for ever.
    bell.wait(Duration::MAX);
    assert!(!*bell.is_rung.lock().unwrap());
    std::thread::scope(|scope| {
        scope.spawn(|| bell.ring());
        bell.wait(Duration::MAX);
    });
}
