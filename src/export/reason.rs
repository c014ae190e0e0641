//! A checkpoint of Cosmos-Reason2 becomes a model.

use std::num::NonZeroUsize;
use std::path::Path;

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

use super::ExportError;
use super::golden::{self, PlannedStep};
use super::write::{Parts, Progress, Summary, write};
use crate::camera::{Preprocess, ProcessorConfigs};
use crate::checkpoint::Checkpoint;
use crate::container::hex;
use crate::model::{Clip, GoldenValues, ReasonManifest, Roles, Source};
use crate::models::reason2::{
    ChatTemplate, GenerationConfig, Limits, PatchInputs, PatchPositions, Reason2, Reason2Config, Tokenizer,
};

/// Golden inputs are the same for every export of a checkpoint.
const GOLDEN_SEED: u64 = 2_026;

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
    let limits = fitted(options.limits, config.language.max_position_embeddings);
    let model = Reason2::new(&checkpoint, limits)?;
    let tokenizer_path = dir.join("tokenizer.json");
    let tokenizer_json = checkpoint.file("tokenizer.json")?.ok_or_else(|| ExportError::Disagree {
        dir: dir.to_owned(),
        what: "expected tokenizer.json beside config.json, found none".to_owned(),
    })?;
    let tokenizer = Tokenizer::from_bytes(&tokenizer_json)
        .map_err(|source| ExportError::Tokenizer { path: tokenizer_path, source })?;
    let answers = Some(manifest(&checkpoint, &config, &tokenizer, options)?);

    let golden_steps = golden_steps(&config);
    let total = golden_steps.len() as u64;
    let golden = golden::make(&model.network, &model, golden_steps, dir, |done| {
        progress(Progress { stage: "golden case", done: done as u64, total });
    })?;
    let name = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let name = name.file_name().unwrap_or_default().to_string_lossy().into_owned();
    progress(Progress { stage: "digest of the checkpoint", done: 0, total: 1 });
    let source = Source { name, sha256: hex(&checkpoint.digest()?) };
    progress(Progress { stage: "digest of the checkpoint", done: 1, total: 1 });

    let network = model.network.clone();
    let roles = Roles { answers, ..Roles::default() };
    let parts = Parts { network, weights: &model, tokenizer: Some(&tokenizer_json), golden, source, roles };
    write(parts, out, progress)
}

/// The limits that were asked for, as far as the network has positions.
fn fitted(limits: Limits, n_positions: usize) -> Limits {
    let context = limits.context.min(n_positions).max(1);
    Limits { context, image_tokens: limits.image_tokens.min(context), frames: limits.frames }
}

fn manifest(
    checkpoint: &Checkpoint,
    config: &Reason2Config,
    tokenizer: &Tokenizer,
    options: &ReasonOptions,
) -> Result<ReasonManifest, ExportError> {
    let generation = match checkpoint.json("generation_config.json")? {
        Some(file) => GenerationConfig::parse(&file, config.language.vocab_size)?,
        None => GenerationConfig::default(),
    };
    let preprocess = preprocess(checkpoint, config)?;
    let prompt = ChatTemplate::find(checkpoint)?.layout(config, tokenizer, options.think_suffix.clone())?;
    let vision = &config.vision;
    Ok(ReasonManifest {
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
    })
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

fn patch_positions(config: &Reason2Config) -> PatchPositions {
    let vision = &config.vision;
    PatchPositions { merge_size: vision.spatial_merge_size, table_side: vision.position_grid_side }
}

/// Every graph at its smallest extents: one visual token is made, then a text token and the visual one are read, and one
/// more token follows.
fn golden_steps(config: &Reason2Config) -> Vec<PlannedStep> {
    let (vision, language) = (&config.vision, &config.language);
    let mut rng = ChaCha8Rng::seed_from_u64(GOLDEN_SEED);
    let mut token = || (rng.next_u32() as usize % language.vocab_size) as i32;
    let (first, last) = (token(), token());
    let n = vision.spatial_merge_size.pow(2);
    let patch_len = vision.in_channels * vision.temporal_patch_size * vision.patch_size.pow(2);
    // Pixels from -1 to 1, as normalised ones are.
    let mut pixel = || rng.next_u32() as f32 / 2f32.powi(31) - 1.0;
    let patches = (0..n * patch_len).map(|_| pixel()).collect();
    let (mut index, mut share, mut position) = (vec![0; 4 * n], vec![0.0; 4 * n], vec![0; 2 * n]);
    let inputs = PatchInputs { index: &mut index, share: &mut share, position: &mut position };
    patch_positions(config).fill(vision.spatial_merge_size, vision.spatial_merge_size, inputs);

    use GoldenValues::{F32, I32};
    let mut features = vec![("visual_features".to_owned(), 1)];
    features.extend((0..vision.deepstack_layers.len()).map(|i| (format!("deepstack.{i}"), 1)));
    let prefill = |past: usize, token: i32, visual_index: i32| PlannedStep {
        graph: "prefill".to_owned(),
        extents: vec![("n_tokens", 1), ("past", past), ("n_visual", 1)],
        inputs: vec![
            ("tokens".to_owned(), I32(vec![token])),
            ("positions".to_owned(), I32(vec![past as i32; 3])),
            ("visual_index".to_owned(), I32(vec![visual_index])),
        ],
        outputs: vec![("hidden".to_owned(), 1)],
    };
    let logits = || vec![("logits".to_owned(), 1)];
    vec![
        PlannedStep {
            graph: "vision".to_owned(),
            extents: vec![("n_patches", n)],
            inputs: vec![
                ("patches".to_owned(), F32(patches)),
                ("position_index".to_owned(), I32(index)),
                ("position_share".to_owned(), F32(share)),
                ("patch_positions".to_owned(), I32(position)),
            ],
            outputs: features,
        },
        prefill(0, first, -1),
        prefill(1, config.image_token_id as i32, 0),
        PlannedStep { graph: "head".to_owned(), extents: vec![], inputs: vec![], outputs: logits() },
        PlannedStep {
            graph: "decode".to_owned(),
            extents: vec![("past", 2)],
            inputs: vec![("tokens".to_owned(), I32(vec![last])), ("positions".to_owned(), I32(vec![2; 3]))],
            outputs: logits(),
        },
    ]
}
