//! Why a question was not answered.

use crate::backend::RunError;
use crate::camera::PreprocessError;
use crate::models::reason2::{PromptError, TokenizerError};
use crate::runtime::{NotFinite, SamplingError};

/// Why a question was not answered. After any of these the next question can be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// A text or a medium does not make a prompt.
    #[error(transparent)]
    Prompt(#[from] PromptError),
    /// A choice could not be encoded.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// An image or clip was refused.
    #[error("medium {index}: {source}")]
    Media {
        /// Which medium, in the order in which they were given.
        index: usize,
        /// What is wrong with it.
        source: PreprocessError,
    },
    /// Frames of a clip that differ in size.
    #[error("medium {index}: its frames differ in size; a clip has one size")]
    FrameSizes {
        /// Which medium.
        index: usize,
    },
    /// A sampling setting is out of range.
    #[error(transparent)]
    Sampling(#[from] SamplingError),
    /// More tokens than the engine's context.
    #[error(
        "the prompt has {prompt_tokens} tokens, {image_tokens} of them visual; with one of the answer the engine takes {context}: \
         ask less or show less, or build the engine with a larger --max-context"
    )]
    TooLong {
        /// The prompt.
        prompt_tokens: usize,
        /// Its visual tokens.
        image_tokens: usize,
        /// The engine's.
        context: usize,
    },
    /// A picture has more tokens than the engine was built for, or all of them together have.
    #[error(
        "{what} {found} visual tokens, the engine takes {expected}: show less, or build it with a larger --max-image-tokens"
    )]
    TooManyVisualTokens {
        /// Which.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many the engine takes.
        expected: usize,
    },
    /// A clip is longer than the engine was built for.
    #[error(
        "a clip has {found} frames, the engine takes {expected}: show fewer, or build it with a larger --max-frames"
    )]
    TooManyFrames {
        /// How many there are.
        found: usize,
        /// How many the engine takes.
        expected: usize,
    },
    /// Two choices cannot be told apart by their first tokens.
    #[error(
        "the choices `{first}` and `{second}` begin with the same token, so they cannot be told apart; word them differently"
    )]
    ChoicesShareToken {
        /// One.
        first: String,
        /// The other.
        second: String,
    },
    /// A choice of no text.
    #[error("a choice is empty; give each some text")]
    ChoiceEmpty,
    /// The engine computed what is no number.
    #[error(transparent)]
    NotFinite(#[from] NotFinite),
    /// The stop flag was set.
    #[error("stopped")]
    Stopped,
    /// The engine failed.
    #[error(transparent)]
    Run(RunError),
}

impl AskError {
    /// Whether the question itself, and not what it shows or runs on, is at fault.
    pub fn is_usage(&self) -> bool {
        use AskError::{ChoiceEmpty, ChoicesShareToken, Sampling};
        matches!(self, ChoicesShareToken { .. } | ChoiceEmpty | Sampling(_))
            || matches!(self, AskError::Prompt(PromptError::NoThinkSuffix))
    }
}
