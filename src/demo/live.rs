//! The live demo: a camera that runs on whether or not anybody keeps up, and an observer that goes round the questions.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::graph::{Cast, Graph, node_options};
use super::observer::{Event, Heard, Observer};
use super::report::{Report, Tape};
use super::scoreboard::{Scoreboard, Verdict};
use super::stage::Stage;
use crate::frames::clock::Clock;
use crate::ros2::node::Engines;
use crate::scenes::Rng;

/// How often the observer looks whether the camera has ended.
const GLANCE: Duration = Duration::from_millis(100);
/// How long the last answers may take after the last frame.
const CURTAIN: Duration = Duration::from_millis(500);
/// How long answers may be on their way after the node has ended.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What to play.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) duration: Duration,
    pub(super) seed: u64,
    /// Frames per second.
    pub(super) rate_hz: f64,
}

/// What the observer has just heard.
#[derive(Debug, Clone, Copy)]
pub(super) enum News<'a> {
    /// An answer, judged.
    Answer(&'a Verdict),
    /// How far what came lies from the forecast, in latent space.
    Surprise(f32),
}

/// Plays until the time is up or `stop` is set. `say` hears of every answer that can be judged, and of every surprise, as it comes.
///
/// # Panics
/// If no engine answers.
///
/// # Errors
/// If a participant cannot run. Whatever happens to single frames is counted.
pub(super) fn play(
    graph: Graph<'_>,
    plan: &Plan,
    engines: Engines<'_>,
    stop: &AtomicBool,
    say: &mut dyn FnMut(News<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<Report> {
    let options = node_options(plan.rate_hz)?;
    let stage = Mutex::new(Stage::new((1e9 / plan.rate_hz) as i64));
    let begin = Instant::now();
    let mut desk = Desk {
        stage: &stage,
        board: Scoreboard::default(),
        tape: Tape::default(),
        rng: Rng::new(!plan.seed),
        standing: String::new(),
        say,
    };
    let clock = graph.camera.clock();
    let ((observer, sent), done) =
        graph.perform(&options, engines, |cast| desk.direct(cast, plan, clock, stop))?;
    let summary = done.answers.expect("one of the engines answers");
    // What the node published last may still be on its way.
    let deadline = Instant::now() + LAST_WORDS;
    while desk.tape.heard() < summary.published && Instant::now() < deadline {
        match observer.next(GLANCE) {
            Some(Event::Answer(heard)) => desk.hear(&heard)?,
            Some(Event::Surprise(surprise)) => desk.wonder(surprise)?,
            Some(Event::Scene(_)) | None => {}
        }
    }
    let Desk { board, mut tape, .. } = desk;
    let surprise = tape.take_surprise();
    let shown = stage.into_inner().unwrap_or_else(PoisonError::into_inner).shown();
    let report = Report::new(&board, tape, shown, &summary, sent, begin.elapsed());
    Ok(match &done.forecasts {
        Some(forecasts) => report.with_live_forecasts(forecasts, sent, surprise),
        None => report,
    })
}

/// Where the observer sits.
struct Desk<'a> {
    stage: &'a Mutex<Stage>,
    board: Scoreboard,
    tape: Tape,
    rng: Rng,
    /// The question that was asked last.
    standing: String,
    say: &'a mut dyn FnMut(News<'_>) -> anyhow::Result<()>,
}

impl Desk<'_> {
    /// Lets the camera run in a thread of its own and goes on asking until it has ended. Returns the observer, and how many
    /// frames were sent.
    fn direct(
        &mut self,
        cast: Cast,
        plan: &Plan,
        clock: &Clock,
        stop: &AtomicBool,
    ) -> anyhow::Result<(Observer, u64)> {
        let Cast { mut camera, observer } = cast;
        let (scenes, stage, halt) = (observer.events(), self.stage, AtomicBool::new(false));
        let sent = std::thread::scope(|scope| {
            let playing = scope.spawn(|| {
                let now_ns = || clock.now().ros_ns;
                camera.play(stage, plan.seed, now_ns, plan.duration, &halt, |number| {
                    // An observer with a thousand events to read learns of the scene by its answers.
                    let _ = scenes.try_send(Event::Scene(number));
                });
                camera.sent()
            });
            let asked = self.go_round(&observer, stop, || playing.is_finished());
            halt.store(true, Relaxed);
            let sent = playing.join().expect("a panic of the camera is our bug, and belongs here");
            asked.map(|()| sent)
        })?;
        Ok((observer, sent))
    }

    /// Asks and hears until the camera has ended and its last answers had their time, or `stop` is set.
    fn go_round(
        &mut self,
        observer: &Observer,
        stop: &AtomicBool,
        has_ended: impl Fn() -> bool,
    ) -> anyhow::Result<()> {
        let mut end = None;
        while !stop.load(Relaxed) {
            match observer.next(GLANCE) {
                Some(Event::Scene(_)) => self.ask(observer),
                Some(Event::Answer(heard)) => {
                    self.hear(&heard)?;
                    self.ask(observer);
                }
                Some(Event::Surprise(surprise)) => self.wonder(surprise)?,
                None => {}
            }
            if has_ended() && *end.get_or_insert_with(|| Instant::now() + CURTAIN) < Instant::now() {
                break;
            }
        }
        Ok(())
    }

    /// Asks of the present scene what was answered least so far.
    fn ask(&mut self, observer: &Observer) {
        let questions = match self.stage.lock().unwrap_or_else(PoisonError::into_inner).current() {
            Some(played) => played.take.questions(0),
            None => return,
        };
        let times = |task| self.board.tally(task).asked;
        let least = questions.iter().map(|question| times(question.task)).min();
        let mut open: Vec<_> = questions.into_iter().filter(|q| Some(times(q.task)) == least).collect();
        let question = open.swap_remove(self.rng.below(open.len()));
        let text = &question.texts[self.rng.below(question.texts.len())];
        if *text != self.standing {
            match observer.ask(text) {
                Ok(()) => self.standing.clone_from(text),
                Err(error) => log::warn!("the question was not taken: {error}"),
            }
        }
    }

    fn hear(&mut self, heard: &Heard) -> anyhow::Result<()> {
        let verdict =
            self.board.judge(heard, &self.stage.lock().unwrap_or_else(PoisonError::into_inner)).ok();
        if let Some(verdict) = &verdict {
            (self.say)(News::Answer(verdict))?;
        }
        self.tape.note(heard, verdict);
        Ok(())
    }

    fn wonder(&mut self, surprise: f32) -> anyhow::Result<()> {
        self.tape.note_surprise(surprise);
        (self.say)(News::Surprise(surprise))
    }
}
