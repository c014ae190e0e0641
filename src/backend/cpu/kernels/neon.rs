//! Advanced SIMD of AArch64: a vector is four registers.
#![expect(unsafe_code, reason = "intrinsics")]

use std::arch::aarch64::*;

use super::simd::{LANES, Simd};

/// Stands for Advanced SIMD.
#[derive(Clone, Copy)]
pub(super) struct Neon(());

impl Neon {
    /// # Safety
    /// The CPU has the feature, and the token is used where it is enabled.
    #[inline(always)]
    pub(super) unsafe fn new() -> Neon {
        Neon(())
    }
}

/// Four lanes each, lowest first.
type Quarters = [float32x4_t; 4];

/// The same expression for each quarter.
macro_rules! quarters {
    (|$i:ident| $e:expr) => {
        [
            {
                let $i = 0;
                $e
            },
            {
                let $i = 1;
                $e
            },
            {
                let $i = 2;
                $e
            },
            {
                let $i = 3;
                $e
            },
        ]
    };
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

impl Simd for Neon {
    type V = Quarters;

    operations! {
        splat(x: f32) -> Quarters => [vdupq_n_f32(x); 4];
        load(from: &[f32; LANES]) -> Quarters => quarters!(|i| vld1q_f32(from.as_ptr().add(4 * i)));
        load_bf16(from: &[u16; LANES]) -> Quarters => {
            quarters!(|i| vreinterpretq_f32_u32(vshll_n_u16::<16>(vld1_u16(from.as_ptr().add(4 * i)))))
        };
        store(v: Quarters, to: &mut [f32; LANES]) -> () => {
            let _ = quarters!(|i| vst1q_f32(to.as_mut_ptr().add(4 * i), v[i]));
        };
        add(a: Quarters, b: Quarters) -> Quarters => quarters!(|i| vaddq_f32(a[i], b[i]));
        sub(a: Quarters, b: Quarters) -> Quarters => quarters!(|i| vsubq_f32(a[i], b[i]));
        mul(a: Quarters, b: Quarters) -> Quarters => quarters!(|i| vmulq_f32(a[i], b[i]));
        div(a: Quarters, b: Quarters) -> Quarters => quarters!(|i| vdivq_f32(a[i], b[i]));
        mul_add(a: Quarters, b: Quarters, c: Quarters) -> Quarters => quarters!(|i| vfmaq_f32(c[i], a[i], b[i]));
        max(a: Quarters, b: Quarters) -> Quarters => quarters!(|i| vbslq_f32(vcgtq_f32(a[i], b[i]), a[i], b[i]));
        min(a: Quarters, b: Quarters) -> Quarters => quarters!(|i| vbslq_f32(vcltq_f32(a[i], b[i]), a[i], b[i]));
        power_of_low_bits(v: Quarters) -> Quarters => quarters!(|i| {
            let bits = vshlq_n_s32::<23>(vreinterpretq_s32_f32(v[i]));
            vreinterpretq_f32_s32(vaddq_s32(bits, vdupq_n_s32(127 << 23)))
        });
        sum(v: Quarters) -> f32 => {
            let v = vaddq_f32(vaddq_f32(v[0], v[2]), vaddq_f32(v[1], v[3]));
            let v = vadd_f32(vget_low_f32(v), vget_high_f32(v));
            vget_lane_f32::<0>(v) + vget_lane_f32::<1>(v)
        };
        greatest(v: Quarters) -> f32 => {
            vmaxvq_f32(vmaxq_f32(vmaxq_f32(v[0], v[2]), vmaxq_f32(v[1], v[3])))
        };
    }

    #[inline(always)]
    fn prefetch<T>(self, at: *const T) {
        // SAFETY: fetching ahead never faults, wherever it points, and changes nothing that Rust can see.
        unsafe {
            std::arch::asm!("prfm pldl1keep, [{0}]", in(reg) at, options(nostack, preserves_flags, readonly))
        };
    }

    #[inline(always)]
    fn prefetch_far<T>(self, at: *const T) {
        // SAFETY: fetching ahead never faults, wherever it points, and changes nothing that Rust can see.
        unsafe {
            std::arch::asm!("prfm pldl2keep, [{0}]", in(reg) at, options(nostack, preserves_flags, readonly))
        };
    }
}
