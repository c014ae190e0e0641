//! What is known of a node that is looked at: what it said last, and where its newest frame is.
//!
//! The node's threads put things here. Whoever holds the lock of what is known copies references and figures under it, and nothing more;
//! words are made before or afterwards.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::pace::Pace;
use super::strip::Strip;
use super::told::{age_ms, camera, figures, told};
use crate::frames::clock::Clock;
use crate::frames::frame::Received;
use crate::frames::listener::Listener;
use crate::ros2::node::{Acquaintance, Onlooker, Published, PublishedForecast, Said, Scene, set_prompt};
use crate::runtime::reason::Place;

/// Answers, and surprises, whose figures are kept.
const KEPT: usize = 240;

/// What a node lets see and hear.
pub(super) struct Known {
    /// Tells this process from one before it at the same address: numbers begin again with it.
    run: String,
    state: Mutex<State>,
    /// The forecast that is being made: the node's threads alone have to do with it.
    forming: Mutex<Option<Strip>>,
    /// Of what viewers set and say.
    pace: Mutex<Pace>,
    /// Counts what is to be seen at once.
    version: AtomicU64,
}

#[derive(Default)]
struct State {
    node: Option<Arc<Acquaintance>>,
    /// Of a managed node.
    managed: Option<&'static str>,
    scene: Option<Arc<Scene>>,
    /// How often engines began to look.
    round: u64,
    answer: Option<Arc<Answered>>,
    n_answers: u64,
    ages: VecDeque<Aged>,
    forecast: Option<Arc<Foreseen>>,
    n_forecasts: u64,
    surprises: VecDeque<Felt>,
    n_surprises: u64,
}

/// The figures of an answer.
#[derive(Clone, Copy, Serialize)]
struct Aged {
    number: u64,
    age_ms: f64,
    answer_ms: f64,
    is_cut: bool,
}

/// The figures of a surprise.
#[derive(Clone, Copy, Serialize)]
struct Felt {
    number: u64,
    latent: Option<f32>,
    pixels: Option<f32>,
    frames_ahead: usize,
}

/// An answer with what it is about.
pub(super) struct Answered {
    /// From 1.
    pub(super) number: u64,
    /// As it is heard.
    pub(super) text: String,
    pub(super) places: Vec<Place>,
    pub(super) age_ms: f64,
    json: Map<String, Value>,
    said_steady_ns: i64,
    frame: Mutex<Option<Received>>,
}

/// A forecast with its frames.
pub(super) struct Foreseen {
    /// From 1.
    pub(super) number: u64,
    pub(super) strip: Strip,
    json: Map<String, Value>,
    said_steady_ns: i64,
}

/// The newest frame of the camera that is shown.
pub(super) struct Newest {
    pub(super) received: Received,
    /// Tells frames apart, across rounds too.
    pub(super) number: (u64, u64),
    pub(super) age_ms: f64,
}

/// Why a question was not taken.
pub(super) enum PromptRefusal {
    /// No node is there yet.
    NobodyThere,
    /// Another is being taken, or as many as may be were taken a moment ago.
    TooOften,
    /// What the engine, or the parameter, says.
    Refused(String),
}

impl Default for Known {
    fn default() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let run = format!("{}.{}", std::process::id(), since.as_millis());
        let (state, forming, pace, version) = Default::default();
        Self { run, state, forming, pace, version }
    }
}

impl Known {
    /// Makes this the standing question; which one stands then.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn ask(&self, prompt: &str) -> Result<String, PromptRefusal> {
        let node = self.node().ok_or(PromptRefusal::NobodyThere)?;
        // A judge takes its time under the lock of the parameters, for which every question waits: one at a time, and few.
        let mut pace = match self.pace.try_lock() {
            Ok(pace) => pace,
            Err(TryLockError::Poisoned(pace)) => pace.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(PromptRefusal::TooOften),
        };
        if !pace.allows(Instant::now()) {
            return Err(PromptRefusal::TooOften);
        }
        set_prompt(&node.parameters, &node.first_prompt, prompt).map_err(PromptRefusal::Refused)?;
        self.happened();
        Ok(node.parameters.read(|parameters| parameters.text("prompt").to_owned()))
    }

    /// The newest frame, if one came since engines look.
    pub(super) fn newest(&self) -> Option<Newest> {
        let (scene, round) = {
            let state = self.state();
            (state.scene.clone()?, state.round)
        };
        let view = scene.shown()?;
        let received = view.listener.newest()?;
        let (number, age_ms) = ((round, received.place), age_ms(&received, view.camera.clock()));
        Some(Newest { received, number, age_ms })
    }

    /// The topic on which the camera that is shown is, or would be, as JPEG.
    pub(super) fn camera_topic(&self) -> Option<String> {
        let scene = self.state().scene.clone()?;
        let topic = scene.shown()?.camera.topic();
        Some(if topic.ends_with("/compressed") { topic.to_owned() } else { format!("{topic}/compressed") })
    }

    /// The node, if one is there.
    pub(super) fn node(&self) -> Option<Arc<Acquaintance>> {
        self.state().node.clone()
    }

    /// What tells this process from one before it.
    pub(super) fn run(&self) -> &str {
        &self.run
    }

    /// Whether a viewer may change something now, which is counted then.
    pub(super) fn may_change(&self) -> bool {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner).allows(Instant::now())
    }

    /// Which state of things this is, as far as it is to be seen at once.
    pub(super) fn version(&self) -> u64 {
        self.version.load(Relaxed)
    }

    pub(super) fn answer(&self) -> Option<Arc<Answered>> {
        self.state().answer.clone()
    }

    pub(super) fn forecast(&self) -> Option<Arc<Foreseen>> {
        self.state().forecast.clone()
    }

    /// All that is known, in words and figures.
    pub(super) fn json(&self) -> Value {
        let (mut ages, mut surprises) = (Vec::with_capacity(KEPT), Vec::with_capacity(KEPT));
        let (node, managed, scene, answer, forecast) = {
            let state = self.state();
            ages.extend(state.ages.iter().copied());
            surprises.extend(state.surprises.iter().copied());
            let State { node, managed, scene, answer, forecast, .. } = &*state;
            (node.clone(), *managed, scene.clone(), answer.clone(), forecast.clone())
        };
        let shown = scene.as_ref().and_then(|scene| scene.shown());
        let clock = shown.map(|view| view.camera.clock());
        let state = managed.unwrap_or(if scene.is_some() { "active" } else { "waiting" });
        let accounts = |of: fn(&Scene) -> &[Arc<Listener>]| {
            let listeners = scene.as_deref().map(of).unwrap_or_default();
            let sum = listeners.iter().map(|listener| listener.accounts()).reduce(|mut sum, one| {
                sum += one;
                sum
            });
            sum.map_or(Value::Null, |sum| figures(&sum))
        };
        json!({
            "run": self.run,
            "node": node.as_ref().map(|node| &node.name),
            "state": state,
            "prompt": node.as_ref().map(|node| node.parameters.read(|now| now.text("prompt").to_owned())),
            "max_age_ms": node.as_ref().map(|node| 1e3 * node.parameters.read(|now| now.double("max_age"))),
            "camera": shown.map(camera),
            "answer": answer.as_ref().map(|answer| answer.told(clock)),
            "answers": ages,
            "forecast": forecast.as_ref().map(|forecast| forecast.told(clock)),
            "surprises": surprises,
            "accounts": {
                "answers": accounts(|scene| &scene.answers),
                "forecasts": accounts(|scene| &scene.forecasts),
            },
        })
    }

    fn happened(&self) {
        self.version.fetch_add(1, Relaxed);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forming(&self) -> MutexGuard<'_, Option<Strip>> {
        self.forming.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answered(&self, published: &Published, seen: Option<(&Received, &[Place])>) {
        let (number, said_steady_ns, before) = {
            let mut state = self.state();
            state.n_answers += 1;
            (state.n_answers, state.now_steady_ns(), state.answer.clone())
        };
        // First, so that two are never held. It may be being drawn: whoever draws has a reference of its own.
        if let Some(before) = before {
            before.let_go();
        }
        let (frame, places) = match seen {
            Some((frame, places)) => (Some(frame.clone()), places.to_vec()),
            None => (None, Vec::new()),
        };
        let Published { age_ms, answer_ms, is_cut, .. } = *published;
        let answer = Arc::new(Answered {
            number,
            text: published.heard().into_owned(),
            places,
            age_ms,
            json: published.json.clone(),
            said_steady_ns,
            frame: Mutex::new(frame),
        });
        let _before = {
            let mut state = self.state();
            keep(&mut state.ages, Aged { number, age_ms, answer_ms, is_cut });
            state.answer.replace(answer)
        };
    }

    fn foreseen(&self, published: &PublishedForecast) {
        let strip = self.forming().as_mut().map(Strip::finish);
        let (number, said_steady_ns) = {
            let mut state = self.state();
            state.n_forecasts += 1;
            (state.n_forecasts, state.now_steady_ns())
        };
        let Some(strip) = strip else { return };
        let forecast = Arc::new(Foreseen { number, strip, json: published.json.clone(), said_steady_ns });
        let _before = self.state().forecast.replace(forecast);
    }
}

impl Onlooker for Known {
    fn meets(&self, node: Acquaintance) {
        self.state().node = Some(Arc::new(node));
        self.happened();
    }

    fn is_in(&self, state: &'static str) {
        self.state().managed = Some(state);
        self.happened();
    }

    fn begins(&self, scene: Scene) {
        *self.forming() = scene.foreseen.as_ref().map(Strip::new);
        let scene = Arc::new(scene);
        {
            let mut state = self.state();
            state.round += 1;
            state.scene = Some(scene);
        }
        self.happened();
    }

    fn hears(&self, said: Said<'_>, seen: Option<(&Received, &[Place])>) {
        match said {
            Said::Answer(published) => self.answered(published, seen),
            Said::Forecast(published) => self.foreseen(published),
            Said::Surprise(surprise) => {
                let (latent, pixels, frames_ahead) = (surprise.latent, surprise.pixels, surprise.ahead);
                let mut state = self.state();
                state.n_surprises += 1;
                let felt = Felt { number: state.n_surprises, latent, pixels, frames_ahead };
                keep(&mut state.surprises, felt);
            }
        }
    }

    fn foresees(&self, ahead: usize, rgb: &[u8]) {
        if let Some(strip) = &mut *self.forming() {
            strip.show(ahead, rgb);
        }
    }

    fn ends(&self) {
        *self.forming() = None;
        let (scene, answer) = {
            let mut state = self.state();
            (state.scene.take(), state.answer.clone())
        };
        if let Some(answer) = answer {
            answer.let_go();
        }
        drop(scene);
        self.happened();
    }
}

impl State {
    fn now_steady_ns(&self) -> i64 {
        let shown = self.scene.as_ref().and_then(|scene| scene.shown());
        shown.map_or(0, |view| view.camera.clock().now().steady_ns)
    }
}

impl Answered {
    /// Its frame, as long as engines look and no other answer has come.
    pub(super) fn frame(&self) -> Option<Received> {
        self.lock().clone()
    }

    fn let_go(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Received>> {
        self.frame.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn told(&self, clock: Option<&Clock>) -> Value {
        told(&self.json, self.number, (self.age_ms, self.said_steady_ns), clock)
    }
}

impl Foreseen {
    fn told(&self, clock: Option<&Clock>) -> Value {
        let age_ms = self.json.get("age_ms").and_then(Value::as_f64).unwrap_or(0.0);
        let mut told = told(&self.json, self.number, (age_ms, self.said_steady_ns), clock);
        told["strip"] = self.strip.told();
        told
    }
}

fn keep<T>(values: &mut VecDeque<T>, value: T) {
    if values.len() == KEPT {
        values.pop_front();
    }
    values.push_back(value);
}
