//! Raw images of any accepted encoding to packed RGB, into a buffer that is already there.
//!
//! Everything that the message claims is checked against the bytes that came, in 64-bit arithmetic, before a pixel is
//! touched. YUV follows ITU-R BT.601 with the limited range (16..=235), which is what UVC cameras and OpenCV mean by it.

use super::bayer;
use super::error::FrameError;
use super::grid::FrameSize;
use super::pixel_format::PixelFormat;
use super::rows::Rows;

/// A raw image as a message claims it.
#[derive(Clone, Copy, Debug)]
pub struct RawFrame<'a> {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Bytes from one row to the next.
    pub step: u32,
    /// The encoding's name.
    pub encoding: &'a str,
    /// Whether samples of 16 bits stand most significant byte first.
    pub is_bigendian: bool,
    /// The rows; more bytes than the size needs are ignored (they may be padding).
    pub data: &'a [u8],
}

/// Writes `frame` as packed RGB `[height, width, 3]` to the start of `rgb` and returns its size.
///
/// The limit of pixels is what `rgb` holds. Nothing is allocated.
///
/// # Errors
/// A [`FrameError`] that says which claim does not hold; `rgb` is then unchanged.
pub fn convert(frame: &RawFrame<'_>, rgb: &mut [u8]) -> Result<FrameSize, FrameError> {
    let format = PixelFormat::from_encoding(frame.encoding)?;
    let &RawFrame { width, height, step, data, .. } = frame;
    let size = FrameSize::checked(width, height, rgb.len())?;
    let (cell_width, cell_height) = format.cell();
    if !width.is_multiple_of(cell_width) || !height.is_multiple_of(cell_height) {
        return Err(FrameError::OddSize { width, height, encoding: format });
    }
    let row_bytes = u64::from(width) * u64::from(format.bytes_per_pixel());
    if u64::from(step) < row_bytes {
        return Err(FrameError::StepTooShort { step, row_bytes });
    }
    let n_rows = u64::from(height) + if format == PixelFormat::Nv12 { u64::from(height / 2) } else { 0 };
    // The last row need not be padded to the step.
    let needed_bytes = (n_rows - 1) * u64::from(step) + row_bytes;
    if (data.len() as u64) < needed_bytes {
        return Err(FrameError::TooFewBytes { data_bytes: data.len() as u64, needed_bytes });
    }
    let high = usize::from(!frame.is_bigendian);
    let rows = Rows { data, step: step as usize, row_bytes: row_bytes as usize, high };
    write_rgb(format, &rows, size, &mut rgb[..size.rgb_bytes()]);
    Ok(size)
}

fn write_rgb(format: PixelFormat, rows: &Rows<'_>, size: FrameSize, rgb: &mut [u8]) {
    match format {
        PixelFormat::BayerRggb8 => bayer::demosaic::<1>(rows, size, (0, 0), rgb),
        PixelFormat::BayerBggr8 => bayer::demosaic::<1>(rows, size, (1, 1), rgb),
        PixelFormat::BayerGbrg8 => bayer::demosaic::<1>(rows, size, (0, 1), rgb),
        PixelFormat::BayerGrbg8 => bayer::demosaic::<1>(rows, size, (1, 0), rgb),
        PixelFormat::BayerRggb16 => bayer::demosaic::<2>(rows, size, (0, 0), rgb),
        PixelFormat::BayerBggr16 => bayer::demosaic::<2>(rows, size, (1, 1), rgb),
        PixelFormat::BayerGbrg16 => bayer::demosaic::<2>(rows, size, (0, 1), rgb),
        PixelFormat::BayerGrbg16 => bayer::demosaic::<2>(rows, size, (1, 0), rgb),
        _ => {
            for (y, out) in rgb.chunks_exact_mut(size.width * 3).enumerate() {
                write_row(format, rows, size, y, out);
            }
        }
    }
}

fn write_row(format: PixelFormat, rows: &Rows<'_>, size: FrameSize, y: usize, out: &mut [u8]) {
    let (row, high) = (rows.row(y), rows.high);
    match format {
        PixelFormat::Mono16 => pick::<2>(row, out, [high; 3]),
        PixelFormat::Rgb16 => pick::<6>(row, out, [high, 2 + high, 4 + high]),
        PixelFormat::Bgr16 => pick::<6>(row, out, [4 + high, 2 + high, high]),
        PixelFormat::Rgba16 => pick::<8>(row, out, [high, 2 + high, 4 + high]),
        PixelFormat::Bgra16 => pick::<8>(row, out, [4 + high, 2 + high, high]),
        PixelFormat::Rgb8 => out.copy_from_slice(row),
        PixelFormat::Bgr8 => pick::<3>(row, out, [2, 1, 0]),
        PixelFormat::Rgba8 => pick::<4>(row, out, [0, 1, 2]),
        PixelFormat::Bgra8 => pick::<4>(row, out, [2, 1, 0]),
        PixelFormat::Uyvy => {
            for (out, cell) in out.chunks_exact_mut(6).zip(row.chunks_exact(4)) {
                write_pair(out, [cell[1], cell[3]], cell[0], cell[2]);
            }
        }
        PixelFormat::Yuyv => {
            for (out, cell) in out.chunks_exact_mut(6).zip(row.chunks_exact(4)) {
                write_pair(out, [cell[0], cell[2]], cell[1], cell[3]);
            }
        }
        PixelFormat::Nv12 => {
            let colors = rows.row(size.height + y / 2).chunks_exact(2);
            for ((out, luma), color) in out.chunks_exact_mut(6).zip(row.chunks_exact(2)).zip(colors) {
                write_pair(out, [luma[0], luma[1]], color[0], color[1]);
            }
        }
        _ => pick::<1>(row, out, [0, 0, 0]),
    }
}

/// Copies three of each pixel's `N` channels.
fn pick<const N: usize>(row: &[u8], out: &mut [u8], channels: [usize; 3]) {
    for (out, pixel) in out.chunks_exact_mut(3).zip(row.chunks_exact(N)) {
        for (o, c) in out.iter_mut().zip(channels) {
            *o = pixel[c];
        }
    }
}

/// BT.601's factors, limited range, in 20-bit fixed point.
const fn fixed(factor: f64) -> i32 {
    (factor * (1 << 20) as f64) as i32
}
const LUMA: i32 = fixed(1.164);
const RED_OF_V: i32 = fixed(1.596);
const GREEN_OF_V: i32 = fixed(0.813);
const GREEN_OF_U: i32 = fixed(0.391);
const BLUE_OF_U: i32 = fixed(2.018);

/// Two pixels that share their colour.
fn write_pair(out: &mut [u8], luma: [u8; 2], u: u8, v: u8) {
    let (u, v) = (i32::from(u) - 128, i32::from(v) - 128);
    let colors = [RED_OF_V * v, -GREEN_OF_V * v - GREEN_OF_U * u, BLUE_OF_U * u];
    for (pixel, y) in out.chunks_exact_mut(3).zip(luma) {
        let y = LUMA * (i32::from(y) - 16).max(0) + (1 << 19);
        for (o, color) in pixel.iter_mut().zip(colors) {
            *o = ((y + color) >> 20).clamp(0, 255) as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rgb_of(
        encoding: &str,
        width: u32,
        height: u32,
        step: u32,
        data: &[u8],
    ) -> Result<Vec<u8>, FrameError> {
        let mut rgb = vec![0xEE; 4 * 4 * 3];
        let size = convert(&RawFrame { width, height, step, encoding, is_bigendian: false, data }, &mut rgb)?;
        assert!(rgb[size.rgb_bytes()..].iter().all(|&byte| byte == 0xEE), "wrote beyond the frame");
        rgb.truncate(size.rgb_bytes());
        Ok(rgb)
    }

    #[test]
    fn channels_are_put_in_order_and_padding_is_skipped() {
        let rgb = |encoding, pixel: &[u8], step| {
            let mut data = vec![0x55; 2 * step];
            for row in data.chunks_mut(step) {
                row[..pixel.len()].copy_from_slice(pixel);
                row[pixel.len()..][..pixel.len()].copy_from_slice(pixel);
            }
            rgb_of(encoding, 2, 2, step as u32, &data).unwrap()
        };
        for encoding in ["rgb8", "rgba8"] {
            assert_eq!(rgb(encoding, &[1, 2, 3, 9][..encoding.len() - 1], 11), [1, 2, 3].repeat(4));
        }
        for encoding in ["bgr8", "bgra8", "8UC3"] {
            let n = if encoding == "bgra8" { 4 } else { 3 };
            assert_eq!(rgb(encoding, &[3, 2, 1, 9][..n], 11), [1, 2, 3].repeat(4));
        }
        assert_eq!(rgb("mono8", &[7], 2), [7; 12]);
        assert_eq!(rgb("8UC1", &[7], 5), [7; 12]);
    }

    /// Limited-range BT.601: Y, U, V of black, white, red, green, blue, rounded.
    const YUV: [([u8; 3], [u8; 3]); 5] = [
        ([16, 128, 128], [0, 0, 0]),
        ([235, 128, 128], [255, 255, 255]),
        ([81, 90, 240], [254, 0, 0]),
        ([145, 54, 34], [0, 255, 1]),
        ([41, 240, 110], [0, 0, 255]),
    ];

    #[test]
    fn yuv_follows_bt_601() {
        for ([y, u, v], expected) in YUV {
            let near = |rgb: Vec<u8>| {
                for pixel in rgb.chunks(3) {
                    for (ours, theirs) in pixel.iter().zip(expected) {
                        assert!(ours.abs_diff(theirs) <= 1, "{pixel:?} is not {expected:?}");
                    }
                }
            };
            near(rgb_of("yuv422", 2, 1, 4, &[u, y, v, y]).unwrap());
            near(rgb_of("yuv422_yuy2", 2, 1, 4, &[y, u, y, v]).unwrap());
            near(rgb_of("nv12", 2, 2, 3, &[y, y, 0, y, y, 0, u, v]).unwrap());
        }
        let brighter_right = rgb_of("uyvy", 2, 1, 4, &[128, 50, 128, 200]).unwrap();
        assert!(brighter_right[0] < brighter_right[3]);
    }

    #[test]
    fn a_bayer_mosaic_of_one_color_is_that_color() {
        for (encoding, cell) in [
            ("bayer_rggb8", [[1, 2], [2, 3]]),
            ("bayer_bggr8", [[3, 2], [2, 1]]),
            ("bayer_gbrg8", [[2, 3], [1, 2]]),
            ("bayer_grbg8", [[2, 1], [3, 2]]),
        ] {
            let data: Vec<u8> = (0..16).map(|i| cell[i / 4 % 2][i % 2] * 50).collect();
            assert_eq!(rgb_of(encoding, 4, 4, 4, &data).unwrap(), [50, 100, 150].repeat(16), "{encoding}");
        }
    }

    #[test]
    fn samples_of_16_bits_count_by_their_high_byte_in_either_order() {
        for is_bigendian in [false, true] {
            let check = |encoding, samples: &[u16], expected: [u8; 3]| {
                let of = |v: &u16| if is_bigendian { v.to_be_bytes() } else { v.to_le_bytes() };
                let data: Vec<u8> = samples.iter().flat_map(of).collect();
                let step = data.len() as u32;
                let frame = RawFrame { width: 1, height: 1, step, encoding, is_bigendian, data: &data };
                let mut rgb = [0; 3];
                convert(&frame, &mut rgb).unwrap();
                assert_eq!(rgb, expected, "{encoding}, big-endian: {is_bigendian}");
            };
            check("mono16", &[0x12ff], [0x12; 3]);
            check("rgb16", &[0x0100, 0x0200, 0x0300], [1, 2, 3]);
            check("bgr16", &[0x0300, 0x0200, 0x0100], [1, 2, 3]);
            check("16UC3", &[0x0300, 0x0200, 0x0100], [1, 2, 3]);
            check("rgba16", &[0x0100, 0x0200, 0x0300, 0xffff], [1, 2, 3]);
            check("bgra16", &[0x0300, 0x0200, 0x0100, 0xffff], [1, 2, 3]);
            let cell = [0x3201_u16, 0x6402, 0x6403, 0x9604];
            let of = |v: &u16| if is_bigendian { v.to_be_bytes() } else { v.to_le_bytes() };
            let data: Vec<u8> = cell.iter().flat_map(of).collect();
            let (width, height, step) = (2, 2, 4);
            let frame = RawFrame { width, height, step, encoding: "bayer_rggb16", is_bigendian, data: &data };
            let mut rgb = [0; 12];
            convert(&frame, &mut rgb).unwrap();
            assert_eq!(rgb, [0x32, 0x64, 0x96].repeat(4)[..]);
        }
    }

    #[test]
    fn lying_headers_are_refused_with_their_reason() {
        let reason = |encoding, width, height, step, n_bytes: usize| {
            rgb_of(encoding, width, height, step, &vec![0; n_bytes]).map_err(|e| e.reason()).unwrap_err()
        };
        assert_eq!(reason("rgb8", 0, 2, 6, 12), "zero_size");
        assert_eq!(reason("rgb8", 5, 4, 15, 60), "too_many_pixels");
        assert_eq!(reason("rgb8", u32::MAX, u32::MAX, u32::MAX, 60), "too_many_pixels");
        assert_eq!(reason("rgb8", 2, 2, 5, 12), "step_too_short");
        assert_eq!(reason("rgb8", 2, 2, 6, 11), "too_few_bytes");
        assert_eq!(reason("rgb8", 2, 2, u32::MAX, 12), "too_few_bytes");
        assert_eq!(reason("nv12", 2, 2, 2, 5), "too_few_bytes");
        assert_eq!(reason("nv12", 2, 3, 2, 12), "odd_size");
        assert_eq!(reason("yuv422", 3, 2, 6, 12), "odd_size");
        assert_eq!(reason("bayer_rggb8", 1, 2, 1, 2), "odd_size");
        assert_eq!(reason("32FC1", 2, 2, 8, 16), "depth_encoding");
        assert!(rgb_of("rgb8", 2, 2, 9, &[0; 15]).is_ok(), "the last row needs no padding");
    }
}
