//! What the node needs of an engine.

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use serde_json::{Map, Value};

use crate::frames::accounts::DropReason;
use crate::frames::frame::Received;
use crate::runtime::reason::{AnswerSettings, Place};

/// A question about frames.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// One image, or a clip, oldest first; or an image of each of several cameras.
    pub frames: &'a [Received],
    /// What the cameras of the frames are called, where they are of several; otherwise empty.
    pub cameras: &'a [&'a str],
    /// The question in words.
    pub prompt: &'a str,
    /// How it is to be answered, where parameters say that.
    pub settings: Option<&'a AnswerSettings>,
    /// Frames per second of a clip.
    pub clip_rate_hz: f64,
    /// When an answer is of no use any more; `None` where time stands still.
    pub deadline: Option<Instant>,
    /// Set when the node is to leave, or whoever asked wants no more.
    pub stop: &'a AtomicBool,
}

/// An answer in words.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answer {
    /// The answer, without the thought.
    pub text: String,
    /// Whether the deadline ended it before its end.
    pub is_cut: bool,
    /// Boxes and points that it names.
    pub places: Vec<Place>,
    /// Further members of the JSON answer: tokens, thought, timings.
    pub details: Map<String, Value>,
}

/// What became of a question, or of a clip that was to be forecast.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome<T = Answer> {
    /// Here is what was made of it, perhaps cut short by the deadline.
    Made(T),
    /// The deadline came before there was anything to say.
    Expired,
    /// The node is to leave.
    Stopped,
    /// One of the frames cannot be used.
    Rejected {
        /// Which, counted from the oldest.
        frame: usize,
        /// Under what it is counted.
        reason: DropReason,
        /// What is wrong with it.
        message: String,
    },
    /// The engine failed, or the prompt is none that it takes.
    Failed(String),
}

/// Answers questions about frames; an engine's session, or whatever else can.
pub trait Answerer: Send {
    /// Answers by the deadline, or says why not. Must look at `deadline` and `stop` often.
    fn answer(&mut self, question: &Question<'_>) -> Outcome;

    /// As [`Answerer::answer`], and gives each piece of the answer, without its thought, as soon as it is certain.
    fn answer_aloud(&mut self, question: &Question<'_>, emit: &mut dyn FnMut(&str)) -> Outcome {
        let outcome = self.answer(question);
        if let Outcome::Made(answer) = &outcome {
            emit(&answer.text);
        }
        outcome
    }

    /// What says beforehand which questions would be refused whatever is seen, if anything does.
    fn checker(&self) -> Option<Checker> {
        None
    }
}

/// Says what is wrong with a prompt and settings.
pub type Checker = Box<dyn Fn(&str, &AnswerSettings) -> Result<(), String> + Send>;
