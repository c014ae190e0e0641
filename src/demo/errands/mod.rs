//! The robot acts: plans that the node ranks in its world model bring a ball to a goal.
//!
//! Once in a second of the table's time plans are drawn, and the node says whose forecast comes nearest to the picture of a wish
//! ([`Errand::wish`]): the pusher further round the ball, or the ball nearer to its goal. That plan is carried out, whatever comes of
//! it. Where ball and pusher are at that moment is known, as a robot's own sensors would tell; what a plan leads to, the world model alone
//! says. Beside it, from the same starts, the first of the drawn plans is carried out each time, which no model has chosen.
//!
//! Table and camera stand still while plans are ranked, in simulated time, so that the errands are the same on a slow machine. The camera
//! shows the last frames of each second, as many as a forecast begins with.

mod asking;
mod shown;

use std::fmt;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use anyhow::{Context as _, ensure};
use serde::Serialize;

use self::asking::Asking;
use self::shown::Shown;
use super::engine::PredictEngine;
use super::graph::{Graph, node_options};
use super::sent::Frames;
use super::ticker::say;
use crate::report::{Html, Page};
use crate::ros2::node::{Engines, Forecaster, Summary as NodeSummary};
use crate::ros2::predict::{PredictForecaster, PredictSettings};
use crate::runtime::predict::{ForecastRequest, Limits, Noise, Predict, to_byte};
use crate::runtime::statistics::Summary;
use crate::scenes::robot::{Errand, SPEED_MAX, Split, Table, commands_to_rest};
use crate::scenes::{FPS, FRAME_BYTES, Rng, SIZE};

/// Plans that one errand may take, one after the other.
const ROUNDS: usize = 10;
/// Plans to choose from.
const CANDIDATES: usize = 64;
/// Errands that pictures and page show.
const SHOWN: usize = 3;
/// What the picture is called.
pub(super) const PICTURE: &str = "robot.png";

/// What became of the errands. Its fields are those of `robot` in `demo --json`, and of `demo --starts N --json`.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Held-out starts, from the first on.
    starts: u64,
    /// Those that were to be tried.
    starts_asked: u64,
    arrived: u64,
    /// From the same starts, where the first plan that was drawn is carried out.
    arrived_by_random_plans: u64,
    /// Of the table's time, of those that arrived.
    seconds_to_arrive: Summary,
    /// Plans to choose from, once a second.
    candidates: usize,
    seconds_max: f64,
    /// Of ranking them, encoding and goal included.
    plan_ms: Summary,
    /// Clips that were lost on the way and sent again.
    clips_sent_again: u64,
    frames: Frames,
    file: Option<PathBuf>,
    log: Vec<Start>,
    #[serde(skip)]
    shown: Vec<Shown>,
}

/// One start.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Start {
    index: u64,
    /// Seconds of the table's time until the ball had arrived.
    arrived_s: Option<f64>,
    arrived_by_random_plans_s: Option<f64>,
}

impl Start {
    /// Counted from 1.
    pub(super) fn number(&self) -> u64 {
        self.index + 1
    }

    pub(super) fn has_arrived(&self) -> bool {
        self.arrived_s.is_some()
    }
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = |arrived: Option<f64>| {
            arrived.map_or("not arrived".to_owned(), |seconds| format!("arrived after {seconds:.1} s"))
        };
        let (model, random) = (said(self.arrived_s), said(self.arrived_by_random_plans_s));
        write!(f, "start {}: {model}; by plans at random {random}", self.number())
    }
}

/// A session that acts, and one that shows what the chosen plans were expected to lead to.
pub(super) struct Robot {
    node: PredictForecaster,
    imagination: Predict,
}

impl Robot {
    /// Opens the sessions of an engine that takes the pusher's speed along both axes.
    ///
    /// # Errors
    /// If memory or threads are short, or it is another engine; `checkpoint` is what it was made of.
    pub(super) fn of(
        engine: &PredictEngine,
        checkpoint: &Path,
        threads: NonZeroUsize,
    ) -> anyhow::Result<Self> {
        let imagination = engine.open(threads)?;
        let clip = &imagination.manifest().clip;
        let fits = (clip.width, clip.height) == (SIZE, SIZE)
            && clip.n_given < clip.n_frames
            && clip.actions.as_ref().is_some_and(|actions| actions.names.len() == 2);
        ensure!(
            fits,
            "{}: expected a model that forecasts {SIZE}x{SIZE} pixels for two actions, the pusher's speed along x and y",
            checkpoint.display()
        );
        let settings = PredictSettings { seed: 0, latent_only: true, ..PredictSettings::default() };
        Ok(Self { node: PredictForecaster::new(engine.open(threads)?, settings), imagination })
    }

    /// Runs so many errands; draws the first ones into `dir`. `on_start` hears of each that has ended.
    ///
    /// # Errors
    /// If a participant cannot run, a clip does not come through at all, or a picture cannot be written. What was stopped reports how far
    /// it came.
    pub(super) fn play(
        &mut self,
        graph: Graph<'_>,
        n_starts: u64,
        dir: &Path,
        stop: &AtomicBool,
        on_start: &mut dyn FnMut(&Start),
    ) -> anyhow::Result<Report> {
        let mut imagined = |given: &[Vec<u8>], plan: &[[f64; 2]]| imagine(&mut self.imagination, given, plan);
        let mut report = play(graph, n_starts, &mut self.node, &mut imagined, stop, on_start)?;
        if !report.shown.is_empty() {
            std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
            let file = dir.join(PICTURE);
            shown::sheet(&report.shown).save(&file).with_context(|| file.display().to_string())?;
            report.file = Some(file);
        }
        Ok(report)
    }
}

/// What a plan is expected to lead to, as the node's ranking forecasts it: from the same noise.
fn imagine(predict: &mut Predict, given: &[Vec<u8>], plan: &[[f64; 2]]) -> anyhow::Result<Vec<Vec<u8>>> {
    let given: Vec<&[u8]> = given.iter().map(|frame| &frame[..]).collect();
    let limits = Limits::default();
    predict.show(&given, limits)?;
    let actions = rows(plan).concat();
    let noise = Noise::Seed(predict.seed_of(0, 0));
    let request = ForecastRequest { noise, actions: Some(&actions), ..ForecastRequest::default() };
    predict.denoise(&request, |_| {})?;
    let mut frames = Vec::new();
    predict.decode(limits, |decoded| {
        let bytes: Vec<u8> = decoded.pixels.iter().map(|value| to_byte(*value)).collect();
        frames.extend(bytes.chunks(FRAME_BYTES).map(<[u8]>::to_vec));
    })?;
    Ok(frames.split_off(given.len()))
}

/// As an engine takes them: shares of the pusher's greatest speed.
fn rows(plan: &[[f64; 2]]) -> Vec<[f32; 2]> {
    plan.iter().map(|command| command.map(|v| (v / SPEED_MAX) as f32)).collect()
}

/// The plans of one second of an errand.
fn plans(index: u64, round: usize, horizon: usize) -> Vec<Vec<[f64; 2]>> {
    let mut rng = Rng::new(index * ROUNDS as u64 + round as u64);
    (0..CANDIDATES).map(|_| commands_to_rest(&mut rng, horizon)).collect()
}

type Imagined<'a> = dyn FnMut(&[Vec<u8>], &[[f64; 2]]) -> anyhow::Result<Vec<Vec<u8>>> + 'a;

/// The errands with any engine that ranks plans; `imagined` shows what it expected of one.
fn play(
    graph: Graph<'_>,
    n_starts: u64,
    node: &mut dyn Forecaster,
    imagined: &mut Imagined<'_>,
    stop: &AtomicBool,
    on_start: &mut dyn FnMut(&Start),
) -> anyhow::Result<Report> {
    let mut options = node_options(FPS)?;
    (options.use_sim_time, options.max_age) = (true, asking::MAX_AGE);
    let (n_given, horizon) = (node.shape().n_given, node.shape().horizon);
    let asking = Asking::open(graph, &options, n_given)?;
    let topics = asking.topics().clone();
    let links =
        [graph.shown(&topics.image), graph.asked(&topics.plan_request), graph.answered(&topics.plan_result)];
    let mut errands = Errands { asking, imagined, horizon, log: Vec::new(), shown: Vec::new(), stop };
    let (errands, done) = graph.perform_along(&options, Engines::forecasting(node), &links, || {
        for index in 0..n_starts {
            let Some(start) = errands.run(index)? else { break };
            on_start(&start);
            errands.log.push(start);
        }
        Ok(errands)
    })?;
    Ok(errands.report(n_starts, &done.forecasts.expect("its engine forecasts")))
}

/// The errands so far.
struct Errands<'a> {
    asking: Asking,
    imagined: &'a mut Imagined<'a>,
    horizon: usize,
    log: Vec<Start>,
    shown: Vec<Shown>,
    stop: &'a AtomicBool,
}

impl Errands<'_> {
    /// Nothing if it is stopped before its end.
    fn run(&mut self, index: u64) -> anyhow::Result<Option<Start>> {
        let errand = Errand::draw(Split::HeldOut, index);
        let arrived_by_random_plans_s = by_random_plans(&errand, index, self.horizon);
        let mut shown = (self.shown.len() < SHOWN).then(|| Shown::new(index, &errand));
        let (mut table, mut frame) = (errand.start.clone(), 0);
        let mut see = |table: &Table| {
            let mut rgb = vec![0; FRAME_BYTES];
            errand.look.render(table, frame, SIZE, &mut rgb);
            frame += 1;
            rgb
        };
        // All is at rest at first.
        let mut fresh: Vec<Vec<u8>> = (0..self.asking.n_given()).map(|_| see(&table)).collect();
        let mut arrived_s = None;
        for round in 0..ROUNDS {
            if self.stop.load(Relaxed) {
                return Ok(None);
            }
            let wish = see(&errand.wish(&table));
            let plans = plans(index, round, self.horizon);
            let Some(best) = self.asking.best(&fresh, &wish, &plans, self.stop)? else { return Ok(None) };
            let plan = &plans[best];
            let expected = match &shown {
                Some(_) => (self.imagined)(self.asking.clip(), plan)?,
                None => Vec::new(),
            };
            fresh.clear();
            for (i, command) in plan.iter().enumerate() {
                table.step(*command);
                fresh.push(see(&table));
                if errand.has_arrived(&table) {
                    arrived_s = Some((round * self.horizon + i + 1) as f64 / FPS);
                    break;
                }
            }
            if let Some(shown) = &mut shown {
                shown.note(&wish, &expected, &fresh);
            }
            if arrived_s.is_some() {
                break;
            }
        }
        self.shown.extend(shown.map(|shown| shown.ended(arrived_s)));
        Ok(Some(Start { index, arrived_s, arrived_by_random_plans_s }))
    }

    fn report(self, starts_asked: u64, summary: &NodeSummary) -> Report {
        let Errands { asking, log, shown, horizon, .. } = self;
        let count = |arrived: fn(&Start) -> Option<f64>| log.iter().filter_map(arrived).count() as u64;
        let seconds: Vec<f64> = log.iter().filter_map(|start| start.arrived_s).collect();
        Report {
            starts: log.len() as u64,
            starts_asked,
            arrived: count(|start| start.arrived_s),
            arrived_by_random_plans: count(|start| start.arrived_by_random_plans_s),
            seconds_to_arrive: Summary::of(&seconds),
            candidates: CANDIDATES,
            seconds_max: (ROUNDS * horizon) as f64 / FPS,
            plan_ms: Summary::of(asking.plan_ms()),
            clips_sent_again: asking.sent_again(),
            frames: Frames::new(&summary.accounts, asking.sent()),
            file: None,
            log,
            shown,
        }
    }
}

/// When the ball arrives if each time the first plan is carried out.
fn by_random_plans(errand: &Errand, index: u64, horizon: usize) -> Option<f64> {
    let mut table = errand.start.clone();
    let commands = (0..ROUNDS).flat_map(|round| plans(index, round, horizon).swap_remove(0));
    let arrived = commands.into_iter().position(|command| {
        table.step(command);
        errand.has_arrived(&table)
    });
    arrived.map(|frame| (frame + 1) as f64 / FPS)
}

impl Report {
    /// As a person reads it.
    pub(super) fn lines(&self) -> Vec<String> {
        let Report { starts, arrived, arrived_by_random_plans, candidates, seconds_max, .. } = self;
        let number = |value: Option<f64>, digits| value.map_or("–".to_owned(), |v| format!("{v:.digits$}"));
        let mut lines = vec![
            format!(
                "the robot brings a ball to a goal: from {arrived} of {starts} held-out starts within {seconds_max:.0} s of the table's time, \
                 in {} s on average; by plans at random from {arrived_by_random_plans}",
                number(self.seconds_to_arrive.mean, 1)
            ),
            format!(
                "{candidates} plans ranked once a second, in {} ms (median)",
                number(self.plan_ms.p50, 0)
            ),
            format!("frames: sent {}; {}", self.frames.sent, self.frames.line),
        ];
        if self.starts < self.starts_asked {
            lines.insert(0, format!("interrupted after {starts} of {} starts", self.starts_asked));
        }
        lines
    }

    /// The same with the picture and the page, for a terminal.
    pub(super) fn text(&self, page: &Path) -> String {
        let mut text = String::from("\n");
        self.lines().iter().for_each(|line| say(&mut text, line));
        self.file().into_iter().for_each(|file| text.push_str(&format!("{}\n", file.display())));
        text.push_str(&format!("\nreport: {}\n", page.display()));
        text
    }

    /// A page of the errands alone.
    pub(super) fn page(&self) -> String {
        let mut page = Page::new("Perihelion demo: the robot acts", self.lines().join(". "));
        page.section("robot", "The robot acts", self.films());
        page.html()
    }

    /// The picture, if there is one.
    pub(super) fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// How many starts there were, from how many the ball arrived, and from how many by plans at random.
    pub(super) fn figures(&self) -> [u64; 3] {
        [self.starts, self.arrived, self.arrived_by_random_plans]
    }

    /// The errands that are shown.
    pub(super) fn films(&self) -> Html {
        shown::films(self)
    }

    /// What makes the errands a failure; a ball that does not arrive is none.
    ///
    /// # Errors
    /// If they were stopped, or the frames' account does not balance.
    pub(super) fn verdict(&self) -> anyhow::Result<()> {
        let Report { frames, starts, starts_asked, .. } = self;
        ensure!(frames.is_balanced, "the frames' account does not balance: {}", frames.line);
        ensure!(starts == starts_asked, "stopped after {starts} of {starts_asked} starts");
        Ok(())
    }
}

#[cfg(test)]
mod tests;
