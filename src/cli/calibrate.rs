//! `perihelion calibrate`: runs a model on somebody's own data and writes how large its activations become.

mod data;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::builder::RangedU64ValueParser;
use clap::{Args, ValueEnum};
use serde::Serialize;

use self::data::{Clip, Data, read_bounded};
use super::places::{CLIP_FILE, Places, is_file};
use super::progress::Progress;
use super::question::{BatchLine, Question};
use super::{Context, Usage, clip, output};
use crate::backend::{ActivationScale, ActivationScales, OpenOptions, Session, backend};
use crate::container::hex;
use crate::graph::Network;
use crate::install;
use crate::model::Model;
use crate::models::predict25::PredictManifest;
use crate::quantize::{Method, Watched, Watching, products};
use crate::runtime::predict::{ForecastRequest, Limits, Noise, Predict};
use crate::runtime::reason::{AnswerSettings, Picture, Reason, ReasonParts, Request, Shown};

/// Runs a model on your own data and writes how large its activations become, for engines whose activations are of eight bits or fewer
#[derive(Debug, Args)]
#[command(after_help = "\
The model runs on the CPU in its own precision and takes memory for its weights and, once, for all that the products of its largest
run are given: some gigabytes for a model of 2B, fewer with --max-context and --max-image-tokens.
Reason is asked what each clip's clip.json asks, or --prompt; of a .jsonl file, as `ask --batch` takes it, every line. Predict
forecasts each clip, from its first frames and with its actions if the model takes such.

Example:
  perihelion scenes -o clips --count 64 --split train
  perihelion calibrate small-reason.model --data clips -o small-reason.scales.json")]
pub(crate) struct Options {
    /// The model
    model: PathBuf,
    /// A folder of frames, a folder of such folders, or for Reason a .jsonl file of questions
    #[arg(long, value_name = "DIR|FILE.jsonl")]
    data: PathBuf,
    /// The file of scales
    #[arg(short, long, value_name = "SCALES.json")]
    output: PathBuf,
    /// How the magnitude that the largest number stands for is chosen; for FP8, whose numbers reach far, take max
    #[arg(long, value_enum, default_value_t = MethodName::Mse)]
    method: MethodName,
    /// With --method percentile: so many of a hundred numbers are not cut
    #[arg(long, value_name = "P", default_value_t = 99.99)]
    percentile: f64,
    /// Clips or questions at most [default: all]
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    samples: Option<usize>,
    /// Reason: what is asked of clips that bring no questions
    #[arg(long, value_name = "TEXT", default_value = "Describe what happens.")]
    prompt: String,
    /// Reason: tokens of prompt and answer together, at most; fewer take less memory [default: as `build`]
    #[arg(long, value_name = "N")]
    max_context: Option<NonZeroUsize>,
    /// Reason: visual tokens of one image or pair of frames, at most; fewer take less memory [default: as `build`]
    #[arg(long, value_name = "N")]
    max_image_tokens: Option<NonZeroUsize>,
    /// Tokens of an answer at most
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = RangedU64ValueParser::<usize>::new().range(1..=4096))]
    max_tokens: usize,
    /// One JSON object about what was seen
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum MethodName {
    Max,
    Percentile,
    Entropy,
    Mse,
}

/// What was seen.
#[derive(Serialize)]
struct Report<'a> {
    scales: &'a Path,
    model: String,
    method: String,
    /// Clips or questions.
    samples: usize,
    tensors: Vec<Seen>,
    /// Matrices whose products were given nothing: the data does not reach them.
    unseen: Vec<String>,
}

/// What one product was given.
#[derive(Serialize)]
struct Seen {
    weight: String,
    /// Numbers.
    n: u64,
    largest: f32,
    amax: f32,
    /// The share of numbers that are above.
    cut_share: f64,
    /// Signal to noise with eight bits, in decibels; and with the largest number as the magnitude.
    sqnr_db: f64,
    sqnr_db_of_max: f64,
}

pub(crate) fn run(options: &Options, context: &Context) -> anyhow::Result<()> {
    let method = options.method()?;
    Places::new()
        .reads([&options.model, &options.data])
        .writes("--output", Some(&options.output), 0)
        .check()?;
    is_file(&options.model, "a model")?;
    let data = Data::find(&options.data)?;
    let model = Model::open(&options.model)?;
    let progress = Progress::new("calibrate");
    model.verify(|done, total| progress.set(done, total, "checking the model"))?;
    drop(progress);
    let network = options.limited(&model)?;
    let open = OpenOptions { threads: Some(context.threads.get()) };
    let opened = Watching::open(backend("cpu")?.as_ref(), &network, &model, &open);
    let (session, watched) = opened.with_context(|| model.path().display().to_string())?;
    let session: Box<dyn Session> = Box::new(session);
    let roles = &model.manifest().roles;
    let samples = match (&roles.forecasts, &roles.answers) {
        (Some(manifest), _) => {
            let predict = Predict::new(session, manifest.clone(), None)?;
            forecasts(predict, &data, options)?
        }
        (None, Some(manifest)) => {
            let parts = ReasonParts::of(manifest, &network, model.tokenizer()?);
            answers(Reason::new(session, parts)?, &data, options)?
        }
        (None, None) => bail!("{}: the model neither answers nor forecasts", model.path().display()),
    };
    let report = report(&model, &watched, method, samples, &options.output)?;
    write(&report, &options.output)?;
    if options.json { output::json(&report) } else { output::text(&text(&report)) }
}

impl Options {
    fn method(&self) -> Result<Method, Usage> {
        Ok(match self.method {
            MethodName::Max => Method::Max,
            MethodName::Percentile if 50.0 < self.percentile && self.percentile <= 100.0 => {
                Method::Percentile(self.percentile)
            }
            MethodName::Percentile => {
                let message =
                    format!("--percentile {}: expected more than 50 and at most 100", self.percentile);
                return Err(Usage(message));
            }
            MethodName::Entropy => Method::Entropy,
            MethodName::Mse => Method::Mse,
        })
    }

    /// The network within these limits.
    fn limited(&self, model: &Model) -> anyhow::Result<Network> {
        let mut network = model.network().clone();
        let asked = [("context", self.max_context), ("image_tokens", self.max_image_tokens)];
        let asked: Vec<(&str, usize)> =
            asked.into_iter().filter_map(|(name, value)| Some((name, value?.get()))).collect();
        if !asked.is_empty() && model.manifest().roles.answers.is_none() {
            let message = "--max-context and --max-image-tokens are for models of Reason";
            return Err(Usage(message.to_owned()).into());
        }
        network.set_limits(&asked).map_err(|why| Usage(format!("{}: {why}", model.path().display())))?;
        Ok(network)
    }

    fn is_enough(&self, n: usize) -> bool {
        self.samples.is_some_and(|samples| samples <= n)
    }
}

/// Asks all questions of the data; says how many.
fn answers(mut reason: Reason, data: &Data, options: &Options) -> anyhow::Result<usize> {
    let settings = AnswerSettings { tokens_max: options.max_tokens, ..AnswerSettings::default() };
    let progress = Progress::counting("calibrate");
    let mut n_asked = 0;
    match data {
        Data::Questions(path) => {
            let text = read_bounded(path)?;
            let folder = path.parent().unwrap_or(Path::new(""));
            let lines: Vec<_> =
                text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).collect();
            for (number, line) in &lines {
                if options.is_enough(n_asked) {
                    break;
                }
                progress.set(n_asked as u64, lines.len() as u64, "questions");
                let of_line = || format!("{}:{}", path.display(), number + 1);
                let line: BatchLine = serde_json::from_str(line).with_context(of_line)?;
                let question = Question::from_line(line, folder, &settings).with_context(of_line)?;
                let asked = question.with_request(None, |request| reason.ask(request, None, &mut |_, _| ()));
                asked.with_context(of_line)?;
                n_asked += 1;
            }
        }
        Data::Clips(folders) => {
            for (done, folder) in folders.iter().enumerate() {
                if options.is_enough(n_asked) {
                    break;
                }
                progress.set(done as u64, folders.len() as u64, "clips");
                n_asked += ask_clip(&mut reason, folder, options, n_asked)?;
            }
        }
    }
    if n_asked == 0 {
        bail!("{}: no question was there to be asked", options.data.display());
    }
    Ok(n_asked)
}

/// Asks what a clip asks, or what the command line does; says how many questions that were.
fn ask_clip(
    reason: &mut Reason,
    folder: &Path,
    options: &Options,
    asked_before: usize,
) -> anyhow::Result<usize> {
    let clip = Clip::load(folder)?;
    let all: Vec<usize> = (0..clip.frames.len()).collect();
    let own = clip.described.questions.iter();
    let mut questions: Vec<(&str, &[usize])> =
        own.filter_map(|asked| Some((asked.texts.first()?.as_str(), &asked.frames[..]))).collect();
    if questions.is_empty() {
        questions.push((&options.prompt, &all));
    }
    let mut n_asked = 0;
    for (text, frames) in questions {
        if options.is_enough(asked_before + n_asked) {
            break;
        }
        let picture = |at: &usize| Picture::new(&clip.frames[*at].rgb, clip.frames[*at].size());
        let pictures: Vec<Picture<'_>> =
            frames.iter().take(reason.frames_max().max(1)).map(picture).collect();
        let shown = match &pictures[..] {
            [] => Vec::new(),
            [one] => vec![Shown::Image(*one)],
            several => vec![Shown::Clip { frames: several, fps: clip.described.fps }],
        };
        let request = Request::new(&shown, text, options.max_tokens);
        reason.ask(&request, None, &mut |_, _| ()).with_context(|| folder.display().to_string())?;
        n_asked += 1;
    }
    Ok(n_asked)
}

/// Forecasts all clips; says how many.
fn forecasts(mut predict: Predict, data: &Data, options: &Options) -> anyhow::Result<usize> {
    let Data::Clips(folders) = data else {
        let message =
            format!("{}: a model that forecasts takes clips, not questions", options.data.display());
        return Err(Usage(message).into());
    };
    let manifest = predict.manifest().clone();
    let progress = Progress::counting("calibrate");
    let n = options.samples.unwrap_or(folders.len()).min(folders.len());
    for (done, folder) in folders[..n].iter().enumerate() {
        progress.set(done as u64, n as u64, "clips");
        forecast_clip(&mut predict, &manifest, folder, done as u64)
            .with_context(|| folder.display().to_string())?;
    }
    Ok(n)
}

fn forecast_clip(
    predict: &mut Predict,
    manifest: &PredictManifest,
    folder: &Path,
    seed: u64,
) -> anyhow::Result<()> {
    let clip = Clip::load(folder)?;
    let n_given = manifest.clip.n_given;
    if clip.frames.len() < n_given {
        bail!("{} frames; the model forecasts from {n_given}", clip.frames.len());
    }
    let frames = clip::scaled(&clip.frames[..n_given], manifest);
    let frames: Vec<&[u8]> = frames.iter().map(|frame| &frame[..]).collect();
    let actions = manifest.clip.actions.as_ref();
    if let Some(width) = actions.map(|actions| actions.names.len()) {
        let wrong = |row: &Vec<f32>| row.len() != width || row.iter().any(|v| !v.is_finite());
        if let Some(row) = clip.described.actions.iter().position(wrong) {
            bail!(
                "row {row} of `actions` in {CLIP_FILE}: expected {width} numbers, as the model's actions have"
            );
        }
    }
    let actions = actions.map(|actions| {
        let n = (manifest.clip.n_frames - 1) * actions.names.len();
        let mut rows: Vec<f32> = clip.described.actions.iter().flatten().copied().take(n).collect();
        // Behind the clip's end the robot does nothing.
        rows.resize(n, 0.0);
        rows
    });
    predict.show(&frames, Limits::default())?;
    let request = ForecastRequest {
        noise: Noise::Seed(seed),
        actions: actions.as_deref(),
        ..ForecastRequest::default()
    };
    predict.denoise(&request, |_| {})?;
    predict.decode(Limits::default(), |_| ())?;
    Ok(())
}

fn report<'a>(
    model: &Model,
    watched: &Watched,
    method: Method,
    samples: usize,
    scales: &'a Path,
) -> anyhow::Result<Report<'a>> {
    let (mut tensors, mut unseen) = (Vec::new(), Vec::new());
    let network = model.network();
    for id in products(network) {
        let (weight, seen) = (&network.weights[id.index()].name, watched.of(id));
        if 0 < seen.not_finite() {
            bail!(
                "{}: what the product with `{weight}` is given has {} infinities or no numbers: the model itself is broken on this data",
                model.path().display(),
                seen.not_finite()
            );
        }
        match method.amax(&seen) {
            None => unseen.push(weight.clone()),
            Some(amax) => {
                let fit = seen.fit(amax);
                tensors.push(Seen {
                    weight: weight.clone(),
                    n: seen.n(),
                    largest: seen.largest(),
                    amax,
                    cut_share: fit.cut_share,
                    sqnr_db: fit.sqnr_db,
                    sqnr_db_of_max: seen.fit(seen.largest()).sqnr_db,
                });
            }
        }
    }
    let (model, method) = (hex(&model.digest()), method.to_string());
    Ok(Report { scales, model, method, samples, tensors, unseen })
}

fn write(report: &Report<'_>, place: &Path) -> anyhow::Result<()> {
    let scale = |seen: &Seen| ActivationScale {
        weight: seen.weight.clone(),
        amax: seen.amax,
        method: report.method.clone(),
    };
    let scales = ActivationScales::new(&report.model, report.tensors.iter().map(scale).collect());
    install::write(place, &serde_json::to_vec_pretty(&scales)?).with_context(|| place.display().to_string())
}

/// The worst products first, of which the first ten are told.
fn text(report: &Report<'_>) -> String {
    let mut worst: Vec<&Seen> = report.tensors.iter().collect();
    worst.sort_by(|a, b| a.sqnr_db.total_cmp(&b.sqnr_db));
    let heads = ["product with", "largest", "amax", "cut", "signal to noise", "uncut"];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    for seen in worst.iter().take(10) {
        rows.push(vec![
            seen.weight.clone(),
            format!("{:.3}", seen.largest),
            format!("{:.3}", seen.amax),
            format!("{:.4} %", 100.0 * seen.cut_share),
            format!("{:.1} dB", seen.sqnr_db),
            format!("{:.1} dB", seen.sqnr_db_of_max),
        ]);
    }
    let more = match report.tensors.len().saturating_sub(10) {
        0 => String::new(),
        more => format!("and {more} that fit better\n"),
    };
    let unseen = match &report.unseen[..] {
        [] => String::new(),
        [first, ..] => format!(
            "{} products were given nothing but zeros, as that with {first}: no scale is written for them\n",
            report.unseen.len()
        ),
    };
    format!(
        "{}: {} scales by {}, of {} samples\n\n{}{more}{unseen}",
        report.scales.display(),
        report.tensors.len(),
        report.method,
        report.samples,
        output::table(&rows)
    )
}
