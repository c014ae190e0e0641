//! What is curated: bags, folders of frames, LeRobot's data sets.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::error::CurateError;
use super::lerobot;
use super::source_kind::SourceKind;
use crate::bounded::{self, TEXT_BYTES_MAX};
use crate::camera::{frame_files, natural_order};
use crate::container::hex;
use crate::ros2::transport::{bag_files, bag_root};

/// Folders within folders are looked into so far.
const DEPTH_MAX: usize = 16;
/// What is said of a folder's frames beside them.
const CLIP_FILE: &str = "clip.json";

/// A bag, a folder of frames or a data set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// As it was named, or found in a folder that was named.
    pub name: String,
    /// Where it lies.
    pub path: PathBuf,
    /// What it is.
    pub kind: SourceKind,
}

impl Source {
    /// Its files, in order; none where they cannot be listed, which is said when it is read.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        self.list().unwrap_or_default()
    }

    fn list(&self) -> Result<Vec<PathBuf>, CurateError> {
        match self.kind {
            SourceKind::Bag => Ok(bag_files(&self.path)?),
            SourceKind::Frames => Ok(frame_files(&self.path)?.paths),
            SourceKind::LeRobot => lerobot::files(&self.path).map_err(CurateError::at(&self.path)),
        }
    }

    /// The digest of its files, by their names within it, and their bytes in all. A copy elsewhere has the same.
    pub(super) fn digest(&self) -> Result<(String, u64), CurateError> {
        let files = self.list()?;
        let mut all = Sha256::new();
        let mut bytes = 0;
        let mut buffer = vec![0; 1 << 20];
        for file in &files {
            let mut digest = Sha256::new();
            let mut open = File::open(file).map_err(CurateError::at(file))?;
            loop {
                let n = open.read(&mut buffer).map_err(CurateError::at(file))?;
                if n == 0 {
                    break;
                }
                digest.update(&buffer[..n]);
                bytes += n as u64;
            }
            if let [_] = files[..]
                && self.kind == SourceKind::Bag
            {
                return Ok((hex(&digest.finalize()), bytes));
            }
            let name = match self.kind {
                SourceKind::LeRobot => file.strip_prefix(&self.path).unwrap_or(file).to_string_lossy(),
                _ => file.file_name().unwrap_or_default().to_string_lossy(),
            };
            all.update(format!("{}  {name}\n", hex(&digest.finalize())));
        }
        if let Some(fps) = said_fps(&self.path).filter(|_| self.kind == SourceKind::Frames) {
            all.update(format!("{fps} frames a second\n"));
        }
        Ok((hex(&all.finalize()), bytes))
    }

    /// Where a folder of frames says how fast they came.
    #[must_use]
    pub fn description(&self) -> PathBuf {
        self.path.join(CLIP_FILE)
    }

    /// Bytes of its files, as the system says them.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files().iter().map(|file| fs::metadata(file).map_or(0, |metadata| metadata.len())).sum()
    }
}

/// What of `clip.json` is of use here.
#[derive(Deserialize)]
struct Described {
    fps: Option<f64>,
}

/// Frames a second, as a folder of frames says it.
pub(super) fn said_fps(folder: &Path) -> Option<f64> {
    let text = bounded::read_text(&folder.join(CLIP_FILE), TEXT_BYTES_MAX).ok()?;
    let fps = serde_json::from_str::<Described>(&text).ok()?.fps;
    fps.filter(|fps| fps.is_finite() && 0.0 < *fps)
}

/// Finds the sources that are named, or lie in folders that are, each once, in natural order of their names.
///
/// # Errors
/// What a place is instead; an empty folder too.
pub fn find(paths: &[PathBuf]) -> Result<Vec<Source>, CurateError> {
    let mut found: BTreeMap<PathBuf, Source> = BTreeMap::new();
    for path in paths {
        let mut there = Vec::new();
        look(path, DEPTH_MAX, &mut there)?;
        for source in there {
            let place = source.path.canonicalize().map_err(CurateError::at(&source.path))?;
            let first = found.entry(place).or_insert_with(|| source.clone());
            if natural_order(source.name.as_bytes(), first.name.as_bytes()).is_lt() {
                *first = source;
            }
        }
    }
    let mut sources: Vec<Source> = found.into_values().collect();
    sources.sort_by(|a, b| natural_order(a.name.as_bytes(), b.name.as_bytes()));
    Ok(sources)
}

fn look(path: &Path, depth: usize, found: &mut Vec<Source>) -> Result<(), CurateError> {
    let root = bag_root(path);
    let bag = |path: &Path| Source { name: named(path), path: path.to_owned(), kind: SourceKind::Bag };
    if fs::metadata(root).map_err(CurateError::at(path))?.is_file() {
        bag_files(root)?;
        found.push(bag(root));
        return Ok(());
    }
    if lerobot::is_data_set(root) {
        lerobot::check(root).map_err(|problem| CurateError::NoSource { path: root.to_owned(), problem })?;
        found.push(Source { name: named(root), path: root.to_owned(), kind: SourceKind::LeRobot });
        return Ok(());
    }
    let (mut folders, mut bags, mut has_files, mut has_description) = (Vec::new(), false, false, false);
    for entry in fs::read_dir(root).map_err(CurateError::at(root))? {
        let place = entry.map_err(CurateError::at(root))?.path();
        let name = place.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let extension = place.extension().unwrap_or_default().to_string_lossy().into_owned();
        match () {
            () if name.starts_with('.') => {}
            () if place.is_dir() => folders.push(place),
            () if name == "metadata.yaml" => has_description = true,
            () if ["mcap", "db3", "zstd"].contains(&&extension[..]) => bags = true,
            () => has_files |= extension != "json",
        }
    }
    let problem = |problem: String| CurateError::NoSource { path: root.to_owned(), problem };
    if has_description || bags {
        bag_files(root)?;
        found.push(bag(root));
        return Ok(());
    }
    match (folders.first(), has_files) {
        (Some(folder), true) => Err(problem(format!(
            "frames lie here, and folders as {}; name the folder whose frames are one stream, or one that holds folders alone",
            folder.display()
        ))),
        (None, true) => {
            frame_files(root)?;
            found.push(Source { name: named(root), path: root.to_owned(), kind: SourceKind::Frames });
            Ok(())
        }
        (None, false) => Err(problem("neither a bag nor a frame lies here".to_owned())),
        (Some(_), false) if depth == 0 => Err(problem("folders lie too deep within each other".to_owned())),
        (Some(_), false) => {
            folders.sort_by(|a, b| {
                natural_order(a.as_os_str().as_encoded_bytes(), b.as_os_str().as_encoded_bytes())
            });
            folders.iter().try_for_each(|folder| look(folder, depth - 1, found))
        }
    }
}

/// The path without what says nothing.
fn named(path: &Path) -> String {
    let plain: PathBuf = path.components().filter(|part| *part != Component::CurDir).collect();
    if plain.as_os_str().is_empty() { ".".to_owned() } else { plain.display().to_string() }
}
