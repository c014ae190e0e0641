//! A transport on which a recorder hears what the node says, and sees what its cameras send.

use std::sync::Arc;

use super::Recorder;
use super::options::RecordWhen;
use super::shared::Shared;
use crate::frames::camera::{Camera, Tap};
use crate::frames::clock::Clock;
use crate::frames::frame::Frame;
use crate::ros2::transport::{
    Delivery, ImageTransport, Layer, PublishError, Publisher, Transport, TransportError,
};

/// Hands everything on to another transport.
pub struct Recorded<'a> {
    transport: &'a dyn Transport,
    shared: Arc<Shared>,
}

impl<'a> Recorded<'a> {
    /// `transport`, recorded.
    pub fn new(transport: &'a dyn Transport, recorder: &Recorder) -> Self {
        Self { transport, shared: Arc::clone(&recorder.shared) }
    }
}

impl Layer for Recorded<'_> {
    fn below(&self) -> &dyn Transport {
        self.transport
    }

    fn subscribe_images(&self, transport: ImageTransport, camera: Arc<Camera>) -> Result<(), TransportError> {
        if self.shared.options.when != RecordWhen::Never {
            let channel = self.shared.channel(camera.topic(), transport.ros_type());
            let clock = Arc::clone(self.transport.clock());
            camera.tap(Box::new(Images { shared: Arc::clone(&self.shared), clock, channel }));
        }
        self.transport.subscribe_images(transport, camera)
    }

    fn advertise(
        &self,
        topic: &str,
        ros_type: &'static str,
        delivery: Delivery,
    ) -> Result<Box<dyn Publisher>, TransportError> {
        let publisher = self.transport.advertise(topic, ros_type, delivery)?;
        // As `ros2 bag record` has it, hidden topics are not recorded.
        if topic.contains("/_") {
            return Ok(publisher);
        }
        let channel = self.shared.channel(topic, ros_type);
        let (shared, clock) = (Arc::clone(&self.shared), Arc::clone(self.transport.clock()));
        Ok(Box::new(Heard { publisher, shared, clock, channel }))
    }
}

struct Heard {
    publisher: Box<dyn Publisher>,
    shared: Arc<Shared>,
    clock: Arc<Clock>,
    channel: usize,
}

impl Publisher for Heard {
    fn publish(&self, body: Vec<u8>) -> Result<(), PublishError> {
        self.shared.offer(self.channel, &body, false, None, &self.clock);
        self.publisher.publish(body)
    }
}

struct Images {
    shared: Arc<Shared>,
    clock: Arc<Clock>,
    channel: usize,
}

/// No frame has this address: one that found no buffer is used by nobody.
const NO_BUFFER: usize = usize::MAX;

impl Tap for Images {
    fn comes(&self, body: &[u8], is_big_endian: bool, frame: Option<&Arc<Frame>>) {
        let frame = frame.map_or(NO_BUFFER, |frame| Arc::as_ptr(frame) as usize);
        self.shared.offer(self.channel, body, is_big_endian, Some(frame), &self.clock);
    }
}
