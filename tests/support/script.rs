//! A scripted graph: another node's acts, each when ours is ready for it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use perihelion::frames::camera::Camera;
use perihelion::frames::clock::Clock;
use perihelion::ros2::messages::{ByteOrder, HeaderView, ImageView, Message, ShortString, Time, encode};
use perihelion::ros2::transport::{
    Delivery, ImageTransport, Memory, MessageSink, Publisher, Pump, ServiceHandler, TopicSeen, Transport,
    TransportError,
};

pub(crate) const MS: i64 = 1_000_000;

/// Something that another node does.
pub(crate) type Event = Box<dyn FnOnce(&Memory) + Send>;

pub(crate) struct Script {
    pub(crate) memory: Memory,
    events: Mutex<VecDeque<Event>>,
}

impl Script {
    pub(crate) fn new(clock: Clock, events: Vec<Event>) -> Self {
        Self { memory: Memory::new(Arc::new(clock)), events: Mutex::new(events.into()) }
    }
}

/// An rgb8 image's body.
pub(crate) fn image_body(stamp_ns: i64, width: u32, data: &[u8]) -> Vec<u8> {
    let header = HeaderView { stamp: Time::from_ns(stamp_ns), frame_id: ShortString::new("cam").unwrap() };
    let (encoding, step) = (ShortString::new("rgb8").unwrap(), 3 * width);
    let height = data.len() as u32 / step;
    encode(&ImageView { header, height, width, encoding, is_bigendian: 0, step, data })
}

/// An image on `/image`, stamped `stamp_ms`, that arrives then.
pub(crate) fn image(stamp_ms: i64, width: u32, data: Vec<u8>) -> Event {
    Box::new(move |memory| {
        memory.clock().set(stamp_ms * MS);
        let body = image_body(stamp_ms * MS, width, &data);
        memory.inject("/image", ImageView::TYPE, &body, ByteOrder::Little);
    })
}

impl Transport for Script {
    fn clock(&self) -> &Arc<Clock> {
        self.memory.clock()
    }
    fn subscribe_images(&self, transport: ImageTransport, camera: Arc<Camera>) -> Result<(), TransportError> {
        self.memory.subscribe_images(transport, camera)
    }
    fn subscribe(
        &self,
        topic: &str,
        ros_type: &'static str,
        delivery: Delivery,
        sink: MessageSink,
    ) -> Result<(), TransportError> {
        self.memory.subscribe(topic, ros_type, delivery, sink)
    }
    fn advertise(
        &self,
        topic: &str,
        ros_type: &'static str,
        delivery: Delivery,
    ) -> Result<Box<dyn Publisher>, TransportError> {
        self.memory.advertise(topic, ros_type, delivery)
    }
    fn serve(
        &self,
        service: &str,
        ros_type: &'static str,
        handler: ServiceHandler,
    ) -> Result<(), TransportError> {
        self.memory.serve(service, ros_type, handler)
    }
    fn graph(&self) -> Vec<TopicSeen> {
        self.memory.graph()
    }
    fn pump(&self) -> Pump {
        let event = self.events.lock().unwrap().pop_front();
        match event {
            Some(event) => {
                event(&self.memory);
                Pump::Delivered
            }
            None => Pump::Ended,
        }
    }
}
