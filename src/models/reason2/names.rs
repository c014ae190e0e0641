//! Where the network's weights stand in a checkpoint: under the same names, whole.

use super::Reason2Config;
use super::common_terms::{EMBEDDING, HEAD, Head, PATCH_EMBEDDING};
use crate::graph::Network;
use crate::models::names::{Names, Rule, Stored};

/// The table of a network that was written from this config.
pub fn names(config: &Reason2Config, network: &Network, head: Head) -> Names {
    let vision = &config.vision;
    let names = Names::new(network, |weight| {
        let side = vision.patch_size;
        let kernel = [vision.hidden_size, vision.in_channels, vision.temporal_patch_size, side, side];
        let shape = if weight.name == PATCH_EMBEDDING { &kernel[..] } else { &weight.shape };
        Rule::Whole(Stored::new(&weight.name, shape))
    });
    let copy = Stored::new(HEAD, &[config.language.vocab_size, config.language.hidden_size]);
    match head {
        Head::Embedding => names.copied(network, EMBEDDING, copy),
        Head::Own => names,
    }
}
