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
//! [`PREFILL_TOKENS_MAX`], which keeps the arena small; `past` says how much of it the caches hold. A visual token has, in
//! `visual_index`, the row of its features in the `n_visual` rows that the run reads; a text token has -1. `head` stands apart, so
//! that only the last piece of a prompt pays for it.

use super::Reason2Config;
use super::language::Language;
use super::vision::Vision;
use crate::graph::{Dim, GraphBuilder, Network, Op, Purpose, ValueId, WeightId};
use crate::tensor::DType;

/// Most tokens of one run of `prefill`.
pub const PREFILL_TOKENS_MAX: usize = 512;
/// The weight of the patches' embedding: a convolution in the checkpoint, whose kernel is as large as its stride; so a product.
pub const PATCH_EMBEDDING: &str = "model.visual.patch_embed.proj.weight";

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

/// Writes the network. `head` names the tensor of the head, `dtype_of` says how a tensor is stored; weights are declared under the
/// checkpoint's names, with its shapes but for [`PATCH_EMBEDDING`].
///
/// # Panics
/// If a limit is 0, or more visual tokens are allowed than the context holds.
pub fn network(
    config: &Reason2Config,
    limits: Limits,
    head: &str,
    dtype_of: &dyn Fn(&str) -> DType,
) -> Network {
    let mut network = Network::default();
    let context = network.declare_limit("context", limits.context);
    let image_tokens = network.declare_limit("image_tokens", limits.image_tokens);
    network.declare_limit("frames", limits.frames);
    let mut weights = Weights { dtype_of, part: "vision" };

    let vision = Vision::declare(config, &mut network, context, image_tokens);
    vision.graph(config, &mut network, &mut weights);
    let language = Language::declare(config, &mut network, context, vision.features());
    weights.part = "language";
    language.prefill(config, &mut network, &mut weights, context);
    weights.part = "head";
    language.head(config, &mut network, &mut weights, head);
    language.decode(config, &mut network, &mut weights, context, head);
    network
}

/// Shape in which the checkpoint stores a declared weight.
pub(super) fn stored_shape(config: &Reason2Config, name: &str, declared: &[usize]) -> Vec<usize> {
    let vision = &config.vision;
    if name != PATCH_EMBEDDING {
        return declared.to_vec();
    }
    let side = vision.patch_size;
    vec![vision.hidden_size, vision.in_channels, vision.temporal_patch_size, side, side]
}

/// Declares weights under the checkpoint's names, in its types.
pub(super) struct Weights<'a> {
    dtype_of: &'a dyn Fn(&str) -> DType,
    /// Whose weights are being declared.
    part: &'static str,
}

impl Weights<'_> {
    pub(super) fn declare(&mut self, graph: &mut GraphBuilder<'_>, name: &str, shape: &[usize]) -> WeightId {
        graph.network.declare_weight(self.part, name, (self.dtype_of)(name), shape)
    }

    /// `x Wᵀ (+ b)` with `NAME.weight` and `NAME.bias`.
    pub(super) fn linear(
        &mut self,
        graph: &mut GraphBuilder<'_>,
        name: &str,
        x: ValueId,
        n_out: usize,
        biased: bool,
    ) -> ValueId {
        let n_in = match graph.shape(x).last() {
            Some(Dim::Fixed(n)) => *n,
            other => panic!("{name}: the last axis is {other:?}"),
        };
        let weight = self.declare(graph, &format!("{name}.weight"), &[n_out, n_in]);
        let bias = biased.then(|| self.declare(graph, &format!("{name}.bias"), &[n_out]));
        graph.linear(x, weight, bias)
    }

    /// Layer normalisation with `NAME.weight` and `NAME.bias`.
    pub(super) fn layer_norm(
        &mut self,
        graph: &mut GraphBuilder<'_>,
        name: &str,
        x: ValueId,
        dim: usize,
    ) -> ValueId {
        let weight = Some(self.declare(graph, &format!("{name}.weight"), &[dim]));
        let bias = Some(self.declare(graph, &format!("{name}.bias"), &[dim]));
        graph.add(Op::LayerNorm { weight, bias, eps: 1e-6 }, &[x])
    }

    /// Root-mean-square normalisation with `NAME.weight`.
    pub(super) fn rms_norm(
        &mut self,
        graph: &mut GraphBuilder<'_>,
        name: &str,
        x: ValueId,
        dim: usize,
        eps: f32,
    ) -> ValueId {
        let weight = Some(self.declare(graph, &format!("{name}.weight"), &[dim]));
        graph.add(Op::RmsNorm { weight, eps }, &[x])
    }
}

/// `theta^(-2i/dim)` for `n` frequencies: exponent and result in f32, as the reference has them.
pub(super) fn inverse_frequencies(theta: f64, n: usize, dim: usize) -> Vec<f32> {
    let exponent = |i: usize| (2 * i) as f32 / dim as f32;
    (0..n).map(|i| 1.0 / theta.powf(f64::from(exponent(i))) as f32).collect()
}

/// Buffers of one row to a token or patch.
pub(super) const INPUT: Purpose = Purpose::Input;
