//! Predict as the node's engine: what came is compared with what was expected, and the newest clip is forecast.
//!
//! One forecast at a time is held against what comes, from its first frame to its last; forecasts that are made meanwhile
//! are shown and not compared. Only an unbroken stream is compared: the encoder goes on from the caches of the forecast's
//! own context, frame by frame.

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use serde_json::{Map, Value};

use crate::backend::RunError;
use crate::camera::FrameSize;
use crate::frames::frame::Received;
use crate::frames::scaled::Scaled;
use crate::ros2::node::{Beside, Forecast, ForecastShape, Forecaster, Glimpse, Look, Outcome, PlanRequest};
use crate::ros2::planner;
use crate::ros2::reason::SharedReason;
use crate::runtime::predict::{Expectation, ForecastError, ForecastRequest, Limits, Noise, Predict, to_byte};

/// How the node's forecasts are made.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct PredictSettings {
    /// Of the noise, which is the same for every forecast: what differs between two of them is what came.
    pub seed: u64,
    /// Whether forecasts stay in latent space.
    pub latent_only: bool,
    /// Where not 0, surprise in latent space is that of its most surprising place ([`Expectation::blurred`]).
    pub surprise_blur: f64,
}

/// An opened Predict engine that forecasts for a node.
pub struct PredictForecaster {
    predict: Predict,
    settings: PredictSettings,
    critic: Option<SharedReason>,
    shape: ForecastShape,
    frames: Scaled,
    expectation: Expectation,
    /// The place of the next frame to compare, while the expectation waits for one.
    awaited: Option<u64>,
    /// A forecast frame on its way out.
    rgb: Vec<u8>,
}

impl PredictForecaster {
    /// Claims buffers for the frames of a look, in the engine's size.
    ///
    /// # Panics
    /// If the engine forecasts from no frames at all.
    pub fn new(predict: Predict, settings: PredictSettings) -> Self {
        let manifest = predict.manifest();
        let clip = &manifest.clip;
        assert!(0 < clip.n_given, "a node's forecast starts from what its camera sees");
        let size = FrameSize { width: clip.width, height: clip.height };
        let shape = ForecastShape {
            n_given: clip.n_given,
            horizon: manifest.horizon(),
            rate_hz: manifest.fps,
            width: clip.width,
            height: clip.height,
            action_names: clip.actions.as_ref().map_or_else(Vec::new, |actions| actions.names.clone()),
            action_limits: clip.actions.as_ref().map_or_else(Vec::new, |actions| actions.limits.clone()),
        };
        let frames = Scaled::new(shape.n_given + shape.horizon, size);
        let expectation = Expectation::new(&predict).blurred(settings.surprise_blur, &predict);
        let rgb = vec![0; size.rgb_bytes()];
        Self { predict, settings, critic: None, shape, frames, expectation, awaited: None, rgb }
    }

    /// Lets plans be judged by a Reason engine.
    pub fn with_critic(self, critic: SharedReason) -> Self {
        Self { critic: Some(critic), ..self }
    }

    /// The engine.
    pub fn predict(&self) -> &Predict {
        &self.predict
    }

    /// Bytes of the buffers for frames.
    pub fn claimed_bytes(&self) -> usize {
        self.frames.claimed_bytes() + self.rgb.len()
    }

    /// Holds the frames that follow the expectation's against it.
    fn compare(&mut self, look: &Look<'_>, tell: &mut dyn FnMut(Glimpse<'_>)) -> Result<(), ForecastError> {
        // A comparison is not cut short by a deadline: the encoder could not go on from where it stopped.
        let limits = Limits { deadline: None, stop: Some(look.stop) };
        for (i, received) in look.frames.iter().enumerate() {
            let Some(awaited) = self.awaited.filter(|awaited| *awaited <= received.place) else { continue };
            // Whatever goes wrong, or if frames are missing, nothing more is expected.
            self.awaited = None;
            if awaited < received.place {
                break;
            }
            let rgb = self.frames.rgb(awaited);
            let surprise = self.expectation.compare(&mut self.predict, rgb, limits)?;
            self.awaited = self.expectation.expects_more().then_some(awaited + 1);
            tell(Glimpse::Surprise {
                frame: i,
                ahead: surprise.frame + 1 - self.shape.n_given,
                latent: surprise.place.or(surprise.latent),
                pixels: surprise.pixels,
            });
        }
        Ok(())
    }

    fn forecast(
        &mut self,
        look: &Look<'_>,
        tell: &mut dyn FnMut(Glimpse<'_>),
    ) -> Result<Forecast, ForecastError> {
        let limits = Limits { deadline: look.deadline, stop: Some(look.stop) };
        let given = &look.frames[look.frames.len() - self.shape.n_given..];
        let PredictSettings { seed, latent_only, .. } = match look.beside {
            Some(Beside { seed, with_frames }) => PredictSettings {
                seed: seed.unwrap_or(self.settings.seed),
                latent_only: !with_frames,
                ..self.settings
            },
            None => self.settings,
        };
        let request = ForecastRequest {
            noise: Noise::Seed(seed),
            actions: look.plan,
            limits,
            ..ForecastRequest::default()
        };
        self.predict.check(&request)?;
        if self.awaited.is_some() {
            self.predict.keep_for(&self.expectation);
        }
        let mut last = Instant::now();
        let mut lap_ms = || {
            let before = std::mem::replace(&mut last, Instant::now());
            (last - before).as_secs_f64() * 1e3
        };
        let pixels: Vec<&[u8]> = given.iter().map(|received| self.frames.rgb(received.place)).collect();
        self.predict.show(&pixels, limits)?;
        let encode_ms = lap_ms();
        self.predict.denoise(&request, |_| {})?;
        let denoise_ms = lap_ms();
        let is_awaited = look.beside.is_none() && self.awaited.is_none();
        if is_awaited {
            self.expectation.take(&self.predict);
            self.awaited = given.last().map(|newest| newest.place + 1);
        }
        let mut is_cut = false;
        if !latent_only {
            let Self { predict, expectation, rgb, shape, .. } = self;
            let n_decoded = predict.decode(limits, |decoded| {
                if is_awaited {
                    expectation.decoded(decoded);
                }
                for (i, pixels) in decoded.pixels.chunks(rgb.len()).enumerate() {
                    let Some(ahead) = (decoded.first + i + 1).checked_sub(shape.n_given).filter(|n| 0 < *n)
                    else {
                        continue;
                    };
                    for (byte, value) in rgb.iter_mut().zip(pixels) {
                        *byte = to_byte(*value);
                    }
                    tell(Glimpse::Frame { ahead, rgb });
                }
            })?;
            is_cut = n_decoded < shape.n_given + shape.horizon;
        }
        let n_steps = self.predict.n_steps();
        let (step_ms, decode_ms) = (denoise_ms / n_steps as f64, lap_ms());
        Ok(Forecast { is_cut, encode_ms, denoise_ms, step_ms, decode_ms, n_steps, seed, latent_only })
    }
}

impl Forecaster for PredictForecaster {
    fn shape(&self) -> &ForecastShape {
        &self.shape
    }

    fn begin(&mut self) {
        self.awaited = None;
        self.frames.forget();
    }

    fn look(&mut self, look: &Look<'_>, tell: &mut dyn FnMut(Glimpse<'_>)) -> Outcome<Forecast> {
        if let Err((frame, reason, message)) = self.frames.take(look.frames) {
            self.awaited = None;
            return Outcome::Rejected { frame, reason, message };
        }
        match self.compare(look, tell).and_then(|()| self.forecast(look, tell)) {
            Ok(forecast) => Outcome::Made(forecast),
            Err(ForecastError::Run(RunError::Deadline)) => Outcome::Expired,
            Err(ForecastError::Run(RunError::Stopped)) => Outcome::Stopped,
            Err(error) => Outcome::Failed(error.to_string()),
        }
    }

    fn check_beside(&self, plan: Option<&[f32]>) -> Result<(), String> {
        if self.predict.encoder_states() < 2 {
            return Err("the engine holds the encoder's caches of one clip alone, with which what comes is compared: build it \
                        with --encoder-states 2"
                .to_owned());
        }
        let actions = self.predict.manifest().clip.actions.as_ref();
        let Some((plan, actions)) = plan.zip(actions) else { return Ok(()) };
        for (step, row) in plan.chunks(actions.names.len()).enumerate() {
            for ((value, name), [low, high]) in row.iter().zip(&actions.names).zip(&actions.limits) {
                if !(*low..=*high).contains(value) {
                    return Err(format!(
                        "actions: {name} of step {step} is {value}; the checkpoint's limits are {low} to {high}"
                    ));
                }
            }
        }
        Ok(())
    }

    fn plan(
        &mut self,
        request: &PlanRequest,
        given: &[Received],
        deadline: Option<Instant>,
        stop: &AtomicBool,
    ) -> Result<Map<String, Value>, String> {
        let given: Vec<&[u8]> = given.iter().map(|received| self.frames.rgb(received.place)).collect();
        if self.awaited.is_some() {
            self.predict.keep_for(&self.expectation);
        }
        let limits = Limits { deadline, stop: Some(stop) };
        planner::plan(&mut self.predict, self.critic.as_deref(), request, &given, limits)
    }
}
