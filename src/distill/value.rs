//! What a graph's values are on the tape: numbers that something may be learnt of, or whole numbers. The batch is in front.

use burn_backend::ops::IntTensorOps;
use burn_flex::{Flex, FlexTensor};

use super::ops;
use super::real::{shape as extents_of, whole};
use super::tape::{Tensor, slices};

/// A value of a graph.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Real(Tensor),
    /// `[1 or b, ..]`, i32.
    Whole(FlexTensor),
}

impl Value {
    pub(super) fn shape(&self) -> Vec<usize> {
        match self {
            Value::Real(x) => x.shape(),
            Value::Whole(x) => extents_of(x),
        }
    }

    /// The same, of which nothing is learnt.
    pub(super) fn detached(&self) -> Value {
        match self {
            Value::Real(x) => Value::Real(x.detached()),
            Value::Whole(x) => Value::Whole(x.clone()),
        }
    }

    pub(super) fn sliced(&self, axis: usize, start: usize, len: usize) -> Value {
        match self {
            Value::Real(x) => Value::Real(x.sliced(axis, start, len)),
            Value::Whole(x) => {
                Value::Whole(Flex::int_slice(x.clone(), &slices(&extents_of(x), axis, start, len)))
            }
        }
    }

    pub(super) fn reshaped(&self, shape: &[usize]) -> Value {
        match self {
            Value::Real(x) => Value::Real(x.reshaped(shape)),
            Value::Whole(x) => Value::Whole(Flex::int_reshape(x.clone(), shape.to_vec().into())),
        }
    }

    pub(super) fn permuted(&self, order: &[usize]) -> Value {
        match self {
            Value::Real(x) => Value::Real(x.permuted(order)),
            Value::Whole(x) => Value::Whole(Flex::int_permute(x.clone(), order)),
        }
    }

    /// With the batch of the largest part.
    pub(super) fn joined(parts: &[Value], axis: usize) -> Value {
        if let [only] = parts {
            return only.clone();
        }
        let n = parts.iter().map(|part| part.shape()[0]).max().expect("a part");
        let batched = |part: &Value| {
            let mut shape = part.shape();
            shape[0] = n;
            match part {
                Value::Real(x) => Value::Real(x.expanded(&shape)),
                Value::Whole(x) => Value::Whole(Flex::int_expand(x.clone(), shape.into())),
            }
        };
        let (mut reals, mut wholes) = (Vec::new(), Vec::new());
        for part in parts.iter().map(batched) {
            match part {
                Value::Real(x) => reals.push(x),
                Value::Whole(x) => wholes.push(x),
            }
        }
        match reals.is_empty() {
            true => Value::Whole(Flex::int_cat(wholes, axis)),
            false => Value::Real(Tensor::joined(&reals, axis)),
        }
    }

    /// The members of a batch that these indices name, in their order.
    pub(super) fn gathered(&self, members: &[usize]) -> Value {
        let mut shape = self.shape();
        let n_each = shape[1..].iter().product::<usize>();
        let n = std::mem::replace(&mut shape[0], members.len());
        match self {
            Value::Real(x) => {
                let ids: Vec<i32> = members.iter().map(|member| *member as i32).collect();
                let rows = ops::embedding(&x.reshaped(&[n, n_each]), &ids, &shape);
                Value::Real(rows.expect("whoever gathers names members that are there"))
            }
            Value::Whole(x) => {
                let x = x.to_contiguous();
                let rows = members.iter().flat_map(|m| &x.storage::<i32>()[m * n_each..(m + 1) * n_each]);
                Value::Whole(whole(&rows.copied().collect::<Vec<i32>>(), &shape))
            }
        }
    }
}
