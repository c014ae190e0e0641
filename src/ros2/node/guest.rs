//! A question of another node, from its turn to its answer. It takes turns with the standing one, at the newest frames.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::answer::{Asked, message};
use super::answerer::{Answerer, Outcome, Question};
use super::answering;
use super::gaze::{Gaze, Wanted};
use super::term::{self, Term};
use super::turns::Ending as Flagging;
use crate::frames::accounts::DropReason;
use crate::frames::clock::Moment;
use crate::frames::frame::Received;
use crate::frames::listener::Verdict;
use crate::ros2::asks::{Ending, Ticket};
use crate::ros2::messages::{AskReply, AskRequest};
use crate::runtime::reason::AnswerSettings;

/// How often is looked whether the node is to leave, while somebody else's question has a stop of its own.
const LOOK: Duration = Duration::from_millis(5);

/// A question whose turn is next.
pub(super) struct Guest {
    ticket: Ticket<AskRequest>,
    prompt: String,
    settings: Option<AnswerSettings>,
    wanted: Wanted,
    since: Instant,
}

/// What the standing question is asked with, at this moment.
pub(super) struct Standing {
    pub(super) prompt: String,
    pub(super) settings: Option<AnswerSettings>,
}

impl Guest {
    /// Takes a question up, or ends it where it is none for this node; `check` knows what the engine would refuse.
    pub(super) fn of(
        ticket: Ticket<AskRequest>,
        standing: Standing,
        gaze: &Gaze,
        check: impl FnOnce(&str, &AnswerSettings) -> Result<(), String>,
    ) -> Option<Self> {
        match understood(&ticket, standing, gaze, check) {
            Ok((prompt, settings, wanted)) => {
                Some(Self { ticket, prompt, settings, wanted, since: Instant::now() })
            }
            Err(problem) => {
                ticket.end(Ending::failed(problem));
                None
            }
        }
    }

    /// Of which cameras it wants frames.
    pub(super) fn wanted(&self) -> Wanted {
        self.wanted
    }

    /// While somebody else was answered, it has not waited for an image.
    pub(super) fn waits_anew(&mut self) {
        self.since = Instant::now();
    }

    /// Whether it goes on waiting for an image on these topics; otherwise it is ended.
    pub(super) fn waits(self, max_age: Duration, topics: &[String]) -> Option<Self> {
        if self.ticket.is_given_up() {
            self.ticket.end(Ending::Canceled(Box::default()));
            return None;
        }
        let patience = term::patience(max_age);
        if self.since.elapsed() < patience {
            return Some(self);
        }
        let topics = match self.wanted {
            Wanted::Only(camera) => &topics[camera..=camera],
            Wanted::Any | Wanted::Of(_) | Wanted::Lent => topics,
        };
        let (seconds, topics) = (patience.as_secs_f64(), topics.join(", "));
        self.ticket.end(Ending::failed(format!("no image to ask about came on {topics} within {seconds} s")));
        None
    }

    /// Has it answered about these frames, and says what became of them. `alive` is called with each piece of the answer.
    pub(super) fn answered(
        self,
        answerer: &mut dyn Answerer,
        (gaze, frames, clip_rate_hz): (&Gaze, &[Received], f64),
        began: Moment,
        stop: &AtomicBool,
        alive: &mut dyn FnMut(),
    ) -> Verdict {
        let Self { mut ticket, prompt, settings, .. } = self;
        let (clock, lead, names) = (gaze.clock(), gaze.lead(frames), gaze.names());
        let term = Term::of(ticket.request().max_age, gaze, lead);
        let give_up = ticket.give_up().clone();
        let question = Question {
            frames,
            cameras: if 1 < names.len() { &names } else { &[] },
            prompt: &prompt,
            settings: settings.as_ref(),
            clip_rate_hz,
            deadline: term.deadline(clock, began),
            stop: &give_up,
        };
        ticket.begin();
        let mut said = String::new();
        let outcome = while_wanted(stop, &give_up, || {
            answerer.answer_aloud(&question, &mut |piece| {
                said.push_str(piece);
                ticket.say(piece);
                alive();
            })
        });
        let because = ticket.because();
        let asked = Asked { frames, lead, cameras: &names, prompt: &prompt, because, began };
        let told = |text: &str, is_cut| -> Box<AskReply> {
            let answer = message(text, is_cut, &asked, lead.age(clock, clock.now()), term.max_age_ns);
            Box::new(AskReply { answer, ..AskReply::default() })
        };
        let is_begun = !said.is_empty();
        let (ending, verdict) = match outcome {
            Outcome::Made(answer) if term.is_over(clock) => {
                let why = "max_age had passed when the answer ended".to_owned();
                (Ending::Failed(told(&answer.text, true), why), Verdict::Dropped(DropReason::MadeTooLate))
            }
            Outcome::Made(answer) => {
                // Of choices one is taken when all is said.
                if let Some(rest) = answer.text.strip_prefix(&said).filter(|rest| !rest.is_empty()) {
                    ticket.say(rest);
                }
                let finish = answer.details.get("finish_reason").and_then(|reason| reason.as_str());
                let finish = finish.unwrap_or(if answer.is_cut { "deadline" } else { "stop" });
                let mut reply = told(&answer.text, answer.is_cut);
                finish.clone_into(&mut reply.finish_reason);
                (Ending::Served(reply), Verdict::Served)
            }
            Outcome::Stopped => {
                let verdict = if is_begun { Verdict::Served } else { Verdict::Dropped(DropReason::Stopped) };
                let so_far = if is_begun { told(&said, true) } else { Box::default() };
                match stop.load(Relaxed) {
                    true => (Ending::Failed(so_far, "the node has stopped answering".to_owned()), verdict),
                    false => (Ending::Canceled(so_far), verdict),
                }
            }
            Outcome::Expired => {
                let why = "max_age had passed before there was anything to say";
                (Ending::failed(why), Verdict::Dropped(DropReason::MadeTooLate))
            }
            Outcome::Rejected { frame, reason, message } => {
                (Ending::failed(format!("the image: {message}")), Verdict::Rejected(frame, reason))
            }
            Outcome::Failed(message) => (Ending::failed(message), Verdict::Dropped(DropReason::EngineFailed)),
        };
        ticket.end(ending);
        verdict
    }
}

fn understood(
    ticket: &Ticket<AskRequest>,
    standing: Standing,
    gaze: &Gaze,
    check: impl FnOnce(&str, &AnswerSettings) -> Result<(), String>,
) -> Result<(String, Option<AnswerSettings>, Wanted), String> {
    let request = ticket.request();
    let wanted = match request.camera.as_str() {
        "" => Wanted::Any,
        name => match gaze.eyes().iter().position(|eye| eye.name.as_deref() == Some(name)) {
            Some(camera) => Wanted::Only(camera),
            None => {
                let there: Vec<&str> = gaze.eyes().iter().filter_map(|eye| eye.name.as_deref()).collect();
                let there = if there.is_empty() { "none with a name".to_owned() } else { there.join(", ") };
                return Err(format!("camera {name:?}: there is no such camera; there is {there}"));
            }
        },
    };
    let Standing { prompt, settings } = standing;
    let is_own = !request.prompt.trim().is_empty();
    let prompt = if is_own { request.prompt.trim().to_owned() } else { prompt };
    let choices: Vec<String> = request.choices.iter().map(|choice| choice.trim().to_owned()).collect();
    answering::check_choices(&choices).map_err(|problem| format!("choices: {problem}"))?;
    let settings = settings.map(|settings| AnswerSettings {
        choices: if is_own || !choices.is_empty() { choices } else { settings.choices },
        tokens_max: match request.max_tokens {
            0 => settings.tokens_max,
            n => n as usize,
        },
        ..settings
    });
    if let Some(settings) = &settings {
        check(&prompt, settings)?;
    }
    Ok((prompt, settings, wanted))
}

/// Does the work; its stop is set, too, when the node is to leave.
fn while_wanted<T>(stop: &AtomicBool, give_up: &AtomicBool, work: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let looking = scope.spawn(|| {
            while !done.load(Relaxed) {
                give_up.fetch_or(stop.load(Relaxed), Relaxed);
                std::thread::park_timeout(LOOK);
            }
        });
        // Also where the work panics.
        let ending = Flagging { flag: &done, only_panics: false };
        let result = work();
        drop(ending);
        looking.thread().unpark();
        result
    })
}
