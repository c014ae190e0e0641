//! What the weights of an engine are stored as.

use serde::{Deserialize, Serialize};

/// What numbers an engine computes with. Both have f32 arithmetic and caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// f32 weights.
    F32,
    /// bfloat16 weights of linear layers, convolutions and embeddings.
    Bf16,
}

impl Precision {
    /// As the command line and manifests name it.
    pub fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::Bf16 => "bf16",
        }
    }
}

impl std::fmt::Display for Precision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
