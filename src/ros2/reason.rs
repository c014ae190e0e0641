//! Reason as the node's engine: frames become pictures, the standing question a request.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::backend::{Memory, RunError};
use crate::camera::{Decoder, Picture};
use crate::frames::accounts::DropReason;
use crate::frames::decoding;
use crate::ros2::node::{Answer, Answerer, Checker, Outcome, Question};
use crate::runtime::reason::{
    AnswerSettings, AskError, FinishReason, Part, Reason, Request, Shown, TextCheck,
};
use crate::runtime::{Lender, Limits};

/// A Reason engine that answers the node's questions, and is a critic of its plans.
pub type SharedReason = Arc<Lender<Reason>>;

/// An opened Reason engine that answers a node's questions.
pub struct ReasonAnswerer {
    reason: SharedReason,
    memory: Memory,
    texts: TextCheck,
    settings: AnswerSettings,
    decoder: Decoder,
}

impl ReasonAnswerer {
    /// Lets an engine answer with these settings.
    pub fn new(reason: Reason, settings: AnswerSettings) -> Self {
        let (memory, texts) = (reason.session_memory(), reason.text_check());
        let reason = Arc::new(Lender::new(reason));
        Self { reason, memory, texts, settings, decoder: Decoder::new() }
    }

    /// The engine, which others may ask between questions.
    pub fn shared(&self) -> SharedReason {
        Arc::clone(&self.reason)
    }

    /// Bytes of its session.
    pub fn session_memory(&self) -> Memory {
        self.memory.clone()
    }
}

impl Answerer for ReasonAnswerer {
    fn answer(&mut self, question: &Question<'_>) -> Outcome {
        self.answer_aloud(question, &mut |_| {})
    }

    fn answer_aloud(&mut self, question: &Question<'_>, emit: &mut dyn FnMut(&str)) -> Outcome {
        let decoded = match decoding::decode(&mut self.decoder, question.frames) {
            Ok(decoded) => decoded,
            Err((frame, error)) => {
                return Outcome::Rejected { frame, reason: error.into(), message: error.to_string() };
            }
        };
        let pictures: Vec<Picture<'_>> = decoded.iter().map(|decoded| decoded.picture()).collect();
        let shown = match pictures.as_slice() {
            [single] => vec![Shown::Image(*single)],
            several if !question.cameras.is_empty() => several.iter().copied().map(Shown::Image).collect(),
            frames => vec![Shown::Clip { frames, fps: question.clip_rate_hz }],
        };
        let settings = question.settings.unwrap_or(&self.settings);
        let answer = settings.with_request(
            &shown,
            question.prompt,
            question.deadline,
            Some(question.stop),
            |request| {
                // A critic may have it: it is waited for no longer than the answer would be.
                let limits = Limits { deadline: request.deadline, stop: request.stop };
                let mut reason = self.reason.take(limits).map_err(AskError::Run)?;
                let request = Request { captions: question.cameras, ..*request };
                reason.ask(&request, None, &mut |part, piece| {
                    if part == Part::Answer {
                        emit(piece);
                    }
                })
            },
        );
        match answer {
            Ok(answer) if answer.finish_reason == FinishReason::Deadline && answer.tokens.is_empty() => {
                Outcome::Expired
            }
            Ok(answer) => {
                let (details, is_cut) = (details(&answer), answer.finish_reason == FinishReason::Deadline);
                Outcome::Made(Answer { text: answer.text, is_cut, places: answer.places, details })
            }
            Err(AskError::Run(RunError::Deadline)) => Outcome::Expired,
            Err(AskError::Stopped | AskError::Run(RunError::Stopped)) => Outcome::Stopped,
            Err(error @ (AskError::Media { .. } | AskError::FrameSizes { .. })) => Outcome::Rejected {
                frame: match error {
                    AskError::Media { index, .. } if !question.cameras.is_empty() => index,
                    _ => question.frames.len() - 1,
                },
                reason: DropReason::Unfit,
                message: error.to_string(),
            },
            Err(error) => Outcome::Failed(error.to_string()),
        }
    }

    fn checker(&self) -> Option<Checker> {
        let check = self.texts.clone();
        Some(Box::new(move |prompt, settings| {
            let checked = settings.with_request(&[], prompt, None, None, |request| check.check(request));
            checked.map_err(|error| error.to_string())
        }))
    }
}

/// What `ask --json` says of an answer, without its text, which stands beside, and the prompt's ids, which are long.
fn details(answer: &impl serde::Serialize) -> Map<String, Value> {
    match serde_json::to_value(answer) {
        Ok(Value::Object(mut members)) => {
            members.retain(|name, _| name != "text" && name != "prompt");
            members
        }
        other => unreachable!("an answer is a JSON object, not {other:?}"),
    }
}
