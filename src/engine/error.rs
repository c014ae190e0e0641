//! What can go wrong between a model and a running engine. Every message names the file, what was expected and what was found.

use std::path::PathBuf;

use crate::backend::{BackendError, FormatError, RunError, ScalesError};
use crate::container::ContainerError;
use crate::graph::GraphError;
use crate::model::ModelError;

/// Why an engine was not built, not opened or not trusted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The file is not whole, or no engine, or could not be written.
    #[error(transparent)]
    Container(#[from] ContainerError),
    /// The model cannot be read.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The graphs break a rule.
    #[error("{}: {source}; build the engine again", path.display())]
    Graph {
        /// The file.
        path: PathBuf,
        /// Which rule.
        source: GraphError,
    },
    /// The manifest contradicts the sections, or itself.
    #[error("{}: manifest: {what}; build the engine again", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// Expected, found.
        what: String,
    },
    /// The scales are not the model's.
    #[error("{}: {source}", path.display())]
    Scales {
        /// The model.
        path: PathBuf,
        /// What is wrong with them.
        source: ScalesError,
    },
    /// It was built for something else.
    #[error(
        "{}: an engine of backend `{backend}` needs {field} {expected} here, this one was built for {found}; \
         build it again from its model", path.display()
    )]
    BuiltFor {
        /// The file.
        path: PathBuf,
        /// Which backend's it is.
        backend: String,
        /// What it is bound to.
        field: String,
        /// What that is in this program, on this machine.
        expected: String,
        /// What the manifest says.
        found: String,
    },
    /// Its backend is not known, not compiled in, or cannot run here.
    #[error(
        "{}: an engine of backend `{backend}`, which this program cannot use: {source}; run it where that can be used, or build it \
         again from its model for a backend that `doctor` lists as usable", path.display()
    )]
    OtherBackend {
        /// The file.
        path: PathBuf,
        /// Which backend's it is.
        backend: String,
        /// Why it cannot be used.
        source: BackendError,
    },
    /// It could not be tried on this machine.
    #[error(
        "{}: an engine of backend `{backend}` is written when it has answered its golden cases, which it cannot here: {why}; \
         build it on the machine that is to run it, or give --untried and have it tried when it is opened there",
        path.display()
    )]
    CannotTry {
        /// Where it would have been written.
        path: PathBuf,
        /// Which backend's it would have been.
        backend: String,
        /// Why it cannot be run here.
        why: String,
    },
    /// Weights cannot be stored as asked.
    #[error("{}: {source}", path.display())]
    Formats {
        /// The model.
        path: PathBuf,
        /// Why not.
        source: FormatError,
    },
    /// Limits that the model does not have, or that do not go together.
    #[error("{}: the limits {asked} cannot be set: {source}", path.display())]
    Limits {
        /// The model.
        path: PathBuf,
        /// What was asked for.
        asked: String,
        /// Why not.
        source: GraphError,
    },
    /// The golden case does not fit within the limits.
    #[error("{}: the limits are too small for the golden case: {what}; ask for larger ones", path.display())]
    TooSmall {
        /// The model.
        path: PathBuf,
        /// Which extent.
        what: String,
    },
    /// The backend cannot be used, or not for this engine.
    #[error("{}: {source}", path.display())]
    Backend {
        /// The file.
        path: PathBuf,
        /// Why.
        source: BackendError,
    },
    /// A golden run failed.
    #[error("{}: the golden case failed in graph `{graph}`: {source}", path.display())]
    GoldenRun {
        /// The file.
        path: PathBuf,
        /// The graph that was run.
        graph: String,
        /// Why.
        source: RunError,
    },
    /// The engine answers wrongly.
    #[error(
        "{}: wrong answer to the golden case: graph `{graph}` left {found} in `{buffer}` element {element}, expected {expected} \
         within {allowed}; the engine is not to be used: build it again, and report this if it stays",
        path.display()
    )]
    Golden {
        /// The file.
        path: PathBuf,
        /// The graph that was run.
        graph: String,
        /// What it wrote.
        buffer: String,
        /// The element that is farthest off.
        element: usize,
        /// By the reference evaluation.
        expected: f32,
        /// By the engine.
        found: f32,
        /// For this buffer, in these formats.
        allowed: f32,
    },
    /// A graph computed something else as a whole, though no element alone is far off.
    #[error(
        "{path}: wrong answer to the golden case: graph `{graph}` left `{buffer}` off by {share} of its root mean square, expected at most \
         {allowed}; the engine is not to be used: build it again, and report this if it stays",
        path = path.display()
    )]
    GoldenRms {
        /// The file.
        path: PathBuf,
        /// The graph that was run.
        graph: String,
        /// What it wrote.
        buffer: String,
        /// Root of the mean square of the differences, over that of the elements.
        share: f32,
        /// In these formats.
        allowed: f32,
    },
}
