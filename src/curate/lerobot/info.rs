//! `meta/info.json` of a data set that is read: which features are frames, and what cannot be read, by name.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::features::ACTION;
use super::{DATA_PATH, INFO_FILE, TASKS_FILE};
use crate::bounded::{self, TEXT_BYTES_MAX};
use crate::curate::beside::COLUMNS_MAX;

/// Files of frames that a data set has at most.
const FILES_MAX: usize = 1_000_000;

/// What a data set says of itself.
#[derive(Debug, Deserialize)]
pub(super) struct Info {
    codebase_version: String,
    #[serde(default)]
    data_path: String,
    features: BTreeMap<String, Feature>,
}

#[derive(Debug, Deserialize)]
struct Feature {
    dtype: String,
    #[serde(default)]
    shape: Vec<u64>,
    #[serde(default)]
    names: Value,
    #[serde(default)]
    info: Value,
}

impl Info {
    /// Of the data set in this folder, if it is one that can be read.
    pub(super) fn read(root: &Path) -> Result<Self, String> {
        let text = bounded::read_text(&root.join(INFO_FILE), TEXT_BYTES_MAX)
            .map_err(|error| format!("{INFO_FILE}: {error}"))?;
        let info: Self = serde_json::from_str(&text)
            .map_err(|error| format!("{INFO_FILE} describes no data set of LeRobot's: {error}"))?;
        let version = &info.codebase_version;
        if !version.starts_with("v3.") {
            return Err(format!(
                "a data set of LeRobot's of version {version}, expected v3.0; lerobot converts it: python -m \
                 lerobot.datasets.v30.convert_dataset_v21_to_v30 --repo-id=NAME --root=…"
            ));
        }
        if info.data_path != DATA_PATH {
            return Err(format!(
                "{INFO_FILE}: expected `data_path` to be `{DATA_PATH}`, found `{}`",
                info.data_path
            ));
        }
        if info.cameras().next().is_none() {
            let videos: Vec<&str> = info.of("video").collect();
            return Err(match videos.first() {
                None => "a data set of LeRobot's without frames: no feature is of `dtype` `image`".to_owned(),
                Some(video) => format!(
                    "the frames of {} are videos, which are not decoded here; take them out, as with: ffmpeg -i \
                     videos/{video}/chunk-000/file-000.mp4 frames/%06d.png, and name that folder",
                    videos.join(", ")
                ),
            });
        }
        Ok(info)
    }

    fn of(&self, dtype: &str) -> impl Iterator<Item = &str> {
        self.features.iter().filter(move |(_, feature)| feature.dtype == dtype).map(|(name, _)| &name[..])
    }

    /// Features that are frames.
    pub(super) fn cameras(&self) -> impl Iterator<Item = &str> {
        let is_depth = |feature: &Feature| feature.info.get("is_depth_map") == Some(&Value::Bool(true));
        self.of("image").filter(move |name| !is_depth(&self.features[*name]))
    }

    /// Frames that are not read.
    pub(super) fn not_read(&self) -> Option<String> {
        let names: Vec<&str> = self
            .of("video")
            .chain(self.of("image").filter(|name| !self.cameras().any(|c| c == *name)))
            .collect();
        (!names.is_empty()).then(|| format!("videos and depth are not read: {}", names.join(", ")))
    }

    /// Names of an action's columns; none where there is no action.
    pub(super) fn action_names(&self) -> Vec<String> {
        let Some(action) = self.features.get(ACTION) else { return Vec::new() };
        let n = action.shape.first().map_or(0, |n| *n as usize).min(COLUMNS_MAX);
        let mut names = Vec::new();
        texts_in(&action.names, &mut names);
        if names.len() == n { names } else { (0..n).map(|column| format!("action_{column}")).collect() }
    }
}

/// Texts in lists, or in lists by the names of parts, as data sets have them.
fn texts_in(value: &Value, texts: &mut Vec<String>) {
    match value {
        Value::String(text) => texts.push(text.clone()),
        Value::Array(values) => values.iter().for_each(|value| texts_in(value, texts)),
        Value::Object(values) => values.values().for_each(|value| texts_in(value, texts)),
        _ => {}
    }
}

/// Whether a data set is in this folder.
pub(in crate::curate) fn is_data_set(root: &Path) -> bool {
    root.join(INFO_FILE).is_file()
}

/// That what lies here can be read, or why not.
pub(in crate::curate) fn check(root: &Path) -> Result<(), String> {
    Info::read(root).map(drop)
}

/// All files that are read, in the order of their names within the folder.
pub(in crate::curate) fn files(root: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = vec![root.join(INFO_FILE), root.join(TASKS_FILE)];
    files.extend(data_files(root)?);
    Ok(files)
}

/// Files of frames, as lerobot finds them.
pub(super) fn data_files(root: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for chunk in fs::read_dir(root.join("data"))? {
        let chunk = chunk?.path();
        if !chunk.is_dir() {
            continue;
        }
        for file in fs::read_dir(chunk)? {
            let file = file?.path();
            if file.extension().is_some_and(|extension| extension == "parquet") && files.len() < FILES_MAX {
                files.push(file);
            }
        }
    }
    files.sort();
    Ok(files)
}
