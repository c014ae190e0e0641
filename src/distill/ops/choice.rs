//! How likely choices are.

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
