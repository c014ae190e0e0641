//! The matrix product for one to four rows, where reading the weights is all that takes time.
//!
//! The order of every sum is that of [`super::matmul`], so the two agree bit for bit. Several panels run side by side:
//! their chains of multiply-adds hide each other's latency, and prefetching keeps enough cache lines in flight.

use std::ops::Range;

use super::arithmetic::Arithmetic;
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

/// A stored number that widens to f32.
trait Stored: Copy {
    fn load<S: Simd>(s: S, from: &[Self; LANES]) -> S::V;
}

impl Stored for f32 {
    #[inline(always)]
    fn load<S: Simd>(s: S, from: &[f32; LANES]) -> S::V {
        s.load(from)
    }
}

impl Stored for u16 {
    #[inline(always)]
    fn load<S: Simd>(s: S, from: &[u16; LANES]) -> S::V {
        s.load_bf16(from)
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
            PanelData::F32(w) => by_rows(s, Strips(w), x, m, k, panel..panels.end, &mut sums),
            PanelData::Bf16(w) if A::IN_PAIRS => {
                by_rows(s, PairStrips(arithmetic, w), x, m, k, panel..panels.end, &mut sums)
            }
            PanelData::Bf16(w) => by_rows(s, Strips(w), x, m, k, panel..panels.end, &mut sums),
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
fn by_rows<S: Simd, W: Summed<S>>(
    s: S,
    w: W,
    x: &[f32],
    m: usize,
    k: usize,
    panels: Range<usize>,
    sums: &mut [[f32; LANES]; SUMS_MAX],
) -> usize {
    let (first, left) = (panels.start, panels.len());
    match (m, left) {
        (1, 4..) => w.strip::<1, 4>(s, x, k, first, sums),
        (1, _) => w.strip::<1, 1>(s, x, k, first, sums),
        (2, 2..) => w.strip::<2, 2>(s, x, k, first, sums),
        (2, _) => w.strip::<2, 1>(s, x, k, first, sums),
        (3, 2..) => w.strip::<3, 2>(s, x, k, first, sums),
        (3, _) => w.strip::<3, 1>(s, x, k, first, sums),
        (4, 2..) => w.strip::<4, 2>(s, x, k, first, sums),
        (4, _) => w.strip::<4, 1>(s, x, k, first, sums),
        _ => {
            debug_assert_eq!(m, 0, "more rows go to the matrix product");
            left
        }
    }
}

/// Panels, in a way to sum them.
trait Summed<S: Simd>: Copy {
    /// `P` panels from `panel` on, for all `M` rows. `P`.
    fn strip<const M: usize, const P: usize>(
        self,
        s: S,
        x: &[f32],
        k_len: usize,
        panel: usize,
        totals: &mut [[f32; LANES]; SUMS_MAX],
    ) -> usize;
}

/// Product by product, in f32.
#[derive(Clone, Copy)]
struct Strips<'w, E>(&'w [[E; LANES]]);

impl<S: Simd, E: Stored> Summed<S> for Strips<'_, E> {
    #[inline(always)]
    fn strip<const M: usize, const P: usize>(
        self,
        s: S,
        x: &[f32],
        k_len: usize,
        panel: usize,
        totals: &mut [[f32; LANES]; SUMS_MAX],
    ) -> usize {
        let w = self.0;
        let ahead = AHEAD_BYTES / size_of::<[E; LANES]>();
        let totals = &mut totals[..P * M];
        totals.fill([0.0; LANES]);
        for start in (0..k_len).step_by(CHUNK) {
            let len = CHUNK.min(k_len - start);
            let mut columns: [&[[E; LANES]]; P] = [&[]; P];
            for p in 0..P {
                columns[p] = &w[(panel + p) * k_len + start..][..len];
            }
            let mut rows: [&[f32]; M] = [&[]; M];
            for m in 0..M {
                rows[m] = &x[m * k_len + start..][..len];
            }
            // Says once what the loop would ask for every element.
            assert!(columns.iter().all(|c| c.len() == len) && rows.iter().all(|r| r.len() == len));
            let mut sums = [[s.zero(); M]; P];
            for k in 0..len {
                for p in 0..P {
                    s.prefetch(columns[p].as_ptr().wrapping_add(k + ahead));
                    let column = E::load(s, &columns[p][k]);
                    for m in 0..M {
                        sums[p][m] = s.mul_add(column, s.splat(rows[m][k]), sums[p][m]);
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
}

/// In pairs of bfloat16.
#[derive(Clone, Copy)]
struct PairStrips<'w, A>(A, &'w [[u16; LANES]]);

impl<S: Simd, A: Arithmetic<S>> Summed<S> for PairStrips<'_, A> {
    #[inline(always)]
    fn strip<const M: usize, const P: usize>(
        self,
        s: S,
        x: &[f32],
        k_len: usize,
        panel: usize,
        totals: &mut [[f32; LANES]; SUMS_MAX],
    ) -> usize {
        let PairStrips(arithmetic, w) = self;
        let ahead = AHEAD_BYTES / size_of::<[u16; LANES]>();
        let totals = &mut totals[..P * M];
        totals.fill([0.0; LANES]);
        let mut rows = [[0.0; CHUNK / 2]; M];
        for start in (0..k_len).step_by(CHUNK) {
            let len = CHUNK.min(k_len - start);
            for m in 0..M {
                arithmetic.row(s, &x[m * k_len + start..][..len], &mut rows[m]);
            }
            let mut columns: [&[[u16; LANES]]; P] = [&[]; P];
            for p in 0..P {
                columns[p] = &w[(panel + p) * k_len + start..][..len];
            }
            let mut sums = [[s.zero(); M]; P];
            for k in (0..len).step_by(2) {
                for p in 0..P {
                    s.prefetch(columns[p].as_ptr().wrapping_add(k + ahead));
                    let column = arithmetic.pair(s, &columns[p][k..len.min(k + 2)]);
                    for m in 0..M {
                        sums[p][m] = arithmetic.mul_add(s, column, s.splat(rows[m][k / 2]), sums[p][m]);
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
}
