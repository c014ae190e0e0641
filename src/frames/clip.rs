//! Which of a camera's frames are the frames of a clip.
//!
//! A clip has a rate, and a camera another. Frames are taken by their stamps on a grid that begins with the clip; a gap, a
//! change of size, or a stamp that runs backwards ends it.

use crate::frames::frame::Frame;

const NANOSECONDS_PER_SECOND: f64 = 1e9;

/// The grid of the clip that forms.
#[derive(Debug)]
pub(super) struct Sampling {
    period_ns: i64,
    /// Whether a clip with a frame missing is none: a forecast counts frames as if they were time.
    is_strict: bool,
    /// The stamp from which the next frame belongs to the clip.
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
    pub(super) fn step(&mut self, last: Option<&Frame>, frame: &Frame) -> Step {
        let stamp_ns = frame.stamp_ns;
        if let Some(last) = last.filter(|last| !self.is_broken(last, frame)) {
            if stamp_ns.saturating_add(self.early_ns()) < self.due_ns {
                return Step::OffRate;
            }
            debug_assert!(last.stamp_ns <= stamp_ns);
            // The grid stays where the clip began, so that a camera's jitter does not add up.
            let due_ns = self.due_ns.saturating_add(self.period_ns);
            self.due_ns = due_ns.max(stamp_ns.saturating_add(self.period_ns / 2));
            return Step::Joins;
        }
        self.due_ns = stamp_ns.saturating_add(self.period_ns);
        Step::Begins
    }

    fn is_broken(&self, last: &Frame, frame: &Frame) -> bool {
        let latest_ns = if self.is_strict {
            self.due_ns.saturating_add(3 * self.period_ns / 4)
        } else {
            last.stamp_ns.saturating_add(5 * self.period_ns / 2)
        };
        frame.stamp_ns < last.stamp_ns || latest_ns < frame.stamp_ns || last.size() != frame.size()
    }

    /// How early a frame may be. With a forecast the nearest frame to each moment is taken, so that a camera that is as fast
    /// as the clip, or faster, always has one that fits.
    fn early_ns(&self) -> i64 {
        if self.is_strict { self.period_ns / 4 } else { self.period_ns / 16 }
    }
}
