//! From message bytes to network input: pixel formats, compressed images, resizing, patches.
//!
//! A camera's image goes three steps: [`convert`] or [`Decoder`] makes packed RGB of whatever arrived and refuses the rest with a
//! [`FrameError`]; [`Preprocess`] says to which size it is resized and into how many tokens it is cut ([`Grid`]); a
//! [`Preprocessor`] does it into the caller's buffer. The last two follow the reference processors (Hugging Face
//! `Qwen2VLImageProcessor` and `Qwen3VLVideoProcessor` on torchvision) to the last bit: golden cases hold them to it.
//!
//! Architecture invariant: nothing here knows ROS. Encodings are named as ROS names them since cameras do.

mod bayer;
mod compression;
mod convert;
mod decode;
mod encode;
mod encoding;
mod error;
mod files;
mod grid;
mod jpeg;
mod jpeg_tables;
mod picture;
mod pixel_format;
mod preprocess;
mod preprocessor;
mod processor_config;
mod resize;
mod rows;
mod video;

pub use compression::Compression;
pub use convert::{RawFrame, convert};
pub use decode::{Decoder, channels_in_header, size_in_header};
pub use encode::png;
pub use error::{FrameError, PreprocessError, ShortName};
pub use files::{
    FrameFiles, Image, ImageFileError, frame_files, load_frames, load_frames_dir, load_image, natural_order,
};
pub use grid::{FrameSize, Grid, PatchLayout};
pub use picture::{Picture, PictureDigest};
pub use pixel_format::PixelFormat;
pub use preprocess::{ByteValues, ImageRules, Normalize, PixelRules, Preprocess, Resample, VideoRules};
pub use preprocessor::Preprocessor;
pub use processor_config::{ProcessorConfigError, ProcessorConfigs};
pub use resize::{Resizer, Taps};
pub use video::VideoLayout;

#[cfg(test)]
mod tests;
