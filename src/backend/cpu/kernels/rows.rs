//! Rows picked from tables: embeddings, selected and interpolated rows, and rows appended to a cache.
//!
//! Indices come from outside; [`first_outside`] checks them once before the run, so the kernels need not fail midway.

use std::ops::Range;

use perihelion_tensor::function::Merge;

use super::out::Out;
use super::panels::Panels;
use super::simd::{LANES, Simd};

/// A table whose rows are read.
#[derive(Clone, Copy, Debug)]
pub enum Table<'a> {
    /// Packed weights.
    Panels(Panels<'a>),
    /// Row-major `[m, d]`.
    Rows(&'a [f32]),
}

/// `ids [n]`, table `[m, d]` → `[n, d]`. A task is a row; it writes that row.
#[derive(Clone, Copy, Debug)]
pub struct Embedding<'a> {
    /// Row numbers, checked.
    pub ids: &'a [i32],
    /// `[m, d]`.
    pub table: Table<'a>,
    /// `d`.
    pub dim: usize,
}

/// Row `i` of `x [n, d]` is merged with `table[index[i]]` where `index[i] >= 0`. A task is a row; it writes that row.
#[derive(Clone, Copy, Debug)]
pub struct SelectRows<'a> {
    /// `[n, d]`; none takes the output's own values.
    pub x: Option<&'a [f32]>,
    /// `[m, d]`.
    pub table: &'a [f32],
    /// `[n]`, checked.
    pub index: &'a [i32],
    /// `d`.
    pub dim: usize,
    /// How.
    pub merge: Merge,
}

/// `Σ_j share[i, j] * table[index[i, j]]`: `index` and `share` `[n, c]`, table `[m, d]` → `[n, d]`.
/// A task is a row; it writes that row.
#[derive(Clone, Copy, Debug)]
pub struct InterpolateRows<'a> {
    /// `[n, c]`, checked.
    pub index: &'a [i32],
    /// `[n, c]`.
    pub share: &'a [f32],
    /// `c`.
    pub n_shares: usize,
    /// `[m, d]`, row-major.
    pub table: &'a [f32],
    /// `d`.
    pub dim: usize,
}

/// The first index that is not within `0..n_rows` (negative ones are let pass where `negative_is_none`), by its place.
pub fn first_outside(index: &[i32], n_rows: usize, negative_is_none: bool) -> Option<usize> {
    index.iter().position(|&i| match usize::try_from(i) {
        Ok(i) => n_rows <= i,
        Err(_) => !negative_is_none,
    })
}

/// Writes rows `tasks`.
pub fn embedding(a: &Embedding<'_>, tasks: Range<usize>, out: &mut Out<'_>) {
    for row in tasks {
        let id = a.ids[row] as usize;
        let to = out.part(row * a.dim..(row + 1) * a.dim);
        match a.table {
            Table::Panels(panels) => panels.gather_row(id, to),
            Table::Rows(table) => to.copy_from_slice(&table[id * a.dim..(id + 1) * a.dim]),
        }
    }
}

/// Writes rows `tasks`.
pub fn select_rows(a: &SelectRows<'_>, tasks: Range<usize>, out: &mut Out<'_>) {
    for row in tasks {
        let to = out.part(row * a.dim..(row + 1) * a.dim);
        if let Some(x) = a.x {
            to.copy_from_slice(&x[row * a.dim..(row + 1) * a.dim]);
        }
        let Ok(index) = usize::try_from(a.index[row]) else { continue };
        let from = &a.table[index * a.dim..(index + 1) * a.dim];
        match a.merge {
            Merge::Replace => to.copy_from_slice(from),
            Merge::Add => {
                for (to, x) in to.iter_mut().zip(from) {
                    *to += x;
                }
            }
        }
    }
}

#[inline(always)]
pub(super) fn run_interpolate<S: Simd>(
    s: S,
    a: &InterpolateRows<'_>,
    tasks: Range<usize>,
    out: &mut Out<'_>,
    _: &mut [f32],
) {
    for row in tasks {
        let to = out.part(row * a.dim..(row + 1) * a.dim);
        to.fill(0.0);
        let shares = row * a.n_shares..(row + 1) * a.n_shares;
        for (index, share) in a.index[shares.clone()].iter().zip(&a.share[shares]) {
            let from = &a.table[*index as usize * a.dim..][..a.dim];
            let share = s.splat(*share);
            for start in (0..a.dim).step_by(LANES) {
                let here = start..a.dim.min(start + LANES);
                let sum = s.mul_add(s.load_some(&from[here.clone()]), share, s.load_some(&to[here.clone()]));
                s.store_some(sum, &mut to[here]);
            }
        }
    }
}
