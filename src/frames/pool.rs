//! Frames as they come, in buffers that are claimed once.
//!
//! A transport decodes under a lock that its network thread also wants, so that taking a frame is one copy into memory
//! that is already there. A buffer is free again when the last clip has let go of its frame.

use std::sync::{Arc, Mutex, PoisonError};

use crate::frames::accounts::DropReason;
use crate::frames::decoded::DecodedPool;
use crate::frames::frame::{Frame, FrameHeader};

/// A fixed number of frames of bounded size.
#[derive(Debug)]
pub(super) struct FramePool {
    frames: Mutex<Vec<Arc<Frame>>>,
    n_frames: usize,
    frame_bytes_max: usize,
    /// The bits of everyone who listens.
    listeners: u32,
}

impl FramePool {
    /// Claims `n_frames` buffers of `frame_bytes_max` bytes. The kernel backs them with memory as they are used.
    pub(super) fn new(
        n_frames: usize,
        frame_bytes_max: usize,
        listeners: u32,
        pictures: &Arc<DecodedPool>,
    ) -> Self {
        let empty = |_| Arc::new(Frame::empty(frame_bytes_max, Arc::clone(pictures)));
        let frames = Mutex::new((0..n_frames).map(empty).collect());
        Self { frames, n_frames, frame_bytes_max, listeners }
    }

    /// Copies an image into a free buffer.
    ///
    /// # Errors
    /// The reason to drop it: oversized, or no buffer is free. It never grows the pool.
    pub(super) fn take(&self, header: FrameHeader, data: &[u8]) -> Result<Arc<Frame>, DropReason> {
        if self.frame_bytes_max < data.len() {
            return Err(DropReason::Oversized);
        }
        let mut frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        let free = frames.iter_mut().position(|frame| Arc::get_mut(frame).is_some());
        let free = &mut frames[free.ok_or(DropReason::NoBuffer)?];
        let frame = Arc::get_mut(free).expect("found free a moment ago, under the lock");
        frame.refill(header, data, self.listeners);
        Ok(Arc::clone(free))
    }

    /// Bytes that the buffers may hold together.
    pub(super) fn claimed_bytes(&self) -> usize {
        self.n_frames * self.frame_bytes_max
    }
}
