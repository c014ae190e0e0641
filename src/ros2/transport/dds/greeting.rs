//! Greets those who match us: asks writers of Fast DDS what they sent before we knew them, and tells readers that our writer
//! has nothing yet.
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
//!
//! A reader of Cyclone DDS takes what lies before the first heartbeat that it hears of a writer for history, and history is not for
//! it: a first sample that was lost on the way would not come again. RustDDS says "nothing yet" once, when it knows the reader, which
//! may be before the reader knows the writer, and does not answer when the reader then asks. So we say it for a while, until the
//! writer begins.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use futures_core::Stream;
use rustdds::{
    DomainParticipant, DomainParticipantStatusEvent, DomainParticipantStatusListener, GUID, StatusEvented,
};

use super::datagrams::{heartbeat, nothing_yet, question};
use super::ports;
use super::writer::Writers;

/// How the GUIDs of Fast DDS begin: with its vendor id (RTPS 2.5, 8.2.4.1).
const FAST_DDS: [u8; 2] = [0x01, 0x0f];
/// The bits of an entity's kind that are not zero in the middleware's own entities (RTPS 2.5, 9.3.1.2).
const BUILT_IN: u8 = 0xc0;

/// A greeting is said again after this …
const SAY_AGAIN: Duration = Duration::from_millis(20);
/// … and, each time after twice as long, until this.
const SAY_NO_MORE: Duration = Duration::from_secs(2);

/// Greetings that are said again, at most: a stranger may make up writers and readers.
const REPEATED_MAX: usize = 256;

/// A greeting, and when it is said again.
struct Repeated {
    /// Our writer that has nothing yet, where that is what it says.
    silent: Option<GUID>,
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
    writers: Arc<Writers>,
    repeated: Vec<Repeated>,
}

impl Greeting {
    pub(super) fn new(participant: &DomainParticipant, writers: Arc<Writers>) -> io::Result<Self> {
        let nobody = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        Ok(Self {
            participant: participant.clone(),
            matches: participant.status_listener(),
            socket: UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?,
            nobody: SocketAddrV4::new(Ipv4Addr::LOCALHOST, nobody),
            writers,
            repeated: Vec::new(),
        })
    }

    /// Greets those who were matched since the last call; `waker` is woken at the next. Says whether writers came or went.
    pub(super) fn greet(&mut self, waker: &Waker) -> bool {
        self.say_again(Instant::now());
        let mut is_news = false;
        let (mut asked, mut told) = (Vec::new(), Vec::new());
        let mut events = pin!(self.matches.as_async_status_stream());
        let mut context = Context::from_waker(waker);
        while let Poll::Ready(Some(event)) = events.as_mut().poll_next(&mut context) {
            is_news |= matches!(
                event,
                DomainParticipantStatusEvent::WriterDetected { .. }
                    | DomainParticipantStatusEvent::WriterLost { .. }
            );
            match event {
                DomainParticipantStatusEvent::RemoteWriterMatched { local_reader, remote_writer }
                    if remote_writer.to_bytes().starts_with(&FAST_DDS)
                        && local_reader.to_bytes()[15] & BUILT_IN == 0 =>
                {
                    asked.push((remote_writer, local_reader));
                }
                DomainParticipantStatusEvent::RemoteReaderMatched { local_writer, remote_reader } => {
                    told.push((local_writer, remote_reader));
                }
                _ => {}
            }
        }
        asked.into_iter().for_each(|(writer, reader)| self.ask(writer, reader));
        self.tell(&told);
        is_news
    }

    /// When it wants to be called although nothing has happened.
    pub(super) fn due(&self) -> Option<Instant> {
        self.repeated.iter().map(|greeting| greeting.again).min()
    }

    fn say_again(&mut self, now: Instant) {
        let (socket, silent) = (&self.socket, &self.writers.silent);
        self.repeated.retain_mut(|greeting| {
            if now < greeting.again {
                return true;
            }
            if greeting.silent.is_some_and(|writer| !silent.has(writer)) {
                return false;
            }
            greeting.send(socket);
            greeting.pause *= 2;
            greeting.again = now + greeting.pause;
            greeting.pause < SAY_NO_MORE
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
        let addresses = locators.map(|locator| SocketAddr::from(*locator)).collect();
        self.say(None, question(writer, reader), addresses);
    }

    /// Tells readers of writers that have nothing yet; one that has begun is asked by its readers, and answers.
    fn tell(&mut self, matched: &[(GUID, GUID)]) {
        if !matched.iter().any(|(writer, _)| self.writers.silent.has(*writer)) {
            return;
        }
        let discovered = self.participant.discovered_readers();
        let addresses: HashMap<GUID, Vec<SocketAddr>> = discovered
            .iter()
            .map(|found| {
                let locators =
                    found.reader_proxy.unicast_locator_list.iter().filter(|locator| locator.is_udp());
                let addresses = locators.map(|locator| SocketAddr::from(*locator)).collect();
                (found.reader_proxy.remote_reader_guid, addresses)
            })
            .collect();
        for (writer, reader) in matched {
            if let (true, Some(addresses)) = (self.writers.silent.has(*writer), addresses.get(reader)) {
                self.say(Some(*writer), nothing_yet(*writer, *reader), addresses.clone());
            }
        }
    }

    fn say(&mut self, silent: Option<GUID>, datagram: Vec<u8>, addresses: Vec<SocketAddr>) {
        let again = Instant::now() + SAY_AGAIN;
        let greeting = Repeated { silent, datagram, addresses, again, pause: SAY_AGAIN };
        greeting.send(&self.socket);
        if self.repeated.len() < REPEATED_MAX {
            self.repeated.push(greeting);
        }
    }
}

impl Repeated {
    fn send(&self, socket: &UdpSocket) {
        for address in &self.addresses {
            drop(socket.send_to(&self.datagram, address));
        }
    }
}
