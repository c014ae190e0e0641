//! The rules by which frames become patches: to which size, how normalised, how many tokens.
//!
//! They come from a checkpoint's processor configuration, travel in the manifest of model and engine, and follow the
//! reference processors (Hugging Face `Qwen2VLImageProcessor`, `Qwen3VLVideoProcessor`) in every rounding.

use serde::{Deserialize, Serialize};

use super::error::PreprocessError;
use super::grid::{FrameSize, Grid, PatchLayout};

/// The filter of a resize, always with antialiasing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resample {
    /// Triangle of width 2.
    Bilinear,
    /// Keys' cubic with a = −0.5, of width 4.
    Bicubic,
}

/// Mean and deviation by channel, of values after rescaling.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalize {
    /// Subtracted.
    pub mean: [f32; 3],
    /// Divided by; not zero.
    pub std: [f32; 3],
}

/// What is done to the pixels, and the limits of their number.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PixelRules {
    /// The filter; none if frames must already have a size that fits.
    pub resample: Option<Resample>,
    /// Pixels at least (`shortest_edge` of the configuration; of a video: of all its frames together).
    pub pixels_min: u64,
    /// Pixels at most (`longest_edge`).
    pub pixels_max: u64,
    /// Factor to bytes, usually 1/255.
    pub rescale: Option<f64>,
    /// Applied after rescaling.
    pub normalize: Option<Normalize>,
}

/// What each byte becomes, by channel.
pub type ByteValues = Box<[[f32; 256]; 3]>;

impl PixelRules {
    /// Rescaling and normalising as a table: they have only 256 answers. The reference folds the rescaling into mean and
    /// deviation, in f32; so does this.
    #[must_use]
    pub fn byte_values(&self) -> ByteValues {
        let mut table = Box::new([[0.0; 256]; 3]);
        for (channel, values) in table.iter_mut().enumerate() {
            for (byte, value) in values.iter_mut().enumerate() {
                let byte = byte as f32;
                *value = match (self.normalize, self.rescale) {
                    (Some(normalize), rescale) => {
                        let scale = rescale.map_or(1.0, |factor| (1.0 / factor) as f32);
                        (byte - normalize.mean[channel] * scale) / (normalize.std[channel] * scale)
                    }
                    (None, Some(factor)) => byte * factor as f32,
                    (None, None) => byte,
                };
            }
        }
        table
    }
}

/// Rules for single images.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageRules {
    /// Sizes and values.
    pub pixels: PixelRules,
}

/// Rules for clips.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VideoRules {
    /// Sizes and values.
    pub pixels: PixelRules,
    /// Whether frames are sampled at `fps` (a caller may ask otherwise).
    pub do_sample_frames: bool,
    /// Frames a second that are sampled.
    pub fps: f64,
    /// Frames sampled at least, if there are as many.
    pub frames_min: usize,
    /// Frames sampled at most.
    pub frames_max: usize,
    /// Caps each frame as `qwen-vl-utils` does: at most `tokens_per_frame_max` and an even share of `pixels_max`.
    pub cap_pixels_per_frame: bool,
    /// See `cap_pixels_per_frame`.
    pub tokens_per_frame_max: usize,
}

/// All rules of a model. Written into manifests.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocess {
    /// How frames are cut up.
    pub patches: PatchLayout,
    /// Rules for images.
    pub image: ImageRules,
    /// Rules for clips.
    pub video: VideoRules,
}

/// No frame is over this many times longer than wide.
const ASPECT_RATIO_MAX: f64 = 200.0;
/// Pixels beyond which no rule may ask for an enlargement.
const PIXELS_MAX: u64 = 1 << 32;

#[cfg(test)]
impl Preprocess {
    /// Rules by which tests cut up images and clips.
    pub(crate) fn of_tests(patch_size: usize, pixels: PixelRules) -> Self {
        let video = VideoRules {
            pixels,
            do_sample_frames: true,
            fps: 2.0,
            frames_min: 1,
            frames_max: 8,
            cap_pixels_per_frame: false,
            tokens_per_frame_max: 1,
        };
        let patches = PatchLayout { patch_size, temporal_patch_size: 2, merge_size: 2 };
        Self { patches, image: ImageRules { pixels }, video }
    }
}

impl Preprocess {
    /// Checks rules that came from outside, so that no later sum overflows and nothing is divided by zero.
    ///
    /// # Errors
    /// [`PreprocessError::Rule`] naming the first rule out of range.
    pub fn check(&self) -> Result<(), PreprocessError> {
        let PatchLayout { patch_size, temporal_patch_size, merge_size } = self.patches;
        within("patch_size", patch_size as f64, 1.0, 256.0, "1 to 256")?;
        within("temporal_patch_size", temporal_patch_size as f64, 1.0, 16.0, "1 to 16")?;
        within("merge_size", merge_size as f64, 1.0, 16.0, "1 to 16")?;
        for pixels in [&self.image.pixels, &self.video.pixels] {
            let range = (1.0, PIXELS_MAX as f64, "1 to 2^32");
            within("pixels_min", pixels.pixels_min as f64, range.0, range.1, range.2)?;
            within("pixels_max", pixels.pixels_max as f64, range.0, range.1, range.2)?;
            let finite = (f64::MIN_POSITIVE, f64::from(f32::MAX), "a positive number");
            within("rescale", pixels.rescale.unwrap_or(1.0), finite.0, finite.1, finite.2)?;
            for k in 0..3 {
                let Normalize { mean, std } =
                    pixels.normalize.unwrap_or(Normalize { mean: [0.0; 3], std: [1.0; 3] });
                within("mean", f64::from(mean[k]).abs(), 0.0, 1e30, "a number")?;
                within("std", f64::from(std[k]), 1e-30, 1e30, "a positive number")?;
            }
        }
        let video = &self.video;
        within("fps", video.fps, 1e-6, 1e6, "a positive number")?;
        within("frames_min", video.frames_min as f64, 0.0, 1e6, "0 to 1,000,000")?;
        within("frames_max", video.frames_max as f64, 1.0, 1e6, "1 to 1,000,000")?;
        within("tokens_per_frame_max", video.tokens_per_frame_max as f64, 1.0, 1e9, "1 to 10^9")
    }

    /// Lowers the limits so that an image takes at most `n_tokens` tokens, unless it is a thin strip:
    /// one square across is kept whatever the limit, as in the reference, so the grid must still be checked.
    pub fn limit_image_tokens(&mut self, n_tokens: usize) {
        let pixels = n_tokens as u64 * (self.patches.factor() as u64).pow(2);
        let rules = &mut self.image.pixels;
        rules.pixels_max = rules.pixels_max.min(pixels);
        rules.pixels_min = rules.pixels_min.min(rules.pixels_max);
    }

    /// The patches of an image of this size.
    ///
    /// # Errors
    /// Zero sizes and extreme shapes are refused, as are sizes that do not fit where nothing is resized.
    pub fn image_grid(&self, size: FrameSize) -> Result<Grid, PreprocessError> {
        let rules = &self.image.pixels;
        if rules.resample.is_none() {
            return self.grid_of(1, size);
        }
        let resized = self.resized(size, 1, 1, rules.pixels_min, rules.pixels_max)?;
        self.grid_of(1, resized)
    }

    /// The patches of a clip of `n_frames` frames of this size (after sampling); the last frame is repeated to fill a group.
    ///
    /// # Errors
    /// As [`Preprocess::image_grid`]; and clips shorter than one group.
    pub fn video_grid(&self, n_frames: usize, size: FrameSize) -> Result<Grid, PreprocessError> {
        let rules = &self.video.pixels;
        let group = self.patches.temporal_patch_size;
        if n_frames == 0 || (rules.resample.is_some() && n_frames < group) {
            return Err(PreprocessError::TooFewFrames { n_frames, frames_min: group });
        }
        let n_groups = n_frames.div_ceil(group);
        if rules.resample.is_none() {
            return self.grid_of(n_groups, size);
        }
        let mut pixels_max = rules.pixels_max;
        if self.video.cap_pixels_per_frame {
            let factor = self.patches.factor() as u64;
            let share =
                (self.video.tokens_per_frame_max as u64 * factor * factor).min(pixels_max / n_frames as u64);
            pixels_max = share.max((rules.pixels_min as f64 * 1.05) as u64) * n_frames as u64;
        }
        // Sizes below one square are enlarged first, so that the shape survives the rounding.
        let factor = self.patches.factor();
        check_size(size)?;
        let mut size = size;
        if size.height < factor || size.width < factor {
            let scale = (factor as f64 / size.height as f64).max(factor as f64 / size.width as f64);
            size.height = (size.height as f64 * scale) as usize;
            size.width = (size.width as f64 * scale) as usize;
        }
        let rounded = round_to(n_frames, group);
        let resized = self.resized(size, n_frames, rounded, rules.pixels_min, pixels_max)?;
        self.grid_of(n_groups, resized)
    }

    /// The nearest multiples of the factor, scaled into the limits. `rounded_frames` counts against the limits,
    /// `n_frames` sets the scale, as in the reference.
    fn resized(
        &self,
        size: FrameSize,
        n_frames: usize,
        rounded_frames: usize,
        pixels_min: u64,
        pixels_max: u64,
    ) -> Result<FrameSize, PreprocessError> {
        let FrameSize { width, height } = size;
        check_size(size)?;
        let aspect_ratio = width.max(height) as f64 / width.min(height) as f64;
        if ASPECT_RATIO_MAX < aspect_ratio {
            return Err(PreprocessError::AspectRatio { width, height });
        }
        let factor = self.patches.factor();
        let (h, w) = (height as f64, width as f64);
        let n_pixels = n_frames as f64 * h * w;
        let [mut out_h, mut out_w] = [round_to(height, factor), round_to(width, factor)];
        let n_rounded = rounded_frames as f64 * out_h as f64 * out_w as f64;
        let squares = |v: f64| v as usize * factor;
        if (pixels_max as f64) < n_rounded {
            let beta = (n_pixels / pixels_max as f64).sqrt();
            out_h = squares((h / beta / factor as f64).floor()).max(factor);
            out_w = squares((w / beta / factor as f64).floor()).max(factor);
        } else if n_rounded < pixels_min as f64 {
            let beta = (pixels_min as f64 / n_pixels).sqrt();
            out_h = squares((h * beta / factor as f64).ceil());
            out_w = squares((w * beta / factor as f64).ceil());
        }
        check_size(FrameSize { width: out_w, height: out_h })?;
        Ok(FrameSize { width: out_w, height: out_h })
    }

    fn grid_of(&self, t: usize, size: FrameSize) -> Result<Grid, PreprocessError> {
        let FrameSize { width, height } = size;
        let factor = self.patches.factor();
        check_size(size)?;
        if !width.is_multiple_of(factor) || !height.is_multiple_of(factor) {
            return Err(PreprocessError::DoesNotFit { width, height, factor });
        }
        Ok(Grid { t, h: height / self.patches.patch_size, w: width / self.patches.patch_size })
    }
}

fn within(
    rule: &'static str,
    found: f64,
    min: f64,
    max: f64,
    expected: &'static str,
) -> Result<(), PreprocessError> {
    if (min..=max).contains(&found) { Ok(()) } else { Err(PreprocessError::Rule { rule, found, expected }) }
}

fn check_size(FrameSize { width, height }: FrameSize) -> Result<(), PreprocessError> {
    if width == 0 || height == 0 { Err(PreprocessError::ZeroSize { width, height }) } else { Ok(()) }
}

/// The nearest multiple of `factor`, ties to the even one.
fn round_to(length: usize, factor: usize) -> usize {
    (length as f64 / factor as f64).round_ties_even() as usize * factor
}
