//! Dot products of whole numbers: a block of sixteen rows with the same block of some rows of activations.
//!
//! They are exact, whatever instructions compute them, so that what follows is the same on all machines.

use super::blocks::{BlockFormat, Bytes, Int4, Int8, Nibbles};
use super::quantise::Stretch;
use super::simd::{LANES, Portable};

/// A token that proves that an instruction set may be used, and its dot products; `V` is its vector of [`LANES`] f32.
///
/// `x` are stretches of `T` rows, of which block `block` is meant; the results are one vector for each row. A weight of -128,
/// which no packing makes, may give another result, but no other fault.
pub(super) trait Dots<V>: Copy {
    /// With weights of eight bits.
    fn int8<const T: usize>(self, w: &Bytes, x: &[Stretch; T], block: usize) -> [V; T];
    /// With weights of four bits.
    fn int4<const T: usize>(self, w: &Nibbles, x: &[Stretch; T], block: usize) -> [V; T];
}

/// The dot products of a format.
pub(super) trait Product: BlockFormat {
    fn dots<V, D: Dots<V>, const T: usize>(d: D, w: &Self::Numbers, x: &[Stretch; T], block: usize)
    -> [V; T];
}

impl Product for Int8 {
    #[inline(always)]
    fn dots<V, D: Dots<V>, const T: usize>(d: D, w: &Bytes, x: &[Stretch; T], block: usize) -> [V; T] {
        d.int8(w, x, block)
    }
}

impl Product for Int4 {
    #[inline(always)]
    fn dots<V, D: Dots<V>, const T: usize>(d: D, w: &Nibbles, x: &[Stretch; T], block: usize) -> [V; T] {
        d.int4(w, x, block)
    }
}

impl Dots<[f32; LANES]> for Portable {
    #[inline(always)]
    fn int8<const T: usize>(self, w: &Bytes, x: &[Stretch; T], block: usize) -> [[f32; LANES]; T] {
        std::array::from_fn(|t| {
            let mut sums = [0i32; LANES];
            for (w, x) in w.iter().zip(&x[t].numbers[block]) {
                add_group(&mut sums, w, x);
            }
            sums.map(|v| v as f32)
        })
    }

    #[inline(always)]
    fn int4<const T: usize>(self, w: &Nibbles, x: &[Stretch; T], block: usize) -> [[f32; LANES]; T] {
        std::array::from_fn(|t| {
            let mut sums = [-8 * x[t].sums[block]; LANES];
            let (low, high) = x[t].numbers[block].split_at(w.len());
            for ((w, low), high) in w.iter().zip(low).zip(high) {
                add_group(&mut sums, &w.map(|w| (w & 15) as i8), low);
                add_group(&mut sums, &w.map(|w| (w >> 4) as i8), high);
            }
            sums.map(|v| v as f32)
        })
    }
}

#[inline(always)]
fn add_group(sums: &mut [i32; LANES], w: &[i8; 4 * LANES], x: &[i8; 4]) {
    for (sum, w) in sums.iter_mut().zip(w.as_chunks::<4>().0) {
        for (w, x) in w.iter().zip(x) {
            *sum += i32::from(*w) * i32::from(*x);
        }
    }
}
