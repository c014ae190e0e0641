//! Graph to calls: what is computed, in terms of values that have no place yet.
//!
//! Values that only rearrange nothing (reshapes, outermost slices, the last row, reads, constants) are views of other
//! values and cost nothing. All else becomes a [`Call`], one for each kernel. [`super::placement`] then gives every value
//! its place and every call its stage.

use super::fuse::{self, Form};
use super::kernels::{DECODE_QUERIES_MAX, Epilogue, HEAD_DIM_MAX, decode_partial_floats};
use super::pool::PIECES_MAX;
use super::program::{
    Call, Heads, Home, Kind, Offset, Program, RowAt, Source, Touched, Value, ValueInfo, maximum, root,
};
use crate::graph::{BufferId, Dim, Graph, Network, Op, Symbol};
use crate::tensor::DType;

/// The most calls of a graph: as many as have room in one stage.
const CALLS_MAX: usize = PIECES_MAX;

/// Lowers a graph of a network that has been verified, of whose buffers some are `narrow` caches (see [`super::caches`]).
///
/// # Errors
/// What this backend cannot compute, and at which node.
pub(super) fn lower(network: &Network, graph: &Graph, narrow: &[bool]) -> Result<Program, String> {
    let live = fuse::live(graph);
    let forms = fuse::forms(network, graph, &live);
    let values = graph.nodes.iter().map(|node| ValueInfo {
        shape: node.shape.clone(),
        source: Source::Nothing,
        home: None,
    });
    let program = Program { values: values.collect(), calls: Vec::new(), touched: Vec::new() };
    let mut lowering = Lowering { network, graph, narrow, program };
    for i in (0..graph.nodes.len()).filter(|i| live[*i]) {
        let result = match &forms[i] {
            Form::Absorbed => Ok(()),
            Form::Product(product) => lowering.product(i, product),
            Form::Plain => lowering.node(i),
        };
        result.map_err(|why| {
            format!("graph `{}`, node {i} ({}): {why}", graph.name, graph.nodes[i].op.name())
        })?;
    }
    lowering.home_writes();
    let n_calls = lowering.program.calls.len();
    if CALLS_MAX < n_calls {
        return Err(format!("graph `{}` takes {n_calls} kernel calls; at most {CALLS_MAX}", graph.name));
    }
    Ok(lowering.program)
}

struct Lowering<'a> {
    network: &'a Network,
    graph: &'a Graph,
    narrow: &'a [bool],
    program: Program,
}

impl Lowering<'_> {
    fn call(&mut self, kind: Kind, inputs: Vec<Value>, output: Option<Value>) -> &mut Call {
        if let Some(output) = output {
            self.program.values[output].source = Source::Call;
        }
        self.program.calls.push(Call {
            kind,
            inputs,
            output,
            may_reuse: None,
            after: Vec::new(),
            reads: Vec::new(),
            writes: Vec::new(),
        });
        self.program.calls.last_mut().expect("pushed above")
    }

    fn product(&mut self, i: usize, product: &fuse::Product) -> Result<(), String> {
        let at = &self.graph.nodes[product.node];
        let mut inputs = vec![at.inputs[0].index()];
        let epilogue = product.epilogue.map(|other| {
            inputs.push(other.index());
            inputs.len() - 1
        });
        let kind = match &at.op {
            Op::Linear { weight, bias } => {
                let k = self.network.weights[weight.index()].shape[1];
                Kind::Linear { weight: *weight, bias: *bias, outputs: product.outputs.clone(), k, epilogue }
            }
            Op::Conv3d { weight, bias, stride, padding } => {
                let shape = &self.network.weights[weight.index()].shape;
                let kernel = [shape[1], shape[2], shape[3]];
                let (weight, bias, stride, padding) = (*weight, *bias, *stride, *padding);
                Kind::Conv3d { weight, bias, kernel, stride, padding, epilogue }
            }
            other => unreachable!("{} is no product", other.name()),
        };
        let may_reuse = match epilogue {
            Epilogue::Add(other) | Epilogue::Mul(other) => Some(other),
            _ => None,
        };
        self.call(kind, inputs, Some(i)).may_reuse = may_reuse;
        Ok(())
    }

    fn node(&mut self, i: usize) -> Result<(), String> {
        let graph = self.graph;
        let node = &graph.nodes[i];
        let inputs: Vec<Value> = node.inputs.iter().map(|v| v.index()).collect();
        let input_shape = |n: usize| &graph.nodes[node.inputs[n].index()].shape;
        let last = |shape: &[Dim]| *shape.last().expect("verified: it has an axis");
        // Kernels that can work in place reuse their first input's place.
        let (kind, may_reuse) = match &node.op {
            Op::Read { buffer } => {
                self.program.values[i].source = Source::Buffer(*buffer);
                self.touch(*buffer, RowAt::Window, node.shape[0]);
                return Ok(());
            }
            Op::Constant { weight } => {
                self.program.values[i].source = Source::Weight(*weight);
                return Ok(());
            }
            Op::Reshape { .. } => return self.view(i, inputs[0], Offset::default()),
            Op::LastRow => {
                let shape = input_shape(0);
                let factors = shape[1..].to_vec();
                return self.view(i, inputs[0], Offset { places: Some(shape[0]), less: 1, factors });
            }
            Op::Slice { axis, start, len } => {
                let (axis, shape) = (usize::from(*axis), input_shape(0));
                if shape[..axis].iter().all(|d| *d == Dim::Fixed(1)) {
                    let factors = shape[axis + 1..].to_vec();
                    return self.view(i, inputs[0], Offset { places: Some(*start), less: 0, factors });
                }
                (Kind::Slice { axis, start: *start, len: *len }, None)
            }
            Op::Linear { .. } | Op::Conv3d { .. } => unreachable!("products have their own form"),
            Op::Embedding { weight } => {
                let rows = Dim::Fixed(self.network.weights[weight.index()].shape[0]);
                let check = self.check(inputs[0], rows, false);
                self.call(Kind::Embedding { weight: *weight }, inputs, Some(i)).after.push(check);
                return Ok(());
            }
            Op::InterpolateRows { weight } => {
                let rows = Dim::Fixed(self.network.weights[weight.index()].shape[0]);
                let check = self.check(inputs[0], rows, false);
                self.call(Kind::InterpolateRows { weight: *weight }, inputs, Some(i)).after.push(check);
                return Ok(());
            }
            Op::SelectRows { merge } => {
                let check = self.check(inputs[2], input_shape(1)[0], true);
                let call = self.call(Kind::SelectRows { merge: *merge }, inputs, Some(i));
                call.after.push(check);
                call.may_reuse = Some(0);
                return Ok(());
            }
            Op::RmsNorm { weight, eps } => {
                (Kind::RmsNorm { weight: *weight, eps: *eps, dim: last(&node.shape) }, Some(0))
            }
            Op::LayerNorm { weight, bias, eps } => {
                let dim = last(&node.shape);
                (Kind::LayerNorm { weight: *weight, bias: *bias, eps: *eps, dim }, Some(0))
            }
            Op::Unary { function } => (Kind::Unary(*function), Some(0)),
            Op::Affine { mul, add } => (Kind::Affine { mul: *mul, add: *add }, Some(0)),
            Op::Binary { function } => (Kind::Binary(*function), Some(0)),
            Op::RotaryTable { axis, inverse_frequency } => {
                let is_i32 = graph.nodes[inputs[0]].dtype == DType::I32;
                let (axis, inverse_frequency) = (axis.clone(), inverse_frequency.clone());
                (Kind::RotaryTable { axis, inverse_frequency, is_i32 }, None)
            }
            Op::Rotary { style } => {
                if !fixed(node.shape[2])?.is_multiple_of(2) {
                    return Err("heads of an odd length cannot be turned".into());
                }
                (Kind::Rotary { style: *style }, Some(0))
            }
            Op::Attention { scale } => return self.attention(i, *scale, None),
            Op::CachedAttention { key_cache, value_cache, past, scale } => {
                return self.attention(i, *scale, Some(([*key_cache, *value_cache], *past)));
            }
            Op::Transpose { order } => (Kind::Transpose { order: order.clone() }, None),
            Op::Concat { axis } => (Kind::Concat { axis: usize::from(*axis) }, None),
            Op::Upsample { factor } => (Kind::Upsample { factor: *factor }, None),
            Op::Sinusoid { frequency } => (Kind::Sinusoid { frequency: frequency.clone() }, None),
        };
        self.call(kind, inputs, Some(i)).may_reuse = may_reuse;
        Ok(())
    }

    fn view(&mut self, i: Value, of: Value, offset: Offset) -> Result<(), String> {
        self.program.values[i].source = Source::View(of, offset);
        Ok(())
    }

    fn check(&mut self, index: Value, rows: Dim, negative_is_none: bool) -> usize {
        self.call(Kind::Check { rows, negative_is_none }, vec![index], None);
        self.program.calls.len() - 1
    }

    fn touch(&mut self, buffer: BufferId, at: RowAt, rows: Dim) {
        self.program.touched.push(Touched { buffer, at, rows });
    }

    fn attention(
        &mut self,
        i: usize,
        scale: f32,
        cached: Option<([BufferId; 2], Symbol)>,
    ) -> Result<(), String> {
        let node = &self.graph.nodes[i];
        let inputs: Vec<Value> = node.inputs.iter().map(|v| v.index()).collect();
        let q_shape = &node.shape;
        let kv_shape = &self.graph.nodes[inputs[1]].shape;
        let rank = q_shape.len();
        let heads = Heads {
            heads: fixed(q_shape[rank - 2])?,
            kv_heads: fixed(kv_shape[rank - 2])?,
            dim: fixed(q_shape[rank - 1])?,
            scale,
        };
        if HEAD_DIM_MAX < heads.dim {
            return Err(format!("heads of {} elements; at most {HEAD_DIM_MAX}", heads.dim));
        }
        if let Some((caches, past)) = cached {
            for (cache, value) in caches.into_iter().zip([inputs[1], inputs[2]]) {
                self.touch(cache, RowAt::Past(past), q_shape[0]);
                self.append(cache, past, value);
            }
        }
        let reads: Vec<BufferId> = cached.iter().flat_map(|(caches, _)| *caches).collect();
        let batched = rank == 4;
        let n_queries = maximum(self.graph, q_shape[rank - 3]);
        if DECODE_QUERIES_MAX < n_queries || batched {
            let kind = match cached {
                Some((caches, past)) => Kind::CachedAttention { heads, caches, past },
                None => Kind::Attention { heads, batched },
            };
            self.call(kind, inputs, Some(i)).reads = reads;
            return Ok(());
        }
        let n_keys = match cached {
            Some((caches, _)) => self.network.buffers[caches[0].index()].shape[0],
            None => maximum(self.graph, kv_shape[0]),
        };
        let floats = decode_partial_floats(n_queries * heads.heads, heads.dim, n_keys);
        let partials = self.new_value(vec![Dim::Fixed(floats)]);
        let (caches, past) = (cached.map(|c| c.0), cached.map(|c| c.1));
        self.call(Kind::DecodeRanges { heads, caches, past }, inputs.clone(), Some(partials)).reads =
            reads.clone();
        let inputs = inputs.into_iter().chain([partials]).collect();
        self.call(Kind::DecodeJoin { heads, caches, past }, inputs, Some(i)).reads = reads;
        Ok(())
    }

    /// Gets new keys or values into their cache: they are made there if that is possible, and copied or rounded otherwise.
    fn append(&mut self, cache: BufferId, past: Symbol, value: Value) {
        let home = Home { buffer: cache, at: RowAt::Past(past) };
        if self.narrow[cache.index()] {
            return self.bring_home(Kind::Narrow, value, home);
        }
        if self.n_accesses(cache) == 1 && self.give_home(value, home) {
            return;
        }
        self.copy_home(value, home);
    }

    /// Gets written values into their buffers: made there, or copied at the end.
    fn home_writes(&mut self) {
        let mut to_copy = Vec::new();
        for write in &self.graph.writes {
            let value = write.value.index();
            let rows = self.graph.nodes[value].shape[0];
            self.touch(write.buffer, RowAt::Window, rows);
            let home = Home { buffer: write.buffer, at: RowAt::Window };
            if self.n_accesses(write.buffer) == 1 && self.give_home(value, home) {
                continue;
            }
            to_copy.push((self.saved(value), home));
        }
        for (value, home) in to_copy {
            self.copy_home(value, home);
        }
    }

    /// A copy of a value that is rows of a buffer which this graph writes, since the writes may come before its own;
    /// any other value itself.
    fn saved(&mut self, value: Value) -> Value {
        let (root, _) = root(&self.program, value);
        let Source::Buffer(buffer) = self.program.values[root].source else { return value };
        if !self.graph.writes.iter().any(|w| w.buffer == buffer) {
            return value;
        }
        let saved = self.new_value(self.program.values[value].shape.clone());
        self.call(Kind::Copy, vec![value], Some(saved));
        saved
    }

    /// How often the graph reads or writes a buffer.
    fn n_accesses(&self, buffer: BufferId) -> usize {
        let touches = |op: &Op| op.touches().buffers.iter().any(|b| b.id == buffer);
        let by_nodes = self.graph.nodes.iter().filter(|node| touches(&node.op));
        by_nodes.count() + self.graph.writes.iter().filter(|w| w.buffer == buffer).count()
    }

    /// Has a value made in rows of a buffer, if it is a whole value that a call makes and has no home yet.
    fn give_home(&mut self, value: Value, home: Home) -> bool {
        let (root, is_whole) = root(&self.program, value);
        let info = &mut self.program.values[root];
        let can = is_whole && info.home.is_none() && matches!(info.source, Source::Call);
        if can {
            info.home = Some(home);
        }
        can
    }

    fn copy_home(&mut self, value: Value, home: Home) {
        self.bring_home(Kind::Copy, value, home);
    }

    fn bring_home(&mut self, kind: Kind, value: Value, home: Home) {
        let shape = self.program.values[value].shape.clone();
        let there = self.new_value(shape);
        self.program.values[there].home = Some(home);
        self.call(kind, vec![value], Some(there)).writes = vec![home.buffer];
    }

    fn new_value(&mut self, shape: Vec<Dim>) -> Value {
        self.program.values.push(ValueInfo { shape, source: Source::Nothing, home: None });
        self.program.values.len() - 1
    }
}

fn fixed(dim: Dim) -> Result<usize, String> {
    match dim {
        Dim::Fixed(n) => Ok(n),
        Dim::Scaled { .. } => Err("heads must be of fixed number and length".into()),
    }
}
