//! What can keep an adapter out of a checkpoint. Every message names the file, the tensor, what was expected and what was found.

use std::path::{Path, PathBuf};

use crate::checkpoint::CheckpointError;

/// Why nothing was merged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MergeError {
    /// A file of checkpoint or adapter is missing, damaged, not as expected, or cannot be written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// There is no adapter.
    #[error("{}: {what}", path.display())]
    NoAdapter {
        /// Where it was looked for.
        path: PathBuf,
        /// What was expected, and what to do.
        what: String,
    },
    /// A tensor of the adapter is none that is merged here.
    #[error("{}: tensor `{}` is none of LoRA on a linear layer, a convolution or an embedding; {WITH_PEFT}", path.display(), key.escape_debug())]
    UnknownKey {
        /// The adapter's file.
        path: PathBuf,
        /// The tensor.
        key: String,
    },
    /// A layer has one half of its adapter.
    #[error("{}: `{}` has {has} and no {lacks}; the file is incomplete, fetch it again", path.display(), module.escape_debug())]
    Incomplete {
        /// The adapter's file.
        path: PathBuf,
        /// The layer.
        module: String,
        /// What it has.
        has: &'static str,
        /// What it lacks.
        lacks: &'static str,
    },
    /// The checkpoint has no tensor that an adapter's tensor is for.
    #[error("{}: `{}` is for no tensor of {}{}; is it an adapter of this checkpoint?", path.display(), key.escape_debug(), checkpoint.display(), nearest(found))]
    Unmatched {
        /// The adapter's file.
        path: PathBuf,
        /// The adapter's tensor or layer.
        key: String,
        /// The checkpoint's directory.
        checkpoint: PathBuf,
        /// The checkpoint's tensors with the most like names.
        found: Vec<String>,
    },
    /// An adapter changes the head or the embedding of a checkpoint that has one tensor for both.
    #[error("{}: `{}` changes head or embedding, which in {} are one tensor (`tie_word_embeddings`), and were not while the adapter was trained; train without it, or untie the two first", path.display(), key.escape_debug(), checkpoint.display())]
    Tied {
        /// The adapter's file.
        path: PathBuf,
        /// The adapter's tensor or layer.
        key: String,
        /// The checkpoint's directory.
        checkpoint: PathBuf,
    },
    /// A tensor of the adapter may be for several of the checkpoint, or several are for one.
    #[error("{}: `{}` is not for one tensor alone: {what}", path.display(), key.escape_debug())]
    Ambiguous {
        /// The adapter's file.
        path: PathBuf,
        /// The adapter's tensor or layer.
        key: String,
        /// Which else.
        what: String,
    },
    /// A tensor of checkpoint or adapter is of a type in which nothing is merged.
    #[error("{}: tensor `{}` is {found}; F32, F16 and BF16 are merged: take the checkpoint that is not quantised, and quantise in `build`", path.display(), name.escape_debug())]
    Type {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its type.
        found: String,
    },
    /// A tensor of the adapter holds something that is no number.
    #[error("{}: tensor `{}` holds {value}, so training had failed; take an earlier adapter", path.display(), name.escape_debug())]
    NotFinite {
        /// The adapter's file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// NaN, or an infinity.
        value: f32,
    },
    /// What comes out of a merge is no number.
    #[error("{}: tensor `{}` is not finite after the merge; with a smaller --scale it may be", path.display(), name.escape_debug())]
    Overflow {
        /// The checkpoint's directory.
        path: PathBuf,
        /// The tensor.
        name: String,
    },
    /// A checkpoint's directory holds folders in folders without an end.
    #[error("{}: more folders in each other than any checkpoint has", path.display())]
    TooDeep {
        /// The folder.
        path: PathBuf,
    },
}

/// What to do with adapters that are not merged here.
pub(super) const WITH_PEFT: &str =
    "merge it with peft (`merge_and_unload`, then `save_pretrained`) and export what comes out";

fn nearest(found: &[String]) -> String {
    let found: Vec<String> = found.iter().map(|name| format!("`{}`", name.escape_debug())).collect();
    if found.is_empty() { String::new() } else { format!(", which has {}", found.join(", ")) }
}

impl MergeError {
    /// Puts the path to a system error.
    pub(super) fn io(path: &Path, source: std::io::Error) -> Self {
        CheckpointError::io(path, source).into()
    }
}
