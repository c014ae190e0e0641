//! What a pipeline's directory says of the network, without its weights; and the network that follows.

use std::path::{Path, PathBuf};

use super::names::names;
use super::network::{Parts, build_denoise, build_texts};
use super::spelling::Spelling;
use super::{
    ActionPerceptrons, Actions, ClipOptions, DenoiserConfig, Generation, LatentShape, NEGATIVE, PATCH,
    PredictError, Renoise, SMALL, Schedule, TextEmbedding, TextEntry,
};
use crate::checkpoint::{JsonFile, Section};
use crate::graph::Network;
use crate::models::layers::Layers;
use crate::models::names::Names;
use crate::models::wan_vae::{self, ClipSize, WanVaeConfig};
use crate::tensor::DType;

/// The largest frame at which the VAE's own graphs can be checked against the reference evaluation in seconds; beyond it the same
/// weights also become graphs of one patch, for that check.
const SMALL_PIXELS: usize = 64 * 64;

/// The configs of a pipeline's directory.
#[derive(Debug)]
pub struct PredictConfig {
    dir: PathBuf,
    /// `model_index.json`.
    pub index: JsonFile,
    /// `scheduler/scheduler_config.json`.
    pub scheduler: JsonFile,
    /// Whose pipeline it is for.
    pub generation: Generation,
    /// Extents of the denoiser.
    pub denoiser: DenoiserConfig,
    /// Extents of the VAE.
    pub vae: WanVaeConfig,
}

impl PredictConfig {
    /// Reads the configs of the directory; no weights need lie in it.
    ///
    /// # Errors
    /// If one is missing, or is of a network not written here.
    pub fn open(dir: &Path) -> Result<Self, PredictError> {
        let mut config = Self::read(dir)?;
        config.denoiser.actions = config.noted_perceptrons()?;
        Ok(config)
    }

    /// Reads the configs, which say nothing of actions.
    pub(super) fn read(dir: &Path) -> Result<Self, PredictError> {
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
        let denoiser = DenoiserConfig::parse(&require(&dir.join("transformer/config.json"))?)?;
        let vae_file = require(&dir.join("vae/config.json"))?;
        let vae = WanVaeConfig::parse(&vae_file)?;
        if denoiser.channels != vae.z_dim {
            let expected = format!("{}: the channels of the denoiser's latents", denoiser.channels);
            return Err(vae_file.root()?.wrong("z_dim", expected).into());
        }
        let scheduler = require(&dir.join("scheduler/scheduler_config.json"))?;
        Ok(Self { dir: dir.to_owned(), index, scheduler, generation, denoiser, vae })
    }

    /// The directory, as it was given.
    pub fn dir(&self) -> &Path {
        &self.dir
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
        let factor = self.vae.spatial_factor();
        let size = options.size();
        let (height, width) = (size.height / factor, size.width / factor);
        LatentShape { n_latents: size.n_latents, height, width, channels: self.denoiser.channels }
    }

    /// What actions the denoiser takes, if any; `names` where the index does not say them.
    ///
    /// # Errors
    /// If the perceptrons' width is no multiple of the number of names.
    pub fn actions(
        &self,
        n_frames: usize,
        names: Option<&[String]>,
    ) -> Result<Option<Actions>, PredictError> {
        let Some(perceptrons) = self.denoiser.actions else {
            return match names {
                None => Ok(None),
                Some(_) => Err(PredictError::Actions("the checkpoint takes no actions".into())),
            };
        };
        let note = self.notes()?.and_then(|n| n.section("actions").transpose()).transpose()?;
        Actions::of(self.generation, perceptrons.n_inputs, n_frames, note.as_ref(), names).map(Some)
    }

    /// The perceptrons of actions, as the index describes them.
    fn noted_perceptrons(&self) -> Result<Option<ActionPerceptrons>, PredictError> {
        let Some(notes) = self.notes()? else { return Ok(None) };
        let (Some(note), Some(n_frames)) = (notes.section("actions")?, notes.count("frames")?) else {
            return Ok(None);
        };
        let n_inputs = Actions::noted_inputs(self.generation, n_frames, &note)?;
        let hidden = self.denoiser.action_hidden();
        Ok(n_inputs.map(|n_inputs| ActionPerceptrons { n_inputs, hidden }))
    }

    /// Writes the graphs, from the configs alone: `encode_first`, `encode_step`, `decode_first`, `decode_step` (see [`wan_vae`]),
    /// `text_NAME` for each text, which must have run before `denoise`, and `denoise`. Weights are of this type, under the names
    /// that diffusers gives them.
    ///
    /// # Errors
    /// If the options do not fit the configs, or there is no text.
    pub fn network(
        &self,
        options: &ClipOptions,
        texts: &[TextEntry],
        dtype: DType,
    ) -> Result<Network, PredictError> {
        let factor = self.vae.spatial_factor();
        options.check(factor * PATCH)?;
        let size = options.size();
        let grid = self.latent_shape(options).grid();
        if let Some(axis) = (0..3).find(|i| self.denoiser.positions_max[*i] < grid[*i]) {
            let (max, what) = (
                self.denoiser.positions_max[axis],
                ["latent frames", "rows of patches", "columns of patches"],
            );
            return Err(PredictError::TooLarge { what: what[axis], found: grid[axis], max });
        }
        let (Some(longest), Some(shortest)) =
            (texts.iter().map(|t| t.n_tokens).max(), texts.iter().map(|t| t.n_tokens).min())
        else {
            return Err(PredictError::NoText);
        };

        let mut network = Network::default();
        wan_vae::build(&mut network, &self.vae, size, "", dtype);
        let side = factor * PATCH;
        if SMALL_PIXELS < size.height * size.width {
            let small = ClipSize { height: side, width: side, n_latents: 2 };
            wan_vae::build(&mut network, &self.vae, small, SMALL, dtype);
        }
        let parts = |part| Parts { layers: Layers { part, dtype }, config: &self.denoiser, grid };
        let n_sets = if texts.iter().any(|t| t.name == NEGATIVE) { 2 } else { 1 };
        build_texts(parts("text"), &mut network, texts, n_sets);
        let actions = options.actions.as_ref();
        build_denoise(parts("denoiser"), &mut network, (shortest, longest), actions);
        Ok(network)
    }

    /// Where the weights of such a network stand in a checkpoint of this spelling. Texts that are not given have no values: such a table
    /// writes and counts, and does not read.
    pub fn names(&self, network: &Network, texts: &[TextEmbedding], spelling: Spelling) -> Names {
        names(&self.denoiser, &self.vae, network, texts, spelling)
    }
}

fn require(path: &Path) -> Result<JsonFile, PredictError> {
    let file = JsonFile::open(path)?;
    file.ok_or_else(|| PredictError::Missing { path: path.to_owned() })
}

impl Schedule {
    /// The schedule of a checkpoint: its distilled sigmas if the index names some, else its scheduler's.
    ///
    /// # Errors
    /// If it is none of those above.
    pub fn of(config: &PredictConfig) -> Result<Schedule, PredictError> {
        if let Some(notes) = config.notes()?
            && let Some(sigmas) = notes.numbers("distilled_sigmas")?
        {
            let falling = sigmas.windows(2).all(|w| w[1] < w[0]);
            if sigmas.is_empty() || !falling || sigmas.iter().any(|s| *s <= 0.0 || 1.0 < *s) {
                return Err(notes.wrong("distilled_sigmas", "falling numbers in 0…1").into());
            }
            let renoise = match notes.text("renoise")? {
                None | Some("same") => Renoise::Same,
                Some("fresh") => Renoise::Fresh,
                Some(_) => return Err(notes.wrong("renoise", "`same` or `fresh`").into()),
            };
            return Ok(Schedule::Fixed { sigmas, renoise });
        }
        Schedule::parse(&config.scheduler.root()?, config.generation)
    }
}
