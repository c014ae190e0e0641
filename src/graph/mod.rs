//! A static dataflow graph over typed tensors: every network is written once, in it.
//!
//! A [`Network`] is what one checkpoint becomes: several [`Graph`]s over shared weights and shared named buffers.
//! Buffers are the only memory that outlives a run: inputs, outputs, caches and features. A graph reads them with
//! [`Op::Read`] and writes them when all of its nodes are done ([`Graph::writes`]), or in place through
//! [`Op::CachedAttention`]. What varies from run to run is the graph's named extents ([`NamedDim`]) and the row at
//! which each buffer is read or written (a *window*): both are inputs of a run, never hidden state.
//!
//! Values are f32, or i32 for ids and positions; what precision a backend computes in is its own affair.
//!
//! Why not ONNX inside: its ops are lower (attention with a cache is thirty nodes), its shapes are whatever the
//! exporter left, and state is only a naming habit. We lower *to* it.

mod bounds;
mod build;
mod dim;
mod dump;
mod infer;
mod op;
mod touches;
mod verify;
mod weights;
mod work;

pub use build::GraphBuilder;
pub use dim::{Dim, NamedDim, Symbol};
pub use op::Op;
pub use touches::{TouchedBuffer, TouchedWeight, Touches, WeightUse};
pub use verify::GraphError;
pub use weights::Weights;
pub use work::{WeightWork, Work};

use serde::{Deserialize, Serialize};

pub use crate::tensor::function::{Binary, Merge, RotaryStyle, Unary};

use crate::tensor::DType;

/// Index of a value in [`Graph::nodes`]: node `i` yields value `i`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ValueId(pub u32);

/// Index into [`Network::weights`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct WeightId(pub u32);

/// Index into [`Network::buffers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BufferId(pub u32);

/// Index into [`Network::graphs`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GraphId(pub u32);

macro_rules! index {
    ($($id:ident),*) => {$(impl $id {
        /// As an index.
        pub fn index(self) -> usize { self.0 as usize }
    })*};
}
index!(ValueId, WeightId, BufferId, GraphId);

/// One operation and the value that it yields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// What is computed.
    pub op: Op,
    /// Values it reads, all of lower index than its own.
    pub inputs: Vec<ValueId>,
    /// Shape of the value, outermost first.
    pub shape: Vec<Dim>,
    /// Element type of the value: [`DType::F32`] or [`DType::I32`].
    pub dtype: DType,
}

/// A value that goes to a buffer when the run has computed everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Write {
    /// The buffer; the run's window says at which row.
    pub buffer: BufferId,
    /// The value.
    pub value: ValueId,
}

/// One dataflow graph: nodes in an order in which they can be computed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Graph {
    /// Lower case, as `run` names it: `vision`, `prefill`, `decode`.
    pub name: String,
    /// What varies from run to run.
    pub dims: Vec<NamedDim>,
    /// In topological order.
    pub nodes: Vec<Node>,
    /// Done after all nodes, each from the run's window of its buffer on. A graph writes a buffer once at most, here or in place by an
    /// op: no two writes overlap, whatever extents and windows a run gives.
    pub writes: Vec<Write>,
}

impl Graph {
    /// For each value the last node that reads it; none if none does, or if a buffer does, after all nodes.
    pub(crate) fn last_uses(&self) -> Vec<Option<usize>> {
        let mut last = vec![None; self.nodes.len()];
        for (i, node) in self.nodes.iter().enumerate() {
            for input in &node.inputs {
                last[input.index()] = Some(i);
            }
        }
        for write in &self.writes {
            last[write.value.index()] = None;
        }
        last
    }
}

/// What a buffer is for: the row of the memory table in which it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// Written from outside before a run.
    Input,
    /// Read from outside after a run.
    Output,
    /// Kept from run to run: key and value caches, convolution caches.
    Cache,
    /// Kept from run to run and addressed by windows: vision features, latents.
    Features,
}

/// A maximum that is declared when an engine is built: `context`, `image_tokens`, `frames`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// Unique in the network.
    pub name: String,
    /// Its value now.
    pub value: usize,
}

/// How a buffer's rows or a named extent's maximum follow from a [`Limit`]: `min(limit * mul, cap)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitedBy {
    /// Index into [`Network::limits`].
    pub limit: u16,
    /// Factor.
    pub mul: usize,
    /// Never more than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cap: Option<usize>,
}

impl LimitedBy {
    fn apply(self, limits: &[Limit]) -> usize {
        let value = limits[usize::from(self.limit)].value.saturating_mul(self.mul);
        self.cap.map_or(value, |cap| value.min(cap))
    }
}

/// A named piece of a session's memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Buffer {
    /// Unique in the network.
    pub name: String,
    /// [`DType::F32`] or [`DType::I32`].
    pub dtype: DType,
    /// Extents at their declared maxima. The first axis is counted in *rows*: windows and copies speak of those.
    pub shape: Vec<usize>,
    /// What it is for.
    pub purpose: Purpose,
    /// The limit that its rows follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows_limit: Option<LimitedBy>,
    /// Windows begin at multiples of this many rows: 1 where they may begin anywhere. What a backend reads and writes from a
    /// window on is so aligned, in bytes to [`Buffer::window_bytes`].
    pub window_rows: usize,
}

impl Buffer {
    /// Elements of one row.
    pub fn row_len(&self) -> usize {
        self.shape[1..].iter().product()
    }

    /// Elements in all.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every window begins at a multiple of this many bytes.
    pub fn window_bytes(&self) -> usize {
        self.window_rows * self.row_len() * self.dtype.size_bytes()
    }
}

/// A constant tensor, stored beside the graphs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weight {
    /// Unique in the network; the checkpoint's own name where there is one.
    pub name: String,
    /// The part of the network that it belongs to, as the model names it: `vision`, `language`, `head`; `denoiser`, `vae`,
    /// `text`. What weights are stored as is chosen by part.
    pub part: String,
    /// Element type as stored.
    pub dtype: DType,
    /// Extents, outermost first.
    pub shape: Vec<usize>,
}

/// Several graphs over shared weights and shared named buffers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Network {
    /// Constants.
    pub weights: Vec<Weight>,
    /// Memory that outlives a run.
    pub buffers: Vec<Buffer>,
    /// The graphs.
    pub graphs: Vec<Graph>,
    /// Maxima that an engine's build may set.
    #[serde(default)]
    pub limits: Vec<Limit>,
}

impl Network {
    /// Declares a limit with its default.
    ///
    /// # Panics
    /// If the name is taken.
    pub fn declare_limit(&mut self, name: &str, value: usize) -> LimitedBy {
        assert!(self.limit(name).is_none(), "limit {name} declared twice");
        self.limits.push(Limit { name: name.into(), value });
        LimitedBy { limit: self.limits.len() as u16 - 1, mul: 1, cap: None }
    }

    /// The value of the limit of that name.
    pub fn limit(&self, name: &str) -> Option<usize> {
        self.limits.iter().find(|l| l.name == name).map(|l| l.value)
    }

    /// Sets one limit; see [`Network::set_limits`].
    ///
    /// # Errors
    /// If there is no such limit, or the network is not sound under it.
    pub fn set_limit(&mut self, name: &str, value: usize) -> Result<(), GraphError> {
        self.set_limits(&[(name, value)])
    }

    /// Sets limits, and with them the rows of buffers and the maxima of extents that follow them. Maxima are rounded down to
    /// their extent's multiple.
    ///
    /// # Errors
    /// If there is no such limit, or the network is not sound under all of them.
    pub fn set_limits(&mut self, limits: &[(&str, usize)]) -> Result<(), GraphError> {
        for (name, value) in limits {
            let unknown =
                || GraphError::Graph { graph: "network".into(), why: format!("no limit is named `{name}`") };
            self.limits.iter_mut().find(|l| l.name == *name).ok_or_else(unknown)?.value = *value;
        }
        for buffer in &mut self.buffers {
            if let Some(limited) = buffer.rows_limit {
                buffer.shape[0] = limited.apply(&self.limits);
            }
        }
        for dim in self.graphs.iter_mut().flat_map(|g| &mut g.dims) {
            if let Some(limited) = dim.max_limit {
                let max = limited.apply(&self.limits);
                dim.max = max - max % dim.multiple_of;
            }
        }
        self.verify()
    }

    /// Declares a buffer whose rows follow a limit; `row` is the shape of one row.
    ///
    /// # Panics
    /// If the name is taken.
    pub fn declare_limited_buffer(
        &mut self,
        name: &str,
        dtype: DType,
        rows: LimitedBy,
        row: &[usize],
        purpose: Purpose,
    ) -> BufferId {
        let shape: Vec<usize> =
            std::iter::once(rows.apply(&self.limits)).chain(row.iter().copied()).collect();
        let id = self.declare_buffer(name, dtype, &shape, purpose);
        self.buffers[id.index()].rows_limit = Some(rows);
        id
    }

    /// Promises that windows of a buffer begin at multiples of so many rows, at least one.
    pub fn keep_windows(&mut self, buffer: BufferId, window_rows: usize) {
        self.buffers[buffer.index()].window_rows = window_rows;
    }

    /// The graph of that name.
    pub fn graph(&self, name: &str) -> Option<GraphId> {
        self.graphs.iter().position(|g| g.name == name).map(|i| GraphId(i as u32))
    }

    /// The buffer of that name.
    pub fn buffer(&self, name: &str) -> Option<BufferId> {
        self.buffers.iter().position(|b| b.name == name).map(|i| BufferId(i as u32))
    }

    /// The weight of that name.
    pub fn weight(&self, name: &str) -> Option<WeightId> {
        self.weights.iter().position(|w| w.name == name).map(|i| WeightId(i as u32))
    }

    /// Declares a weight of a part, or finds it if it is declared already: tied weights are one weight, of the part that was first.
    ///
    /// # Panics
    /// If it is declared already with another type or shape.
    pub fn declare_weight(&mut self, part: &str, name: &str, dtype: DType, shape: &[usize]) -> WeightId {
        if let Some(id) = self.weight(name) {
            let known = &self.weights[id.index()];
            assert!(
                known.dtype == dtype && known.shape == shape,
                "weight {name} declared twice, differently"
            );
            return id;
        }
        self.weights.push(Weight { name: name.into(), part: part.into(), dtype, shape: shape.into() });
        WeightId(self.weights.len() as u32 - 1)
    }

    /// Declares a buffer.
    ///
    /// # Panics
    /// If the name is taken or the shape is empty.
    pub fn declare_buffer(
        &mut self,
        name: &str,
        dtype: DType,
        shape: &[usize],
        purpose: Purpose,
    ) -> BufferId {
        assert!(self.buffer(name).is_none(), "buffer {name} declared twice");
        assert!(!shape.is_empty(), "buffer {name} has no rows");
        self.buffers.push(Buffer {
            name: name.into(),
            dtype,
            shape: shape.into(),
            purpose,
            rows_limit: None,
            window_rows: 1,
        });
        BufferId(self.buffers.len() as u32 - 1)
    }

    /// Checks everything that a backend relies on: indices, types, names, shapes at all extents, that no value is empty, that no
    /// buffer is written twice by one graph, and that no size is anywhere near overflow. Allocates little, whatever the network says.
    ///
    /// # Errors
    /// The first broken rule, with the graph's name and the node's index.
    pub fn verify(&self) -> Result<(), GraphError> {
        verify::verify(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_extents_follow_their_limits() {
        let mut network = Network::default();
        let rows = network.declare_limit("rows", 8);
        let other = network.declare_limit("other", 5);
        let capped = LimitedBy { mul: 3, cap: Some(20), ..rows };
        let x = network.declare_limited_buffer("x", DType::F32, rows, &[2], Purpose::Input);
        let y = network.declare_limited_buffer("y", DType::F32, capped, &[2], Purpose::Input);
        let z = network.declare_limited_buffer("z", DType::F32, other, &[2], Purpose::Input);
        let mut graph = GraphBuilder::new(&mut network, "main");
        let n = graph.limited_dim("n", 2, rows, 2);
        graph.read(x, n);
        graph.finish();
        let sizes = |network: &Network| {
            let rows = [x, y, z].map(|id| network.buffers[id.index()].shape[0]);
            (rows, network.graphs[0].dims[0].max)
        };
        assert_eq!(sizes(&network), ([8, 20, 5], 8));
        // The maximum of an extent is rounded down to its multiple.
        network.set_limit("rows", 5).unwrap();
        assert_eq!((sizes(&network), network.limit("rows")), (([5, 15, 5], 4), Some(5)));
        network.set_limits(&[("rows", 7), ("other", 1)]).unwrap();
        assert_eq!((sizes(&network), network.limit("other")), (([7, 20, 1], 6), Some(1)));
        let refused = network.clone().set_limit("rows", 1).unwrap_err().to_string();
        assert!(refused.contains("extent `n` has impossible bounds"), "{refused}");
        let refused = network.clone().set_limit("rows", usize::MAX).unwrap_err().to_string();
        assert!(refused.contains("buffer `x` has the shape"), "{refused}");
        let refused = network.set_limit("columns", 1).unwrap_err().to_string();
        assert!(refused.contains("no limit is named `columns`"), "{refused}");
    }

    #[test]
    fn what_is_declared_is_found_and_tied_weights_are_one() {
        let mut network = Network::default();
        let a = network.declare_weight("all", "a", DType::F32, &[2]);
        let b = network.declare_weight("all", "b", DType::F32, &[2]);
        assert_eq!(network.declare_weight("all", "a", DType::F32, &[2]), a);
        assert_eq!((network.weight("b"), network.weight("c"), network.weights.len()), (Some(b), None, 2));
        let x = network.declare_buffer("x", DType::I32, &[3, 2, 5], Purpose::Input);
        assert_eq!((network.buffer("x"), network.buffer("y")), (Some(x), None));
        let buffer = &network.buffers[x.index()];
        assert_eq!((buffer.row_len(), buffer.len(), buffer.is_empty()), (10, 30, false));
    }
}
