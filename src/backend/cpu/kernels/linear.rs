//! `Linear`: rows of activations times packed weights.

use std::ops::Range;

use super::arithmetic::{Arithmetic, InF32};
use super::block::BlockRow;
use super::block_product::{self, FEW_K_MAX};
use super::dots::Dots;
use super::matmul::{self, Epilogue, Finish, RowSource, Split};
use super::matvec;
use super::out::Out;
#[cfg(target_arch = "x86_64")]
use super::panels::PanelFormat;
use super::panels::Panels;
use super::simd::Simd;

/// `epilogue(x Wᵀ + b)`: `x [m, k]`, `W [n, k]`, `b [n]` → `[m, n]`.
///
/// A task writes some rows and columns of the output, or reads and writes them with an in-place epilogue.
#[derive(Clone, Copy, Debug)]
pub struct Linear<'a> {
    /// `[m, k]`, row-major.
    pub x: &'a [f32],
    /// Rows of `x`.
    pub m: usize,
    /// `[n, k]`.
    pub weight: Panels<'a>,
    /// `[n]`.
    pub bias: Option<&'a [f32]>,
    /// What follows.
    pub epilogue: Epilogue<Option<&'a [f32]>>,
}

impl Linear<'_> {
    /// Tasks that the product is cut into.
    pub fn tasks(&self) -> usize {
        let n_panels = self.weight.n_panels();
        if self.is_few() { matvec::tasks(n_panels) } else { Split::new(self.m, n_panels).tasks() }
    }

    /// Whether rows are so few that only the reading of weights counts.
    fn is_few(&self) -> bool {
        self.m <= matvec::ROWS_MAX && (!self.weight.format.is_blocks() || self.weight.k <= FEW_K_MAX)
    }
}

struct Matrix<'a> {
    x: &'a [f32],
    m: usize,
    k: usize,
}

impl RowSource for Matrix<'_> {
    fn shape(&self) -> (usize, usize) {
        (self.m, self.k)
    }

    #[inline(always)]
    fn copy(&self, rows: Range<usize>, k: Range<usize>, to: &mut [BlockRow]) {
        for (row, to) in rows.zip(to) {
            to[..k.len()].copy_from_slice(&self.x[row * self.k + k.start..row * self.k + k.end]);
        }
    }
}

/// What follows the sums of a product whose lengths agree, and its rows.
#[inline(always)]
fn checked<'a>(a: &Linear<'a>, out: &Out<'_>) -> (Finish<'a>, Matrix<'a>) {
    let k = a.weight.k;
    assert_eq!(a.x.len(), a.m * k, "x is [m, k]");
    assert_eq!(out.len(), a.m * a.weight.rows, "the output is [m, n]");
    (Finish { bias: a.bias, epilogue: a.epilogue, n: a.weight.rows }, Matrix { x: a.x, m: a.m, k })
}

/// With weights that are floats.
#[inline(always)]
pub(super) fn run<S: Simd, const T: usize>(
    s: S,
    a: &Linear<'_>,
    tasks: Range<usize>,
    out: &mut Out<'_>,
    scratch: &mut [f32],
) {
    run_in::<S, _, T>(s, InF32, a, tasks, out, scratch);
}

/// With weights that are floats, those of bfloat16 in pairs.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(super) fn run_pairs<S: Simd, A: Arithmetic<S>, const T: usize>(
    s: S,
    arithmetic: A,
    a: &Linear<'_>,
    tasks: Range<usize>,
    out: &mut Out<'_>,
    scratch: &mut [f32],
) {
    match a.weight.format {
        PanelFormat::Bf16 => run_in::<S, _, T>(s, arithmetic, a, tasks, out, scratch),
        _ => run_in::<S, _, T>(s, InF32, a, tasks, out, scratch),
    }
}

#[inline(always)]
fn run_in<S: Simd, A: Arithmetic<S>, const T: usize>(
    s: S,
    arithmetic: A,
    a: &Linear<'_>,
    tasks: Range<usize>,
    out: &mut Out<'_>,
    scratch: &mut [f32],
) {
    let (finish, matrix) = checked(a, out);
    if a.is_few() {
        matvec::run(s, arithmetic, a.x, a.m, &a.weight, finish, tasks, out);
    } else {
        matmul::run::<S, A, _, T>(s, arithmetic, &matrix, &a.weight, finish, tasks, out, scratch);
    }
}

/// With weights in blocks.
#[inline(always)]
pub(super) fn run_blocks<S: Simd, D: Dots<S::V>, const T: usize>(
    s: S,
    d: D,
    a: &Linear<'_>,
    tasks: Range<usize>,
    out: &mut Out<'_>,
    scratch: &mut [f32],
) {
    let (finish, matrix) = checked(a, out);
    if a.is_few() {
        let panels = matvec::panels(&a.weight, tasks);
        block_product::run_few(s, d, a.x, a.m, &a.weight, finish, panels, out, scratch);
    } else {
        block_product::run::<S, D, _, T>(s, d, &matrix, &a.weight, finish, tasks, out, scratch);
    }
}
