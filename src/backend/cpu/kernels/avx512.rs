//! AVX-512: a vector is one register.
#![expect(unsafe_code, reason = "intrinsics")]

use std::arch::x86_64::*;

use super::simd::{LANES, Simd};

/// Stands for AVX-512 F, BW, DQ, VL, AVX2 and FMA.
#[derive(Clone, Copy)]
pub(super) struct Avx512(());

impl Avx512 {
    /// # Safety
    /// The CPU has these features, and the token is used where they are enabled.
    #[inline(always)]
    pub(super) unsafe fn new() -> Avx512 {
        Avx512(())
    }
}

/// Implements methods that are one expression of intrinsics.
macro_rules! operations {
    ($($name:ident($($arg:ident: $type:ty),*) -> $result:ty => $e:expr;)+) => {
        $(#[inline(always)]
        fn $name(self, $($arg: $type),*) -> $result {
            // SAFETY: the token proves that the CPU has the feature; arrays are as long as what is read or written.
            unsafe { $e }
        })+
    };
}

impl Simd for Avx512 {
    type V = __m512;

    operations! {
        splat(x: f32) -> __m512 => _mm512_set1_ps(x);
        load(from: &[f32; LANES]) -> __m512 => _mm512_loadu_ps(from.as_ptr());
        load_bf16(from: &[u16; LANES]) -> __m512 => {
            let bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.as_ptr().cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(bits))
        };
        store(v: __m512, to: &mut [f32; LANES]) -> () => _mm512_storeu_ps(to.as_mut_ptr(), v);
        add(a: __m512, b: __m512) -> __m512 => _mm512_add_ps(a, b);
        sub(a: __m512, b: __m512) -> __m512 => _mm512_sub_ps(a, b);
        mul(a: __m512, b: __m512) -> __m512 => _mm512_mul_ps(a, b);
        div(a: __m512, b: __m512) -> __m512 => _mm512_div_ps(a, b);
        mul_add(a: __m512, b: __m512, c: __m512) -> __m512 => _mm512_fmadd_ps(a, b, c);
        max(a: __m512, b: __m512) -> __m512 => _mm512_max_ps(a, b);
        min(a: __m512, b: __m512) -> __m512 => _mm512_min_ps(a, b);
        power_of_low_bits(v: __m512) -> __m512 => {
            let bits = _mm512_slli_epi32::<23>(_mm512_castps_si512(v));
            _mm512_castsi512_ps(_mm512_add_epi32(bits, _mm512_set1_epi32(127 << 23)))
        };
        sum(v: __m512) -> f32 => {
            let v = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps::<1>(v));
            let v = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
            let v = _mm_add_ps(v, _mm_movehl_ps(v, v));
            _mm_cvtss_f32(_mm_add_ss(v, _mm_shuffle_ps::<1>(v, v)))
        };
        greatest(v: __m512) -> f32 => {
            let v = _mm256_max_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps::<1>(v));
            let v = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
            let v = _mm_max_ps(v, _mm_movehl_ps(v, v));
            _mm_cvtss_f32(_mm_max_ss(v, _mm_shuffle_ps::<1>(v, v)))
        };
        load_part(from: &[f32]) -> __m512 => {
            let mask = part_mask(from.len());
            _mm512_maskz_loadu_ps(mask, from.as_ptr())
        };
        store_part(v: __m512, to: &mut [f32]) -> () => {
            let mask = part_mask(to.len());
            _mm512_mask_storeu_ps(to.as_mut_ptr(), mask, v);
        };
    }

    #[inline(always)]
    fn transpose(self, rows: [&[f32; LANES]; LANES], to: &mut [[f32; LANES]; LANES]) {
        // SAFETY: the token proves that the CPU has the feature; every array is a whole vector.
        unsafe {
            let zero = _mm512_setzero_ps();
            let (mut pairs, mut fours) = ([zero; LANES], [zero; LANES]);
            for i in (0..LANES).step_by(2) {
                let (a, b) = (_mm512_loadu_ps(rows[i].as_ptr()), _mm512_loadu_ps(rows[i + 1].as_ptr()));
                pairs[i] = _mm512_unpacklo_ps(a, b);
                pairs[i + 1] = _mm512_unpackhi_ps(a, b);
            }
            // Quarter `q` of `fours[i + j]` becomes rows i..i + 4 of column `4 q + j`.
            for i in (0..LANES).step_by(4) {
                let (a, c) = (_mm512_castps_pd(pairs[i]), _mm512_castps_pd(pairs[i + 2]));
                let (b, d) = (_mm512_castps_pd(pairs[i + 1]), _mm512_castps_pd(pairs[i + 3]));
                fours[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c));
                fours[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
                fours[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(b, d));
                fours[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(b, d));
            }
            for j in 0..4 {
                let even = _mm512_shuffle_f32x4::<0x88>(fours[j], fours[j + 4]);
                let odd = _mm512_shuffle_f32x4::<0xdd>(fours[j], fours[j + 4]);
                let even_high = _mm512_shuffle_f32x4::<0x88>(fours[j + 8], fours[j + 12]);
                let odd_high = _mm512_shuffle_f32x4::<0xdd>(fours[j + 8], fours[j + 12]);
                _mm512_storeu_ps(to[j].as_mut_ptr(), _mm512_shuffle_f32x4::<0x88>(even, even_high));
                _mm512_storeu_ps(to[j + 4].as_mut_ptr(), _mm512_shuffle_f32x4::<0x88>(odd, odd_high));
                _mm512_storeu_ps(to[j + 8].as_mut_ptr(), _mm512_shuffle_f32x4::<0xdd>(even, even_high));
                _mm512_storeu_ps(to[j + 12].as_mut_ptr(), _mm512_shuffle_f32x4::<0xdd>(odd, odd_high));
            }
        }
    }

    #[inline(always)]
    fn prefetch<T>(self, at: *const T) {
        // SAFETY: fetching ahead never faults, wherever it points.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) };
    }

    #[inline(always)]
    fn prefetch_far<T>(self, at: *const T) {
        // SAFETY: fetching ahead never faults, wherever it points.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) };
    }
}

/// The lowest `len` lanes.
#[inline(always)]
fn part_mask(len: usize) -> u16 {
    assert!(len <= LANES, "a part is at most a vector");
    ((1u32 << len) - 1) as u16
}
