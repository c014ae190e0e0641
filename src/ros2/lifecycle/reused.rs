//! A transport on which a node starts again and again: what it announced and subscribed to before is taken up again.
//!
//! Why not anew each time: Fast DDS does not understand how RustDDS takes a single reader back, and would wait for its
//! confirmations for ever. So readers and writers stay in the graph from the first activation on; between two, images are dropped
//! where they arrive, other messages where they would be heard.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::frames::camera::Camera;
use crate::ros2::transport::{
    Delivery, ImageTransport, Layer, MessageSink, PublishError, Publisher, Transport, TransportError,
};

/// Where the messages of a topic go at this moment.
type Seat = Arc<Mutex<Option<MessageSink>>>;

pub(super) struct Reused<'a> {
    transport: &'a dyn Transport,
    publishers: Mutex<HashMap<String, Arc<dyn Publisher>>>,
    seats: Mutex<HashMap<String, Seat>>,
    images: Mutex<Vec<String>>,
}

impl<'a> Reused<'a> {
    pub(super) fn new(transport: &'a dyn Transport) -> Self {
        let (publishers, seats, images) = Default::default();
        Self { transport, publishers, seats, images }
    }

    /// Lets go of everyone who hears something.
    pub(super) fn rest(&self) {
        for topic in lock(&self.images).drain(..) {
            self.transport.ignore_images(&topic);
        }
        for seat in lock(&self.seats).values() {
            *lock(seat) = None;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Layer for Reused<'_> {
    fn below(&self) -> &dyn Transport {
        self.transport
    }

    fn subscribe_images(&self, transport: ImageTransport, camera: Arc<Camera>) -> Result<(), TransportError> {
        let topic = camera.topic().to_owned();
        self.transport.subscribe_images(transport, camera)?;
        lock(&self.images).push(topic);
        Ok(())
    }

    fn subscribe(
        &self,
        topic: &str,
        ros_type: &'static str,
        delivery: Delivery,
        sink: MessageSink,
    ) -> Result<(), TransportError> {
        if let Some(seat) = lock(&self.seats).get(topic) {
            *lock(seat) = Some(sink);
            return Ok(());
        }
        let seat: Seat = Arc::new(Mutex::new(Some(sink)));
        let heard = Arc::clone(&seat);
        let relay: MessageSink = Box::new(move |body| {
            if let Some(sink) = &mut *lock(&heard) {
                sink(body);
            }
        });
        self.transport.subscribe(topic, ros_type, delivery, relay)?;
        lock(&self.seats).insert(topic.to_owned(), seat);
        Ok(())
    }

    fn advertise(
        &self,
        topic: &str,
        ros_type: &'static str,
        delivery: Delivery,
    ) -> Result<Box<dyn Publisher>, TransportError> {
        let mut publishers = lock(&self.publishers);
        if let Some(known) = publishers.get(topic) {
            return Ok(Box::new(Shared(Arc::clone(known))));
        }
        let publisher: Arc<dyn Publisher> = self.transport.advertise(topic, ros_type, delivery)?.into();
        publishers.insert(topic.to_owned(), Arc::clone(&publisher));
        Ok(Box::new(Shared(publisher)))
    }
}

struct Shared(Arc<dyn Publisher>);

impl Publisher for Shared {
    fn publish(&self, body: Vec<u8>) -> Result<(), PublishError> {
        self.0.publish(body)
    }
}

#[cfg(test)]
#[test]
fn a_topic_is_taken_once_and_heard_by_the_last_who_asked() {
    use crate::frames::camera::CameraOptions;
    use crate::frames::clock::Clock;
    use crate::ros2::messages::{ByteOrder, Message, Text, encode};
    use crate::ros2::transport::Memory;

    let memory = Memory::new(Arc::new(Clock::stepped()));
    let reused = Reused::new(&memory);
    let body = encode(&Text { data: "hi".into() });
    let heard: Arc<Mutex<Vec<u32>>> = Arc::default();
    for turn in 0..3 {
        let ears = Arc::clone(&heard);
        let sink: MessageSink = Box::new(move |_| ears.lock().unwrap().push(turn));
        Layer::subscribe(&reused, "/prompt", Text::TYPE, Delivery::Reliable, sink).unwrap();
        memory.inject("/prompt", Text::TYPE, &body, ByteOrder::Little);
        let publisher = Layer::advertise(&reused, "/answer", Text::TYPE, Delivery::Reliable).unwrap();
        publisher.publish(body.clone()).unwrap();
        reused.rest();
        memory.inject("/prompt", Text::TYPE, &body, ByteOrder::Little);
    }
    assert_eq!(*heard.lock().unwrap(), [0, 1, 2]);
    assert_eq!(Arc::strong_count(&heard), 1, "nobody who heard before is kept");
    assert_eq!((memory.published("/answer").len(), lock(&reused.publishers).len()), (3, 1));

    let camera = |name: &str| {
        let (name, topic) = (name.to_owned(), format!("/{name}/image"));
        let options = CameraOptions { name, topic, frame_bytes_max: 64, pixels_max: 4 };
        Arc::new(Camera::new(options, memory.clock(), &[]))
    };
    let cameras = ["front", "rear"].map(camera);
    for _ in 0..2 {
        cameras.iter().for_each(|camera| {
            Layer::subscribe_images(&reused, ImageTransport::Raw, Arc::clone(camera)).unwrap();
        });
        assert_eq!(cameras.each_ref().map(Arc::strong_count), [2, 2]);
        reused.rest();
        assert_eq!(cameras.each_ref().map(Arc::strong_count), [1, 1], "no camera is kept");
    }
}
