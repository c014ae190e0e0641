//! Evaluates the nodes of a graph, one after the other.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use super::attention::{Heads, attention, rotary, rotary_table};
use super::{Reference, Tensor, Values, dense, layout, pointwise};
use crate::backend::run::whole_rows;
use crate::backend::{Elements, Run, RunError, Session};
use crate::graph::{BufferId, Graph, GraphId, Merge, Node, Op, ValueId, WeightId};
use crate::tensor::DType;

/// What is known while one graph runs.
struct Evaluation<'r, 'a> {
    reference: &'r mut Reference<'a>,
    id: GraphId,
    extents: &'r [usize],
    windows: &'r [(BufferId, usize)],
    values: Vec<Option<Tensor>>,
}

pub(super) fn run(
    reference: &mut Reference<'_>,
    id: GraphId,
    graph: &Graph,
    run: &Run<'_>,
) -> Result<(), RunError> {
    let last_use = graph.last_uses();
    let values = Vec::with_capacity(graph.nodes.len());
    let (extents, windows) = (run.extents, run.windows);
    let mut evaluation = Evaluation { reference, id, extents, windows, values };
    for (i, node) in graph.nodes.iter().enumerate() {
        if run.stop.is_some_and(|stop| stop.load(Relaxed)) {
            return Err(RunError::Stopped);
        }
        if run.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Err(RunError::Deadline);
        }
        let value = evaluation.node(i, node)?;
        evaluation.values.push(Some(value));
        for input in &node.inputs {
            if last_use[input.index()] == Some(i) {
                evaluation.values[input.index()] = None;
            }
        }
    }
    for write in &graph.writes {
        evaluation.write(write.buffer, write.value)?;
    }
    Ok(())
}

impl Evaluation<'_, '_> {
    fn node(&mut self, i: usize, node: &Node) -> Result<Tensor, RunError> {
        let shape: Vec<usize> = node.shape.iter().map(|d| d.value(self.extents)).collect();
        let input = |n: usize| node.inputs[n];
        let index_error = RunError::Index(self.id);
        let values = match &node.op {
            Op::Read { buffer } => return self.read(*buffer, shape),
            Op::Constant { weight } => self.constant(*weight),
            Op::Linear { weight, bias } => {
                let bias = bias.map(|b| self.vector(b));
                let (id, weight) = (*weight, self.reference.weights.weight(*weight));
                let (n, k) = (weight.shape[0], weight.shape[1]);
                let x = self.f32s(input(0));
                match self.reference.products.and_then(|products| products(id, &weight, x)) {
                    Some(mut y) => {
                        let rows = y.chunks_mut(n.max(1)).zip(std::iter::repeat(bias.iter().flatten()));
                        rows.for_each(|(row, bias)| row.iter_mut().zip(bias).for_each(|(y, b)| *y += b));
                        Values::F32(y)
                    }
                    None => Values::F32(dense::linear(x, k, n, weight.dtype, weight.bytes, bias.as_deref())),
                }
            }
            Op::Embedding { weight } => {
                let table = self.reference.weights.weight(*weight);
                let rows = self.i32s(input(0)).iter().map(|id| dense::table_row(&table, *id));
                let rows: Option<Vec<Vec<f32>>> = rows.collect();
                Values::F32(rows.ok_or(index_error)?.concat())
            }
            Op::InterpolateRows { weight } => {
                let table = self.reference.weights.weight(*weight);
                let per_row = self.tensor(input(0)).shape[1];
                let (index, share) = (self.i32s(input(0)), self.f32s(input(1)));
                Values::F32(dense::interpolate_rows(&table, index, share, per_row).ok_or(index_error)?)
            }
            Op::RmsNorm { weight, eps } => {
                let weight = weight.map(|w| self.vector(w));
                let dim = *shape.last().expect("verified: x has an axis");
                Values::F32(pointwise::rms_norm(self.f32s(input(0)), dim, weight.as_deref(), *eps))
            }
            Op::LayerNorm { weight, bias, eps } => {
                let (weight, bias) = (weight.map(|w| self.vector(w)), bias.map(|b| self.vector(b)));
                let dim = *shape.last().expect("verified: x has an axis");
                let x = self.f32s(input(0));
                Values::F32(pointwise::layer_norm(x, dim, weight.as_deref(), bias.as_deref(), *eps))
            }
            Op::Unary { function } => {
                Values::F32(self.f32s(input(0)).iter().map(|x| pointwise::unary(*function, *x)).collect())
            }
            Op::Affine { mul, add } => Values::F32(
                self.f32s(input(0))
                    .iter()
                    .map(|x| (f64::from(*x) * f64::from(*mul) + f64::from(*add)) as f32)
                    .collect(),
            ),
            Op::Binary { function } => {
                let b_places = layout::broadcast(&shape, &self.tensor(input(1)).shape);
                let (a, b) = (self.f32s(input(0)), self.f32s(input(1)));
                let pairs = a.iter().zip(b_places);
                Values::F32(pairs.map(|(a, p)| pointwise::binary(*function, *a, b[p])).collect())
            }
            Op::Sinusoid { frequency } => {
                let x: Vec<f32> = self.f32s(input(0)).to_vec();
                let axis = vec![0; frequency.len()];
                Values::F32(rotary_table(&x, 1, &axis, frequency))
            }
            Op::RotaryTable { axis, inverse_frequency } => {
                let positions = self.tensor(input(0));
                let n_axes = positions.shape[1];
                let positions: Vec<f32> = match &positions.values {
                    Values::F32(v) => v.clone(),
                    Values::I32(v) => v.iter().map(|p| *p as f32).collect(),
                };
                Values::F32(rotary_table(&positions, n_axes, axis, inverse_frequency))
            }
            Op::Rotary { style } => {
                let x = self.f32s(input(0));
                Values::F32(rotary(x, shape[1], shape[2], self.f32s(input(1)), *style))
            }
            Op::Attention { scale } => {
                // With four axes the first counts parts, each of which attends to itself.
                let n_parts = if shape.len() == 4 { shape[0] } else { 1 };
                let [n_keys, groups, dim] = *self.tensor(input(1)).shape.last_chunk().expect("verified");
                let heads = Heads { n: shape[shape.len() - 2], groups, dim };
                let (q, k, v) = (self.f32s(input(0)), self.f32s(input(1)), self.f32s(input(2)));
                let len = |x: &[f32]| x.len().checked_div(n_parts).unwrap_or(0);
                let (q_len, k_len) = (len(q), len(k));
                let parts = (0..n_parts).flat_map(|i| {
                    let (q, keys) = (&q[i * q_len..][..q_len], i * k_len..(i + 1) * k_len);
                    attention(q, &k[keys.clone()], &v[keys], heads, *scale, |_| n_keys)
                });
                Values::F32(parts.collect())
            }
            Op::CachedAttention { key_cache, value_cache, past, scale } => {
                let past = self.extents[usize::from(past.0)];
                let heads = Heads { n: shape[1], groups: self.tensor(input(1)).shape[1], dim: shape[2] };
                self.append(*key_cache, past, input(1))?;
                self.append(*value_cache, past, input(2))?;
                let (k, v) = (self.cache(*key_cache), self.cache(*value_cache));
                Values::F32(attention(self.f32s(input(0)), k, v, heads, *scale, |i| past + i + 1))
            }
            Op::SelectRows { merge } => {
                let (table, dim) = (self.f32s(input(1)), shape[1]);
                let n_rows = self.tensor(input(1)).shape[0];
                let mut out = self.f32s(input(0)).to_vec();
                for (row, index) in out.chunks_mut(dim.max(1)).zip(self.i32s(input(2))) {
                    let Ok(index) = usize::try_from(*index) else { continue };
                    if n_rows <= index {
                        return Err(index_error);
                    }
                    for (o, t) in row.iter_mut().zip(&table[index * dim..]) {
                        *o = if *merge == Merge::Add { *o + t } else { *t };
                    }
                }
                Values::F32(out)
            }
            Op::LastRow => {
                let x = self.tensor(input(0));
                let (len, row_len) = (x.values.len(), shape.iter().product::<usize>());
                x.values.slice(len - row_len, len)
            }
            Op::Reshape { .. } => self.tensor(input(0)).values.clone(),
            Op::Transpose { order } => layout::transpose(self.tensor(input(0)), order),
            Op::Concat { axis } => {
                let parts: Vec<&Tensor> = node.inputs.iter().map(|v| self.tensor(*v)).collect();
                layout::concat(&parts, usize::from(*axis))
            }
            Op::Slice { axis, start, .. } => {
                let start = start.value(self.extents);
                layout::slice(self.tensor(input(0)), &shape, usize::from(*axis), start)
            }
            Op::Upsample { factor } => layout::upsample(self.tensor(input(0)), *factor),
            Op::Conv3d { weight, bias, stride, padding } => {
                let bias = bias.map(|b| self.vector(b));
                let kernel = self.reference.weights.weight(*weight);
                let x = self.tensor(input(0));
                let of = dense::Convolution { stride: *stride, padding: *padding, out: &shape };
                let x_shape = &x.shape;
                Values::F32(of.apply(self.f32s(input(0)), x_shape, &kernel, bias.as_deref()))
            }
        };
        assert_eq!(values.len(), shape.iter().product::<usize>(), "node {i} ({})", node.op.name());
        Ok(Tensor { shape, values })
    }

    fn read(&self, buffer: BufferId, shape: Vec<usize>) -> Result<Tensor, RunError> {
        let (network, len) = (self.reference.network, shape.iter().product());
        let dtype = network.buffers[buffer.index()].dtype;
        let at = whole_rows(network, buffer, dtype, self.window(buffer), len)?;
        let values = self.reference.buffers[buffer.index()].slice(at.start, at.end);
        Ok(Tensor { shape, values })
    }

    fn write(&mut self, buffer: BufferId, value: ValueId) -> Result<(), RunError> {
        let row = self.window(buffer);
        let value = self.values[value.index()].clone().expect("kept for the buffer");
        match value.values {
            Values::F32(v) => self.reference.write(buffer, row, Elements::F32(&v)),
            Values::I32(v) => self.reference.write(buffer, row, Elements::I32(&v)),
        }
    }

    /// Writes new keys or values to their cache.
    fn append(&mut self, cache: BufferId, past: usize, value: ValueId) -> Result<(), RunError> {
        let new = self.f32s(value).to_vec();
        self.reference.write(cache, past, Elements::F32(&new))
    }

    fn window(&self, buffer: BufferId) -> usize {
        self.windows.iter().find(|(id, _)| *id == buffer).map_or(0, |(_, row)| *row)
    }

    fn cache(&self, buffer: BufferId) -> &[f32] {
        match &self.reference.buffers[buffer.index()] {
            Values::F32(v) => v,
            Values::I32(_) => unreachable!("verified: caches are f32"),
        }
    }

    fn tensor(&self, id: ValueId) -> &Tensor {
        self.values[id.index()].as_ref().expect("kept until its last use")
    }

    fn f32s(&self, id: ValueId) -> &[f32] {
        match &self.tensor(id).values {
            Values::F32(v) => v,
            Values::I32(_) => unreachable!("verified: the op takes f32"),
        }
    }

    fn i32s(&self, id: ValueId) -> &[i32] {
        match &self.tensor(id).values {
            Values::I32(v) => v,
            Values::F32(_) => unreachable!("verified: the op takes i32"),
        }
    }

    fn vector(&self, id: WeightId) -> Vec<f32> {
        self.reference.weights.weight(id).to_f32()
    }

    fn constant(&self, id: WeightId) -> Values {
        let view = self.reference.weights.weight(id);
        match view.dtype {
            DType::I32 => {
                Values::I32(view.bytes.as_chunks::<4>().0.iter().map(|b| i32::from_le_bytes(*b)).collect())
            }
            _ => Values::F32(view.to_f32()),
        }
    }
}
