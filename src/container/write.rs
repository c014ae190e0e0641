//! Writes a file section by section: into a hidden file beside its place, flushed to the disk, then renamed.
//!
//! Whoever looks at the place sees the old file or the new one, whole. On any error, and when the writer is dropped, the
//! hidden file goes away; [`install`](crate::install) says how.

use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::header::Header;
use super::{ALIGNMENT, ContainerError, Kind, Manifest, Section, hex};
use crate::install::Partial;

const BUFFER_BYTES: usize = 1 << 20;

/// A file that is being written.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    kind: Kind,
    file: BufWriter<Partial>,
    at: usize,
    sections: Vec<Section>,
}

/// A file that is whole and not yet in its place: it can be opened where it lies, and goes away unless it is installed.
#[derive(Debug)]
pub struct Untried {
    partial: Partial,
    digest: [u8; 32],
}

/// A section that is being written; [`SectionWriter::finish`] ends it.
#[derive(Debug)]
pub struct SectionWriter<'a> {
    writer: &'a mut Writer,
    name: String,
    begin: usize,
    hash: Sha256,
}

impl Writer {
    /// Begins a file that will lie at `path` when it is finished.
    ///
    /// # Errors
    /// If no file can be made in the directory of `path`.
    pub fn create(path: &Path, kind: Kind) -> Result<Self, ContainerError> {
        let partial = Partial::create(path).map_err(|e| ContainerError::io(path, e))?;
        let file = BufWriter::with_capacity(BUFFER_BYTES, partial);
        let mut writer = Self { path: path.to_owned(), kind, file, at: 0, sections: Vec::new() };
        writer.put(&[0; ALIGNMENT])?;
        Ok(writer)
    }

    /// Begins a section.
    ///
    /// # Errors
    /// If the disk is full or fails.
    ///
    /// # Panics
    /// If there is one of this name.
    pub fn section(&mut self, name: &str) -> Result<SectionWriter<'_>, ContainerError> {
        assert!(self.sections.iter().all(|s| s.name != name), "section {name} written twice");
        self.align()?;
        Ok(SectionWriter { begin: self.at, writer: self, name: name.to_owned(), hash: Sha256::new() })
    }

    /// Writes a whole section.
    ///
    /// # Errors
    /// As [`Writer::section`].
    pub fn add(&mut self, name: &str, bytes: &[u8]) -> Result<(), ContainerError> {
        let mut section = self.section(name)?;
        section.put(bytes)?;
        section.finish();
        Ok(())
    }

    /// Writes the manifest and the header, flushes all of it to the disk and puts the file into its place. Returns its digest, as
    /// [`Container::digest`](super::Container::digest) gives it.
    ///
    /// # Errors
    /// If the disk is full or fails; then what was at the place before is still there.
    pub fn finish(self, content: &impl Serialize) -> Result<[u8; 32], ContainerError> {
        self.close(content)?.install()
    }

    /// Writes the manifest and the header; the file is then whole, and not yet in its place.
    ///
    /// # Errors
    /// If the disk is full or fails.
    pub fn close(mut self, content: &impl Serialize) -> Result<Untried, ContainerError> {
        let manifest = Manifest { sections: std::mem::take(&mut self.sections), content };
        let text = serde_json::to_vec(&manifest)
            .map_err(|e| ContainerError::Manifest { path: self.path.clone(), message: e.to_string() })?;
        self.align()?;
        let header = Header {
            kind: self.kind,
            manifest_offset: self.at as u64,
            manifest_bytes: text.len() as u64,
            manifest_sha256: Sha256::digest(&text).into(),
        };
        self.put(&text)?;

        let io = |e| ContainerError::io(&self.path, e);
        let mut file = self.file.into_inner().map_err(|e| io(e.into_error()))?;
        file.seek(SeekFrom::Start(0)).map_err(io)?;
        file.write_all(&header.to_bytes()).map_err(io)?;
        Ok(Untried { partial: file, digest: header.manifest_sha256 })
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), ContainerError> {
        self.file.write_all(bytes).map_err(|e| ContainerError::io(&self.path, e))?;
        self.at += bytes.len();
        Ok(())
    }

    fn align(&mut self) -> Result<(), ContainerError> {
        let missing = self.at.next_multiple_of(ALIGNMENT) - self.at;
        self.put(&[0; ALIGNMENT][..missing])
    }
}

impl Untried {
    /// Where it lies until it is installed.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.partial.path()
    }

    /// The digest of its manifest, as [`Container::digest`](super::Container::digest) gives it.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// Flushes it to the disk and puts it into its place. Returns its digest.
    ///
    /// # Errors
    /// If the disk is full or fails; then what was at the place before is still there.
    pub fn install(self) -> Result<[u8; 32], ContainerError> {
        let place = self.partial.place().to_owned();
        self.partial.install().map_err(|e| ContainerError::io(&place, e))?;
        Ok(self.digest)
    }
}

impl SectionWriter<'_> {
    /// Appends bytes.
    ///
    /// # Errors
    /// If the disk is full or fails.
    pub fn put(&mut self, bytes: &[u8]) -> Result<(), ContainerError> {
        self.hash.update(bytes);
        self.writer.put(bytes)
    }

    /// Appends zeros up to a multiple of `alignment` (at most 4096), counted from the section's beginning.
    ///
    /// # Errors
    /// If the disk is full or fails.
    pub fn align(&mut self, alignment: usize) -> Result<(), ContainerError> {
        let missing = self.len().next_multiple_of(alignment) - self.len();
        self.put(&[0; ALIGNMENT][..missing])
    }

    /// Bytes so far: the offset, in the section, of what is appended next.
    pub fn len(&self) -> usize {
        self.writer.at - self.begin
    }

    /// Whether nothing was appended yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ends the section and lists it in the manifest. A section that is dropped instead leaves its bytes unlisted.
    pub fn finish(self) {
        let bytes = self.len();
        let sha256 = hex(&self.hash.finalize());
        self.writer.sections.push(Section { name: self.name, offset: self.begin, bytes, sha256 });
    }
}
