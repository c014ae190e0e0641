//! Whether a request can be answered, as far as it decides itself.

use super::error::ForecastError;
use super::forecast::Predict;
use super::request::{ForecastRequest, Noise};

impl Predict {
    /// Whether a forecast could be made, as far as the request decides.
    ///
    /// # Errors
    /// What [`Predict::denoise`] would refuse it with: a plan of another width or length, or for an engine that takes none; noise of
    /// another length; either not finite; no such text; guidance without a text to lead away from.
    pub fn check(&self, request: &ForecastRequest<'_>) -> Result<(), ForecastError> {
        if let Some(plan) = request.actions {
            self.check_actions(plan)?;
        }
        if let Noise::Given { noise, renoise } = request.noise {
            for (found, expected) in [(noise, self.noise.len()), (renoise, self.renoise.len())] {
                if found.len() != expected {
                    return Err(ForecastError::NoiseLen { found: found.len(), expected });
                }
                if let Some(at) = found.iter().position(|v| !v.is_finite()) {
                    return Err(ForecastError::NoiseNotFinite(at));
                }
            }
        }
        self.text_of(request)?;
        if request.guidance.is_some_and(|guidance| guidance.scale != 0.0) && !self.manifest.can_guide() {
            return Err(ForecastError::NoNegative);
        }
        Ok(())
    }

    fn check_actions(&self, plan: &[f32]) -> Result<(), ForecastError> {
        let Some(actions) = &self.manifest.clip.actions else { return Err(ForecastError::NoActions) };
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
        match plan.iter().position(|v| !v.is_finite()) {
            Some(at) => Err(ForecastError::NotFinite { row: at / width, column: at % width }),
            None => Ok(()),
        }
    }

    /// The place of the text among the manifest's.
    pub(super) fn text_of(&self, request: &ForecastRequest<'_>) -> Result<usize, ForecastError> {
        let Some(name) = request.text else { return Ok(0) };
        self.manifest.texts.iter().position(|text| text.name == name).ok_or(ForecastError::NoText)
    }
}
