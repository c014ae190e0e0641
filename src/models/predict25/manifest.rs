//! What stands in a model and in an engine about a Predict network: all that the loop needs beside the graphs.

use serde::{Deserialize, Serialize};

use super::{ClipOptions, Generation, LatentShape, Schedule};
use crate::graph::Network;

/// The name of the text that guidance leads away from.
pub const NEGATIVE: &str = "negative";
/// A text whose embedding is in the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextEntry {
    /// As it is asked for.
    pub name: String,
    /// Its tokens.
    pub n_tokens: usize,
}

/// Classifier-free guidance, `cond + scale (cond − uncond)` (Ho & Salimans 2022, <https://arxiv.org/abs/2207.12598>), where `cond` and
/// `uncond` are velocities for the text and for [`NEGATIVE`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guidance {
    /// 0 asks the network once a step.
    pub scale: f32,
    /// Lowest and highest sigma at which there is any.
    pub interval: [f32; 2],
}

/// Everything that a Predict engine needs beside network and weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PredictManifest {
    /// Whose pipeline it follows.
    pub generation: Generation,
    /// Size of the clip, what is given of it, and its actions.
    pub clip: ClipOptions,
    /// Extents of its latents.
    pub latents: LatentShape,
    /// Frames in a second.
    pub fps: f64,
    /// At which sigmas, and by which solver.
    pub schedule: Schedule,
    /// Steps unless another number is asked for.
    pub steps: usize,
    /// What the network is told in place of sigma about given frames.
    pub given_timestep: f32,
    /// The texts; the first is the standing one.
    pub texts: Vec<TextEntry>,
    /// Guidance unless another is asked for.
    pub guidance: Guidance,
}

impl PredictManifest {
    /// Latents of the given frames.
    pub fn n_given_latents(&self) -> usize {
        ClipOptions::n_latents(self.clip.n_given)
    }

    /// Frames that are forecast.
    pub fn horizon(&self) -> usize {
        self.clip.n_frames - self.clip.n_given
    }

    /// Whether there is a text to lead away from.
    pub fn can_guide(&self) -> bool {
        self.texts.iter().any(|t| t.name == NEGATIVE)
    }

    /// Checks what the loop would otherwise find out by a panic: the network's graphs and buffers, and that sizes agree.
    ///
    /// # Errors
    /// What is expected and what was found, in words.
    pub fn check(&self, network: &Network) -> Result<(), String> {
        self.clip.check(1).map_err(|e| e.to_string())?;
        if !(self.fps.is_finite() && 0.0 < self.fps) || self.steps == 0 || 1 << 16 < self.steps {
            return Err(format!(
                "a rate and a number of steps above 0 expected, found {} and {}",
                self.fps, self.steps
            ));
        }
        self.schedule.check()?;
        let shape = self.latents;
        if shape.n_latents != ClipOptions::n_latents(self.clip.n_frames) || shape.n_patches() == 0 {
            return Err(format!("latents {shape:?} are not those of {} frames", self.clip.n_frames));
        }
        let graphs =
            ["encode_first", "encode_step", "denoise", "decode_first", "decode_step"].map(String::from);
        let texts = self.texts.iter().map(|t| graph_name(&t.name));
        for name in graphs.into_iter().chain(texts) {
            network.graph(&name).ok_or(format!("graph `{name}` should be there"))?;
        }
        if self.texts.is_empty() {
            return Err("at least one text should be there".into());
        }
        let frame = [self.clip.height, self.clip.width, 3];
        let latent = [shape.height, shape.width, shape.channels];
        let patch = [shape.frame_len() / shape.n_patches()];
        for (name, row) in [
            ("frames", &frame[..]),
            ("pixels", &frame[..]),
            ("encoded", &latent[..]),
            ("latents", &latent[..]),
            ("patches", &patch[..]),
            ("velocity", &patch[..]),
            ("positions", &[3][..]),
            ("mask", &[1][..]),
            ("timesteps", &[][..]),
        ] {
            let id = network.buffer(name).ok_or(format!("buffer `{name}` should be there"))?;
            let found = &network.buffers[id.index()].shape;
            if &found[1..] != row {
                return Err(format!("buffer `{name}` should have rows {row:?}, it is {found:?}"));
            }
            let rows = match name {
                "frames" | "pixels" => 4,
                "patches" | "velocity" | "positions" => shape.n_latents * shape.n_patches(),
                _ => shape.n_latents,
            };
            if found[0] < rows {
                return Err(format!("buffer `{name}` should have {rows} rows, it has {}", found[0]));
            }
        }
        if let Some(actions) = &self.clip.actions {
            let found = network.buffer("actions").map(|id| network.buffers[id.index()].shape.clone());
            let expected = vec![self.clip.n_frames - 1, actions.names.len()];
            if found.as_ref() != Some(&expected) {
                return Err(format!("buffer `actions` should be {expected:?}, it is {found:?}"));
            }
        }
        Ok(())
    }
}

/// The graph of the text of that name.
pub fn graph_name(text: &str) -> String {
    format!("text_{text}")
}
