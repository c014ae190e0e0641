//! Products with weights.

use super::Lowering;
use super::quantized::Operands;
use crate::backend::tensorrt::layers::{ElementWise, Tensor};
use crate::graph::{Dim, ValueId, WeightId};

impl Lowering<'_> {
    /// `x Wᵀ + b` over all rows at once, with `W` as it stands: the product takes its transpose.
    pub(super) fn linear(
        &mut self,
        x: ValueId,
        weight: WeightId,
        bias: Option<WeightId>,
        shape: &[Dim],
    ) -> Tensor {
        let [n, k] = *self.network.weights[weight.index()].shape else {
            unreachable!("verified: a matrix has two axes")
        };
        let is_matrix = self.shape(x).len() == 2;
        let mut rows = self.computed(x);
        if !is_matrix {
            rows = self.flattened(rows, k);
        }
        let Operands { rows, matrix, ratios } = self.operands(rows, weight);
        let mut y = self.recorder.matmul(rows, matrix, [false, true]);
        if let Some(ratios) = ratios {
            y = self.recorder.elementwise(ElementWise::Product, y, ratios);
        }
        if let Some(bias) = bias {
            let bias = self.vector(bias, self.compute, &[1, n]);
            y = self.recorder.elementwise(ElementWise::Sum, y, bias);
        }
        if is_matrix { y } else { self.reshape(y, shape) }
    }

    /// A weight of one axis in a type and a shape, so that it meets the last axis of others.
    pub(super) fn vector(
        &mut self,
        id: WeightId,
        element: crate::backend::tensorrt::layers::Element,
        shape: &[usize],
    ) -> Tensor {
        let elements = self.elements(id);
        let elements = self.cast(elements, element);
        let shape: Vec<Dim> = shape.iter().map(|n| Dim::Fixed(*n)).collect();
        self.reshape(elements, &shape)
    }
}
