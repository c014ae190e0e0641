//! An answer on its way out: as text, and as JSON with everything that is known of it.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::answerer::Answer;
use super::options::Topics;
use crate::frames::clock::Moment;
use crate::frames::frame::{Age, Received};
use crate::frames::listener::Listener;
use crate::ros2::messages::{Message, Text, Time, encode};
use crate::ros2::transport::{Delivery, Publisher, Transport, TransportError};

const NANOSECONDS_PER_MILLISECOND: f64 = 1e6;
/// Who comes later hears the last answer too; its `valid_until` says what it is still worth.
const LATEST: Delivery = Delivery::Latched { kept: 1 };

/// The end of an answer that `max_age` ended, where only its text is heard.
const CUT_MARK: &str = "…[cut at max_age]";

/// An answer that was published.
#[derive(Debug, Clone, PartialEq)]
pub struct Published {
    /// The answer.
    pub text: String,
    /// What stands on the JSON topic.
    pub json: Map<String, Value>,
    /// The stamp of the newest frame.
    pub stamp_ns: i64,
    /// ROS time of publishing less the stamp; since the receipt where the stamp cannot be right.
    pub age_ms: f64,
    /// From the taking of the frames to publishing, in steady time.
    pub answer_ms: f64,
    /// From the arrival of the newest frame to publishing, in steady time.
    pub camera_to_answer_ms: f64,
    /// Whether the stamp cannot be right.
    pub stamp_suspect: bool,
    /// Whether `max_age` ended it before its end.
    pub is_cut: bool,
    /// Messages of this answer that could not be published.
    pub unpublished: u64,
}

impl Published {
    /// The answer as it is heard: one that was cut says so at its end.
    pub fn heard(&self) -> Cow<'_, str> {
        marked(&self.text, self.is_cut)
    }
}

fn marked(text: &str, is_cut: bool) -> Cow<'_, str> {
    match (is_cut, text) {
        (false, _) => Cow::Borrowed(text),
        (true, "") => Cow::Borrowed(CUT_MARK),
        (true, _) => Cow::Owned(format!("{text} {CUT_MARK}")),
    }
}

/// The two answer topics.
pub(super) struct Mouth {
    text: Box<dyn Publisher>,
    json: Box<dyn Publisher>,
    listener: Arc<Listener>,
}

impl Mouth {
    pub(super) fn open(
        transport: &dyn Transport,
        topics: &Topics,
        listener: &Arc<Listener>,
    ) -> Result<Self, TransportError> {
        Ok(Self {
            text: transport.advertise(&topics.answer, Text::TYPE, LATEST)?,
            json: transport.advertise(&topics.answer_json, Text::TYPE, LATEST)?,
            listener: Arc::clone(listener),
        })
    }

    pub(super) fn say(
        &self,
        answer: &Answer,
        frames: &[Received],
        prompt: &str,
        began: Moment,
        age: Age,
    ) -> Published {
        let newest = frames.last().expect("a question has at least one frame");
        let (stamp_ns, now, age_ms, stamp_suspect) =
            (newest.frame.stamp_ns, age.now, age.ms(), age.is_suspect);
        let answer_ms = milliseconds(now.steady_ns, began.steady_ns);
        let camera_to_answer_ms = milliseconds(now.steady_ns, newest.receipt.steady_ns);
        let stamps: Vec<Value> = frames.iter().map(|received| time(received.frame.stamp_ns)).collect();
        let mut json = Map::new();
        json.insert("text".into(), json!(answer.text));
        json.insert("prompt_text".into(), json!(prompt));
        json.insert("frame_id".into(), json!(newest.frame.frame_id.as_str()));
        json.insert("stamp".into(), time(stamp_ns));
        json.insert("stamps".into(), Value::Array(stamps));
        json.insert("stamp_suspect".into(), json!(stamp_suspect));
        json.insert("timed_by".into(), json!(newest.timed_by.name()));
        json.insert("age_ms".into(), json!(age_ms));
        json.insert("answer_ms".into(), json!(answer_ms));
        json.insert("camera_to_answer_ms".into(), json!(camera_to_answer_ms));
        json.insert("valid_until".into(), time(age.reaches_ns(self.listener.max_age_ns())));
        for (key, value) in &answer.details {
            json.entry(key.clone()).or_insert_with(|| value.clone());
        }
        let is_cut = answer.is_cut;
        let text = encode(&Text::padded(marked(&answer.text, is_cut).into_owned()));
        let whole = encode(&Text::padded(Value::Object(json.clone()).to_string()));
        let results = [self.text.publish(text), self.json.publish(whole)];
        let unpublished = results.iter().filter(|result| result.is_err()).count() as u64;
        let text = answer.text.clone();
        Published {
            text,
            json,
            stamp_ns,
            age_ms,
            answer_ms,
            camera_to_answer_ms,
            stamp_suspect,
            is_cut,
            unpublished,
        }
    }
}

pub(super) fn milliseconds(later_ns: i64, earlier_ns: i64) -> f64 {
    later_ns.saturating_sub(earlier_ns) as f64 / NANOSECONDS_PER_MILLISECOND
}

/// A time as ROS writes it, since its nanoseconds do not fit a JSON number.
pub(super) fn time(ns: i64) -> Value {
    let Time { sec, nanosec } = Time::from_ns(ns);
    json!({ "sec": sec, "nanosec": nanosec })
}
