//! Frames to the vision network's patches: resize, normalise, cut up, into the caller's buffer.
//!
//! Patches lie in the order in which they are merged: for each square of `merge_size`², its patches row by row. One
//! patch is a vector in the order (channel, frame, y, x). An image fills all frames of its patches with itself.

use super::error::PreprocessError;
use super::grid::{FrameSize, Grid};
use super::preprocess::{ByteValues, PixelRules, Preprocess};
use super::resize::Resizer;

/// Does what [`Preprocess`] says, keeping its buffers: frames of one size cost no allocation after the first.
#[derive(Debug)]
pub struct Preprocessor {
    rules: Preprocess,
    image_values: ByteValues,
    video_values: ByteValues,
    resizer: Resizer,
    resized: Vec<u8>,
}

impl Preprocessor {
    /// A preprocessor for these rules.
    ///
    /// # Errors
    /// [`PreprocessError::Rule`] if the rules are out of range.
    pub fn new(rules: Preprocess) -> Result<Self, PreprocessError> {
        rules.check()?;
        Ok(Preprocessor {
            rules,
            image_values: rules.image.pixels.byte_values(),
            video_values: rules.video.pixels.byte_values(),
            resizer: Resizer::new(),
            resized: Vec::new(),
        })
    }

    /// The rules.
    #[must_use]
    pub fn rules(&self) -> &Preprocess {
        &self.rules
    }

    /// Bytes that are kept between frames.
    #[must_use]
    pub fn reserved_bytes(&self) -> usize {
        self.resizer.reserved_bytes() + self.resized.capacity() + 2 * size_of::<[[f32; 256]; 3]>()
    }

    /// Writes an image's patches `[n_patches, patch_len]` to the start of `patches` and returns their grid.
    ///
    /// # Errors
    /// A size that the rules refuse, `rgb` not of that size, `patches` too short.
    pub fn image(
        &mut self,
        rgb: &[u8],
        size: FrameSize,
        patches: &mut [f32],
    ) -> Result<Grid, PreprocessError> {
        let grid = self.rules.image_grid(size)?;
        let rules = self.rules.image.pixels;
        let patches = self.start_of(patches, grid)?;
        self.resize(rgb, size, grid, &rules)?;
        for frame in 0..self.rules.patches.temporal_patch_size {
            self.cut(grid, frame, &self.image_values, patches);
        }
        Ok(grid)
    }

    /// Writes a clip's patches `[t, h * w, patch_len]` to the start of `patches` and returns their grid.
    ///
    /// # Errors
    /// As [`Preprocessor::image`]; and clips shorter than one group.
    pub fn video(
        &mut self,
        frames: &[&[u8]],
        size: FrameSize,
        patches: &mut [f32],
    ) -> Result<Grid, PreprocessError> {
        let grid = self.rules.video_grid(frames.len(), size)?;
        let patches = self.start_of(patches, grid)?;
        let group = self.rules.patches.temporal_patch_size;
        let group_len = patches.len() / grid.t;
        for (frames, patches) in frames.chunks(group).zip(patches.chunks_exact_mut(group_len)) {
            self.video_group(frames, size, grid, patches)?;
        }
        Ok(grid)
    }

    /// Writes one group of a clip's frames, `[h * w, patch_len]`: for windows that move on by one group.
    ///
    /// `grid` is the whole clip's, from [`Preprocess::video_grid`]. A group that is not full repeats its last frame.
    ///
    /// # Errors
    /// No frame or more than a group's; buffers of other lengths than size and grid need.
    pub fn video_group(
        &mut self,
        frames: &[&[u8]],
        size: FrameSize,
        grid: Grid,
        patches: &mut [f32],
    ) -> Result<(), PreprocessError> {
        let group = self.rules.patches.temporal_patch_size;
        if frames.is_empty() || group < frames.len() {
            return Err(PreprocessError::BufferLength {
                what: "a group of frames",
                found: frames.len(),
                expected: group,
            });
        }
        let rules = self.rules.video.pixels;
        let patches = self.start_of(patches, Grid { t: 1, ..grid })?;
        for frame in 0..group {
            if let Some(rgb) = frames.get(frame) {
                self.resize(rgb, size, grid, &rules)?;
            }
            self.cut(grid, frame, &self.video_values, patches);
        }
        Ok(())
    }

    fn start_of<'a>(&self, patches: &'a mut [f32], grid: Grid) -> Result<&'a mut [f32], PreprocessError> {
        let expected = grid.n_patches() * self.rules.patches.patch_len();
        let found = patches.len();
        let too_short = PreprocessError::BufferLength { what: "the buffer of patches", found, expected };
        patches.get_mut(..expected).ok_or(too_short)
    }

    fn resize(
        &mut self,
        rgb: &[u8],
        size: FrameSize,
        grid: Grid,
        rules: &PixelRules,
    ) -> Result<(), PreprocessError> {
        let (found, expected) = (rgb.len(), size.rgb_bytes());
        if found != expected {
            return Err(PreprocessError::BufferLength { what: "the frame", found, expected });
        }
        let target = grid.frame_size(self.rules.patches.patch_size);
        self.resized.resize(target.rgb_bytes(), 0);
        match rules.resample {
            Some(resample) => self.resizer.resize(rgb, size, &mut self.resized, target, resample),
            None => self.resized.copy_from_slice(rgb),
        }
        Ok(())
    }

    /// Writes the resized frame as frame `frame` of every patch of one group.
    fn cut(&self, grid: Grid, frame: usize, values: &ByteValues, patches: &mut [f32]) {
        let layout = self.rules.patches;
        let (side, merge) = (layout.patch_size, layout.merge_size);
        let (area, channel_len) = (side * side, layout.temporal_patch_size * side * side);
        let row_bytes = grid.w * side * 3;
        let (squares_down, squares_across) = (grid.h / merge, grid.w / merge);
        let places = (0..squares_down).flat_map(|sy| {
            (0..squares_across).flat_map(move |sx| {
                (0..merge).flat_map(move |y| (0..merge).map(move |x| (sy * merge + y, sx * merge + x)))
            })
        });
        for (patch, (patch_y, patch_x)) in patches.chunks_exact_mut(layout.patch_len()).zip(places) {
            for y in 0..side {
                let start = (patch_y * side + y) * row_bytes + patch_x * side * 3;
                let row = &self.resized[start..][..side * 3];
                for (channel, table) in values.iter().enumerate() {
                    let out = &mut patch[channel * channel_len + frame * area + y * side..][..side];
                    for (o, pixel) in out.iter_mut().zip(row.chunks_exact(3)) {
                        *o = table[usize::from(pixel[channel])];
                    }
                }
            }
        }
    }
}
