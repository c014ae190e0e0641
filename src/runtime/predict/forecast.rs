//! An opened Predict engine: given frames become latents, noise becomes the rest of the clip, and its latents frames.
//!
//! A forecast is three calls, so that a caller may stop between them, leave the last out, or do the first once for many forecasts:
//! [`Predict::show`], [`Predict::denoise`], [`Predict::decode`]. Samples stand patch by patch, frame by frame, as the denoiser takes
//! them; given latents are a prefix.

mod claimed;
mod decoding;

use super::encodings::{Encoding, Encodings, Lease};
use super::error::{ForecastError, OpenError};
use super::noise::fill_noise;
use super::request::{ForecastRequest, Noise};
use super::solver::{Inputs, Solver};
use super::wiring::Wiring;
use crate::backend::{Elements, RunError, Session};
use crate::models::predict25::{NEGATIVE, PredictManifest, Renoise, Schedule, places};
use crate::models::wan_vae::FRAMES_PER_LATENT;
use crate::runtime::{Limits, SharedSession};

/// Decoded frames, nearest first.
#[derive(Clone, Copy, Debug)]
pub struct Decoded<'a> {
    /// The place of the first in the clip, given frames counted.
    pub first: usize,
    /// `[n, height, width, 3]`, red, green, blue in −1…1, not clamped.
    pub pixels: &'a [f32],
}

/// An opened Predict engine. Claims everything when it is made.
pub struct Predict {
    pub(super) session: SharedSession,
    pub(super) wiring: Wiring,
    pub(super) manifest: PredictManifest,
    solver: Solver,
    /// The text whose keys and values the session holds; none after a run of one that failed.
    text: Option<usize>,
    /// Of that text and of the one to lead away from.
    n_text_tokens: [usize; 2],
    /// What the noises were drawn from; none if they were given.
    seed: Option<u64>,
    pub(super) noise: Vec<f32>,
    pub(super) renoise: Vec<f32>,
    given: Vec<f32>,
    /// Whether `given` is of the frames that were shown last.
    is_given: bool,
    velocity: Vec<f32>,
    /// Latents of the clip, channels last.
    pub(super) latents: Vec<f32>,
    /// Whose the encoder's caches are, and what the shown frames left there.
    pub(super) encodings: Encodings,
    pub(super) shown: Option<Lease>,
    pub(super) forecast_done: bool,
}

/// Whether a forecast can have so many steps.
///
/// # Errors
/// If its schedule has no such number.
pub fn check_steps(schedule: &Schedule, steps: usize) -> Result<(), OpenError> {
    let range = schedule.steps();
    if range.contains(&steps) {
        return Ok(());
    }
    Err(OpenError::Steps { found: steps, expected: format!("{} to {}", range.start(), range.end()) })
}

impl Predict {
    /// Claims the loop's own buffers for a session, which loops of other roles may share, and prepares the first text.
    ///
    /// # Errors
    /// If network and manifest do not belong together, or the schedule has no such number of steps.
    pub fn new(
        session: impl Into<SharedSession>,
        manifest: PredictManifest,
        steps: Option<usize>,
    ) -> Result<Self, OpenError> {
        let shared: SharedSession = session.into();
        let mut held = shared.wait();
        let session = held.session.as_mut();
        manifest.check(session.network()).map_err(OpenError::Network)?;
        let wiring = Wiring::new(session.network(), &manifest).map_err(OpenError::Network)?;
        let steps = steps.unwrap_or(manifest.steps);
        check_steps(&manifest.schedule, steps)?;
        let shape = manifest.latents;
        let len = shape.len();
        let solver = Solver::new(&manifest.schedule, steps, len);
        let fresh = matches!(manifest.schedule, Schedule::Fixed { renoise: Renoise::Fresh, .. });
        let mut predict = Self {
            solver,
            text: None,
            n_text_tokens: [0; 2],
            seed: None,
            noise: vec![0.0; len],
            renoise: vec![0.0; if fresh { (steps - 1) * len } else { 0 }],
            given: vec![0.0; manifest.n_given_latents() * shape.frame_len()],
            is_given: manifest.clip.n_given == 0,
            velocity: vec![0.0; len],
            latents: vec![0.0; len],
            encodings: Encodings::new(wiring.encoder_states),
            shown: None,
            forecast_done: false,
            session: shared.clone(),
            wiring,
            manifest,
        };
        let positions = places(shape.grid(), predict.manifest.clip.rope_fps);
        session.write(predict.wiring.positions, 0, Elements::F32(&positions))?;
        let n_given = predict.manifest.n_given_latents();
        let mask: Vec<f32> = (0..shape.n_latents).map(|t| f32::from(t < n_given)).collect();
        session.write(predict.wiring.mask, 0, Elements::F32(&mask))?;
        predict.take_text(0, session)?;
        if let Some(negative) = predict.manifest.texts.iter().position(|t| t.name == NEGATIVE) {
            predict.run_text(negative, 1, session)?;
        }
        Ok(predict)
    }

    /// What the engine says of itself.
    pub fn manifest(&self) -> &PredictManifest {
        &self.manifest
    }

    /// Steps of a forecast.
    pub fn n_steps(&self) -> usize {
        self.solver.n_calls()
    }

    /// Clips whose encoder caches are held. With one, nothing more is compared in latent space once the next clip is shown.
    pub fn encoder_states(&self) -> usize {
        self.wiring.encoder_states
    }

    /// Whether the schedule takes new noise at each step.
    pub fn wants_renoise(&self) -> bool {
        matches!(self.manifest.schedule, Schedule::Fixed { renoise: Renoise::Fresh, .. })
    }

    /// The seed of forecast `i` of a series whose first has `seed`: as far on as one forecast draws noises, so that no two forecasts
    /// share one.
    pub fn seed_of(&self, seed: u64, i: usize) -> u64 {
        let n_drawn = 1 + self.renoise.len() / self.noise.len().max(1);
        seed.wrapping_add((i * n_drawn) as u64)
    }

    /// Encodes the given frames, oldest first, each `[height, width, 3]` of bytes. Until it has succeeded nothing is shown.
    ///
    /// # Errors
    /// If they are of another number or size, or a run failed.
    pub fn show(&mut self, frames: &[&[u8]], limits: Limits<'_>) -> Result<(), ForecastError> {
        let expected = self.manifest.clip.n_given;
        if frames.len() != expected {
            return Err(ForecastError::FrameCount { found: frames.len(), expected });
        }
        self.forecast_done = false;
        if expected == 0 {
            return Ok(());
        }
        (self.is_given, self.shown) = (false, None);
        self.check_sizes(frames)?;
        let shared = self.session.clone();
        let mut held = shared.take(limits)?;
        let session = held.session.as_mut();
        // The caches of the clip that the last forecast was made from stay, so that what comes can be compared with it.
        let encoding = self.encodings.begin();
        let n = self.manifest.n_given_latents();
        self.encode(&frames[..1], &encoding, 0, session, limits)?;
        let mut at = 1;
        while at < n {
            let k = self.wiring.latents_per_call.min(n - at);
            let from = 1 + (at - 1) * FRAMES_PER_LATENT;
            let frames = &frames[from..from + k * FRAMES_PER_LATENT];
            self.encode(frames, &encoding, at, session, limits)?;
            at += k;
        }
        let shape = self.manifest.latents;
        let len = n * shape.frame_len();
        session.read(self.wiring.encoded, 0, &mut self.latents[..len])?;
        shape.to_patches(&self.latents[..len], &mut self.given);
        (self.is_given, self.shown) = (true, Some(self.encodings.finish(encoding)));
        Ok(())
    }

    /// Makes the latents of the clip that begins with the shown frames; `progress` is told each step that is done.
    ///
    /// # Errors
    /// See [`Predict::check`]: then the forecast before stands. If no frames were shown, or a run failed or gave up, or computed no
    /// numbers.
    pub fn denoise(
        &mut self,
        request: &ForecastRequest<'_>,
        mut progress: impl FnMut(usize),
    ) -> Result<(), ForecastError> {
        self.check(request)?;
        let limits = request.limits;
        limits.check()?;
        if !self.is_given {
            return Err(ForecastError::NotShown);
        }
        self.forecast_done = false;
        let shared = self.session.clone();
        let mut held = shared.take(limits)?;
        let session = held.session.as_mut();
        self.prepare(request, session)?;
        let guidance = request.guidance.unwrap_or(self.manifest.guidance);
        self.solver.begin(&self.noise);
        let n_given = self.manifest.n_given_latents();
        let len = self.noise.len();
        for step in 0..self.solver.n_calls() {
            let sigma = self.solver.sigma(step);
            let timesteps = session.input(self.wiring.timesteps, 0, self.manifest.latents.n_latents)?;
            for (t, value) in timesteps.iter_mut().enumerate() {
                *value = if t < n_given { self.manifest.given_timestep } else { sigma };
            }
            session.write(self.wiring.patches, 0, Elements::F32(self.solver.sample()))?;
            // Given latents stand clean in place, whatever the solver has made of theirs.
            session.write(self.wiring.patches, 0, Elements::F32(&self.given))?;
            self.call(0, session, limits)?;
            session.read(self.wiring.velocity, 0, &mut self.velocity)?;
            let [low, high] = guidance.interval;
            if guidance.scale != 0.0 && low <= sigma && sigma <= high {
                self.call(1, session, limits)?;
                let without_text = session.view(self.wiring.velocity, 0, self.n_rows())?;
                for (v, u) in self.velocity.iter_mut().zip(without_text) {
                    *v += guidance.scale * (*v - u);
                }
            }
            if self.velocity.iter().any(|v| !v.is_finite()) {
                return Err(ForecastError::Broken(step));
            }
            let renoise = self.renoise.get(step * len..(step + 1) * len);
            let inputs = Inputs { noise: &self.noise, given: &self.given, renoise };
            self.solver.step(step, &mut self.velocity, inputs);
            progress(step + 1);
        }
        self.manifest.latents.from_patches(self.solver.sample(), &mut self.latents);
        self.forecast_done = true;
        Ok(())
    }

    /// Lets the latents that are there stand as the forecast.
    pub(super) fn conclude(&mut self) {
        self.manifest.latents.to_patches(&self.latents, &mut self.velocity);
        self.solver.hold(&self.velocity);
        self.forecast_done = true;
    }

    /// Writes the clip's latents to `out`, `[C, T, h, w]`, normalised.
    ///
    /// # Errors
    /// If nothing was forecast.
    pub fn latents(&self, out: &mut [f32]) -> Result<(), ForecastError> {
        if !self.forecast_done {
            return Err(ForecastError::Nothing);
        }
        self.manifest.latents.patches_to_file(self.solver.sample(), out);
        Ok(())
    }

    pub(super) fn frame_len(&self) -> usize {
        self.manifest.clip.height * self.manifest.clip.width * 3
    }

    /// Puts noise, actions and text of a checked request where the steps take them.
    fn prepare(
        &mut self,
        request: &ForecastRequest<'_>,
        session: &mut dyn Session,
    ) -> Result<(), ForecastError> {
        match request.noise {
            Noise::Seed(seed) => self.draw(seed),
            Noise::Given { noise, renoise } => {
                self.seed = None;
                let shape = self.manifest.latents;
                shape.file_to_patches(noise, &mut self.noise);
                for (to, from) in self.renoise.chunks_mut(shape.len()).zip(renoise.chunks(shape.len())) {
                    shape.file_to_patches(from, to);
                }
            }
        }
        if let Some(buffer) = self.wiring.actions {
            let plan = request.actions.unwrap_or_default();
            let actions = session.input(buffer, 0, self.manifest.clip.n_frames - 1)?;
            let before = actions.len() - plan.len();
            actions[..before].fill(0.0);
            actions[before..].copy_from_slice(plan);
        }
        Ok(self.take_text(self.text_of(request)?, session)?)
    }

    /// Draws the noises of a seed, unless they are there.
    fn draw(&mut self, seed: u64) {
        if self.seed == Some(seed) {
            return;
        }
        self.seed = Some(seed);
        let shape = self.manifest.latents;
        // The velocity of an earlier step is of no use any more: what is drawn stands there until it is in the patches' order.
        fill_noise(seed, &mut self.velocity);
        shape.file_to_patches(&self.velocity, &mut self.noise);
        for (i, renoise) in self.renoise.chunks_mut(shape.len()).enumerate() {
            fill_noise(seed.wrapping_add(i as u64 + 1), &mut self.velocity);
            shape.file_to_patches(&self.velocity, renoise);
        }
    }

    /// Refuses frames of another size than the engine's.
    pub(super) fn check_sizes(&self, frames: &[&[u8]]) -> Result<(), ForecastError> {
        let clip = &self.manifest.clip;
        match frames.iter().find(|frame| frame.len() != self.frame_len()) {
            Some(frame) => {
                Err(ForecastError::FrameSize { found: frame.len(), width: clip.width, height: clip.height })
            }
            None => Ok(()),
        }
    }

    /// Encodes one frame (at the start of a clip) or fours of them, of checked sizes, to the latents from `row` on.
    pub(super) fn encode(
        &mut self,
        frames: &[&[u8]],
        encoding: &Encoding,
        row: usize,
        session: &mut dyn Session,
        limits: Limits<'_>,
    ) -> Result<(), RunError> {
        let frame_len = self.frame_len();
        let pixels = session.input(self.wiring.frames, 0, frames.len())?;
        for (to, frame) in pixels.chunks_mut(frame_len).zip(frames) {
            for (to, byte) in to.iter_mut().zip(*frame) {
                *to = f32::from(*byte) / 127.5 - 1.0;
            }
        }
        let first = frames.len() == 1;
        let graph = if first { &mut self.wiring.encode_first } else { &mut self.wiring.encode_step };
        let extent = [frames.len() / FRAMES_PER_LATENT];
        let extents: &[usize] = if first { &[] } else { &extent };
        let id = graph.id;
        session.run(id, &limits.run(extents, graph.windows(encoding.state(), row)))
    }

    /// Rows of the patches of a clip.
    fn n_rows(&self) -> usize {
        self.manifest.latents.n_latents * self.manifest.latents.n_patches()
    }

    fn call(&mut self, text: usize, session: &mut dyn Session, limits: Limits<'_>) -> Result<(), RunError> {
        let extents = [self.n_text_tokens[text], self.manifest.latents.n_patches()];
        let extents = if self.wiring.text_extent { &extents[..] } else { &extents[1..] };
        session.run(self.wiring.denoise, &limits.run(extents, &self.wiring.text_windows[text]))
    }

    /// Makes a text the one that the steps are told, unless it is.
    fn take_text(&mut self, at: usize, session: &mut dyn Session) -> Result<(), RunError> {
        if self.text != Some(at) {
            self.text = None;
            self.run_text(at, 0, session)?;
            self.text = Some(at);
        }
        Ok(())
    }

    fn run_text(&mut self, at: usize, place: usize, session: &mut dyn Session) -> Result<(), RunError> {
        self.n_text_tokens[place] = self.manifest.texts[at].n_tokens;
        let windows = &self.wiring.text_windows[place];
        session.run(self.wiring.texts[at], &Limits::default().run(&[], windows))
    }
}
