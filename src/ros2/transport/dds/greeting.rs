//! Asks each new writer of Fast DDS at once what it sent before we knew it.
//!
//! A writer that matches us first may send samples while we do not know it yet; they are dropped, and come again when we
//! say that they are missing. RustDDS says "nothing is missing" to a writer that it has just matched, and Fast DDS then
//! waits for its next heartbeat, three seconds. So we ask as readers of Fast DDS do, and a heartbeat comes at once.
//!
//! Questions are numbered, and ours uses a number that RustDDS would use next, whose question Fast DDS would ignore. So
//! first a heartbeat of the writer is played to our reader, which spends that number on an answer to nobody.
//!
//! A writer that does not know our reader yet hears no question. It greets the reader when it does, with a heartbeat that RustDDS
//! takes for the one that was played. So the same question is sent again for a while; who has heard it ignores it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

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

/// A question is asked again after this …
const ASK_AGAIN: Duration = Duration::from_millis(20);
/// … and, each time after twice as long, until this.
const ASK_NO_MORE: Duration = Duration::from_secs(2);

/// Questions that are asked again, at most: a stranger may make up writers.
const QUESTIONS_MAX: usize = 256;

/// A question, and when it is asked again.
struct Question {
    datagram: Vec<u8>,
    addresses: Vec<SocketAddr>,
    again: Instant,
    pause: Duration,
}

pub(super) struct Greeting {
    participant: DomainParticipant,
    matches: DomainParticipantStatusListener,
    socket: UdpSocket,
    /// Where nobody listens to what RustDDS answers.
    nobody: SocketAddrV4,
    asked: Vec<Question>,
}

impl Greeting {
    pub(super) fn new(participant: &DomainParticipant) -> io::Result<Self> {
        let nobody = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        Ok(Self {
            participant: participant.clone(),
            matches: participant.status_listener(),
            socket: UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?,
            nobody: SocketAddrV4::new(Ipv4Addr::LOCALHOST, nobody),
            asked: Vec::new(),
        })
    }

    /// Greets the writers that were matched since the last call; `waker` is woken at the next. Says whether writers came
    /// or went.
    pub(super) fn greet(&mut self, waker: &Waker) -> bool {
        self.ask_again(Instant::now());
        let mut is_news = false;
        let mut matched = Vec::new();
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
                matched.push((remote_writer, local_reader));
            }
        }
        matched.into_iter().for_each(|(writer, reader)| self.ask(writer, reader));
        is_news
    }

    /// When it wants to be called although nothing has happened.
    pub(super) fn due(&self) -> Option<Instant> {
        self.asked.iter().map(|question| question.again).min()
    }

    fn ask_again(&mut self, now: Instant) {
        let socket = &self.socket;
        self.asked.retain_mut(|question| {
            if now < question.again {
                return true;
            }
            question.send(socket);
            question.pause *= 2;
            question.again = now + question.pause;
            question.pause < ASK_NO_MORE
        });
    }

    /// Where it fails, samples come when the writer's next heartbeat does.
    fn ask(&mut self, writer: GUID, reader: GUID) {
        let (domain, number) = (self.participant.domain_id(), self.participant.participant_id());
        let Some(ourselves) = ports::data(domain, number) else { return };
        let discovered = self.participant.discovered_writers();
        let proxies = discovered.iter().map(|found| &found.writer_proxy);
        let Some(proxy) = proxies.into_iter().find(|proxy| proxy.remote_writer_guid == writer) else {
            return;
        };
        if self.socket.send_to(&heartbeat(writer, reader, self.nobody), ourselves).is_err() {
            return;
        }
        let locators = proxy.unicast_locator_list.iter().filter(|locator| locator.is_udp());
        let question = Question {
            datagram: question(writer, reader),
            addresses: locators.map(|locator| SocketAddr::from(*locator)).collect(),
            again: Instant::now() + ASK_AGAIN,
            pause: ASK_AGAIN,
        };
        question.send(&self.socket);
        if self.asked.len() < QUESTIONS_MAX {
            self.asked.push(question);
        }
    }
}

impl Question {
    fn send(&self, socket: &UdpSocket) {
        for address in &self.addresses {
            drop(socket.send_to(&self.datagram, address));
        }
    }
}
