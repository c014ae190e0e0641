//! Normalisation of rows. What goes back is written in the normalised values, so that no power of a small norm overflows.

use crate::distill::real::{Real, by_type, tensor};
use crate::distill::tape::Tensor;

/// `x / sqrt(mean(x²) + eps) * w` over the last axis.
pub(in crate::distill) fn rms_norm(x: &Tensor, weight: Option<&Tensor>, eps: f32) -> Tensor {
    normalised(x, weight, None, eps, false)
}

/// `(x - mean) / sqrt(var + eps) * w + b` over the last axis.
pub(in crate::distill) fn layer_norm(
    x: &Tensor,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f32,
) -> Tensor {
    normalised(x, weight, bias, eps, true)
}

fn normalised(x: &Tensor, weight: Option<&Tensor>, bias: Option<&Tensor>, eps: f32, centred: bool) -> Tensor {
    let shape = x.shape();
    let dim = *shape.last().expect("x has an axis");
    let dtype = x.dtype();
    // Absent ones are constants, of which no gradient is wanted.
    let absent = |value: f64| by_type!(dtype, E => Tensor::constant(vec![E::of(value); dim], &[dim]));
    let weight = weight.cloned().unwrap_or_else(|| absent(1.0));
    let bias = bias.cloned().unwrap_or_else(|| absent(0.0));
    let (values, w, b) = (x.values(), weight.values(), bias.values());
    let (out, hats, scales) = by_type!(dtype, E => {
        let values = values.storage::<E>();
        let mut hats = vec![E::ZERO; values.len()];
        let mut out = vec![E::ZERO; values.len()];
        let mut scales = Vec::with_capacity(values.len() / dim);
        let (w, b) = (w.storage::<E>(), b.storage::<E>());
        for (i, row) in values.chunks_exact(dim).enumerate() {
            let (mean, scale) = moments::<E>(row, eps, centred);
            let at = i * dim..(i + 1) * dim;
            let hats = &mut hats[at.clone()];
            hats.iter_mut().zip(row).for_each(|(h, x)| *h = (*x - mean) * scale);
            let affine = w.iter().zip(b);
            out[at].iter_mut().zip(&*hats).zip(affine).for_each(|((o, h), (w, b))| *o = *h * *w + *b);
            scales.push(scale);
        }
        (tensor::<E>(out, &shape), tensor::<E>(hats, &shape), tensor::<E>(scales, &[values.len() / dim]))
    });
    Tensor::recorded([x, &weight, &bias], out, move |g, [of_x, of_w, of_b]| {
        let g = g.to_contiguous();
        by_type!(dtype, E => {
            let (g, hats, scales) = (g.storage::<E>(), hats.storage::<E>(), scales.storage::<E>());
            let w = w.storage::<E>();
            let mut to_x = vec![E::ZERO; if of_x { g.len() } else { 0 }];
            let (mut to_w, mut to_b) = (vec![E::ZERO; dim], vec![E::ZERO; dim]);
            for (i, scale) in scales.iter().enumerate() {
                let at = i * dim..(i + 1) * dim;
                let (g, h) = (&g[at.clone()], &hats[at.clone()]);
                if of_w {
                    to_w.iter_mut().zip(g.iter().zip(h)).for_each(|(o, (g, h))| *o += *g * *h);
                }
                if of_b {
                    to_b.iter_mut().zip(g).for_each(|(o, g)| *o += *g);
                }
                if of_x {
                    back::<E>(&mut to_x[at], g, h, w, *scale, centred);
                }
            }
            [
                of_x.then(|| tensor::<E>(to_x, &shape)),
                of_w.then(|| tensor::<E>(to_w, &[dim])),
                of_b.then(|| tensor::<E>(to_b, &[dim])),
            ]
        })
    })
}

/// The mean, where it is taken away, and one over the root of the mean square that is left.
fn moments<E: Real>(row: &[E], eps: f32, centred: bool) -> (E, E) {
    let share = E::of(1.0 / row.len() as f64);
    let mean = if centred { sum(row.iter().copied()) * share } else { E::ZERO };
    let square = sum(row.iter().map(|x| (*x - mean) * (*x - mean))) * share;
    (mean, E::ONE / (square + E::of(f64::from(eps))).sqrt())
}

/// `scale · (gw − ĥ mean(gw ĥ) − mean(gw))`, the last only where the mean was taken away.
fn back<E: Real>(out: &mut [E], g: &[E], hats: &[E], w: &[E], scale: E, centred: bool) {
    let share = E::of(1.0 / g.len() as f64);
    out.iter_mut().zip(g.iter().zip(w)).for_each(|(o, (g, w))| *o = *g * *w);
    let along = sum(out.iter().zip(hats).map(|(g, h)| *g * *h)) * share;
    let mean = if centred { sum(out.iter().copied()) * share } else { E::ZERO };
    out.iter_mut().zip(hats).for_each(|(o, h)| *o = scale * (*o - *h * along - mean));
}

fn sum<E: Real>(values: impl Iterator<Item = E>) -> E {
    values.fold(E::ZERO, |sum, x| sum + x)
}
