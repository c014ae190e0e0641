//! Forecasts longer than the engine's clip: each chunk goes on from the last frames of the one before.
//!
//! As Predict2.5's own long videos (`generate_autoregressive_from_batch` of `cosmos_predict2/_src/predict2/inference/video2world.py` in
//! <https://github.com/nvidia-cosmos/cosmos-predict2.5>): a chunk is a clip of its own, given as many frames as the first one was; they
//! are decoded frames as bytes (rounded here, cut off there), encoded anew, and its noise has the seed of the first plus its number (see [`Predict::seed_of`]).
//! Only the plan is cut otherwise: a chunk is told the actions of its given frames too, which by then are known.
//!
//! Why not latents from chunk to chunk: the encoder is causal, so that a frame in the middle of a clip has other latents than one at
//! its beginning, which is what the denoiser was trained to go on from.

use super::error::ForecastError;
use super::forecast::Predict;
use super::request::{ForecastRequest, Noise};
use super::surprise::to_byte;
use crate::backend::RunError;
use crate::runtime::Limits;

/// What a rollout tells while it goes on.
#[derive(Clone, Copy, Debug)]
pub enum Progress<'a> {
    /// The frames that the chunk starts from are encoded.
    Encoded {
        /// Which chunk, counted from 0.
        chunk: usize,
    },
    /// A step of its denoising is done.
    Step {
        /// Which chunk.
        chunk: usize,
        /// Steps that are done.
        done: usize,
    },
    /// A call of the decoder is done.
    Decoded {
        /// Which chunk.
        chunk: usize,
        /// The given frames among those that it made, if it is the first chunk: `[n, height, width, 3]` in −1…1, not clamped.
        given: &'a [f32],
        /// Place of the first frame of `forecast` among all that are forecast.
        first: usize,
        /// The forecast ones.
        forecast: &'a [f32],
    },
}

/// A forecast of any length, chunk by chunk.
#[derive(Clone, Debug)]
pub struct Rollout {
    horizon: usize,
    /// Frames that a chunk forecasts.
    per_chunk: usize,
    n_given: usize,
    frame_len: usize,
    /// The newest frames, as bytes: what the next chunk starts from.
    context: Vec<u8>,
    /// Actions of every frame after the first given one, and behind them the last one again up to the end of the last chunk.
    plan: Vec<f32>,
}

impl Rollout {
    /// A forecast of `horizon` frames.
    ///
    /// # Errors
    /// If it is none, or longer than the clip of an engine that starts from no frames and so cannot go on from its own.
    pub fn new(predict: &Predict, horizon: usize) -> Result<Rollout, ForecastError> {
        let manifest = predict.manifest();
        let per_chunk = manifest.horizon();
        let refused = |expected| Err(ForecastError::Horizon { found: horizon, expected });
        if horizon == 0 {
            return refused("at least 1");
        }
        if manifest.clip.n_given == 0 && per_chunk < horizon {
            return refused(
                "at most the clip's: an engine that starts from no frames cannot go on from its own",
            );
        }
        let (n_given, frame_len) = (manifest.clip.n_given, predict.frame_len());
        let context = vec![0; n_given * frame_len];
        Ok(Rollout { horizon, per_chunk, n_given, frame_len, context, plan: Vec::new() })
    }

    /// Frames to forecast.
    pub fn horizon(&self) -> usize {
        self.horizon
    }

    /// Chunks that it takes.
    pub fn n_chunks(&self) -> usize {
        self.horizon.div_ceil(self.per_chunk)
    }

    /// Whether a forecast of this length could be made. The request's plan has rows for every frame of it after the first, or for the
    /// forecast ones.
    ///
    /// # Errors
    /// As [`Predict::check`].
    pub fn check(&self, predict: &Predict, request: &ForecastRequest<'_>) -> Result<(), ForecastError> {
        predict.check(&ForecastRequest { actions: None, ..*request })?;
        request.actions.map_or(Ok(()), |plan| self.rows(predict, plan).map(|_| ()))
    }

    /// Rows of a plan that are missing at its beginning, if it fits.
    fn rows(&self, predict: &Predict, plan: &[f32]) -> Result<usize, ForecastError> {
        let Some(actions) = &predict.manifest().clip.actions else { return Err(ForecastError::NoActions) };
        let width = actions.names.len();
        if !plan.len().is_multiple_of(width) {
            return Err(ForecastError::PlanWidth { found: plan.len(), width });
        }
        let before = self.n_given.max(1) - 1;
        let forecast = self.horizon - usize::from(self.n_given == 0);
        let (found, whole) = (plan.len() / width, before + forecast);
        if found != whole && found != forecast {
            return Err(ForecastError::PlanRows { found, whole, forecast });
        }
        if let Some(at) = plan.iter().position(|v| !v.is_finite()) {
            return Err(ForecastError::NotFinite { row: at / width, column: at % width });
        }
        Ok(whole - found)
    }

    /// Takes the request's plan, as far as the last chunk goes.
    fn take_plan(&mut self, predict: &Predict, request: &ForecastRequest<'_>) -> Result<(), ForecastError> {
        self.plan.clear();
        let Some(plan) = request.actions else { return Ok(()) };
        let n_missing = self.rows(predict, plan)?;
        let width = predict.manifest().clip.actions.as_ref().map_or(0, |actions| actions.names.len());
        let before = self.n_given.max(1) - 1;
        let n_rows = before + self.n_chunks() * self.per_chunk - usize::from(self.n_given == 0);
        self.plan.resize(n_missing * width, 0.0);
        self.plan.extend_from_slice(plan);
        while self.plan.len() < n_rows * width {
            match self.plan.len().checked_sub(width) {
                Some(last) => self.plan.extend_from_within(last..),
                None => self.plan.resize(width, 0.0),
            }
        }
        Ok(())
    }

    /// Forecasts from `given` frames, oldest first, each `[height, width, 3]` of bytes. A seed is of the first chunk's noise; noise that
    /// is given is every chunk's. Returns how many frames were forecast and decoded: fewer than the horizon when the limits said so
    /// after the first chunk was denoised.
    ///
    /// # Errors
    /// See [`Rollout::check`]; if the frames are of another number or size, a run failed, or the first chunk was not denoised in time.
    pub fn run(
        &mut self,
        predict: &mut Predict,
        given: &[&[u8]],
        request: &ForecastRequest<'_>,
        mut told: impl FnMut(Progress<'_>),
    ) -> Result<usize, ForecastError> {
        self.denoise_first(predict, given, request, &mut told)?;
        let mut done = 0;
        for chunk in 0.. {
            let wanted = self.per_chunk.min(self.horizon - done);
            let n_decoded = self.decode(predict, wanted, request.limits, chunk, &mut told)?;
            done += n_decoded;
            if n_decoded < wanted || done == self.horizon {
                break;
            }
            match self.denoise_next(predict, request, chunk + 1, &mut told) {
                Err(ForecastError::Run(RunError::Deadline | RunError::Stopped)) => break,
                other => other?,
            }
        }
        Ok(done)
    }

    /// Makes the latents of the first chunk, and decodes nothing.
    ///
    /// # Errors
    /// As [`Rollout::run`].
    pub fn denoise_first(
        &mut self,
        predict: &mut Predict,
        given: &[&[u8]],
        request: &ForecastRequest<'_>,
        mut told: impl FnMut(Progress<'_>),
    ) -> Result<(), ForecastError> {
        self.check(predict, request)?;
        self.take_plan(predict, request)?;
        predict.show(given, request.limits)?;
        for (to, frame) in self.context.chunks_mut(self.frame_len).zip(given) {
            to.copy_from_slice(frame);
        }
        told(Progress::Encoded { chunk: 0 });
        self.denoise(predict, request, 0, &mut told)
    }

    /// Makes the latents of a later chunk.
    fn denoise_next(
        &mut self,
        predict: &mut Predict,
        request: &ForecastRequest<'_>,
        chunk: usize,
        told: &mut impl FnMut(Progress<'_>),
    ) -> Result<(), ForecastError> {
        let context: Vec<&[u8]> = self.context.chunks(self.frame_len).collect();
        predict.show(&context, request.limits)?;
        told(Progress::Encoded { chunk });
        self.denoise(predict, request, chunk, told)
    }

    /// Makes a chunk's latents from its own noise and its part of the plan.
    fn denoise(
        &self,
        predict: &mut Predict,
        request: &ForecastRequest<'_>,
        chunk: usize,
        told: &mut impl FnMut(Progress<'_>),
    ) -> Result<(), ForecastError> {
        let noise = match request.noise {
            Noise::Seed(seed) => Noise::Seed(predict.seed_of(seed, chunk)),
            given => given,
        };
        let clip = &predict.manifest().clip;
        let width = clip.actions.as_ref().map_or(0, |actions| actions.names.len());
        let (first, n_rows) = (chunk * self.per_chunk, clip.n_frames - 1);
        let actions = request.actions.map(|_| &self.plan[first * width..(first + n_rows) * width]);
        let request = ForecastRequest { noise, actions, ..*request };
        predict.denoise(&request, |done| told(Progress::Step { chunk, done }))
    }

    /// Decodes the chunk's first `wanted` forecast frames, which become the newest ones; says how many there are.
    fn decode(
        &mut self,
        predict: &mut Predict,
        wanted: usize,
        limits: Limits<'_>,
        chunk: usize,
        told: &mut impl FnMut(Progress<'_>),
    ) -> Result<usize, ForecastError> {
        let (n_given, frame_len) = (self.n_given, self.frame_len);
        let end = n_given + wanted;
        let n_decoded = predict.decode_first(end, limits, |part| {
            let n = (part.pixels.len() / frame_len).min(end - part.first);
            let n_given_here = n_given.saturating_sub(part.first).min(n);
            let (given, forecast) = part.pixels[..n * frame_len].split_at(n_given_here * frame_len);
            for frame in forecast.chunks(frame_len).filter(|_| 0 < n_given) {
                self.context.rotate_left(frame_len);
                let newest = &mut self.context[(n_given - 1) * frame_len..];
                newest.iter_mut().zip(frame).for_each(|(to, value)| *to = to_byte(*value));
            }
            let first = chunk * self.per_chunk + (part.first + n_given_here).saturating_sub(n_given);
            let given = if chunk == 0 { given } else { &[] };
            told(Progress::Decoded { chunk, given, first, forecast });
        })?;
        Ok(n_decoded.min(end).saturating_sub(n_given))
    }
}
