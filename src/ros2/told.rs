//! A transport on which single topics have the quality of service that users gave them.

use std::sync::Arc;

use super::qos::{QosOverrides, Side};
use super::transport::{
    Delivery, ImageTransport, MessageSink, Publisher, Pump, Reception, ServiceHandler, TopicSeen, Transport,
    TransportError,
};
use crate::frames::camera::Camera;
use crate::frames::clock::Clock;

/// Hands everything on to another transport.
pub(super) struct Told<'a> {
    transport: &'a dyn Transport,
    overrides: &'a QosOverrides,
}

impl<'a> Told<'a> {
    /// `transport` with these.
    pub(super) fn new(transport: &'a dyn Transport, overrides: &'a QosOverrides) -> Self {
        Self { transport, overrides }
    }
}

impl Transport for Told<'_> {
    fn clock(&self) -> &Arc<Clock> {
        self.transport.clock()
    }

    fn subscribe_images(&self, transport: ImageTransport, camera: Arc<Camera>) -> Result<(), TransportError> {
        self.transport.subscribe_images(transport, camera)
    }

    fn ignore_images(&self, topic: &str) {
        self.transport.ignore_images(topic);
    }

    fn subscribe(
        &self,
        topic: &str,
        ros_type: &'static str,
        delivery: Delivery,
        sink: MessageSink,
    ) -> Result<(), TransportError> {
        let delivery = self.overrides.apply(topic, Side::Subscription, delivery);
        self.transport.subscribe(topic, ros_type, delivery, sink)
    }

    fn advertise(
        &self,
        topic: &str,
        ros_type: &'static str,
        delivery: Delivery,
    ) -> Result<Box<dyn Publisher>, TransportError> {
        self.transport.advertise(topic, ros_type, self.overrides.apply(topic, Side::Publisher, delivery))
    }

    fn serve(
        &self,
        service: &str,
        ros_type: &'static str,
        handler: ServiceHandler,
    ) -> Result<(), TransportError> {
        self.transport.serve(service, ros_type, handler)
    }

    fn graph(&self) -> Vec<TopicSeen> {
        self.transport.graph()
    }

    fn reception(&self, topic: &str) -> Option<Reception> {
        self.transport.reception(topic)
    }

    fn pump(&self) -> Pump {
        self.transport.pump()
    }
}
