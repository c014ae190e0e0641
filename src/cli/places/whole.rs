//! Folders that come whole into their places: what lies in one of an earlier run, and so may go, and what does not.

use std::fs;
use std::path::{Path, PathBuf};

use crate::onnx::foreign;

/// What a clip's folder holds beside its frames.
pub(in crate::cli) const CLIP_FILE: &str = "clip.json";

/// What such a folder holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Whole {
    /// ONNX files with their weights.
    Onnx,
    /// Clips of `scenes`, each a numbered folder.
    Clips,
}

impl Whole {
    /// As messages call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Onnx => "ONNX files",
            Self::Clips => "clips",
        }
    }

    /// The name of something in `folder` that no earlier run has put there.
    pub(super) fn stranger(self, folder: &Path) -> Option<String> {
        let entries = entries_in(folder);
        match self {
            Self::Onnx => {
                if let Some(folder) = entries.iter().find(|entry| entry.is_dir()) {
                    return Some(name_of(folder));
                }
                let names: Vec<_> = entries.iter().map(|entry| name_of(entry)).collect();
                foreign(names.iter().map(AsRef::as_ref)).map(str::to_owned)
            }
            Self::Clips => entries.iter().find_map(|entry| foreign_in_clip(entry)),
        }
    }
}

/// Everything in a folder, which may not be there, and in its folders: what lies deeper comes first.
pub(super) fn everything_in(folder: &Path) -> Vec<PathBuf> {
    let with_its_own = |path: PathBuf| {
        // What a link leads to is not in the folder.
        let own = if path.is_symlink() { Vec::new() } else { entries_in(&path) };
        own.into_iter().chain([path])
    };
    entries_in(folder).into_iter().flat_map(with_its_own).collect()
}

fn entries_in(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// The entry itself, where it is no clip's folder, or something in it that is not of a clip.
fn foreign_in_clip(entry: &Path) -> Option<String> {
    let name = name_of(entry);
    if !is_number(&name) || entry.is_symlink() || !entry.is_dir() {
        return Some(name);
    }
    let is_of_clip = |file: &str| {
        let number = file.strip_prefix("frame_").and_then(|rest| rest.strip_suffix(".png"));
        file == CLIP_FILE || number.is_some_and(is_number)
    };
    entries_in(entry).iter().map(|file| name_of(file)).find(|file| !is_of_clip(file))
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}
