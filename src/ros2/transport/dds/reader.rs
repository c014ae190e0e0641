//! One subscription: its DDS reader, which may give way to another, and where its samples go.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use rustdds::dds::{CreateResult, ReadResult};
use rustdds::no_key::{Decode, DeserializedCacheChange, DeserializerAdapter, SimpleDataReader};
use rustdds::{DomainParticipant, GUID, QosPolicies, RepresentationIdentifier, Topic, TopicDescription};

use super::entities::Entities;
use super::image_readers::Images;
use super::images_qos;
use super::requests::{RequestId, Requests};
use crate::frames::accounts::DropReason;
use crate::frames::camera::Camera;
use crate::frames::frame::Frame;
use crate::ros2::messages::ByteOrder;
use crate::ros2::transport::gaps::missing;
use crate::ros2::transport::{ImageTransport, MESSAGE_BYTES_MAX, MessageSink};

/// Writers of one topic that are remembered; beyond them the oldest is forgotten, which costs a gap uncounted.
const WRITERS_MAX: usize = 32;

/// Where images go as they come, to be read elsewhere.
pub(in crate::ros2::transport) trait Bodies: Send + Sync {
    /// Copies a body, while RustDDS holds the cache's lock.
    fn keep(&self, body: &[u8], order: ByteOrder) -> Result<Kept, DropReason>;

    /// Forgets a body.
    fn release(&self, kept: Kept);

    /// Passes on what was kept, or why nothing was. A sequence number of 0 is not known.
    fn pass_on(&self, kept: Result<Kept, DropReason>, writer: GUID, sequence: i64);
}

/// A body that was copied to a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ros2::transport) struct Kept {
    pub(in crate::ros2::transport) slot: u32,
    pub(in crate::ros2::transport) len: u64,
    pub(in crate::ros2::transport) order: ByteOrder,
}

pub(super) enum Sink {
    Images(ImageTransport, Arc<Camera>),
    Bodies(Box<dyn Bodies>),
    Messages(MessageSink),
    Requests(Requests),
}

/// So long two readers of a topic are heard when one takes the other's place, so that publishers know one at any time.
const OVERLAP: Duration = Duration::from_millis(500);

pub(super) struct Reader {
    reader: Samples,
    /// The one before, and since when it is no longer the one.
    retiring: Option<(Samples, Instant)>,
    /// The other of the two ways to read, while it is not heard. It stays: Fast DDS does not understand how RustDDS takes a
    /// single reader back, and would wait for its confirmations for ever.
    muted: Option<Samples>,
    topic: Topic,
    sink: Sink,
    writers: Vec<Writer>,
    images: Option<Arc<Images>>,
}

type Samples = SimpleDataReader<Taken, Copying>;

/// What we know of a publisher of the topic.
struct Writer {
    guid: GUID,
    last_sequence: i64,
    /// When that one came.
    heard: Instant,
    /// What the reader before has seen. The one after it is given some of it again.
    seen_before: i64,
    has_our_type: bool,
}

impl Reader {
    pub(super) fn new(
        subscriber: &rustdds::Subscriber,
        topic: Topic,
        qos: &QosPolicies,
        sink: Sink,
        images: Option<Arc<Images>>,
    ) -> CreateResult<Self> {
        let reader = subscriber.create_simple_datareader_no_key(&topic, Some(qos.clone()))?;
        let writers = Vec::with_capacity(WRITERS_MAX);
        Ok(Self { reader, retiring: None, muted: None, topic, sink, writers, images })
    }

    pub(super) fn guid(&self) -> GUID {
        self.reader.guid()
    }

    /// Asks to be woken once, at the next sample.
    pub(super) fn arm(&self, waker: &Waker) {
        for reader in self.retiring.iter().map(|(reader, _)| reader).chain([&self.reader]) {
            reader.set_waker(Some(waker.clone()));
            reader.drain_read_notifications();
        }
        self.muted.iter().for_each(SimpleDataReader::drain_read_notifications);
    }

    /// Takes another reader where the topic's publishers call for one.
    pub(super) fn suit_publishers(
        &mut self,
        participant: &DomainParticipant,
        subscriber: &rustdds::Subscriber,
        entities: &Entities,
    ) {
        let Some(images) = self.images.as_ref().filter(|_| self.retiring.is_none()) else { return };
        if !images.choose(participant, &self.topic) {
            return;
        }
        let next = match self.muted.take() {
            Some(other) => other,
            None => {
                let qos = images_qos(images.choice());
                match subscriber.create_simple_datareader_no_key(&self.topic, Some(qos)) {
                    Ok(next) => {
                        entities.add_reader(next.guid());
                        next
                    }
                    Err(error) => {
                        log::error!("{}: it is read as before: {error}", self.topic.name());
                        self.images = None;
                        return;
                    }
                }
            }
        };
        self.retiring = Some((std::mem::replace(&mut self.reader, next), Instant::now()));
    }

    /// When it is to be looked at again although no sample comes.
    pub(super) fn due(&self) -> Option<Duration> {
        match &self.sink {
            Sink::Requests(requests) => requests.due(),
            Sink::Images(..) | Sink::Bodies(_) | Sink::Messages(_) => None,
        }
    }

    /// Hears the reader before no longer, when the publishers have had time to learn of its successor.
    pub(super) fn retire(&mut self) {
        if let Some((before, _)) = self.retiring.take_if(|(_, since)| OVERLAP <= since.elapsed()) {
            before.set_waker(None);
            self.muted = Some(before);
            self.writers.iter_mut().for_each(|writer| writer.seen_before = writer.last_sequence);
        }
    }

    /// Takes samples, and says whether there are no more.
    pub(super) fn take_up_to(&mut self, n_samples: usize, participant: &DomainParticipant) -> bool {
        if let Sink::Requests(requests) = &mut self.sink {
            requests.serve_known();
        }
        for _ in 0..n_samples {
            match self.take_one() {
                Ok(None) => return true,
                Ok(Some(sample)) => self.pass_on(sample, participant),
                // An encoding that is not plain CDR.
                Err(_) => self.reject(DropReason::Malformed),
            }
        }
        false
    }

    fn take_one(&self) -> ReadResult<Option<DeserializedCacheChange<Taken>>> {
        let images = self.images.as_deref();
        let taker = match &self.sink {
            Sink::Images(transport, camera) => Taker::Image(*transport, camera, images),
            Sink::Bodies(bodies) => Taker::Body(&**bodies, images),
            Sink::Messages(_) | Sink::Requests(_) => Taker::Message,
        };
        if let Some((before, _)) = &self.retiring
            && let Some(sample) = before.try_take_one_with(taker.clone())?
        {
            return Ok(Some(sample));
        }
        self.reader.try_take_one_with(taker)
    }

    fn pass_on(&mut self, sample: DeserializedCacheChange<Taken>, participant: &DomainParticipant) {
        let sequence = i64::from(sample.sequence_number);
        let is_overlap = self.retiring.is_some();
        let writer = self.writer(sample.writer_guid(), participant);
        if sequence <= if is_overlap { writer.last_sequence } else { writer.seen_before } {
            return self.forget(sample.into_value());
        }
        let has_our_type = writer.has_our_type;
        let lost = match writer.last_sequence {
            0 => 0,
            last => missing(last, sequence, writer.heard.elapsed()),
        };
        (writer.last_sequence, writer.heard) = (sequence, Instant::now());
        let (asked_by, writer) = (RequestId::of(&sample), sample.writer_guid());
        if let Sink::Bodies(bodies) = &self.sink {
            let Taken::Body(kept) = sample.into_value() else {
                unreachable!("the taker is chosen by the sink")
            };
            let kept = kept.and_then(|kept| {
                if has_our_type {
                    return Ok(kept);
                }
                bodies.release(kept);
                Err(DropReason::WrongType)
            });
            return bodies.pass_on(kept, writer, sequence);
        }
        if !has_our_type {
            return self.reject(DropReason::WrongType);
        }
        match (&mut self.sink, sample.into_value()) {
            (Sink::Images(_, camera), Taken::Image(frame)) => {
                camera.offer_from(u128::from_le_bytes(writer.to_bytes()), frame, lost);
            }
            (Sink::Messages(sink), Taken::Message(bytes, order)) => sink(Ok((&bytes, order))),
            (Sink::Messages(sink), Taken::TooLong) => sink(Err(DropReason::Oversized)),
            (Sink::Requests(requests), Taken::Message(bytes, order)) => {
                requests.take(writer, asked_by, bytes, order);
            }
            // No client of ours writes requests of a megabyte.
            (Sink::Requests(_), Taken::TooLong) => {}
            (Sink::Images(..) | Sink::Bodies(_), _) | (_, Taken::Image(_) | Taken::Body(_)) => {
                unreachable!("the taker is chosen by the sink")
            }
        }
    }

    /// What comes a second time takes no place.
    fn forget(&self, taken: Taken) {
        if let (Sink::Bodies(bodies), Taken::Body(Ok(kept))) = (&self.sink, taken) {
            bodies.release(kept);
        }
    }

    fn reject(&mut self, reason: DropReason) {
        match &mut self.sink {
            Sink::Images(_, camera) => camera.offer(Err(reason), 0),
            Sink::Bodies(bodies) => bodies.pass_on(Err(reason), GUID::GUID_UNKNOWN, 0),
            Sink::Messages(sink) => sink(Err(reason)),
            // A request without a reply runs into the client's own timeout.
            Sink::Requests(_) => {}
        }
    }

    fn writer(&mut self, guid: GUID, participant: &DomainParticipant) -> &mut Writer {
        if let Some(known) = self.writers.iter().position(|writer| writer.guid == guid) {
            return &mut self.writers[known];
        }
        let discovered = participant.discovered_writers();
        let theirs = discovered.iter().find(|writer| writer.writer_proxy.remote_writer_guid == guid);
        // A writer of our own participant is not among the discovered, and has our type.
        let has_our_type = theirs
            .is_none_or(|writer| writer.publication_topic_data.type_name == self.topic.get_type().name());
        if self.writers.len() == WRITERS_MAX {
            self.writers.remove(0);
        }
        self.writers.push(Writer {
            guid,
            last_sequence: 0,
            heard: Instant::now(),
            seen_before: 0,
            has_our_type,
        });
        self.writers.last_mut().expect("pushed just now")
    }
}

/// A sample, copied out of the cache.
pub(super) enum Taken {
    Image(Result<Arc<Frame>, DropReason>),
    Body(Result<Kept, DropReason>),
    Message(Vec<u8>, ByteOrder),
    TooLong,
}

/// Reads plain CDR, which is what ROS 2 writes.
pub(super) struct Copying;

impl DeserializerAdapter<Taken> for Copying {
    type Error = Infallible;
    type Decoded = Taken;

    fn supported_encodings() -> &'static [RepresentationIdentifier] {
        &[RepresentationIdentifier::CDR_LE, RepresentationIdentifier::CDR_BE]
    }

    fn transform_decoded(decoded: Taken) -> Taken {
        decoded
    }
}

/// Copies one sample while RustDDS holds the cache's lock.
#[derive(Clone)]
enum Taker<'a> {
    Image(ImageTransport, &'a Camera, Option<&'a Images>),
    Body(&'a dyn Bodies, Option<&'a Images>),
    Message,
}

impl Decode<'_, Taken> for Taker<'_> {
    type Error = Infallible;

    fn decode_bytes(self, body: &[u8], encoding: RepresentationIdentifier) -> Result<Taken, Infallible> {
        let is_big = encoding == RepresentationIdentifier::CDR_BE;
        let order = if is_big { ByteOrder::Big } else { ByteOrder::Little };
        if let Taker::Image(_, _, Some(images)) | Taker::Body(_, Some(images)) = self {
            images.came(body.len());
        }
        Ok(match self {
            Taker::Image(transport, camera, _) => Taken::Image(transport.take(camera, body, order)),
            Taker::Body(bodies, _) => Taken::Body(bodies.keep(body, order)),
            Taker::Message if MESSAGE_BYTES_MAX < body.len() => Taken::TooLong,
            Taker::Message => Taken::Message(body.to_vec(), order),
        })
    }
}
