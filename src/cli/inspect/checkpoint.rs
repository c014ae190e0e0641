//! What `inspect` says of a checkpoint, or of its configs alone.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::configured::Configured;
use crate::checkpoint::{Checkpoint, JsonFile};
use crate::cli::output;
use crate::graph::Network;
use crate::models::predict25::{Generation, PredictCheckpoint, PredictConfig};
use crate::models::reason2::{Head, Reason2Config};
use crate::tensor::DType;

/// A checkpoint by the parts of its network.
#[derive(Debug, Serialize)]
pub(super) struct CheckpointReport {
    kind: &'static str,
    path: PathBuf,
    architecture: &'static str,
    parameters: u64,
    tensors: usize,
    /// 0 where configs lie without weights: then all figures are what the configs imply.
    files: usize,
    size_bytes: u64,
    parts: Vec<Part>,
    engine: Configured,
}

/// The tensors under one prefix.
#[derive(Debug, Serialize)]
struct Part {
    name: String,
    tensors: usize,
    parameters: u64,
    dtypes: Vec<&'static str>,
    size_bytes: u64,
}

/// Tensors by the part that they belong to.
#[derive(Default)]
struct Parts(BTreeMap<String, Part>);

impl CheckpointReport {
    /// Plans sessions and opens none, so that a checkpoint may be larger than this machine.
    pub(super) fn of(dir: &Path, threads: NonZeroUsize) -> anyhow::Result<Self> {
        if dir.join("model_index.json").exists() { predict(dir, threads) } else { reason(dir, threads) }
    }

    fn new(
        dir: &Path,
        architecture: &'static str,
        components: &[(&str, &Checkpoint)],
        engine: Configured,
    ) -> anyhow::Result<Self> {
        let mut parts = Parts::default();
        for (prefix, checkpoint) in components {
            for name in checkpoint.names() {
                let tensor = checkpoint.tensor(name)?;
                parts.add(prefix, name, tensor.dtype, tensor.len());
            }
        }
        if components.is_empty() {
            for stored in &engine.stored {
                parts.add(stored.folder, &stored.name, engine.dtype, stored.len());
            }
        }
        let parts: Vec<Part> = parts.0.into_values().collect();
        Ok(Self {
            kind: "checkpoint",
            path: dir.to_owned(),
            architecture,
            parameters: parts.iter().map(|p| p.parameters).sum(),
            tensors: parts.iter().map(|p| p.tensors).sum(),
            files: components.iter().map(|(_, checkpoint)| checkpoint.tensors().files().len()).sum(),
            size_bytes: parts.iter().map(|p| p.size_bytes).sum(),
            parts,
            engine,
        })
    }

    /// The network of an engine of it.
    pub(super) fn network(&self) -> &Network {
        &self.engine.network
    }

    pub(super) fn text(&self) -> String {
        let place = match self.files {
            0 => "without weights here".to_owned(),
            n => format!("in {n} file(s)"),
        };
        let mut text = format!(
            "checkpoint {}: {}, {} parameters in {} tensors, {} {place}\n\n",
            self.path.display(),
            self.architecture,
            self.parameters,
            self.tensors,
            output::bytes(self.size_bytes),
        );
        let mut rows = vec![["part", "tensors", "parameters", "type", "bytes"].map(str::to_owned).to_vec()];
        for part in &self.parts {
            let (n, p) = (part.tensors.to_string(), part.parameters.to_string());
            rows.push(vec![part.name.clone(), n, p, part.dtypes.join("+"), part.size_bytes.to_string()]);
        }
        text.push_str(&output::table(&rows));
        text.push_str(&self.engine.text());
        text
    }
}

fn predict(dir: &Path, threads: NonZeroUsize) -> anyhow::Result<CheckpointReport> {
    let architecture = |config: &PredictConfig| match config.generation {
        Generation::Predict2 => "predict2",
        Generation::Predict25 => "predict2.5",
    };
    if ["transformer", "vae"].iter().any(|folder| Checkpoint::has_weights(&dir.join(folder))) {
        let predict = PredictCheckpoint::open(dir)?;
        let components = [("transformer", predict.transformer()), ("vae", predict.vae())];
        let engine = Configured::predict(predict.config(), threads)?;
        return CheckpointReport::new(dir, architecture(predict.config()), &components, engine);
    }
    let config = PredictConfig::open(dir)?;
    CheckpointReport::new(dir, architecture(&config), &[], Configured::predict(&config, threads)?)
}

fn reason(dir: &Path, threads: NonZeroUsize) -> anyhow::Result<CheckpointReport> {
    if Checkpoint::has_weights(dir) {
        let checkpoint = Checkpoint::open(dir)?;
        let config = Reason2Config::parse(checkpoint.config())?;
        let engine = Configured::reason(&config, config.head(checkpoint.tensors())?, threads)?;
        return CheckpointReport::new(dir, "reason2", &[("", &checkpoint)], engine);
    }
    let config = Reason2Config::parse(&JsonFile::open_config(dir)?)?;
    let head = if config.tie_word_embeddings { Head::Embedding } else { Head::Own };
    CheckpointReport::new(dir, "reason2", &[], Configured::reason(&config, head, threads)?)
}

impl Parts {
    fn add(&mut self, folder: &str, name: &str, dtype: DType, parameters: usize) {
        let dot = if folder.is_empty() { "" } else { "." };
        let part = format!("{folder}{dot}{}", part_of(name));
        let entry = self.0.entry(part.clone()).or_insert_with(|| Part {
            name: part,
            tensors: 0,
            parameters: 0,
            dtypes: Vec::new(),
            size_bytes: 0,
        });
        entry.tensors += 1;
        entry.parameters += parameters as u64;
        entry.size_bytes += (parameters * dtype.size_bytes()) as u64;
        if !entry.dtypes.contains(&dtype.name()) {
            entry.dtypes.push(dtype.name());
        }
    }
}

/// The part that a tensor belongs to: its name up to the first number, or without its last word.
fn part_of(name: &str) -> String {
    let words: Vec<&str> = name.split('.').collect();
    let end = words.iter().position(|w| w.parse::<u32>().is_ok()).unwrap_or(words.len() - 1);
    words[..end.max(1)].join(".")
}

#[cfg(test)]
#[test]
fn tensors_belong_to_parts() {
    assert_eq!(part_of("model.visual.blocks.11.attn.qkv.weight"), "model.visual.blocks");
    assert_eq!(part_of("lm_head.weight"), "lm_head");
    assert_eq!(part_of("scale"), "scale");
}
