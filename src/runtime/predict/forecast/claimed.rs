//! How much an opened Predict engine holds, and how much it makes at once.

use super::Predict;
use crate::backend::Memory;
use crate::models::wan_vae::FRAMES_PER_LATENT;

impl Predict {
    /// Bytes of the session, by purpose.
    pub fn session_memory(&self) -> Memory {
        self.session.memory()
    }

    /// Frames of one call of the decoder, after the first call's single one. The last call of a clip may make fewer.
    pub fn frames_per_chunk(&self) -> usize {
        self.wiring.latents_per_call * FRAMES_PER_LATENT
    }

    /// Bytes that the loop itself has claimed: noise, samples, latents.
    pub fn claimed_bytes(&self) -> u64 {
        let clips = [&self.noise, &self.renoise, &self.velocity, &self.latents, &self.given];
        let floats: usize = clips.iter().map(|values| values.len()).sum();
        4 * floats as u64 + self.solver.claimed_bytes()
    }
}
