//! Cosmos-Reason2's network (Qwen3-VL's, as `transformers` computes it) in four graphs over one set of weights and buffers.
//!
//! | graph | extents | reads | writes |
//! | --- | --- | --- | --- |
//! | `vision` | `n_patches` | `patches`, `position_index`, `position_share`, `patch_positions` | `visual_features`, `deepstack.I` |
//! | `prefill` | `n_tokens`, `past`, `n_visual` | `tokens`, `positions`, `visual_index`, features | caches, `hidden` |
//! | `head` | | `hidden` | `logits` |
//! | `decode` | `past` | `tokens`, `positions` | caches, `logits` |
//!
//! `vision` encodes one group of frames (one image, or `temporal_patch_size` frames of a video): attention never leaves a group, so
//! several are several runs, each at its own window of the features. `prefill` takes a prompt in pieces of at most
//! [`PREFILL_TOKENS_MAX`](super::PREFILL_TOKENS_MAX), which keeps the arena small; `past` says how much of it the caches hold. A visual token has, in
//! `visual_index`, the row of its features in the `n_visual` rows that the run reads; a text token has -1. `head` stands apart, so
//! that only the last piece of a prompt pays for it.

use super::Reason2Config;
use super::common_terms::Head;
use super::language::Language;
use super::vision::Vision;
use crate::graph::Network;
use crate::models::layers::Layers;
use crate::tensor::DType;

/// Maxima that a build may set again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Tokens of prompt and answer together: limit `context`.
    pub context: usize,
    /// Visual tokens of one image or one group of frames: limit `image_tokens`.
    pub image_tokens: usize,
    /// Frames of one clip: limit `frames`.
    pub frames: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { context: 4096, image_tokens: 1024, frames: 16 }
    }
}

impl Limits {
    /// These limits, as far as a network has positions.
    pub fn within(self, n_positions: usize) -> Limits {
        let context = self.context.min(n_positions).max(1);
        Limits { context, image_tokens: self.image_tokens.min(context), ..self }
    }
}

/// Writes the network from its config alone, with weights of this type under the names that `transformers` gives them.
///
/// # Panics
/// If a limit is 0, or more visual tokens are allowed than the context holds.
pub fn network(config: &Reason2Config, limits: Limits, head: Head, dtype: DType) -> Network {
    let mut network = Network::default();
    let context = network.declare_limit("context", limits.context);
    let image_tokens = network.declare_limit("image_tokens", limits.image_tokens);
    network.declare_limit("frames", limits.frames);
    let layers = |part| Layers { part, dtype };

    let vision = Vision::declare(config, &mut network, context, image_tokens);
    vision.graph(config, &mut network, layers("vision"));
    let language = Language::declare(config, &mut network, context, vision.features());
    language.prefill(config, &mut network, layers("language"), context);
    language.head(config, &mut network, layers("head"), head);
    language.decode(config, &mut network, layers("head"), context, head);
    network
}
