//! Asks each new writer of Fast DDS at once what it sent before we knew it.
//!
//! A writer that matches us first may send samples while we do not know it yet; they are dropped, and come again when we
//! say that they are missing. RustDDS says "nothing is missing" to a writer that it has just matched, and Fast DDS then
//! waits for its next heartbeat, three seconds. So we ask as readers of Fast DDS do, and a heartbeat comes at once.
//!
//! Questions are numbered, and ours uses a number that RustDDS would use next, whose question Fast DDS would ignore. So
//! first a heartbeat of the writer is played to our reader, which spends that number on an answer to nobody.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use futures_core::Stream;
use rustdds::{
    DomainParticipant, DomainParticipantStatusEvent, DomainParticipantStatusListener, GUID, StatusEvented,
};

use super::datagrams::{heartbeat, question};
use super::ports;

/// How the GUIDs of Fast DDS begin: with its vendor id (RTPS 2.5, 8.2.4.1).
const FAST_DDS: [u8; 2] = [0x01, 0x0f];
/// The bits of an entity's kind that are not zero in the middleware's own entities (RTPS 2.5, 9.3.1.2).
const BUILT_IN: u8 = 0xc0;

pub(super) struct Greeting {
    participant: DomainParticipant,
    matches: DomainParticipantStatusListener,
    socket: UdpSocket,
    /// Where nobody listens to what RustDDS answers.
    nobody: SocketAddrV4,
}

impl Greeting {
    pub(super) fn new(participant: &DomainParticipant) -> io::Result<Self> {
        let nobody = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        Ok(Self {
            participant: participant.clone(),
            matches: participant.status_listener(),
            socket: UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?,
            nobody: SocketAddrV4::new(Ipv4Addr::LOCALHOST, nobody),
        })
    }

    /// Greets the writers that were matched since the last call; `waker` is woken at the next. Says whether writers came
    /// or went.
    pub(super) fn greet(&self, waker: &Waker) -> bool {
        let mut is_news = false;
        let mut events = pin!(self.matches.as_async_status_stream());
        let mut context = Context::from_waker(waker);
        while let Poll::Ready(Some(event)) = events.as_mut().poll_next(&mut context) {
            is_news |= matches!(
                event,
                DomainParticipantStatusEvent::WriterDetected { .. }
                    | DomainParticipantStatusEvent::WriterLost { .. }
            );
            let DomainParticipantStatusEvent::RemoteWriterMatched { local_reader, remote_writer } = event
            else {
                continue;
            };
            let is_theirs = remote_writer.to_bytes().starts_with(&FAST_DDS);
            if is_theirs && local_reader.to_bytes()[15] & BUILT_IN == 0 {
                self.ask(remote_writer, local_reader);
            }
        }
        is_news
    }

    /// Where it fails, samples come when the writer's next heartbeat does.
    fn ask(&self, writer: GUID, reader: GUID) {
        let (domain, number) = (self.participant.domain_id(), self.participant.participant_id());
        let Some(ourselves) = ports::data(domain, number) else { return };
        let discovered = self.participant.discovered_writers();
        let proxies = discovered.iter().map(|found| &found.writer_proxy);
        let Some(proxy) = proxies.into_iter().find(|proxy| proxy.remote_writer_guid == writer) else {
            return;
        };
        let is_sent = self.socket.send_to(&heartbeat(writer, reader, self.nobody), ourselves).is_ok();
        for locator in proxy.unicast_locator_list.iter().filter(|locator| is_sent && locator.is_udp()) {
            drop(self.socket.send_to(&question(writer, reader), SocketAddr::from(*locator)));
        }
    }
}
