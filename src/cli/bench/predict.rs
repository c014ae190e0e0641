//! Measures an engine that forecasts. Every run is shown other frames, and begins from other noise and another plan.

use std::time::Instant;

use clap::Args;
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use serde::Serialize;

use super::{Measured, Options, Samples, run_each};
use crate::cli::Context;
use crate::cli::engines::open_predict;
use crate::models::predict25::PredictManifest;
use crate::runtime::predict::{ForecastRequest, Limits, Noise, Predict};

/// The forecast.
#[derive(Debug, Args)]
#[group(skip)]
#[command(next_help_heading = "Of an engine that forecasts")]
pub(super) struct PredictOptions {
    /// Calls of the denoiser [default: the engine's]
    #[arg(long, value_name = "N")]
    steps: Option<usize>,
}

/// What was asked for.
#[derive(Debug, Serialize)]
pub(super) struct Workload {
    width: usize,
    height: usize,
    given_frames: usize,
    forecast_frames: usize,
    fps: f64,
    frames: &'static str,
    latents: usize,
    /// Patches of the clip, which attend to each other.
    tokens: usize,
    steps: usize,
    guidance: f32,
    /// Frames of a call of the decoder after the first.
    frames_per_chunk: usize,
    warmup_runs: usize,
    runs: usize,
}

/// Of the mean forecast.
#[derive(Debug, Serialize)]
pub(super) struct Rates {
    forecast_frames_per_s: Option<f64>,
    /// Seconds forecast in a second: above 1, the forecast is there before what it shows.
    real_time_factor: Option<f64>,
}

/// Of each run.
const RATES: [(&str, &str); 2] = [
    ("forecast_frames_per_s", "forecast frames"),
    ("real_time_factor", "seconds forecast (times real time)"),
];

/// `chunk_ms` has the calls of the decoder that make `frames_per_chunk` frames, `first_chunk_ms` that of the clip's first frame;
/// `first_frame_ms` is the time from the first given frame to the first forecast one.
const STAGES: [(&str, &str); 8] = [
    ("encode_ms", "encode"),
    ("step_ms", "denoise step"),
    ("denoise_ms", "denoise"),
    ("first_chunk_ms", "decoded chunk, the first"),
    ("chunk_ms", "decoded chunk"),
    ("decode_ms", "decode"),
    ("first_frame_ms", "first forecast frame"),
    ("total_ms", "forecast"),
];

impl PredictOptions {
    /// Whether one was given.
    pub(super) fn any(&self) -> bool {
        self.steps.is_some()
    }
}

/// Runs the benchmark.
///
/// # Errors
/// If the engine cannot be opened or its schedule has no such number of steps.
pub(super) fn measure(options: &Options, context: &Context) -> anyhow::Result<Measured<Workload, Rates>> {
    let begin = Instant::now();
    let (mut predict, identity) = open_predict(&options.engine, context.threads, options.predict.steps)?;
    let load_ms = begin.elapsed().as_secs_f64() * 1e3;
    let manifest = predict.manifest().clone();
    let workload = Workload::new(&predict, &manifest, options);

    let mut scene = Scene::new(&manifest);
    let (mut samples, mut rates) = (Samples::new(&STAGES), Samples::new(&RATES));
    let board = run_each(options, |run, counts| {
        scene.next(run);
        let times = Times::of(&mut predict, &scene, workload.frames_per_chunk)?;
        if counts {
            let frames_per_s = workload.forecast_frames as f64 * 1e3 / times.total;
            rates.add("forecast_frames_per_s", [frames_per_s]);
            rates.add("real_time_factor", [frames_per_s / workload.fps]);
            times.add_to(&mut samples);
        }
        Ok(())
    })?;
    let Workload { width, height, given_frames, forecast_frames, fps, latents, tokens, steps, .. } = workload;
    let guided = if workload.guidance == 0.0 { "" } else { " of two calls" };
    let description = format!(
        "{given_frames} unique frames of {width}×{height} in, {forecast_frames} forecast at {fps} a second; \
         {latents} latents, {tokens} tokens, {steps} step(s){guided}, {} frames a decoded chunk",
        workload.frames_per_chunk
    );
    let forecast_frames_per_s = samples.mean("total_ms").map(|ms| forecast_frames as f64 * 1e3 / ms);
    let real_time_factor = forecast_frames_per_s.map(|rate| rate / fps);
    Ok(Measured {
        identity,
        load_ms,
        workload,
        description,
        mean_rates: Rates { forecast_frames_per_s, real_time_factor },
        rates,
        samples,
        board,
        session: predict.session_memory(),
        loop_bytes: predict.claimed_bytes(),
        loop_holds: "noise, samples, latents",
    })
}

impl Workload {
    fn new(predict: &Predict, manifest: &PredictManifest, options: &Options) -> Self {
        let (clip, latents) = (&manifest.clip, manifest.latents);
        Self {
            width: clip.width,
            height: clip.height,
            given_frames: clip.n_given,
            forecast_frames: manifest.horizon(),
            fps: manifest.fps,
            frames: "unique",
            latents: latents.n_latents,
            tokens: latents.n_latents * latents.n_patches(),
            steps: predict.n_steps(),
            guidance: manifest.guidance.scale,
            frames_per_chunk: predict.frames_per_chunk(),
            warmup_runs: options.warmup,
            runs: options.runs,
        }
    }
}

/// Random frames and plans.
struct Scene {
    random: ChaCha8Rng,
    frames: Vec<Vec<u8>>,
    plan: Vec<f32>,
    seed: u64,
    n_given: usize,
    frame_len: usize,
}

impl Scene {
    fn new(manifest: &PredictManifest) -> Self {
        let clip = &manifest.clip;
        let actions = clip.actions.as_ref().map_or(0, |actions| actions.names.len());
        Self {
            random: ChaCha8Rng::seed_from_u64(0),
            frames: vec![vec![0; clip.width * clip.height * 3]; clip.n_given],
            plan: vec![0.0; (clip.n_frames - 1) * actions],
            seed: 0,
            n_given: clip.n_given,
            frame_len: clip.width * clip.height * 3,
        }
    }

    /// New frames, noise and plan.
    fn next(&mut self, seed: u64) {
        self.frames.iter_mut().for_each(|frame| self.random.fill_bytes(frame));
        for action in &mut self.plan {
            *action = self.random.next_u32() as f32 / u32::MAX as f32 * 2.0 - 1.0;
        }
        self.seed = seed;
    }
}

/// Of one forecast, in milliseconds.
#[derive(Default)]
struct Times {
    encode: f64,
    steps: Vec<f64>,
    denoise: f64,
    first_chunk: f64,
    chunks: Vec<f64>,
    decode: f64,
    first_frame: Option<f64>,
    total: f64,
}

impl Times {
    fn of(predict: &mut Predict, scene: &Scene, frames_per_chunk: usize) -> anyhow::Result<Times> {
        let mut times = Times::default();
        let ms = |from: Instant| from.elapsed().as_secs_f64() * 1e3;
        let frames: Vec<&[u8]> = scene.frames.iter().map(|frame| &frame[..]).collect();

        let started = Instant::now();
        predict.show(&frames, Limits::default())?;
        times.encode = ms(started);
        let denoising = Instant::now();
        let mut last = denoising;
        let request = ForecastRequest {
            noise: Noise::Seed(scene.seed),
            actions: (!scene.plan.is_empty()).then_some(&scene.plan[..]),
            ..ForecastRequest::default()
        };
        predict.denoise(&request, |_| {
            times.steps.push(ms(last));
            last = Instant::now();
        })?;
        times.denoise = ms(denoising);
        let decoding = Instant::now();
        let mut last = decoding;
        predict.decode(Limits::default(), |decoded| {
            let n_frames = decoded.pixels.len() / scene.frame_len;
            if decoded.first == 0 {
                times.first_chunk = ms(last);
            } else if n_frames == frames_per_chunk {
                times.chunks.push(ms(last));
            }
            if times.first_frame.is_none() && scene.n_given < decoded.first + n_frames {
                times.first_frame = Some(ms(started));
            }
            last = Instant::now();
        })?;
        times.decode = ms(decoding);
        times.total = ms(started);
        Ok(times)
    }

    fn add_to(self, samples: &mut Samples) {
        samples.add("encode_ms", [self.encode]);
        samples.add("step_ms", self.steps);
        samples.add("denoise_ms", [self.denoise]);
        samples.add("first_chunk_ms", [self.first_chunk]);
        samples.add("chunk_ms", self.chunks);
        samples.add("decode_ms", [self.decode]);
        samples.add("first_frame_ms", self.first_frame);
        samples.add("total_ms", [self.total]);
    }
}
