//! Names of the denoiser's tensors: diffusers' own, and those under which NVIDIA trained it (`net.blocks.0.self_attn.q_proj.weight`).

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::tensor::TensorView;

/// Diffusers' part of a name, and the original one; later pairs see what earlier ones left.
const ORIGINAL: [(&str, &str); 23] = [
    ("time_embed.t_embedder", "t_embedder.1"),
    ("time_embed.norm", "t_embedding_norm"),
    ("transformer_blocks", "blocks"),
    ("norm1.linear_1", "adaln_modulation_self_attn.1"),
    ("norm1.linear_2", "adaln_modulation_self_attn.2"),
    ("norm2.linear_1", "adaln_modulation_cross_attn.1"),
    ("norm2.linear_2", "adaln_modulation_cross_attn.2"),
    ("norm3.linear_1", "adaln_modulation_mlp.1"),
    ("norm3.linear_2", "adaln_modulation_mlp.2"),
    ("attn1", "self_attn"),
    ("attn2", "cross_attn"),
    ("to_q", "q_proj"),
    ("to_k", "k_proj"),
    ("to_v", "v_proj"),
    ("to_out.0", "output_proj"),
    ("norm_q", "q_norm"),
    ("norm_k", "k_norm"),
    ("ff.net.0.proj", "mlp.layer1"),
    ("ff.net.2", "mlp.layer2"),
    ("patch_embed.proj", "x_embedder.proj.1"),
    ("norm_out.linear_1", "final_layer.adaln_modulation.1"),
    ("norm_out.linear_2", "final_layer.adaln_modulation.2"),
    ("proj_out", "final_layer.linear"),
];
/// A tensor that every denoiser has, under its original name.
const ORIGINAL_MARK: &str = "net.x_embedder.proj.1.weight";

/// What training leaves in a file beside the weights: counters, tables that are computed from the config, states of the trainer.
const OF_TRAINING: [&str; 3] = ["net.accum_", "net.pos_embedder.", "_extra_state"];

/// The denoiser's tensors, asked for by diffusers' names.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tensors<'c> {
    checkpoint: &'c Checkpoint,
    original: bool,
}

impl<'c> Tensors<'c> {
    pub(super) fn new(checkpoint: &'c Checkpoint) -> Self {
        Tensors { checkpoint, original: checkpoint.tensors().contains(ORIGINAL_MARK) }
    }

    /// The tensor, which must have exactly this shape.
    pub(super) fn expect(&self, name: &str, shape: &[usize]) -> Result<TensorView<'c>, CheckpointError> {
        self.checkpoint.expect(&self.stored_name(name), shape)
    }

    /// Whether there is such a tensor.
    pub(super) fn contains(&self, name: &str) -> bool {
        self.checkpoint.tensors().contains(&self.stored_name(name))
    }

    /// Extents of the tensor.
    pub(super) fn shape(&self, name: &str) -> Result<Vec<usize>, CheckpointError> {
        Ok(self.checkpoint.tensor(&self.stored_name(name))?.shape)
    }

    /// That nothing is left that nobody asked for: a branch that is not written here, or more layers than the config says.
    pub(super) fn expect_all_asked(&self) -> Result<(), CheckpointError> {
        let of_training = |name: &str| match self.original {
            true => OF_TRAINING.iter().any(|part| name.starts_with(part) || name.ends_with(part)),
            false => false,
        };
        self.checkpoint.tensors().expect_all_asked(of_training)
    }

    fn stored_name(&self, name: &str) -> String {
        if !self.original {
            return name.to_owned();
        }
        ORIGINAL.iter().fold(format!("net.{name}"), |name, (new, old)| name.replace(new, old))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_its_original() {
        let original =
            |name: &str| ORIGINAL.iter().fold(format!("net.{name}"), |n, (new, old)| n.replace(new, old));
        for (name, expected) in [
            ("patch_embed.proj.weight", ORIGINAL_MARK),
            ("time_embed.t_embedder.linear_1.weight", "net.t_embedder.1.linear_1.weight"),
            ("time_embed.norm.weight", "net.t_embedding_norm.weight"),
            ("transformer_blocks.7.attn1.to_out.0.weight", "net.blocks.7.self_attn.output_proj.weight"),
            ("transformer_blocks.7.attn2.norm_k.weight", "net.blocks.7.cross_attn.k_norm.weight"),
            (
                "transformer_blocks.7.norm2.linear_2.weight",
                "net.blocks.7.adaln_modulation_cross_attn.2.weight",
            ),
            ("transformer_blocks.7.ff.net.0.proj.weight", "net.blocks.7.mlp.layer1.weight"),
            ("norm_out.linear_1.weight", "net.final_layer.adaln_modulation.1.weight"),
            ("proj_out.weight", "net.final_layer.linear.weight"),
            ("crossattn_proj.0.weight", "net.crossattn_proj.0.weight"),
            ("action_embedder_B_3D.fc2.bias", "net.action_embedder_B_3D.fc2.bias"),
        ] {
            assert_eq!(original(name), expected);
        }
    }
}
