//! What `vae/config.json` says of an `AutoencoderKLWan`.

use crate::checkpoint::{CheckpointError, JsonFile, Section};

/// Beyond every network of this kind: what a config says is written as graphs before a weight is looked at.
const CHANNELS_MAX: usize = 4096;
const MULTIPLE_MAX: usize = 64;
const BLOCKS_MAX: usize = 64;

/// Extents of the network, and the statistics by which its latents are normalised.
#[derive(Clone, Debug, PartialEq)]
pub struct WanVaeConfig {
    /// Channels of the encoder's first level.
    pub base_dim: usize,
    /// Channels of the decoder's last level.
    pub decoder_base_dim: usize,
    /// Channels of a latent.
    pub z_dim: usize,
    /// Channels of each level, in multiples of the base.
    pub dim_mult: Vec<usize>,
    /// Residual blocks of a level; the decoder has one more.
    pub num_res_blocks: usize,
    /// Whether time is halved too where a level ends; two of them are.
    pub temporal_downsample: Vec<bool>,
    /// Mean of each latent channel.
    pub latents_mean: Vec<f32>,
    /// Standard deviation of each latent channel.
    pub latents_std: Vec<f32>,
}

impl WanVaeConfig {
    /// Pixels of a latent's side.
    pub fn spatial_factor(&self) -> usize {
        1 << self.temporal_downsample.len()
    }

    /// Reads the config.
    ///
    /// # Errors
    /// If a value is missing or cannot be meant, or is of a network not written here: Wan 2.2's residual levels and patches, or
    /// attention inside the levels.
    pub fn parse(file: &JsonFile) -> Result<Self, CheckpointError> {
        let root = file.root()?;
        let class = root.text("_class_name")?;
        if class != Some("AutoencoderKLWan") {
            return Err(CheckpointError::UnknownArchitecture {
                path: root.path().to_owned(),
                found: class.unwrap_or("none (no `_class_name`)").to_owned(),
                known: "AutoencoderKLWan (Wan 2.1)",
            });
        }
        if root.flag("is_residual")? == Some(true) {
            return Err(root.wrong("is_residual", "false: Wan 2.1's levels"));
        }
        if root.get("patch_size").is_some() {
            return Err(root.wrong("patch_size", "null: Wan 2.1 has no patches"));
        }
        if root.get("attn_scales").is_some_and(|v| v.as_array().is_none_or(|l| !l.is_empty())) {
            return Err(root.wrong("attn_scales", "an empty list: attention in the middle only"));
        }
        for key in ["in_channels", "out_channels"] {
            if root.count(key)?.is_some_and(|n| n != 3) {
                return Err(root.wrong(key, "3: red, green, blue"));
            }
        }
        let dim_mult = root.required("dim_mult", root.counts("dim_mult")?)?;
        if dim_mult.len() < 2
            || 8 < dim_mult.len()
            || dim_mult.iter().any(|m| !(1..=MULTIPLE_MAX).contains(m))
        {
            return Err(root.wrong("dim_mult", format!("two to eight integers from 1 to {MULTIPLE_MAX}")));
        }
        let temporal_downsample = flags(&root, "temperal_downsample", dim_mult.len() - 1)?;
        if temporal_downsample.iter().filter(|t| **t).count() != 2 {
            return Err(
                root.wrong("temperal_downsample", "two levels that halve time: four frames to a latent")
            );
        }
        let base_dim = root.extent_to("base_dim", CHANNELS_MAX)?;
        let decoder_base_dim = root.count("decoder_base_dim")?.unwrap_or(base_dim);
        // An upsampling convolution halves the channels.
        if !(1..=CHANNELS_MAX).contains(&decoder_base_dim) {
            return Err(root.wrong("decoder_base_dim", format!("an integer from 1 to {CHANNELS_MAX}")));
        }
        if dim_mult[1..].iter().any(|m| !(m * decoder_base_dim).is_multiple_of(2)) {
            return Err(root.wrong("dim_mult", "even numbers of channels after the first level"));
        }
        let z_dim = root.extent_to("z_dim", CHANNELS_MAX)?;
        let latents_std = statistics(&root, "latents_std", z_dim)?;
        if latents_std.iter().any(|s| *s <= 0.0) {
            return Err(root.wrong("latents_std", "positive numbers"));
        }
        Ok(Self {
            base_dim,
            decoder_base_dim,
            z_dim,
            dim_mult,
            num_res_blocks: root.extent_to("num_res_blocks", BLOCKS_MAX)?,
            temporal_downsample,
            latents_mean: statistics(&root, "latents_mean", z_dim)?,
            latents_std,
        })
    }
}

fn statistics(root: &Section<'_>, key: &str, n: usize) -> Result<Vec<f32>, CheckpointError> {
    let list = root.required(key, root.numbers(key)?)?;
    if list.len() == n {
        Ok(list.iter().map(|v| *v as f32).collect())
    } else {
        Err(root.wrong(key, format!("{n} numbers, one for each of `z_dim` channels")))
    }
}

fn flags(root: &Section<'_>, key: &str, n: usize) -> Result<Vec<bool>, CheckpointError> {
    let list = root.get(key).and_then(|v| v.as_array());
    let flags: Option<Vec<bool>> = list.and_then(|l| l.iter().map(|v| v.as_bool()).collect());
    match flags {
        Some(flags) if flags.len() == n => Ok(flags),
        _ => Err(root.wrong(key, format!("{n} flags, one for each level but the last"))),
    }
}
