//! Whether a camera's stamps can be right, judged frame by frame against the clock by which frames are received.
//!
//! One frame alone shows only whether its stamp lies where a camera's can. What follows shows more: stamps that stand still
//! or move in steps of seconds, stamps that run backwards, a clock that is off. Such a fault stands once several frames
//! bear it, and until nearly none does, so that a single bad stamp, a bag that starts over or a clock that is set changes
//! nothing for long. While it stands, frames are timed by their receipt.
//!
//! Why receipt and not a corrected stamp: what is wrong with a clock is not known to be constant, and receipt is off by no
//! more than the way here.

use crate::frames::clock::Moment;

/// Clocks of two machines that are kept in step differ by less than this.
const AHEAD_NS_MAX: i64 = 100_000_000;
/// No camera pipeline holds a frame for this long beyond `max_age`: then the stamp is wrong, not the frame old.
const BEHIND_NS_MAX: i64 = 10_000_000_000;
/// Frames that lie closer together are not apart by their receipt, or by their stamps.
const APART_NS_MIN: i64 = 2_000_000;
/// A stamp stands still if it moves this much less than the time from receipt to receipt.
const STILL_FACTOR: i64 = 8;

/// Frames that are remembered.
const WINDOW: usize = 16;
/// Frames before a fault can stand.
const FRAMES_MIN: usize = 5;
/// A fault stands from so many frames of the window on …
const STANDS: usize = 4;
/// … and until there are fewer than so many.
const REMAINS: usize = 2;

/// By what it is known when a frame was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimedBy {
    /// By its stamp, or at least how it lies to its neighbours.
    Stamp,
    /// By its receipt, since its stamp cannot be right.
    Receipt,
    /// By nothing: its stamp cannot be right, and frames come in heaps. No clip can be formed.
    Nothing,
}

impl TimedBy {
    /// As reports write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stamp => "stamp",
            Self::Receipt => "receipt",
            Self::Nothing => "nothing",
        }
    }
}

/// What is wrong with the stamps of several frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StampFault {
    /// They are zero: nobody fills them in.
    Zero,
    /// They stand still while frames come, or move in coarse steps.
    Still,
    /// They run backwards, again and again.
    Backwards,
    /// They lie in the future.
    Ahead,
    /// They lie so far in the past that no frame is that old.
    Behind,
    /// Frames are older than `max_age` when they come, or so it seems. These stamps are believed: a frame is rather too old
    /// than a clock wrong.
    Late,
}

/// What is known of a camera's stamps at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StampReport {
    /// What is wrong with them.
    pub fault: Option<StampFault>,
    /// By what the last frame was timed.
    pub timed_by: TimedBy,
    /// From the last frame's stamp to its receipt, in nanoseconds of ROS time.
    pub way_ns: i64,
}

/// When a frame was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Timing {
    /// ROS time: the stamp, or what takes its place.
    pub(super) seen_ns: i64,
    pub(super) timed_by: TimedBy,
    /// Whether the stamp cannot be right.
    pub(super) is_suspect: bool,
}

/// What a frame's stamp shows beside the one before it: bits of a window's entry.
type Signs = u8;
const STILL: Signs = 1;
const BACKWARDS: Signs = 2;
const AHEAD: Signs = 4;
const BEHIND: Signs = 8;
const LATE: Signs = 16;
/// That it came apart from the one before it.
const APART: Signs = 32;
/// That its stamp lies apart from the one before it.
const MOVED: Signs = 64;
/// That its stamp is zero, and stands still or lies behind with it.
const ZERO: Signs = 128;

/// The judge of one camera.
#[derive(Debug)]
pub(super) struct StampJudge {
    /// Stamp and ROS time of receipt of the frame before.
    last: Option<(i64, i64)>,
    window: [Signs; WINDOW],
    n_frames: usize,
    fault: Option<StampFault>,
    /// Whether frames come apart, so that their receipts tell them apart in time.
    receipts_tell: bool,
    timed_by: TimedBy,
    way_ns: i64,
}

impl StampJudge {
    pub(super) fn new() -> Self {
        Self {
            last: None,
            window: [0; WINDOW],
            n_frames: 0,
            fault: None,
            receipts_tell: true,
            timed_by: TimedBy::Stamp,
            way_ns: 0,
        }
    }

    /// Says when a frame was seen that came at `receipt`; frames older than `max_age_ns` are of no use to anybody.
    pub(super) fn judge(&mut self, stamp_ns: i64, receipt: Moment, max_age_ns: i64) -> Timing {
        let mut signs = self.signs(stamp_ns, receipt.ros_ns, max_age_ns);
        if stamp_ns == 0 && signs & (STILL | BEHIND) != 0 {
            signs |= ZERO;
        }
        self.window[self.n_frames % WINDOW] = signs;
        self.n_frames += 1;
        self.last = Some((stamp_ns, receipt.ros_ns));
        self.way_ns = receipt.ros_ns.saturating_sub(stamp_ns);
        self.fault = self.standing();
        self.receipts_tell = self.do_receipts_tell();
        let is_off = signs & (AHEAD | BEHIND) != 0;
        let is_suspect = is_off || self.fault.is_some_and(|fault| fault != StampFault::Late);
        // Stamps of a clock that is merely off still say how frames lie to each other.
        let is_steady = matches!(self.fault, None | Some(StampFault::Ahead | StampFault::Behind))
            && self.known().len() <= 2 * self.count(MOVED);
        self.timed_by = match (is_suspect, self.receipts_tell) {
            (false, _) => TimedBy::Stamp,
            (true, true) => TimedBy::Receipt,
            (true, false) if is_steady => TimedBy::Stamp,
            (true, false) => TimedBy::Nothing,
        };
        let seen_ns = if self.timed_by == TimedBy::Stamp { stamp_ns } else { receipt.ros_ns };
        Timing { seen_ns, timed_by: self.timed_by, is_suspect }
    }

    pub(super) fn report(&self) -> StampReport {
        StampReport { fault: self.fault, timed_by: self.timed_by, way_ns: self.way_ns }
    }

    fn signs(&self, stamp_ns: i64, receipt_ns: i64, max_age_ns: i64) -> Signs {
        let way_ns = receipt_ns.saturating_sub(stamp_ns);
        let place = if way_ns < -AHEAD_NS_MAX {
            AHEAD
        } else if max_age_ns.saturating_add(BEHIND_NS_MAX) < way_ns {
            BEHIND
        } else if max_age_ns < way_ns {
            LATE
        } else {
            0
        };
        let Some((stamp_before, receipt_before)) = self.last else { return place | APART | MOVED };
        let step_ns = stamp_ns.saturating_sub(stamp_before);
        let came_ns = receipt_ns.saturating_sub(receipt_before);
        let is_apart = APART_NS_MIN <= came_ns;
        let motion = if step_ns < 0 {
            BACKWARDS
        } else if is_apart && step_ns.saturating_mul(STILL_FACTOR) <= came_ns {
            STILL
        } else {
            0
        };
        let moved = if APART_NS_MIN <= step_ns { MOVED } else { 0 };
        place | motion | moved | if is_apart { APART } else { 0 }
    }

    fn known(&self) -> &[Signs] {
        &self.window[..self.n_frames.min(WINDOW)]
    }

    fn count(&self, sign: Signs) -> usize {
        self.known().iter().filter(|signs| **signs & sign != 0).count()
    }

    /// The fault that stands with the last frame.
    fn standing(&self) -> Option<StampFault> {
        let remains = |fault: &StampFault| REMAINS <= self.count(sign(*fault));
        if let Some(fault) = self.fault.filter(remains) {
            return Some(fault);
        }
        if self.n_frames < FRAMES_MIN {
            return None;
        }
        // What explains more comes first: a stamp of zero stands still, and one that stands still is also behind one day.
        use StampFault::{Ahead, Backwards, Behind, Late, Still, Zero};
        [Zero, Still, Backwards, Ahead, Behind, Late]
            .into_iter()
            .find(|fault| STANDS <= self.count(sign(*fault)))
    }

    fn do_receipts_tell(&self) -> bool {
        let (n, apart) = (self.known().len(), self.count(APART));
        if n < FRAMES_MIN {
            return true;
        }
        if self.receipts_tell { n <= 2 * apart } else { 3 * n <= 4 * apart }
    }
}

fn sign(fault: StampFault) -> Signs {
    match fault {
        StampFault::Zero => ZERO,
        StampFault::Still => STILL,
        StampFault::Backwards => BACKWARDS,
        StampFault::Ahead => AHEAD,
        StampFault::Behind => BEHIND,
        StampFault::Late => LATE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;
    const S: i64 = 1000 * MS;
    const HOUR: i64 = 3600 * S;
    /// Some day of 2026.
    const NOW: i64 = 1_790_000_000 * S;
    const MAX_AGE: i64 = 2 * S;

    /// Judges frames that come 33 ms apart from `NOW` on, stamped by number and receipt.
    fn judged(n: i64, stamp: impl Fn(i64, i64) -> i64) -> (StampJudge, Vec<Timing>) {
        judged_as_they_come(n, |i| NOW + i * 33 * MS, stamp)
    }

    fn judged_as_they_come(
        n: i64,
        receipt: impl Fn(i64) -> i64,
        stamp: impl Fn(i64, i64) -> i64,
    ) -> (StampJudge, Vec<Timing>) {
        let mut judge = StampJudge::new();
        let timings = (0..n)
            .map(|i| {
                let moment = Moment { ros_ns: receipt(i), steady_ns: receipt(i) };
                judge.judge(stamp(i, moment.ros_ns), moment, MAX_AGE)
            })
            .collect();
        (judge, timings)
    }

    fn check(stamp: impl Fn(i64, i64) -> i64, fault: StampFault) {
        let (judge, timings) = judged(40, stamp);
        let report = judge.report();
        assert_eq!((report.fault, report.timed_by), (Some(fault), TimedBy::Receipt));
        for (i, timing) in (0..).zip(&timings).skip(2 * STANDS) {
            let expected =
                Timing { seen_ns: NOW + i * 33 * MS, timed_by: TimedBy::Receipt, is_suspect: true };
            assert_eq!(*timing, expected, "frame {i} of {fault:?}");
        }
    }

    fn right(stamp: impl Fn(i64, i64) -> i64) {
        let (judge, timings) = judged(40, &stamp);
        assert_eq!(judge.report().fault, None);
        for (i, timing) in (0..).zip(&timings) {
            let seen_ns = stamp(i, NOW + i * 33 * MS);
            assert_eq!(*timing, Timing { seen_ns, timed_by: TimedBy::Stamp, is_suspect: false }, "frame {i}");
        }
    }

    #[test]
    fn stamps_of_the_time_of_seeing_are_believed() {
        right(|_, now| now);
        right(|_, now| now - 150 * MS);
        right(|_, now| now + 50 * MS);
        // A camera's own jitter, and a driver that stamps in tenths of a millisecond.
        right(|i, now| now - 20 * MS - i * 7919 % 11 * MS);
        right(|_, now| now / (MS / 10) * (MS / 10) - 5 * MS);
    }

    #[test]
    fn stamps_that_cannot_be_right_give_way_to_receipt() {
        check(|_, _| 0, StampFault::Zero);
        check(|_, _| NOW, StampFault::Still);
        check(|_, _| NOW - 40 * HOUR, StampFault::Still);
        check(|_, now| now / S * S, StampFault::Still);
        // Microseconds where nanoseconds belong.
        check(|_, now| now / S * S + now % S / 1000, StampFault::Still);
        check(|i, _| NOW - i * 33 * MS, StampFault::Backwards);
        check(|i, now| now - i % 2 * 500 * MS, StampFault::Backwards);
        check(|_, now| now + 300 * MS, StampFault::Ahead);
        check(|_, now| now + 10 * 365 * 24 * HOUR, StampFault::Ahead);
        check(|_, now| now - 3 * HOUR, StampFault::Behind);
        // Seconds since the machine was started.
        check(|i, _| 7 * S + i * 33 * MS, StampFault::Behind);
    }

    #[test]
    fn the_first_frame_is_judged_alone() {
        let (_, timings) = judged(1, |_, _| 0);
        assert_eq!(timings[0], Timing { seen_ns: NOW, timed_by: TimedBy::Receipt, is_suspect: true });
        let (judge, timings) = judged(3, |i, now| if i == 1 { 0 } else { now });
        assert_eq!(timings.iter().map(|timing| timing.is_suspect).collect::<Vec<_>>(), [false, true, false]);
        assert_eq!(judge.report().fault, None);
    }

    #[test]
    fn frames_that_are_too_old_are_so_and_no_fault_of_their_stamps() {
        let (judge, timings) = judged(40, |_, now| now - 5 * S);
        assert_eq!(judge.report().fault, Some(StampFault::Late));
        assert_eq!(judge.report().way_ns, 5 * S);
        assert!(timings.iter().all(|timing| !timing.is_suspect && timing.timed_by == TimedBy::Stamp));
    }

    #[test]
    fn a_fault_goes_when_its_frames_are_gone() {
        let stamp = |i: i64, now: i64| if i < 20 { now - 3 * HOUR } else { now };
        let (judge, timings) = judged(60, stamp);
        assert_eq!((judge.report().fault, judge.report().timed_by), (None, TimedBy::Stamp));
        let changes = timings.windows(2).filter(|pair| pair[0].timed_by != pair[1].timed_by).count();
        assert_eq!(changes, 1, "it changes once and not to and fro");
    }

    #[test]
    fn zeros_are_forgotten_when_they_are_gone() {
        // Afterwards stamps are right, but for one in six that is the one before it once more.
        let stamp = |i: i64, now: i64| match i {
            0..20 => 0,
            _ if i % 6 == 0 => now - 33 * MS,
            _ => now,
        };
        let (judge, timings) = judged(80, stamp);
        assert_eq!((judge.report().fault, judge.report().timed_by), (None, TimedBy::Stamp));
        assert!(timings[40..].iter().all(|timing| !timing.is_suspect));
        // And where they are wrong in another way, that is what is said.
        let (judge, _) = judged(80, |i, now| if i < 20 { 0 } else { now - 3 * HOUR });
        assert_eq!(judge.report().fault, Some(StampFault::Behind));
    }

    #[test]
    fn clocks_that_jump_are_no_fault_for_long() {
        for jump in [HOUR, -HOUR] {
            // The machine's clock is set, and its camera's with it: one frame was under way.
            let receipt = |i: i64| NOW + i * 33 * MS + if i < 20 { 0 } else { jump };
            let (judge, timings) =
                judged_as_they_come(
                    60,
                    receipt,
                    |i, now| {
                        if i == 20 { now - jump - 20 * MS } else { now - 20 * MS }
                    },
                );
            assert_eq!(judge.report().fault, None);
            assert_eq!(timings.iter().filter(|timing| timing.is_suspect).count(), 1, "{jump}");
        }
        // A bag that starts over, with its clock.
        let (judge, timings) = judged_as_they_come(60, |i| NOW + i % 25 * 33 * MS, |_, now| now);
        assert_eq!(judge.report().fault, None);
        assert!(timings.iter().all(|timing| !timing.is_suspect));
    }

    #[test]
    fn a_simulation_that_stands_still_or_starts_at_zero_is_believed() {
        let (judge, _) = judged_as_they_come(40, |_| 7 * S, |_, now| now);
        assert_eq!(judge.report().fault, None);
        let (judge, timings) = judged_as_they_come(40, |i| i * 33 * MS, |_, now| now);
        assert_eq!(judge.report().fault, None);
        assert!(timings.iter().all(|timing| !timing.is_suspect));
    }

    #[test]
    fn frames_that_come_in_heaps_are_not_timed_by_receipt() {
        // A transport that delivers ten at a time; stamps are right.
        let heap = |i: i64| NOW + i / 10 * 330 * MS;
        let (judge, timings) = judged_as_they_come(60, heap, |i, _| NOW + i * 33 * MS - 330 * MS);
        assert_eq!(judge.report().fault, None);
        assert!(timings.iter().all(|timing| timing.timed_by == TimedBy::Stamp));
        // A clock that is off still says how frames lie to each other; zeros say nothing.
        let (judge, timings) = judged_as_they_come(60, heap, |i, _| NOW + i * 33 * MS - 3 * HOUR);
        assert_eq!(
            (judge.report().fault, judge.report().timed_by),
            (Some(StampFault::Behind), TimedBy::Stamp)
        );
        assert!(timings[20..].iter().all(|timing| timing.is_suspect));
        let at_once = |i: i64| NOW + i * 10_000;
        let (judge, timings) = judged_as_they_come(60, at_once, |i, _| NOW - i * 33 * MS);
        assert_eq!(judge.report().timed_by, TimedBy::Nothing);
        assert_eq!(timings[59].seen_ns, at_once(59));
    }

    #[test]
    fn no_stamp_is_too_hostile() {
        let extremes = [i64::MIN, i64::MAX, 0, -1, i64::from(i32::MIN) * S, i64::from(i32::MAX) * S + 4 * S];
        let (judge, timings) = judged(600, |i, _| extremes[(i * 7 % 6) as usize]);
        assert!(judge.report().fault.is_some());
        assert!(timings.iter().all(|timing| timing.is_suspect));
        let mut judge = StampJudge::new();
        for stamp in extremes {
            for receipt in extremes {
                judge.judge(stamp, Moment { ros_ns: receipt, steady_ns: 0 }, i64::MAX);
            }
        }
    }
}
