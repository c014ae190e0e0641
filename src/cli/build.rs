//! `build`: a model becomes an engine for this machine.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::engines::memory_rows;
use super::places::{Places, is_file};
use super::progress::Progress;
use super::recipe::{self, Recipe};
use super::{Context, Usage, output};
use crate::backend::{
    ActivationScales, Backend, BackendError, FormatChoice, FormatError, Memory, OpenOptions, PlanMade,
    PlanTold, WeightFormat, backend_for,
};
use crate::container::hex;
use crate::engine::{self, BuildOptions, BuildTold, For, PartAccuracy, Tried};
use crate::export::Progress as Stage;
use crate::graph::Network;
use crate::model::Model;
use crate::models::wan_vae::{ENCODER_STATES, LATENTS_PER_CALL};
use crate::quantize::groups_of;

/// Compiles a model, or what a recipe says of one, for one backend and tries it on the model's golden cases.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  perihelion build small-reason.model -o small-reason.engine --backend cpu --precision bf16
  perihelion build small-reason.model -o small-reason.engine --precision language=int8,vision=bf16 --report
  perihelion build small-reason.model -o small-reason.engine --backend tensorrt --precision f16
  perihelion build engines/reason2-2b.on-orin-nano.toml -o reason2.engine")]
pub(crate) struct Options {
    /// The model's file, or a recipe: which model, for which device, on which backend, in which formats, within which limits.
    /// Options count before what a recipe says
    #[arg(value_name = "MODEL|RECIPE.toml")]
    model: PathBuf,
    /// The engine's file, which is replaced whole, and only by an engine that answers rightly
    #[arg(short, long, value_name = "ENGINE")]
    output: PathBuf,
    /// What runs it [default: the recipe's, or cpu]
    #[arg(long, value_enum)]
    backend: Option<BackendName>,
    /// Which machine it is for: this one, a board (orin-nano, orin-nx, agx-orin, thor), rtx for workstations, or an architecture, as
    /// sm86. TensorRT-RTX builds for others, TensorRT and the CPU backend for this machine alone [default: the recipe's, or current]
    #[arg(long, value_name = "TARGET")]
    target: Option<String>,
    /// Write an engine that cannot be tried on this machine: its golden cases are run wherever it is opened, before it answers
    #[arg(long)]
    untried: bool,
    /// What its weights are stored as: f32, bf16, int8, int4, on TensorRT also f16, fp8, nvfp4; all of them, or those of some parts (`inspect`
    /// lists the parts), the others being f32. On the CPU products with int8 and int4 take activations as whole numbers of 8 bits and all
    /// else is f32, also caches unless kv=bf16 halves them; on TensorRT arithmetic and caches are of the type of 16 or 32 bits that the weights of a graph have, or of f16 (or what kv
    /// says) where they have none [default: the recipe's, or f32]
    #[arg(long, value_name = "FORMAT|PART=FORMAT,...")]
    precision: Option<FormatChoice>,
    /// How large this model's activations become, as a JSON file that `calibrate` writes. On TensorRT those are then of eight bits or fewer
    /// too where weights are, but for what the file keeps in 16; without, only weights are. Where the file moves magnitude to weights,
    /// these are changed, also on the CPU
    #[arg(long, value_name = "FILE")]
    scales: Option<PathBuf>,
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
    /// Also say what the format of each part costs: outputs of the golden cases beside the reference evaluation's. Builds once more in
    /// memory for each part that is not f32
    #[arg(long)]
    report: bool,
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
    /// None if it could not be tried here.
    golden_runs: Option<usize>,
    /// Largest difference from the reference evaluation, as a share of what the precision allows.
    golden_worst: Option<f32>,
    memory: Option<&'a Memory>,
    /// In the order of the graphs; empty where the backend makes none.
    plans: &'a [Plan],
    /// With `--report`: what the format of each part costs.
    #[serde(skip_serializing_if = "Option::is_none")]
    accuracy: Option<&'a [PartAccuracy]>,
}

/// A plan of one graph.
#[derive(Serialize)]
struct Plan {
    graph: String,
    plan_bytes: u64,
    /// How long it took, now or when it was made.
    made_in_s: f64,
    /// The most memory that it took.
    peak_bytes: u64,
    /// Whether it was made before.
    is_kept: bool,
}

pub(crate) fn run(options: &Options, context: &Context) -> anyhow::Result<()> {
    let recipe = Recipe::is_named(&options.model).then(|| Recipe::open(&options.model)).transpose()?;
    let inputs = [Some(&options.model), recipe.as_ref().map(|recipe| &recipe.model), options.scales.as_ref()];
    Places::new().reads(inputs.into_iter().flatten()).writes("-o", Some(&options.output), 0).check()?;
    let asked = Asked::of(options, recipe.as_ref());
    if options.report && asked.backend != "cpu" {
        let why =
            "--report compares parts, each alone in its format, which the cpu backend computes; leave it out";
        return Err(Usage(why.into()).into());
    }
    // Said before a model is opened that it could not compile.
    let builder = backend_for(&asked.backend, asked.target.as_deref());
    let builder = builder.map_err(|why| match why {
        BackendError::Target { .. } => Usage(why.to_string()).into(),
        BackendError::NoDevice { .. } if asked.target.is_none() => {
            anyhow!("{why}; name the machine to build for in --target, as sm86")
        }
        why => anyhow::Error::from(why),
    })?;
    let model = match &recipe {
        Some(recipe) => recipe.open_model()?,
        None => {
            is_file(&options.model, "a model")?;
            Model::open(&options.model)?
        }
    };
    let build = BuildOptions {
        formats: asked.formats(&model, builder.as_ref())?,
        limits: asked.limits(&model)?,
        open: OpenOptions { threads: Some(context.threads.get()) },
        backend: asked.backend,
    };
    let scales = options.scales.as_deref().map(ActivationScales::open).transpose()?;
    if let (Some(scales), Some(path)) = (&scales, &options.scales) {
        let names = model.network().weights.iter().map(|weight| &weight.name[..]);
        let of_model = scales.check_of(&hex(&model.digest()), names);
        let balances = || groups_of(model.network(), &scales.balances);
        of_model.and_then(|()| balances()).with_context(|| path.display().to_string())?;
    }
    let scales = scales.map(Arc::new);
    let of_report = scales.clone();
    let machine = For { target: asked.target, may_be_untried: options.untried, scales };
    // What a recipe says of memory is of its own formats: typed ones are the user's to weigh.
    let as_said = |recipe: &&Recipe| recipe.backend == build.backend && options.precision.is_none();
    if let Some(recipe) = recipe.as_ref().filter(as_said) {
        let mut network = model.network().clone();
        let limits: Vec<_> = build.limits.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        network.set_limits(&limits)?;
        recipe.check_memory(&network)?;
    }
    let mut plans = Vec::new();
    let progress = Progress::new("build");
    // Before the engine, which may be refused for what this shows.
    let mut stage = |at: Stage| progress.set(at.done, at.total, at.stage);
    let accuracy = options
        .report
        .then(|| engine::accuracy(&model, &build, of_report.as_ref(), &mut stage))
        .transpose()?;
    let summary = engine::build_for(&model, &build, &machine, &options.output, &mut |what| match what {
        BuildTold::Stage(at) => progress.set(at.done, at.total, at.stage),
        BuildTold::Note(note) => progress.say(&format!("note: {note}")),
        BuildTold::Plan(plan) => {
            if let Some(made) = told(&progress, &plan) {
                plans.push(made);
            }
        }
    });
    drop(progress);
    if let (Err(_), Some(accuracy), false) = (&summary, &accuracy, options.json) {
        // Why the engine was refused counts more than whether anybody reads this.
        let _ = output::text(&accuracy_table(accuracy));
    }
    let summary = summary?;
    let tried = summary.tried.as_ref();
    if options.json {
        return output::json(&Report {
            engine: &options.output,
            sha256: &summary.sha256,
            file_bytes: summary.file_bytes,
            golden_runs: tried.map(|tried| tried.self_test.n_runs),
            golden_worst: tried.map(|tried| tried.self_test.worst),
            memory: tried.map(|tried| &tried.memory),
            plans: &plans,
            accuracy: accuracy.as_deref(),
        });
    }
    let of_trial = match tried {
        Some(Tried { self_test, memory }) => format!(
            "{} golden runs, the worst at {:.1} % of what the precision allows\n\nbytes by purpose, once opened\n{}",
            self_test.n_runs,
            self_test.worst * 100.0,
            output::table(&memory_rows(memory)),
        ),
        None => "not tried: this machine cannot run it; it is tried wherever it is opened\n".to_owned(),
    };
    output::text(&format!(
        "{}: {}, sha256 {}\n{of_trial}",
        options.output.display(),
        output::bytes(summary.file_bytes),
        summary.sha256,
    ))?;
    accuracy.map_or(Ok(()), |accuracy| output::text(&accuracy_table(&accuracy)))
}

/// What the formats cost, as a person reads it.
fn accuracy_table(accuracy: &[PartAccuracy]) -> String {
    let heading = ["part", "format", "output", "rms error", "largest error", "same top 1"].map(str::to_owned);
    let mut rows = vec![heading.to_vec()];
    for of_part in accuracy {
        for output in &of_part.outputs {
            rows.push(vec![
                of_part.part.clone().unwrap_or_else(|| "all".to_owned()),
                of_part.format.clone(),
                output.buffer.clone(),
                format!("{:.3} %", 100.0 * output.rms_share),
                format!("{:.3} %", 100.0 * output.largest_share),
                output.top1.map_or_else(String::new, |[same, all]| format!("{same} of {all}")),
            ]);
        }
    }
    let title = "golden cases beside the reference evaluation, each part alone in its format";
    format!("\n{title}\n{}", output::table(&rows))
}

/// Shows how far a plan is; gives it when it is there.
fn told(progress: &Progress, plan: &PlanTold<'_>) -> Option<Plan> {
    let (graph, (place, n_plans)) = (plan.graph, plan.place);
    let seconds = plan.elapsed.as_secs_f64();
    let Some(PlanMade { plan_bytes, peak_bytes, is_kept }) = plan.made else {
        let expected = plan.expected.map_or(String::new(), |e| format!(" of about {:.0} s", e.as_secs_f64()));
        progress.count(place as u64, n_plans as u64, format!("plan {graph}: {seconds:.0} s{expected}"));
        return None;
    };
    let how = if is_kept { "kept from before; it took" } else { "made in" };
    progress.say(&format!(
        "plan {graph}: {}, {how} {seconds:.1} s and {} of memory",
        output::bytes(plan_bytes),
        output::bytes(peak_bytes),
    ));
    let made_in_s = (seconds * 1000.0).round() / 1000.0;
    Some(Plan { graph: graph.to_owned(), plan_bytes, made_in_s, peak_bytes, is_kept })
}

/// What was asked for: options first, then the recipe.
struct Asked {
    backend: String,
    /// None for this machine.
    target: Option<String>,
    precision: Result<FormatChoice, FormatError>,
    /// The recipe's precision, if none was typed.
    written: Option<String>,
    limits: recipe::Limits,
}

impl Asked {
    fn of(options: &Options, recipe: Option<&Recipe>) -> Self {
        let backend = options.backend.map(|backend| backend.name().to_owned());
        let backend = backend.or_else(|| Some(recipe?.backend.clone())).unwrap_or_else(|| "cpu".to_owned());
        // A recipe's device is what its backend builds for, where that builds for others at all.
        let of_same = || recipe.filter(|recipe| recipe.backend == backend && backend != "cpu");
        let target = options.target.clone().or_else(|| Some(of_same()?.device.name.to_owned()));
        let written = recipe.filter(|_| options.precision.is_none()).map(|recipe| recipe.precision.clone());
        let precision = match (&options.precision, &written) {
            (Some(precision), _) => Ok(precision.clone()),
            (None, None) => Ok(FormatChoice::from(WeightFormat::F32)),
            (None, Some(precision)) => precision.parse::<FormatChoice>(),
        };
        let of_recipe = recipe.map(|recipe| recipe.limits).unwrap_or_default();
        let limits = recipe::Limits {
            context: options.max_context.or(of_recipe.context),
            image_tokens: options.max_image_tokens.or(of_recipe.image_tokens),
            frames: options.max_frames.or(of_recipe.frames),
            latents_per_call: options.max_latents_per_call.or(of_recipe.latents_per_call),
            encoder_states: options.encoder_states.or(of_recipe.encoder_states),
        };
        Self { backend, target, precision, written, limits }
    }

    /// The formats, once it is sure that the model has such parts and the backend such formats.
    fn formats(&self, model: &Model, builder: &dyn Backend) -> anyhow::Result<FormatChoice> {
        let refused = |why: FormatError| match &self.written {
            None => Usage(format!("--precision: {why}")),
            Some(precision) => Usage(format!(
                "the recipe's precision {precision}, on backend {}: {why}; give --precision for another",
                self.backend
            )),
        };
        let choice = self.precision.clone().map_err(refused)?;
        choice.of_parts(model.network(), &builder.storing()).map_err(refused)?;
        Ok(choice)
    }

    /// The limits that the engine will have.
    fn limits(&self, model: &Model) -> anyhow::Result<Vec<(String, usize)>> {
        let asked = &self.limits;
        let roles = &model.manifest().roles;
        if let Some(predict) = &roles.forecasts {
            return self.predict_limits(predict.latents.n_latents);
        }
        if asked.latents_per_call.is_some() || asked.encoder_states.is_some() {
            let message = "--max-latents-per-call and --encoder-states are for models of Predict";
            return Err(Usage(message.to_owned()).into());
        }
        let Some(context_max) = roles.answers.as_ref().map(|reason| reason.context_max) else {
            return Ok(Vec::new());
        };
        let limits = reason_limits(model.network(), context_max, asked.context, asked.image_tokens)?;
        let mut limits: Vec<(String, usize)> = limits.map(|(name, value)| (name.to_owned(), value)).into();
        if let Some(frames) = asked.frames {
            limits.push(("frames".to_owned(), frames.get()));
        }
        Ok(limits)
    }

    fn predict_limits(&self, n_latents: usize) -> anyhow::Result<Vec<(String, usize)>> {
        let asked = &self.limits;
        if asked.context.is_some() || asked.image_tokens.is_some() || asked.frames.is_some() {
            let message = "--max-context, --max-image-tokens and --max-frames are for models of Reason";
            return Err(Usage(message.to_owned()).into());
        }
        let mut limits = Vec::new();
        if let Some(n) = asked.latents_per_call {
            limits.push((LATENTS_PER_CALL.to_owned(), n.get().min(n_latents)));
        }
        if let Some(n) = asked.encoder_states {
            if 2 < n.get() {
                return Err(Usage("--encoder-states takes 1 or 2".to_owned()).into());
            }
            limits.push((ENCODER_STATES.to_owned(), n.get()));
        }
        Ok(limits)
    }
}

/// The limits of a Reason network: what was asked for, else what it has now.
///
/// # Errors
/// If the checkpoint was not made for so long a context, or an image would not fit into it.
pub(super) fn reason_limits(
    network: &Network,
    context_max: usize,
    context: Option<NonZeroUsize>,
    image_tokens: Option<NonZeroUsize>,
) -> Result<[(&'static str, usize); 2], Usage> {
    let now = |name: &str| network.limit(name).unwrap_or(usize::MAX);
    let context = context.map_or(now("context"), NonZeroUsize::get);
    if context_max < context {
        return Err(Usage(format!(
            "--max-context: the checkpoint was made for at most {context_max} positions"
        )));
    }
    let image = image_tokens.map_or(now("image_tokens").min(context), NonZeroUsize::get);
    if context < image {
        let message =
            format!("--max-image-tokens {image} is more than the context of {context}; raise --max-context");
        return Err(Usage(message));
    }
    Ok([("context", context), ("image_tokens", image)])
}
