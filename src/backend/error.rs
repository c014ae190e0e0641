//! Why a backend cannot be had, or refuses a network or an engine.

use std::io;

/// Why a backend cannot be had, or cannot build or open an engine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackendError {
    /// No such name.
    #[error("no backend is named `{name}`; there are cpu and tensorrt")]
    Unknown {
        /// What was asked for.
        name: String,
    },
    /// It is there but cannot run here.
    #[error("backend `{name}` cannot be used: {why}")]
    Unavailable {
        /// Which.
        name: &'static str,
        /// The reason, and what to do.
        why: String,
    },
    /// It is there, and this machine has no device for it.
    #[error("backend `{name}` has no device here: {why}")]
    NoDevice {
        /// Which.
        name: &'static str,
        /// What is lacking.
        why: String,
    },
    /// A network holds what it cannot compute.
    #[error("this backend cannot compute the network: {why}")]
    Unsupported {
        /// Where, and what.
        why: String,
    },
    /// It cannot build for what was asked for.
    #[error("target: {why}")]
    Target {
        /// What, and what there is.
        why: String,
    },
    /// The process that compiles ended without a plan.
    #[error("no plan was made for graph `{graph}`: {why}")]
    Compiler {
        /// Of which graph.
        graph: String,
        /// How it ended, and what it said.
        why: String,
    },
    /// What `build` wrote is not what `open` was given.
    #[error("the engine's sections do not fit its network: {why}; build the engine again")]
    Payload {
        /// Expected and found.
        why: String,
    },
    /// The system refused.
    #[error("the system refused {what}: {source}")]
    System {
        /// What was asked of it.
        what: &'static str,
        /// Its answer.
        source: io::Error,
    },
}
