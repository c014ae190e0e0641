//! Why a camera image was refused, or cannot become patches.
//!
//! Both errors are `Copy` and hold no heap: a node under a flood of bad images counts and reports them without allocating.

use std::fmt;

use super::compression::Compression;

/// A refused image. [`FrameError::reason`] is the word under which it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// Not an encoding that we know.
    #[error(
        "image encoding `{0}` is not supported; publish rgb8, bgr8, rgba8, bgra8, mono8, yuv422, yuv422_yuy2, nv12, bayer_*8, or mono16, rgb16, bgr16, rgba16, bgra16, bayer_*16"
    )]
    UnknownEncoding(ShortName),
    /// Depth, not colour.
    #[error("image encoding `{0}` is depth, and the model sees colour; choose the camera's colour topic")]
    DepthEncoding(ShortName),
    /// Bytes that are of no format that is decoded here, with what the message says of them.
    #[error("the bytes of the image (format `{0}`) begin as neither JPEG, PNG nor GIF; send jpeg or png")]
    UnknownCompression(ShortName),
    /// Width or height is zero.
    #[error("image of {width}×{height} pixels has none")]
    ZeroSize {
        /// As the message says it.
        width: u32,
        /// As the message says it.
        height: u32,
    },
    /// The encoding's cells of two pixels do not fit.
    #[error("image of {width}×{height} pixels: {} needs even sizes", encoding.name())]
    OddSize {
        /// As the message says it.
        width: u32,
        /// As the message says it.
        height: u32,
        /// The encoding.
        encoding: super::PixelFormat,
    },
    /// More pixels than the buffer was claimed for.
    #[error(
        "image of {width}×{height} pixels is over the limit of {pixels_max} pixels; scale it down or raise the limit"
    )]
    TooManyPixels {
        /// As the message says it.
        width: u32,
        /// As the message says it.
        height: u32,
        /// The limit.
        pixels_max: u64,
    },
    /// A row is shorter than its pixels.
    #[error("step of {step} bytes is too short for a row of {row_bytes} bytes")]
    StepTooShort {
        /// Bytes from row to row, as the message says it.
        step: u32,
        /// Bytes that a row's pixels take.
        row_bytes: u64,
    },
    /// The data end early.
    #[error("image has {data_bytes} bytes where its size needs {needed_bytes}")]
    TooFewBytes {
        /// Bytes that came.
        data_bytes: u64,
        /// Bytes that size, step and encoding need.
        needed_bytes: u64,
    },
    /// The decoder refused it.
    #[error("{} image is corrupt or truncated, or of a rare kind that is not decoded here", .0.name())]
    Corrupt(Compression),
}

impl FrameError {
    /// Every word that [`FrameError::reason`] gives.
    pub const REASONS: [&str; 9] = [
        "unknown_encoding",
        "depth_encoding",
        "unknown_compression",
        "zero_size",
        "odd_size",
        "too_many_pixels",
        "step_too_short",
        "too_few_bytes",
        "corrupt",
    ];

    /// The word under which the drop is counted.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            FrameError::UnknownEncoding(_) => "unknown_encoding",
            FrameError::DepthEncoding(_) => "depth_encoding",
            FrameError::UnknownCompression(_) => "unknown_compression",
            FrameError::ZeroSize { .. } => "zero_size",
            FrameError::OddSize { .. } => "odd_size",
            FrameError::TooManyPixels { .. } => "too_many_pixels",
            FrameError::StepTooShort { .. } => "step_too_short",
            FrameError::TooFewBytes { .. } => "too_few_bytes",
            FrameError::Corrupt(_) => "corrupt",
        }
    }
}

/// A frame or clip that the rules refuse, or rules that cannot be followed.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PreprocessError {
    /// No pixels.
    #[error("an image of {width}×{height} pixels has none")]
    ZeroSize {
        /// Pixels across.
        width: usize,
        /// Pixels down.
        height: usize,
    },
    /// Longer than 200 times its width.
    #[error("an image of {width}×{height} pixels is over 200 times longer than wide; crop it")]
    AspectRatio {
        /// Pixels across.
        width: usize,
        /// Pixels down.
        height: usize,
    },
    /// Without a resize the size must fit.
    #[error(
        "an image of {width}×{height} pixels is not resized, and is not made of squares of {factor} pixels"
    )]
    DoesNotFit {
        /// Pixels across.
        width: usize,
        /// Pixels down.
        height: usize,
        /// The square's side.
        factor: usize,
    },
    /// A clip shorter than one patch.
    #[error("a clip of {n_frames} frames is too short; it takes at least {frames_min}")]
    TooFewFrames {
        /// Frames of the clip.
        n_frames: usize,
        /// Frames of a patch.
        frames_min: usize,
    },
    /// The rate of a clip is not a positive number.
    #[error("{fps} is not a rate; frames a second must be positive")]
    Rate {
        /// The rate that was given.
        fps: f64,
    },
    /// The caller's buffers do not have the sizes that the frame needs.
    #[error("{what} has {found} elements where {expected} are needed")]
    BufferLength {
        /// Which buffer.
        what: &'static str,
        /// Its length.
        found: usize,
        /// The length needed.
        expected: usize,
    },
    /// A rule that nobody can follow.
    #[error("preprocessing rule `{rule}` is out of range: {found}; expected {expected}")]
    Rule {
        /// The rule's name.
        rule: &'static str,
        /// Its value.
        found: f64,
        /// The range.
        expected: &'static str,
    },
}

/// The first bytes of a name that came from outside, kept without a heap; what is not printable ASCII shows as `?`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ShortName {
    bytes: [u8; ShortName::LEN_MAX],
    len: u8,
    is_cut: bool,
}

impl ShortName {
    const LEN_MAX: usize = 30;

    /// Keeps the start of `name`.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let mut bytes = [b'?'; ShortName::LEN_MAX];
        let len = name.len().min(ShortName::LEN_MAX);
        for (kept, &byte) in bytes.iter_mut().zip(name.as_bytes()) {
            if byte.is_ascii_graphic() || byte == b' ' {
                *kept = byte;
            }
        }
        ShortName { bytes, len: len as u8, is_cut: ShortName::LEN_MAX < name.len() }
    }
}

impl fmt::Display for ShortName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for &byte in &self.bytes[..usize::from(self.len)] {
            write!(f, "{}", char::from(byte))?;
        }
        f.write_str(if self.is_cut { "…" } else { "" })
    }
}

impl fmt::Debug for ShortName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}

#[cfg(test)]
#[test]
fn a_hostile_name_is_cut_and_made_printable() {
    assert_eq!(ShortName::new("rgb16").to_string(), "rgb16");
    assert_eq!(ShortName::new("a\n\u{7f}b").to_string(), "a??b");
    assert_eq!(ShortName::new(&"x".repeat(99)).to_string(), "x".repeat(30) + "…");
}
