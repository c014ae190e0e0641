//! A checkpoint's processor configuration to [`Preprocess`], with the reference's defaults for what it leaves out.
//!
//! Newer checkpoints nest everything in `processor_config.json`; older ones have `preprocessor_config.json` and
//! `video_preprocessor_config.json`. As in the reference, nested sections go first, and a checkpoint without any video
//! configuration takes the image's for clips.

use serde_json::{Map, Value};

use super::error::PreprocessError;
use super::grid::PatchLayout;
use super::preprocess::{ImageRules, Normalize, PixelRules, Preprocess, Resample, VideoRules};

/// The parsed JSON files of a checkpoint, as far as it has them.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessorConfigs<'a> {
    /// `processor_config.json`
    pub processor: Option<&'a Value>,
    /// `preprocessor_config.json`
    pub image: Option<&'a Value>,
    /// `video_preprocessor_config.json`
    pub video: Option<&'a Value>,
}

/// A processor configuration that cannot be followed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessorConfigError {
    /// No file tells how images are preprocessed.
    #[error(
        "neither processor_config.json (with `image_processor`) nor preprocessor_config.json; add one to the checkpoint"
    )]
    Missing,
    /// A value of the wrong kind.
    #[error("{file}: `{key}` is {found}; expected {expected}")]
    Value {
        /// The file.
        file: &'static str,
        /// The key.
        key: &'static str,
        /// What stands there, cut to a readable length.
        found: String,
        /// What should.
        expected: &'static str,
    },
    /// Images and clips go through one vision network, so they are cut up alike.
    #[error(
        "image and video processors cut patches differently: {image:?} and {video:?}; the vision network has one layout"
    )]
    LayoutsDiffer {
        /// The image processor's.
        image: PatchLayout,
        /// The video processor's.
        video: PatchLayout,
    },
    /// A number out of range.
    #[error("processor configuration: {0}")]
    Rule(#[from] PreprocessError),
}

impl ProcessorConfigs<'_> {
    /// The rules that the files give.
    ///
    /// # Errors
    /// [`ProcessorConfigError`] with file, key, what stands there and what should.
    pub fn preprocess(&self) -> Result<Preprocess, ProcessorConfigError> {
        let nested = |key| self.processor.and_then(|processor| processor.get(key));
        let image = match (nested("image_processor"), self.image) {
            (Some(value), _) => Section::new("processor_config.json", "image_processor", value)?,
            (None, Some(value)) => Section::new("preprocessor_config.json", "(whole file)", value)?,
            (None, None) => return Err(ProcessorConfigError::Missing),
        };
        let video = match (nested("video_processor"), self.video, self.image) {
            (Some(value), _, _) => Section::new("processor_config.json", "video_processor", value)?,
            (None, Some(value), _) => Section::new("video_preprocessor_config.json", "(whole file)", value)?,
            (None, None, Some(value)) => Section::new("preprocessor_config.json", "(whole file)", value)?,
            (None, None, None) => Section { file: image.file, values: image.values },
        };
        image.check_type(
            "image_processor_type",
            "Qwen2VLImageProcessor",
            "Qwen2VLImageProcessor, Fast or not",
        )?;
        video.check_type("video_processor_type", "Qwen3VLVideoProcessor", "Qwen3VLVideoProcessor")?;
        let patches = image.layout(14)?;
        let video_patches = video.layout(16)?;
        if patches != video_patches {
            return Err(ProcessorConfigError::LayoutsDiffer { image: patches, video: video_patches });
        }
        let rules = Preprocess {
            patches,
            image: ImageRules { pixels: image.image_pixels()? },
            video: video.video()?,
        };
        rules.check()?;
        Ok(rules)
    }
}

/// The defaults of `Qwen2VLImageProcessor`.
const IMAGE_PIXELS: [u64; 2] = [56 * 56, 28 * 28 * 1280];
/// Mean and deviation of CLIP's training images.
const CLIP: Normalize = Normalize {
    mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
    std: [0.268_629_54, 0.261_302_6, 0.275_777_1],
};
/// The defaults of `Qwen3VLVideoProcessor`.
const VIDEO_PIXELS: [u64; 2] = [128 * 32 * 32, 32 * 32 * 768];
const HALF: Normalize = Normalize { mean: [0.5; 3], std: [0.5; 3] };

/// One processor's values and the file they come from.
struct Section<'a> {
    file: &'static str,
    values: &'a Map<String, Value>,
}

impl<'a> Section<'a> {
    fn new(file: &'static str, key: &'static str, value: &'a Value) -> Result<Self, ProcessorConfigError> {
        match value.as_object() {
            Some(values) => Ok(Section { file, values }),
            None => Err(wrong(file, key, value, "an object")),
        }
    }

    fn layout(&self, patch_size: u64) -> Result<PatchLayout, ProcessorConfigError> {
        Ok(PatchLayout {
            patch_size: self.count("patch_size", patch_size)? as usize,
            temporal_patch_size: self.count("temporal_patch_size", 2)? as usize,
            merge_size: self.count("merge_size", 2)? as usize,
        })
    }

    fn image_pixels(&self) -> Result<PixelRules, ProcessorConfigError> {
        // The older names override the size, and stand in for it where it lacks an edge.
        let [min, max] = [self.pixels_of("min_pixels")?, self.pixels_of("max_pixels")?];
        let pixels = self.size(IMAGE_PIXELS, [min, max])?;
        self.pixels(pixels, CLIP)
    }

    fn video(&self) -> Result<VideoRules, ProcessorConfigError> {
        if let Some(value) = self.get("num_frames") {
            return Err(wrong(self.file, "num_frames", value, "nothing, since `fps` sets the sampling"));
        }
        let pixels = self.size(VIDEO_PIXELS, [None, None])?;
        Ok(VideoRules {
            pixels: self.pixels(pixels, HALF)?,
            do_sample_frames: self.flag("do_sample_frames", true)?,
            fps: self.number("fps", 2.0)?,
            frames_min: self.count("min_frames", 4)? as usize,
            frames_max: self.count("max_frames", 768)? as usize,
            cap_pixels_per_frame: self.flag("cap_pixels_per_frame", false)?,
            tokens_per_frame_max: self.count("max_video_tokens", 768)? as usize,
        })
    }

    fn pixels(
        &self,
        [pixels_min, pixels_max]: [u64; 2],
        normalize: Normalize,
    ) -> Result<PixelRules, ProcessorConfigError> {
        let resample = match self.get("resample").map(|value| (value, value.as_u64())) {
            None | Some((_, Some(3))) => Resample::Bicubic,
            Some((_, Some(2))) => Resample::Bilinear,
            Some((value, _)) => {
                return Err(wrong(self.file, "resample", value, "2 (bilinear) or 3 (bicubic)"));
            }
        };
        let normalize = Normalize {
            mean: self.channels("image_mean", normalize.mean)?,
            std: self.channels("image_std", normalize.std)?,
        };
        let rescale = self.number("rescale_factor", 1.0 / 255.0)?;
        Ok(PixelRules {
            resample: self.flag("do_resize", true)?.then_some(resample),
            pixels_min,
            pixels_max,
            rescale: self.flag("do_rescale", true)?.then_some(rescale),
            normalize: self.flag("do_normalize", true)?.then_some(normalize),
        })
    }

    /// Fewest and most pixels: `size.shortest_edge` and `size.longest_edge`, which are areas despite their names.
    fn size(
        &self,
        defaults: [u64; 2],
        overrides: [Option<u64>; 2],
    ) -> Result<[u64; 2], ProcessorConfigError> {
        let mut edges = overrides;
        for (k, key) in ["shortest_edge", "longest_edge"].into_iter().enumerate() {
            let default = match self.get("size") {
                None => Some(defaults[k]),
                Some(size) => size.get(key).and_then(Value::as_u64),
            };
            edges[k] = edges[k].or(default);
        }
        match (edges, self.get("size")) {
            ([Some(min), Some(max)], _) => Ok([min, max]),
            (_, size) => {
                let expected = "an object with the whole numbers `shortest_edge` and `longest_edge`";
                Err(wrong(self.file, "size", size.unwrap_or(&Value::Null), expected))
            }
        }
    }

    fn pixels_of(&self, key: &'static str) -> Result<Option<u64>, ProcessorConfigError> {
        self.get(key)
            .map(|value| value.as_u64().ok_or_else(|| wrong(self.file, key, value, "a whole number")))
            .transpose()
    }

    fn count(&self, key: &'static str, default: u64) -> Result<u64, ProcessorConfigError> {
        match self.get(key).map(|value| (value, value.as_u64())) {
            None => Ok(default),
            Some((_, Some(count))) if count <= 1 << 32 => Ok(count),
            Some((value, _)) => Err(wrong(self.file, key, value, "a whole number")),
        }
    }

    fn number(&self, key: &'static str, default: f64) -> Result<f64, ProcessorConfigError> {
        let Some(value) = self.get(key) else { return Ok(default) };
        value.as_f64().ok_or_else(|| wrong(self.file, key, value, "a number"))
    }

    fn flag(&self, key: &'static str, default: bool) -> Result<bool, ProcessorConfigError> {
        let Some(value) = self.get(key) else { return Ok(default) };
        value.as_bool().ok_or_else(|| wrong(self.file, key, value, "true or false"))
    }

    /// Three numbers, or one for all channels.
    fn channels(&self, key: &'static str, default: [f32; 3]) -> Result<[f32; 3], ProcessorConfigError> {
        let Some(value) = self.get(key) else { return Ok(default) };
        let expected = || wrong(self.file, key, value, "three numbers, one for each of red, green, blue");
        if let Some(number) = value.as_f64() {
            return Ok([number as f32; 3]);
        }
        let numbers = value.as_array().ok_or_else(expected)?;
        let numbers: Option<Vec<f32>> = numbers.iter().map(|n| n.as_f64().map(|n| n as f32)).collect();
        numbers.and_then(|numbers| numbers.try_into().ok()).ok_or_else(expected)
    }

    fn check_type(
        &self,
        key: &'static str,
        start: &str,
        expected: &'static str,
    ) -> Result<(), ProcessorConfigError> {
        match self.get(key) {
            Some(value) if !value.as_str().is_some_and(|name| name.starts_with(start)) => {
                Err(wrong(self.file, key, value, expected))
            }
            _ => Ok(()),
        }
    }

    /// A key that is null counts as absent.
    fn get(&self, key: &str) -> Option<&'a Value> {
        self.values.get(key).filter(|value| !value.is_null())
    }
}

fn wrong(
    file: &'static str,
    key: &'static str,
    value: &Value,
    expected: &'static str,
) -> ProcessorConfigError {
    let mut found = value.to_string();
    if let Some((cut, _)) = found.char_indices().nth(80) {
        found.truncate(cut);
        found.push('…');
    }
    ProcessorConfigError::Value { file, key, found, expected }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn image_only(image: Value) -> Result<Preprocess, ProcessorConfigError> {
        let processor = json!({"image_processor": image, "video_processor": {"patch_size": 14}});
        ProcessorConfigs { processor: Some(&processor), ..Default::default() }.preprocess()
    }

    #[test]
    fn nothing_said_means_the_reference_s_defaults() {
        let rules = image_only(json!({})).unwrap();
        assert_eq!(rules.patches, PatchLayout { patch_size: 14, temporal_patch_size: 2, merge_size: 2 });
        assert_eq!((rules.image.pixels.pixels_min, rules.image.pixels.pixels_max), (3136, 1_003_520));
        assert_eq!(rules.image.pixels.normalize, Some(CLIP));
        assert_eq!((rules.video.pixels.pixels_min, rules.video.pixels.pixels_max), (131_072, 786_432));
        assert_eq!((rules.video.fps, rules.video.frames_min, rules.video.frames_max), (2.0, 4, 768));
        assert!(rules.video.do_sample_frames && !rules.video.cap_pixels_per_frame);
    }

    #[test]
    fn the_older_files_are_read_and_the_nested_one_goes_first() {
        let image = json!({"patch_size": 16, "size": {"shortest_edge": 65536, "longest_edge": 16777216}});
        let video =
            json!({"patch_size": 16, "size": {"shortest_edge": 4096, "longest_edge": 25165824}, "fps": 4});
        let files = ProcessorConfigs { processor: None, image: Some(&image), video: Some(&video) };
        let rules = files.preprocess().unwrap();
        assert_eq!((rules.image.pixels.pixels_max, rules.video.pixels.pixels_max), (16_777_216, 25_165_824));
        assert_eq!(rules.video.fps, 4.0);

        let without_sections = json!({"processor_class": "Qwen3VLProcessor"});
        assert_eq!(ProcessorConfigs { processor: Some(&without_sections), ..files }.preprocess(), Ok(rules));
        let nested = json!({"video_processor": {"patch_size": 16, "fps": 8}});
        let nested = ProcessorConfigs { processor: Some(&nested), ..files }.preprocess().unwrap();
        assert_eq!((nested.video.fps, nested.image), (8.0, rules.image));

        let no_video = ProcessorConfigs { video: None, ..files }.preprocess().unwrap();
        assert_eq!(no_video.video.pixels.pixels_max, 16_777_216);
    }

    #[test]
    fn the_oldest_names_override_the_size() {
        let rules = image_only(json!({"min_pixels": 784, "max_pixels": 50176, "size": {"min_pixels": 1}}));
        let pixels = rules.unwrap().image.pixels;
        assert_eq!((pixels.pixels_min, pixels.pixels_max), (784, 50176));
    }

    #[test]
    fn what_cannot_be_followed_is_said_with_file_and_key() {
        let message = |image| image_only(image).unwrap_err().to_string();
        let cases = [
            (json!({"size": {"height": 3}}), "size"),
            (json!({"size": 224}), "size"),
            (json!({"resample": 1}), "bicubic"),
            (json!({"image_mean": [0.5, 0.5]}), "image_mean"),
            (json!({"image_std": [0.5, 0.0, 0.5]}), "std"),
            (json!({"patch_size": -1}), "patch_size"),
            (json!({"patch_size": 0}), "differently"),
            (json!({"do_resize": 1}), "do_resize"),
            (json!({"image_processor_type": "SiglipImageProcessor"}), "Siglip"),
            (json!({"size": {"shortest_edge": 0, "longest_edge": 9}}), "pixels_min"),
            (json!([]), "image_processor"),
        ];
        for (image, part) in cases {
            let message = message(image);
            assert!(message.contains(part), "`{message}` does not name {part}");
        }
        assert_eq!(ProcessorConfigs::default().preprocess(), Err(ProcessorConfigError::Missing));
    }
}
