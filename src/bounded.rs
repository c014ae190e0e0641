//! Small files of users, read whole and with a bound: never more memory than the bound says, and no waiting for who writes to a pipe.

use std::fs::{self, File};
use std::io::{Error, ErrorKind, Read as _, Result};
use std::path::Path;

/// Of a text that people or scripts write, at most.
pub const TEXT_BYTES_MAX: u64 = 64 << 20;

/// The bytes of a regular file that has at most `bytes_max`.
///
/// # Errors
/// If it cannot be read, is no regular file, or is longer.
pub fn read(path: &Path, bytes_max: u64) -> Result<Vec<u8>> {
    // Asked before opening: opening a pipe would wait for its writer.
    if !fs::metadata(path)?.is_file() {
        return Err(Error::new(ErrorKind::InvalidInput, "it is no regular file"));
    }
    let mut bytes = Vec::new();
    // However long it says that it is, and however long it grows meanwhile.
    File::open(path)?.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes_max < bytes.len() as u64 {
        return Err(Error::new(ErrorKind::FileTooLarge, format!("it has more than {bytes_max} bytes")));
    }
    Ok(bytes)
}

/// As [`read`], of a text.
///
/// # Errors
/// As [`read`]; or if it is not UTF-8.
pub fn read_text(path: &Path, bytes_max: u64) -> Result<String> {
    let not_text = |error| Error::new(ErrorKind::InvalidData, error);
    String::from_utf8(read(path, bytes_max)?).map_err(not_text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_or_no_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::write(&path, "abc").unwrap();
        assert_eq!(read_text(&path, 3).unwrap(), "abc");
        assert_eq!(read(&path, u64::MAX).unwrap(), b"abc");
        let why = |path: &Path, bytes_max| read_text(path, bytes_max).unwrap_err().to_string();
        assert!(why(&path, 2).contains("more than 2 bytes"));
        // Of a length of its own, and without one.
        assert!(why(Path::new("/dev/zero"), 9).contains("no regular file"));
        assert!(why(dir.path(), 9).contains("no regular file"));
        fs::write(&path, [0xff]).unwrap();
        assert!(why(&path, 9).contains("utf-8"));
        assert_eq!(read(&dir.path().join("b"), 9).unwrap_err().kind(), ErrorKind::NotFound);
    }
}
