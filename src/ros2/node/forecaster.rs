//! What the node needs of an engine that forecasts.

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use serde_json::{Map, Value};

use super::answerer::Outcome;
use super::forecast_shape::ForecastShape;
use super::plan_request::PlanRequest;
use crate::frames::frame::Received;

/// Frames to look at: to compare with what was expected, and to forecast from.
#[derive(Debug, Clone, Copy)]
pub struct Look<'a> {
    /// Oldest first. The last [`ForecastShape::n_given`] are the clip; those that follow the frame looked at last are all there,
    /// as far as a forecast reaches, if their places are without a gap.
    pub frames: &'a [Received],
    /// Rows of actions for the frames after the clip, [`ForecastShape::horizon`] of them; none where the engine takes none.
    pub plan: Option<&'a [f32]>,
    /// What is another than in the engine's own forecasts, where somebody else wants one.
    pub beside: Option<Beside>,
    /// When a forecast is of no use any more; `None` where time stands still.
    pub deadline: Option<Instant>,
    /// Set when the node is to leave.
    pub stop: &'a AtomicBool,
}

/// A forecast beside the engine's own: nothing that comes is held against it, and what is held against them is as without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beside {
    /// Of the noise, if it is to be another.
    pub seed: Option<u64>,
    /// Whether its frames are told.
    pub with_frames: bool,
}

/// What an engine tells while it looks, each as soon as it is there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Glimpse<'a> {
    /// A frame that came, compared with an earlier forecast.
    Surprise {
        /// Which of the look's frames.
        frame: usize,
        /// How many frames after the forecast's clip it came, from 1.
        ahead: usize,
        /// Of the latent that ends with it, if one does, or of that latent's most surprising place if this is asked for.
        latent: Option<f32>,
        /// Of the frame, if it was decoded.
        pixels: Option<f32>,
    },
    /// A forecast frame, nearest first.
    Frame {
        /// How many frames after the clip, from 1.
        ahead: usize,
        /// `[height, width, 3]`
        rgb: &'a [u8],
    },
}

/// A forecast, made.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Forecast {
    /// Whether frames should have been told, and not all were.
    pub is_cut: bool,
    /// Milliseconds that the clip's encoding took.
    pub encode_ms: f64,
    /// Milliseconds that denoising took.
    pub denoise_ms: f64,
    /// Milliseconds of one step of the denoiser.
    pub step_ms: f64,
    /// Milliseconds that the frames took; what was told of them is part of it.
    pub decode_ms: f64,
    /// Calls of the denoiser.
    pub n_steps: usize,
    /// Of the noise.
    pub seed: u64,
    /// Whether it stayed in latent space.
    pub latent_only: bool,
}

/// Forecasts frames and compares what comes with what it expected; an engine's session, or whatever else can.
pub trait Forecaster: Send {
    /// What it takes and gives; always the same.
    fn shape(&self) -> &ForecastShape;

    /// Forgets what another node's camera has shown: places count anew.
    fn begin(&mut self) {}

    /// Compares, then forecasts by the deadline, or says why not. Must look at `deadline` and `stop` often.
    fn look(&mut self, look: &Look<'_>, tell: &mut dyn FnMut(Glimpse<'_>)) -> Outcome<Forecast>;

    /// Whether it can forecast beside its own forecasts, for these rows of actions where they are not those of its own.
    ///
    /// # Errors
    /// What is wrong, in words.
    fn check_beside(&self, plan: Option<&[f32]>) -> Result<(), String> {
        let _ = plan;
        Ok(())
    }

    /// Ranks plans by what would follow `given`, the clip of the look that was made last; the members of the result, or why there
    /// is none. Must look at `deadline` and `stop` often.
    fn plan(
        &mut self,
        request: &PlanRequest,
        given: &[Received],
        deadline: Option<Instant>,
        stop: &AtomicBool,
    ) -> Result<Map<String, Value>, String> {
        let _ = (request, given, deadline, stop);
        Err("this engine ranks no plans".to_owned())
    }
}
