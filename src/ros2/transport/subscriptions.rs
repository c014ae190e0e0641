//! The subscribers of a transport that delivers within the process.

use std::sync::{Arc, Mutex, PoisonError};

use super::{ImageTransport, MESSAGE_BYTES_MAX, MessageSink};
use crate::frames::accounts::DropReason;
use crate::frames::camera::Camera;
use crate::ros2::messages::ByteOrder;

/// Who wants which topic.
#[derive(Default)]
pub(super) struct Subscriptions {
    entries: Mutex<Vec<Subscription>>,
}

struct Subscription {
    topic: String,
    ros_type: &'static str,
    sink: Sink,
}

enum Sink {
    Images(ImageTransport, Arc<Camera>),
    Messages(MessageSink),
}

impl Subscriptions {
    pub(super) fn add_images(&self, transport: ImageTransport, camera: Arc<Camera>) {
        let topic = camera.topic().to_owned();
        self.add(&topic, transport.ros_type(), Sink::Images(transport, camera));
    }

    pub(super) fn remove_images(&self, topic: &str) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|entry| entry.topic != topic || matches!(entry.sink, Sink::Messages(_)));
    }

    pub(super) fn add_messages(&self, topic: &str, ros_type: &'static str, sink: MessageSink) {
        self.add(topic, ros_type, Sink::Messages(sink));
    }

    fn add(&self, topic: &str, ros_type: &'static str, sink: Sink) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.push(Subscription { topic: topic.to_owned(), ros_type, sink });
    }

    pub(super) fn wants(&self, topic: &str) -> bool {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|entry| entry.topic == topic)
    }

    /// Hands a message to everyone who subscribed to its topic. A sink must not publish to a topic of the same table.
    pub(super) fn deliver(&self, topic: &str, ros_type: &str, body: Result<(&[u8], ByteOrder), DropReason>) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        for entry in entries.iter_mut().filter(|entry| entry.topic == topic) {
            let body = if entry.ros_type == ros_type { body } else { Err(DropReason::WrongType) };
            match &mut entry.sink {
                Sink::Images(transport, camera) => {
                    let frame = body.and_then(|(body, order)| transport.take(camera, body, order));
                    camera.offer(frame, 0);
                }
                Sink::Messages(sink) => sink(body.and_then(|(body, order)| match body.len() {
                    0..=MESSAGE_BYTES_MAX => Ok((body, order)),
                    _ => Err(DropReason::Oversized),
                })),
            }
        }
    }
}
