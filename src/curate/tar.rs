//! Tar files (POSIX ustar) whose bytes follow from their members alone: no owner, no time.

use std::io::{Result, Write};

const BLOCK: usize = 512;

/// A tar file that is being written.
#[derive(Debug)]
pub(super) struct Tar<W> {
    out: W,
}

impl<W: Write> Tar<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out }
    }

    /// Adds a file.
    ///
    /// # Panics
    /// If the name has more than 100 bytes or the file 8 GiB: those written here have not.
    pub(super) fn add(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.out.write_all(&header(name, bytes.len() as u64))?;
        self.out.write_all(bytes)?;
        self.out.write_all(&[0; BLOCK][..bytes.len().next_multiple_of(BLOCK) - bytes.len()])
    }

    /// Ends it, and hands back what it was written to.
    pub(super) fn finish(mut self) -> Result<W> {
        self.out.write_all(&[0; 2 * BLOCK])?;
        self.out.flush()?;
        Ok(self.out)
    }
}

/// Bytes that a member takes.
pub(super) fn member_bytes(bytes: u64) -> u64 {
    BLOCK as u64 + bytes.next_multiple_of(BLOCK as u64)
}

fn header(name: &str, n_bytes: u64) -> [u8; BLOCK] {
    assert!(name.len() <= 100 && n_bytes < 1 << 33, "`{name}` of {n_bytes} bytes does not fit a header");
    let mut header = [0; BLOCK];
    let mut put = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
    put(0, name.as_bytes());
    for (at, text) in [(100, "0000644"), (108, "0000000"), (116, "0000000"), (136, "00000000000")] {
        put(at, text.as_bytes());
    }
    put(124, format!("{n_bytes:011o}").as_bytes());
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn the_systems_tar_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.tar");
        let members = [("000001.0000.png", vec![7; 1000]), ("000001.json", b"{}".to_vec()), ("x", vec![])];
        let mut tar = Tar::new(Vec::new());
        members.iter().for_each(|(name, bytes)| tar.add(name, bytes).unwrap());
        let bytes = tar.finish().unwrap();
        let of_members: u64 = members.iter().map(|(_, bytes)| member_bytes(bytes.len() as u64)).sum();
        assert_eq!(bytes.len() as u64, of_members + 1024);
        std::fs::write(&path, bytes).unwrap();
        let out = Command::new("tar").arg("-xf").arg(&path).arg("-C").arg(dir.path()).output().unwrap();
        assert!(out.status.success() && out.stderr.is_empty(), "{out:?}");
        for (name, bytes) in members {
            assert_eq!(std::fs::read(dir.path().join(name)).unwrap(), bytes);
        }
    }
}
