//! What is asked, and what comes back.

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use serde::Serialize;

use super::boxes::Place;
use crate::camera::Picture;
use crate::runtime::Sampling;

/// What a question is about.
#[derive(Clone, Copy, Debug)]
pub enum Shown<'a> {
    /// One image.
    Image(Picture<'a>),
    /// Frames of one size, all of which are shown.
    Clip {
        /// In order of time.
        frames: &'a [Picture<'a>],
        /// Frames a second at which they were taken.
        fps: f64,
    },
}

/// A question and the limits of its answer.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The standing instruction.
    pub system: Option<&'a str>,
    /// What the question is about; stands before it.
    pub shown: &'a [Shown<'a>],
    /// What each of them is called, said before it; empty where they have no names.
    pub captions: &'a [&'a str],
    /// The question.
    pub question: &'a str,
    /// Ids with which the answer is made to begin. They count as prompt.
    pub answer_begin: &'a [u32],
    /// Whether to ask for a thought before the answer.
    pub think: bool,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Tokens of the answer at most; those of a thought do not count.
    pub tokens_max: usize,
    /// Tokens of the thought at most. A longer one is cut and closed, and the answer follows.
    pub thought_tokens_max: usize,
    /// Goes on to `tokens_max`, whatever is said: for measuring.
    pub ignore_stop_tokens: bool,
    /// Answers to choose from by the first token of each; the answer is then the likeliest of them. Empty for a free answer.
    pub choices: &'a [&'a str],
    /// When the answer is cut.
    pub deadline: Option<Instant>,
    /// Gives up as soon as this is set.
    pub stop: Option<&'a AtomicBool>,
}

impl<'a> Request<'a> {
    /// A question about `shown`, answered greedily in at most `tokens_max` tokens.
    pub fn new(shown: &'a [Shown<'a>], question: &'a str, tokens_max: usize) -> Self {
        Self {
            system: None,
            shown,
            captions: &[],
            question,
            answer_begin: &[],
            think: false,
            sampling: Sampling::default(),
            tokens_max,
            thought_tokens_max: usize::MAX,
            ignore_stop_tokens: false,
            choices: &[],
            deadline: None,
            stop: None,
        }
    }
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FinishReason {
    /// The model ended it, or a choice was made.
    Stop,
    /// It reached its number of tokens, or the engine's context.
    Length,
    /// The deadline passed; there may be no text at all.
    Deadline,
}

impl FinishReason {
    /// As JSON and messages name it.
    pub fn name(self) -> &'static str {
        match self {
            FinishReason::Stop => "stop",
            FinishReason::Length => "length",
            FinishReason::Deadline => "deadline",
        }
    }
}

/// One of the choices.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Choice {
    /// As it was given.
    pub text: String,
    /// Its first token, which stands for it.
    pub token: u32,
    /// Of this token among all that the model might have said.
    pub probability: f64,
    /// Of this choice among the choices.
    pub share: f64,
}

/// An answer. Its fields are those of `ask --json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Answer {
    /// What was said, without the thought.
    pub text: String,
    /// What was thought; absent if there was none.
    pub thought: Option<String>,
    /// Generated ids, of thought and answer, without the stop token.
    pub tokens: Vec<u32>,
    /// The prompt's ids.
    pub prompt: Vec<u32>,
    /// How many they are.
    pub prompt_tokens: usize,
    /// How many of them are visual.
    pub image_tokens: usize,
    /// How many of the prompt's tokens were still in the cache.
    pub reused_tokens: usize,
    /// Pictures (images, groups of frames) that were encoded; the others were still there.
    pub encoded_pictures: usize,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// Whether the model would have gone on.
    pub truncated: bool,
    /// Whether the thought was cut at its limit.
    pub thought_truncated: bool,
    /// The choices, as they were given; empty for a free answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<Choice>,
    /// Boxes and points in the text.
    #[serde(rename = "boxes")]
    pub places: Vec<Place>,
    /// How long it took.
    #[serde(flatten)]
    pub timings: Timings,
}

/// Durations in milliseconds, from the moment that the question was given, images decoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Timings {
    /// Resizing and cutting up, digests included.
    pub preprocess_ms: f64,
    /// Pixels to visual tokens.
    pub vision_ms: f64,
    /// Prompt to the logits of its last token.
    pub prefill_ms: f64,
    /// To the first token; absent if the deadline came before it.
    pub ttft_ms: Option<f64>,
    /// Mean of the further tokens; absent if there is none.
    pub tpot_ms: Option<f64>,
    /// To the end of the answer.
    pub total_ms: f64,
}

/// What a question leaves to look at, beside its answer. Keeping it allocates.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    /// Keeps `token_ms` alone, which disturbs nothing.
    pub only_times: bool,
    /// Logits of every generated position, one after another, before penalties and temperature.
    pub logits: Vec<f32>,
    /// Positions of the prompt's tokens.
    pub positions: Vec<[i32; 3]>,
    /// The pictures, in order.
    pub pictures: Vec<RecordedPicture>,
    /// Milliseconds from the question to each token, the first included.
    pub token_ms: Vec<f64>,
}

/// What became of one picture: an image, or a group of a clip's frames.
#[derive(Clone, Debug, Default)]
pub struct RecordedPicture {
    /// Whether it is part of a clip.
    pub is_clip: bool,
    /// Rows and columns of patches.
    pub grid: [usize; 2],
    /// Patches as the vision network saw them, `[rows * columns, patch_len]`.
    pub pixels: Vec<f32>,
    /// Visual tokens.
    pub n_tokens: usize,
    /// Its visual tokens, then those of each DeepStack tap: `[n_tokens, width]` each.
    pub features: Vec<Vec<f32>>,
}
