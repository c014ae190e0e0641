//! Sixteen f32 at once: the one interface between the kernels and an instruction set.
//!
//! Every kernel is written once, in safe code, over [`Simd`]. An instruction set is a token type whose methods are its
//! intrinsics; sixteen lanes are one register of AVX-512, two of AVX2 and four of NEON, so that the order of every sum,
//! and with fused multiply-add its value too, is the same on all of them.
//!
//! Why not `pulp` or `wide`: lanes there follow the register width, so sums would differ between machines, and the
//! widening of packed weights would still need intrinsics of our own.

/// Elements of a vector, and rows of a weight panel.
pub(super) const LANES: usize = 16;

/// A token that proves that an instruction set may be used, and its operations on vectors of [`LANES`] f32.
///
/// Every implementation marks its methods `#[inline(always)]`: they become the instructions themselves once they
/// stand inside a function that enables the instruction set.
pub(super) trait Simd: Copy {
    /// A vector.
    type V: Copy;

    fn splat(self, x: f32) -> Self::V;
    fn load(self, from: &[f32; LANES]) -> Self::V;
    /// Widens bfloat16, given as its bits.
    fn load_bf16(self, from: &[u16; LANES]) -> Self::V;
    fn store(self, v: Self::V, to: &mut [f32; LANES]);
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`, rounded once where the instruction set can.
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The greater; `b` where `b` is not a number.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// The lesser; `b` where `b` is not a number.
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    /// `2^(n)` where `n` in -127..=128 stands in the low nine bits of each lane's pattern; -127 gives 0, 128 infinity.
    fn power_of_low_bits(self, v: Self::V) -> Self::V;
    /// Sum of the lanes: lane `i` with `i + 8`, then `i + 4`, `i + 2`, `i + 1`.
    fn sum(self, v: Self::V) -> f32;
    /// The greatest lane.
    fn greatest(self, v: Self::V) -> f32;
    /// Asks for a cache line, which may lie anywhere.
    fn prefetch<T>(self, at: *const T);
    /// The same, but only into the second-level cache.
    fn prefetch_far<T>(self, at: *const T);

    /// Widens binary16, given as its bits; infinities and what is not a number become other numbers.
    #[inline(always)]
    fn load_f16(self, from: &[u16; LANES]) -> Self::V {
        // Exponents of binary16 start 112 lower; the product is exact, also of those without a leading one.
        let mut wide = [0.0; LANES];
        for (wide, half) in wide.iter_mut().zip(from) {
            let half = u32::from(*half);
            *wide = f32::from_bits((half & 0x8000) << 16 | (half & 0x7fff) << 13);
        }
        self.mul(self.load(&wide), self.splat(f32::from_bits((127 + 112) << 23)))
    }

    /// Rows become columns.
    #[inline(always)]
    fn transpose(self, rows: [&[f32; LANES]; LANES], to: &mut [[f32; LANES]; LANES]) {
        for (i, row) in rows.iter().enumerate() {
            for (to, x) in to.iter_mut().zip(*row) {
                to[i] = *x;
            }
        }
    }

    #[inline(always)]
    fn zero(self) -> Self::V {
        self.splat(0.0)
    }

    /// Up to [`LANES`] elements, and zeros after them.
    #[inline(always)]
    fn load_part(self, from: &[f32]) -> Self::V {
        let mut whole = [0.0; LANES];
        whole[..from.len()].copy_from_slice(from);
        self.load(&whole)
    }

    /// [`Simd::load`] of a whole vector, [`Simd::load_part`] of less.
    #[inline(always)]
    fn load_some(self, from: &[f32]) -> Self::V {
        match from.as_array() {
            Some(whole) => self.load(whole),
            None => self.load_part(from),
        }
    }

    /// [`Simd::store`] to a whole vector, [`Simd::store_part`] to less.
    #[inline(always)]
    fn store_some(self, v: Self::V, to: &mut [f32]) {
        match to.len() {
            LANES => self.store(v, &mut to.as_chunks_mut().0[0]),
            _ => self.store_part(v, to),
        }
    }

    /// As many lanes as `to` is long, at most [`LANES`].
    #[inline(always)]
    fn store_part(self, v: Self::V, to: &mut [f32]) {
        let mut whole = [0.0; LANES];
        self.store(v, &mut whole);
        to.copy_from_slice(&whole[..to.len()]);
    }
}

/// Plain Rust, for every machine.
#[derive(Clone, Copy)]
pub(super) struct Portable;

/// Applies an expression to each lane of one or more arrays.
macro_rules! lanes {
    (|$($x:ident),+| $e:expr) => {{
        let mut out = [0.0; LANES];
        for i in 0..LANES {
            $(let $x = $x[i];)+
            out[i] = $e;
        }
        out
    }};
}

impl Simd for Portable {
    type V = [f32; LANES];

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        [x; LANES]
    }
    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> Self::V {
        *from
    }
    #[inline(always)]
    fn load_bf16(self, from: &[u16; LANES]) -> Self::V {
        lanes!(|from| f32::from_bits(u32::from(from) << 16))
    }
    #[inline(always)]
    fn store(self, v: Self::V, to: &mut [f32; LANES]) {
        *to = v;
    }
    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        lanes!(|a, b| a + b)
    }
    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        lanes!(|a, b| a - b)
    }
    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        lanes!(|a, b| a * b)
    }
    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        lanes!(|a, b| a / b)
    }
    #[inline(always)]
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        lanes!(|a, b, c| a * b + c)
    }
    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        lanes!(|a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        lanes!(|a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    fn power_of_low_bits(self, v: Self::V) -> Self::V {
        lanes!(|v| f32::from_bits((v.to_bits() << 23).wrapping_add(127 << 23)))
    }
    #[inline(always)]
    fn sum(self, mut v: Self::V) -> f32 {
        for half in [8, 4, 2, 1] {
            for i in 0..half {
                v[i] += v[i + half];
            }
        }
        v[0]
    }
    #[inline(always)]
    fn greatest(self, mut v: Self::V) -> f32 {
        for half in [8, 4, 2, 1] {
            for i in 0..half {
                v[i] = if v[i] > v[i + half] { v[i] } else { v[i + half] };
            }
        }
        v[0]
    }
    #[inline(always)]
    fn prefetch<T>(self, _: *const T) {}
    #[inline(always)]
    fn prefetch_far<T>(self, _: *const T) {}
}
