//! Reason's role: asks the standing question about the newest frames and publishes what is answered in time.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use super::answer::Mouth;
use super::answerer::{Answerer, Outcome, Question};
use super::board::{Board, Delivered, Notes};
use super::options::ask_period_ns;
use super::prompt::StandingPrompt;
use super::turns::{Role, Turns};
use super::watch::Watched;
use super::{Audience, NodeError, Said, Stage, answering, time_left};
use crate::frames::accounts::DropReason;
use crate::frames::clock::Moment;
use crate::frames::frame::Received;
use crate::frames::listener::{Listener, Verdict};
use crate::ros2::diagnostics::{Status, Work};
use crate::ros2::messages::{Message, Text};
use crate::ros2::parameter_store::SharedParameters;
use crate::ros2::transport::Delivery;
use crate::runtime::reason::AnswerSettings;

pub(super) struct Asking<'a> {
    listener: Arc<Listener>,
    board: Arc<Board>,
    mouth: Mouth,
    clip_rate_hz: f64,
    parameters: SharedParameters,
    /// Of the start; parameters may say otherwise.
    settings: Option<AnswerSettings>,
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
        let prompt = Arc::new(StandingPrompt::new(&options.prompt, Arc::clone(parameters)));
        transport.subscribe(&topics.prompt, Text::TYPE, Delivery::Reliable, prompt.sink())?;
        let role = Self {
            listener: Arc::clone(listener),
            board: Arc::clone(board),
            mouth: Mouth::open(*transport, topics, listener)?,
            clip_rate_hz: options.clip_rate_hz,
            parameters: Arc::clone(parameters),
            settings: options.answers.clone(),
            answerer,
            audience,
        };
        let detail = move |notes: &Notes, status: &mut Status| {
            status.figures.push(("answers", notes.published.to_string()));
            status.figures.push(("answers_cut", notes.cuts.total().to_string()));
            status.figures.push(("prompts_refused", prompt.refused().to_string()));
            status.figures.push(("prompt", prompt.current()));
        };
        let forming_s = options.clip_frames as f64 / options.clip_rate_hz;
        let (listener, board) = (Arc::clone(listener), Arc::clone(board));
        let watched =
            Watched::new(Work::Answers, (options, parameters), forming_s, listener, board, Box::new(detail));
        let parameters = Arc::clone(parameters);
        let period_ns = Box::new(move || parameters.read(ask_period_ns));
        Ok((Turns::new(Box::new(role), period_ns), watched))
    }
}

impl Role for Asking<'_> {
    fn listener(&self) -> &Listener {
        &self.listener
    }

    fn serve(&mut self, frames: &[Received], began: Moment, stop: &AtomicBool) -> Verdict {
        let clock = self.listener.clock();
        let newest = frames.last().expect("a question has at least one frame");
        let (prompt, settings) = self.parameters.read(|parameters| {
            let settings = self.settings.as_ref().map(|base| answering::settings(parameters, base));
            (parameters.text("prompt").to_owned(), settings)
        });
        let question = Question {
            frames,
            prompt: &prompt,
            settings: settings.as_ref(),
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
                let age = newest.age(clock, ended);
                let published = self.mouth.say(&answer, frames, &prompt, began, age);
                self.board.delivered(&Delivered {
                    age_ms: published.age_ms,
                    taken_ms: published.answer_ms,
                    camera_to_publishing_ms: published.camera_to_answer_ms,
                    stamp_suspect: published.stamp_suspect,
                    is_cut: published.is_cut,
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
