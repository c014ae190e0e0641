//! What an adapter changes in a checkpoint: each of its tensors matched with one of the checkpoint's, shapes and values checked.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::adapter::{Adapter, Layer, floating};
use super::error::MergeError;
use super::names::Targets;
use super::product::{Product, transposed};
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::tensor::{DType, TensorView};

/// All that changes, by the checkpoint's names.
#[derive(Debug)]
pub(super) struct Changes<'a> {
    checkpoint: &'a Checkpoint,
    adapter: &'a Adapter,
    scale: f64,
    changes: BTreeMap<&'a str, Change<'a>>,
}

/// What changes in one tensor.
#[derive(Debug, Default)]
struct Change<'a> {
    /// The adapter's tensor that takes its place.
    whole: Option<&'a str>,
    /// What is then added.
    added: Option<Added<'a>>,
}

#[derive(Clone, Copy, Debug)]
enum Added<'a> {
    Product { name: &'a str, layer: &'a Layer, rank: usize },
    Bias { name: &'a str, bias: &'a str },
}

/// A changed tensor that is about to be written.
#[derive(Debug)]
pub(super) struct Changed<'a> {
    /// What it is in the checkpoint, and stays.
    pub(super) dtype: DType,
    /// What it was, or what takes its place, in the type in which that is stored.
    pub(super) before: TensorView<'a>,
    pub(super) product: Option<Product>,
}

impl<'a> Changes<'a> {
    /// Matches adapter and checkpoint. `scale` multiplies every product.
    ///
    /// # Errors
    /// If a tensor of the adapter is for none of the checkpoint, or not for it alone, has another shape than it, or is not finite; or if one
    /// of either is of a type in which nothing is merged.
    pub(super) fn of(
        checkpoint: &'a Checkpoint,
        adapter: &'a Adapter,
        scale: f64,
    ) -> Result<Self, MergeError> {
        let mut all = Self { checkpoint, adapter, scale, changes: BTreeMap::new() };
        let (targets, path) = (Targets::of(checkpoint), adapter.path());
        for key in adapter.whole() {
            let target = targets.find(path, &key.replace(".base_layer.", "."))?;
            all.expect_shape(key, &all.target(target)?.shape)?;
            let change = all.changes.entry(target).or_default();
            if let Some(other) = change.whole.replace(key) {
                return Err(twice(path, key, target, other));
            }
        }
        for (name, layer) in adapter.layers() {
            let target = targets.find(path, &format!("{name}.weight"))?;
            let rank = all.check_layer(name, layer, &all.target(target)?.shape)?;
            all.add(target, name, Added::Product { name, layer, rank })?;
            if let Some(bias) = &layer.bias {
                let target = targets.find(path, &format!("{name}.bias"))?;
                all.expect_shape(bias, &all.target(target)?.shape)?;
                all.add(target, name, Added::Bias { name, bias })?;
            }
        }
        adapter.check_finite()?;
        Ok(all)
    }

    /// How many tensors change.
    pub(super) fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether a tensor is taken whole.
    pub(super) fn replaces(&self) -> bool {
        self.changes.values().any(|change| change.whole.is_some())
    }

    /// The tensor of this name in the checkpoint as it will be, if it changes.
    ///
    /// # Panics
    /// If it is not the checkpoint whose changes these are.
    pub(super) fn changed(&self, target: &str) -> Option<Changed<'a>> {
        let change = self.changes.get(target)?;
        let tensor = |name: &str| self.adapter.tensor(name).expect("checked when it was matched");
        let now = self.target(target).expect("checked when it was matched");
        let dtype = now.dtype;
        let before = change.whole.map_or(now, tensor);
        let values = |name: &Option<String>| name.as_ref().map(|name| tensor(name).to_f32());
        let product = change.added.as_ref().map(|added| match added {
            Added::Bias { name, bias } => {
                let scaling = self.scaling(name);
                Product { down: tensor(bias).to_f32(), up: vec![1.0], rank: 1, scaling, magnitude: None }
            }
            Added::Product { name, layer, rank } => {
                let half = |name| values(name).expect("a layer has both halves");
                let (mut down, mut up) = (half(&layer.down), half(&layer.up));
                if layer.is_embedding {
                    let n_rows = down.len() / rank;
                    (down, up) = (transposed(&up, *rank), transposed(&down, n_rows));
                }
                let (scaling, magnitude) = (self.scaling(name), values(&layer.magnitude));
                Product { down, up, rank: *rank, scaling, magnitude }
            }
        });
        Some(Changed { dtype, before, product })
    }

    /// What was merged, for whoever finds the checkpoint.
    pub(super) fn record(&self, adapter_sha256: &str) -> Value {
        let tensor = |change: &Change<'_>| {
            let mut said = Map::new();
            if change.whole.is_some() {
                said.insert("replaced".to_owned(), true.into());
            }
            match change.added {
                Some(Added::Product { name, rank, layer }) => {
                    said.insert("rank".to_owned(), rank.into());
                    said.insert("scaling".to_owned(), self.scaling(name).into());
                    if layer.magnitude.is_some() {
                        said.insert("dora".to_owned(), true.into());
                    }
                }
                Some(Added::Bias { name, .. }) => {
                    said.insert("scaling".to_owned(), self.scaling(name).into());
                }
                None => {}
            }
            Value::Object(said)
        };
        let tensors: Map<String, Value> =
            self.changes.iter().map(|(name, change)| ((*name).to_owned(), tensor(change))).collect();
        let file = self.adapter.path().file_name().unwrap_or_default().to_string_lossy();
        json!({"adapter": file, "adapter_sha256": adapter_sha256, "scale": self.scale, "tensors": tensors})
    }

    fn scaling(&self, layer: &str) -> f32 {
        (self.adapter.scaling(layer) * self.scale) as f32
    }

    fn target(&self, name: &str) -> Result<TensorView<'a>, MergeError> {
        floating(self.checkpoint.tensors(), self.checkpoint.dir(), name)
    }

    fn add(&mut self, target: &'a str, layer: &str, added: Added<'a>) -> Result<(), MergeError> {
        let change = self.changes.entry(target).or_default();
        match change.added.replace(added) {
            Some(Added::Product { name, .. } | Added::Bias { name, .. }) => {
                Err(twice(self.adapter.path(), layer, target, name))
            }
            None => Ok(()),
        }
    }

    /// That a layer is complete and of the weight's shape; its rank.
    fn check_layer(&self, name: &str, layer: &Layer, shape: &[usize]) -> Result<usize, MergeError> {
        let incomplete = |has, lacks| {
            let (path, module) = (self.adapter.path().to_owned(), name.to_owned());
            MergeError::Incomplete { path, module, has, lacks }
        };
        let (down, up) = match (&layer.down, &layer.up) {
            (Some(down), Some(up)) => (down, up),
            (Some(_), None) => return Err(incomplete("lora_A", "lora_B")),
            (None, Some(_)) => return Err(incomplete("lora_B", "lora_A")),
            (None, None) => return Err(incomplete("another part of lora", "lora_A and lora_B")),
        };
        let found = self.adapter.tensor(down)?.shape.first().copied();
        // Of no column comes nothing: a file that says so is damaged.
        let rank = self.adapter.rank(name).or(found).unwrap_or(1).max(1);
        let n_rows = shape.first().copied().unwrap_or(1);
        let inner = shape.get(1..).unwrap_or_default();
        let ones = vec![1; inner.len().saturating_sub(1)];
        if layer.is_embedding {
            self.expect_shape(down, &[rank, n_rows])?;
            self.expect_shape(up, &[&[inner.first().copied().unwrap_or(1), rank][..], &ones].concat())?;
        } else {
            self.expect_shape(down, &[&[rank][..], inner].concat())?;
            self.expect_shape(up, &[&[n_rows, rank][..], &ones].concat())?;
        }
        match (&layer.magnitude, self.adapter.is_dora()) {
            (None, Some(true)) => Err(incomplete("lora_A and lora_B", "lora_magnitude_vector")),
            (Some(_), Some(false)) => Err(incomplete("lora_magnitude_vector", "`use_dora` in its config")),
            (Some(magnitude), _) if layer.is_embedding => {
                let (path, key) = (self.adapter.path().to_owned(), magnitude.clone());
                Err(MergeError::UnknownKey { path, key })
            }
            (Some(magnitude), _) => {
                let of_kernel = inner.len() >= 2;
                let ones = vec![1; if of_kernel { inner.len() } else { 0 }];
                let expected = [&[1][..usize::from(of_kernel)], &[n_rows], &ones].concat();
                self.expect_shape(magnitude, &expected).map(|()| rank)
            }
            (None, _) => Ok(rank),
        }
    }

    fn expect_shape(&self, name: &str, expected: &[usize]) -> Result<(), MergeError> {
        let found = self.adapter.tensor(name)?.shape;
        if found == expected {
            return Ok(());
        }
        let (path, name) = (self.adapter.path().to_owned(), name.to_owned());
        Err(CheckpointError::Shape { path, name, expected: expected.to_owned(), found }.into())
    }
}

fn twice(path: &Path, key: &str, target: &str, other: &str) -> MergeError {
    let what = format!("`{target}` is also changed by `{}`", other.escape_debug());
    MergeError::Ambiguous { path: path.to_owned(), key: key.to_owned(), what }
}
