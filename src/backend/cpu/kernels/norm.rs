//! Normalisation of rows. A norm of each head is a norm over rows of `[n * heads, dim]`.
//!
//! Layer norm subtracts the mean before it squares: the other form, mean of squares less square of mean, loses digits.

use std::ops::Range;

use super::out::Out;
use super::simd::{LANES, Simd};

/// `x / sqrt(mean(x²) + eps) * w` over rows of `dim` (Zhang & Sennrich 2019, <https://arxiv.org/abs/1910.07467>).
///
/// A task is a row; it writes that row.
#[derive(Clone, Copy, Debug)]
pub struct RmsNorm<'a> {
    /// `[rows, dim]`; none takes the output's own values.
    pub x: Option<&'a [f32]>,
    /// `[dim]`; none is ones.
    pub weight: Option<&'a [f32]>,
    /// Added to the mean square.
    pub eps: f32,
    /// Elements of a row.
    pub dim: usize,
}

/// `(x - mean) / sqrt(var + eps) * w + b` over rows of `dim` (Ba et al. 2016, <https://arxiv.org/abs/1607.06450>).
///
/// A task is a row; it writes that row.
#[derive(Clone, Copy, Debug)]
pub struct LayerNorm<'a> {
    /// `[rows, dim]`; none takes the output's own values.
    pub x: Option<&'a [f32]>,
    /// `[dim]`; none is ones.
    pub weight: Option<&'a [f32]>,
    /// `[dim]`; none is zeros.
    pub bias: Option<&'a [f32]>,
    /// Added to the variance.
    pub eps: f32,
    /// Elements of a row.
    pub dim: usize,
}

#[inline(always)]
pub(super) fn run_rms<S: Simd>(s: S, a: &RmsNorm<'_>, tasks: Range<usize>, out: &mut Out<'_>, _: &mut [f32]) {
    for row in tasks {
        let row = load_row(a.x, row, a.dim, out);
        let scale = 1.0 / (sum_of_squares(s, row) / a.dim as f32 + a.eps).sqrt();
        affine(s, row, 0.0, scale, a.weight, None);
    }
}

#[inline(always)]
pub(super) fn run_layer<S: Simd>(
    s: S,
    a: &LayerNorm<'_>,
    tasks: Range<usize>,
    out: &mut Out<'_>,
    _: &mut [f32],
) {
    for row in tasks {
        let row = load_row(a.x, row, a.dim, out);
        let mean = sum(s, row) / a.dim as f32;
        affine(s, row, mean, 1.0, None, None);
        let scale = 1.0 / (sum_of_squares(s, row) / a.dim as f32 + a.eps).sqrt();
        affine(s, row, 0.0, scale, a.weight, a.bias);
    }
}

/// The output's row, holding the input.
#[inline(always)]
fn load_row<'o>(x: Option<&[f32]>, row: usize, dim: usize, out: &'o mut Out<'_>) -> &'o mut [f32] {
    let to = out.part(row * dim..(row + 1) * dim);
    if let Some(x) = x {
        to.copy_from_slice(&x[row * dim..(row + 1) * dim]);
    }
    to
}

#[inline(always)]
fn sum<S: Simd>(s: S, x: &[f32]) -> f32 {
    let (whole, rest) = x.as_chunks::<LANES>();
    let mut total = s.load_part(rest);
    for x in whole {
        total = s.add(total, s.load(x));
    }
    s.sum(total)
}

#[inline(always)]
fn sum_of_squares<S: Simd>(s: S, x: &[f32]) -> f32 {
    let (whole, rest) = x.as_chunks::<LANES>();
    let rest = s.load_part(rest);
    let mut total = s.mul(rest, rest);
    for x in whole {
        let x = s.load(x);
        total = s.mul_add(x, x, total);
    }
    s.sum(total)
}

/// `(x - mean) * scale * w + b`, in place.
#[inline(always)]
fn affine<S: Simd>(s: S, x: &mut [f32], mean: f32, scale: f32, weight: Option<&[f32]>, bias: Option<&[f32]>) {
    let (mean, scale) = (s.splat(mean), s.splat(scale));
    let dim = x.len();
    for start in (0..dim).step_by(LANES) {
        let here = start..dim.min(start + LANES);
        let mut v = s.mul(s.sub(s.load_some(&x[here.clone()]), mean), scale);
        if let Some(weight) = weight {
            v = s.mul(v, s.load_some(&weight[here.clone()]));
        }
        if let Some(bias) = bias {
            v = s.add(v, s.load_some(&bias[here.clone()]));
        }
        s.store_some(v, &mut x[here]);
    }
}
