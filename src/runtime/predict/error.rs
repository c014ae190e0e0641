//! Why an engine cannot forecast, or did not.

use crate::backend::RunError;

/// Why an engine cannot be opened as Predict's.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The network is none of Predict's, or the manifest another's.
    #[error("the engine is none that forecasts: {0}")]
    Network(String),
    /// More or fewer steps than its schedule has.
    #[error("{found} steps: expected {expected}")]
    Steps {
        /// What was asked.
        found: usize,
        /// What it may be.
        expected: String,
    },
    /// A first run failed.
    #[error("the engine's texts could not be prepared: {0}")]
    Run(#[from] RunError),
}

/// Why there is no forecast. `Copy`, so that failing allocates nothing either.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ForecastError {
    /// A run failed, was stopped or took too long.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Not the number of frames that the engine starts from.
    #[error("{found} frames: the engine forecasts from {expected}")]
    FrameCount {
        /// What was given.
        found: usize,
        /// What is needed.
        expected: usize,
    },
    /// A frame of another size.
    #[error("a frame of {found} bytes: expected {width}×{height} pixels of red, green and blue")]
    FrameSize {
        /// Bytes given.
        found: usize,
        /// Of the engine's frames.
        width: usize,
        /// Of the engine's frames.
        height: usize,
    },
    /// The engine takes no actions.
    #[error("the engine takes no actions")]
    NoActions,
    /// A plan of the wrong length.
    #[error(
        "a plan of {found} rows: expected {whole} (every frame after the first) or {forecast} (the forecast ones)"
    )]
    PlanRows {
        /// Rows given.
        found: usize,
        /// Rows of the whole clip.
        whole: usize,
        /// Rows of what is forecast.
        forecast: usize,
    },
    /// A row of the wrong width.
    #[error("{found} values are no whole rows of {width}")]
    PlanWidth {
        /// Values given.
        found: usize,
        /// Values of a row.
        width: usize,
    },
    /// An action that is no number.
    #[error("action {column} of row {row} is not a finite number")]
    NotFinite {
        /// Row of the plan.
        row: usize,
        /// Column of the plan.
        column: usize,
    },
    /// A forecast of no frames, or one beyond the clip by an engine that starts from none.
    #[error("a horizon of {found} frames: expected {expected}")]
    Horizon {
        /// Frames asked for.
        found: usize,
        /// What it may be.
        expected: &'static str,
    },
    /// Noise of another shape.
    #[error("noise of {found} values: expected {expected}")]
    NoiseLen {
        /// Values given.
        found: usize,
        /// Values of a clip.
        expected: usize,
    },
    /// Noise that is no number.
    #[error("value {0} of the noise is not a finite number")]
    NoiseNotFinite(usize),
    /// There is no such text.
    #[error("the engine has no text of that name")]
    NoText,
    /// Guidance without a text to lead away from.
    #[error("the engine has no text `negative`, which guidance leads away from")]
    NoNegative,
    /// What the network computed is no number.
    #[error("the network computed values that are not finite at step {0}")]
    Broken(usize),
    /// What is to be encoded follows no shown frames, or those that did were followed already.
    #[error("no frames were shown that these could follow: show the given ones first")]
    NotShown,
    /// A continuation that is no latent, or longer than the forecast.
    #[error("{found} frames that follow: expected {least} to {most}, as many as the engine forecasts")]
    Continuation {
        /// Frames given.
        found: usize,
        /// Frames of one latent.
        least: usize,
        /// Frames that are forecast.
        most: usize,
    },
    /// Nothing was forecast yet.
    #[error("nothing has been forecast yet")]
    Nothing,
}
