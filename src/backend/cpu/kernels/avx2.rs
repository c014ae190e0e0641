//! AVX2 with FMA: a vector is two registers.
#![expect(unsafe_code, reason = "intrinsics")]

use std::arch::x86_64::*;

use super::simd::{LANES, Simd};

/// Stands for AVX2 and FMA.
#[derive(Clone, Copy)]
pub(super) struct Avx2(());

impl Avx2 {
    /// # Safety
    /// The CPU has these features, and the token is used where they are enabled.
    #[inline(always)]
    pub(super) unsafe fn new() -> Avx2 {
        Avx2(())
    }
}

/// Lanes 0 to 7 and 8 to 15.
type Halves = [__m256; 2];

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

impl Simd for Avx2 {
    type V = Halves;

    operations! {
        splat(x: f32) -> Halves => [_mm256_set1_ps(x); 2];
        load(from: &[f32; LANES]) -> Halves => {
            [_mm256_loadu_ps(from.as_ptr()), _mm256_loadu_ps(from.as_ptr().add(8))]
        };
        load_bf16(from: &[u16; LANES]) -> Halves => {
            let low = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.as_ptr().cast()));
            let high = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.as_ptr().add(8).cast()));
            [_mm256_castsi256_ps(_mm256_slli_epi32::<16>(low)), _mm256_castsi256_ps(_mm256_slli_epi32::<16>(high))]
        };
        store(v: Halves, to: &mut [f32; LANES]) -> () => {
            _mm256_storeu_ps(to.as_mut_ptr(), v[0]);
            _mm256_storeu_ps(to.as_mut_ptr().add(8), v[1]);
        };
        add(a: Halves, b: Halves) -> Halves => [_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])];
        sub(a: Halves, b: Halves) -> Halves => [_mm256_sub_ps(a[0], b[0]), _mm256_sub_ps(a[1], b[1])];
        mul(a: Halves, b: Halves) -> Halves => [_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])];
        div(a: Halves, b: Halves) -> Halves => [_mm256_div_ps(a[0], b[0]), _mm256_div_ps(a[1], b[1])];
        mul_add(a: Halves, b: Halves, c: Halves) -> Halves => {
            [_mm256_fmadd_ps(a[0], b[0], c[0]), _mm256_fmadd_ps(a[1], b[1], c[1])]
        };
        max(a: Halves, b: Halves) -> Halves => [_mm256_max_ps(a[0], b[0]), _mm256_max_ps(a[1], b[1])];
        min(a: Halves, b: Halves) -> Halves => [_mm256_min_ps(a[0], b[0]), _mm256_min_ps(a[1], b[1])];
        power_of_low_bits(v: Halves) -> Halves => {
            let bias = _mm256_set1_epi32(127 << 23);
            let low = _mm256_slli_epi32::<23>(_mm256_castps_si256(v[0]));
            let high = _mm256_slli_epi32::<23>(_mm256_castps_si256(v[1]));
            [_mm256_castsi256_ps(_mm256_add_epi32(low, bias)), _mm256_castsi256_ps(_mm256_add_epi32(high, bias))]
        };
        sum(v: Halves) -> f32 => {
            let v = _mm256_add_ps(v[0], v[1]);
            let v = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
            let v = _mm_add_ps(v, _mm_movehl_ps(v, v));
            _mm_cvtss_f32(_mm_add_ss(v, _mm_shuffle_ps::<1>(v, v)))
        };
        greatest(v: Halves) -> f32 => {
            let v = _mm256_max_ps(v[0], v[1]);
            let v = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
            let v = _mm_max_ps(v, _mm_movehl_ps(v, v));
            _mm_cvtss_f32(_mm_max_ss(v, _mm_shuffle_ps::<1>(v, v)))
        };
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
