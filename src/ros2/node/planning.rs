//! `~/plan/request` and `~/plan/result`: plans that another node wants ranked.
//!
//! A request waits for the next clip, and one at a time: a newer one takes its place, since a robot asks about now. Every request
//! has one result, which may say why there is no ranking. Nothing is published while a message is taken in, since a transport
//! need not allow that: a refusal waits for the next turn, with a few others at most.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value, json};

use super::answer::time;
use super::forecast_shape::ForecastShape;
use super::options::Topics;
use super::plan_request::{PlanId, PlanRequest, Refusal};
use crate::frames::frame::{Age, Received};
use crate::ros2::messages::{Header, Message, PlanMessage, Text, Time, decode, encode, encode_padded};
use crate::ros2::transport::{Delivery, MessageSink, Publisher, Transport, TransportError};

/// Characters of a result's `error` at most.
const PROBLEM_CHARS_MAX: usize = 500;

/// Refusals that wait to be told; what comes beyond them is only counted.
const REFUSALS_MAX: usize = 64;

/// The pair of topics.
pub(super) struct Planning {
    shape: ForecastShape,
    results: Box<dyn Publisher>,
    typed: Box<dyn Publisher>,
    inbox: Mutex<Inbox>,
    ranked: AtomicU64,
    refused: AtomicU64,
}

#[derive(Default)]
struct Inbox {
    waiting: Option<PlanRequest>,
    refusals: Vec<Refusal>,
}

impl Planning {
    /// Announces the topics; none for an engine that takes no actions.
    pub(super) fn open(
        transport: &dyn Transport,
        topics: &Topics,
        shape: &ForecastShape,
    ) -> Result<Option<Arc<Self>>, TransportError> {
        if shape.action_names.is_empty() {
            return Ok(None);
        }
        let planning = Arc::new(Self {
            shape: shape.clone(),
            results: transport.advertise(&topics.plan_result, Text::TYPE, Delivery::Reliable)?,
            typed: transport.advertise(&topics.plan_typed, PlanMessage::TYPE, Delivery::Reliable)?,
            inbox: Mutex::default(),
            ranked: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        });
        transport.subscribe(&topics.plan_request, Text::TYPE, Delivery::Reliable, planning.sink())?;
        Ok(Some(planning))
    }

    /// The request that waits.
    pub(super) fn take(&self) -> Option<PlanRequest> {
        self.inbox().waiting.take()
    }

    /// Publishes the refusals that wait.
    pub(super) fn tell_refusals(&self) {
        let refusals = std::mem::take(&mut self.inbox().refusals);
        for Refusal { id, problem } in refusals {
            self.publish(id.as_ref(), Map::from_iter([("error".to_owned(), json!(problem))]));
        }
    }

    /// Requests that led to a ranking, and that did not.
    pub(super) fn counts(&self) -> [u64; 2] {
        [self.ranked.load(Relaxed), self.refused.load(Relaxed)]
    }

    /// Publishes what became of a request that was looked at with the clip `given`.
    pub(super) fn tell(
        &self,
        request: &PlanRequest,
        result: Result<Map<String, Value>, String>,
        given: &[Received],
        age: Age,
    ) {
        let newest = given.last().expect("a clip has at least one frame");
        let stamp_ns = newest.frame.stamp_ns;
        let stamps = given.iter().map(|received| time(received.frame.stamp_ns)).collect();
        let mut members = Map::new();
        members.insert("frame_id".into(), json!(newest.frame.frame_id.as_str()));
        members.insert("stamp".into(), time(stamp_ns));
        members.insert("stamps".into(), Value::Array(stamps));
        members.insert("stamp_suspect".into(), json!(age.is_suspect));
        members.insert("timed_by".into(), json!(newest.timed_by.name()));
        members.insert("age_ms".into(), json!(age.ms()));
        match result {
            Ok(ranking) => {
                self.ranked.fetch_add(1, Relaxed);
                members.extend(ranking);
                self.publish(request.id.as_ref(), members);
            }
            Err(problem) => {
                members.insert("error".into(), json!(self.refused(problem)));
                self.publish(request.id.as_ref(), members);
            }
        }
    }

    fn sink(self: &Arc<Self>) -> MessageSink {
        let planning = Arc::clone(self);
        Box::new(move |body| {
            let text = body.map_err(|reason| reason.to_string()).and_then(|(body, order)| {
                decode::<Text>(body, order).map(|text| text.data).map_err(|error| error.to_string())
            });
            let refusal = match text.map(|text| PlanRequest::parse(&text, &planning.shape)) {
                Ok(Ok(request)) => planning.inbox().waiting.replace(request).map(|before| Refusal {
                    id: before.id,
                    problem: "a newer request took its place before a clip was there".to_owned(),
                }),
                Ok(Err(refusal)) => Some(refusal),
                Err(problem) => Some(Refusal { id: None, problem }),
            };
            if let Some(Refusal { id, problem }) = refusal {
                let problem = planning.refused(problem);
                let refusals = &mut planning.inbox().refusals;
                if refusals.len() < REFUSALS_MAX {
                    refusals.push(Refusal { id, problem });
                }
            }
        })
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a refusal; what is told of it.
    fn refused(&self, problem: String) -> String {
        // It may repeat a stranger's text: in one line, and not all of it.
        let problem: String = problem.chars().take(PROBLEM_CHARS_MAX).collect();
        let refused = self.refused.fetch_add(1, Relaxed) + 1;
        // At powers of two: a broken sender must not fill the log.
        if refused.is_power_of_two() {
            log::warn!("plan request without a ranking ({refused} so far): {problem:?}");
        }
        problem
    }

    fn publish(&self, id: Option<&PlanId>, mut members: Map<String, Value>) {
        members.insert("id".into(), json!(id));
        let typed = encode_padded(&message(&members));
        let text = encode(&Text::padded(Value::Object(members).to_string()));
        if let Err(error) = self.results.publish(text).and(self.typed.publish(typed)) {
            log::warn!("the result of a plan request was not published: {error}");
        }
    }
}

/// The result as a message of its own, from what JSON says of it.
fn message(members: &Map<String, Value>) -> PlanMessage {
    let at = |value: &Value| {
        let part = |name| value.get(name).and_then(Value::as_i64).unwrap_or(0);
        Time { sec: part("sec") as i32, nanosec: part("nanosec") as u32 }
    };
    let value = |name: &str| members.get(name).unwrap_or(&Value::Null);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let count = |name: &str| value(name).as_u64().unwrap_or(0) as u32;
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let number = |value: Option<&Value>| value.and_then(Value::as_f64).unwrap_or(f64::NAN);
    let evaluated: Vec<Value> =
        list(value("candidates")).into_iter().filter(|one| one["rank"].is_u64()).collect();
    let best = value("best");
    PlanMessage {
        header: Header { stamp: at(value("stamp")), frame_id: text(value("frame_id")) },
        id: match value("id") {
            Value::Null => String::new(),
            Value::String(id) => id.clone(),
            other => other.to_string(),
        },
        stamps: list(value("stamps")).iter().map(at).collect(),
        age_ms: value("age_ms").as_f64().unwrap_or(0.0),
        error: text(value("error")),
        score: text(&value("score")["name"]),
        higher_is_better: value("score")["higher_is_better"].as_bool().unwrap_or(false),
        n_candidates: count("n_candidates"),
        n_evaluated: count("n_evaluated"),
        truncated: value("truncated").as_bool().unwrap_or(false),
        candidates: evaluated.iter().map(|one| one["candidate"].as_u64().unwrap_or(0) as u32).collect(),
        scores: evaluated.iter().map(|one| number(one.get("score"))).collect(),
        deviations: evaluated.iter().map(|one| number(one.get("deviation"))).collect(),
        action_names: list(&best["action_names"]).iter().map(text).collect(),
        best: list(&best["actions"])
            .iter()
            .flat_map(list)
            .map(|value| value.as_f64().unwrap_or(f64::NAN) as f32)
            .collect(),
    }
}

#[cfg(test)]
#[test]
fn a_ranking_and_a_refusal_are_messages_too() {
    let json = json!({
        "frame_id": "cam", "stamp": {"sec": 7, "nanosec": 9}, "stamps": [{"sec": 6, "nanosec": 1}, {"sec": 7, "nanosec": 9}],
        "age_ms": 1.5, "id": 3, "score": {"name": "goal", "unit": "", "higher_is_better": false},
        "n_candidates": 3, "n_evaluated": 2, "truncated": true,
        "candidates": [
            {"rank": 1, "candidate": 2, "score": 0.5, "deviation": null},
            {"rank": 2, "candidate": 0, "score": 0.75, "deviation": 0.125},
            {"rank": null, "candidate": 1, "score": null, "deviation": null},
        ],
        "best": {"source": "sample 2", "action_names": ["x", "y"], "actions": [[1.0, 2.0], [3.0, 4.0]]},
    });
    let ranked = message(json.as_object().unwrap());
    assert_eq!(
        (ranked.header.stamp.ns(), ranked.header.frame_id.as_str(), ranked.id.as_str()),
        (7_000_000_009, "cam", "3")
    );
    assert_eq!((ranked.stamps.len(), ranked.score.as_str(), ranked.truncated), (2, "goal", true));
    assert_eq!((ranked.candidates, ranked.scores), (vec![2, 0], vec![0.5, 0.75]));
    assert!(ranked.deviations[0].is_nan() && ranked.deviations[1] == 0.125);
    assert_eq!((ranked.action_names.len(), ranked.best), (2, vec![1.0, 2.0, 3.0, 4.0]));
    let refused = message(json!({"id": "a", "error": "no clip"}).as_object().unwrap());
    let expected = PlanMessage { id: "a".into(), error: "no clip".into(), ..PlanMessage::default() };
    assert_eq!(refused, expected);
}
