//! A file or a folder is made beside its place, under a hidden name, and takes the place when it is whole.
//!
//! Whoever looks at the place sees the old file or the new one. What was begun and not finished goes away: on an error, when a
//! [`Partial`] is dropped, on SIGINT and SIGTERM ([`clean_up_on_signals`]), and what a killed process left is swept by the next
//! one that begins a file in the same folder. What is in use is locked, so that it is not taken for something that was left.
//!
//! Why not a file without a name (`O_TMPFILE`): it cannot take the place of another file in one step, and not every file system
//! has it.

mod folder;

use std::fs::{self, File, Permissions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tempfile::NamedTempFile;

pub use folder::{PartialFolder, exchange, sync};

const PREFIX: &str = ".perihelion-";
const SUFFIX: &str = ".partial";

/// The hidden files and folders of this process that have not taken their places.
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// A file that is being written beside its place.
#[derive(Debug)]
pub struct Partial {
    /// Gone once it is in its place.
    file: Option<NamedTempFile>,
    place: PathBuf,
}

impl Partial {
    /// Begins a file that will lie at `place`, and sweeps what killed processes left in its folder.
    ///
    /// # Errors
    /// If `place` is no name of a file, or if no file can be made in its folder.
    pub fn create(place: &Path) -> io::Result<Self> {
        if place.file_name().is_none() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not the name of a file"));
        }
        let dir = folder_of(place);
        sweep(dir);
        loop {
            // Held while the file is made: a signal finds it listed, or finds none.
            let mut unfinished = unfinished();
            let file = tempfile::Builder::new()
                .prefix(PREFIX)
                .suffix(SUFFIX)
                // As any new file: what the user's umask leaves of it.
                .permissions(Permissions::from_mode(0o666))
                .tempfile_in(dir)?;
            // A file system without locks has no sweeping either.
            let _ = file.as_file().lock();
            // Another process may have swept it before it was locked.
            if is_at(file.as_file(), file.path()) {
                unfinished.push(file.path().to_owned());
                return Ok(Self { file: Some(file), place: place.to_owned() });
            }
        }
    }

    /// Where it will lie.
    #[must_use]
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// Where it lies meanwhile.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.named().path()
    }

    /// Flushes the file to the disk and puts it into its place.
    ///
    /// # Errors
    /// If the disk is full or fails, or something stands there that a file cannot replace; what was there before then still is.
    pub fn install(self) -> io::Result<()> {
        self.named().as_file().sync_all()?;
        let dir = folder_of(&self.place).to_owned();
        self.put()?;
        // The new name is on the disk only when its directory is.
        File::open(dir)?.sync_all()
    }

    /// Puts the file into its place and leaves it to the system when it reaches the disk: for results that are soon made again.
    ///
    /// # Errors
    /// As [`Partial::install`].
    pub fn put(mut self) -> io::Result<()> {
        let file = self.file.take().expect("only this takes it");
        let hidden = file.path().to_owned();
        let result = file.persist(&self.place);
        forget(&hidden);
        result.map(drop).map_err(|e| e.error)
    }

    fn named(&self) -> &NamedTempFile {
        self.file.as_ref().expect("only `put` takes it")
    }

    fn named_mut(&mut self) -> &mut NamedTempFile {
        self.file.as_mut().expect("only `put` takes it")
    }
}

impl Write for Partial {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.named_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.named_mut().flush()
    }
}

impl Seek for Partial {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.named_mut().seek(to)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if let Some(file) = self.file.take() {
            let hidden = file.path().to_owned();
            drop(file);
            forget(&hidden);
        }
    }
}

/// Writes a whole file by way of a hidden one; see [`Partial::put`].
///
/// # Errors
/// If it cannot be written; then what was at `place` before is still there.
pub fn write(place: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = Partial::create(place)?;
    file.write_all(bytes)?;
    file.put()
}

/// From now on SIGINT and SIGTERM remove this process's unfinished files before they end it, as they would have without this.
///
/// # Errors
/// If the system has no thread or no handler to give.
pub fn clean_up_on_signals() -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            // Held to the end, so that no file is begun meanwhile.
            let unfinished = unfinished();
            for path in unfinished.iter() {
                let _ = remove(path);
            }
            let _ = signal_hook::low_level::emulate_default_handler(signal);
        }
    })?;
    Ok(())
}

/// Bytes that are free for this user on the disk under `folder`.
///
/// # Errors
/// If the system does not say.
pub fn free_bytes(folder: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(folder)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Says before the work whether a file of `bytes` has room at `place`.
///
/// # Errors
/// Of the kind [`io::ErrorKind::StorageFull`] if it has not.
pub fn check_room(place: &Path, bytes: u64) -> io::Result<()> {
    // Where it will lie may not be there yet.
    let folder = folder_of(place).ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("."));
    // A system that does not say will say it when the disk is full.
    let free = free_bytes(folder).unwrap_or(u64::MAX);
    if free < bytes {
        let message = format!("{bytes} bytes are needed, the disk has {free} left");
        return Err(io::Error::new(io::ErrorKind::StorageFull, message));
    }
    Ok(())
}

/// The folder in which `place` lies.
#[must_use]
pub fn folder_of(place: &Path) -> &Path {
    place.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Whether a name is that of a file or folder which has not taken its place.
#[must_use]
pub fn is_hidden(name: &str) -> bool {
    name.starts_with(PREFIX) && name.ends_with(SUFFIX)
}

/// Removes the hidden files and folders of processes that are no more. What cannot be looked at stays: it is not this file's
/// business.
fn sweep(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if !name.to_str().is_some_and(is_hidden)
            || !entry.file_type().is_ok_and(|kind| kind.is_file() || kind.is_dir())
        {
            continue;
        }
        let path = entry.path();
        if let Ok(file) = File::open(&path)
            && file.try_lock().is_ok()
            && is_at(&file, &path)
        {
            let _ = remove(&path);
        }
    }
}

fn remove(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

/// Whether `path` is the name of this very file.
fn is_at(file: &File, path: &Path) -> bool {
    let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(file), Ok(named)) => identity(file) == identity(named),
        _ => false,
    }
}

fn unfinished() -> MutexGuard<'static, Vec<PathBuf>> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

fn forget(hidden: &Path) {
    unfinished().retain(|path| path != hidden);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn what_a_killed_process_left_is_swept_and_what_is_in_use_stays() {
        let dir = tempfile::tempdir().unwrap();
        let left = dir.path().join(".perihelion-Abc123.partial");
        let another_s = dir.path().join(".other-Abc123.partial");
        for path in [&left, &another_s] {
            fs::write(path, b"half").unwrap();
        }
        let mut in_use = Partial::create(&dir.path().join("a")).unwrap();
        in_use.write_all(b"whole").unwrap();
        assert!(!left.exists() && another_s.exists());
        // Another process would open the file anew; a lock is of the open file.
        drop(Partial::create(&dir.path().join("b")).unwrap());
        assert!(in_use.path().exists(), "a file in use was swept");
        in_use.install().unwrap();
        assert_eq!(fs::read(dir.path().join("a")).unwrap(), b"whole");
        let mut names = names(dir.path());
        names.sort();
        assert_eq!(names, [".other-Abc123.partial", "a"]);
    }

    #[test]
    fn a_full_disk_leaves_the_old_file_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("a");
        fs::write(&place, b"old").unwrap();
        let mut file = Partial::create(&place).unwrap();
        file.write_all(b"new").unwrap();
        drop(file);
        assert_eq!(fs::read(&place).unwrap(), b"old");
        assert_eq!(names(dir.path()), ["a"]);
        assert!(write(Path::new("/dev/full/a"), b"x").is_err());
        assert!(write(Path::new(".."), b"x").is_err());
    }
}
