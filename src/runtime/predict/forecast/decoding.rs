//! Latents of a forecast become frames, the nearest future first.

use super::{Decoded, Predict};
use crate::backend::{Elements, RunError};
use crate::models::wan_vae::FRAMES_PER_LATENT;
use crate::runtime::Limits;
use crate::runtime::predict::ForecastError;

impl Predict {
    /// Decodes the clip from its start, since the decoder is causal; `each` is given the frames of a call as soon as they are there.
    /// Returns how many frames of the clip were decoded: fewer than all when the limits said so.
    ///
    /// # Errors
    /// If nothing was forecast, or a run failed.
    pub fn decode(
        &mut self,
        limits: Limits<'_>,
        each: impl FnMut(Decoded<'_>),
    ) -> Result<usize, ForecastError> {
        self.decode_first(self.manifest.clip.n_frames, limits, each)
    }

    /// The same for the first `n_wanted` frames, and what the last call made beyond them.
    pub(in crate::runtime::predict) fn decode_first(
        &mut self,
        n_wanted: usize,
        limits: Limits<'_>,
        mut each: impl FnMut(Decoded<'_>),
    ) -> Result<usize, ForecastError> {
        if !self.forecast_done {
            return Err(ForecastError::Nothing);
        }
        let shared = self.session.clone();
        let mut held = match shared.take(limits) {
            Err(RunError::Deadline | RunError::Stopped) => return Ok(0),
            other => other?,
        };
        let session = held.session.as_mut();
        session.write(self.wiring.latents, 0, Elements::F32(&self.latents))?;
        let n = self.manifest.latents.n_latents;
        let (mut at, mut first) = (0, 0);
        while at < n && first < n_wanted {
            let (k, n_frames) = match at {
                0 => (1, 1),
                _ => {
                    let k = self.wiring.latents_per_call.min(n - at);
                    (k, k * FRAMES_PER_LATENT)
                }
            };
            let graph = if at == 0 { &mut self.wiring.decode_first } else { &mut self.wiring.decode_step };
            let (id, extent) = (graph.id, [k]);
            let extents: &[usize] = if at == 0 { &[] } else { &extent };
            match session.run(id, &limits.run(extents, graph.windows(0, at))) {
                Err(RunError::Deadline | RunError::Stopped) => return Ok(first),
                other => other?,
            }
            each(Decoded { first, pixels: session.view(self.wiring.pixels, 0, n_frames)? });
            at += k;
            first += n_frames;
        }
        Ok(first)
    }
}
