//! Keys and values in the format in which a cache holds them. Arithmetic is in f32, whatever that is.

use half::bf16;
use perihelion_tensor::DType;

use super::simd::{LANES, Simd};

/// Rows of keys or of values.
#[derive(Clone, Copy, Debug)]
pub enum Keys<'a> {
    /// As they were computed.
    F32(&'a [f32]),
    /// Rounded to bfloat16, given as its bits.
    Bf16(&'a [u16]),
}

impl<'a> Keys<'a> {
    /// Elements.
    pub fn len(&self) -> usize {
        match self {
            Keys::F32(all) => all.len(),
            Keys::Bf16(all) => all.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Some of the elements.
    #[must_use]
    pub fn part(&self, some: std::ops::Range<usize>) -> Keys<'a> {
        match self {
            Keys::F32(all) => Keys::F32(&all[some]),
            Keys::Bf16(all) => Keys::Bf16(&all[some]),
        }
    }
}

/// Rounds rows to bfloat16, to nearest even; a number that is none stays none. A task is a row.
#[derive(Clone, Copy, Debug)]
pub struct Narrow<'a> {
    /// `[n, len]`.
    pub x: &'a [f32],
    /// Elements of a row: an even number.
    pub len: usize,
}

impl Narrow<'_> {
    /// Tasks: one for each row.
    pub fn tasks(&self) -> usize {
        self.x.len().checked_div(self.len).unwrap_or(0)
    }
}

/// Writes two elements of `x` to each of the output's words.
pub fn narrow(a: &Narrow<'_>, tasks: std::ops::Range<usize>, out: &mut super::out::Out<'_>) {
    assert!(a.len.is_multiple_of(2), "rows are whole words");
    for row in tasks {
        let words = out.part(row * a.len / 2..(row + 1) * a.len / 2);
        let x = &a.x[row * a.len..(row + 1) * a.len];
        perihelion_tensor::narrow(DType::Bf16, x, bytemuck::cast_slice_mut(words));
    }
}

/// An element of a cache.
pub(super) trait Element: Copy {
    /// How many are in a cache line.
    const IN_LINE: usize = 64 / size_of::<Self>();

    fn widen(self) -> f32;
    fn load<S: Simd>(s: S, from: &[Self; LANES]) -> S::V;

    /// A vector's worth as f32: itself if it is that, or written to `room`.
    fn widened<'a, S: Simd>(s: S, from: &'a [Self; LANES], room: &'a mut [f32; LANES]) -> &'a [f32; LANES];

    /// Up to [`LANES`] elements, and zeros after them.
    #[inline(always)]
    fn load_part<S: Simd>(s: S, from: &[Self]) -> S::V {
        let mut whole = [0.0; LANES];
        for (to, from) in whole.iter_mut().zip(from) {
            *to = from.widen();
        }
        s.load(&whole)
    }
}

impl Element for f32 {
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }
    #[inline(always)]
    fn load<S: Simd>(s: S, from: &[f32; LANES]) -> S::V {
        s.load(from)
    }
    #[inline(always)]
    fn widened<'a, S: Simd>(_: S, from: &'a [f32; LANES], _: &'a mut [f32; LANES]) -> &'a [f32; LANES] {
        from
    }
}

/// bfloat16 by its bits: no other numbers of 16 bits are kept.
impl Element for u16 {
    #[inline(always)]
    fn widen(self) -> f32 {
        bf16::from_bits(self).to_f32()
    }
    #[inline(always)]
    fn load<S: Simd>(s: S, from: &[u16; LANES]) -> S::V {
        s.load_bf16(from)
    }
    #[inline(always)]
    fn widened<'a, S: Simd>(s: S, from: &'a [u16; LANES], room: &'a mut [f32; LANES]) -> &'a [f32; LANES] {
        s.store(s.load_bf16(from), room);
        room
    }
}
