//! A network's constants as they are gathered from a checkpoint: borrowed from its map where its layout is the graph's, made where
//! axes change order or values are folded.
//!
//! Why the two stand side by side: a denoiser of two billion parameters is borrowed without a copy, while the convolutions beside it
//! are stored channels first and computed channels last.

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::graph::Weights;
use crate::graph::{Network, WeightId};
use crate::tensor::{DType, TensorView};

#[derive(Debug)]
enum Constant<'a> {
    Borrowed(TensorView<'a>),
    Made { dtype: DType, shape: Vec<usize>, bytes: Vec<u8> },
}

/// The constants of one network, in the order of its weights.
#[derive(Debug, Default)]
pub struct Constants<'a> {
    constants: Vec<Constant<'a>>,
    part: &'static str,
}

impl<'a> Constants<'a> {
    /// Names the part of the network that the next constants belong to.
    pub fn begin_part(&mut self, part: &'static str) {
        self.part = part;
    }

    /// Declares a tensor of a checkpoint, as it is but for its shape, which only groups axes.
    pub fn borrow(
        &mut self,
        network: &mut Network,
        name: &str,
        view: TensorView<'a>,
        shape: &[usize],
    ) -> WeightId {
        assert_eq!(view.len(), shape.iter().product::<usize>(), "{name}: axes are only grouped");
        let view = TensorView { shape: shape.into(), ..view };
        self.add(network, name, Constant::Borrowed(view))
    }

    /// Declares a tensor of a checkpoint with its axes in another order: axis `i` is axis `order[i]` of what is stored.
    pub fn permute(
        &mut self,
        network: &mut Network,
        name: &str,
        view: &TensorView<'_>,
        order: &[usize],
    ) -> WeightId {
        if let Some(id) = network.weight(name) {
            return id;
        }
        let (shape, bytes) = permuted(view, order);
        self.add(network, name, Constant::Made { dtype: view.dtype, shape, bytes })
    }

    /// Declares values made here, as f32.
    pub fn make(&mut self, network: &mut Network, name: &str, shape: &[usize], values: &[f32]) -> WeightId {
        assert_eq!(values.len(), shape.iter().product::<usize>(), "{name}");
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.add(network, name, Constant::Made { dtype: DType::F32, shape: shape.into(), bytes })
    }

    /// Adds a constant, or finds it: graphs share weights by name.
    fn add(&mut self, network: &mut Network, name: &str, constant: Constant<'a>) -> WeightId {
        let known = network.weights.len();
        let (dtype, shape) = match &constant {
            Constant::Borrowed(view) => (view.dtype, &view.shape),
            Constant::Made { dtype, shape, .. } => (*dtype, shape),
        };
        let id = network.declare_weight(self.part, name, dtype, shape);
        if id.index() == known {
            assert_eq!(self.constants.len(), known, "every weight of the network is declared here");
            self.constants.push(constant);
        }
        id
    }
}

impl Weights for Constants<'_> {
    fn weight(&self, id: WeightId) -> TensorView<'_> {
        match &self.constants[id.index()] {
            Constant::Borrowed(view) => view.clone(),
            Constant::Made { dtype, shape, bytes } => {
                TensorView { dtype: *dtype, shape: shape.clone(), bytes }
            }
        }
    }
}

/// `n` of the outermost rows of a tensor, from `start` on.
pub fn rows<'a>(view: &TensorView<'a>, start: usize, n: usize) -> TensorView<'a> {
    let row_bytes = view.shape[1..].iter().product::<usize>() * view.dtype.size_bytes();
    let mut shape = view.shape.clone();
    shape[0] = n;
    TensorView { dtype: view.dtype, shape, bytes: &view.bytes[start * row_bytes..(start + n) * row_bytes] }
}

/// The tensor as f32, which must have exactly this shape.
pub fn values(checkpoint: &Checkpoint, name: &str, shape: &[usize]) -> Result<Vec<f32>, CheckpointError> {
    Ok(checkpoint.expect(name, shape)?.to_f32())
}

fn permuted(view: &TensorView<'_>, order: &[usize]) -> (Vec<usize>, Vec<u8>) {
    let size = view.dtype.size_bytes();
    let mut strides = vec![1; view.shape.len()];
    for i in (1..view.shape.len()).rev() {
        strides[i - 1] = strides[i] * view.shape[i];
    }
    let shape: Vec<usize> = order.iter().map(|a| view.shape[*a]).collect();
    let steps: Vec<usize> = order.iter().map(|a| strides[*a]).collect();
    let mut bytes = Vec::with_capacity(view.bytes.len());
    let mut index = vec![0; shape.len()];
    for _ in 0..view.len() {
        let at = index.iter().zip(&steps).map(|(i, s)| i * s).sum::<usize>() * size;
        bytes.extend_from_slice(&view.bytes[at..at + size]);
        for axis in (0..index.len()).rev() {
            index[axis] += 1;
            if index[axis] < shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    (shape, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permuted_weight_is_transposed_once_and_found_again() {
        let bytes: Vec<u8> = (0..6u8).collect();
        let view = TensorView { dtype: DType::U8, shape: vec![2, 3], bytes: &bytes };
        let (mut network, mut constants) = (Network::default(), Constants::default());
        let id = constants.permute(&mut network, "w", &view, &[1, 0]);
        assert_eq!(constants.weight(id).shape, [3, 2]);
        assert_eq!(constants.weight(id).bytes, [0, 3, 1, 4, 2, 5]);
        assert_eq!(constants.permute(&mut network, "w", &view, &[1, 0]), id);
    }

    #[test]
    fn rows_are_a_part_of_the_bytes() {
        let bytes: Vec<u8> = (0..6u8).collect();
        let view = TensorView { dtype: DType::U8, shape: vec![3, 2], bytes: &bytes };
        assert_eq!(rows(&view, 1, 2).bytes, [2, 3, 4, 5]);
    }
}
