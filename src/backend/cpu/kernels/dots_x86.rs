//! Dot products of whole numbers on x86-64.
//!
//! With VNNI one instruction multiplies unsigned bytes by signed ones and adds four products to a lane: 128 is added to weights of
//! eight bits, and taken off by the sum of the activations. Without it pairs of products are added in sixteen bits, which hold
//! two of eight bits (hence magnitudes times signed activations) and all those of a block of four bits.
#![expect(unsafe_code, reason = "intrinsics")]

use std::arch::x86_64::*;

use super::avx2::Avx2;
use super::avx512::Avx512;
use super::blocks::{Bytes, Nibbles};
use super::dots::Dots;
use super::quantise::Stretch;

/// Stands for AVX-VNNI, besides what [`Avx2`] does.
#[derive(Clone, Copy)]
pub(super) struct AvxVnni(());

/// Stands for AVX512-VNNI, besides what [`Avx512`] does.
#[derive(Clone, Copy)]
pub(super) struct Avx512Vnni(());

impl AvxVnni {
    /// # Safety
    /// The CPU has these features, and the token is used where they are enabled.
    #[inline(always)]
    pub(super) unsafe fn new() -> AvxVnni {
        AvxVnni(())
    }
}

impl Avx512Vnni {
    /// # Safety
    /// The CPU has these features, and the token is used where they are enabled.
    #[inline(always)]
    pub(super) unsafe fn new() -> Avx512Vnni {
        Avx512Vnni(())
    }
}

/// Four activations as one number of 32 bits.
#[inline(always)]
fn four(x: &[i8; 4]) -> i32 {
    i32::from_ne_bytes(x.map(|v| v as u8))
}

/// # Safety
/// The CPU has AVX, and this is used where it is enabled.
#[inline(always)]
unsafe fn as_floats<const T: usize>(sums: [[__m256i; T]; 2]) -> [[__m256; 2]; T] {
    // SAFETY: the caller's promise.
    unsafe {
        let mut floats = [[_mm256_setzero_ps(); 2]; T];
        for (t, floats) in floats.iter_mut().enumerate() {
            *floats = [_mm256_cvtepi32_ps(sums[0][t]), _mm256_cvtepi32_ps(sums[1][t])];
        }
        floats
    }
}

impl Dots<[__m256; 2]> for Avx2 {
    #[inline(always)]
    fn int8<const T: usize>(self, w: &Bytes, x: &[Stretch; T], block: usize) -> [[__m256; 2]; T] {
        // SAFETY: the token proves that the CPU has the features; halves of 32 bytes are within a group of 64.
        unsafe {
            let ones = _mm256_set1_epi16(1);
            let mut sums = [[_mm256_setzero_si256(); T]; 2];
            for (g, w) in w.iter().enumerate() {
                for (half, sums) in sums.iter_mut().enumerate() {
                    let w = _mm256_loadu_si256(w.as_ptr().add(32 * half).cast());
                    let magnitude = _mm256_abs_epi8(w);
                    for t in 0..T {
                        let x = _mm256_sign_epi8(_mm256_set1_epi32(four(&x[t].numbers[block][g])), w);
                        let fours = _mm256_madd_epi16(_mm256_maddubs_epi16(magnitude, x), ones);
                        sums[t] = _mm256_add_epi32(sums[t], fours);
                    }
                }
            }
            as_floats(sums)
        }
    }

    #[inline(always)]
    fn int4<const T: usize>(self, w: &Nibbles, x: &[Stretch; T], block: usize) -> [[__m256; 2]; T] {
        // SAFETY: as above.
        unsafe {
            let (ones, low_bits) = (_mm256_set1_epi16(1), _mm256_set1_epi8(15));
            // A pair of products is 2 * 15 * 127 at most, and there are eight of them.
            let mut sums = [[_mm256_setzero_si256(); T]; 2];
            for (g, both) in w.iter().enumerate() {
                for (half, sums) in sums.iter_mut().enumerate() {
                    let both_groups = _mm256_loadu_si256(both.as_ptr().add(32 * half).cast());
                    let low = _mm256_and_si256(both_groups, low_bits);
                    let high = _mm256_and_si256(_mm256_srli_epi16::<4>(both_groups), low_bits);
                    for t in 0..T {
                        let x = &x[t].numbers[block];
                        let a = _mm256_maddubs_epi16(low, _mm256_set1_epi32(four(&x[g])));
                        let b = _mm256_maddubs_epi16(high, _mm256_set1_epi32(four(&x[g + w.len()])));
                        sums[t] = _mm256_add_epi16(sums[t], _mm256_add_epi16(a, b));
                    }
                }
            }
            for t in 0..T {
                let offset = _mm256_set1_epi32(-8 * x[t].sums[block]);
                for half in &mut sums {
                    half[t] = _mm256_add_epi32(_mm256_madd_epi16(half[t], ones), offset);
                }
            }
            as_floats(sums)
        }
    }
}

impl Dots<[__m256; 2]> for AvxVnni {
    #[inline(always)]
    fn int8<const T: usize>(self, w: &Bytes, x: &[Stretch; T], block: usize) -> [[__m256; 2]; T] {
        // SAFETY: the token proves that the CPU has the features; halves of 32 bytes are within a group of 64.
        unsafe {
            let flip = _mm256_set1_epi8(i8::MIN);
            let mut sums = [[_mm256_setzero_si256(); T]; 2];
            for t in 0..T {
                let offset = _mm256_set1_epi32(-128 * x[t].sums[block]);
                (sums[0][t], sums[1][t]) = (offset, offset);
            }
            for (g, w) in w.iter().enumerate() {
                for (half, sums) in sums.iter_mut().enumerate() {
                    let w = _mm256_xor_si256(_mm256_loadu_si256(w.as_ptr().add(32 * half).cast()), flip);
                    for t in 0..T {
                        let x = _mm256_set1_epi32(four(&x[t].numbers[block][g]));
                        sums[t] = _mm256_dpbusd_avx_epi32(sums[t], w, x);
                    }
                }
            }
            as_floats(sums)
        }
    }

    #[inline(always)]
    fn int4<const T: usize>(self, w: &Nibbles, x: &[Stretch; T], block: usize) -> [[__m256; 2]; T] {
        // SAFETY: as above.
        unsafe {
            let low_bits = _mm256_set1_epi8(15);
            let mut sums = [[_mm256_setzero_si256(); T]; 2];
            for t in 0..T {
                let offset = _mm256_set1_epi32(-8 * x[t].sums[block]);
                (sums[0][t], sums[1][t]) = (offset, offset);
            }
            for (g, both) in w.iter().enumerate() {
                for (half, sums) in sums.iter_mut().enumerate() {
                    let both_groups = _mm256_loadu_si256(both.as_ptr().add(32 * half).cast());
                    let low = _mm256_and_si256(both_groups, low_bits);
                    let high = _mm256_and_si256(_mm256_srli_epi16::<4>(both_groups), low_bits);
                    for t in 0..T {
                        let x = &x[t].numbers[block];
                        let sum = _mm256_dpbusd_avx_epi32(sums[t], low, _mm256_set1_epi32(four(&x[g])));
                        let x = _mm256_set1_epi32(four(&x[g + w.len()]));
                        sums[t] = _mm256_dpbusd_avx_epi32(sum, high, x);
                    }
                }
            }
            as_floats(sums)
        }
    }
}

/// Without VNNI the wider registers have nothing to offer that is worth code of its own.
impl Dots<__m512> for Avx512 {
    #[inline(always)]
    fn int8<const T: usize>(self, w: &Bytes, x: &[Stretch; T], block: usize) -> [__m512; T] {
        // SAFETY: this token stands for AVX2 as well.
        unsafe { joined(Avx2::new().int8(w, x, block)) }
    }

    #[inline(always)]
    fn int4<const T: usize>(self, w: &Nibbles, x: &[Stretch; T], block: usize) -> [__m512; T] {
        // SAFETY: as above.
        unsafe { joined(Avx2::new().int4(w, x, block)) }
    }
}

/// # Safety
/// The CPU has AVX512-DQ, and this is used where it is enabled.
#[inline(always)]
unsafe fn joined<const T: usize>(sums: [[__m256; 2]; T]) -> [__m512; T] {
    // SAFETY: the caller's promise.
    unsafe {
        let mut whole = [_mm512_setzero_ps(); T];
        for t in 0..T {
            whole[t] = _mm512_insertf32x8::<1>(_mm512_castps256_ps512(sums[t][0]), sums[t][1]);
        }
        whole
    }
}

impl Dots<__m512> for Avx512Vnni {
    #[inline(always)]
    fn int8<const T: usize>(self, w: &Bytes, x: &[Stretch; T], block: usize) -> [__m512; T] {
        // SAFETY: the token proves that the CPU has the features; a group is a whole vector.
        unsafe {
            let flip = _mm512_set1_epi8(i8::MIN);
            let mut sums = [_mm512_setzero_si512(); T];
            for t in 0..T {
                sums[t] = _mm512_set1_epi32(-128 * x[t].sums[block]);
            }
            for (g, w) in w.iter().enumerate() {
                let w = _mm512_xor_si512(_mm512_loadu_si512(w.as_ptr().cast()), flip);
                for t in 0..T {
                    let x = _mm512_set1_epi32(four(&x[t].numbers[block][g]));
                    sums[t] = _mm512_dpbusd_epi32(sums[t], w, x);
                }
            }
            let mut floats = [_mm512_setzero_ps(); T];
            for t in 0..T {
                floats[t] = _mm512_cvtepi32_ps(sums[t]);
            }
            floats
        }
    }

    #[inline(always)]
    fn int4<const T: usize>(self, w: &Nibbles, x: &[Stretch; T], block: usize) -> [__m512; T] {
        // SAFETY: as above.
        unsafe {
            let low_bits = _mm512_set1_epi8(15);
            let mut sums = [_mm512_setzero_si512(); T];
            for t in 0..T {
                sums[t] = _mm512_set1_epi32(-8 * x[t].sums[block]);
            }
            for (g, both) in w.iter().enumerate() {
                let both_groups = _mm512_loadu_si512(both.as_ptr().cast());
                let low = _mm512_and_si512(both_groups, low_bits);
                let high = _mm512_and_si512(_mm512_srli_epi16::<4>(both_groups), low_bits);
                for t in 0..T {
                    let x = &x[t].numbers[block];
                    let sum = _mm512_dpbusd_epi32(sums[t], low, _mm512_set1_epi32(four(&x[g])));
                    sums[t] = _mm512_dpbusd_epi32(sum, high, _mm512_set1_epi32(four(&x[g + w.len()])));
                }
            }
            let mut floats = [_mm512_setzero_ps(); T];
            for t in 0..T {
                floats[t] = _mm512_cvtepi32_ps(sums[t]);
            }
            floats
        }
    }
}
