//! Forecasts that other nodes want, by the service: what is foreseen for them, when, what becomes of those that cannot be, and that the
//! node's own forecasts and surprises stay as they are.

#![allow(clippy::unwrap_used, reason = "what a test cannot go on without fails it")]

#[path = "support/predict.rs"]
mod engine;
#[path = "support/script.rs"]
mod script;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use perihelion::export::PredictOptions;
use perihelion::frames::accounts::{Accounts, DropReason};
use perihelion::frames::clock::Clock;
use perihelion::models::wan_vae::ENCODER_STATES;
use perihelion::ros2::messages::{
    ByteOrder, Float32MultiArray, ImageView, ImagineReply, ImagineRequest, Message, decode, encode,
};
use perihelion::ros2::names::NodeName;
use perihelion::ros2::node::{
    Answer, Answerer, Beside, Engines, Forecast, ForecastShape, Forecaster, Glimpse, Look, NamedCamera,
    NodeOptions, Outcome, PublishedSurprise, Question, Report, Said, run,
};
use perihelion::ros2::predict::{PredictForecaster, PredictSettings};
use perihelion::ros2::transport::{Memory, Transport};
use perihelion::runtime::predict::Predict;
use perihelion::scenes::{FRAME_BYTES, Rng, SIZE, Scene, SceneOptions};
use script::{Event, MS, Script, image, image_body};

const PATIENCE: Duration = Duration::from_secs(60);
const SERVICE: &str = "/eye/imagine";
const FIXTURE: &str = "tests/fixtures/predict/predict25_actions_of_each_latent/checkpoint";

/// Where a reply comes, or that there is none.
type Heard = Receiver<Option<Vec<u8>>>;

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn options() -> NodeOptions {
    NodeOptions {
        max_image_bytes: FRAME_BYTES,
        max_pixels: SIZE * SIZE,
        max_age: Duration::from_secs(30),
        ..NodeOptions::new(NodeName::new("/", "eye").unwrap())
    }
}

/// Forecasts three frames from two given ones, ten a second, for two actions; a frame's bytes are the seed of its noise, or 100 in
/// forecasts of its own.
#[derive(Default)]
struct Seer {
    /// Whether forecasts that others want wait until it is reset.
    holds: AtomicBool,
    n_asked: AtomicUsize,
    /// Of each, the rows of actions.
    rows: Mutex<Vec<Vec<f32>>>,
    /// Milliseconds that a frame takes.
    frame_ms: AtomicUsize,
}

struct Seeing<'a>(&'a Seer, ForecastShape);

impl<'a> Seeing<'a> {
    fn new(seer: &'a Seer) -> Self {
        let action_names = vec!["linear".to_owned(), "angular".to_owned()];
        let shape = ForecastShape {
            n_given: 2,
            horizon: 3,
            rate_hz: 10.0,
            width: 2,
            height: 2,
            action_names,
            action_limits: Vec::new(),
        };
        Self(seer, shape)
    }
}

impl Forecaster for Seeing<'_> {
    fn shape(&self) -> &ForecastShape {
        &self.1
    }

    fn look(&mut self, look: &Look<'_>, tell: &mut dyn FnMut(Glimpse<'_>)) -> Outcome<Forecast> {
        let Some(Beside { seed, with_frames }) = look.beside else {
            tell(Glimpse::Frame { ahead: 1, rgb: &[100; 12] });
            return Outcome::Made(Forecast { n_steps: 1, ..Forecast::default() });
        };
        self.0.n_asked.fetch_add(1, Relaxed);
        self.0.rows.lock().unwrap().push(look.plan.unwrap().to_vec());
        while self.0.holds.load(Relaxed) {
            if look.stop.load(Relaxed) {
                return Outcome::Stopped;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let seed = seed.unwrap_or(7);
        if seed == 13 {
            return Outcome::Failed("a velocity is not a number".to_owned());
        }
        for ahead in 1..=if with_frames { 3 } else { 0 } {
            std::thread::sleep(Duration::from_millis(self.0.frame_ms.load(Relaxed) as u64));
            tell(Glimpse::Frame { ahead, rgb: &[seed as u8; 12] });
        }
        Outcome::Made(Forecast { n_steps: 4, seed, latent_only: !with_frames, ..Forecast::default() })
    }

    fn check_beside(&self, plan: Option<&[f32]>) -> Result<(), String> {
        match plan {
            Some([first, ..]) if 9.0 < *first => Err("actions: linear of step 0 is too fast".to_owned()),
            _ => Ok(()),
        }
    }
}

/// A node among others, and what these do.
#[derive(Clone)]
struct Others {
    memory: Memory,
}

impl Others {
    fn imagine(&self, request: &ImagineRequest) -> ImagineReply {
        let reply = self.memory.call(SERVICE, &encode(request)).unwrap();
        decode(&reply, ByteOrder::Little).unwrap()
    }

    /// Without waiting.
    fn wish(&self, request: &ImagineRequest) -> Heard {
        self.memory.request(SERVICE, &encode(request)).unwrap()
    }

    fn show(&self) {
        let now_ns = self.memory.clock().now().ros_ns;
        self.memory.inject("/image", ImageView::TYPE, &image_body(now_ns, 2, &[7; 12]), ByteOrder::Little);
    }
}

fn told(heard: &Heard) -> ImagineReply {
    decode(&heard.recv_timeout(PATIENCE).unwrap().unwrap(), ByteOrder::Little).unwrap()
}

/// Lets others do something beside a node that forecasts, and a camera that shows something all the time.
fn beside(options: &NodeOptions, is_shown: bool, act: impl FnOnce(&Others, &Seer)) -> Report {
    let (others, seer) = (Others { memory: Memory::new(Arc::new(Clock::system())) }, Seer::default());
    let (stop, is_over) = (AtomicBool::new(false), AtomicBool::new(false));
    let report = std::thread::scope(|scope| {
        let node = scope.spawn(|| {
            let mut seeing = Seeing::new(&seer);
            run(&others.memory, options, Engines::forecasting(&mut seeing), &stop, &mut |_| {}).unwrap()
        });
        scope.spawn(|| {
            while is_shown && !is_over.load(Relaxed) {
                others.show();
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        // It is offered a moment before somebody forecasts.
        let never = encode(&ImagineRequest { action_width: 9, ..ImagineRequest::default() });
        until("who forecasts", || {
            let reply = others.memory.call(SERVICE, &never);
            reply.is_some_and(|body| {
                decode::<ImagineReply>(&body, ByteOrder::Little).unwrap().error.starts_with("action_width")
            })
        });
        let acting = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| act(&others, &seer)));
        stop.store(true, Relaxed);
        let report = node.join().unwrap();
        is_over.store(true, Relaxed);
        acting.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        report
    });
    let accounts = report.forecasts.as_ref().unwrap().accounts;
    assert!(accounts.balance() && accounts.in_flight == 0, "{accounts}");
    let reply = others.imagine(&ImagineRequest::default());
    assert_eq!(reply.error, "the node is not active", "the node has ended, and whoever asks is told");
    report
}

#[test]
fn the_service_foresees_from_the_newest_clip_and_says_why_not() {
    beside(&options(), true, |others, seer| {
        let frames = ImagineRequest { want_frames: true, seed: 42, ..ImagineRequest::default() };
        // It is offered before images come.
        until("a clip", || others.imagine(&frames).error.is_empty());
        let before_ns = others.memory.clock().now().ros_ns;
        let ImagineReply { error, forecast, frames: shown } = others.imagine(&frames);
        assert_eq!((error.as_str(), forecast.seed, forecast.latent_only), ("", 42, false));
        let newest_ns = forecast.header.stamp.ns();
        assert!(before_ns - 5_000 * MS < newest_ns, "the clip is older than that");
        assert_eq!((forecast.header.frame_id.as_str(), forecast.stamps.len()), ("cam", 2));
        assert_eq!(forecast.stamps[1], forecast.header.stamp);
        assert_eq!((forecast.horizon_frames, forecast.forecast_frames, forecast.truncated), (3, 3, false));
        assert_eq!(forecast.forecast_until.ns() - newest_ns, 300 * MS);
        assert_eq!(forecast.valid_until.ns() - newest_ns, 30_000 * MS);
        assert!(0.0 <= forecast.forecast_ms && forecast.forecast_ms <= forecast.camera_to_forecast_ms);
        assert_eq!((forecast.actions.as_str(), forecast.steps), ("zeros: none heard yet", 4));
        for (i, image) in shown.iter().enumerate() {
            assert_eq!(image.header.stamp.ns() - newest_ns, (i as i64 + 1) * 100 * MS);
            assert_eq!((image.header.frame_id.as_str(), image.encoding.as_str()), ("cam", "rgb8"));
            assert_eq!((image.width, image.height, image.step, &image.data[..]), (2, 2, 6, &[42; 12][..]));
        }
        assert_eq!(shown.len(), 3);

        let own = ImagineRequest { actions: vec![1.0, 2.0, 3.0, 4.0], max_age: 7.0, ..frames.clone() };
        let reply = others.imagine(&ImagineRequest { want_frames: false, seed: 0, ..own.clone() });
        assert_eq!((reply.error.as_str(), reply.frames.len(), reply.forecast.seed), ("", 0, 7));
        assert_eq!(
            (reply.forecast.actions.as_str(), reply.forecast.latent_only),
            ("request of 2 steps", true)
        );
        assert_eq!(reply.forecast.valid_until.ns() - reply.forecast.header.stamp.ns(), 7_000 * MS);
        assert_eq!(seer.rows.lock().unwrap().last().unwrap(), &[1.0, 2.0, 3.0, 4.0, 3.0, 4.0]);
        let reply = others.imagine(&frames);
        assert_eq!(reply.forecast.actions, "zeros: none heard yet", "nothing of it is kept");
        assert_eq!(seer.rows.lock().unwrap().last().unwrap(), &[0.0; 6]);

        let with = |actions: &[f32]| ImagineRequest { actions: actions.to_vec(), ..frames.clone() };
        for (request, why) in [
            (with(&[0.0, f32::NAN]), "actions: value 1 is not a finite number"),
            (with(&[0.0; 3]), "3 values are no whole rows of 2"),
            (with(&[0.0; 8]), "4 steps are more than the 3 of a forecast"),
            (with(&[10.0, 0.0]), "actions: linear of step 0 is too fast"),
            (
                ImagineRequest { action_width: 3, ..with(&[0.0; 6]) },
                "action_width: expected 2 (linear, angular)",
            ),
            (ImagineRequest { max_age: f64::NAN, ..frames.clone() }, "max_age"),
            (
                ImagineRequest { camera: "rear".into(), ..frames.clone() },
                "camera \"rear\": it is not forecast",
            ),
            (ImagineRequest { camera: "x".repeat(300), ..frames.clone() }, "camera: expected at most 255"),
            (ImagineRequest { seed: 13, ..frames.clone() }, "a velocity is not a number"),
        ] {
            let reply = others.imagine(&request);
            assert!(reply.error.contains(why), "{why}: {}", reply.error);
            assert_eq!((reply.forecast, reply.frames), Default::default(), "{why}");
        }
        assert!(others.imagine(&frames).error.is_empty(), "and now?");
        // What one node wanted is told to it alone.
        until("a standing forecast", || !others.memory.published("/eye/forecast/json").is_empty());
        for body in others.memory.published("/eye/forecast") {
            assert_eq!(decode::<ImageView<'_>>(&body, ByteOrder::Little).unwrap().data, [100; 12]);
        }
    });
}

#[test]
fn what_is_no_request_ends_nothing() {
    let options = NodeOptions { max_rate_hz: 0.1, ..options() };
    beside(&options, true, |others, _| {
        let request =
            ImagineRequest { want_frames: true, actions: vec![0.5; 6], ..ImagineRequest::default() };
        let whole = encode(&ImagineRequest { camera: "rear".into(), ..request.clone() });
        for cut in 0..whole.len() - 4 {
            assert!(others.memory.call(SERVICE, &whole[..cut]).is_none(), "{cut} bytes are no request");
        }
        for bit in 0..8 * whole.len() {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            // It names another camera, or cannot be read, or would be served: it has a reply or none, and that is all.
            if let Some(reply) = others.memory.call(SERVICE, &flipped) {
                decode::<ImagineReply>(&reply, ByteOrder::Little).unwrap();
            }
        }
        // A length that nobody has.
        let mut huge = whole.clone();
        huge[..4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(others.memory.call(SERVICE, &huge).is_none());
        until("a forecast", || others.imagine(&request).error.is_empty());
    });
}

#[test]
fn a_flood_is_bounded_and_the_standing_forecast_goes_on() {
    beside(&options(), true, |others, seer| {
        let request = |seed| ImagineRequest { seed, want_frames: true, ..ImagineRequest::default() };
        until("a clip", || others.imagine(&request(1)).error.is_empty());
        seer.holds.store(true, Relaxed);
        let n_asked = seer.n_asked.load(Relaxed);
        let first = others.wish(&request(200));
        until("that it is made", || n_asked < seer.n_asked.load(Relaxed));
        let wishes: Vec<_> = (0..50).map(|i| others.wish(&request(i + 20))).collect();
        let full = "4 forecasts wait already; ask again later";
        let refused = wishes.iter().filter(|heard| {
            heard.recv_timeout(Duration::ZERO).is_ok_and(|reply| {
                decode::<ImagineReply>(&reply.unwrap(), ByteOrder::Little).unwrap().error == full
            })
        });
        assert_eq!(refused.count(), 46);
        seer.holds.store(false, Relaxed);
        assert_eq!(told(&first).frames[0].data, [200; 12]);
        for (i, heard) in wishes.iter().take(4).enumerate() {
            let reply = told(heard);
            assert_eq!((reply.error.as_str(), &reply.frames[2].data[..]), ("", &[i as u8 + 20; 12][..]));
        }
        // Somebody who asks without end leaves the standing forecast its turn.
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let asking = scope.spawn(|| {
                let mut n = 0;
                while !is_over.load(Relaxed) {
                    assert!(others.imagine(&request(3)).error.is_empty());
                    n += 1;
                }
                n
            });
            others.memory.published("/eye/forecast");
            let mut n_standing = 0;
            until("standing forecasts beside", || {
                n_standing += others.memory.published("/eye/forecast").len();
                10 <= n_standing
            });
            is_over.store(true, Relaxed);
            assert!(0 < asking.join().unwrap(), "the standing forecast takes all turns");
        });
    });
}

#[test]
fn frames_end_with_their_time_and_what_never_comes_is_named() {
    beside(&options(), true, |others, seer| {
        let request = ImagineRequest { want_frames: true, ..ImagineRequest::default() };
        until("a clip", || others.imagine(&request).error.is_empty());
        seer.frame_ms.store(700, Relaxed);
        let cut = others.imagine(&ImagineRequest { max_age: 1.3, ..request.clone() });
        assert_eq!((cut.error.as_str(), cut.frames.len(), cut.forecast.truncated), ("", 1, true));
        assert_eq!(cut.forecast.forecast_until, cut.frames[0].header.stamp);
        let late = others.imagine(&ImagineRequest { max_age: 0.5, ..request });
        assert_eq!(late.error, "max_age had passed when the forecast ended");
        assert_eq!((late.forecast, late.frames), Default::default());
    });
    let options = NodeOptions { max_age: Duration::from_millis(200), ..options() };
    beside(&options, false, |others, _| {
        let reply = others.imagine(&ImagineRequest::default());
        let why = "no clip to forecast from (2 frames, 10 a second) came on /image within 1 s";
        assert_eq!(reply.error, why);
    });
}

#[test]
fn a_node_that_leaves_tells_all_who_wait() {
    let mut waiting = Vec::new();
    beside(&options(), true, |others, seer| {
        until("a clip", || others.imagine(&ImagineRequest::default()).error.is_empty());
        let n_asked = seer.n_asked.load(Relaxed);
        seer.holds.store(true, Relaxed);
        waiting.push(others.wish(&ImagineRequest::default()));
        until("that it is made", || n_asked < seer.n_asked.load(Relaxed));
        waiting.extend((0..3).map(|_| others.wish(&ImagineRequest::default())));
        // The node is told to stop while the first is being made.
    });
    let errors: Vec<String> = waiting.iter().map(|heard| told(heard).error).collect();
    assert_eq!(errors, ["the node has stopped answering"; 4]);
}

/// An engine that only answers.
struct Speaker;

impl Answerer for Speaker {
    fn answer(&mut self, _: &Question<'_>) -> Outcome {
        Outcome::Made(Answer::default())
    }
}

#[test]
fn an_engine_that_only_answers_says_so_and_another_camera_is_refused() {
    let others = || Others { memory: Memory::new(Arc::new(Clock::system())) };
    let says = |others: &Others, request: &ImagineRequest, why: &str| {
        let reply = others.memory.call(SERVICE, &encode(request));
        reply.is_some_and(|body| decode::<ImagineReply>(&body, ByteOrder::Little).unwrap().error == why)
    };
    let (mute, stop) = (others(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let node = scope
            .spawn(|| run(&mute.memory, &options(), Engines::answering(&mut Speaker), &stop, &mut |_| {}));
        let request = ImagineRequest::default();
        until("the service", || says(&mute, &request, "no engine of this node forecasts"));
        stop.store(true, Relaxed);
        node.join().unwrap().unwrap();
    });
    let (others, mut options) = (others(), options());
    for name in ["front", "rear"] {
        options.cameras.named.push(format!("{name}=/{name}").parse::<NamedCamera>().unwrap());
    }
    let (stop, seer) = (AtomicBool::new(false), Seer::default());
    std::thread::scope(|scope| {
        let node = scope.spawn(|| {
            run(&others.memory, &options, Engines::forecasting(&mut Seeing::new(&seer)), &stop, &mut |_| {})
        });
        let of = |camera: &str| ImagineRequest { camera: camera.into(), ..ImagineRequest::default() };
        let why = "camera \"rear\": it is not forecast; that is front";
        until("the service", || says(&others, &of("rear"), why));
        let front = others.wish(&of("front"));
        for _ in 0..3 {
            let now_ns = others.memory.clock().now().ros_ns;
            let body = image_body(now_ns, 2, &[7; 12]);
            others.memory.inject("/front", ImageView::TYPE, &body, ByteOrder::Little);
            std::thread::sleep(Duration::from_millis(100));
        }
        assert_eq!(told(&front).error, "");
        stop.store(true, Relaxed);
        node.join().unwrap().unwrap();
    });
}

fn settings() -> PredictSettings {
    PredictSettings { seed: 5, latent_only: false, ..PredictSettings::default() }
}

/// What a node of the action-conditioned fixture published of a moving scene, and how it accounts for it.
#[derive(Debug, PartialEq)]
struct Played {
    frames: Vec<Vec<u8>>,
    surprises: Vec<PublishedSurprise>,
    accounts: Accounts,
    n_published: u64,
}

/// Plays 24 frames, four a second. Before each, what others do then.
fn played(max_rate_hz: f64, mut before: impl FnMut(usize) -> Vec<Event>) -> Played {
    let predict = engine::open(Path::new(FIXTURE), &PredictOptions::default(), 1, None);
    let mut forecaster = PredictForecaster::new(predict, settings());
    let scene = Scene::draw(&mut Rng::new(11), SceneOptions { n_frames: 24, ..SceneOptions::default() });
    let mut events = Vec::new();
    for t in 0..24 {
        events.extend(before(t));
        let mut rgb = vec![0; FRAME_BYTES];
        scene.render(t, &mut rgb);
        events.push(image(t as i64 * 250, SIZE as u32, rgb));
    }
    let script = Script::new(Clock::stepped(), events);
    let mut surprises = Vec::new();
    let mut hear = |said: Said<'_>| {
        if let Said::Surprise(surprise) = said {
            surprises.push(*surprise);
        }
    };
    let options = NodeOptions { max_rate_hz, ..options() };
    let engines = Engines::forecasting(&mut forecaster);
    let report = run(&script, &options, engines, &AtomicBool::new(false), &mut hear).unwrap();
    let summary = report.forecasts.unwrap();
    Played {
        frames: script.memory.published("/eye/forecast"),
        surprises,
        accounts: summary.accounts,
        n_published: summary.published,
    }
}

fn plan(rows: &[f32]) -> Event {
    let body = encode(&Float32MultiArray { data: rows.to_vec(), ..Float32MultiArray::default() });
    Box::new(move |memory| {
        memory.inject("/eye/actions", Float32MultiArray::TYPE, &body, ByteOrder::Little);
    })
}

#[test]
fn standing_forecasts_and_surprises_stay_as_they_are_to_the_last_bit() {
    const HORIZON: usize = 8;
    // At each frame, and once a horizon, when what follows is compared over several looks.
    for max_rate_hz in [0.0, 0.5] {
        let alone = played(max_rate_hz, |_| Vec::new());
        assert!(10 <= alone.surprises.iter().filter(|one| one.pixels.is_some()).count(), "{alone:?}");
        assert!(alone.surprises.iter().any(|one| one.latent.is_some()));
        let heard: Arc<Mutex<Vec<(usize, Heard)>>> = Arc::default();
        let beside = played(max_rate_hz, |t| {
            let heard = Arc::clone(&heard);
            let wish: Event = Box::new(move |memory| {
                let mut heard = heard.lock().unwrap();
                // Of the node's own noise and actions, of another noise, of other actions, and without frames.
                for i in 0..4 {
                    let request = ImagineRequest {
                        seed: if i == 1 { 99 } else { 0 },
                        actions: if i == 2 { vec![1.5, -2.0] } else { Vec::new() },
                        want_frames: i != 3,
                        ..ImagineRequest::default()
                    };
                    heard.push((4 * t + i, memory.request(SERVICE, &encode(&request)).unwrap()));
                }
            });
            if t % 6 == 4 { vec![wish] } else { Vec::new() }
        });
        assert_eq!(beside.frames, alone.frames);
        // Whoever looks last compares what came until then; alone, nobody looks at the end where looks are rare.
        let n_alone = alone.surprises.len();
        assert_eq!(beside.surprises[..n_alone], alone.surprises[..]);
        let last_ns = alone.surprises.last().unwrap().stamp_ns;
        assert!(beside.surprises[n_alone..].iter().all(|more| last_ns < more.stamp_ns), "{beside:?}");
        assert_eq!(beside.n_published, alone.n_published);
        if max_rate_hz == 0.0 {
            assert_eq!(beside.surprises.len(), n_alone);
            assert_eq!(beside.accounts, alone.accounts, "what is made of a frame twice counts once");
        }
        let heard = std::mem::take(&mut *heard.lock().unwrap());
        let replies: Vec<(usize, ImagineReply)> = heard
            .iter()
            .map(|(i, reply)| (i % 4, decode(&reply.recv().unwrap().unwrap(), ByteOrder::Little).unwrap()))
            .collect();
        assert_eq!(replies.len(), 16);
        let mut n_equal = 0;
        for (i, reply) in &replies {
            assert_eq!(reply.error, "");
            assert_eq!(reply.frames.len(), if *i == 3 { 0 } else { HORIZON });
            // The standing forecast of the same clip, if there is one.
            let standing = alone.frames.chunks(HORIZON).find(|frames| {
                let first: ImageView<'_> = decode(&frames[0], ByteOrder::Little).unwrap();
                reply.frames.first().is_some_and(|frame| frame.header.stamp == first.header.stamp)
            });
            let Some(standing) = standing else { continue };
            let same = standing.iter().zip(&reply.frames).all(|(body, frame)| {
                let view: ImageView<'_> = decode(body, ByteOrder::Little).unwrap();
                view.data[..frame.data.len()] == frame.data[..]
            });
            assert_eq!(same, *i == 0, "request {i} of the clip at {:?}", reply.forecast.header.stamp);
            n_equal += usize::from(same);
        }
        assert!(0 < n_equal);
    }
}

#[test]
fn actions_of_a_request_make_the_forecast_that_a_plan_would() {
    let rows = [0.5, -1.0, 0.25, 1.0];
    let standing = played(0.0, |t| if t == 4 { vec![plan(&rows)] } else { Vec::new() });
    let heard = Arc::new(Mutex::new(None));
    let alone = played(0.0, |t| {
        let heard = Arc::clone(&heard);
        let wish: Event = Box::new(move |memory| {
            let request = ImagineRequest {
                actions: rows.to_vec(),
                action_width: 2,
                want_frames: true,
                ..ImagineRequest::default()
            };
            *heard.lock().unwrap() = memory.request(SERVICE, &encode(&request));
        });
        // Before the fifth frame, with which the first clip is whole.
        if t == 4 { vec![wish] } else { Vec::new() }
    });
    let reply = told(heard.lock().unwrap().as_ref().unwrap());
    assert_eq!((reply.error.as_str(), reply.forecast.actions.as_str()), ("", "request of 2 steps"));
    assert_eq!(reply.forecast.header.stamp.ns(), 4 * 250 * MS);
    let is_of = |played: &Played| {
        played.frames.iter().zip(&reply.frames).all(|(body, frame)| {
            let view: ImageView<'_> = decode(body, ByteOrder::Little).unwrap();
            view.data[..frame.data.len()] == frame.data[..]
        })
    };
    assert_eq!((reply.frames.len(), is_of(&standing), is_of(&alone)), (8, true, false));
}

#[test]
fn what_the_engine_cannot_take_is_refused_before_it_is_tried() {
    let refused = |predict: Predict, plan: Option<&[f32]>| {
        PredictForecaster::new(predict, settings()).check_beside(plan).err().unwrap_or_default()
    };
    let opened = |limits: Vec<(String, usize)>, action_limits: Vec<[f32; 2]>| {
        let engine = engine::limited(Path::new(FIXTURE), &PredictOptions::default(), limits);
        let mut manifest = engine.manifest().roles.forecasts.clone().unwrap();
        manifest.clip.actions.as_mut().unwrap().limits = action_limits;
        Predict::new(engine.session(&engine::OPEN).unwrap(), manifest, None).unwrap()
    };
    let limits = vec![[-0.5, 0.5], [0.0, 0.25]];
    let mut plan = [0.5, 0.25].repeat(8);
    assert_eq!(refused(opened(Vec::new(), limits.clone()), Some(&plan)), "");
    plan[5] = 0.26;
    let why = "actions: angular of step 2 is 0.26; the checkpoint's limits are 0 to 0.25";
    assert_eq!(refused(opened(Vec::new(), limits), Some(&plan)), why);
    assert_eq!(refused(opened(Vec::new(), Vec::new()), Some(&plan)), "", "it names none");
    let single = opened(vec![(ENCODER_STATES.to_owned(), 1)], Vec::new());
    assert!(refused(single, None).contains("build it with --encoder-states 2"));
}

#[test]
fn the_frames_of_a_wish_that_fails_are_dropped_for_a_reason_or_served_by_the_next() {
    let report = beside(&options(), true, |others, _| {
        let bad = ImagineRequest { seed: 13, ..ImagineRequest::default() };
        until("a clip", || others.imagine(&bad).error == "a velocity is not a number");
        for _ in 0..10 {
            assert_eq!(others.imagine(&bad).error, "a velocity is not a number");
        }
    });
    let summary = report.forecasts.unwrap();
    assert!(summary.accounts.balance() && 0 < summary.published, "{}", summary.accounts);
    assert!(summary.accounts.dropped(DropReason::EngineFailed) <= 11, "{}", summary.accounts);
}
