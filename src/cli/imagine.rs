//! `imagine`: runs a Predict engine on files: frames and actions in, the frames that it expects next out.

mod asked;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use clap::Args;
use image::RgbImage;
use serde::Serialize;

use self::asked::Asked;
use super::clip::FrameWriter;
use super::places::Places;
use super::progress::Progress as Bar;
use super::{Context, Usage, clip, output, tensors};
use crate::models::predict25::PredictManifest;
use crate::runtime::predict::{Limits, Progress, Rollout, to_byte};

/// Forecasts the frames that follow the newest ones of a clip.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  perihelion imagine small-predict.engine --frames seen/ --frames-out expected/ --gif expected.gif
  perihelion imagine robot.engine --frames seen/ --actions plan.csv --seed 7 --json --latents latents.safetensors
  perihelion imagine robot.engine --frames seen/ --horizon 64 --gif long.gif")]
pub(crate) struct Options {
    /// The engine
    engine: PathBuf,
    /// A directory of frames, taken in natural order of their names; the last ones are given to the engine, scaled to its size
    #[arg(long, value_name = "DIR")]
    frames: Option<PathBuf>,
    /// Frames to forecast; beyond the engine's own number it goes on from its own last frames, clip by clip, each with the next
    /// seed that shares no noise with the one before [default: the engine's]
    #[arg(long, value_name = "FRAMES")]
    horizon: Option<usize>,
    /// A plan: CSV with the engine's action names as header, a row for each frame after the first, or for each forecast one
    #[arg(long, value_name = "FILE.csv")]
    actions: Option<PathBuf>,
    /// Which text, of those that were exported
    #[arg(long, value_name = "NAME")]
    text: Option<String>,
    /// Calls of the denoiser [default: the engine's]
    #[arg(long, value_name = "N")]
    steps: Option<usize>,
    /// Guidance: cond + W (cond − uncond), 0 for none [default: the engine's]
    #[arg(long, value_name = "W")]
    guidance: Option<f32>,
    /// Lowest and highest sigma at which there is guidance
    #[arg(long, value_name = "LOW,HIGH", value_delimiter = ',')]
    guidance_interval: Option<Vec<f32>>,
    /// Seed of the noise
    #[arg(long, value_name = "S", default_value_t = 0, conflicts_with = "noise")]
    seed: u64,
    /// Noise from a file: `noise` [1, C, T, h, w] f32, and `renoise` [steps − 1, C, T, h, w] for fresh noise at each step
    #[arg(long, value_name = "FILE.safetensors")]
    noise: Option<PathBuf>,
    /// Write the forecast frames as PNG, in time order
    #[arg(long, value_name = "DIR")]
    frames_out: Option<PathBuf>,
    /// Remove the frames that are in that directory
    #[arg(long, requires = "frames_out")]
    overwrite: bool,
    /// Write them as a GIF
    #[arg(long, value_name = "FILE")]
    gif: Option<PathBuf>,
    /// Write the given frames too, as the engine decodes them
    #[arg(long)]
    with_context: bool,
    /// Write the clip's latents, normalised: `latents` [1, C, T, h, w] f32
    #[arg(long, value_name = "FILE.safetensors")]
    latents: Option<PathBuf>,
    /// Decode nothing
    #[arg(long, conflicts_with_all = ["frames_out", "gif", "with_context"])]
    latent_only: bool,
    /// Stop decoding after so many milliseconds, counted from the first run; the nearest frames are decoded first
    #[arg(long, value_name = "MS")]
    budget_ms: Option<u64>,
    /// Write one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    /// Frames of the clip that were given.
    given_frames: usize,
    /// Frames that were to be forecast.
    horizon_frames: usize,
    /// Clips that were decoded to forecast them.
    chunks: usize,
    /// Frames that were forecast and decoded.
    forecast_frames: usize,
    fps: f64,
    /// Of the last forecast frame, from the newest given one.
    forecast_ms: f64,
    steps: usize,
    seed: Option<u64>,
    /// Whether the budget ended the decoding.
    truncated: bool,
    encode_ms: f64,
    denoise_ms: f64,
    /// Of each call of the denoiser (with guidance: both), clip after clip.
    step_ms: Vec<f64>,
    /// Of the decoder's calls.
    chunk_ms: Vec<f64>,
    decode_ms: f64,
    total_ms: f64,
    /// From the start to the first forecast frame.
    first_frame_ms: Option<f64>,
    /// PNG files, in time order.
    files: Vec<PathBuf>,
}

pub(crate) fn run(options: &Options, context: &Context) -> anyhow::Result<()> {
    Places::new()
        .reads([&options.engine])
        .reads([&options.frames, &options.actions, &options.noise].into_iter().flatten())
        .writes_frames("--frames-out", options.frames_out.as_ref(), options.overwrite)
        .writes("--gif", options.gif.as_ref(), 0)
        .writes("--latents", options.latents.as_ref(), 0)
        .check()?;
    let (mut predict, _) = super::engines::open_predict(&options.engine, context.threads, options.steps)?;
    let manifest = predict.manifest().clone();
    let given = clip::given_frames(options.frames.as_deref(), &manifest)?;
    let given: Vec<&[u8]> = given.iter().map(|frame| &frame[..]).collect();
    let mut rollout = Rollout::new(&predict, options.horizon.unwrap_or(manifest.horizon()))
        .map_err(|error| Usage(format!("--horizon: {error}")))?;
    if 1 < rollout.n_chunks() {
        one_clip_only(options, manifest.horizon())?;
    }
    let asked = Asked::load(options, &predict, &manifest)?;
    let mut request = asked.request(options, &predict, &rollout)?;

    let n_steps = rollout.n_chunks() * predict.n_steps();
    let stop = AtomicBool::new(false);
    let mut seen = Seen::new(options, &manifest, n_steps, rollout.horizon(), &stop)?;
    let deadline = options.budget_ms.map(|budget| seen.started + Duration::from_millis(budget));
    request.limits = Limits { deadline, stop: Some(&stop) };
    let seed = options.noise.is_none().then_some(options.seed);
    let forecast = if options.latent_only {
        rollout.denoise_first(&mut predict, &given, &request, |progress| seen.take(progress)).map(|()| 0)
    } else {
        rollout.run(&mut predict, &given, &request, |progress| seen.take(progress))
    };
    // It was stopped because of this.
    if let Some(failed) = seen.failed {
        return Err(failed);
    }
    let forecast_frames = forecast?;
    let total_ms = ms(seen.started);
    drop(seen.bar);

    if let Some(path) = &options.latents {
        let shape = manifest.latents;
        let mut latents = vec![0.0; shape.len()];
        predict.latents(&mut latents)?;
        tensors::write_latents(
            path,
            [1, shape.channels, shape.n_latents, shape.height, shape.width],
            &latents,
        )?;
    }
    let files = seen.writer.map(FrameWriter::into_files).unwrap_or_default();
    if let Some(path) = &options.gif {
        clip::write_gif(path, &seen.frames, manifest.fps)?;
    }
    let report = Report {
        given_frames: manifest.clip.n_given,
        horizon_frames: rollout.horizon(),
        chunks: forecast_frames.div_ceil(manifest.horizon()),
        forecast_frames,
        fps: manifest.fps,
        forecast_ms: forecast_frames as f64 / manifest.fps * 1e3,
        steps: predict.n_steps(),
        seed,
        truncated: !options.latent_only && forecast_frames < rollout.horizon(),
        encode_ms: seen.encode_ms,
        denoise_ms: seen.step_ms.iter().sum(),
        decode_ms: seen.chunk_ms.iter().sum(),
        step_ms: seen.step_ms,
        chunk_ms: seen.chunk_ms,
        total_ms,
        first_frame_ms: seen.first_frame_ms,
        files,
    };
    if options.json {
        return output::json(&report);
    }
    output::text(&text(&report))
}

/// What a forecast has shown of itself so far, and when.
struct Seen<'a> {
    /// Over the denoiser's steps and the forecast frames.
    bar: Bar,
    n_pieces: u64,
    n_done: u64,
    size: [u32; 2],
    with_context: bool,
    /// Writes frames as they come.
    writer: Option<FrameWriter>,
    /// Why a frame could not be written; then everything is stopped.
    failed: Option<anyhow::Error>,
    stop: &'a AtomicBool,
    /// Whether the frames are wanted once more, at the end.
    keeps: bool,
    started: Instant,
    last: Instant,
    encode_ms: f64,
    step_ms: Vec<f64>,
    chunk_ms: Vec<f64>,
    first_frame_ms: Option<f64>,
    frames: Vec<RgbImage>,
}

impl<'a> Seen<'a> {
    fn new(
        options: &Options,
        manifest: &PredictManifest,
        n_steps: usize,
        horizon: usize,
        stop: &'a AtomicBool,
    ) -> anyhow::Result<Self> {
        let now = Instant::now();
        let n_frames = if options.latent_only { 0 } else { horizon };
        let (bar, n_pieces) = (Bar::counting("imagine"), (n_steps + n_frames) as u64);
        bar.set(0, n_pieces, "encode");
        Ok(Self {
            bar,
            n_pieces,
            n_done: 0,
            size: [manifest.clip.width as u32, manifest.clip.height as u32],
            with_context: options.with_context,
            writer: options.frames_out.as_deref().map(FrameWriter::create).transpose()?,
            failed: None,
            stop,
            keeps: options.gif.is_some(),
            started: now,
            last: now,
            encode_ms: 0.0,
            step_ms: Vec::new(),
            chunk_ms: Vec::new(),
            first_frame_ms: None,
            frames: Vec::new(),
        })
    }

    fn take(&mut self, progress: Progress<'_>) {
        let since_last_ms = ms(self.last);
        let stage = match progress {
            Progress::Encoded { .. } => {
                self.encode_ms += since_last_ms;
                "denoise"
            }
            Progress::Step { .. } => {
                self.step_ms.push(since_last_ms);
                self.n_done += 1;
                "denoise"
            }
            Progress::Decoded { given, forecast, .. } => {
                self.chunk_ms.push(since_last_ms);
                self.n_done += (forecast.len() / self.frame_len()) as u64;
                if !forecast.is_empty() && self.first_frame_ms.is_none() {
                    self.first_frame_ms = Some(ms(self.started));
                }
                if self.with_context {
                    self.keep(given);
                }
                self.keep(forecast);
                "decode"
            }
        };
        self.bar.set(self.n_done, self.n_pieces, stage);
        self.last = Instant::now();
    }

    fn frame_len(&self) -> usize {
        self.size.iter().product::<u32>() as usize * 3
    }

    fn keep(&mut self, pixels: &[f32]) {
        let [width, height] = self.size;
        for frame in pixels.chunks(self.frame_len()) {
            let bytes = frame.iter().map(|v| to_byte(*v)).collect();
            let frame = RgbImage::from_raw(width, height, bytes).expect("chunks are whole frames");
            if let Some(writer) = self.writer.as_mut().filter(|_| self.failed.is_none())
                && let Err(error) = writer.write(&frame)
            {
                self.failed = Some(error);
                self.stop.store(true, Relaxed);
            }
            if self.keeps {
                self.frames.push(frame);
            }
        }
    }
}

fn ms(from: Instant) -> f64 {
    from.elapsed().as_secs_f64() * 1e3
}

/// What is of one clip has no meaning for several.
fn one_clip_only(options: &Options, horizon: usize) -> anyhow::Result<()> {
    let asked = [
        ("--noise", options.noise.is_some()),
        ("--latents", options.latents.is_some()),
        ("--latent-only", options.latent_only),
    ];
    match asked.iter().find(|(_, asked)| *asked) {
        Some((option, _)) => {
            let message = format!("{option} is of one clip: take a --horizon of at most {horizon} frames");
            Err(Usage(message).into())
        }
        None => Ok(()),
    }
}

fn text(report: &Report) -> String {
    let cut = if report.truncated { ", cut off by the budget" } else { "" };
    let clips = if 1 < report.chunks { format!(" in {} clips", report.chunks) } else { String::new() };
    let mut text = format!(
        "{} of {} frames forecast{clips}, {:.0} ms ahead{cut}; encoded in {:.1} ms, {} steps in {:.1} ms, decoded in {:.1} ms\n",
        report.forecast_frames,
        report.horizon_frames,
        report.forecast_ms,
        report.encode_ms,
        report.step_ms.len(),
        report.denoise_ms,
        report.decode_ms
    );
    for file in &report.files {
        text.push_str(&format!("{}\n", file.display()));
    }
    text
}
