//! The number types that are trained with, and their functions.
//!
//! f32 trains; f64 is what gradients are compared with finite differences in. In f32 the exponential is a polynomial without a branch,
//! so that a compiler makes vectors of it: activations are computed as often as products, and libm takes one number at a time.

use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub};

use burn_backend::{DType, Element, Shape, TensorData};
use burn_flex::FlexTensor;

use crate::backend::reference::erf;

/// f32 or f64.
pub trait Real:
    Element
    + bytemuck::Pod
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
{
    /// Nought.
    const ZERO: Self;
    /// One.
    const ONE: Self;
    /// The nearest number of the type.
    fn of(x: f64) -> Self;
    /// `eˣ`
    fn exp(self) -> Self;
    /// The natural logarithm.
    fn ln(self) -> Self;
    /// The square root.
    fn sqrt(self) -> Self;
    /// The error function.
    fn erf(self) -> Self;

    /// `1 / (1 + e⁻ˣ)`
    fn sigmoid(self) -> Self {
        Self::ONE / (Self::ONE + (-self).exp())
    }

    /// The hyperbolic tangent.
    fn tanh(self) -> Self {
        let two = Self::of(2.0);
        two * (two * self).sigmoid() - Self::ONE
    }
}

impl Real for f64 {
    const ZERO: f64 = 0.0;
    const ONE: f64 = 1.0;

    fn of(x: f64) -> f64 {
        x
    }

    fn exp(self) -> f64 {
        f64::exp(self)
    }

    fn ln(self) -> f64 {
        f64::ln(self)
    }

    fn sqrt(self) -> f64 {
        f64::sqrt(self)
    }

    fn erf(self) -> f64 {
        erf(self)
    }
}

impl Real for f32 {
    const ZERO: f32 = 0.0;
    const ONE: f32 = 1.0;

    fn of(x: f64) -> f32 {
        x as f32
    }

    /// `2ⁿ · e^r` with `|r| ≤ ln 2 / 2`: Taylor's polynomial of degree 7, off by 4e-7 of the result at most, as f32 computes it. NaN stays NaN.
    #[inline(always)]
    fn exp(self) -> f32 {
        // Adding it leaves the nearest whole number in the lowest bits of the sum.
        const WHOLE: f32 = 12_582_912.0;
        let x = if self < -87.0 { -87.0 } else { self };
        let x = if 88.0 < x { 88.0 } else { x };
        let shifted = x * std::f32::consts::LOG2_E + WHOLE;
        let n = shifted - WHOLE;
        // ln 2 in two parts, the first exact in few bits.
        let r = x - n * 0.693_359_4 - n * -2.121_944_4e-4;
        let p = 1.0 / 5040.0;
        let p = p * r + 1.0 / 720.0;
        let p = p * r + 1.0 / 120.0;
        let p = p * r + 1.0 / 24.0;
        let p = p * r + 1.0 / 6.0;
        let p = p * r + 0.5;
        let p = p * r + 1.0;
        let p = p * r + 1.0;
        p * f32::from_bits(shifted.to_bits().wrapping_add(127) << 23)
    }

    fn ln(self) -> f32 {
        f32::ln(self)
    }

    fn sqrt(self) -> f32 {
        f32::sqrt(self)
    }

    /// Off by 5e-7 at most, as f32 computes it (Abramowitz & Stegun 1964, 7.1.26).
    #[inline(always)]
    fn erf(self) -> f32 {
        let x = self.abs();
        let t = 1.0 / (1.0 + 0.327_591_1 * x);
        let p = 1.061_405_4;
        let p = p * t - 1.453_152;
        let p = p * t + 1.421_413_8;
        let p = p * t - 0.284_496_74;
        let p = p * t + 0.254_829_6;
        (1.0 - p * t * Real::exp(-x * x)).copysign(self)
    }
}

/// Runs an expression with `$E` as the element type of a tensor.
macro_rules! by_type {
    ($dtype:expr, $E:ident => $run:expr) => {
        match $dtype {
            burn_backend::DType::F64 => {
                type $E = f64;
                $run
            }
            _ => {
                type $E = f32;
                $run
            }
        }
    };
}
pub(super) use by_type;

/// A tensor of these elements.
pub(super) fn tensor<E: Real>(values: Vec<E>, shape: &[usize]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, Shape::from(shape.to_vec())))
}

/// Whole numbers.
pub(super) fn whole(values: &[i32], shape: &[usize]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values.to_vec(), Shape::from(shape.to_vec())))
}

/// Numbers of f32 in a tensor of another type.
pub(super) fn tensor_of(values: &[f32], shape: &[usize], dtype: DType) -> FlexTensor {
    by_type!(dtype, E => tensor::<E>(values.iter().map(|v| E::of(f64::from(*v))).collect(), shape))
}

/// Extents of a tensor.
pub(super) fn shape(x: &FlexTensor) -> Vec<usize> {
    x.layout().shape().clone().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_of_f32_are_close_to_those_of_f64() {
        for i in -4000..=4000 {
            let x = i as f32 * 0.02;
            let (found, exact) = (f64::from(Real::exp(x)), f64::from(x).exp());
            assert!((found - exact).abs() <= 4e-7 * exact, "exp {x}: {found}, {exact}");
            assert!((f64::from(Real::erf(x)) - erf(f64::from(x))).abs() < 5e-7, "erf {x}");
            assert!((f64::from(Real::tanh(x)) - f64::from(x).tanh()).abs() < 5e-7, "tanh {x}");
        }
        assert!(Real::exp(f32::NAN).is_nan() && Real::erf(f32::NAN).is_nan());
        assert_eq!(Real::sigmoid(-200.0_f32), 1.0 / (1.0 + Real::exp(200.0_f32)));
    }
}
