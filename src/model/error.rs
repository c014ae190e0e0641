//! Why a model is not opened. Every message names the file, what was expected and what was found.

use std::path::PathBuf;

use crate::container::ContainerError;
use crate::graph::GraphError;

/// Why a model was not opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The file is not whole, or no model.
    #[error(transparent)]
    Container(#[from] ContainerError),
    /// The graphs break a rule.
    #[error("{}: {source}; export the checkpoint again", path.display())]
    Graph {
        /// The file.
        path: PathBuf,
        /// Which rule.
        source: GraphError,
    },
    /// The manifest contradicts the sections, or itself.
    #[error("{}: manifest: {what}; export the checkpoint again", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// Expected, found.
        what: String,
    },
}
