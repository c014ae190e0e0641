//! Pictures of frames, in buffers that are claimed once.
//!
//! Why not a buffer in each frame: a camera has many frames in flight and few that are looked at, and memory that was
//! never touched costs a robot nothing. So the buffer that was used last is used next.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::camera::{FrameError, FrameSize, Picture, PictureDigest};

/// A frame in RGB. Its buffer is free again when the frame and everyone who looks have let go of it.
#[derive(Debug)]
pub struct Decoded {
    rgb: Vec<u8>,
    size: FrameSize,
    digest: OnceLock<PictureDigest>,
}

impl Decoded {
    /// What it shows.
    pub fn picture(&self) -> Picture<'_> {
        Picture::with_digest(&self.rgb[..self.size.rgb_bytes()], self.size, &self.digest)
    }
}

/// A fixed number of pictures of bounded size.
#[derive(Debug)]
pub(super) struct DecodedPool {
    /// Those that are free or held; the one that was filled last stands last.
    buffers: Mutex<Vec<Arc<Decoded>>>,
    n_buffers: usize,
    pixels_max: usize,
    n_decoded: AtomicU64,
}

impl DecodedPool {
    /// Claims `n_buffers` pictures of `pixels_max` pixels. The kernel backs them with memory as they are used.
    pub(super) fn new(n_buffers: usize, pixels_max: usize) -> Self {
        let empty = || Decoded {
            rgb: vec![0; 3 * pixels_max],
            size: FrameSize { width: 0, height: 0 },
            digest: OnceLock::new(),
        };
        let buffers = Mutex::new((0..n_buffers).map(|_| Arc::new(empty())).collect());
        Self { buffers, n_buffers, pixels_max, n_decoded: AtomicU64::new(0) }
    }

    /// Lets `decode` fill a free buffer.
    ///
    /// # Errors
    /// What `decode` says.
    ///
    /// # Panics
    /// If no buffer is free.
    pub(super) fn fill(
        &self,
        decode: impl FnOnce(&mut [u8]) -> Result<FrameSize, FrameError>,
    ) -> Result<Arc<Decoded>, FrameError> {
        let mut buffer = self.take_free();
        let decoded = Arc::get_mut(&mut buffer).expect("whoever took it from the pool holds it alone");
        decoded.digest = OnceLock::new();
        let result = decode(&mut decoded.rgb).map(|size| decoded.size = size);
        self.n_decoded.fetch_add(1, Relaxed);
        self.lock().push(Arc::clone(&buffer));
        result.map(|()| buffer)
    }

    fn take_free(&self) -> Arc<Decoded> {
        let mut buffers = self.lock();
        let free = buffers.iter_mut().rposition(|buffer| Arc::get_mut(buffer).is_some());
        // The camera counts how many frames can be wanted at a time; see `ListenerOptions::n_decoded`.
        let free = free.expect("there are as many buffers as pictures that may be wanted");
        buffers.remove(free)
    }

    /// Pixels of a picture, at most.
    pub(super) fn pixels_max(&self) -> usize {
        self.pixels_max
    }

    /// Frames that were decoded, those that could not be among them.
    pub(super) fn n_decoded(&self) -> u64 {
        self.n_decoded.load(Relaxed)
    }

    /// Bytes of the buffers.
    pub(super) fn claimed_bytes(&self) -> usize {
        self.n_buffers * 3 * self.pixels_max
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Decoded>>> {
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
