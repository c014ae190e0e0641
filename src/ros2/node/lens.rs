//! What a camera tells of its lens (`camera_info`), and what is told of it beside the pictures that are made of its images.
//!
//! It is heard from the first moment that somebody wants it on, and what was heard last holds: a calibration does not change from
//! frame to frame, and a picture is told of with its own stamp. Where there is none, or none of these images, nothing is told.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::image_topics::ImageTopic;
use crate::frames::frame::Received;
use crate::ros2::messages::{CameraInfo, Header, Message, Time, decode, encode_padded};
use crate::ros2::transport::{Delivery, MessageSink, Publisher, Transport, TransportError};

/// So long after it is wanted it should have come: cameras send it with each image.
const SILENCE_NS: i64 = 2_000_000_000;

/// What is told on one topic.
pub(super) struct Lens {
    topic: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    info: Option<CameraInfo>,
    /// Since when it is heard, in steady time.
    heard_since_ns: Option<i64>,
    said: Vec<Fault>,
}

/// What is said once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Absent,
    Wrong,
    OfOtherImages,
}

impl Lens {
    /// Of each of these cameras, of which those in one namespace have one topic.
    pub(super) fn of_all(images: &[ImageTopic]) -> Vec<Arc<Self>> {
        let mut lenses: Vec<Arc<Self>> = Vec::with_capacity(images.len());
        for ImageTopic { info, .. } in images {
            let known = lenses.iter().find(|lens| lens.topic == *info).cloned();
            let lens = || Arc::new(Self { topic: info.clone(), state: Mutex::default() });
            lenses.push(known.unwrap_or_else(lens));
        }
        lenses
    }

    /// As it is of a picture of this size, made of a frame of this camera.
    fn of_picture(
        self: &Arc<Self>,
        transport: &dyn Transport,
        frame: &Received,
        picture: [u32; 2],
    ) -> Option<CameraInfo> {
        let now_ns = transport.clock().now().steady_ns;
        let since_ns = self.heard_since_ns(transport, now_ns);
        let (width, height) = frame.frame.size()?;
        let mut state = self.state();
        let Some(info) = &state.info else {
            let is_silent = SILENCE_NS <= now_ns.saturating_sub(since_ns);
            if is_silent && !state.said.contains(&Fault::Wrong) {
                self.say(&mut state, Fault::Absent, "none comes");
            }
            return None;
        };
        let frame_id = frame.frame.frame_id.as_str();
        let is_another = !info.header.frame_id.is_empty() && info.header.frame_id != frame_id;
        let scaled = match is_another {
            true => Err(format!("it is of {:?}, and images are of {frame_id:?}", info.header.frame_id)),
            false => info.scaled([width, height], picture),
        };
        match scaled {
            Ok(info) => {
                let header = Header { frame_id: frame_id.to_owned(), ..Header::default() };
                Some(CameraInfo { header, ..info })
            }
            Err(problem) => {
                self.say(&mut state, Fault::OfOtherImages, &problem);
                None
            }
        }
    }

    /// Begins to hear it, unless it is heard.
    fn heard_since_ns(self: &Arc<Self>, transport: &dyn Transport, now_ns: i64) -> i64 {
        let mut state = self.state();
        if let Some(since_ns) = state.heard_since_ns {
            return since_ns;
        }
        state.heard_since_ns = Some(now_ns);
        drop(state);
        // Best effort, so that writers of either kind match.
        let (best_effort, sink) = (Delivery::BestEffort, self.sink());
        if let Err(error) = transport.subscribe(&self.topic, CameraInfo::TYPE, best_effort, sink) {
            log::warn!("{} is not heard: {error}", self.topic);
        }
        now_ns
    }

    fn sink(self: &Arc<Self>) -> MessageSink {
        let lens = Arc::clone(self);
        Box::new(move |body| {
            let info = body.map_err(|reason| reason.to_string()).and_then(|(body, order)| {
                let info = decode::<CameraInfo>(body, order).map_err(|error| error.to_string())?;
                info.check()?;
                Ok(info)
            });
            let mut state = lens.state();
            match info {
                Ok(info) => state.info = Some(info),
                Err(problem) => {
                    state.info = None;
                    lens.say(&mut state, Fault::Wrong, &problem);
                }
            }
        })
    }

    fn say(&self, state: &mut State, fault: Fault, problem: &str) {
        if state.said.contains(&fault) {
            return;
        }
        state.said.push(fault);
        log::warn!("no camera_info is published of {}: {problem}", self.topic);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A topic of what is told beside pictures.
pub(super) struct InfoTopic<'a> {
    transport: &'a dyn Transport,
    topic: String,
    publisher: Box<dyn Publisher>,
    is_recorded: bool,
}

impl<'a> InfoTopic<'a> {
    /// Announces it. Who records hears everything that is published.
    pub(super) fn open(
        transport: &'a dyn Transport,
        topic: &str,
        is_recorded: bool,
    ) -> Result<Self, TransportError> {
        let publisher = transport.advertise(topic, CameraInfo::TYPE, Delivery::Reliable)?;
        Ok(Self { transport, topic: topic.to_owned(), publisher, is_recorded })
    }

    /// What is told of a picture of this size, made of a frame that this lens saw: nothing, where nobody hears it or nothing is known.
    pub(super) fn of(&self, lens: &Arc<Lens>, frame: &Received, picture: [u32; 2]) -> Option<CameraInfo> {
        let is_ours = |ros_type: &str| ros_type == CameraInfo::TYPE;
        let is_heard = || {
            let graph = self.transport.graph();
            graph
                .iter()
                .any(|seen| seen.name == self.topic && is_ours(&seen.ros_type) && 0 < seen.subscribers)
        };
        (self.is_recorded || is_heard()).then(|| lens.of_picture(self.transport, frame, picture)).flatten()
    }

    /// Publishes it beside a picture of this stamp; false if it was not taken.
    pub(super) fn show(&self, info: &mut CameraInfo, stamp: Time) -> bool {
        info.header.stamp = stamp;
        self.publisher.publish(encode_padded(info)).is_ok()
    }
}
