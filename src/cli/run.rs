//! `run`: a Reason engine as a ROS 2 node.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use signal_hook::consts::{SIGINT, SIGTERM};

use super::generation::{Generation, GenerationOptions};
use super::{Context, Usage, engines, output};
use crate::engine::Engine;
use crate::export::{Clip, Family};
use crate::ros2::clock::Clock;
use crate::ros2::environment::Environment;
use crate::ros2::frame::ImageTransport;
use crate::ros2::kernel_limits::KernelLimits;
use crate::ros2::logging;
use crate::ros2::messages::{Log, Message};
use crate::ros2::names::NodeName;
use crate::ros2::node::{self, NodeOptions, Published};
use crate::ros2::reason::{ReasonAnswerer, ReasonSettings};
use crate::ros2::transport::{Bag, Dds, DdsOptions, Delivery, Pace, Transport};
use crate::runtime::reason::{Reason, Request};

/// Answers a live ROS 2 camera, or a bag, until it is told to stop.
///
/// Subscribes to `image` (or `image/compressed`) and `~/prompt`; publishes `~/answer`, `~/answer/json`, `/diagnostics` and
/// `/rosout`. Everything after `--ros-args` is as for any ROS 2 node: remap rules, parameters, parameter files, log level.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  perihelion run small-reason.engine --prompt \"Is the path clear?\" --ros-args -r image:=/camera/image_raw
  perihelion run reason2.engine --clip 8 --fps 4 --max-age 3 --ros-args -r __ns:=/robot -p image_transport:=compressed
  perihelion run reason2.engine --bag drive.mcap --json --ros-args -r image:=/camera/image_raw")]
pub(super) struct Options {
    /// The engine
    engine: PathBuf,
    /// The standing question [parameter `prompt`]
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
    /// The standing instruction before image and question
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Which image message is read [parameter `image_transport`]
    #[arg(long, value_enum, default_value_t = Form::Raw)]
    image_transport: Form,
    /// Ask about clips of this many frames, instead of single frames; without a number, as many as the engine's manifest says
    /// [parameter `clip`]
    #[arg(long, value_name = "N", num_args = 0..=1)]
    clip: Option<Option<usize>>,
    /// Frames a second of a clip, by their stamps; the manifest's unless given [parameter `fps`]
    #[arg(long, value_name = "F")]
    fps: Option<f64>,
    /// Seconds from a frame's stamp to its answer at most [parameter `max_age`]
    #[arg(long, value_name = "S", default_value_t = 2.0)]
    max_age: f64,
    /// Questions a second at most; 0 is no limit [parameter `max_rate`]
    #[arg(long, value_name = "HZ", default_value_t = 0.0)]
    max_rate: f64,
    /// Pixels of an image at most
    #[arg(long, value_name = "N", default_value_t = 3840 * 2160)]
    max_pixels: usize,
    /// Play this bag instead of listening to the graph: every message, as fast as answers come
    #[arg(long, value_name = "FILE.mcap")]
    bag: Option<PathBuf>,
    /// Play the bag at its own rate, or at a multiple of it, as a live camera
    #[arg(long, value_name = "TIMES", num_args = 0..=1, default_missing_value = "1", requires = "bag")]
    paced: Option<f64>,
    /// Write what the node publishes to a second bag, in the first one's time
    #[arg(long, value_name = "FILE.mcap", requires = "bag")]
    record: Option<PathBuf>,
    #[command(flatten)]
    generation: GenerationOptions,
    /// Write answers to stdout as JSON, one a line
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Form {
    Raw,
    Compressed,
}

pub(super) fn run(options: &Options, context: &Context) -> anyhow::Result<()> {
    let environment = Environment::from_process().map_err(|error| Usage(error.to_string()))?;
    let mut node = options.node(manifest_clip(&options.engine)?).map_err(|error| Usage(error.to_string()))?;
    let unknown = node.assign(&context.ros).map_err(|error| Usage(error.to_string()))?;
    logging::start(&node.name.logger(), log_level(context)?);
    if !unknown.is_empty() {
        log::warn!("parameters that this node does not have: {}", unknown.join(", "));
    }

    let (reason, identity) = engines::open_reason(&options.engine, context.threads, true)?;
    node.hardware_id = format!("{} {}", identity.checkpoint, &identity.engine_sha256[..12]);
    if reason.frames_max() < node.clip_frames {
        let most = reason.frames_max();
        let message = format!(
            "a clip of {} frames is asked for, the engine takes {most}: build it with --max-frames",
            node.clip_frames
        );
        return Err(Usage(message).into());
    }
    let generation = options.generation.resolve(reason.default_sampling())?;
    let choices: Vec<&str> = generation.choices.iter().map(String::as_str).collect();
    // What every question would be refused for is told now.
    let first = Request { think: generation.think, choices: &choices, ..Request::new(&[], &node.prompt, 1) };
    reason.check(&first).map_err(|error| Usage(error.to_string()))?;
    let mut answerer = options.answerer(reason, generation, node.clip_frames);
    report_memory(&answerer, &node);

    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // The second signal ends a node that does not manage to leave.
        signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(&stop))?;
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let mut show = |published: &Published| {
        if let Err(error) = options.show(published) {
            let is_closed =
                error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == ErrorKind::BrokenPipe);
            if !is_closed {
                log::error!("stdout: {error}");
            }
            stop.store(true, Relaxed);
        }
    };
    match &options.bag {
        Some(path) => {
            let bag = options.open_bag(path, &node)?;
            node::run(&bag, &node, &mut answerer, &stop, &mut show)?;
            bag.finish()?;
        }
        None => {
            let clock = if node.use_sim_time { Clock::simulated() } else { Clock::system() };
            warn_of(&environment, &node);
            let dds = Dds::join(&DdsOptions::new(node.name.clone(), &environment), Arc::new(clock))?;
            if !context.ros.rosout_disabled {
                logging::set_rosout(Some(dds.advertise("/rosout", Log::TYPE, Delivery::Latched)?));
            }
            log::info!("{} in domain {}", node.name, dds.domain_id());
            let ended = node::run(&dds, &node, &mut answerer, &stop, &mut show);
            // The publisher must end before its transport does.
            logging::set_rosout(None);
            logging::hush_libraries();
            ended?;
        }
    }
    Ok(())
}

impl Options {
    fn node(&self, manifest: Clip) -> anyhow::Result<NodeOptions> {
        let mut node = NodeOptions::new(NodeName::new("/", "perihelion")?);
        if let Some(prompt) = &self.prompt {
            node.prompt.clone_from(prompt);
        }
        node.image_transport = match self.image_transport {
            Form::Raw => ImageTransport::Raw,
            Form::Compressed => ImageTransport::Compressed,
        };
        node.clip_frames = self.clip.map_or(1, |frames| frames.unwrap_or(manifest.frames));
        node.clip_rate_hz = self.fps.unwrap_or(manifest.fps);
        node.max_age = Duration::try_from_secs_f64(self.max_age).context("--max-age")?;
        node.max_rate_hz = self.max_rate;
        // Four bytes are the most that a pixel of any accepted encoding takes.
        node.max_image_bytes = 4 * self.max_pixels;
        node.check().map_err(|problem| anyhow::anyhow!(problem))?;
        Ok(node)
    }

    fn answerer(&self, reason: Reason, generation: Generation, clip_frames: usize) -> ReasonAnswerer {
        let settings = ReasonSettings {
            system: self.system.clone(),
            sampling: generation.sampling,
            tokens_max: generation.tokens_max,
            think: generation.think,
            thought_tokens_max: generation.thought_tokens_max,
            budget_ms: generation.budget_ms,
            choices: generation.choices,
        };
        ReasonAnswerer::new(reason, settings, clip_frames, self.max_pixels)
    }

    fn open_bag(&self, path: &Path, node: &NodeOptions) -> anyhow::Result<Bag> {
        let pace = match self.paced {
            None => Pace::AsFastAsPossible,
            Some(times) if times.is_finite() && 0.0 < times => Pace::Times(times),
            Some(times) => return Err(Usage(format!("--paced {times}: expected a number above 0")).into()),
        };
        let bag = Bag::open(path, pace, self.record.as_deref())?;
        let (image, ros_type) = (node.image_topic()?, node.image_transport.ros_type());
        let topics = bag.graph();
        if !topics.iter().any(|topic| topic.name == image && topic.ros_type == ros_type) {
            let there: Vec<String> =
                topics.iter().map(|topic| format!("{} ({})", topic.name, topic.ros_type)).collect();
            let there = there.join(", ");
            let path = path.display();
            let message = format!(
                "{path} has no topic {image} of type {ros_type}; it has {there}: choose one with --ros-args -r image:=TOPIC"
            );
            return Err(Usage(message).into());
        }
        Ok(bag)
    }

    fn show(&self, published: &Published) -> anyhow::Result<()> {
        if self.json {
            return output::json_line(&published.json);
        }
        output::text(&format!("[{:6.0} ms] {}\n", published.age_ms, published.text))
    }
}

/// The clip that the engine's manifest asks for.
fn manifest_clip(engine: &Path) -> anyhow::Result<Clip> {
    match &Engine::open(engine)?.manifest().family {
        Family::Reason(reason) => Ok(reason.clip),
        Family::Predict(_) => anyhow::bail!("{}: the engine forecasts; `imagine` runs it", engine.display()),
    }
}

fn log_level(context: &Context) -> anyhow::Result<log::LevelFilter> {
    let Some(name) = &context.ros.log_level else { return Ok(log::LevelFilter::Info) };
    let level = logging::parse_level(name);
    level.ok_or_else(|| {
        Usage(format!("--log-level {name}: expected debug, info, warn, error or fatal")).into()
    })
}

fn warn_of(environment: &Environment, node: &NodeOptions) {
    for variable in &environment.unsupported {
        log::warn!("{variable} is set and is not supported here");
    }
    let advice = KernelLimits::read().and_then(|limits| limits.advice());
    if let Some(advice) = advice.filter(|_| node.image_transport == ImageTransport::Raw) {
        log::warn!("{advice}");
    }
}

/// Every byte that the node claims, by what it is for.
fn report_memory(answerer: &ReasonAnswerer, node: &NodeOptions) {
    let mut rows = engines::memory_rows(&answerer.reason().session_memory());
    let mut row =
        |name: &str, bytes: u64| rows.push(vec![name.to_owned(), output::bytes(bytes), bytes.to_string()]);
    row("images as they come, at most", (node.pool_frames() * node.max_image_bytes) as u64);
    row("images decoded, at most", answerer.claimed_bytes() as u64);
    for line in output::table(&rows).lines() {
        log::info!("{line}");
    }
}
