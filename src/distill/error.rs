//! Why training stopped before its end, or did not begin.

use std::path::{Path, PathBuf};

use crate::backend::RunError;
use crate::checkpoint::CheckpointError;
use crate::models::predict25::PredictError;

/// What can be wrong with training.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DistillError {
    /// The recipe says what cannot be.
    #[error("{}: {why}", path.display())]
    Recipe {
        /// The recipe.
        path: PathBuf,
        /// The line if one is to blame, what was expected and what was found.
        why: String,
    },
    /// A file or folder cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The run's folder is not as this run needs it.
    #[error("{}: {why}", path.display())]
    Run {
        /// The folder or a file in it.
        path: PathBuf,
        /// What is wrong and what to do.
        why: String,
    },
    /// The loss or its gradient is no number any more.
    #[error(
        "the loss at step {step} is {loss}, its gradient's norm {norm}: training stopped; what was saved last is whole. Lower \
             `learning_rate` or `clip` and go on with --resume"
    )]
    NotANumber {
        /// Which step.
        step: u64,
        /// Its loss.
        loss: f64,
        /// The norm of its gradient.
        norm: f64,
    },
    /// A weight is no number any more.
    #[error(
        "a weight is no number after step {step}, whose gradient's norm was {norm}: training stopped; what was saved last is whole. \
             Lower `learning_rate` or `clip` and go on with --resume"
    )]
    Diverged {
        /// Which step.
        step: u64,
        /// The norm of its gradient.
        norm: f64,
    },
    /// What was measured is no number.
    #[error(
        "after step {step} `{name}` is {value}: training stopped; what was saved last is whole. Lower `learning_rate` and go on with --resume"
    )]
    Measured {
        /// Which step.
        step: u64,
        /// Of which figure.
        name: &'static str,
        /// Its value.
        value: f64,
    },
    /// The instruction set that the environment asks for is not one of this processor's.
    #[error(transparent)]
    Isa(#[from] perihelion_kernels::IsaError),
    /// A checkpoint cannot be read or written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A checkpoint of Predict is not one.
    #[error(transparent)]
    Predict(#[from] PredictError),
    /// The network refused a run.
    #[error("the network: {0}")]
    Network(#[from] RunError),
}

impl DistillError {
    pub(super) fn io(path: &Path, source: std::io::Error) -> DistillError {
        DistillError::Io { path: path.to_owned(), source }
    }

    pub(super) fn run(path: &Path, why: impl Into<String>) -> DistillError {
        DistillError::Run { path: path.to_owned(), why: why.into() }
    }
}
