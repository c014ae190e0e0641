//! What Foxglove shows: everything that the node says, the camera as JPEG, and its parameters, by Foxglove's WebSocket protocol on the
//! page's own port.
//!
//! [`Overheard`] puts it before any transport, a bag that is played or a live graph, as the recorder is put there. Messages go as the
//! node wrote them, in CDR with the definitions that bags carry too, so that Foxglove reads them as those of a bag. A viewer may ask: what it
//! publishes reaches the node's own subscriber, and parameters are set as the service sets them.

mod hub;
mod line;
mod overheard;
mod settings;
mod talk;
mod words;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

pub(super) use self::hub::Hub;
pub use self::overheard::Overheard;
pub(super) use self::talk::{Robot, talk};
use super::http::{Response, Upgrade};

/// Viewers who stay at a time: half of all, so that the page has room.
const SEATS: usize = 4;
/// What is spoken, the preferred one first.
const PROTOCOLS: [&str; 2] = ["foxglove.sdk.v1", "foxglove.websocket.v1"];

/// A viewer who may stay.
pub(super) struct Welcome {
    key: String,
    protocol: &'static str,
    _seat: Seat,
}

impl Welcome {
    /// Lets a viewer stay, if it speaks the protocol and there is a seat.
    ///
    /// # Errors
    /// What it is told instead.
    pub(super) fn of(upgrade: &Upgrade, n_seated: &Arc<AtomicUsize>) -> Result<Self, Response> {
        let speaks = |protocol: &&str| upgrade.protocols.split(',').any(|one| one.trim() == *protocol);
        let Some(protocol) = PROTOCOLS.into_iter().find(speaks) else {
            let words =
                format!("the subprotocols {} are spoken: connect by Foxglove", PROTOCOLS.join(" and "));
            return Err(Response::words(400, &words));
        };
        let full = || {
            let words = format!("{SEATS} are connected, which is as many as are served");
            Response::words(503, &words).with("Retry-After", 1)
        };
        let seat = Seat::take(n_seated).ok_or_else(full)?;
        Ok(Self { key: upgrade.key.clone(), protocol, _seat: seat })
    }
}

struct Seat(Arc<AtomicUsize>);

impl Seat {
    fn take(n_seated: &Arc<AtomicUsize>) -> Option<Self> {
        let one_more = |n: usize| (n < SEATS).then_some(n + 1);
        n_seated.fetch_update(Relaxed, Relaxed, one_more).ok()?;
        Some(Self(Arc::clone(n_seated)))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
#[test]
fn who_speaks_the_protocol_stays_while_there_are_seats() {
    let n_seated = Arc::default();
    let welcome = |protocols: &str| {
        let upgrade = Upgrade { key: "key".to_owned(), protocols: protocols.to_owned() };
        Welcome::of(&upgrade, &n_seated).map_err(|response| response.status)
    };
    let spoken = |protocols: &str| welcome(protocols).map(|welcome| welcome.protocol);
    assert_eq!(spoken("foxglove.websocket.v1"), Ok("foxglove.websocket.v1"));
    assert_eq!(spoken("foxglove.websocket.v1, foxglove.sdk.v1"), Ok("foxglove.sdk.v1"));
    for other in ["", "foxglove.sdk.v1.1", "foxglove.sdk", "chat"] {
        assert_eq!(spoken(other), Err(400), "{other}");
    }
    let seated: Vec<_> = (0..SEATS).map(|_| welcome("foxglove.sdk.v1").unwrap()).collect();
    assert_eq!(spoken("foxglove.sdk.v1"), Err(503));
    drop(seated);
    assert_eq!(spoken("foxglove.sdk.v1"), Ok("foxglove.sdk.v1"));
}
