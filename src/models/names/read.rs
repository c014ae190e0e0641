//! A checkpoint's tensors as the constants of a network.

use super::{Fold, Folders, Names, Rule, Stored, expect};
use crate::checkpoint::CheckpointError;
use crate::graph::{Network, WeightId, Weights};
use crate::tensor::{DType, TensorView};

#[derive(Debug)]
pub(super) enum Constant<'c> {
    Borrowed(TensorView<'c>),
    Made { dtype: DType, shape: Vec<usize>, bytes: Vec<u8> },
}

/// The constants of one network, in the order of its weights: borrowed from the checkpoint where they can be.
#[derive(Debug)]
pub struct Constants<'c> {
    constants: Vec<Constant<'c>>,
}

impl Names {
    /// Finds each weight in the checkpoint. The network's weights take the types in which they are stored.
    ///
    /// # Errors
    /// If a tensor is missing, has another shape than the config implies, or is of a type that weights never have.
    pub fn read<'c>(
        &self,
        network: &mut Network,
        folders: Folders<'_, 'c>,
    ) -> Result<Constants<'c>, CheckpointError> {
        assert_eq!(network.weights.len(), self.rules.len(), "the table was made for this network");
        let mut constants = Vec::with_capacity(self.rules.len());
        for (i, (weight, rule)) in network.weights.iter_mut().zip(&self.rules).enumerate() {
            let copy = self.copy_alone(i, folders);
            let constant = Constant::read(copy.as_ref().unwrap_or(rule), &weight.shape, folders)?;
            weight.dtype = constant.view().dtype;
            constants.push(constant);
        }
        Ok(Constants { constants })
    }

    /// The rule of a weight whose copy is there and whose own tensor is not.
    fn copy_alone(&self, weight: usize, folders: Folders<'_, '_>) -> Option<Rule> {
        let is_there = |stored: &Stored| {
            folders.iter().any(|(folder, tensors)| *folder == stored.folder && tensors.contains(&stored.name))
        };
        let (_, copy) = self.copies.iter().find(|(of, copy)| *of == weight && is_there(copy))?;
        let is_alone = !self.rules[weight].stored().is_some_and(is_there);
        is_alone.then(|| Rule::Whole(copy.clone()))
    }
}

impl Weights for Constants<'_> {
    fn weight(&self, id: WeightId) -> TensorView<'_> {
        self.constants[id.index()].view()
    }
}

impl<'c> Constant<'c> {
    /// What the rule makes of the checkpoint, in the weight's shape.
    pub(super) fn read(
        rule: &Rule,
        shape: &[usize],
        folders: Folders<'_, 'c>,
    ) -> Result<Self, CheckpointError> {
        let float = |stored: &Stored| -> Result<TensorView<'c>, CheckpointError> {
            let view = expect(folders, stored)?;
            if matches!(view.dtype, DType::F32 | DType::F16 | DType::Bf16) {
                return Ok(view);
            }
            let (_, tensors) = folders.iter().find(|(f, _)| *f == stored.folder).expect("just read from it");
            Err(tensors.wrong_type(&stored.name, view.dtype))
        };
        let grouped = |view: TensorView<'c>| {
            assert_eq!(view.len(), shape.iter().product::<usize>(), "axes are only grouped");
            Constant::Borrowed(TensorView { shape: shape.to_vec(), ..view })
        };
        Ok(match rule {
            Rule::Whole(of) => grouped(float(of)?),
            Rule::Rows { of, start } => grouped(rows(&float(of)?, *start, shape[0])),
            Rule::Permuted { of, order } => {
                let view = float(of)?;
                let bytes = permuted(&view, shape, order);
                Constant::Made { dtype: view.dtype, shape: shape.to_vec(), bytes }
            }
            Rule::Folded { of, fold } => {
                let view = float(of)?;
                let map = match fold {
                    Fold::Shifted { map, .. } => Some(float(map)?.to_f32()),
                    _ => None,
                };
                made(shape, &fold.forth(&view.to_f32(), view.shape[0], map.as_deref()))
            }
            Rule::Given(values) => made(shape, values),
        })
    }

    pub(super) fn view(&self) -> TensorView<'_> {
        match self {
            Constant::Borrowed(view) => view.clone(),
            Constant::Made { dtype, shape, bytes } => {
                TensorView { dtype: *dtype, shape: shape.clone(), bytes }
            }
        }
    }
}

fn made<'c>(shape: &[usize], values: &[f32]) -> Constant<'c> {
    assert_eq!(values.len(), shape.iter().product::<usize>(), "as many values as the weight has");
    let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    Constant::Made { dtype: DType::F32, shape: shape.to_vec(), bytes }
}

/// `n` of the outermost rows of a tensor, from `start` on.
fn rows<'c>(view: &TensorView<'c>, start: usize, n: usize) -> TensorView<'c> {
    let row_bytes = view.bytes.len() / view.shape[0];
    let mut shape = view.shape.clone();
    shape[0] = n;
    TensorView { dtype: view.dtype, shape, bytes: &view.bytes[start * row_bytes..(start + n) * row_bytes] }
}

/// The tensor's elements in the order of the weight's axes.
fn permuted(view: &TensorView<'_>, shape: &[usize], order: &[usize]) -> Vec<u8> {
    let size = view.dtype.size_bytes();
    let mut bytes = Vec::with_capacity(view.bytes.len());
    each_place(shape, order, |at| bytes.extend_from_slice(&view.bytes[at * size..(at + 1) * size]));
    assert_eq!(bytes.len(), view.bytes.len(), "axes are only permuted");
    bytes
}

/// For each element of a weight in turn, where it stands in the tensor whose axis `order[i]` is the weight's axis `i`.
pub(super) fn each_place(shape: &[usize], order: &[usize], mut f: impl FnMut(usize)) {
    let mut strides = vec![0; shape.len()];
    let mut stride = 1;
    for axis in (0..shape.len()).rev() {
        let i = order.iter().position(|a| *a == axis).expect("an order names every axis");
        strides[i] = stride;
        stride *= shape[i];
    }
    let mut index = vec![0; shape.len()];
    for _ in 0..stride {
        f(index.iter().zip(&strides).map(|(i, s)| i * s).sum());
        for axis in (0..index.len()).rev() {
            index[axis] += 1;
            if index[axis] < shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permuted_weight_is_transposed_and_goes_back() {
        let bytes: Vec<u8> = (0..6u8).collect();
        let view = TensorView { dtype: DType::U8, shape: vec![2, 3], bytes: &bytes };
        let weight = permuted(&view, &[3, 2], &[1, 0]);
        assert_eq!(weight, [0, 3, 1, 4, 2, 5]);
        let (mut back, mut i) = (vec![0; 6], 0);
        each_place(&[3, 2], &[1, 0], |at| {
            back[at] = weight[i];
            i += 1;
        });
        assert_eq!(back, bytes);
    }

    #[test]
    fn axes_of_a_kernel_go_where_the_order_says() {
        // [c_out 1, c_in 2, 1, 1, w 2] becomes [c_out, 1, 1, w, c_in].
        let view = TensorView { dtype: DType::U8, shape: vec![1, 2, 1, 1, 2], bytes: &[0, 1, 10, 11] };
        assert_eq!(permuted(&view, &[1, 1, 1, 2, 2], &[0, 2, 3, 4, 1]), [0, 10, 1, 11]);
    }

    #[test]
    fn rows_are_a_part_of_the_bytes() {
        let bytes: Vec<u8> = (0..6u8).collect();
        let view = TensorView { dtype: DType::U8, shape: vec![3, 2], bytes: &bytes };
        assert_eq!(rows(&view, 1, 2).bytes, [2, 3, 4, 5]);
        assert_eq!(rows(&view, 1, 2).shape, [2, 2]);
    }
}
