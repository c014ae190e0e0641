//! Products with weights.

use burn_backend::Shape;
use burn_flex::FlexTensor;

use super::pointwise::summed_rows;
use super::product::{Factor, grouped, of_columns};
use crate::distill::real::by_type;
use crate::distill::tape::Tensor;

/// `x Wᵀ + b`: `x [.., k]`, `W [n, k]`, `b [n]`.
pub(in crate::distill) fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Tensor {
    let mut shape = x.shape();
    let (n, k) = (weight.shape()[0], weight.shape()[1]);
    let x_shape = shape.clone();
    *shape.last_mut().expect("x has an axis") = n;
    let (rows, w) = (grouped(&x.values(), k), weight.values());
    let mut out = Factor::rows(&w).times(&rows);
    if let Some(bias) = bias {
        add_row(&mut out, &bias.values());
    }
    let out = out.reshape(Shape::from(shape));
    let back = move |g: FlexTensor, of_x: bool, of_w: bool, of_b: bool| {
        let g = grouped(&g.to_contiguous(), n);
        let to_x = || Factor::columns(&w).times(&g).reshape(Shape::from(x_shape.clone()));
        let to_w = || of_columns(&g, &rows);
        let to_b = || by_type!(g.dtype(), E => summed_rows::<E>(&g));
        (of_x.then(to_x), of_w.then(to_w), of_b.then(to_b))
    };
    match bias {
        Some(bias) => Tensor::recorded([x, weight, bias], out, move |g, [of_x, of_w, of_b]| {
            let (x, w, b) = back(g, of_x, of_w, of_b);
            [x, w, b]
        }),
        None => Tensor::recorded([x, weight], out, move |g, [of_x, of_w]| {
            let (x, w, _) = back(g, of_x, of_w, false);
            [x, w]
        }),
    }
}

/// Adds a row to every row.
pub(super) fn add_row(out: &mut FlexTensor, row: &FlexTensor) {
    by_type!(out.dtype(), E => {
        let row = row.storage::<E>();
        for out in out.storage_mut::<E>().chunks_exact_mut(row.len()) {
            out.iter_mut().zip(row).for_each(|(o, b)| *o += *b);
        }
    });
}
