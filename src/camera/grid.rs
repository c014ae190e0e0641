//! Sizes of frames and how they are counted in patches and tokens.

use serde::{Deserialize, Serialize};

use super::error::FrameError;

/// Width and height of a frame, both at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameSize {
    /// Pixels across.
    pub width: usize,
    /// Pixels down.
    pub height: usize,
}

impl FrameSize {
    /// Checks a size that came from outside against a buffer of `rgb_bytes_max` bytes of packed RGB.
    ///
    /// # Errors
    /// [`FrameError::ZeroSize`] or [`FrameError::TooManyPixels`].
    pub fn checked(width: u32, height: u32, rgb_bytes_max: usize) -> Result<FrameSize, FrameError> {
        if width == 0 || height == 0 {
            return Err(FrameError::ZeroSize { width, height });
        }
        let pixels_max = rgb_bytes_max as u64 / 3;
        if pixels_max < u64::from(width) * u64::from(height) {
            return Err(FrameError::TooManyPixels { width, height, pixels_max });
        }
        Ok(FrameSize { width: width as usize, height: height as usize })
    }

    /// Pixels in all.
    #[must_use]
    pub fn n_pixels(self) -> usize {
        self.width * self.height
    }

    /// Bytes of the frame as packed RGB.
    #[must_use]
    pub fn rgb_bytes(self) -> usize {
        self.n_pixels() * 3
    }
}

/// How the vision network cuts frames up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PatchLayout {
    /// Side of a patch, in pixels.
    pub patch_size: usize,
    /// Frames in a patch.
    pub temporal_patch_size: usize,
    /// Side, in patches, of the square that is merged into one token.
    pub merge_size: usize,
}

impl PatchLayout {
    /// Side of a token's square, in pixels: frames are resized to multiples of it.
    #[must_use]
    pub fn factor(&self) -> usize {
        self.patch_size * self.merge_size
    }

    /// Numbers in one patch, in the order (channel, frame, y, x).
    #[must_use]
    pub fn patch_len(&self) -> usize {
        3 * self.temporal_patch_size * self.patch_size * self.patch_size
    }
}

/// Patches of an image or clip: groups of frames, rows, columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grid {
    /// Groups of `temporal_patch_size` frames; 1 for an image.
    pub t: usize,
    /// Patches down.
    pub h: usize,
    /// Patches across.
    pub w: usize,
}

impl Grid {
    /// Patches in all.
    #[must_use]
    pub fn n_patches(&self) -> usize {
        self.t * self.h * self.w
    }

    /// Language tokens of one group of frames.
    #[must_use]
    pub fn n_tokens_per_group(&self, merge_size: usize) -> usize {
        self.h * self.w / (merge_size * merge_size)
    }

    /// Language tokens in all.
    #[must_use]
    pub fn n_tokens(&self, merge_size: usize) -> usize {
        self.t * self.n_tokens_per_group(merge_size)
    }

    /// The size to which frames are resized.
    #[must_use]
    pub fn frame_size(&self, patch_size: usize) -> FrameSize {
        FrameSize { width: self.w * patch_size, height: self.h * patch_size }
    }
}
