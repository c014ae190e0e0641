//! `export`: a checkpoint becomes a model.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::progress::Progress;
use super::{Context, output};
use crate::export::{ReasonOptions, Summary, export_reason};

/// Makes a model of a checkpoint: graphs, weights, tokenizer, preprocessing and golden cases in one file, for any device.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  perihelion export engines/small-reason -o small-reason.model --think-suffix $'\\nThink first, in <think> </think>.'")]
pub(super) struct Options {
    /// The checkpoint's directory
    checkpoint: PathBuf,
    /// The model's file, which is replaced whole
    #[arg(short, long, value_name = "MODEL")]
    output: PathBuf,
    /// Added to a question that should be thought about: how the checkpoint is asked to think
    #[arg(long, value_name = "TEXT")]
    think_suffix: Option<String>,
    /// Write one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    model: &'a PathBuf,
    sha256: &'a str,
    parameters: u64,
    tensors: usize,
    weights_bytes: u64,
    file_bytes: u64,
}

pub(super) fn run(options: &Options, _: &Context) -> anyhow::Result<()> {
    let progress = Progress::new("export");
    let reason = ReasonOptions { think_suffix: options.think_suffix.clone(), ..ReasonOptions::default() };
    let summary = export_reason(&options.checkpoint, &reason, &options.output, &mut |at| {
        progress.set(at.done, at.total, at.stage);
    })?;
    drop(progress);
    let Summary { n_parameters, n_tensors, weights_bytes, file_bytes, sha256 } = &summary;
    if options.json {
        return output::json(&Report {
            model: &options.output,
            sha256,
            parameters: *n_parameters,
            tensors: *n_tensors,
            weights_bytes: *weights_bytes,
            file_bytes: *file_bytes,
        });
    }
    output::text(&format!(
        "{}: {n_parameters} parameters in {n_tensors} tensors, {}, sha256 {sha256}\n",
        options.output.display(),
        output::bytes(*file_bytes)
    ))
}
