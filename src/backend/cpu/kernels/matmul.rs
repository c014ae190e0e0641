//! The matrix product: `y = x Wᵀ`, then bias and epilogue, with W in [`Panels`].
//!
//! Every element is summed in one order, whatever the number of rows of `x`, the task split or the instruction set:
//! chains of [`CHUNK`] multiply-adds along `k`, each from zero, whose sums are added one after the other; then the bias.
//! So a run over many rows at once and runs over one row each agree bit for bit (and, where multiply-add is fused, so
//! do the instruction sets).
//!
//! A block of rows meets a group of panels. For each chunk of `k` the rows of `x` are copied to a block that
//! stays in the second-level cache, then walks the panels, so that a chunk of two panels stays in the first level
//! while all rows pass. Rows are not interleaved: with a fixed stride, one base register reaches the whole tile.
//! Few rows take [`super::matvec`] instead: there only the reading of W counts.

use std::ops::Range;

use perihelion_tensor::function::Unary;

use super::arithmetic::Arithmetic;
use super::block::{BLOCK_ROWS, BlockRow, CHUNK, ROW_LEN_MAX, ROW_STRIDE};
use super::elementwise;
use super::out::Out;
use super::panels::{PanelData, Panels};
use super::simd::{LANES, Simd};

/// Panels of a task.
const TASK_PANELS: usize = 8;
/// Panels that share copied rows, at most.
pub(super) const GROUP_PANELS: usize = 48;
/// Of a cache line.
pub(super) const LINE_BYTES: usize = 64;
/// Rows of the tiles at a block's end.
pub(super) const LOW: usize = 4;
/// Panels that a tile works on at once.
const PAIR: usize = 2;

/// What is done with `v`, an element of `x Wᵀ + b`, before it is written. A sum or product has another operand, shaped as
/// the output: for a kernel `Option<&[f32]>`, where none takes the output's own values (a residual or SwiGLU's gate in
/// place); for whoever makes calls, whatever names it there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Epilogue<T> {
    /// `v`.
    None,
    /// A function of `v`.
    Unary(Unary),
    /// `other + v`.
    Add(T),
    /// `other * v`.
    Mul(T),
}

impl<T> Epilogue<T> {
    /// The same with the other operand named otherwise.
    pub fn map<U>(self, name: impl FnOnce(T) -> U) -> Epilogue<U> {
        match self {
            Epilogue::None => Epilogue::None,
            Epilogue::Unary(function) => Epilogue::Unary(function),
            Epilogue::Add(other) => Epilogue::Add(name(other)),
            Epilogue::Mul(other) => Epilogue::Mul(name(other)),
        }
    }
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
    pub(super) epilogue: Epilogue<Option<&'a [f32]>>,
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
            Epilogue::Unary(function) => elementwise::apply(s, function, v),
            Epilogue::Add(Some(other)) => s.add(s.load_some(&other[here]), v),
            Epilogue::Mul(Some(other)) => s.mul(s.load_some(&other[here]), v),
            Epilogue::Add(None) => s.add(s.load_some(to), v),
            Epilogue::Mul(None) => s.mul(s.load_some(to), v),
        };
        s.store_some(v, to);
    }
}

/// How a product is cut into tasks; depends on its shape alone.
///
/// A task is a block of rows and [`TASK_PANELS`] panels. Tasks are numbered so that a thread's run of tasks first goes
/// along the panels of a group, which share the copied rows, then along the blocks, which share the group's panels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Split {
    rows: usize,
    n_panels: usize,
    block_rows: usize,
}

impl Split {
    pub(super) fn new(rows: usize, n_panels: usize) -> Split {
        let n_blocks = rows.div_ceil(BLOCK_ROWS).max(1);
        // A multiple of the tile heights.
        let block_rows = rows.div_ceil(n_blocks).next_multiple_of(12).max(12);
        Split { rows, n_panels, block_rows }
    }

    fn n_blocks(&self) -> usize {
        self.rows.div_ceil(self.block_rows)
    }

    pub(super) fn tasks(&self) -> usize {
        self.n_blocks() * self.n_panels.div_ceil(TASK_PANELS)
    }

    /// Rows and panels of the first of `tasks`, and of those after it that only have more panels; and how many.
    pub(super) fn first_of(&self, tasks: Range<usize>) -> (Range<usize>, Range<usize>, usize) {
        let tasks_of_group = GROUP_PANELS / TASK_PANELS;
        let group = tasks.start / (tasks_of_group * self.n_blocks());
        let rest = tasks.start - group * tasks_of_group * self.n_blocks();
        let last_panel = self.n_panels.min((group + 1) * GROUP_PANELS);
        let in_block = (last_panel - group * GROUP_PANELS).div_ceil(TASK_PANELS);
        let (block, at) = (rest / in_block, rest % in_block);
        let n_tasks = tasks.len().min(in_block - at);
        let (row, panel) = (block * self.block_rows, group * GROUP_PANELS + at * TASK_PANELS);
        let rows = row..self.rows.min(row + self.block_rows);
        (rows, panel..last_panel.min(panel + n_tasks * TASK_PANELS), n_tasks)
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
const SUMS_FLOATS: usize = BLOCK_ROWS * GROUP_PANELS * LANES;
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

/// Runs `tasks` of a product with tiles of `T` rows. With arithmetic in pairs the weights are of bfloat16.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "what every kernel takes, and who computes")]
pub(super) fn run<S: Simd, A: Arithmetic<S>, R: RowSource, const T: usize>(
    s: S,
    arithmetic: A,
    source: &R,
    weight: &Panels<'_>,
    finish: Finish<'_>,
    tasks: Range<usize>,
    out: &mut Out<'_>,
    scratch: &mut [f32],
) {
    let split = Split::new(source.shape().0, weight.n_panels());
    let mut blocks = Blocks::new(scratch);
    let mut task = tasks.start;
    while task < tasks.end {
        let (rows, panels, n_tasks) = split.first_of(task..tasks.end);
        run_block::<S, A, R, T>(s, arithmetic, source, weight, finish, rows, panels, out, &mut blocks);
        task += n_tasks;
    }
}

#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "the loop's own variables, split off for reading")]
fn run_block<S: Simd, A: Arithmetic<S>, R: RowSource, const T: usize>(
    s: S,
    arithmetic: A,
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
        arithmetic.rows(s, &mut blocks.rows[..rows.len()], k.len());
        let (first, last) = (k.start == 0, k.end == k_len);
        for pair in panels.clone().step_by(PAIR) {
            let of = |panel: usize| panel * k_len + k.start..panel * k_len + k.end;
            let sums = &mut blocks.sums[(pair - panels.start) * BLOCK_ROWS..];
            let one = pair + 1 == panels.end;
            let (low, high) = match data {
                PanelData::F32(_) if A::COLUMNS != 1 => unreachable!("pairs are of bfloat16"),
                PanelData::F32(w) => (&w[of(pair)], if one { &[][..] } else { &w[of(pair + 1)] }),
                PanelData::Bf16(w) => {
                    let (low, high) = blocks.wide.split_at_mut(CHUNK);
                    let low = arithmetic.columns(s, &w[of(pair)], low);
                    (low, if one { &[][..] } else { arithmetic.columns(s, &w[of(pair + 1)], high) })
                }
            };
            let mut ahead =
                Ahead::new(data, (pair + PAIR..panels.end.min(pair + 2 * PAIR)).map(of), rows.len() / T);
            if last {
                ahead.outputs = Some((out.address(rows.start * finish.n + pair * LANES), finish.n));
            }
            if one {
                walk::<S, A, T, 1>(s, arithmetic, blocks.rows, [low], rows.len(), &ahead, first, sums);
            } else {
                walk::<S, A, T, PAIR>(
                    s,
                    arithmetic,
                    blocks.rows,
                    [low, high],
                    rows.len(),
                    &ahead,
                    first,
                    sums,
                );
            }
            // While the sums are still near.
            if last {
                for (index, row) in rows.clone().enumerate() {
                    for panel in pair..panels.end.min(pair + PAIR) {
                        let sum = s.load(&sums[(panel - pair) * BLOCK_ROWS + index]);
                        finish.write(s, sum, row, panel, out);
                    }
                }
            }
        }
    }
}

/// The next panels' chunks, which are fetched bit by bit while the present ones are used, and the outputs.
#[derive(Default)]
struct Ahead<'a> {
    bytes: [&'a [u8]; PAIR],
    /// Bytes of each that a tile fetches.
    share: usize,
    /// With the last chunk, also the outputs of the tile's rows: the first one, and the way from row to row.
    outputs: Option<(*const f32, usize)>,
}

impl<'a> Ahead<'a> {
    #[inline(always)]
    fn new(data: PanelData<'a>, places: impl Iterator<Item = Range<usize>>, n_tiles: usize) -> Ahead<'a> {
        let mut ahead = Ahead::default();
        for (bytes, place) in ahead.bytes.iter_mut().zip(places) {
            *bytes = match data {
                PanelData::F32(w) => bytemuck::cast_slice(&w[place]),
                PanelData::Bf16(w) => bytemuck::cast_slice(&w[place]),
            };
        }
        ahead.share = ahead.bytes[0].len().div_ceil(n_tiles.max(1)).next_multiple_of(LINE_BYTES);
        ahead
    }

    #[inline(always)]
    fn fetch<S: Simd, const T: usize, const P: usize>(&self, s: S, index: usize) {
        if let Some((first, n)) = self.outputs {
            for row in index * T..(index + 1) * T {
                for p in 0..P {
                    s.prefetch_far(first.wrapping_add(row * n + p * LANES));
                }
            }
        }
        for bytes in self.bytes {
            let share = index * self.share..bytes.len().min((index + 1) * self.share);
            for place in share.step_by(LINE_BYTES) {
                s.prefetch_far(bytes.as_ptr().wrapping_add(place));
            }
        }
    }
}

/// Adds to the sums of all rows of a block a chunk of `P` panels; the first chunk takes their place.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "the loop's own variables, split off for reading")]
fn walk<S: Simd, A: Arithmetic<S>, const T: usize, const P: usize>(
    s: S,
    arithmetic: A,
    block: &[BlockRow],
    w: [&[[f32; LANES]]; P],
    n_rows: usize,
    ahead: &Ahead<'_>,
    first: bool,
    sums: &mut [[f32; LANES]],
) {
    // What is left after whole tiles takes lower ones, where these fit into the block as well.
    let whole = if T.is_multiple_of(LOW) { n_rows / T * T } else { n_rows.next_multiple_of(T) };
    walk_tiles::<S, A, T, P>(s, arithmetic, &block[..whole], w, ahead, first, sums);
    let rest = whole..whole + n_rows.saturating_sub(whole).next_multiple_of(LOW);
    let sums = &mut sums[rest.start..];
    walk_tiles::<S, A, LOW, P>(s, arithmetic, &block[rest], w, &Ahead::default(), first, sums);
}

#[inline(always)]
fn walk_tiles<S: Simd, A: Arithmetic<S>, const T: usize, const P: usize>(
    s: S,
    arithmetic: A,
    block: &[BlockRow],
    w: [&[[f32; LANES]]; P],
    ahead: &Ahead<'_>,
    first: bool,
    sums: &mut [[f32; LANES]],
) {
    for (index, rows) in block.as_chunks::<T>().0.iter().enumerate() {
        ahead.fetch::<S, T, P>(s, index);
        let tile = tile::<S, A, T, P>(s, arithmetic, rows, w);
        for p in 0..P {
            let sums = &mut sums[p * BLOCK_ROWS + index * T..][..T];
            for t in 0..T {
                let before = if first { s.zero() } else { s.load(&sums[t]) };
                s.store(s.add(before, tile[p][t]), &mut sums[t]);
            }
        }
    }
}

/// `T` rows times `P` panels, along one chain of steps: `Σ_k rows[t][k] * w[p][k]`.
#[inline(always)]
pub(super) fn tile<S: Simd, A: Arithmetic<S>, const T: usize, const P: usize>(
    s: S,
    arithmetic: A,
    rows: &[BlockRow; T],
    w: [&[[f32; LANES]]; P],
) -> [[S::V; T]; P] {
    let k_len = w[0].len();
    assert!(k_len <= ROW_LEN_MAX, "rows of a block are no longer");
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
                sums[p][t] = arithmetic.mul_add(s, column[p], x, sums[p][t]);
            }
        }
    }
    sums
}
