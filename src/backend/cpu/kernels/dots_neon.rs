//! Dot products of whole numbers on AArch64.
//!
//! The dot-product extension (`sdot`) adds four products of signed bytes to a lane. Its intrinsics are not stable in Rust, so it is
//! written as an instruction; without the extension products are made in sixteen bits and added pair by pair.
#![expect(unsafe_code, reason = "intrinsics")]

use std::arch::aarch64::*;
use std::arch::asm;

use super::blocks::{Bytes, Nibbles};
use super::dots::Dots;
use super::neon::Neon;
use super::quantise::Stretch;

/// Stands for the dot-product extension, besides what [`Neon`] does.
#[derive(Clone, Copy)]
pub(super) struct NeonDot(());

impl NeonDot {
    /// # Safety
    /// The CPU has these features, and the token is used where they are enabled.
    #[inline(always)]
    pub(super) unsafe fn new() -> NeonDot {
        NeonDot(())
    }
}

/// How four products are added to each lane.
trait AddFours: Copy {
    /// Adds to each of four lanes the four products of its bytes.
    ///
    /// # Safety
    /// As for the token.
    unsafe fn add_fours(self, sum: int32x4_t, w: int8x16_t, x: int8x16_t) -> int32x4_t;
}

impl AddFours for Neon {
    #[inline(always)]
    unsafe fn add_fours(self, sum: int32x4_t, w: int8x16_t, x: int8x16_t) -> int32x4_t {
        // SAFETY: the token proves that the CPU has the feature.
        unsafe {
            let low = vpaddlq_s16(vmull_s8(vget_low_s8(w), vget_low_s8(x)));
            let high = vpaddlq_s16(vmull_high_s8(w, x));
            vaddq_s32(sum, vpaddq_s32(low, high))
        }
    }
}

impl AddFours for NeonDot {
    #[inline(always)]
    unsafe fn add_fours(self, sum: int32x4_t, w: int8x16_t, x: int8x16_t) -> int32x4_t {
        let mut sum = sum;
        // SAFETY: the token proves that the CPU has the extension; only registers are touched.
        unsafe {
            asm!(
                "sdot {0:v}.4s, {1:v}.16b, {2:v}.16b",
                inout(vreg) sum, in(vreg) w, in(vreg) x,
                options(pure, nomem, nostack, preserves_flags)
            );
        }
        sum
    }
}

/// Four activations in all lanes.
///
/// # Safety
/// The CPU has Advanced SIMD.
#[inline(always)]
unsafe fn fours(x: &[i8; 4]) -> int8x16_t {
    // SAFETY: the caller's promise.
    unsafe { vreinterpretq_s8_s32(vdupq_n_s32(i32::from_ne_bytes(x.map(|v| v as u8)))) }
}

/// # Safety
/// The CPU has Advanced SIMD.
#[inline(always)]
unsafe fn as_floats<const T: usize>(sums: [[int32x4_t; T]; 4]) -> [[float32x4_t; 4]; T] {
    // SAFETY: the caller's promise.
    unsafe {
        let mut floats = [[vdupq_n_f32(0.0); 4]; T];
        for (t, floats) in floats.iter_mut().enumerate() {
            for (float, sums) in floats.iter_mut().zip(&sums) {
                *float = vcvtq_f32_s32(sums[t]);
            }
        }
        floats
    }
}

/// # Safety
/// As for the token.
#[inline(always)]
unsafe fn int8<A: AddFours, const T: usize>(
    a: A,
    w: &Bytes,
    x: &[Stretch; T],
    block: usize,
) -> [[float32x4_t; 4]; T] {
    // SAFETY: the caller's promise; quarters of 16 bytes are within a group of 64.
    unsafe {
        let mut sums = [[vdupq_n_s32(0); T]; 4];
        for (g, w) in w.iter().enumerate() {
            for (quarter, sums) in sums.iter_mut().enumerate() {
                let w = vld1q_s8(w.as_ptr().add(16 * quarter));
                for t in 0..T {
                    let x = fours(&x[t].numbers[block][g]);
                    sums[t] = a.add_fours(sums[t], w, x);
                }
            }
        }
        as_floats(sums)
    }
}

/// # Safety
/// As for the token.
#[inline(always)]
unsafe fn int4<A: AddFours, const T: usize>(
    a: A,
    w: &Nibbles,
    x: &[Stretch; T],
    block: usize,
) -> [[float32x4_t; 4]; T] {
    // SAFETY: as above.
    unsafe {
        let mut sums = [[vdupq_n_s32(0); T]; 4];
        for t in 0..T {
            for quarter in &mut sums {
                quarter[t] = vdupq_n_s32(-8 * x[t].sums[block]);
            }
        }
        for (g, both) in w.iter().enumerate() {
            for (quarter, sums) in sums.iter_mut().enumerate() {
                let both_groups = vld1q_u8(both.as_ptr().add(16 * quarter));
                let low = vreinterpretq_s8_u8(vandq_u8(both_groups, vdupq_n_u8(15)));
                let high = vreinterpretq_s8_u8(vshrq_n_u8::<4>(both_groups));
                for t in 0..T {
                    let x = &x[t].numbers[block];
                    let sum = a.add_fours(sums[t], low, fours(&x[g]));
                    sums[t] = a.add_fours(sum, high, fours(&x[g + w.len()]));
                }
            }
        }
        as_floats(sums)
    }
}

/// Implements the dot products of a token.
macro_rules! dots {
    ($token:ty) => {
        impl Dots<[float32x4_t; 4]> for $token {
            #[inline(always)]
            fn int8<const T: usize>(
                self,
                w: &Bytes,
                x: &[Stretch; T],
                block: usize,
            ) -> [[float32x4_t; 4]; T] {
                // SAFETY: the token's own promise.
                unsafe { int8(self, w, x, block) }
            }

            #[inline(always)]
            fn int4<const T: usize>(
                self,
                w: &Nibbles,
                x: &[Stretch; T],
                block: usize,
            ) -> [[float32x4_t; 4]; T] {
                // SAFETY: the token's own promise.
                unsafe { int4(self, w, x, block) }
            }
        }
    };
}

dots!(Neon);
dots!(NeonDot);
