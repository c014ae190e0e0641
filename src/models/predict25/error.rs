//! Why a checkpoint of Predict, or what was asked of it, was refused.

use std::path::PathBuf;

use crate::checkpoint::CheckpointError;

/// Why a checkpoint of Predict, or what was asked of it, was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PredictError {
    /// A file of the checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A part of the pipeline's directory.
    #[error("{}: expected a file, found none; is this a diffusers directory of Cosmos-Predict?", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A size that the network cannot have.
    #[error("{what}: expected {expected}, found {found}")]
    Size {
        /// Which.
        what: &'static str,
        /// What it may be.
        expected: String,
        /// What was asked.
        found: usize,
    },
    /// A clip beyond the positions that the checkpoint knows.
    #[error("{found} {what}; the checkpoint has positions for {max}: ask for a smaller or shorter clip")]
    TooLarge {
        /// Which axis.
        what: &'static str,
        /// What was asked.
        found: usize,
        /// What there is.
        max: usize,
    },
    /// A size that neither the checkpoint nor the options say.
    #[error("the checkpoint does not say --{what}: pass it")]
    NotSaid {
        /// The option.
        what: &'static str,
    },
    /// No text embedding was given.
    #[error(
        "no text embedding: pass --text-embedding FILE.safetensors (the embedding of an empty text will do)"
    )]
    NoText,
    /// A text embedding does not fit.
    #[error("{}: text embedding `{name}`: {why}", path.display())]
    Text {
        /// The file.
        path: PathBuf,
        /// The text.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// Actions do not fit.
    #[error("actions: {0}")]
    Actions(String),
}
