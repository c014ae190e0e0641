//! A checkpoint of Cosmos-Predict becomes a model.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::ExportError;
use super::golden;
use super::predict_golden::GoldenInputs;
use super::text::load_text;
use super::write::{Parts, Progress, Summary, check_room, write};
use crate::checkpoint::Tensors;
use crate::container::hex;
use crate::model::{Roles, Source};
use crate::models::predict25::{
    ClipOptions, Generation, Guidance, NEGATIVE, PredictCheckpoint, PredictConfig, PredictError,
    PredictManifest, Schedule, TextEmbedding,
};

/// The rate of NVIDIA's clips.
const FPS: f64 = 16.0;
/// The guidance of Predict2.5's and Predict2's pipelines.
const GUIDANCE: f32 = 7.0;

/// What a checkpoint does not say, or says otherwise.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PredictOptions {
    /// Names and files of text embeddings; none takes those that lie with the checkpoint.
    pub texts: Vec<(String, PathBuf)>,
    /// Of a frame, in pixels.
    pub height: Option<usize>,
    /// Of a frame, in pixels.
    pub width: Option<usize>,
    /// Of the clip, given ones counted.
    pub frames: Option<usize>,
    /// Given ones.
    pub condition_frames: Option<usize>,
    /// The clip's rate, which enters the rotary positions if it is said here.
    pub fps: Option<f64>,
    /// Names of an action's columns.
    pub action_names: Option<Vec<String>>,
}

/// Exports the checkpoint in `dir` to the file `out`.
///
/// # Errors
/// If the checkpoint is incomplete or does not fit the options, if the golden case gives no finite numbers, or if the file cannot be
/// written. Then nothing new lies at `out` or beside it.
pub fn export_predict(
    dir: &Path,
    options: &PredictOptions,
    out: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<Summary, ExportError> {
    let checkpoint = PredictCheckpoint::open(dir)?;
    progress(Progress { stage: "texts", done: 0, total: 1 });
    let texts = texts(&checkpoint, options)?;
    let manifest = manifest(checkpoint.config(), options, &texts)?;
    let (network, constants) = checkpoint.network(&manifest.clip, &texts)?;

    check_room(&network, &constants, out)?;
    let cases = GoldenInputs::new(&network, &manifest, &texts).cases();
    let golden = golden::make(&network, &constants, cases, dir, |done, total| {
        progress(Progress { stage: "golden case", done: done as u64, total: total as u64 });
    })?;
    let name = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let name = name.file_name().unwrap_or_default().to_string_lossy().into_owned();
    progress(Progress { stage: "digest of the checkpoint", done: 0, total: 1 });
    let source = Source { name, sha256: hex(&digest(&checkpoint, &texts)?) };
    let roles = Roles { forecasts: Some(manifest), ..Roles::default() };
    let (tokenizer, notes) = (None, Vec::new());
    write(Parts { network, weights: &constants, tokenizer, golden, source, roles, notes }, out, progress)
}

/// The embeddings that were asked for, or those that lie with the checkpoint; the standing one first.
fn texts(
    checkpoint: &PredictCheckpoint,
    options: &PredictOptions,
) -> Result<Vec<TextEmbedding>, PredictError> {
    let mut files = options.texts.clone();
    let beside = checkpoint.config().dir().join(TextEmbedding::FILE);
    if files.is_empty() && beside.exists() {
        let names = Tensors::open(&beside)?;
        files = names.names().map(|name| (name.to_owned(), beside.clone())).collect();
    }
    // A stable order: what was asked for first stands, unless one is called so; the one to lead away from never does.
    files.sort_by_key(|(name, _)| match name.as_str() {
        "default" => 0,
        NEGATIVE => 2,
        _ => 1,
    });
    let mut texts: Vec<TextEmbedding> = Vec::with_capacity(files.len());
    for (name, path) in &files {
        if texts.iter().any(|t| t.name == *name) {
            let why = "this name was given twice".to_owned();
            return Err(PredictError::Text { path: path.clone(), name: name.clone(), why });
        }
        texts.push(load_text(checkpoint, name, path)?);
    }
    if texts.first().is_none_or(|t| t.name == NEGATIVE) { Err(PredictError::NoText) } else { Ok(texts) }
}

fn manifest(
    config: &PredictConfig,
    options: &PredictOptions,
    texts: &[TextEmbedding],
) -> Result<PredictManifest, PredictError> {
    let notes = config.notes()?;
    let count =
        |asked: Option<usize>, key: &'static str, what: &'static str| -> Result<usize, PredictError> {
            let noted = notes.as_ref().map(|n| n.count(key)).transpose()?.flatten();
            asked.or(noted).ok_or(PredictError::NotSaid { what })
        };
    let noted_fps = notes.as_ref().map(|n| n.number("fps")).transpose()?.flatten();
    let fps = options.fps.or(noted_fps).unwrap_or(FPS);
    let generation = config.generation;
    let n_frames = count(options.frames, "frames", "frames")?;
    let clip = ClipOptions {
        height: count(options.height, "height", "height")?,
        width: count(options.width, "width", "width")?,
        n_frames,
        n_given: count(options.condition_frames, "condition_frames", "condition-frames")?,
        // Predict2's pipeline always passes the rate, Predict2.5's never does.
        rope_fps: if generation == Generation::Predict2 { Some(fps) } else { options.fps },
        actions: if n_frames < 2 {
            None
        } else {
            config.actions(n_frames, options.action_names.as_deref())?
        },
    };
    let schedule = Schedule::of(config)?;
    let guided = texts.iter().any(|t| t.name == NEGATIVE) && !matches!(schedule, Schedule::Fixed { .. });
    Ok(PredictManifest {
        generation,
        latents: config.latent_shape(&clip),
        clip,
        fps,
        steps: schedule.default_steps(),
        schedule,
        given_timestep: match generation {
            Generation::Predict2 => 1e-4 / (1.0 + 1e-4),
            Generation::Predict25 => 1e-4,
        },
        texts: texts.iter().map(TextEmbedding::entry).collect(),
        guidance: Guidance { scale: if guided { GUIDANCE } else { 0.0 }, interval: [0.0, 1.0] },
    })
}

/// Of all that the forecasts depend on.
fn digest(checkpoint: &PredictCheckpoint, texts: &[TextEmbedding]) -> Result<[u8; 32], PredictError> {
    let mut hash = Sha256::new();
    hash.update(checkpoint.transformer().digest()?);
    hash.update(checkpoint.vae().digest()?);
    for file in [&checkpoint.config().index, &checkpoint.config().scheduler] {
        hash.update(serde_json::to_vec(file.value()).unwrap_or_default());
    }
    for text in texts {
        hash.update(text.name.as_bytes());
        text.values.iter().for_each(|v| hash.update(v.to_le_bytes()));
    }
    Ok(hash.finalize().into())
}
