//! Cosmos-Predict2 and 2.5 (<https://arxiv.org/abs/2511.00062>): a checkpoint directory becomes a network of denoiser and VAE.
//!
//! A directory is a diffusers pipeline: `model_index.json`, `transformer/`, `vae/`, `scheduler/`. The text encoder is left where it was:
//! its embeddings of fixed texts come as files and become constants, through the text projection where there is one, so that neither
//! the encoder nor a projection of a hundred thousand inputs goes on a robot.

mod checkpoint;
mod config;
mod error;
mod layout;
mod manifest;
mod names;
mod network;
mod options;
mod pipeline;
mod positions;
mod schedule;
mod spelling;
mod text;

pub use checkpoint::PredictCheckpoint;
pub use config::{ActionPerceptrons, DenoiserConfig, PATCH};
pub use error::PredictError;
pub use layout::LatentShape;
pub use manifest::{Guidance, NEGATIVE, PredictManifest, TextEntry, graph_name};
pub use options::{ActionSpan, Actions, ClipOptions};
pub use pipeline::PredictConfig;
pub use positions::places;
pub use schedule::{Renoise, Schedule, Spacing, UniPc};
pub use spelling::Spelling;
pub use text::{TextEmbedding, projection, projection_names};

/// Behind the names of the VAE's graphs and buffers at the smallest size.
pub const SMALL: &str = ".small";

/// Whose pipeline a checkpoint is for: they differ in how sigmas are spaced and whether the rate enters the positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Generation {
    /// `Cosmos2VideoToWorldPipeline`.
    Predict2,
    /// `Cosmos2_5_PredictBasePipeline`.
    Predict25,
}
