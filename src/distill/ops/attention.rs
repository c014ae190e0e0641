//! Attention: scores, their softmax and what it weighs, as one step that keeps the softmax for the way back.

use burn_backend::Shape;
use burn_backend::ops::FloatTensorOps;
use burn_flex::{Flex, FlexTensor};

use crate::distill::real::{Real, by_type, shape};
use crate::distill::tape::Tensor;

/// `softmax(scale q kᵀ) v`: `q [b, n, h, d]`, `k` and `v` `[b, m, g, d]`, `g` divides `h`. With `past`, query `i` sees the first
/// `past + i + 1` keys.
pub(in crate::distill) fn attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    scale: f32,
    past: Option<usize>,
) -> Tensor {
    let [b, _, n_heads, dim] = extents(&q.values());
    let [_, n_keys, groups, _] = extents(&k.values());
    let each = n_heads / groups;
    let heads = |x: &FlexTensor| Flex::float_permute(x.clone(), &[0, 2, 1, 3]);
    // Groups that several heads read are repeated, head by head.
    let repeated = |x: &FlexTensor| {
        if each == 1 {
            return heads(x);
        }
        let x = x.reshape(Shape::from([b, n_keys, groups, 1, dim]));
        let x = Flex::float_expand(x, Shape::from([b, n_keys, groups, each, dim]));
        heads(&x.to_contiguous().reshape(Shape::from([b, n_keys, n_heads, dim])))
    };
    let (qs, ks, vs) = (heads(&q.values()), repeated(&k.values()), repeated(&v.values()));
    let mut shares = Flex::float_matmul(qs.clone(), Flex::float_transpose(ks.clone()));
    by_type!(shares.dtype(), E => softmax::<E>(&mut shares, n_keys, scale, past));
    let out = heads(&Flex::float_matmul(shares.clone(), vs.clone())).to_contiguous();
    Tensor::recorded([q, k, v], out, move |g, [of_q, of_k, of_v]| {
        let g = heads(&g.to_contiguous());
        let grouped = |x: FlexTensor| {
            let x = heads(&x).to_contiguous();
            if each == 1 {
                return x;
            }
            let x = x.reshape(Shape::from([b, n_keys, groups, each, dim]));
            Flex::float_sum_dim(x, 3).reshape(Shape::from([b, n_keys, groups, dim]))
        };
        let to_v = || grouped(Flex::float_matmul(Flex::float_transpose(shares.clone()), g.clone()));
        let to_v = of_v.then(to_v);
        if !of_q && !of_k {
            return [None, None, to_v];
        }
        let mut scores = Flex::float_matmul(g.clone(), Flex::float_transpose(vs.clone()));
        by_type!(scores.dtype(), E => softmax_back::<E>(&mut scores, &shares, n_keys, scale));
        let to_q = || heads(&Flex::float_matmul(scores.clone(), ks.clone())).to_contiguous();
        let to_k = || grouped(Flex::float_matmul(Flex::float_transpose(scores.clone()), qs.clone()));
        [of_q.then(to_q), of_k.then(to_k), to_v]
    })
}

fn extents(x: &FlexTensor) -> [usize; 4] {
    <[usize; 4]>::try_from(shape(x)).expect("whoever calls gives four axes")
}

/// Rows of scores become shares.
fn softmax<E: Real>(scores: &mut FlexTensor, n_keys: usize, scale: f32, past: Option<usize>) {
    let n_queries = shape(scores)[2];
    let scale = E::of(f64::from(scale));
    for (i, row) in scores.storage_mut::<E>().chunks_exact_mut(n_keys).enumerate() {
        let n_visible = past.map_or(n_keys, |past| past + i % n_queries + 1);
        let (row, hidden) = row.split_at_mut(n_visible);
        hidden.fill(E::ZERO);
        row.iter_mut().for_each(|x| *x = *x * scale);
        // Nothing changes by subtracting the largest but that no exponential overflows.
        let largest = row.iter().fold(row[0], |largest, x| if largest < *x { *x } else { largest });
        row.iter_mut().for_each(|x| *x = (*x - largest).exp());
        let total = row.iter().fold(E::ZERO, |sum, x| sum + *x);
        let share = E::ONE / total;
        row.iter_mut().for_each(|x| *x = *x * share);
    }
}

/// Gradients of the shares become those of the scores before they were scaled: `scale · p (g − Σ g p)`.
fn softmax_back<E: Real>(gradients: &mut FlexTensor, shares: &FlexTensor, n_keys: usize, scale: f32) {
    let scale = E::of(f64::from(scale));
    let rows = shares.storage::<E>().chunks_exact(n_keys);
    for (g, p) in gradients.storage_mut::<E>().chunks_exact_mut(n_keys).zip(rows) {
        let along = g.iter().zip(p).fold(E::ZERO, |sum, (g, p)| sum + *g * *p);
        g.iter_mut().zip(p).for_each(|(g, p)| *g = scale * *p * (*g - along));
    }
}
