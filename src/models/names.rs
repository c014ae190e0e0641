//! Where a network's weights stand in a checkpoint: a table that is read both ways.
//!
//! A family writes its network from the config alone, with weights in the layout that is computed with. Beside it stands one
//! [`Rule`] for each weight. [`Names::read`] makes the weights of a checkpoint's tensors: borrowed from its map where the bytes are
//! the same, made where axes change their order or values are folded. [`Names::write`] makes the tensors of the weights.
//!
//! Why a table and not two functions: what reading permutes, writing must permute back. A rule is one place, and both ways follow it
//! or do not compile.
//!
//! Why borrowing stands beside making: a denoiser of two billion parameters is read without a copy, while the convolutions beside it
//! are stored channels first and computed channels last.

mod fold;
mod read;
mod write;

use std::collections::{BTreeMap, BTreeSet};

pub use fold::Fold;
pub use read::Constants;

use crate::checkpoint::{CheckpointError, Tensors};
use crate::graph::{Network, Weight};
use crate::tensor::TensorView;

/// A tensor of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stored {
    /// The folder of the checkpoint's directory in which its file lies; empty for the directory itself.
    pub folder: &'static str,
    /// Its name in the file.
    pub name: String,
    /// The shape that the config implies.
    pub shape: Vec<usize>,
}

/// How one weight is made of a checkpoint's tensors, and they of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Rule {
    /// The tensor as it is, but for its shape, which may group axes otherwise.
    Whole(Stored),
    /// Its outermost rows from `start` on, as many as the weight has. Together, the weights of one tensor are all of its rows.
    Rows {
        /// The tensor.
        of: Stored,
        /// The first row.
        start: usize,
    },
    /// Axis `i` of the weight is axis `order[i]` of the tensor, whose shape may leave out axes of one.
    Permuted {
        /// The tensor.
        of: Stored,
        /// Where each axis comes from.
        order: Vec<usize>,
    },
    /// Values computed from those of the tensor, in f32.
    Folded {
        /// The tensor.
        of: Stored,
        /// How.
        fold: Fold,
    },
    /// Of no checkpoint: these values, in f32.
    Given(Vec<f32>),
}

/// One rule for each weight of a network, and what else its checkpoints may hold.
#[derive(Clone, Debug)]
pub struct Names {
    rules: Vec<Rule>,
    copies: Vec<(usize, Stored)>,
    ignored: &'static [&'static str],
}

/// The files of a checkpoint, each with the folder it lies in.
pub type Folders<'f, 'c> = &'f [(&'static str, &'c Tensors)];

impl Stored {
    /// A tensor of the directory's own file.
    pub fn new(name: impl Into<String>, shape: &[usize]) -> Stored {
        Stored { folder: "", name: name.into(), shape: shape.to_vec() }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Rule {
    /// The tensor that the weight is, or is a part of.
    pub fn stored(&self) -> Option<&Stored> {
        match self {
            Rule::Whole(of) | Rule::Rows { of, .. } | Rule::Permuted { of, .. } | Rule::Folded { of, .. } => {
                Some(of)
            }
            Rule::Given(_) => None,
        }
    }
}

impl Names {
    /// Asks for the rule of each weight.
    pub fn new(network: &Network, rule: impl FnMut(&Weight) -> Rule) -> Names {
        Names { rules: network.weights.iter().map(rule).collect(), copies: Vec::new(), ignored: &[] }
    }

    /// Some writers store a weight a second time under this name, or under this name alone: it need not be there, and is what the
    /// weight is.
    ///
    /// # Panics
    /// If there is no such weight.
    pub fn copied(mut self, network: &Network, weight: &str, copy: Stored) -> Names {
        let id = network.weight(weight).expect("a weight of the network is copied");
        self.copies.push((id.index(), copy));
        self
    }

    /// Tensors whose names begin or end so are no weights: training leaves them.
    pub fn ignoring(self, ignored: &'static [&'static str]) -> Names {
        Names { ignored, ..self }
    }

    /// The rules, in the order of the network's weights.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Every tensor that a checkpoint must hold, in the order of folders and names.
    pub fn stored(&self) -> Vec<&Stored> {
        let all = self.rules.iter().filter_map(|rule| Some((key(rule.stored()?), rule.stored()?)));
        all.collect::<BTreeMap<_, _>>().into_values().collect()
    }

    /// That the checkpoint holds nothing that none of the tables knows: a branch that is not written here, or more layers than the
    /// config says.
    ///
    /// # Errors
    /// [`CheckpointError::Leftover`], with the first few of them.
    pub fn expect_no_others(tables: &[&Names], folders: Folders<'_, '_>) -> Result<(), CheckpointError> {
        let mut known = BTreeSet::new();
        for table in tables {
            known.extend(table.rules.iter().filter_map(Rule::stored).map(key));
            known.extend(table.copies.iter().map(|(_, copy)| key(copy)));
        }
        let ignored = |name: &str| {
            let mut parts = tables.iter().flat_map(|table| table.ignored);
            parts.any(|part| name.starts_with(part) || name.ends_with(part))
        };
        for (folder, tensors) in folders {
            tensors.expect_only(|name| known.contains(&(*folder, name)) || ignored(name))?;
        }
        Ok(())
    }
}

fn key(stored: &Stored) -> (&'static str, &str) {
    (stored.folder, &stored.name)
}

/// The tensor, which must have exactly this shape.
fn expect<'c>(folders: Folders<'_, 'c>, stored: &Stored) -> Result<TensorView<'c>, CheckpointError> {
    let tensors = folders.iter().find(|(folder, _)| *folder == stored.folder);
    let (_, tensors) = tensors.expect("whoever reads a family's checkpoint passes all of its folders");
    tensors.expect(&stored.name, &stored.shape)
}
