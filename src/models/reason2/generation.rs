//! How a checkpoint's authors sample from it: `generation_config.json`.

use serde::{Deserialize, Serialize};

use super::config::token_ids;
use crate::checkpoint::{CheckpointError, JsonFile, Section};

/// Sampling defaults and stop tokens. What the file does not say has transformers' default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenerationConfig {
    /// Tokens that end an answer.
    pub eos_token_ids: Vec<u32>,
    /// Whether the authors sample; if not, they take the likeliest token.
    pub do_sample: bool,
    /// Divides the logits; above 0.
    pub temperature: f32,
    /// Least share of probability that is kept, above 0 to 1.
    pub top_p: f32,
    /// Number of tokens that are kept; 0 keeps all.
    pub top_k: usize,
    /// Divides the positive logits of tokens that were seen, and multiplies the negative; above 0.
    pub repetition_penalty: f32,
    /// Taken from the logits of tokens that were generated.
    pub presence_penalty: f32,
}

impl Default for GenerationConfig {
    fn default() -> Self {
        Self {
            eos_token_ids: Vec::new(),
            do_sample: false,
            temperature: 1.0,
            top_p: 1.0,
            top_k: 50,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
        }
    }
}

impl GenerationConfig {
    /// Reads and checks the file; `vocab_size` bounds the token ids.
    ///
    /// # Errors
    /// If a value is of the wrong kind or out of its range.
    pub fn parse(file: &JsonFile, vocab_size: usize) -> Result<Self, CheckpointError> {
        let root = file.root()?;
        let default = Self::default();
        let positive = |n: f64| 0.0 < n;
        Ok(Self {
            eos_token_ids: token_ids(&root, "eos_token_id", vocab_size)?,
            do_sample: root.flag("do_sample")?.unwrap_or(default.do_sample),
            temperature: number(&root, "temperature", default.temperature, "a number above 0", positive)?,
            top_p: number(&root, "top_p", default.top_p, "a number above 0, at most 1", |n| {
                0.0 < n && n <= 1.0
            })?,
            top_k: root.count("top_k")?.unwrap_or(default.top_k),
            repetition_penalty: number(
                &root,
                "repetition_penalty",
                default.repetition_penalty,
                "a number above 0",
                positive,
            )?,
            presence_penalty: number(
                &root,
                "presence_penalty",
                default.presence_penalty,
                "a number",
                |_| true,
            )?,
        })
    }
}

fn number(
    root: &Section<'_>,
    key: &str,
    default: f32,
    expected: &str,
    fits: impl Fn(f64) -> bool,
) -> Result<f32, CheckpointError> {
    match root.number(key)? {
        None => Ok(default),
        // Checked as f32: a number too small for it would be zero.
        Some(n) if fits(f64::from(n as f32)) => Ok(n as f32),
        Some(_) => Err(root.wrong(key, expected)),
    }
}
