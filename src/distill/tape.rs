//! Tensors that remember how they came about, and steps with gradients of their own.
//!
//! The tape is burn's (`burn-autodiff` over `burn-flex`), whose primitives take any rank, as values of a graph do. What burn has as one
//! operation is used as it is; what it would compose of many, and so write out to memory many times (norms, softmax, activations), is a
//! step of ours: a function forward, and a closure that goes back ([`Tensor::recorded`]).

use std::fmt;
use std::sync::Arc;

use burn_autodiff::Autodiff;
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::NoCheckpointing;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};
use burn_backend::ops::FloatTensorOps;
use burn_backend::tensor::FloatTensor;
use burn_backend::{DType, Shape, Slice, TensorData, TensorMetadata};
use burn_flex::{Flex, FlexTensor};

use super::real::{Real, by_type, tensor, tensor_of};

/// Elements of a sum that are added one after the other, before such sums are.
const SUMMED_AT_ONCE: usize = 1024;

type Taped = Autodiff<Flex>;
/// Gradients of the inputs of a step that are wanted, of the gradient of its output.
type Back<const N: usize> = dyn Fn(FlexTensor, [bool; N]) -> [Option<FlexTensor>; N] + Send + Sync;

/// A tensor of f32 or f64, row-major, with what it was computed from.
#[derive(Clone, Debug)]
pub struct Tensor(FloatTensor<Taped>);

/// The gradients of one scalar.
pub struct Slopes(Gradients);

impl Tensor {
    /// Values that nothing is learnt of.
    ///
    /// # Panics
    /// If there are not as many as the shape says.
    pub fn constant<E: Real>(values: Vec<E>, shape: &[usize]) -> Tensor {
        Tensor::plain(FlexTensor::from_data(TensorData::new(values, shape.to_vec())))
    }

    /// Values that nothing is learnt of, in the type of this tensor.
    ///
    /// # Panics
    /// If there are not as many as the shape says.
    pub(super) fn constant_like(&self, values: &[f32], shape: &[usize]) -> Tensor {
        Tensor::plain(tensor_of(values, shape, self.dtype()))
    }

    pub(super) fn plain(values: FlexTensor) -> Tensor {
        Tensor(FloatTensor::<Taped>::new(values))
    }

    /// Values of which something is learnt: gradients with respect to them are wanted.
    ///
    /// # Panics
    /// If there are not as many as the shape says.
    pub fn learnt<E: Real>(values: Vec<E>, shape: &[usize]) -> Tensor {
        Tensor::leaf(FlexTensor::from_data(TensorData::new(values, shape.to_vec())))
    }

    pub(super) fn leaf(values: FlexTensor) -> Tensor {
        Tensor(FloatTensor::<Taped>::new(values).require_grad())
    }

    /// Extents, outermost first.
    pub fn shape(&self) -> Vec<usize> {
        self.0.shape().into()
    }

    pub(super) fn dtype(&self) -> DType {
        self.0.dtype()
    }

    /// What it holds, row-major in memory.
    pub(super) fn values(&self) -> FlexTensor {
        self.0.primitive().to_contiguous()
    }

    /// A copy of its elements, as f32.
    pub fn to_f32(&self) -> Vec<f32> {
        let values = self.values();
        match values.dtype() {
            DType::F64 => values.storage::<f64>().iter().map(|v| *v as f32).collect(),
            _ => values.storage::<f32>().to_vec(),
        }
    }

    /// Its only element.
    ///
    /// # Panics
    /// If it has none or several.
    pub fn item(&self) -> f64 {
        let values = self.values();
        let only = |n: usize| assert_eq!(n, 1, "one element is asked for");
        match values.dtype() {
            DType::F64 => {
                only(values.storage::<f64>().len());
                values.storage::<f64>()[0]
            }
            _ => {
                only(values.storage::<f32>().len());
                f64::from(values.storage::<f32>()[0])
            }
        }
    }

    /// The gradients of this scalar with respect to every leaf that it came of.
    pub fn backward(self) -> Slopes {
        Slopes(self.0.backward())
    }

    /// A step: `output` was computed of `inputs`, and `back` gives the gradients of those that are wanted.
    pub(super) fn recorded<const N: usize>(
        inputs: [&Tensor; N],
        output: FlexTensor,
        back: impl Fn(FlexTensor, [bool; N]) -> [Option<FlexTensor>; N] + Send + Sync + 'static,
    ) -> Tensor {
        let nodes = inputs.map(|input| input.0.node());
        Tensor(match Recorded.prepare::<NoCheckpointing>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(step) => step.finish(Closure(Arc::new(back)), output),
            OpsKind::UnTracked(step) => step.finish(output),
        })
    }

    /// The same elements, of which nothing is learnt.
    #[must_use]
    pub(super) fn detached(&self) -> Tensor {
        Tensor::plain(self.values())
    }

    /// The same elements in another shape.
    #[must_use]
    pub fn reshaped(&self, shape: &[usize]) -> Tensor {
        if self.shape() == shape {
            return self.clone();
        }
        Tensor(Taped::float_reshape(self.0.clone(), Shape::from(shape.to_vec())))
    }

    /// Axis `i` of the result is axis `order[i]`.
    #[must_use]
    pub fn permuted(&self, order: &[usize]) -> Tensor {
        Tensor(Taped::float_permute(self.0.clone(), order))
    }

    /// `len` places of an axis, from `start` on.
    #[must_use]
    pub fn sliced(&self, axis: usize, start: usize, len: usize) -> Tensor {
        let shape = self.shape();
        if start == 0 && len == shape[axis] {
            return self.clone();
        }
        Tensor(Taped::float_slice(self.0.clone(), &slices(&shape, axis, start, len)))
    }

    /// One after the other along an axis.
    #[must_use]
    pub fn joined(parts: &[Tensor], axis: usize) -> Tensor {
        match parts {
            [only] => only.clone(),
            _ => Tensor(Taped::float_cat(parts.iter().map(|p| p.0.clone()).collect(), axis)),
        }
    }

    /// Axes of one become as long as `shape` says.
    #[must_use]
    pub fn expanded(&self, shape: &[usize]) -> Tensor {
        if self.shape() == shape {
            return self.clone();
        }
        Tensor(Taped::float_expand(self.0.clone(), Shape::from(shape.to_vec())))
    }

    /// The sum of all elements, a scalar: always in one order, where burn's follows its threads.
    #[must_use]
    pub fn sum(&self) -> Tensor {
        let (values, shape, dtype) = (self.values(), self.shape(), self.dtype());
        let out = by_type!(dtype, E => {
            let add = |sum: E, v: E| sum + v;
            let parts = values.storage::<E>().chunks(SUMMED_AT_ONCE);
            tensor(vec![parts.map(|part| part.iter().copied().fold(E::ZERO, add)).fold(E::ZERO, add)], &[1])
        });
        Tensor::recorded([self], out, move |g, _| {
            let n = shape.iter().product();
            [Some(by_type!(dtype, E => tensor(vec![g.to_contiguous().storage::<E>()[0]; n], &shape)))]
        })
    }

    /// The mean of all elements, a scalar.
    #[must_use]
    pub fn mean(&self) -> Tensor {
        let n = self.shape().iter().product::<usize>();
        self.sum().scaled(1.0 / n as f64)
    }

    /// Every element times a factor.
    #[must_use]
    pub fn scaled(&self, factor: f64) -> Tensor {
        Tensor(Taped::float_mul_scalar(self.0.clone(), factor.into()))
    }

    /// Every element plus an addend.
    #[must_use]
    pub fn shifted(&self, addend: f64) -> Tensor {
        Tensor(Taped::float_add_scalar(self.0.clone(), addend.into()))
    }

    /// The absolute values.
    #[must_use]
    pub fn abs(&self) -> Tensor {
        Tensor(Taped::float_abs(self.0.clone()))
    }

    /// The square roots.
    #[must_use]
    pub fn sqrt(&self) -> Tensor {
        Tensor(Taped::float_sqrt(self.0.clone()))
    }

    /// The exponentials.
    #[must_use]
    pub(super) fn exp(&self) -> Tensor {
        Tensor(Taped::float_exp(self.0.clone()))
    }

    pub(super) fn cos(&self) -> Tensor {
        Tensor(Taped::float_cos(self.0.clone()))
    }

    pub(super) fn sin(&self) -> Tensor {
        Tensor(Taped::float_sin(self.0.clone()))
    }
}

impl Slopes {
    /// The gradient with respect to a leaf; none if the scalar does not depend on it.
    pub fn gradient<E: Real>(&mut self, leaf: &Tensor) -> Option<Vec<E>> {
        self.take(leaf).map(|g| g.to_contiguous().storage::<E>().to_vec())
    }

    /// The gradient with respect to a leaf, taken out; none if the scalar does not depend on it.
    pub(super) fn take(&mut self, leaf: &Tensor) -> Option<FlexTensor> {
        leaf.0.grad_remove(&mut self.0)
    }
}

/// The places of an axis, all of the others.
pub(super) fn slices(shape: &[usize], axis: usize, start: usize, len: usize) -> Vec<Slice> {
    let of = |(i, n): (usize, &usize)| Slice::from(if i == axis { start..start + len } else { 0..*n });
    shape.iter().enumerate().map(of).collect()
}

/// Any step that was recorded by its closure.
#[derive(Debug)]
struct Recorded;

struct Closure<const N: usize>(Arc<Back<N>>);

impl<const N: usize> Clone for Closure<N> {
    fn clone(&self) -> Self {
        Closure(Arc::clone(&self.0))
    }
}

impl<const N: usize> fmt::Debug for Closure<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a closure")
    }
}

impl<const N: usize> Backward<Flex, N> for Recorded {
    type State = Closure<N>;

    fn backward(self, ops: Ops<Closure<N>, N>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let of_output = gradients.consume::<Flex>(&ops.node);
        let wanted = ops.parents.each_ref().map(Option::is_some);
        let found = (ops.state.0)(of_output, wanted);
        for (parent, gradient) in ops.parents.into_iter().zip(found) {
            if let (Some(parent), Some(gradient)) = (parent, gradient) {
                gradients.register::<Flex>(parent.id, gradient);
            }
        }
    }
}

#[cfg(test)]
#[test]
fn a_sum_is_that_of_its_elements_however_many() {
    for n in [1, 1024, 300_001] {
        let values: Vec<f32> = (0..n).map(|i| (i as f32 * 0.37).sin()).collect();
        let exact: f64 = values.iter().map(|v| f64::from(*v)).sum();
        let leaf = Tensor::learnt(values, &[n]);
        let sum = leaf.sum();
        assert!((sum.item() - exact).abs() < 1e-3, "{n}: {}, {exact}", sum.item());
        assert_eq!(sum.scaled(2.0).backward().gradient::<f32>(&leaf), Some(vec![2.0; n]));
    }
}
