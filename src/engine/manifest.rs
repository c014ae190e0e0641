//! What an engine says about itself. It is JSON, strict: an unknown or a missing key is an error.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::EngineError;
use crate::backend::{BackendError, Precision};
use crate::graph::Network;
use crate::model::{GoldenStepPlaces, Roles, Source};
use crate::tensor::DType;

/// The content of an engine's manifest.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineManifest {
    /// Program and version that built it.
    pub written_by: String,
    /// The model.
    pub model: ModelSource,
    /// The checkpoint behind the model.
    pub source: Source,
    /// Name of the backend.
    pub backend: String,
    /// Version of the backend's own layout of weights.
    pub backend_version: u32,
    /// As Rust names it: `x86_64`, `aarch64`.
    pub architecture: String,
    /// What the weights are stored as.
    pub precision: Precision,
    /// Whether `precision` holds every weight of the model exactly.
    pub precision_is_exact: bool,
    /// Graphs, buffers, limits as the build set them, and the declarations of the weights.
    pub network: Network,
    /// Where the golden case lies in its section.
    pub golden: Vec<GoldenStepPlaces>,
    /// What it does.
    pub roles: Roles,
}

/// The model that an engine was built from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSource {
    /// Name of the file.
    pub name: String,
    /// [`Model::digest`](crate::model::Model::digest), in hexadecimal digits.
    pub sha256: String,
}

impl EngineManifest {
    /// Checks that it is sound and meant for this program on this machine.
    pub(super) fn check(&self, path: &Path) -> Result<(), EngineError> {
        let Some(version) = version_of(&self.backend) else {
            let source = BackendError::Unknown { name: self.backend.clone() };
            return Err(EngineError::Backend { path: path.to_owned(), source });
        };
        let here = built_for(&self.backend, version, std::env::consts::ARCH);
        let found = built_for(&self.backend, self.backend_version, &self.architecture);
        if here != found {
            return Err(EngineError::BuiltFor { path: path.to_owned(), expected: here, found });
        }
        self.network.verify().map_err(|source| EngineError::Graph { path: path.to_owned(), source })?;
        let checked = self.roles.check(&self.network);
        checked.map_err(|what| EngineError::Manifest { path: path.to_owned(), what })
    }

    pub(super) fn has_tokenizer(&self) -> bool {
        self.roles.need_tokenizer()
    }
}

/// The version of a backend's layout that this program reads and writes, if it knows the backend.
pub(super) fn version_of(backend: &str) -> Option<u32> {
    (backend == "cpu").then_some(crate::backend::cpu::LAYOUT_VERSION)
}

fn built_for(backend: &str, version: u32, architecture: &str) -> String {
    format!("{backend} layout {version} on {architecture}")
}

/// Whether weights stored in `precision` are what the model holds.
pub(super) fn is_exact(network: &Network, precision: Precision) -> bool {
    let coarse = |dtype| matches!(dtype, DType::Bf16 | DType::I32);
    precision == Precision::F32 || network.weights.iter().all(|w| w.shape.len() < 2 || coarse(w.dtype))
}
