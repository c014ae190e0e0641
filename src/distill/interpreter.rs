//! Runs a network's graphs on tensors that remember: what backends compile and the reference evaluates, training interprets.
//!
//! Every network is written once, as graphs. A weight is a leaf of the tape; a buffer is a value on this side, and a run that writes one
//! makes a new value of it, so that gradients flow from run to run: through the caches of a causal VAE, or from a prompt's pieces to its
//! answer. Values carry the batch as an axis in front, which graphs do not know of.
//!
//! Why not the networks again as modules of a framework: two descriptions of one network drift apart, and a checkpoint that was trained
//! by one would be exported by the other.

use std::collections::HashMap;

use burn_backend::DType;

use super::ops::{self, Convolution};
use super::real::{shape as extents_of, tensor_of};
use super::tape::Tensor;
use super::value::Value;
use crate::backend::{Run, RunError};
use crate::graph::{BufferId, GraphId, Network, Node, Op, ValueId, WeightId};
use crate::tensor::DType as Stored;

/// A network that runs on tensors: its weights as they are now, and its buffers.
///
/// A buffer holds the rows that were written from its first on; what lies beyond reads as zeros. A clone goes on from the same values.
#[derive(Clone)]
pub struct Interpreter<'n> {
    network: &'n Network,
    weights: Vec<Tensor>,
    buffers: HashMap<BufferId, Value>,
    ends: Option<Vec<(usize, usize)>>,
    dtype: DType,
}

impl<'n> Interpreter<'n> {
    /// All buffers are empty. The network must have passed [`Network::verify`]; `weights` stand in its order, in its shapes.
    ///
    /// # Panics
    /// If there are not as many weights as the network has.
    pub fn new(network: &'n Network, weights: Vec<Tensor>) -> Self {
        assert_eq!(weights.len(), network.weights.len(), "a weight for each of the network's");
        let dtype = weights.first().map_or(DType::F32, Tensor::dtype);
        Interpreter { network, weights, buffers: HashMap::new(), ends: None, dtype }
    }

    /// A clone of which nothing is learnt: weights and what buffers hold are numbers, and runs are not remembered.
    #[must_use]
    pub fn detached(&self) -> Self {
        let weights = self.weights.iter().map(Tensor::detached).collect();
        let buffers = self.buffers.iter().map(|(id, held)| (*id, held.detached())).collect();
        Interpreter { network: self.network, weights, buffers, ends: self.ends.clone(), dtype: self.dtype }
    }

    /// The network.
    pub fn network(&self) -> &'n Network {
        self.network
    }

    /// What a buffer holds from its first row on, `[b, rows, ..]`; none if nothing was written.
    pub fn buffer(&self, buffer: BufferId) -> Option<&Tensor> {
        match self.buffers.get(&buffer)? {
            Value::Real(tensor) => Some(tensor),
            Value::Whole(_) => None,
        }
    }

    /// Writes a buffer from its first row on: `values [b, rows, ..]`.
    ///
    /// # Panics
    /// If rows have another shape than the buffer's, or are more.
    pub fn write(&mut self, buffer: BufferId, values: Tensor) {
        self.check(buffer, &values.shape());
        // A network without weights computes in the type of what it is given.
        if self.weights.is_empty() {
            self.dtype = values.dtype();
        }
        self.buffers.insert(buffer, Value::Real(values));
    }

    /// The same for numbers that nothing is learnt of, in the type that the network computes in.
    ///
    /// # Panics
    /// As [`Interpreter::write`].
    pub fn write_constant(&mut self, buffer: BufferId, values: &[f32], shape: &[usize]) {
        self.write(buffer, Tensor::plain(tensor_of(values, shape, self.dtype)));
    }

    /// The same for whole numbers; `shape` is `[b, rows, ..]`.
    ///
    /// # Panics
    /// As [`Interpreter::write`].
    pub fn write_whole(&mut self, buffer: BufferId, values: &[i32], shape: &[usize]) {
        self.check(buffer, shape);
        self.buffers.insert(buffer, Value::Whole(super::real::whole(values, shape)));
    }

    /// Forgets what a buffer holds: it reads as zeros again.
    pub fn clear(&mut self, buffer: BufferId) {
        self.buffers.remove(&buffer);
    }

    /// From now on a run goes on behind [`Op::LastRow`] as if its rows ended at these: pairs of a member of the batch and a row. Each
    /// becomes a member of the batch that follows.
    ///
    /// A graph that is causal, as `prefill`, then gives of one run over a prompt and its answer what it would give of each beginning of
    /// it. With none, the last row of each member counts again.
    pub fn end_at(&mut self, ends: Option<Vec<(usize, usize)>>) {
        self.ends = ends;
    }

    /// Member `i` of the batch becomes what member `members[i]` was. What all members have in common stays so.
    ///
    /// # Panics
    /// If there is no such member.
    pub fn gather(&mut self, members: &[usize]) {
        for held in self.buffers.values_mut().filter(|held| held.shape()[0] != 1) {
            *held = held.gathered(members);
        }
    }

    fn check(&self, buffer: BufferId, shape: &[usize]) {
        let buffer = &self.network.buffers[buffer.index()];
        let fits = 2 <= shape.len() && shape[1] <= buffer.shape[0] && shape[2..] == buffer.shape[1..];
        assert!(fits, "buffer `{}` {:?} cannot hold {shape:?} with a batch", buffer.name, buffer.shape);
    }

    /// Runs a graph. Deadline and stop flag are not looked at: whoever trains looks at them between steps.
    ///
    /// # Errors
    /// As [`crate::backend::Session::run`].
    pub fn run(&mut self, graph: GraphId, run: &Run<'_>) -> Result<(), RunError> {
        let network = self.network;
        let described = network.graphs.get(graph.index()).ok_or(RunError::Graph(graph))?;
        run.check_extents(described)?;
        run.check_windows(network)?;
        for (buffer, rows) in described.rows_touched(run.extents, run.windows) {
            if network.buffers[buffer.index()].shape[0] < rows {
                return Err(RunError::Bounds { buffer, row: window(run, buffer), end: rows });
            }
        }
        let last_use = described.last_uses();
        let mut pass = Pass { on: self, id: graph, run, values: Vec::new() };
        for (i, node) in described.nodes.iter().enumerate() {
            let value = pass.node(node)?;
            pass.values.push(Some(value));
            // What is kept for the way back is kept by the tape.
            for input in &node.inputs {
                if last_use[input.index()] == Some(i) {
                    pass.values[input.index()] = None;
                }
            }
        }
        for write in &described.writes {
            let value = pass.value(write.value).clone();
            let row = window(run, write.buffer);
            pass.on.put(write.buffer, row, value);
        }
        Ok(())
    }

    /// Rows of a buffer from `row` on.
    fn rows(&self, id: BufferId, row: usize, shape: &[usize]) -> Value {
        let n = shape[0];
        let zeros = |rows: usize| {
            let full: Vec<usize> = [1, rows].into_iter().chain(shape[1..].iter().copied()).collect();
            match self.network.buffers[id.index()].dtype {
                Stored::I32 => Value::Whole(super::real::whole(&vec![0; full.iter().product()], &full)),
                _ => Value::Real(Tensor::plain(tensor_of(
                    &vec![0.0; full.iter().product()],
                    &full,
                    self.dtype,
                ))),
            }
        };
        let Some(held) = self.buffers.get(&id) else { return zeros(n) };
        let there = held.shape()[1].saturating_sub(row).min(n);
        match there {
            0 => zeros(n),
            _ if there == n => held.sliced(1, row, n),
            _ => Value::joined(&[held.sliced(1, row, there), zeros(n - there)], 1),
        }
    }

    /// Rows of a buffer from `row` on become these.
    fn put(&mut self, id: BufferId, row: usize, value: Value) {
        let row_shape = &self.network.buffers[id.index()].shape[1..];
        let n = value.shape()[1];
        let held = self.buffers.get(&id).map_or(0, |held| held.shape()[1]);
        let mut parts = Vec::new();
        if 0 < row {
            let before: Vec<usize> = [row].iter().chain(row_shape).copied().collect();
            parts.push(self.rows(id, 0, &before));
        }
        parts.push(value);
        if row + n < held {
            let after: Vec<usize> = [held - row - n].iter().chain(row_shape).copied().collect();
            parts.push(self.rows(id, row + n, &after));
        }
        self.buffers.insert(id, Value::joined(&parts, 1));
    }
}

fn window(run: &Run<'_>, buffer: BufferId) -> usize {
    run.windows.iter().find(|(id, _)| *id == buffer).map_or(0, |(_, row)| *row)
}

/// One run of one graph.
struct Pass<'p, 'n> {
    on: &'p mut Interpreter<'n>,
    id: GraphId,
    run: &'p Run<'p>,
    values: Vec<Option<Value>>,
}

impl Pass<'_, '_> {
    fn value(&self, id: ValueId) -> &Value {
        self.values[id.index()].as_ref().expect("verified: computed before and needed still")
    }

    fn real(&self, id: ValueId) -> &Tensor {
        match self.value(id) {
            Value::Real(x) => x,
            Value::Whole(_) => unreachable!("verified: f32"),
        }
    }

    fn whole(&self, id: ValueId) -> Vec<i32> {
        match self.value(id) {
            Value::Whole(x) => x.to_contiguous().storage::<i32>().to_vec(),
            Value::Real(_) => unreachable!("verified: i32"),
        }
    }

    fn weight(&self, id: WeightId) -> &Tensor {
        &self.on.weights[id.index()]
    }

    fn optional(&self, id: Option<WeightId>) -> Option<&Tensor> {
        id.map(|id| self.weight(id))
    }

    /// A node's shape, behind the batch of what it is computed of.
    fn shape(&self, node: &Node) -> Vec<usize> {
        let batch = node.inputs.iter().map(|id| self.value(*id).shape()[0]).max().unwrap_or(1);
        let extents = node.shape.iter().map(|dim| dim.value(self.run.extents));
        std::iter::once(batch).chain(extents).collect()
    }

    fn node(&mut self, node: &Node) -> Result<Value, RunError> {
        let shape = self.shape(node);
        let (input, real) = (|n: usize| node.inputs[n], |n: usize| self.real(node.inputs[n]));
        let index_error = RunError::Index(self.id);
        Ok(Value::Real(match &node.op {
            Op::Read { buffer } => return Ok(self.on.rows(*buffer, window(self.run, *buffer), &shape[1..])),
            Op::Constant { weight } => self.weight(*weight).reshaped(&shape),
            Op::Linear { weight, bias } => ops::linear(real(0), self.weight(*weight), self.optional(*bias)),
            Op::Embedding { weight } => {
                ops::embedding(self.weight(*weight), &self.whole(input(0)), &shape).ok_or(index_error)?
            }
            Op::InterpolateRows { weight } => {
                let index = self.whole(input(0));
                ops::interpolate_rows(self.weight(*weight), &index, real(1)).ok_or(index_error)?
            }
            Op::RmsNorm { weight, eps } => ops::rms_norm(real(0), self.optional(*weight), *eps),
            Op::LayerNorm { weight, bias, eps } => {
                ops::layer_norm(real(0), self.optional(*weight), self.optional(*bias), *eps)
            }
            Op::Unary { function } => ops::unary(real(0), *function),
            Op::Binary { function } => ops::binary(real(0), real(1), *function),
            Op::Affine { mul, add } => {
                let x = if *mul == 1.0 { real(0).clone() } else { real(0).scaled(f64::from(*mul)) };
                if *add == 0.0 { x } else { x.shifted(f64::from(*add)) }
            }
            Op::Sinusoid { frequency } => {
                let x = real(0);
                let column = [&x.shape()[..], &[1]].concat();
                ops::rotary_table(&x.reshaped(&column), &vec![0; frequency.len()], frequency)
            }
            Op::RotaryTable { axis, inverse_frequency } => {
                let positions = match self.value(input(0)) {
                    Value::Real(x) => x.clone(),
                    Value::Whole(x) => {
                        let values = x.to_contiguous();
                        let values: Vec<f32> = values.storage::<i32>().iter().map(|p| *p as f32).collect();
                        Tensor::plain(tensor_of(&values, &extents_of(x), self.on.dtype))
                    }
                };
                ops::rotary_table(&positions, axis, inverse_frequency)
            }
            Op::Rotary { style } => {
                let x = real(0).expanded(&[&shape[..1], &real(0).shape()[1..]].concat());
                ops::rotary(&x, real(1), *style)
            }
            Op::Attention { scale } => {
                let [q, k, v] = [0, 1, 2].map(|i| batched(real(i), shape[0]));
                // With four axes the first counts parts, each of which attends to itself.
                let parts = |x: &Tensor| {
                    let last = x.shape();
                    let n = last[..last.len() - 3].iter().product();
                    x.reshaped(&[&[n], &last[last.len() - 3..]].concat())
                };
                ops::attention(&parts(&q), &parts(&k), &parts(&v), *scale, None).reshaped(&shape)
            }
            Op::CachedAttention { key_cache, value_cache, past, scale } => {
                let past = self.run.extents[usize::from(past.0)];
                let q = batched(real(0), shape[0]);
                let (k, v) = (self.value(input(1)).clone(), self.value(input(2)).clone());
                let [k, v] = [(*key_cache, k), (*value_cache, v)].map(|(cache, new)| {
                    let row = new.shape()[2..].to_vec();
                    let all: Vec<usize> = [past + shape[1]].into_iter().chain(row).collect();
                    self.on.put(cache, past, new);
                    match self.on.rows(cache, 0, &all) {
                        Value::Real(x) => batched(&x, shape[0]),
                        Value::Whole(_) => unreachable!("verified: caches are f32"),
                    }
                });
                ops::attention(&q, &k, &v, *scale, Some(past))
            }
            Op::SelectRows { merge } => {
                let (x, table) = (batched(real(0), shape[0]), batched(real(1), shape[0]));
                let index = self.whole(input(2));
                ops::select_rows(&x, &table, &index, *merge).ok_or(index_error)?
            }
            Op::LastRow => {
                let x = real(0).shape();
                match &self.on.ends {
                    None => real(0).sliced(1, x[1] - 1, 1),
                    Some(ends) => {
                        let is_there = |(member, row): &(usize, usize)| *member < x[0] && *row < x[1];
                        if !ends.iter().all(is_there) {
                            return Err(index_error);
                        }
                        let ids: Vec<i32> = ends.iter().map(|(m, row)| (m * x[1] + row) as i32).collect();
                        let shape = [&[ids.len(), 1], &x[2..]].concat();
                        let rows = real(0).reshaped(&[x[0] * x[1], x[2..].iter().product()]);
                        ops::embedding(&rows, &ids, &shape).ok_or(index_error)?
                    }
                }
            }
            Op::Reshape { .. } => return Ok(self.value(input(0)).reshaped(&shape)),
            Op::Transpose { order } => {
                let order: Vec<usize> =
                    std::iter::once(0).chain(order.iter().map(|a| usize::from(*a) + 1)).collect();
                return Ok(self.value(input(0)).permuted(&order));
            }
            Op::Concat { axis } => {
                let parts: Vec<Value> = node.inputs.iter().map(|v| self.value(*v).clone()).collect();
                return Ok(Value::joined(&parts, usize::from(*axis) + 1));
            }
            Op::Slice { axis, start, .. } => {
                let axis = usize::from(*axis) + 1;
                let start = start.value(self.run.extents);
                return Ok(self.value(input(0)).sliced(axis, start, shape[axis]));
            }
            Op::Conv3d { weight, bias, stride, padding } => {
                let by = Convolution { stride: *stride, padding: *padding };
                ops::conv3d(real(0), self.weight(*weight), self.optional(*bias), by)
            }
            Op::Upsample { factor } => ops::upsample(real(0), *factor),
        }))
    }
}

/// The same for every member of a batch, if it is not of one already.
fn batched(x: &Tensor, n: usize) -> Tensor {
    let mut shape = x.shape();
    shape[0] = n;
    x.expanded(&shape)
}
