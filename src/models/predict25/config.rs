//! What `transformer/config.json` says of a `CosmosTransformer3DModel` of Predict2 or 2.5.

use crate::checkpoint::{CheckpointError, JsonFile};

/// Beyond every network of this kind: what a config says is written as graphs before a weight is looked at.
const LAYERS_MAX: usize = 1024;
const WIDTH_MAX: usize = 1 << 18;
const CHANNELS_MAX: usize = 4096;

/// Extents of the denoiser.
#[derive(Clone, Debug, PartialEq)]
pub struct DenoiserConfig {
    /// Channels of a latent.
    pub channels: usize,
    /// Attention heads.
    pub n_heads: usize,
    /// Channels of a head.
    pub head_dim: usize,
    /// Blocks.
    pub n_layers: usize,
    /// Channels of the hidden layer of a block's perceptron.
    pub mlp_dim: usize,
    /// Channels of a text token as cross-attention sees it.
    pub text_dim: usize,
    /// Rank of the maps from timestep to shifts, scales and gates.
    pub adaln_dim: usize,
    /// Channels of a text token before the projection, where there is one.
    pub text_projection: Option<usize>,
    /// Whether a padding mask follows the condition mask.
    pub padding_mask: bool,
    /// How much further than in training positions reach, along time, height and width.
    pub rope_scale: [f64; 3],
    /// Places along time, height and width for which there are positions, in patches.
    pub positions_max: [usize; 3],
    /// The perceptrons of actions. No config names them: a checkpoint has them or not.
    pub actions: Option<ActionPerceptrons>,
}

/// Extents of the two perceptrons by which actions join the timestep: one adds to its embedding, one to the modulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActionPerceptrons {
    /// Values that they take at a time.
    pub n_inputs: usize,
    /// Channels of each one's hidden layer.
    pub hidden: [usize; 2],
}

/// Height and width of a patch; one latent frame deep.
pub const PATCH: usize = 2;

impl DenoiserConfig {
    /// Channels of the residual stream.
    pub fn width(&self) -> usize {
        self.n_heads * self.head_dim
    }

    /// Channels of the hidden layers of the perceptrons of actions; NVIDIA's are four times as wide as the stream.
    pub fn action_hidden(&self) -> [usize; 2] {
        self.actions.map_or([4 * self.width(); 2], |actions| actions.hidden)
    }

    /// Frequencies of a head's rotary positions along time, height and width.
    pub fn rope_frequencies(&self) -> [usize; 3] {
        let side = self.head_dim / 6;
        [self.head_dim / 2 - 2 * side, side, side]
    }

    /// Reads the config.
    ///
    /// # Errors
    /// If a value is missing or cannot be meant, or is of a network not written here: Predict1's learned positions, Transfer's
    /// control branches and image context, patches other than 1×2×2.
    pub fn parse(file: &JsonFile) -> Result<Self, CheckpointError> {
        let root = file.root()?;
        let class = root.text("_class_name")?;
        if class != Some("CosmosTransformer3DModel") {
            return Err(CheckpointError::UnknownArchitecture {
                path: root.path().to_owned(),
                found: class.unwrap_or("none (no `_class_name`)").to_owned(),
                known: "CosmosTransformer3DModel (Cosmos-Predict2 and 2.5)",
            });
        }
        for (key, what) in [
            ("extra_pos_embed_type", "null: Predict2 and 2.5 have rotary positions only"),
            ("controlnet_block_every_n", "null: control branches are Transfer's"),
            ("img_context_dim_in", "null: image context is Transfer's"),
        ] {
            if root.get(key).is_some() {
                return Err(root.wrong(key, what));
            }
        }
        if root.counts("patch_size")?.is_some_and(|p| p != [1, PATCH, PATCH]) {
            return Err(root.wrong("patch_size", "[1, 2, 2]"));
        }
        let channels = root.extent_to("out_channels", CHANNELS_MAX)?;
        if root.extent("in_channels")? != channels + 1 {
            return Err(root.wrong(
                "in_channels",
                format!("{}: the latent's channels and the condition mask", channels + 1),
            ));
        }
        let head_dim = root.extent_to("attention_head_dim", WIDTH_MAX)?;
        if !head_dim.is_multiple_of(2) || head_dim < 12 {
            return Err(root.wrong("attention_head_dim", "an even number from 12 on"));
        }
        let n_heads = root.extent_to("num_attention_heads", WIDTH_MAX / head_dim)?;
        let mlp_ratio = root.number("mlp_ratio")?.unwrap_or(4.0);
        let mlp_dim = ((n_heads * head_dim) as f64 * mlp_ratio) as usize;
        if mlp_dim == 0 || mlp_ratio > 64.0 {
            return Err(root.wrong("mlp_ratio", "a positive number up to 64"));
        }
        let text_dim = root.extent_to("text_embed_dim", WIDTH_MAX)?;
        let projected = root.flag("use_crossattn_projection")? == Some(true);
        if projected && root.extent("encoder_hidden_states_channels")? != text_dim {
            return Err(
                root.wrong("encoder_hidden_states_channels", format!("{text_dim}, as `text_embed_dim`"))
            );
        }
        let three = |list: Option<Vec<f64>>| list.and_then(|l| <[f64; 3]>::try_from(l).ok());
        let rope_scale = three(root.numbers("rope_scale")?).filter(|s| s.iter().all(|s| 0.0 < *s));
        let sizes = root.counts("max_size")?.and_then(|l| <[usize; 3]>::try_from(l).ok());
        let sizes = sizes.ok_or_else(|| root.wrong("max_size", "three sizes"))?;
        // The reference makes one row of positions, as long as the longest side, and takes from it for every side.
        let longest = sizes[0].max(sizes[1] / PATCH).max(sizes[2] / PATCH);
        Ok(Self {
            channels,
            n_heads,
            head_dim,
            n_layers: root.extent_to("num_layers", LAYERS_MAX)?,
            mlp_dim,
            text_dim,
            adaln_dim: root.extent_to("adaln_lora_dim", WIDTH_MAX)?,
            text_projection: if projected { Some(root.extent("crossattn_proj_in_channels")?) } else { None },
            padding_mask: root.flag("concat_padding_mask")?.unwrap_or(true),
            rope_scale: rope_scale.ok_or_else(|| root.wrong("rope_scale", "three positive numbers"))?,
            positions_max: [longest; 3],
            actions: None,
        })
    }
}
