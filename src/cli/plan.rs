//! `plan`: rolls plans of actions out in a Predict engine, scores what it forecasts of each, and ranks them.

mod report;
mod rollouts;
mod sheet;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;

use super::places::Places;
use super::progress::Progress;
use super::{Context, Usage, clip, engines, output, unit};
use crate::checkpoint::Tensors;
use crate::install;
use crate::models::predict25::{Actions, PredictManifest};
use crate::runtime::Lender;
use crate::runtime::plan::{self, Around, Candidate, Critic, Noises, PlanError, Score, Target, search};
use crate::runtime::predict::{ForecastRequest, Limits, Predict};
use crate::runtime::reason::Reason;
use report::{Report, Timings};

/// Chooses among plans of actions by what the world model forecasts of them.
///
/// Every plan is rolled out from the same given frames and the same noises. Of two scores that are equal, the plan that was given
/// first stands first.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  perihelion plan robot.engine --frames seen/ --around plan.csv --samples 15 --spread 0.2 --goal docked.png
  perihelion plan robot.engine --frames seen/ --candidates plans.csv --critic reason2.engine --question \"Is the path clear?\"
  perihelion plan robot.engine --frames seen/ --candidates plans/ --surprise --came later/ --json")]
pub(crate) struct Options {
    /// The Predict engine; one that takes actions
    engine: PathBuf,
    /// A directory of frames, taken in natural order of their names; the last ones are given to the engine, scaled to its size
    #[arg(long, value_name = "DIR")]
    frames: Option<PathBuf>,
    /// Plans: a directory of CSV files with the engine's action names as header, or one such file, in which a first column
    /// `candidate` tells several plans apart
    #[arg(long, value_name = "FILE.csv|DIR", group = "plans", required_unless_present = "around")]
    candidates: Option<PathBuf>,
    /// A plan, itself the first candidate, around which the others are drawn
    #[arg(long, value_name = "FILE.csv", group = "plans", requires = "spread")]
    around: Option<PathBuf>,
    /// How many plans are drawn
    #[arg(long, value_name = "N", default_value_t = 15, requires = "around")]
    samples: usize,
    /// Standard deviation by which they are drawn: one for all actions, or one for each, in the actions' own units
    #[arg(long, value_name = "S[,S…]", value_delimiter = ',', requires = "around")]
    spread: Option<Vec<f32>>,
    /// Correlation of what is drawn for one step with the step before: 0 draws every step by itself, near 1 shifts whole plans
    #[arg(long, value_name = "R", default_value_t = 0.8, requires = "around")]
    correlation: f32,
    /// Seed of the drawn plans and of the first noise, which is `imagine`'s of this seed
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
    /// Noises from which every plan is forecast; scores are their mean
    #[arg(long, value_name = "M", default_value_t = 1)]
    noises: usize,
    #[command(flatten)]
    score: ScoreOptions,
    /// Which text, of those that were exported
    #[arg(long, value_name = "NAME")]
    text: Option<String>,
    /// Calls of the denoiser [default: the engine's]
    #[arg(long, value_name = "N")]
    steps: Option<usize>,
    /// Evaluate as many plans, in order, as fit into so many milliseconds, counted from the first run
    #[arg(long, value_name = "MS")]
    budget_ms: Option<u64>,
    /// How many of the best are listed, and written as frames, sheet or both
    #[arg(long, value_name = "K", default_value_t = 5)]
    top: usize,
    /// Write one JSON object, with every candidate
    #[arg(long)]
    json: bool,
    /// Write the best plan, as `imagine --actions` reads it
    #[arg(long, value_name = "FILE.csv")]
    actions_out: Option<PathBuf>,
    /// Write the forecast frames of the best as PNG, a directory for each rank; forecast anew from the first noise, beyond the budget
    #[arg(long, value_name = "DIR")]
    frames_out: Option<PathBuf>,
    /// Remove the frames that are in that directory
    #[arg(long, requires = "frames_out")]
    overwrite: bool,
    /// Write them as one image: a row for each of the best; the newest given frame, the forecast, and the goal, if it is an image
    #[arg(long, value_name = "FILE.png")]
    contact_sheet: Option<PathBuf>,
}

/// What makes a plan good. One of `--goal`, `--critic` and `--surprise`.
#[derive(Debug, Args)]
#[command(next_help_heading = "Scores")]
struct ScoreOptions {
    /// How far the forecast's last latent lies from this: an image, scaled to the engine's size, or the last latent of a clip that
    /// `imagine --latents` wrote. In standard deviations of the latents (RMS), lower is better
    #[arg(long, value_name = "IMAGE|FILE.safetensors", group = "by", required_unless_present_any = ["critic", "surprise"])]
    goal: Option<PathBuf>,
    /// Blur the difference before it counts, by a Gaussian of σ this share of the picture's height: what comes near its goal counts, too,
    /// where nothing lies on it
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = unit::<f64>, requires = "goal")]
    goal_blur: f64,
    /// How likely this Reason engine gives the expected answer about the forecast: 0…1, higher is better
    #[arg(long, value_name = "REASON_ENGINE", group = "by", requires = "question")]
    critic: Option<PathBuf>,
    /// The critic's question
    #[arg(long, value_name = "TEXT", requires = "critic")]
    question: Option<String>,
    /// What may be answered; the choices' probabilities sum to 1
    #[arg(long, value_name = "A,B", value_delimiter = ',', default_value = "yes,no", requires = "critic")]
    choices: Vec<String>,
    /// The answer that is hoped for, one of the choices
    #[arg(long, value_name = "ANSWER", default_value = "yes", requires = "critic")]
    expect: String,
    /// The last forecast frames that the critic sees: one as an image, more as a clip at the engine's rate
    #[arg(long, value_name = "N", default_value_t = 1, requires = "critic")]
    critic_frames: usize,
    /// How far forecasts of the same plan from different noises lie apart, the surprise to expect (RMS of the latents, lower is
    /// better); takes --noises 2 or more. With --came, how far the forecast lies from what really came
    #[arg(long, group = "by")]
    surprise: bool,
    /// The frames that really came after the given ones, in natural order of their names, at the engine's rate
    #[arg(long, value_name = "DIR", requires = "surprise")]
    came: Option<PathBuf>,
}

pub(crate) fn run(options: &Options, context: &Context) -> anyhow::Result<()> {
    let ScoreOptions { goal, critic, came, .. } = &options.score;
    Places::new()
        .reads([&options.engine])
        .reads([&options.frames, &options.candidates, &options.around].into_iter().flatten())
        .reads([goal, critic, came].into_iter().flatten())
        .writes("--actions-out", options.actions_out.as_ref(), 0)
        .writes("--contact-sheet", options.contact_sheet.as_ref(), 0)
        .writes_frames("--frames-out", options.frames_out.as_ref(), options.overwrite)
        .check()?;
    let (mut predict, _) = engines::open_predict(&options.engine, context.threads, options.steps)?;
    let manifest = predict.manifest().clone();
    let Some(actions) = &manifest.clip.actions else {
        let message = "the engine takes no actions, so there is nothing to choose: plan takes an action-conditioned one";
        return Err(Usage(message.to_owned()).into());
    };
    let candidates = candidates(options, actions)?;
    let given = clip::given_frames(options.frames.as_deref(), &manifest)?;
    let given: Vec<&[u8]> = given.iter().map(|frame| &frame[..]).collect();
    clip::check_text(options.text.as_deref(), &manifest)?;
    let goal_image = goal_image(options, &manifest)?;
    let reason = match &options.score.critic {
        Some(path) => Some(Lender::new(engines::open_reason(path, context.threads)?.0)),
        None => None,
    };

    let started = Instant::now();
    let ms = |from: Instant| from.elapsed().as_secs_f64() * 1e3;
    let deadline = options.budget_ms.map(|budget| started + Duration::from_millis(budget));
    let limits = Limits { deadline, stop: None };
    predict.show(&given, limits)?;
    let encode_ms = ms(started);
    let choices: Vec<&str> = options.score.choices.iter().map(String::as_str).collect();
    let mut score =
        score(&options.score, &mut predict, goal_image.as_deref(), (reason.as_ref(), &choices), limits)?;
    let target_ms = ms(started) - encode_ms;
    let noises = Noises { seed: options.seed, n: options.noises };
    let forecasts = ForecastRequest { text: options.text.as_deref(), limits, ..ForecastRequest::default() };
    let ranking = {
        let bar = Progress::counting("plans");
        bar.set(0, candidates.len() as u64, "");
        search(&mut predict, &candidates, &mut score, noises, &forecasts, |done| {
            bar.set(done as u64, candidates.len() as u64, "");
        })
        .map_err(refused)?
    };
    let total_ms = ms(started);

    let timings = Timings { encode_ms, target_ms, total_ms };
    let steps = predict.n_steps();
    let ranked = plan::Report::new(&score, &candidates, &ranking, &actions.names);
    let mut report = Report::new(ranked, noises, steps, timings);
    if let Some(path) = &options.actions_out {
        let best = &candidates[ranking.ranked[0].candidate];
        let text = clip::plan_text(&best.actions, &actions.names);
        install::write(path, text.as_bytes()).with_context(|| path.display().to_string())?;
        report.files.push(path.clone());
    }
    let shown = Shown { given: given.last().copied(), goal: goal_image.as_deref() };
    report.files.extend(rollouts::write(options, &mut predict, &candidates, &ranking, shown)?);
    if options.json { output::json(&report) } else { output::text(&report.text(options.top)) }
}

/// What stands beside the forecasts on a sheet.
#[derive(Clone, Copy)]
struct Shown<'a> {
    given: Option<&'a [u8]>,
    goal: Option<&'a [u8]>,
}

/// A mistake of the command line is told from a failure.
fn refused(error: PlanError) -> anyhow::Error {
    use PlanError::{Correlation, CriticFrames, Expected, NoNoises, OneNoise, Spread};
    let is_usage = match &error {
        OneNoise | NoNoises | Spread { .. } | Correlation(_) | CriticFrames { .. } | Expected { .. } => true,
        PlanError::Critic(error) => error.is_usage(),
        _ => false,
    };
    if is_usage { Usage(error.to_string()).into() } else { error.into() }
}

fn candidates(options: &Options, actions: &Actions) -> anyhow::Result<Vec<Candidate>> {
    let names = &actions.names[..];
    if let Some(path) = &options.around {
        let around = Around {
            actions: &clip::read_plan(path, names)?,
            width: names.len(),
            spread: options.spread.as_deref().unwrap_or_default(),
            correlation: options.correlation,
            limits: &actions.limits,
            seed: options.seed,
        };
        return around.candidates(options.samples).map_err(refused);
    }
    let path = options.candidates.as_deref().unwrap_or(Path::new(""));
    let mut files = vec![path.to_owned()];
    if path.is_dir() {
        let entries = fs::read_dir(path).with_context(|| path.display().to_string())?;
        let entries = entries.collect::<Result<Vec<_>, _>>().with_context(|| path.display().to_string())?;
        files = entries.into_iter().map(|entry| entry.path()).collect();
        files.retain(|file| file.extension().is_some_and(|extension| extension == "csv"));
        files.sort_by(|a, b| a.as_os_str().as_encoded_bytes().cmp(b.as_os_str().as_encoded_bytes()));
    }
    let mut candidates = Vec::new();
    for file in &files {
        let plans = clip::read_plans(file, names)?;
        candidates.extend(plans.into_iter().map(|(source, actions)| Candidate { source, actions }));
    }
    if candidates.is_empty() {
        anyhow::bail!("{}: no plan; expected CSV with the header `{}`", path.display(), names.join(","));
    }
    Ok(candidates)
}

/// The goal as an image, if it is one.
fn goal_image(options: &Options, manifest: &PredictManifest) -> anyhow::Result<Option<Vec<u8>>> {
    let image = options.score.goal.as_deref().filter(|path| !is_clip(path));
    image.map(|path| clip::frame(path, manifest)).transpose()
}

fn is_clip(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "safetensors")
}

fn score<'a>(
    options: &'a ScoreOptions,
    predict: &mut Predict,
    goal_image: Option<&[u8]>,
    (reason, choices): (Option<&'a Lender<Reason>>, &'a [&'a str]),
    limits: Limits<'_>,
) -> anyhow::Result<Score<'a>> {
    if let Some(image) = goal_image {
        return Ok(Score::Goal(Target::goal(predict, image, limits)?.blurred(options.goal_blur, predict)));
    }
    if let Some(path) = &options.goal {
        let shape = predict.manifest().latents;
        let whole = [1, shape.channels, shape.n_latents, shape.height, shape.width];
        let latents = Tensors::open(path)?.expect("latents", &whole)?.to_f32();
        let target = Target::goal_of_clip(predict, &latents)
            .with_context(|| format!("{}: `latents` are not all finite", path.display()))?;
        return Ok(Score::Goal(target.blurred(options.goal_blur, predict)));
    }
    if let Some(reason) = reason {
        let question = options.question.as_deref().unwrap_or_default();
        let n_frames = options.critic_frames;
        let critic = Critic::new(reason, predict, question, choices, &options.expect, n_frames, limits);
        return Ok(Score::Critic(critic.map_err(refused)?));
    }
    let Some(dir) = &options.came else { return Ok(Score::ExpectedSurprise) };
    let frames = clip::all_frames(dir, predict.manifest())?;
    let frames: Vec<&[u8]> = frames.iter().map(|frame| &frame[..]).collect();
    let target = Target::came(predict, &frames, limits).with_context(|| dir.display().to_string())?;
    Ok(Score::Surprise(target))
}
