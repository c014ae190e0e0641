//! The three participants of the demo: camera, node and observer, and the names they meet under.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::camera::Camera;
use super::observer::Observer;
use super::stage;
use super::topics::Topics;
use crate::ros2::names::NodeName;
use crate::ros2::node::{self, Engines, NodeOptions, Report};
use crate::ros2::transport::Transport;

/// How long the three look for each other.
const MEETING: Duration = Duration::from_secs(60);
/// How often they look.
const GLANCE: Duration = Duration::from_millis(20);

/// One transport for each participant, so that everything between them goes over the wire.
#[derive(Clone, Copy)]
pub(super) struct Graph<'a> {
    pub(super) camera: &'a dyn Transport,
    pub(super) node: &'a dyn Transport,
    pub(super) observer: &'a dyn Transport,
}

/// A topic that goes from one participant to another.
pub(super) struct Link<'a> {
    pub(super) topic: &'a str,
    pub(super) from: &'a dyn Transport,
    pub(super) to: &'a dyn Transport,
}

/// Who shows the node something and asks about it.
pub(super) struct Cast {
    pub(super) camera: Camera,
    pub(super) observer: Observer,
}

/// The node of the demo, before anything is set that one mode alone needs.
pub(super) fn node_options(rate_hz: f64) -> anyhow::Result<NodeOptions> {
    let mut options = NodeOptions::new(NodeName::new("/", "perihelion")?);
    stage::fit(&mut options, rate_hz);
    Ok(options)
}

impl<'g> Graph<'g> {
    /// Runs the node in a thread of its own, waits until the three see each other, and lets `direct` play with camera and observer.
    ///
    /// Returns what `direct` made, and what the node did.
    ///
    /// # Errors
    /// If a participant cannot start, if they do not find each other, or what `direct` says.
    pub(super) fn perform<T>(
        &self,
        options: &NodeOptions,
        engines: Engines<'_>,
        direct: impl FnOnce(Cast) -> anyhow::Result<T>,
    ) -> anyhow::Result<(T, Report)> {
        let topics = Topics::of(options)?;
        let camera = Camera::open(self.camera, &topics.image)?;
        let observer = Observer::open(self.observer, &topics)?;
        let links = [self.shown(&topics.image), self.asked(&topics.prompt), self.answered(&topics.answer)];
        self.perform_along(options, engines, &links, || direct(Cast { camera, observer }))
    }

    /// The same for a play of other topics, whose ends are open already.
    ///
    /// # Errors
    /// As [`Graph::perform`].
    pub(super) fn perform_along<T>(
        &self,
        options: &NodeOptions,
        engines: Engines<'_>,
        links: &[Link<'_>],
        direct: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<(T, Report)> {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let running = scope.spawn(|| {
                let result = node::run(self.node, options, engines, &stop, &mut |_| {});
                // Whoever waits for the node must not wait for one that could not start.
                stop.store(true, Relaxed);
                result
            });
            let directed = meet(links, &stop).and_then(|()| direct());
            stop.store(true, Relaxed);
            let report = running.join().expect("a panic of the node is our bug, and belongs here");
            let report = report.context("the node cannot run")?;
            Ok((directed?, report))
        })
    }

    /// What the camera shows the node.
    pub(super) fn shown<'a>(&self, topic: &'a str) -> Link<'a>
    where
        'g: 'a,
    {
        Link { topic, from: self.camera, to: self.node }
    }

    /// What the observer asks of the node.
    pub(super) fn asked<'a>(&self, topic: &'a str) -> Link<'a>
    where
        'g: 'a,
    {
        Link { topic, from: self.observer, to: self.node }
    }

    /// What the node answers to the observer.
    pub(super) fn answered<'a>(&self, topic: &'a str) -> Link<'a>
    where
        'g: 'a,
    {
        Link { topic, from: self.node, to: self.observer }
    }
}

/// Waits until the ends of every link have discovered each other.
fn meet(links: &[Link<'_>], stop: &AtomicBool) -> anyhow::Result<()> {
    let sees = |transport: &dyn Transport, topic: &str, publishers: usize, subscribers: usize| {
        let seen = transport.graph();
        let mut seen = seen.iter().filter(|seen| seen.name == topic);
        seen.any(|seen| publishers <= seen.publishers && subscribers <= seen.subscribers)
    };
    let deadline = Instant::now() + MEETING;
    loop {
        if links.iter().all(|Link { topic, from, to }| sees(*from, topic, 0, 1) && sees(*to, topic, 1, 0)) {
            return Ok(());
        }
        if stop.load(Relaxed) {
            bail!("the node has ended before it began");
        }
        if deadline < Instant::now() {
            bail!(
                "camera, node and observer have not found each other within {} s over the loopback interface; is \
                 multicast switched off there? (`ip link set lo multicast on`)",
                MEETING.as_secs()
            );
        }
        std::thread::sleep(GLANCE);
    }
}
