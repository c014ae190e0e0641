//! The single-file format of models and engines: named sections that are mapped, and a manifest that vouches for them.
//!
//! ```text
//! header, 4096 bytes   magic, format version, kind, file length, place and SHA-256 of the manifest; zeros
//! sections             each on a multiple of 4096 bytes, zeros between
//! manifest             JSON: {"sections": [name, offset, bytes, sha256], "content": …}, to the end of the file
//! ```
//! One file, because a rename then replaces a model or an engine whole. The manifest stands last, so that sections stream to the
//! disk while their digests are taken. Opening checks the manifest's digest, every size and every bound; the sections'
//! own digests are checked by [`Container::verify`], since reading gigabytes at every start would cost what mapping saves.
//!
//! Why not safetensors or zip: the first has no digests and one flat header, the second neither aligns nor maps well.

mod error;
mod header;
mod kind;
mod write;

use std::path::{Path, PathBuf};

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use error::ContainerError;
pub use kind::Kind;
pub use write::{SectionWriter, Untried, Writer};

use crate::mapped::FileMap;
use header::Header;

/// Sections begin on multiples of this: the page size of every machine that is a target, and more than any vector's.
pub const ALIGNMENT: usize = 4096;

/// One named span of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Section {
    /// Unique in the file.
    pub name: String,
    /// First byte in the file.
    pub offset: usize,
    /// Length.
    pub bytes: usize,
    /// Of the span's bytes, in lower-case hexadecimal digits.
    pub sha256: String,
}

/// The manifest as it stands in the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest<C> {
    sections: Vec<Section>,
    content: C,
}

/// An opened file: checked but for the contents of its sections.
#[derive(Debug)]
pub struct Container {
    path: PathBuf,
    map: FileMap,
    header: Header,
    sections: Vec<Section>,
}

impl Container {
    /// Maps the file and checks its header, its manifest's digest, and that the sections lie inside the file, each by itself.
    ///
    /// # Errors
    /// If it cannot be mapped, is no file of this kind and format version, or any of that does not hold.
    pub fn open(path: &Path, kind: Kind) -> Result<Self, ContainerError> {
        let map = FileMap::open(path).map_err(|e| ContainerError::io(path, e))?;
        let header = Header::read(path, &map, kind)?;
        let text = &map[header.manifest()];
        let found: [u8; 32] = Sha256::digest(text).into();
        if found != header.manifest_sha256 {
            let what = format!(
                "the manifest's SHA-256 should be {}, it is {}",
                hex(&header.manifest_sha256),
                hex(&found)
            );
            return Err(ContainerError::damaged(path, what));
        }
        let manifest: Manifest<IgnoredAny> = serde_json::from_slice(text)
            .map_err(|e| ContainerError::Manifest { path: path.to_owned(), message: e.to_string() })?;
        check_sections(&manifest.sections, header.manifest().start)
            .map_err(|what| ContainerError::damaged(path, what))?;
        Ok(Self { path: path.to_owned(), map, header, sections: manifest.sections })
    }

    /// The file's path, as it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All sections, in the order of their places.
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// The bytes of a section.
    ///
    /// # Errors
    /// If there is none of this name.
    pub fn section(&self, name: &str) -> Result<&[u8], ContainerError> {
        let section = self.sections.iter().find(|s| s.name == name);
        let section = section.ok_or_else(|| ContainerError::NoSection {
            path: self.path.clone(),
            expected: name.to_owned(),
            found: self.sections.iter().map(|s| s.name.clone()).collect::<Vec<_>>().join(", "),
        })?;
        Ok(&self.map[section.offset..section.offset + section.bytes])
    }

    /// What the writer gave as the manifest's content.
    ///
    /// # Errors
    /// If it is not of this type.
    pub fn content<C: DeserializeOwned>(&self) -> Result<C, ContainerError> {
        let manifest: Result<Manifest<C>, _> = serde_json::from_slice(&self.map[self.header.manifest()]);
        let wrong = |e: serde_json::Error| ContainerError::Manifest {
            path: self.path.clone(),
            message: e.to_string(),
        };
        manifest.map(|m| m.content).map_err(wrong)
    }

    /// SHA-256 of the manifest, which holds those of all sections: it names the file's whole content.
    pub fn digest(&self) -> [u8; 32] {
        self.header.manifest_sha256
    }

    /// Length of the file.
    pub fn file_bytes(&self) -> u64 {
        self.map.len() as u64
    }

    /// Reads every section and compares its digest; `progress` is told how many bytes are done, and of how many.
    ///
    /// # Errors
    /// If one differs.
    pub fn verify(&self, mut progress: impl FnMut(u64, u64)) -> Result<(), ContainerError> {
        const STEP_BYTES: usize = 4 << 20;
        let total = self.sections.iter().map(|s| s.bytes as u64).sum();
        let mut done = 0;
        for section in &self.sections {
            let mut hash = Sha256::new();
            for part in self.map[section.offset..section.offset + section.bytes].chunks(STEP_BYTES) {
                hash.update(part);
                done += part.len() as u64;
                progress(done, total);
            }
            let found = hex(&hash.finalize());
            if found != section.sha256 {
                let what = format!(
                    "section `{}`: its SHA-256 should be {}, it is {found}",
                    section.name, section.sha256
                );
                return Err(ContainerError::damaged(&self.path, what));
            }
        }
        Ok(())
    }
}

/// The whole file.
impl AsRef<[u8]> for Container {
    fn as_ref(&self) -> &[u8] {
        &self.map
    }
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Sections lie in order, aligned, between the header and the manifest, and have different names.
fn check_sections(sections: &[Section], manifest_begin: usize) -> Result<(), String> {
    let mut names = std::collections::HashSet::new();
    let mut filled = ALIGNMENT;
    for Section { name, offset, bytes, sha256 } in sections {
        if !offset.is_multiple_of(ALIGNMENT) || *offset < filled {
            return Err(format!(
                "section `{name}` should begin on a multiple of {ALIGNMENT} from byte {filled} on, it begins at {offset}"
            ));
        }
        filled = offset.checked_add(*bytes).filter(|end| *end <= manifest_begin).ok_or_else(|| {
            format!("section `{name}` of {bytes} bytes from {offset} should end before the manifest at {manifest_begin}")
        })?;
        if !names.insert(name) {
            return Err(format!("sections should have different names, two are `{name}`"));
        }
        if sha256.len() != 64 || !sha256.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            return Err(format!("section `{name}` should have a SHA-256 of 64 hexadecimal digits"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
