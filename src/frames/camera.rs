//! A camera: its topic, the buffers for its frames, and everyone who listens to it.
//!
//! Each engine listens for itself, with its own choice of frames and its own accounts; the frames are the same. So a frame
//! is copied once when it comes and decoded once when it is looked at.

use std::sync::Arc;

use crate::frames::accounts::DropReason;
use crate::frames::clock::Clock;
use crate::frames::decoded::DecodedPool;
use crate::frames::frame::{Frame, FrameHeader};
use crate::frames::listener::{Listener, ListenerOptions};
use crate::frames::pool::FramePool;

/// Listeners of one camera at most: each has a bit in every frame.
pub const LISTENERS_MAX: usize = 32;

/// What a camera is and how large its images may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CameraOptions {
    /// What it is called here.
    pub name: String,
    /// Where its images are published.
    pub topic: String,
    /// Bytes of an image as it comes, at most.
    pub frame_bytes_max: usize,
    /// Pixels of an image, at most.
    pub pixels_max: usize,
}

/// The meeting point of a transport's thread and the threads of engines.
#[derive(Debug)]
pub struct Camera {
    options: CameraOptions,
    clock: Arc<Clock>,
    frames: FramePool,
    pictures: Arc<DecodedPool>,
    listeners: Vec<Arc<Listener>>,
}

impl Camera {
    /// Claims the buffers that all these listeners need together.
    ///
    /// # Panics
    /// If there are more than [`LISTENERS_MAX`].
    pub fn new(options: CameraOptions, clock: &Arc<Clock>, listeners: &[ListenerOptions]) -> Self {
        assert!(listeners.len() <= LISTENERS_MAX, "{} listeners", listeners.len());
        let is_shared = 1 < listeners.len();
        let n_frames = listeners.iter().map(ListenerOptions::n_frames).sum();
        let n_decoded = listeners.iter().map(|listener| listener.n_decoded(is_shared)).sum();
        let bits = || (0..LISTENERS_MAX).map(|i| 1u32 << i);
        let all = bits().take(listeners.len()).fold(0, |all, bit| all | bit);
        let pictures = Arc::new(DecodedPool::new(n_decoded, options.pixels_max));
        let frames = FramePool::new(n_frames, options.frame_bytes_max, all, &pictures);
        let listen =
            |(listener, bit): (&ListenerOptions, u32)| Listener::new(*listener, Arc::clone(clock), bit);
        let listeners = listeners.iter().zip(bits()).map(listen).map(Arc::new).collect();
        Self { options, clock: Arc::clone(clock), frames, pictures, listeners }
    }

    /// What it is called here.
    pub fn name(&self) -> &str {
        &self.options.name
    }

    /// Where its images are published.
    pub fn topic(&self) -> &str {
        &self.options.topic
    }

    /// Those who listen, in the order of their options.
    pub fn listeners(&self) -> &[Arc<Listener>] {
        &self.listeners
    }

    /// Copies an image into a free buffer, for [`Camera::offer`].
    ///
    /// # Errors
    /// The reason to drop it: oversized, or no buffer is free.
    pub fn take(&self, header: FrameHeader, data: &[u8]) -> Result<Arc<Frame>, DropReason> {
        self.frames.take(header, data)
    }

    /// Hands everyone what a transport made of one received message, with how many of the publisher's went missing before it.
    pub fn offer(&self, frame: Result<Arc<Frame>, DropReason>, lost: u64) {
        let receipt = self.clock.now();
        for listener in &self.listeners {
            listener.offer(frame.clone(), lost, receipt);
        }
    }

    /// Frames that were decoded so far, those that could not be among them.
    pub fn n_decoded(&self) -> u64 {
        self.pictures.n_decoded()
    }

    /// Bytes that its images and their pictures may take together.
    pub fn claimed_bytes(&self) -> usize {
        self.frames.claimed_bytes() + self.pictures.claimed_bytes()
    }
}
