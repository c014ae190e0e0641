//! Rotary positions and attention, in the pattern that TensorRT's and ONNX Runtime's optimisers know from exported checkpoints:
//! four axes, keys and values repeated for the heads of their group, a mask that is added to the scores.
//!
//! Opset 23 has operators for both. Of its `Attention` only what every reader takes alike is used: TensorRT's parser refuses a node
//! that also concatenates the cache, and aligns `is_causal` at the first key where the cache wants the last; so the cache is
//! concatenated outside and the mask is explicit.

use super::Opset;
use super::emitter::{Emitter, Once, to_f32};
use super::interface::Begins;
use super::proto::AttributeProto;
use crate::graph::{BufferId, Dim, Node, RotaryStyle, Symbol, ValueId};
use crate::tensor::DType;

/// Axes of heads and places with the parts before them: `[1 or parts, heads, n, dim]` of `[n, heads, dim]` or `[parts, n, heads, dim]`.
const HEADS_FIRST: [i64; 3] = [1, 0, 2];
const HEADS_FIRST_OF_PARTS: [i64; 4] = [0, 2, 1, 3];

impl Emitter<'_> {
    /// Cosines and sines of `positions[axis[j]] * frequency[j]`.
    pub(super) fn rotary_table(&mut self, positions: ValueId, axis: &[u8], frequency: &[f32]) -> String {
        let mut x = self.value(positions);
        if self.graph.nodes[positions.index()].dtype != DType::F32 {
            x = self.add("Cast", &[x], vec![to_f32()]);
        }
        let columns: Vec<i64> = axis.iter().map(|a| i64::from(*a)).collect();
        let columns = self.i64s(&columns);
        let x = self.add("Gather", &[x, columns], vec![AttributeProto::int("axis", 1)]);
        self.waves(&x, frequency)
    }

    /// Cosines and sines of `x * frequency[j]` for each number of a list.
    pub(super) fn sinusoid(&mut self, x: ValueId, frequency: &[f32]) -> String {
        let x = self.value(x);
        let x = self.unsqueezed(&x, &[1]);
        self.waves(&x, frequency)
    }

    fn waves(&mut self, x: &str, frequency: &[f32]) -> String {
        let frequency = self.f32s(frequency, "frequency");
        let angle = self.add("Mul", &[x, &frequency], vec![]);
        let (cos, sin) = (self.add("Cos", &[&angle], vec![]), self.add("Sin", &[&angle], vec![]));
        self.joined(&[cos, sin], 1)
    }

    /// Turns pairs of `x [n, heads, dim]` by `table [n, dim]`.
    pub(super) fn rotary(&mut self, node: &Node, style: RotaryStyle) -> Result<String, String> {
        let (x, table) = (self.value(node.inputs[0]), node.inputs[1]);
        let (heads, dim) = (fixed(node.shape[1])?, fixed(node.shape[2])?);
        if dim % 2 != 0 {
            return Err(format!("heads of {dim} elements have one that is no half of a pair"));
        }
        let half = dim / 2;
        if self.opset == Opset::V23 {
            // `[1, n, half]` of both, `[1, heads, n, dim]` of x.
            let [cos, sin] = [true, false].map(|is_cos| self.half(table, is_cos, half, 0));
            let x = self.heads_first(&x, 3);
            let interleaved = i64::from(style == RotaryStyle::Pairs);
            let attributes = vec![AttributeProto::int("interleaved", interleaved)];
            let turned = self.add("RotaryEmbedding", &[x, cos, sin], attributes);
            return Ok(self.heads_last(&turned, 3));
        }
        // `[n, 1, half]`, so that all heads of a place turn alike.
        let [cos, sin] = [true, false].map(|is_cos| self.half(table, is_cos, half, 1));
        let pairs = match style {
            RotaryStyle::Halves => None,
            RotaryStyle::Pairs => Some(self.reshaped(&x, &[0, heads as i64, half as i64, 2])),
        };
        let [a, b] = [0, 1].map(|i| match &pairs {
            None => self.places(&x, 2, i * half, (i + 1) * half),
            Some(pairs) => {
                let i = self.scalar_i64(i as i64);
                self.add("Gather", &[pairs, &i], vec![AttributeProto::int("axis", 3)])
            }
        });
        let mut product = |x: &str, y: &str| self.add("Mul", &[x, y], vec![]);
        let (a_cos, b_sin, b_cos, a_sin) =
            (product(&a, &cos), product(&b, &sin), product(&b, &cos), product(&a, &sin));
        let a = self.add("Sub", &[a_cos, b_sin], vec![]);
        let b = self.add("Add", &[b_cos, a_sin], vec![]);
        if pairs.is_none() {
            return Ok(self.joined(&[a, b], 2));
        }
        let [a, b] = [a, b].map(|x| self.unsqueezed(&x, &[3]));
        let joined = self.joined(&[a, b], 3);
        Ok(self.reshaped(&joined, &[0, heads as i64, dim as i64]))
    }

    /// The cosines or sines of a rotary table, with an axis of one place at `axis`.
    fn half(&mut self, table: ValueId, is_cos: bool, half: usize, axis: i64) -> String {
        let name = self.value(table);
        self.once(Once::Half(table, is_cos), |e| {
            let begin = if is_cos { 0 } else { half };
            let part = e.places(&name, 1, begin, begin + half);
            e.unsqueezed(&part, &[axis])
        })
    }

    /// `softmax(scale q kᵀ) v` over all keys.
    pub(super) fn attention(&mut self, node: &Node, scale: f32) -> Result<String, String> {
        let rank = node.shape.len();
        let [q, k, v] = [0, 1, 2].map(|i| self.value(node.inputs[i]));
        let [q, k, v] = [q, k, v].map(|x| self.heads_first(&x, rank));
        let (heads, groups) = (node.shape[rank - 2], self.shape(node.inputs[1])[rank - 2]);
        self.attended([q, k, v], [fixed(heads)?, fixed(groups)?], node, scale, None)
    }

    /// The same over what the caches hold and the new tokens, of which each sees those before it and itself.
    pub(super) fn cached_attention(
        &mut self,
        node: &Node,
        caches: [BufferId; 2],
        past: Symbol,
        scale: f32,
    ) -> Result<String, String> {
        let new = self.shape(node.inputs[1]);
        let held: Vec<Dim> = std::iter::once(Dim::of(past)).chain(new[1..].iter().copied()).collect();
        let interface = self.interface;
        let whole = [0, 1].map(|i| {
            let held = &interface.input(caches[i], Begins::First, &held).name;
            let whole = self.joined(&[held, &self.value(node.inputs[1 + i])], 0);
            self.heads_first(&whole, 3)
        });
        let q = self.value(node.inputs[0]);
        let q = self.heads_first(&q, 3);
        let n = node.shape[0];
        // One new token sees all there is.
        let mask = if n == Dim::Fixed(1) { None } else { Some(self.mask(n, Dim::of(past))?) };
        let [k, v] = whole;
        self.attended([q, k, v], [fixed(node.shape[1])?, fixed(new[1])?], node, scale, mask)
    }

    /// Of values `[parts, heads or groups, n, dim]`; the heads of the result are where the graph has them.
    fn attended(
        &mut self,
        [q, k, v]: [String; 3],
        [heads, groups]: [usize; 2],
        node: &Node,
        scale: f32,
        mask: Option<String>,
    ) -> Result<String, String> {
        let rank = node.shape.len();
        if self.opset == Opset::V23 {
            let inputs: Vec<String> = [q, k, v].into_iter().chain(mask).collect();
            let y = self.add("Attention", &inputs, vec![AttributeProto::float("scale", scale)]);
            return Ok(self.heads_last(&y, rank));
        }
        let dim = fixed(node.shape[rank - 1])?;
        let [k, v] = [k, v].map(|x| self.repeated(x, heads, groups, dim));
        let k = self.transposed(&k, [0, 1, 3, 2]);
        let scores = self.add("MatMul", &[q, k], vec![]);
        let scale = self.scalar(scale);
        let mut scores = self.add("Mul", &[scores, scale], vec![]);
        if let Some(mask) = mask {
            scores = self.add("Add", &[scores, mask], vec![]);
        }
        let shares = self.add("Softmax", &[scores], vec![AttributeProto::int("axis", -1)]);
        let y = self.add("MatMul", &[shares, v], vec![]);
        Ok(self.heads_last(&y, rank))
    }

    /// Keys or values of each group once for each of its heads.
    fn repeated(&mut self, x: String, heads: usize, groups: usize, dim: usize) -> String {
        if heads == groups {
            return x;
        }
        let x = self.unsqueezed(&x, &[2]);
        let times = self.i64s(&[1, 1, (heads / groups) as i64, 1, 1]);
        let x = self.add("Expand", &[x, times], vec![]);
        self.reshaped(&x, &[0, heads as i64, -1, dim as i64])
    }

    /// 0 where token `i` sees row `j`, that is `j <= past + i`, and minus infinity elsewhere: `[n, past + n]`.
    fn mask(&mut self, n: Dim, past: Dim) -> Result<String, String> {
        self.try_once(Once::Mask(n, past), |e| {
            let (n, past) = (e.extent(n)?, e.extent(past)?);
            let end = e.add("Add", &[&past, &n], vec![]);
            let [past, end] = [past, end].map(|x| e.squeezed(&x, &[0]));
            let (zero, one) = (e.scalar_i64(0), e.scalar_i64(1));
            let rows = e.add("Range", &[&past, &end, &one], vec![]);
            let rows = e.unsqueezed(&rows, &[1]);
            let columns = e.add("Range", &[&zero, &end, &one], vec![]);
            let seen = e.add("LessOrEqual", &[columns, rows], vec![]);
            let (zero, never) = (e.scalar(0.0), e.scalar(f32::NEG_INFINITY));
            Ok(e.add("Where", &[seen, zero, never], vec![]))
        })
    }

    fn heads_first(&mut self, x: &str, rank: usize) -> String {
        if rank == 4 {
            return self.transposed(x, HEADS_FIRST_OF_PARTS);
        }
        let x = self.transposed(x, HEADS_FIRST);
        self.unsqueezed(&x, &[0])
    }

    fn heads_last(&mut self, x: &str, rank: usize) -> String {
        let x = self.transposed(x, HEADS_FIRST_OF_PARTS);
        if rank == 4 { x } else { self.squeezed(&x, &[0]) }
    }
}

/// An extent that must be known when the graph is written.
fn fixed(dim: Dim) -> Result<usize, String> {
    match dim {
        Dim::Fixed(n) => Ok(n),
        Dim::Scaled { .. } => Err("heads and their elements must be as many in every run".to_owned()),
    }
}
