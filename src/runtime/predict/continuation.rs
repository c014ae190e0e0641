//! The latents after the given ones: those of a forecast, and those of frames that a forecast may be compared with.
//!
//! The VAE's encoder is causal, so a frame's latent depends on the frames before it. Frames are therefore encoded onward from the
//! caches that the shown frames left, never anew: only then do they stand where a forecast's latents stand.

use super::error::ForecastError;
use super::forecast::Predict;
use crate::models::wan_vae::FRAMES_PER_LATENT;
use crate::runtime::Limits;

impl Predict {
    /// The forecast's latents after the given ones, `[n, height, width, channels]`, in standard deviations of the checkpoint's latents.
    ///
    /// # Errors
    /// If nothing was forecast.
    pub fn continuation(&self) -> Result<&[f32], ForecastError> {
        if !self.forecast_done {
            return Err(ForecastError::Nothing);
        }
        let shape = self.manifest.latents;
        Ok(&self.latents[self.manifest.n_given_latents() * shape.frame_len()..])
    }

    /// Encodes frames that follow the shown ones, each `[height, width, 3]` of bytes, as if they had come: `out` begins with their
    /// latents, as [`Predict::continuation`] orders them. Returns how many latents; frames that fill none are left out.
    ///
    /// It uses up the encoder caches of the shown frames: to encode another continuation, or to learn how surprising what comes after
    /// a forecast is, show them again. Forecasts themselves are not affected.
    ///
    /// # Errors
    /// If no frames were shown, these are too few or too many or of another size, or a run failed.
    ///
    /// # Panics
    /// If `out` is shorter than their latents.
    pub fn encode_onward(
        &mut self,
        frames: &[&[u8]],
        out: &mut [f32],
        limits: Limits<'_>,
    ) -> Result<usize, ForecastError> {
        let first = self.manifest.n_given_latents();
        // With nothing given, the first frame is a latent of its own.
        let alone = usize::from(first == 0);
        let (least, most) = (if first == 0 { 1 } else { FRAMES_PER_LATENT }, self.manifest.horizon());
        if !(least..=most).contains(&frames.len()) {
            return Err(ForecastError::Continuation { found: frames.len(), least, most });
        }
        self.check_sizes(frames)?;
        let shared = self.session.clone();
        let mut held = shared.take(limits)?;
        let session = held.session.as_mut();
        let encoding = match first {
            0 => Some(self.encodings.begin()),
            _ => self.shown.take().and_then(|lease| self.encodings.go_on(lease)),
        };
        // Never finished: what follows shown frames is compared once, and its caches are of no use to anyone.
        let encoding = encoding.ok_or(ForecastError::NotShown)?;
        let n_latents = (frames.len() - alone) / FRAMES_PER_LATENT + alone;
        let (mut at, mut from) = (0, 0);
        while at < n_latents {
            let (k, n_frames) = match first + at {
                0 => (1, 1),
                _ => {
                    let k = self.wiring.latents_per_call.min(n_latents - at);
                    (k, k * FRAMES_PER_LATENT)
                }
            };
            self.encode(&frames[from..from + n_frames], &encoding, first + at, session, limits)?;
            (at, from) = (at + k, from + n_frames);
        }
        let len = n_latents * self.manifest.latents.frame_len();
        session.read(self.wiring.encoded, first, &mut out[..len])?;
        Ok(n_latents)
    }

    /// Encodes a whole clip of true frames, each `[height, width, 3]` of bytes, and lets it stand as the forecast: its latents are theirs,
    /// and [`Predict::decode`] gives them back as the VAE does.
    ///
    /// # Errors
    /// If they are of another number or size, or a run failed.
    pub fn recall(&mut self, frames: &[&[u8]], limits: Limits<'_>) -> Result<(), ForecastError> {
        let (n_given, expected) = (self.manifest.clip.n_given, self.manifest.clip.n_frames);
        if frames.len() != expected {
            return Err(ForecastError::FrameCount { found: frames.len(), expected });
        }
        self.show(&frames[..n_given], limits)?;
        let shape = self.manifest.latents;
        let given = self.manifest.n_given_latents() * shape.frame_len();
        let mut onward = vec![0.0; shape.len() - given];
        self.encode_onward(&frames[n_given..], &mut onward, limits)?;
        self.latents[given..].copy_from_slice(&onward);
        self.conclude();
        Ok(())
    }
}
