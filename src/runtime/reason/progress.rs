//! An answer in the making: what was said so far, and when.

use std::time::Instant;

use super::choices::ChoiceTokens;
use super::request::{FinishReason, Recording, Request, Timings};
use super::thought::Part;

/// An answer in the making.
pub(super) struct Progress<'a> {
    pub(super) request: &'a Request<'a>,
    pub(super) recording: Option<&'a mut Recording>,
    pub(super) emit: &'a mut dyn FnMut(Part, &str),
    pub(super) begin: Instant,
    pub(super) timings: Timings,
    pub(super) tokens: Vec<u32>,
    pub(super) text: String,
    pub(super) thought: Option<String>,
    pub(super) thought_truncated: bool,
    pub(super) encoded_pictures: usize,
    pub(super) choices: Option<ChoiceTokens>,
    pub(super) finish: Option<FinishReason>,
}

impl Progress<'_> {
    pub(super) fn emit(&mut self, part: Part, text: &str) {
        match part {
            Part::Answer => self.text.push_str(text),
            Part::Thought => self.thought.get_or_insert_default().push_str(text),
        }
        (self.emit)(part, text);
    }

    pub(super) fn record_logits(&mut self, logits: &[f32]) {
        if let Some(recording) = self.recording.as_mut().filter(|recording| !recording.only_times) {
            recording.logits.extend_from_slice(logits);
        }
    }

    /// Takes the time of a token, which is known now.
    pub(super) fn note_token(&mut self) {
        let now_ms = milliseconds_since(self.begin);
        let first_ms = *self.timings.ttft_ms.get_or_insert(now_ms);
        if !self.tokens.is_empty() {
            self.timings.tpot_ms = Some((now_ms - first_ms) / self.tokens.len() as f64);
        }
        if let Some(recording) = &mut self.recording {
            recording.token_ms.push(now_ms);
        }
    }
}

pub(super) fn milliseconds_since(begin: Instant) -> f64 {
    begin.elapsed().as_secs_f64() * 1e3
}
