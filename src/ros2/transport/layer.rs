//! A transport that stands before another one.

use std::sync::Arc;

use super::{
    Delivery, ImageTransport, MessageSink, Publisher, Pump, Reception, ServiceHandler, TopicSeen, Transport,
    TransportError,
};
use crate::frames::camera::Camera;
use crate::frames::clock::Clock;

/// Does some of it in a way of its own, and hands everything else on: a layer is a [`Transport`], whose methods these are.
pub trait Layer: Send + Sync {
    /// What it stands before.
    fn below(&self) -> &dyn Transport;

    /// See [`Transport::subscribe_images`].
    ///
    /// # Errors
    /// As there.
    fn subscribe_images(&self, transport: ImageTransport, camera: Arc<Camera>) -> Result<(), TransportError> {
        self.below().subscribe_images(transport, camera)
    }

    /// See [`Transport::subscribe`].
    ///
    /// # Errors
    /// As there.
    fn subscribe(
        &self,
        topic: &str,
        ros_type: &'static str,
        delivery: Delivery,
        sink: MessageSink,
    ) -> Result<(), TransportError> {
        self.below().subscribe(topic, ros_type, delivery, sink)
    }

    /// See [`Transport::advertise`].
    ///
    /// # Errors
    /// As there.
    fn advertise(
        &self,
        topic: &str,
        ros_type: &'static str,
        delivery: Delivery,
    ) -> Result<Box<dyn Publisher>, TransportError> {
        self.below().advertise(topic, ros_type, delivery)
    }

    /// See [`Transport::graph`].
    fn graph(&self) -> Vec<TopicSeen> {
        self.below().graph()
    }
}

impl<L: Layer> Transport for L {
    fn clock(&self) -> &Arc<Clock> {
        self.below().clock()
    }

    fn subscribe_images(&self, transport: ImageTransport, camera: Arc<Camera>) -> Result<(), TransportError> {
        Layer::subscribe_images(self, transport, camera)
    }

    fn ignore_images(&self, topic: &str) {
        self.below().ignore_images(topic);
    }

    fn subscribe(
        &self,
        topic: &str,
        ros_type: &'static str,
        delivery: Delivery,
        sink: MessageSink,
    ) -> Result<(), TransportError> {
        Layer::subscribe(self, topic, ros_type, delivery, sink)
    }

    fn advertise(
        &self,
        topic: &str,
        ros_type: &'static str,
        delivery: Delivery,
    ) -> Result<Box<dyn Publisher>, TransportError> {
        Layer::advertise(self, topic, ros_type, delivery)
    }

    fn serve(
        &self,
        service: &str,
        ros_type: &'static str,
        handler: ServiceHandler,
    ) -> Result<(), TransportError> {
        self.below().serve(service, ros_type, handler)
    }

    fn graph(&self) -> Vec<TopicSeen> {
        Layer::graph(self)
    }

    fn reception(&self, topic: &str) -> Option<Reception> {
        self.below().reception(topic)
    }

    fn pump(&self) -> Pump {
        self.below().pump()
    }
}
