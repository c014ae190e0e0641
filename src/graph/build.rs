//! Writes a graph node by node, with each node's shape inferred as it is added.
//!
//! Building panics on a wrong shape: networks are our code, and their configuration has been checked against the
//! checkpoint's tensors before. A network that comes from a file is checked by [`Network::verify`] instead.

use super::infer::infer;
use super::{BufferId, Dim, Graph, LimitedBy, NamedDim, Network, Node, Op, Symbol, ValueId, WeightId, Write};
use crate::tensor::DType;

/// A graph under construction, in a network whose weights and buffers it may declare.
pub struct GraphBuilder<'a> {
    /// The network: declare weights and buffers here.
    pub network: &'a mut Network,
    graph: Graph,
}

impl<'a> GraphBuilder<'a> {
    /// An empty graph.
    pub fn new(network: &'a mut Network, name: &str) -> Self {
        let graph = Graph { name: name.into(), dims: Vec::new(), nodes: Vec::new(), writes: Vec::new() };
        GraphBuilder { network, graph }
    }

    /// Names an extent; `min..=max`, in multiples of `multiple_of`.
    pub fn dim(&mut self, name: &str, min: usize, max: usize, multiple_of: usize) -> Symbol {
        self.graph.dims.push(NamedDim { name: name.into(), min, max, multiple_of, max_limit: None });
        Symbol(self.graph.dims.len() as u16 - 1)
    }

    /// Names an extent whose maximum follows a limit.
    pub fn limited_dim(&mut self, name: &str, min: usize, max: LimitedBy, multiple_of: usize) -> Symbol {
        let value = max.apply(&self.network.limits);
        let symbol = self.dim(name, min, value - value % multiple_of, multiple_of);
        self.graph.dims[usize::from(symbol.0)].max_limit = Some(max);
        symbol
    }

    /// Adds a node.
    ///
    /// # Panics
    /// If its inputs do not fit; the message names the graph, the op and the shapes.
    pub fn add(&mut self, op: Op, inputs: &[ValueId]) -> ValueId {
        self.try_add(op, inputs).unwrap_or_else(|why| panic!("graph {}: {why}", self.graph.name))
    }

    /// Adds a node if its inputs fit.
    ///
    /// # Errors
    /// The op, its inputs and why they do not fit; then nothing was added.
    pub fn try_add(&mut self, op: Op, inputs: &[ValueId]) -> Result<ValueId, String> {
        let (shape, dtype) = infer(self.network, &self.graph, &op, inputs)
            .map_err(|why| format!("{op:?} of {inputs:?}: {why}"))?;
        self.graph.nodes.push(Node { op, inputs: inputs.into(), shape, dtype });
        Ok(ValueId(self.graph.nodes.len() as u32 - 1))
    }

    /// `rows` rows of a buffer from the run's window on.
    pub fn read(&mut self, buffer: BufferId, rows: impl Into<Dim>) -> ValueId {
        let declared = &self.network.buffers[buffer.index()];
        let mut shape = vec![rows.into()];
        shape.extend(declared.shape[1..].iter().map(|n| Dim::Fixed(*n)));
        let dtype = declared.dtype;
        self.graph.nodes.push(Node { op: Op::Read { buffer }, inputs: Vec::new(), shape, dtype });
        ValueId(self.graph.nodes.len() as u32 - 1)
    }

    /// Writes a value to a buffer, from the run's window on, when the run is done.
    pub fn write(&mut self, buffer: BufferId, value: ValueId) {
        self.graph.writes.push(Write { buffer, value });
    }

    /// Shape of a value.
    pub fn shape(&self, value: ValueId) -> &[Dim] {
        &self.graph.nodes[value.index()].shape
    }

    /// `x Wᵀ + b`; the weights are declared by name with the shape that `x` and `n_out` give.
    pub fn linear(&mut self, x: ValueId, weight: WeightId, bias: Option<WeightId>) -> ValueId {
        self.add(Op::Linear { weight, bias }, &[x])
    }

    /// The same elements in another shape.
    pub fn reshape(&mut self, x: ValueId, shape: &[Dim]) -> ValueId {
        self.add(Op::Reshape { shape: shape.into() }, &[x])
    }

    /// The graph as it is, unchecked: for who wants to know whether it is sound.
    pub fn unfinished(self) -> Graph {
        self.graph
    }

    /// Checks the graph and gives it to the network.
    ///
    /// # Panics
    /// If the graph is not sound: see [`Network::verify`].
    pub fn finish(self) {
        self.network.graphs.push(self.graph);
        self.network.verify().unwrap_or_else(|why| panic!("{why}"));
    }

    /// Element type of a value.
    pub fn dtype(&self, value: ValueId) -> DType {
        self.graph.nodes[value.index()].dtype
    }
}
