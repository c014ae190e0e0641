//! The matrix product for one to four rows, where reading the weights is all that takes time.
//!
//! The order of every sum is that of [`super::matmul`], so the two agree bit for bit. Several panels run side by side:
//! their chains of multiply-adds hide each other's latency, and prefetching keeps enough cache lines in flight.

use std::ops::Range;

use super::arithmetic::{Arithmetic, Pairs};
use super::block::CHUNK;
use super::matmul::Finish;
use super::out::Out;
use super::panels::{PanelData, Panels};
use super::simd::{LANES, Simd};

/// The most rows of `x` that are served here.
pub(super) const ROWS_MAX: usize = 4;
const PANELS_PER_TASK: usize = 4;
/// Rows times panels of a strip, at most.
const SUMS_MAX: usize = 8;
/// How far ahead of its use a panel is fetched.
const AHEAD_BYTES: usize = 2048;

pub(super) fn tasks(n_panels: usize) -> usize {
    n_panels.div_ceil(PANELS_PER_TASK)
}

/// Panels of some tasks.
pub(super) fn panels(weight: &Panels<'_>, tasks: Range<usize>) -> Range<usize> {
    tasks.start * PANELS_PER_TASK..weight.n_panels().min(tasks.end * PANELS_PER_TASK)
}

/// Panels as strips take them, step by step (see [`super::arithmetic`]).
trait Steps<S: Simd>: Copy {
    type Element: Copy;
    /// Columns of a step.
    const COLUMNS: usize;

    /// Steps of a row of at most [`CHUNK`] elements; `room` is for those that are not its elements.
    fn row<'a>(self, s: S, x: &'a [f32], room: &'a mut Pairs) -> &'a [f32];
    /// A step of a panel, or what is left of one.
    fn columns(self, s: S, columns: &[[Self::Element; LANES]]) -> S::V;
    fn mul_add(self, s: S, w: S::V, x: S::V, sum: S::V) -> S::V;
}

/// Panels of f32.
#[derive(Clone, Copy)]
struct Wide;

impl<S: Simd> Steps<S> for Wide {
    type Element = f32;
    const COLUMNS: usize = 1;

    #[inline(always)]
    fn row<'a>(self, _: S, x: &'a [f32], _: &'a mut Pairs) -> &'a [f32] {
        x
    }
    #[inline(always)]
    fn columns(self, s: S, columns: &[[f32; LANES]]) -> S::V {
        s.load(&columns[0])
    }
    #[inline(always)]
    fn mul_add(self, s: S, w: S::V, x: S::V, sum: S::V) -> S::V {
        s.mul_add(w, x, sum)
    }
}

/// Panels of bfloat16 in an arithmetic.
#[derive(Clone, Copy)]
struct Narrow<A>(A);

impl<S: Simd, A: Arithmetic<S>> Steps<S> for Narrow<A> {
    type Element = u16;
    const COLUMNS: usize = A::COLUMNS;

    #[inline(always)]
    fn row<'a>(self, s: S, x: &'a [f32], room: &'a mut Pairs) -> &'a [f32] {
        self.0.row(s, x, room)
    }
    #[inline(always)]
    fn columns(self, s: S, columns: &[[u16; LANES]]) -> S::V {
        self.0.step(s, columns)
    }
    #[inline(always)]
    fn mul_add(self, s: S, w: S::V, x: S::V, sum: S::V) -> S::V {
        self.0.mul_add(s, w, x, sum)
    }
}

/// With arithmetic in pairs the weights are of bfloat16.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "what every kernel takes, and who computes")]
pub(super) fn run<S: Simd, A: Arithmetic<S>>(
    s: S,
    arithmetic: A,
    x: &[f32],
    m: usize,
    weight: &Panels<'_>,
    finish: Finish<'_>,
    tasks: Range<usize>,
    out: &mut Out<'_>,
) {
    let panels = panels(weight, tasks);
    let (data, k) = (weight.data(), weight.k);
    // All strips end in one place: what follows a sum is much code, and compiled for each strip it would be most of it all.
    let mut sums = [[0.0; LANES]; SUMS_MAX];
    let mut panel = panels.start;
    while panel < panels.end {
        let n_panels = match data {
            PanelData::F32(w) => by_rows(s, Wide, x, m, k, w, panel..panels.end, &mut sums),
            PanelData::Bf16(w) => by_rows(s, Narrow(arithmetic), x, m, k, w, panel..panels.end, &mut sums),
        };
        for (i, sum) in sums[..n_panels * m].iter().enumerate() {
            finish.write(s, s.load(sum), i % m, panel + i / m, out);
        }
        panel += n_panels;
    }
}

/// Sums the first panels of `panels` for all `m` rows: one panel or as many as go side by side. How many it were; the sums are
/// the rows' of the first panel, of the second and so on.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "the loop's own variables, split off for reading")]
fn by_rows<S: Simd, W: Steps<S>>(
    s: S,
    steps: W,
    x: &[f32],
    m: usize,
    k: usize,
    w: &[[W::Element; LANES]],
    panels: Range<usize>,
    sums: &mut [[f32; LANES]; SUMS_MAX],
) -> usize {
    let (first, left) = (panels.start, panels.len());
    match (m, left) {
        (1, 4..) => strip::<S, W, 1, 4>(s, steps, x, k, w, first, sums),
        (1, _) => strip::<S, W, 1, 1>(s, steps, x, k, w, first, sums),
        (2, 2..) => strip::<S, W, 2, 2>(s, steps, x, k, w, first, sums),
        (2, _) => strip::<S, W, 2, 1>(s, steps, x, k, w, first, sums),
        (3, 2..) => strip::<S, W, 3, 2>(s, steps, x, k, w, first, sums),
        (3, _) => strip::<S, W, 3, 1>(s, steps, x, k, w, first, sums),
        (4, 2..) => strip::<S, W, 4, 2>(s, steps, x, k, w, first, sums),
        (4, _) => strip::<S, W, 4, 1>(s, steps, x, k, w, first, sums),
        _ => {
            debug_assert_eq!(m, 0, "more rows go to the matrix product");
            left
        }
    }
}

/// `P` panels from `panel` on, for all `M` rows. `P`.
#[inline(always)]
fn strip<S: Simd, W: Steps<S>, const M: usize, const P: usize>(
    s: S,
    steps: W,
    x: &[f32],
    k_len: usize,
    w: &[[W::Element; LANES]],
    panel: usize,
    totals: &mut [[f32; LANES]; SUMS_MAX],
) -> usize {
    let ahead = AHEAD_BYTES / size_of::<[W::Element; LANES]>();
    let totals = &mut totals[..P * M];
    totals.fill([0.0; LANES]);
    let mut rooms = [[0.0; CHUNK / 2]; M];
    for start in (0..k_len).step_by(CHUNK) {
        let len = CHUNK.min(k_len - start);
        let n_steps = len.div_ceil(W::COLUMNS);
        let mut columns: [&[[W::Element; LANES]]; P] = [&[]; P];
        for p in 0..P {
            columns[p] = &w[(panel + p) * k_len + start..][..len];
        }
        let mut rows: [&[f32]; M] = [&[]; M];
        for ((m, row), room) in rows.iter_mut().enumerate().zip(&mut rooms) {
            *row = &steps.row(s, &x[m * k_len + start..][..len], room)[..n_steps];
        }
        // Says once what the loop would ask for every step.
        assert!(columns.iter().all(|c| c.len() == len) && rows.iter().all(|r| r.len() == n_steps));
        let mut sums = [[s.zero(); M]; P];
        for k in (0..len).step_by(W::COLUMNS) {
            for p in 0..P {
                s.prefetch(columns[p].as_ptr().wrapping_add(k + ahead));
                let column = steps.columns(s, &columns[p][k..len.min(k + W::COLUMNS)]);
                for m in 0..M {
                    sums[p][m] = steps.mul_add(s, column, s.splat(rows[m][k / W::COLUMNS]), sums[p][m]);
                }
            }
        }
        for p in 0..P {
            for m in 0..M {
                let total = &mut totals[p * M + m];
                s.store(s.add(s.load(total), sums[p][m]), total);
            }
        }
    }
    P
}
