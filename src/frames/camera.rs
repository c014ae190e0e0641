//! A camera: its topic, the buffers for its frames, and everyone who listens to it.
//!
//! Each engine listens for itself, with its own choice of frames and its own accounts; the frames are the same. So a frame
//! is copied once when it comes and decoded once when it is looked at. When a frame was seen is judged here too, once for all.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::frames::accounts::DropReason;
use crate::frames::clock::{Clock, Moment};
use crate::frames::decoded::DecodedPool;
use crate::frames::frame::{Frame, FrameHeader};
use crate::frames::listener::{Listener, ListenerOptions};
use crate::frames::pool::FramePool;
use crate::frames::stamps::{StampJudge, StampReport, Timing};
use crate::frames::stream::{Stream, StreamReport};

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

/// Sees each image message of a camera as it came, besides those who listen.
pub trait Tap: Send + Sync {
    /// A message has come, of which this frame was made unless there was no buffer. Called from the transport's thread, before anyone
    /// hears of the frame.
    fn comes(&self, body: &[u8], is_big_endian: bool, frame: Option<&Arc<Frame>>);
}

/// The meeting point of a transport's thread and the threads of engines.
#[derive(Debug)]
pub struct Camera {
    options: CameraOptions,
    clock: Arc<Clock>,
    frames: FramePool,
    pictures: Arc<DecodedPool>,
    listeners: Vec<Arc<Listener>>,
    tap: TapOption,
    watched: Mutex<Watched>,
}

#[derive(Default)]
struct TapOption(OnceLock<Box<dyn Tap>>);

impl fmt::Debug for TapOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.get().is_some() { "a tap" } else { "no tap" })
    }
}

/// What is remembered of the frames that came.
#[derive(Debug)]
struct Watched {
    judge: StampJudge,
    stream: Stream,
}

impl Camera {
    /// Claims the buffers that all these listeners need together.
    ///
    /// # Panics
    /// If there are more than [`LISTENERS_MAX`].
    pub fn new(options: CameraOptions, clock: &Arc<Clock>, listeners: &[ListenerOptions]) -> Self {
        assert!(listeners.len() <= LISTENERS_MAX, "{} listeners", listeners.len());
        let is_shared = 1 < listeners.iter().filter(|listener| listener.has_pictures()).count();
        let n_frames = listeners.iter().map(ListenerOptions::n_frames).sum();
        let n_decoded = listeners.iter().map(|listener| listener.n_decoded(is_shared)).sum();
        let bits = || (0..LISTENERS_MAX).map(|i| 1u32 << i);
        let with_pictures = listeners.iter().zip(bits()).filter(|(listener, _)| listener.has_pictures());
        let all = with_pictures.fold(0, |all, (_, bit)| all | bit);
        let pictures = Arc::new(DecodedPool::new(n_decoded, options.pixels_max));
        let frames = FramePool::new(n_frames, options.frame_bytes_max, all, &pictures);
        let listen =
            |(listener, bit): (&ListenerOptions, u32)| Listener::new(*listener, Arc::clone(clock), bit);
        let listeners = listeners.iter().zip(bits()).map(listen).map(Arc::new).collect();
        let watched = Mutex::new(Watched { judge: StampJudge::new(), stream: Stream::new() });
        let tap = TapOption::default();
        Self { options, clock: Arc::clone(clock), frames, pictures, listeners, tap, watched }
    }

    /// What it is called here.
    pub fn name(&self) -> &str {
        &self.options.name
    }

    /// Where its images are published.
    pub fn topic(&self) -> &str {
        &self.options.topic
    }

    /// The clock that stamps receipts.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Those who listen, in the order of their options.
    pub fn listeners(&self) -> &[Arc<Listener>] {
        &self.listeners
    }

    /// Lets a tap see what comes from now on; the first one stays.
    pub fn tap(&self, tap: Box<dyn Tap>) {
        drop(self.tap.0.set(tap));
    }

    /// Shows the tap a message, and what was made of it.
    pub fn show(&self, body: &[u8], is_big_endian: bool, frame: Option<&Arc<Frame>>) {
        if let Some(tap) = self.tap.0.get() {
            tap.comes(body, is_big_endian, frame);
        }
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
        self.offer_from(0, frame, lost);
    }

    /// Does what [`Camera::offer`] does with a message of this publisher. Publishers are told apart by their numbers; 0 is
    /// not known.
    pub fn offer_from(&self, publisher: u128, frame: Result<Arc<Frame>, DropReason>, lost: u64) {
        let receipt = self.clock.now();
        let frame = frame.map(|frame| {
            let timing = self.time(&frame, receipt, publisher);
            (frame, timing)
        });
        for listener in &self.listeners {
            listener.offer(frame.clone(), lost, receipt);
        }
    }

    /// The age beyond which a frame is of no use to anyone who listens.
    pub fn max_age_ns(&self) -> i64 {
        self.listeners.iter().map(|listener| listener.max_age_ns()).max().unwrap_or(0)
    }

    /// What the stamps of its frames are worth.
    pub fn stamps(&self) -> StampReport {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner).judge.report()
    }

    /// What its stream is like.
    pub fn stream(&self) -> StreamReport {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner).stream.report()
    }

    /// Says when a frame was seen, and remembers it.
    fn time(&self, frame: &Frame, receipt: Moment, publisher: u128) -> Timing {
        let max_age_ns = self.max_age_ns();
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let timing = watched.judge.judge(frame.stamp_ns, receipt, max_age_ns);
        watched.stream.saw(frame, timing, publisher);
        timing
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
