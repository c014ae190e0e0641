//! Which of a camera's frames are the frames of a clip.
//!
//! A clip has a rate, and a camera another. Frames are taken by when they were seen on a grid that begins with the clip; a gap,
//! a change of size, time that runs backwards or is told by another clock ends it.

use crate::frames::frame::Received;

const NANOSECONDS_PER_SECOND: f64 = 1e9;

/// The grid of the clip that forms.
#[derive(Debug)]
pub(super) struct Sampling {
    period_ns: i64,
    /// Whether a clip with a frame missing is none: a forecast counts frames as if they were time.
    is_strict: bool,
    /// The time from which the next frame belongs to the clip.
    due_ns: i64,
}

/// What a frame is to the clip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Its next frame.
    Joins,
    /// The first of a new one.
    Begins,
    /// Neither: it lies between two sampling times.
    OffRate,
}

impl Sampling {
    /// Clips of `rate_hz` frames a second.
    pub(super) fn new(rate_hz: f64, is_strict: bool) -> Self {
        Self { period_ns: (NANOSECONDS_PER_SECOND / rate_hz) as i64, is_strict, due_ns: 0 }
    }

    /// Says what `frame` is to the clip whose newest frame is `last`.
    pub(super) fn step(&mut self, last: Option<&Received>, frame: &Received) -> Step {
        let seen_ns = frame.seen_ns;
        if let Some(last) = last.filter(|last| !self.is_broken(last, frame)) {
            if seen_ns.saturating_add(self.early_ns()) < self.due_ns {
                return Step::OffRate;
            }
            debug_assert!(last.seen_ns <= seen_ns);
            // The grid stays where the clip began, so that a camera's jitter does not add up.
            let due_ns = self.due_ns.saturating_add(self.period_ns);
            self.due_ns = due_ns.max(seen_ns.saturating_add(self.period_ns / 2));
            return Step::Joins;
        }
        self.due_ns = seen_ns.saturating_add(self.period_ns);
        Step::Begins
    }

    fn is_broken(&self, last: &Received, frame: &Received) -> bool {
        let latest_ns = if self.is_strict {
            self.due_ns.saturating_add(3 * self.period_ns / 4)
        } else {
            last.seen_ns.saturating_add(5 * self.period_ns / 2)
        };
        frame.seen_ns < last.seen_ns
            || latest_ns < frame.seen_ns
            || last.timed_by != frame.timed_by
            || last.frame.size() != frame.frame.size()
    }

    /// How early a frame may be. With a forecast the nearest frame to each moment is taken, so that a camera that is as fast
    /// as the clip, or faster, always has one that fits.
    fn early_ns(&self) -> i64 {
        if self.is_strict { self.period_ns / 4 } else { self.period_ns / 16 }
    }
}
