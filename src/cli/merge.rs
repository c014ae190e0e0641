//! `perihelion merge`: an adapter becomes part of the checkpoint that it was trained beside.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::places::Places;
use super::progress::Progress;
use super::{Context, Usage, output};
use crate::merge::{MergeOptions, MergeSummary, merge};

/// Merges a LoRA adapter into the checkpoint of Reason or Predict that it was trained beside; `export` reads what comes out as any other
#[derive(Debug, Args)]
#[command(after_help = "\
Adapters are taken as PEFT writes them (adapter_config.json beside adapter_model.safetensors) and as diffusers does
(pytorch_lora_weights.safetensors). Weights go a block at a time: a merge needs the memory of one layer's adapter, not of the model.
What was merged stands in perihelion_merge.json beside the weights. Several adapters are merged one after another.

Example:
  perihelion merge Cosmos-Reason2-2B my-adapter -o my-reason
  perihelion export my-reason -o my-reason.model")]
pub(crate) struct Options {
    /// The checkpoint's directory, or a pipeline's of diffusers
    checkpoint: PathBuf,
    /// The adapter: its folder, or its .safetensors file
    adapter: PathBuf,
    /// The merged checkpoint's directory, in which nothing lies yet
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Multiplies the scaling that the adapter was trained with
    #[arg(long, value_name = "X", default_value_t = 1.0, allow_negative_numbers = true)]
    scale: f64,
    /// Write one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    checkpoint: &'a PathBuf,
    tensors_merged: usize,
    tensors_copied: usize,
    bytes: u64,
    adapter_sha256: &'a str,
    scale: f64,
}

pub(crate) fn run(options: &Options, context: &Context) -> anyhow::Result<()> {
    let Options { checkpoint, adapter, output, scale, json } = options;
    if !scale.is_finite() {
        return Err(Usage(format!("--scale {scale}: expected a finite number")).into());
    }
    Places::new().reads([checkpoint, adapter]).writes_new("--output", output).check()?;
    let progress = Progress::new("merge");
    let how = MergeOptions { scale: *scale, threads: context.threads };
    let merged = merge(checkpoint, adapter, how, output, &mut |done, total| progress.set(done, total, ""))?;
    drop(progress);
    let MergeSummary { n_merged, n_copied, bytes, adapter_sha256, notes } = &merged;
    for note in notes {
        eprintln!("{}: {note}", checkpoint.display());
    }
    if *json {
        return output::json(&Report {
            checkpoint: output,
            tensors_merged: *n_merged,
            tensors_copied: *n_copied,
            bytes: *bytes,
            adapter_sha256,
            scale: *scale,
        });
    }
    output::text(&format!(
        "{}: {n_merged} tensors merged, {n_copied} as they were, {}\n",
        output.display(),
        output::bytes(*bytes)
    ))
}
