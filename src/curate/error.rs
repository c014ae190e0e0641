//! What can go wrong with a whole run. What is wrong with one image or one bag is noted in its record, and the run goes on.

use std::io;
use std::path::{Path, PathBuf};

use crate::camera::ImageFileError;
use crate::ros2::transport::TransportError;

/// Why there is no set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CurateError {
    /// A place that cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The place.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A bag that cannot be opened.
    #[error(transparent)]
    Bag(#[from] TransportError),
    /// A folder that holds no frames.
    #[error(transparent)]
    Frames(#[from] ImageFileError),
    /// A place that is neither a bag nor frames, or both.
    #[error("{}: {problem}", path.display())]
    NoSource {
        /// The place.
        path: PathBuf,
        /// What it is, and what to do.
        problem: String,
    },
    /// A record or a part that this program has not written so.
    #[error("{}: {problem}", path.display())]
    Part {
        /// The part, or its file.
        path: PathBuf,
        /// What was expected and found.
        problem: String,
    },
    /// Nothing is left to write.
    #[error("no clip is left: {0}")]
    NothingKept(String),
}

impl CurateError {
    /// To be mapped over what the system says of a place.
    pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        |source| CurateError::Io { path, source }
    }
}
