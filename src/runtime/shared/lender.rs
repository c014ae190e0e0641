//! One thing that several want, lent to one at a time.
//!
//! Why not a mutex alone: who waits for it has a deadline and may be told to leave, and a mutex waits for as long as the other needs,
//! which for an engine is a whole answer.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use crate::backend::{Run, RunError};
use crate::graph::BufferId;

/// How often who waits looks at its stop flag, which wakes nobody.
const LOOK: Duration = Duration::from_millis(2);

/// When work gives up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits<'a> {
    /// Once this moment has passed.
    pub deadline: Option<Instant>,
    /// Once this is set.
    pub stop: Option<&'a AtomicBool>,
}

impl<'a> Limits<'a> {
    /// Whether work may go on.
    ///
    /// # Errors
    /// [`RunError::Stopped`] or [`RunError::Deadline`].
    pub fn check(self) -> Result<(), RunError> {
        if self.stop.is_some_and(|stop| stop.load(Relaxed)) {
            Err(RunError::Stopped)
        } else if self.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            Err(RunError::Deadline)
        } else {
            Ok(())
        }
    }

    pub(in crate::runtime) fn run(self, extents: &'a [usize], windows: &'a [(BufferId, usize)]) -> Run<'a> {
        Run { extents, windows, deadline: self.deadline, stop: self.stop }
    }
}

/// Lends what it holds to one at a time.
#[derive(Debug)]
pub struct Lender<T> {
    held: Mutex<T>,
    /// Held by who waits, from its failed try to its sleep, and by who gives back, so that no return is missed.
    queue: Mutex<()>,
    returned: Condvar,
}

impl<T> Lender<T> {
    /// Holds `held`, which nobody has yet.
    pub fn new(held: T) -> Self {
        Self { held: Mutex::new(held), queue: Mutex::new(()), returned: Condvar::new() }
    }

    /// Takes it, once whoever has it gives it back; at once, whatever the limits, if nobody has it. Allocates nothing.
    ///
    /// # Errors
    /// [`RunError::Deadline`] or [`RunError::Stopped`], when the limits come first.
    pub fn take(&self, limits: Limits<'_>) -> Result<Loan<'_, T>, RunError> {
        let mut queue: Option<MutexGuard<'_, ()>> = None;
        loop {
            match self.held.try_lock() {
                Ok(guard) => return Ok(Loan { lender: self, guard: Some(guard) }),
                // Whoever panicked with it left its counts as good as they were: they count when a run has ended.
                Err(TryLockError::Poisoned(poisoned)) => {
                    return Ok(Loan { lender: self, guard: Some(poisoned.into_inner()) });
                }
                Err(TryLockError::WouldBlock) => limits.check()?,
            }
            queue = Some(match queue.take() {
                // A second try with the queue held: from here on a return is not missed.
                None => self.queue.lock().unwrap_or_else(PoisonError::into_inner),
                Some(waiting) => {
                    let left = limits.deadline.map(|d| d.saturating_duration_since(Instant::now()));
                    let patience = left.map_or(LOOK, |left| left.min(LOOK));
                    self.returned.wait_timeout(waiting, patience).unwrap_or_else(PoisonError::into_inner).0
                }
            });
        }
    }
}

/// What was taken; given back when it is dropped.
#[derive(Debug)]
pub struct Loan<'a, T> {
    lender: &'a Lender<T>,
    /// There until it is dropped.
    guard: Option<MutexGuard<'a, T>>,
}

impl<T> Deref for Loan<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.guard.as_ref().expect("there until it is dropped")
    }
}

impl<T> DerefMut for Loan<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.guard.as_mut().expect("there until it is dropped")
    }
}

impl<T> Drop for Loan<'_, T> {
    fn drop(&mut self) {
        self.guard = None;
        drop(self.lender.queue.lock().unwrap_or_else(PoisonError::into_inner));
        self.lender.returned.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn who_waits_gives_up_by_its_own_limits_and_not_by_the_other() {
        let lender = Lender::new(1);
        let loan = lender.take(Limits::default()).expect("nobody has it");
        let deadline = Some(Instant::now() + Duration::from_millis(5));
        let late = lender.take(Limits { deadline, stop: None }).map(|loan| *loan);
        assert_eq!(late, Err(RunError::Deadline));
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let waiting =
                scope.spawn(|| lender.take(Limits { deadline: None, stop: Some(&stop) }).map(|loan| *loan));
            stop.store(true, Relaxed);
            assert_eq!(waiting.join().expect("no panic"), Err(RunError::Stopped));
        });
        drop(loan);
        // What nobody has is lent whatever the limits: the run that follows looks at them itself.
        assert_eq!(lender.take(Limits { deadline, stop: Some(&stop) }).map(|loan| *loan), Ok(1));
    }

    #[test]
    fn every_waiter_has_its_turn_and_one_at_a_time() {
        let lender = Lender::new((0u64, false));
        let (told, heard) = mpsc::channel();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let (lender, told) = (&lender, told.clone());
                scope.spawn(move || {
                    for _ in 0..500 {
                        let mut loan = lender.take(Limits::default()).expect("no limits");
                        assert!(!std::mem::replace(&mut loan.1, true), "two have it");
                        loan.0 += 1;
                        loan.1 = false;
                    }
                    told.send(()).expect("heard");
                });
            }
            for _ in 0..4 {
                heard.recv_timeout(Duration::from_secs(60)).expect("nobody waits for ever");
            }
        });
        assert_eq!(lender.take(Limits::default()).expect("free").0, 2000);
    }

    #[test]
    fn a_panic_gives_it_back() {
        let lender = Lender::new(7);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _loan = lender.take(Limits::default()).expect("free");
            panic!("on purpose");
        }));
        assert!(panicked.is_err());
        assert_eq!(*lender.take(Limits::default()).expect("given back"), 7);
    }
}
