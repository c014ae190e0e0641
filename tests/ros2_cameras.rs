//! A node with several cameras: whose turn it is, which frames belong together, and what is said of one that is missing.

#![allow(clippy::unwrap_used, reason = "what a test cannot go on without fails it")]

#[path = "support/reason.rs"]
mod engine;
#[path = "support/logged.rs"]
mod logged;
#[path = "support/script.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod script;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use logged::logged;
use perihelion::camera::{FrameSize, Picture};
use perihelion::frames::accounts::{Accounts, DropReason};
use perihelion::frames::clock::Clock;
use perihelion::ros2::lifecycle::{self, Crew};
use perihelion::ros2::messages::{
    AnswerMessage, ByteOrder, ChangeReply, ChangeRequest, Detections, DiagnosticArray, Flag, ImageView,
    Labelled, Message, Text, decode, encode,
};
use perihelion::ros2::names::NodeName;
use perihelion::ros2::node::{
    Answer, Answerer, AskCameras, AskWhen, Because, Checker, Engines, Forecast, ForecastShape, Forecaster,
    Glimpse, Look, NodeOptions, Outcome, Question, Report, run,
};
use perihelion::ros2::parameters::Parameters;
use perihelion::ros2::reason::ReasonAnswerer;
use perihelion::ros2::transport::{Memory, Transport};
use perihelion::runtime::reason::{AnswerSettings, Place, Request, Shown};
use script::{Event, MS, Script, image_body};
use serde_json::{Value, json};

const FRONT: &str = "/front/image";
const REAR: &str = "/rear/image";

/// Two cameras; the rear one's images are larger.
fn options(ask: AskCameras) -> NodeOptions {
    let mut options = NodeOptions::new(NodeName::new("/", "eye").unwrap());
    options.cameras.named =
        ["front=/front/image", "rear=/rear/image"].map(|camera| camera.parse().unwrap()).into();
    options.cameras.ask = ask;
    NodeOptions { prompt: "What?".into(), max_image_bytes: 100_000, max_pixels: 10_000, ..options }
}

fn pixels(topic: &str) -> (u32, Vec<u8>) {
    if topic == FRONT { (2, vec![7; 12]) } else { (3, vec![9; 27]) }
}

fn inject(memory: &Memory, topic: &str, stamp_ms: i64) {
    let (width, data) = pixels(topic);
    let body = image_body(stamp_ms * MS, width, &data);
    memory.inject(topic, ImageView::TYPE, &body, ByteOrder::Little);
}

/// Images of these topics, taken at these moments of the second second, that come at `now_ms`, before anybody looks.
fn images(now_ms: i64, of: &[(&'static str, i64)]) -> Event {
    let of = of.to_vec();
    Box::new(move |memory| {
        memory.clock().set((1000 + now_ms) * MS);
        of.iter().for_each(|(topic, stamp_ms)| inject(memory, topic, 1000 + stamp_ms));
    })
}

struct Says<F>(F);

impl<F: FnMut(&Question<'_>) -> Outcome + Send> Answerer for Says<F> {
    fn answer(&mut self, question: &Question<'_>) -> Outcome {
        (self.0)(question)
    }
}

fn yes(_: &Question<'_>) -> Outcome {
    Outcome::Made(Answer { text: "yes".to_owned(), ..Answer::default() })
}

fn play(script: &Script, options: &NodeOptions, says: impl FnMut(&Question<'_>) -> Outcome + Send) -> Report {
    let mut says = Says(says);
    let engines = Engines::answering(&mut says);
    closed(run(script, options, engines, &AtomicBool::new(false), &mut |_| {}).unwrap())
}

/// A report whose every account has closed.
fn closed(report: Report) -> Report {
    let mut whole = Accounts::default();
    for accounts in report.cameras.iter().filter_map(|camera| camera.answers) {
        assert!(accounts.balance() && accounts.in_flight == 0, "{accounts}");
        whole += accounts;
    }
    assert_eq!(report.answers.as_ref().unwrap().accounts, whole);
    report
}

fn answers(memory: &Memory) -> Vec<Value> {
    let json = |body: Vec<u8>| decode::<Text>(&body, ByteOrder::Little).unwrap().data;
    let bodies = memory.published("/eye/answer/json").into_iter();
    bodies.map(|body| serde_json::from_str(&json(body)).unwrap()).collect()
}

/// Which cameras the answers are about.
fn asked(memory: &Memory) -> Vec<String> {
    answers(memory).iter().map(|answer| answer["camera"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn cameras_take_turns_and_a_fast_one_starves_nobody() {
    // Ten images of the one come for each of the other.
    let event = |i: i64| {
        let front = (0..10).map(move |j| (FRONT, i * 100 + j * 10));
        let of: Vec<(&str, i64)> = front.chain([(REAR, i * 100 + 95)]).collect();
        images(i * 100 + 99, &of)
    };
    let script = Script::new(Clock::stepped(), (0..20).map(event).collect());
    let mut sizes = Vec::new();
    let report = play(&script, &options(AskCameras::Each), |question| {
        assert_eq!((question.frames.len(), question.cameras), (1, &[][..]));
        sizes.push(question.frames[0].frame.size().unwrap().0);
        yes(question)
    });
    // The front's last waits until the end, and is asked about then.
    let expected: Vec<&str> = (0..21).map(|i| ["front", "rear"][i % 2]).collect();
    let said = answers(&script.memory);
    let about: Vec<&str> = said.iter().map(|answer| answer["camera"].as_str().unwrap()).collect();
    assert_eq!(about, expected);
    assert_eq!((sizes.len(), &sizes[..4]), (21, &[2, 3, 2, 3][..]));
    // The newest of those that have come.
    assert_eq!(said[2]["stamp"], json!({ "sec": 1, "nanosec": 290_000_000 }));
    assert_eq!(said[3]["stamp"], json!({ "sec": 1, "nanosec": 395_000_000 }));
    let typed: AnswerMessage =
        decode(&script.memory.published("/eye/answer/typed")[1], ByteOrder::Little).unwrap();
    assert_eq!(typed.cameras, ["rear"]);

    let [front, rear] = [0, 1].map(|i| report.cameras[i].answers.unwrap());
    let line = |received, answered, superseded| {
        format!(
            "received {received} = answered {answered} + clip members 0 + dropped {superseded} (superseded {superseded}) \
             + in flight 0; lost 0"
        )
    };
    assert_eq!((front.to_string(), rear.to_string()), (line(200, 11, 189), line(20, 10, 10)));
    assert_eq!(report.answers.unwrap().published, 21);
}

#[test]
fn a_camera_that_is_alone_is_asked_about_without_waiting() {
    let script = Script::new(Clock::stepped(), (0..5).map(|i| images(i * 33, &[(REAR, i * 33)])).collect());
    let report = play(&script, &options(AskCameras::Each), yes);
    assert_eq!(asked(&script.memory), vec!["rear"; 5]);
    assert_eq!(report.cameras[0].answers.unwrap(), Accounts::default());
}

#[test]
fn a_change_is_of_the_camera_that_changed() {
    let flash = |stamp_ms: i64| -> Event {
        Box::new(move |memory| {
            let stamp_ns = (1000 + stamp_ms) * MS;
            memory.clock().set(stamp_ns);
            let body = image_body(stamp_ns, 3, &[200; 27]);
            memory.inject(REAR, ImageView::TYPE, &body, ByteOrder::Little);
        })
    };
    let both = |ms: i64| [images(ms, &[(FRONT, ms)]), images(ms + 10, &[(REAR, ms + 10)])];
    let events = || both(0).into_iter().chain(both(100)).chain([flash(200)]).chain([flash(300)]);
    let ask_when = AskWhen { because: Because::Change, ..AskWhen::default() };
    let script = Script::new(Clock::stepped(), events().collect());
    let report = play(&script, &NodeOptions { ask_when, ..options(AskCameras::Each) }, yes);
    assert_eq!(asked(&script.memory), ["front", "rear", "rear"], "the first of each, and the flash");
    let unchanged = |i: usize| report.cameras[i].answers.unwrap().dropped(DropReason::Unchanged);
    assert_eq!([unchanged(0), unchanged(1)], [1, 2]);

    // A look at what has not changed is no question: the rate is left to the one that has.
    let still = |topic, ms: i64| images(ms, &[(topic, ms)]);
    let looks = vec![still(FRONT, 0), still(REAR, 1100), still(FRONT, 2200), flash(2300)];
    let script = Script::new(Clock::stepped(), looks);
    play(&script, &NodeOptions { ask_when, max_rate_hz: 1.0, ..options(AskCameras::Each) }, yes);
    assert_eq!(asked(&script.memory), ["front", "rear", "rear"]);

    // Together, one that changed is enough.
    let script =
        Script::new(Clock::stepped(), events().chain([images(290, &[(FRONT, 290)])]).collect::<Vec<_>>());
    let report = play(&script, &NodeOptions { ask_when, ..options(AskCameras::All) }, yes);
    assert_eq!(answers(&script.memory).len(), 2);
    assert_eq!(report.cameras[0].answers.unwrap().dropped(DropReason::Unchanged), 1);
}

/// Is surprised by every frame that it looks at.
struct Startled(ForecastShape);

impl Forecaster for Startled {
    fn shape(&self) -> &ForecastShape {
        &self.0
    }

    fn look(&mut self, look: &Look<'_>, tell: &mut dyn FnMut(Glimpse<'_>)) -> Outcome<Forecast> {
        let frame = look.frames.len() - 1;
        // So that it rises again with the next.
        for latent in [0.0, 9.0] {
            tell(Glimpse::Surprise { frame, ahead: 1, latent: Some(latent), pixels: None });
        }
        Outcome::Made(Forecast::default())
    }
}

#[test]
fn one_camera_is_forecast_and_its_surprise_is_asked_about() {
    let action_names = Vec::new();
    let shape = ForecastShape {
        n_given: 1,
        horizon: 1,
        rate_hz: 10.0,
        width: 2,
        height: 2,
        action_names,
        action_limits: Vec::new(),
    };
    let mut options = options(AskCameras::Each);
    options.cameras.forecast = Some("rear".to_owned());
    options.ask_when = AskWhen { because: Because::Surprise, ..AskWhen::default() };
    let events = (0..6).map(|i| images(i * 100, &[(FRONT, i * 100), (REAR, i * 100)])).collect();
    let script = Script::new(Clock::stepped(), events);
    let (mut says, mut startled) = (Says(yes), Startled(shape));
    let engines = Engines { answerer: Some(&mut says), forecaster: Some(&mut startled) };
    let report = closed(run(&script, &options, engines, &AtomicBool::new(false), &mut |_| {}).unwrap());
    assert_eq!(asked(&script.memory), vec!["rear"; 6]);
    let forecasts: Vec<Option<u64>> =
        report.cameras.iter().map(|camera| camera.forecasts.map(|accounts| accounts.received)).collect();
    assert_eq!(forecasts, [None, Some(6)]);
    assert_eq!(report.cameras[0].answers.unwrap().served, 0);
}

#[test]
fn all_cameras_are_asked_about_by_frames_that_belong_together() {
    let mut options = options(AskCameras::All);
    options.cameras.tolerance = Duration::from_millis(100);
    let events = vec![
        images(10, &[(FRONT, 0)]),
        images(60, &[(REAR, 50)]),
        // No companion: what the rear sees is 150 ms later.
        images(110, &[(FRONT, 100)]),
        images(260, &[(REAR, 250)]),
        images(310, &[(FRONT, 300)]),
        // The tolerance, and a nanosecond more, which `images` cannot say: a millisecond.
        images(510, &[(REAR, 400), (FRONT, 500)]),
        images(710, &[(REAR, 599), (FRONT, 700)]),
    ];
    let script = Script::new(Clock::stepped(), events);
    let place = || Place { label: None, units: Vec::new(), pixels: Some(vec![1.0, 2.0, 3.0, 4.0]) };
    let report = play(&script, &options, |question| {
        assert_eq!(question.cameras, ["front", "rear"]);
        let widths = question.frames.iter().map(|received| received.frame.size().unwrap().0);
        assert_eq!(widths.collect::<Vec<_>>(), [2, 3]);
        let details = json!({ "tokens": [1], "boxes": [{ "pixels": [1.0, 2.0, 3.0, 4.0] }] });
        let details = details.as_object().unwrap().clone();
        let (text, places) = ("yes".to_owned(), vec![place()]);
        Outcome::Made(Answer { text, places, details, ..Answer::default() })
    });
    let said = answers(&script.memory);
    assert_eq!(
        (&said[0]["tokens"], said[0].get("boxes")),
        (&json!([1]), None),
        "nobody knows in which image"
    );
    let seen = |answer: &Value| {
        let cameras = answer["cameras"].as_array().unwrap().iter();
        cameras.map(|one| (one["camera"].clone(), one["stamp"]["nanosec"].clone())).collect::<Vec<_>>()
    };
    let pair = |front_ms: i64, rear_ms: i64| {
        vec![(json!("front"), json!(front_ms * MS)), (json!("rear"), json!(rear_ms * MS))]
    };
    assert_eq!(said.iter().map(seen).collect::<Vec<_>>(), [pair(0, 50), pair(300, 250), pair(500, 400)]);
    assert_eq!((&said[0]["camera"], &said[0]["age_ms"]), (&Value::Null, &json!(60.0)), "of the oldest");
    assert_eq!(said[1]["stamp"], json!({ "sec": 1, "nanosec": 250_000_000 }));
    assert_eq!(said[0]["stamps"].as_array().unwrap().len(), 2);
    let typed: AnswerMessage =
        decode(&script.memory.published("/eye/answer/typed")[0], ByteOrder::Little).unwrap();
    assert_eq!((typed.cameras.join(" ").as_str(), typed.stamps.len()), ("front rear", 2));
    let found: Detections =
        decode(&script.memory.published("/eye/detections")[0], ByteOrder::Little).unwrap();
    assert!(found.detections.is_empty(), "nobody knows in which image");

    let unpaired = |i: usize| {
        let accounts = report.cameras[i].answers.unwrap();
        (accounts.received, accounts.served, accounts.dropped(DropReason::Unpaired))
    };
    assert_eq!([unpaired(0), unpaired(1)], [(5, 3, 1), (4, 3, 1)]);
    assert_eq!(report.answers.unwrap().published, 3, "one answer for both");
}

#[test]
fn a_bad_frame_is_its_cameras_and_the_other_found_no_companion() {
    let event = |i: i64| images(i * 100, &[(FRONT, i * 100), (REAR, i * 100)]);
    let script = Script::new(Clock::stepped(), (0..3).map(event).collect());
    let mut n = 0;
    let report = play(&script, &options(AskCameras::All), |question| {
        n += 1;
        match n {
            1 => Outcome::Rejected { frame: 1, reason: DropReason::Corrupt, message: "torn".into() },
            2 => Outcome::Failed("a logit is not a number".into()),
            _ => yes(question),
        }
    });
    let of = |i: usize| report.cameras[i].answers.unwrap();
    let drops = |i: usize| of(i).drops().collect::<Vec<_>>();
    assert_eq!(drops(0), [(DropReason::EngineFailed, 1), (DropReason::Unpaired, 1)]);
    assert_eq!(drops(1), [(DropReason::EngineFailed, 1), (DropReason::Corrupt, 1)]);
    assert_eq!([of(0).served, of(1).served], [1, 1]);
}

#[test]
fn the_log_says_which_camera_it_is() {
    logged("");
    let bad = |frame, words: &'static str| {
        move |_: &Question<'_>| Outcome::Rejected {
            frame,
            reason: DropReason::Corrupt,
            message: words.into(),
        }
    };
    let script = || Script::new(Clock::stepped(), vec![images(0, &[(FRONT, 0), (REAR, 0)])]);
    play(&script(), &options(AskCameras::Each), bad(0, "torn alone"));
    let said =
        ["front", "rear"].map(|camera| format!("WARN camera {camera}: image dropped (corrupt): torn alone"));
    assert_eq!(logged("torn alone"), said);
    play(&script(), &options(AskCameras::All), bad(1, "torn together"));
    assert_eq!(logged("torn together"), ["WARN camera rear: image dropped (corrupt): torn together"]);
    let fails = |words: &'static str| move |_: &Question<'_>| Outcome::Failed(words.into());
    play(&script(), &options(AskCameras::Each), fails("fails alone"));
    assert_eq!(logged("fails alone").len(), 2);
    assert_eq!(logged("camera rear: the engine fails: fails alone").len(), 1);
    play(&script(), &options(AskCameras::All), fails("fails together"));
    assert_eq!(logged("fails together"), ["ERROR the engine fails: fails together"]);

    // At the end, one that sent nothing at all.
    let mut silent = options(AskCameras::All);
    silent.cameras.named[1].topic = "/silent/image".to_owned();
    play(&Script::new(Clock::stepped(), vec![images(0, &[(FRONT, 0)])]), &silent, yes);
    assert_eq!(logged("no image came on /silent"), ["WARN camera rear: no image came on /silent/image"]);
}

/// Lets a node look at cameras that run in real time until a report `is_enough`; its last report.
fn reported_until(
    options: &NodeOptions,
    camera: impl Fn(&Memory) + Sync,
    is_enough: impl Fn(&DiagnosticArray) -> bool + Sync,
) -> (DiagnosticArray, Report) {
    let memory = Memory::new(Arc::new(Clock::system()));
    let stop = AtomicBool::new(false);
    let (mut last, mut says) = (None, Says(yes));
    let report = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Relaxed) {
                camera(&memory);
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        scope.spawn(|| {
            let until = Instant::now() + Duration::from_secs(60);
            while Instant::now() < until && !last.as_ref().is_some_and(&is_enough) {
                let bodies = memory.published("/diagnostics");
                last = bodies.last().map(|body| decode(body, ByteOrder::Little).unwrap()).or(last.take());
                std::thread::sleep(Duration::from_millis(10));
            }
            stop.store(true, Relaxed);
        });
        run(&memory, options, Engines::answering(&mut says), &stop, &mut |_| {}).unwrap()
    });
    (last.expect("a report"), closed(report))
}

fn level_of<'a>(report: &'a DiagnosticArray, name: &str) -> (u8, &'a str) {
    let status = report.status.iter().find(|status| status.name == name);
    let status = status.unwrap_or_else(|| panic!("{name}: {report:?}"));
    (status.level, status.message.trim_end())
}

#[test]
fn a_silent_camera_is_named_and_the_others_go_on_or_wait() {
    let camera = |memory: &Memory| inject(memory, FRONT, memory.clock().now().ros_ns / MS);
    let answering = |report: &DiagnosticArray| level_of(report, "eye: answers: front").1 == "answering";
    let (report, done) = reported_until(&options(AskCameras::Each), camera, answering);
    assert_eq!(level_of(&report, "eye: answers: front"), (0, "answering"));
    assert_eq!(level_of(&report, "eye: answers: rear"), (3, "nobody publishes the image topic"));
    let figure = |name: &str, key: &str| {
        let status = report.status.iter().find(|status| status.name == name).unwrap();
        status.values.iter().find(|value| value.key == key).unwrap().value.trim_end().to_owned()
    };
    assert_eq!(figure("eye: answers: rear", "received"), "0");
    assert_eq!(figure("eye: answers: front", "camera"), "front");
    assert!(0 < done.answers.unwrap().published);

    let words = "and rear (/rear/image) has sent no image for ";
    let named = |report: &DiagnosticArray| level_of(report, "eye: answers: front").1.contains(words);
    let (report, done) = reported_until(&options(AskCameras::All), camera, named);
    let (level, message) = level_of(&report, "eye: answers: front");
    assert!((1..=2).contains(&level) && message.contains(words), "{message}");
    assert_eq!(level_of(&report, "eye: answers: rear").0, 3);
    assert_eq!(done.answers.unwrap().published, 0);
}

#[test]
fn cameras_whose_clocks_differ_are_told_by_how_much() {
    // Less than what shows in the stamps of one camera alone.
    let camera = |memory: &Memory| {
        let now_ms = memory.clock().now().ros_ns / MS;
        inject(memory, FRONT, now_ms);
        inject(memory, REAR, now_ms - 300);
    };
    let words = "no question is put, since the newest frames of the cameras were seen 0.";
    let named = |report: &DiagnosticArray| level_of(report, "eye: answers: rear").1.contains(words);
    let (report, done) = reported_until(&options(AskCameras::All), camera, named);
    assert!(named(&report), "{report:?}");
    let rear = done.cameras[1].answers.unwrap();
    assert!(8 <= rear.dropped(DropReason::Unpaired) && rear.served == 0, "{rear}");
}

#[test]
fn the_small_engine_is_shown_all_images_in_one_turn_by_their_names() {
    let (width, height) = (64, 64);
    let rgb =
        |seed: u8| -> Vec<u8> { (0..width * height * 3).map(|i| (i as u8).wrapping_mul(seed)).collect() };
    let [front, rear] = [rgb(3), rgb(5)];
    let settings = AnswerSettings { tokens_max: 8, ..AnswerSettings::default() };
    let mut options = options(AskCameras::All);
    options.answers = Some(settings.clone());
    let (bodies, at) = ([(FRONT, front.clone()), (REAR, rear.clone())], 1000 * MS);
    let event: Event = Box::new(move |memory| {
        memory.clock().set(at);
        for (topic, rgb) in bodies {
            let body = image_body(at, width as u32, &rgb);
            memory.inject(topic, ImageView::TYPE, &body, ByteOrder::Little);
        }
    });
    let script = Script::new(Clock::stepped(), vec![event]);
    let mut answerer = ReasonAnswerer::new(engine::open(), settings.clone());
    let shared = answerer.shared();
    let engines = Engines::answering(&mut answerer);
    closed(run(&script, &options, engines, &AtomicBool::new(false), &mut |_| {}).unwrap());
    let said = answers(&script.memory).remove(0);

    let picture = |rgb| Shown::Image(Picture::new(rgb, FrameSize { width, height }));
    let shown = [picture(&front), picture(&rear)];
    let ask = |captions: &[&str]| {
        settings.with_request(&shown, "What?", None, None, |request| {
            let mut reason = shared.take(perihelion::runtime::Limits::default()).unwrap();
            reason.ask(&Request { captions, ..*request }, None, &mut |_, _| {}).unwrap()
        })
    };
    let (named, unnamed) = (ask(&["front", "rear"]), ask(&[]));
    assert_eq!(said["tokens"], json!(named.tokens));
    assert_eq!(
        (&said["prompt_tokens"], &said["image_tokens"]),
        (&json!(named.prompt_tokens), &json!(unnamed.image_tokens))
    );
    assert!(unnamed.prompt_tokens < named.prompt_tokens, "the names are said");
}

struct Hands(Says<fn(&Question<'_>) -> Outcome>);

impl Crew for Hands {
    fn configure(&mut self, now: &Parameters) -> Result<NodeOptions, String> {
        let mut options = options(AskCameras::Each);
        options.take_over(now);
        Ok(options)
    }

    fn engines(&mut self) -> Engines<'_> {
        Engines::answering(&mut self.0)
    }

    fn checker(&self) -> Option<Checker> {
        None
    }

    fn cleanup(&mut self) {}
}

#[test]
fn a_managed_node_answers_about_all_cameras_while_it_is_active() {
    let memory = Memory::new(Arc::new(Clock::system()));
    let stop = AtomicBool::new(false);
    let change = |label: &str| {
        let transition = Labelled { id: 0, label: label.to_owned() };
        let body = encode(&ChangeRequest { transition });
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            assert!(Instant::now() < until, "{label}");
            match memory.call("/eye/change_state", &body) {
                Some(reply) => return decode::<ChangeReply>(&reply, ByteOrder::Little).unwrap().success,
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    };
    let show = || [FRONT, REAR].map(|topic| inject(&memory, topic, memory.clock().now().ros_ns / MS));
    let managing = || {
        assert!(change("configure"));
        for _ in 0..3 {
            assert!(change("activate"));
            for name in ["front", "rear"] {
                let until = Instant::now() + Duration::from_secs(60);
                while !asked(&memory).iter().any(|camera| camera == name) {
                    assert!(Instant::now() < until, "no answer about {name}");
                    show();
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
            assert!(change("deactivate"));
            asked(&memory);
            for _ in 0..20 {
                show();
                std::thread::sleep(Duration::from_millis(2));
                assert_eq!(asked(&memory), [""; 0], "answers of an inactive node");
            }
        }
    };
    std::thread::scope(|scope| {
        let node = scope.spawn(|| {
            let mut hands = Hands(Says(yes));
            lifecycle::run(&memory, &options(AskCameras::Each), &mut hands, &stop, &mut |_| {}).unwrap();
        });
        let managed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(managing));
        stop.store(true, Relaxed);
        node.join().unwrap();
        managed.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

#[test]
fn one_who_asks_is_answered_about_the_camera_whose_turn_it_is() {
    let ask: fn() -> Event = || {
        Box::new(|memory| {
            memory.inject("/eye/ask", Flag::TYPE, &encode(&Flag { data: true }), ByteOrder::Little)
        })
    };
    let both = |ms: i64| images(ms, &[(FRONT, ms), (REAR, ms)]);
    let events = vec![both(0), ask(), both(100), both(200), ask(), ask()];
    let script = Script::new(Clock::stepped(), events);
    let ask_when = AskWhen { because: Because::Topic, ..AskWhen::default() };
    play(&script, &NodeOptions { ask_when, ..options(AskCameras::Each) }, yes);
    assert_eq!(asked(&script.memory), ["front", "rear", "front"]);
}
