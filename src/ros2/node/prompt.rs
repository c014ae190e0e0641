//! The standing question: the parameter `prompt`, which the prompt topic sets too.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::frames::accounts::DropReason;
use crate::ros2::messages::{ByteOrder, Text, decode};
use crate::ros2::parameter_store::SharedParameters;
use crate::ros2::parameters::Value;
use crate::ros2::transport::MessageSink;

/// The question that is asked about every frame.
pub(super) struct StandingPrompt {
    first: String,
    parameters: SharedParameters,
    refused: AtomicU64,
}

impl StandingPrompt {
    pub(super) fn new(first: &str, parameters: SharedParameters) -> Self {
        Self { first: first.to_owned(), parameters, refused: AtomicU64::new(0) }
    }

    pub(super) fn current(&self) -> String {
        self.parameters.read(|parameters| parameters.text("prompt").to_owned())
    }

    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// Takes the messages of the prompt topic.
    pub(super) fn sink(self: &Arc<Self>) -> MessageSink {
        let prompt = Arc::clone(self);
        Box::new(move |body| {
            if let Err(problem) = prompt.hear(body) {
                let refused = prompt.refused.fetch_add(1, Relaxed) + 1;
                // At powers of two: a broken sender must not fill the log.
                if refused.is_power_of_two() {
                    log::warn!("prompt refused ({refused} so far): {problem}; the question stays as it was");
                }
            }
        })
    }

    fn hear(&self, body: Result<(&[u8], ByteOrder), DropReason>) -> Result<(), String> {
        let (body, order) = body.map_err(|reason| reason.to_string())?;
        let text = decode::<Text>(body, order).map_err(|error| error.to_string())?.data;
        set_prompt(&self.parameters, &self.first, &text)
    }
}

/// Makes this the standing question, if the engine takes it; an empty one restores the first.
///
/// # Errors
/// Why not; the question stays as it was.
pub fn set_prompt(parameters: &SharedParameters, first: &str, text: &str) -> Result<(), String> {
    let new = if text.trim().is_empty() { first } else { text.trim() };
    parameters.change(|parameters| parameters.set("prompt", Value::Text(new.to_owned())))
}
