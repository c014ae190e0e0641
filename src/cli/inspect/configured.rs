//! What configs alone say: the tensors that a checkpoint of them holds, and what an engine of them will claim.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use serde::Serialize;

use super::claims::Plan;
use crate::checkpoint::Tensors;
use crate::graph::Network;
use crate::models::names::{Names, Stored};
use crate::models::predict25::{
    ClipOptions, Generation, NEGATIVE, PredictConfig, Schedule, Spelling, TextEmbedding, TextEntry,
    projection, projection_names,
};
use crate::models::reason2::{self, Head, Limits, Reason2Config};
use crate::tensor::DType;

/// Frame and clip that NVIDIA's pipelines make unless told otherwise.
const HEIGHT: usize = 704;
const WIDTH: usize = 1280;
const FRAMES: usize = 93;
const CONDITION_FRAMES: usize = 5;
/// Tokens of a prompt's embedding there.
const TEXT_TOKENS: usize = 512;

/// An engine of a config.
#[derive(Debug, Serialize)]
pub(super) struct Configured {
    /// The sizes that it is planned for: what the configs say, or else the defaults.
    sizes: BTreeMap<String, usize>,
    /// What a session will claim.
    plans: Vec<Plan>,
    /// Its network.
    #[serde(skip)]
    pub(super) network: Network,
    /// The tensors of a checkpoint of the config.
    #[serde(skip)]
    pub(super) stored: Vec<Stored>,
    /// The type in which they would be stored.
    #[serde(skip)]
    pub(super) dtype: DType,
}

impl Configured {
    /// Of a Reason checkpoint.
    pub(super) fn reason(config: &Reason2Config, head: Head, threads: NonZeroUsize) -> anyhow::Result<Self> {
        let limits = Limits::default().within(config.language.max_position_embeddings);
        let network = reason2::network(config, limits, head, config.dtype);
        let names = reason2::names(config, &network, head);
        Self::new(network, &[names], BTreeMap::new(), config.dtype, threads)
    }

    /// Of a Predict checkpoint, with the texts that lie in its directory.
    pub(super) fn predict(config: &PredictConfig, threads: NonZeroUsize) -> anyhow::Result<Self> {
        // Diffusers' configs do not say it; NVIDIA's checkpoints are.
        let dtype = DType::Bf16;
        let notes = config.notes()?;
        let count = |key: &str, default: usize| -> anyhow::Result<usize> {
            let noted = notes.as_ref().map(|notes| notes.count(key)).transpose()?.flatten();
            Ok(noted.unwrap_or(default))
        };
        let n_frames = count("frames", FRAMES)?;
        let clip = ClipOptions {
            height: count("height", HEIGHT)?,
            width: count("width", WIDTH)?,
            n_frames,
            n_given: count("condition_frames", CONDITION_FRAMES)?,
            rope_fps: (config.generation == Generation::Predict2).then_some(16.0),
            actions: config.actions(n_frames, None)?,
        };
        let texts = texts(config)?;
        let network = config.network(&clip, &texts, dtype)?;
        let mut tables = vec![config.names(&network, &[], Spelling::Diffusers)];
        if let Some(network) = projection(&config.denoiser, 1, dtype) {
            tables.push(projection_names(&network, Spelling::Diffusers));
        }
        let longest = texts.iter().map(|text| text.n_tokens).max().unwrap_or(0);
        let sizes = [
            ("height", clip.height),
            ("width", clip.width),
            ("frames", clip.n_frames),
            ("condition_frames", clip.n_given),
            ("texts", texts.len()),
            ("text_tokens", longest),
        ];
        let sizes = sizes.map(|(name, value)| (name.to_owned(), value)).into();
        Self::new(network, &tables, sizes, dtype, threads)
    }

    fn new(
        network: Network,
        tables: &[Names],
        mut sizes: BTreeMap<String, usize>,
        dtype: DType,
        threads: NonZeroUsize,
    ) -> anyhow::Result<Self> {
        sizes.extend(network.limits.iter().map(|limit| (limit.name.clone(), limit.value)));
        let stored = tables.iter().flat_map(Names::stored).cloned().collect();
        Ok(Self { sizes, plans: Plan::all(&network, threads)?, network, stored, dtype })
    }

    /// The sizes and a table for each plan.
    pub(super) fn text(&self) -> String {
        let sizes: Vec<String> = self.sizes.iter().map(|(name, value)| format!("{name} {value}")).collect();
        let plans: String = self.plans.iter().map(Plan::text).collect();
        format!("\nan engine of it, for {}\n{plans}", sizes.join(", "))
    }
}

/// The texts that lie in the directory; else one, and one to lead away from unless the sigmas are distilled.
fn texts(config: &PredictConfig) -> anyhow::Result<Vec<TextEntry>> {
    let file = config.dir().join(TextEmbedding::FILE);
    if file.exists() {
        let file = Tensors::open(&file)?;
        let n_tokens = |name: &str| file.shape(name).and_then(|shape| shape.iter().rev().nth(1).copied());
        let entry = |name: &str| n_tokens(name).map(|n_tokens| TextEntry { name: name.to_owned(), n_tokens });
        return Ok(file.names().filter_map(entry).collect());
    }
    let entry = |name: &str| TextEntry { name: name.to_owned(), n_tokens: TEXT_TOKENS };
    let mut texts = vec![entry("default")];
    if !matches!(Schedule::of(config)?, Schedule::Fixed { .. }) {
        texts.push(entry(NEGATIVE));
    }
    Ok(texts)
}
