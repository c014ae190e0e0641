//! What the stages of Predict are told: the VAE's sizes, the denoiser's, how a student is to be asked.

use std::path::PathBuf;

use serde::Deserialize;

use super::{Scenes, within};

/// A causal VAE in the layout of Wan 2.1.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaeRecipe {
    /// The checkpoint whose VAE is begun with, relative to the recipe: it must have the sizes below. Random weights if none is named.
    pub from: Option<PathBuf>,
    /// Channels of the first level.
    pub base_dim: usize,
    /// Factors of it, level by level.
    pub dim_mult: Vec<usize>,
    /// Residual blocks of a level.
    pub num_res_blocks: usize,
    /// Channels of a latent.
    pub z_dim: usize,
    /// Which levels halve time; two of them.
    pub halve_time: Vec<bool>,
    /// Noise on latents at most, as a share of their standard deviation: a decoder must bear what a denoiser gets wrong.
    pub noise: f64,
    /// How much more pixels of objects count.
    pub object_weight: f64,
}

/// A denoiser in the layout of Predict2.5, which is taught to undo noise.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TeacherRecipe {
    /// The checkpoint of a VAE, which gives the latents, relative to the recipe.
    pub vae: PathBuf,
    /// The checkpoint whose denoiser is begun with, relative to the recipe: it must have the sizes below, and what takes actions is begun
    /// at random where it takes none. Random weights if none is named.
    pub from: Option<PathBuf>,
    /// Attention heads.
    pub heads: usize,
    /// Channels of a head.
    pub head_dim: usize,
    /// Blocks.
    pub layers: usize,
    /// Rank of the maps from timestep to modulation.
    pub adaln_dim: usize,
    /// Channels of the text token.
    pub text_dim: usize,
    /// How often each number of frames is given: pairs of frames and share.
    pub given: Vec<(usize, f64)>,
    /// Share of clips whose actions are dropped, for guidance.
    #[serde(default)]
    pub drop_actions: f64,
    /// Shift of the timesteps towards noise.
    pub shift: f64,
    /// Share of timesteps drawn from the noisiest twentieth.
    #[serde(default)]
    pub noisiest: f64,
    /// How much more latents count where objects and pusher are: a small pusher is little of a picture.
    #[serde(default = "super::one_f64")]
    pub object_weight: f64,
    /// The falling σ at which the checkpoint says that it is to be asked. At 1 alone it says what is to be expected on average, which is
    /// what plans are ranked by. A usual schedule where there are none.
    #[serde(default)]
    pub sigmas: Vec<f64>,
}

/// A denoiser of few steps, distilled from a teacher.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StudentRecipe {
    /// The teacher's checkpoint, relative to the recipe.
    pub teacher: PathBuf,
    /// How often each number of frames is given: pairs of frames and share.
    pub given: Vec<(usize, f64)>,
    /// Times of the grid on which student and running mean must agree.
    pub times: usize,
    /// Shift of the grid towards noise.
    pub shift: f64,
    /// The falling σ at which the checkpoint says that it is to be asked.
    pub sigmas: Vec<f64>,
}

impl VaeRecipe {
    pub(super) fn check(&self, scenes: &Scenes) -> Result<(), String> {
        scenes.check_latents()?;
        within("vae.base_dim", self.base_dim, 1, 1024)?;
        within("vae.num_res_blocks", self.num_res_blocks, 1, 8)?;
        within("vae.z_dim", self.z_dim, 1, 1024)?;
        within("vae.noise", self.noise, 0.0, 10.0)?;
        within("vae.object_weight", self.object_weight, 0.0, 1e3)?;
        let n = self.dim_mult.len();
        if !(2..=8).contains(&n) || self.dim_mult.iter().any(|m| !(1..=64).contains(m)) {
            return Err(format!(
                "`vae.dim_mult` is {:?}; expected two to eight numbers up to 64",
                self.dim_mult
            ));
        }
        if self.halve_time.len() != n - 1 || self.halve_time.iter().filter(|halve| **halve).count() != 2 {
            let found = &self.halve_time;
            return Err(format!(
                "`vae.halve_time` is {found:?}; expected {} flags, two of them true: four frames to a latent",
                n - 1
            ));
        }
        let factor = 1 << (n - 1);
        if !scenes.size.is_multiple_of(factor) {
            let size = scenes.size;
            return Err(format!("`scenes.size` is {size}; expected a multiple of {factor}, a latent's side"));
        }
        Ok(())
    }
}

impl TeacherRecipe {
    pub(super) fn check(&self, scenes: &Scenes) -> Result<(), String> {
        within("teacher.heads", self.heads, 1, 256)?;
        within("teacher.layers", self.layers, 1, 256)?;
        within("teacher.adaln_dim", self.adaln_dim, 1, 4096)?;
        within("teacher.text_dim", self.text_dim, 1, 1 << 14)?;
        within("teacher.drop_actions", self.drop_actions, 0.0, 1.0)?;
        within("teacher.shift", self.shift, 0.1, 100.0)?;
        within("teacher.noisiest", self.noisiest, 0.0, 1.0)?;
        within("teacher.object_weight", self.object_weight, 0.0, 1e3)?;
        if self.head_dim < 12 || 1024 < self.head_dim || !self.head_dim.is_multiple_of(2) {
            return Err(format!(
                "`teacher.head_dim` is {}; expected an even number from 12 to 1024",
                self.head_dim
            ));
        }
        if !self.sigmas.is_empty() {
            check_sigmas("teacher", &self.sigmas)?;
        }
        check_given("teacher", &self.given, scenes)
    }
}

impl StudentRecipe {
    pub(super) fn check(&self, scenes: &Scenes) -> Result<(), String> {
        within("student.times", self.times, 2, 10_000)?;
        within("student.shift", self.shift, 0.1, 100.0)?;
        check_sigmas("student", &self.sigmas)?;
        check_given("student", &self.given, scenes)
    }
}

fn check_sigmas(table: &str, sigmas: &[f64]) -> Result<(), String> {
    let falls = sigmas.windows(2).all(|pair| pair[1] < pair[0]);
    let is_sigma = |sigma: &f64| 0.0 < *sigma && *sigma <= 1.0;
    if sigmas.is_empty() || !falls || !sigmas.iter().all(is_sigma) {
        return Err(format!("`{table}.sigmas` is {sigmas:?}; expected falling numbers in 0…1"));
    }
    Ok(())
}

/// One length of clip, and shares of how many of its frames are given.
fn check_given(table: &str, given: &[(usize, f64)], scenes: &Scenes) -> Result<(), String> {
    scenes.check_latents()?;
    let [n_frames] = scenes.frames[..] else {
        return Err(format!("`scenes.frames` is {:?}; expected one length, the forecast's", scenes.frames));
    };
    let fits = |(n, share): &(usize, f64)| {
        (*n == 0 || n % 4 == 1) && *n < n_frames && share.is_finite() && 0.0 <= *share
    };
    let total: f64 = given.iter().map(|(_, share)| share).sum();
    if given.iter().all(fits) && 0.0 < total {
        return Ok(());
    }
    Err(format!(
        "`{table}.given` is {given:?}; expected pairs of frames (0, 1, 5, …, fewer than the clip's) and their shares"
    ))
}
