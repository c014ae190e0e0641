//! The reporting thread: diagnostics of each engine's work on each camera, once a second and on change.

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::Duration;

use super::board::{Board, Notes};
use super::concerns::{self, Concern, Missing, Standing};
use super::gaze::{Eye, Pairing};
use super::lookout::Lookout;
use super::occasion::{AskWhen, Because};
use super::options::{NodeOptions, Topics, ask_period_ns};
use crate::frames::accounts::Accounts;
use crate::frames::clock::{Clock, Moment};
use crate::frames::listener::Listener;
use crate::ros2::diagnostics::{Level, SILENCE_S_MAX, Status, Work};
use crate::ros2::messages::{DiagnosticArray, Header, Message, Time};
use crate::ros2::parameter_store::SharedParameters;
use crate::ros2::parameters::Parameters;
use crate::ros2::recorder::Recording;
use crate::ros2::transport::{Delivery, Publisher, TopicSeen, Transport, TransportError};

const NANOSECONDS_PER_SECOND: f64 = 1e9;
/// How often the state is looked at.
const PERIOD: Duration = Duration::from_millis(100);
/// How often it is reported although nothing has changed.
const REPORT_NS: i64 = 1_000_000_000;
/// A state that is better than what was said last is said after this long, so that one to and fro is not said each time.
const CALM_NS: i64 = 5_000_000_000;

/// Adds to a status what is known of one kind of work alone.
type Detail<'a> = Box<dyn Fn(&Notes, &mut Status) + Send + 'a>;
/// What is wrong with one kind of work beside its pace, if anything is.
type Worry<'a> = Box<dyn Fn() -> Option<Concern> + Send + 'a>;

pub(super) struct Watch<'a> {
    publisher: Box<dyn Publisher>,
    logger: String,
    clock: Arc<Clock>,
    views: Vec<Lookout>,
    /// Where questions are about all cameras.
    together: Option<Together>,
    is_simulated: bool,
    recording: Recording,
    engines: Vec<Watched<'a>>,
    started: Moment,
    reported_ns: i64,
    graph: Vec<TopicSeen>,
}

/// An engine's work on one camera, whose state is reported.
pub(super) struct Watched<'a> {
    work: Work,
    hardware_id: String,
    /// The number of the camera, and what it is called, if it has a name.
    camera: (usize, Option<String>),
    /// Results after which this camera has had its own.
    n_turns: usize,
    listener: Arc<Listener>,
    board: Arc<Board>,
    detail: Detail<'a>,
    parameters: SharedParameters,
    /// What else may be wrong with the work.
    worry: Worry<'a>,
    /// In which a clip forms.
    forming_s: f64,
    verdict: (Level, String),
    /// The level and the words that were logged last, and since when the level is lower.
    said: (Level, String),
    calm_since_ns: Option<i64>,
    concerns: Standing,
    before: Accounts,
    /// Since when images come without a pause, in steady time.
    streaming_since_ns: i64,
}

impl<'a> Watched<'a> {
    /// `forming_s` is the time in which a clip forms.
    pub(super) fn new(
        work: Work,
        (options, parameters): (&NodeOptions, &SharedParameters),
        forming_s: f64,
        (camera, eye): (usize, &Eye),
        detail: Detail<'a>,
    ) -> Self {
        Self {
            work,
            camera: (camera, eye.name.clone()),
            n_turns: match work {
                Work::Answers if !options.cameras.are_asked_together() => options.cameras.count(),
                Work::Answers | Work::Forecasts => 1,
            },
            hardware_id: match work {
                Work::Answers => options.hardware_id.clone(),
                Work::Forecasts => options.forecast_hardware_id.clone(),
            },
            listener: Arc::clone(&eye.listener),
            board: Arc::clone(&eye.board),
            detail,
            parameters: Arc::clone(parameters),
            worry: Box::new(|| None),
            forming_s,
            verdict: (Level::Stale, String::new()),
            said: (Level::Stale, String::new()),
            calm_since_ns: None,
            concerns: Standing::default(),
            before: Accounts::default(),
            streaming_since_ns: 0,
        }
    }

    /// Heeds what else may be wrong with the work.
    pub(super) fn with_worry(self, worry: Worry<'a>) -> Self {
        Self { worry, ..self }
    }

    fn status(&mut self, publishers: usize, kernel_drops: u64) -> Status {
        let now = self.listener.clock().now();
        let seconds = |since_ns: i64| now.steady_ns.saturating_sub(since_ns) as f64 / NANOSECONDS_PER_SECOND;
        let silence_s = self.listener.last_receipt().map(|receipt| seconds(receipt.steady_ns));
        if silence_s.is_none_or(|silence_s| SILENCE_S_MAX < silence_s) {
            self.streaming_since_ns = now.steady_ns;
        }
        self.board.read(|notes| {
            let mut status = Status {
                work: self.work,
                accounts: self.listener.accounts(),
                silence_s,
                unserved_s: seconds(notes.last_published_steady_ns.unwrap_or(0).max(self.streaming_since_ns)),
                awaits_first: notes.last_published_steady_ns.is_none_or(|ns| ns < self.streaming_since_ns),
                patience_s: self
                    .parameters
                    .read(|now| patience_s(now, self.work, self.forming_s, self.n_turns)),
                publishers,
                failure: notes.failure.clone(),
                age_ms: notes.last.map(|(age_ms, _)| age_ms),
                taken_ms: notes.last.map(|(_, taken_ms)| taken_ms),
                stamps_suspect: notes.stamps_suspect,
                unpublished: notes.unpublished,
                kernel_drops,
                concerns: self.concerns.texts().collect(),
                ..Status::default()
            };
            (self.detail)(notes, &mut status);
            status
        })
    }

    /// Takes in what is wrong with the work, at this rate of the camera; returns what is to be said of it.
    fn heed(&mut self, rate_hz: Option<f64>, now_ns: i64) -> Vec<(log::Level, String)> {
        let cuts = self.board.read(|notes| notes.cuts);
        let slow = concerns::of_rate(self.work, self.listener.options(), rate_hz, self.concerns.is_slow());
        let found = slow.into_iter().chain(concerns::of_cuts(self.work, &cuts)).chain((self.worry)());
        self.concerns.hear(found.collect(), now_ns)
    }

    /// Judges, and says so where it is news.
    fn judge(&mut self, status: &Status, now_ns: i64) -> (Level, String) {
        let verdict = status.verdict(&self.before);
        // Concerns were said as they came.
        let is_known = verdict.0 == Level::Warn && verdict.1 == status.concerned();
        let state = if is_known { (Level::Ok, String::new()) } else { verdict.clone() };
        if self.is_to_be_said(&state, now_ns) && !is_known {
            let level = match verdict.0 {
                Level::Ok => log::Level::Info,
                Level::Warn | Level::Stale => log::Level::Warn,
                Level::Error => log::Level::Error,
            };
            concerns::say(self.camera.1.as_deref(), vec![(level, verdict.1.clone())]);
        }
        (self.verdict, self.before) = (verdict.clone(), status.accounts);
        self.board.reported();
        verdict
    }

    /// Whether a state is news, which it then is no more: it is worse than what was said last, or has been better for a while.
    fn is_to_be_said(&mut self, state: &(Level, String), now_ns: i64) -> bool {
        let ((level, words), said) = (state, self.said.0);
        let is_news = match level.cmp(&said) {
            Ordering::Greater => true,
            Ordering::Equal => {
                self.calm_since_ns = None;
                *level == Level::Ok && *words != self.said.1
            }
            // Images come again.
            Ordering::Less if said == Level::Stale => true,
            Ordering::Less => CALM_NS <= now_ns - *self.calm_since_ns.get_or_insert(now_ns),
        };
        if is_news {
            (self.said, self.calm_since_ns) = (state.clone(), None);
        }
        is_news
    }
}

impl<'a> Watch<'a> {
    /// `pairing` is there where questions are about all cameras.
    pub(super) fn open(
        transport: &dyn Transport,
        topics: &Topics,
        options: &NodeOptions,
        views: Vec<Lookout>,
        pairing: Option<Arc<Pairing>>,
        engines: Vec<Watched<'a>>,
    ) -> Result<Self, TransportError> {
        let together = pairing.map(|pairing| Together {
            pairing,
            tolerance: options.cameras.tolerance,
            concerns: Standing::default(),
        });
        Ok(Self {
            publisher: transport.advertise(&topics.diagnostics, DiagnosticArray::TYPE, Delivery::Reliable)?,
            logger: options.name.logger(),
            clock: Arc::clone(transport.clock()),
            views,
            together,
            is_simulated: options.use_sim_time,
            recording: options.recording.clone(),
            engines,
            started: transport.clock().now(),
            reported_ns: i64::MIN,
            graph: Vec::new(),
        })
    }

    pub(super) fn period(&self) -> Duration {
        PERIOD
    }

    /// Reports if it is time to, or if the state is another.
    pub(super) fn look(&mut self, transport: &dyn Transport) {
        let now = self.clock.now();
        let is_due = REPORT_NS <= now.steady_ns.saturating_sub(self.reported_ns);
        if is_due {
            self.graph = transport.graph();
        }
        let waited_ns = now.steady_ns - self.started.steady_ns;
        for view in &mut self.views {
            view.look(transport, &self.graph, waited_ns);
        }
        self.heed();
        let states = self.states();
        let is_news = |(engine, status): (&Watched<'_>, &Status)| {
            is_news(engine.verdict.0, status.verdict(&engine.before).0)
        };
        if is_due || self.engines.iter().zip(&states).any(is_news) {
            self.publish(&states, now);
        }
    }

    /// Says what is wrong for longer than a frame, if it is news.
    pub(super) fn heed(&mut self) {
        let now_ns = self.clock.now().steady_ns;
        // Where time stands still until the first message, nobody has waited for it.
        let waited_ns = if self.clock.runs() { now_ns.saturating_sub(self.started.steady_ns) } else { 0 };
        for view in &mut self.views {
            view.heed(self.is_simulated, now_ns);
        }
        for engine in &mut self.engines {
            let rate_hz = self.views[engine.camera.0].rate_hz();
            let said = engine.heed(rate_hz, now_ns);
            concerns::say(engine.camera.1.as_deref(), said);
        }
        if let Some(together) = &mut self.together {
            let silence_ns = |engine: &Watched<'_>| {
                let receipt = engine.listener.last_receipt();
                receipt.map_or(waited_ns, |receipt| now_ns.saturating_sub(receipt.steady_ns))
            };
            let answers = self.engines.iter().filter(|engine| engine.work == Work::Answers);
            let cameras = answers.map(|engine| {
                let (number, view) = (engine.camera.0, &self.views[engine.camera.0]);
                let silence_s = silence_ns(engine) as f64 / NANOSECONDS_PER_SECOND;
                Missing { number, name: view.name().unwrap_or_default(), topic: view.topic(), silence_s }
            });
            let missing: Vec<_> = cameras.filter(|camera| SILENCE_S_MAX < camera.silence_s).collect();
            together.heed(&missing, now_ns);
        }
    }

    /// Reports at once.
    pub(super) fn report(&mut self) {
        let states = self.states();
        self.publish(&states, self.clock.now());
    }

    fn publish(&mut self, states: &[Status], now: Moment) {
        let header = Header { stamp: Time::from_ns(now.ros_ns), frame_id: String::new() };
        let mut message = DiagnosticArray { header, status: Vec::with_capacity(states.len()) };
        for (engine, status) in self.engines.iter_mut().zip(states) {
            let verdict = engine.judge(status, now.steady_ns);
            let camera = engine.camera.1.as_deref();
            message.status.push(status.message(&self.logger, camera, &engine.hardware_id, &verdict));
        }
        // A report that is not taken is followed by the next.
        let _ = self.publisher.publish(message.encode_padded());
        self.reported_ns = now.steady_ns;
    }

    fn states(&mut self) -> Vec<Status> {
        let Self { views, graph, together, engines, recording, .. } = self;
        let troubles = recording.troubles(self.clock.now().steady_ns);
        let status = |engine: &mut Watched<'a>| {
            let view = &views[engine.camera.0];
            let mut status = engine.status(view.publishers(graph), view.dropped_datagrams());
            if engine.work == Work::Answers {
                status.concerns.extend(together.iter().flat_map(|together| together.concerns.texts()));
            }
            status.recording.clone_from(&troubles);
            status.figures.extend(recording.figures());
            view.complete(status)
        };
        engines.iter_mut().map(status).collect()
    }
}

/// What is wrong with cameras that are asked about together.
struct Together {
    pairing: Arc<Pairing>,
    tolerance: Duration,
    concerns: Standing,
}

impl Together {
    /// Says what keeps questions from being put, if it is news: cameras that send nothing, or frames that do not find together.
    fn heed(&mut self, missing: &[Missing<'_>], now_ns: i64) {
        let found = concerns::of_together(missing, self.pairing.apart(), self.tolerance);
        concerns::say(None, self.concerns.hear(found, now_ns));
    }
}

/// Whether a state is reported before its time: it is worse, or something works again that did not.
fn is_news(before: Level, now: Level) -> bool {
    before < now || (now < before && Level::Warn < before)
}

/// Long enough for two results that are just in time, and one for each further turn, for a clip to form, and for the next
/// question's turn; without end where a question waits for something to happen.
fn patience_s(parameters: &Parameters, work: Work, forming_s: f64, n_turns: usize) -> f64 {
    if work == Work::Answers && AskWhen::of(parameters).because != Because::Rate {
        return f64::INFINITY;
    }
    let turn_s = ask_period_ns(parameters).map_or(0.0, |period_ns| period_ns as f64 / NANOSECONDS_PER_SECOND);
    let n_turns = n_turns as f64;
    (1.0 + n_turns) * parameters.double("max_age") + forming_s + n_turns * turn_s + 1.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::accounts::DropReason;
    use crate::frames::camera::Camera;
    use crate::ros2::names::NodeName;
    use crate::ros2::node::AskCameras;
    use crate::ros2::parameter_store::ParameterStore;

    fn options() -> NodeOptions {
        NodeOptions {
            max_rate_hz: 0.5,
            max_pixels: 1,
            ..NodeOptions::new(NodeName::new("/", "eye").unwrap())
        }
    }

    fn eye(camera: &Camera) -> Eye {
        let listener = Arc::clone(&camera.listeners()[0]);
        Eye { name: None, listener, board: Arc::new(Board::new()) }
    }

    #[test]
    fn patience_is_for_two_results_a_clip_and_a_turn() {
        let patience_s =
            |options: NodeOptions, forming_s| patience_s(&options.parameters(), Work::Answers, forming_s, 1);
        assert_eq!(patience_s(options(), 1.5), 2.0 * 2.0 + 1.5 + 2.0 + 1.0);
        assert_eq!(patience_s(NodeOptions { max_rate_hz: 0.0, ..options() }, 0.0), 2.0 * 2.0 + 1.0);
        let ask_when = AskWhen { because: Because::Topic, ..AskWhen::default() };
        assert_eq!(patience_s(NodeOptions { ask_when, ..options() }, 0.0), f64::INFINITY);
        let of_three = super::patience_s(&options().parameters(), Work::Answers, 0.0, 3);
        assert_eq!(of_three, 2.0 * 2.0 + 2.0 * (2.0 + 2.0) + 2.0 + 1.0, "two more answers and turns");
    }

    #[test]
    fn cameras_that_are_asked_about_together_share_one_turn() {
        let patience_s = |ask: AskCameras| {
            let (mut options, clock) = (options(), Arc::new(Clock::stepped()));
            options.cameras.named = ["a=/a", "b=/b", "c=/c"].map(|camera| camera.parse().unwrap()).into();
            options.cameras.ask = ask;
            let image = options.image_topics().unwrap().remove(0);
            let camera = Camera::new(options.camera(&image), &clock, &[options.answer_listener()]);
            let parameters = Arc::new(ParameterStore::new(options.parameters()));
            let of = (&options, &parameters);
            let mut watched = Watched::new(Work::Answers, of, 0.0, (0, &eye(&camera)), Box::new(|_, _| {}));
            watched.status(1, 0).patience_s
        };
        assert_eq!(patience_s(AskCameras::All), 2.0 * 2.0 + 2.0 + 1.0);
        assert_eq!(patience_s(AskCameras::Each), 2.0 * 2.0 + 2.0 * (2.0 + 2.0) + 2.0 + 1.0);
    }

    #[test]
    fn a_state_that_comes_and_goes_is_said_once() {
        let (options, clock) = (options(), Arc::new(Clock::stepped()));
        let image = options.image_topics().unwrap().remove(0);
        let camera = Camera::new(options.camera(&image), &clock, &[options.answer_listener()]);
        let parameters = Arc::new(ParameterStore::new(options.parameters()));
        let options = (&options, &parameters);
        let mut watched = Watched::new(Work::Answers, options, 0.0, (0, &eye(&camera)), Box::new(|_, _| {}));
        let mut said = |level: Level, words: &str, ms: i64| {
            watched.is_to_be_said(&(level, words.to_owned()), ms * 1_000_000)
        };
        assert!(said(Level::Ok, "first", 0), "images come");
        assert!(!said(Level::Ok, "first", 100) && said(Level::Ok, "answering", 200));
        // Frames are dropped four times a second.
        let n_said = (0..40).filter(|i| {
            let level = if i % 2 == 0 { Level::Warn } else { Level::Ok };
            said(level, "answering", 1000 + i * 125)
        });
        assert_eq!(n_said.count(), 1);
        assert!(!said(Level::Ok, "answering", 7000) && !said(Level::Ok, "answering", 10_800));
        assert!(said(Level::Ok, "answering", 10_900), "it has been better for five seconds");
        assert!(said(Level::Error, "fails", 12_100), "what is worse is said at once");
        assert!(said(Level::Stale, "no image", 12_200) && said(Level::Ok, "answering", 12_300));
        let news = [(Level::Ok, Level::Warn), (Level::Warn, Level::Error), (Level::Error, Level::Ok)];
        assert!(news.into_iter().all(|(before, now)| is_news(before, now)));
        assert!(!is_news(Level::Warn, Level::Ok) && !is_news(Level::Stale, Level::Stale));
    }

    #[test]
    fn an_engine_is_late_by_what_has_passed_since_images_came() {
        let (options, clock) = (options(), Arc::new(Clock::stepped()));
        let image = options.image_topics().unwrap().remove(0);
        let camera = Camera::new(options.camera(&image), &clock, &[options.answer_listener()]);
        let detail: Detail<'_> = Box::new(|_, _| {});
        let parameters = Arc::new(ParameterStore::new(options.parameters()));
        let options = (&options, &parameters);
        let mut watched = Watched::new(Work::Answers, options, 0.0, (0, &eye(&camera)), detail);
        let mut at = |second: i64, comes: bool| {
            clock.set(second * 1_000_000_000);
            if comes {
                camera.offer(Err(DropReason::Malformed), 0);
            }
            let status = watched.status(1, 0);
            (status.silence_s, status.unserved_s)
        };
        assert_eq!(at(100, false), (None, 0.0), "nobody waits for what cannot come");
        assert_eq!(at(101, true), (Some(0.0), 1.0));
        assert_eq!(at(102, true), (Some(0.0), 2.0));
        assert_eq!(at(110, false), (Some(8.0), 0.0), "the camera is gone");
        assert_eq!(at(113, true), (Some(0.0), 3.0));
    }
}
