//! The matrix product for one to four rows, where reading the weights is all that takes time.
//!
//! The order of every sum is that of [`super::matmul`], so the two agree bit for bit. Several panels run side by side:
//! their chains of multiply-adds hide each other's latency, and prefetching keeps enough cache lines in flight.

use std::ops::Range;

use super::matmul::{CHUNK, Finish};
use super::out::Out;
use super::panels::{PanelData, Panels};
use super::simd::{LANES, Simd};

/// The most rows of `x` that are served here.
pub(super) const ROWS_MAX: usize = 4;
const PANELS_PER_TASK: usize = 4;
/// How far ahead of its use a panel is fetched.
const AHEAD_BYTES: usize = 2048;

pub(super) fn tasks(n_panels: usize) -> usize {
    n_panels.div_ceil(PANELS_PER_TASK)
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

#[inline(always)]
pub(super) fn run<S: Simd>(
    s: S,
    x: &[f32],
    m: usize,
    weight: &Panels<'_>,
    finish: Finish<'_>,
    tasks: Range<usize>,
    out: &mut Out<'_>,
) {
    let panels = tasks.start * PANELS_PER_TASK..weight.n_panels().min(tasks.end * PANELS_PER_TASK);
    match weight.data() {
        PanelData::F32(w) => by_rows(s, x, m, weight.k, w, finish, panels, out),
        PanelData::Bf16(w) => by_rows(s, x, m, weight.k, w, finish, panels, out),
    }
}

#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "one step of `run`, split by type and by number of rows")]
fn by_rows<S: Simd, E: Stored>(
    s: S,
    x: &[f32],
    m: usize,
    k: usize,
    w: &[[E; LANES]],
    finish: Finish<'_>,
    panels: Range<usize>,
    out: &mut Out<'_>,
) {
    match m {
        1 => walk::<S, E, 1, 4>(s, x, k, w, finish, panels, out),
        2 => walk::<S, E, 2, 2>(s, x, k, w, finish, panels, out),
        3 => walk::<S, E, 3, 2>(s, x, k, w, finish, panels, out),
        4 => walk::<S, E, 4, 2>(s, x, k, w, finish, panels, out),
        _ => debug_assert_eq!(m, 0, "more rows go to the matrix product"),
    }
}

#[inline(always)]
fn walk<S: Simd, E: Stored, const M: usize, const P: usize>(
    s: S,
    x: &[f32],
    k: usize,
    w: &[[E; LANES]],
    finish: Finish<'_>,
    panels: Range<usize>,
    out: &mut Out<'_>,
) {
    let mut panel = panels.start;
    while panel + P <= panels.end {
        strip::<S, E, M, P>(s, x, k, w, finish, panel, out);
        panel += P;
    }
    while panel < panels.end {
        strip::<S, E, M, 1>(s, x, k, w, finish, panel, out);
        panel += 1;
    }
}

/// `P` panels from `panel` on, for all `M` rows.
#[inline(always)]
fn strip<S: Simd, E: Stored, const M: usize, const P: usize>(
    s: S,
    x: &[f32],
    k_len: usize,
    w: &[[E; LANES]],
    finish: Finish<'_>,
    panel: usize,
    out: &mut Out<'_>,
) {
    let ahead = AHEAD_BYTES / size_of::<[E; LANES]>();
    let mut totals = [[[0.0; LANES]; M]; P];
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
                s.store(s.add(s.load(&totals[p][m]), sums[p][m]), &mut totals[p][m]);
            }
        }
    }
    for (p, totals) in totals.iter().enumerate() {
        for (m, total) in totals.iter().enumerate() {
            finish.write(s, s.load(total), m, panel + p, out);
        }
    }
}
