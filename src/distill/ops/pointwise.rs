//! Functions of one element and of two.

use burn_flex::FlexTensor;

use crate::distill::real::{Real, by_type, shape, tensor};
use crate::distill::tape::Tensor;
use crate::graph::{Binary, Unary};

/// A function of each element.
pub(in crate::distill) fn unary(x: &Tensor, function: Unary) -> Tensor {
    let values = x.values();
    let shape = x.shape();
    let dtype = x.dtype();
    let out = by_type!(dtype, E => {
        let out = values.storage::<E>().iter().map(|x| value::<E>(function, *x)).collect();
        tensor::<E>(out, &shape)
    });
    Tensor::recorded([x], out, move |g, _| {
        let g = g.to_contiguous();
        let grad = by_type!(dtype, E => {
            let pairs = values.storage::<E>().iter().zip(g.storage::<E>());
            tensor::<E>(pairs.map(|(x, g)| slope::<E>(function, *x) * *g).collect(), &shape)
        });
        [Some(grad)]
    })
}

/// `sqrt(2/π)` and the cubic coefficient of [`Unary::GeluTanh`].
const GELU: [f64; 2] = [0.797_884_560_802_865_4, 0.044_715];

#[inline(always)]
fn value<E: Real>(function: Unary, x: E) -> E {
    let half = E::of(0.5);
    match function {
        Unary::Silu => x * x.sigmoid(),
        Unary::GeluTanh => {
            let inner = E::of(GELU[0]) * (x + E::of(GELU[1]) * x * x * x);
            half * x * (E::ONE + inner.tanh())
        }
        Unary::GeluErf => half * x * (E::ONE + (x * E::of(std::f64::consts::FRAC_1_SQRT_2)).erf()),
        Unary::Relu => {
            if x < E::ZERO {
                E::ZERO
            } else {
                x
            }
        }
    }
}

#[inline(always)]
fn slope<E: Real>(function: Unary, x: E) -> E {
    let half = E::of(0.5);
    match function {
        Unary::Silu => {
            let s = x.sigmoid();
            s * (E::ONE + x * (E::ONE - s))
        }
        Unary::GeluTanh => {
            let inner = E::of(GELU[0]) * (x + E::of(GELU[1]) * x * x * x);
            let t = inner.tanh();
            let of_inner = E::of(GELU[0]) * (E::ONE + E::of(3.0 * GELU[1]) * x * x);
            half * (E::ONE + t) + half * x * (E::ONE - t * t) * of_inner
        }
        Unary::GeluErf => {
            let density = E::of(0.5 * std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2);
            let root = E::of(std::f64::consts::FRAC_1_SQRT_2);
            half * (E::ONE + (x * root).erf()) + x * density * (-half * x * x).exp()
        }
        Unary::Relu => {
            if x < E::ZERO {
                E::ZERO
            } else {
                E::ONE
            }
        }
    }
}

/// `a + b`
#[must_use]
pub fn add(a: &Tensor, b: &Tensor) -> Tensor {
    binary(a, b, Binary::Add)
}

/// `a - b`
#[must_use]
pub fn sub(a: &Tensor, b: &Tensor) -> Tensor {
    binary(a, b, Binary::Sub)
}

/// `a b`
#[must_use]
pub fn mul(a: &Tensor, b: &Tensor) -> Tensor {
    binary(a, b, Binary::Mul)
}

/// A function of two values; the second's axes are those of the first or one, but that either may have the batch.
pub(in crate::distill) fn binary(a: &Tensor, b: &Tensor, function: Binary) -> Tensor {
    let (mut a_shape, mut b_shape) = (a.shape(), b.shape());
    // Missing axes stand between the batch and the rest.
    while b_shape.len() < a_shape.len() {
        b_shape.insert(1, 1);
    }
    let b = b.reshaped(&b_shape);
    a_shape[0] = a_shape[0].max(b_shape[0]);
    let a = a.expanded(&a_shape);
    let places = Places::of(&a_shape, &b_shape);
    let (x, y, dtype) = (a.values(), b.values(), a.dtype());
    let out = by_type!(dtype, E => {
        let mut out = vec![E::ZERO; x.storage::<E>().len()];
        match function {
            Binary::Add => places.each::<E>(x.storage(), y.storage(), &mut out, |a, b| a + b),
            Binary::Sub => places.each::<E>(x.storage(), y.storage(), &mut out, |a, b| a - b),
            Binary::Mul => places.each::<E>(x.storage(), y.storage(), &mut out, |a, b| a * b),
        }
        tensor::<E>(out, &a_shape)
    });
    Tensor::recorded([&a, &b], out, move |g, [of_a, of_b]| {
        let g = g.to_contiguous();
        by_type!(dtype, E => {
            let values = g.storage::<E>();
            let to_a = || match function {
                Binary::Add | Binary::Sub => g.clone(),
                Binary::Mul => {
                    let mut out = vec![E::ZERO; values.len()];
                    places.each::<E>(values, y.storage(), &mut out, |g, b| g * b);
                    tensor::<E>(out, &a_shape)
                }
            };
            let to_b = || match function {
                Binary::Add if places.is_same() => g.clone(),
                Binary::Add => tensor::<E>(places.sums::<E>(values, values, |g, _| g), &b_shape),
                Binary::Sub => tensor::<E>(places.sums::<E>(values, values, |g, _| -g), &b_shape),
                Binary::Mul => tensor::<E>(places.sums::<E>(values, x.storage(), |g, a| g * a), &b_shape),
            };
            [of_a.then(to_a), of_b.then(to_b)]
        })
    })
}

/// Where the elements of a smaller value meet those of a larger: its axes, those beside each other that are alike joined.
struct Places {
    /// Extents, and how far the smaller value's element moves with each.
    axes: Vec<(usize, usize)>,
    len_small: usize,
}

impl Places {
    fn of(large: &[usize], small: &[usize]) -> Places {
        let mut axes: Vec<(usize, usize)> = Vec::new();
        let mut stride = 1;
        for (n, m) in large.iter().zip(small).rev().filter(|(n, _)| **n != 1) {
            let moves = *m != 1;
            match axes.last_mut() {
                Some((extent, step)) if (*step != 0) == moves => *extent *= n,
                _ => axes.push((*n, if moves { stride } else { 0 })),
            }
            stride *= m;
        }
        axes.reverse();
        if axes.is_empty() {
            axes.push((1, 1));
        }
        Places { axes, len_small: small.iter().product() }
    }

    fn is_same(&self) -> bool {
        matches!(self.axes[..], [(_, step)] if step != 0)
    }

    /// For each run along the last axis: where it begins in the larger value and in the smaller.
    fn runs(&self, mut f: impl FnMut(usize, usize)) {
        let (run, _) = *self.axes.last().expect("there is one");
        let outer = &self.axes[..self.axes.len() - 1];
        let mut index = vec![0; outer.len()];
        let n_runs: usize = outer.iter().map(|(n, _)| n).product();
        let mut small = 0;
        for i in 0..n_runs {
            f(i * run, small);
            for (at, (extent, step)) in index.iter_mut().zip(outer).rev() {
                *at += 1;
                small += step;
                if *at < *extent {
                    break;
                }
                small -= step * extent;
                *at = 0;
            }
        }
    }

    fn each<E: Real>(&self, a: &[E], b: &[E], out: &mut [E], f: impl Fn(E, E) -> E) {
        let (run, step) = *self.axes.last().expect("there is one");
        self.runs(|large, small| {
            let pairs = out[large..large + run].iter_mut().zip(&a[large..large + run]);
            if step == 0 {
                let b = b[small];
                pairs.for_each(|(o, a)| *o = f(*a, b));
            } else {
                pairs.zip(&b[small..small + run]).for_each(|((o, a), b)| *o = f(*a, *b));
            }
        });
    }

    /// What meets each element of the smaller value, summed.
    fn sums<E: Real>(&self, g: &[E], a: &[E], f: impl Fn(E, E) -> E) -> Vec<E> {
        let (run, step) = *self.axes.last().expect("there is one");
        let mut out = vec![E::ZERO; self.len_small];
        self.runs(|large, small| {
            let pairs = g[large..large + run].iter().zip(&a[large..large + run]);
            if step == 0 {
                let sum = pairs.fold(E::ZERO, |sum, (g, a)| sum + f(*g, *a));
                out[small] += sum;
            } else {
                out[small..small + run].iter_mut().zip(pairs).for_each(|(o, (g, a))| *o += f(*g, *a));
            }
        });
        out
    }
}

/// The shape of a gradient that was summed over rows.
pub(super) fn summed_rows<E: Real>(g: &FlexTensor) -> FlexTensor {
    let n = *shape(g).last().expect("rows");
    let mut sums = vec![E::ZERO; n];
    for row in g.storage::<E>().chunks_exact(n) {
        sums.iter_mut().zip(row).for_each(|(s, g)| *s += *g);
    }
    tensor::<E>(sums, &[n])
}
