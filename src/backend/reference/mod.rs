//! Slow, obviously right evaluation of a network in float32: the oracle for every backend, and the maker of golden cases.
//!
//! Values are f32, as the graph says; every sum is taken in f64 and rounded once, so that what is compared with it is measured
//! against the mathematics and not against another order of additions. Nothing is planned, fused or shared: a node reads
//! whole values and makes a whole value. Weights are widened row by row, so that a network of gigabytes is evaluated in the
//! memory of its values.
//!
//! It is a session like any other, so that whatever runs on a backend runs on it, golden cases first of all; what it lacks is what an
//! engine is for: it allocates while it runs.
//!
//! Why not with vectors and tiles: whoever doubts a backend must be able to read this.

mod attention;
mod dense;
mod evaluate;
mod layout;
mod pointwise;

use std::ops::Range;

pub use pointwise::erf;

use super::run::{rows_of, whole_rows};
use super::{Elements, Memory, Run, RunError, Session};
use crate::graph::{BufferId, GraphId, Network, Purpose, WeightId, Weights};
use crate::tensor::{DType, TensorView};

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
    products: Option<&'a Products<'a>>,
}

/// Another way to make `x Wᵀ` with a weight, of its matrix and `x`; none for those that stay as they are.
pub type Products<'a> = dyn Fn(WeightId, &TensorView<'_>, &[f32]) -> Option<Vec<f32>> + Sync + 'a;

impl<'a> Reference<'a> {
    /// Buffers of zeros at their declared maxima; memory that is never touched is never claimed from the system.
    ///
    /// The network must have passed [`Network::verify`], and the weights must be of its types and shapes.
    pub fn new(network: &'a Network, weights: &'a dyn Weights) -> Self {
        let buffers = network.buffers.iter().map(|b| match b.dtype {
            DType::I32 => Values::I32(vec![0; b.len()]),
            _ => Values::F32(vec![0.0; b.len()]),
        });
        Reference { network, weights, buffers: buffers.collect(), products: None }
    }

    /// The same with some products made otherwise: what a narrower type costs is seen without a device that has it.
    pub fn with_products(self, products: &'a Products<'a>) -> Self {
        Reference { products: Some(products), ..self }
    }
}

impl Reference<'_> {
    /// `rows` of a buffer of f32.
    fn f32s(&self, id: BufferId, rows: Range<usize>) -> &[f32] {
        match &self.buffers[id.index()] {
            Values::F32(values) => &values[rows],
            Values::I32(_) => unreachable!("the type was checked with the rows"),
        }
    }

    fn f32s_mut(&mut self, id: BufferId, rows: Range<usize>) -> &mut [f32] {
        match &mut self.buffers[id.index()] {
            Values::F32(values) => &mut values[rows],
            Values::I32(_) => unreachable!("the type was checked with the rows"),
        }
    }

    fn i32s_mut(&mut self, id: BufferId, rows: Range<usize>) -> &mut [i32] {
        match &mut self.buffers[id.index()] {
            Values::I32(values) => &mut values[rows],
            Values::F32(_) => unreachable!("the type was checked with the rows"),
        }
    }
}

impl Session for Reference<'_> {
    fn network(&self) -> &Network {
        self.network
    }

    fn input(&mut self, buffer: BufferId, row: usize, n_rows: usize) -> Result<&mut [f32], RunError> {
        let rows = rows_of(self.network, Purpose::Input, buffer, DType::F32, row, n_rows)?;
        Ok(self.f32s_mut(buffer, rows))
    }

    fn input_i32(&mut self, buffer: BufferId, row: usize, n_rows: usize) -> Result<&mut [i32], RunError> {
        let rows = rows_of(self.network, Purpose::Input, buffer, DType::I32, row, n_rows)?;
        Ok(self.i32s_mut(buffer, rows))
    }

    fn view(&self, buffer: BufferId, row: usize, n_rows: usize) -> Result<&[f32], RunError> {
        let rows = rows_of(self.network, Purpose::Output, buffer, DType::F32, row, n_rows)?;
        Ok(self.f32s(buffer, rows))
    }

    fn write(&mut self, buffer: BufferId, row: usize, elements: Elements<'_>) -> Result<(), RunError> {
        match elements {
            Elements::F32(values) => {
                let rows = whole_rows(self.network, buffer, DType::F32, row, values.len())?;
                self.f32s_mut(buffer, rows).copy_from_slice(values);
            }
            Elements::I32(values) => {
                let rows = whole_rows(self.network, buffer, DType::I32, row, values.len())?;
                self.i32s_mut(buffer, rows).copy_from_slice(values);
            }
        }
        Ok(())
    }

    fn read(&self, buffer: BufferId, row: usize, out: &mut [f32]) -> Result<(), RunError> {
        let rows = whole_rows(self.network, buffer, DType::F32, row, out.len())?;
        out.copy_from_slice(self.f32s(buffer, rows));
        Ok(())
    }

    /// Unlike a backend's, it allocates. It looks at deadline and stop flag before each node.
    fn run(&mut self, graph: GraphId, run: &Run<'_>) -> Result<(), RunError> {
        let network = self.network;
        let described = network.graphs.get(graph.index()).ok_or(RunError::Graph(graph))?;
        run.check_extents(described)?;
        run.check_windows(network)?;
        evaluate::run(self, graph, described, run)
    }

    /// A node takes as long as it takes.
    fn looks_ms_max(&self) -> Option<u32> {
        None
    }

    /// Buffers alone: the weights are whoever's they are, and values come and go.
    fn memory(&self) -> Memory {
        let mut memory = Memory::default();
        for buffer in &self.network.buffers {
            let n_bytes = (buffer.len() * buffer.dtype.size_bytes()) as u64;
            match buffer.purpose {
                Purpose::Input | Purpose::Output => memory.buffers_bytes += n_bytes,
                Purpose::Cache | Purpose::Features => memory.caches_bytes += n_bytes,
            }
        }
        memory
    }
}

#[cfg(test)]
mod tests;
