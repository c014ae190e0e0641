//! The node that forecasts, on scripted graphs: with a scripted engine for what is published and counted, with
//! `engines/small-predict` on rendered scenes for what surprises it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "support/predict.rs"]
mod engine;
#[path = "support/reason.rs"]
mod reason;
#[path = "support/script.rs"]
mod script;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use ::image::ImageEncoder as _;
use perihelion::export::PredictOptions;
use perihelion::frames::accounts::DropReason;
use perihelion::frames::clock::Clock;
use perihelion::ros2::messages::{
    ByteOrder, CompressedImageView, DiagnosticArray, Float32, Float32MultiArray, HeaderView, ImageView,
    Message, ShortString, Text, Time, Twist, Vector3, decode, encode,
};
use perihelion::ros2::names::NodeName;
use perihelion::ros2::node::{
    Answer, Answerer, Engines, Forecast, ForecastShape, Forecaster, Glimpse, Look, NodeOptions, Outcome,
    PublishedSurprise, Question, Said, Summary, run,
};
use perihelion::ros2::predict::{PredictForecaster, PredictSettings};
use perihelion::ros2::reason::ReasonAnswerer;
use perihelion::ros2::transport::{ImageTransport, Memory, Transport};
use perihelion::runtime::reason::AnswerSettings;
use perihelion::scenes::{FRAME_BYTES, Rng, SIZE, Scene, SceneOptions};
use script::{Event, MS, Script, image, image_body};
use serde_json::{Value, json};

/// Beyond what quiet scenes surprise, and below what a ball that jumps does: see `a_jump_surprises`.
const THRESHOLD: f32 = 0.6;

/// Answers what a closure says.
struct Says<F>(F);

impl<F: FnMut(&Question<'_>) -> Outcome + Send> Answerer for Says<F> {
    fn answer(&mut self, question: &Question<'_>) -> Outcome {
        (self.0)(question)
    }
}

/// Says that something is over when it goes.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

fn options() -> NodeOptions {
    let name = NodeName::new("/", "eye").unwrap();
    NodeOptions { max_image_bytes: FRAME_BYTES, max_pixels: SIZE * SIZE, ..NodeOptions::new(name) }
}

fn play(
    transport: &dyn Transport,
    options: &NodeOptions,
    forecaster: &mut dyn Forecaster,
) -> (Summary, Vec<PublishedSurprise>) {
    let mut surprises = Vec::new();
    let mut hear = |said: Said<'_>| {
        if let Said::Surprise(surprise) = said {
            surprises.push(*surprise);
        }
    };
    let engines = Engines::forecasting(forecaster);
    let report = run(transport, options, engines, &AtomicBool::new(false), &mut hear).unwrap();
    let summary = report.forecasts.unwrap();
    assert!(report.answers.is_none());
    assert!(summary.accounts.balance() && summary.accounts.in_flight == 0, "{}", summary.accounts);
    (summary, surprises)
}

fn texts(memory: &Memory, topic: &str) -> Vec<Value> {
    let json = |body: Vec<u8>| {
        serde_json::from_str(&decode::<Text>(&body, ByteOrder::Little).unwrap().data).unwrap()
    };
    memory.published(topic).into_iter().map(json).collect()
}

/// Forecasts three frames of two by two pixels from two given ones, ten a second, as a closure says.
struct Scripted<F> {
    shape: ForecastShape,
    look: F,
}

impl<F: FnMut(&Look<'_>, &mut dyn FnMut(Glimpse<'_>)) -> Outcome<Forecast> + Send> Scripted<F> {
    fn new(look: F) -> Self {
        let action_names = Vec::new();
        let shape = ForecastShape {
            n_given: 2,
            horizon: 3,
            rate_hz: 10.0,
            width: 2,
            height: 2,
            action_names,
            action_limits: Vec::new(),
        };
        Self { shape, look }
    }
}

impl<F: FnMut(&Look<'_>, &mut dyn FnMut(Glimpse<'_>)) -> Outcome<Forecast> + Send> Forecaster
    for Scripted<F>
{
    fn shape(&self) -> &ForecastShape {
        &self.shape
    }
    fn look(&mut self, look: &Look<'_>, tell: &mut dyn FnMut(Glimpse<'_>)) -> Outcome<Forecast> {
        (self.look)(look, tell)
    }
}

fn small_image(stamp_ms: i64) -> Event {
    image(stamp_ms, 2, vec![7; 12])
}

fn stamps_ms(look: &Look<'_>) -> Vec<i64> {
    look.frames.iter().map(|received| received.frame.stamp_ns / MS).collect()
}

#[test]
fn forecast_frames_bear_the_stamps_of_the_future() {
    let script = Script::new(Clock::stepped(), (0..4).map(|i| small_image(1000 + 100 * i)).collect());
    let mut engine = Scripted::new(|look: &Look<'_>, tell: &mut dyn FnMut(Glimpse<'_>)| {
        assert!(look.deadline.is_none() && look.plan.is_none());
        for ahead in 1..=3 {
            tell(Glimpse::Frame { ahead, rgb: &[ahead as u8; 12] });
        }
        let (encode_ms, denoise_ms, step_ms, decode_ms) = (1.5, 12.0, 4.0, 2.5);
        let (is_cut, n_steps, seed, latent_only) = (false, 3, 5, false);
        Outcome::Made(Forecast {
            is_cut,
            encode_ms,
            denoise_ms,
            step_ms,
            decode_ms,
            n_steps,
            seed,
            latent_only,
        })
    });
    let (summary, _) = play(&script, &options(), &mut engine);
    assert_eq!((summary.published, summary.accounts.served, summary.accounts.clip_members), (3, 3, 1));
    let bodies = script.memory.published("/eye/forecast");
    let frames: Vec<(i64, u8)> = bodies
        .iter()
        .map(|body| {
            let view: ImageView<'_> = decode(body, ByteOrder::Little).unwrap();
            assert_eq!((view.width, view.height, view.step, view.encoding.as_str()), (2, 2, 6, "rgb8"));
            assert_eq!((view.header.frame_id.as_str(), view.data.len()), ("cam", 12));
            (view.header.stamp.ns() / MS, view.data[0])
        })
        .collect();
    let of = |newest: i64| (1..=3).map(move |k| (newest + 100 * k, k as u8));
    assert_eq!(frames, [1100, 1200, 1300].into_iter().flat_map(of).collect::<Vec<_>>());
    let reports = texts(&script.memory, "/eye/forecast/json");
    assert_eq!(reports.len(), 3);
    let report = &reports[2];
    assert_eq!(report["stamp"], json!({ "sec": 1, "nanosec": 300_000_000 }));
    assert_eq!(report["stamps"].as_array().unwrap().len(), 2);
    assert_eq!(report["forecast_until"], json!({ "sec": 1, "nanosec": 600_000_000 }));
    assert_eq!(report["valid_until"], json!({ "sec": 3, "nanosec": 300_000_000 }));
    assert_eq!((&report["horizon_frames"], &report["forecast_frames"]), (&json!(3), &json!(3)));
    assert_eq!((&report["truncated"], &report["seed"]), (&json!(false), &json!(5)));
    assert_eq!((&report["age_ms"], &report["frame_id"]), (&json!(0.0), &json!("cam")));
    let members: Vec<&str> = report.as_object().unwrap().keys().map(String::as_str).collect();
    let of_the_engine = ["encode_ms", "denoise_ms", "step_ms", "decode_ms", "steps", "seed", "latent_only"];
    assert_eq!(
        members[members.len() - of_the_engine.len()..],
        of_the_engine,
        "in the order that readers know"
    );
    assert_eq!(
        of_the_engine.map(|name| report[name].to_string()),
        ["1.5", "12.0", "4.0", "2.5", "3", "5", "false"]
    );
}

#[test]
fn forecasts_of_a_camera_without_stamps_go_by_receipt_and_say_so() {
    const NOW_MS: i64 = 1_790_000_000_000;
    let seen = |i: i64| -> Event {
        Box::new(move |memory: &Memory| {
            memory.clock().set((NOW_MS + 100 * i) * MS);
            memory.inject("/image", ImageView::TYPE, &image_body(0, 2, &[7; 12]), ByteOrder::Little);
        })
    };
    let script = Script::new(Clock::stepped(), (0..12).map(seen).collect());
    let mut engine = Scripted::new(|look: &Look<'_>, tell: &mut dyn FnMut(Glimpse<'_>)| {
        if 2 < look.frames.len() {
            tell(Glimpse::Surprise { frame: 0, ahead: 1, latent: Some(0.5), pixels: None });
        }
        tell(Glimpse::Frame { ahead: 3, rgb: &[3; 12] });
        Outcome::Made(Forecast::default())
    });
    let options = NodeOptions { max_rate_hz: 2.0, ..options() };
    let (summary, surprises) = play(&script, &options, &mut engine);
    assert_eq!((summary.published, summary.accounts.dropped(DropReason::ClipRestart)), (3, 0));
    assert_eq!(summary.stamps_suspect, 3);
    let stamp_ms = |body: &Vec<u8>| {
        let view: ImageView<'_> = decode(body, ByteOrder::Little).unwrap();
        view.header.stamp.ns() / MS - NOW_MS
    };
    let frames: Vec<i64> = script.memory.published("/eye/forecast").iter().map(stamp_ms).collect();
    assert_eq!(frames, [400, 900, 1400], "three frames after the second, the seventh and the twelfth");
    assert_eq!(surprises.iter().map(|s| s.stamp_ns / MS - NOW_MS).collect::<Vec<_>>(), [200, 700]);
    for (report, newest_ms) in texts(&script.memory, "/eye/forecast/json").iter().zip([100, 600, 1100]) {
        assert_eq!((&report["timed_by"], &report["stamp_suspect"]), (&json!("receipt"), &json!(true)));
        assert_eq!((&report["age_ms"], &report["stamp"]), (&json!(0.0), &json!({ "sec": 0, "nanosec": 0 })));
        let until = Time::from_ns((NOW_MS + newest_ms + 2000) * MS);
        assert_eq!(report["valid_until"], json!({ "sec": until.sec, "nanosec": until.nanosec }));
    }
}

#[test]
fn what_follows_a_forecast_is_looked_at_in_order_until_the_stream_breaks() {
    // Two looks a second at ten frames a second, each frame taken three times; a gap after the second.
    let times = (0..36).map(|i| i * 100 / 3).chain((50..70).map(|i| i * 100 / 3));
    let script = Script::new(Clock::stepped(), times.map(small_image).collect());
    let (mut looks, mut places) = (Vec::new(), Vec::new());
    let mut engine = Scripted::new(|look: &Look<'_>, tell: &mut dyn FnMut(Glimpse<'_>)| {
        looks.push(stamps_ms(look));
        places.extend(look.frames.iter().map(|received| received.place));
        if looks.len() == 2 {
            for (ahead, frame) in (1..=3).zip(0..) {
                let (latent, pixels) = ((ahead == 3).then_some(0.5), Some(0.25));
                tell(Glimpse::Surprise { frame, ahead, latent, pixels });
            }
        }
        Outcome::Made(Forecast::default())
    });
    let options = NodeOptions { max_rate_hz: 2.0, ..options() };
    let (summary, surprises) = play(&script, &options, &mut engine);
    assert_eq!(looks[0], [0, 100], "the first clip that is whole");
    assert_eq!(looks[1], [200, 300, 400, 500, 600], "three that follow, and the clip");
    assert_eq!(looks[2], [700, 800, 900, 1000, 1100]);
    assert!(looks[3..].iter().flatten().all(|stamp| 1600 < *stamp), "{looks:?}");
    assert!(places.is_sorted(), "{places:?}");
    let jumps = places.windows(2).filter(|pair| pair[0] + 1 < pair[1]).count();
    assert_eq!(jumps, 1, "one gap, one place left out: {places:?}");
    let accounts = summary.accounts;
    assert_eq!(accounts.served, looks.len() as u64);
    assert_eq!(surprises.iter().map(|s| s.stamp_ns / MS).collect::<Vec<_>>(), [200, 300, 400]);
    let values = |topic: &str| -> Vec<f32> {
        let value = |body: Vec<u8>| decode::<Float32>(&body, ByteOrder::Little).unwrap().data;
        script.memory.published(topic).into_iter().map(value).collect()
    };
    assert_eq!(values("/eye/surprise"), [0.5]);
    assert_eq!(values("/eye/surprise/pixels"), [0.25; 3]);
}

#[test]
fn forecasts_that_fail_are_counted_and_the_node_lives_on() {
    let other_size: Event = Box::new(|memory| {
        memory.clock().set(600 * MS);
        let body = image_body(600 * MS, 1, &[7; 3]);
        memory.inject("/image", ImageView::TYPE, &body, ByteOrder::Little);
    });
    let mut events: Vec<Event> = (0..6).map(|i| small_image(100 * i)).collect();
    events.push(other_size);
    events.extend((7..10).map(|i| small_image(100 * i)));
    let script = Script::new(Clock::stepped(), events);
    let mut n = 0;
    let mut engine = Scripted::new(|_: &Look<'_>, _: &mut dyn FnMut(Glimpse<'_>)| {
        n += 1;
        match n {
            1 => Outcome::Expired,
            2 => Outcome::Failed("a latent is not a number".into()),
            3 => Outcome::Rejected { frame: 1, reason: DropReason::Corrupt, message: "no JPEG".into() },
            _ => Outcome::Made(Forecast::default()),
        }
    });
    let (summary, _) = play(&script, &options(), &mut engine);
    let accounts = summary.accounts;
    let drops: Vec<_> = accounts.drops().map(|(reason, n)| (reason.name(), n)).collect();
    // Frame 2 goes with frame 3; 4 and 5 are forecast from; 600 has another size, and so has 700 then.
    assert_eq!(accounts.received, 10);
    assert_eq!(accounts.served, 3, "{accounts}");
    assert!(
        drops.contains(&("corrupt", 1)) && drops.iter().any(|(name, _)| *name == "clip_restart"),
        "{accounts}"
    );
    assert_eq!(n, 6, "{accounts}");
}

#[test]
fn a_forecast_is_cut_where_its_time_ends_and_says_how_far_it_got() {
    let memory = Memory::new(Arc::new(Clock::system()));
    let options = NodeOptions { max_age: Duration::from_secs(2), surprise_warn: 1.0, ..options() };
    let stop = AtomicBool::new(false);
    let mut engine = Scripted::new(|look: &Look<'_>, tell: &mut dyn FnMut(Glimpse<'_>)| {
        tell(Glimpse::Surprise { frame: 0, ahead: 1, latent: Some(2.0), pixels: None });
        tell(Glimpse::Frame { ahead: 1, rgb: &[1; 12] });
        while Instant::now() < look.deadline.expect("time runs") + Duration::from_millis(100) {
            std::thread::sleep(Duration::from_millis(5));
        }
        tell(Glimpse::Frame { ahead: 2, rgb: &[2; 12] });
        stop.store(true, Relaxed);
        Outcome::Made(Forecast::default())
    });
    let summary = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Relaxed) {
                let now_ns = memory.clock().now().ros_ns;
                memory.inject("/image", ImageView::TYPE, &image_body(now_ns, 2, &[7; 12]), ByteOrder::Little);
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        run(&memory, &options, Engines::forecasting(&mut engine), &stop, &mut |_| {})
            .unwrap()
            .forecasts
            .unwrap()
    });
    assert!(summary.accounts.balance() && summary.accounts.in_flight == 0, "{}", summary.accounts);
    assert_eq!(memory.published("/eye/forecast").len(), 1, "the second came too late");
    let reports = texts(&memory, "/eye/forecast/json");
    assert_eq!((&reports[0]["forecast_frames"], &reports[0]["truncated"]), (&json!(1), &json!(true)));
    let bodies = memory.published("/diagnostics");
    let last: DiagnosticArray = decode(bodies.last().unwrap(), ByteOrder::Little).unwrap();
    let status = &last.status[0];
    assert_eq!(status.name, "eye: forecasts");
    assert_eq!(status.level, 1, "{}: a surprise of 2 is beyond 1", status.message);
    let find =
        |key: &str| status.values.iter().find(|value| value.key == key).unwrap().value.trim_end().to_owned();
    assert_eq!(
        (find("surprise"), find("forecasts_cut"), find("forecasts")),
        ("2.0000".into(), "1".into(), "1".into())
    );
}

#[test]
fn actions_beyond_their_limits_are_taken_and_named_while_they_stand() {
    let memory = Memory::new(Arc::new(Clock::system()));
    let (stop, told) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    let mut engine = Scripted::new(|look: &Look<'_>, tell: &mut dyn FnMut(Glimpse<'_>)| {
        told.lock().unwrap().push(look.plan.expect("it takes actions")[0]);
        tell(Glimpse::Frame { ahead: 1, rgb: &[1; 12] });
        Outcome::Made(Forecast::default())
    });
    engine.shape.action_names = vec!["linear".to_owned()];
    engine.shape.action_limits = vec![[-1.0, 1.0]];
    // The levels and words of the diagnostics, while the robot is told to go so fast, until they satisfy.
    let until = |x: f64, satisfies: &dyn Fn(u8, &str) -> bool| {
        let patience = Instant::now() + Duration::from_secs(60);
        let mut last = String::new();
        while Instant::now() < patience {
            let twist = Twist { linear: Vector3 { x, ..Vector3::default() }, ..Twist::default() };
            memory.inject("/cmd_vel", Twist::TYPE, &encode(&twist), ByteOrder::Little);
            let now_ns = memory.clock().now().ros_ns;
            memory.inject("/image", ImageView::TYPE, &image_body(now_ns, 2, &[7; 12]), ByteOrder::Little);
            for body in memory.published("/diagnostics") {
                let reports: DiagnosticArray = decode(&body, ByteOrder::Little).unwrap();
                let status = &reports.status[0];
                last = format!("{}: {}", status.level, status.message);
                if satisfies(status.level, &status.message) {
                    return;
                }
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("{last}");
    };
    let words = "cmd_vel: linear is 2 in step 0, and the checkpoint takes -1 to 1";
    std::thread::scope(|scope| {
        let driving = scope.spawn(|| {
            let _ends = Ends(&stop);
            until(0.5, &|_, message| !message.contains(words));
            let is_taken = || told.lock().unwrap().contains(&2.0);
            until(2.0, &|level, message| level == 1 && message.contains(words) && is_taken());
            until(0.5, &|_, message| !message.contains(words));
        });
        run(&memory, &options(), Engines::forecasting(&mut engine), &stop, &mut |_| {}).unwrap();
        driving.join().unwrap();
    });
}

#[test]
fn a_forecast_without_frames_that_comes_too_late_is_not_published() {
    let memory = Memory::new(Arc::new(Clock::system()));
    let options = NodeOptions { max_age: Duration::from_millis(300), ..options() };
    let stop = AtomicBool::new(false);
    let mut engine = Scripted::new(|look: &Look<'_>, _: &mut dyn FnMut(Glimpse<'_>)| {
        while Instant::now() < look.deadline.expect("time runs") + Duration::from_millis(50) {
            std::thread::sleep(Duration::from_millis(5));
        }
        stop.store(true, Relaxed);
        Outcome::Made(Forecast { latent_only: true, ..Forecast::default() })
    });
    let summary = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Relaxed) {
                let now_ns = memory.clock().now().ros_ns;
                memory.inject("/image", ImageView::TYPE, &image_body(now_ns, 2, &[7; 12]), ByteOrder::Little);
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        let report = run(&memory, &options, Engines::forecasting(&mut engine), &stop, &mut |_| {});
        report.unwrap().forecasts.unwrap()
    });
    assert_eq!((summary.published, summary.accounts.dropped(DropReason::MadeTooLate)), (0, 1));
    assert!(memory.published("/eye/forecast/json").is_empty());
}

#[test]
fn a_plan_waits_for_a_clip_that_can_be_looked_at() {
    let request =
        json!({ "id": 1, "candidates": [[[0]]], "score": { "expected_surprise": {} }, "noises": 2 });
    let mut events: Vec<Event> = (0..2).map(|i| small_image(100 * i)).collect();
    events.insert(
        0,
        Box::new(move |memory| {
            let body = encode(&Text { data: request.to_string() });
            memory.inject("/eye/plan/request", Text::TYPE, &body, ByteOrder::Little);
        }),
    );
    events.extend((2..5).map(|i| small_image(100 * i)));
    let script = Script::new(Clock::stepped(), events);
    let mut n = 0;
    let mut engine = Scripted::new(|_: &Look<'_>, _: &mut dyn FnMut(Glimpse<'_>)| {
        n += 1;
        match n {
            1 => Outcome::Rejected { frame: 1, reason: DropReason::Corrupt, message: "no JPEG".into() },
            _ => Outcome::Made(Forecast::default()),
        }
    });
    engine.shape.action_names = vec!["linear".to_owned()];
    play(&script, &options(), &mut engine);
    let results = texts(&script.memory, "/eye/plan/result");
    assert_eq!(results.len(), 1, "{results:?}");
    // This engine ranks no plans, which it said of the second clip.
    assert_eq!((&results[0]["id"], &results[0]["error"]), (&json!(1), &json!("this engine ranks no plans")));
    assert_eq!(results[0]["stamp"], json!({ "sec": 0, "nanosec": 300_000_000 }));
}

/// Waits until `count` has come to three; false if the node leaves before, or it takes too long.
fn three_came(count: &AtomicUsize, stop: &AtomicBool, deadline: Option<Instant>) -> bool {
    while count.load(Relaxed) < 3 {
        if stop.load(Relaxed) || deadline.is_some_and(|deadline| deadline < Instant::now()) {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    true
}

/// Runs two engines on one camera until the slow one, which waits until the other has been heard three times, is heard once.
fn hears_one_while_it_waits_for_three_of_the_other(slow_is_the_answerer: bool) {
    let memory = Memory::new(Arc::new(Clock::system()));
    let options = NodeOptions { max_age: Duration::from_secs(60), ..options() };
    let stop = AtomicBool::new(false);
    let (n_answers, n_forecasts) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let mut answerer = Says(|question: &Question<'_>| {
        if slow_is_the_answerer && !three_came(&n_forecasts, question.stop, question.deadline) {
            return Outcome::Expired;
        }
        Outcome::Made(Answer { text: "so so".into(), ..Answer::default() })
    });
    let mut forecaster = Scripted::new(|look: &Look<'_>, tell: &mut dyn FnMut(Glimpse<'_>)| {
        if !slow_is_the_answerer && !three_came(&n_answers, look.stop, look.deadline) {
            return Outcome::Expired;
        }
        tell(Glimpse::Frame { ahead: 1, rgb: &[1; 12] });
        Outcome::Made(Forecast::default())
    });
    let mut hear = |said: Said<'_>| {
        let (count, is_slow) = match said {
            Said::Answer(_) => (&n_answers, slow_is_the_answerer),
            Said::Forecast(_) => (&n_forecasts, !slow_is_the_answerer),
            Said::Surprise(_) => return,
        };
        count.fetch_add(1, Relaxed);
        stop.fetch_or(is_slow, Relaxed);
    };
    let engines = Engines { answerer: Some(&mut answerer), forecaster: Some(&mut forecaster) };
    let report = std::thread::scope(|scope| {
        scope.spawn(|| {
            let patience = Instant::now() + Duration::from_secs(60);
            while !stop.load(Relaxed) && Instant::now() < patience {
                let now_ns = memory.clock().now().ros_ns;
                memory.inject("/image", ImageView::TYPE, &image_body(now_ns, 2, &[7; 12]), ByteOrder::Little);
                std::thread::sleep(Duration::from_millis(100));
            }
            stop.store(true, Relaxed);
        });
        run(&memory, &options, engines, &stop, &mut hear).unwrap()
    });
    let (answers, forecasts) = (report.answers.unwrap(), report.forecasts.unwrap());
    let (slow, quick) = if slow_is_the_answerer { (&answers, &forecasts) } else { (&forecasts, &answers) };
    assert_eq!(slow.published, 1, "{slow:?} {quick:?}");
    assert!(3 <= quick.published, "{quick:?}");
    for accounts in [answers.accounts, forecasts.accounts] {
        assert!(accounts.balance() && accounts.in_flight == 0, "{accounts}");
    }
    assert_eq!(answers.accounts.received, forecasts.accounts.received, "one camera for both");
    let bodies = memory.published("/diagnostics");
    let last: DiagnosticArray = decode(bodies.last().unwrap(), ByteOrder::Little).unwrap();
    let names: Vec<&str> = last.status.iter().map(|status| status.name.as_str()).collect();
    assert_eq!(names, ["eye: forecasts", "eye: answers"]);
    let texts = memory.published("/eye/answer").len();
    assert_eq!(texts as u64, answers.published);
}

#[test]
fn neither_of_two_engines_waits_for_the_other() {
    hears_one_while_it_waits_for_three_of_the_other(true);
    hears_one_while_it_waits_for_three_of_the_other(false);
}

/// Real engines on a camera of JPEG images: each frame is decoded once, whoever looks at it, and neither hears another picture than
/// it would alone.
#[test]
fn two_engines_decode_each_frame_once() {
    let scene = Scene::draw(&mut Rng::new(8), SceneOptions { n_frames: 20, ..SceneOptions::default() });
    let events = || {
        let seen = |t: usize| -> Event {
            let mut data = Vec::new();
            let encoder = ::image::codecs::jpeg::JpegEncoder::new_with_quality(&mut data, 95);
            let (size, color) = (SIZE as u32, ::image::ExtendedColorType::Rgb8);
            encoder.write_image(&rendered(&scene, t), size, size, color).unwrap();
            let stamp = Time::from_ns(t as i64 * 125 * MS);
            let header = HeaderView { stamp, frame_id: ShortString::new("cam").unwrap() };
            let format = ShortString::new("jpeg").unwrap();
            let body = encode(&CompressedImageView { header, format, data: &data });
            Box::new(move |memory: &Memory| {
                memory.clock().set(stamp.ns());
                memory.inject("/image/compressed", CompressedImageView::TYPE, &body, ByteOrder::Little);
            })
        };
        (0..20).map(seen).collect()
    };
    let options = NodeOptions { image_transport: ImageTransport::Compressed, max_rate_hz: 2.0, ..options() };
    let settings = AnswerSettings { tokens_max: 4, ..AnswerSettings::default() };
    let mut answerer = ReasonAnswerer::new(reason::open(), settings);
    let mut heard = |answers: bool, forecasts: bool| {
        let mut forecaster = small_predict();
        let engines = Engines {
            answerer: answers.then_some(&mut answerer as &mut dyn Answerer),
            forecaster: forecasts.then_some(&mut *forecaster as &mut dyn Forecaster),
        };
        let (mut texts, mut surprises) = (Vec::new(), Vec::new());
        let mut hear = |said: Said<'_>| match said {
            Said::Answer(answer) => texts.push((answer.stamp_ns, answer.text.clone())),
            Said::Surprise(surprise) => surprises.push(*surprise),
            Said::Forecast(_) => {}
        };
        let script = Script::new(Clock::stepped(), events());
        let report = run(&script, &options, engines, &AtomicBool::new(false), &mut hear).unwrap();
        (texts, surprises, report.n_decoded)
    };
    let (texts, _, n_answered) = heard(true, false);
    let (_, surprises, n_forecast) = heard(false, true);
    let (texts_beside, surprises_beside, n_both) = heard(true, true);
    assert_eq!((&texts_beside, &surprises_beside), (&texts, &surprises));
    assert!(4 <= texts.len() && 8 <= surprises.len(), "{texts:?} {surprises:?}");
    // Forecasts are made from all frames but the last three; every question's frame is among them.
    assert_eq!((n_answered, n_forecast, n_both), (texts.len() as u64, 17, 17));
}

fn small_predict() -> MutexGuard<'static, PredictForecaster> {
    static ENGINE: OnceLock<Mutex<PredictForecaster>> = OnceLock::new();
    let open = || {
        let predict = engine::open(Path::new("engines/small-predict"), &PredictOptions::default(), 1, None);
        let settings = PredictSettings { seed: 0, latent_only: false, ..PredictSettings::default() };
        Mutex::new(PredictForecaster::new(predict, settings))
    };
    ENGINE.get_or_init(open).lock().unwrap_or_else(PoisonError::into_inner)
}

fn rendered(scene: &Scene, t: usize) -> Vec<u8> {
    let mut rgb = vec![0; FRAME_BYTES];
    scene.render(t, &mut rgb);
    rgb
}

fn shown(n_frames: usize, frame: impl Fn(usize) -> Vec<u8>) -> Script {
    Script::new(
        Clock::stepped(),
        (0..n_frames).map(|t| image(t as i64 * 125, SIZE as u32, frame(t))).collect(),
    )
}

/// A scene of which ball 0 is put elsewhere after the frame `at`.
fn with_a_jump(scene: &Scene, at: usize, n_frames: usize) -> impl Fn(usize) -> Vec<u8> {
    let mut start = scene.start.clone();
    for (ball, position) in start.balls.iter_mut().zip(&scene.track[at]) {
        ball.position = *position;
    }
    for x in &mut start.balls[0].position {
        *x += if *x < SIZE as f64 / 2.0 { 28.0 } else { -28.0 };
    }
    let after = Scene::simulate(start, n_frames, 0);
    let before = scene.clone();
    move |t| if t <= at { rendered(&before, t) } else { rendered(&after, t - at) }
}

/// Surprise in latent space of a scene in which all lies still, and of the same with a jump.
fn quiet_and_jumping(seed: u64, forecaster: &mut PredictForecaster) -> (Vec<f32>, Vec<f32>) {
    // Looks once a horizon: what follows a forecast is held against it, and then the next is made.
    let options = NodeOptions { max_rate_hz: 1.0, ..options() };
    let (n_frames, at) = (29, 12);
    let mut scene = Scene::draw(&mut Rng::new(seed), SceneOptions { n_frames, ..SceneOptions::default() });
    for ball in &mut scene.start.balls {
        ball.velocity = [0.0; 2];
    }
    let scene = Scene::simulate(scene.start, n_frames, 0);
    let jump = shown(n_frames, with_a_jump(&scene, at, n_frames));
    let mut latents = |script: &Script| -> Vec<f32> {
        let surprises = play(script, &options, forecaster).1;
        surprises.iter().filter_map(|surprise| surprise.latent).collect()
    };
    (latents(&shown(n_frames, |t| rendered(&scene, t))), latents(&jump))
}

#[test]
fn surprise_of_one_place_parts_a_jump_from_a_quiet_scene_further() {
    let predict = engine::open(Path::new("engines/small-predict"), &PredictOptions::default(), 1, None);
    let settings = PredictSettings { seed: 0, latent_only: true, surprise_blur: 0.1 };
    let mut by_place = PredictForecaster::new(predict, settings);
    for seed in [1, 2, 3] {
        let apart = |(quiet, jumping): (Vec<f32>, Vec<f32>)| {
            jumping[2] / quiet.iter().fold(f32::MIN_POSITIVE, |most, surprise| most.max(*surprise))
        };
        let place = apart(quiet_and_jumping(seed, &mut by_place));
        let whole = apart(quiet_and_jumping(seed, &mut small_predict()));
        assert!(1.0 < whole && whole < place, "seed {seed}: {whole}, {place}");
    }
}

#[test]
fn a_jump_surprises_and_a_quiet_scene_does_not() {
    for seed in [1, 2, 3] {
        let (quiet, jumping) = quiet_and_jumping(seed, &mut small_predict());
        assert_eq!((quiet.len(), jumping.len()), (6, 6), "two latents a forecast");
        assert!(quiet.iter().all(|surprise| *surprise < THRESHOLD), "seed {seed}: {quiet:?}");
        assert_eq!(quiet[..2], jumping[..2], "what came before the jump is the same");
        // The second forecast is made from frames up to the jump: its first latent is of frames after that.
        assert!(THRESHOLD < jumping[2], "seed {seed}: {jumping:?}");
    }
}

#[test]
fn forecasts_made_meanwhile_leave_a_comparison_as_it_is() {
    let scene = Scene::draw(&mut Rng::new(4), SceneOptions { n_frames: 21, ..SceneOptions::default() });
    let compared = |max_rate_hz: f64| {
        let options = NodeOptions { max_rate_hz, ..options() };
        play(&shown(21, |t| rendered(&scene, t)), &options, &mut *small_predict())
    };
    let (rarely, surprises) = compared(1.0);
    let (often, meanwhile) = compared(0.0);
    assert_eq!((rarely.published, often.published), (3, 17));
    assert_eq!(surprises, meanwhile);
    assert_eq!(
        surprises.iter().map(|s| s.stamp_ns / MS / 125).collect::<Vec<_>>(),
        (5..=20).collect::<Vec<i64>>()
    );
    assert_eq!(
        surprises.iter().map(|s| s.ahead).collect::<Vec<_>>(),
        (0..16).map(|i| i % 8 + 1).collect::<Vec<usize>>()
    );
    assert!(surprises.iter().all(|s| s.pixels.is_some() && s.latent.is_some() == (s.ahead % 4 == 0)));
}

#[test]
fn a_gap_ends_what_was_expected() {
    let scene = Scene::draw(&mut Rng::new(5), SceneOptions { n_frames: 24, ..SceneOptions::default() });
    let events = (0..24).filter(|t| *t != 7).map(|t| image(t as i64 * 125, SIZE as u32, rendered(&scene, t)));
    let (summary, surprises) =
        play(&Script::new(Clock::stepped(), events.collect()), &options(), &mut *small_predict());
    // Clips end with frames 4 to 6, and again with 12 and later; frames 5 and 6 were compared.
    let compared: Vec<i64> = surprises.iter().map(|s| s.stamp_ns / MS / 125).collect();
    assert_eq!(compared, [5, 6].into_iter().chain(13..=23).collect::<Vec<_>>());
    assert_eq!(summary.published, 3 + 12);
}

#[test]
fn frames_of_any_size_are_scaled_and_the_stamps_stay() {
    let scene = Scene::draw(&mut Rng::new(6), SceneOptions { n_frames: 13, ..SceneOptions::default() });
    // Each pixel four times: scaled down again it is the same frame.
    let doubled = |t: usize| -> Vec<u8> {
        let rgb = rendered(&scene, t);
        let pixel = |x: usize, y: usize| &rgb[3 * (y / 2 * SIZE + x / 2)..][..3];
        (0..4 * SIZE * SIZE).flat_map(|i| pixel(i % (2 * SIZE), i / (2 * SIZE)).to_vec()).collect()
    };
    let events = (0..13).map(|t| image(t as i64 * 125, 2 * SIZE as u32, doubled(t))).collect();
    let options = NodeOptions {
        max_image_bytes: 4 * FRAME_BYTES,
        max_pixels: 4 * SIZE * SIZE,
        max_rate_hz: 1.0,
        ..options()
    };
    let predict = engine::open(Path::new("engines/small-predict"), &PredictOptions::default(), 1, None);
    let settings = PredictSettings { seed: 0, latent_only: true, ..PredictSettings::default() };
    let mut engine = PredictForecaster::new(predict, settings);
    let script = Script::new(Clock::stepped(), events);
    let (summary, surprises) = play(&script, &options, &mut engine);
    assert_eq!((summary.published, surprises.len()), (2, 8));
    assert!(surprises.iter().all(|s| s.pixels.is_none()), "nothing was decoded");
    assert!(script.memory.published("/eye/forecast").is_empty());
    let report = &texts(&script.memory, "/eye/forecast/json")[0];
    assert_eq!((&report["latent_only"], &report["truncated"]), (&json!(true), &json!(false)));
    assert!(["encode_ms", "denoise_ms", "decode_ms"].iter().all(|key| report[*key].is_number()), "{report}");
    // Nearly the surprise of the small frames: bilinear scaling mixes pixels at the edges.
    let small = play(&shown(13, |t| rendered(&scene, t)), &options, &mut *small_predict()).1;
    for (large, small) in surprises.iter().zip(&small) {
        let (Some(large), Some(small)) = (large.latent, small.latent) else { continue };
        assert!((large - small).abs() < 0.1, "{large} and {small}");
    }
}

#[test]
fn a_forecast_is_made_for_the_actions_that_were_heard() {
    let fixture = Path::new("tests/fixtures/predict/predict25_actions_of_each_latent/checkpoint");
    let predict = engine::open(fixture, &PredictOptions::default(), 1, None);
    let settings = PredictSettings { seed: 1, latent_only: false, ..PredictSettings::default() };
    let mut engine = PredictForecaster::new(predict, settings);
    assert_eq!(engine.shape().action_names, ["linear", "angular"]);
    let horizon = engine.shape().horizon;
    // The camera shows the same all the time, so that only actions make a difference.
    let scene = Scene::draw(&mut Rng::new(7), SceneOptions { n_frames: 1, ..SceneOptions::default() });
    let show = |i: i64| image(i * 250, SIZE as u32, rendered(&scene, 0));
    let hear = |topic: &'static str, ros_type: &'static str, body: Vec<u8>| -> Event {
        Box::new(move |memory| memory.inject(topic, ros_type, &body, ByteOrder::Little))
    };
    let mut twist = Twist::default();
    (twist.linear.x, twist.angular.z) = (1.5, -2.0);
    let plan = |rows: &[f32]| {
        let message = Float32MultiArray { data: rows.to_vec(), ..Float32MultiArray::default() };
        hear("/eye/actions", Float32MultiArray::TYPE, encode(&message))
    };
    let mut events: Vec<Event> = (0..5).map(show).collect();
    events.extend([
        hear("/cmd_vel", Twist::TYPE, encode(&twist)),
        show(5),
        plan(&[0.0, 0.0]),
        show(6),
        plan(&[f32::NAN, 0.0]),
        plan(&[0.0; 99]),
        hear("/cmd_vel", Float32::TYPE, vec![0; 4]),
        show(7),
    ]);
    let script = Script::new(Clock::stepped(), events);
    let (summary, _) = play(&script, &options(), &mut engine);
    assert_eq!(summary.published, 4);
    let reports = texts(&script.memory, "/eye/forecast/json");
    let sources: Vec<&str> = reports.iter().map(|report| report["actions"].as_str().unwrap()).collect();
    assert_eq!(sources, ["zeros: none heard yet", "cmd_vel", "plan of 1 steps", "plan of 1 steps"]);
    let bodies = script.memory.published("/eye/forecast");
    let pixels = |body: &Vec<u8>| decode::<ImageView<'_>>(body, ByteOrder::Little).unwrap().data.to_vec();
    let forecasts: Vec<Vec<Vec<u8>>> =
        bodies.chunks(horizon).map(|frames| frames.iter().map(pixels).collect()).collect();
    assert_eq!(forecasts.len(), 4);
    assert_ne!(forecasts[0], forecasts[1], "a velocity makes another future");
    assert_eq!(forecasts[0], forecasts[2], "a plan of zeros makes the first one again");
    assert_eq!(forecasts[2], forecasts[3], "what is no plan changes nothing");
}
