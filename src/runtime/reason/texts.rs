//! What of a question can be judged without the engine, so that nobody need wait for it: texts and settings.

use std::sync::Arc;

use super::choices::ChoiceTokens;
use super::error::AskError;
use super::open::Reason;
use super::request::Request;
use crate::models::reason2::{PromptLayout, Question, Tokenizer};

/// Judges questions beside an engine that may be at work.
#[derive(Clone)]
pub struct TextCheck {
    tokenizer: Arc<Tokenizer>,
    layout: PromptLayout,
    context: usize,
}

impl Reason {
    /// What judges this engine's questions without it.
    pub fn text_check(&self) -> TextCheck {
        TextCheck {
            tokenizer: Arc::clone(&self.tokenizer),
            layout: self.layout.clone(),
            context: self.context(),
        }
    }
}

impl TextCheck {
    /// Whether a question could be asked, as far as its texts and settings decide; what it shows is not looked at.
    ///
    /// # Errors
    /// What [`Reason::ask`] would refuse it with.
    pub fn check(&self, request: &Request<'_>) -> Result<(), AskError> {
        request.sampling.check()?;
        ChoiceTokens::new(&self.tokenizer, request.choices)?;
        let Request { system, question: text, think, .. } = *request;
        let question = Question { system, text, think, ..Question::default() };
        let prompt_tokens = self.layout.assemble(&self.tokenizer, &question)?.ids.len();
        let (image_tokens, context) = (0, self.context);
        if context <= prompt_tokens {
            return Err(AskError::TooLong { prompt_tokens, image_tokens, context });
        }
        Ok(())
    }
}
