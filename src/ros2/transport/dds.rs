//! The live transport: DDS through RustDDS, seen by other ROS 2 nodes as one node.
//!
//! One thread takes samples for all readers and sleeps while there are none. Readers keep a single sample, so that a
//! slow moment costs old frames and never fresh ones. RustDDS matches endpoints by topic name alone; the type is
//! compared here, writer by writer. Nothing but copying happens while RustDDS holds the lock of a topic's cache, since
//! its network thread waits for that lock.

mod datagrams;
mod entities;
mod farewell;
mod greeting;
mod image_readers;
mod ports;
mod reader;
mod receiving;
mod replies;
mod requests;
mod silent;
mod sockets;
mod writer;

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rustdds::policy::{Durability, History, ResourceLimits};
use rustdds::{
    DomainParticipant, DomainParticipantBuilder, QosPolicies, QosPolicyBuilder, RTPSEntity, Topic, TopicKind,
};

use self::entities::Entities;
pub(super) use self::farewell::Farewell;
use self::greeting::Greeting;
use self::image_readers::Images;
use self::reader::Sink;
pub(super) use self::reader::{Bodies, Kept};
use self::receiving::Receiving;
use self::replies::Replies;
use self::requests::Requests;
use self::sockets::Sockets;
use self::writer::{DdsPublisher, Writers};
use super::{
    Choice, Delivery, ImageReliability, ImageTransport, MessageSink, Publisher, Pump, Qos, Reception,
    ServiceHandler, TopicSeen, Transport, TransportError,
};
use crate::frames::camera::Camera;
use crate::frames::clock::Clock;
use crate::ros2::environment::{Environment, Reach};
use crate::ros2::kernel_limits::RECEIVE_BUFFER_BYTES_ASKED;
use crate::ros2::messages::{dds_type_name, ros_type_name};
use crate::ros2::names::NodeName;

/// How to join a graph.
#[derive(Debug, Clone)]
pub struct DdsOptions {
    /// The node that we are.
    pub node: NodeName,
    /// Who may see us.
    pub domain_id: u16,
    /// How far we are seen.
    pub reach: Reach,
    /// The size of identities in this ROS generation.
    pub gid_bytes: usize,
    /// Whether lost images are to be sent again.
    pub image_reliability: ImageReliability,
    /// Whether those of these topics are, if another choice was made for them.
    pub image_reliability_of: Vec<(String, ImageReliability)>,
    /// The receive buffer that the kernel is asked for; it may grant less.
    pub receive_buffer_bytes: u64,
}

impl DdsOptions {
    /// Joins as the environment says; where it says that nobody is to be discovered, a domain that nobody is in.
    pub fn new(node: NodeName, environment: &Environment) -> Self {
        let Environment { reach, discovers, .. } = *environment;
        let domain_id = if discovers { environment.domain_id } else { free_domain() };
        Self { domain_id, reach, gid_bytes: environment.gid_bytes(), ..Self::local(node, domain_id) }
    }

    /// Joins a domain of this machine alone, as today's ROS does.
    pub fn local(node: NodeName, domain_id: u16) -> Self {
        Self {
            node,
            domain_id,
            reach: Reach::Localhost,
            gid_bytes: 16,
            image_reliability: ImageReliability::Auto,
            image_reliability_of: Vec::new(),
            receive_buffer_bytes: RECEIVE_BUFFER_BYTES_ASKED,
        }
    }
}

/// Our node in a DDS domain. Dropping it leaves the graph at once; a process that is killed stays visible for a while.
pub struct Dds {
    participant: DomainParticipant,
    publisher: rustdds::Publisher,
    writers: Arc<Writers>,
    /// Where replies leave that we send ourselves.
    mouth: Arc<UdpSocket>,
    clock: Arc<Clock>,
    image_reliability: ImageReliability,
    image_reliability_of: Vec<(String, ImageReliability)>,
    sockets: Sockets,
    /// The receive buffer that the kernel granted, if that can be known.
    buffer_bytes: Option<u64>,
    /// The image topics, by their names in ROS.
    images: Mutex<Vec<(String, Arc<Images>)>>,
    receiving: Arc<Receiving>,
    thread: Option<JoinHandle<()>>,
    /// Last, so that it is said when the participant is gone.
    farewell: Farewell,
}

impl Dds {
    /// Joins the domain and shows the node.
    ///
    /// # Errors
    /// If no socket can be had, or the middleware refuses.
    pub fn join(options: &DdsOptions, clock: Arc<Clock>) -> Result<Self, TransportError> {
        let asked = usize::try_from(options.receive_buffer_bytes).unwrap_or(usize::MAX);
        let mut builder = DomainParticipantBuilder::new(options.domain_id).socket_receive_buffer_size(asked);
        if let Some(networks) = options.reach.networks() {
            builder = builder.with_only_networks(networks);
        }
        let participant = builder.build().map_err(refused("join the domain"))?;
        let qos = QosPolicies::qos_none();
        let publisher = participant.create_publisher(&qos).map_err(refused("create a publisher"))?;
        let subscriber = participant.create_subscriber(&qos).map_err(refused("create a subscriber"))?;
        let writers = Arc::default();
        let entities = Entities::announce(&participant, &publisher, options, &writers)?;
        let port = ports::data(options.domain_id, participant.participant_id()).map(|at| at.port());
        let sockets = port.map(Sockets::at).unwrap_or_default();
        let buffer_bytes = sockets.enlarge(options.receive_buffer_bytes);
        let greeting =
            Greeting::new(&participant, Arc::clone(&writers)).map_err(refused("speak to ourselves"))?;
        let receiving = Arc::new(Receiving::new(participant.clone(), subscriber, entities));
        let thread = receiving.start(greeting).map_err(refused("start the receiving thread"))?;
        let mouth = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).map_err(refused("speak to others"))?;
        let farewell = Farewell::of(participant.guid(), options.domain_id, options.reach);
        Ok(Self {
            participant,
            publisher,
            writers,
            mouth: Arc::new(mouth),
            clock,
            image_reliability: options.image_reliability,
            image_reliability_of: options.image_reliability_of.clone(),
            sockets,
            buffer_bytes,
            images: Mutex::default(),
            receiving,
            thread: Some(thread),
            farewell,
        })
    }

    /// The domain that we are in.
    pub fn domain_id(&self) -> u16 {
        self.participant.domain_id()
    }

    /// Our participant's identity.
    pub fn guid(&self) -> [u8; 16] {
        self.participant.guid().to_bytes()
    }

    /// Sends a topic's images to `bodies` as they come.
    pub(super) fn subscribe_bodies(
        &self,
        topic: &str,
        ros_type: &str,
        bodies: Box<dyn Bodies>,
    ) -> Result<(), TransportError> {
        self.read_images(topic, ros_type, Sink::Bodies(bodies))
    }

    /// The image topics and how they come.
    pub(super) fn receptions(&self) -> Vec<(String, Reception)> {
        let images = self.images.lock().unwrap_or_else(PoisonError::into_inner);
        let dropped_datagrams = if images.is_empty() { 0 } else { self.sockets.dropped() };
        let reception = |images: &Images| Reception {
            choice: images.choice(),
            buffer_bytes: self.buffer_bytes,
            dropped_datagrams,
            image_bytes_max: images.bytes_max(),
        };
        images.iter().map(|(topic, images)| (topic.clone(), reception(images))).collect()
    }

    /// `dds_name` is a ROS name behind the prefix of its kind, such as `rt/image`.
    fn topic(&self, dds_name: String, ros_type: &str, qos: &QosPolicies) -> Result<Topic, TransportError> {
        let attempt = format!("create the topic {dds_name}");
        self.participant
            .create_topic(dds_name, dds_type_name(ros_type), qos, TopicKind::NoKey)
            .map_err(refused(&attempt))
    }

    fn read_images(&self, topic: &str, ros_type: &str, sink: Sink) -> Result<(), TransportError> {
        let told = self.image_reliability_of.iter().find(|(told, _)| told == topic);
        let reliability = told.map_or(self.image_reliability, |(_, reliability)| *reliability);
        let images = Arc::new(Images::new(reliability, self.buffer_bytes));
        let (name, qos) = (format!("rt{topic}"), images_qos(images.choice()));
        self.read(name, ros_type, &qos, sink, Some(Arc::clone(&images)))?;
        self.images.lock().unwrap_or_else(PoisonError::into_inner).push((topic.to_owned(), images));
        Ok(())
    }

    fn read(
        &self,
        dds_name: String,
        ros_type: &str,
        qos: &QosPolicies,
        sink: Sink,
        images: Option<Arc<Images>>,
    ) -> Result<(), TransportError> {
        let attempt = format!("subscribe to {dds_name}");
        let topic = self.topic(dds_name, ros_type, qos)?;
        self.receiving.add(topic, qos, sink, images).map_err(refused(&attempt))?;
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
        Ok(())
    }
}

impl Drop for Dds {
    fn drop(&mut self) {
        self.receiving.stop();
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            if thread.join().is_err() {
                log::error!("the receiving thread has panicked");
            }
        }
        self.farewell.address(&self.participant);
        self.receiving.entities().leave();
    }
}

impl Transport for Dds {
    fn clock(&self) -> &Arc<Clock> {
        &self.clock
    }

    fn subscribe_images(&self, transport: ImageTransport, camera: Arc<Camera>) -> Result<(), TransportError> {
        let topic = camera.topic().to_owned();
        self.read_images(&topic, transport.ros_type(), Sink::Images(transport, camera))
    }

    fn subscribe(
        &self,
        topic: &str,
        ros_type: &'static str,
        delivery: Delivery,
        sink: MessageSink,
    ) -> Result<(), TransportError> {
        self.read(format!("rt{topic}"), ros_type, &qos(delivery), Sink::Messages(sink), None)
    }

    fn advertise(
        &self,
        topic: &str,
        ros_type: &'static str,
        delivery: Delivery,
    ) -> Result<Box<dyn Publisher>, TransportError> {
        let dds_topic = self.topic(format!("rt{topic}"), ros_type, &qos(delivery))?;
        let publisher = DdsPublisher::new(&self.publisher, &dds_topic, &self.writers);
        let publisher = publisher.map_err(refused(&format!("publish {topic}")))?;
        self.receiving.entities().add_writer(publisher.guid());
        Ok(Box::new(publisher))
    }

    fn serve(
        &self,
        service: &str,
        ros_type: &'static str,
        handler: ServiceHandler,
    ) -> Result<(), TransportError> {
        let qos = qos(Delivery::Reliable);
        let name = format!("rr{service}Reply");
        let reply = self.topic(name.clone(), &format!("{ros_type}_Response"), &qos)?;
        let replies = DdsPublisher::new(&self.publisher, &reply, &self.writers);
        let replies = replies.map_err(refused(&format!("serve {service}")))?;
        let replies = Replies::new(replies, name, self.participant.clone(), Arc::clone(&self.mouth));
        self.receiving.entities().add_writer(replies.guid());
        let request_type = format!("{ros_type}_Request");
        self.read(
            format!("rq{service}Request"),
            &request_type,
            &qos,
            Sink::Requests(Requests::new(handler, replies)),
            None,
        )
    }

    fn graph(&self) -> Vec<TopicSeen> {
        let writers = self.participant.discovered_writers().into_iter().map(|writer| {
            let data = writer.publication_topic_data;
            (data.topic_name, data.type_name, 1, 0)
        });
        let readers = self.participant.discovered_readers().into_iter().map(|reader| {
            let data = reader.subscription_topic_data;
            (data.topic_name().clone(), data.type_name().clone(), 0, 1)
        });
        let mut topics: Vec<TopicSeen> = Vec::new();
        for (dds_name, dds_type, publishers, subscribers) in writers.chain(readers) {
            let Some(name) = dds_name.strip_prefix("rt/").map(|name| format!("/{name}")) else { continue };
            let ros_type = ros_type_name(&dds_type);
            match topics.iter_mut().find(|topic| topic.name == name && topic.ros_type == ros_type) {
                Some(topic) => {
                    topic.publishers += publishers;
                    topic.subscribers += subscribers;
                }
                None => topics.push(TopicSeen { name, ros_type, publishers, subscribers }),
            }
        }
        topics.sort();
        topics
    }

    fn reception(&self, topic: &str) -> Option<Reception> {
        self.receptions().into_iter().find(|(name, _)| name == topic).map(|(_, reception)| reception)
    }

    fn pump(&self) -> Pump {
        Pump::Live
    }
}

/// A domain whose ports nobody on this machine listens at, among those that Linux keeps free of other uses.
///
/// It may be taken the moment after; with the loopback interface alone, the worst is to see a neighbour.
pub fn free_domain() -> u16 {
    const FIRST: u16 = 40;
    const COUNT: u16 = 60;
    let is_free = |domain: &u16| {
        (0..8).all(|participant| {
            ports::discovery(*domain, participant)
                .is_some_and(|address| UdpSocket::bind(("0.0.0.0", address.port())).is_ok())
        })
    };
    let start = (std::process::id() % u32::from(COUNT)) as u16;
    (0..COUNT).map(|i| FIRST + (start + i) % COUNT).find(is_free).unwrap_or(FIRST + start)
}

/// Images that are sent again come several at once, in order: room for those that wait for their turn.
const REPEATED_IMAGES_KEPT: i32 = 4;

fn images_qos(choice: Choice) -> QosPolicies {
    if !choice.is_reliable {
        return qos(Delivery::BestEffort);
    }
    let n = REPEATED_IMAGES_KEPT;
    QosPolicyBuilder::new()
        .reliable(rustdds::Duration::ZERO)
        .durability(Durability::Volatile)
        .history(History::KeepLast { depth: n })
        .resource_limits(ResourceLimits { max_samples: n, max_instances: 1, max_samples_per_instance: n })
        .build()
}

fn qos(delivery: Delivery) -> QosPolicies {
    let Qos { is_reliable, is_latched, depth } = delivery.qos();
    let durability = if is_latched { Durability::TransientLocal } else { Durability::Volatile };
    let n = i32::from(depth);
    let builder = QosPolicyBuilder::new().durability(durability).history(History::KeepLast { depth: n });
    if is_reliable {
        return builder.reliable(rustdds::Duration::ZERO).build();
    }
    // A history depth alone leaves RustDDS with 64 samples, seconds of old frames.
    let limits = ResourceLimits { max_samples: n, max_instances: 1, max_samples_per_instance: n };
    builder.best_effort().resource_limits(limits).build()
}

fn refused<E: std::fmt::Display>(attempt: &str) -> impl FnOnce(E) -> TransportError {
    move |problem| TransportError::Dds { attempt: attempt.to_owned(), problem: problem.to_string() }
}
