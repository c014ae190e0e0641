//! A read-only map of a model or engine file: its pages are the file system's, shared between processes, and fetched when used.
#![expect(unsafe_code, reason = "a map is unsafe because others may write to the file below it")]

use std::fs::File;
use std::io::{Error, ErrorKind};
use std::ops::Deref;
use std::path::Path;

use super::ContainerError;

/// The bytes of one regular file.
#[derive(Debug)]
pub(super) struct Map(memmap2::Mmap);

impl Map {
    /// Maps the file at `path`, which must not be changed or cut while this lives.
    pub(super) fn open(path: &Path) -> Result<Self, ContainerError> {
        let io = |e| ContainerError::io(path, e);
        // Asked before opening: opening a pipe would wait for its writer.
        if !std::fs::metadata(path).map_err(io)?.is_file() {
            return Err(io(Error::new(ErrorKind::InvalidInput, "not a regular file")));
        }
        let file = File::open(path).map_err(io)?;
        // SAFETY: the map is private and read-only. That nobody writes to or cuts the file meanwhile is asked of the caller
        // above; we never do: every file this program writes is made beside its place and renamed.
        unsafe { memmap2::Mmap::map(&file) }.map(Map).map_err(io)
    }
}

impl Deref for Map {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}
