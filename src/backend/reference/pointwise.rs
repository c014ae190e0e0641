//! Functions of elements, and normalisation of rows.

use crate::graph::{Binary, Unary};

/// One element.
pub(super) fn unary(function: Unary, x: f32) -> f32 {
    let x = f64::from(x);
    let y = match function {
        Unary::Silu => x / (1.0 + (-x).exp()),
        Unary::GeluTanh => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
            x / 2.0 * (1.0 + inner.tanh())
        }
        Unary::GeluErf => x / 2.0 * (1.0 + erf(x / std::f64::consts::SQRT_2)),
        // Not `max`, which would turn NaN into 0.
        Unary::Relu => {
            if x < 0.0 {
                0.0
            } else {
                x
            }
        }
    };
    y as f32
}

/// Two elements.
pub(super) fn binary(function: Binary, a: f32, b: f32) -> f32 {
    match function {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Mul => a * b,
    }
}

/// The error function: `2/√π e^(-x²) Σ 2ⁿ x^(2n+1) / (1·3·…·(2n+1))` (Abramowitz & Stegun 1964, 7.1.6), whose terms all have
/// one sign, so that none is lost against another. Beyond 6 it is 1 in f64.
pub fn erf(x: f64) -> f64 {
    if x.is_nan() || 6.0 <= x.abs() {
        return if x.is_nan() { x } else { x.signum() };
    }
    let (mut term, mut sum, mut n) = (x, x, 0.0);
    while f64::EPSILON * sum.abs() < term.abs() {
        n += 1.0;
        term *= 2.0 * x * x / (2.0 * n + 1.0);
        sum += term;
    }
    2.0 / std::f64::consts::PI.sqrt() * (-x * x).exp() * sum
}

/// `x / sqrt(mean(x²) + eps) * w` for each row.
pub(super) fn rms_norm(x: &[f32], dim: usize, weight: Option<&[f32]>, eps: f32) -> Vec<f32> {
    let mut out = Vec::with_capacity(x.len());
    for row in x.chunks(dim.max(1)) {
        let mean_square = row.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / dim as f64;
        let scale = (mean_square + f64::from(eps)).sqrt().recip();
        out.extend(row.iter().enumerate().map(|(i, v)| (f64::from(*v) * scale * at(weight, i, 1.0)) as f32));
    }
    out
}

/// `(x - mean) / sqrt(var + eps) * w + b` for each row.
pub(super) fn layer_norm(
    x: &[f32],
    dim: usize,
    weight: Option<&[f32]>,
    bias: Option<&[f32]>,
    eps: f32,
) -> Vec<f32> {
    let mut out = Vec::with_capacity(x.len());
    for row in x.chunks(dim.max(1)) {
        let mean = row.iter().map(|v| f64::from(*v)).sum::<f64>() / dim as f64;
        let variance = row.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / dim as f64;
        let scale = (variance + f64::from(eps)).sqrt().recip();
        out.extend(
            row.iter().enumerate().map(|(i, v)| {
                ((f64::from(*v) - mean) * scale * at(weight, i, 1.0) + at(bias, i, 0.0)) as f32
            }),
        );
    }
    out
}

fn at(vector: Option<&[f32]>, i: usize, absent: f64) -> f64 {
    vector.map_or(absent, |v| f64::from(v[i]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn erf_has_its_tabulated_values_and_limits() {
        // Abramowitz & Stegun, table 7.1.
        for (x, y) in [(0.0, 0.0), (0.5, 0.520_499_877_8), (1.0, 0.842_700_792_9), (2.0, 0.995_322_265_0)] {
            assert!((erf(x) - y).abs() < 1e-10, "{x}");
            assert!((erf(-x) + y).abs() < 1e-10, "{x}");
        }
        assert_eq!((erf(7.0), erf(f64::NEG_INFINITY)), (1.0, -1.0));
        assert!(erf(f64::NAN).is_nan() && unary(Unary::Relu, f32::NAN).is_nan());
    }

    #[test]
    fn normalised_rows_have_the_moments_asked_for() {
        let x = [3.0, 3.0, -5.0, 5.0, 0.0, 0.0];
        assert_eq!(rms_norm(&x, 2, Some(&[1.0, 2.0]), 1e-12), [1.0, 2.0, -1.0, 2.0, 0.0, 0.0]);
        assert_eq!(layer_norm(&[1.0, 3.0], 2, Some(&[2.0, 1.0]), Some(&[0.5, 0.0]), 0.0), [-1.5, 1.0]);
    }
}
