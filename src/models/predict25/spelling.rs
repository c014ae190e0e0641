//! The two spellings of the names of a denoiser's tensors.

use crate::checkpoint::Tensors;
use crate::models::names::Stored;

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

/// The folder of the denoiser's file.
pub(super) const FOLDER: &str = "transformer";

/// Whose names a denoiser's file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    /// Diffusers'.
    Diffusers,
    /// NVIDIA's.
    Original,
}

impl Spelling {
    /// As the file has it.
    pub fn of(denoiser: &Tensors) -> Spelling {
        if denoiser.contains(ORIGINAL_MARK) { Spelling::Original } else { Spelling::Diffusers }
    }

    /// The name under which the tensor that diffusers calls so is stored.
    pub fn stored_name(self, name: &str) -> String {
        match self {
            Spelling::Diffusers => name.to_owned(),
            Spelling::Original => {
                ORIGINAL.iter().fold(format!("net.{name}"), |name, (new, old)| name.replace(new, old))
            }
        }
    }

    /// Where the tensor that diffusers calls so stands.
    pub(super) fn stored(self, name: &str, shape: &[usize]) -> Stored {
        Stored { folder: FOLDER, ..Stored::new(self.stored_name(name), shape) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_its_original() {
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
            assert_eq!(Spelling::Original.stored_name(name), expected);
            assert_eq!(Spelling::Diffusers.stored_name(name), name);
        }
    }
}
