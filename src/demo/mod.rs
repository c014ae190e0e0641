//! `demo`: a camera, the small trained model and the node, all here, over loopback DDS, with the truth beside each answer.
//!
//! Three participants meet in a free domain of the loopback interface: a camera that renders scenes and publishes them as
//! `sensor_msgs/Image`, the node as `run` starts it, and an observer that asks on the prompt topic and hears the answers. An answer
//! belongs to the frames whose stamps it bears and to the question that it names, so that it is judged by the truth of exactly
//! those, however late it comes.
//!
//! In the same node the small world model forecasts what the camera will show, and tells how far what then comes lies from it. After
//! that, alone, it forecasts such scenes and is shown one in which a ball jumps: what it expected, what came and how surprised it was
//! become pictures. These are not drawn from the live camera: a busy machine drops frames, and pictures should be the same everywhere.
//!
//! Last, the robot acts: by plans that the node ranks in a world model of the robot's table, a ball is brought to a goal (`errands/`).
//!
//! At its end one page tells everything (`report/page.rs`); it is written also of a demo that was interrupted, of what there was.

mod camera;
mod closed_loop;
mod course;
mod engine;
mod errands;
mod forecast;
mod graph;
mod live;
mod observer;
mod plot;
mod recorder;
mod report;
mod scoreboard;
mod sent;
mod sheet;
mod stage;
mod ticker;
mod topics;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use log::LevelFilter;
use signal_hook::consts::{SIGINT, SIGTERM};
use tempfile::TempDir;

use self::graph::Graph;
use self::report::Report;
use crate::cli::places::Places;
use crate::cli::{Context, Usage, output};
use crate::frames::clock::Clock;
use crate::install;
use crate::ros2::environment::Environment;
use crate::ros2::logging;
use crate::ros2::names::NodeName;
use crate::ros2::node::Engines;
use crate::ros2::transport::{Dds, DdsOptions, free_domain};
use crate::scenes::FPS;

/// Shows the whole way on this machine: a rendered camera over loopback DDS, the small trained models, the node; answers beside the
/// truth, forecasts beside what came.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  perihelion demo
  perihelion demo --seconds 10 --json
  perihelion demo --pictures pictures --report demo.html
  perihelion demo --scenes 300 --record arrived
  perihelion demo --starts 100 --json")]
pub(crate) struct Options {
    /// How long the camera runs, in seconds
    #[arg(long, value_name = "S", default_value_t = 60.0)]
    seconds: f64,
    /// Instead ask one question of each kind about this many scenes, in simulated time and as fast as they are answered
    #[arg(long, value_name = "N", requires = "record")]
    scenes: Option<u64>,
    /// Keep the frames that arrived, the questions and the answers in this directory
    #[arg(long, value_name = "DIR", requires = "scenes")]
    record: Option<PathBuf>,
    /// Instead let the robot bring a ball to a goal from this many held-out starts
    #[arg(long, value_name = "N", conflicts_with = "scenes", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    starts: Option<u64>,
    /// Which scenes are drawn
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// The checkpoint to ask [default: engines/small-reason, here, beside the program or where it was built]
    #[arg(long, value_name = "DIR")]
    checkpoint: Option<PathBuf>,
    /// The checkpoint that forecasts [default: engines/small-predict, in the same places]
    #[arg(long, value_name = "DIR", conflicts_with = "scenes")]
    predict_checkpoint: Option<PathBuf>,
    /// The checkpoint that the robot plans with [default: engines/small-robot, in the same places]
    #[arg(long, value_name = "DIR", conflicts_with = "scenes")]
    robot_checkpoint: Option<PathBuf>,
    /// Where the pictures of the forecasts go [default: a new directory for temporary files]
    #[arg(long, value_name = "DIR", conflicts_with = "scenes")]
    pictures: Option<PathBuf>,
    /// Where the page goes that tells everything [default: report.html in the folder of the pictures, or of --record]
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// Remove what an earlier demo left in the folder of --record or --pictures
    #[arg(long)]
    overwrite: bool,
    /// Write one JSON object, and nothing before it
    #[arg(long)]
    json: bool,
}

/// What lies in the folder of `--record`, and in that of `--pictures`.
const RECORDED: &[&str] = &["frames", "questions.jsonl", "answers.jsonl", PAGE];
const PICTURED: &[&str] = &["forecast.png", "surprise.png", errands::PICTURE, PAGE];
/// Errands at the end of the live demo.
const ERRANDS: u64 = 3;
const PAGE: &str = "report.html";

pub(crate) fn run(options: &Options, context: &Context) -> anyhow::Result<()> {
    let Ok(duration) = Duration::try_from_secs_f64(options.seconds) else {
        return Err(Usage(format!("--seconds {}: expected a positive number", options.seconds)).into());
    };
    // In the course lost frames are sent again, and are no news.
    let usual = if options.scenes.is_some() || options.starts.is_some() {
        LevelFilter::Error
    } else {
        LevelFilter::Warn
    };
    let level = context.ros.log_level("perihelion").unwrap_or(usual);
    logging::start("perihelion", level);
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    match options.starts {
        Some(n_starts) => act_alone(options, n_starts, context, &stop),
        None => show(options, duration, context, &stop),
    }
}

/// The course of questions, or the live demo with all its acts.
fn show(options: &Options, duration: Duration, context: &Context, stop: &AtomicBool) -> anyhow::Result<()> {
    let checkpoint = engine::find(engine::REASON, options.checkpoint.as_deref())?;
    let is_live = options.scenes.is_none();
    let of_live = |own, asked: &Option<PathBuf>| -> anyhow::Result<Option<PathBuf>> {
        is_live.then(|| engine::find(own, asked.as_deref())).transpose()
    };
    let predict = of_live(engine::PREDICT, &options.predict_checkpoint)?;
    let robot = of_live(engine::ROBOT, &options.robot_checkpoint)?;
    let outputs = Outputs::claim(options, [&checkpoint].into_iter().chain(&predict).chain(&robot))?;
    outputs.tell(options)?;

    eprintln!("exporting and building {}", checkpoint.display());
    let mut engine = engine::Made::of(&checkpoint, context.threads)?;
    let mut forecaster = None;
    if let Some(checkpoint) = &predict {
        eprintln!("exporting and building {}", checkpoint.display());
        forecaster = Some(forecast::Forecaster::of(checkpoint, context.threads)?);
    }

    let troupe = Troupe::gather(if is_live { Clock::system } else { Clock::simulated })?;
    let graph = troupe.graph();
    let mut report = match (options.scenes, &options.record) {
        (Some(n_scenes), Some(dir)) => {
            let recorder = Mutex::new(recorder::Recorder::new(dir)?);
            let course = closed_loop::Course { n_scenes, seed: options.seed };
            let mut on_scene = |number: u64| {
                if number.is_multiple_of(20) {
                    eprintln!("{number} of {n_scenes} scenes");
                }
            };
            closed_loop::play(graph, &course, &mut engine.answerer, &recorder, stop, &mut on_scene)?
        }
        _ => {
            let plan = live::Plan { duration, seed: options.seed, rate_hz: FPS };
            let mut watching =
                forecaster.as_ref().map(|forecaster| forecaster.for_node(context.threads)).transpose()?;
            let mut engines = Engines::answering(&mut engine.answerer);
            if let Some(forecaster) = &mut watching {
                engines.forecaster = Some(forecaster);
            }
            watch(options, graph, &plan, engines, stop)?
        }
    };
    // What the library says of its sockets when they close is no news.
    logging::hush_libraries();
    drop(troupe);
    let mut failure = None;
    if let Some(forecaster) = forecaster.as_mut().filter(|_| !stop.load(Relaxed)) {
        eprintln!("forecasting scenes, and one in which a ball jumps");
        match forecaster.play(options.seed, &outputs.pictures, stop) {
            Ok(Some(forecasts)) => report = report.with_forecasts(forecasts),
            Ok(None) => {}
            // What was answered is told nevertheless.
            Err(error) => failure = Some(error),
        }
    }
    if let Some(checkpoint) = robot.filter(|_| failure.is_none() && !stop.load(Relaxed)) {
        match act(&checkpoint, ERRANDS, context, &outputs.pictures, stop) {
            Ok(errands) => report = report.with_errands(errands),
            Err(error) => failure = Some(error),
        }
    }
    if stop.load(Relaxed) {
        report = report.interrupted();
    }
    finish(options, report.at(outputs.page))?;
    failure.map_or(Ok(()), Err)
}

/// The robot's errands and nothing else.
fn act_alone(options: &Options, n_starts: u64, context: &Context, stop: &AtomicBool) -> anyhow::Result<()> {
    let checkpoint = engine::find(engine::ROBOT, options.robot_checkpoint.as_deref())?;
    let outputs = Outputs::claim(options, [&checkpoint])?;
    outputs.tell(options)?;
    let report = act(&checkpoint, n_starts, context, &outputs.pictures, stop)?;
    let written = install::write(&outputs.page, report.page().as_bytes())
        .with_context(|| format!("the report {}", outputs.page.display()));
    if options.json {
        output::json(&report)?;
    } else {
        output::text(&report.text(&outputs.page))?;
    }
    report.verdict()?;
    written
}

/// The robot's errands, between participants of their own, in simulated time.
fn act(
    checkpoint: &Path,
    n_starts: u64,
    context: &Context,
    pictures: &Path,
    stop: &AtomicBool,
) -> anyhow::Result<errands::Report> {
    eprintln!("exporting and building {}", checkpoint.display());
    let engine = engine::PredictEngine::of(checkpoint, context.threads)?;
    let mut robot = errands::Robot::of(&engine, checkpoint, context.threads)?;
    let troupe = Troupe::gather(Clock::simulated)?;
    let mut arrived = 0;
    let report = robot.play(troupe.graph(), n_starts, pictures, stop, &mut |start| {
        arrived += u64::from(start.has_arrived());
        eprintln!("{start}; {arrived} of {} so far", start.number());
    });
    // What the library says of its sockets when they close is no news.
    logging::hush_libraries();
    drop(troupe);
    report
}

/// The three participants, in a domain that nobody is in and on no network but our own: a rendered camera must not reach a live robot.
struct Troupe {
    camera: Dds,
    node: Dds,
    observer: Dds,
}

impl Troupe {
    fn gather(clock: fn() -> Clock) -> anyhow::Result<Self> {
        let (domain_id, gid_bytes) = (free_domain(), Environment::from_process()?.gid_bytes());
        let join = |name: &str| -> anyhow::Result<Dds> {
            let node = NodeName::new("/", name)?;
            let dds = DdsOptions { gid_bytes, ..DdsOptions::local(node, domain_id) };
            Ok(Dds::join(&dds, Arc::new(clock()))?)
        };
        let troupe = Self {
            camera: join("demo_camera")?,
            node: join("perihelion")?,
            observer: join("demo_observer")?,
        };
        eprintln!("camera, node and observer meet on the loopback interface, ROS_DOMAIN_ID={domain_id}");
        Ok(troupe)
    }

    fn graph(&self) -> Graph<'_> {
        Graph { camera: &self.camera, node: &self.node, observer: &self.observer }
    }
}

/// The live demo, told as it goes.
fn watch(
    options: &Options,
    graph: Graph<'_>,
    plan: &live::Plan,
    engines: Engines<'_>,
    stop: &AtomicBool,
) -> anyhow::Result<Report> {
    let is_silent = options.json;
    if !is_silent {
        output::styled(&ticker::legend())?;
    }
    let mut say = |news: live::News<'_>| match news {
        _ if is_silent => Ok(()),
        live::News::Answer(verdict) => output::styled(&ticker::line(verdict)),
        live::News::Surprise(surprise) => output::styled(&ticker::surprise_line(surprise)),
    };
    live::play(graph, plan, engines, stop, &mut say)
}

/// Writes the page, says the result, and says whether it was one.
fn finish(options: &Options, report: Report) -> anyhow::Result<()> {
    let written = install::write(report.place(), report.page().as_bytes())
        .with_context(|| format!("the report {}", report.place().display()));
    if options.json {
        output::json(&report)?;
    } else {
        output::text(&report.text())?;
    }
    report.verdict()?;
    written
}

/// Where the pictures and the page go.
struct Outputs {
    pictures: PathBuf,
    page: PathBuf,
}

impl Outputs {
    /// Looks at the places before the work begins, and makes the folders. `reads` are the checkpoints, typed or not.
    ///
    /// # Errors
    /// If a place cannot be written, or files would lie among old ones.
    fn claim<'a>(options: &Options, reads: impl IntoIterator<Item = &'a PathBuf>) -> anyhow::Result<Self> {
        let Options { record, pictures, report, overwrite, .. } = options;
        let page_over_others = |folder: &Option<PathBuf>, names: &[&str]| {
            let (Some(folder), Some(report)) = (folder, report) else { return false };
            names.iter().any(|name| *name != PAGE && folder.join(name) == *report)
        };
        if page_over_others(pictures, PICTURED) || page_over_others(record, RECORDED) {
            let report = report.iter().map(|report| report.display().to_string()).collect::<String>();
            return Err(Usage(format!(
                "--report {report} is one of the files that the demo writes; name another"
            ))
            .into());
        }
        Places::new()
            .reads(reads.into_iter().map(PathBuf::as_path))
            .writes_files("--record", record.as_ref(), RECORDED, *overwrite)
            .writes_files("--pictures", pictures.as_ref(), PICTURED, *overwrite)
            .writes("--report", report.as_ref(), 0)
            .check()?;
        let folder = match pictures.as_ref().or(record.as_ref()) {
            Some(folder) => {
                fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
                folder.clone()
            }
            None => TempDir::with_prefix("perihelion-report-")?.keep(),
        };
        let page = report.clone().unwrap_or_else(|| folder.join(PAGE));
        Ok(Self { pictures: folder, page })
    }

    /// Says where the page will lie.
    fn tell(&self, options: &Options) -> anyhow::Result<()> {
        let told = format!("report: {}, written at the end", self.page.display());
        if options.json {
            eprintln!("{told}");
            return Ok(());
        }
        output::text(&format!("{told}\n"))
    }
}

#[cfg(test)]
mod tests;
