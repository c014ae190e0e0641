//! Cosmos-Reason2, which has Qwen3-VL's architecture: a vision encoder, a language model, and the prompt that joins them.

mod prompt;
mod template;
mod tokenizer;

pub use prompt::{Media, Prompt, PromptError, PromptLayout, Question, SurroundingText, VisualSpan};
pub use template::{ChatTemplate, TemplateError};
pub use tokenizer::{TextStream, Tokenizer, TokenizerError};
