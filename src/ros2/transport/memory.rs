//! A transport within the process: what is published reaches its subscribers in the publisher's own call.
//!
//! For tests of the node, and for programs that have their camera in the same process.

use std::collections::VecDeque;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};

use super::subscriptions::Subscriptions;
use super::{
    Delivery, ImageTransport, MessageSink, PublishError, Publisher, Pump, Reply, ServiceHandler, TopicSeen,
    Transport, TransportError,
};
use crate::frames::camera::Camera;
use crate::frames::clock::Clock;
use crate::ros2::messages::ByteOrder;

/// Messages that [`Memory::published`] keeps.
const KEPT_MESSAGES: usize = 4096;

/// A graph of one process. Clones are the same graph.
#[derive(Clone)]
pub struct Memory {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Arc<Clock>,
    subscriptions: Subscriptions,
    topics: Mutex<Vec<TopicSeen>>,
    published: Mutex<VecDeque<(String, Vec<u8>)>>,
    services: Mutex<Vec<(String, ServiceHandler)>>,
}

impl Memory {
    /// An empty graph whose time is `clock`.
    pub fn new(clock: Arc<Clock>) -> Self {
        let (subscriptions, topics, published, services) = Default::default();
        Self { shared: Arc::new(Shared { clock, subscriptions, topics, published, services }) }
    }

    /// Plays another node that publishes `body` of `ros_type` to `topic`; nothing keeps it from lying.
    pub fn inject(&self, topic: &str, ros_type: &str, body: &[u8], order: ByteOrder) {
        self.shared.subscriptions.deliver(topic, ros_type, Ok((body, order)));
    }

    /// Plays another node's publisher appearing in the graph.
    pub fn announce(&self, topic: TopicSeen) {
        self.shared.topics.lock().unwrap_or_else(PoisonError::into_inner).push(topic);
    }

    /// Plays another node that calls a service and waits for its reply; `None` if nobody offers it, or it gives none.
    pub fn call(&self, service: &str, body: &[u8]) -> Option<Vec<u8>> {
        self.request(service, body)?.recv().ok()?
    }

    /// As [`Memory::call`], without waiting: the reply, or that there is none, comes here.
    pub fn request(&self, service: &str, body: &[u8]) -> Option<Receiver<Option<Vec<u8>>>> {
        let (sender, heard) = std::sync::mpsc::channel();
        let mut services = self.shared.services.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, handler) = services.iter_mut().find(|(name, _)| name == service)?;
        // Who does not wait any more has ended.
        handler(body, ByteOrder::Little, Reply::by(move |reply| drop(sender.send(reply))));
        Some(heard)
    }

    /// Takes the bodies published to `topic` since the last call, oldest first.
    pub fn published(&self, topic: &str) -> Vec<Vec<u8>> {
        let mut published = self.shared.published.lock().unwrap_or_else(PoisonError::into_inner);
        let (taken, kept) = std::mem::take(&mut *published).into_iter().partition(|(name, _)| name == topic);
        *published = kept;
        let taken: VecDeque<(String, Vec<u8>)> = taken;
        taken.into_iter().map(|(_, body)| body).collect()
    }
}

impl Transport for Memory {
    fn clock(&self) -> &Arc<Clock> {
        &self.shared.clock
    }

    fn subscribe_images(&self, transport: ImageTransport, camera: Arc<Camera>) -> Result<(), TransportError> {
        self.shared.subscriptions.add_images(transport, camera);
        Ok(())
    }

    fn ignore_images(&self, topic: &str) {
        self.shared.subscriptions.remove_images(topic);
    }

    fn subscribe(
        &self,
        topic: &str,
        ros_type: &'static str,
        _delivery: Delivery,
        sink: MessageSink,
    ) -> Result<(), TransportError> {
        self.shared.subscriptions.add_messages(topic, ros_type, sink);
        Ok(())
    }

    fn advertise(
        &self,
        topic: &str,
        ros_type: &'static str,
        _delivery: Delivery,
    ) -> Result<Box<dyn Publisher>, TransportError> {
        Ok(Box::new(MemoryPublisher { shared: Arc::clone(&self.shared), topic: topic.to_owned(), ros_type }))
    }

    fn serve(
        &self,
        service: &str,
        _ros_type: &'static str,
        handler: ServiceHandler,
    ) -> Result<(), TransportError> {
        let mut services = self.shared.services.lock().unwrap_or_else(PoisonError::into_inner);
        services.push((service.to_owned(), handler));
        Ok(())
    }

    fn graph(&self) -> Vec<TopicSeen> {
        self.shared.topics.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn pump(&self) -> Pump {
        Pump::Live
    }
}

struct MemoryPublisher {
    shared: Arc<Shared>,
    topic: String,
    ros_type: &'static str,
}

impl Publisher for MemoryPublisher {
    fn publish(&self, body: Vec<u8>) -> Result<(), PublishError> {
        self.shared.subscriptions.deliver(&self.topic, self.ros_type, Ok((&body, ByteOrder::Little)));
        let mut published = self.shared.published.lock().unwrap_or_else(PoisonError::into_inner);
        if published.len() == KEPT_MESSAGES {
            published.pop_front();
        }
        published.push_back((self.topic.clone(), body));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::frames::accounts::DropReason;
    use crate::ros2::messages::{Message, Text, decode, encode};

    #[test]
    fn a_publisher_reaches_the_subscribers_of_its_topic_and_type() {
        let memory = Memory::new(Arc::new(Clock::stepped()));
        let (sender, heard) = mpsc::channel();
        let sink: MessageSink = Box::new(move |body| {
            let text = body.map(|(body, order)| decode::<Text>(body, order).unwrap().data);
            sender.send(text).unwrap();
        });
        memory.subscribe("/chat", Text::TYPE, Delivery::Reliable, sink).unwrap();
        let publisher = memory.advertise("/chat", Text::TYPE, Delivery::Reliable).unwrap();
        publisher.publish(encode(&Text { data: "hi".into() })).unwrap();
        memory.inject("/other", Text::TYPE, &[], ByteOrder::Little);
        memory.inject("/chat", "std_msgs/msg/Float32", &[], ByteOrder::Little);
        let heard: Vec<_> = heard.try_iter().collect();
        assert_eq!(heard, [Ok("hi".to_owned()), Err(DropReason::WrongType)]);
        assert_eq!(memory.published("/chat").len(), 1);
        assert_eq!(memory.published("/chat").len(), 0);
    }
}
