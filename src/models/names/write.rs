//! A network's weights as tensors of a checkpoint: the table read the other way.
//!
//! What permutes or groups goes back bit for bit. A fold goes back as nearly as its numbers allow; where the checkpoint that was read is
//! given too, a folded weight that nobody changed leaves the tensor as it is, and what a fold dropped is taken from there. So a
//! checkpoint that is read and written is the same, and one that was trained differs where it was trained.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::read::each_place;
use super::{Fold, Folders, Names, Rule, Stored, expect, key};
use crate::checkpoint::NewTensor;
use crate::graph::{Network, WeightId, Weights};
use crate::tensor::{DType, TensorView, narrow};

/// A network's weights on their way back, made one tensor at a time when they are written.
#[derive(Clone, Copy)]
struct Back<'a> {
    names: &'a Names,
    network: &'a Network,
    weights: &'a dyn Weights,
    base: Folders<'a, 'a>,
}

/// A tensor that is asked for, and the weights that it is made of.
#[derive(Clone)]
struct Parts {
    stored: Stored,
    of: Vec<WeightId>,
}

impl Names {
    /// The checkpoint's tensors, by folder, as these weights say. `base` is the checkpoint that they were read from, if they were:
    /// a folded tensor then keeps its type; else it is f32.
    ///
    /// # Panics
    /// If the network is not the table's, or `base` is not of its config.
    pub fn write<'a>(
        &'a self,
        network: &'a Network,
        weights: &'a dyn Weights,
        base: Folders<'a, 'a>,
    ) -> BTreeMap<&'static str, Vec<NewTensor<'a>>> {
        assert_eq!(network.weights.len(), self.rules.len(), "the table was made for this network");
        let back = Back { names: self, network, weights, base };
        let mut all = BTreeMap::<(&str, &str), Parts>::new();
        for (i, rule) in self.rules.iter().enumerate() {
            let Some(stored) = rule.stored() else { continue };
            let parts =
                all.entry(key(stored)).or_insert_with(|| Parts { stored: stored.clone(), of: vec![] });
            parts.of.push(WeightId(i as u32));
        }
        let mut out = BTreeMap::<&'static str, Vec<NewTensor<'a>>>::new();
        for ((folder, _), parts) in all {
            out.entry(folder).or_default().push(back.tensor(parts));
        }
        for (i, copy) in &self.copies {
            let there = base.iter().any(|(folder, t)| *folder == copy.folder && t.contains(&copy.name));
            if there {
                let parts = Parts { stored: copy.clone(), of: vec![WeightId(*i as u32)] };
                out.entry(copy.folder).or_default().push(back.tensor(parts));
            }
        }
        out
    }
}

impl<'a> Back<'a> {
    fn tensor(self, parts: Parts) -> NewTensor<'a> {
        let Stored { name, shape, .. } = parts.stored.clone();
        let dtype = self.dtype(&parts);
        NewTensor::new(name, dtype, shape, move || self.bytes(&parts))
    }

    fn rule(self, id: WeightId) -> &'a Rule {
        &self.names.rules[id.index()]
    }

    fn is_folded(self, parts: &Parts) -> bool {
        parts.of.iter().any(|id| matches!(self.rule(*id), Rule::Folded { .. }))
    }

    fn dtype(self, parts: &Parts) -> DType {
        if self.is_folded(parts) {
            return self.base_of(&parts.stored).map_or(DType::F32, |view| view.dtype);
        }
        let mut types = parts.of.iter().map(|id| self.weights.weight(*id).dtype);
        let dtype = types.next().expect("a tensor is made of weights");
        assert!(types.all(|t| t == dtype), "{}: its parts have several types", parts.stored.name);
        dtype
    }

    fn base_of(self, stored: &Stored) -> Option<TensorView<'a>> {
        self.base.iter().find(|(folder, _)| *folder == stored.folder)?;
        Some(expect(self.base, stored).expect("the weights were read from it"))
    }

    fn bytes(self, parts: &Parts) -> Cow<'a, [u8]> {
        if self.is_folded(parts) {
            let (dtype, values) = (self.dtype(parts), self.folded(parts));
            let mut bytes = vec![0; values.len() * dtype.size_bytes()];
            narrow(dtype, &values, &mut bytes);
            return Cow::Owned(bytes);
        }
        if let [id] = parts.of[..]
            && let Rule::Whole(_) = self.rule(id)
        {
            return Cow::Borrowed(self.weights.weight(id).bytes);
        }
        let size = self.dtype(parts).size_bytes();
        let mut bytes = vec![0; parts.stored.len() * size];
        let mut n_written = 0;
        for id in &parts.of {
            let view = self.weights.weight(*id);
            n_written += view.bytes.len();
            match self.rule(*id) {
                Rule::Whole(_) => bytes.copy_from_slice(view.bytes),
                Rule::Rows { of, start } => {
                    let row_bytes = of.len() / of.shape[0] * size;
                    bytes[start * row_bytes..][..view.bytes.len()].copy_from_slice(view.bytes);
                }
                Rule::Permuted { order, .. } => {
                    let mut elements = view.bytes.chunks_exact(size);
                    let declared = &self.network.weights[id.index()].shape;
                    each_place(declared, order, |at| {
                        let element = elements.next().expect("as many elements as places");
                        bytes[at * size..(at + 1) * size].copy_from_slice(element);
                    });
                }
                Rule::Folded { .. } | Rule::Given(_) => unreachable!("asked above; stands in no tensor"),
            }
        }
        assert_eq!(n_written, bytes.len(), "{}: its weights are all of it", parts.stored.name);
        Cow::Owned(bytes)
    }

    /// The values of a tensor of which weights were folded.
    fn folded(self, parts: &Parts) -> Vec<f32> {
        let stored = &parts.stored;
        let mut values = self.base_of(stored).map_or_else(|| vec![0.0; stored.len()], |view| view.to_f32());
        for id in &parts.of {
            let Rule::Folded { fold, .. } = self.rule(*id) else {
                unreachable!("{}: folded and whole", stored.name)
            };
            let map = match fold {
                Fold::Shifted { map, .. } => Some(self.written_values(map)),
                _ => None,
            };
            let (weight, n_rows) = (self.weights.weight(*id).to_f32(), stored.shape[0]);
            // A fold rounds: what gives the weight already stays as it is.
            let now = fold.forth(&values, n_rows, map.as_deref());
            if !now.iter().map(|v| v.to_bits()).eq(weight.iter().map(|v| v.to_bits())) {
                fold.back(&weight, &mut values, n_rows, map.as_deref());
            }
        }
        values
    }

    /// Another tensor's values, as whoever reads the checkpoint will see them.
    fn written_values(self, stored: &Stored) -> Vec<f32> {
        let of = self.names.rules.iter().enumerate();
        let of = of.filter(|(_, rule)| rule.stored() == Some(stored)).map(|(i, _)| WeightId(i as u32));
        let parts = Parts { stored: stored.clone(), of: of.collect() };
        let view =
            TensorView { dtype: self.dtype(&parts), shape: stored.shape.clone(), bytes: &self.bytes(&parts) };
        view.to_f32()
    }
}
