//! Rotary positions and attention.

use super::dense::dot;
use crate::graph::RotaryStyle;

/// Heads of one attention: query head `h` reads key and value head `h / (n / groups)`.
#[derive(Clone, Copy)]
pub(super) struct Heads {
    pub(super) n: usize,
    pub(super) groups: usize,
    pub(super) dim: usize,
}

/// `f` cosines and then `f` sines for each row of `positions [n, n_axes]`. The angle is rounded to f32 first, as networks are
/// trained with it.
pub(super) fn rotary_table(positions: &[f32], n_axes: usize, axis: &[u8], frequency: &[f32]) -> Vec<f32> {
    let mut out = Vec::with_capacity(positions.len() / n_axes.max(1) * 2 * axis.len());
    for row in positions.chunks(n_axes.max(1)) {
        let angles = || axis.iter().zip(frequency).map(|(a, f)| f64::from(row[usize::from(*a)] * f));
        out.extend(angles().map(|angle| angle.cos() as f32));
        out.extend(angles().map(|angle| angle.sin() as f32));
    }
    out
}

/// Turns the pairs of each head of `x [n, heads, dim]` by its row of `table [n, dim]`.
pub(super) fn rotary(x: &[f32], heads: usize, dim: usize, table: &[f32], style: RotaryStyle) -> Vec<f32> {
    let mut out = x.to_vec();
    let half = dim / 2;
    for (token, table) in out.chunks_mut((heads * dim).max(1)).zip(table.chunks(dim.max(1))) {
        for head in token.chunks_mut(dim.max(1)) {
            for i in 0..half {
                let (a, b) = match style {
                    RotaryStyle::Halves => (i, i + half),
                    RotaryStyle::Pairs => (2 * i, 2 * i + 1),
                };
                let (cos, sin) = (f64::from(table[i]), f64::from(table[half + i]));
                let (p, q) = (f64::from(head[a]), f64::from(head[b]));
                head[a] = (p * cos - q * sin) as f32;
                head[b] = (q * cos + p * sin) as f32;
            }
        }
    }
    out
}

/// `softmax(scale q kᵀ) v`, where query `i` sees the first `n_visible(i)` keys.
pub(super) fn attention(
    q: &[f32],
    k: &[f32],
    v: &[f32],
    heads: Heads,
    scale: f32,
    n_visible: impl Fn(usize) -> usize,
) -> Vec<f32> {
    let Heads { n, groups, dim } = heads;
    let mut out = Vec::with_capacity(q.len());
    for (i, token) in q.chunks((n * dim).max(1)).enumerate() {
        for (h, query) in token.chunks(dim.max(1)).enumerate() {
            let of = |j: usize| (j * groups + h / (n / groups)) * dim;
            let scores: Vec<f64> =
                (0..n_visible(i)).map(|j| f64::from(scale) * dot(query, &k[of(j)..of(j) + dim])).collect();
            // Nothing changes by subtracting the largest but that no exponential overflows.
            let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let shares: Vec<f64> = scores.iter().map(|s| (s - largest).exp()).collect();
            let total: f64 = shares.iter().sum();
            let mut sums = vec![0.0f64; dim];
            for (j, share) in shares.iter().enumerate() {
                for (sum, value) in sums.iter_mut().zip(&v[of(j)..of(j) + dim]) {
                    *sum += share * f64::from(*value);
                }
            }
            out.extend(sums.iter().map(|s| (s / total) as f32));
        }
    }
    out
}
