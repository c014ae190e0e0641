//! DDS behind a wall: RustDDS lives in a process of its own, which may be killed and comes back.
//!
//! A network library reads what strangers send, and one damaged packet makes RustDDS claim gigabytes. So the process that
//! holds its sockets holds nothing else, and may have little memory; the engine's process talks to it over a
//! stream (`wire`) and a ring of images (`ring`). When it dies it is started again, told everything anew, and the frames
//! that came meanwhile are counted as lost. When the engine's process dies, it leaves the graph at once.
//!
//! Why not a limit within one process: the kernel gives and takes memory by the process, and an allocation that fails
//! ends all of it.

mod keeper;
mod outside;
mod ring;
mod wire;
mod writers;

use std::collections::HashMap;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

pub use outside::serve;

use self::wire::{Join, Order};
use self::writers::Writers;
use super::dds::DdsOptions;
use super::{
    Delivery, ImageTransport, MessageSink, PublishError, Publisher, Pump, Reception, ServiceHandler,
    TopicSeen, Transport, TransportError,
};
use crate::frames::camera::Camera;
use crate::frames::clock::Clock;
use crate::ros2::environment::Reach;

/// Images of each camera that may lie in the ring: one that is read, one that waits, one that is written.
const N_SLOTS: usize = 3;
/// What stands around an image's pixels.
const HEADER_BYTES_MAX: usize = 4096;
/// What the network's process may claim beside the images that it puts together.
const MEMORY_BYTES: u64 = 128 << 20;
/// RustDDS holds an image of each camera as it came, put together, and the next.
const IMAGES_HELD: u64 = 4;

/// How to build a wall.
#[derive(Debug, Clone)]
pub struct WalledOptions {
    /// How to join the graph.
    pub dds: DdsOptions,
    /// The program whose verb `transport` calls [`serve`].
    pub program: PathBuf,
    /// The largest image that is taken.
    pub image_bytes_max: usize,
    /// Cameras that may be subscribed to at a time.
    pub n_cameras: usize,
}

impl WalledOptions {
    /// Bytes that the network's process may claim; at the next one it ends and is started again.
    pub fn memory_bytes_max(&self) -> u64 {
        MEMORY_BYTES + IMAGES_HELD * self.n_cameras as u64 * self.image_bytes_max as u64
    }

    /// As many more as there are cameras, which take them as they come: a burst of one may leave another none for a moment.
    fn n_slots(&self) -> usize {
        N_SLOTS * self.n_cameras
    }

    fn slot_bytes(&self) -> usize {
        (self.image_bytes_max + HEADER_BYTES_MAX).next_multiple_of(HEADER_BYTES_MAX)
    }

    fn join(&self) -> Order {
        let DdsOptions {
            node,
            domain_id,
            reach,
            gid_bytes,
            image_reliability,
            image_reliability_of,
            receive_buffer_bytes,
        } = &self.dds;
        Order::Join(Join {
            namespace: node.namespace().to_owned(),
            name: node.name().to_owned(),
            domain_id: *domain_id,
            is_local: *reach == Reach::Localhost,
            gid_bytes: *gid_bytes as u32,
            slot_bytes: self.slot_bytes() as u64,
            n_slots: self.n_slots() as u32,
            memory_bytes_max: self.memory_bytes_max(),
            log_level: log::max_level() as u8,
            image_reliability: *image_reliability,
            image_reliability_of: image_reliability_of.clone(),
            receive_buffer_bytes: *receive_buffer_bytes,
        })
    }
}

/// Our node in a DDS domain, behind a wall. Dropping it leaves the graph.
pub struct Walled {
    shared: Arc<Shared>,
    keeper: Option<JoinHandle<()>>,
}

struct Shared {
    options: WalledOptions,
    clock: Arc<Clock>,
    is_leaving: AtomicBool,
    state: Mutex<State>,
    /// By the numbers of their orders; others than the keeper only add to them.
    sinks: Mutex<HashMap<u32, Sink>>,
}

#[derive(Default)]
struct State {
    /// The way to the process, while there is one.
    line: Option<UnixStream>,
    /// What a new process is told: all that was asked for, and the last of what is latched.
    asked: Vec<Order>,
    latest: HashMap<u32, Vec<u8>>,
    /// Topics whose readers did not take the last message.
    full: Vec<u32>,
    guid: [u8; 16],
    graph: Vec<TopicSeen>,
    /// By image topic.
    receptions: HashMap<String, Reception>,
}

enum Sink {
    Images(Images),
    Messages(MessageSink),
    Requests(ServiceHandler),
}

/// A topic of images, and who hears them at this moment.
struct Images {
    topic: String,
    transport: ImageTransport,
    camera: Option<Arc<Camera>>,
    writers: Writers,
}

impl Walled {
    /// Starts the network's process and joins the domain.
    ///
    /// # Errors
    /// If the process cannot be started, or the graph cannot be joined.
    pub fn join(options: WalledOptions, clock: Arc<Clock>) -> Result<Self, TransportError> {
        let (is_leaving, state, sinks) = Default::default();
        let shared = Arc::new(Shared { options, clock, is_leaving, state, sinks });
        let mut outside = shared.start().map_err(failed("start the network's process"))?;
        let farewell = match shared.await_joining(&mut outside) {
            Ok(farewell) => farewell,
            Err(error) => {
                keeper::end(&mut outside.child, Duration::ZERO);
                return Err(error);
            }
        };
        let keeping = Arc::clone(&shared);
        let keeper = std::thread::Builder::new()
            .name("ros2-receive".into())
            .spawn(move || keeping.keep(outside, farewell))
            .map_err(failed("start the receiving thread"))?;
        Ok(Self { shared, keeper: Some(keeper) })
    }

    /// The identity of the participant at this moment: each process has another.
    pub fn guid(&self) -> [u8; 16] {
        self.shared.state().guid
    }
}

impl Drop for Walled {
    fn drop(&mut self) {
        self.shared.is_leaving.store(true, Relaxed);
        if let Some(line) = self.shared.state().line.take() {
            drop(line.shutdown(std::net::Shutdown::Write));
        }
        if self.keeper.take().is_some_and(|keeper| keeper.join().is_err()) {
            log::error!("the receiving thread has panicked");
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sinks(&self) -> MutexGuard<'_, HashMap<u32, Sink>> {
        self.sinks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands an order over, if there is somebody to take it.
    fn send(&self, order: &Order) -> Result<(), PublishError> {
        self.send_by(&mut self.state(), order)
    }

    fn send_by(&self, state: &mut State, order: &Order) -> Result<(), PublishError> {
        let line = state.line.as_mut().ok_or(PublishError::Closed)?;
        if wire::send(line, order).is_err() {
            // Perhaps half of it is on its way: nothing after it could be understood.
            drop(line.shutdown(std::net::Shutdown::Both));
            state.line = None;
            return Err(PublishError::Closed);
        }
        Ok(())
    }

    /// Tells the process, and every later one, what is wanted; its number is `order`'s.
    fn ask(&self, order: impl FnOnce(u32) -> Order) -> u32 {
        let mut state = self.state();
        let id = state.asked.len() as u32;
        let order = order(id);
        // If it cannot be told now, it is told when it starts again.
        let _ = self.send_by(&mut state, &order);
        state.asked.push(order);
        id
    }

    fn ask_for(&self, sink: Sink, order: impl FnOnce(u32) -> Order) {
        // Held until the sink stands there, so that no news of it comes too early.
        let mut sinks = self.sinks();
        let id = self.ask(order);
        sinks.insert(id, sink);
    }

    /// Lets images of a topic pass from now on, or not.
    fn hear_images(&self, id: u32, is_heard_now: bool) {
        let mut state = self.state();
        let Some(Order::Images { is_heard, .. }) = state.asked.get_mut(id as usize) else { return };
        *is_heard = is_heard_now;
        let order = state.asked[id as usize].clone();
        // If it cannot be told now, it is told when it starts again.
        let _ = self.send_by(&mut state, &order);
    }
}

impl Transport for Walled {
    fn clock(&self) -> &Arc<Clock> {
        &self.shared.clock
    }

    fn subscribe_images(&self, transport: ImageTransport, camera: Arc<Camera>) -> Result<(), TransportError> {
        let (topic, writers) = (camera.topic().to_owned(), Writers::default());
        let mut sinks = self.shared.sinks();
        let left = |images: &Images| images.camera.is_none() && images.transport == transport;
        let known = sinks.iter_mut().find_map(|(id, sink)| match sink {
            Sink::Images(images) if images.topic == topic && left(images) => Some((*id, images)),
            _ => None,
        });
        if let Some((id, images)) = known {
            (images.camera, images.writers) = (Some(camera), writers);
            self.shared.hear_images(id, true);
            return Ok(());
        }
        drop(sinks);
        let ros_type = transport.ros_type().to_owned();
        let sink = Sink::Images(Images { topic: topic.clone(), transport, camera: Some(camera), writers });
        self.shared.ask_for(sink, |id| Order::Images { id, topic, ros_type, is_heard: true });
        Ok(())
    }

    fn ignore_images(&self, topic: &str) {
        for (id, sink) in self.shared.sinks().iter_mut() {
            if let Sink::Images(images) = sink
                && images.topic == topic
            {
                images.camera = None;
                self.shared.hear_images(*id, false);
            }
        }
    }

    fn subscribe(
        &self,
        topic: &str,
        ros_type: &'static str,
        delivery: Delivery,
        sink: MessageSink,
    ) -> Result<(), TransportError> {
        let (topic, ros_type, delivery) = (topic.to_owned(), ros_type.to_owned(), delivery.into());
        self.shared.ask_for(Sink::Messages(sink), |id| Order::Subscribe { id, topic, ros_type, delivery });
        Ok(())
    }

    fn advertise(
        &self,
        topic: &str,
        ros_type: &'static str,
        delivery: Delivery,
    ) -> Result<Box<dyn Publisher>, TransportError> {
        let (topic, ros_type) = (topic.to_owned(), ros_type.to_owned());
        let id = self.shared.ask(|id| Order::Advertise { id, topic, ros_type, delivery: delivery.into() });
        let is_latched = delivery.qos().is_latched;
        Ok(Box::new(WalledPublisher { shared: Arc::clone(&self.shared), id, is_latched }))
    }

    fn serve(
        &self,
        service: &str,
        ros_type: &'static str,
        handler: ServiceHandler,
    ) -> Result<(), TransportError> {
        let (service, ros_type) = (service.to_owned(), ros_type.to_owned());
        self.shared.ask_for(Sink::Requests(handler), |id| Order::Serve { id, service, ros_type });
        Ok(())
    }

    fn graph(&self) -> Vec<TopicSeen> {
        self.shared.state().graph.clone()
    }

    fn reception(&self, topic: &str) -> Option<Reception> {
        self.shared.state().receptions.get(topic).copied()
    }

    fn pump(&self) -> Pump {
        Pump::Live
    }
}

struct WalledPublisher {
    shared: Arc<Shared>,
    id: u32,
    is_latched: bool,
}

impl Publisher for WalledPublisher {
    fn publish(&self, body: Vec<u8>) -> Result<(), PublishError> {
        let mut state = self.shared.state();
        if self.is_latched {
            state.latest.insert(self.id, body.clone());
        }
        self.shared.send_by(&mut state, &Order::Publish { id: self.id, body })?;
        // It comes to light after the call that it was about, and is said once.
        match state.full.iter().position(|id| *id == self.id) {
            Some(at) => {
                state.full.swap_remove(at);
                Err(PublishError::Full)
            }
            None => Ok(()),
        }
    }
}

fn failed<E: ToString>(attempt: &str) -> impl FnOnce(E) -> TransportError {
    move |problem| TransportError::Dds { attempt: attempt.to_owned(), problem: problem.to_string() }
}
