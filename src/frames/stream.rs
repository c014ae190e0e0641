//! What the stream of a camera's frames is like: its rate, and whether one camera alone sends it.
//!
//! A topic may have two publishers, whose frames then come mixed, and a camera may change its mind about the size of its
//! images. Neither shows in one frame: the last few dozen are remembered. One change is a restart; mixed is what
//! changes to and fro.

use crate::frames::frame::Frame;
use crate::frames::short_string::ShortString;
use crate::frames::stamps::Timing;

/// Frames that are remembered.
const WINDOW: usize = 32;
/// Frames from which a rate is told.
const FRAMES_MIN: usize = 8;
/// So many changes among them are to and fro.
const CHANGES_MIN: usize = 4;
/// A step this many times the usual one is a gap, and not the camera's rate.
const GAP_FACTOR: i64 = 4;

/// What is known of a stream at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StreamReport {
    /// Frames a second, gaps left out; `None` until enough have come.
    pub rate_hz: Option<f64>,
    /// What is mixed in it.
    pub mixed: Mixed,
}

/// What comes to and fro in a stream, each with its frames a second; empty where all is one.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Mixed {
    /// Publishers, by their frames a second alone.
    pub publishers_hz: Vec<f64>,
    /// Coordinate frames.
    pub frame_ids: Vec<(String, f64)>,
    /// Width and height.
    pub sizes: Vec<((u32, u32), f64)>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    at_ns: i64,
    /// Who sent it; 0 is not known.
    publisher: u128,
    frame_id: ShortString<255>,
    size: Option<(u32, u32)>,
}

/// Remembers the last frames of a camera.
#[derive(Debug)]
pub(super) struct Stream {
    window: [Seen; WINDOW],
    n_frames: usize,
}

impl Stream {
    pub(super) fn new() -> Self {
        Self { window: [Seen::default(); WINDOW], n_frames: 0 }
    }

    pub(super) fn saw(&mut self, frame: &Frame, timing: Timing, publisher: u128) {
        let (at_ns, frame_id, size) = (timing.seen_ns, frame.frame_id, frame.size());
        self.window[self.n_frames % WINDOW] = Seen { at_ns, publisher, frame_id, size };
        self.n_frames += 1;
    }

    pub(super) fn report(&self) -> StreamReport {
        let Some(rate_hz) = self.rate_hz() else { return StreamReport::default() };
        let of = |n: usize| n as f64 / self.len() as f64 * rate_hz;
        let publishers = self.mixed(|seen| (seen.publisher != 0).then_some(seen.publisher));
        let frame_ids = self.mixed(|seen| Some(seen.frame_id));
        let sizes = self.mixed(|seen| seen.size);
        let mixed = Mixed {
            publishers_hz: publishers.into_iter().map(|(_, n)| of(n)).collect(),
            frame_ids: frame_ids.into_iter().map(|(id, n)| (id.as_str().to_owned(), of(n))).collect(),
            sizes: sizes.into_iter().map(|(size, n)| (size, of(n))).collect(),
        };
        StreamReport { rate_hz: Some(rate_hz), mixed }
    }

    fn len(&self) -> usize {
        self.n_frames.min(WINDOW)
    }

    /// Oldest first.
    fn frames(&self) -> impl Iterator<Item = &Seen> {
        (self.n_frames - self.len()..self.n_frames).map(|i| &self.window[i % WINDOW])
    }

    fn rate_hz(&self) -> Option<f64> {
        if self.len() < FRAMES_MIN {
            return None;
        }
        let mut steps_ns = [0; WINDOW];
        let later = self.frames().skip(1);
        let steps = self.frames().zip(later).map(|(one, next)| next.at_ns.saturating_sub(one.at_ns));
        let mut n = 0;
        // Where time jumped there is no step.
        for step in steps.filter(|step| 0 <= *step) {
            steps_ns[n] = step;
            n += 1;
        }
        let steps_ns = &mut steps_ns[..n];
        steps_ns.sort_unstable();
        let usual = *steps_ns.get(n / 2)?;
        let regular = steps_ns.iter().filter(|step| **step <= usual.saturating_mul(GAP_FACTOR));
        let (n, sum_ns) = regular.fold((0, 0.0), |(n, sum), step| (n + 1, sum + *step as f64));
        (0.0 < sum_ns).then(|| f64::from(n) / sum_ns * 1e9)
    }

    /// The values that change to and fro, with how many frames bear each; none where they do not.
    fn mixed<T: Copy + PartialEq>(&self, value: impl Fn(&Seen) -> Option<T>) -> Vec<(T, usize)> {
        let (mut counts, mut before, mut n_changes): (Vec<(T, usize)>, _, _) = (Vec::new(), None, 0);
        for value in self.frames().filter_map(value) {
            n_changes += usize::from(before.is_some_and(|before| before != value));
            before = Some(value);
            match counts.iter_mut().find(|(known, _)| *known == value) {
                Some((_, n)) => *n += 1,
                None => counts.push((value, 1)),
            }
        }
        // One that differs from frame to frame, such as a name with a number in it, is no second camera.
        counts.retain(|(_, n)| 2 <= *n);
        if CHANGES_MIN <= n_changes && 2 <= counts.len() { counts } else { Vec::new() }
    }
}
