//! How a checkpoint's authors sample from it: `generation_config.json`.

use super::sampling::Sampling;
use crate::checkpoint::{CheckpointError, JsonFile, Section};

/// Sampling and stop tokens. What the file does not say has transformers' default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GenerationConfig {
    /// Tokens that end an answer.
    pub eos_token_ids: Vec<u32>,
    /// How the authors choose tokens; the seed is 0.
    pub sampling: Sampling,
}

impl GenerationConfig {
    /// Reads and checks the file; `vocab_size` bounds the token ids.
    ///
    /// # Errors
    /// If a value is of the wrong kind or out of its range.
    pub fn parse(file: &JsonFile, vocab_size: usize) -> Result<Self, CheckpointError> {
        let root = file.root()?;
        let default = Sampling::default();
        let positive = |n: f64| 0.0 < n;
        let share = |n: f64| 0.0 < n && n <= 1.0;
        let number = |key: &str, default: f32, expected: &str, fits: fn(f64) -> bool| {
            number(&root, key, default, expected, fits)
        };
        let (above, most_1) = ("a number above 0", "a number above 0, at most 1");
        let do_sample = root.flag("do_sample")?;
        let is_unused = do_sample == Some(false);
        // What is not used is not judged: files stand `temperature: 0.0` beside `do_sample: false`. Whoever samples all the same
        // has the default then.
        let drawn = |key: &str, default: f32, expected: &str, fits: fn(f64) -> bool| {
            number(key, default, expected, fits)
                .or_else(|error| if is_unused { Ok(default) } else { Err(error) })
        };
        let top_k = root.count("top_k").or_else(|error| if is_unused { Ok(None) } else { Err(error) });
        Ok(Self {
            eos_token_ids: token_ids(&root, "eos_token_id", vocab_size)?,
            sampling: Sampling {
                greedy: !do_sample.unwrap_or(!default.greedy),
                temperature: drawn("temperature", default.temperature, above, positive)?,
                top_k: top_k?.unwrap_or(default.top_k),
                top_p: drawn("top_p", default.top_p, most_1, share)?,
                repetition_penalty: number(
                    "repetition_penalty",
                    default.repetition_penalty,
                    above,
                    positive,
                )?,
                presence_penalty: number("presence_penalty", default.presence_penalty, "a number", |_| true)?,
                seed: default.seed,
            },
        })
    }
}

#[cfg(test)]
#[test]
fn what_is_not_used_is_not_judged() {
    let parse = |text: &str| {
        let file = JsonFile::parse(std::path::Path::new("generation_config.json"), text.as_bytes()).unwrap();
        GenerationConfig::parse(&file, 10).map(|config| config.sampling)
    };
    let unused = parse(r#"{"do_sample": false, "temperature": 0.0, "top_p": 0, "top_k": -1}"#).unwrap();
    assert_eq!(unused, Sampling::default());
    assert_eq!(parse(r#"{"do_sample": false, "temperature": 0.7}"#).unwrap().temperature, 0.7);
    for used in [
        r#"{"do_sample": true, "temperature": 0.0}"#,
        r#"{"temperature": 0.0}"#,
        r#"{"do_sample": true, "top_k": -1}"#,
        r#"{"do_sample": false, "repetition_penalty": 0}"#,
    ] {
        assert!(parse(used).is_err(), "{used}");
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

/// One id, a list of ids, or none; ids outside the vocabulary can never be produced and are left out.
pub(super) fn token_ids(
    section: &Section<'_>,
    key: &str,
    vocab_size: usize,
) -> Result<Vec<u32>, CheckpointError> {
    let ids = match section.get(key) {
        None => Vec::new(),
        Some(value) if value.is_array() => section.counts(key)?.unwrap_or_default(),
        Some(_) => section.count(key)?.into_iter().collect(),
    };
    Ok(ids.into_iter().filter(|id| *id < vocab_size).filter_map(|id| u32::try_from(id).ok()).collect())
}
