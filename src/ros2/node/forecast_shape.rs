//! What an engine that forecasts starts from and tells.

/// The clips that an engine forecasts.
#[derive(Debug, Clone, PartialEq)]
pub struct ForecastShape {
    /// Frames that a forecast starts from, at least one.
    pub n_given: usize,
    /// Frames that it tells, at most.
    pub horizon: usize,
    /// Frames in a second.
    pub rate_hz: f64,
    /// Pixels of a row of a forecast frame.
    pub width: usize,
    /// Rows of a forecast frame.
    pub height: usize,
    /// What each column of a plan steers; none for an engine that takes no actions.
    pub action_names: Vec<String>,
    /// The lowest and the highest that each of them is trained for, where that is known.
    pub action_limits: Vec<[f32; 2]>,
}
