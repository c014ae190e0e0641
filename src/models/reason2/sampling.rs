//! How tokens are chosen, as a checkpoint's authors say and as a question may say otherwise; its ranges and its defaults.
//!
//! It stands this low because a checkpoint says it first: the model's manifest, the command and the node hand the same value on.

use serde::{Deserialize, Serialize};

/// How tokens are chosen. The one type for it, from a checkpoint's defaults to an answer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sampling {
    /// Takes the likeliest token after the penalties; what follows is then without meaning.
    pub greedy: bool,
    /// Divides the logits; above 0.
    pub temperature: f32,
    /// Keeps this many of the likeliest tokens; 0 keeps all.
    pub top_k: usize,
    /// Keeps the likeliest tokens until they have this share of the probability; above 0, at most 1.
    pub top_p: f32,
    /// Divides positive and multiplies negative logits of tokens that stand in the prompt or the answer (Keskar et al. 2019,
    /// <https://arxiv.org/abs/1909.05858>); above 0, 1 for none.
    pub repetition_penalty: f32,
    /// Taken from the logits of tokens that stand in the answer; 0 for none.
    pub presence_penalty: f32,
    /// Where the draws begin.
    pub seed: u64,
}

impl Default for Sampling {
    /// What transformers takes where a checkpoint says nothing: the likeliest token.
    fn default() -> Self {
        Self {
            greedy: true,
            temperature: 1.0,
            top_k: 50,
            top_p: 1.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            seed: 0,
        }
    }
}

/// A setting outside of its range.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("{setting} is {found}; expected {expected}")]
pub struct SamplingError {
    /// Which setting.
    pub setting: &'static str,
    /// Its value.
    pub found: f32,
    /// What it may be.
    pub expected: &'static str,
}

impl Sampling {
    /// Checks the ranges.
    ///
    /// # Errors
    /// The first setting outside of its range.
    pub fn check(&self) -> Result<(), SamplingError> {
        let within = |setting, found: f32, fits: bool, expected| {
            if found.is_finite() && fits { Ok(()) } else { Err(SamplingError { setting, found, expected }) }
        };
        let Self { temperature, top_p, repetition_penalty, presence_penalty, .. } = *self;
        within(
            "temperature",
            temperature,
            0.0 < temperature,
            "a number above 0 (greedy takes the likeliest)",
        )?;
        within("top_p", top_p, 0.0 < top_p && top_p <= 1.0, "a number above 0, at most 1")?;
        within("repetition_penalty", repetition_penalty, 0.0 < repetition_penalty, "a number above 0")?;
        within("presence_penalty", presence_penalty, true, "a number")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_out_of_range_are_refused_by_name() {
        let draw = Sampling { greedy: false, ..Sampling::default() };
        let refused = |sampling: Sampling| sampling.check().unwrap_err().setting;
        assert_eq!(refused(Sampling { temperature: 0.0, ..draw }), "temperature");
        assert_eq!(refused(Sampling { top_p: 1.5, ..draw }), "top_p");
        assert_eq!(refused(Sampling { repetition_penalty: f32::NAN, ..draw }), "repetition_penalty");
        assert_eq!(refused(Sampling { presence_penalty: f32::INFINITY, ..draw }), "presence_penalty");
    }
}
