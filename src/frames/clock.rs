//! Two times at once: ROS time, which stamps bear, and steady time, which deadlines run on.
//!
//! ROS time may be the system's, a simulation's or a bag's, and may jump; steady time only grows. While a bag is played
//! as fast as possible both stand still between messages, so that nothing ever becomes too old.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A system's clock that gains or loses more than this between two moments was set anew.
const JUMP_NS_MIN: i64 = 100_000_000;

/// Both times, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// ROS time since its epoch.
    pub ros_ns: i64,
    /// Steady time since the clock was made.
    pub steady_ns: i64,
}

/// What a transport's time is.
#[derive(Debug)]
pub struct Clock {
    start: Instant,
    source: Source,
}

#[derive(Debug)]
enum Source {
    System,
    /// The last `/clock` message.
    Simulated(AtomicI64),
    /// A bag's time, which runs with the steady time from this offset on.
    Shifted(AtomicI64),
    /// A bag's time; steady time is the same.
    Stepped(AtomicI64),
}

impl Clock {
    /// The system's time.
    pub fn system() -> Self {
        Self::new(Source::System)
    }

    /// A simulation's time: zero until the first [`Clock::set`], and it stands still between two.
    pub fn simulated() -> Self {
        Self::new(Source::Simulated(AtomicI64::new(0)))
    }

    /// A time that runs at the steady rate once [`Clock::set`] has said where it is.
    pub fn shifted() -> Self {
        Self::new(Source::Shifted(AtomicI64::new(0)))
    }

    /// A time that moves by [`Clock::set`] alone, steady time included.
    pub fn stepped() -> Self {
        Self::new(Source::Stepped(AtomicI64::new(0)))
    }

    fn new(source: Source) -> Self {
        Self { start: Instant::now(), source }
    }

    /// Says that ROS time is `ros_ns` now. The system's time is not ours to set, so that this does nothing to it.
    pub fn set(&self, ros_ns: i64) {
        match &self.source {
            Source::System => {}
            Source::Simulated(now) | Source::Stepped(now) => now.store(ros_ns, Relaxed),
            Source::Shifted(offset) => offset.store(ros_ns.saturating_sub(self.steady_ns()), Relaxed),
        }
    }

    /// Now.
    pub fn now(&self) -> Moment {
        let steady_ns = self.steady_ns();
        match &self.source {
            Source::System => Moment { ros_ns: system_ns(), steady_ns },
            Source::Simulated(now) => Moment { ros_ns: now.load(Relaxed), steady_ns },
            Source::Shifted(offset) => {
                Moment { ros_ns: offset.load(Relaxed).saturating_add(steady_ns), steady_ns }
            }
            Source::Stepped(now) => Moment { ros_ns: now.load(Relaxed), steady_ns: now.load(Relaxed) },
        }
    }

    /// Nanoseconds of ROS time from one moment to a later one, or `None` if it jumped between them.
    pub fn elapsed_ns(&self, since: Moment, until: Moment) -> Option<i64> {
        let ros_ns = until.ros_ns.saturating_sub(since.ros_ns);
        let steady_ns = until.steady_ns.saturating_sub(since.steady_ns);
        let is_plain = match self.source {
            Source::System | Source::Shifted(_) => {
                ros_ns.saturating_sub(steady_ns).saturating_abs() <= JUMP_NS_MIN
            }
            // A simulation has its own pace, but does not go back.
            Source::Simulated(_) | Source::Stepped(_) => 0 <= ros_ns,
        };
        is_plain.then_some(ros_ns)
    }

    /// Whether deadlines pass while nothing happens; false for a bag that is played as fast as possible.
    pub fn runs(&self) -> bool {
        !matches!(self.source, Source::Stepped(_))
    }

    fn steady_ns(&self) -> i64 {
        i64::try_from(self.start.elapsed().as_nanos()).unwrap_or(i64::MAX)
    }
}

fn system_ns() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stepped_clock_stands_still() {
        let clock = Clock::stepped();
        clock.set(5);
        assert_eq!((clock.now(), clock.runs()), (Moment { ros_ns: 5, steady_ns: 5 }, false));
        assert_eq!(clock.now(), clock.now());
    }

    #[test]
    fn a_shifted_clock_runs_on_from_where_it_was_set() {
        let clock = Clock::shifted();
        clock.set(1_000_000_000_000);
        let (first, second) = (clock.now(), clock.now());
        assert!(1_000_000_000_000 <= first.ros_ns && first.ros_ns <= second.ros_ns);
        assert_eq!(second.ros_ns - first.ros_ns, second.steady_ns - first.steady_ns);
    }

    #[test]
    fn time_that_jumped_has_no_length() {
        let moment = |ros_ms: i64, steady_ms: i64| Moment {
            ros_ns: ros_ms * 1_000_000,
            steady_ns: steady_ms * 1_000_000,
        };
        let elapsed_ms = |clock: &Clock, ros_ms: i64, steady_ms: i64| {
            clock.elapsed_ns(moment(5000, 70), moment(5000 + ros_ms, 70 + steady_ms)).map(|ns| ns / 1_000_000)
        };
        for clock in [Clock::system(), Clock::shifted()] {
            assert_eq!(elapsed_ms(&clock, 300, 290), Some(300));
            assert_eq!(elapsed_ms(&clock, 3_600_300, 300), None);
            assert_eq!(elapsed_ms(&clock, -3_599_700, 300), None);
        }
        let simulated = Clock::simulated();
        assert_eq!([0, 30, 3000].map(|ms| elapsed_ms(&simulated, ms, 300)), [Some(0), Some(30), Some(3000)]);
        assert_eq!(elapsed_ms(&simulated, -1, 300), None);
        assert_eq!(Clock::system().elapsed_ns(moment(-9_000_000_000, 0), moment(9_000_000_000, 0)), None);
    }

    #[test]
    fn the_system_clock_is_not_set() {
        let clock = Clock::system();
        clock.set(0);
        assert!(1_600_000_000_000_000_000 < clock.now().ros_ns);
    }
}
