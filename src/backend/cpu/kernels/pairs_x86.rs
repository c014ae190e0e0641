//! Products of bfloat16 in pairs, by AVX512-BF16.
//!
//! The instruction takes numbers below the smallest normal one for zero.
#![expect(unsafe_code, reason = "intrinsics")]

use std::arch::x86_64::*;
use std::mem::transmute;

use super::arithmetic::{Arithmetic, Pairs};
use super::avx512::Avx512;
use super::block::BlockRow;
use super::simd::LANES;

/// Elements that are rounded at once.
const ROUNDED: usize = 2 * LANES;

/// Stands for AVX512-BF16, besides what [`Avx512`] does.
#[derive(Clone, Copy)]
pub(super) struct Avx512Bf16(());

impl Avx512Bf16 {
    /// # Safety
    /// The CPU has these features, and the token is used where they are enabled.
    #[inline(always)]
    pub(super) unsafe fn new() -> Avx512Bf16 {
        Avx512Bf16(())
    }

    /// Rounds to nearest even; the pair `2i`, `2i + 1` becomes lane `i`.
    #[inline(always)]
    fn round(self, from: &[f32; ROUNDED]) -> __m512 {
        // SAFETY: the token proves that the CPU has the feature; the array is as long as what is read. A vector of sixteen floats has the
        // bits of one of thirty-two halves.
        unsafe {
            let (low, high) = (_mm512_loadu_ps(from.as_ptr()), _mm512_loadu_ps(from.as_ptr().add(LANES)));
            transmute::<__m512bh, __m512>(_mm512_cvtne2ps_pbh(high, low))
        }
    }
}

impl Arithmetic<Avx512> for Avx512Bf16 {
    const COLUMNS: usize = 2;

    #[inline(always)]
    fn mul_add(self, _: Avx512, w: __m512, x: __m512, sum: __m512) -> __m512 {
        // SAFETY: the token proves that the CPU has the feature; vectors are of one size.
        unsafe { _mm512_dpbf16_ps(sum, transmute::<__m512, __m512bh>(w), transmute::<__m512, __m512bh>(x)) }
    }

    #[inline(always)]
    fn columns<'a>(self, s: Avx512, from: &[[u16; LANES]], to: &'a mut [[f32; LANES]]) -> &'a [[f32; LANES]] {
        let to = &mut to[..from.len().div_ceil(2)];
        for (to, columns) in to.iter_mut().zip(from.chunks(2)) {
            // SAFETY: the token proves that the CPU has the feature; the array is as long as what is written.
            unsafe { _mm512_storeu_ps(to.as_mut_ptr(), self.step(s, columns)) };
        }
        to
    }

    #[inline(always)]
    fn rows(self, _: Avx512, rows: &mut [BlockRow], len: usize) {
        for row in rows {
            row[len..len.next_multiple_of(ROUNDED)].fill(0.0);
            // Each is written before where the next is read.
            for start in (0..len).step_by(ROUNDED) {
                let pairs = self.round(row[start..].first_chunk().expect("rows are longer than a chunk"));
                let to: &mut [f32; LANES] = row[start / 2..].first_chunk_mut().expect("as above");
                // SAFETY: the token proves that the CPU has the feature; the array is as long as what is written.
                unsafe { _mm512_storeu_ps(to.as_mut_ptr(), pairs) };
            }
        }
    }

    #[inline(always)]
    fn step(self, _: Avx512, columns: &[[u16; LANES]]) -> __m512 {
        // SAFETY: the token proves that the CPU has the features; two columns lie side by side, and are as long as what is read.
        unsafe {
            let both = match columns {
                [_, _] => _mm512_loadu_si512(columns.as_ptr().cast()),
                _ => _mm512_zextsi256_si512(_mm256_loadu_si256(columns[0].as_ptr().cast())),
            };
            // Lane `i`: element `i` of the first column below that of the second.
            let order = _mm512_set_epi16(
                31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4, 19,
                3, 18, 2, 17, 1, 16, 0,
            );
            _mm512_castsi512_ps(_mm512_permutexvar_epi16(order, both))
        }
    }

    #[inline(always)]
    fn row<'a>(self, _: Avx512, x: &'a [f32], room: &'a mut Pairs) -> &'a [f32] {
        for (from, to) in x.chunks(ROUNDED).zip(room.as_chunks_mut::<LANES>().0) {
            let mut whole = [0.0; ROUNDED];
            let from = from.as_array().unwrap_or_else(|| {
                whole[..from.len()].copy_from_slice(from);
                &whole
            });
            // SAFETY: the token proves that the CPU has the feature; the array is as long as what is written.
            unsafe { _mm512_storeu_ps(to.as_mut_ptr(), self.round(from)) };
        }
        room
    }
}
