//! Where the weights of a Predict network stand in a checkpoint. The denoiser's have two spellings: diffusers' names, which are ours, and
//! those under which NVIDIA trained it (`net.blocks.0.self_attn.q_proj.weight`).
//!
//! All are stored as they are computed with but for the first: the patches' map takes channels before places, and has a channel each for
//! the condition mask, which is the same at all places of a patch, and for the padding mask, which is zero everywhere.

use super::spelling::Spelling;
use super::{DenoiserConfig, PATCH, TextEmbedding};
use crate::graph::{Network, Weight};
use crate::models::names::{Fold, Names, Rule};
use crate::models::wan_vae::{self, WanVaeConfig};

/// What training leaves in a file beside the weights: counters, tables that are computed from the config, states of the trainer.
const OF_TRAINING: [&str; 3] = ["net.accum_", "net.pos_embedder.", "_extra_state"];

/// The table of a network of denoiser, VAE and texts.
pub(super) fn names(
    denoiser: &DenoiserConfig,
    vae: &WanVaeConfig,
    network: &Network,
    texts: &[TextEmbedding],
    spelling: Spelling,
) -> Names {
    let names = Names::new(network, |weight| {
        if let Some(name) = weight.name.strip_prefix("text.") {
            let text = texts.iter().find(|text| text.name == name);
            return Rule::Given(text.map_or_else(Vec::new, |text| text.values.clone()));
        }
        match &weight.part[..] {
            wan_vae::FOLDER => wan_vae::rule(vae, weight),
            _ => denoiser_rule(denoiser, weight, spelling),
        }
    });
    match spelling {
        Spelling::Diffusers => names,
        Spelling::Original => names.ignoring(&OF_TRAINING),
    }
}

fn denoiser_rule(config: &DenoiserConfig, weight: &Weight, spelling: Spelling) -> Rule {
    let n_places = PATCH * PATCH;
    let n_channels = config.channels;
    let n_inputs = n_channels + 1 + usize::from(config.padding_mask);
    let patches = || spelling.stored("patch_embed.proj.weight", &[config.width(), n_inputs * n_places]);
    match &weight.name[..] {
        "patch_embed.latent.weight" => {
            Rule::Folded { of: patches(), fold: Fold::PlacesFirst { n_channels, n_places } }
        }
        "patch_embed.mask.weight" => {
            Rule::Folded { of: patches(), fold: Fold::SumOfPlaces { channel: n_channels, n_places } }
        }
        // Given latents get nothing of the actions.
        name if name.ends_with(".first") => Rule::Given(vec![0.0; weight.shape.iter().product()]),
        name => Rule::Whole(spelling.stored(name, &weight.shape)),
    }
}
