//! Pixels as an image file.

use std::io::Cursor;

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};

use super::grid::FrameSize;

/// Packed RGB `[height, width, 3]` as a PNG, coded fast rather than small.
///
/// # Panics
/// If there are not three bytes for each pixel.
#[must_use]
pub fn png(rgb: &[u8], size: FrameSize) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let encoder = PngEncoder::new_with_quality(&mut bytes, CompressionType::Fast, FilterType::Adaptive);
    let (width, height) = (size.width as u32, size.height as u32);
    encoder.write_image(rgb, width, height, ExtendedColorType::Rgb8).expect("memory takes it");
    bytes.into_inner()
}
