//! How much an opened Predict engine holds, and how much it makes at once.

use super::Predict;
use crate::models::wan_vae::FRAMES_PER_LATENT;

impl Predict {
    /// Frames of one call of the decoder, after the first call's single one. The last call of a clip may make fewer.
    pub fn frames_per_chunk(&self) -> usize {
        self.wiring.latents_per_call * FRAMES_PER_LATENT
    }

    /// Bytes that the loop itself has claimed: noise, samples, frames on their way in or out.
    pub fn claimed_bytes(&self) -> u64 {
        let clips = [&self.noise, &self.renoise, &self.velocity, &self.without_text, &self.latents];
        let parts = [&self.given, &self.timesteps, &self.pixels, &self.actions];
        let floats: usize = clips.iter().chain(&parts).map(|values| values.len()).sum();
        4 * floats as u64 + self.solver.claimed_bytes()
    }
}
