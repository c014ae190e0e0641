//! JPEG and PNG from a topic to packed RGB, into a buffer that is already there.
//!
//! The header is read first and its size held against the buffer, so a lying header costs nothing. The decoders keep
//! working memory of their own, bounded by the pixel limit; it is freed with each image.
//!
//! Why JPEG is decoded strictly: a truncated image otherwise ends in grey, and a model would answer about it.

use std::io::Cursor;

use image::codecs::png::PngDecoder;
use image::{ColorType, ImageDecoder, Limits};
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

use super::error::{FrameError, ShortName};
use super::grid::FrameSize;
use super::pixel_format::is_depth;

/// The formats of compressed images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// JPEG, baseline and progressive.
    Jpeg,
    /// PNG; 16 bits are cut to 8, alpha is dropped.
    Png,
}

impl Compression {
    /// The compression that a message's `format` names, by substring: `jpeg`, `png`, `rgb8; jpeg compressed bgr8`.
    ///
    /// # Errors
    /// [`FrameError::DepthEncoding`] for `compressedDepth` and compressed depth encodings,
    /// [`FrameError::UnknownCompression`] for other formats.
    pub fn from_format(format: &str) -> Result<Compression, FrameError> {
        let encoding = format.split(';').next().unwrap_or("").trim();
        if format.contains("compressedDepth") || is_depth(encoding) {
            return Err(FrameError::DepthEncoding(ShortName::new(format)));
        }
        if format.contains("jpeg") || format.contains("jpg") {
            Ok(Compression::Jpeg)
        } else if format.contains("png") {
            Ok(Compression::Png)
        } else {
            Err(FrameError::UnknownCompression(ShortName::new(format)))
        }
    }

    /// The format's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Compression::Jpeg => "jpeg",
            Compression::Png => "png",
        }
    }
}

/// Decodes compressed images, keeping what can be kept between them.
#[derive(Debug, Default)]
pub struct Decoder {
    /// Pixels of a PNG that is not RGB, before they are.
    scratch: Vec<u8>,
}

/// More scans than any camera writes; each one costs a pass over the image.
const JPEG_SCANS_MAX: usize = 32;
/// What a PNG decoder may claim beside the pixels.
const PNG_WORK_BYTES_MAX: u64 = 4 << 20;

impl Decoder {
    /// A decoder that has claimed nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Decoder::default()
    }

    /// Decodes a message's `data` of the given `format` to packed RGB at the start of `rgb`, and returns its size.
    ///
    /// # Errors
    /// Those of [`Compression::from_format`]; [`FrameError::TooManyPixels`] if `rgb` is too small, before decoding;
    /// [`FrameError::Corrupt`] otherwise. After an error `rgb` may hold part of an image.
    pub fn decode(&mut self, format: &str, data: &[u8], rgb: &mut [u8]) -> Result<FrameSize, FrameError> {
        match Compression::from_format(format)? {
            Compression::Jpeg => decode_jpeg(data, rgb),
            Compression::Png => self.decode_png(data, rgb),
        }
    }

    /// Bytes that are kept between images.
    #[must_use]
    pub fn reserved_bytes(&self) -> usize {
        self.scratch.capacity()
    }

    fn decode_png(&mut self, data: &[u8], rgb: &mut [u8]) -> Result<FrameSize, FrameError> {
        let corrupt = FrameError::Corrupt(Compression::Png);
        let mut limits = Limits::no_limits();
        limits.max_alloc = Some(8 * (rgb.len() as u64 / 3) + PNG_WORK_BYTES_MAX);
        let decoder = PngDecoder::with_limits(Cursor::new(data), limits).map_err(|_| corrupt)?;
        let (width, height) = decoder.dimensions();
        let size = FrameSize::checked(width, height, rgb.len())?;
        let rgb = &mut rgb[..size.rgb_bytes()];
        let color = decoder.color_type();
        if color == ColorType::Rgb8 {
            decoder.read_image(rgb).map_err(|_| corrupt)?;
            return Ok(size);
        }
        self.scratch.resize(size.n_pixels() * usize::from(color.bytes_per_pixel()), 0);
        decoder.read_image(&mut self.scratch).map_err(|_| corrupt)?;
        // Samples of 16 bits are in the machine's order; the high byte is the 8-bit value.
        let high = usize::from(cfg!(target_endian = "little"));
        let (pixel_bytes, channels) = match color {
            ColorType::L8 => (1, [0, 0, 0]),
            ColorType::La8 => (2, [0, 0, 0]),
            ColorType::Rgba8 => (4, [0, 1, 2]),
            ColorType::L16 => (2, [high; 3]),
            ColorType::La16 => (4, [high; 3]),
            ColorType::Rgb16 => (6, [high, 2 + high, 4 + high]),
            ColorType::Rgba16 => (8, [high, 2 + high, 4 + high]),
            _ => return Err(corrupt),
        };
        for (out, pixel) in rgb.chunks_exact_mut(3).zip(self.scratch.chunks_exact(pixel_bytes)) {
            for (o, c) in out.iter_mut().zip(channels) {
                *o = pixel[c];
            }
        }
        Ok(size)
    }
}

fn decode_jpeg(data: &[u8], rgb: &mut [u8]) -> Result<FrameSize, FrameError> {
    let corrupt = FrameError::Corrupt(Compression::Jpeg);
    let options = DecoderOptions::new_safe()
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX))
        .set_strict_mode(true)
        .jpeg_set_max_scans(JPEG_SCANS_MAX)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(data), options);
    decoder.decode_headers().map_err(|_| corrupt)?;
    let (width, height) = decoder.dimensions().ok_or(corrupt)?;
    let size = FrameSize::checked(width as u32, height as u32, rgb.len())?;
    let rgb = &mut rgb[..size.rgb_bytes()];
    if decoder.output_buffer_size() != Some(rgb.len()) {
        return Err(corrupt);
    }
    decoder.decode_into(rgb).map_err(|_| corrupt)?;
    Ok(size)
}

#[cfg(test)]
mod tests {
    use image::{ExtendedColorType, ImageEncoder, codecs::jpeg::JpegEncoder, codecs::png::PngEncoder};

    use super::*;

    #[test]
    fn formats_are_told_by_substring_and_depth_is_refused() {
        type C = Compression;
        assert_eq!(C::from_format("jpeg"), Ok(C::Jpeg));
        assert_eq!(C::from_format("bgr8; jpeg compressed bgr8"), Ok(C::Jpeg));
        assert_eq!(C::from_format("rgb8; png compressed "), Ok(C::Png));
        let reason = |format| C::from_format(format).unwrap_err().reason();
        assert_eq!(reason("16UC1; compressedDepth png"), "depth_encoding");
        assert_eq!(reason("16UC1; png compressed "), "depth_encoding");
        assert_eq!(reason("h264"), "unknown_compression");
    }

    fn png(color: ExtendedColorType, pixel: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        PngEncoder::new(&mut bytes).write_image(&pixel.repeat(6), 3, 2, color).unwrap();
        bytes
    }

    #[test]
    fn png_of_every_color_type_becomes_rgb() {
        let cases: [(_, &[u8], [u8; 3]); 7] = [
            (ExtendedColorType::Rgb8, &[1, 2, 3], [1, 2, 3]),
            (ExtendedColorType::Rgba8, &[1, 2, 3, 0], [1, 2, 3]),
            (ExtendedColorType::L8, &[9], [9, 9, 9]),
            (ExtendedColorType::La8, &[9, 0], [9, 9, 9]),
            (ExtendedColorType::L16, &0x1234_u16.to_ne_bytes(), [0x12; 3]),
            (ExtendedColorType::Rgb16, &[0x11, 0x11, 0x22, 0x22, 0x33, 0x33], [0x11, 0x22, 0x33]),
            (ExtendedColorType::Rgba16, &[1, 1, 2, 2, 3, 3, 4, 4], [1, 2, 3]),
        ];
        let mut decoder = Decoder::new();
        for (color, pixel, expected) in cases {
            let mut rgb = [0; 21];
            let size = decoder.decode("png", &png(color, pixel), &mut rgb).unwrap();
            assert_eq!((size.width, size.height), (3, 2));
            assert_eq!(rgb[..18], expected.repeat(6), "{color:?}");
            assert_eq!(rgb[18..], [0; 3]);
        }
    }

    #[test]
    fn jpeg_in_color_and_gray_becomes_rgb() {
        for (color, pixel) in [(ExtendedColorType::Rgb8, &[200, 90, 30][..]), (ExtendedColorType::L8, &[77])]
        {
            let mut bytes = Vec::new();
            let encoder = JpegEncoder::new_with_quality(&mut bytes, 95);
            encoder.write_image(&pixel.repeat(17 * 9), 17, 9, color).unwrap();
            let mut rgb = vec![0; 17 * 9 * 3];
            let size = Decoder::new().decode("jpeg", &bytes, &mut rgb).unwrap();
            assert_eq!((size.width, size.height), (17, 9));
            for (i, byte) in rgb.iter().enumerate() {
                assert!(byte.abs_diff(pixel[i % pixel.len().min(3)]) <= 2, "{color:?}");
            }
            bytes.truncate(bytes.len() / 2);
            assert!(Decoder::new().decode("jpeg", &bytes, &mut rgb).is_err());
        }
    }

    #[test]
    fn a_size_over_the_limit_is_refused_from_the_header() {
        let mut bytes = png(ExtendedColorType::L8, &[9]);
        assert_eq!(
            Decoder::new().decode("png", &bytes, &mut [0; 17]),
            Err(FrameError::TooManyPixels { width: 3, height: 2, pixels_max: 5 })
        );
        bytes[30] ^= 1;
        assert_eq!(
            Decoder::new().decode("png", &bytes, &mut [0; 18]),
            Err(FrameError::Corrupt(Compression::Png))
        );
    }
}
