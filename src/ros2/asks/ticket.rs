//! One question on its way: what is asked, and the way back to whoever asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use crate::ros2::messages::{AnswerMessage, AskReply, AskRequest};

/// Bytes of a prompt at most, as the parameter has it, and of the name of a camera.
const PROMPT_BYTES_MAX: usize = 16 << 10;
const CAMERA_BYTES_MAX: usize = 255;
/// Seconds at most, beyond which a number is a slip; 0 is the node's.
const MAX_AGE_S: (f64, f64) = (1e-3, 86_400.0);
/// Of a reason, which may repeat a stranger's text.
const ERROR_CHARS_MAX: usize = 500;

/// How a question ended.
pub(in crate::ros2) enum Ending {
    /// With an answer, for this reason.
    Answered(Box<AnswerMessage>, String),
    /// Because whoever asked wanted no more; as far as it went.
    Canceled(Box<AnswerMessage>),
    /// Without an answer, or with one that did not end, and why.
    Failed(Box<AnswerMessage>, String),
}

impl Ending {
    /// Without any answer.
    pub(in crate::ros2) fn failed(why: impl Into<String>) -> Self {
        Self::Failed(Box::default(), why.into())
    }

    /// As it is told.
    pub(super) fn into_reply(self) -> AskReply {
        match self {
            Self::Answered(answer, finish_reason) => {
                AskReply { error: String::new(), answer: *answer, finish_reason }
            }
            Self::Canceled(answer) => AskReply {
                error: "canceled".to_owned(),
                answer: *answer,
                finish_reason: "canceled".to_owned(),
            },
            Self::Failed(answer, why) => {
                let error = why.chars().take(ERROR_CHARS_MAX).collect();
                AskReply { error, answer: *answer, finish_reason: String::new() }
            }
        }
    }
}

/// The way back to whoever asked.
pub(super) trait Asker: Send {
    /// What is told of the way of asking.
    fn because(&self) -> &'static str;

    /// The question is put.
    fn begun(&mut self) {}

    /// A piece of the answer is there.
    fn said(&mut self, piece: &str) {
        let _ = piece;
    }

    /// It has ended.
    fn ended(self: Box<Self>, ending: Ending);
}

/// How many questions ended in which way.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) answered: AtomicU64,
    pub(super) failed: AtomicU64,
}

/// A question. It ends once: with what is said of it, or, where it is dropped, with that nobody answers.
pub(in crate::ros2) struct Ticket {
    request: AskRequest,
    give_up: Arc<AtomicBool>,
    tally: Arc<Tally>,
    asker: Option<Box<dyn Asker>>,
}

impl Ticket {
    pub(super) fn new(
        request: AskRequest,
        asker: Box<dyn Asker>,
        give_up: Arc<AtomicBool>,
        tally: Arc<Tally>,
    ) -> Self {
        Self { request, give_up, tally, asker: Some(asker) }
    }

    /// What is asked.
    pub(in crate::ros2) fn request(&self) -> &AskRequest {
        &self.request
    }

    /// What is told of the way in which it was asked.
    pub(in crate::ros2) fn because(&self) -> &'static str {
        self.asker.as_ref().map_or("", |asker| asker.because())
    }

    /// Set when whoever asked wants no more.
    pub(in crate::ros2) fn give_up(&self) -> &Arc<AtomicBool> {
        &self.give_up
    }

    /// Whether it is set.
    pub(in crate::ros2) fn is_given_up(&self) -> bool {
        self.give_up.load(Relaxed)
    }

    /// Says that the question is put now.
    pub(in crate::ros2) fn begin(&mut self) {
        self.asker.iter_mut().for_each(|asker| asker.begun());
    }

    /// Passes a piece of the answer on.
    pub(in crate::ros2) fn say(&mut self, piece: &str) {
        self.asker.iter_mut().for_each(|asker| asker.said(piece));
    }

    /// Ends it.
    pub(in crate::ros2) fn end(mut self, ending: Ending) {
        self.close(ending);
    }

    fn close(&mut self, ending: Ending) {
        let Some(asker) = self.asker.take() else { return };
        match &ending {
            Ending::Answered(..) => {
                self.tally.answered.fetch_add(1, Relaxed);
            }
            Ending::Canceled(_) => {}
            Ending::Failed(_, why) => {
                let failed = self.tally.failed.fetch_add(1, Relaxed) + 1;
                // At powers of two: who asks again and again must not fill the log.
                if failed.is_power_of_two() {
                    let why: String = why.chars().take(ERROR_CHARS_MAX).collect();
                    log::warn!("a question of another node has no answer ({failed} so far): {why:?}");
                }
            }
        }
        asker.ended(ending);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.close(Ending::failed("the node has stopped answering"));
    }
}

/// Says what is wrong with a question whoever answers it.
pub(super) fn check(request: &AskRequest) -> Result<(), String> {
    let AskRequest { prompt, camera, choices, max_age, .. } = request;
    let bounded = |what: &str, text: &str, max: usize| match text.len() {
        n if max < n => Err(format!("{what}: expected at most {max} bytes, found {n}")),
        _ if text.contains('\0') => Err(format!("{what}: it has a NUL in it")),
        _ => Ok(()),
    };
    bounded("prompt", prompt, PROMPT_BYTES_MAX)?;
    bounded("camera", camera, CAMERA_BYTES_MAX)?;
    // How many, and how long, the parameter of this name says.
    choices.iter().try_for_each(|choice| bounded("choices", choice, PROMPT_BYTES_MAX))?;
    let (least, most) = MAX_AGE_S;
    match *max_age {
        0.0 => Ok(()),
        age if (least..=most).contains(&age) => Ok(()),
        age => Err(format!("max_age: expected 0, or {least} to {most} seconds, found {age}")),
    }
}

#[cfg(test)]
#[test]
fn what_no_question_can_be_is_named() {
    let wrong = |request: AskRequest| check(&request).unwrap_err();
    let long = "x".repeat(PROMPT_BYTES_MAX + 1);
    assert!(
        wrong(AskRequest { prompt: long.clone(), ..AskRequest::default() }).starts_with("prompt: expected")
    );
    assert!(wrong(AskRequest { prompt: "a\0b".into(), ..AskRequest::default() }).contains("NUL"));
    assert!(wrong(AskRequest { camera: long.clone(), ..AskRequest::default() }).starts_with("camera"));
    assert!(wrong(AskRequest { choices: vec![long], ..AskRequest::default() }).starts_with("choices"));
    for max_age in [f64::NAN, -1.0, f64::INFINITY, 1e-9, 1e9] {
        assert!(wrong(AskRequest { max_age, ..AskRequest::default() }).starts_with("max_age"), "{max_age}");
    }
    assert_eq!(
        check(&AskRequest { prompt: "x".repeat(PROMPT_BYTES_MAX), max_age: 3.0, ..AskRequest::default() }),
        Ok(())
    );
}
