//! Rotary positions.

use crate::distill::real::{Real, by_type, tensor, tensor_of};
use crate::distill::tape::Tensor;
use crate::graph::RotaryStyle;
use burn_flex::FlexTensor;

/// `f` cosines and then `f` sines for each row of `positions [b, n, n_axes]`, whose angle is rounded to f32 first, as networks are
/// trained with it. Nothing goes back: positions are given.
pub(in crate::distill) fn rotary_table(positions: &Tensor, axis: &[u8], frequency: &[f32]) -> Tensor {
    let mut shape = positions.shape();
    let n_axes = *shape.last().expect("rows of positions");
    let (dtype, positions) = (positions.dtype(), positions.to_f32());
    let mut angles = Vec::with_capacity(positions.len() / n_axes * axis.len());
    for row in positions.chunks_exact(n_axes) {
        angles.extend(axis.iter().zip(frequency).map(|(a, f)| row[usize::from(*a)] * f));
    }
    let last = shape.len() - 1;
    shape[last] = axis.len();
    let angles = Tensor::plain(tensor_of(&angles, &shape, dtype));
    Tensor::joined(&[angles.cos(), angles.sin()], last)
}

/// Turns pairs of `x [b, n, heads, dim]` by `table [1 or b, n, dim]`.
pub(in crate::distill) fn rotary(x: &Tensor, table: &Tensor, style: RotaryStyle) -> Tensor {
    let dtype = x.dtype();
    let (values, table) = (x.values(), table.values());
    let shape = x.shape();
    let n_heads = shape[shape.len() - 2];
    let out = by_type!(dtype, E => turned::<E>(&values, &table, &shape, n_heads, style, E::ONE));
    Tensor::recorded([x], out, move |g, _| {
        let g = g.to_contiguous();
        // A turn is undone by the turn back.
        [Some(by_type!(dtype, E => turned::<E>(&g, &table, &shape, n_heads, style, -E::ONE)))]
    })
}

fn turned<E: Real>(
    x: &FlexTensor,
    table: &FlexTensor,
    shape: &[usize],
    n_heads: usize,
    style: RotaryStyle,
    sign: E,
) -> FlexTensor {
    let dim = *shape.last().expect("verified: three axes");
    let half = dim / 2;
    let mut out = x.storage::<E>().to_vec();
    // The members of a batch have the same positions, or each its own.
    let tables = table.storage::<E>().chunks_exact(dim).cycle();
    for (token, table) in out.chunks_exact_mut(n_heads * dim).zip(tables) {
        let (cos, sin) = table.split_at(half);
        for head in token.chunks_exact_mut(dim) {
            for i in 0..half {
                let (a, b) = match style {
                    RotaryStyle::Halves => (i, i + half),
                    RotaryStyle::Pairs => (2 * i, 2 * i + 1),
                };
                let (p, q, sin) = (head[a], head[b], sin[i] * sign);
                head[a] = p * cos[i] - q * sin;
                head[b] = q * cos[i] + p * sin;
            }
        }
    }
    tensor::<E>(out, shape)
}
