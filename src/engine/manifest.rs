//! What an engine says about itself. It is JSON, strict: an unknown or a missing key is an error.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::EngineError;
use crate::backend::{Binding, PartFormats};
use crate::graph::Network;
use crate::model::{GoldenCasePlaces, Roles, Source};

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
    /// What the backend said of itself and its machine when it built this.
    pub bound_to: Binding,
    /// Whether it answered its golden cases where it was built. One that is for another machine has not been asked yet.
    pub is_tried: bool,
    /// What the weights of each part are stored as.
    pub formats: PartFormats,
    /// SHA-256 of the scales of activations that plans were made with, in hexadecimal digits: of the section's bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scales_sha256: Option<String>,
    /// Graphs, buffers, limits as the build set them, and the declarations of the weights.
    pub network: Network,
    /// Where the golden cases lie in their section.
    pub golden: Vec<GoldenCasePlaces>,
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
    /// Checks that it is sound. Whether it is meant for this program on this machine, only its backend can say.
    pub(super) fn check(&self, path: &Path) -> Result<(), EngineError> {
        self.network.verify().map_err(|source| EngineError::Graph { path: path.to_owned(), source })?;
        let wrong = |what| EngineError::Manifest { path: path.to_owned(), what };
        self.formats.of_weights(&self.network).map_err(|why| wrong(why.to_string()))?;
        self.roles.check(&self.network).map_err(wrong)
    }

    pub(super) fn has_tokenizer(&self) -> bool {
        self.roles.need_tokenizer()
    }
}
