//! Panels of blocks: whole numbers of eight or four bits, thirty-two of a row behind one scale.
//!
//! A number stands for itself times its block's scale, a binary16. A block holds the same thirty-two inputs of all sixteen rows
//! of its panel, in groups of four inputs: `[group][16 rows][4]`, so that a lane of 32 bits is what a dot-product instruction
//! takes. Blocks stand in pairs, the scales of both before the numbers of both: a pair is whole cache lines. An odd last block
//! stands alone, and inputs missing from it are zeros.
//!
//! Why a scale for every thirty-two and not for every row: one large weight would cost its whole row bits.

use bytemuck::{Pod, Zeroable};
use half::f16;

use super::simd::LANES;

/// Elements of a row that share a scale.
pub(super) const BLOCK: usize = 32;
/// Four elements of sixteen rows.
const GROUP_BYTES: usize = 4 * LANES;
/// Groups of a block.
const GROUPS: usize = BLOCK / 4;
/// Of sixteen rows.
const SCALES_BYTES: usize = 2 * LANES;

/// Numbers of a block of eight bits: groups of signed bytes.
pub(super) type Bytes = [[i8; GROUP_BYTES]; GROUPS];
/// Numbers of a block of four bits, each with 8 added: group `g` in the lower halves of the bytes, group `g + 4` in the upper.
pub(super) type Nibbles = [[u8; GROUP_BYTES]; GROUPS / 2];

/// How the numbers of a block are stored.
pub(super) trait BlockFormat {
    /// Those of sixteen rows.
    type Numbers: Pod;

    /// The scale and numbers nearest to `values`; none if one of these is not finite, or too large for any scale.
    fn nearest(values: &[f32; BLOCK]) -> Option<(f16, [i8; BLOCK])>;
    /// Stores the numbers of a row.
    fn put(numbers: &mut Self::Numbers, lane: usize, row: &[i8; BLOCK]);
    /// The number of a row.
    fn get(numbers: &Self::Numbers, lane: usize, index: usize) -> i8;
}

/// Numbers in -127..=127.
#[derive(Clone, Copy)]
pub(super) struct Int8;

/// Numbers in -8..=7.
#[derive(Clone, Copy)]
pub(super) struct Int4;

impl BlockFormat for Int8 {
    type Numbers = Bytes;

    fn nearest(values: &[f32; BLOCK]) -> Option<(f16, [i8; BLOCK])> {
        let largest = values.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        let scale = storable(largest / 127.0, values)?;
        let inverse = if scale == f16::ZERO { 0.0 } else { scale.to_f32().recip() };
        Some((scale, values.map(|v| (v * inverse).round_ties_even().clamp(-127.0, 127.0) as i8)))
    }

    fn put(numbers: &mut Bytes, lane: usize, row: &[i8; BLOCK]) {
        for (group, four) in numbers.iter_mut().zip(row.as_chunks::<4>().0) {
            group[4 * lane..4 * lane + 4].copy_from_slice(four);
        }
    }

    fn get(numbers: &Bytes, lane: usize, index: usize) -> i8 {
        numbers[index / 4][4 * lane + index % 4]
    }
}

impl BlockFormat for Int4 {
    type Numbers = Nibbles;

    /// The value farthest from zero would be -8 exactly; some scales about that one are tried, each then the best for the
    /// numbers that it gives (least squares), and the one that leaves the least error is taken.
    fn nearest(values: &[f32; BLOCK]) -> Option<(f16, [i8; BLOCK])> {
        let farthest = values.iter().fold(0.0f32, |m, v| if m.abs() < v.abs() { *v } else { m });
        let mut best = (storable(farthest / -8.0, values)?, [0i8; BLOCK]);
        if best.0 == f16::ZERO {
            return Some(best);
        }
        let mut least = f32::INFINITY;
        for step in -6i8..=6 {
            let inverse = -(8.0 + 0.15 * f32::from(step)) / farthest;
            let numbers = values.map(|v| (v * inverse).round_ties_even().clamp(-8.0, 7.0));
            let (mut with, mut square) = (0.0f32, 0.0f32);
            for (number, v) in numbers.iter().zip(values) {
                with += number * v;
                square += number * number;
            }
            let scale = f16::from_f32(with / square.max(1.0));
            let off = |(number, v): (&f32, &f32)| (number * scale.to_f32() - v).powi(2);
            let error: f32 = numbers.iter().zip(values).map(off).sum();
            if error < least {
                (least, best) = (error, (scale, numbers.map(|n| n as i8)));
            }
        }
        Some(best)
    }

    fn put(numbers: &mut Nibbles, lane: usize, row: &[i8; BLOCK]) {
        let (low, high) = row.split_at(BLOCK / 2);
        for (i, (low, high)) in low.iter().zip(high).enumerate() {
            numbers[i / 4][4 * lane + i % 4] = (low + 8) as u8 | ((high + 8) as u8) << 4;
        }
    }

    fn get(numbers: &Nibbles, lane: usize, index: usize) -> i8 {
        let (index, shift) = if index < BLOCK / 2 { (index, 0) } else { (index - BLOCK / 2, 4) };
        (numbers[index / 4][4 * lane + index % 4] >> shift & 15) as i8 - 8
    }
}

/// The scale as it is stored, if it can be and all values are numbers.
fn storable(scale: f32, values: &[f32; BLOCK]) -> Option<f16> {
    let nearest = f16::from_f32(scale);
    // Among the smallest numbers the nearest may be far less, so that the largest values would be cut: then the one above.
    let is_short = !nearest.is_normal() && nearest.to_f32().abs() < scale.abs();
    let scale = if is_short { f16::from_bits(nearest.to_bits() + 1) } else { nearest };
    (scale.is_finite() && values.iter().all(|v| v.is_finite())).then_some(scale)
}

/// Bytes of a panel of `n_blocks` blocks a row.
pub(super) const fn panel_bytes<F: BlockFormat>(n_blocks: usize) -> usize {
    n_blocks * (SCALES_BYTES + size_of::<F::Numbers>())
}

/// Where the scales and the numbers of a block start in its panel.
#[inline(always)]
fn places<F: BlockFormat>(n_blocks: usize, block: usize) -> (usize, usize) {
    let (first, second) = (block & !1, block & 1);
    let together = if first + 1 < n_blocks { 2 } else { 1 };
    let start = panel_bytes::<F>(first);
    (start + second * SCALES_BYTES, start + together * SCALES_BYTES + second * size_of::<F::Numbers>())
}

/// Packed panels of blocks.
#[derive(Clone, Copy)]
pub(super) struct BlockPanels<'a> {
    bytes: &'a [u8],
    /// Of a row.
    pub(super) n_blocks: usize,
}

impl<'a> BlockPanels<'a> {
    /// Of `bytes`, which are whole panels of rows of `k` elements and start at an even address.
    pub(super) fn new(bytes: &'a [u8], k: usize) -> BlockPanels<'a> {
        BlockPanels { bytes, n_blocks: k.div_ceil(BLOCK) }
    }

    /// Bits of the sixteen scales, and the numbers, of a block.
    #[inline(always)]
    pub(super) fn block<F: BlockFormat>(
        &self,
        panel: usize,
        block: usize,
    ) -> (&'a [u16; LANES], &'a F::Numbers) {
        let (scales, numbers) = places::<F>(self.n_blocks, block);
        let of_panel = panel * panel_bytes::<F>(self.n_blocks);
        let numbers = &self.bytes[of_panel + numbers..][..size_of::<F::Numbers>()];
        (
            bytemuck::from_bytes(&self.bytes[of_panel + scales..][..SCALES_BYTES]),
            bytemuck::from_bytes(numbers),
        )
    }

    /// Where a block's bytes start, about: for fetching ahead only.
    #[inline(always)]
    pub(super) fn address<F: BlockFormat>(&self, panel: usize, block: usize) -> *const u8 {
        self.bytes.as_ptr().wrapping_add(panel * panel_bytes::<F>(self.n_blocks) + panel_bytes::<F>(block))
    }

    /// Row `lane` of a panel as f32.
    pub(super) fn row<F: BlockFormat>(&self, panel: usize, lane: usize, out: &mut [f32]) {
        for (block, out) in out.chunks_mut(BLOCK).enumerate() {
            let (scales, numbers) = self.block::<F>(panel, block);
            let scale = f16::from_bits(scales[lane]).to_f32();
            for (index, o) in out.iter_mut().enumerate() {
                *o = f32::from(F::get(numbers, lane, index)) * scale;
            }
        }
    }
}

/// Packs one row into its panel. Whether all of its numbers could be stored.
pub(super) fn pack_row<F: BlockFormat>(values: &[f32], lane: usize, panel: &mut [u8]) -> bool {
    let n_blocks = values.len().div_ceil(BLOCK);
    for (block, values) in values.chunks(BLOCK).enumerate() {
        let mut whole = [0.0; BLOCK];
        whole[..values.len()].copy_from_slice(values);
        let Some((scale, numbers)) = F::nearest(&whole) else { return false };
        let (scales_at, numbers_at) = places::<F>(n_blocks, block);
        panel[scales_at + 2 * lane..][..2].copy_from_slice(&scale.to_le_bytes());
        // The panel's bytes stand anywhere while they are packed.
        let place = &mut panel[numbers_at..][..size_of::<F::Numbers>()];
        let mut all = F::Numbers::zeroed();
        bytemuck::bytes_of_mut(&mut all).copy_from_slice(place);
        F::put(&mut all, lane, &numbers);
        place.copy_from_slice(bytemuck::bytes_of(&all));
    }
    true
}
