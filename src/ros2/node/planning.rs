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
use crate::ros2::messages::{Message, Text, decode, encode};
use crate::ros2::transport::{Delivery, MessageSink, Publisher, Transport, TransportError};

/// Characters of a result's `error` at most.
const PROBLEM_CHARS_MAX: usize = 500;

/// Refusals that wait to be told; what comes beyond them is only counted.
const REFUSALS_MAX: usize = 64;

/// The pair of topics.
pub(super) struct Planning {
    shape: ForecastShape,
    results: Box<dyn Publisher>,
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
        let text = encode(&Text::padded(Value::Object(members).to_string()));
        if let Err(error) = self.results.publish(text) {
            log::warn!("the result of a plan request was not published: {error}");
        }
    }
}
