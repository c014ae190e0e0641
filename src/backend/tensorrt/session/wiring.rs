//! What a plan's inputs and outputs have to do with the buffers of its network: settled when an engine is opened, so that a run only
//! adds and compares.

use crate::backend::tensorrt::lower::{Lowered, Sink, Source};
use crate::backend::{BackendError, Run, RunError};
use crate::graph::{BufferId, Dim, Graph, Network, Op, Purpose, Symbol, ValueId, WeightId};
use crate::tensor::DType;

/// Rows of a buffer that a plan takes or gives.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wire {
    /// As the device counts: inputs first, then outputs.
    pub(super) tensor: usize,
    pub(super) buffer: BufferId,
    pub(super) at: RowAt,
    pub(super) rows: Dim,
    /// Whether the device must be told how many rows there are.
    pub(super) varies: bool,
    /// Whether the plan may never be given the rows where they stand: it reads what it would overwrite.
    pub(super) is_apart: bool,
    /// In device memory, for as many rows as there may be.
    pub(super) staging: usize,
}

/// Where rows of a buffer begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RowAt {
    First,
    Window,
    Past(Symbol),
}

/// A plan's inputs and outputs but for weights, and what must be looked at before it runs.
#[derive(Debug)]
pub(super) struct Wiring {
    pub(super) inputs: Vec<Wire>,
    pub(super) outputs: Vec<Wire>,
    pub(super) indices: Vec<Indices>,
    /// Indices that stand among the weights.
    pub(super) constant_indices: Vec<(WeightId, Table)>,
}

/// Why a plan of a session has no cache as its own layers keep it.
const IN_ROWS: &str = "`Whole` lowers caches to rows";

/// Numbers of rows of a table, in an input of the network.
#[derive(Clone, Copy, Debug)]
pub(super) struct Indices {
    pub(super) buffer: BufferId,
    pub(super) rows: Dim,
    pub(super) table_rows: Dim,
    pub(super) negative_is_none: bool,
}

/// What indices point into.
#[derive(Clone, Copy, Debug)]
pub(super) struct Table {
    pub(super) n_rows: usize,
    pub(super) negative_is_none: bool,
}

impl Table {
    /// Whether an index is of a row that there is, or of none where that is a choice.
    pub(super) fn allows(self, index: i32) -> bool {
        usize::try_from(index).map_or(self.negative_is_none, |index| index < self.n_rows)
    }
}

impl Wiring {
    /// Of a lowered graph. Staging places are not given yet.
    ///
    /// # Errors
    /// If an index comes from where it cannot be looked at before a run.
    pub(super) fn new(network: &Network, graph: &Graph, lowered: &Lowered) -> Result<Wiring, BackendError> {
        let mut wiring = Wiring::of_buffers(graph, lowered);
        for (i, node) in graph.nodes.iter().enumerate() {
            let table = |id: WeightId| Dim::Fixed(network.weights[id.index()].shape[0]);
            let (index, table_rows, negative_is_none) = match &node.op {
                Op::Embedding { weight } => (node.inputs[0], table(*weight), false),
                Op::InterpolateRows { weight } => (node.inputs[0], table(*weight), false),
                Op::SelectRows { .. } => (node.inputs[2], graph.nodes[node.inputs[1].index()].shape[0], true),
                _ => continue,
            };
            let found = wiring.follow(network, graph, index, (table_rows, negative_is_none));
            found.map_err(|why| BackendError::Unsupported {
                why: format!("graph `{}`, node {i} ({}): {why}", graph.name, node.op.name()),
            })?;
        }
        Ok(wiring)
    }

    fn of_buffers(graph: &Graph, lowered: &Lowered) -> Wiring {
        let wire = |tensor: usize, buffer: BufferId, at: RowAt, rows: Dim| {
            let varies = matches!(rows, Dim::Scaled { .. });
            Wire { tensor, buffer, at, rows, varies, is_apart: false, staging: 0 }
        };
        let inputs = lowered.sources.iter().enumerate().filter_map(|(tensor, source)| match *source {
            Source::Weight { .. } => None,
            Source::Cache(_) | Source::Extent(_) => unreachable!("{IN_ROWS}"),
            Source::Rows { buffer, rows } => Some(wire(tensor, buffer, RowAt::Window, rows)),
            Source::Past { cache, rows } => Some(wire(tensor, cache, RowAt::First, rows)),
        });
        let inputs: Vec<Wire> = inputs
            .map(|w| Wire { varies: lowered.layers.inputs[w.tensor].extents[0].varies(), ..w })
            .collect();
        let n_inputs = lowered.sources.len();
        let outputs = lowered.sinks.iter().enumerate().map(|(i, sink)| {
            let (buffer, at) = match *sink {
                Sink::Rows(buffer) => (buffer, RowAt::Window),
                Sink::Append(cache, past) => (cache, RowAt::Past(past)),
                Sink::InPlace(_) => unreachable!("{IN_ROWS}"),
            };
            let rows = rows_written(graph, buffer);
            // What is appended to a cache stands behind the rows of it that are read.
            let overlaps = |input: &Wire| {
                input.buffer == buffer && !(input.at == RowAt::First && matches!(at, RowAt::Past(_)))
            };
            let is_apart = inputs.iter().any(overlaps);
            Wire { is_apart, ..wire(n_inputs + i, buffer, at, rows) }
        });
        let outputs = outputs.collect();
        Wiring { inputs, outputs, indices: Vec::new(), constant_indices: Vec::new() }
    }

    /// Finds where the elements of a value of whole numbers come from, each place once.
    fn follow(
        &mut self,
        network: &Network,
        graph: &Graph,
        index: ValueId,
        (table_rows, negative_is_none): (Dim, bool),
    ) -> Result<(), String> {
        let mut is_known = vec![false; graph.nodes.len()];
        let mut open = vec![index];
        while let Some(value) = open.pop() {
            if std::mem::replace(&mut is_known[value.index()], true) {
                continue;
            }
            let node = &graph.nodes[value.index()];
            match &node.op {
                Op::Read { buffer } => {
                    let declared = &network.buffers[buffer.index()];
                    if declared.purpose != Purpose::Input || declared.dtype != DType::I32 {
                        let name = &declared.name;
                        return Err(format!("its indices stand in `{name}`, which is no input of i32"));
                    }
                    let rows = node.shape[0];
                    self.indices.push(Indices { buffer: *buffer, rows, table_rows, negative_is_none });
                }
                Op::Constant { weight } => {
                    let Dim::Fixed(n_rows) = table_rows else {
                        return Err("its indices are weights, into a table that varies".into());
                    };
                    self.constant_indices.push((*weight, Table { n_rows, negative_is_none }));
                }
                Op::Reshape { .. }
                | Op::Transpose { .. }
                | Op::Slice { .. }
                | Op::Concat { .. }
                | Op::LastRow => open.extend(&node.inputs),
                other => return Err(format!("its indices come from an op ({})", other.name())),
            }
        }
        Ok(())
    }
}

/// Rows that a graph writes to a buffer, which it does once at most.
fn rows_written(graph: &Graph, buffer: BufferId) -> Dim {
    let by_write = graph.writes.iter().find(|w| w.buffer == buffer).map(|w| w.value.index());
    let by_op = || graph.nodes.iter().position(|node| node.op.writes().any(|id| id == buffer));
    let node = by_write.or_else(by_op).expect("a sink is of a write, or of an op that writes");
    graph.nodes[node].shape[0]
}

impl RowAt {
    /// The first row, in a run.
    pub(super) fn row(self, run: &Run<'_>, windows: &[usize], buffer: BufferId) -> usize {
        match self {
            RowAt::First => 0,
            RowAt::Window => windows[buffer.index()],
            RowAt::Past(symbol) => run.extents[usize::from(symbol.0)],
        }
    }
}

impl Wire {
    /// First row and number of rows, in a run whose extents are within their bounds.
    ///
    /// # Errors
    /// If they are beyond the buffer.
    pub(super) fn rows_in(
        &self,
        network: &Network,
        run: &Run<'_>,
        windows: &[usize],
    ) -> Result<(usize, usize), RunError> {
        let row = self.at.row(run, windows, self.buffer);
        let n_rows = self.rows.value(run.extents);
        let end = row.saturating_add(n_rows);
        if network.buffers[self.buffer.index()].shape[0] < end {
            return Err(RunError::Bounds { buffer: self.buffer, row, end });
        }
        Ok((row, n_rows))
    }
}
