//! A transport on which Foxglove hears what the node says, and says what the node hears.

use std::sync::{Arc, Mutex, PoisonError};

use super::hub::{Hub, SharedSink};
use crate::frames::clock::Clock;
use crate::ros2::transport::{
    Delivery, Layer, MessageSink, PublishError, Publisher, TopicSeen, Transport, TransportError,
};

/// Hands everything on to another transport.
pub struct Overheard<'a> {
    transport: &'a dyn Transport,
    hub: Arc<Hub>,
}

impl<'a> Overheard<'a> {
    pub(in crate::live) fn new(transport: &'a dyn Transport, hub: &Arc<Hub>) -> Self {
        Self { transport, hub: Arc::clone(hub) }
    }
}

impl Layer for Overheard<'_> {
    fn below(&self) -> &dyn Transport {
        self.transport
    }

    fn subscribe(
        &self,
        topic: &str,
        ros_type: &'static str,
        delivery: Delivery,
        sink: MessageSink,
    ) -> Result<(), TransportError> {
        let sink: SharedSink = Arc::new(Mutex::new(sink));
        self.hub.hears(topic, ros_type, &sink);
        let hand_on: MessageSink =
            Box::new(move |body| (sink.lock().unwrap_or_else(PoisonError::into_inner))(body));
        self.transport.subscribe(topic, ros_type, delivery, hand_on)
    }

    fn advertise(
        &self,
        topic: &str,
        ros_type: &'static str,
        delivery: Delivery,
    ) -> Result<Box<dyn Publisher>, TransportError> {
        let publisher = self.transport.advertise(topic, ros_type, delivery)?;
        // Hidden topics are of no use without the rest of an action.
        if topic.contains("/_") {
            return Ok(publisher);
        }
        let channel = self.hub.channel(topic, ros_type, delivery.qos().is_latched);
        let (hub, clock) = (Arc::clone(&self.hub), Arc::clone(self.transport.clock()));
        Ok(Box::new(Heard { publisher, hub, clock, channel }))
    }

    /// The topics that are there, with viewers among their subscribers.
    fn graph(&self) -> Vec<TopicSeen> {
        let mut graph = self.transport.graph();
        self.hub.count_in(&mut graph);
        graph
    }
}

struct Heard {
    publisher: Box<dyn Publisher>,
    hub: Arc<Hub>,
    clock: Arc<Clock>,
    channel: usize,
}

impl Publisher for Heard {
    fn publish(&self, body: Vec<u8>) -> Result<(), PublishError> {
        self.hub.offer(self.channel, self.clock.now().ros_ns, &body);
        self.publisher.publish(body)
    }
}
