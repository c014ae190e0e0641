//! A read-only map of a whole file: a checkpoint larger than memory costs only the pages that are looked at.
//!
//! Why not read the file: its pages stay the file system's, so that they are shared between processes, counted to nobody's
//! private memory, and dropped under pressure without being written anywhere.
#![expect(unsafe_code, reason = "a map is unsafe because others may write to the file below it")]

use std::fs::File;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use super::CheckpointError;

/// The bytes of one regular file, and its path for messages.
#[derive(Debug)]
pub struct FileMap {
    path: PathBuf,
    bytes: memmap2::Mmap,
}

impl FileMap {
    /// Maps the file at `path`, which must be a regular file and must not be changed or cut while this lives.
    ///
    /// # Errors
    /// If it cannot be opened or mapped, or is no regular file.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        let io = |e| CheckpointError::io(path, e);
        let file = File::open(path).map_err(io)?;
        if !file.metadata().map_err(io)?.is_file() {
            return Err(io(std::io::Error::new(std::io::ErrorKind::InvalidInput, "not a regular file")));
        }
        // SAFETY: the map is private and read-only. That nobody writes to or cuts the file meanwhile is asked of the caller
        // above; we never do: every file this program writes is made beside its place and renamed.
        let bytes = unsafe { memmap2::Mmap::map(&file) }.map_err(io)?;
        Ok(Self { path: path.to_owned(), bytes })
    }

    /// The file's path, as it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Deref for FileMap {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}
