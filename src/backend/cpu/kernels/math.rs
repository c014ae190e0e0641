//! Exponential, logistic function and error function on vectors, to about two units in the last place.
//!
//! Why not the scalar functions of `std`: they differ between platforms, and one call per element would cost more than
//! the matrix products around it.

use super::simd::Simd;

/// Adding it to a small number leaves that number, rounded to an integer, in the low bits.
const ROUNDER: f32 = 12_582_912.0;
const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = -2.121_944_4e-4;

/// `e^x`: 0 below -88.03, infinity above 88.38; what is not a number stays so.
#[inline(always)]
pub(super) fn exp<S: Simd>(s: S, x: S::V) -> S::V {
    let x = s.min(s.splat(88.8), s.max(s.splat(-88.029_69), x));
    let shifted = s.mul_add(x, s.splat(std::f32::consts::LOG2_E), s.splat(ROUNDER));
    let n = s.sub(shifted, s.splat(ROUNDER));
    let r = s.mul_add(n, s.splat(-LN_2_HIGH), x);
    let r = s.mul_add(n, s.splat(-LN_2_LOW), r);
    // Taylor's series: |r| <= ln(2) / 2, where its ninth term is below half a unit in the last place.
    let mut p = s.splat(1.0 / 5040.0);
    for c in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        p = s.mul_add(p, r, s.splat(c));
    }
    s.mul(p, s.power_of_low_bits(shifted))
}

/// `x / (1 + e^-z)`.
#[inline(always)]
fn times_logistic<S: Simd>(s: S, x: S::V, z: S::V) -> S::V {
    s.div(x, s.add(s.splat(1.0), exp(s, s.sub(s.zero(), z))))
}

/// `x / (1 + e^-x)`.
#[inline(always)]
pub(super) fn silu<S: Simd>(s: S, x: S::V) -> S::V {
    times_logistic(s, x, x)
}

/// `x/2 (1 + tanh u) = x / (1 + e^-2u)` with `u = sqrt(2/π) (x + 0.044715 x³)`.
#[inline(always)]
pub(super) fn gelu_tanh<S: Simd>(s: S, x: S::V) -> S::V {
    const TWICE_ROOT: f32 = 1.595_769_2;
    let cubic = s.mul_add(s.mul(x, x), s.splat(0.044_715 * TWICE_ROOT), s.splat(TWICE_ROOT));
    times_logistic(s, x, s.mul(x, cubic))
}

/// `x Φ(x)`, with `Φ(-t√2) = erfc(t)/2` and `erfc(t) = e^(-t²) f(1 / (1 + t/2))`.
#[inline(always)]
pub(super) fn gelu_erf<S: Simd>(s: S, x: S::V) -> S::V {
    // Fitted (least squares at 200 Chebyshev nodes, weighted for relative error) to t in 0..10; off by 4e-8 at most.
    const F: [f32; 10] = [
        -0.055_951_133,
        0.268_459_4,
        -0.451_375_7,
        0.233_258_05,
        0.008_011_043,
        0.185_588_57,
        0.248_475_4,
        0.281_342_95,
        0.282_196_28,
        -4.925_994e-6,
    ];
    let magnitude = s.max(s.sub(s.zero(), x), x);
    let t = s.mul(magnitude, s.splat(std::f32::consts::FRAC_1_SQRT_2));
    let u = s.div(s.splat(1.0), s.mul_add(t, s.splat(0.5), s.splat(1.0)));
    let mut f = s.splat(F[0]);
    for c in &F[1..] {
        f = s.mul_add(f, u, s.splat(*c));
    }
    let half_square = s.mul(s.mul(magnitude, s.splat(0.5)), magnitude);
    let tail = s.mul(s.mul(magnitude, s.splat(0.5)), s.mul(f, exp(s, s.sub(s.zero(), half_square))));
    // max(x, 0) - |x| Φ(-|x|) is x Φ(x) for both signs.
    s.sub(s.max(s.zero(), x), tail)
}
