//! What `inspect` says of a checkpoint.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::checkpoint::Checkpoint;
use crate::cli::output;
use crate::models::predict25::{Generation, PredictCheckpoint};
use crate::models::reason2::Reason2Config;

/// A checkpoint by the parts of its network.
#[derive(Debug, Serialize)]
pub(super) struct CheckpointReport {
    kind: &'static str,
    path: PathBuf,
    architecture: &'static str,
    parameters: u64,
    tensors: usize,
    files: usize,
    size_bytes: u64,
    parts: Vec<Part>,
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

impl CheckpointReport {
    pub(super) fn of(dir: &Path) -> anyhow::Result<Self> {
        if dir.join("model_index.json").exists() {
            let predict = PredictCheckpoint::open(dir)?;
            let architecture = match predict.generation() {
                Generation::Predict2 => "predict2",
                Generation::Predict25 => "predict2.5",
            };
            let components = [("transformer.", predict.transformer()), ("vae.", predict.vae())];
            return Self::sum(dir, architecture, &components);
        }
        let checkpoint = Checkpoint::open(dir)?;
        Reason2Config::parse(checkpoint.config())?;
        Self::sum(dir, "reason2", &[("", &checkpoint)])
    }

    /// Sums up the tensors of all components, each with what stands before the names of its parts.
    fn sum(
        dir: &Path,
        architecture: &'static str,
        components: &[(&str, &Checkpoint)],
    ) -> anyhow::Result<Self> {
        let mut parts = BTreeMap::<String, Part>::new();
        for (prefix, checkpoint) in components {
            for name in checkpoint.names() {
                let tensor = checkpoint.tensor(name)?;
                let part = format!("{prefix}{}", part_of(name));
                let entry = parts.entry(part.clone()).or_insert_with(|| Part {
                    name: part,
                    tensors: 0,
                    parameters: 0,
                    dtypes: Vec::new(),
                    size_bytes: 0,
                });
                entry.tensors += 1;
                entry.parameters += tensor.len() as u64;
                entry.size_bytes += tensor.bytes.len() as u64;
                if !entry.dtypes.contains(&tensor.dtype.name()) {
                    entry.dtypes.push(tensor.dtype.name());
                }
            }
        }
        let parts: Vec<Part> = parts.into_values().collect();
        let tensors = || components.iter().map(|(_, checkpoint)| checkpoint.tensors());
        Ok(Self {
            kind: "checkpoint",
            path: dir.to_owned(),
            architecture,
            parameters: parts.iter().map(|p| p.parameters).sum(),
            tensors: parts.iter().map(|p| p.tensors).sum(),
            files: tensors().map(|tensors| tensors.files().len()).sum(),
            size_bytes: tensors().map(|tensors| tensors.size_bytes()).sum(),
            parts,
        })
    }

    pub(super) fn text(&self) -> String {
        let mut text = format!(
            "checkpoint {}: {}, {} parameters in {} tensors, {} in {} file(s)\n\n",
            self.path.display(),
            self.architecture,
            self.parameters,
            self.tensors,
            output::bytes(self.size_bytes),
            self.files
        );
        let mut rows = vec![["part", "tensors", "parameters", "type", "bytes"].map(str::to_owned).to_vec()];
        for part in &self.parts {
            let (n, p) = (part.tensors.to_string(), part.parameters.to_string());
            rows.push(vec![part.name.clone(), n, p, part.dtypes.join("+"), part.size_bytes.to_string()]);
        }
        text.push_str(&output::table(&rows));
        text
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
