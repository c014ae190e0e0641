//! Functions of one and two elements, and norms.

use super::*;

pub(super) fn gelu_tanh(x: f64) -> f64 {
    x / 2.0 * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x)).tanh())
}

/// By its series (Abramowitz & Stegun 7.1.6), and by the continued fraction 7.1.14 where that converges faster.
fn erfc(t: f64) -> f64 {
    if t < 0.0 {
        return 2.0 - erfc(-t);
    }
    let root = std::f64::consts::PI.sqrt();
    if t < 3.0 {
        let (mut term, mut sum) = (t, t);
        for n in 1..200 {
            term *= 2.0 * t * t / (2 * n + 1) as f64;
            sum += term;
        }
        return 1.0 - 2.0 / root * (-t * t).exp() * sum;
    }
    let mut fraction = t;
    for n in (1..100).rev() {
        fraction = t + n as f64 / 2.0 / fraction;
    }
    (-t * t).exp() / root / fraction
}

fn gelu_erf(x: f64) -> f64 {
    x / 2.0 * erfc(-x / std::f64::consts::SQRT_2)
}

#[test]
fn functions_are_accurate_for_small_and_large() {
    let xs: Vec<f32> =
        (-4000..4000).map(|i| i as f32 * 0.0031 + 0.0007).chain([-30.0, 30.0, -1e4, 1e4, 0.0]).collect();
    // Errors are relative to the result, or to this part of the input where the result is a tail or a difference.
    #[expect(clippy::type_complexity, reason = "read once, right below")]
    let cases: [(function::Unary, f64, fn(f64) -> f64); 4] = [
        (function::Unary::Silu, 0.1, |x| x / (1.0 + (-x).exp())),
        (function::Unary::GeluTanh, 0.1, gelu_tanh),
        (function::Unary::GeluErf, 0.1, gelu_erf),
        (function::Unary::Relu, 0.0, |x| x.max(0.0)),
    ];
    for (function, part, expected) in cases {
        for kernels in tables() {
            let a = Unary { x: Some(&xs), len: xs.len(), function };
            let mut out = vec![f32::NAN; xs.len()];
            (kernels.unary)(&a, 0..a.tasks(), &mut Out::new(&mut out), &mut []);
            for (x, got) in xs.iter().zip(&out) {
                let expected = expected(f64::from(*x));
                let allowed = 4e-7 * expected.abs().max(part * f64::from(x.abs().min(1.0))) + 1e-30;
                let off = (f64::from(*got) - expected).abs();
                assert!(off <= allowed, "{function:?} of {x} on {}: {got}, expected {expected}", kernels.isa);
            }
            let mut in_place = xs.clone();
            (kernels.unary)(&Unary { x: None, ..a }, 0..a.tasks(), &mut Out::new(&mut in_place), &mut []);
            assert!(same_bits(&in_place, &out), "{function:?} in place");
            check_splits("unary", a.tasks(), &out, &vec![f32::NAN; out.len()], |tasks, out| {
                (kernels.unary)(&a, tasks, out, &mut []);
            });
        }
    }
}

#[test]
fn factor_and_addend_are_rounded_one_after_the_other() {
    let xs = Random::new(21).values(9001);
    let expected: Vec<f32> = xs.iter().map(|x| x * 2.7 + -1.3).collect();
    for kernels in tables() {
        let a = Affine { x: Some(&xs), len: xs.len(), mul: 2.7, add: -1.3 };
        let mut out = vec![f32::NAN; xs.len()];
        (kernels.affine)(&a, 0..a.tasks(), &mut Out::new(&mut out), &mut []);
        assert!(same_bits(&out, &expected), "{}", kernels.isa);
        let mut in_place = xs.clone();
        (kernels.affine)(&Affine { x: None, ..a }, 0..a.tasks(), &mut Out::new(&mut in_place), &mut []);
        assert!(same_bits(&in_place, &out), "in place on {}", kernels.isa);
        check_splits("affine", a.tasks(), &out, &vec![f32::NAN; out.len()], |tasks, out| {
            (kernels.affine)(&a, tasks, out, &mut []);
        });
    }
}

#[test]
fn functions_keep_nan_and_take_infinity() {
    let xs = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
    for kernels in tables() {
        for function in [function::Unary::Silu, function::Unary::GeluTanh, function::Unary::Relu] {
            let mut out = [0.0; 3];
            let a = Unary { x: Some(&xs), len: 3, function };
            (kernels.unary)(&a, 0..1, &mut Out::new(&mut out), &mut []);
            assert!(out[0].is_nan(), "{function:?} on {}", kernels.isa);
            assert_eq!(out[1], f32::INFINITY, "{function:?} on {}", kernels.isa);
        }
    }
}

#[test]
fn second_values_are_repeated_along_axes_of_one() {
    let cases: [(&[usize], &[usize]); 12] = [
        (&[5000], &[5000]),
        (&[7, 33], &[33]),
        (&[7, 33], &[7, 1]),
        (&[7, 33], &[1, 1]),
        (&[7, 33], &[]),
        (&[3, 5, 4, 37], &[3, 1, 1, 37]),
        (&[3, 5, 4, 37], &[5, 1, 37]),
        (&[3, 5, 4, 37], &[5, 4, 1]),
        (&[2, 3, 1, 5, 2, 9], &[2, 1, 1, 5, 1, 9]),
        (&[1, 1], &[1, 1]),
        (&[130, 70], &[130, 70]),
        (&[4, 1, 6], &[1, 1, 6]),
    ];
    let mut random = Random::new(5);
    for (shape, y_shape) in cases {
        let len: usize = shape.iter().product();
        let (x, y) = (random.values(len), random.values(y_shape.iter().product()));
        for (function, f) in [
            (function::Binary::Add, (|a, b| a + b) as fn(f64, f64) -> f64),
            (function::Binary::Sub, |a, b| a - b),
            (function::Binary::Mul, |a, b| a * b),
        ] {
            let expected: Vec<f64> = (0..len)
                .map(|index| {
                    let (mut rest, mut at, mut step) = (index, 0, 1);
                    for axis in (0..shape.len()).rev() {
                        let i = rest % shape[axis];
                        rest /= shape[axis];
                        if let Some(axis) = (axis + y_shape.len()).checked_sub(shape.len()) {
                            at += if y_shape[axis] == 1 { 0 } else { i * step };
                            step *= y_shape[axis];
                        }
                    }
                    f(f64::from(x[index]), f64::from(y[at]))
                })
                .collect();
            for kernels in tables() {
                let a = Binary { x: Some(&x), shape, y: &y, y_shape, function };
                let mut out = vec![f32::NAN; len];
                (kernels.binary)(&a, 0..a.tasks(), &mut Out::new(&mut out), &mut []);
                check(&format!("{function:?} {shape:?} {y_shape:?}"), kernels.isa, &out, &expected, 1e-7);
                let mut in_place = x.clone();
                (kernels.binary)(
                    &Binary { x: None, ..a },
                    0..a.tasks(),
                    &mut Out::new(&mut in_place),
                    &mut [],
                );
                assert!(same_bits(&in_place, &out));
                check_splits("binary", a.tasks(), &out, &vec![f32::NAN; len], |tasks, out| {
                    (kernels.binary)(&a, tasks, out, &mut []);
                });
            }
        }
    }
}

#[test]
fn norms_agree_with_f64() {
    for (seed, dim) in [1usize, 5, 16, 24, 128, 130, 1031].into_iter().enumerate() {
        let mut random = Random::new(seed as u64);
        let rows = 5;
        let mut x = random.values(rows * dim);
        x.iter_mut().for_each(|x| *x = *x * 3.0 + 1.0);
        let (weight, bias) = (random.values(dim), random.values(dim));
        let eps = 1e-5;
        for (weight, bias) in [(None, None), (Some(&weight[..]), Some(&bias[..]))] {
            let expected = |centre: bool| -> Vec<f64> {
                let of_row = |row: &[f32]| {
                    let mean = if centre {
                        row.iter().map(|v| f64::from(*v)).sum::<f64>() / dim as f64
                    } else {
                        0.0
                    };
                    let square = row.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / dim as f64;
                    let scale = 1.0 / (square + f64::from(eps)).sqrt();
                    let w = |i: usize| f64::from(weight.map_or(1.0, |w| w[i]));
                    let b = |i: usize| if centre { f64::from(bias.map_or(0.0, |b| b[i])) } else { 0.0 };
                    let one = |(i, v): (usize, &f32)| (f64::from(*v) - mean) * scale * w(i) + b(i);
                    row.iter().enumerate().map(one).collect::<Vec<f64>>()
                };
                x.chunks_exact(dim).flat_map(of_row).collect()
            };
            for kernels in tables() {
                let a = RmsNorm { x: Some(&x), weight, eps, dim };
                let mut out = vec![f32::NAN; rows * dim];
                (kernels.rms_norm)(&a, 0..rows, &mut Out::new(&mut out), &mut []);
                check("rms_norm", kernels.isa, &out, &expected(false), 1e-6);
                check_splits("rms_norm", rows, &out, &vec![f32::NAN; out.len()], |tasks, out| {
                    (kernels.rms_norm)(&a, tasks, out, &mut []);
                });
                let a = LayerNorm { x: Some(&x), weight, bias, eps, dim };
                (kernels.layer_norm)(&a, 0..rows, &mut Out::new(&mut out), &mut []);
                check(&format!("layer_norm {dim}"), kernels.isa, &out, &expected(true), 1e-6);
                check_splits("layer_norm", rows, &out, &vec![f32::NAN; out.len()], |tasks, out| {
                    (kernels.layer_norm)(&a, tasks, out, &mut []);
                });
                let mut in_place = x.clone();
                (kernels.layer_norm)(
                    &LayerNorm { x: None, ..a },
                    0..rows,
                    &mut Out::new(&mut in_place),
                    &mut [],
                );
                assert!(same_bits(&in_place, &out));
            }
        }
    }
}
