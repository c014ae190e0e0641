//! The requests of one service, and how each finds its reply.
//!
//! A request may come before discovery has told where its client reads, and what is said to it then is nobody's: the reply, and whatever
//! else the request sets off that its client listens to, such as the events of a transition. So a request waits a moment for that, as
//! `rmw_fastrtps` lets a reply wait; nobody else waits meanwhile, and one whose client never becomes known is served all the same.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustdds::no_key::DeserializedCacheChange;
use rustdds::{GUID, SampleIdentity, SequenceNumber};

use super::replies::{Replies, is_reader};
use crate::ros2::messages::{ByteOrder, padding_bytes};
use crate::ros2::transport::{Reply, ServiceHandler};

/// How long a request waits until it is known where its client reads, and how often is looked.
const ACQUAINTANCE: Duration = Duration::from_millis(500);
const LOOK_PERIOD: Duration = Duration::from_millis(5);
/// Requests that wait at most; beyond them the oldest waits no longer.
const WAITING_MAX: usize = 16;

/// How a client tells its request's reply from others.
pub(super) enum RequestId {
    /// By a parameter beside the body, as Fast DDS does it.
    Beside(SampleIdentity),
    /// By the first 16 bytes of the body, as CycloneDDS does it: to be sent back as they are.
    Within,
}

/// Bytes of a request's identity within the body.
const REQUEST_ID_BYTES: usize = 16;

/// How the GUIDs of CycloneDDS begin: with its vendor id (RTPS 2.5, 8.2.4.1).
const CYCLONE_VENDOR: [u8; 2] = [0x01, 0x10];

impl RequestId {
    pub(super) fn of<T>(sample: &DeserializedCacheChange<T>) -> Self {
        let writer_guid = sample.writer_guid();
        if writer_guid.to_bytes().starts_with(&CYCLONE_VENDOR) {
            return Self::Within;
        }
        let own = SampleIdentity { writer_guid, sequence_number: sample.sequence_number };
        let mut identity = sample.related_sample_identity().unwrap_or(own);
        // Fast DDS leaves the number open where it is the sample's own.
        if identity.sequence_number == SequenceNumber::UNKNOWN {
            identity.sequence_number = sample.sequence_number;
        }
        Self::Beside(identity)
    }

    /// The client's own reader of replies, where it names that, as `rmw_fastrtps` does: others of its participant say nothing of it.
    fn reader(&self) -> Option<GUID> {
        match self {
            Self::Beside(identity) => Some(identity.writer_guid).filter(|guid| is_reader(*guid)),
            Self::Within => None,
        }
    }
}

pub(super) struct Requests {
    handler: ServiceHandler,
    replies: Arc<Mutex<Replies>>,
    /// Of clients of which it is not known yet where they read, in the order in which they came.
    waiting: VecDeque<Request>,
}

struct Request {
    client: GUID,
    /// Its reader of replies, or whatever of its participant is known.
    reads: GUID,
    asked_by: RequestId,
    body: Vec<u8>,
    order: ByteOrder,
    came: Instant,
    /// Whether it is known where its client reads. RustDDS tells its writers a moment after it knows: there is one more look.
    is_known: bool,
}

impl Requests {
    pub(super) fn new(handler: ServiceHandler, replies: Replies) -> Self {
        Self { handler, replies: Arc::new(Mutex::new(replies)), waiting: VecDeque::new() }
    }

    /// Serves a request, at once or as soon as it is known where its client reads. Those of one client stay in order.
    pub(super) fn take(&mut self, client: GUID, asked_by: RequestId, body: Vec<u8>, order: ByteOrder) {
        let reads = asked_by.reader().unwrap_or(client);
        let request = Request { client, reads, asked_by, body, order, came: Instant::now(), is_known: false };
        let waits = self.waiting.iter().any(|other| other.client == client);
        if !waits && lock(&self.replies).knows(reads) {
            return self.serve(request);
        }
        if self.waiting.len() == WAITING_MAX
            && let Some(oldest) = self.waiting.pop_front()
        {
            self.serve(oldest);
        }
        self.waiting.push_back(request);
    }

    /// Serves those that have waited.
    pub(super) fn serve_known(&mut self) {
        for _ in 0..self.waiting.len() {
            let Some(mut request) = self.waiting.pop_front() else { return };
            if request.is_known || ACQUAINTANCE <= request.came.elapsed() {
                self.serve(request);
                continue;
            }
            request.is_known = lock(&self.replies).knows(request.reads);
            self.waiting.push_back(request);
        }
    }

    /// When [`Requests::serve_known`] is to be called, if some wait.
    pub(super) fn due(&self) -> Option<Duration> {
        (!self.waiting.is_empty()).then_some(LOOK_PERIOD)
    }

    fn serve(&mut self, request: Request) {
        let Request { asked_by, body, order, .. } = request;
        let id_bytes = if matches!(asked_by, RequestId::Within) { REQUEST_ID_BYTES } else { 0 };
        let Some((id, body)) = body.split_at_checked(id_bytes) else { return };
        // A reply that is given late does not hold the writer that would be gone by then.
        let (id, replies) = (id.to_vec(), Arc::downgrade(&self.replies));
        let reply = Reply::by(move |reply| {
            if let (Some(reply), Some(replies)) = (reply, replies.upgrade()) {
                send(asked_by, id, order, reply, &mut lock(&replies));
            }
        });
        (self.handler)(body, order, reply);
    }
}

fn lock(replies: &Mutex<Replies>) -> MutexGuard<'_, Replies> {
    replies.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sends a reply to a request of this identity, which it had in this order of bytes.
fn send(asked_by: RequestId, id: Vec<u8>, order: ByteOrder, mut reply: Vec<u8>, replies: &mut Replies) {
    // Readers of CDR stop at the end of what they know.
    reply.resize(reply.len() + padding_bytes(reply.len()), 0);
    let sent = match asked_by {
        RequestId::Beside(identity) => replies.send(reply, Some(identity)),
        RequestId::Within => {
            let mut whole = id;
            if order == ByteOrder::Big {
                // We write little-endian: the identity is two numbers of eight bytes.
                whole.chunks_exact_mut(8).for_each(<[u8]>::reverse);
            }
            whole.extend_from_slice(&reply);
            replies.send(whole, None)
        }
    };
    if let Err(error) = sent {
        log::warn!("a service's reply was not sent: {error}");
    }
}

#[cfg(test)]
#[test]
fn a_client_that_names_its_reader_is_waited_for_by_that() {
    let beside = |kind: u8| {
        let mut bytes = [7; 16];
        bytes[15] = kind;
        let writer_guid = GUID::from_bytes(bytes);
        (
            RequestId::Beside(SampleIdentity { writer_guid, sequence_number: SequenceNumber::from(1) }),
            writer_guid,
        )
    };
    for (kind, is_named) in [(0x04, true), (0x07, true), (0x03, false), (0x02, false)] {
        let (id, guid) = beside(kind);
        assert_eq!(id.reader(), is_named.then_some(guid), "{kind}");
    }
    assert_eq!(RequestId::Within.reader(), None);
}
