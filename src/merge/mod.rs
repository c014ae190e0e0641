//! LoRA adapters into a checkpoint (Hu et al. 2021, <https://arxiv.org/abs/2106.09685>): what `export` then reads as any other.
//!
//! Read are an adapter as PEFT writes it (`adapter_config.json` beside `adapter_model.safetensors`) and as diffusers does
//! (`pytorch_lora_weights.safetensors`). An adapter changes tensors and adds none, so the checkpoint's files are written again as they
//! are, header by header and byte by byte, with other bytes in the places of the tensors that change: shards, order and what others
//! left in the headers stay. Weights come through maps and go a block of rows at a time, so that a merge needs the memory of one
//! layer's adapter and one block, whatever the model's size.
//!
//! Nothing is guessed: each tensor of the adapter belongs to exactly one of the checkpoint, and what an adapter's config asks for that is
//! not done here is refused by its name, since a merge that leaves something out answers almost like one that does not.

mod adapter;
mod changes;
mod error;
mod names;
mod product;
mod rules;
mod write;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

pub use error::MergeError;

use self::adapter::Adapter;
use self::changes::Changes;
use crate::checkpoint::Checkpoint;
use crate::container::hex;
use crate::install;

/// How an adapter is merged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MergeOptions {
    /// What the adapter's own scaling is multiplied with; finite.
    pub scale: f64,
    /// Threads that compute.
    pub threads: NonZeroUsize,
}

/// What was merged and written.
#[derive(Clone, Debug, PartialEq)]
pub struct MergeSummary {
    /// Tensors that changed.
    pub n_merged: usize,
    /// Tensors of the same files that stayed as they were.
    pub n_copied: usize,
    /// Bytes of the checkpoint's files that were written.
    pub bytes: u64,
    /// SHA-256 of the adapter's file of tensors, in hexadecimal digits.
    pub adapter_sha256: String,
    /// What whoever merges should know, a sentence each.
    pub notes: Vec<String>,
}

/// Merges the adapter at `adapter`, a folder or a safetensors file, into the checkpoint in `dir`, a transformers directory or a diffusers
/// pipeline's, and writes the checkpoint that comes out to `out`. `progress` is told bytes: how many are written, of how many.
///
/// # Errors
/// If checkpoint or adapter is damaged, if they do not belong together, if the adapter asks for something that is not done here, or if
/// `out` cannot be written. Then nothing new lies at `out` or beside it.
pub fn merge(
    dir: &Path,
    adapter: &Path,
    options: MergeOptions,
    out: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<MergeSummary, MergeError> {
    let adapter = Adapter::open(adapter)?;
    let folder = weights_folder(dir);
    let checkpoint = Checkpoint::open(&dir.join(&folder))?;
    let changes = Changes::of(&checkpoint, &adapter, options.scale)?;
    let plan = write::Plan::of(dir, &folder, &checkpoint)?;
    install::check_room(out, plan.bytes()).map_err(|source| MergeError::io(out, source))?;
    let adapter_sha256 = hex(&adapter.digest());
    let record = changes.record(&adapter_sha256);
    let mut notes = plan.notes();
    if options.scale != 1.0 && changes.replaces() {
        notes.push(
            "tensors that the adapter holds whole are taken as they are, whatever the scale".to_owned(),
        );
    }
    plan.write(&changes, record, options.threads, out, progress)?;
    Ok(MergeSummary {
        n_merged: changes.len(),
        n_copied: checkpoint.names().count() - changes.len(),
        bytes: plan.bytes(),
        adapter_sha256,
        notes,
    })
}

/// Where in a checkpoint's directory the weights lie that adapters change: the denoiser's folder of a pipeline, or the directory itself.
fn weights_folder(dir: &Path) -> PathBuf {
    if dir.join("model_index.json").exists() { PathBuf::from("transformer") } else { PathBuf::new() }
}
