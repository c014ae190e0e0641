//! The live page: what a node sees and says, in a browser, without any tool of ROS.
//!
//! A small HTTP server of a few threads, a page that asks it again and again, and one way back: the standing question. The node only
//! leaves references to its newest frame and its last answer here ([`Onlooker`]); pictures are made when somebody looks, in the
//! viewers' threads. Nothing queues: a viewer gets what is newest when it asks.
//!
//! Architecture invariant: no viewer, slow, dead or hostile, makes an engine, a camera or a publisher wait for more than the copy of a
//! few references. What viewers cost is a share of the processors: their threads stand back for others, pictures rest, and so does JSON.
//! A question that they set is judged as any change of a parameter is, which a question that is put meanwhile waits for: these are few.
//!
//! Why the page asks, and nothing is pushed to it: whoever is slow asks less often, and holds no connection meanwhile. Foxglove, on the
//! same port, is pushed what comes (`foxglove/`): for each viewer waits so much and no more.

mod foxglove;
mod http;
mod known;
mod pace;
mod pictures;
mod routes;
mod server;
mod strip;
mod told;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;
use std::time::Duration;

use self::foxglove::Hub;
pub use self::foxglove::Overheard;
use self::http::Bounds;
use self::known::Known;
use self::routes::Routes;
use self::server::{Doors, Limits};
use crate::ros2::node::{Onlooker, OnlookerOption};
use crate::ros2::transport::Transport;

/// Where the page is if nobody says otherwise: for this machine alone.
pub const ADDRESS: &str = "127.0.0.1:8077";
/// The port of an address that names none.
const PORT: u16 = 8077;

const LIMITS: Limits = Limits {
    bounds: Bounds { head_bytes: 8 << 10, body_bytes: 4 << 10 },
    patience: Duration::from_secs(5),
    viewers: 8,
};

/// A page that cannot be served.
#[derive(Debug, thiserror::Error)]
#[error(
    "live page at {address}: {problem}; give another address: --live 127.0.0.1:PORT, where port 0 is any that is free"
)]
pub struct LiveError {
    address: SocketAddr,
    problem: io::Error,
}

/// A page that is served until it goes.
pub struct Live {
    address: SocketAddr,
    known: Arc<Known>,
    hub: Arc<Hub>,
    doors: Arc<Doors>,
    serving: Option<JoinHandle<()>>,
}

impl Live {
    /// Serves the page at this address, and says where, and who can see it. Beside Foxglove's own, pages of these origins may connect to it
    /// as Foxglove does.
    ///
    /// # Errors
    /// If the address cannot be had.
    pub fn open(address: SocketAddr, origins: &[String]) -> Result<Self, LiveError> {
        let page = Self::open_within(address, origins, LIMITS)?;
        let address = page.address;
        log::info!("live page: http://{address}/, and for Foxglove ws://{address}/");
        if !address.ip().is_loopback() {
            log::warn!(
                "the live page at {address} is not for this machine alone: anyone on the network can see the camera and change \
                 the prompt"
            );
        }
        Ok(page)
    }

    fn open_within(address: SocketAddr, origins: &[String], limits: Limits) -> Result<Self, LiveError> {
        let failed = |problem| LiveError { address, problem };
        let listener = TcpListener::bind(address).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let (routes, doors) = (Routes::new(address, origins), Arc::new(Doors::default()));
        let (known, hub, served) = (Arc::clone(&routes.known), Arc::clone(&routes.hub), Arc::clone(&doors));
        let serving = std::thread::Builder::new()
            .name("live page".to_owned())
            .spawn(move || server::serve(&listener, limits, &served, &routes))
            .map_err(failed)?;
        Ok(Self { address, known, hub, doors, serving: Some(serving) })
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What a node is to be told, so that it is shown.
    pub fn onlooker(&self) -> OnlookerOption {
        OnlookerOption::new(Arc::clone(&self.known) as Arc<dyn Onlooker>)
    }

    /// A transport on which a node is overheard, so that Foxglove hears what it says.
    pub fn overhears<'a>(&self, transport: &'a dyn Transport) -> Overheard<'a> {
        Overheard::new(transport, &self.hub)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.doors.stop.store(true, Relaxed);
        // A panic there has been told, and a page is no reason to end otherwise than in order.
        let _ = self.serving.take().map(JoinHandle::join);
    }
}

/// The address that a person means: `ADDRESS:PORT`, `localhost:PORT`, an address alone, or a port alone on this machine.
///
/// # Errors
/// What is expected instead.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    let local =
        text.strip_prefix("localhost").map_or_else(|| text.to_owned(), |rest| format!("127.0.0.1{rest}"));
    let alone = |port| SocketAddr::from(([127, 0, 0, 1], port));
    local
        .parse()
        .or_else(|_| local.trim_matches(['[', ']']).parse().map(|ip| SocketAddr::new(ip, PORT)))
        .or_else(|_| local.parse().map(alone))
        .map_err(|_| {
            format!(
                "expected ADDRESS:PORT, such as {ADDRESS} for this machine alone or 0.0.0.0:{PORT} for everyone; where an engine \
                 follows, write --live={ADDRESS}"
            )
        })
}

/// The origin of a page, as browsers write it.
///
/// # Errors
/// What is expected instead.
pub fn origin(text: &str) -> Result<String, String> {
    let host = text.split_once("://").filter(|(scheme, _)| !scheme.is_empty()).map(|(_, host)| host);
    match host {
        Some(host) if !host.contains(['/', '?', '#', '@', '*']) && text.is_ascii() => Ok(text.to_owned()),
        _ => {
            Err("expected SCHEME://HOST[:PORT], such as http://localhost:8080, as the log writes it"
                .to_owned())
        }
    }
}

#[cfg(test)]
mod tests;
