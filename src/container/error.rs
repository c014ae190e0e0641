//! What can be wrong with a model or engine file. Every message names the file, what was expected and what was found.

use std::path::{Path, PathBuf};

use super::Kind;

/// Why a file was not read, or not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContainerError {
    /// The file system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Some other file.
    #[error("{}: expected a Perihelion file, which begins with `PERIHELN`; found {found}", path.display())]
    NotOurs {
        /// The file.
        path: PathBuf,
        /// How it begins, or how short it is.
        found: String,
    },
    /// A model where an engine should be, or the reverse.
    #[error("{}: expected {} {expected}, found {} {found}; {}", path.display(), .expected.article(), .found.article(), .expected.made_by())]
    Kind {
        /// The file.
        path: PathBuf,
        /// What was asked for.
        expected: Kind,
        /// What it is.
        found: Kind,
    },
    /// Written by another version of the format.
    #[error("{}: expected format version {expected}, found {found}; {}", path.display(), .kind.made_by())]
    Version {
        /// The file.
        path: PathBuf,
        /// What was asked for.
        kind: Kind,
        /// The version that this program reads and writes.
        expected: u32,
        /// The file's.
        found: u32,
    },
    /// Cut, overwritten or forged.
    #[error("{}: {what}; the file is damaged or incomplete, make or fetch it again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What should hold and does not.
        what: String,
    },
    /// The manifest is whole, but says something else than this program expects.
    #[error("{}: manifest: {message}; the file comes from another version of this program, make it again", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// The parser's words.
        message: String,
    },
    /// A section that should be there is not.
    #[error("{}: expected a section `{expected}`, found {found}", path.display())]
    NoSection {
        /// The file.
        path: PathBuf,
        /// What was asked for.
        expected: String,
        /// The names of the sections that there are.
        found: String,
    },
}

impl ContainerError {
    pub(super) fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }

    pub(super) fn damaged(path: &Path, what: String) -> Self {
        Self::Damaged { path: path.to_owned(), what }
    }
}
