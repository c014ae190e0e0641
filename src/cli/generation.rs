//! The options by which answers are made, shared by `ask` and `run`.

use std::time::Duration;

use clap::Args;

use crate::runtime::Sampling;
use crate::runtime::reason::AnswerSettings;

/// As typed. What is not given has the checkpoint's own default.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Answers")]
pub(super) struct GenerationOptions {
    /// Take the likeliest token each time
    #[arg(long)]
    greedy: bool,
    /// Divide logits by this before drawing
    #[arg(long, value_name = "T", conflicts_with = "greedy")]
    temperature: Option<f32>,
    /// Draw from this many of the likeliest tokens; 0 for all
    #[arg(long, value_name = "N", conflicts_with = "greedy")]
    top_k: Option<usize>,
    /// Draw from the likeliest tokens that have this share of the probability
    #[arg(long, value_name = "P", conflicts_with = "greedy")]
    top_p: Option<f32>,
    /// Make tokens of prompt and answer less likely, by this factor
    #[arg(long, value_name = "F")]
    repetition_penalty: Option<f32>,
    /// Make tokens of the answer less likely, by this much
    #[arg(long, value_name = "A", allow_negative_numbers = true)]
    presence_penalty: Option<f32>,
    /// Where the draws begin: the same seed gives the same answer
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Tokens of an answer at most, those of its thought not counted
    #[arg(long, value_name = "N", default_value_t = AnswerSettings::default().tokens_max)]
    max_tokens: usize,
    /// Ask for a thought before the answer
    #[arg(long)]
    think: bool,
    /// Tokens of a thought at most; a longer one is cut, and the answer follows
    #[arg(long, value_name = "N", default_value_t = AnswerSettings::default().thought_tokens_max)]
    think_tokens: usize,
    /// Cut the answer after this many milliseconds
    #[arg(long, value_name = "MS")]
    budget_ms: Option<u64>,
    /// Choose from these answers by the first token of each, with probabilities
    #[arg(long, value_name = "A,B,…", value_delimiter = ',', num_args = 1)]
    choices: Vec<String>,
}

impl GenerationOptions {
    /// Fills in the model's defaults, and the standing instruction.
    ///
    /// # Errors
    /// A value out of its range.
    pub(super) fn resolve(&self, default: Sampling, system: Option<&str>) -> anyhow::Result<AnswerSettings> {
        let draws = self.temperature.is_some() || self.top_k.is_some() || self.top_p.is_some();
        let sampling = Sampling {
            greedy: self.greedy || (default.greedy && !draws),
            temperature: self.temperature.unwrap_or(default.temperature),
            top_k: self.top_k.unwrap_or(default.top_k),
            top_p: self.top_p.unwrap_or(default.top_p),
            repetition_penalty: self.repetition_penalty.unwrap_or(default.repetition_penalty),
            presence_penalty: self.presence_penalty.unwrap_or(default.presence_penalty),
            seed: self.seed,
        };
        sampling.check().map_err(|error| super::Usage(error.to_string()))?;
        if self.max_tokens == 0 {
            return Err(super::Usage("--max-tokens is 0; an answer takes at least one".to_owned()).into());
        }
        Ok(AnswerSettings {
            system: system.map(str::to_owned),
            sampling,
            tokens_max: self.max_tokens,
            think: self.think,
            thought_tokens_max: self.think_tokens,
            budget: self.budget_ms.map(Duration::from_millis),
            choices: self.choices.iter().map(|choice| choice.trim().to_owned()).collect(),
        })
    }
}
