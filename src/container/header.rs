//! The first page of a file: what it is, how long, and where its manifest lies.
//!
//! Numbers are little endian. Every byte is checked: what has no meaning must be zero, so that no bit can differ unseen.

use std::ops::Range;
use std::path::Path;

use super::{ALIGNMENT, ContainerError, Kind};

const MAGIC: [u8; 8] = *b"PERIHELN";
/// Counted up by every change that an older program would misread.
const FORMAT_VERSION: u32 = 1;
const FIELDS_BYTES: usize = 72;

impl Kind {
    /// Which kind the file is, by its first bytes; `None` if it is no file of ours, or a directory.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn of_file(path: &Path) -> Result<Option<Kind>, ContainerError> {
        use std::io::Read;
        let io = |e| ContainerError::io(path, e);
        if !std::fs::metadata(path).map_err(io)?.is_file() {
            return Ok(None);
        }
        let mut head = [0; 16];
        match std::fs::File::open(path).and_then(|mut f| f.read_exact(&mut head)) {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(e) => return Err(io(e)),
        }
        let code = u32_at(&head, 12);
        Ok(Kind::ALL.into_iter().find(|k| head[..8] == MAGIC && k.code() == code))
    }
}

/// The header's fields, which have been checked against the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) manifest_offset: u64,
    pub(super) manifest_bytes: u64,
    pub(super) manifest_sha256: [u8; 32],
}

impl Header {
    pub(super) fn read(path: &Path, file: &[u8], kind: Kind) -> Result<Self, ContainerError> {
        let damaged = |what: String| Err(ContainerError::damaged(path, what));
        if file.get(..8) != Some(&MAGIC) {
            let found = match file.get(..8) {
                Some(head) => format!("`{}`", head.escape_ascii()),
                None => format!("{} bytes", file.len()),
            };
            return Err(ContainerError::NotOurs { path: path.to_owned(), found });
        }
        let Some((head, _)) = file.split_at_checked(ALIGNMENT) else {
            return damaged(format!("the header should have {ALIGNMENT} bytes, the file has {}", file.len()));
        };
        let version = u32_at(head, 8);
        if version != FORMAT_VERSION {
            let (path, expected) = (path.to_owned(), FORMAT_VERSION);
            return Err(ContainerError::Version { path, kind, expected, found: version });
        }
        let code = u32_at(head, 12);
        let Some(found) = Kind::ALL.into_iter().find(|k| k.code() == code) else {
            return damaged(format!("the header should say 1 (model) or 2 (engine), it says {code}"));
        };
        if found != kind {
            return Err(ContainerError::Kind { path: path.to_owned(), expected: kind, found });
        }
        let length = u64_at(head, 16);
        if length != file.len() as u64 {
            return damaged(format!("the file should have {length} bytes, it has {}", file.len()));
        }
        let header = Header {
            kind,
            manifest_offset: u64_at(head, 24),
            manifest_bytes: u64_at(head, 32),
            manifest_sha256: head[40..FIELDS_BYTES].try_into().expect("32 bytes were taken"),
        };
        let end = header.manifest_offset.checked_add(header.manifest_bytes);
        if end != Some(length)
            || header.manifest_offset < ALIGNMENT as u64
            || !header.manifest_offset.is_multiple_of(ALIGNMENT as u64)
        {
            return damaged(format!(
                "the manifest should fill the file's end from a multiple of {ALIGNMENT} on, the header puts {} bytes at {}",
                header.manifest_bytes, header.manifest_offset
            ));
        }
        if let Some(at) = head[FIELDS_BYTES..].iter().position(|b| *b != 0) {
            return damaged(format!("byte {} of the header should be zero", FIELDS_BYTES + at));
        }
        Ok(header)
    }

    /// Where the manifest lies.
    pub(super) fn manifest(&self) -> Range<usize> {
        // Both were compared with the length of the map, which is a usize.
        self.manifest_offset as usize..(self.manifest_offset + self.manifest_bytes) as usize
    }

    pub(super) fn to_bytes(self) -> Vec<u8> {
        let mut head = Vec::with_capacity(ALIGNMENT);
        head.extend(MAGIC);
        head.extend(FORMAT_VERSION.to_le_bytes());
        head.extend(self.kind.code().to_le_bytes());
        head.extend((self.manifest_offset + self.manifest_bytes).to_le_bytes());
        head.extend(self.manifest_offset.to_le_bytes());
        head.extend(self.manifest_bytes.to_le_bytes());
        head.extend(self.manifest_sha256);
        head.resize(ALIGNMENT, 0);
        head
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes were taken"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes were taken"))
}
