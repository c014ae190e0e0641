//! An opened adapter: its rules, and its tensors by the layer that they are for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::error::MergeError;
use super::rules::{self, Rules};
use crate::checkpoint::{CheckpointError, JsonFile, Tensors};
use crate::tensor::{DType, TensorView, widen};

/// Files of an adapter that PEFT writes.
const CONFIG: &str = "adapter_config.json";
const PEFT: &str = "adapter_model.safetensors";
/// An adapter that a pipeline of diffusers writes.
const DIFFUSERS: &str = "pytorch_lora_weights.safetensors";
/// The name in such a file's header under which the config stands.
const METADATA: &str = "lora_adapter_metadata";
/// Before every name in a file of PEFT.
const PEFT_PREFIX: &str = "base_model.model.";
/// Files of adapters, which do not belong to a checkpoint that they were merged into.
pub(super) const FILES: [&str; 4] = [CONFIG, PEFT, "adapter_model.bin", DIFFUSERS];

/// An adapter's files.
#[derive(Debug)]
pub(super) struct Adapter {
    tensors: Tensors,
    /// None if its file does not say them: products are added as they are then.
    rules: Option<Rules>,
    layers: BTreeMap<String, Layer>,
    whole: Vec<String>,
}

/// The tensors of one layer, by their names in the file.
#[derive(Clone, Debug, Default)]
pub(super) struct Layer {
    /// `[r, n_in, …]`
    pub(super) down: Option<String>,
    /// `[n_out, r, …]`
    pub(super) up: Option<String>,
    /// `[n_out]`, added to the layer's bias.
    pub(super) bias: Option<String>,
    /// Lengths of the merged rows (DoRA).
    pub(super) magnitude: Option<String>,
    /// Whether it is of an embedding, whose two are transposed: `[r, n_rows]`, `[dim, r]`.
    pub(super) is_embedding: bool,
}

impl Adapter {
    /// Opens the adapter in a folder, or in a file with or without a config beside it.
    ///
    /// # Errors
    /// If there is none, if a file of it is damaged, or if it asks for something that is not done here.
    pub(super) fn open(path: &Path) -> Result<Self, MergeError> {
        let (file, config) = find(path)?;
        let tensors = Tensors::open(&file)?;
        let config = match config {
            Some(config) => JsonFile::open(&config)?,
            None => config_in_header(&tensors, &file)?,
        };
        if config.is_none() && tensors.names().any(|name| name.starts_with(PEFT_PREFIX)) {
            let what =
                format!("written by peft: expected {CONFIG} beside it, which says its scaling, found none");
            return Err(MergeError::NoAdapter { path: file, what });
        }
        let rules = config.as_ref().map(|c| Rules::parse(&c.root()?, &rules::keys(c.value()))).transpose()?;
        let mut adapter = Self { tensors, rules, layers: BTreeMap::new(), whole: Vec::new() };
        adapter.sort()?;
        Ok(adapter)
    }

    /// The file of tensors.
    pub(super) fn path(&self) -> &Path {
        self.tensors.files()[0].path()
    }

    /// What is added, by the names of the layers in the file.
    pub(super) fn layers(&self) -> &BTreeMap<String, Layer> {
        &self.layers
    }

    /// The names in the file of tensors that take the place of the checkpoint's.
    pub(super) fn whole(&self) -> &[String] {
        &self.whole
    }

    /// The rank that a layer must have, where that is said.
    pub(super) fn rank(&self, layer: &str) -> Option<usize> {
        Some(self.rules.as_ref()?.rank(own_name(layer)))
    }

    /// What a layer's product is multiplied with.
    pub(super) fn scaling(&self, layer: &str) -> f64 {
        self.rules.as_ref().map_or(1.0, |rules| rules.scaling(own_name(layer)))
    }

    /// Whether each layer must have a magnitude; where nothing is said, each may.
    pub(super) fn is_dora(&self) -> Option<bool> {
        self.rules.as_ref().map(Rules::is_dora)
    }

    /// The tensor, which is of a floating type.
    ///
    /// # Errors
    /// If it is of another type.
    pub(super) fn tensor(&self, name: &str) -> Result<TensorView<'_>, MergeError> {
        floating(&self.tensors, self.path(), name)
    }

    /// That every number of every tensor is one.
    ///
    /// # Errors
    /// If one is NaN or an infinity.
    pub(super) fn check_finite(&self) -> Result<(), MergeError> {
        const PIECE_LEN: usize = 1 << 16;
        for name in self.tensors.names() {
            let view = self.tensor(name)?;
            for bytes in view.bytes.chunks(PIECE_LEN * view.dtype.size_bytes()) {
                let mut values = [0.0; PIECE_LEN];
                let values = &mut values[..bytes.len() / view.dtype.size_bytes()];
                widen(view.dtype, bytes, values);
                if let Some(value) = values.iter().find(|value| !value.is_finite()) {
                    let (path, name) = (self.path().to_owned(), name.to_owned());
                    return Err(MergeError::NotFinite { path, name, value: *value });
                }
            }
        }
        Ok(())
    }

    /// SHA-256 of the file of tensors.
    pub(super) fn digest(&self) -> [u8; 32] {
        Sha256::digest(&self.tensors.files()[0][..]).into()
    }

    /// Gives each tensor to its layer.
    fn sort(&mut self) -> Result<(), MergeError> {
        let path = self.path().to_owned();
        for name in self.tensors.names() {
            let name = name.to_owned();
            let Some((layer, part)) = name.rsplit_once(".lora_") else {
                self.whole.push(name);
                continue;
            };
            let of = self.layers.entry(layer.to_owned()).or_default();
            let place = match part {
                "A.weight" | "embedding_A" => &mut of.down,
                "B.weight" | "embedding_B" => &mut of.up,
                "B.bias" => &mut of.bias,
                "magnitude_vector" | "magnitude_vector.weight" => &mut of.magnitude,
                _ => return Err(MergeError::UnknownKey { path, key: name }),
            };
            if let Some(other) = place.replace(name.clone()) {
                return Err(MergeError::Ambiguous { path, key: name, what: format!("so is `{other}`") });
            }
            of.is_embedding |= part.starts_with("embedding");
        }
        if self.layers.is_empty() && self.whole.is_empty() {
            let what = "an adapter without tensors".to_owned();
            return Err(MergeError::NoAdapter { path, what });
        }
        Ok(())
    }
}

/// A tensor in which something can be merged.
///
/// # Errors
/// If there is none of this name, or it is of another type than floating ones of 16 and 32 bits.
pub(super) fn floating<'a>(
    tensors: &'a Tensors,
    path: &Path,
    name: &str,
) -> Result<TensorView<'a>, MergeError> {
    let wrong = |found: String| MergeError::Type { path: path.to_owned(), name: name.to_owned(), found };
    match tensors.tensor(name) {
        Ok(view) if matches!(view.dtype, DType::F32 | DType::F16 | DType::Bf16) => Ok(view),
        Ok(view) => Err(wrong(view.dtype.name().to_uppercase())),
        Err(CheckpointError::DType { found, .. }) => Err(wrong(found)),
        Err(other) => Err(other.into()),
    }
}

/// A layer's name as the model has it that was trained, which patterns are matched with.
fn own_name(layer: &str) -> &str {
    layer.strip_prefix(PEFT_PREFIX).or_else(|| layer.strip_prefix("transformer.")).unwrap_or(layer)
}

/// The file of tensors, and that of the config where it has one.
fn find(path: &Path) -> Result<(PathBuf, Option<PathBuf>), MergeError> {
    let none = |what: String| MergeError::NoAdapter { path: path.to_owned(), what };
    if path.is_file() {
        let config = path.with_file_name(CONFIG);
        let has_config = path.file_name().is_some_and(|name| name == PEFT) && config.is_file();
        return Ok((path.to_owned(), has_config.then_some(config)));
    }
    let (config, peft, diffusers) = (path.join(CONFIG), path.join(PEFT), path.join(DIFFUSERS));
    if config.is_file() && peft.is_file() {
        return Ok((peft, Some(config)));
    }
    if !config.exists() && diffusers.is_file() {
        return Ok((diffusers, None));
    }
    if path.join("adapter_model.bin").exists() {
        let what = "adapter_model.bin may run any program when it is read; save the adapter as safetensors";
        return Err(none(what.to_owned()));
    }
    Err(none(format!("expected an adapter, {CONFIG} beside {PEFT} or {DIFFUSERS}, found none")))
}

/// The config in the header of a file.
fn config_in_header(tensors: &Tensors, path: &Path) -> Result<Option<JsonFile>, CheckpointError> {
    let Some(text) = tensors.metadata(METADATA) else { return Ok(None) };
    let file = JsonFile::parse(path, text.as_bytes())?;
    let own = rules::of_denoiser(file.value().clone());
    Ok(Some(JsonFile::parse(path, own.to_string().as_bytes())?))
}
