//! The node itself: takes the newest frames, asks the standing question about them, publishes what is answered in time.
//!
//! One thread asks and publishes. The transport's thread fills the [`Intake`] meanwhile, and a third reports the state
//! once a second, so that a long answer delays neither. Nothing here knows the engine: that is behind [`Answerer`].

mod answer;
mod answerer;
mod board;
mod options;
mod prompt;
mod watch;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub use answer::Published;
pub use answerer::{Answer, Answerer, Outcome, Question};
pub use board::Summary;
pub use options::{NodeOptions, OptionsError};

use self::answer::Mouth;
use self::board::Board;
use self::prompt::StandingPrompt;
use self::watch::Watch;
use crate::ros2::accounts::DropReason;
use crate::ros2::clock::{Clock, Moment};
use crate::ros2::frame::Received;
use crate::ros2::intake::{Intake, IntakeOptions, Verdict};
use crate::ros2::messages::{self, Message};
use crate::ros2::names::NameError;
use crate::ros2::parameter_services;
use crate::ros2::transport::{Delivery, Pump, Transport, TransportError};

/// How often the asking thread looks whether to stop.
const GLANCE: Duration = Duration::from_millis(50);
/// What publishing takes: an answer that ends at the deadline itself would be too late.
const PUBLISHING: Duration = Duration::from_millis(20);

/// A node that cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// A topic's name, or what it is remapped to.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The transport refuses.
    #[error(transparent)]
    Transport(#[from] TransportError),
}

/// Runs the node until `stop` is set or the transport has no more, and says what it did.
///
/// `on_answer` hears of every answer as it is published.
///
/// # Errors
/// If a topic cannot be had. Whatever happens to single frames later is counted, and the node lives on.
pub fn run(
    transport: &dyn Transport,
    options: &NodeOptions,
    answerer: &mut dyn Answerer,
    stop: &AtomicBool,
    on_answer: &mut dyn FnMut(&Published),
) -> Result<Summary, NodeError> {
    let clock = Arc::clone(transport.clock());
    let intake_options = IntakeOptions {
        clip_frames: options.clip_frames,
        clip_rate_hz: options.clip_rate_hz,
        max_age: options.max_age,
        frame_bytes_max: options.max_image_bytes,
    };
    let intake = Arc::new(Intake::new(intake_options, Arc::clone(&clock)));
    let parameters = Arc::new(Mutex::new(options.parameters()));
    let prompt = StandingPrompt::new(&options.prompt, Arc::clone(&parameters), Arc::clone(&intake));
    let prompt = Arc::new(prompt);
    let board = Board::new(clock.now());

    if options.use_sim_time {
        follow_clock(transport, Arc::clone(&clock))?;
    }
    let topics = options.topics()?;
    let mouth = Mouth::open(transport, &topics, options)?;
    let mut watch = Watch::open(transport, &topics, options)?;
    parameter_services::offer(transport, &options.name, &parameters)?;
    transport.subscribe(&topics.prompt, messages::Text::TYPE, Delivery::Reliable, prompt.sink())?;
    // Last, so that the first frame finds everything else ready.
    transport.subscribe_images(&topics.image, options.image_transport, Arc::clone(&intake))?;
    log::info!("listening to {} ({})", topics.image, options.image_transport.ros_type());

    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watching = clock.runs().then(|| {
            scope.spawn(|| {
                while !done.load(Relaxed) {
                    watch.look(transport, &intake, &board, &prompt);
                    std::thread::park_timeout(watch.period());
                }
                watch
            })
        });
        let mut asking =
            Asking { transport, options, intake: &intake, prompt: &prompt, board: &board, mouth: &mouth };
        asking.run(answerer, stop, on_answer);
        intake.close();
        done.store(true, Relaxed);
        if let Some(watching) = watching {
            watching.thread().unpark();
            let mut watch = watching.join().expect("a panic there is our bug, and belongs here");
            watch.report(&intake, &board, &prompt);
        }
    });
    let accounts = intake.accounts();
    log::info!("{accounts}");
    Ok(board.summary(accounts))
}

fn follow_clock(transport: &dyn Transport, clock: Arc<Clock>) -> Result<(), TransportError> {
    let sink = move |body: Result<(&[u8], messages::ByteOrder), DropReason>| {
        // A tick that cannot be read is followed by one that can.
        if let Ok(Ok(tick)) = body.map(|(body, order)| messages::decode::<messages::Clock>(body, order)) {
            clock.set(tick.clock.ns());
        }
    };
    transport.subscribe("/clock", messages::Clock::TYPE, Delivery::BestEffort, Box::new(sink))
}

/// The loop of the asking thread.
struct Asking<'a> {
    transport: &'a dyn Transport,
    options: &'a NodeOptions,
    intake: &'a Intake,
    prompt: &'a StandingPrompt,
    board: &'a Board,
    mouth: &'a Mouth,
}

impl Asking<'_> {
    fn run(&mut self, answerer: &mut dyn Answerer, stop: &AtomicBool, on_answer: &mut dyn FnMut(&Published)) {
        let clock = self.intake.clock();
        let mut frames = Vec::with_capacity(self.options.clip_frames);
        let mut next_ask_ns = i64::MIN;
        while !stop.load(Relaxed) {
            let pump = self.transport.pump();
            let early_ns = next_ask_ns.saturating_sub(clock.now().steady_ns);
            if 0 < early_ns && clock.runs() {
                std::thread::sleep(Duration::from_nanos(early_ns as u64).min(GLANCE));
                continue;
            }
            if 0 < early_ns || !self.intake.take(&mut frames) {
                match pump {
                    Pump::Live => self.intake.wait(GLANCE),
                    Pump::Delivered => {}
                    Pump::Ended => break,
                }
                continue;
            }
            let began = clock.now();
            if let Some(period_ns) = self.options.ask_period_ns() {
                next_ask_ns = began.steady_ns.saturating_add(period_ns);
            }
            self.ask(&frames, began, answerer, stop, on_answer);
        }
    }

    fn ask(
        &mut self,
        frames: &[Received],
        began: Moment,
        answerer: &mut dyn Answerer,
        stop: &AtomicBool,
        on_answer: &mut dyn FnMut(&Published),
    ) {
        let clock = self.intake.clock();
        let newest = frames.last().expect("a question has at least one frame");
        let left_ns = newest.deadline_steady_ns.saturating_sub(began.steady_ns);
        let left = Duration::from_nanos(u64::try_from(left_ns).unwrap_or(0)).saturating_sub(PUBLISHING);
        let prompt = self.prompt.current();
        let question = Question {
            frames,
            prompt: &prompt,
            clip_rate_hz: self.options.clip_rate_hz,
            deadline: clock.runs().then(|| Instant::now() + left),
            stop,
        };
        let outcome = answerer.answer(&question);
        let ended = clock.now();
        let verdict = match outcome {
            Outcome::Answered(_) if clock.runs() && newest.deadline_steady_ns <= ended.steady_ns => {
                Verdict::Dropped(DropReason::AnswerTooLate)
            }
            Outcome::Answered(answer) => {
                let published = self.mouth.say(&answer, frames, &prompt, began, ended);
                self.board.answered(&published, ended);
                on_answer(&published);
                Verdict::Answered
            }
            Outcome::Expired => Verdict::Dropped(DropReason::AnswerTooLate),
            Outcome::Stopped => Verdict::Dropped(DropReason::Stopped),
            Outcome::Rejected { frame, reason, message } => {
                if self.board.is_news(reason) {
                    log::warn!("image dropped ({reason}): {message}");
                }
                Verdict::Rejected(frame, reason)
            }
            Outcome::Failed(message) => {
                self.board.failed(message);
                Verdict::Dropped(DropReason::AnswerFailed)
            }
        };
        self.intake.settle(verdict);
    }
}

#[cfg(test)]
mod tests;
