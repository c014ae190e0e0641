//! A folder of files that comes into its place whole.

use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::{PREFIX, SUFFIX, folder_of, forget, is_at, sweep, unfinished};

/// A folder whose files are being written, beside its place.
#[derive(Debug)]
pub struct PartialFolder {
    folder: TempDir,
    /// Locked while the folder is in use.
    _in_use: File,
    place: PathBuf,
}

impl PartialFolder {
    /// Begins a folder that will lie at `place`, where nothing lies now, or an empty folder; and sweeps what killed processes left
    /// beside it.
    ///
    /// # Errors
    /// [`ErrorKind::DirectoryNotEmpty`] or [`ErrorKind::NotADirectory`] if something lies there; and if no folder can be made beside it.
    pub fn create(place: &Path) -> io::Result<Self> {
        if place.file_name().is_none() {
            return Err(io::Error::new(ErrorKind::InvalidInput, "not the name of a folder"));
        }
        let is_empty = match fs::read_dir(place) {
            Ok(mut entries) => entries.next().is_none(),
            Err(e) if e.kind() == ErrorKind::NotFound => true,
            Err(e) => return Err(e),
        };
        if !is_empty {
            return Err(io::Error::new(
                ErrorKind::DirectoryNotEmpty,
                "a folder that is not empty lies there",
            ));
        }
        let dir = folder_of(place);
        sweep(dir);
        loop {
            // Held while the folder is made: a signal finds it listed, or finds none.
            let mut unfinished = unfinished();
            let folder = tempfile::Builder::new()
                .prefix(PREFIX)
                .suffix(SUFFIX)
                .permissions(Permissions::from_mode(0o777))
                .tempdir_in(dir)?;
            // Another process may sweep it before it is locked.
            let Ok(in_use) = File::open(folder.path()) else { continue };
            let _ = in_use.lock();
            if is_at(&in_use, folder.path()) {
                unfinished.push(folder.path().to_owned());
                return Ok(Self { folder, _in_use: in_use, place: place.to_owned() });
            }
        }
    }

    /// Where its files are written meanwhile.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Flushes every file to the disk and puts the folder into its place.
    ///
    /// # Errors
    /// If the disk is full or fails, or something lies at the place by now; then that is still there.
    pub fn install(self) -> io::Result<()> {
        sync(self.path())?;
        let dir = folder_of(&self.place).to_owned();
        self.put()?;
        File::open(dir)?.sync_all()
    }

    /// Puts the folder into its place and leaves it to the system when it reaches the disk: for results that are soon made again.
    ///
    /// # Errors
    /// As [`PartialFolder::install`].
    pub fn put(mut self) -> io::Result<()> {
        fs::rename(self.path(), &self.place)?;
        self.folder.disable_cleanup(true);
        Ok(())
    }
}

impl Drop for PartialFolder {
    fn drop(&mut self) {
        // Removed by `folder` right after this, if it is not in its place.
        forget(self.folder.path());
    }
}

/// Puts the folder `new` into the place of the one that lies at `place`, if one does, which is then removed. Whoever looks at `place`
/// sees the old one or the new one.
///
/// # Errors
/// If the file system refuses. One that cannot exchange two names in one step leaves nothing at `place` for a moment.
pub fn exchange(new: &Path, place: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    // Before anything is removed.
    fs::metadata(new)?;
    if !place.exists() {
        fs::rename(new, place)?;
    } else if renameat_with(CWD, new, CWD, place, RenameFlags::EXCHANGE).is_ok() {
        fs::remove_dir_all(new)?;
    } else {
        fs::remove_dir_all(place)?;
        fs::rename(new, place)?;
    }
    File::open(folder_of(place))?.sync_all()
}

/// Flushes a folder with all that lies in it.
///
/// # Errors
/// If something of it cannot be read, or the disk fails.
pub fn sync(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { sync(&path)? } else { File::open(&path)?.sync_all()? }
    }
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_new_folder_takes_the_place_of_an_old_one() {
        let dir = tempfile::tempdir().unwrap();
        let (new, place) = (dir.path().join("new"), dir.path().join("a"));
        for name in ["first", "second"] {
            fs::create_dir(&new).unwrap();
            fs::write(new.join(name), "").unwrap();
            exchange(&new, &place).unwrap();
            assert_eq!((names(dir.path()), names(&place)), (vec!["a".to_owned()], vec![name.to_owned()]));
        }
        assert!(exchange(&new, &place).is_err(), "nothing new is there");
        assert_eq!(names(&place), ["second"]);
    }

    #[test]
    fn it_comes_whole_where_nothing_or_an_empty_one_lies() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("a");
        for _ in 0..2 {
            let folder = PartialFolder::create(&place).unwrap();
            fs::create_dir(folder.path().join("in")).unwrap();
            fs::write(folder.path().join("in/b"), "new").unwrap();
            drop(folder);
            fs::create_dir_all(&place).unwrap();
            assert_eq!(names(dir.path()), ["a"]);
        }
        let folder = PartialFolder::create(&place).unwrap();
        fs::write(folder.path().join("b"), "new").unwrap();
        assert!(names(&place).is_empty());
        folder.install().unwrap();
        assert_eq!((names(dir.path()), names(&place)), (vec!["a".to_owned()], vec!["b".to_owned()]));
        assert_eq!(PartialFolder::create(&place).unwrap_err().kind(), ErrorKind::DirectoryNotEmpty);
        assert_eq!(PartialFolder::create(&place.join("b")).unwrap_err().kind(), ErrorKind::NotADirectory);
    }

    #[test]
    fn what_came_meanwhile_stays() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("a");
        let folder = PartialFolder::create(&place).unwrap();
        fs::create_dir(&place).unwrap();
        fs::write(place.join("theirs"), "").unwrap();
        folder.install().unwrap_err();
        assert_eq!((names(dir.path()), names(&place)), (vec!["a".to_owned()], vec!["theirs".to_owned()]));
    }

    #[test]
    fn what_a_killed_process_left_is_swept_and_what_is_in_use_stays() {
        let dir = tempfile::tempdir().unwrap();
        let left = dir.path().join(".perihelion-Abc123.partial");
        fs::create_dir(&left).unwrap();
        fs::write(left.join("half"), "").unwrap();
        let in_use = PartialFolder::create(&dir.path().join("a")).unwrap();
        assert!(!left.exists());
        drop(PartialFolder::create(&dir.path().join("b")).unwrap());
        assert!(in_use.path().exists(), "a folder in use was swept");
    }
}
