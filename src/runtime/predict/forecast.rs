//! An opened Predict engine: given frames become latents, noise becomes the rest of the clip, and its latents frames.
//!
//! A forecast is three calls, so that a caller may stop between them, leave the last out, or do the first once for many forecasts:
//! [`Predict::show`], [`Predict::denoise`], [`Predict::decode`]. Samples stand patch by patch, frame by frame, as the denoiser takes
//! them; given latents are a prefix.

mod claimed;
mod decoding;

use super::error::{ForecastError, OpenError};
use super::noise::fill_noise;
use super::solver::{Inputs, Solver};
use super::wiring::{Limits, Wiring};
use crate::backend::{Elements, Memory, RunError, Session};
use crate::models::predict25::{Guidance, NEGATIVE, PredictManifest, Renoise, Schedule, places};
use crate::models::wan_vae::FRAMES_PER_LATENT;

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
    pub(super) session: Box<dyn Session>,
    pub(super) wiring: Wiring,
    pub(super) manifest: PredictManifest,
    solver: Solver,
    guidance: Guidance,
    /// Of the standing text and of the one to lead away from.
    n_text_tokens: [usize; 2],
    noise: Vec<f32>,
    renoise: Vec<f32>,
    given: Vec<f32>,
    velocity: Vec<f32>,
    without_text: Vec<f32>,
    timesteps: Vec<f32>,
    /// Latents of the clip, channels last.
    pub(super) latents: Vec<f32>,
    /// Frames on their way in or out, as many as one call takes.
    pub(super) pixels: Vec<f32>,
    actions: Vec<f32>,
    /// Whose encoder caches the shown frames left.
    pub(super) state: usize,
    /// Which showing each state's caches are of, counted from 1; 0 if they are of none any more.
    pub(super) shown: [u64; 2],
    n_shown: u64,
    pub(super) forecast_done: bool,
}

impl Predict {
    /// Claims the loop's own buffers for a session and prepares the standing text.
    ///
    /// # Errors
    /// If network and manifest do not belong together, or the schedule has no such number of steps.
    pub fn new(
        session: Box<dyn Session>,
        manifest: PredictManifest,
        steps: Option<usize>,
    ) -> Result<Self, OpenError> {
        manifest.check(session.network()).map_err(OpenError::Network)?;
        let wiring = Wiring::new(session.network(), &manifest).map_err(OpenError::Network)?;
        let steps = steps.unwrap_or(manifest.steps);
        let (min, max) = match &manifest.schedule {
            Schedule::Fixed { sigmas, .. } => (1, sigmas.len()),
            Schedule::Predict2Euler { .. } => (2, 1000),
            Schedule::Euler { .. } | Schedule::UniPc { .. } => (1, 1000),
        };
        if !(min..=max).contains(&steps) {
            return Err(OpenError::Steps { found: steps, expected: format!("{min} to {max}") });
        }
        let shape = manifest.latents;
        let len = shape.len();
        let solver = Solver::new(&manifest.schedule, steps, len);
        let fresh = matches!(manifest.schedule, Schedule::Fixed { renoise: Renoise::Fresh, .. });
        let guided = if manifest.can_guide() { len } else { 0 };
        let frame_len = manifest.clip.height * manifest.clip.width * 3;
        let per_call = wiring.latents_per_call * FRAMES_PER_LATENT;
        let actions =
            manifest.clip.actions.as_ref().map_or(0, |a| (manifest.clip.n_frames - 1) * a.names.len());
        let mut predict = Self {
            solver,
            guidance: manifest.guidance,
            n_text_tokens: [0; 2],
            noise: vec![0.0; len],
            renoise: vec![0.0; if fresh { (steps - 1) * len } else { 0 }],
            given: vec![0.0; manifest.n_given_latents() * shape.frame_len()],
            velocity: vec![0.0; len],
            without_text: vec![0.0; guided],
            timesteps: vec![0.0; shape.n_latents],
            latents: vec![0.0; len],
            pixels: vec![0.0; per_call * frame_len],
            actions: vec![0.0; actions],
            state: 0,
            shown: [0; 2],
            n_shown: 0,
            forecast_done: false,
            session,
            wiring,
            manifest,
        };
        let positions = places(shape.grid(), predict.manifest.clip.rope_fps);
        predict.session.write(predict.wiring.positions, 0, Elements::F32(&positions))?;
        let n_given = predict.manifest.n_given_latents();
        let mask: Vec<f32> = (0..shape.n_latents).map(|t| f32::from(t < n_given)).collect();
        predict.session.write(predict.wiring.mask, 0, Elements::F32(&mask))?;
        predict.run_text(0, 0)?;
        if let Some(negative) = predict.manifest.texts.iter().position(|t| t.name == NEGATIVE) {
            predict.run_text(negative, 1)?;
        }
        predict.seed(0);
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

    /// Bytes of the session, by purpose.
    pub fn session_memory(&self) -> Memory {
        self.session.memory()
    }

    /// Takes another text.
    ///
    /// # Errors
    /// If there is none of that name, or its run failed.
    pub fn set_text(&mut self, name: &str) -> Result<(), ForecastError> {
        let at = self.manifest.texts.iter().position(|t| t.name == name).ok_or(ForecastError::NoText)?;
        Ok(self.run_text(at, 0)?)
    }

    /// Takes another guidance.
    ///
    /// # Errors
    /// If there is no text to lead away from.
    pub fn set_guidance(&mut self, guidance: Guidance) -> Result<(), ForecastError> {
        if guidance.scale != 0.0 && !self.manifest.can_guide() {
            return Err(ForecastError::NoNegative);
        }
        self.guidance = guidance;
        Ok(())
    }

    /// Draws noise from a seed (see [`fill_noise`]), in the order of a noise file; part `i` of `renoise` from `seed + 1 + i`.
    pub fn seed(&mut self, seed: u64) {
        let shape = self.manifest.latents;
        let len = shape.len();
        fill_noise(seed, &mut self.velocity);
        shape.file_to_patches(&self.velocity, &mut self.noise);
        for (i, renoise) in self.renoise.chunks_mut(len).enumerate() {
            fill_noise(seed.wrapping_add(i as u64 + 1), &mut self.velocity);
            shape.file_to_patches(&self.velocity, renoise);
        }
    }

    /// The seed of forecast `i` of a series whose first has `seed`: as far on as one forecast draws noises, so that no two forecasts
    /// share one.
    pub fn seed_of(&self, seed: u64, i: usize) -> u64 {
        let n_drawn = 1 + self.renoise.len() / self.noise.len().max(1);
        seed.wrapping_add((i * n_drawn) as u64)
    }

    /// Takes noise `[1, C, T, h, w]`, and `[steps − 1, C, T, h, w]` where the schedule wants fresh noise for each step.
    ///
    /// # Errors
    /// If it is of another length or not finite; then the noise before stands.
    pub fn set_noise(&mut self, noise: &[f32], renoise: &[f32]) -> Result<(), ForecastError> {
        for (found, expected) in [(noise, self.noise.len()), (renoise, self.renoise.len())] {
            if found.len() != expected {
                return Err(ForecastError::NoiseLen { found: found.len(), expected });
            }
            if let Some(at) = found.iter().position(|v| !v.is_finite()) {
                return Err(ForecastError::NoiseNotFinite(at));
            }
        }
        let shape = self.manifest.latents;
        shape.file_to_patches(noise, &mut self.noise);
        for (to, from) in self.renoise.chunks_mut(shape.len()).zip(renoise.chunks(shape.len())) {
            shape.file_to_patches(from, to);
        }
        Ok(())
    }

    /// Takes a plan: rows of one action each, for every frame after the first or for the forecast ones.
    ///
    /// # Errors
    /// If it is of another width or length, or not finite; then the plan before stands.
    pub fn set_actions(&mut self, plan: &[f32]) -> Result<(), ForecastError> {
        let (Some(buffer), Some(actions)) = (self.wiring.actions, &self.manifest.clip.actions) else {
            return Err(ForecastError::NoActions);
        };
        let width = actions.names.len();
        if !plan.len().is_multiple_of(width) {
            return Err(ForecastError::PlanWidth { found: plan.len(), width });
        }
        let (found, whole) = (plan.len() / width, self.manifest.clip.n_frames - 1);
        // With nothing given the first frame is forecast too, and no action leads to it.
        let forecast = self.manifest.horizon().min(whole);
        if found != whole && found != forecast {
            return Err(ForecastError::PlanRows { found, whole, forecast });
        }
        if let Some(at) = plan.iter().position(|v| !v.is_finite()) {
            return Err(ForecastError::NotFinite { row: at / width, column: at % width });
        }
        let before = self.actions.len() - plan.len();
        self.actions[..before].fill(0.0);
        self.actions[before..].copy_from_slice(plan);
        Ok(self.session.write(buffer, 0, Elements::F32(&self.actions))?)
    }

    /// Encodes the given frames, oldest first, each `[height, width, 3]` of bytes.
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
        // The caches of the clip that the last forecast was made from stay, so that what comes can be compared with it.
        self.state = (self.state + 1) % self.wiring.encoder_states;
        let n = self.manifest.n_given_latents();
        self.n_shown += 1;
        self.shown[self.state] = self.n_shown;
        self.encode(&frames[..1], self.state, 0, limits)?;
        let mut at = 1;
        while at < n {
            let k = self.wiring.latents_per_call.min(n - at);
            let from = 1 + (at - 1) * FRAMES_PER_LATENT;
            self.encode(&frames[from..from + k * FRAMES_PER_LATENT], self.state, at, limits)?;
            at += k;
        }
        let shape = self.manifest.latents;
        let len = n * shape.frame_len();
        self.session.read(self.wiring.encoded, 0, &mut self.latents[..len])?;
        shape.to_patches(&self.latents[..len], &mut self.given);
        Ok(())
    }

    /// Makes the latents of the clip from noise; `progress` is told each step that is done.
    ///
    /// # Errors
    /// If a run failed or gave up, or computed no numbers.
    pub fn denoise(
        &mut self,
        limits: Limits<'_>,
        mut progress: impl FnMut(usize),
    ) -> Result<(), ForecastError> {
        self.forecast_done = false;
        self.solver.begin(&self.noise);
        let n_given = self.manifest.n_given_latents();
        let len = self.noise.len();
        for step in 0..self.solver.n_calls() {
            let sigma = self.solver.sigma(step);
            for (t, value) in self.timesteps.iter_mut().enumerate() {
                *value = if t < n_given { self.manifest.given_timestep } else { sigma };
            }
            self.session.write(self.wiring.timesteps, 0, Elements::F32(&self.timesteps))?;
            self.session.write(self.wiring.patches, 0, Elements::F32(self.solver.sample()))?;
            // Given latents stand clean in place, whatever the solver has made of theirs.
            self.session.write(self.wiring.patches, 0, Elements::F32(&self.given))?;
            self.call(0, limits)?;
            self.session.read(self.wiring.velocity, 0, &mut self.velocity)?;
            let [low, high] = self.guidance.interval;
            if self.guidance.scale != 0.0 && low <= sigma && sigma <= high {
                self.call(1, limits)?;
                self.session.read(self.wiring.velocity, 0, &mut self.without_text)?;
                for (v, u) in self.velocity.iter_mut().zip(&self.without_text) {
                    *v += self.guidance.scale * (*v - u);
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

    /// Encodes one frame (at the start of a clip) or fours of them to the latents from `row` on.
    pub(super) fn encode(
        &mut self,
        frames: &[&[u8]],
        state: usize,
        row: usize,
        limits: Limits<'_>,
    ) -> Result<(), ForecastError> {
        let frame_len = self.frame_len();
        for (to, frame) in self.pixels.chunks_mut(frame_len).zip(frames) {
            if frame.len() != frame_len {
                let (width, height) = (self.manifest.clip.width, self.manifest.clip.height);
                return Err(ForecastError::FrameSize { found: frame.len(), width, height });
            }
            for (to, byte) in to.iter_mut().zip(*frame) {
                *to = f32::from(*byte) / 127.5 - 1.0;
            }
        }
        let pixels = &self.pixels[..frames.len() * frame_len];
        self.session.write(self.wiring.frames, 0, Elements::F32(pixels))?;
        let first = frames.len() == 1;
        let graph = if first { &mut self.wiring.encode_first } else { &mut self.wiring.encode_step };
        let extent = [frames.len() / FRAMES_PER_LATENT];
        let extents: &[usize] = if first { &[] } else { &extent };
        let id = graph.id;
        Ok(self.session.run(id, &limits.run(extents, graph.windows(state, row)))?)
    }

    fn call(&mut self, text: usize, limits: Limits<'_>) -> Result<(), RunError> {
        let extents = [self.n_text_tokens[text], self.manifest.latents.n_patches()];
        let extents = if self.wiring.text_extent { &extents[..] } else { &extents[1..] };
        self.session.run(self.wiring.denoise, &limits.run(extents, &self.wiring.text_windows[text]))
    }

    fn run_text(&mut self, at: usize, place: usize) -> Result<(), RunError> {
        self.n_text_tokens[place] = self.manifest.texts[at].n_tokens;
        let windows = &self.wiring.text_windows[place];
        self.session.run(self.wiring.texts[at], &Limits::default().run(&[], windows))
    }
}
