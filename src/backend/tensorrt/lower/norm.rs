//! Normalisation of rows, in f32 from its first element to its last.
//!
//! Why not TensorRT's own normalisation layer: it has none by the root of the mean square, and what is written here becomes one kernel.

use super::Lowering;
use crate::backend::tensorrt::layers::{Element, ElementWise, Function, Reduction, Tensor};
use crate::graph::{Dim, ValueId, WeightId};

impl Lowering<'_> {
    pub(super) fn rms_norm(&mut self, x: ValueId, weight: Option<WeightId>, eps: f32) -> Tensor {
        let shape = self.shape(x);
        let x = self.exact(x);
        let y = self.over_root_mean_square(x, shape.len(), eps);
        self.scaled(y, shape, weight, None)
    }

    pub(super) fn layer_norm(
        &mut self,
        x: ValueId,
        weight: Option<WeightId>,
        bias: Option<WeightId>,
        eps: f32,
    ) -> Tensor {
        let shape = self.shape(x);
        let x = self.exact(x);
        let mean = self.recorder.reduce(Reduction::Mean, x, shape.len() - 1, true);
        let centred = self.recorder.elementwise(ElementWise::Difference, x, mean);
        let y = self.over_root_mean_square(centred, shape.len(), eps);
        self.scaled(y, shape, weight, bias)
    }

    fn over_root_mean_square(&mut self, x: Tensor, rank: usize, eps: f32) -> Tensor {
        let square = self.recorder.elementwise(ElementWise::Product, x, x);
        let mean = self.recorder.reduce(Reduction::Mean, square, rank - 1, true);
        let eps = self.scalar(eps, Element::F32, rank);
        let sum = self.recorder.elementwise(ElementWise::Sum, mean, eps);
        let root = self.recorder.function(Function::SquareRoot, sum);
        self.recorder.elementwise(ElementWise::Quotient, x, root)
    }

    fn scaled(
        &mut self,
        mut y: Tensor,
        shape: &[Dim],
        weight: Option<WeightId>,
        bias: Option<WeightId>,
    ) -> Tensor {
        for (id, operation) in [(weight, ElementWise::Product), (bias, ElementWise::Sum)] {
            let Some(id) = id else { continue };
            let mut row = vec![1; shape.len()];
            row[shape.len() - 1] = self.network.weights[id.index()].shape[0];
            let elements = self.vector(id, Element::F32, &row);
            y = self.recorder.elementwise(operation, y, elements);
        }
        self.recorder.cast(y, self.compute)
    }
}
