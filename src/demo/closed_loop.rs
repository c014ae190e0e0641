//! Every question about many scenes, one after another, as fast as they are answered, in simulated time.
//!
//! The camera waits for each answer before it shows the next clip, so that all questions are answered however busy the machine
//! is. Frames go the same way as live ones: best effort, the newest wins; a clip of which one was lost is sent again.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::bail;

use super::graph::{Cast, Graph, node_options};
use super::observer::{Event, Heard};
use super::recorder::{Recorder, Recording};
use super::report::{Report, Tape};
use super::scoreboard::{Scoreboard, Verdict};
use super::stage::{CLIP_FRAMES, EPOCH_NS, PAUSE_FRAMES, Stage, Take};
use crate::ros2::messages::{self, Message, Time, encode};
use crate::ros2::node::{Answerer, Engines};
use crate::ros2::transport::{Delivery, Publisher};
use crate::scenes::{FPS, Question, Rng, Task};

/// How old a frame may be when it is answered: a busy machine must not cut answers.
const MAX_AGE: Duration = Duration::from_secs(60);
/// How long the pause between two frames of a clip is, so that the reader, which keeps one, takes each.
const SPACING_MIN: Duration = Duration::from_micros(1500);
const SPACING_MAX: Duration = Duration::from_millis(50);
/// How long an answer may take before its clip counts as lost.
const PATIENCE_MIN: Duration = Duration::from_millis(300);
/// The first answer warms everything up.
const PATIENCE_FIRST: Duration = Duration::from_secs(3);
const PATIENCE_MAX: Duration = Duration::from_secs(30);
/// A clip that is lost so often will not come through.
const TRIES_MAX: usize = 25;

/// What to play.
#[derive(Debug, Clone, Copy)]
pub(super) struct Course {
    pub(super) n_scenes: u64,
    pub(super) seed: u64,
}

/// Asks one question of every kind about each scene. `on_scene` hears the number of each scene that is done.
///
/// # Errors
/// If a participant cannot run, a clip does not come through at all, or a record cannot be written. A course that was stopped
/// reports how far it came.
pub(super) fn play(
    graph: Graph<'_>,
    course: &Course,
    answerer: &mut dyn Answerer,
    recorder: &Mutex<Recorder>,
    stop: &AtomicBool,
    on_scene: &mut dyn FnMut(u64),
) -> anyhow::Result<Report> {
    let mut options = node_options(FPS)?;
    (options.use_sim_time, options.max_age) = (true, MAX_AGE);
    let clock = graph.camera.advertise("/clock", messages::Clock::TYPE, Delivery::BestEffort)?;
    let begin = Instant::now();
    let mut answerer = Recording { answerer, recorder };
    let (hall, done) = graph.perform(&options, Engines::answering(&mut answerer), |cast| {
        let mut hall = Hall::new(cast, clock, recorder);
        hall.play(course, stop, on_scene)?;
        Ok(hall)
    })?;
    recorder.lock().unwrap_or_else(PoisonError::into_inner).finish()?;
    let Hall { cast, board, tape, scenes, sent_again, .. } = hall;
    let summary = done.answers.expect("its engine answers");
    let report = Report::new(&board, tape, scenes, &summary, cast.camera.sent(), begin.elapsed());
    Ok(report.of_a_course(sent_again, course.n_scenes))
}

/// Where one clip after another is shown.
struct Hall<'a> {
    cast: Cast,
    clock: Box<dyn Publisher>,
    recorder: &'a Mutex<Recorder>,
    stage: Stage,
    board: Scoreboard,
    tape: Tape,
    now_ns: i64,
    spacing: Duration,
    patience: Duration,
    /// Scenes so far, and how many of them backward.
    scenes: (u64, u64),
    sent_again: u64,
}

impl<'a> Hall<'a> {
    fn new(cast: Cast, clock: Box<dyn Publisher>, recorder: &'a Mutex<Recorder>) -> Self {
        Self {
            cast,
            clock,
            recorder,
            stage: Stage::new((1e9 / FPS) as i64),
            board: Scoreboard::default(),
            tape: Tape::default(),
            now_ns: EPOCH_NS,
            spacing: SPACING_MIN,
            patience: PATIENCE_FIRST,
            scenes: (0, 0),
            sent_again: 0,
        }
    }

    fn play(
        &mut self,
        course: &Course,
        stop: &AtomicBool,
        on_scene: &mut dyn FnMut(u64),
    ) -> anyhow::Result<()> {
        let mut rng = Rng::new(course.seed);
        for number in 1..=course.n_scenes {
            let take = Arc::new(Take::draw(&mut rng, CLIP_FRAMES));
            for question in one_of_each(take.questions(0), &mut rng) {
                if stop.load(Relaxed) {
                    return Ok(());
                }
                let text = &question.texts[rng.below(question.texts.len())];
                let id = format!("{number:04}-{}", question.task.name());
                let (heard, verdict) = self.until_answered(&take, text)?;
                let mut recorder = self.recorder.lock().unwrap_or_else(PoisonError::into_inner);
                recorder.write(&id, &heard, &verdict)?;
                self.tape.note(&heard, Some(verdict));
            }
            self.scenes = (number, self.scenes.1 + u64::from(take.is_backward()));
            on_scene(number);
        }
        Ok(())
    }

    /// Shows the clip until it is answered.
    fn until_answered(&mut self, take: &Arc<Take>, question: &str) -> anyhow::Result<(Heard, Verdict)> {
        for attempt in 0..TRIES_MAX {
            self.sent_again += u64::from(0 < attempt);
            let stamps_ns = self.show(take, question);
            let shown = Instant::now();
            if let Some(heard) = self.hear(&stamps_ns, question) {
                self.patience = (10 * shown.elapsed()).clamp(PATIENCE_MIN, PATIENCE_MAX);
                self.spacing = (self.spacing * 15 / 16).max(SPACING_MIN);
                let verdict = self.board.judge(&heard, &self.stage);
                let verdict = verdict.expect("the clip is the stage's, and the question is about it");
                return Ok((heard, verdict));
            }
            self.patience = (2 * self.patience).min(PATIENCE_MAX);
            self.spacing = (2 * self.spacing).min(SPACING_MAX);
        }
        bail!("a clip was sent {TRIES_MAX} times and not answered: {question}")
    }

    /// Sends question, time and clip. Returns the stamps. What the transport does not take is missed by the answer.
    fn show(&mut self, take: &Arc<Take>, question: &str) -> Vec<i64> {
        let period_ns = self.stage.period_ns();
        let first_ns = self.now_ns;
        let stamps_ns: Vec<i64> = (0..CLIP_FRAMES as i64).map(|i| first_ns + i * period_ns).collect();
        self.now_ns += (CLIP_FRAMES + PAUSE_FRAMES) as i64 * period_ns;
        self.stage.enter(Arc::clone(take), first_ns);
        if let Err(error) = self.cast.observer.ask(question) {
            log::warn!("the question was not taken: {error}");
        }
        for (shown, stamp_ns) in stamps_ns.iter().enumerate() {
            let tick = messages::Clock { clock: Time::from_ns(*stamp_ns) };
            if let Err(error) = self.clock.publish(encode(&tick)) {
                log::warn!("the time was not taken: {error}");
            }
            self.cast.camera.show(take, shown, *stamp_ns);
            std::thread::sleep(self.spacing);
        }
        stamps_ns
    }

    /// Waits for the whole answer to this question about this clip. Answers to earlier attempts are passed over.
    fn hear(&self, stamps_ns: &[i64], question: &str) -> Option<Heard> {
        let deadline = Instant::now() + self.patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.cast.observer.next(left) {
                Some(Event::Answer(heard)) if heard.stamps_ns() == stamps_ns => {
                    // With another question: the frames have overtaken it.
                    return Some(*heard).filter(|heard| heard.prompt == question && !heard.is_cut());
                }
                Some(_) => {}
                None => return None,
            }
        }
    }
}

/// Draws one question of each kind.
fn one_of_each(questions: Vec<Question>, rng: &mut Rng) -> Vec<Question> {
    let kinds = Task::ALL.into_iter().filter_map(|task| {
        let mut of_kind: Vec<&Question> = questions.iter().filter(|question| question.task == task).collect();
        (!of_kind.is_empty()).then(|| of_kind.swap_remove(rng.below(of_kind.len())).clone())
    });
    kinds.collect()
}
