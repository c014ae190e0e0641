//! What is asked of a forecast, beside the frames that it starts from.

use crate::models::predict25::Guidance;
use crate::runtime::Limits;

/// What a forecast begins as.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Noise<'a> {
    /// Drawn from a seed (see [`fill_noise`](super::fill_noise)), in the order of a noise file; part `i` of the fresh noises from
    /// `seed + 1 + i`.
    Seed(u64),
    /// Given.
    Given {
        /// `[1, C, T, h, w]`.
        noise: &'a [f32],
        /// `[steps − 1, C, T, h, w]` where the schedule wants fresh noise for each step; empty elsewhere.
        renoise: &'a [f32],
    },
}

/// A forecast that is wanted, and its limits. What is not said has the engine's own default; nothing is kept for the next one.
#[derive(Clone, Copy, Debug)]
pub struct ForecastRequest<'a> {
    /// Where it begins.
    pub noise: Noise<'a>,
    /// A plan: rows of one action each, for every frame after the first or for the forecast ones. Without one the robot does nothing.
    pub actions: Option<&'a [f32]>,
    /// Which of the engine's texts; the first if none is named.
    pub text: Option<&'a str>,
    /// How far it is led away from the text `negative`.
    pub guidance: Option<Guidance>,
    /// When the work gives up.
    pub limits: Limits<'a>,
}

impl Default for ForecastRequest<'_> {
    fn default() -> Self {
        let limits = Limits::default();
        Self { noise: Noise::Seed(0), actions: None, text: None, guidance: None, limits }
    }
}
