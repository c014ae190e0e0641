//! How the replies of a service leave.
//!
//! Fast DDS tells by a parameter beside the body whose request a reply answers. RustDDS writes that parameter rightly where
//! the reply fits a datagram of the reader's network, but puts a byte too many before it in each fragment of a longer one.
//! Fast DDS drops such fragments, asks for them again for ever, and what comes after them waits. So a longer reply leaves
//! twice under one number: first in fragments of our own, with the parameter; then by RustDDS without it, whose fragments are
//! sound. The reader keeps the parameter of the fragment that came first. RustDDS repeats what was lost on the way; the reply is
//! nobody's where all of ours are lost, as they are to a reader that has not met our writer yet.
//!
//! Where everybody who hears the service is on this machine's loopback interface alone, RustDDS sends up to 64 KiB in one datagram, rightly,
//! and repeats it so: those it is left to.
//!
//! Why not leave the others to our own fragments alone: the reader would confirm, and ask for, what RustDDS knows nothing of.

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

use rustdds::discovery::DiscoveredReaderData;
use rustdds::{DomainParticipant, GUID, SampleIdentity, Timestamp};

use super::datagrams::fragments;
use super::writer::DdsPublisher;
use crate::ros2::transport::PublishError;

/// Bytes of a body that any network takes in one datagram, with what goes before it.
const SHORT_BYTES_MAX: usize = 1024;
/// What fits no Ethernet datagram. A reply between the two is lengthened, so that RustDDS repeats it in fragments too.
const LONG_BYTES_MIN: usize = 1500;
/// The datagrams of ours that carry 64 KiB: beyond that RustDDS writes fragments on any network, and one of ours is enough.
const DATAGRAMS_MAX: usize = 64;
/// Of a datagram, what goes before a body of RustDDS's at most.
const OVERHEAD_BYTES_MAX: usize = 512;
/// Tells how long a datagram the loopback interface takes.
const LOOPBACK_MTU: &str = "/sys/class/net/lo/mtu";
/// What tells a reader that the body is little-endian CDR.
const ENCODING: [u8; 4] = [0, 1, 0, 0];

/// How the GUIDs of an application's readers end (RTPS 2.5, 9.3.1.2).
const READER_KINDS: [u8; 2] = [0x04, 0x07];

/// Whether it names a reader.
pub(super) fn is_reader(guid: GUID) -> bool {
    READER_KINDS.contains(&guid.to_bytes()[15])
}

pub(super) struct Replies {
    publisher: DdsPublisher,
    /// The topic's name in DDS.
    topic: String,
    participant: DomainParticipant,
    socket: Arc<UdpSocket>,
    /// Bytes of a body that the loopback interface takes in one datagram; none if that is not known.
    whole_bytes_max: usize,
    /// What RustDDS numbered its last.
    last: i64,
    /// A reply that somebody may have under the next number, and RustDDS could not take.
    owed: Option<Vec<u8>>,
}

impl Replies {
    pub(super) fn new(
        publisher: DdsPublisher,
        topic: String,
        participant: DomainParticipant,
        socket: Arc<UdpSocket>,
    ) -> Self {
        let mtu = std::fs::read_to_string(LOOPBACK_MTU).ok().and_then(|text| text.trim().parse().ok());
        let whole_bytes_max = mtu.unwrap_or(0_usize).saturating_sub(OVERHEAD_BYTES_MAX);
        Self { publisher, topic, participant, socket, whole_bytes_max, last: 0, owed: None }
    }

    pub(super) fn guid(&self) -> GUID {
        self.publisher.guid()
    }

    /// Sends a body of whole words of four bytes, as the reply to this request; to one that has its identity within it if
    /// there is none.
    ///
    /// # Errors
    /// If RustDDS has no room for it.
    pub(super) fn send(
        &mut self,
        mut body: Vec<u8>,
        request: Option<SampleIdentity>,
    ) -> Result<(), PublishError> {
        // Until RustDDS has it, the next number is its own: another reply under it would be taken for a part of it.
        if let Some(owed) = self.owed.clone() {
            self.hand_over(owed, Timestamp::now(), None)?;
            self.owed = None;
        }
        let stamp = Timestamp::now();
        let long = request.filter(|_| SHORT_BYTES_MAX < body.len() && !self.goes_whole(body.len()));
        let long = long.map(|request| (request, self.addresses(request.writer_guid)));
        // Where we know nobody who hears us, RustDDS alone may still reach whom it knows.
        let Some((asker, addresses)) = long.filter(|(_, addresses)| !addresses.is_empty()) else {
            return self.hand_over(body, stamp, request);
        };
        // Readers of CDR stop at the end of what they know.
        body.resize(body.len().max(LONG_BYTES_MIN), 0);
        self.say(&body, stamp, asker, &addresses);
        let kept = body.clone();
        let sent = self.hand_over(body, stamp, None);
        self.owed = sent.is_err().then_some(kept);
        sent
    }

    fn hand_over(
        &mut self,
        body: Vec<u8>,
        stamp: Timestamp,
        request: Option<SampleIdentity>,
    ) -> Result<(), PublishError> {
        self.last = self.publisher.publish_at(body, stamp, request)?;
        Ok(())
    }

    /// Says the next reply ourselves to the participant that asked. What is lost of it RustDDS says once more.
    fn say(&self, body: &[u8], stamp: Timestamp, request: SampleIdentity, addresses: &BTreeSet<SocketAddr>) {
        let Ok(sequence) = u32::try_from(self.last + 1) else { return };
        let sample = [&ENCODING, body].concat();
        let datagrams = fragments(self.guid(), request.writer_guid, sequence, stamp, request, &sample);
        for datagram in datagrams.iter().take(DATAGRAMS_MAX) {
            for address in addresses {
                drop(self.socket.send_to(datagram, address));
            }
        }
    }

    /// Whether RustDDS sends a body of so many bytes to all readers in one datagram. It cuts what it sends by the narrowest of their
    /// ways.
    fn goes_whole(&self, n_bytes: usize) -> bool {
        let is_near = |reader: DiscoveredReaderData| {
            let locators = reader.reader_proxy.unicast_locator_list;
            let mut ways = locators.iter().filter(|locator| locator.is_udp()).peekable();
            ways.peek().is_some() && ways.all(|locator| SocketAddr::from(*locator).ip().is_loopback())
        };
        n_bytes <= self.whole_bytes_max && self.all_readers().all(is_near)
    }

    /// The readers of our replies.
    fn all_readers(&self) -> impl Iterator<Item = DiscoveredReaderData> {
        let all = self.participant.discovered_readers().into_iter();
        all.filter(|reader| *reader.subscription_topic_data.topic_name() == self.topic)
    }

    /// Those that the participant of this entity has.
    fn readers(&self, asker: GUID) -> impl Iterator<Item = DiscoveredReaderData> {
        self.all_readers().filter(move |reader| reader.reader_proxy.remote_reader_guid.prefix == asker.prefix)
    }

    /// Whether this reader of replies is known; of another entity, whether any reader of its participant is.
    pub(super) fn knows(&self, asker: GUID) -> bool {
        let mut readers = self.readers(asker);
        readers.any(|reader| !is_reader(asker) || reader.reader_proxy.remote_reader_guid == asker)
    }

    /// Where the participant of this entity hears our replies.
    fn addresses(&self, asker: GUID) -> BTreeSet<SocketAddr> {
        let locators = self.readers(asker).flat_map(|reader| reader.reader_proxy.unicast_locator_list);
        locators.filter(|locator| locator.is_udp()).map(SocketAddr::from).collect()
    }
}
