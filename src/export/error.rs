//! What can go wrong between a checkpoint and a model. Every message names the file, what was expected and what was found.

use std::path::PathBuf;

use crate::backend::RunError;
use crate::camera::ProcessorConfigError;
use crate::checkpoint::CheckpointError;
use crate::container::ContainerError;
use crate::models::predict25::PredictError;
use crate::models::reason2::{TemplateError, TokenizerError};

/// Why no model was written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The checkpoint is incomplete, or contradicts itself.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The checkpoint is of Predict, and incomplete, or does not fit what was asked.
    #[error(transparent)]
    Predict(#[from] PredictError),
    /// The chat template cannot be made a prompt layout.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The tokenizer cannot be used.
    #[error("{}: {source}", path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: TokenizerError,
    },
    /// The image or video processor's configuration cannot be followed.
    #[error("{}: {source}", dir.display())]
    Processor {
        /// The checkpoint's directory.
        dir: PathBuf,
        /// What is wrong with it.
        source: ProcessorConfigError,
    },
    /// Two files of the checkpoint say different things.
    #[error("{}: {what}; the files do not belong to one checkpoint", dir.display())]
    Disagree {
        /// The checkpoint's directory.
        dir: PathBuf,
        /// Which files, what each says.
        what: String,
    },
    /// The network computes no numbers.
    #[error("{}: the golden case gives {value} in `{buffer}` of graph `{graph}`; expected finite numbers: the weights are damaged", dir.display())]
    NotFinite {
        /// The checkpoint's directory.
        dir: PathBuf,
        /// The graph that was run.
        graph: String,
        /// What it wrote.
        buffer: String,
        /// The first value that is none.
        value: f32,
    },
    /// The golden case could not be run.
    #[error("{}: the golden case failed in graph `{graph}`: {source}", dir.display())]
    Golden {
        /// The checkpoint's directory.
        dir: PathBuf,
        /// The graph that was run.
        graph: String,
        /// Why.
        source: RunError,
    },
    /// The model could not be written.
    #[error(transparent)]
    Write(#[from] ContainerError),
}
