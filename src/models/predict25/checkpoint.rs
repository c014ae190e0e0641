//! A checkpoint of Predict: the configs, and the files of denoiser and VAE. And the way back.

use std::path::Path;

use super::spelling::{FOLDER, Spelling};
use super::text::{projection, projection_names};
use super::{ActionPerceptrons, ClipOptions, PredictConfig, PredictError, TextEmbedding, TextEntry};
use crate::checkpoint::{Checkpoint, CheckpointWriter, Tensors};
use crate::graph::{Network, Weights};
use crate::models::names::{Constants, Names};
use crate::models::wan_vae;
use crate::tensor::DType;

/// An opened checkpoint directory.
#[derive(Debug)]
pub struct PredictCheckpoint {
    config: PredictConfig,
    transformer: Checkpoint,
    vae: Checkpoint,
}

impl PredictCheckpoint {
    /// Opens the directory and reads its configs.
    ///
    /// # Errors
    /// If a part is missing, or is of a network not written here.
    pub fn open(dir: &Path) -> Result<Self, PredictError> {
        let mut config = PredictConfig::read(dir)?;
        let transformer = Checkpoint::open(&dir.join(FOLDER))?;
        let vae = Checkpoint::open(&dir.join(wan_vae::FOLDER))?;
        config.denoiser.actions = action_perceptrons(transformer.tensors(), config.denoiser.action_hidden());
        Ok(Self { config, transformer, vae })
    }

    /// What the configs say, and whether the denoiser takes actions.
    pub fn config(&self) -> &PredictConfig {
        &self.config
    }

    /// The denoiser's files.
    pub fn transformer(&self) -> &Checkpoint {
        &self.transformer
    }

    /// The VAE's files.
    pub fn vae(&self) -> &Checkpoint {
        &self.vae
    }

    /// The files of both, by folder.
    pub fn folders(&self) -> [(&'static str, &Tensors); 2] {
        [(FOLDER, self.transformer.tensors()), (wan_vae::FOLDER, self.vae.tensors())]
    }

    /// Whose names the denoiser's file has.
    pub fn spelling(&self) -> Spelling {
        Spelling::of(self.transformer.tensors())
    }

    /// The network of [`PredictConfig::network`] with the checkpoint's weights. `texts` are those loaded for this checkpoint.
    ///
    /// # Errors
    /// If a tensor is missing, not of the config's shape or one too many, or the options do not fit the checkpoint.
    pub fn network(
        &self,
        options: &ClipOptions,
        texts: &[TextEmbedding],
    ) -> Result<(Network, Constants<'_>), PredictError> {
        let entries: Vec<TextEntry> = texts.iter().map(TextEmbedding::entry).collect();
        let mut network = self.config.network(options, &entries, DType::F32)?;
        let (names, projection) = (self.names(&network, texts), self.projection());
        let constants = names.read(&mut network, &self.folders())?;
        let tables: Vec<&Names> =
            [&names].into_iter().chain(projection.as_ref().map(|(_, names)| names)).collect();
        Names::expect_no_others(&tables, &self.folders())?;
        Ok((network, constants))
    }

    /// Where the network's weights stand in the checkpoint.
    pub fn names(&self, network: &Network, texts: &[TextEmbedding]) -> Names {
        self.config.names(network, texts, self.spelling())
    }

    /// The network that projects a text of one token, where there is such, and where its weights stand.
    fn projection(&self) -> Option<(Network, Names)> {
        let network = projection(&self.config.denoiser, 1, DType::F32)?;
        let names = projection_names(&network, self.spelling());
        Some((network, names))
    }

    /// Writes a checkpoint like this one to `dir`, with these weights of a network whose table is `names`; the text projection, the
    /// configs and the embeddings that lie beside them are copied.
    ///
    /// # Errors
    /// As [`CheckpointWriter::create`], and if the disk is full or fails. Then nothing new lies at `dir` or beside it.
    pub fn write(
        &self,
        names: &Names,
        network: &Network,
        weights: &dyn Weights,
        dir: &Path,
    ) -> Result<(), PredictError> {
        let folders = self.folders();
        let mut projection = self.projection();
        let read = |(network, names): &mut (Network, Names)| names.read(network, &folders);
        let constants = projection.as_mut().map(read).transpose()?;
        let mut tensors = names.write(network, weights, &folders);
        if let (Some((network, names)), Some(constants)) = (&projection, &constants) {
            for (folder, more) in names.write(network, constants, &folders) {
                tensors.entry(folder).or_default().extend(more);
            }
        }
        let source = self.config.dir();
        let mut writer = CheckpointWriter::create(dir, Some(source))?;
        for name in ["model_index.json", "scheduler/scheduler_config.json", TextEmbedding::FILE] {
            writer.copy(&source.join(name), name)?;
        }
        for (folder, checkpoint) in [(FOLDER, &self.transformer), (wan_vae::FOLDER, &self.vae)] {
            writer.copy_configs(checkpoint, folder)?;
            let tensors = tensors.remove(folder).unwrap_or_default();
            writer.tensors(&format!("{folder}/diffusion_pytorch_model.safetensors"), tensors)?;
        }
        Ok(writer.finish()?)
    }
}

/// The widths of the perceptrons of actions, which no config says: those of the tensors, `hidden` where they say nothing sound (which is
/// then found out when they are read).
fn action_perceptrons(denoiser: &Tensors, hidden: [usize; 2]) -> Option<ActionPerceptrons> {
    let spelling = Spelling::of(denoiser);
    let shape = |name: &str| denoiser.shape(&spelling.stored_name(&format!("{name}.fc1.weight")));
    let rows = |name: &str| shape(name).and_then(|s| s.first().copied()).filter(|n| 0 < *n);
    let n_inputs = shape("action_embedder_B_D")?.get(1).copied().unwrap_or(0);
    let hidden =
        [rows("action_embedder_B_D").unwrap_or(hidden[0]), rows("action_embedder_B_3D").unwrap_or(hidden[1])];
    Some(ActionPerceptrons { n_inputs, hidden })
}
