//! What the watch knows of one camera: how its images come, what is wrong with them, and words when none do.

use std::sync::Arc;

use super::concerns::{self, Standing};
use super::hearing::Hearing;
use super::image_topics::ImageTopic;
use crate::frames::camera::Camera;
use crate::ros2::diagnostics::Status;
use crate::ros2::transport::{ImageTransport, TopicSeen, Transport};

/// After this long without a publisher the node says what it waits for, and again each time this has grown sixteenfold.
const PATIENCE_NS: i64 = 2_000_000_000;

pub(super) struct Lookout {
    image: ImageTopic,
    camera: Arc<Camera>,
    concerns: Standing,
    hearing: Hearing,
    next_notice_ns: i64,
}

impl Lookout {
    pub(super) fn new(image: ImageTopic, camera: Arc<Camera>) -> Self {
        let hearing = Hearing::new(image.topic.clone());
        Self { image, camera, concerns: Standing::default(), hearing, next_notice_ns: PATIENCE_NS }
    }

    /// What the camera is called, if it has a name.
    pub(super) fn name(&self) -> Option<&str> {
        self.image.camera.as_deref()
    }

    pub(super) fn topic(&self) -> &str {
        &self.image.topic
    }

    /// Images a second, as measured.
    pub(super) fn rate_hz(&self) -> Option<f64> {
        self.camera.stream().rate_hz
    }

    /// Says how the images come, and, after `waited_ns`, that none do.
    pub(super) fn look(&mut self, transport: &dyn Transport, graph: &[TopicSeen], waited_ns: i64) {
        self.hearing.look(transport);
        let listeners = self.camera.listeners();
        let is_silent = listeners.iter().all(|listener| listener.last_receipt().is_none());
        if !listeners.is_empty() && is_silent && self.next_notice_ns <= waited_ns {
            self.notice(graph);
            self.next_notice_ns = self.next_notice_ns.saturating_mul(16);
        }
    }

    /// Says what is wrong for longer than a frame, if it is news.
    pub(super) fn heed(&mut self, is_simulated: bool, now_ns: i64) {
        let of_camera = concerns::of_camera(&self.camera, is_simulated);
        concerns::say(self.image.camera.as_deref(), self.concerns.hear(of_camera, now_ns));
    }

    /// Datagrams that the kernel dropped.
    pub(super) fn dropped_datagrams(&self) -> u64 {
        self.hearing.dropped_datagrams()
    }

    /// How many publish its images.
    pub(super) fn publishers(&self, graph: &[TopicSeen]) -> usize {
        let ros_type = self.image.transport.ros_type();
        let ours = graph.iter().filter(|topic| topic.name == self.image.topic && topic.ros_type == ros_type);
        ours.map(|topic| topic.publishers).sum()
    }

    /// Adds what is known of the camera to an engine's status.
    pub(super) fn complete(&self, mut status: Status) -> Status {
        status.figures.extend(self.hearing.figures());
        status.figures.extend(self.name().map(|name| ("camera", name.to_owned())));
        let concerns = self.concerns.texts().chain(status.concerns).collect();
        let timed_by = self.camera.stamps().timed_by.name();
        Status { concerns, camera_hz: self.rate_hz(), timed_by, ..status }
    }

    /// Says that no image comes, and which topics could be meant.
    fn notice(&self, graph: &[TopicSeen]) {
        let (image, wanted) = (&self.image.topic, self.image.transport.ros_type());
        let other_type = graph
            .iter()
            .find(|topic| topic.name == *image && topic.ros_type != wanted && 0 < topic.publishers);
        if let Some(topic) = other_type {
            log::warn!("{image} is published as {}, and {wanted} is expected", topic.ros_type);
            return;
        }
        if graph.iter().any(|topic| topic.name == *image && 0 < topic.publishers) {
            log::info!("{image} is published, and no image has come yet");
            return;
        }
        let is_image = |topic: &&TopicSeen| {
            let types = ImageTransport::ALL.map(ImageTransport::ros_type);
            0 < topic.publishers && types.contains(&topic.ros_type.as_str())
        };
        let there: Vec<String> = graph
            .iter()
            .filter(is_image)
            .map(|topic| format!("{} ({})", topic.name, topic.ros_type))
            .collect();
        let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
        log::warn!("nobody publishes {image} ({wanted}) yet; image topics that are there: {there}");
    }
}
