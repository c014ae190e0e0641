//! What can be wrong with a checkpoint. Every message names the file, what was expected there, and what was found.

use std::path::{Path, PathBuf};

use crate::tensor::DType;

/// Why a checkpoint, or one thing in it, was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The file system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A value is too large for the type that it was to be written in.
    #[error("{}: a value does not fit {dtype}; write bf16 or f32", path.display())]
    Overflow {
        /// The file that was being written.
        path: PathBuf,
        /// The type.
        dtype: DType,
    },
    /// A file or directory that a checkpoint needs is not there.
    #[error("{}: expected {expected}, found none; is this a checkpoint directory?", dir.display())]
    Missing {
        /// The checkpoint's directory.
        dir: PathBuf,
        /// What was looked for.
        expected: String,
    },
    /// A file is larger than anything of its kind may be.
    #[error("{}: {bytes} bytes; a file of this kind has at most {bytes_max}", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
    /// A file is not the JSON it should be.
    #[error("{}: not the JSON expected: {message}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// The parser's words, with line and column.
        message: String,
    },
    /// A safetensors header contradicts itself or its file.
    #[error("{}: safetensors header: {what}; the file is damaged or incomplete, fetch it again", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The index of a sharded checkpoint contradicts the shards.
    #[error("{}: {what}; fetch the index and its shards from one revision", path.display())]
    Index {
        /// The index file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// No file of the checkpoint has the tensor.
    #[error("{}: no tensor `{name}`{}; the files do not belong to this config", path.display(), other_prefix(found))]
    NoTensor {
        /// The file or directory that was searched.
        path: PathBuf,
        /// The tensor that was asked for.
        name: String,
        /// A tensor that is there and ends alike.
        found: Option<String>,
    },
    /// A tensor is stored in a type that networks here do not use.
    #[error("{}: tensor `{name}` is {found}; expected one of F32, F16, BF16, I32, U8", path.display())]
    DType {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its type, as the file spells it.
        found: String,
    },
    /// A tensor's shape is not the one that the config implies.
    #[error("{}: tensor `{name}`: expected shape {expected:?}, found {found:?}", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The shape that the config implies.
        expected: Vec<usize>,
        /// The shape in the file.
        found: Vec<usize>,
    },
    /// The checkpoint has tensors that the network of its config has no use for.
    #[error("{}: {n_leftover} tensors that this config's network does not have, first {first}; the weights belong to another config", path.display())]
    Leftover {
        /// The file, or the checkpoint's directory.
        path: PathBuf,
        /// How many.
        n_leftover: usize,
        /// The first few by name.
        first: String,
    },
    /// A config holds a value that cannot be meant, or lacks one.
    #[error("{}: `{}`: expected {expected}, found {found}", path.display(), key.escape_debug())]
    Config {
        /// The file.
        path: PathBuf,
        /// The key, with the sections it lies in.
        key: String,
        /// What it may be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// A checkpoint would be written over something.
    #[error("{}: a checkpoint is written where nothing lies yet, or an empty directory; name another place", dir.display())]
    NotEmpty {
        /// Where it would lie.
        dir: PathBuf,
    },
    /// A checkpoint would be written into the one that it is made from.
    #[error("{}: lies in {}, which is read meanwhile; name another place", dir.display(), source_dir.display())]
    IntoSource {
        /// Where it would lie.
        dir: PathBuf,
        /// What it is made from.
        source_dir: PathBuf,
    },
    /// The checkpoint is of a network that is not written here.
    #[error("{}: architecture {found}; this program knows {known}", path.display())]
    UnknownArchitecture {
        /// The config.
        path: PathBuf,
        /// What it names.
        found: String,
        /// What is known.
        known: &'static str,
    },
}

fn other_prefix(found: &Option<String>) -> String {
    found
        .as_ref()
        .map(|found| format!(", but `{}`: the names there have another prefix", found.escape_debug()))
        .unwrap_or_default()
}

impl CheckpointError {
    /// Puts the path to a system error.
    pub(crate) fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }

    /// Tells the first few of these names, of which there is at least one.
    pub(crate) fn leftover(path: &Path, names: &[&str]) -> Self {
        const SHOWN: usize = 3;
        let first: Vec<String> =
            names.iter().take(SHOWN).map(|name| format!("`{}`", name.escape_debug())).collect();
        Self::Leftover { path: path.to_owned(), n_leftover: names.len(), first: first.join(", ") }
    }

    /// Says what is wrong with a safetensors header.
    pub(crate) fn header(path: &Path, what: impl Into<String>) -> Self {
        Self::Header { path: path.to_owned(), what: what.into() }
    }
}
