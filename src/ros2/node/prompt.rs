//! The standing question, which the prompt topic replaces.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use super::options::PROMPT_BYTES_MAX;
use crate::ros2::accounts::DropReason;
use crate::ros2::intake::Intake;
use crate::ros2::messages::{ByteOrder, Text, decode};
use crate::ros2::transport::MessageSink;

/// The question that is asked about every frame.
pub(super) struct StandingPrompt {
    first: String,
    current: Mutex<String>,
    refused: AtomicU64,
    intake: Arc<Intake>,
}

impl StandingPrompt {
    pub(super) fn new(first: &str, intake: Arc<Intake>) -> Self {
        let current = Mutex::new(first.to_owned());
        Self { first: first.to_owned(), current, refused: AtomicU64::new(0), intake }
    }

    pub(super) fn current(&self) -> String {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
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
        let text = text.trim();
        if PROMPT_BYTES_MAX < text.len() {
            return Err(format!("it has {} bytes, at most {PROMPT_BYTES_MAX} are taken", text.len()));
        }
        let new = if text.is_empty() { &self.first } else { text };
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = new.to_owned();
        log::info!("the question is now: {new}");
        self.intake.nudge();
        Ok(())
    }
}
