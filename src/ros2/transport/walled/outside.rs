//! The network's process: RustDDS with its sockets, and nothing that would be missed.
//!
//! It is the verb `transport`, which only [`Walled`](super::Walled) starts: standard input is the socket to the engine's
//! process, standard output the ring. It leaves the graph when the socket ends, so that a node that was killed is gone at
//! once, and dies of what it cannot bear: of a panic, or of more memory than it was granted.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use log::LevelFilter;
use rustdds::GUID;
use rustix::process::{Resource, Rlimit, setrlimit};
use signal_hook::consts::{SIGINT, SIGTERM};

use super::ring::RingWriter;
use super::wire::{self, Join, News, ORDER_BYTES_MAX, Order};
use crate::frames::accounts::DropReason;
use crate::frames::clock::Clock;
use crate::ros2::environment::Reach;
use crate::ros2::logging;
use crate::ros2::messages::ByteOrder;
use crate::ros2::names::NodeName;
use crate::ros2::transport::dds::{Bodies, Dds, DdsOptions, Farewell, Kept};
use crate::ros2::transport::{
    MessageSink, PublishError, Publisher, Reply, ServiceHandler, Transport, TransportError,
};

/// Requests that wait for their replies at most; beyond them the oldest has none.
const AWAITED_MAX: usize = 256;
/// Between a reply and leaving: who asked should have read it before its writer is said to be gone.
const PARTING: Duration = Duration::from_millis(250);
/// How long leaving may take, with what the writers wait for readers that do not confirm.
const LEAVE_MAX: Duration = Duration::from_millis(1500);
/// How often the graph is looked at.
const LOOK_PERIOD: Duration = Duration::from_millis(250);
/// Every so many looks the graph is told although it is as before.
const LOOKS_PER_SIGN: u32 = 4;

/// Serves the engine's process until it has had enough.
///
/// # Errors
/// If standard input is not the socket to it, or the graph cannot be joined.
pub fn serve() -> io::Result<()> {
    let mut orders = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let ring = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let mut scratch = Vec::new();
    let Order::Join(join) = wire::receive(&mut orders, &mut scratch, ORDER_BYTES_MAX)? else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the first order is to join"));
    };
    confine(&join)?;
    let line = Line(Arc::new(Mutex::new(orders.try_clone()?)));
    let ring = Arc::new(RingWriter::new(&ring, join.n_slots as usize, join.slot_bytes as usize)?);
    let mut outside = match Outside::join(&join, line.clone(), ring) {
        Ok(outside) => outside,
        Err(error) => {
            line.refuse(&error);
            return Err(io::Error::other(error));
        }
    };
    let is_over = Arc::new(AtomicBool::new(false));
    let watching = outside.watch(&is_over)?;
    // The end of the stream is the end of the node.
    while let Ok(order) = wire::receive(&mut orders, &mut scratch, ORDER_BYTES_MAX) {
        if let Err(error) = outside.follow(order) {
            outside.line.refuse(&error);
        }
    }
    if let Some(replied) = outside.replied {
        std::thread::sleep(PARTING.saturating_sub(replied.elapsed()));
    }
    is_over.store(true, Relaxed);
    logging::hush_libraries();
    outside.leave_in_time(&join)?;
    watching.thread().unpark();
    drop(watching.join());
    Ok(())
}

/// Takes what is not needed: more memory than granted, and survival of what went wrong.
fn confine(join: &Join) -> io::Result<()> {
    let limit = |bytes| Rlimit { current: Some(bytes), maximum: Some(bytes) };
    setrlimit(Resource::Data, limit(join.memory_bytes_max))?;
    setrlimit(Resource::Core, limit(0))?;
    // Whoever ends the engine's process ends this one by the socket, in order.
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
    }
    let level = LevelFilter::iter().nth(usize::from(join.log_level)).unwrap_or(LevelFilter::Info);
    let name = NodeName::new(&join.namespace, &join.name).map(|name| name.logger());
    logging::start(name.as_deref().unwrap_or("transport"), level);
    std::panic::set_hook(Box::new(|panic| {
        log::error!("the network's process: {panic}");
        std::process::abort();
    }));
    Ok(())
}

/// Where news go.
#[derive(Clone)]
struct Line(Arc<Mutex<UnixStream>>);

impl Line {
    fn tell(&self, news: &News) {
        let mut stream = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Who does not listen any more has closed the stream, which is where that is noticed.
        drop(wire::send(&mut *stream, news));
    }

    fn refuse(&self, error: &TransportError) {
        let (attempt, problem) = match error {
            TransportError::Dds { attempt, problem } => (attempt.clone(), problem.clone()),
            other => ("follow an order".to_owned(), other.to_string()),
        };
        self.tell(&News::Refused { attempt, problem });
    }
}

struct Outside {
    /// First, so that what they have reaches those who listen before the participant leaves.
    publishers: HashMap<u32, Box<dyn Publisher>>,
    dds: Arc<Dds>,
    line: Line,
    ring: Arc<RingWriter>,
    requests: Arc<AtomicU64>,
    /// What the engine's process has not replied to, by number.
    awaited: Arc<Mutex<BTreeMap<u64, Reply>>>,
    /// Whether images pass, by the number of their order.
    heard: HashMap<u32, Arc<AtomicBool>>,
    /// When a reply was given last.
    replied: Option<Instant>,
}

impl Outside {
    fn join(join: &Join, line: Line, ring: Arc<RingWriter>) -> Result<Self, TransportError> {
        let refused = |problem: String| TransportError::Dds { attempt: "be this node".into(), problem };
        let options = DdsOptions {
            node: NodeName::new(&join.namespace, &join.name).map_err(|error| refused(error.to_string()))?,
            domain_id: join.domain_id,
            reach: reach(join),
            gid_bytes: join.gid_bytes as usize,
            image_reliability: join.image_reliability,
            image_reliability_of: join.image_reliability_of.clone(),
            receive_buffer_bytes: join.receive_buffer_bytes,
        };
        let dds = Arc::new(Dds::join(&options, Arc::new(Clock::system()))?);
        line.tell(&News::Joined { guid: dds.guid() });
        // Apart from those of a process before this one, whose replies may still come.
        let requests = Arc::new(AtomicU64::new(u64::from(std::process::id()) << 32));
        let (publishers, awaited, heard, replied) = Default::default();
        Ok(Self { dds, line, ring, publishers, requests, awaited, heard, replied })
    }

    fn follow(&mut self, order: Order) -> Result<(), TransportError> {
        match order {
            Order::Join(_) => Ok(()),
            Order::Images { id, topic, ros_type, is_heard } => {
                if let Some(known) = self.heard.get(&id) {
                    known.store(is_heard, Relaxed);
                    return Ok(());
                }
                let is_heard = Arc::new(AtomicBool::new(is_heard));
                self.heard.insert(id, Arc::clone(&is_heard));
                let bodies = Images { id, is_heard, ring: Arc::clone(&self.ring), line: self.line.clone() };
                self.dds.subscribe_bodies(&topic, &ros_type, Box::new(bodies))
            }
            Order::Subscribe { id, topic, ros_type, delivery } => {
                self.dds.subscribe(&topic, kept(ros_type), delivery.into(), self.messages(id))
            }
            Order::Advertise { id, topic, ros_type, delivery } => {
                let publisher = self.dds.advertise(&topic, kept(ros_type), delivery.into())?;
                self.publishers.insert(id, publisher);
                Ok(())
            }
            Order::Serve { id, service, ros_type } => {
                self.dds.serve(&service, kept(ros_type), self.requests(id))
            }
            Order::Publish { id, body } => {
                let Some(publisher) = self.publishers.get(&id) else { return Ok(()) };
                if publisher.publish(body) == Err(PublishError::Full) {
                    self.line.tell(&News::Full { id });
                }
                Ok(())
            }
            Order::Reply { request, is_given, body } => {
                let awaited = self.awaited.lock().unwrap_or_else(PoisonError::into_inner).remove(&request);
                if let (Some(reply), true) = (awaited, is_given) {
                    reply.give(body);
                    self.replied = Some(Instant::now());
                }
                Ok(())
            }
            Order::Free { slot } => {
                self.ring.free(slot);
                Ok(())
            }
        }
    }

    /// Ends the process when leaving takes too long: whoever waited for its engine has nobody to wait for.
    fn leave_in_time(&self, join: &Join) -> io::Result<()> {
        let participant = GUID::from_bytes(self.dds.guid());
        let farewell = Farewell::of(participant, join.domain_id, reach(join));
        let wait = move || {
            std::thread::sleep(LEAVE_MAX);
            drop(farewell);
            std::process::exit(0)
        };
        std::thread::Builder::new().name("leave".into()).spawn(wait).map(drop)
    }

    fn messages(&self, id: u32) -> MessageSink {
        let line = self.line.clone();
        Box::new(move |message| {
            line.tell(&match message {
                Ok((body, order)) => News::Message { id, is_big: is_big(order), body: body.to_vec() },
                Err(reason) => News::MessageDropped { id, reason: reason as u8 },
            });
        })
    }

    /// Asks the inside, which replies when it can.
    fn requests(&self, id: u32) -> ServiceHandler {
        let (line, requests, awaited) =
            (self.line.clone(), Arc::clone(&self.requests), Arc::clone(&self.awaited));
        Box::new(move |body, order, reply| {
            let request = requests.fetch_add(1, Relaxed);
            let mut awaited = awaited.lock().unwrap_or_else(PoisonError::into_inner);
            if awaited.len() == AWAITED_MAX {
                awaited.pop_first();
            }
            awaited.insert(request, reply);
            drop(awaited);
            line.tell(&News::Request { id, request, is_big: is_big(order), body: body.to_vec() });
        })
    }

    /// Tells the graph as it changes, and now and then.
    fn watch(&self, is_over: &Arc<AtomicBool>) -> io::Result<std::thread::JoinHandle<()>> {
        let (dds, line, is_over) = (Arc::downgrade(&self.dds), self.line.clone(), Arc::clone(is_over));
        std::thread::Builder::new().name("graph".into()).spawn(move || {
            let (mut told, mut told_of_images) = Default::default();
            for look in 0u32.. {
                if is_over.load(Relaxed) {
                    return;
                }
                let Some(dds) = dds.upgrade() else { return };
                let (graph, receptions) = (dds.graph(), dds.receptions());
                drop(dds);
                if receptions != told_of_images {
                    told_of_images = receptions;
                    for (topic, reception) in &told_of_images {
                        line.tell(&News::Reception { topic: topic.clone(), reception: *reception });
                    }
                }
                if graph != told || look.is_multiple_of(LOOKS_PER_SIGN) {
                    told = graph;
                    let topics = told.iter().map(|topic| {
                        let (publishers, subscribers) = (topic.publishers as u32, topic.subscribers as u32);
                        (topic.name.clone(), topic.ros_type.clone(), publishers, subscribers)
                    });
                    line.tell(&News::Graph(topics.collect()));
                }
                std::thread::park_timeout(LOOK_PERIOD);
            }
        })
    }
}

fn reach(join: &Join) -> Reach {
    if join.is_local { Reach::Localhost } else { Reach::Subnet }
}

/// A type's name for as long as the process lives: there are as many as the node has topics.
fn kept(ros_type: String) -> &'static str {
    ros_type.leak()
}

fn is_big(order: ByteOrder) -> bool {
    order == ByteOrder::Big
}

/// Puts a topic's images into the ring.
struct Images {
    id: u32,
    is_heard: Arc<AtomicBool>,
    ring: Arc<RingWriter>,
    line: Line,
}

impl Bodies for Images {
    fn keep(&self, body: &[u8], order: ByteOrder) -> Result<Kept, DropReason> {
        if !self.is_heard.load(Relaxed) {
            return Err(DropReason::Stopped);
        }
        self.ring.write(body).map(|slot| Kept { slot, len: body.len() as u64, order })
    }

    fn release(&self, kept: Kept) {
        self.ring.free(kept.slot);
    }

    fn pass_on(&self, kept: Result<Kept, DropReason>, writer: GUID, sequence: i64) {
        if !self.is_heard.load(Relaxed) {
            // It was kept a moment before.
            if let Ok(kept) = kept {
                self.release(kept);
            }
            return;
        }
        let (id, writer) = (self.id, writer.to_bytes());
        self.line.tell(&match kept {
            Ok(Kept { slot, len, order }) => {
                News::Image { id, writer, sequence, slot, len, is_big: is_big(order) }
            }
            Err(reason) => News::ImageDropped { id, writer, sequence, reason: reason as u8 },
        });
    }
}
