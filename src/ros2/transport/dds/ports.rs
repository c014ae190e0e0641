//! The UDP ports of a domain's participants (RTPS 2.5, 9.6.2.3).

use std::net::{Ipv4Addr, SocketAddrV4};

/// Participants of one domain on one machine whose ports do not run into the next domain's.
pub(super) const PARTICIPANTS_MAX: u16 = 120;

const MULTICAST_GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 0, 1);
const BASE: u32 = 7400;
const OF_A_DOMAIN: u32 = 250;
const OF_A_PARTICIPANT: u32 = 2;
const DISCOVERY: u32 = 10;
const DATA: u32 = 11;

/// Where every participant of the domain hears who comes and goes.
pub(super) fn everyone(domain: u16) -> Option<SocketAddrV4> {
    at(MULTICAST_GROUP, BASE + OF_A_DOMAIN * u32::from(domain))
}

/// Where a participant of this machine hears who comes and goes; `None` where no port has that number.
pub(super) fn discovery(domain: u16, participant: u16) -> Option<SocketAddrV4> {
    of(domain, participant, DISCOVERY)
}

/// Where a participant of this machine hears samples.
pub(super) fn data(domain: u16, participant: u16) -> Option<SocketAddrV4> {
    of(domain, participant, DATA)
}

fn of(domain: u16, participant: u16, purpose: u32) -> Option<SocketAddrV4> {
    let port = BASE + OF_A_DOMAIN * u32::from(domain) + purpose + OF_A_PARTICIPANT * u32::from(participant);
    at(Ipv4Addr::LOCALHOST, port)
}

fn at(address: Ipv4Addr, port: u32) -> Option<SocketAddrV4> {
    Some(SocketAddrV4::new(address, u16::try_from(port).ok()?))
}

#[cfg(test)]
#[test]
fn ports_are_those_of_the_standard() {
    assert_eq!(everyone(0).unwrap().to_string(), "239.255.0.1:7400");
    assert_eq!(discovery(1, 2).unwrap().to_string(), "127.0.0.1:7664");
    assert_eq!(data(0, 0).unwrap().to_string(), "127.0.0.1:7411");
    assert_eq!(data(232, 119), None);
}
