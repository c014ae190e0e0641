//! An answer on its way out: as text, as JSON with everything that is known of it, as a message, and as what is seen where.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::answerer::Answer;
use super::lens::{InfoTopic, Lens};
use super::options::Topics;
use super::seen;
use crate::camera::Decoder;
use crate::frames::clock::Moment;
use crate::frames::frame::{Age, Received};
use crate::frames::listener::Listener;
use crate::ros2::messages::{
    AnswerMessage, CompressedImageView, Detections, Header, HeaderView, Message, ShortString, Text, Time,
    encode, encode_padded,
};
use crate::ros2::transport::{Delivery, Publisher, Transport, TransportError};
use crate::runtime::reason::Place;

const NANOSECONDS_PER_MILLISECOND: f64 = 1e6;
/// Who comes later hears the last answer too; its `valid_until` says what it is still worth.
const LATEST: Delivery = Delivery::Latched { kept: 1 };

/// The end of an answer that `max_age` ended, where only its text is heard.
const CUT_MARK: &str = "…[cut at max_age]";

/// What an engine's details call its places.
const BOXES: &str = "boxes";

/// An answer that was published.
#[derive(Debug, Clone, PartialEq)]
pub struct Published {
    /// The answer.
    pub text: String,
    /// What stands on the JSON topic.
    pub json: Map<String, Value>,
    /// The stamp of the newest frame; of several cameras, of the oldest.
    pub stamp_ns: i64,
    /// ROS time of publishing less the stamp; since the receipt where the stamp cannot be right.
    pub age_ms: f64,
    /// From the taking of the frames to publishing, in steady time.
    pub answer_ms: f64,
    /// From the arrival of that frame to publishing, in steady time.
    pub camera_to_answer_ms: f64,
    /// Whether the stamp cannot be right.
    pub stamp_suspect: bool,
    /// Whether `max_age` ended it before its end.
    pub is_cut: bool,
    /// Messages of this answer that could not be published.
    pub unpublished: u64,
    /// The cameras that it is about, if they have names.
    pub cameras: Vec<String>,
}

/// A question that was put, and its frames.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) frames: &'a [Received],
    /// The frame by which its age counts.
    pub(super) lead: &'a Received,
    /// Of one camera, or of each frame; none where they have no names.
    pub(super) cameras: &'a [&'a str],
    pub(super) prompt: &'a str,
    pub(super) because: &'a str,
    pub(super) began: Moment,
}

impl Asked<'_> {
    /// Whether it is about several cameras, so that what an answer says of places may be about any.
    fn is_together(&self) -> bool {
        1 < self.cameras.len()
    }

    /// What JSON says of its cameras.
    fn cameras(&self) -> Option<(&'static str, Value)> {
        match self.cameras {
            [] => None,
            [camera] => Some(("camera", json!(camera))),
            cameras => {
                let one = |(camera, received): (&&str, &Received)| {
                    let (frame_id, stamp) = (received.frame.frame_id.as_str(), time(received.frame.stamp_ns));
                    json!({ "camera": camera, "frame_id": frame_id, "stamp": stamp })
                };
                Some(("cameras", cameras.iter().zip(self.frames).map(one).collect()))
            }
        }
    }
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

/// The answer topics.
pub(super) struct Mouth<'a> {
    transport: &'a dyn Transport,
    text: Box<dyn Publisher>,
    json: Box<dyn Publisher>,
    typed: Box<dyn Publisher>,
    detections: Box<dyn Publisher>,
    /// Its name, and what is published there.
    annotated: (String, Box<dyn Publisher>),
    annotated_info: InfoTopic<'a>,
    /// Of each camera.
    lenses: Vec<Arc<Lens>>,
    decoder: Decoder,
    listener: Arc<Listener>,
}

impl<'a> Mouth<'a> {
    pub(super) fn open(
        transport: &'a dyn Transport,
        topics: &Topics,
        listener: &Arc<Listener>,
        lenses: &[Arc<Lens>],
    ) -> Result<Self, TransportError> {
        let picture =
            transport.advertise(&topics.annotated, CompressedImageView::TYPE, Delivery::Reliable)?;
        Ok(Self {
            transport,
            text: transport.advertise(&topics.answer, Text::TYPE, LATEST)?,
            json: transport.advertise(&topics.answer_json, Text::TYPE, LATEST)?,
            typed: transport.advertise(&topics.answer_typed, AnswerMessage::TYPE, LATEST)?,
            detections: transport.advertise(&topics.detections, Detections::TYPE, Delivery::Reliable)?,
            annotated: (topics.annotated.clone(), picture),
            // Who records looks at no picture.
            annotated_info: InfoTopic::open(transport, &topics.annotated_info, false)?,
            lenses: lenses.to_vec(),
            decoder: Decoder::new(),
            listener: Arc::clone(listener),
        })
    }

    /// Shows the newest frame, or the first camera's, with the answer over it, if somebody looks; `camera` is whose that is. Returns how
    /// many messages could not be published.
    pub(super) fn show(&mut self, answer: &Answer, asked: &Asked<'_>, camera: usize, age_ms: f64) -> u64 {
        let (topic, publisher) = &self.annotated;
        let is_ours = |ros_type: &str| ros_type == CompressedImageView::TYPE;
        let is_watched = self
            .transport
            .graph()
            .iter()
            .any(|seen| seen.name == *topic && is_ours(&seen.ros_type) && 0 < seen.subscribers);
        let shown = if asked.is_together() { asked.frames.first() } else { asked.frames.last() };
        let received = shown.expect("a question has at least one frame");
        let newest = &received.frame;
        // It was decoded for the engine, or cannot be.
        let decoded = is_watched.then(|| newest.decode(&mut self.decoder)).and_then(Result::ok);
        let Some(decoded) = decoded else { return 0 };
        let picture = decoded.picture();
        let size = [picture.size.width, picture.size.height];
        let text = marked(&answer.text, answer.is_cut);
        let Some(mut data) = seen::annotated(picture.rgb, size, &text, places(answer, asked), age_ms) else {
            return 0;
        };
        let stamp = Time::from_ns(newest.stamp_ns);
        let header = HeaderView { stamp, frame_id: newest.frame_id };
        let format = ShortString::new("jpeg").expect("it is short");
        // Readers of JPEG stop at its end.
        data.resize(data.len().next_multiple_of(4), 0);
        let body = encode_padded(&CompressedImageView { header, format, data: &data });
        let is_lost = publisher.publish(body).is_err();
        let info = self.annotated_info.of(&self.lenses[camera], received, size.map(|side| side as u32));
        let is_info_lost = info.is_some_and(|mut info| !self.annotated_info.show(&mut info, stamp));
        u64::from(is_lost) + u64::from(is_info_lost)
    }

    pub(super) fn say(&self, answer: &Answer, asked: &Asked<'_>, age: Age) -> Published {
        let Asked { frames, lead: newest, prompt, because, began, .. } = *asked;
        let (stamp_ns, now, age_ms, stamp_suspect) =
            (newest.frame.stamp_ns, age.now, age.ms(), age.is_suspect);
        let answer_ms = milliseconds(now.steady_ns, began.steady_ns);
        let camera_to_answer_ms = milliseconds(now.steady_ns, newest.receipt.steady_ns);
        let stamps: Vec<Value> = frames.iter().map(|received| time(received.frame.stamp_ns)).collect();
        let mut json = Map::new();
        json.insert("text".into(), json!(answer.text));
        json.insert("prompt_text".into(), json!(prompt));
        json.insert("asked_because".into(), json!(because));
        json.extend(asked.cameras().map(|(name, cameras)| (name.to_owned(), cameras)));
        json.insert("frame_id".into(), json!(newest.frame.frame_id.as_str()));
        json.insert("stamp".into(), time(stamp_ns));
        json.insert("stamps".into(), Value::Array(stamps));
        json.insert("stamp_suspect".into(), json!(stamp_suspect));
        json.insert("timed_by".into(), json!(newest.timed_by.name()));
        json.insert("age_ms".into(), json!(age_ms));
        json.insert("answer_ms".into(), json!(answer_ms));
        json.insert("camera_to_answer_ms".into(), json!(camera_to_answer_ms));
        json.insert("valid_until".into(), time(age.reaches_ns(self.listener.max_age_ns())));
        let is_told = |key: &str| !(asked.is_together() && key == BOXES);
        for (key, value) in answer.details.iter().filter(|(key, _)| is_told(key)) {
            json.entry(key.clone()).or_insert_with(|| value.clone());
        }
        let is_cut = answer.is_cut;
        let typed = message(&answer.text, is_cut, asked, age, self.listener.max_age_ns());
        let detections = seen::detections(places(answer, asked), &typed.header);
        let text = encode(&Text::padded(marked(&answer.text, is_cut).into_owned()));
        let whole = encode(&Text::padded(Value::Object(json.clone()).to_string()));
        let results = [
            self.text.publish(text),
            self.json.publish(whole),
            self.typed.publish(encode_padded(&typed)),
            self.detections.publish(encode_padded(&detections)),
        ];
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
            cameras: typed.cameras,
        }
    }
}

/// The answer as a message, published at this age.
pub(super) fn message(
    text: &str,
    is_cut: bool,
    asked: &Asked<'_>,
    age: Age,
    max_age_ns: i64,
) -> AnswerMessage {
    let Asked { frames, lead: newest, cameras, prompt, because, began } = *asked;
    let (stamp, frame_id) = (Time::from_ns(newest.frame.stamp_ns), newest.frame.frame_id.as_str().to_owned());
    AnswerMessage {
        header: Header { stamp, frame_id },
        stamps: frames.iter().map(|received| Time::from_ns(received.frame.stamp_ns)).collect(),
        text: text.to_owned(),
        prompt: prompt.to_owned(),
        asked_because: because.to_owned(),
        is_cut,
        stamp_suspect: age.is_suspect,
        timed_by: newest.timed_by.name().to_owned(),
        age_ms: age.ms(),
        answer_ms: milliseconds(age.now.steady_ns, began.steady_ns),
        camera_to_answer_ms: milliseconds(age.now.steady_ns, newest.receipt.steady_ns),
        valid_until: Time::from_ns(age.reaches_ns(max_age_ns)),
        cameras: cameras.iter().map(|camera| (*camera).to_owned()).collect(),
    }
}

/// What is seen where: of several images nobody knows in which.
pub(super) fn places<'a>(answer: &'a Answer, asked: &Asked<'_>) -> &'a [Place] {
    if asked.is_together() { &[] } else { &answer.places }
}

pub(super) fn milliseconds(later_ns: i64, earlier_ns: i64) -> f64 {
    later_ns.saturating_sub(earlier_ns) as f64 / NANOSECONDS_PER_MILLISECOND
}

/// A time as ROS writes it, since its nanoseconds do not fit a JSON number.
pub(super) fn time(ns: i64) -> Value {
    let Time { sec, nanosec } = Time::from_ns(ns);
    json!({ "sec": sec, "nanosec": nanosec })
}
