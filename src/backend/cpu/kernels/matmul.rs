//! The matrix product: `y = x Wᵀ`, then bias and epilogue, with W in [`Panels`].
//!
//! Every element is summed in one order, whatever the number of rows of `x`, the task split or the instruction set:
//! chains of [`CHUNK`] multiply-adds along `k`, each from zero, whose sums are added one after the other; then the bias.
//! So a run over many rows at once and runs over one row each agree bit for bit (and, where multiply-add is fused, so
//! do the instruction sets).
//!
//! A task is a block of rows times a group of panels. For each chunk of `k` it copies its rows of `x` to a block that
//! stays in the second-level cache, then walks the panels, so that a chunk of two panels stays in the first level
//! while all rows pass. Rows are not interleaved: with a fixed stride, one base register reaches the whole tile.
//! Few rows take [`super::matvec`] instead: there only the reading of W counts.

use std::ops::Range;

use super::math;
use super::out::Out;
use super::panels::{PanelData, Panels};
use super::simd::{LANES, Simd};

/// Multiply-adds of one chain, and the longest `k` of one tile.
pub(super) const CHUNK: usize = 256;
/// Elements from one row of a block to the next: not a power of two, which would crowd a few cache sets.
pub(super) const ROW_STRIDE: usize = CHUNK + 16;
/// Rows of a block, at most. A multiple of every tile height.
pub(super) const BLOCK_ROWS: usize = 192;
const GROUP_PANELS_LARGE: usize = 24;
const GROUP_PANELS_SMALL: usize = 8;
/// Panels that a tile works on at once.
const PAIR: usize = 2;
/// Tasks that are enough for any number of cores we meet.
const TASKS_ENOUGH: usize = 48;

/// A row of a block.
pub(super) type BlockRow = [f32; ROW_STRIDE];

/// What is done with `v`, an element of `x Wᵀ + b`, before it is written. `y` is the place it is written to.
#[derive(Clone, Copy, Debug)]
pub enum Epilogue<'a> {
    /// `v`.
    None,
    /// `silu(v)`.
    Silu,
    /// `gelu_tanh(v)`.
    GeluTanh,
    /// `gelu_erf(v)`.
    GeluErf,
    /// `max(v, 0)`.
    Relu,
    /// `other + v`; `other` is shaped as the output.
    Add(&'a [f32]),
    /// `other * v`.
    Mul(&'a [f32]),
    /// `y + v`: a residual in place.
    AddInPlace,
    /// `y * v`: SwiGLU's gate in place.
    MulInPlace,
}

/// Where a block's rows come from: a matrix, or the places under a convolution's window.
pub(super) trait RowSource {
    /// Rows and columns.
    fn shape(&self) -> (usize, usize);
    /// Copies columns `k` of rows `rows` to the starts of `to`.
    fn copy(&self, rows: Range<usize>, k: Range<usize>, to: &mut [BlockRow]);
}

/// What follows the sum.
#[derive(Clone, Copy)]
pub(super) struct Finish<'a> {
    pub(super) bias: Option<&'a [f32]>,
    pub(super) epilogue: Epilogue<'a>,
    /// Elements of an output row.
    pub(super) n: usize,
}

impl Finish<'_> {
    /// Adds the bias, applies the epilogue and writes the sixteen (or fewer) outputs of `panel` in row `row`.
    #[inline(always)]
    pub(super) fn write<S: Simd>(&self, s: S, mut v: S::V, row: usize, panel: usize, out: &mut Out<'_>) {
        let columns = panel * LANES..self.n.min((panel + 1) * LANES);
        let here = row * self.n + columns.start..row * self.n + columns.end;
        if let Some(bias) = self.bias {
            v = s.add(v, s.load_some(&bias[columns]));
        }
        let to = out.part(here.clone());
        v = match self.epilogue {
            Epilogue::None => v,
            Epilogue::Silu => math::silu(s, v),
            Epilogue::GeluTanh => math::gelu_tanh(s, v),
            Epilogue::GeluErf => math::gelu_erf(s, v),
            Epilogue::Relu => s.max(s.zero(), v),
            Epilogue::Add(other) => s.add(s.load_some(&other[here]), v),
            Epilogue::Mul(other) => s.mul(s.load_some(&other[here]), v),
            Epilogue::AddInPlace => s.add(s.load_some(to), v),
            Epilogue::MulInPlace => s.mul(s.load_some(to), v),
        };
        s.store_some(v, to);
    }
}

/// How a product is cut into tasks; depends on its shape alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Split {
    rows: usize,
    n_panels: usize,
    block_rows: usize,
    group_panels: usize,
}

impl Split {
    pub(super) fn new(rows: usize, n_panels: usize) -> Split {
        let n_blocks = rows.div_ceil(BLOCK_ROWS).max(1);
        let block_rows = rows.div_ceil(n_blocks).next_multiple_of(12).max(12);
        let large = n_blocks * n_panels.div_ceil(GROUP_PANELS_LARGE);
        let group_panels = if large < TASKS_ENOUGH { GROUP_PANELS_SMALL } else { GROUP_PANELS_LARGE };
        Split { rows, n_panels, block_rows, group_panels }
    }

    fn n_blocks(&self) -> usize {
        self.rows.div_ceil(self.block_rows)
    }

    pub(super) fn tasks(&self) -> usize {
        self.n_blocks() * self.n_panels.div_ceil(self.group_panels)
    }

    /// Rows and panels of a task. Neighbouring tasks share panels, which are read from memory, not rows.
    fn task(&self, task: usize) -> (Range<usize>, Range<usize>) {
        let (group, block) = (task / self.n_blocks(), task % self.n_blocks());
        let (row, panel) = (block * self.block_rows, group * self.group_panels);
        (row..self.rows.min(row + self.block_rows), panel..self.n_panels.min(panel + self.group_panels))
    }
}

/// The parts of a thread's scratch that a product uses.
struct Blocks<'a> {
    rows: &'a mut [BlockRow],
    wide: &'a mut [[f32; LANES]],
    sums: &'a mut [[f32; LANES]],
}

const ROWS_FLOATS: usize = BLOCK_ROWS * ROW_STRIDE;
const WIDE_FLOATS: usize = PAIR * CHUNK * LANES;
const SUMS_FLOATS: usize = BLOCK_ROWS * GROUP_PANELS_LARGE * LANES;
/// Scratch of one thread, in elements.
pub(super) const SCRATCH_FLOATS: usize = ROWS_FLOATS + WIDE_FLOATS + SUMS_FLOATS;

impl<'a> Blocks<'a> {
    fn new(scratch: &'a mut [f32]) -> Blocks<'a> {
        let (wide, scratch) = scratch.split_at_mut(WIDE_FLOATS);
        let (sums, scratch) = scratch.split_at_mut(SUMS_FLOATS);
        let rows = scratch[..ROWS_FLOATS].as_chunks_mut().0;
        Blocks { rows, wide: wide.as_chunks_mut().0, sums: sums.as_chunks_mut().0 }
    }
}

/// Runs `tasks` of a product with tiles of `T` rows.
#[inline(always)]
pub(super) fn run<S: Simd, R: RowSource, const T: usize>(
    s: S,
    source: &R,
    weight: &Panels<'_>,
    finish: Finish<'_>,
    tasks: Range<usize>,
    out: &mut Out<'_>,
    scratch: &mut [f32],
) {
    let split = Split::new(source.shape().0, weight.n_panels());
    let mut blocks = Blocks::new(scratch);
    for task in tasks {
        let (rows, panels) = split.task(task);
        run_task::<S, R, T>(s, source, weight, finish, rows, panels, out, &mut blocks);
    }
}

#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "the loop's own variables, split off for reading")]
fn run_task<S: Simd, R: RowSource, const T: usize>(
    s: S,
    source: &R,
    weight: &Panels<'_>,
    finish: Finish<'_>,
    rows: Range<usize>,
    panels: Range<usize>,
    out: &mut Out<'_>,
    blocks: &mut Blocks<'_>,
) {
    let k_len = weight.k;
    let data = weight.data();
    for k in (0..k_len.max(1)).step_by(CHUNK).map(|start| start..k_len.min(start + CHUNK)) {
        source.copy(rows.clone(), k.clone(), blocks.rows);
        let stage = Stage { first: k.start == 0, last: k.end == k_len };
        for pair in panels.clone().step_by(PAIR) {
            let of = |panel: usize| panel * k_len + k.start..panel * k_len + k.end;
            let sums = &mut blocks.sums[(pair - panels.start) * BLOCK_ROWS..];
            let one = pair + 1 == panels.end;
            let (low, high) = match data {
                PanelData::F32(w) => (&w[of(pair)], if one { &[][..] } else { &w[of(pair + 1)] }),
                PanelData::Bf16(w) => {
                    let (low, high) = blocks.wide.split_at_mut(CHUNK);
                    let low = widen(s, &w[of(pair)], low);
                    (low, if one { &[][..] } else { widen(s, &w[of(pair + 1)], high) })
                }
            };
            let place = Place { rows: rows.clone(), panel: pair, stage };
            if one {
                walk::<S, T, 1>(s, blocks.rows, [low], &place, finish, sums, out);
            } else {
                walk::<S, T, PAIR>(s, blocks.rows, [low, high], &place, finish, sums, out);
            }
        }
    }
}

/// Which part of the sum along `k` this is.
#[derive(Clone, Copy)]
struct Stage {
    first: bool,
    last: bool,
}

struct Place {
    rows: Range<usize>,
    panel: usize,
    stage: Stage,
}

/// All rows of a block through a chunk of `P` panels.
#[inline(always)]
fn walk<S: Simd, const T: usize, const P: usize>(
    s: S,
    block: &[BlockRow],
    w: [&[[f32; LANES]]; P],
    place: &Place,
    finish: Finish<'_>,
    sums: &mut [[f32; LANES]],
    out: &mut Out<'_>,
) {
    let n_rows = place.rows.len();
    for (index, rows) in block.as_chunks::<T>().0.iter().enumerate().take(n_rows.div_ceil(T)) {
        let first_row = index * T;
        let mut tile = tile::<S, T, P>(s, rows, w);
        for p in 0..P {
            let sums = &mut sums[p * BLOCK_ROWS + first_row..][..T];
            if !place.stage.first {
                for t in 0..T {
                    tile[p][t] = s.add(s.load(&sums[t]), tile[p][t]);
                }
            }
            if !place.stage.last {
                for t in 0..T {
                    s.store(tile[p][t], &mut sums[t]);
                }
            }
        }
        if place.stage.last {
            for t in 0..T.min(n_rows - first_row) {
                for p in 0..P {
                    finish.write(s, tile[p][t], place.rows.start + first_row + t, place.panel + p, out);
                }
            }
        }
    }
}

/// `T` rows times `P` panels, along one chunk: `Σ_k rows[t][k] * w[p][k]`.
#[inline(always)]
pub(super) fn tile<S: Simd, const T: usize, const P: usize>(
    s: S,
    rows: &[BlockRow; T],
    w: [&[[f32; LANES]]; P],
) -> [[S::V; T]; P] {
    let k_len = w[0].len();
    assert!(k_len <= CHUNK, "a tile is one chunk");
    let mut w = w;
    for column in &mut w {
        *column = &column[..k_len];
    }
    let mut sums = [[s.zero(); T]; P];
    for k in 0..k_len {
        let mut column = [s.zero(); P];
        for p in 0..P {
            column[p] = s.load(&w[p][k]);
        }
        for t in 0..T {
            let x = s.splat(rows[t][k]);
            for p in 0..P {
                sums[p][t] = s.mul_add(column[p], x, sums[p][t]);
            }
        }
    }
    sums
}

#[inline(always)]
fn widen<'a, S: Simd>(s: S, from: &[[u16; LANES]], to: &'a mut [[f32; LANES]]) -> &'a [[f32; LANES]] {
    let to = &mut to[..from.len()];
    for (to, from) in to.iter_mut().zip(from) {
        s.store(s.load_bf16(from), to);
    }
    to
}
