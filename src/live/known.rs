//! What is known of a node that is looked at: what it said last, and where its newest frame is.
//!
//! The node's threads put things here and wait for nobody: whoever reads holds the lock for as long as copying references takes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value, json};

use super::strip::Strip;
use crate::frames::accounts::Accounts;
use crate::frames::clock::Clock;
use crate::frames::frame::Received;
use crate::frames::listener::Listener;
use crate::ros2::node::{Acquaintance, Onlooker, Published, PublishedForecast, Said, Scene, set_prompt};
use crate::runtime::reason::Place;

/// Answers, and surprises, whose figures are kept.
const KEPT: usize = 240;

/// What a node lets see and hear.
#[derive(Default)]
pub(super) struct Known(Mutex<State>);

#[derive(Default)]
struct State {
    node: Option<Acquaintance>,
    /// Of a managed node.
    managed: Option<&'static str>,
    scene: Option<Scene>,
    /// How often engines began to look.
    round: u64,
    answer: Option<Arc<Answered>>,
    n_answers: u64,
    ages: VecDeque<Value>,
    forming: Option<Strip>,
    forecast: Option<Arc<Foreseen>>,
    n_forecasts: u64,
    surprises: VecDeque<Value>,
    n_surprises: u64,
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
    /// What the engine, or the parameter, says.
    Refused(String),
}

impl Known {
    /// Makes this the standing question; which one stands then.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn ask(&self, prompt: &str) -> Result<String, PromptRefusal> {
        // A judge takes its time: not under the lock.
        let node = self.state().node.clone().ok_or(PromptRefusal::NobodyThere)?;
        set_prompt(&node.parameters, &node.first_prompt, prompt).map_err(PromptRefusal::Refused)?;
        Ok(node.parameters.read(|parameters| parameters.text("prompt").to_owned()))
    }

    /// The newest frame, if one came since engines look.
    pub(super) fn newest(&self) -> Option<Newest> {
        let (view, round) = {
            let state = self.state();
            (state.scene.as_ref()?.cameras.first()?.clone(), state.round)
        };
        let received = view.listener.newest()?;
        let clock = view.camera.clock();
        // In a bag's time a frame is as old as it was when it came.
        let now = if clock.runs() { clock.now() } else { received.receipt };
        let (number, age_ms) = ((round, received.place), received.age(clock, now).ms());
        Some(Newest { received, number, age_ms })
    }

    pub(super) fn answer(&self) -> Option<Arc<Answered>> {
        self.state().answer.clone()
    }

    pub(super) fn forecast(&self) -> Option<Arc<Foreseen>> {
        self.state().forecast.clone()
    }

    /// All that is known, in words and figures.
    pub(super) fn json(&self) -> Value {
        let (node, managed, scene, answer, forecast, ages, surprises) = {
            let state = self.state();
            let State { node, managed, scene, answer, forecast, ages, surprises, .. } = &*state;
            let (answer, forecast) = (answer.clone(), forecast.clone());
            (node.clone(), *managed, scene.clone(), answer, forecast, ages.clone(), surprises.clone())
        };
        let camera = scene.as_ref().and_then(|scene| scene.cameras.first());
        let clock = camera.map(|view| view.camera.clock());
        let newest = self.newest();
        let state = managed.unwrap_or(if scene.is_some() { "active" } else { "waiting" });
        let accounts = |of: fn(&Scene) -> &[Arc<Listener>]| {
            let listeners = scene.as_ref().map(of).unwrap_or_default();
            let sum = listeners.iter().map(|listener| listener.accounts()).reduce(|mut sum, one| {
                sum += one;
                sum
            });
            sum.map_or(Value::Null, |sum| figures(&sum))
        };
        json!({
            "node": node.as_ref().map(|node| &node.name),
            "state": state,
            "prompt": node.as_ref().map(|node| node.parameters.read(|now| now.text("prompt").to_owned())),
            "camera": camera.map(|view| json!({
                "topic": view.camera.topic(),
                "rate_hz": view.camera.stream().rate_hz,
                "size": newest.as_ref().and_then(|newest| newest.received.frame.size()),
                "age_ms": newest.as_ref().map(|newest| newest.age_ms),
            })),
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

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Onlooker for Known {
    fn meets(&self, node: Acquaintance) {
        self.state().node = Some(node);
    }

    fn is_in(&self, state: &'static str) {
        self.state().managed = Some(state);
    }

    fn begins(&self, scene: Scene) {
        let mut state = self.state();
        state.round += 1;
        state.forming = scene.foreseen.as_ref().map(Strip::new);
        state.scene = Some(scene);
    }

    fn hears(&self, said: Said<'_>, seen: Option<(&Received, &[Place])>) {
        let mut state = self.state();
        let said_steady_ns = state.now_steady_ns();
        match said {
            Said::Answer(published) => state.answered(published, seen, said_steady_ns),
            Said::Forecast(published) => state.foreseen(published, said_steady_ns),
            Said::Surprise(surprise) => {
                state.n_surprises += 1;
                let figures = json!({
                    "number": state.n_surprises,
                    "latent": surprise.latent,
                    "pixels": surprise.pixels,
                    "frames_ahead": surprise.ahead,
                });
                keep(&mut state.surprises, figures);
            }
        }
    }

    fn foresees(&self, ahead: usize, rgb: &[u8]) {
        if let Some(strip) = &mut self.state().forming {
            strip.show(ahead, rgb);
        }
    }

    fn ends(&self) {
        let mut state = self.state();
        (state.scene, state.forming) = (None, None);
        if let Some(answer) = &state.answer {
            answer.let_go();
        }
    }
}

impl State {
    fn now_steady_ns(&self) -> i64 {
        let camera = self.scene.as_ref().and_then(|scene| scene.cameras.first());
        camera.map_or(0, |view| view.camera.clock().now().steady_ns)
    }

    fn answered(&mut self, published: &Published, seen: Option<(&Received, &[Place])>, said_steady_ns: i64) {
        self.n_answers += 1;
        let (frame, places) = match seen {
            Some((frame, places)) => (Some(frame.clone()), places.to_vec()),
            None => (None, Vec::new()),
        };
        let figures = json!({
            "number": self.n_answers,
            "age_ms": published.age_ms,
            "answer_ms": published.answer_ms,
            "is_cut": published.is_cut,
        });
        keep(&mut self.ages, figures);
        // The frame before it may be being drawn: whoever draws has a reference of its own.
        if let Some(before) = &self.answer {
            before.let_go();
        }
        self.answer = Some(Arc::new(Answered {
            number: self.n_answers,
            text: published.heard().into_owned(),
            places,
            age_ms: published.age_ms,
            json: published.json.clone(),
            said_steady_ns,
            frame: Mutex::new(frame),
        }));
    }

    fn foreseen(&mut self, published: &PublishedForecast, said_steady_ns: i64) {
        self.n_forecasts += 1;
        let Some(forming) = &mut self.forming else { return };
        let strip = forming.finish();
        self.forecast = Some(Arc::new(Foreseen {
            number: self.n_forecasts,
            strip,
            json: published.json.clone(),
            said_steady_ns,
        }));
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

/// What stands on the JSON topic, with the number and the age of this moment.
fn told(
    json: &Map<String, Value>,
    number: u64,
    (age_ms, said_ns): (f64, i64),
    clock: Option<&Clock>,
) -> Value {
    let since_ns = clock.filter(|clock| clock.runs()).map_or(0, |clock| clock.now().steady_ns - said_ns);
    let mut told = json.clone();
    told.insert("number".to_owned(), json!(number));
    told.insert("age_now_ms".to_owned(), json!(age_ms + since_ns as f64 / 1e6));
    Value::Object(told)
}

fn figures(accounts: &Accounts) -> Value {
    let drops: Map<String, Value> =
        accounts.drops().map(|(reason, n)| (reason.to_string(), json!(n))).collect();
    json!({
        "received": accounts.received,
        "answered": accounts.served,
        "clip_members": accounts.clip_members,
        "dropped": drops,
        "dropped_total": accounts.dropped_total(),
        "in_flight": accounts.in_flight,
        "lost": accounts.lost,
    })
}

fn keep(values: &mut VecDeque<Value>, value: Value) {
    if values.len() == KEPT {
        values.pop_front();
    }
    values.push_back(value);
}
