//! Functions of elements, in the type in which they come.

use super::Lowering;
use crate::backend::tensorrt::layers::{Activation, ElementWise, Tensor};
use crate::graph::{Binary, Dim, Unary, ValueId};

impl Lowering<'_> {
    pub(super) fn unary(&mut self, x: ValueId, function: Unary) -> Tensor {
        let x = self.value(x);
        let activation = match function {
            Unary::Silu => {
                let gate = self.recorder.activation(Activation::Sigmoid, x);
                return self.recorder.elementwise(ElementWise::Product, x, gate);
            }
            Unary::GeluTanh => Activation::GeluTanh,
            Unary::GeluErf => Activation::GeluErf,
            Unary::Relu => Activation::Relu,
        };
        self.recorder.activation(activation, x)
    }

    pub(super) fn binary(&mut self, a: ValueId, b: ValueId, function: Binary) -> Tensor {
        let (rank, b_shape) = (self.shape(a).len(), self.shape(b));
        let operation = match function {
            Binary::Add => ElementWise::Sum,
            Binary::Sub => ElementWise::Difference,
            Binary::Mul => ElementWise::Product,
        };
        let (mut a, mut b) = (self.value(a), self.value(b));
        if self.recorder.element(a) != self.recorder.element(b) {
            (a, b) = (self.cast(a, self.compute), self.cast(b, self.compute));
        }
        if b_shape.len() < rank {
            let missing = rank - b_shape.len();
            let shape: Vec<Dim> =
                std::iter::repeat_n(Dim::Fixed(1), missing).chain(b_shape.iter().copied()).collect();
            b = self.reshape(b, &shape);
        }
        self.recorder.elementwise(operation, a, b)
    }

    pub(super) fn affine(&mut self, x: ValueId, mul: f32, add: f32) -> Tensor {
        let (rank, x) = (self.shape(x).len(), self.value(x));
        let element = self.recorder.element(x);
        let (mul, add) = (self.scalar(mul, element, rank), self.scalar(add, element, rank));
        let product = self.recorder.elementwise(ElementWise::Product, x, mul);
        self.recorder.elementwise(ElementWise::Sum, product, add)
    }
}
