//! How often something is done for viewers, however many they are and however often they ask.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Changes within a [`SPAN`] at most.
const CHANGES: usize = 5;
const SPAN: Duration = Duration::from_secs(1);
/// How long what was made is good for everyone who asks, if nothing happened meanwhile that is to be seen at once.
const FRESH: Duration = Duration::from_millis(50);

/// Lets so many changes through, and no more.
#[derive(Default)]
pub(super) struct Pace {
    /// The last changes, the one after `at` first.
    changes: [Option<Instant>; CHANGES],
    at: usize,
}

impl Pace {
    /// Whether there may be a change now, which is counted then.
    pub(super) fn allows(&mut self, now: Instant) -> bool {
        let first = &mut self.changes[self.at];
        if first.is_some_and(|first| now < first + SPAN) {
            return false;
        }
        *first = Some(now);
        self.at = (self.at + 1) % CHANGES;
        true
    }
}

/// Bytes that are made for all who ask within a while.
#[derive(Default)]
pub(super) struct Shared(Mutex<Option<Made>>);

struct Made {
    began: Instant,
    version: u64,
    bytes: Arc<[u8]>,
}

impl Shared {
    /// What was made of this version a moment ago; otherwise it is made now, by one viewer while the others wait for it.
    pub(super) fn get(&self, version: u64, make: impl FnOnce() -> Vec<u8>) -> Arc<[u8]> {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*made {
            Some(made) if made.version == version && made.began.elapsed() < FRESH => Arc::clone(&made.bytes),
            _ => {
                let (began, bytes) = (Instant::now(), Arc::from(make()));
                *made = Some(Made { began, version, bytes: Arc::clone(&bytes) });
                bytes
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_few_in_any_second() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        let allowed: Vec<u64> =
            (0..3000).step_by(10).filter(|ms| pace.allows(start + Duration::from_millis(*ms))).collect();
        let expected: Vec<u64> =
            [0, 1000, 2000].iter().flat_map(|s| (0..5).map(move |i| s + 10 * i)).collect();
        assert_eq!(allowed, expected);
    }

    #[test]
    fn what_happened_is_seen_at_once() {
        let shared = Shared::default();
        let of = |version: u64| shared.get(version, || version.to_string().into_bytes());
        assert_eq!((&*of(1), &*of(2)), (&b"1"[..], &b"2"[..]));
        let is_made = std::cell::Cell::new(0);
        let deadline = Instant::now() + Duration::from_secs(60);
        while is_made.get() < 2 && Instant::now() < deadline {
            shared.get(3, || {
                is_made.set(is_made.get() + 1);
                Vec::new()
            });
        }
        assert_eq!(is_made.get(), 2, "and in time without anything that happened");
    }
}
