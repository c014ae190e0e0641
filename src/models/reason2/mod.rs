//! Cosmos-Reason2, which has Qwen3-VL's architecture: a vision encoder, a language model, and the prompt that joins them.

mod checkpoint;
mod common_terms;
mod config;
mod generation;
mod graphs;
mod jinja;
mod language;
mod manifest;
mod names;
mod patch_positions;
mod prompt;
mod python;
mod sampling;
mod strftime;
mod template;
mod tokenizer;
mod vision;

pub use checkpoint::Reason2;
pub use common_terms::{Head, PATCH_EMBEDDING, PREFILL_TOKENS_MAX};
pub use config::{LanguageConfig, Reason2Config, VisionConfig};
pub use generation::GenerationConfig;
pub use graphs::{Limits, network};
pub use manifest::{Clip, ReasonManifest};
pub use names::names;
pub use patch_positions::{PatchInputs, PatchPositions};
pub use prompt::{Media, Prompt, PromptError, PromptLayout, Question, SurroundingText, VisualSpan};
pub use sampling::{Sampling, SamplingError};
pub use template::{ChatTemplate, TemplateError};
pub use tokenizer::{TextStream, Tokenizer, TokenizerError};
