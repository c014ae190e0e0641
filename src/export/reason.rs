//! A checkpoint of Cosmos-Reason2 becomes a model.

use std::num::NonZeroUsize;
use std::path::Path;

use super::ExportError;
use super::golden;
use super::reason_golden::{GoldenInputs, patch_positions};
use super::write::{Parts, Progress, Summary, check_room, write};
use crate::camera::{Preprocess, ProcessorConfigs};
use crate::checkpoint::Checkpoint;
use crate::container::hex;
use crate::model::{Roles, Source};
use crate::models::reason2::{
    ChatTemplate, Clip, GenerationConfig, Limits, Reason2, Reason2Config, ReasonManifest, Tokenizer,
};

/// What a checkpoint does not say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReasonOptions {
    /// Added to a question that should be thought about.
    pub think_suffix: Option<String>,
    /// Frames that `run` looks at together unless told otherwise: one if not said here, and clips otherwise.
    pub clip_frames: Option<NonZeroUsize>,
    /// Frames in a second of such a clip; the video processor's rate if not said here. Finite, above 0.
    pub clip_fps: Option<f64>,
    /// Maxima that the model declares; a build may set them again. No more than the checkpoint's positions are taken.
    pub limits: Limits,
}

/// Exports the checkpoint in `dir` to the file `out`.
///
/// # Errors
/// If the checkpoint is incomplete or contradicts itself, if the golden case gives no finite numbers, or if the file
/// cannot be written. Then nothing new lies at `out` or beside it.
pub fn export_reason(
    dir: &Path,
    options: &ReasonOptions,
    out: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<Summary, ExportError> {
    let checkpoint = Checkpoint::open(dir)?;
    let config = Reason2Config::parse(checkpoint.config())?;
    let limits = options.limits.within(config.language.max_position_embeddings);
    let model = Reason2::new(&checkpoint, limits)?;
    let (answers, _, tokenizer_json) = reason_manifest(&checkpoint, &config, options)?;
    let answers = Some(answers);

    check_room(&model.network, &model, out)?;
    let cases = GoldenInputs::new(&config).cases();
    let golden = golden::make(&model.network, &model, cases, dir, |done, total| {
        progress(Progress { stage: "golden case", done: done as u64, total: total as u64 });
    })?;
    let name = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let name = name.file_name().unwrap_or_default().to_string_lossy().into_owned();
    progress(Progress { stage: "digest of the checkpoint", done: 0, total: 1 });
    let source = Source { name, sha256: hex(&checkpoint.digest()?) };
    progress(Progress { stage: "digest of the checkpoint", done: 1, total: 1 });

    let network = model.network.clone();
    let roles = Roles { answers, ..Roles::default() };
    let (tokenizer, notes) = (Some(&tokenizer_json[..]), notes(&checkpoint)?);
    let parts = Parts { network, weights: &model, tokenizer, golden, source, roles, notes };
    write(parts, out, progress)
}

/// What stands in the checkpoint and not, or not as it stands, in the model.
fn notes(checkpoint: &Checkpoint) -> Result<Vec<String>, ExportError> {
    let mut notes = Vec::new();
    if ChatTemplate::find(checkpoint)?.writes_the_date()? {
        notes.push("the chat template writes the date: every prompt will have today's".to_owned());
    }
    let adapter = ["adapter_model.safetensors", "adapter_model.bin", "adapter_config.json"];
    if let Some(name) = adapter.iter().find(|name| checkpoint.dir().join(name).exists()) {
        notes.push(format!(
            "{name} lies beside the weights and is not applied: perihelion merge {0} {0} -o DIR makes a checkpoint with it",
            checkpoint.dir().display()
        ));
    }
    Ok(notes)
}

/// What stands in a model beside network and weights: all that says how a question becomes inputs. With its tokenizer, and that one's file.
///
/// # Errors
/// If a file of the checkpoint is missing, is not what its name says, or contradicts another.
pub fn reason_manifest(
    checkpoint: &Checkpoint,
    config: &Reason2Config,
    options: &ReasonOptions,
) -> Result<(ReasonManifest, Tokenizer, Vec<u8>), ExportError> {
    let dir = checkpoint.dir();
    let tokenizer_json = checkpoint.file("tokenizer.json")?.ok_or_else(|| ExportError::Disagree {
        dir: dir.to_owned(),
        what: "expected tokenizer.json beside config.json, found none".to_owned(),
    })?;
    let tokenizer = Tokenizer::from_bytes(&tokenizer_json)
        .map_err(|source| ExportError::Tokenizer { path: dir.join("tokenizer.json"), source })?;
    let generation = match checkpoint.json("generation_config.json")? {
        Some(file) => GenerationConfig::parse(&file, config.language.vocab_size)?,
        None => GenerationConfig::default(),
    };
    let preprocess = preprocess(checkpoint, config)?;
    let prompt = ChatTemplate::find(checkpoint)?.layout(config, &tokenizer, options.think_suffix.clone())?;
    let vision = &config.vision;
    let manifest = ReasonManifest {
        prompt,
        preprocess,
        patch_positions: patch_positions(config),
        n_deepstack: vision.deepstack_layers.len(),
        stop_token_ids: config.stop_token_ids(&generation).to_vec(),
        sampling: generation.sampling,
        vocab_size: config.language.vocab_size,
        context_max: config.language.max_position_embeddings,
        clip: Clip {
            frames: options.clip_frames.map_or(1, NonZeroUsize::get),
            fps: options.clip_fps.unwrap_or(preprocess.video.fps),
        },
    };
    Ok((manifest, tokenizer, tokenizer_json))
}

/// The processor's rules, which must cut patches as the network takes them.
fn preprocess(checkpoint: &Checkpoint, config: &Reason2Config) -> Result<Preprocess, ExportError> {
    let file = |name: &str| checkpoint.json(name);
    let (processor, image, video) = (
        file("processor_config.json")?,
        file("preprocessor_config.json")?,
        file("video_preprocessor_config.json")?,
    );
    let configs = ProcessorConfigs {
        processor: processor.as_ref().map(|f| f.value()),
        image: image.as_ref().map(|f| f.value()),
        video: video.as_ref().map(|f| f.value()),
    };
    let dir = checkpoint.dir();
    let rules =
        configs.preprocess().map_err(|source| ExportError::Processor { dir: dir.to_owned(), source })?;
    let (cut, vision) = (&rules.patches, &config.vision);
    let found = [cut.patch_size, cut.temporal_patch_size, cut.merge_size];
    let expected = [vision.patch_size, vision.temporal_patch_size, vision.spatial_merge_size];
    if found != expected || vision.in_channels != 3 {
        let channels = vision.in_channels;
        let what = format!(
            "config.json expects patches (size, frames, merge) of {expected:?} and {channels} channels, the processor makes \
             {found:?} and 3"
        );
        return Err(ExportError::Disagree { dir: dir.to_owned(), what });
    }
    Ok(rules)
}
