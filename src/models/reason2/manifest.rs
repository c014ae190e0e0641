//! What stands in a model and in an engine about a Reason network: all that the loop needs beside the graphs.

use serde::{Deserialize, Serialize};

use super::{PatchPositions, PromptLayout, Sampling};
use crate::camera::Preprocess;
use crate::graph::Network;

/// Everything that a Reason engine needs beside network, weights and tokenizer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReasonManifest {
    /// Text around question and media.
    pub prompt: PromptLayout,
    /// How frames become patches.
    pub preprocess: Preprocess,
    /// Where patches lie.
    pub patch_positions: PatchPositions,
    /// How many buffers `deepstack.I` there are.
    pub n_deepstack: usize,
    /// Sampling as the checkpoint's authors do it.
    pub sampling: Sampling,
    /// Tokens that end an answer.
    pub stop_token_ids: Vec<u32>,
    /// Number of token ids.
    pub vocab_size: usize,
    /// Most positions that the network was made for: the largest sensible limit `context`.
    pub context_max: usize,
    /// What `run` takes from a camera unless told otherwise.
    pub clip: Clip,
}

/// Frames that are looked at together.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clip {
    /// How many.
    pub frames: usize,
    /// How many in a second.
    pub fps: f64,
}

impl ReasonManifest {
    /// Checks what the loop would otherwise find out by a panic: the network's graphs and buffers, and that sizes agree.
    ///
    /// # Errors
    /// What is expected and what was found, in words.
    pub fn check(&self, network: &Network) -> Result<(), String> {
        self.preprocess.check().map_err(|e| format!("`preprocess`: {e}"))?;
        for graph in ["vision", "prefill", "head", "decode"] {
            network.graph(graph).ok_or(format!("graph `{graph}` should be there"))?;
        }
        let row_len = |name: &str| {
            let id = network.buffer(name).ok_or(format!("buffer `{name}` should be there"))?;
            Ok::<_, String>(network.buffers[id.index()].row_len())
        };
        for name in ["tokens", "visual_index", "positions", "hidden"] {
            row_len(name)?;
        }
        let deepstack =
            (0..self.n_deepstack.min(network.buffers.len() + 1)).map(|i| format!("deepstack.{i}"));
        for name in std::iter::once("visual_features".to_owned()).chain(deepstack) {
            row_len(&name)?;
        }
        let patches = &self.preprocess.patches;
        let expected = [
            ("logits", self.vocab_size),
            ("patches", patches.patch_len()),
            ("position_index", 4),
            ("position_share", 4),
            ("patch_positions", 2),
        ];
        for (name, expected) in expected {
            let found = row_len(name)?;
            if found != expected {
                return Err(format!("buffer `{name}` should have rows of {expected}, they have {found}"));
            }
        }
        if patches.merge_size != self.patch_positions.merge_size || self.patch_positions.table_side == 0 {
            return Err(format!("`patch_positions` should have the merge size {}", patches.merge_size));
        }
        if self.stop_token_ids.iter().any(|id| self.vocab_size <= *id as usize) {
            return Err(format!("`stop_token_ids` should be below {}", self.vocab_size));
        }
        if self.clip.frames == 0 || !(self.clip.fps.is_finite() && 0.0 < self.clip.fps) {
            return Err(format!("`clip` should have frames and a rate above 0, it is {:?}", self.clip));
        }
        Ok(())
    }
}
