//! Rows of activations as whole numbers of eight bits, thirty-two behind one scale: what meets panels of blocks.
//!
//! The scale is the largest magnitude over 127, of each block anew (dynamic quantisation), in f32. What is not a number, or
//! infinite, makes its block's scale not a number, and so all that is computed from it.

use bytemuck::{Pod, Zeroable};

use super::blocks::BLOCK;
use super::simd::{LANES, Simd};

/// Blocks that stand together.
pub(super) const BLOCKS: usize = 8;
/// Elements of a stretch.
pub(super) const STRETCH: usize = BLOCKS * BLOCK;

/// A stretch of a row: up to [`STRETCH`] elements, zeros after them.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Stretch {
    /// In groups of four.
    pub(super) numbers: [[[i8; 4]; BLOCK / 4]; BLOCKS],
    pub(super) scales: [f32; BLOCKS],
    /// Of the numbers of each block.
    pub(super) sums: [i32; BLOCKS],
}

/// Adding it to a number of magnitude below 2^22 leaves that number, rounded to an integer (of two the even), in the low bits.
const ROUNDER: f32 = 12_582_912.0;

/// Quantises up to [`STRETCH`] elements.
#[inline(always)]
pub(super) fn quantise<S: Simd>(s: S, x: &[f32], to: &mut Stretch) {
    assert!(x.len() <= STRETCH, "a stretch is no longer");
    let (whole, rest) = x.as_chunks::<BLOCK>();
    for (block, x) in whole.iter().enumerate() {
        quantise_block(s, x, block, to);
    }
    let mut block = whole.len();
    if !rest.is_empty() {
        let mut padded = [0.0; BLOCK];
        padded[..rest.len()].copy_from_slice(rest);
        quantise_block(s, &padded, block, to);
        block += 1;
    }
    for block in block..BLOCKS {
        (to.numbers[block], to.scales[block], to.sums[block]) = (Zeroable::zeroed(), 0.0, 0);
    }
}

#[inline(always)]
fn quantise_block<S: Simd>(s: S, x: &[f32; BLOCK], block: usize, to: &mut Stretch) {
    let halves = x.as_chunks::<LANES>().0;
    let (mut largest, mut never) = (s.zero(), s.zero());
    for half in halves {
        let v = s.load(half);
        largest = s.max(s.max(v, s.sub(s.zero(), v)), largest);
        // Zero, unless one is not finite.
        never = s.mul_add(v, s.zero(), never);
    }
    let largest = s.greatest(largest);
    let inverse = s.splat(if largest == 0.0 { 0.0 } else { 127.0 / largest });
    let mut numbers = [0i8; BLOCK];
    for (half, numbers) in halves.iter().zip(numbers.as_chunks_mut::<LANES>().0) {
        let mut shifted = [0.0; LANES];
        // Not fused: the same number everywhere.
        s.store(s.add(s.mul(s.load(half), inverse), s.splat(ROUNDER)), &mut shifted);
        for (n, v) in numbers.iter_mut().zip(shifted) {
            *n = v.to_bits() as i8;
        }
    }
    to.numbers[block] = bytemuck::cast(numbers);
    to.scales[block] = largest / 127.0 + s.sum(never);
    to.sums[block] = numbers.iter().map(|n| i32::from(*n)).sum();
}
