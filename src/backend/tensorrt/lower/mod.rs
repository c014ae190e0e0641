//! Graph to layers: one function for each op, one file for each family of ops.
//!
//! Strongly typed. Matrices, attention and what lies between them are computed in one type, f32, f16 or bf16; sums of squares,
//! variances, angles and what they are made from in f32 always. A value that was read in f32 stays so until something needs it otherwise:
//! a time step has more digits than f16.
//!
//! Extents that vary are told twice: as -1 in a reshape where only one is unknown, and else by what an input's shape says.

mod attention;
mod conv;
mod decode;
mod elementwise;
mod lowered;
mod matrix;
mod norm;
mod positions;
mod quantized;
mod rows;
mod shape;
mod whole_attention;

pub use lowered::{Given, Lowered, Placed, Sink, Source};

use std::collections::HashMap;

use super::layers::{Element, Extent, Kind, Tensor};
use super::precision::{CacheForm, Rules};
use super::recorder::Recorder;
use crate::backend::{BackendError, WeightFormat};
use crate::graph::{BufferId, Dim, Graph, NamedDim, Network, Node, Op, Purpose, Symbol, ValueId, WeightId};
use crate::tensor::DType;

/// Lowers a graph of a network that has been verified, by rules or all in one type. Rows of caches are given and yielded in the type
/// that is computed in, those of all other buffers in their own; weights of matrices and tables are given in that type too unless they
/// are stored in fewer bits, all others in f32.
///
/// An index outside its table is not looked for here: whoever fills the inputs checks it.
///
/// # Errors
/// What cannot be computed, and at which node.
pub fn lower(network: &Network, graph: &Graph, rules: impl Into<Rules>) -> Result<Lowered, BackendError> {
    let rules = rules.into();
    let compute = rules.compute;
    let mut lowering = Lowering::new(network, graph, &rules);
    let unsupported = |place: String, why: String| BackendError::Unsupported {
        why: format!("graph `{}`, {place}: {why}", graph.name),
    };
    if !compute.is_float() {
        return Err(unsupported("whole".into(), format!("{compute:?} is no type to compute in")));
    }
    let live = live(graph);
    let nodes = || graph.nodes.iter().enumerate().filter(|(i, _)| live[*i]);
    // All inputs first: what an extent is may be asked of any of them.
    for (i, node) in nodes() {
        lowering.declare(i, node);
    }
    if let Some(dim) = lowering.unknown_extent(nodes().map(|(_, node)| node)) {
        let why = format!("extent `{}` is the rows of no input, so that no plan could tell it", dim.name);
        return Err(unsupported("whole".into(), why));
    }
    for (i, node) in nodes() {
        let place = format!("node {i} ({})", node.op.name());
        lowering.recorder.scope = format!("{}.{i} {}", graph.name, node.op.name());
        let value = lowering.node(i, node).map_err(|why| unsupported(place, why))?;
        lowering.values[i] = Some(value);
    }
    lowering.writes();
    let Lowering { recorder, sources, sinks, placed, .. } = lowering;
    Ok(Lowered { layers: recorder.finish(), sources, sinks, placed, compute })
}

/// Whether a node's value is written, or needed for one that is, or it writes itself.
fn live(graph: &Graph) -> Vec<bool> {
    let mut live = vec![false; graph.nodes.len()];
    for write in &graph.writes {
        live[write.value.index()] = true;
    }
    for (i, node) in graph.nodes.iter().enumerate().rev() {
        live[i] |= node.op.writes().next().is_some();
        if live[i] {
            node.inputs.iter().for_each(|v| live[v.index()] = true);
        }
    }
    live
}

/// One input of a plan for a weight: another order, type or use is another input.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Form {
    id: WeightId,
    element: Element,
    order: Vec<u8>,
    usage: Usage,
}

/// What a weight is taken for. Two uses have the same bytes and may have one address, but where a table is also the matrix of a product,
/// TensorRT-RTX 1.7 turns all of it in each run to give both one copy that it likes better; of two inputs it does not know that they are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Usage {
    Rows,
    Whole,
}

struct Lowering<'a> {
    network: &'a Network,
    graph: &'a Graph,
    compute: Element,
    rules: &'a Rules,
    /// The largest magnitudes of what products are given, by their weights' names.
    activations: HashMap<&'a str, f32>,
    recorder: Recorder,
    values: Vec<Option<Tensor>>,
    sources: Vec<Source>,
    sinks: Vec<Sink>,
    placed: Vec<Placed>,
    weights: HashMap<Form, Tensor>,
    /// Weights in fewer bits, and activations that are made so, by the bits of their scale.
    quantized: HashMap<WeightId, [Tensor; 2]>,
    narrowed: HashMap<(Tensor, WeightFormat, u32), Tensor>,
    pasts: HashMap<BufferId, Tensor>,
    /// Extents that are given as numbers.
    counts: HashMap<Symbol, Tensor>,
    /// An input whose rows are this extent.
    rows_of: HashMap<Symbol, (Tensor, Dim)>,
    symbols: HashMap<Symbol, Tensor>,
    casts: HashMap<(Tensor, Element), Tensor>,
    masks: HashMap<Dim, Tensor>,
}

impl<'a> Lowering<'a> {
    fn new(network: &'a Network, graph: &'a Graph, rules: &'a Rules) -> Self {
        Lowering {
            network,
            graph,
            compute: rules.compute,
            rules,
            activations: rules.scales.as_ref().map_or_else(HashMap::new, |scales| scales.by_weight()),
            recorder: Recorder::default(),
            values: vec![None; graph.nodes.len()],
            sources: Vec::new(),
            sinks: Vec::new(),
            placed: Vec::new(),
            weights: HashMap::new(),
            quantized: HashMap::new(),
            narrowed: HashMap::new(),
            pasts: HashMap::new(),
            counts: HashMap::new(),
            rows_of: HashMap::new(),
            symbols: HashMap::new(),
            casts: HashMap::new(),
            masks: HashMap::new(),
        }
    }

    /// The inputs of a node that are rows of buffers.
    fn declare(&mut self, i: usize, node: &Node) {
        match &node.op {
            Op::Read { buffer } => {
                let declared = &self.network.buffers[buffer.index()];
                let element = if declared.dtype == DType::I32 { Element::I32 } else { self.kept_in(*buffer) };
                let name = format!("{}@{i}", declared.name);
                let tensor = self.rows(&name, element, node.shape[0], *buffer);
                self.sources.push(Source::Rows { buffer: *buffer, rows: node.shape[0] });
                self.values[i] = Some(tensor);
            }
            Op::CachedAttention { key_cache, value_cache, past, .. }
                if self.rules.caches == CacheForm::Heads =>
            {
                self.declare_whole_caches([*key_cache, *value_cache], *past);
            }
            Op::CachedAttention { key_cache, value_cache, past, .. } => {
                for cache in [*key_cache, *value_cache] {
                    let name = format!("{}@past", self.network.buffers[cache.index()].name);
                    let rows = Dim::of(*past);
                    let tensor = self.rows(&name, self.compute, rows, cache);
                    self.sources.push(Source::Past { cache, rows });
                    self.pasts.insert(cache, tensor);
                }
            }
            _ => {}
        }
    }

    /// An extent that varies, that a node needs, and that no input's shape tells.
    fn unknown_extent<'n>(&self, nodes: impl Iterator<Item = &'n Node>) -> Option<&'a NamedDim> {
        let of_node = |node: &Node| {
            // What a whole cache holds of valid rows is a number that is given, and no extent of anything.
            let is_given =
                matches!(node.op, Op::CachedAttention { .. }) && self.rules.caches == CacheForm::Heads;
            let by_op = node.op.touches().extents.into_iter().map(|(_, dim)| dim).filter(|_| !is_given);
            by_op.chain(node.shape.iter().copied()).collect::<Vec<_>>()
        };
        nodes.flat_map(of_node).find_map(|dim| match dim {
            Dim::Scaled { symbol, .. }
                if self.fixed(dim).is_none() && !self.rows_of.contains_key(&symbol) =>
            {
                self.graph.dims.get(usize::from(symbol.0))
            }
            _ => None,
        })
    }

    /// The type in which a buffer of f32 is kept: caches are nobody's but the plans'.
    fn kept_in(&self, buffer: BufferId) -> Element {
        match self.network.buffers[buffer.index()].purpose {
            Purpose::Cache => self.compute,
            Purpose::Input | Purpose::Output | Purpose::Features => Element::F32,
        }
    }

    fn rows(&mut self, name: &str, element: Element, rows: Dim, buffer: BufferId) -> Tensor {
        let row = &self.network.buffers[buffer.index()].shape[1..];
        let extents =
            [self.extent_of(rows)].into_iter().chain(row.iter().map(|n| Extent::fixed(*n))).collect();
        let tensor = self.recorder.input(name, element, extents);
        if let Dim::Scaled { symbol, .. } = rows {
            self.rows_of.entry(symbol).or_insert((tensor, rows));
        }
        tensor
    }

    fn extent_of(&self, dim: Dim) -> Extent {
        match (self.fixed(dim), dim) {
            (Some(n), _) => Extent::fixed(n),
            (None, Dim::Fixed(n)) => Extent::fixed(n),
            (None, Dim::Scaled { symbol, mul, div, add }) => {
                let named = &self.graph.dims[usize::from(symbol.0)];
                let at = |n: usize| (n * mul / div + add) as i64;
                let name = format!("{} * {mul} / {div} + {add}", named.name);
                Extent { min: at(named.min), max: at(named.max), name: Some(name) }
            }
        }
    }

    /// An op's value.
    fn node(&mut self, i: usize, node: &Node) -> Result<Tensor, String> {
        let input = |n: usize| node.inputs[n];
        Ok(match &node.op {
            Op::Read { buffer } => {
                let appended = self.graph.nodes[..i].iter().flat_map(|node| node.op.writes());
                if appended.into_iter().any(|id| id == *buffer) {
                    let name = &self.network.buffers[buffer.index()].name;
                    return Err(format!("it reads `{name}` after an op has appended to it"));
                }
                self.values[i].expect("declared before")
            }
            Op::Constant { weight } => self.elements(*weight),
            Op::Linear { weight, bias } => self.linear(input(0), *weight, *bias, &node.shape),
            Op::Embedding { weight } => self.embedding(input(0), *weight),
            Op::RmsNorm { weight, eps } => self.rms_norm(input(0), *weight, *eps),
            Op::LayerNorm { weight, bias, eps } => self.layer_norm(input(0), *weight, *bias, *eps),
            Op::Unary { function } => self.unary(input(0), *function),
            Op::Binary { function } => self.binary(input(0), input(1), *function),
            Op::Affine { mul, add } => self.affine(input(0), *mul, *add),
            Op::RotaryTable { axis, inverse_frequency } => {
                self.rotary_table(input(0), axis, inverse_frequency)
            }
            Op::Rotary { style } => self.rotary(input(0), input(1), *style)?,
            Op::Attention { scale } => self.attention([input(0), input(1), input(2)], *scale)?,
            Op::CachedAttention { key_cache, value_cache, past, scale } => {
                let of = [input(0), input(1), input(2)];
                self.cached_attention(of, [*key_cache, *value_cache], *past, *scale)?
            }
            Op::SelectRows { merge } => self.select_rows([input(0), input(1), input(2)], *merge),
            Op::InterpolateRows { weight } => self.interpolate_rows(input(0), input(1), *weight),
            Op::LastRow => self.last_row(input(0)),
            Op::Reshape { shape } => self.reshaped(input(0), shape),
            Op::Transpose { order } => self.transposed(input(0), order),
            Op::Concat { axis } => self.concatenated(&node.inputs, usize::from(*axis)),
            Op::Slice { axis, start, len } => self.sliced(input(0), usize::from(*axis), *start, *len),
            Op::Conv3d { weight, bias, stride, padding } => {
                self.conv3d(input(0), (*weight, *bias), *stride, *padding, &node.shape)
            }
            Op::Upsample { factor } => self.upsample(input(0), *factor),
            Op::Sinusoid { frequency } => self.sinusoid(input(0), frequency),
        })
    }

    /// The graph's writes as outputs, each a tensor of its own.
    fn writes(&mut self) {
        for write in &self.graph.writes {
            let buffer = &self.network.buffers[write.buffer.index()];
            let element = if buffer.dtype == DType::I32 { Element::I32 } else { self.kept_in(write.buffer) };
            self.yielded(self.value(write.value), element, &buffer.name, Sink::Rows(write.buffer));
        }
    }

    fn yielded(&mut self, value: Tensor, element: Element, name: &str, sink: Sink) {
        self.recorder.scope = format!("{}.write {name}", self.graph.name);
        let same = self.recorder.element(value) == element;
        let kind = if same { Kind::Identity } else { Kind::Cast { to: element } };
        let tensor = self.recorder.layer(kind, &[value]);
        self.recorder.output(&format!("{name}@written"), tensor);
        self.sinks.push(sink);
    }

    fn value(&self, id: ValueId) -> Tensor {
        self.values[id.index()].expect("nodes stand in order, and what a live one reads is live")
    }

    fn shape(&self, id: ValueId) -> &'a [Dim] {
        &self.graph.nodes[id.index()].shape
    }

    /// A value in the type that is computed in.
    fn computed(&mut self, id: ValueId) -> Tensor {
        self.cast(self.value(id), self.compute)
    }

    /// A value in f32.
    fn exact(&mut self, id: ValueId) -> Tensor {
        self.cast(self.value(id), Element::F32)
    }

    fn cast(&mut self, tensor: Tensor, to: Element) -> Tensor {
        if let Some(done) = self.casts.get(&(tensor, to)) {
            return *done;
        }
        let cast = self.recorder.cast(tensor, to);
        self.casts.insert((tensor, to), cast);
        cast
    }

    /// A matrix, with its axes in another order if one is given.
    fn matrix(&mut self, id: WeightId, order: &[u8]) -> Tensor {
        self.weight(id, self.compute, order, Usage::Whole)
    }

    /// A table of which rows are taken.
    fn table(&mut self, id: WeightId) -> Tensor {
        self.weight(id, self.compute, &[], Usage::Rows)
    }

    /// A weight whose elements are used as they stand: i32, or f32.
    fn elements(&mut self, id: WeightId) -> Tensor {
        let is_i32 = self.network.weights[id.index()].dtype == DType::I32;
        self.weight(id, if is_i32 { Element::I32 } else { Element::F32 }, &[], Usage::Whole)
    }

    fn weight(&mut self, id: WeightId, element: Element, order: &[u8], usage: Usage) -> Tensor {
        let declared = &self.network.weights[id.index()];
        let key = Form { id, element, order: order.to_vec(), usage };
        let tensor = match self.weights.get(&key) {
            Some(known) => *known,
            None => {
                let axes = || 0..declared.shape.len();
                let shape = axes().map(|i| declared.shape[order.get(i).map_or(i, |a| usize::from(*a))]);
                let extents = shape.map(Extent::fixed).collect();
                let n_others = self.weights.keys().filter(|form| form.id == id).count();
                let name = match n_others {
                    0 => declared.name.clone(),
                    n => format!("{}@{}", declared.name, n + 1),
                };
                let tensor = self.recorder.input(&name, element, extents);
                self.sources.push(Source::Weight { id, order: order.into() });
                self.weights.insert(key, tensor);
                tensor
            }
        };
        self.cast(tensor, element)
    }

    /// A number that meets every element of a value of so many axes.
    fn scalar(&mut self, value: f32, element: Element, rank: usize) -> Tensor {
        self.recorder.floats(element, &vec![1; rank], &[value])
    }
}

#[cfg(test)]
#[test]
fn an_extent_that_no_input_tells_is_refused_by_name() {
    let mut network = Network::default();
    let x = network.declare_buffer("x", DType::F32, &[8, 2], Purpose::Input);
    let y = network.declare_buffer("y", DType::F32, &[8, 2], Purpose::Output);
    let mut graph = crate::graph::GraphBuilder::new(&mut network, "main");
    let n = graph.dim("n", 1, 4, 1);
    let value = graph.read(x, 8);
    let value = graph.add(Op::Slice { axis: 0, start: n.into(), len: 2.into() }, &[value]);
    graph.write(y, value);
    graph.finish();
    let why = lower(&network, &network.graphs[0], Element::F32).unwrap_err().to_string();
    assert!(why.contains("graph `main`") && why.contains("`n` is the rows of no input"), "{why}");
    let why = lower(&network, &network.graphs[0], Element::I32).unwrap_err().to_string();
    assert!(why.contains("I32 is no type to compute in"), "{why}");
}
