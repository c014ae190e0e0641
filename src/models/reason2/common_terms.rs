//! Names and constants that several of the graphs share.

use crate::graph::Purpose;

/// Most tokens of one run of `prefill`.
pub const PREFILL_TOKENS_MAX: usize = 512;
/// The weight of the patches' embedding: a convolution in the checkpoint, whose kernel is as large as its stride; so a product.
pub const PATCH_EMBEDDING: &str = "model.visual.patch_embed.proj.weight";
/// The weight of the tokens' embedding.
pub(super) const EMBEDDING: &str = "model.language_model.embed_tokens.weight";
/// The weight of a head of its own, and a second name of a tied one, which some writers store besides.
pub(super) const HEAD: &str = "lm_head.weight";
/// Added to the variance in the vision encoder's normalisations, which the config does not name.
pub(super) const LAYER_NORM_EPS: f32 = 1e-6;

/// Which weight is the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// The embedding: the head is tied to it.
    Embedding,
    /// A weight of its own.
    Own,
}

impl Head {
    /// The head's weight.
    pub fn weight(self) -> &'static str {
        match self {
            Head::Embedding => EMBEDDING,
            Head::Own => HEAD,
        }
    }
}

/// `theta^(-2i/dim)` for `n` frequencies: exponent and result in f32, as the reference has them.
pub(super) fn inverse_frequencies(theta: f64, n: usize, dim: usize) -> Vec<f32> {
    let exponent = |i: usize| (2 * i) as f32 / dim as f32;
    (0..n).map(|i| 1.0 / theta.powf(f64::from(exponent(i))) as f32).collect()
}

/// Buffers of one row to a token or patch.
pub(super) const INPUT: Purpose = Purpose::Input;
