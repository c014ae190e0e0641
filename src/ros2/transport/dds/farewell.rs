//! Says that our participant is gone, in the words that Fast DDS understands.
//!
//! RustDDS disposes its participant by the serialised key. Fast DDS looks for a hash of the key beside it, finds none, and
//! keeps what the participant had until its lease ends, 50 seconds: publishers count a subscriber that is not there, and
//! calls to its services hang.

use std::collections::HashSet;
use std::net::{SocketAddr, UdpSocket};

use rustdds::{DomainParticipant, GUID};

use super::datagrams::departure;
use super::ports;
use crate::ros2::environment::Reach;

/// Sent when it is dropped, which is after the participant.
pub(in crate::ros2::transport) struct Farewell {
    domain: u16,
    reach: Reach,
    datagram: Vec<u8>,
    /// Where participants on other machines hear of it, as far as we know them.
    others: HashSet<SocketAddr>,
}

impl Farewell {
    pub(in crate::ros2::transport) fn of(participant: GUID, domain: u16, reach: Reach) -> Self {
        Self { domain, reach, datagram: departure(participant), others: HashSet::new() }
    }

    /// Remembers who has readers and writers now. Their discovery listens one port below their data.
    pub(super) fn address(&mut self, participant: &DomainParticipant) {
        if self.reach == Reach::Localhost {
            return;
        }
        let readers = participant.discovered_readers();
        let writers = participant.discovered_writers();
        let readers = readers.iter().flat_map(|reader| &reader.reader_proxy.unicast_locator_list);
        let writers = writers.iter().flat_map(|writer| &writer.writer_proxy.unicast_locator_list);
        for locator in readers.chain(writers) {
            let mut address = SocketAddr::from(*locator);
            if let Some(port) = address.port().checked_sub(1) {
                address.set_port(port);
                self.others.insert(address);
            }
        }
    }
}

impl Drop for Farewell {
    fn drop(&mut self) {
        // Who does not hear it waits for the lease to end, as if we had been killed.
        let Ok(socket) = UdpSocket::bind("0.0.0.0:0") else { return };
        let here =
            (0..ports::PARTICIPANTS_MAX).filter_map(|participant| ports::discovery(self.domain, participant));
        let everyone = match self.reach {
            Reach::Localhost => None,
            Reach::Subnet => ports::everyone(self.domain),
        };
        let known = here.chain(everyone).map(SocketAddr::V4).chain(self.others.iter().copied());
        for address in known {
            drop(socket.send_to(&self.datagram, address));
        }
    }
}
