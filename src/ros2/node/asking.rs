//! Reason's role: asks the standing question about the newest frames and publishes what is answered in time.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use super::answer::Mouth;
use super::answerer::{Answerer, Outcome, Question};
use super::board::{Board, Delivered, Notes};
use super::occasion::{Because, Occasion};
use super::options::ask_period_ns;
use super::prompt::StandingPrompt;
use super::turns::{Role, Turns};
use super::watch::Watched;
use super::{Audience, NodeError, Said, Stage, answering, time_left};
use crate::camera::Decoder;
use crate::frames::accounts::DropReason;
use crate::frames::clock::Moment;
use crate::frames::frame::Received;
use crate::frames::listener::{Listener, Verdict};
use crate::ros2::diagnostics::{Status, Work};
use crate::ros2::messages::{Flag, Message, Text};
use crate::ros2::parameter_store::SharedParameters;
use crate::ros2::transport::Delivery;
use crate::runtime::reason::AnswerSettings;

pub(super) struct Asking<'a> {
    listener: Arc<Listener>,
    board: Arc<Board>,
    mouth: Mouth<'a>,
    occasion: Arc<Occasion>,
    decoder: Decoder,
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
        let Stage { transport, options, topics, parameters, occasion, audience } = stage;
        let occasion = occasion.as_ref().expect("there is one where questions are put");
        let prompt = Arc::new(StandingPrompt::new(&options.prompt, Arc::clone(parameters)));
        transport.subscribe(&topics.prompt, Text::TYPE, Delivery::Reliable, prompt.sink())?;
        transport.subscribe(&topics.ask, Flag::TYPE, Delivery::Reliable, occasion.sink())?;
        let role = Self {
            listener: Arc::clone(listener),
            board: Arc::clone(board),
            mouth: Mouth::open(*transport, topics, listener)?,
            occasion: Arc::clone(occasion),
            decoder: Decoder::new(),
            clip_rate_hz: options.clip_rate_hz,
            parameters: Arc::clone(parameters),
            settings: options.answers.clone(),
            answerer,
            audience,
        };
        let asked = Arc::clone(occasion);
        let detail = move |notes: &Notes, status: &mut Status| {
            status.figures.push(("answers", notes.published.to_string()));
            status.figures.push(("answers_cut", notes.cuts.total().to_string()));
            status.figures.push(("prompts_refused", prompt.refused().to_string()));
            status.figures.push(("prompt", prompt.current()));
            let asked = asked.asked().map(|(because, n)| format!("{} {n}", because.name()));
            status.figures.push(("asked", asked.collect::<Vec<_>>().join(", ")));
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

    fn calls(&self) -> bool {
        self.occasion.calls().is_some()
    }

    fn serve(&mut self, frames: &[Received], began: Moment, stop: &AtomicBool) -> Verdict {
        let clock = self.listener.clock();
        let newest = frames.last().expect("a question has at least one frame");
        // A moment ago something called; a parameter may be another since.
        let because = self.occasion.calls().unwrap_or_default();
        let mut picture = None;
        // What cannot be decoded the engine refuses by name.
        if because == Because::Change
            && let Ok(decoded) = newest.frame.decode(&mut self.decoder)
        {
            picture = self.occasion.changed(&decoded.picture());
            if picture.is_none() {
                return Verdict::Dropped(DropReason::Unchanged);
            }
        }
        self.occasion.answers(because);
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
        let verdict = match outcome {
            Outcome::Made(_) if clock.runs() && newest.deadline_steady_ns <= ended.steady_ns => {
                Verdict::Dropped(DropReason::MadeTooLate)
            }
            Outcome::Made(answer) => {
                let age = newest.age(clock, ended);
                let published = self.mouth.say(&answer, frames, (&prompt, because), began, age);
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
                self.board.unpublished(u64::from(self.mouth.show(&answer, frames, published.age_ms)));
                Verdict::Served
            }
            other => self.board.verdict(other),
        };
        self.occasion.ended(because, verdict == Verdict::Served, picture);
        verdict
    }
}
