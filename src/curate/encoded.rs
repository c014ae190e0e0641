//! A frame as it is stored: the bytes that came where every reader shows the same of them, a PNG of the pixels otherwise.
//!
//! Why not always the pixels: a JPEG's PNG is many times as large and no better.

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};

use super::error::CurateError;
use crate::bounded;
use crate::camera::{Compression, FrameSize, png};

/// Bytes of a JPEG in which its orientation and its tables are looked for.
const HEAD_BYTES: usize = 1 << 17;
/// No frame's file is longer.
const FRAME_BYTES_MAX: u64 = 1 << 30;

/// An image file's bytes.
#[derive(Debug)]
pub(super) struct Encoded<'a> {
    pub(super) extension: &'static str,
    pub(super) bytes: Cow<'a, [u8]>,
}

impl<'a> Encoded<'a> {
    /// Of an image that came compressed as `data`, or raw, and shows `rgb`.
    pub(super) fn of(data: Option<&'a [u8]>, rgb: &[u8], size: FrameSize) -> Self {
        let as_it_came = data.and_then(|data| Some((plain_extension(data)?, data)));
        match as_it_came {
            Some((extension, data)) => Encoded { extension, bytes: Cow::Borrowed(data) },
            None => Encoded { extension: "png", bytes: Cow::Owned(png(rgb, size)) },
        }
    }
}

/// A frame's file within a record's folder: where it lies, and its bytes.
pub(super) fn read_stored(from: &Path, name: &str) -> Result<(PathBuf, Vec<u8>), CurateError> {
    let path = from.join(name);
    // A part of another machine is not followed out of itself.
    let is_file = fs::symlink_metadata(&path).map_err(CurateError::at(&path))?.is_file();
    if !is_file {
        return Err(CurateError::Part { path, problem: "it is no file".to_owned() });
    }
    let bytes = bounded::read(&path, FRAME_BYTES_MAX).map_err(CurateError::at(&path))?;
    Ok((path, bytes))
}

pub(super) fn extension(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or("png")
}

/// The extension of a file that shows the same in every reader: upright, in eight bits, with all of its tables.
fn plain_extension(data: &[u8]) -> Option<&'static str> {
    let head = &data[..data.len().min(HEAD_BYTES)];
    let has = |mark: &[u8]| head.windows(mark.len()).any(|window| window == mark);
    match Compression::of(data)? {
        Compression::Jpeg => (!has(b"Exif\0\0") && has(b"\xff\xc4")).then_some("jpg"),
        // Depth and colour type of the header: 8 bits, RGB.
        Compression::Png => (head.get(24..26) == Some(&[8, 2]) && !has(b"eXIf")).then_some("png"),
        Compression::Gif => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_shows_the_same_everywhere_is_kept_as_it_came() {
        let size = FrameSize { width: 16, height: 8 };
        let rgb = vec![90; size.rgb_bytes()];
        let plain = png(&rgb, size);
        let mut jpeg = Vec::new();
        jpeg_encoder::Encoder::new(&mut jpeg, 90).encode(&rgb, 16, 8, jpeg_encoder::ColorType::Rgb).unwrap();
        for (data, extension) in [(&plain, "png"), (&jpeg, "jpg")] {
            let encoded = Encoded::of(Some(data), &rgb, size);
            assert_eq!((encoded.extension, &encoded.bytes[..]), (extension, &data[..]));
        }
        // A camera's JPEG without its tables, one that is turned, and raw pixels.
        let without_tables: Vec<u8> = jpeg.iter().map(|byte| if *byte == 0xc4 { 0 } else { *byte }).collect();
        let turned = [&jpeg[..2], b"\xff\xe1\0\x08Exif\0\0", &jpeg[2..]].concat();
        let mut gray = plain.clone();
        gray[25] = 0;
        for data in [Some(&without_tables), Some(&turned), Some(&gray), None] {
            let encoded = Encoded::of(data.map(|data| &data[..]), &rgb, size);
            assert_eq!((encoded.extension, &encoded.bytes[..]), ("png", &plain[..]));
        }
    }
}
