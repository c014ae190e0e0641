//! What became of every frame: received = served + clip members + dropped, by reason, + in flight.
//!
//! The counters have no locks of their own: the [listener](crate::frames::listener) changes them under its lock together with
//! the frames they count, so that the equation holds in every snapshot and not only at the end.

use std::fmt;
use std::ops::AddAssign;

use crate::camera::FrameError;

/// Why nothing was made of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DropReason {
    /// A newer frame came before this one's turn.
    Superseded,
    /// It lay between the sampling times of a clip.
    OffRate,
    /// Its clip started over: a gap, a change of size, or time that ran backwards.
    ClipRestart,
    /// Nothing says when it was seen, neither its stamp nor its receipt, so that it has no place in a clip.
    Untimed,
    /// It was older than `max_age` before its turn.
    TooOld,
    /// What was made of it would have come after `max_age`.
    MadeTooLate,
    /// The engine failed on it.
    EngineFailed,
    /// No buffer was free.
    NoBuffer,
    /// The message has more bytes than `max_image_bytes`.
    Oversized,
    /// The message is not what its type says.
    Malformed,
    /// The publisher's type is another than ours.
    WrongType,
    /// The pixel format is none that we read.
    UnknownEncoding,
    /// It shows depth, not colour.
    DepthEncoding,
    /// The compression is none that we read.
    UnknownCompression,
    /// It has no pixels.
    ZeroSize,
    /// Its encoding needs an even width or height.
    OddSize,
    /// It has more pixels than the engine takes.
    TooManyPixels,
    /// Its rows are longer than its step.
    StepTooShort,
    /// Its data end before its last row.
    TooFewBytes,
    /// Its compressed data cannot be decoded.
    Corrupt,
    /// Its shape is none that the model takes.
    Unfit,
    /// It shows what the last question was about.
    Unchanged,
    /// No usable frame of another camera, near enough in time, was there to ask about with it.
    Unpaired,
    /// The node was leaving.
    Stopped,
}

impl DropReason {
    /// Every reason, in the order of the counters.
    pub const ALL: [Self; 24] = [
        Self::Superseded,
        Self::OffRate,
        Self::ClipRestart,
        Self::Untimed,
        Self::TooOld,
        Self::MadeTooLate,
        Self::EngineFailed,
        Self::NoBuffer,
        Self::Oversized,
        Self::Malformed,
        Self::WrongType,
        Self::UnknownEncoding,
        Self::DepthEncoding,
        Self::UnknownCompression,
        Self::ZeroSize,
        Self::OddSize,
        Self::TooManyPixels,
        Self::StepTooShort,
        Self::TooFewBytes,
        Self::Corrupt,
        Self::Unfit,
        Self::Unchanged,
        Self::Unpaired,
        Self::Stopped,
    ];

    /// The reason as diagnostics and reports write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Superseded => "superseded",
            Self::OffRate => "off_rate",
            Self::ClipRestart => "clip_restart",
            Self::Untimed => "untimed",
            Self::TooOld => "too_old",
            Self::MadeTooLate => "answer_too_late",
            Self::EngineFailed => "answer_failed",
            Self::NoBuffer => "no_buffer",
            Self::Oversized => "oversized",
            Self::Malformed => "malformed",
            Self::WrongType => "wrong_type",
            Self::UnknownEncoding => "unknown_encoding",
            Self::DepthEncoding => "depth_encoding",
            Self::UnknownCompression => "unknown_compression",
            Self::ZeroSize => "zero_size",
            Self::OddSize => "odd_size",
            Self::TooManyPixels => "too_many_pixels",
            Self::StepTooShort => "step_too_short",
            Self::TooFewBytes => "too_few_bytes",
            Self::Corrupt => "corrupt",
            Self::Unfit => "unfit",
            Self::Unchanged => "unchanged",
            Self::Unpaired => "unpaired",
            Self::Stopped => "stopped",
        }
    }

    /// Whether it is part of keeping up with a camera; the others say that something is wrong.
    pub fn is_expected(self) -> bool {
        matches!(self, Self::Superseded | Self::OffRate | Self::Unchanged | Self::Unpaired | Self::Stopped)
    }

    /// Whether it follows from a camera's stamps, rate or sizes, or from the time to work on its frames.
    pub fn is_of_time(self) -> bool {
        matches!(self, Self::ClipRestart | Self::Untimed | Self::TooOld | Self::MadeTooLate | Self::Unfit)
    }
}

/// Under the words of the camera's own errors.
impl From<FrameError> for DropReason {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::UnknownEncoding(_) => Self::UnknownEncoding,
            FrameError::DepthEncoding(_) => Self::DepthEncoding,
            FrameError::UnknownCompression(_) => Self::UnknownCompression,
            FrameError::ZeroSize { .. } => Self::ZeroSize,
            FrameError::OddSize { .. } => Self::OddSize,
            FrameError::TooManyPixels { .. } => Self::TooManyPixels,
            FrameError::StepTooShort { .. } => Self::StepTooShort,
            FrameError::TooFewBytes { .. } => Self::TooFewBytes,
            FrameError::Corrupt(_) => Self::Corrupt,
        }
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The counters at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Accounts {
    /// Frames that reached us, hostile ones included.
    pub received: u64,
    /// Frames that something was made of: an answer or a forecast is about them. They are published as `answered`.
    pub served: u64,
    /// Frames that were shown with a clip, or compared with a forecast, and that nothing is about.
    pub clip_members: u64,
    /// Frames that wait or are being served.
    pub in_flight: u64,
    /// Gaps in the publishers' sequence numbers: frames that never reached us, and so are not among the received.
    pub lost: u64,
    dropped: [u64; DropReason::ALL.len()],
}

impl Accounts {
    /// Counts one frame that leaves for `reason`.
    pub fn drop_one(&mut self, reason: DropReason) {
        self.dropped[reason as usize] += 1;
    }

    /// Frames that left for `reason`.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.dropped[reason as usize]
    }

    /// Every reason that occurred, with its count.
    pub fn drops(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL.into_iter().map(|reason| (reason, self.dropped(reason))).filter(|(_, n)| 0 < *n)
    }

    /// Frames that left with nothing made of them.
    pub fn dropped_total(&self) -> u64 {
        self.dropped.iter().sum()
    }

    /// Whether every received frame is in exactly one place.
    pub fn balance(&self) -> bool {
        self.received == self.served + self.clip_members + self.dropped_total() + self.in_flight
    }
}

/// Of two listeners together.
impl AddAssign for Accounts {
    fn add_assign(&mut self, other: Self) {
        self.received += other.received;
        self.served += other.served;
        self.clip_members += other.clip_members;
        self.in_flight += other.in_flight;
        self.lost += other.lost;
        for (n, more) in self.dropped.iter_mut().zip(other.dropped) {
            *n += more;
        }
    }
}

/// One line: `received 9 = answered 3 + clip members 0 + dropped 5 (superseded 5) + in flight 1; lost 0`.
impl fmt::Display for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { received, served, clip_members, in_flight, lost, .. } = self;
        write!(f, "received {received} = answered {served} + clip members {clip_members}")?;
        write!(f, " + dropped {}", self.dropped_total())?;
        for (i, (reason, n)) in self.drops().enumerate() {
            write!(f, "{}{reason} {n}", if i == 0 { " (" } else { ", " })?;
        }
        write!(f, "{} + in flight {in_flight}; lost {lost}", if 0 < self.dropped_total() { ")" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_counter_and_name() {
        for (i, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, i);
            let mut accounts = Accounts::default();
            accounts.drop_one(reason);
            assert_eq!(accounts.drops().collect::<Vec<_>>(), [(reason, 1)]);
        }
        let names: std::collections::HashSet<_> = DropReason::ALL.map(DropReason::name).into();
        assert_eq!(names.len(), DropReason::ALL.len());
        assert!(FrameError::REASONS.iter().all(|reason| names.contains(reason)));
    }

    #[test]
    fn the_line_shows_the_equation() {
        let mut accounts = Accounts { received: 9, served: 3, in_flight: 1, ..Accounts::default() };
        assert!(!accounts.balance());
        for _ in 0..5 {
            accounts.drop_one(DropReason::Superseded);
        }
        assert!(accounts.balance());
        let line =
            "received 9 = answered 3 + clip members 0 + dropped 5 (superseded 5) + in flight 1; lost 0";
        assert_eq!(accounts.to_string(), line);
    }
}
