//! Images in files that a person passes: one, or a directory of frames.

use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};

use image::{DynamicImage, ImageDecoder, ImageReader};

use super::grid::FrameSize;

/// A decoded image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Pixels across.
    pub width: usize,
    /// Pixels down.
    pub height: usize,
    /// Packed RGB, `[height, width, 3]`.
    pub rgb: Vec<u8>,
}

impl Image {
    /// Its size.
    #[must_use]
    pub fn size(&self) -> FrameSize {
        FrameSize { width: self.width, height: self.height }
    }
}

/// An image file or a directory of frames that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageFileError {
    /// The file or directory cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The bytes are not an image that we can decode.
    #[error("{}: not a readable PNG, JPEG or GIF image: {source}", path.display())]
    Decode {
        /// The file.
        path: PathBuf,
        /// What the decoder says.
        source: image::ImageError,
    },
    /// More pixels than the caller allows.
    #[error("{}: {width}×{height} pixels are over the limit of {pixels_max}; scale the image down", path.display())]
    TooManyPixels {
        /// The file.
        path: PathBuf,
        /// Pixels across.
        width: u32,
        /// Pixels down.
        height: u32,
        /// The limit.
        pixels_max: u64,
    },
    /// The directory holds no file.
    #[error("{}: no frames; expected PNG, JPEG or GIF files, taken in byte order of their names", .0.display())]
    NoFrames(PathBuf),
    /// Frames of one clip differ in size.
    #[error(
        "{}: {width}×{height} pixels, but the first frame has {first_width}×{first_height}; a clip has one size",
        path.display()
    )]
    SizesDiffer {
        /// The frame that differs.
        path: PathBuf,
        /// Its width.
        width: usize,
        /// Its height.
        height: usize,
        /// The first frame's width.
        first_width: usize,
        /// The first frame's height.
        first_height: usize,
    },
}

/// Loads an image as RGB, turned upright by its EXIF orientation, alpha dropped.
///
/// # Errors
/// [`ImageFileError`] naming `path`; more than `pixels_max` pixels are refused from the header, before allocation.
pub fn load_image(path: &Path, pixels_max: u64) -> Result<Image, ImageFileError> {
    let read = |source| ImageFileError::Read { path: path.to_owned(), source };
    let decode = |source| ImageFileError::Decode { path: path.to_owned(), source };
    let file = File::open(path).map_err(read)?;
    let reader = ImageReader::new(BufReader::new(file)).with_guessed_format().map_err(read)?;
    let mut decoder = reader.into_decoder().map_err(decode)?;
    let (width, height) = decoder.dimensions();
    if pixels_max < u64::from(width) * u64::from(height) {
        return Err(ImageFileError::TooManyPixels { path: path.to_owned(), width, height, pixels_max });
    }
    let orientation = decoder.orientation().map_err(decode)?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(decode)?;
    image.apply_orientation(orientation);
    let rgb = image.into_rgb8();
    Ok(Image { width: rgb.width() as usize, height: rgb.height() as usize, rgb: rgb.into_raw() })
}

/// Loads every file of a directory as frames of one clip, in byte order of their names; hidden files are left out.
///
/// # Errors
/// [`ImageFileError`], also if there is no frame or the sizes differ.
pub fn load_frames_dir(dir: &Path, pixels_max: u64) -> Result<Vec<Image>, ImageFileError> {
    let read = |source| ImageFileError::Read { path: dir.to_owned(), source };
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).map_err(read)? {
        let path = entry.map_err(read)?.path();
        let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if path.is_file() && !is_hidden {
            paths.push(path);
        }
    }
    paths.sort_by(|a, b| {
        let name = |path: &Path| path.file_name().map(|name| name.as_encoded_bytes().to_vec());
        name(a).cmp(&name(b))
    });
    let mut frames: Vec<Image> = Vec::with_capacity(paths.len());
    for path in paths {
        let frame = load_image(&path, pixels_max)?;
        if let Some(first) = frames.first()
            && first.size() != frame.size()
        {
            let (width, height) = (frame.width, frame.height);
            let (first_width, first_height) = (first.width, first.height);
            return Err(ImageFileError::SizesDiffer { path, width, height, first_width, first_height });
        }
        frames.push(frame);
    }
    if frames.is_empty() {
        return Err(ImageFileError::NoFrames(dir.to_owned()));
    }
    Ok(frames)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_in_byte_order_of_their_names() {
        let dir = tempfile::tempdir().unwrap();
        for (name, red) in [("10.png", 2), ("9.png", 3), ("1.png", 1), (".hidden", 9)] {
            let pixel = image::Rgb([red, 0, 0]);
            let path = dir.path().join(name);
            image::RgbImage::from_pixel(3, 2, pixel).save_with_format(path, image::ImageFormat::Png).unwrap();
        }
        let frames = load_frames_dir(dir.path(), 6).unwrap();
        assert_eq!(frames.iter().map(|f| f.rgb[0]).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!((frames[0].width, frames[0].height), (3, 2));
    }

    #[test]
    fn bad_files_are_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(load_frames_dir(dir.path(), 99), Err(ImageFileError::NoFrames(_))));
        let path = dir.path().join("a.png");
        assert!(load_image(&path, 99).unwrap_err().to_string().contains("a.png"));
        fs::write(&path, b"not an image").unwrap();
        assert!(matches!(load_image(&path, 99), Err(ImageFileError::Decode { .. })));
        image::RgbImage::new(4, 4).save(&path).unwrap();
        assert!(matches!(load_image(&path, 15), Err(ImageFileError::TooManyPixels { .. })));
        image::RgbImage::new(4, 3).save(dir.path().join("b.png")).unwrap();
        let error = load_frames_dir(dir.path(), 16).unwrap_err();
        assert!(matches!(&error, ImageFileError::SizesDiffer { path, .. } if path.ends_with("b.png")));
    }
}
