//! What a run is given, and why one is refused or ends early.

use std::ops::Range;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use crate::graph::{BufferId, Graph, GraphId, Network, Purpose};
use crate::tensor::DType;

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
    /// The run gives up at the first of the backend's own steps after this moment: see
    /// [`Session::looks_ms_max`](super::Session::looks_ms_max).
    pub deadline: Option<Instant>,
    /// The run gives up at the first of the backend's own steps after this is set.
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
    /// A window, write, read or view goes beyond its buffer.
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
    /// A window that does not begin where the buffer's windows do.
    #[error("the window at row {row} of buffer {} is no multiple of {step} rows", .buffer.0)]
    Window {
        /// Which buffer.
        buffer: BufferId,
        /// Where the window begins.
        row: usize,
        /// What the buffer declares.
        step: usize,
    },
    /// Only inputs are filled in place, and only outputs are viewed.
    #[error("buffer {} is not of the purpose that this asks for", .0.0)]
    Purpose(BufferId),
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

impl Run<'_> {
    /// Checks that every extent of a graph is given, and none is beyond what it declares.
    ///
    /// # Errors
    /// Which one is.
    pub(crate) fn check_extents(&self, graph: &Graph) -> Result<(), RunError> {
        for (index, dim) in graph.dims.iter().enumerate() {
            let value = self.extents.get(index).copied().unwrap_or(usize::MAX);
            if value < dim.min || dim.max < value || !value.is_multiple_of(dim.multiple_of) {
                return Err(RunError::Extent { index, value });
            }
        }
        match self.extents.get(graph.dims.len()) {
            Some(value) => Err(RunError::Extent { index: graph.dims.len(), value: *value }),
            None => Ok(()),
        }
    }

    /// Checks that windows are of buffers that there are, and begin where these let windows begin. That what is read or
    /// written from there on is within the buffer is for the backend to check, which knows it.
    ///
    /// # Errors
    /// Which one is not.
    pub(crate) fn check_windows(&self, network: &Network) -> Result<(), RunError> {
        for &(buffer, row) in self.windows {
            let step = network.buffers.get(buffer.index()).ok_or(RunError::Type(buffer))?.window_rows;
            if !row.is_multiple_of(step) {
                return Err(RunError::Window { buffer, row, step });
            }
        }
        Ok(())
    }
}

/// The places, in a buffer, of `len` elements that are whole rows from `row` on.
///
/// # Errors
/// If there is no such buffer, it holds other elements, `len` is not of whole rows, or they are beyond it.
pub(super) fn whole_rows(
    network: &Network,
    id: BufferId,
    dtype: DType,
    row: usize,
    len: usize,
) -> Result<Range<usize>, RunError> {
    let buffer = network.buffers.get(id.index()).ok_or(RunError::Type(id))?;
    let row_len = buffer.row_len().max(1);
    if buffer.dtype != dtype || !len.is_multiple_of(row_len) {
        return Err(RunError::Type(id));
    }
    let end = row.saturating_add(len / row_len);
    if buffer.shape[0] < end {
        return Err(RunError::Bounds { buffer: id, row, end });
    }
    Ok(row * row_len..end * row_len)
}

/// The places of `n_rows` rows from `row` on, in a buffer of one purpose: for
/// [`Session::input`](super::Session::input) and [`Session::view`](super::Session::view).
///
/// # Errors
/// If there is no such buffer, it is of another purpose or holds other elements, or they are beyond it.
pub(super) fn rows_of(
    network: &Network,
    purpose: Purpose,
    id: BufferId,
    dtype: DType,
    row: usize,
    n_rows: usize,
) -> Result<Range<usize>, RunError> {
    let buffer = network.buffers.get(id.index()).ok_or(RunError::Type(id))?;
    if buffer.purpose != purpose {
        return Err(RunError::Purpose(id));
    }
    match n_rows.checked_mul(buffer.row_len().max(1)) {
        Some(len) => whole_rows(network, id, dtype, row, len),
        None => Err(RunError::Bounds { buffer: id, row, end: usize::MAX }),
    }
}
