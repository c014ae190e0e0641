//! `report`: how good engines are on rendered clips that our training never draws; as a table, as JSON, as a page.

mod page;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use serde_json::{Value, json};

use super::engines::{Identity, Loaded};
use super::places::Places;
use super::progress::Progress;
use super::{Context, Usage, one_of, output};
use crate::install;
use crate::models::predict25::PredictManifest;
use crate::quality::answers::{Answers, answers};
use crate::quality::forecasts::{Forecasts, Measures, forecasts};
use crate::quality::surprise::{Surprises, surprises};
use crate::quality::world::World;
use crate::runtime::predict::check_steps;

/// Clips that a page shows of each forecaster, and mistakes of each that answers.
const EXAMPLES: usize = 4;
const MISTAKES: usize = 12;

/// Measures engines on rendered clips that our training never draws.
#[derive(Debug, Args)]
#[command(after_help = "\
Forecasts are held against the true future, beside the newest frame held still and the true future as the VAE gives it back. Of each:
peak signal to noise over all pixels and over those that move (of the squared errors of all clips together), structural similarity, sharpness, and what became of the things: how many
are found, how many kept their colour, how far they lie off. In the robot's world something is planted in each clip once more (a jump, a
thing that vanishes, another colour, a push by nobody): AUROC says how often such a clip surprises more than one without. Answers are right letter by letter, boxes by an intersection over union of a
half; beside their share stand its standard error and, but for boxes, what always saying the most frequent answer would get.

Examples:
  perihelion report small-reason.engine small-predict.engine -o report.html
  perihelion report teacher.engine student.engine --world robot --steps 1,2,4 --clips 200 --json")]
pub(crate) struct Options {
    /// The engines, of any roles
    #[arg(required = true)]
    engines: Vec<PathBuf>,
    /// Which scenes: `balls`, which the small checkpoints know, or the `robot`'s held-out clips
    #[arg(long, value_name = "WORLD", default_value = "balls", value_parser = one_of(World::ALL, World::name))]
    world: World,
    /// Clips
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    clips: u64,
    /// The first clip's number
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..1 << 61))]
    first: u64,
    /// Steps of a forecast, one report for each [default: the engine's]
    #[arg(long, value_name = "N,…", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..))]
    steps: Vec<u16>,
    /// A page with tables, plots and clips
    #[arg(short, long, value_name = "FILE.html")]
    output: Option<PathBuf>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

impl Options {
    /// Of each report; none where it is the engine's own.
    fn steps(&self) -> Vec<Option<usize>> {
        match &self.steps[..] {
            [] => vec![None],
            some => some.iter().map(|steps| Some(usize::from(*steps))).collect(),
        }
    }
}

/// What was measured of one engine.
struct Measured {
    file: String,
    identity: Identity,
    forecasts: Vec<Forecasts>,
    /// Beside the forecasts of as many steps, in a world where there is such.
    surprises: Vec<Surprises>,
    answers: Option<Answers>,
}

pub(crate) fn run(options: &Options, context: &Context) -> anyhow::Result<()> {
    Places::new().reads(&options.engines).writes("--output", options.output.as_ref(), 1 << 20).check()?;
    // What an engine cannot do is said before hours are spent on another; only one at a time claims memory.
    let mut any_forecasts = false;
    for path in &options.engines {
        let engine = Loaded::open(path, context.threads)?;
        let Some(manifest) = engine.forecasts() else { continue };
        any_forecasts = true;
        let name = || path.display().to_string();
        fits(options.world, manifest).map_err(|why| Usage(format!("{}: {why}", name())))?;
        for steps in options.steps().into_iter().flatten() {
            check_steps(&manifest.schedule, steps).with_context(name)?;
        }
    }
    if !options.steps.is_empty() && !any_forecasts {
        return Err(Usage("--steps: none of the engines forecasts".to_owned()).into());
    }
    let progress = Progress::counting("report");
    let measure = |path: &PathBuf| measure(&Loaded::open(path, context.threads)?, options, &progress);
    let measured: Vec<Measured> = options.engines.iter().map(measure).collect::<anyhow::Result<_>>()?;
    drop(progress);
    if let Some(path) = &options.output {
        let page = page::page(options.world, &measured).html();
        install::write(path, page.as_bytes()).with_context(|| path.display().to_string())?;
    }
    if options.json {
        return output::json(&as_json(options, &measured));
    }
    output::text(&text(&measured))
}

/// Whether the world's clips are such as the engine takes.
fn fits(world: World, manifest: &PredictManifest) -> Result<(), String> {
    let clip = &manifest.clip;
    if clip.width != clip.height || !world.takes_side(clip.width) {
        return Err(format!(
            "forecasts frames of {}×{} pixels; the world `{}` has {}",
            clip.width,
            clip.height,
            world.name(),
            match world {
                World::Balls => "64×64 alone (another: --world robot)",
                World::Robot => "square ones of 16 to 1024",
            }
        ));
    }
    match &clip.actions {
        Some(actions) if world == World::Robot && actions.names.len() != 2 => Err(format!(
            "takes actions {}; the robot's are two, its speed along x and y",
            actions.names.join(", ")
        )),
        _ => Ok(()),
    }
}

fn measure(engine: &Loaded, options: &Options, progress: &Progress) -> anyhow::Result<Measured> {
    let name = || engine.path().display().to_string();
    let clips = options.first..options.first + options.clips;
    let mut measured = Measured {
        file: engine.path().file_name().unwrap_or_default().to_string_lossy().into_owned(),
        identity: engine.identity(),
        forecasts: Vec::new(),
        surprises: Vec::new(),
        answers: None,
    };
    let count = |what: &str, done: u64| {
        progress.set(done, options.clips, format!("{what} of {}", measured.file));
    };
    if engine.answers() {
        let mut reason = engine.reason()?;
        let found =
            answers(&mut reason, options.world, clips.clone(), MISTAKES, |done| count("answers", done));
        measured.answers = Some(found.with_context(name)?);
    }
    for steps in options.steps().into_iter().filter(|_| engine.forecasts().is_some()) {
        let mut predict = engine.predict(steps).with_context(name)?;
        let found =
            forecasts(&mut predict, options.world, clips.clone(), EXAMPLES, |done| count("forecasts", done));
        measured.forecasts.push(found.with_context(name)?);
        let found = surprises(&mut predict, options.world, clips.clone(), |done| count("surprises", done));
        measured.surprises.extend(found.with_context(name)?);
    }
    Ok(measured)
}

fn as_json(options: &Options, measured: &[Measured]) -> Value {
    let one = |measured: &Measured| {
        let answers = measured
            .answers
            .as_ref()
            .map(|answers| json!({ "clips": answers.n_clips, "tasks": answers.tasks }));
        json!({
            "file": measured.file,
            "engine": measured.identity,
            "forecasts": measured.forecasts.iter().map(Forecasts::json).collect::<Vec<Value>>(),
            "surprise": measured.surprises,
            "answers": answers,
        })
    };
    json!({
        "world": options.world.name(),
        "first": options.first,
        "clips": options.clips,
        "page": options.output.as_deref().map(Path::display).map(|path| path.to_string()),
        "engines": measured.iter().map(one).collect::<Vec<Value>>(),
    })
}

/// The columns of forecasts.
const HEADING: [&str; 10] =
    ["", "steps", "PSNR dB", "moving dB", "SSIM", "sharpness", "found", "colour kept", "off px", "ms"];

/// Of each forecaster and number of steps a row; of what they are compared with, which is the same for one size of clip, once.
fn forecast_rows(measured: &[Measured]) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for Measured { file, forecasts, .. } in measured {
        for (i, found) in forecasts.iter().enumerate() {
            let mut took = found.took_ms.clone();
            took.sort_by(f64::total_cmp);
            let median = took.get(took.len() / 2).map_or(String::new(), |ms| format!("{ms:.1}"));
            rows.push(row(file.clone(), found.steps.to_string(), &found.forecast.whole(), median));
            if i + 1 == forecasts.len() {
                let beside =
                    [("its VAE, of what came", &found.recalled), ("the newest frame, held", &found.held)];
                rows.extend(
                    beside.map(|(name, of)| row(name.to_owned(), String::new(), &of.whole(), String::new())),
                );
            }
        }
    }
    rows
}

fn row(name: String, steps: String, of: &Measures, ms: String) -> Vec<String> {
    let number =
        |value: Option<f64>, digits: usize| value.map_or("–".to_owned(), |v| format!("{v:.digits$}"));
    let percent = |value: Option<f64>| value.map_or("–".to_owned(), |v| format!("{:.1} %", 100.0 * v));
    vec![
        name,
        steps,
        number(of.psnr_db(), 2),
        number(of.psnr_moving_db(), 2),
        number(of.ssim(), 3),
        number(of.sharpness(), 2),
        percent(of.things().found()),
        percent(of.things().color_kept()),
        number(of.things().away_px(), 2),
        ms,
    ]
}

const SURPRISE_HEADING: [&str; 6] =
    ["surprise", "steps", "clips", "AUROC, latents", "AUROC, by place", "AUROC, pixels"];

/// Of each forecaster, number of steps and kind of strange thing a row.
fn surprise_rows(measured: &[Measured]) -> Vec<Vec<String>> {
    let area = |area: Option<f64>| area.map_or("–".to_owned(), |area| format!("{area:.3}"));
    let mut rows = Vec::new();
    for Measured { file, forecasts, surprises, .. } in measured {
        for (forecasts, surprises) in forecasts.iter().zip(surprises) {
            rows.extend(surprises.kinds.iter().map(|kind| {
                vec![
                    format!("{file}: {}", kind.anomaly),
                    forecasts.steps.to_string(),
                    format!("{} and {}", kind.clips, surprises.quiet_clips),
                    area(kind.auroc_latent),
                    area(kind.auroc_place),
                    area(kind.auroc_pixels),
                ]
            }));
        }
    }
    rows
}

/// Kinds of questions and their figures.
fn answer_rows(answers: &Answers) -> Vec<Vec<String>> {
    let percent = |share: f64| format!("{:.0} %", 100.0 * share);
    let row = |task: &crate::quality::answers::Task| {
        vec![
            task.task.to_owned(),
            format!("{} of {}", task.right, task.asked),
            format!("{} ± {:.0}", percent(task.share), 100.0 * task.standard_error),
            task.most_frequent.map_or("–".to_owned(), percent),
            task.mean_iou.map_or(String::new(), |iou| format!("{iou:.2}")),
        ]
    };
    answers.tasks.iter().map(row).collect()
}

const ANSWER_HEADING: [&str; 5] = ["question", "right", "share", "most frequent", "mean IoU"];

fn text(measured: &[Measured]) -> String {
    let table = |heading: &[&str], rows: Vec<Vec<String>>| {
        let heading = heading.iter().map(|&cell| cell.to_owned()).collect();
        output::table(&std::iter::once(heading).chain(rows).collect::<Vec<Vec<String>>>())
    };
    let mut all = String::new();
    for Measured { file, answers, .. } in measured {
        if let Some(answers) = answers {
            all += &format!(
                "{file}, {} clips\n{}\n",
                answers.n_clips,
                table(&ANSWER_HEADING, answer_rows(answers))
            );
        }
    }
    let rows = forecast_rows(measured);
    if !rows.is_empty() {
        all += &table(&HEADING, rows);
    }
    let rows = surprise_rows(measured);
    if !rows.is_empty() {
        all += &format!("\n{}", table(&SURPRISE_HEADING, rows));
    }
    all
}
