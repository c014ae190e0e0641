//! Reason's role: asks the standing question about the newest frames and publishes what is answered in time.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use super::answer::{Asked, Mouth, places};
use super::answerer::{Answerer, Outcome, Question};
use super::board::{Delivered, Notes};
use super::gaze::{Gaze, Wanted};
use super::guest::{Guest, Standing};
use super::occasion::{Because, Cells, Occasion};
use super::options::{ask_period_ns, max_age};
use super::prompt::StandingPrompt;
use super::turns::{Role, Turns};
use super::watch::Watched;
use super::{Audience, Checker, NodeError, Said, Stage, answering, time_left};
use crate::camera::Decoder;
use crate::frames::accounts::DropReason;
use crate::frames::clock::Moment;
use crate::frames::frame::Received;
use crate::frames::listener::Verdict;
use crate::ros2::asks::{Asks, Attendance, Attending};
use crate::ros2::diagnostics::{Status, Work};
use crate::ros2::messages::{AskRequest, Flag, Message, Text};
use crate::ros2::parameter_store::SharedParameters;
use crate::ros2::transport::Delivery;
use crate::runtime::reason::AnswerSettings;

pub(super) struct Asking<'a> {
    gaze: Gaze,
    mouth: Mouth<'a>,
    occasion: Arc<Occasion>,
    /// The camera whose surprise calls.
    surprising: usize,
    decoder: Decoder,
    /// Of the question, each with its camera, where their change counts.
    pictures: Vec<(usize, Cells)>,
    clip_rate_hz: f64,
    parameters: SharedParameters,
    /// Of the start; parameters may say otherwise.
    settings: Option<AnswerSettings>,
    answerer: &'a mut dyn Answerer,
    audience: &'a Audience<'a>,
    asks: &'a Asks,
    /// Whose turn is next among those who ask beside.
    guest: Option<Guest>,
    /// What the engine knows beforehand.
    checker: Option<Checker>,
    /// Where images come from.
    image_topics: Vec<String>,
    /// Last, so that those who wait are told when all else is.
    _attending: Attending<'a, AskRequest>,
}

impl<'a> Asking<'a> {
    /// Announces the topics. What is watched is of each camera, in their order.
    pub(super) fn open(
        stage: &Stage<'a>,
        answerer: &'a mut dyn Answerer,
        gaze: Gaze,
    ) -> Result<(Turns<'a>, Vec<Watched<'a>>), NodeError> {
        let Stage { transport, options, topics, parameters, occasion, audience, asks, lenses } = stage;
        let asks: &'a Asks = asks;
        let occasion = occasion.as_ref().expect("there is one where questions are put");
        let prompt = Arc::new(StandingPrompt::new(&options.prompt, Arc::clone(parameters)));
        transport.subscribe(&topics.prompt, Text::TYPE, Delivery::Reliable, prompt.sink())?;
        transport.subscribe(&topics.ask, Flag::TYPE, Delivery::Reliable, occasion.sink())?;
        let forming_s = options.clip_frames as f64 / options.clip_rate_hz;
        let watched = gaze.eyes().iter().enumerate().map(|(camera, eye)| {
            let (prompt, asked) = (Arc::clone(&prompt), Arc::clone(occasion));
            let detail = move |notes: &Notes, status: &mut Status| {
                status.figures.push(("answers", notes.published.to_string()));
                status.figures.push(("answers_cut", notes.cuts.total().to_string()));
                status.figures.push(("prompts_refused", prompt.refused().to_string()));
                status.figures.push(("prompt", prompt.current()));
                let asked = asked.asked().map(|(because, n)| format!("{} {n}", because.name()));
                status.figures.push(("asked", asked.collect::<Vec<_>>().join(", ")));
                let [answered, failed] = asks.questions.counts();
                status.figures.push(("asked_beside", format!("answered {answered}, failed {failed}")));
            };
            Watched::new(Work::Answers, (options, parameters), forming_s, (camera, eye), Box::new(detail))
        });
        let watched = watched.collect();
        let ears: Vec<_> = gaze.eyes().iter().map(|eye| Arc::clone(&eye.listener)).collect();
        let wake = move || ears.iter().for_each(|listener| listener.nudge());
        let role = Self {
            mouth: Mouth::open(*transport, topics, &gaze.eyes()[0].listener, lenses)?,
            pictures: Vec::with_capacity(gaze.eyes().len()),
            gaze,
            occasion: Arc::clone(occasion),
            surprising: options.cameras.forecast_index(),
            decoder: Decoder::new(),
            clip_rate_hz: options.clip_rate_hz,
            parameters: Arc::clone(parameters),
            settings: options.answers.clone(),
            checker: answerer.checker(),
            answerer,
            audience,
            asks,
            guest: None,
            image_topics: options.image_topics()?.into_iter().map(|image| image.topic).collect(),
            _attending: asks.questions.attended(Attendance::There, wake),
        };
        let parameters = Arc::clone(parameters);
        let period_ns = Box::new(move || parameters.read(ask_period_ns));
        Ok((Turns::new(Box::new(role), period_ns), watched))
    }

    /// What the standing question is asked with now.
    fn standing(&self) -> Standing {
        self.parameters.read(|parameters| {
            let settings = self.settings.as_ref().map(|base| answering::settings(parameters, base));
            Standing { prompt: parameters.text("prompt").to_owned(), settings }
        })
    }

    /// Whether one of the pictures that a question is about has changed; they are noted.
    fn has_changed(&mut self, frames: &[Received]) -> bool {
        let Self { gaze, occasion, decoder, pictures, .. } = self;
        let mut has_changed = false;
        for (camera, newest) in gaze.asked(frames) {
            // What cannot be decoded the engine refuses by name.
            let Ok(decoded) = newest.frame.decode(decoder) else {
                pictures.clear();
                return true;
            };
            let (is_another, picture) = occasion.compare(camera, &decoded.picture());
            has_changed |= is_another;
            pictures.push((camera, picture));
        }
        has_changed
    }
}

impl Role for Asking<'_> {
    fn gaze(&mut self) -> &mut Gaze {
        &mut self.gaze
    }

    fn calls(&self) -> Option<Wanted> {
        self.occasion.calls().map(|because| match because {
            Because::Surprise => Wanted::Of(self.surprising),
            Because::Rate | Because::Topic | Because::Change => Wanted::Any,
        })
    }

    fn guest(&mut self) -> Option<Wanted> {
        let waiting = self.guest.take();
        self.guest = waiting.and_then(|guest| guest.waits(self.parameters.read(max_age), &self.image_topics));
        while self.guest.is_none() {
            let ticket = self.asks.questions.next()?;
            let standing = self.standing();
            let check = |prompt: &str, settings: &AnswerSettings| {
                self.checker.as_ref().map_or(Ok(()), |check| check(prompt, settings))
            };
            self.guest = Guest::of(ticket, standing, &self.gaze, check);
        }
        self.guest.as_ref().map(Guest::wanted)
    }

    fn serve_guest(
        &mut self,
        frames: &[Received],
        began: Moment,
        stop: &AtomicBool,
        alive: &mut dyn FnMut(),
    ) -> Verdict {
        self.audience.recording.used(frames);
        let guest = self.guest.take().expect("it was told of a moment ago");
        guest.answered(self.answerer, (&self.gaze, frames, self.clip_rate_hz), began, stop, alive)
    }

    fn serve(&mut self, frames: &[Received], began: Moment, stop: &AtomicBool) -> Verdict {
        // A moment ago something called; a parameter may be another since.
        let because = self.occasion.calls().unwrap_or_default();
        self.pictures.clear();
        if because == Because::Change && !self.has_changed(frames) {
            return Verdict::Dropped(DropReason::Unchanged);
        }
        self.occasion.answers(because);
        self.audience.recording.used(frames);
        let Standing { prompt, settings } = self.standing();
        let (clock, lead) = (self.gaze.clock(), self.gaze.lead(frames));
        let (names, board) = (self.gaze.names(), self.gaze.board());
        let question = Question {
            frames,
            cameras: if 1 < names.len() { &names } else { &[] },
            prompt: &prompt,
            settings: settings.as_ref(),
            clip_rate_hz: self.clip_rate_hz,
            deadline: clock.runs().then(|| Instant::now() + time_left(lead, began)),
            stop,
        };
        let outcome = self.answerer.answer(&question);
        let ended = clock.now();
        let verdict = match outcome {
            Outcome::Made(_) if clock.runs() && lead.deadline_steady_ns <= ended.steady_ns => {
                Verdict::Dropped(DropReason::MadeTooLate)
            }
            Outcome::Made(answer) => {
                let age = lead.age(clock, ended);
                let asked =
                    Asked { frames, lead, cameras: &names, prompt: &prompt, because: because.name(), began };
                let published = self.mouth.say(&answer, &asked, age);
                board.delivered(&Delivered {
                    age_ms: published.age_ms,
                    taken_ms: published.answer_ms,
                    camera_to_publishing_ms: published.camera_to_answer_ms,
                    stamp_suspect: published.stamp_suspect,
                    is_cut: published.is_cut,
                    unpublished: published.unpublished,
                    now: ended,
                });
                self.audience.hears_of(Said::Answer(&published), Some((lead, places(&answer, &asked))));
                let camera = self.gaze.asked(frames).next().map_or(0, |(camera, _)| camera);
                board.unpublished(self.mouth.show(&answer, &asked, camera, published.age_ms));
                Verdict::Served
            }
            other => board.verdict(other, &names),
        };
        self.occasion.ended(because, verdict == Verdict::Served, self.pictures.drain(..));
        self.guest.iter_mut().for_each(Guest::waits_anew);
        verdict
    }
}
