//! How likely choices are, and how far two ways to choose lie apart.

use burn_flex::FlexTensor;

use crate::distill::real::{Real, by_type, shape as shape_of, tensor};
use crate::distill::tape::Tensor;

/// `ln softmax(x)[id]` of each row: `x [n, m]`, an id for each, `[n]`.
///
/// # Panics
/// If there are not as many ids as rows, or one is no column.
#[must_use]
pub fn log_likelihood(x: &Tensor, ids: &[usize]) -> Tensor {
    let shape = x.shape();
    let [n, m] = <[usize; 2]>::try_from(shape.clone()).expect("rows of choices");
    assert!(ids.len() == n && ids.iter().all(|id| *id < m), "{} ids of {n} rows of {m}", ids.len());
    let (dtype, values, ids) = (x.dtype(), x.values(), ids.to_vec());
    let (out, shares) = by_type!(dtype, E => chosen::<E>(&values, &ids));
    Tensor::recorded([x], out, move |g, _| {
        let g = g.to_contiguous();
        [Some(by_type!(dtype, E => {
            let mut back = shares.storage::<E>().to_vec();
            for ((row, id), g) in back.chunks_exact_mut(m).zip(&ids).zip(g.storage::<E>()) {
                row.iter_mut().for_each(|v| *v *= -*g);
                row[*id] += *g;
            }
            tensor::<E>(back, &shape)
        }))]
    })
}

/// How far the shares q that rows of `x [n, m]` give lie from the shares p that rows of `towards` give, for each row, in nats: at `beta` 0
/// the divergence KL(p ‖ q), at 1 KL(q ‖ p), and between them the generalised one of Jensen and Shannon, β KL(p ‖ r) + (1 − β) KL(q ‖ r) with
/// r = β p + (1 − β) q (Agarwal et al. 2024, <https://arxiv.org/abs/2306.13649>, section 3.1). Nothing is learnt of `towards`.
///
/// # Panics
/// If the two are not alike in shape.
#[must_use]
pub fn divergence(x: &Tensor, towards: &Tensor, beta: f64) -> Tensor {
    let shape = x.shape();
    let [_, m] = <[usize; 2]>::try_from(shape.clone()).expect("rows of choices");
    assert_eq!(towards.shape(), shape, "choices among others");
    let (dtype, values, others) = (x.dtype(), x.values(), towards.values());
    let (out, slopes) = by_type!(dtype, E => apart::<E>(&values, &others, beta));
    Tensor::recorded([x], out, move |g, _| {
        let g = g.to_contiguous();
        [Some(by_type!(dtype, E => {
            let mut back = slopes.storage::<E>().to_vec();
            for (row, g) in back.chunks_exact_mut(m).zip(g.storage::<E>()) {
                row.iter_mut().for_each(|v| *v *= *g);
            }
            tensor::<E>(back, &shape)
        }))]
    })
}

/// How far rows lie apart, and the slopes of that in the first one's logits.
fn apart<E: Real>(x: &FlexTensor, towards: &FlexTensor, beta: f64) -> (FlexTensor, FlexTensor) {
    let shape = shape_of(x);
    let [of_p, of_q] = [beta, 1.0 - beta].map(E::of);
    let (mut out, mut slopes) = (Vec::with_capacity(shape[0]), Vec::with_capacity(shape[0] * shape[1]));
    let rows = x.storage::<E>().chunks_exact(shape[1]);
    for (row, other) in rows.zip(towards.storage::<E>().chunks_exact(shape[1])) {
        let (mut sum, mut weighed) = (E::ZERO, E::ZERO);
        let begin = slopes.len();
        let (ln_q, ln_p) = (logarithms(row), logarithms(other));
        for (ln_q, ln_p) in ln_q.iter().zip(&ln_p) {
            let (q, p) = (ln_q.exp(), ln_p.exp());
            // What it adds, and q times its slope in q, but for what is the same for the whole row.
            let (adds, slope) = if beta == 0.0 {
                (p * (*ln_p - *ln_q), -p)
            } else if beta == 1.0 {
                (q * (*ln_q - *ln_p), q * (*ln_q - *ln_p))
            } else {
                let ln_r = sum_of_logarithms(*ln_p + of_p.ln(), *ln_q + of_q.ln());
                let of_q = of_q * q * (*ln_q - ln_r);
                (of_p * p * (*ln_p - ln_r) + of_q, of_q)
            };
            sum += adds;
            weighed += slope;
            slopes.push(slope);
        }
        slopes[begin..].iter_mut().zip(ln_q).for_each(|(slope, ln_q)| *slope = *slope - ln_q.exp() * weighed);
        out.push(sum);
    }
    (tensor::<E>(out, &shape[..1]), tensor::<E>(slopes, &shape))
}

/// The logarithms of the shares that a row of logits gives.
fn logarithms<E: Real>(row: &[E]) -> Vec<E> {
    let largest = row.iter().fold(row[0], |largest, v| if largest < *v { *v } else { largest });
    let total = row.iter().fold(E::ZERO, |sum, v| sum + (*v - largest).exp());
    let above = largest + total.ln();
    row.iter().map(|v| *v - above).collect()
}

/// `ln(eᵃ + eᵇ)`
fn sum_of_logarithms<E: Real>(a: E, b: E) -> E {
    let (more, less) = if a < b { (b, a) } else { (a, b) };
    more + (E::ONE + (less - more).exp()).ln()
}

/// The logarithms of the shares that were chosen, and all shares.
fn chosen<E: Real>(x: &FlexTensor, ids: &[usize]) -> (FlexTensor, FlexTensor) {
    let shape = shape_of(x);
    let mut shares = Vec::with_capacity(shape[0] * shape[1]);
    let out = x.storage::<E>().chunks_exact(shape[1]).zip(ids).map(|(row, id)| {
        // Nothing changes by subtracting the largest but that no exponential overflows.
        let largest = row.iter().fold(row[0], |largest, v| if largest < *v { *v } else { largest });
        let begin = shares.len();
        shares.extend(row.iter().map(|v| (*v - largest).exp()));
        let total = shares[begin..].iter().fold(E::ZERO, |sum, v| sum + *v);
        let share = E::ONE / total;
        shares[begin..].iter_mut().for_each(|v| *v = *v * share);
        row[*id] - largest - total.ln()
    });
    let out = out.collect();
    (tensor::<E>(out, &shape[..1]), tensor::<E>(shares, &shape))
}
