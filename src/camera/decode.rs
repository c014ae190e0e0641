//! JPEG, PNG and GIF, from a topic or a file, to packed RGB in a buffer that is already there.
//!
//! There is one rule for both. The bytes say what an image is; what a message's `format` claims only tells depth from colour. The
//! header is read first and its size held against the buffer, so a lying header costs nothing. EXIF's orientation is followed. The
//! decoders keep working memory of their own, bounded by the pixel limit; it is freed with each image.
//!
//! Why an image that was cut is refused and never shown in part: the rest would be grey, and a model would answer about it.

use std::io::Cursor;

use image::codecs::gif::GifDecoder;
use image::codecs::png::PngDecoder;
use image::metadata::Orientation;
use image::{ColorType, ImageDecoder, Limits};
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

use super::compression::Compression;
use super::encoding::is_depth;
use super::error::{FrameError, ShortName};
use super::grid::FrameSize;
use super::jpeg::{self, Found};

/// Decodes compressed images, keeping what can be kept between them.
#[derive(Debug, Default)]
pub struct Decoder {
    /// A JPEG as its decoder takes it.
    jpeg: Vec<u8>,
    /// Pixels that are not RGB or not upright, before they are.
    scratch: Vec<u8>,
}

/// What a PNG or GIF decoder may claim beside the pixels.
const WORK_BYTES_MAX: u64 = 4 << 20;
/// Nobody's header is longer, with a profile and a thumbnail.
const HEADER_BYTES_MAX: usize = 1 << 18;

impl Decoder {
    /// A decoder that has claimed nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Decoder::default()
    }

    /// Decodes an image to packed RGB, upright, at the start of `rgb`, and returns its size. `format` is what a message says of
    /// it: `jpeg`, `rgb8; png compressed`; it may be empty or wrong.
    ///
    /// # Errors
    /// [`FrameError::DepthEncoding`] if `format` names depth, [`FrameError::UnknownCompression`] if the bytes are of no format that
    /// is known here, [`FrameError::TooManyPixels`] if `rgb` is too small, before decoding; [`FrameError::Corrupt`] otherwise. After
    /// an error `rgb` may hold part of an image.
    pub fn decode(&mut self, format: &str, data: &[u8], rgb: &mut [u8]) -> Result<FrameSize, FrameError> {
        let encoding = format.split(';').next().unwrap_or("").trim();
        if format.contains("compressedDepth") || is_depth(encoding) {
            return Err(FrameError::DepthEncoding(ShortName::new(format)));
        }
        match Compression::of(data).ok_or(FrameError::UnknownCompression(ShortName::new(format)))? {
            Compression::Jpeg => self.decode_jpeg(data, rgb),
            Compression::Png => self.decode_png(data, rgb),
            Compression::Gif => self.decode_gif(data, rgb),
        }
    }

    /// Bytes that are kept between images.
    #[must_use]
    pub fn reserved_bytes(&self) -> usize {
        self.jpeg.capacity() + self.scratch.capacity()
    }

    fn decode_jpeg(&mut self, data: &[u8], rgb: &mut [u8]) -> Result<FrameSize, FrameError> {
        let corrupt = FrameError::Corrupt(Compression::Jpeg);
        let (width, height) = jpeg::dimensions(data).map_err(|_| corrupt)?;
        let size = FrameSize::checked(width, height, rgb.len())?;
        let Found { exif } = jpeg::canonical(data, &mut self.jpeg).map_err(|_| corrupt)?;
        let rgb = &mut rgb[..size.rgb_bytes()];
        let options = DecoderOptions::new_safe()
            .set_max_width(usize::from(u16::MAX))
            .set_max_height(usize::from(u16::MAX))
            .set_strict_mode(true)
            .jpeg_set_out_colorspace(ColorSpace::RGB);
        let mut decoder = JpegDecoder::new_with_options(ZCursor::new(&self.jpeg), options);
        decoder.decode_headers().map_err(|_| corrupt)?;
        if decoder.output_buffer_size() != Some(rgb.len()) {
            return Err(corrupt);
        }
        decoder.decode_into(rgb).map_err(|_| corrupt)?;
        let orientation = exif.and_then(Orientation::from_exif_chunk);
        Ok(self.turn(orientation.unwrap_or(Orientation::NoTransforms), size, rgb))
    }

    fn decode_png(&mut self, data: &[u8], rgb: &mut [u8]) -> Result<FrameSize, FrameError> {
        let corrupt = FrameError::Corrupt(Compression::Png);
        let mut decoder = PngDecoder::with_limits(Cursor::new(data), limits(rgb)).map_err(|_| corrupt)?;
        let (width, height) = decoder.dimensions();
        let size = FrameSize::checked(width, height, rgb.len())?;
        let rgb = &mut rgb[..size.rgb_bytes()];
        let orientation = decoder.orientation().map_err(|_| corrupt)?;
        self.read(decoder, size, rgb, corrupt)?;
        Ok(self.turn(orientation, size, rgb))
    }

    fn decode_gif(&mut self, data: &[u8], rgb: &mut [u8]) -> Result<FrameSize, FrameError> {
        let corrupt = FrameError::Corrupt(Compression::Gif);
        let mut decoder = GifDecoder::new(Cursor::new(data)).map_err(|_| corrupt)?;
        let (width, height) = decoder.dimensions();
        let size = FrameSize::checked(width, height, rgb.len())?;
        decoder.set_limits(limits(rgb)).map_err(|_| corrupt)?;
        self.read(decoder, size, &mut rgb[..size.rgb_bytes()], corrupt)?;
        Ok(size)
    }

    /// Reads an image of any colour type as RGB.
    fn read(
        &mut self,
        decoder: impl ImageDecoder,
        size: FrameSize,
        rgb: &mut [u8],
        corrupt: FrameError,
    ) -> Result<(), FrameError> {
        let color = decoder.color_type();
        if color == ColorType::Rgb8 {
            return decoder.read_image(rgb).map_err(|_| corrupt);
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
        Ok(())
    }

    /// Turns and mirrors an image of `size`, so that it stands upright; returns its size then.
    fn turn(&mut self, orientation: Orientation, size: FrameSize, rgb: &mut [u8]) -> FrameSize {
        let FrameSize { width, height } = size;
        // Whether rows and columns change places, and along which source axis the result runs backwards.
        let (is_transposed, from_right, from_below) = match orientation {
            Orientation::NoTransforms => return size,
            Orientation::FlipHorizontal => (false, true, false),
            Orientation::Rotate180 => (false, true, true),
            Orientation::FlipVertical => (false, false, true),
            Orientation::Rotate90FlipH => (true, false, false),
            Orientation::Rotate90 => (true, false, true),
            Orientation::Rotate270FlipH => (true, true, true),
            Orientation::Rotate270 => (true, true, false),
        };
        self.scratch.clear();
        self.scratch.extend_from_slice(rgb);
        let turned = if is_transposed { FrameSize { width: height, height: width } } else { size };
        for (i, out) in rgb.chunks_exact_mut(3).enumerate() {
            let (x, y) = (i % turned.width, i / turned.width);
            let (x, y) = if is_transposed { (y, x) } else { (x, y) };
            let (x, y) =
                (if from_right { width - 1 - x } else { x }, if from_below { height - 1 - y } else { y });
            out.copy_from_slice(&self.scratch[3 * (y * width + x)..][..3]);
        }
        turned
    }
}

/// Width and height as the header says them, for who must make room first.
///
/// # Errors
/// [`FrameError::UnknownCompression`] (of no format), [`FrameError::Corrupt`].
pub(super) fn dimensions(data: &[u8]) -> Result<(u32, u32), FrameError> {
    let compression = Compression::of(data).ok_or(FrameError::UnknownCompression(ShortName::new("")))?;
    let corrupt = FrameError::Corrupt(compression);
    match compression {
        Compression::Jpeg => jpeg::dimensions(data).map_err(|_| corrupt),
        Compression::Png => {
            PngDecoder::new(Cursor::new(data)).map(|decoder| decoder.dimensions()).map_err(|_| corrupt)
        }
        Compression::Gif => {
            GifDecoder::new(Cursor::new(data)).map(|decoder| decoder.dimensions()).map_err(|_| corrupt)
        }
    }
}

/// Width and height as the header of a JPEG or a PNG says them, without a look at the rest; `None` where it says none.
///
/// It does not allocate, and believes what it reads: for who only compares sizes.
pub fn size_in_header(data: &[u8]) -> Option<(u32, u32)> {
    match Compression::of(data)? {
        Compression::Jpeg => jpeg::size(&data[..data.len().min(HEADER_BYTES_MAX)]),
        Compression::Png => {
            let at = |offset| Some(u32::from_be_bytes(*data.get(offset..)?.first_chunk()?));
            Some((at(16)?, at(20)?))
        }
        Compression::Gif => None,
    }
}

/// Channels as the header of a JPEG or a PNG says them: 3 of packed colour, 1 of grey. As [`size_in_header`].
pub fn channels_in_header(data: &[u8]) -> Option<u8> {
    match Compression::of(data)? {
        Compression::Jpeg => jpeg::channels(&data[..data.len().min(HEADER_BYTES_MAX)]),
        Compression::Png => match data.get(25)? {
            0 => Some(1),
            2 => Some(3),
            4 => Some(2),
            6 => Some(4),
            // A palette's numbers.
            _ => None,
        },
        Compression::Gif => None,
    }
}

fn limits(rgb: &[u8]) -> Limits {
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(8 * (rgb.len() as u64 / 3) + WORK_BYTES_MAX);
    limits
}

#[cfg(test)]
mod tests {
    use image::{ExtendedColorType, ImageEncoder, codecs::jpeg::JpegEncoder, codecs::png::PngEncoder};

    use super::*;

    #[test]
    fn the_bytes_say_what_an_image_is_and_the_format_only_whether_it_is_depth() {
        let picture = png(ExtendedColorType::L8, &[9]);
        let decode = |format: &str, data: &[u8]| {
            Decoder::new().decode(format, data, &mut [0; 18]).map(|size| size.width).map_err(|e| e.reason())
        };
        for format in ["png", "jpeg", "", "h264", "bgr8; jpeg compressed bgr8", "mono16; png compressed "] {
            assert_eq!(decode(format, &picture), Ok(3), "{format}");
        }
        assert_eq!(decode("16UC1; compressedDepth png", &picture), Err("depth_encoding"));
        assert_eq!(decode("16UC1; png compressed ", &picture), Err("depth_encoding"));
        for format in ["h264", "jpeg", "png"] {
            assert_eq!(decode(format, b"\0\0\0\x01\x67"), Err("unknown_compression"));
        }
    }

    #[test]
    fn an_image_is_turned_as_the_image_crate_turns_it() {
        let rgb: Vec<u8> = (0..18).collect();
        for exif in 1..=8 {
            let orientation = Orientation::from_exif(exif).unwrap();
            let mut expected =
                image::DynamicImage::ImageRgb8(image::RgbImage::from_raw(3, 2, rgb.clone()).unwrap());
            expected.apply_orientation(orientation);
            let mut turned = rgb.clone();
            let size = Decoder::new().turn(orientation, FrameSize { width: 3, height: 2 }, &mut turned);
            assert_eq!((size.width as u32, size.height as u32), (expected.width(), expected.height()));
            assert_eq!(turned, expected.as_bytes(), "{orientation:?}");
        }
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
    fn a_header_says_the_size_and_nothing_is_too_hostile_for_it() {
        let mut jpeg = Vec::new();
        let encoder = JpegEncoder::new_with_quality(&mut jpeg, 95);
        encoder.write_image(&[7; 17 * 9], 17, 9, ExtendedColorType::L8).unwrap();
        for (bytes, size) in [(jpeg, (17, 9)), (png(ExtendedColorType::L8, &[9]), (3, 2))] {
            assert_eq!(size_in_header(&bytes), Some(size));
            assert!((0..bytes.len()).all(|n| size_in_header(&bytes[..n]).is_none_or(|told| told == size)));
            for bit in 0..8 * bytes.len() {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                size_in_header(&flipped);
            }
        }
        assert_eq!([&b""[..], b"GIF89a", b"h264", b"\xff\xd8"].map(size_in_header), [None; 4]);
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
