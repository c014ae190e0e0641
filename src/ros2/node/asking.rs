//! Reason's role: asks the standing question about the newest frames and publishes what is answered in time.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use super::answer::Mouth;
use super::answerer::{Answerer, Outcome, Question};
use super::board::{Board, Delivered, Notes};
use super::prompt::StandingPrompt;
use super::turns::{Role, Turns};
use super::watch::Watched;
use super::{Audience, NodeError, Said, Stage, time_left};
use crate::frames::accounts::DropReason;
use crate::frames::clock::Moment;
use crate::frames::frame::Received;
use crate::frames::listener::{Listener, Verdict};
use crate::ros2::diagnostics::{Status, Work};
use crate::ros2::messages::{Message, Text};
use crate::ros2::transport::Delivery;

pub(super) struct Asking<'a> {
    listener: Arc<Listener>,
    board: Arc<Board>,
    prompt: Arc<StandingPrompt>,
    mouth: Mouth,
    clip_rate_hz: f64,
    answerer: &'a mut dyn Answerer,
    audience: &'a Audience<'a>,
}

impl<'a> Asking<'a> {
    /// Announces the topics.
    pub(super) fn open(
        stage: &Stage<'a>,
        answerer: &'a mut dyn Answerer,
        listener: &Arc<Listener>,
        board: &Arc<Board>,
    ) -> Result<(Turns<'a>, Watched<'a>), NodeError> {
        let Stage { transport, options, topics, parameters, audience } = stage;
        let prompt = StandingPrompt::new(&options.prompt, Arc::clone(parameters), Arc::clone(listener));
        let prompt = Arc::new(prompt);
        transport.subscribe(&topics.prompt, Text::TYPE, Delivery::Reliable, prompt.sink())?;
        let role = Self {
            listener: Arc::clone(listener),
            board: Arc::clone(board),
            prompt: Arc::clone(&prompt),
            mouth: Mouth::open(*transport, topics, options)?,
            clip_rate_hz: options.clip_rate_hz,
            answerer,
            audience,
        };
        let detail = move |_: &Notes, status: &mut Status| {
            status.figures.push(("prompts_refused", prompt.refused().to_string()));
            status.figures.push(("prompt", prompt.current()));
        };
        let forming_s = options.clip_frames as f64 / options.clip_rate_hz;
        let (listener, board) = (Arc::clone(listener), Arc::clone(board));
        let watched = Watched::new(Work::Answers, options, forming_s, listener, board, Box::new(detail));
        Ok((Turns::new(Box::new(role), options.ask_period_ns()), watched))
    }
}

impl Role for Asking<'_> {
    fn listener(&self) -> &Listener {
        &self.listener
    }

    fn serve(&mut self, frames: &[Received], began: Moment, stop: &AtomicBool) -> Verdict {
        let clock = self.listener.clock();
        let newest = frames.last().expect("a question has at least one frame");
        let prompt = self.prompt.current();
        let question = Question {
            frames,
            prompt: &prompt,
            clip_rate_hz: self.clip_rate_hz,
            deadline: clock.runs().then(|| Instant::now() + time_left(newest, began)),
            stop,
        };
        let outcome = self.answerer.answer(&question);
        let ended = clock.now();
        match outcome {
            Outcome::Made(_) if clock.runs() && newest.deadline_steady_ns <= ended.steady_ns => {
                Verdict::Dropped(DropReason::MadeTooLate)
            }
            Outcome::Made(answer) => {
                let published = self.mouth.say(&answer, frames, &prompt, began, ended);
                self.board.delivered(&Delivered {
                    age_ms: published.age_ms,
                    taken_ms: published.answer_ms,
                    camera_to_publishing_ms: published.camera_to_answer_ms,
                    stamp_suspect: published.stamp_suspect,
                    unpublished: published.unpublished,
                    now: ended,
                });
                self.audience.hears(Said::Answer(&published));
                Verdict::Served
            }
            other => self.board.verdict(other),
        }
    }
}
