//! The loop of Predict: frames and actions in, a forecast out, and how far it lay from what came.

mod blur;
mod check;
mod continuation;
mod encodings;
mod error;
mod forecast;
mod noise;
mod request;
mod rollout;
mod solver;
mod surprise;
mod wiring;

pub(super) use blur::Blur;
pub use error::{ForecastError, OpenError};
pub use forecast::{Decoded, Predict, check_steps};
pub use noise::{fill_noise, fill_noise_of_stream};
pub use request::{ForecastRequest, Noise};
pub use rollout::{Progress, Rollout};
pub use solver::{Inputs, Solver};
pub use surprise::{Expectation, Surprise, to_byte};

pub use crate::runtime::Limits;
