//! Why there is no ranking.

use crate::runtime::predict::ForecastError;
use crate::runtime::reason::AskError;

/// Why there is no ranking.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// Nothing to choose from.
    #[error("there is no candidate; give at least one plan of actions")]
    NoCandidates,
    /// No noise to start from.
    #[error("0 noises; a forecast starts from at least one")]
    NoNoises,
    /// The expected surprise of one forecast.
    #[error(
        "the expected surprise is a distance between forecasts of the same plan: it takes at least 2 noises"
    )]
    OneNoise,
    /// A candidate that the engine does not take, or that it breaks on.
    #[error("candidate {index} ({from}): {error}")]
    Candidate {
        /// Its place, from 0.
        index: usize,
        /// Where it came from.
        from: String,
        /// Why.
        error: ForecastError,
    },
    /// A spread for another number of actions, or that is no spread.
    #[error(
        "a spread of {found}: expected one number from 0 on for all actions, or one for each of the {width}"
    )]
    Spread {
        /// What was given.
        found: String,
        /// Actions of a row.
        width: usize,
    },
    /// A correlation out of range.
    #[error("a correlation of {0}: expected a number from 0 on, below 1")]
    Correlation(f32),
    /// More or fewer frames for the critic than are forecast.
    #[error("{found} frames for the critic: expected 1 to {horizon}, as many as are forecast")]
    CriticFrames {
        /// What was asked.
        found: usize,
        /// Frames that are forecast.
        horizon: usize,
    },
    /// An expected answer that is none of the choices.
    #[error("the expected answer `{expected}` is none of the choices: {choices}")]
    Expected {
        /// What was expected.
        expected: String,
        /// What may be answered.
        choices: String,
    },
    /// Given frames or a target that cannot be encoded.
    #[error(transparent)]
    Forecast(#[from] ForecastError),
    /// The critic did not answer.
    #[error("the critic: {0}")]
    Critic(#[from] AskError),
    /// Not even the first candidate was ready in time.
    #[error(
        "the budget ended before the first candidate was rolled out; give it more time, or an engine of fewer steps"
    )]
    NoTime,
}
