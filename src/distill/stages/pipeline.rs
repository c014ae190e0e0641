//! The files of a pipeline in the layout of Predict2.5, and the weights with which its denoiser begins.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::uniform;
use crate::checkpoint::{Checkpoint, CheckpointWriter};
use crate::distill::DistillError;
use crate::distill::draw::{Purpose, generator, normal};
use crate::distill::optimizer::Rule;
use crate::distill::recipe::{Recipe, TeacherRecipe};
use crate::graph::{Network, Weight, WeightId, Weights as _};
use crate::models::names::{Names, Rule as Stored};
use crate::models::predict25::{Generation, PredictCheckpoint, PredictConfig, TextEmbedding};
use crate::models::wan_vae;
use crate::scenes::{FPS, Rng};

/// What the names of all weights contain that take actions, and no others'.
pub(super) const ACTIONS: &str = "action_embedder";

/// The weights that do not learn: the VAE's, and those that no checkpoint has.
pub(super) fn fixed(
    network: &Network,
    config: &PredictConfig,
    vae: &Checkpoint,
    names: &Names,
) -> Result<HashMap<WeightId, Vec<f32>>, DistillError> {
    let is_vae = |weight: &&Weight| weight.part == wan_vae::FOLDER;
    let mut alone =
        Network { weights: network.weights.iter().filter(is_vae).cloned().collect(), ..Network::default() };
    let rules = Names::new(&alone, |weight| wan_vae::rule(&config.vae, weight));
    let constants = rules.read(&mut alone, &[(wan_vae::FOLDER, vae.tensors())])?;
    let (mut all, mut of_vae) = (HashMap::new(), 0);
    for (i, (weight, rule)) in network.weights.iter().zip(names.rules()).enumerate() {
        let id = WeightId(i as u32);
        if is_vae(&weight) {
            all.insert(id, constants.weight(WeightId(of_vae)).to_f32());
            of_vae += 1;
        } else if let Stored::Given(values) = rule {
            all.insert(id, values.clone());
        }
    }
    Ok(all)
}

/// Whether a checkpoint is of the kind that is trained.
pub(super) fn check_taught(checkpoint: &PredictCheckpoint) -> Result<(), String> {
    let config = checkpoint.config();
    if config.generation != Generation::Predict25 {
        return Err("a checkpoint of Predict 2; Predict 2.5 is trained".into());
    }
    if config.denoiser.text_projection.is_some() {
        return Err("a denoiser that projects its texts; those are trained that take them as they are".into());
    }
    Ok(())
}

/// As PyTorch's linear maps begin, but that gates, shifts, scales and what comes out are zero: every block begins as nothing.
pub(super) fn values(rng: &mut Rng, network: &Network, weight: &Weight) -> Vec<f32> {
    let n: usize = weight.shape.iter().product();
    let name = &weight.name[..];
    let of_actions = name.contains(ACTIONS);
    let is_zero = (name.ends_with("linear_2.weight") && !of_actions)
        || name.starts_with("proj_out")
        || (of_actions && name.contains(".fc2."));
    match weight.shape[..] {
        _ if is_zero => vec![0.0; n],
        [_] if !name.ends_with(".bias") => vec![1.0; n],
        _ => uniform(rng, network, weight),
    }
}

/// The first and last maps are no matrices inside.
pub(super) fn rule(weight: &Weight) -> Rule {
    let is_outer =
        ["patch_embed", "proj_out", "time_embed"].iter().any(|outer| weight.name.starts_with(outer));
    if is_outer { Rule::AdamW } else { Rule::Muon }
}

/// A text of one token, which stands for all that is not said.
pub(super) fn text(seed: u64, width: usize) -> TextEmbedding {
    let values = normal(&mut generator(seed, Purpose::Weights, u64::MAX), width);
    TextEmbedding { name: "default".into(), n_tokens: 1, values }
}

/// Writes all but weights and texts.
pub(super) fn configs(
    writer: &mut CheckpointWriter,
    index: &Value,
    transformer: &Value,
    vae: &Checkpoint,
) -> Result<(), DistillError> {
    writer.json("model_index.json", index)?;
    writer.json("transformer/config.json", transformer)?;
    let scheduler = json!({
        "_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 3.0,
        "use_dynamic_shifting": false,
    });
    writer.json("scheduler/scheduler_config.json", &scheduler)?;
    writer.json(&format!("{}/config.json", wan_vae::FOLDER), vae.config().value())?;
    Ok(())
}

/// Notes the σ at which a denoiser is to be asked, each step from the noise that it began with.
pub(super) fn ask_at(index: &mut Value, sigmas: &[f64]) {
    index["perihelion"]["distilled_sigmas"] = json!(sigmas);
    index["perihelion"]["renoise"] = json!("same");
}

/// `model_index.json` of a pipeline that takes the pusher's speed along both axes.
pub(super) fn index(recipe: &Recipe, given: usize) -> Value {
    json!({
        "_class_name": "Cosmos2_5_PredictBasePipeline",
        "transformer": ["diffusers", "CosmosTransformer3DModel"],
        "vae": ["diffusers", "AutoencoderKLWan"],
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "perihelion": {
            "height": recipe.scenes.size,
            "width": recipe.scenes.size,
            "frames": recipe.scenes.frames_max(),
            "condition_frames": given,
            "fps": FPS,
            "actions": { "per": "latent", "names": ["linear.x", "linear.y"], "low": [-1.0, -1.0], "high": [1.0, 1.0] },
        },
    })
}

/// `transformer/config.json`.
pub(super) fn transformer(of: &TeacherRecipe, channels: usize) -> Value {
    json!({
        "_class_name": "CosmosTransformer3DModel",
        "adaln_lora_dim": of.adaln_dim,
        "attention_head_dim": of.head_dim,
        "concat_padding_mask": true,
        "controlnet_block_every_n": null,
        "extra_pos_embed_type": null,
        "img_context_dim_in": null,
        "in_channels": channels + 1,
        "max_size": [64, 128, 128],
        "mlp_ratio": 4.0,
        "num_attention_heads": of.heads,
        "num_layers": of.layers,
        "out_channels": channels,
        "patch_size": [1, 2, 2],
        "rope_scale": [1.0, 1.0, 1.0],
        "text_embed_dim": of.text_dim,
        "use_crossattn_projection": false,
    })
}
