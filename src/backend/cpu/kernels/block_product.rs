//! `y = x Wᵀ` with W in blocks of whole numbers: rows of activations are quantised as well, by [`super::quantise`], and the dot
//! products of blocks are exact.
//!
//! Every element is summed in one order, whatever the number of rows of `x`, the task split or the instruction set: along `k`, block
//! by block, the dot product times both scales. So a run over many rows at once and runs over one row each agree bit for bit (and,
//! where multiply-add is fused, so do the instruction sets).
//!
//! As in [`super::matmul`] a block of rows meets a group of panels, stretch by stretch of `k`; rows are quantised as they are copied,
//! by each task for itself: it costs a few instructions for an element that then meets hundreds of weights, and nothing needs a
//! place or a step of its own.

use std::ops::Range;

use bytemuck::Zeroable;

use super::block::{BLOCK_ROWS, BlockRow, ROW_STRIDE};
use super::blocks::{BLOCK, BlockPanels, Int4, Int8};
use super::dots::{Dots, Product};
use super::matmul::{Finish, GROUP_PANELS, LINE_BYTES, LOW, RowSource, Split};
use super::out::Out;
use super::panels::{PanelFormat, Panels};
use super::quantise::{BLOCKS, STRETCH, Stretch, quantise};
use super::simd::{LANES, Simd};

/// The longest row that [`run_few`] takes.
pub(super) const FEW_K_MAX: usize = 65_536;
/// Rows that are copied at once before they are quantised: a multiple of every tile height.
const COPIED_ROWS: usize = 12;
/// How far ahead of its use a panel is fetched where there are few rows.
const AHEAD_BYTES: usize = 2048;

const STRETCH_FLOATS: usize = size_of::<Stretch>() / 4;
const COPIED_FLOATS: usize = COPIED_ROWS * ROW_STRIDE;
const SUMS_FLOATS: usize = BLOCK_ROWS * GROUP_PANELS * LANES;
const MANY_FLOATS: usize = COPIED_FLOATS + BLOCK_ROWS * STRETCH_FLOATS + SUMS_FLOATS;
const FEW_FLOATS: usize = FEW_K_MAX / STRETCH * LOW * STRETCH_FLOATS;
/// Scratch of one thread, in elements.
pub(super) const SCRATCH_FLOATS: usize = if MANY_FLOATS < FEW_FLOATS { FEW_FLOATS } else { MANY_FLOATS };

/// Runs `tasks` of a product with tiles of `T` rows.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "two tokens and a kernel's own arguments")]
pub(super) fn run<S: Simd, D: Dots<S::V>, R: RowSource, const T: usize>(
    s: S,
    d: D,
    source: &R,
    weight: &Panels<'_>,
    finish: Finish<'_>,
    tasks: Range<usize>,
    out: &mut Out<'_>,
    scratch: &mut [f32],
) {
    let split = Split::new(source.shape().0, weight.n_panels());
    let mut task = tasks.start;
    while task < tasks.end {
        let (rows, panels, n_tasks) = split.first_of(task..tasks.end);
        for start in (0..weight.k.max(1)).step_by(STRETCH) {
            let k = start..weight.k.min(start + STRETCH);
            let mut places = Places::new(scratch);
            copy(s, source, rows.clone(), k.clone(), &mut places);
            let part = Part { rows: rows.clone(), panels: panels.clone(), k };
            match weight.format {
                PanelFormat::Int8 => meet::<S, D, Int8, T>(s, d, weight, finish, part, out, &mut places),
                PanelFormat::Int4 => meet::<S, D, Int4, T>(s, d, weight, finish, part, out, &mut places),
                PanelFormat::F32 | PanelFormat::Bf16 => unreachable!("these have no blocks"),
            }
        }
        task += n_tasks;
    }
}

/// The parts of a thread's scratch.
struct Places<'a> {
    copied: &'a mut [BlockRow],
    rows: &'a mut [Stretch],
    sums: &'a mut [[f32; LANES]],
}

impl<'a> Places<'a> {
    #[inline(always)]
    fn new(scratch: &'a mut [f32]) -> Places<'a> {
        let (sums, scratch) = scratch.split_at_mut(SUMS_FLOATS);
        let (copied, scratch) = scratch.split_at_mut(COPIED_FLOATS);
        let rows = bytemuck::cast_slice_mut(&mut scratch[..BLOCK_ROWS * STRETCH_FLOATS]);
        Places { copied: copied.as_chunks_mut().0, rows, sums: sums.as_chunks_mut().0 }
    }
}

/// Rows, panels and a stretch of `k` that meet.
struct Part {
    rows: Range<usize>,
    panels: Range<usize>,
    k: Range<usize>,
}

/// Copies and quantises a stretch of some rows.
#[inline(always)]
fn copy<S: Simd, R: RowSource>(
    s: S,
    source: &R,
    rows: Range<usize>,
    k: Range<usize>,
    places: &mut Places<'_>,
) {
    for first in rows.clone().step_by(COPIED_ROWS) {
        let some = first..rows.end.min(first + COPIED_ROWS);
        source.copy(some.clone(), k.clone(), places.copied);
        for (row, to) in places.copied[..some.len()].iter().zip(&mut places.rows[first - rows.start..]) {
            quantise(s, &row[..k.len()], to);
        }
    }
    // Tiles reach beyond the last row: what these give is not looked at, but must be numbers.
    places.rows[rows.len()..rows.len().next_multiple_of(COPIED_ROWS)].fill(Stretch::zeroed());
}

/// Adds to the sums of all rows what a stretch of all panels gives, and ends the sums with the last one.
#[inline(always)]
fn meet<S: Simd, D: Dots<S::V>, F: Product, const T: usize>(
    s: S,
    d: D,
    weight: &Panels<'_>,
    finish: Finish<'_>,
    part: Part,
    out: &mut Out<'_>,
    places: &mut Places<'_>,
) {
    let Part { rows, panels, k } = part;
    let (first, last) = (k.start == 0, k.end == weight.k);
    let data = weight.blocks();
    let blocks = k.start / BLOCK..k.end.div_ceil(BLOCK);
    let whole = if T.is_multiple_of(LOW) { rows.len() / T * T } else { rows.len().next_multiple_of(T) };
    let end = whole + rows.len().saturating_sub(whole).next_multiple_of(LOW);
    for panel in panels.clone() {
        let sums = &mut places.sums[(panel - panels.start) * BLOCK_ROWS..][..BLOCK_ROWS];
        if first {
            sums[..end].fill([0.0; LANES]);
        }
        let next = (panel + 1 < panels.end).then(|| data.address::<F>(panel + 1, blocks.start));
        let ahead = Ahead::new::<F>(next, blocks.len(), whole / T);
        let of = (data, panel, blocks.clone());
        walk::<S, D, F, T>(s, d, &of, &places.rows[..whole], &ahead, &mut sums[..whole]);
        walk::<S, D, F, LOW>(s, d, &of, &places.rows[whole..end], &Ahead::default(), &mut sums[whole..end]);
        // While the sums are still near.
        if last {
            for (row, sum) in rows.clone().zip(&*sums) {
                finish.write(s, s.load(sum), row, panel, out);
            }
        }
    }
}

/// The next panel's stretch, which is fetched bit by bit while the present one is used.
#[derive(Default)]
struct Ahead {
    next: Option<*const u8>,
    bytes: usize,
    /// Bytes that a tile fetches.
    share: usize,
}

impl Ahead {
    #[inline(always)]
    fn new<F: Product>(next: Option<*const u8>, n_blocks: usize, n_tiles: usize) -> Ahead {
        let bytes = super::blocks::panel_bytes::<F>(n_blocks);
        Ahead { next, bytes, share: bytes.div_ceil(n_tiles.max(1)).next_multiple_of(LINE_BYTES) }
    }

    #[inline(always)]
    fn fetch<S: Simd>(&self, s: S, index: usize) {
        let Some(next) = self.next else { return };
        for place in (index * self.share..self.bytes.min((index + 1) * self.share)).step_by(LINE_BYTES) {
            s.prefetch_far(next.wrapping_add(place));
        }
    }
}

#[inline(always)]
fn walk<S: Simd, D: Dots<S::V>, F: Product, const T: usize>(
    s: S,
    d: D,
    (data, panel, blocks): &(BlockPanels<'_>, usize, Range<usize>),
    rows: &[Stretch],
    ahead: &Ahead,
    sums: &mut [[f32; LANES]],
) {
    let tiles = rows.as_chunks::<T>().0.iter().zip(sums.as_chunks_mut::<T>().0);
    for (index, (rows, sums)) in tiles.enumerate() {
        ahead.fetch(s, index);
        tile::<S, D, F, T, false>(s, d, data, *panel, blocks.clone(), rows, sums);
    }
}

/// Adds to the sums of `T` rows what some blocks of a panel, within one stretch, give.
#[inline(always)]
fn tile<S: Simd, D: Dots<S::V>, F: Product, const T: usize, const FETCHES: bool>(
    s: S,
    d: D,
    data: &BlockPanels<'_>,
    panel: usize,
    blocks: Range<usize>,
    rows: &[Stretch; T],
    sums: &mut [[f32; LANES]; T],
) {
    assert!(blocks.len() <= BLOCKS, "they are of one stretch");
    let mut totals = [s.zero(); T];
    for t in 0..T {
        totals[t] = s.load(&sums[t]);
    }
    for (at, block) in blocks.enumerate() {
        if FETCHES {
            let from = data.address::<F>(panel, block).wrapping_add(AHEAD_BYTES);
            for place in (0..super::blocks::panel_bytes::<F>(1)).step_by(LINE_BYTES) {
                s.prefetch(from.wrapping_add(place));
            }
        }
        let (scales, numbers) = data.block::<F>(panel, block);
        let scales = s.load_f16(scales);
        let dots = F::dots(d, numbers, rows, at);
        for t in 0..T {
            totals[t] = s.mul_add(dots[t], s.mul(scales, s.splat(rows[t].scales[at])), totals[t]);
        }
    }
    for t in 0..T {
        s.store(totals[t], &mut sums[t]);
    }
}

/// Runs some panels of a product of at most [`LOW`] rows of at most [`FEW_K_MAX`] elements.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "two tokens and a kernel's own arguments")]
pub(super) fn run_few<S: Simd, D: Dots<S::V>>(
    s: S,
    d: D,
    x: &[f32],
    m: usize,
    weight: &Panels<'_>,
    finish: Finish<'_>,
    panels: Range<usize>,
    out: &mut Out<'_>,
    scratch: &mut [f32],
) {
    match (weight.format, m) {
        (_, 0) => (),
        (PanelFormat::Int8, 1) => few::<S, D, Int8, 1>(s, d, x, m, weight, finish, panels, out, scratch),
        (PanelFormat::Int8, _) => few::<S, D, Int8, LOW>(s, d, x, m, weight, finish, panels, out, scratch),
        (PanelFormat::Int4, 1) => few::<S, D, Int4, 1>(s, d, x, m, weight, finish, panels, out, scratch),
        (PanelFormat::Int4, _) => few::<S, D, Int4, LOW>(s, d, x, m, weight, finish, panels, out, scratch),
        (PanelFormat::F32 | PanelFormat::Bf16, _) => unreachable!("these have no blocks"),
    }
}

#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "two tokens and a kernel's own arguments")]
fn few<S: Simd, D: Dots<S::V>, F: Product, const T: usize>(
    s: S,
    d: D,
    x: &[f32],
    m: usize,
    weight: &Panels<'_>,
    finish: Finish<'_>,
    panels: Range<usize>,
    out: &mut Out<'_>,
    scratch: &mut [f32],
) {
    assert!(m <= T && weight.k <= FEW_K_MAX, "others go to `run`");
    let n_stretches = weight.k.div_ceil(STRETCH);
    let rows: &mut [Stretch] = bytemuck::cast_slice_mut(&mut scratch[..n_stretches * T * STRETCH_FLOATS]);
    let rows = rows.as_chunks_mut::<T>().0;
    for (i, rows) in rows.iter_mut().enumerate() {
        for (t, to) in rows.iter_mut().enumerate() {
            // Rows there are not may be any: they are the first one again.
            let row = &x[if t < m { t * weight.k } else { 0 }..][..weight.k];
            quantise(s, &row[i * STRETCH..weight.k.min((i + 1) * STRETCH)], to);
        }
    }
    let data = weight.blocks();
    for panel in panels {
        let mut sums = [[0.0; LANES]; T];
        for (i, rows) in rows.iter().enumerate() {
            let blocks = i * BLOCKS..data.n_blocks.min((i + 1) * BLOCKS);
            tile::<S, D, F, T, true>(s, d, &data, panel, blocks, rows, &mut sums);
        }
        for (row, sum) in sums[..m].iter().enumerate() {
            finish.write(s, s.load(sum), row, panel, out);
        }
    }
}
