//! Images in files that a person passes: one, or a directory of frames.

use std::cmp::Ordering;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::compression::Compression;
use super::decode::{self, Decoder};
use super::error::FrameError;
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
    #[error("{}: not a readable PNG, JPEG or GIF image{}", path.display(), why.map(|why| format!(": {why}")).unwrap_or_default())]
    Decode {
        /// The file.
        path: PathBuf,
        /// What the decoder says; nothing where the bytes are of no image format that is known here.
        why: Option<FrameError>,
    },
    /// The bytes are something else, of which an image can be made.
    #[error("{}: {is}, and images are wanted here; {cure}", path.display())]
    Other {
        /// The file.
        path: PathBuf,
        /// What it is.
        is: &'static str,
        /// How to get images of it.
        cure: String,
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
    #[error("{}: no frames; expected PNG, JPEG or GIF files, taken in natural order of their names (2 before 10)", .0.display())]
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

/// The files of a directory that are taken as frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameFiles {
    /// In natural order of their names.
    pub paths: Vec<PathBuf>,
    /// Whether numbers of different widths make that order another one than that of the names' bytes.
    pub has_mixed_widths: bool,
}

/// Loads an image as RGB, turned upright by its EXIF orientation, alpha dropped, by the rules of [`Decoder`].
///
/// # Errors
/// [`ImageFileError`] naming `path`; more than `pixels_max` pixels are refused from the header, before allocation.
pub fn load_image(path: &Path, pixels_max: u64) -> Result<Image, ImageFileError> {
    let read = |source| ImageFileError::Read { path: path.to_owned(), source };
    let failed = |why| ImageFileError::Decode { path: path.to_owned(), why: Some(why) };
    let mut file = File::open(path).map_err(read)?;
    if file.metadata().map_err(read)?.is_dir() {
        return Err(other(path, "a folder", "a folder of frames is passed as a clip"));
    }
    // The beginning tells a film of gigabytes from an image.
    let mut data = Vec::new();
    file.by_ref().take(MARK_BYTES as u64).read_to_end(&mut data).map_err(read)?;
    if Compression::of(&data).is_none() {
        return Err(not_an_image(path, &data));
    }
    file.read_to_end(&mut data).map_err(read)?;
    let (width, height) = decode::dimensions(&data).map_err(failed)?;
    let n_pixels = u64::from(width) * u64::from(height);
    if pixels_max < n_pixels {
        return Err(ImageFileError::TooManyPixels { path: path.to_owned(), width, height, pixels_max });
    }
    let mut rgb = vec![0; 3 * n_pixels as usize];
    let size = Decoder::new().decode("", &data, &mut rgb).map_err(failed)?;
    Ok(Image { width: size.width, height: size.height, rgb })
}

/// Loads every file of a directory as frames of one clip, in natural order of their names; hidden files are left out.
///
/// # Errors
/// [`ImageFileError`], also if there is no frame or the sizes differ.
pub fn load_frames_dir(dir: &Path, pixels_max: u64) -> Result<Vec<Image>, ImageFileError> {
    load_frames(&frame_files(dir)?.paths, pixels_max)
}

/// Loads files as frames of one clip.
///
/// # Errors
/// [`ImageFileError`], also if the sizes differ.
pub fn load_frames(paths: &[PathBuf], pixels_max: u64) -> Result<Vec<Image>, ImageFileError> {
    let mut frames: Vec<Image> = Vec::with_capacity(paths.len());
    for path in paths {
        let frame = load_image(path, pixels_max)?;
        if let Some(first) = frames.first()
            && first.size() != frame.size()
        {
            let path = path.clone();
            let (width, height) = (frame.width, frame.height);
            let (first_width, first_height) = (first.width, first.height);
            return Err(ImageFileError::SizesDiffer { path, width, height, first_width, first_height });
        }
        frames.push(frame);
    }
    Ok(frames)
}

/// Lists the files of a directory that [`load_frames_dir`] loads.
///
/// # Errors
/// [`ImageFileError`], also if there is none, or if `dir` is a file.
pub fn frame_files(dir: &Path) -> Result<FrameFiles, ImageFileError> {
    let read = |source| ImageFileError::Read { path: dir.to_owned(), source };
    if dir.is_file() {
        let mut data = Vec::new();
        File::open(dir).and_then(|file| file.take(MARK_BYTES as u64).read_to_end(&mut data)).map_err(read)?;
        return Err(match Compression::of(&data) {
            Some(_) => other(dir, "a single image", "a clip is a folder of frames"),
            None => not_an_image(dir, &data),
        });
    }
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).map_err(read)? {
        let path = entry.map_err(read)?.path();
        // What describes frames may lie beside them.
        let is_description = path.extension().is_some_and(|extension| extension == "json");
        if path.is_file() && !is_description && !name(&path).starts_with(b".") {
            paths.push(path);
        }
    }
    if paths.is_empty() {
        return Err(ImageFileError::NoFrames(dir.to_owned()));
    }
    paths.sort_by(|a, b| natural_order(name(a), name(b)));
    let has_mixed_widths = !paths.is_sorted_by(|a, b| name(a) <= name(b));
    Ok(FrameFiles { paths, has_mixed_widths })
}

/// As many bytes as the marks of all formats below need.
const MARK_BYTES: usize = 192;

/// Says what a file is that is no image, as far as its first bytes tell.
fn not_an_image(path: &Path, data: &[u8]) -> ImageFileError {
    let at = |place: usize, mark: &[u8]| data.get(place..).is_some_and(|rest| rest.starts_with(mark));
    let is_still = [&b"heic"[..], b"heix", b"mif1", b"msf1", b"avif"].iter().any(|brand| at(8, brand));
    let film = match () {
        () if at(4, b"ftyp") && is_still => {
            return other(path, "a HEIF or AVIF image", "convert it to PNG first");
        }
        () if at(0, b"RIFF") && at(8, b"WEBP") => {
            return other(path, "a WebP image", "convert it to PNG first");
        }
        () if at(0, b"\x89MCAP0\r\n") => return other(path, "a bag", "`run --bag` plays it"),
        () if at(4, b"ftyp") || at(4, b"moov") || at(4, b"mdat") => "a video (MP4 or QuickTime)",
        () if at(0, b"\x1a\x45\xdf\xa3") => "a video (Matroska or WebM)",
        () if at(0, b"RIFF") && at(8, b"AVI ") => "a video (AVI)",
        () if at(0, b"\0\0\x01\xba") || at(0, b"\0\0\x01\xb3") => "a video (MPEG)",
        () if at(0, b"G") && at(188, b"G") => "a video (MPEG transport stream)",
        () if at(0, b"FLV\x01") => "a video (FLV)",
        () if at(0, b"OggS") => "a video (Ogg)",
        () if at(0, b"\0\0\0\x01") || at(0, b"\0\0\x01") => "a video (an H.264 or H.265 stream)",
        () => return ImageFileError::Decode { path: path.to_owned(), why: None },
    };
    let cure = format!(
        "make a folder of frames of it: mkdir frames && ffmpeg -i {} -vf fps=4 frames/%05d.png",
        path.display()
    );
    other(path, film, &cure)
}

fn other(path: &Path, is: &'static str, cure: &str) -> ImageFileError {
    ImageFileError::Other { path: path.to_owned(), is, cure: cure.to_owned() }
}

fn name(path: &Path) -> &[u8] {
    path.file_name().map_or(&[], |name| name.as_encoded_bytes())
}

/// Compares names as people count: runs of digits by their number, everything else by its bytes.
pub fn natural_order(a: &[u8], b: &[u8]) -> Ordering {
    let (mut rest_a, mut rest_b) = (a, b);
    while let (Some(first_a), Some(first_b)) = (rest_a.first(), rest_b.first()) {
        let order = if first_a.is_ascii_digit() && first_b.is_ascii_digit() {
            let (number_a, number_b) = (take_number(&mut rest_a), take_number(&mut rest_b));
            number_a.len().cmp(&number_b.len()).then(number_a.cmp(number_b))
        } else {
            let order = first_a.cmp(first_b);
            (rest_a, rest_b) = (&rest_a[1..], &rest_b[1..]);
            order
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    // What differs in leading zeros only still has one order.
    rest_a.len().cmp(&rest_b.len()).then(a.cmp(b))
}

/// Takes a run of digits off the beginning; returns it without leading zeros.
fn take_number<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let n = rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
    let (digits, after) = rest.split_at(n);
    *rest = after;
    &digits[digits.iter().position(|digit| *digit != b'0').unwrap_or(n)..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_in_natural_order_of_their_names() {
        let dir = tempfile::tempdir().unwrap();
        for (name, red) in [("10.png", 3), ("9.png", 2), ("1.png", 1), (".hidden", 9), ("clip.json", 9)] {
            let pixel = image::Rgb([red, 0, 0]);
            let path = dir.path().join(name);
            image::RgbImage::from_pixel(3, 2, pixel).save_with_format(path, image::ImageFormat::Png).unwrap();
        }
        let frames = load_frames_dir(dir.path(), 6).unwrap();
        assert_eq!(frames.iter().map(|f| f.rgb[0]).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!((frames[0].width, frames[0].height), (3, 2));
    }

    #[test]
    fn names_are_ordered_as_people_count() {
        let check = |names: &[&str], has_mixed_widths: bool| {
            let dir = tempfile::tempdir().unwrap();
            for name in names.iter().rev() {
                fs::write(dir.path().join(name), b"").unwrap();
            }
            let files = frame_files(dir.path()).unwrap();
            let found: Vec<_> =
                files.paths.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
            assert_eq!(found, names);
            assert_eq!(files.has_mixed_widths, has_mixed_widths, "{names:?}");
        };
        check(&["frame_2.png", "frame_10.png"], true);
        check(&["frame_02.png", "frame_10.png"], false);
        check(&["a1b9", "a1b10", "a2b1", "a10b1"], true);
        check(&["007", "7", "08", "18446744073709551615", "18446744073709551616"], true);
        check(&["a", "a1", "a1a", "aa"], false);
    }

    #[test]
    fn a_film_or_a_folder_in_place_of_an_image_names_the_way() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let mut stream = [0; 200];
        (stream[0], stream[188]) = (b'G', b'G');
        let films: [(&[u8], &str); 6] = [
            (b"\0\0\0\x20ftypisom", "MP4"),
            (b"\x1a\x45\xdf\xa3", "Matroska"),
            (b"RIFF....AVI LIST", "AVI"),
            (&stream, "transport stream"),
            (b"\0\0\0\x20ftypheic", "HEIF"),
            (b"RIFF....WEBP", "WebP"),
        ];
        for (bytes, what) in films {
            fs::write(&path, bytes).unwrap();
            let message = load_image(&path, 99).unwrap_err().to_string();
            assert!(message.contains(what), "{message}");
            let as_frames = load_frames_dir(&path, 99).unwrap_err().to_string();
            assert_eq!(message, as_frames);
            let cure = if message.contains("a video") { "ffmpeg -i" } else { "convert it to PNG" };
            assert!(message.contains(cure), "{message}");
        }
        assert!(load_image(dir.path(), 99).unwrap_err().to_string().contains("a folder"));
        image::RgbImage::new(4, 4).save_with_format(&path, image::ImageFormat::Png).unwrap();
        assert!(load_frames_dir(&path, 99).unwrap_err().to_string().contains("a single image"));
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
