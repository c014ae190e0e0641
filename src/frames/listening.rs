//! How a listener chooses frames, and what became of those that it handed out.

use std::time::Duration;

use crate::frames::accounts::DropReason;

/// How frames are chosen for an engine.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ListenerOptions {
    /// Frames of a question: 1, or the length of a clip.
    pub clip_frames: usize,
    /// Frames per second within a clip, by when they were seen. Without meaning for single frames.
    pub clip_rate_hz: f64,
    /// Frames after a clip that are kept until the next look, for a comparison with its forecast; 0 where none is made. With
    /// a forecast a clip is strict about its rate: one frame missing, and it starts over.
    pub follow_frames: usize,
    /// Pictures of frames that the engine looks at at a time; 0 for whoever keeps none here ([`Frame::decode_apart`]).
    ///
    /// [`Frame::decode_apart`]: crate::frames::frame::Frame::decode_apart
    pub pictures: usize,
    /// How old a frame may be when what is made of it is published.
    pub max_age: Duration,
}

impl ListenerOptions {
    /// Frames that may be held at once: for one question being served, the next one forming, one on its way in, and one
    /// to spare.
    pub fn n_frames(&self) -> usize {
        2 * (self.clip_frames + self.follow_frames) + 2
    }

    /// Frames that may be held decoded at once. Where others listen too, each frame may be: they may have looked at it before.
    pub fn n_decoded(&self, is_shared: bool) -> usize {
        if is_shared && self.has_pictures() { self.n_frames() } else { self.pictures }
    }

    /// Whether it looks at the pictures that the camera keeps.
    pub(super) fn has_pictures(&self) -> bool {
        self.pictures != 0
    }

    pub(super) fn is_single(&self) -> bool {
        self.clip_frames == 1 && self.follow_frames == 0
    }
}

/// What became of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Something was made of it, about the newest of its frames.
    Served,
    /// Nothing was made of it; the older frames of a clip may still be of use.
    Dropped(DropReason),
    /// Nothing was made of it because of one of its frames, counted from the oldest. A clip starts over without it.
    Rejected(usize, DropReason),
}
