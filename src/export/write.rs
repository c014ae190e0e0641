//! Writes a model: whatever its roles, the same sections.

use std::path::Path;

use super::ExportError;
use crate::container::{ContainerError, Kind, Writer};
use crate::graph::{Network, WeightId, Weights};
use crate::install;
use crate::model::{GOLDEN, GoldenCase, ModelManifest, Roles, Source, TENSOR_ALIGNMENT, TOKENIZER, WEIGHTS};

/// Bytes of weights between two reports.
const STEP_BYTES: usize = 16 << 20;

/// How far an export is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is being done, for a person.
    pub stage: &'static str,
    /// Of `total`.
    pub done: u64,
    /// Bytes or steps.
    pub total: u64,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Weights, tied ones counted once.
    pub n_parameters: u64,
    /// Tensors.
    pub n_tensors: usize,
    /// Bytes of all tensors.
    pub weights_bytes: u64,
    /// Length of the file.
    pub file_bytes: u64,
    /// The model's digest, in hexadecimal digits.
    pub sha256: String,
    /// What whoever exports should know of the checkpoint, a sentence each.
    pub notes: Vec<String>,
}

/// The parts of a model.
pub(super) struct Parts<'a> {
    pub(super) network: Network,
    pub(super) weights: &'a dyn Weights,
    pub(super) tokenizer: Option<&'a [u8]>,
    pub(super) golden: Vec<GoldenCase>,
    pub(super) source: Source,
    pub(super) roles: Roles,
    pub(super) notes: Vec<String>,
}

/// Says before the work whether the file will have room at `out`.
pub(super) fn check_room(network: &Network, weights: &dyn Weights, out: &Path) -> Result<(), ExportError> {
    let bytes =
        (0..network.weights.len()).map(|i| weights.weight(WeightId(i as u32)).bytes.len() as u64).sum();
    install::check_room(out, bytes)
        .map_err(|source| ContainerError::Io { path: out.to_owned(), source }.into())
}

/// Writes the file at `out`.
pub(super) fn write(
    parts: Parts<'_>,
    out: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<Summary, ExportError> {
    let Parts { network, weights, tokenizer, golden, source, roles, notes } = parts;
    let mut file = Writer::create(out, Kind::Model)?;
    let ids = || (0..network.weights.len()).map(|i| WeightId(i as u32));
    let total = ids().map(|id| weights.weight(id).bytes.len() as u64).sum();
    let (mut done, mut n_parameters) = (0, 0);
    let mut tensors = Vec::with_capacity(network.weights.len());
    let mut section = file.section(WEIGHTS)?;
    for id in ids() {
        section.align(TENSOR_ALIGNMENT)?;
        tensors.push(section.len());
        let tensor = weights.weight(id);
        n_parameters += tensor.len() as u64;
        for part in tensor.bytes.chunks(STEP_BYTES) {
            section.put(part)?;
            done += part.len() as u64;
            progress(Progress { stage: "weights", done, total });
        }
    }
    section.finish();
    if let Some(tokenizer) = tokenizer {
        file.add(TOKENIZER, tokenizer)?;
    }
    let (golden, golden_bytes) = GoldenCase::pack(&golden, &network);
    file.add(GOLDEN, &golden_bytes)?;
    let n_tensors = tensors.len();
    let written_by = concat!("perihelion ", env!("CARGO_PKG_VERSION")).to_owned();
    let digest = file.finish(&ModelManifest { written_by, source, network, tensors, golden, roles })?;
    let file_bytes = std::fs::metadata(out).map_or(0, |m| m.len());
    let sha256 = crate::container::hex(&digest);
    Ok(Summary { n_parameters, n_tensors, weights_bytes: total, file_bytes, sha256, notes })
}
