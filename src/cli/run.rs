//! `run`: a Reason engine, a Predict engine, or one of each as a ROS 2 node.

mod cameras;
mod cast;
mod crew;
mod record;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use signal_hook::consts::{SIGINT, SIGTERM};

use self::record::RecordOptions;
use super::generation::GenerationOptions;
use super::places::Places;
use super::{Context, Usage, one_of, output};
use crate::frames::clock::Clock;
use crate::live::{self, Live};
use crate::ros2::arguments::RosArguments;
use crate::ros2::environment::Environment;
use crate::ros2::lifecycle;
use crate::ros2::lifecycle::Crew as _;
use crate::ros2::logging;
use crate::ros2::messages::{Log, Message, Time};
use crate::ros2::names::NodeName;
use crate::ros2::node::{self, AskCameras, Because, NodeOptions, PublishedForecast, PublishedSurprise, Said};
use crate::ros2::recorder::{Recorded, Recorder};
use crate::ros2::transport::{
    Bag, DdsOptions, Delivery, ImageTransport, Pace, Transport, Walled, WalledOptions, bag_root,
};

/// Answers and forecasts a live ROS 2 camera, or a bag, until it is told to stop.
///
/// Subscribes to `image` (or `image/compressed`), or to the topics of several cameras. With an engine that answers it subscribes
/// to `~/prompt`, publishes `~/answer`, `~/answer/json` and, typed, `~/answer/typed`, `~/detections` and `~/annotated/compressed`,
/// and answers what other nodes ask by the service or the action `~/ask`; with one that forecasts it publishes `~/forecast`,
/// `~/forecast/json`, `~/surprise` and `~/surprise/pixels`, forecasts what other nodes want by the service `~/imagine`, and, if that
/// takes actions, subscribes to `cmd_vel`, `~/actions` and `~/plan/request`, whose result is `~/plan/result`; with either,
/// `/diagnostics` and `/rosout`. Everything after `--ros-args` is as for any ROS 2 node: remap rules, parameters, parameter files,
/// log level.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  perihelion run small-reason.engine --prompt \"Is the path clear?\" --ros-args -r image:=/camera/image_raw
  perihelion run reason2.engine --clip 8 --fps 4 --max-age 3 --ros-args -r __ns:=/robot -p image_transport:=compressed
  perihelion run reason2.engine --bag drive.mcap --json --ros-args -r image:=/camera/image_raw
  perihelion run predict.engine --ros-args -r image:=/camera/image_raw -p surprise_warn:=0.8
  perihelion run reason2.engine --image front=/front/image_raw --image rear=/rear/image_raw --ask-cameras all
  perihelion run reason2.engine predict.engine --prompt \"Is the path clear?\" --ros-args -r image:=/camera/image_raw
  perihelion run small-reason.engine --live --ros-args -r image:=/camera/image_raw   # and open http://127.0.0.1:8077/")]
pub(crate) struct Options {
    /// One that answers, one that forecasts, or one of each
    #[arg(required = true, num_args = 1..=2, value_name = "ENGINE")]
    engines: Vec<PathBuf>,
    /// The standing question [parameter `prompt`]
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
    /// The standing instruction before image and question
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// The camera's topic; or, for each of several cameras, NAME=TOPIC [default: image]
    #[arg(long, value_name = "[NAME=]TOPIC")]
    image: Vec<String>,
    /// Whether a question is about one of several cameras at a time, or about all at once [parameter `ask_cameras`]
    #[arg(long, default_value = "each", value_parser = one_of(AskCameras::ALL, AskCameras::name))]
    ask_cameras: AskCameras,
    /// Seconds between the frames of a question about all cameras, at most [default: 0.1] [parameter `camera_tolerance`]
    #[arg(long, value_name = "S")]
    camera_tolerance: Option<f64>,
    /// The camera whose frames are forecast [default: the first] [parameter `forecast_camera`]
    #[arg(long, value_name = "NAME")]
    forecast_camera: Option<String>,
    /// Which image message is read [parameter `image_transport`]
    #[arg(long, default_value = "raw", value_parser = one_of(ImageTransport::ALL, ImageTransport::name))]
    image_transport: ImageTransport,
    /// Frames of a question: 1 for single images [default: the clip that the engine's manifest says] [parameter `clip`]
    #[arg(long, value_name = "N")]
    clip: Option<usize>,
    /// Frames a second of a question's clip, by their stamps [default: the manifest's] [parameter `fps`]
    #[arg(long, value_name = "F")]
    fps: Option<f64>,
    /// Seconds from a frame's stamp to its answer at most [parameter `max_age`]
    #[arg(long, value_name = "S", default_value_t = 2.0)]
    max_age: f64,
    /// Questions, and forecasts, a second at most; 0 is no limit [parameter `max_rate`]
    #[arg(long, value_name = "HZ", default_value_t = 0.0)]
    max_rate: f64,
    /// When the question is put: at `--max-rate`, when a forecast was off, when `~/ask` says so, or when the picture changes
    /// [parameter `ask_when`]
    #[arg(long, default_value = "rate", value_parser = one_of(Because::ALL, Because::name))]
    ask_when: Because,
    /// Pixels of an image at most
    #[arg(long, value_name = "N", default_value_t = 3840 * 2160)]
    max_pixels: usize,
    /// Play this bag instead of listening to the graph: every message, as fast as answers come
    #[arg(long, value_name = "FILE.mcap")]
    bag: Option<PathBuf>,
    /// Play the bag at its own rate, or at a multiple of it, as a live camera
    #[arg(long, value_name = "TIMES", num_args = 0..=1, default_missing_value = "1", requires = "bag")]
    paced: Option<f64>,
    #[command(flatten)]
    record: RecordOptions,
    #[command(flatten)]
    generation: GenerationOptions,
    /// Calls of the denoiser [default: the engine's]
    #[arg(long, value_name = "N")]
    steps: Option<usize>,
    /// Seed of a forecast's noise, the same for all of them
    #[arg(long, value_name = "S", default_value_t = 0)]
    forecast_seed: u64,
    /// Decode no forecast: only its surprise in latent space is published [parameter `latent_only`]
    #[arg(long)]
    latent_only: bool,
    /// Be a managed node: engines are opened, asked and closed as `~/change_state` says; nothing happens before that
    #[arg(long, conflicts_with = "bag")]
    lifecycle: bool,
    /// Serve a page that shows what the node sees and says, and takes the prompt, and Foxglove: at 127.0.0.1:8077, or at an address or a
    /// port (0 is any that is free)
    #[arg(long, value_name = "ADDR", num_args = 0..=1, default_missing_value = live::ADDRESS, value_parser = live::address)]
    live: Option<SocketAddr>,
    /// Let pages of this origin connect as Foxglove does, beside https://app.foxglove.dev; may be given more than once
    #[arg(long, value_name = "ORIGIN", requires = "live", value_parser = live::origin)]
    live_origin: Vec<String>,
    /// Write answers, forecasts and surprises to stdout as JSON, one a line
    #[arg(long)]
    json: bool,
}

fn warn_of_unknown(unknown: &[String]) {
    if !unknown.is_empty() {
        log::warn!("parameters that this node does not have: {}", unknown.join(", "));
    }
}

pub(crate) fn run(options: &Options, context: &Context) -> anyhow::Result<()> {
    let environment = Environment::from_process().map_err(|error| Usage(error.to_string()))?;
    let places = Places::new()
        .reads(options.engines.iter().filter(|_| !options.lifecycle))
        .reads(options.bag.as_deref().map(bag_root));
    options.record.places(places).check()?;
    let sorted = cast::sort(&options.engines);
    // A managed node says so when it is configured, and an engine may be there by then.
    let paths = if options.lifecycle { sorted.unwrap_or_default() } else { sorted? };
    let assigned = options.assigned(&paths, &context.ros);
    let (mut node, unknown) = assigned.map_err(|error| Usage(error.to_string()))?;
    let logger = node.name.logger();
    logging::start(&logger, context.ros.log_level(&logger).unwrap_or(log::LevelFilter::Info));
    // Which ones a managed node has, its engine says.
    if !options.lifecycle {
        warn_of_unknown(&unknown);
    }
    let live = options.live.map(|address| Live::open(address, &options.live_origin)).transpose()?;
    node.onlooker = live.as_ref().map(Live::onlooker).unwrap_or_default();
    let mut crew = crew::Hands::new(options, context);
    if !options.lifecycle {
        crew.engage(&paths, &mut node)?;
    }

    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // The second signal ends a node that does not manage to leave.
        signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(&stop))?;
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let mut stdout_is_open = true;
    let mut show = |said: Said<'_>| {
        // Who reads the answers here is one of many: a robot does not stop because a terminal was closed.
        if stdout_is_open && let Err(error) = options.show(said) {
            stdout_is_open = false;
            match options.is_heard_elsewhere() {
                true => log::warn!("stdout: {error}; the node goes on without it"),
                false => stop.store(true, Relaxed),
            }
        }
    };
    match &options.bag {
        Some(path) => {
            let bag = options.open_bag(path, &node)?;
            let recorder = options.record.begin(bag.clock(), true)?;
            node.recording = recorder.as_ref().map(Recorder::recording).unwrap_or_default();
            let recorded = recorder.as_ref().map(|recorder| Recorded::new(&bag, recorder));
            let transport: &dyn Transport = recorded.as_ref().map_or(&bag, |recorded| recorded);
            let overheard = live.as_ref().map(|live| live.overhears(transport));
            let transport = overheard.as_ref().map_or(transport, |overheard| overheard);
            let ended = node::run(transport, &node, crew.engines(), &stop, &mut show);
            let kept = recorder.map_or(Ok(()), Recorder::finish);
            ended?;
            kept?;
            bag.finish()?;
        }
        None => {
            let clock = if node.use_sim_time { Clock::simulated() } else { Clock::system() };
            let recorder = options.record.begin(&clock, false)?;
            node.recording = recorder.as_ref().map(Recorder::recording).unwrap_or_default();
            warn_of(&environment);
            let images = node.image_topics()?;
            let walled = WalledOptions {
                n_cameras: images.len(),
                dds: DdsOptions {
                    image_reliability: node.image_reliability,
                    image_reliability_of: images
                        .into_iter()
                        .map(|image| (image.topic, image.reliability))
                        .collect(),
                    receive_buffer_bytes: node.receive_buffer_bytes,
                    ..DdsOptions::new(node.name.clone(), &environment)
                },
                // The same file, also where another has taken its name.
                program: "/proc/self/exe".into(),
                image_bytes_max: node.max_image_bytes,
            };
            let memory_mib = walled.memory_bytes_max() >> 20;
            let dds = Walled::join(walled, Arc::new(clock))?;
            let recorded = recorder.as_ref().map(|recorder| Recorded::new(&dds, recorder));
            let transport: &dyn Transport = recorded.as_ref().map_or(&dds, |recorded| recorded);
            let overheard = live.as_ref().map(|live| live.overhears(transport));
            let transport = overheard.as_ref().map_or(transport, |overheard| overheard);
            if !context.ros.rosout_disabled {
                let rosout =
                    transport.advertise(&node.rosout_topic()?, Log::TYPE, Delivery::Latched { kept: 10 })?;
                // A line that cannot be published has reached stderr; saying so would be another line.
                logging::set_rosout(Some(Box::new(move |line| {
                    let _ = rosout.publish(line);
                })));
            }
            match environment.discovers {
                true => log::info!("{} in domain {}", node.name, environment.domain_id),
                false => log::info!("{} by itself", node.name),
            }
            log::info!("the network has a process of its own, of at most {memory_mib} MiB");
            let ended = match options.lifecycle {
                true => lifecycle::run(transport, &node, &mut crew, &stop, &mut show),
                false => node::run(transport, &node, crew.engines(), &stop, &mut show).map(drop),
            };
            // The publisher must end before its transport does.
            logging::set_rosout(None);
            logging::hush_libraries();
            let kept = recorder.map_or(Ok(()), Recorder::finish);
            ended?;
            kept?;
        }
    }
    Ok(())
}

impl Options {
    /// The node as the command line and its parameters have it, and the names of parameters that it does not have.
    fn assigned(
        &self,
        engines: &cast::Paths,
        ros: &RosArguments,
    ) -> anyhow::Result<(NodeOptions, Vec<String>)> {
        let first = self.node(engines)?;
        let mut node = first.clone();
        let mut unknown = node.assign(ros)?;
        // Whether a question is about all cameras, and so shows single images, a parameter may say.
        if let (None, Some((_, clip, _))) = (self.clip, &engines.reason)
            && !node.cameras.are_asked_together()
        {
            node = NodeOptions { clip_frames: clip.frames, ..first };
            unknown = node.assign(ros)?;
        }
        Ok((node, unknown))
    }

    /// The node as the command line has it, with single images where it does not ask for a clip.
    fn node(&self, engines: &cast::Paths) -> anyhow::Result<NodeOptions> {
        let mut node = NodeOptions::new(NodeName::new("/", "perihelion")?);
        node.cameras = cameras::of(self)?;
        if let Some(prompt) = &self.prompt {
            node.prompt.clone_from(prompt);
        }
        node.image_transport = self.image_transport;
        if let Some((_, clip, sampling)) = &engines.reason {
            node.clip_frames = self.clip.unwrap_or(1);
            node.clip_rate_hz = self.fps.unwrap_or(clip.fps);
            node.answers = Some(self.generation.resolve(*sampling, self.system.as_deref())?);
        }
        node.latent_only = self.latent_only;
        node.max_age = seconds("--max-age", self.max_age)?;
        node.max_rate_hz = self.max_rate;
        node.ask_when.because = self.ask_when;
        node.max_pixels = self.max_pixels;
        // Four bytes a pixel are enough for every encoding of 8 bits; colour of 16 bits may have fewer pixels.
        node.max_image_bytes = 4 * self.max_pixels;
        node.check().map_err(|problem| anyhow::anyhow!(problem))?;
        Ok(node)
    }

    /// Whether anyone but the reader of stdout hears what is said.
    fn is_heard_elsewhere(&self) -> bool {
        self.bag.is_none() || self.record.is_asked() || self.live.is_some()
    }

    fn open_bag(&self, path: &Path, node: &NodeOptions) -> anyhow::Result<Bag> {
        let pace = match self.paced {
            None => Pace::AsFastAsPossible,
            Some(times) if times.is_finite() && 0.0 < times => Pace::Times(times),
            Some(times) => return Err(Usage(format!("--paced {times}: expected a number above 0")).into()),
        };
        let bag = Bag::open(path, pace)?;
        cameras::check_bag(&bag, path, &node.image_topics()?, self.image.is_empty())?;
        Ok(bag)
    }

    fn show(&self, said: Said<'_>) -> anyhow::Result<()> {
        match said {
            Said::Answer(answer) if self.json => output::json_line(&answer.json),
            Said::Forecast(forecast) if self.json => output::json_line(&forecast.json),
            Said::Surprise(PublishedSurprise { stamp_ns, ahead, latent, pixels }) if self.json => {
                let stamp = Time::from_ns(*stamp_ns);
                output::json_line(&serde_json::json!({
                    "stamp": stamp, "frames_ahead": ahead, "surprise": latent, "surprise_pixels": pixels,
                }))
            }
            Said::Answer(answer) => {
                let of = answer.cameras.join(", ");
                let of = if of.is_empty() { of } else { format!("{of}: ") };
                output::text(&format!("[{:6.0} ms] {of}{}\n", answer.age_ms, answer.heard()))
            }
            Said::Forecast(PublishedForecast { n_frames, is_cut, age_ms, forecast_ms, .. }) => {
                let cut = if *is_cut { ", cut" } else { "" };
                output::text(&format!(
                    "[{age_ms:6.0} ms] {n_frames} frames forecast in {forecast_ms:.0} ms{cut}\n"
                ))
            }
            Said::Surprise(PublishedSurprise { latent: Some(latent), .. }) => {
                output::text(&format!("            surprise {latent:.3}\n"))
            }
            Said::Surprise(_) => Ok(()),
        }
    }
}

fn seconds(option: &'static str, seconds: f64) -> anyhow::Result<Duration> {
    Duration::try_from_secs_f64(seconds).context(option)
}

fn warn_of(environment: &Environment) {
    for variable in &environment.unsupported {
        log::warn!("{variable} is set and is not supported here");
    }
    if let Some((what, remedy)) = environment.apart() {
        log::warn!("{what}; {remedy}");
    }
}

#[cfg(test)]
#[test]
fn the_clip_that_nobody_asks_for_goes_by_what_the_parameters_say_of_cameras() {
    use clap::Parser;

    use crate::models::reason2::{Clip, Sampling};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    let clip = Clip { frames: 8, fps: 4.0 };
    let engines = cast::Paths { reason: Some(("e".into(), clip, Sampling::default())), predict: None };
    let frames = |line: &str| {
        let line = format!("run e --image a=/a --image b=/b {line}");
        let (ros, line) = RosArguments::split(line.split_whitespace().map(str::to_owned)).unwrap();
        let options = Line::try_parse_from(line).unwrap().options;
        options.assigned(&engines, &ros).map(|(node, _)| node.clip_frames).map_err(|error| error.to_string())
    };
    assert_eq!(frames(""), Ok(8));
    assert_eq!(frames("--clip 3"), Ok(3));
    assert_eq!(frames("--ask-cameras all"), Ok(1));
    assert_eq!(frames("--ros-args -p ask_cameras:=all"), Ok(1));
    assert_eq!(frames("--ask-cameras all --ros-args -p ask_cameras:=each"), Ok(8));
    assert_eq!(frames("--ros-args -p clip:=2"), Ok(2));
    let refused = frames("--ros-args -p ask_cameras:=all -p clip:=8").unwrap_err();
    assert!(refused.contains("a clip of 8 frames"), "{refused}");
}
