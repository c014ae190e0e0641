//! Cosmos-Predict2 and 2.5 (<https://arxiv.org/abs/2511.00062>): a checkpoint directory becomes a network of denoiser and VAE.
//!
//! A directory is a diffusers pipeline: `model_index.json`, `transformer/`, `vae/`, `scheduler/`. The text encoder is left where it was:
//! its embeddings of fixed texts come as files and become constants, through the text projection where there is one, so that neither
//! the encoder nor a projection of a hundred thousand inputs goes on a robot.

mod config;
mod error;
mod layout;
mod manifest;
mod names;
mod network;
mod options;
mod positions;
mod schedule;
mod text;

use std::path::{Path, PathBuf};

use crate::checkpoint::{Checkpoint, JsonFile, Section};
use crate::graph::Network;
use crate::models::constants::Constants;
use crate::models::wan_vae::{self, ClipSize, WanVaeConfig};

pub use config::{DenoiserConfig, PATCH};
pub use error::PredictError;
pub use layout::LatentShape;
pub use manifest::{Guidance, PredictManifest, TextEntry};
pub use options::{ActionSpan, Actions, ClipOptions};
pub use positions::places;
pub use schedule::{Renoise, Schedule, Spacing, UniPc};
pub(crate) use text::projection;
pub use text::{NEGATIVE, TextEmbedding, graph_name};

use names::Tensors;

/// Behind the names of the VAE's graphs and buffers at the smallest size.
pub const SMALL: &str = ".small";
/// The largest frame at which the VAE's own graphs can be checked against the reference evaluation in seconds; beyond it the same
/// weights also become graphs of one patch, for that check.
const SMALL_PIXELS: usize = 64 * 64;

/// Whose pipeline a checkpoint is for: they differ in how sigmas are spaced and whether the rate enters the positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Generation {
    /// `Cosmos2VideoToWorldPipeline`.
    Predict2,
    /// `Cosmos2_5_PredictBasePipeline`.
    Predict25,
}

/// An opened checkpoint directory.
#[derive(Debug)]
pub struct PredictCheckpoint {
    dir: PathBuf,
    index: JsonFile,
    scheduler: JsonFile,
    transformer: Checkpoint,
    vae: Checkpoint,
    generation: Generation,
    config: DenoiserConfig,
    vae_config: WanVaeConfig,
}

impl PredictCheckpoint {
    /// Opens the directory and reads its configs.
    ///
    /// # Errors
    /// If a part is missing, or is of a network not written here.
    pub fn open(dir: &Path) -> Result<Self, PredictError> {
        let index = require(&dir.join("model_index.json"))?;
        let class = index.root()?.text("_class_name")?.unwrap_or("nothing").to_owned();
        let generation = match class.as_str() {
            "Cosmos2VideoToWorldPipeline" => Generation::Predict2,
            "Cosmos2_5_PredictBasePipeline" => Generation::Predict25,
            _ => {
                let known = "`Cosmos2_5_PredictBasePipeline` or `Cosmos2VideoToWorldPipeline`";
                return Err(index.root()?.wrong("_class_name", known).into());
            }
        };
        let transformer = Checkpoint::open(&dir.join("transformer"))?;
        let vae = Checkpoint::open(&dir.join("vae"))?;
        let config = DenoiserConfig::parse(transformer.config())?;
        let vae_config = WanVaeConfig::parse(vae.config())?;
        if config.channels != vae_config.z_dim {
            let expected = format!("{}: the channels of the denoiser's latents", config.channels);
            return Err(vae.config().root()?.wrong("z_dim", expected).into());
        }
        let scheduler = require(&dir.join("scheduler/scheduler_config.json"))?;
        Ok(Self { dir: dir.to_owned(), index, scheduler, transformer, vae, generation, config, vae_config })
    }

    /// The directory, as it was given.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whose pipeline it is for.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Extents of the denoiser.
    pub fn config(&self) -> &DenoiserConfig {
        &self.config
    }

    /// Extents of the VAE.
    pub fn vae_config(&self) -> &WanVaeConfig {
        &self.vae_config
    }

    /// `model_index.json`.
    pub fn index(&self) -> &JsonFile {
        &self.index
    }

    /// `scheduler/scheduler_config.json`.
    pub fn scheduler(&self) -> &JsonFile {
        &self.scheduler
    }

    /// The denoiser's files.
    pub fn transformer(&self) -> &Checkpoint {
        &self.transformer
    }

    /// The VAE's files.
    pub fn vae(&self) -> &Checkpoint {
        &self.vae
    }

    /// What the index says under `perihelion`: sizes, distilled sigmas, actions.
    ///
    /// # Errors
    /// If it is no object.
    pub fn notes(&self) -> Result<Option<Section<'_>>, PredictError> {
        Ok(self.index.root()?.section("perihelion")?)
    }

    /// Extents of the latents of such a clip.
    pub fn latent_shape(&self, options: &ClipOptions) -> LatentShape {
        let factor = self.vae_config.spatial_factor();
        let size = options.size();
        let (height, width) = (size.height / factor, size.width / factor);
        LatentShape { n_latents: size.n_latents, height, width, channels: self.config.channels }
    }

    /// Writes the graphs: `encode_first`, `encode_step`, `decode_first`, `decode_step` (see [`wan_vae`]), `text_NAME` for each text,
    /// which must have run before `denoise`, and `denoise`. `texts` are those loaded for this checkpoint.
    ///
    /// # Errors
    /// If a tensor is missing, not of the config's shape or one too many, or the options do not fit the checkpoint.
    pub fn network(
        &self,
        options: &ClipOptions,
        texts: &[TextEmbedding],
    ) -> Result<(Network, Constants<'_>), PredictError> {
        let factor = self.vae_config.spatial_factor();
        options.check(factor * PATCH)?;
        let size = options.size();
        let grid = self.latent_shape(options).grid();
        if let Some(axis) = (0..3).find(|i| self.config.positions_max[*i] < grid[*i]) {
            let (max, what) =
                (self.config.positions_max[axis], ["latent frames", "rows of patches", "columns of patches"]);
            return Err(PredictError::TooLarge { what: what[axis], found: grid[axis], max });
        }
        let (Some(longest), Some(shortest)) =
            (texts.iter().map(|t| t.n_tokens).max(), texts.iter().map(|t| t.n_tokens).min())
        else {
            return Err(PredictError::NoText);
        };

        let (mut network, mut constants) = (Network::default(), Constants::default());
        constants.begin_part("vae");
        wan_vae::build(&mut network, &mut constants, &self.vae, &self.vae_config, size, "")?;
        let side = factor * PATCH;
        if SMALL_PIXELS < size.height * size.width {
            let small = ClipSize { height: side, width: side, n_latents: 2 };
            wan_vae::build(&mut network, &mut constants, &self.vae, &self.vae_config, small, SMALL)?;
        }
        let tensors = Tensors::new(&self.transformer);
        let mut parts = network::Parts { constants: &mut constants, tensors, config: &self.config, grid };
        let n_sets = if texts.iter().any(|t| t.name == NEGATIVE) { 2 } else { 1 };
        network::build_texts(&mut parts, &mut network, texts, n_sets)?;
        let actions = options.actions.as_ref();
        network::build_denoise(&mut parts, &mut network, (shortest, longest), actions)?;
        tensors.expect_all_asked()?;
        self.vae.tensors().expect_all_asked(|_| false)?;
        Ok((network, constants))
    }

    /// What actions the checkpoint takes, if any; `names` where the index does not say them.
    ///
    /// # Errors
    /// If the perceptrons' width is no multiple of the number of names.
    pub fn actions(
        &self,
        n_frames: usize,
        names: Option<&[String]>,
    ) -> Result<Option<Actions>, PredictError> {
        let tensors = Tensors::new(&self.transformer);
        const WEIGHT: &str = "action_embedder_B_D.fc1.weight";
        if !tensors.contains(WEIGHT) {
            return match names {
                None => Ok(None),
                Some(_) => Err(PredictError::Actions("the checkpoint takes no actions".into())),
            };
        }
        let n_inputs = tensors.shape(WEIGHT)?.get(1).copied().unwrap_or(0);
        let note = self.notes()?.and_then(|n| n.section("actions").transpose()).transpose()?;
        Actions::of(self.generation, n_inputs, n_frames, note.as_ref(), names).map(Some)
    }
}

fn require(path: &Path) -> Result<JsonFile, PredictError> {
    let file = JsonFile::open(path)?;
    file.ok_or_else(|| PredictError::Missing { path: path.to_owned() })
}
