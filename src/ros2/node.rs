//! The node itself: takes the newest frames, asks the standing question about them, forecasts what follows them, and publishes
//! what is there in time.
//!
//! Each engine has a listener with accounts at each of its cameras, and a thread of its own, so that neither waits for the
//! other; one camera feeds both, and a frame that both look at is decoded once. Another thread reports the state once a second,
//! so that a long answer does not delay it. Nothing here knows the engines: these are behind [`Answerer`] and [`Forecaster`].

mod answer;
mod answerer;
mod answering;
mod asking;
mod board;
mod cameras;
mod concerns;
mod cuts;
mod forecast_shape;
mod forecaster;
mod forecasting;
mod gaze;
mod guest;
mod hearing;
mod image_topics;
mod imagining;
mod lens;
mod lookout;
mod occasion;
mod onlooker;
mod options;
mod plan;
mod plan_request;
mod planning;
mod presence;
mod prompt;
mod rules;
mod screen;
mod seen;
mod sight;
mod standing;
mod term;
mod topics;
mod turns;
mod watch;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub use answer::Published;
pub use answerer::{Answer, Answerer, Checker, Outcome, Question};
pub use board::Summary;
pub use cameras::{AskCameras, CAMERAS_MAX, Cameras, CamerasError, NamedCamera};
pub use forecast_shape::ForecastShape;
pub use forecaster::{Beside, Forecast, Forecaster, Glimpse, Look};
pub use image_topics::ImageTopic;
pub use occasion::{AskWhen, Because};
pub use onlooker::{Acquaintance, Onlooker, OnlookerOption, Scene, View};
pub use options::{NodeOptions, OptionsError};
pub use plan_request::{PlanId, PlanRequest, Plans, ScoreRequest};
pub use prompt::set_prompt;
pub use screen::{PublishedForecast, PublishedSurprise};
pub use seen::annotated;
pub use sight::{CameraReport, Report};

use self::asking::Asking;
use self::forecasting::Forecasting;
use self::gaze::Gaze;
use self::lens::Lens;
use self::lookout::Lookout;
use self::occasion::Occasion;
use self::options::{Topics, max_age};
pub(super) use self::presence::Presence;
use self::sight::Sight;
use self::watch::Watch;
use crate::frames::clock::Moment;
use crate::frames::frame::Received;
use crate::ros2::asks::{self, Asks, Attendance};
use crate::ros2::names::NameError;
use crate::ros2::parameter_store::{ParameterStore, SharedParameters};
use crate::ros2::recorder::Recording;
use crate::ros2::told::Told;
use crate::ros2::transport::{Transport, TransportError};
use crate::runtime::reason::Place;
use crate::supervisor::Supervisor;

/// What publishing takes: an answer that ends at the deadline itself would be too late.
const PUBLISHING: Duration = Duration::from_millis(20);

/// A node that cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// A topic's name, or what it is remapped to.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The cameras together.
    #[error(transparent)]
    Cameras(#[from] CamerasError),
    /// The transport refuses.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// A managed node has stopped answering, and nobody said so.
    #[error("what answers has ended by itself; the log says why. Start the node again")]
    Ended,
}

/// The engines of a node: one or both.
#[derive(Default)]
pub struct Engines<'a> {
    /// Answers the standing question.
    pub answerer: Option<&'a mut dyn Answerer>,
    /// Forecasts.
    pub forecaster: Option<&'a mut dyn Forecaster>,
}

impl<'a> Engines<'a> {
    /// One that answers.
    pub fn answering(answerer: &'a mut dyn Answerer) -> Self {
        Self { answerer: Some(answerer), forecaster: None }
    }

    /// One that forecasts.
    pub fn forecasting(forecaster: &'a mut dyn Forecaster) -> Self {
        Self { answerer: None, forecaster: Some(forecaster) }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        usize::from(self.answerer.is_some()) + usize::from(self.forecaster.is_some())
    }
}

/// What the node has just published.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Said<'a> {
    /// An answer.
    Answer(&'a Published),
    /// The report of a forecast, after its frames.
    Forecast(&'a PublishedForecast),
    /// How far a frame that came lies from its forecast.
    Surprise(&'a PublishedSurprise),
}

/// Who hears what is published, from whichever thread.
struct Audience<'a> {
    on_said: Mutex<&'a mut (dyn FnMut(Said<'_>) + Send)>,
    onlooker: &'a OnlookerOption,
    recording: &'a Recording,
}

impl Audience<'_> {
    fn hears(&self, said: Said<'_>) {
        self.hears_of(said, None);
    }

    /// Hears what is said of the frame that is seen, and what is where in it.
    fn hears_of(&self, said: Said<'_>, seen: Option<(&Received, &[Place])>) {
        if let Some(onlooker) = self.onlooker.get() {
            onlooker.hears(said, seen);
        }
        self.on_said.lock().unwrap_or_else(PoisonError::into_inner)(said);
    }
}

/// Runs the node until `stop` is set or the transport has no more, and says what it did.
///
/// `on_said` hears of everything as it is published.
///
/// # Errors
/// If a topic cannot be had. Whatever happens to single frames later is counted, and the node lives on.
///
/// # Panics
/// If an engine does: every thread ends, `stop` is set, and the panic goes on from here.
pub fn run(
    transport: &dyn Transport,
    options: &NodeOptions,
    engines: Engines<'_>,
    stop: &AtomicBool,
    on_said: &mut (dyn FnMut(Said<'_>) + Send),
) -> Result<Report, NodeError> {
    let told = Told::new(transport, &options.qos_overrides);
    let parameters = Arc::new(ParameterStore::new(options.parameters()));
    let presence = Presence::open(&told, options, &parameters)?;
    let asks = Asks::open(&told, &asks::Names::of(&options.name, &options.remaps)?)?;
    options.onlooker.meet(&options.name.to_string(), &options.prompt, &parameters);
    let checker = engines.answerer.as_ref().and_then(|answerer| answerer.checker());
    judge(&parameters, checker, options, engines.forecaster.is_some());
    let supervisor = Supervisor::from_environment(turns::n_threads(transport, engines.count()));
    let performance = Performance {
        transport,
        options,
        parameters: &parameters,
        supervisor: &supervisor,
        stop,
        presence: Some(&presence),
        asks: &asks,
    };
    let report = performance.play(engines, on_said, &|| supervisor.ready());
    supervisor.stopping();
    report
}

/// Lets what the engines know beforehand refuse changes of the parameters.
pub(super) fn judge(
    parameters: &SharedParameters,
    checker: Option<Checker>,
    options: &NodeOptions,
    forecasts: bool,
) {
    let checker = checker.zip(options.answers.clone());
    parameters.judged_by(Box::new(move |trial| {
        can_be_asked(AskWhen::of(trial).because, forecasts)?;
        let Some((check, base)) = &checker else { return Ok(()) };
        check(trial.text("prompt"), &answering::settings(trial, base))
    }));
}

/// Whether a question can be put for this reason, in a node that forecasts or not.
///
/// # Errors
/// What is missing.
pub fn can_be_asked(because: Because, forecasts: bool) -> Result<(), String> {
    match because {
        Because::Surprise if !forecasts => {
            Err("ask_when is `surprise`, and no engine of this node forecasts: give it one that does"
                .to_owned())
        }
        _ => Ok(()),
    }
}

/// One time that engines look at the cameras: from their subscription to its end.
pub(super) struct Performance<'a> {
    pub(super) transport: &'a dyn Transport,
    pub(super) options: &'a NodeOptions,
    pub(super) parameters: &'a SharedParameters,
    pub(super) supervisor: &'a Supervisor,
    /// Ends it.
    pub(super) stop: &'a AtomicBool,
    /// Tells meanwhile what is to be told of the parameters, where nobody else does.
    pub(super) presence: Option<&'a Presence>,
    /// What others ask beside.
    pub(super) asks: &'a Asks,
}

impl Performance<'_> {
    /// Lets the engines look until it is stopped or the transport has no more, and says what they did. `ready` is called when the
    /// cameras are subscribed to.
    ///
    /// # Errors
    /// If a topic cannot be had.
    ///
    /// # Panics
    /// As [`run`].
    pub(super) fn play(
        &self,
        engines: Engines<'_>,
        on_said: &mut (dyn FnMut(Said<'_>) + Send),
        ready: &(dyn Fn() + Sync),
    ) -> Result<Report, NodeError> {
        let Self { transport, options, parameters, supervisor, stop, presence, asks } = *self;
        let tell = || presence.into_iter().for_each(Presence::tell);
        let told = Told::new(transport, &options.qos_overrides);
        let transport: &dyn Transport = &told;
        let clock = transport.clock();
        let NodeOptions { onlooker, recording, .. } = options;
        let audience = Audience { on_said: Mutex::new(on_said), onlooker, recording };
        let topics = options.topics()?;
        let Engines { answerer, forecaster } = engines;
        let forecast = forecaster.as_ref().map(|forecaster| options.forecast_listener(forecaster.shape()));
        let sight = Sight::open(options, clock, forecast, answerer.is_some())?;
        let occasion = answerer.is_some().then(|| Arc::new(Occasion::new(parameters)));
        let parameters = Arc::clone(parameters);
        let foreseen = forecaster.as_ref().map(|forecaster| forecaster.shape().clone());
        let lenses = Lens::of_all(&sight.images);
        let stage =
            Stage { transport, options, topics, parameters, occasion, audience: &audience, asks, lenses };
        let _mute = (
            answerer.is_none().then(|| asks.questions.attended(Attendance::Mute, || {})),
            forecaster.is_none().then(|| asks.wishes.attended(Attendance::Mute, || {})),
        );
        let (mut roles, mut watched, mut pairing) = (Vec::new(), Vec::new(), None);
        if let (Some(forecaster), Some(eye)) = (forecaster, sight.forecasts.first()) {
            let (role, state) = Forecasting::open(&stage, forecaster, (sight.forecast, eye.clone()))?;
            roles.push(role);
            watched.push(state);
        }
        if let Some(answerer) = answerer {
            let gaze = Gaze::new(sight.answers.clone(), &options.cameras);
            pairing = gaze.pairing();
            let (role, states) = Asking::open(&stage, answerer, gaze)?;
            roles.push(role);
            watched.extend(states);
        }
        let views = sight.images.iter().cloned().zip(&sight.cameras);
        let views = views.map(|(image, camera)| Lookout::new(image, Arc::clone(camera))).collect();
        let _looking_on = options.onlooker.get().map(|onlooker| {
            let heard = |eyes: &[gaze::Eye]| eyes.iter().map(|eye| Arc::clone(&eye.listener)).collect();
            let (answers, forecasts) = (heard(&sight.answers), heard(&sight.forecasts));
            onlooker.begins(Scene { cameras: sight.onlooker.clone(), answers, forecasts, foreseen });
            onlooker::LookingOn(onlooker)
        });
        let mut watch = Some(Watch::open(transport, &stage.topics, options, views, pairing, watched)?);
        let followers = sight.cameras.clone();
        let _attended = stage.parameters.followed_by(Box::new(move |parameters| {
            for listener in followers.iter().flat_map(|camera| camera.listeners()) {
                listener.set_max_age(max_age(parameters));
                // Whoever waits for its turn looks again: the rate, or the question, may be another.
                listener.nudge();
            }
        }));
        // Last, so that the first frame finds everything else ready.
        for (image, camera) in sight.images.iter().zip(&sight.cameras) {
            let say = |level, text| concerns::say(image.camera.as_deref(), vec![(level, text)]);
            if camera.listeners().is_empty() {
                say(log::Level::Warn, "nothing is asked about it, and another camera is forecast".to_owned());
                continue;
            }
            transport.subscribe_images(image.transport, Arc::clone(camera))?;
            let (topic, ros_type) = (camera.topic(), image.transport.ros_type());
            say(log::Level::Info, format!("listening to {topic} ({ros_type})"));
        }
        ready();

        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let watching = watch.take_if(|_| clock.runs()).map(|mut watch| {
                let done = &done;
                scope.spawn(move || {
                    while !done.load(Relaxed) {
                        watch.look(transport);
                        tell();
                        std::thread::park_timeout(watch.period());
                    }
                    watch
                })
            });
            {
                let _ending = turns::Ending { flag: &done, only_panics: false };
                // Where time stands still nobody reports; what is wrong is said all the same.
                turns::play(transport, &mut roles, stop, supervisor, &mut || {
                    if let Some(watch) = &mut watch {
                        watch.heed();
                    }
                });
                for listener in sight.cameras.iter().flat_map(|camera| camera.listeners()) {
                    listener.close();
                }
            }
            if let Some(watching) = watching {
                watching.thread().unpark();
                let mut watch = watching.join().expect("a panic there is our bug, and belongs here");
                watch.report();
                tell();
            }
        });
        Ok(sight.report())
    }
}

/// What the roles of a node share.
struct Stage<'a> {
    transport: &'a dyn Transport,
    options: &'a NodeOptions,
    topics: Topics,
    parameters: SharedParameters,
    /// Of questions, where any are put.
    occasion: Option<Arc<Occasion>>,
    audience: &'a Audience<'a>,
    asks: &'a Asks,
    /// Of each camera, in their order.
    lenses: Vec<Arc<Lens>>,
}

/// How long an answer about `newest` may take, if work on it began then.
fn time_left(newest: &Received, began: Moment) -> Duration {
    let left_ns = newest.deadline_steady_ns.saturating_sub(began.steady_ns);
    Duration::from_nanos(u64::try_from(left_ns).unwrap_or(0)).saturating_sub(PUBLISHING)
}
