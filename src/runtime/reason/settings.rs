//! How questions are answered, beside the question itself: kept from one question to the next, by the command and by the node.

use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use super::request::{Request, Shown};
use crate::runtime::Sampling;

/// How questions are answered.
#[derive(Clone, Debug, PartialEq)]
pub struct AnswerSettings {
    /// The standing instruction.
    pub system: Option<String>,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Tokens of an answer at most, those of its thought not counted.
    pub tokens_max: usize,
    /// Whether to ask for a thought before the answer.
    pub think: bool,
    /// Tokens of a thought at most; a longer one is cut, and the answer follows.
    pub thought_tokens_max: usize,
    /// How long an answer may take, if no deadline ends it before.
    pub budget: Option<Duration>,
    /// Answers to choose from; empty for free answers.
    pub choices: Vec<String>,
}

impl Default for AnswerSettings {
    fn default() -> Self {
        Self {
            system: None,
            sampling: Sampling::default(),
            tokens_max: 256,
            think: false,
            thought_tokens_max: 1024,
            budget: None,
            choices: Vec::new(),
        }
    }
}

impl AnswerSettings {
    /// Calls `ask` with a question asked in this way. The budget begins now; the deadline is the earlier of the two.
    pub fn with_request<T>(
        &self,
        shown: &[Shown<'_>],
        question: &str,
        deadline: Option<Instant>,
        stop: Option<&AtomicBool>,
        ask: impl FnOnce(&Request<'_>) -> T,
    ) -> T {
        let choices: Vec<&str> = self.choices.iter().map(String::as_str).collect();
        let budget = self.budget.map(|budget| Instant::now() + budget);
        ask(&Request {
            system: self.system.as_deref(),
            think: self.think,
            sampling: self.sampling,
            thought_tokens_max: self.thought_tokens_max,
            choices: &choices,
            deadline: deadline.into_iter().chain(budget).min(),
            stop,
            ..Request::new(shown, question, self.tokens_max)
        })
    }
}
