//! In what products of float weights are computed: in f32, or in bfloat16 two at a time.
//!
//! The second rounds activations to bfloat16 as well, and an instruction multiplies pairs of neighbours and adds both products to a lane
//! in f32: twice the products of an instruction. So the two do not agree to the bit, and it is used only where somebody asks for it by its
//! instruction set. Within either, every element is summed in one order.

use super::block::{BlockRow, CHUNK};
use super::simd::{LANES, Simd};

/// Steps of a chunk of a row, each a lane: two elements of bfloat16.
pub(super) type Pairs = [f32; CHUNK / 2];

/// How a panel of bfloat16 meets rows of f32.
///
/// A *step* is what one instruction takes of a row and of a panel's columns: an element, or a pair of them whose bits share a lane.
pub(super) trait Arithmetic<S: Simd>: Copy {
    /// Columns of a step.
    const COLUMNS: usize;

    /// Adds to `sum` the products of a step.
    fn mul_add(self, s: S, w: S::V, x: S::V, sum: S::V) -> S::V;

    /// Makes steps of columns.
    fn columns<'a>(self, s: S, from: &[[u16; LANES]], to: &'a mut [[f32; LANES]]) -> &'a [[f32; LANES]];

    /// Makes steps of the first `len` elements of rows, in their place.
    fn rows(self, s: S, rows: &mut [BlockRow], len: usize);

    /// A step of columns, or what is left of one.
    fn step(self, s: S, columns: &[[u16; LANES]]) -> S::V;

    /// Steps of a row of at most [`CHUNK`] elements, in `room` if they are not its elements.
    fn row<'a>(self, s: S, x: &'a [f32], room: &'a mut Pairs) -> &'a [f32];
}

/// Every product in f32.
#[derive(Clone, Copy)]
pub(super) struct InF32;

impl<S: Simd> Arithmetic<S> for InF32 {
    const COLUMNS: usize = 1;

    #[inline(always)]
    fn mul_add(self, s: S, w: S::V, x: S::V, sum: S::V) -> S::V {
        s.mul_add(w, x, sum)
    }

    #[inline(always)]
    fn columns<'a>(self, s: S, from: &[[u16; LANES]], to: &'a mut [[f32; LANES]]) -> &'a [[f32; LANES]] {
        let to = &mut to[..from.len()];
        for (to, from) in to.iter_mut().zip(from) {
            s.store(s.load_bf16(from), to);
        }
        to
    }

    #[inline(always)]
    fn rows(self, _: S, _: &mut [BlockRow], _: usize) {}

    #[inline(always)]
    fn step(self, s: S, columns: &[[u16; LANES]]) -> S::V {
        s.load_bf16(&columns[0])
    }

    #[inline(always)]
    fn row<'a>(self, _: S, x: &'a [f32], _: &'a mut Pairs) -> &'a [f32] {
        x
    }
}
