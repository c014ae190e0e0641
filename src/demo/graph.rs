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

/// What the three are, once they have met.
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

impl Graph<'_> {
    /// Runs the node in a thread of its own, waits until the three see each other, and lets `direct` play.
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
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let running = scope.spawn(|| {
                let result = node::run(self.node, options, engines, &stop, &mut |_| {});
                // Whoever waits for the node must not wait for one that could not start.
                stop.store(true, Relaxed);
                result
            });
            let directed = self.meet(&topics, &stop).and_then(|()| direct(Cast { camera, observer }));
            stop.store(true, Relaxed);
            let report = running.join().expect("a panic of the node is our bug, and belongs here");
            let report = report.context("the node cannot run")?;
            Ok((directed?, report))
        })
    }

    /// Waits until each has discovered the others' endpoints.
    fn meet(&self, topics: &Topics, stop: &AtomicBool) -> anyhow::Result<()> {
        let sees = |transport: &dyn Transport, topic: &str, publishers: usize, subscribers: usize| {
            let seen = transport.graph();
            let mut seen = seen.iter().filter(|seen| seen.name == topic);
            seen.any(|seen| publishers <= seen.publishers && subscribers <= seen.subscribers)
        };
        let Topics { image, prompt, answer, .. } = topics;
        let deadline = Instant::now() + MEETING;
        loop {
            let met = sees(self.camera, image, 0, 1)
                && sees(self.node, image, 1, 0)
                && sees(self.node, prompt, 1, 0)
                && sees(self.node, answer, 0, 1)
                && sees(self.observer, prompt, 0, 1)
                && sees(self.observer, answer, 1, 0);
            if met {
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
}
