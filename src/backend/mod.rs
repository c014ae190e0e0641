//! What runs an engine: a [`Backend`] compiles a model into an engine and opens an engine as a [`Session`].
//!
//! Backends meet the rest at whole-engine grain, because what is fast inside one (fusion, layouts, streams) has
//! no name in another. They are picked by name in one `match`; one that is asked for but cannot run is an error that
//! says why, and nothing falls back to another in silence.

pub mod cpu;
pub mod reference;

use std::io::{self, Write};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::graph::{BufferId, GraphId, Network, Weights};

/// What numbers an engine computes with. Both have f32 arithmetic and caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// f32 weights.
    F32,
    /// bfloat16 weights of linear layers, convolutions and embeddings.
    Bf16,
}

impl Precision {
    /// As the command line and manifests name it.
    pub fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::Bf16 => "bf16",
        }
    }
}

impl std::fmt::Display for Precision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

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
    /// A network holds what it cannot compute.
    #[error("this backend cannot compute the network: {why}")]
    Unsupported {
        /// Where, and what.
        why: String,
    },
    /// What `build` wrote is not what `open` was given.
    #[error("the engine's weights do not fit its network: {why}; build the engine again")]
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

/// How to open an engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenOptions {
    /// Threads of a run; none is the backend's default: one core fewer than there are, at least one.
    pub threads: Option<usize>,
}

/// What `build` has made of a network's weights, as bytes that stay in place.
#[derive(Clone)]
pub struct Payload {
    owner: Arc<dyn AsRef<[u8]> + Send + Sync>,
    range: Range<usize>,
    is_mapped: bool,
}

impl Payload {
    /// Part of a mapped file.
    ///
    /// # Panics
    /// If the range is beyond the file: whoever read its table has checked it.
    pub fn mapped(owner: Arc<dyn AsRef<[u8]> + Send + Sync>, range: Range<usize>) -> Payload {
        assert!(
            range.start <= range.end && range.end <= (*owner).as_ref().len(),
            "checked by the file's reader"
        );
        Payload { owner, range, is_mapped: true }
    }

    /// Private memory.
    pub fn in_memory(bytes: impl AsRef<[u8]> + Send + Sync + 'static) -> Payload {
        let range = 0..bytes.as_ref().len();
        Payload { owner: Arc::new(bytes), range, is_mapped: false }
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &(*self.owner).as_ref()[self.range.clone()]
    }

    /// Whether they are part of a file, shared between processes.
    pub fn is_mapped(&self) -> bool {
        self.is_mapped
    }
}

/// Compiles a network into an engine's payload, and opens a payload as a session.
pub trait Backend: Send {
    /// As the command line and manifests name it.
    fn name(&self) -> &'static str;

    /// What it will run with on this machine, in words.
    ///
    /// # Errors
    /// Why it cannot run here.
    fn check(&self) -> Result<String, BackendError>;

    /// Bytes that [`build`](Backend::build) will write.
    fn payload_bytes(&self, network: &Network, precision: Precision) -> u64;

    /// Writes what [`open`](Backend::open) takes, in memory that does not grow with the weights. `progress` is told of the
    /// bytes written so far.
    ///
    /// # Errors
    /// If the network holds what this backend cannot compute, or the writer fails.
    fn build(
        &self,
        network: &Network,
        weights: &dyn Weights,
        precision: Precision,
        out: &mut dyn Write,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), BackendError>;

    /// Claims everything that runs of the network need. The network must have passed [`Network::verify`].
    ///
    /// # Errors
    /// If the payload is not of this network and precision, or the system lacks something.
    fn open(
        &self,
        network: Network,
        precision: Precision,
        payload: Payload,
        options: &OpenOptions,
    ) -> Result<Box<dyn Session>, BackendError>;
}

/// The backend of that name, if it can be used.
///
/// # Errors
/// If there is none, or why it cannot be used.
pub fn backend(name: &str) -> Result<Box<dyn Backend>, BackendError> {
    match name {
        "cpu" => Ok(Box::new(cpu::Cpu::new()?)),
        "tensorrt" => Err(BackendError::Unavailable {
            name: "tensorrt",
            why: "it is not compiled in; use `--backend cpu`".into(),
        }),
        _ => Err(BackendError::Unknown { name: name.into() }),
    }
}

/// What one run of a graph is given, besides what stands in the buffers.
///
/// Nothing of a run outlives it except what it wrote to buffers: a run that was stopped has left rows that it would
/// have written undefined, and no others. So a caller that counts valid rows itself, and counts them up only after
/// success, can always go on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Run<'a> {
    /// Value of each named extent, in the order of the graph's `dims`.
    pub extents: &'a [usize],
    /// Row of a buffer at which this run's reads and writes of it begin; 0 for a buffer not named.
    pub windows: &'a [(BufferId, usize)],
    /// The run gives up between two kernels once this moment has passed.
    pub deadline: Option<Instant>,
    /// The run gives up between two kernels once this is set.
    pub stop: Option<&'a AtomicBool>,
}

/// Why a run, a write or a read did nothing useful. `Copy`, so that the failing path allocates nothing either.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The deadline passed.
    #[error("the run's deadline passed")]
    Deadline,
    /// The flag was set.
    #[error("the run was stopped")]
    Stopped,
    /// Not as many extents as the graph has, or one beyond its bounds.
    #[error("extent {index} is {value}: beyond its declared bounds, or not given")]
    Extent {
        /// Which.
        index: usize,
        /// What was given.
        value: usize,
    },
    /// A window, write, read or copy goes beyond its buffer.
    #[error("rows {row}..{end} are beyond buffer {}", .buffer.0)]
    Bounds {
        /// Which buffer.
        buffer: BufferId,
        /// First row.
        row: usize,
        /// One past the last row.
        end: usize,
    },
    /// An element type or a length that does not fit the buffer.
    #[error("buffer {} holds other elements, or not a whole number of rows was given", .0.0)]
    Type(BufferId),
    /// An id or index in a buffer points outside its table.
    #[error("an index in the inputs of graph {} points outside its table", .0.0)]
    Index(GraphId),
    /// There is no such graph.
    #[error("there is no graph {}", .0.0)]
    Graph(GraphId),
    /// The device failed.
    #[error("the device failed (code {0})")]
    Device(i32),
}

/// Elements that pass in and out of buffers.
#[derive(Clone, Copy, Debug)]
pub enum Elements<'a> {
    /// For buffers of f32.
    F32(&'a [f32]),
    /// For buffers of i32.
    I32(&'a [i32]),
}

/// Bytes by what they are for: the table that opening an engine prints.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Memory {
    /// Weights, mapped from the engine file and shared between processes.
    pub weights_mapped_bytes: u64,
    /// Weights copied to private or device memory.
    pub weights_private_bytes: u64,
    /// Input and output buffers.
    pub buffers_bytes: u64,
    /// Caches and features.
    pub caches_bytes: u64,
    /// Intermediate values of a run.
    pub arena_bytes: u64,
    /// Per-thread scratch of kernels.
    pub scratch_bytes: u64,
}

/// A loaded engine with every byte claimed. Opening may allocate; nothing here does.
pub trait Session: Send {
    /// Graphs and buffers; ids index into it.
    fn network(&self) -> &Network;

    /// Puts whole rows into a buffer, from `row` on.
    ///
    /// # Errors
    /// If they do not fit in type or extent; then nothing was written.
    fn write(&mut self, buffer: BufferId, row: usize, elements: Elements<'_>) -> Result<(), RunError>;

    /// Gets whole f32 rows out of a buffer, from `row` on.
    ///
    /// # Errors
    /// If they do not fit in type or extent.
    fn read(&self, buffer: BufferId, row: usize, out: &mut [f32]) -> Result<(), RunError>;

    /// Copies `rows` rows between two buffers of equal rows, or inside one (the ranges may overlap): snapshots.
    ///
    /// # Errors
    /// If they do not fit in type or extent; then nothing was copied.
    fn copy(&mut self, from: (BufferId, usize), to: (BufferId, usize), rows: usize) -> Result<(), RunError>;

    /// Runs a graph. Neither allocates nor frees, formats, logs or opens files.
    ///
    /// # Errors
    /// See [`RunError`]. What the caches held below the rows that the run would write is untouched.
    fn run(&mut self, graph: GraphId, run: &Run<'_>) -> Result<(), RunError>;

    /// Bytes by purpose.
    fn memory(&self) -> Memory;
}
