//! Frames as they came become frames of the size that a forecast is made in.
//!
//! Clips overlap, and what is compared is often shown next, so that a frame is decoded and scaled once and kept while it
//! may be needed. Buffers are claimed at the start. One picture at a time is looked at as it came.

use crate::camera::{Decoder, FrameError, FrameSize, Resample, Resizer};
use crate::frames::accounts::DropReason;
use crate::frames::frame::Received;

/// The newest frames, scaled.
#[derive(Debug)]
pub struct Scaled {
    decoder: Decoder,
    resizer: Resizer,
    size: FrameSize,
    kept: Vec<Kept>,
}

#[derive(Debug)]
struct Kept {
    /// The frame's place and its size as it came; none for a free buffer.
    holds: Option<(u64, FrameSize)>,
    rgb: Vec<u8>,
}

impl Scaled {
    /// Claims buffers for `n_frames` frames of `size`.
    pub fn new(n_frames: usize, size: FrameSize) -> Self {
        let free = || Kept { holds: None, rgb: vec![0; size.rgb_bytes()] };
        let kept = (0..n_frames).map(|_| free()).collect();
        Self { decoder: Decoder::new(), resizer: Resizer::new(), size, kept }
    }

    /// Bytes of the buffers.
    pub fn claimed_bytes(&self) -> usize {
        self.kept.len() * self.size.rgb_bytes()
    }

    /// Forgets every frame.
    pub fn forget(&mut self) {
        self.kept.iter_mut().for_each(|kept| kept.holds = None);
    }

    /// Takes in what is new among `frames` and forgets what is not among them.
    ///
    /// # Errors
    /// The first frame that cannot be used, counted from zero, and why: a compressed frame says its size here first, and a
    /// clip does not change its size.
    ///
    /// # Panics
    /// If there are more frames than buffers.
    pub fn take(&mut self, frames: &[Received]) -> Result<(), (usize, DropReason, String)> {
        let Self { decoder, resizer, size, kept } = self;
        for kept in kept.iter_mut() {
            kept.holds = kept.holds.filter(|(place, _)| frames.iter().any(|frame| frame.place == *place));
        }
        let mut before: Option<(u64, FrameSize)> = None;
        for (i, received) in frames.iter().enumerate() {
            let is_there = |kept: &&Kept| kept.holds.is_some_and(|(place, _)| place == received.place);
            let came = match kept.iter().find(is_there).and_then(|kept| kept.holds) {
                Some((_, came)) => came,
                None => {
                    let free = kept.iter_mut().find(|kept| kept.holds.is_none());
                    let free = free.expect("there are as many buffers as a look has frames");
                    let bad = |error: FrameError| {
                        let message = error.to_string();
                        (i, error.into(), message)
                    };
                    let decoded = received.frame.decode(decoder).map_err(bad)?;
                    let picture = decoded.picture();
                    let came = picture.size;
                    resizer.resize(picture.rgb, came, &mut free.rgb, *size, Resample::Bilinear);
                    // What is scaled is looked at no more as it came.
                    received.let_go_of_pixels();
                    free.holds = Some((received.place, came));
                    came
                }
            };
            if let Some((place, size)) = before
                && place + 1 == received.place
                && size != came
            {
                let message = format!(
                    "it has {}×{} pixels, the one before it {}×{}",
                    came.width, came.height, size.width, size.height
                );
                return Err((i, DropReason::Unfit, message));
            }
            before = Some((received.place, came));
        }
        Ok(())
    }

    /// The pixels of the frame at this place.
    ///
    /// # Panics
    /// If it was not among the frames taken in last.
    pub fn rgb(&self, place: u64) -> &[u8] {
        let kept = self.kept.iter().find(|kept| kept.holds.is_some_and(|(held, _)| held == place));
        &kept.expect("it was taken in").rgb
    }
}
