//! Where a set or a part comes to lie: nothing that is read lies in it, and nothing that another has put there is replaced.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::cli::Usage;
use crate::curate::{MANIFEST_FILE, PART_FILE};
use crate::install::{exchange, folder_of};

/// What lies in the folder of a set or of a part.
const OURS: [&str; 7] = [MANIFEST_FILE, PART_FILE, "index.html", "frames", "shards", "lerobot", "sources"];

/// A place for a set or a part.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    /// Whether a set is to be replaced.
    replaces: bool,
}

impl Place {
    /// Looks at the place before the work; `inputs` are what is named and what was found there.
    pub(super) fn new(path: &Path, inputs: &[PathBuf], overwrite: bool) -> anyhow::Result<Self> {
        let shown = path.display();
        let usage = |problem: String| anyhow::Error::from(Usage(format!("-o {shown} {problem}")));
        if path.file_name().is_none() {
            return Err(usage("is no name of a folder; name one".to_owned()));
        }
        if fs::metadata(path).is_ok_and(|metadata| !metadata.is_dir()) {
            return Err(usage("is a file; name a folder".to_owned()));
        }
        let folder = folder_of(path);
        let place = match path.canonicalize() {
            Ok(place) => place,
            Err(_) => folder
                .canonicalize()
                .with_context(|| {
                    format!("-o {shown}: there is no folder {}; make it first", folder.display())
                })?
                .join(path.file_name().unwrap_or_default()),
        };
        for input in inputs {
            let name = input.display();
            let input = input.canonicalize().with_context(|| name.to_string())?;
            // Its neighbour goes when the work is done.
            let places = [&place, &beside(&place)];
            if places.iter().any(|place| place.starts_with(&input)) {
                return Err(usage(format!(
                    "lies in {name}, which is read, and would be taken for a part of it; name another place"
                )));
            }
            if places.iter().any(|place| input.starts_with(place)) {
                return Err(usage(format!(
                    "holds {name}, which is read and would be lost; name another place"
                )));
            }
        }
        if let Err(error) = tempfile::tempfile_in(folder) {
            bail!("-o {shown}: no file can be made in {}: {error}", folder.display());
        }
        let there = names_in(path);
        if there.is_empty() {
            return Ok(Self { path: path.to_owned(), replaces: false });
        }
        if !overwrite {
            return Err(usage(
                "is not empty; name another folder, or pass --overwrite to replace a set".to_owned(),
            ));
        }
        match stranger(&there) {
            Some(name) => Err(usage(format!(
                "holds `{name}`, which is none of what `curate` writes; name another folder"
            ))),
            None => Ok(Self { path: path.to_owned(), replaces: true }),
        }
    }

    /// A name beside the place, where nothing lies that matters.
    pub(super) fn beside(&self) -> PathBuf {
        beside(&self.path)
    }

    /// Puts a whole folder into the place, unless something else has come there meanwhile; then both stay.
    pub(super) fn take(&self, from: &Path) -> anyhow::Result<()> {
        let there = names_in(&self.path);
        let came = if self.replaces { stranger(&there) } else { there.first().cloned() };
        if let Some(name) = came {
            let place = self.path.display();
            bail!("{place}: `{name}` has come there meanwhile; what was made lies in {}", from.display());
        }
        exchange(from, &self.path).map_err(|error| self.failed(error))
    }

    /// What the system said, with the place's name.
    pub(super) fn failed(&self, error: io::Error) -> anyhow::Error {
        anyhow::Error::from(error).context(self.path.display().to_string())
    }
}

/// The folder beside a place in which its making is kept.
pub(super) fn beside(place: &Path) -> PathBuf {
    let mut name = place.file_name().unwrap_or_default().to_owned();
    name.push(".curating");
    place.with_file_name(name)
}

/// A name of a folder that holds something, by which it is neither a set nor a part.
fn stranger(names: &[String]) -> Option<String> {
    let is_ours = names.is_empty() || names.iter().any(|name| name == MANIFEST_FILE || name == PART_FILE);
    let stranger = names.iter().find(|name| !OURS.contains(&&name[..]));
    stranger.or(if is_ours { None } else { names.first() }).cloned()
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
