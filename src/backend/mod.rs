//! What runs an engine: a [`Backend`] compiles a model into an engine and opens an engine as a [`Session`].
//!
//! Backends meet the rest at whole-engine grain, because what is fast inside one (fusion, layouts, streams) has
//! no name in another. They are picked by name in one `match`; one that is asked for but cannot run is an error that
//! says why, and nothing falls back to another in silence.

pub mod cpu;

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use crate::graph::{BufferId, GraphId, Network};

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
