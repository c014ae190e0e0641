//! Showing the node what the camera sees, and having plans ranked about that.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use serde::Deserialize;
use serde_json::json;

use super::rows;
use crate::camera::{FrameSize, png};
use crate::demo::camera::Camera;
use crate::demo::graph::Graph;
use crate::demo::stage::{EPOCH_NS, PAUSE_FRAMES};
use crate::demo::topics::Topics;
use crate::ros2::messages::{self, Message, Text, Time, decode, encode};
use crate::ros2::node::NodeOptions;
use crate::ros2::transport::{Delivery, MessageSink, Publisher};
use crate::scenes::{FPS, SIZE};

/// How old a frame may be when it is looked at: a busy machine must not cut anything.
pub(super) const MAX_AGE: Duration = Duration::from_secs(60);
/// Between two frames, so that a reader that keeps one takes each.
const SPACING: Duration = Duration::from_millis(3);
/// Between a request and the last frame of the clip that it is about.
const LEAD: Duration = Duration::from_millis(10);
/// Before a clip is shown again.
const SETTLING: Duration = Duration::from_millis(100);
/// How long a ranking may take before its clip counts as lost.
const PATIENCE_FIRST: Duration = Duration::from_secs(15);
const PATIENCE_MIN: Duration = Duration::from_secs(2);
const PATIENCE_MAX: Duration = Duration::from_secs(60);
/// Between two looks at whether it is to stop.
const ATTENTION: Duration = Duration::from_millis(100);
/// A clip that is lost so often will not come through.
const TRIES_MAX: usize = 12;
/// σ by which differences from a wish are blurred, in heights of the picture: a pusher's diameter, so that a plan whose pusher comes near
/// is better than one whose pusher does not.
const BLUR: f64 = 0.125;
/// Results that may wait.
const RESULTS_MAX: usize = 64;

/// A result as its topic tells it.
#[derive(Debug, Deserialize)]
struct Heard {
    id: Option<u64>,
    error: Option<String>,
    #[serde(default)]
    stamps: Vec<Time>,
    #[serde(default)]
    candidates: Vec<Ranked>,
    total_ms: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct Ranked {
    candidate: usize,
}

/// Camera, clock and observer in one hand, since nothing happens unless they do it.
pub(super) struct Asking {
    topics: Topics,
    camera: Camera,
    clock: Box<dyn Publisher>,
    requests: Box<dyn Publisher>,
    results: Receiver<Result<Heard, String>>,
    n_given: usize,
    /// The newest frames, as many as a clip has.
    clip: Vec<Vec<u8>>,
    now_ns: i64,
    n_asked: u64,
    patience: Duration,
    plan_ms: Vec<f64>,
    sent_again: u64,
}

impl Asking {
    /// Announces what it says and subscribes to what it hears.
    ///
    /// # Errors
    /// If a topic cannot be had.
    pub(super) fn open(graph: Graph<'_>, options: &NodeOptions, n_given: usize) -> anyhow::Result<Self> {
        let topics = Topics::of(options)?;
        let (sender, results) = sync_channel(RESULTS_MAX);
        let sink: MessageSink = Box::new(move |body| {
            let heard = body.map_err(|reason| reason.to_string()).and_then(|(body, order)| {
                let text = decode::<Text>(body, order).map_err(|error| error.to_string())?.data;
                serde_json::from_str(&text).map_err(|error| error.to_string())
            });
            // Who does not read them waits for no result.
            let _ = sender.try_send(heard);
        });
        graph.observer.subscribe(&topics.plan_result, Text::TYPE, Delivery::Reliable, sink)?;
        Ok(Self {
            camera: Camera::open(graph.camera, &topics.image)?,
            clock: graph.camera.advertise("/clock", messages::Clock::TYPE, Delivery::BestEffort)?,
            requests: graph.observer.advertise(&topics.plan_request, Text::TYPE, Delivery::Reliable)?,
            topics,
            results,
            n_given,
            clip: Vec::new(),
            now_ns: EPOCH_NS,
            n_asked: 0,
            patience: PATIENCE_FIRST,
            plan_ms: Vec::new(),
            sent_again: 0,
        })
    }

    pub(super) fn topics(&self) -> &Topics {
        &self.topics
    }

    /// Frames of a clip.
    pub(super) fn n_given(&self) -> usize {
        self.n_given
    }

    /// The clip that the last ranking was about.
    pub(super) fn clip(&self) -> &[Vec<u8>] {
        &self.clip
    }

    /// Of each ranking, in milliseconds.
    pub(super) fn plan_ms(&self) -> &[f64] {
        &self.plan_ms
    }

    /// Clips that were shown again.
    pub(super) fn sent_again(&self) -> u64 {
        self.sent_again
    }

    /// Frames that the camera has sent.
    pub(super) fn sent(&self) -> u64 {
        self.camera.sent()
    }

    /// Shows a clip that ends with the `fresh` frames, and has `plans` ranked by how near their forecasts come to the picture `wish`. The
    /// place of the best; none once `stop` is set.
    ///
    /// # Errors
    /// If the node refuses, or nothing comes through.
    pub(super) fn best(
        &mut self,
        fresh: &[Vec<u8>],
        wish: &[u8],
        plans: &[Vec<[f64; 2]>],
        stop: &AtomicBool,
    ) -> anyhow::Result<Option<usize>> {
        self.clip.extend_from_slice(fresh);
        self.clip.drain(..self.clip.len() - self.n_given);
        let goal = base64::encode(png(wish, FrameSize { width: SIZE, height: SIZE }));
        let candidates: Vec<_> = plans.iter().map(|plan| rows(plan)).collect();
        let mut settling = SETTLING;
        for attempt in 0..TRIES_MAX {
            if 0 < attempt {
                self.sent_again += 1;
                // A node that still looks at the clip before would rank the plans about that.
                std::thread::sleep(settling);
                settling = (2 * settling).min(PATIENCE_MIN);
            }
            let request = json!({
                "id": self.n_asked, "candidates": candidates, "score": { "goal": { "image": goal, "blur": BLUR } },
                "budget_ms": MAX_AGE.as_millis() as u64,
            });
            self.n_asked += 1;
            let stamps_ns = self.show(&request.to_string());
            let shown = Instant::now();
            let heard = self.hear(&stamps_ns, stop)?;
            if stop.load(Relaxed) {
                return Ok(None);
            }
            if let Some(best) = heard {
                self.patience = (4 * shown.elapsed()).clamp(PATIENCE_MIN, PATIENCE_MAX);
                ensure!(best < plans.len(), "the node's best plan is number {best} of {}", plans.len());
                return Ok(Some(best));
            }
            self.patience = (2 * self.patience).min(PATIENCE_MAX);
        }
        bail!("a clip was shown {TRIES_MAX} times, and no plan was ranked about it")
    }

    /// Shows the clip after a pause, so that no clip of other frames ends within it, and asks just before its last frame. The stamps.
    fn show(&mut self, request: &str) -> Vec<i64> {
        self.now_ns += PAUSE_FRAMES as i64 * period_ns();
        let mut stamps_ns = Vec::with_capacity(self.clip.len());
        for i in 0..self.clip.len() {
            if i + 1 == self.clip.len() {
                if let Err(error) = self.requests.publish(encode(&Text::padded(request.to_owned()))) {
                    log::warn!("the plans were not taken: {error}");
                }
                std::thread::sleep(LEAD);
            }
            let tick = messages::Clock { clock: Time::from_ns(self.now_ns) };
            if let Err(error) = self.clock.publish(encode(&tick)) {
                log::warn!("the time was not taken: {error}");
            }
            self.camera.show_frame(&self.clip[i], self.now_ns);
            stamps_ns.push(self.now_ns);
            self.now_ns += period_ns();
            std::thread::sleep(SPACING);
        }
        stamps_ns
    }

    /// Waits for the ranking about the clip with these stamps; none if it does not come, or is about an earlier one, or `stop` is set.
    fn hear(&mut self, stamps_ns: &[i64], stop: &AtomicBool) -> anyhow::Result<Option<usize>> {
        let deadline = Instant::now() + self.patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let heard = match self.results.recv_timeout(left.min(ATTENTION)) {
                Err(RecvTimeoutError::Timeout) if !left.is_zero() && !stop.load(Relaxed) => continue,
                Err(_) => return Ok(None),
                Ok(heard) => heard,
            };
            let Heard { id, error, stamps, candidates, total_ms } =
                heard.map_err(|problem| anyhow::anyhow!("a ranking cannot be read: {problem}"))?;
            if id.is_some_and(|id| id + 1 != self.n_asked) {
                continue;
            }
            if let Some(error) = error {
                bail!("the node ranks no plans: {error}");
            }
            // The request may have overtaken a frame.
            if !stamps.iter().map(|stamp| stamp.ns()).eq(stamps_ns.iter().copied()) {
                return Ok(None);
            }
            self.plan_ms.extend(total_ms);
            return Ok(candidates.first().map(|ranked| ranked.candidate));
        }
    }
}

fn period_ns() -> i64 {
    (1e9 / FPS) as i64
}
