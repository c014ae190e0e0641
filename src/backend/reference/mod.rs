//! Slow, obviously right evaluation of a network in float32: the oracle for every backend, and the maker of golden cases.
//!
//! Values are f32, as the graph says; every sum is taken in f64 and rounded once, so that what is compared with it is measured
//! against the mathematics and not against another order of additions. Nothing is planned, fused or shared: a node reads
//! whole values and makes a whole value. Weights are widened row by row, so that a network of gigabytes is evaluated in the
//! memory of its values.
//!
//! Why not with vectors and tiles: whoever doubts a backend must be able to read this.

mod attention;
mod dense;
mod evaluate;
mod layout;
mod pointwise;

use crate::graph::{BufferId, Graph, GraphId, Network, Weights};
use crate::tensor::DType;

/// Why a run, a write, a read or a copy was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReferenceError {
    /// Not as many extents as the graph has, or one that its declaration does not allow.
    #[error("extent {index} is {value:?}: not as declared, or not given")]
    Extent {
        /// Which.
        index: usize,
        /// What was given.
        value: Option<usize>,
    },
    /// Rows beyond a buffer.
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
    /// An id or index points outside its table.
    #[error("node {node}: an index points outside its table")]
    Index {
        /// The node that looked it up.
        node: usize,
    },
}

/// Elements of a value or a buffer, row-major.
#[derive(Clone, Debug, PartialEq)]
enum Values {
    F32(Vec<f32>),
    I32(Vec<i32>),
}

impl Values {
    fn len(&self) -> usize {
        match self {
            Values::F32(v) => v.len(),
            Values::I32(v) => v.len(),
        }
    }

    fn slice(&self, begin: usize, end: usize) -> Values {
        match self {
            Values::F32(v) => Values::F32(v[begin..end].to_vec()),
            Values::I32(v) => Values::I32(v[begin..end].to_vec()),
        }
    }
}

/// A value with its shape.
#[derive(Clone, Debug, PartialEq)]
struct Tensor {
    shape: Vec<usize>,
    values: Values,
}

/// A network with its weights and its buffers, which begin as zeros.
pub struct Reference<'a> {
    network: &'a Network,
    weights: &'a dyn Weights,
    buffers: Vec<Values>,
}

impl<'a> Reference<'a> {
    /// Buffers of zeros at their declared maxima; memory that is never touched is never claimed from the system.
    ///
    /// The network must have passed [`Network::verify`], and the weights must be of its types and shapes.
    pub fn new(network: &'a Network, weights: &'a dyn Weights) -> Self {
        let buffers = network.buffers.iter().map(|b| match b.dtype {
            DType::I32 => Values::I32(vec![0; b.len()]),
            _ => Values::F32(vec![0.0; b.len()]),
        });
        Reference { network, weights, buffers: buffers.collect() }
    }

    /// Puts whole rows into an f32 buffer, from `row` on.
    ///
    /// # Errors
    /// If they do not fit in type or extent.
    pub fn write(&mut self, buffer: BufferId, row: usize, elements: &[f32]) -> Result<(), ReferenceError> {
        let at = self.span(buffer, row, elements.len())?;
        match &mut self.buffers[buffer.index()] {
            Values::F32(to) => to[at].copy_from_slice(elements),
            Values::I32(_) => return Err(ReferenceError::Type(buffer)),
        }
        Ok(())
    }

    /// Puts whole rows into an i32 buffer, from `row` on.
    ///
    /// # Errors
    /// If they do not fit in type or extent.
    pub fn write_i32(
        &mut self,
        buffer: BufferId,
        row: usize,
        elements: &[i32],
    ) -> Result<(), ReferenceError> {
        let at = self.span(buffer, row, elements.len())?;
        match &mut self.buffers[buffer.index()] {
            Values::I32(to) => to[at].copy_from_slice(elements),
            Values::F32(_) => return Err(ReferenceError::Type(buffer)),
        }
        Ok(())
    }

    /// Gets whole rows out of an f32 buffer, from `row` on.
    ///
    /// # Errors
    /// If they do not fit in type or extent.
    pub fn read(&self, buffer: BufferId, row: usize, out: &mut [f32]) -> Result<(), ReferenceError> {
        let at = self.span(buffer, row, out.len())?;
        match &self.buffers[buffer.index()] {
            Values::F32(from) => out.copy_from_slice(&from[at]),
            Values::I32(_) => return Err(ReferenceError::Type(buffer)),
        }
        Ok(())
    }

    /// `n_rows` rows of an f32 buffer, from `row` on.
    ///
    /// # Errors
    /// If they do not fit in type or extent.
    pub fn rows(&self, buffer: BufferId, row: usize, n_rows: usize) -> Result<&[f32], ReferenceError> {
        let at = self.span(buffer, row, n_rows * self.network.buffers[buffer.index()].row_len())?;
        match &self.buffers[buffer.index()] {
            Values::F32(rows) => Ok(&rows[at]),
            Values::I32(_) => Err(ReferenceError::Type(buffer)),
        }
    }

    /// `n_rows` rows of an f32 buffer, from `row` on, to be written.
    ///
    /// # Errors
    /// If they do not fit in type or extent.
    pub fn rows_mut(
        &mut self,
        buffer: BufferId,
        row: usize,
        n_rows: usize,
    ) -> Result<&mut [f32], ReferenceError> {
        let at = self.span(buffer, row, n_rows * self.network.buffers[buffer.index()].row_len())?;
        match &mut self.buffers[buffer.index()] {
            Values::F32(rows) => Ok(&mut rows[at]),
            Values::I32(_) => Err(ReferenceError::Type(buffer)),
        }
    }

    /// The same of an i32 buffer.
    ///
    /// # Errors
    /// If they do not fit in type or extent.
    pub fn rows_mut_i32(
        &mut self,
        buffer: BufferId,
        row: usize,
        n_rows: usize,
    ) -> Result<&mut [i32], ReferenceError> {
        let at = self.span(buffer, row, n_rows * self.network.buffers[buffer.index()].row_len())?;
        match &mut self.buffers[buffer.index()] {
            Values::I32(rows) => Ok(&mut rows[at]),
            Values::F32(_) => Err(ReferenceError::Type(buffer)),
        }
    }

    /// Copies `rows` rows between two buffers of equal rows, or inside one (the ranges may overlap).
    ///
    /// # Errors
    /// If they do not fit in type or extent.
    pub fn copy(
        &mut self,
        from: (BufferId, usize),
        to: (BufferId, usize),
        rows: usize,
    ) -> Result<(), ReferenceError> {
        let row_len = |id: BufferId| self.network.buffers[id.index()].row_len();
        if row_len(from.0) != row_len(to.0) {
            return Err(ReferenceError::Type(to.0));
        }
        let source = self.span(from.0, from.1, rows * row_len(from.0))?;
        let target = self.span(to.0, to.1, rows * row_len(to.0))?;
        let copied = self.buffers[from.0.index()].slice(source.start, source.end);
        match (&mut self.buffers[to.0.index()], copied) {
            (Values::F32(to), Values::F32(from)) => to[target].copy_from_slice(&from),
            (Values::I32(to), Values::I32(from)) => to[target].copy_from_slice(&from),
            _ => return Err(ReferenceError::Type(to.0)),
        }
        Ok(())
    }

    /// Runs a graph: `extents` in the order of its `dims`, `windows` as in a backend's run (row 0 for a buffer not named).
    ///
    /// # Errors
    /// If an extent is not as declared, rows lie beyond their buffer, or an index points outside its table. Then rows
    /// that the run would have written are undefined.
    ///
    /// # Panics
    /// If there is no such graph.
    pub fn run(
        &mut self,
        graph: GraphId,
        extents: &[usize],
        windows: &[(BufferId, usize)],
    ) -> Result<(), ReferenceError> {
        let graph = &self.network.graphs[graph.index()];
        check_extents(graph, extents)?;
        evaluate::run(self, graph, extents, windows)
    }

    /// Elements of whole rows, or why they are none.
    fn span(&self, id: BufferId, row: usize, len: usize) -> Result<std::ops::Range<usize>, ReferenceError> {
        let buffer = &self.network.buffers[id.index()];
        let row_len = buffer.row_len().max(1);
        if !len.is_multiple_of(row_len) {
            return Err(ReferenceError::Type(id));
        }
        let end = row.saturating_add(len / row_len);
        if buffer.shape[0] < end {
            return Err(ReferenceError::Bounds { buffer: id, row, end });
        }
        Ok(row * row_len..end * row_len)
    }
}

fn check_extents(graph: &Graph, extents: &[usize]) -> Result<(), ReferenceError> {
    for (index, dim) in graph.dims.iter().enumerate() {
        let value = extents.get(index).copied();
        let fits = value.is_some_and(|v| dim.min <= v && v <= dim.max && v.is_multiple_of(dim.multiple_of));
        if !fits {
            return Err(ReferenceError::Extent { index, value });
        }
    }
    if graph.dims.len() < extents.len() {
        let index = graph.dims.len();
        return Err(ReferenceError::Extent { index, value: Some(extents[index]) });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
