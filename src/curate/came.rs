//! An image of a source, and what is known of the source once all have come.

use super::beside::Beside;
use super::error::CurateError;
use crate::camera::FrameSize;

/// Takes images, one after the other.
pub(super) type Take<'a> = &'a mut dyn FnMut(Came<'_>) -> Result<(), CurateError>;

/// An image that came.
pub(super) struct Came<'a> {
    /// The topic; empty for a folder; the feature's name in a data set.
    pub(super) topic: &'a str,
    pub(super) stamp_ns: i64,
    /// Its file, in a folder.
    pub(super) file: Option<String>,
    /// Its pixels, or what is wrong.
    pub(super) picture: Result<Pixels<'a>, String>,
    /// Bytes of the source that were read since the image before.
    pub(super) bytes: u64,
    /// Whether it has nothing to do with the image before.
    pub(super) begins: bool,
    pub(super) beside: &'a Beside,
}

/// What is known of a source once it was read.
#[derive(Default)]
pub(super) struct Told {
    /// What is wrong with it as a whole: it is shorter than it was, or has no images.
    pub(super) problem: Option<String>,
    /// Names of the columns of its actions.
    pub(super) action_names: Vec<String>,
}

impl Told {
    pub(super) fn problem(problem: String) -> Self {
        Self { problem: Some(problem), ..Self::default() }
    }
}

/// A decoded image.
pub(super) struct Pixels<'a> {
    pub(super) rgb: &'a [u8],
    pub(super) size: FrameSize,
    /// The file's bytes, if it came as one.
    pub(super) data: Option<&'a [u8]>,
}
