//! Where sources lie that have been read, until all have: a hidden folder that goes away with the process, or one that is kept.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

use super::place::{Place, beside};
use crate::cli::Usage;
use crate::curate::{PART_FILE, Part, Source, SourceRecord, read_record};
use crate::install::{PartialFolder, is_hidden, sync};

/// What a source's files were when they were read.
const FILES_FILE: &str = "files.json";
/// Sources that have been read, and the set that is being made of them.
const SOURCES: &str = "sources";
const RESULT: &str = "result";

#[derive(Debug)]
pub(super) enum Work {
    Hidden(PartialFolder),
    /// Locked while it is worked in.
    Kept(PathBuf, #[expect(dead_code, reason = "it is held for its lock")] File),
}

/// By which a source that changed is known.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Files {
    bytes: u64,
    modified_ns: Vec<i128>,
}

impl Work {
    /// A folder that goes away, whatever happens.
    pub(super) fn hidden(out: &Path, part: &Part) -> anyhow::Result<Self> {
        let place = beside(out);
        let shown = place.display().to_string();
        if place.exists() {
            let message = format!(
                "{shown} is what an interrupted run left: --resume goes on from there; remove it to begin anew"
            );
            return Err(Usage(message).into());
        }
        let folder = PartialFolder::create(&place).with_context(|| shown)?;
        let work = Self::Hidden(folder);
        work.furnish(part)?;
        Ok(work)
    }

    /// A folder that stays until the work is done, perhaps with what an earlier run has read.
    pub(super) fn kept(out: &Path, part: &Part) -> anyhow::Result<Self> {
        let place = beside(out);
        let shown = place.display().to_string();
        fs::create_dir_all(&place).with_context(|| shown.clone())?;
        let lock = File::open(&place).with_context(|| shown.clone())?;
        if let Err(TryLockError::WouldBlock) = lock.try_lock() {
            bail!("{shown}: another process works in it; let it end first");
        }
        let entries = fs::read_dir(&place).with_context(|| shown.clone())?.flatten();
        let names: Vec<String> =
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        let is_ours = |name: &&String| [PART_FILE, SOURCES, RESULT].contains(&&name[..]) || is_hidden(name);
        let has_part = names.iter().any(|name| name == PART_FILE);
        // It will be removed when the set is there.
        if let Some(stranger) = names.iter().find(|name| !has_part && !is_hidden(name) || !is_ours(name)) {
            let message =
                format!("{shown} holds `{stranger}`, which no run of `curate` left there; name another -o");
            return Err(Usage(message).into());
        }
        if has_part {
            let there = Part::read(&place)?;
            if there != *part {
                let message = format!(
                    "{shown} was begun with other sources or parameters: pass the same, or remove it to begin anew"
                );
                return Err(Usage(message).into());
            }
        }
        let work = Self::Kept(place, lock);
        work.furnish(part)?;
        Ok(work)
    }

    fn furnish(&self, part: &Part) -> anyhow::Result<()> {
        // First, so that what lies in the folder is known to be ours.
        if !self.path().join(PART_FILE).exists() {
            part.write(self.path())?;
        }
        let sources = self.path().join(SOURCES);
        fs::create_dir_all(&sources).with_context(|| sources.display().to_string())
    }

    pub(super) fn path(&self) -> &Path {
        match self {
            Work::Hidden(folder) => folder.path(),
            Work::Kept(path, _) => path,
        }
    }

    /// The record of a source that was read before, and has not changed since.
    pub(super) fn there(&self, source: &Source) -> Option<SourceRecord> {
        let place = Part::place(self.path(), &source.name);
        (files_before(&place)? == files_of(source)).then_some(())?;
        read_record(&place).ok().filter(|record| record.name == source.name)
    }

    /// A folder to read a source into. What lies there of another time goes.
    pub(super) fn begin(&self, source: &Source) -> anyhow::Result<PartialFolder> {
        let place = Part::place(self.path(), &source.name);
        if place.exists() {
            fs::remove_dir_all(&place).with_context(|| place.display().to_string())?;
        }
        let folder = PartialFolder::create(&place).with_context(|| place.display().to_string())?;
        let file = folder.path().join(FILES_FILE);
        fs::write(&file, serde_json::to_vec(&files_of(source))?)
            .with_context(|| file.display().to_string())?;
        Ok(folder)
    }

    /// The source was read whole.
    pub(super) fn keep(&self, source: &Source, folder: PartialFolder) -> anyhow::Result<()> {
        if files_before(folder.path()).as_ref() != Some(&files_of(source)) {
            bail!("{} has changed while it was read; read it again when it is whole", source.name);
        }
        folder.put().with_context(|| source.name.clone())
    }

    /// A folder for the set.
    pub(super) fn result(&self) -> anyhow::Result<PartialFolder> {
        let place = self.path().join(RESULT);
        if place.exists() {
            fs::remove_dir_all(&place).with_context(|| place.display().to_string())?;
        }
        PartialFolder::create(&place).with_context(|| place.display().to_string())
    }

    /// Puts the set into its place, and lets go of everything else.
    pub(super) fn done(self, place: &Place) -> anyhow::Result<()> {
        place.take(&self.path().join(RESULT))?;
        match self {
            Work::Hidden(folder) => drop(folder),
            Work::Kept(path, _) => fs::remove_dir_all(&path).with_context(|| path.display().to_string())?,
        }
        Ok(())
    }

    /// What was read is itself what was wanted.
    pub(super) fn becomes_part(self, place: &Place) -> anyhow::Result<()> {
        match self {
            Work::Hidden(folder) => folder.install().map_err(|error| place.failed(error))?,
            Work::Kept(path, _) => sync(&path).map_err(|error| place.failed(error))?,
        }
        place.take(&place.beside())
    }
}

fn files_before(folder: &Path) -> Option<Files> {
    serde_json::from_slice(&fs::read(folder.join(FILES_FILE)).ok()?).ok()
}

fn files_of(source: &Source) -> Files {
    let modified = |path: PathBuf| {
        fs::metadata(path).map_or(0, |m| i128::from(m.mtime()) * 1_000_000_000 + i128::from(m.mtime_nsec()))
    };
    let files = source.files().into_iter().chain([source.description()]);
    Files { bytes: source.bytes(), modified_ns: files.map(modified).collect() }
}
