//! The reporting thread: diagnostics once a second and on change, and words when no camera is there.

use std::time::Duration;

use super::board::Board;
use super::options::{NodeOptions, Topics};
use super::prompt::StandingPrompt;
use crate::ros2::accounts::Accounts;
use crate::ros2::diagnostics::{Level, SILENCE_S_MAX, Status};
use crate::ros2::frame::ImageTransport;
use crate::ros2::intake::Intake;
use crate::ros2::kernel_limits::receive_buffer_errors;
use crate::ros2::messages::{DiagnosticArray, Message};
use crate::ros2::transport::{Delivery, Publisher, TopicSeen, Transport, TransportError};

const NANOSECONDS_PER_SECOND: f64 = 1e9;
/// How often the state is looked at.
const PERIOD: Duration = Duration::from_millis(100);
/// How often it is reported although nothing has changed.
const REPORT_NS: i64 = 1_000_000_000;
/// After this long without a publisher the node says what it waits for, and again each time this has grown sixteenfold.
const PATIENCE_NS: i64 = 2_000_000_000;

pub(super) struct Watch {
    publisher: Box<dyn Publisher>,
    logger: String,
    hardware_id: String,
    image: String,
    image_transport: ImageTransport,
    patience_s: f64,
    reported_ns: i64,
    verdict: (Level, String),
    before: Accounts,
    next_notice_ns: i64,
    kernel_drops_before: u64,
    graph: Vec<TopicSeen>,
    /// Since when images come without a pause, in steady time.
    streaming_since_ns: i64,
}

impl Watch {
    pub(super) fn open(
        transport: &dyn Transport,
        topics: &Topics,
        options: &NodeOptions,
    ) -> Result<Self, TransportError> {
        Ok(Self {
            publisher: transport.advertise(&topics.diagnostics, DiagnosticArray::TYPE, Delivery::Reliable)?,
            logger: options.name.logger(),
            hardware_id: options.hardware_id.clone(),
            image: topics.image.clone(),
            image_transport: options.image_transport,
            // Long enough for two answers that are just in time, and for a clip to form.
            patience_s: patience_s(options),
            reported_ns: i64::MIN,
            verdict: (Level::Stale, String::new()),
            before: Accounts::default(),
            next_notice_ns: PATIENCE_NS,
            kernel_drops_before: receive_buffer_errors().unwrap_or(0),
            graph: Vec::new(),
            streaming_since_ns: 0,
        })
    }

    pub(super) fn period(&self) -> Duration {
        PERIOD
    }

    /// Reports if it is time to, or if the state is another.
    pub(super) fn look(
        &mut self,
        transport: &dyn Transport,
        intake: &Intake,
        board: &Board,
        prompt: &StandingPrompt,
    ) {
        let now_ns = intake.clock().now().steady_ns;
        let is_due = REPORT_NS <= now_ns.saturating_sub(self.reported_ns);
        if is_due {
            self.graph = transport.graph();
        }
        let waited_ns = now_ns - board.read(|notes| notes.started.steady_ns);
        if intake.last_receipt().is_none() && self.next_notice_ns <= waited_ns {
            self.notice();
            self.next_notice_ns = self.next_notice_ns.saturating_mul(16);
        }
        let status = self.status(intake, board, prompt);
        if is_due || status.verdict(&self.before).0 != self.verdict.0 {
            self.publish(&status, intake);
        }
    }

    /// Reports at once.
    pub(super) fn report(&mut self, intake: &Intake, board: &Board, prompt: &StandingPrompt) {
        let status = self.status(intake, board, prompt);
        self.publish(&status, intake);
    }

    fn publish(&mut self, status: &Status, intake: &Intake) {
        let verdict = status.verdict(&self.before);
        if verdict.0 != self.verdict.0 {
            match verdict.0 {
                Level::Ok => log::info!("{}", verdict.1),
                Level::Warn | Level::Stale => log::warn!("{}", verdict.1),
                Level::Error => log::error!("{}", verdict.1),
            }
        }
        let now = intake.clock().now();
        let mut message = status.message(&self.logger, &self.hardware_id, &verdict, now.ros_ns);
        // A report that is not taken is followed by the next.
        let _ = self.publisher.publish(message.encode_padded());
        (self.reported_ns, self.verdict, self.before) = (now.steady_ns, verdict, status.accounts);
    }

    fn status(&mut self, intake: &Intake, board: &Board, prompt: &StandingPrompt) -> Status {
        let now = intake.clock().now();
        let seconds = |since_ns: i64| now.steady_ns.saturating_sub(since_ns) as f64 / NANOSECONDS_PER_SECOND;
        let ros_type = self.image_transport.ros_type();
        let ours = self.graph.iter().filter(|topic| topic.name == self.image && topic.ros_type == ros_type);
        let silence_s = intake.last_receipt().map(|receipt| seconds(receipt.steady_ns));
        if silence_s.is_none_or(|silence_s| SILENCE_S_MAX < silence_s) {
            self.streaming_since_ns = now.steady_ns;
        }
        board.read(|notes| Status {
            accounts: intake.accounts(),
            silence_s,
            unanswered_s: seconds(notes.last_answer_steady_ns.unwrap_or(0).max(self.streaming_since_ns)),
            patience_s: self.patience_s,
            publishers: ours.map(|topic| topic.publishers).sum(),
            failure: notes.failure.clone(),
            age_ms: notes.last.map(|(age_ms, _)| age_ms),
            answer_ms: notes.last.map(|(_, answer_ms)| answer_ms),
            stamps_suspect: notes.stamps_suspect,
            prompts_refused: prompt.refused(),
            unpublished: notes.unpublished,
            kernel_drops: receive_buffer_errors().unwrap_or(0).saturating_sub(self.kernel_drops_before),
            prompt: prompt.current(),
            figures: Vec::new(),
        })
    }

    /// Says that no image comes, and which topics could be meant.
    fn notice(&self) {
        let (graph, image, wanted) = (&self.graph, &self.image, self.image_transport.ros_type());
        let other_type = graph
            .iter()
            .find(|topic| topic.name == *image && topic.ros_type != wanted && 0 < topic.publishers);
        if let Some(topic) = other_type {
            log::warn!("{image} is published as {}, and {wanted} is expected", topic.ros_type);
            return;
        }
        if graph.iter().any(|topic| topic.name == *image && 0 < topic.publishers) {
            log::warn!(
                "{image} is published, and no image has arrived: a raw image larger than the kernel's UDP buffers is \
                 lost whole (`perihelion doctor` says how to mend it)"
            );
            return;
        }
        let is_image = |topic: &&TopicSeen| {
            let types = [ImageTransport::Raw, ImageTransport::Compressed].map(ImageTransport::ros_type);
            0 < topic.publishers && types.contains(&topic.ros_type.as_str())
        };
        let there: Vec<String> = graph
            .iter()
            .filter(is_image)
            .map(|topic| format!("{} ({})", topic.name, topic.ros_type))
            .collect();
        let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
        log::warn!("nobody publishes {image} ({wanted}) yet; image topics that are there: {there}");
    }
}

/// Long enough for two answers that are just in time, for a clip to form, and for the next question's turn.
fn patience_s(options: &NodeOptions) -> f64 {
    let forming_s = options.clip_frames as f64 / options.clip_rate_hz;
    let turn_s = if 0.0 < options.max_rate_hz { 1.0 / options.max_rate_hz } else { 0.0 };
    2.0 * options.max_age.as_secs_f64() + forming_s + turn_s + 1.0
}
