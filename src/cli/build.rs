//! `build`: a model becomes an engine for this machine.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::engines::memory_rows;
use super::places::{Places, is_file};
use super::progress::Progress;
use super::{Context, Usage, output};
use crate::backend::{FormatChoice, Memory, OpenOptions, backend};
use crate::engine::{self, BuildOptions};
use crate::model::Model;
use crate::models::wan_vae::{ENCODER_STATES, LATENTS_PER_CALL};

/// Compiles a model for one backend and tries it on the model's golden cases.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  perihelion build small-reason.model -o small-reason.engine --backend cpu --precision bf16
  perihelion build small-reason.model -o small-reason.engine --precision language=bf16,vision=f32")]
pub(crate) struct Options {
    /// The model's file
    model: PathBuf,
    /// The engine's file, which is replaced whole, and only by an engine that answers rightly
    #[arg(short, long, value_name = "ENGINE")]
    output: PathBuf,
    /// What runs it
    #[arg(long, value_enum, default_value_t = BackendName::Cpu)]
    backend: BackendName,
    /// What its weights are stored as, f32 or bf16: all of them, or those of some parts (`inspect` lists the parts), the others
    /// being f32; arithmetic and caches are f32
    #[arg(long, value_name = "FORMAT|PART=FORMAT,...", default_value = "f32")]
    precision: FormatChoice,
    /// Tokens of prompt and answer together, at most [default: 4096, or what the checkpoint was made for]
    #[arg(long, value_name = "N")]
    max_context: Option<NonZeroUsize>,
    /// Visual tokens of one image or pair of frames, at most; larger images are scaled down [default: 1024]
    #[arg(long, value_name = "N")]
    max_image_tokens: Option<NonZeroUsize>,
    /// Frames of a clip, at most [default: 16]
    #[arg(long, value_name = "N")]
    max_frames: Option<NonZeroUsize>,
    /// Predict: latents (of four frames each) that one run of the VAE takes, at most [default: 1]
    #[arg(long, value_name = "N")]
    max_latents_per_call: Option<NonZeroUsize>,
    /// Predict: clips whose encoder caches are held; 2 measure surprise while the next forecast is made [default: 2]
    #[arg(long, value_name = "1|2")]
    encoder_states: Option<NonZeroUsize>,
    /// Write one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum BackendName {
    Cpu,
    Tensorrt,
}

impl BackendName {
    fn name(self) -> &'static str {
        match self {
            BackendName::Cpu => "cpu",
            BackendName::Tensorrt => "tensorrt",
        }
    }
}

#[derive(Serialize)]
struct Report<'a> {
    engine: &'a PathBuf,
    sha256: &'a str,
    file_bytes: u64,
    golden_runs: usize,
    /// Largest difference from the reference evaluation, as a share of what the precision allows.
    golden_worst: f32,
    memory: &'a Memory,
}

pub(crate) fn run(options: &Options, context: &Context) -> anyhow::Result<()> {
    Places::new().reads([&options.model]).writes("-o", Some(&options.output), 0).check()?;
    is_file(&options.model, "a model")?;
    let model = Model::open(&options.model)?;
    let build = BuildOptions {
        backend: options.backend.name().to_owned(),
        formats: formats(options, &model)?,
        limits: limits(options, &model)?,
        open: OpenOptions { threads: Some(context.threads.get()) },
    };
    let progress = Progress::new("build");
    let summary = engine::build(&model, &build, &options.output, &mut |at| {
        progress.set(at.done, at.total, at.stage);
    })?;
    drop(progress);
    if options.json {
        return output::json(&Report {
            engine: &options.output,
            sha256: &summary.sha256,
            file_bytes: summary.file_bytes,
            golden_runs: summary.self_test.n_runs,
            golden_worst: summary.self_test.worst,
            memory: &summary.memory,
        });
    }
    output::text(&format!(
        "{}: {}, sha256 {}\n{} golden runs, the worst at {:.1} % of what the precision allows\n\nbytes by purpose, once opened\n{}",
        options.output.display(),
        output::bytes(summary.file_bytes),
        summary.sha256,
        summary.self_test.n_runs,
        summary.self_test.worst * 100.0,
        output::table(&memory_rows(&summary.memory)),
    ))
}

/// What was asked for, once it is sure that the model has such parts and the backend such formats.
fn formats(options: &Options, model: &Model) -> anyhow::Result<FormatChoice> {
    let stored = backend(options.backend.name())?.formats();
    let checked = options.precision.of_parts(model.network(), stored);
    checked.map_err(|why| Usage(format!("--precision: {why}")))?;
    Ok(options.precision.clone())
}

/// The limits that the engine will have.
fn limits(options: &Options, model: &Model) -> anyhow::Result<Vec<(String, usize)>> {
    let roles = &model.manifest().roles;
    if let Some(predict) = &roles.forecasts {
        return predict_limits(options, predict.latents.n_latents);
    }
    if options.max_latents_per_call.is_some() || options.encoder_states.is_some() {
        let message = "--max-latents-per-call and --encoder-states are for models of Predict";
        return Err(Usage(message.to_owned()).into());
    }
    let now = |name: &str| model.network().limit(name).unwrap_or(usize::MAX);
    let (context_now, image_now) = (now("context"), now("image_tokens"));
    let context = options.max_context.map_or(context_now, NonZeroUsize::get);
    let Some(context_max) = roles.answers.as_ref().map(|reason| reason.context_max) else {
        return Ok(Vec::new());
    };
    if context_max < context {
        let message = format!("--max-context: the checkpoint was made for at most {context_max} positions");
        return Err(Usage(message).into());
    }
    let image = options.max_image_tokens.map_or(image_now.min(context), NonZeroUsize::get);
    if context < image {
        let message =
            format!("--max-image-tokens {image} is more than the context of {context}; raise --max-context");
        return Err(Usage(message).into());
    }
    let mut limits = vec![("context".to_owned(), context), ("image_tokens".to_owned(), image)];
    if let Some(frames) = options.max_frames {
        limits.push(("frames".to_owned(), frames.get()));
    }
    Ok(limits)
}

fn predict_limits(options: &Options, n_latents: usize) -> anyhow::Result<Vec<(String, usize)>> {
    if options.max_context.is_some() || options.max_image_tokens.is_some() || options.max_frames.is_some() {
        let message = "--max-context, --max-image-tokens and --max-frames are for models of Reason";
        return Err(Usage(message.to_owned()).into());
    }
    let mut limits = Vec::new();
    if let Some(n) = options.max_latents_per_call {
        limits.push((LATENTS_PER_CALL.to_owned(), n.get().min(n_latents)));
    }
    if let Some(n) = options.encoder_states {
        if 2 < n.get() {
            return Err(Usage("--encoder-states takes 1 or 2".to_owned()).into());
        }
        limits.push((ENCODER_STATES.to_owned(), n.get()));
    }
    Ok(limits)
}
