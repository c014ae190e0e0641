//! What a model says about itself. It is JSON, strict: an unknown or a missing key is an error.

use serde::{Deserialize, Serialize};

use super::golden::GoldenCasePlaces;
use crate::graph::Network;
use crate::models::predict25::PredictManifest;
use crate::models::reason2::ReasonManifest;

/// Section with all weights, each on a multiple of [`TENSOR_ALIGNMENT`].
pub(crate) const WEIGHTS: &str = "weights";
/// Section with the inputs and outputs of the golden cases.
pub(crate) const GOLDEN: &str = "golden";
/// Section with the checkpoint's `tokenizer.json`.
pub(crate) const TOKENIZER: &str = "tokenizer";
/// A cache line, and more than any vector of the reader's.
pub(crate) const TENSOR_ALIGNMENT: usize = 64;

/// The content of a model's manifest.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelManifest {
    /// Program and version that wrote it.
    pub written_by: String,
    /// The checkpoint.
    pub source: Source,
    /// Graphs, buffers, limits, and the declarations of the weights.
    pub network: Network,
    /// For each weight its first byte in section `weights`.
    pub(crate) tensors: Vec<usize>,
    pub(crate) golden: Vec<GoldenCasePlaces>,
    /// What it does.
    pub roles: Roles,
}

/// Where a model comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Name of the checkpoint's directory.
    pub name: String,
    /// [`Checkpoint::digest`](crate::checkpoint::Checkpoint::digest), in hexadecimal digits.
    pub sha256: String,
}

/// What a model does, at least one thing: for each role all that its loop needs beside network and weights.
///
/// Why not one kind for each model: a network with several towers answers and forecasts over the same weights and caches.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Roles {
    /// Answers questions about frames.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answers: Option<ReasonManifest>,
    /// Forecasts frames.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forecasts: Option<PredictManifest>,
}
