//! Rotary positions (Su et al. 2021, <https://arxiv.org/abs/2104.09864>) and the timestep embedding: tables of cosines
//! and sines, and the turning of pairs by them.
//!
//! The tables take `std`'s cosine and sine: they are small, and made once for all layers.

use std::ops::Range;

use perihelion_tensor::function::RotaryStyle;

use super::out::Out;
use super::simd::{LANES, Simd};

/// Turns pairs of `x [n, heads, dim]` by `table [n, dim]`, `dim / 2` cosines and then as many sines.
///
/// A task is a token; it writes that token's heads.
#[derive(Clone, Copy, Debug)]
pub struct Rotary<'a> {
    /// `[n, heads, dim]`; none takes the output's own values.
    pub x: Option<&'a [f32]>,
    /// `[n, dim]`.
    pub table: &'a [f32],
    /// Which elements are a pair.
    pub style: RotaryStyle,
    /// Heads.
    pub heads: usize,
    /// Elements of a head, even.
    pub dim: usize,
}

/// Positions of [`RotaryTable`].
#[derive(Clone, Copy, Debug)]
pub enum Positions<'a> {
    /// Whole numbers.
    I32(&'a [i32]),
    /// Any numbers.
    F32(&'a [f32]),
}

/// Cosines and sines of rotary angles: `positions [n, n_axes]` → `[n, 2 f]`, `f` cosines and then `f` sines of
/// `positions[axis[j]] * inverse_frequency[j]`.
///
/// A task is a row; it writes that row.
#[derive(Clone, Copy, Debug)]
pub struct RotaryTable<'a> {
    /// `[n, n_axes]`.
    pub positions: Positions<'a>,
    /// Columns of `positions`.
    pub n_axes: usize,
    /// For each frequency, the column of `positions`.
    pub axis: &'a [u8],
    /// Radians for one step of position.
    pub inverse_frequency: &'a [f32],
}

/// `[n]` → `[n, 2 f]`: cosines and then sines of `x * frequency[j]`.
///
/// A task is a row; it writes that row.
#[derive(Clone, Copy, Debug)]
pub struct Sinusoid<'a> {
    /// `[n]`.
    pub x: &'a [f32],
    /// Radians for a unit of `x`.
    pub frequency: &'a [f32],
}

/// Writes rows `tasks` of the table.
pub fn rotary_table(a: &RotaryTable<'_>, tasks: Range<usize>, out: &mut Out<'_>) {
    let n = a.inverse_frequency.len();
    assert_eq!(n, a.axis.len(), "each frequency has an axis");
    for row in tasks {
        let (cosines, sines) = out.part(row * 2 * n..(row + 1) * 2 * n).split_at_mut(n);
        for (j, (cosine, sine)) in cosines.iter_mut().zip(sines).enumerate() {
            let place = row * a.n_axes + usize::from(a.axis[j]);
            let position = match a.positions {
                Positions::I32(p) => p[place] as f32,
                Positions::F32(p) => p[place],
            };
            (*sine, *cosine) = (position * a.inverse_frequency[j]).sin_cos();
        }
    }
}

/// Writes rows `tasks` of the embedding.
pub fn sinusoid(a: &Sinusoid<'_>, tasks: Range<usize>, out: &mut Out<'_>) {
    let n = a.frequency.len();
    for row in tasks {
        let (cosines, sines) = out.part(row * 2 * n..(row + 1) * 2 * n).split_at_mut(n);
        for ((cosine, sine), frequency) in cosines.iter_mut().zip(sines).zip(a.frequency) {
            (*sine, *cosine) = (a.x[row] * frequency).sin_cos();
        }
    }
}

#[inline(always)]
pub(super) fn run<S: Simd>(s: S, a: &Rotary<'_>, tasks: Range<usize>, out: &mut Out<'_>, _: &mut [f32]) {
    let width = a.heads * a.dim;
    for token in tasks {
        let (cosines, sines) = a.table[token * a.dim..(token + 1) * a.dim].split_at(a.dim / 2);
        let heads = out.part(token * width..(token + 1) * width);
        if let Some(x) = a.x {
            heads.copy_from_slice(&x[token * width..(token + 1) * width]);
        }
        for head in heads.chunks_exact_mut(a.dim) {
            match a.style {
                RotaryStyle::Halves => turn_halves(s, head, cosines, sines),
                RotaryStyle::Pairs => turn_pairs(head, cosines, sines),
            }
        }
    }
}

#[inline(always)]
fn turn_halves<S: Simd>(s: S, head: &mut [f32], cosines: &[f32], sines: &[f32]) {
    let (low, high) = head.split_at_mut(cosines.len());
    for start in (0..low.len()).step_by(LANES) {
        let here = start..low.len().min(start + LANES);
        let (cosine, sine) = (s.load_some(&cosines[here.clone()]), s.load_some(&sines[here.clone()]));
        let (x, y) = (s.load_some(&low[here.clone()]), s.load_some(&high[here.clone()]));
        s.store_some(s.sub(s.mul(x, cosine), s.mul(y, sine)), &mut low[here.clone()]);
        s.store_some(s.add(s.mul(y, cosine), s.mul(x, sine)), &mut high[here]);
    }
}

#[inline(always)]
fn turn_pairs(head: &mut [f32], cosines: &[f32], sines: &[f32]) {
    for ((pair, cosine), sine) in head.as_chunks_mut::<2>().0.iter_mut().zip(cosines).zip(sines) {
        let [x, y] = *pair;
        *pair = [x * cosine - y * sine, y * cosine + x * sine];
    }
}
