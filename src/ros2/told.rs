//! A transport on which single topics have the quality of service that users gave them.

use super::qos::{QosOverrides, Side};
use super::transport::{Delivery, Layer, MessageSink, Publisher, Transport, TransportError};

/// `transport` with overrides.
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

impl Layer for Told<'_> {
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
}
