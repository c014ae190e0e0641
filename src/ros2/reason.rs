//! Reason as the node's engine: frames become pictures, the standing question a request.
//!
//! A clip that moves on by one frame shares all others with the one before, so that decoded frames are kept until no
//! clip shows them. Their buffers are claimed at the start.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use crate::camera::{Decoder, FrameError, FrameSize, RawFrame, convert};
use crate::ros2::accounts::DropReason;
use crate::ros2::frame::{Format, Received};
use crate::ros2::node::{Answer, Answerer, Outcome, Question};
use crate::runtime::Sampling;
use crate::runtime::reason::{AskError, FinishReason, Picture, Reason, Request, Shown};

/// How the node's questions are asked, beside the question itself.
#[derive(Debug, Clone)]
pub struct ReasonSettings {
    /// The standing instruction.
    pub system: Option<String>,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Tokens of an answer at most.
    pub tokens_max: usize,
    /// Whether to ask for a thought before the answer.
    pub think: bool,
    /// Tokens of a thought at most.
    pub thought_tokens_max: usize,
    /// Milliseconds that an answer may take, if `max_age` does not end it before.
    pub budget_ms: Option<u64>,
    /// Answers to choose from; empty for free answers.
    pub choices: Vec<String>,
}

/// An opened Reason engine that answers a node's questions.
pub struct ReasonAnswerer {
    reason: Reason,
    settings: ReasonSettings,
    decoder: Decoder,
    decoded: Vec<Decoded>,
}

/// A buffer for one frame in RGB, and which frame it holds.
struct Decoded {
    holds: Option<FrameKey>,
    rgb: Vec<u8>,
    size: FrameSize,
}

/// Tells received frames apart, since a buffer's next frame has a later receipt.
type FrameKey = (usize, i64);

impl ReasonAnswerer {
    /// Claims RGB buffers for questions of `clip_frames` frames of `pixels_max` pixels.
    pub fn new(reason: Reason, settings: ReasonSettings, clip_frames: usize, pixels_max: usize) -> Self {
        let empty = FrameSize { width: 0, height: 0 };
        let buffer = || Decoded { holds: None, rgb: vec![0; 3 * pixels_max], size: empty };
        Self {
            reason,
            settings,
            decoder: Decoder::new(),
            decoded: (0..clip_frames).map(|_| buffer()).collect(),
        }
    }

    /// The engine.
    pub fn reason(&self) -> &Reason {
        &self.reason
    }

    /// Bytes of the RGB buffers.
    pub fn claimed_bytes(&self) -> usize {
        self.decoded.iter().map(|decoded| decoded.rgb.len()).sum()
    }

    /// Decodes what is new in a question. Returns where each frame lies.
    fn decode(&mut self, frames: &[Received]) -> Result<Vec<usize>, (usize, FrameError)> {
        let keys: Vec<FrameKey> = frames.iter().map(key).collect();
        for decoded in &mut self.decoded {
            if decoded.holds.is_some_and(|holds| !keys.contains(&holds)) {
                decoded.holds = None;
            }
        }
        let mut places = Vec::with_capacity(frames.len());
        for (i, (received, key)) in frames.iter().zip(&keys).enumerate() {
            let place = self.decoded.iter().position(|decoded| decoded.holds == Some(*key));
            let place = match place {
                Some(place) => place,
                None => {
                    let free = self.decoded.iter().position(|decoded| decoded.holds.is_none());
                    let free = free.expect("there are as many buffers as a question has frames");
                    let decoded = &mut self.decoded[free];
                    decoded.size =
                        decode(&mut self.decoder, received, &mut decoded.rgb).map_err(|e| (i, e))?;
                    decoded.holds = Some(*key);
                    free
                }
            };
            places.push(place);
        }
        Ok(places)
    }
}

impl Answerer for ReasonAnswerer {
    fn answer(&mut self, question: &Question<'_>) -> Outcome {
        let places = match self.decode(question.frames) {
            Ok(places) => places,
            Err((frame, error)) => {
                return Outcome::Rejected { frame, reason: error.into(), message: error.to_string() };
            }
        };
        let picture = |place: &usize| {
            let Decoded { rgb, size, .. } = &self.decoded[*place];
            Picture { rgb: &rgb[..size.rgb_bytes()], size: *size }
        };
        let pictures: Vec<Picture<'_>> = places.iter().map(picture).collect();
        let shown = match pictures.as_slice() {
            [single] => [Shown::Image(*single)],
            frames => [Shown::Clip { frames, fps: question.clip_rate_hz }],
        };
        let settings = &self.settings;
        let choices: Vec<&str> = settings.choices.iter().map(String::as_str).collect();
        let budget = settings.budget_ms.map(|ms| Instant::now() + Duration::from_millis(ms));
        let request = Request {
            system: settings.system.as_deref(),
            think: settings.think,
            sampling: settings.sampling,
            thought_tokens_max: settings.thought_tokens_max,
            choices: &choices,
            deadline: question.deadline.into_iter().chain(budget).min(),
            stop: Some(question.stop),
            ..Request::new(&shown, question.prompt, settings.tokens_max)
        };
        match self.reason.ask(&request, None, &mut |_, _| {}) {
            Ok(answer) if answer.finish_reason == FinishReason::Deadline && answer.tokens.is_empty() => {
                Outcome::Expired
            }
            Ok(answer) => {
                let details = details(&answer);
                Outcome::Answered(Answer { text: answer.text, details })
            }
            Err(AskError::Stopped) => Outcome::Stopped,
            Err(error @ (AskError::Media { .. } | AskError::FrameSizes { .. })) => Outcome::Rejected {
                frame: question.frames.len() - 1,
                reason: DropReason::Unfit,
                message: error.to_string(),
            },
            Err(error) => Outcome::Failed(error.to_string()),
        }
    }
}

fn key(received: &Received) -> FrameKey {
    (Arc::as_ptr(&received.frame) as usize, received.receipt.steady_ns)
}

fn decode(decoder: &mut Decoder, received: &Received, rgb: &mut [u8]) -> Result<FrameSize, FrameError> {
    let frame = &received.frame;
    match &frame.format {
        Format::Raw { encoding, width, height, step, .. } => {
            let (width, height, step) = (*width, *height, *step);
            convert(&RawFrame { width, height, step, encoding: encoding.as_str(), data: frame.data() }, rgb)
        }
        Format::Compressed { format } => decoder.decode(format.as_str(), frame.data(), rgb),
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
