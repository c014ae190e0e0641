//! The observer: another node, which asks on the prompt topic and hears the answers, and how surprising what came was.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use serde::Deserialize;

use super::topics::Topics;
use crate::ros2::messages::{ByteOrder, Float32, Message, Text, Time, decode, encode};
use crate::ros2::transport::{Delivery, MessageSink, PublishError, Publisher, Transport, TransportError};

/// Events that may wait for the observer.
const EVENTS_MAX: usize = 1024;

/// An answer as its JSON topic tells it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Heard {
    pub(super) text: String,
    #[serde(rename = "prompt_text")]
    pub(super) prompt: String,
    stamps: Vec<Time>,
    /// ROS time of publishing less the newest frame's stamp.
    pub(super) age_ms: f64,
    /// From the newest frame's arrival to publishing.
    pub(super) camera_to_answer_ms: f64,
    pub(super) ttft_ms: Option<f64>,
    pub(super) tpot_ms: Option<f64>,
    #[serde(default)]
    pub(super) tokens: Vec<u32>,
    finish_reason: Option<String>,
}

impl Heard {
    /// Stamps of the frames that the answer is about, oldest first.
    pub(super) fn stamps_ns(&self) -> Vec<i64> {
        self.stamps.iter().map(|stamp| stamp.ns()).collect()
    }

    /// Whether `max_age` ended the answer before the model did.
    pub(super) fn is_cut(&self) -> bool {
        self.finish_reason.as_deref() == Some("deadline")
    }
}

/// What the observer waits for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Event {
    /// The camera has begun the scene of this number.
    Scene(u64),
    /// The node has answered.
    Answer(Box<Heard>),
    /// What came lies so far from the node's forecast, in latent space.
    Surprise(f32),
}

/// Asks and hears.
pub(super) struct Observer {
    prompts: Box<dyn Publisher>,
    events: Receiver<Event>,
    sender: SyncSender<Event>,
}

impl Observer {
    /// # Errors
    /// If a topic cannot be had.
    pub(super) fn open(transport: &dyn Transport, topics: &Topics) -> Result<Self, TransportError> {
        let (sender, events) = sync_channel(EVENTS_MAX);
        let prompts = transport.advertise(&topics.prompt, Text::TYPE, Delivery::Reliable)?;
        let heard = |body: &[u8], order| {
            let text = decode::<Text>(body, order).map_err(|error| error.to_string())?.data;
            let heard = serde_json::from_str(&text).map_err(|error| error.to_string())?;
            Ok(Event::Answer(Box::new(heard)))
        };
        let surprise = |body: &[u8], order| {
            let surprise = decode::<Float32>(body, order).map_err(|error| error.to_string())?;
            Ok(Event::Surprise(surprise.data))
        };
        let deliver = Delivery::Reliable;
        transport.subscribe(&topics.answer, Text::TYPE, deliver, sink(sender.clone(), heard))?;
        transport.subscribe(&topics.surprise, Float32::TYPE, deliver, sink(sender.clone(), surprise))?;
        Ok(Self { prompts, events, sender })
    }

    /// Where others may tell the observer something.
    pub(super) fn events(&self) -> SyncSender<Event> {
        self.sender.clone()
    }

    /// Asks a question from now on.
    ///
    /// # Errors
    /// If the transport does not take it.
    pub(super) fn ask(&self, prompt: &str) -> Result<(), PublishError> {
        self.prompts.publish(encode(&Text::padded(prompt.to_owned())))
    }

    /// Waits for what comes next, at most `timeout`.
    pub(super) fn next(&self, timeout: Duration) -> Option<Event> {
        match self.events.recv_timeout(timeout) {
            Ok(event) => Some(event),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => unreachable!("we hold a sender ourselves"),
        }
    }
}

fn sink(
    sender: SyncSender<Event>,
    read: impl Fn(&[u8], ByteOrder) -> Result<Event, String> + Send + 'static,
) -> MessageSink {
    Box::new(move |body| {
        let event = body.map_err(|reason| reason.to_string()).and_then(|(body, order)| read(body, order));
        match event.map(|event| sender.try_send(event)) {
            Ok(Ok(()) | Err(TrySendError::Disconnected(_))) => {}
            Ok(Err(TrySendError::Full(_))) => {
                log::warn!("the observer does not keep up: a message went unheard")
            }
            Err(problem) => log::warn!("a message cannot be read: {problem}"),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_as_the_node_writes_it_whatever_else_it_says() {
        let json = r#"{"text":"up","prompt_text":"Where?","frame_id":"cam","stamp":{"sec":1,"nanosec":5},
            "stamps":[{"sec":0,"nanosec":7},{"sec":1,"nanosec":5}],"stamp_suspect":false,"age_ms":3.5,"answer_ms":2,
            "camera_to_answer_ms":3,"valid_until":{"sec":3,"nanosec":5},"tokens":[1,2],"ttft_ms":1.5,"tpot_ms":null,
            "finish_reason":"stop","new":"member"}"#;
        let heard: Heard = serde_json::from_str(json).unwrap();
        assert_eq!((heard.text.as_str(), heard.prompt.as_str()), ("up", "Where?"));
        assert_eq!(heard.stamps_ns(), [7, 1_000_000_005]);
        assert_eq!((heard.ttft_ms, heard.tpot_ms, heard.tokens.as_slice()), (Some(1.5), None, &[1, 2][..]));
        assert!(!heard.is_cut());
    }
}
