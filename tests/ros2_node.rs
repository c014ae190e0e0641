//! The node on scripted graphs, with an engine that says what a closure says.

#![allow(clippy::unwrap_used, reason = "what a test cannot go on without fails it")]

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use perihelion::frames::accounts::DropReason;
use perihelion::frames::clock::Clock;
use perihelion::ros2::messages::{
    ByteOrder, DiagnosticArray, HeaderView, ImageView, Message, ShortString, Text, decode, encode,
};
use perihelion::ros2::names::NodeName;
use perihelion::ros2::node::{Answer, Answerer, Engines, NodeOptions, Outcome, Question, Said, Summary, run};
use perihelion::ros2::transport::{Memory, Transport};
use serde_json::json;

#[path = "support/logged.rs"]
mod logged;
#[path = "support/script.rs"]
mod script;

use logged::logged;
use script::{Event, MS, Script, image_body};

/// No prompt is longer.
const PROMPT_BYTES_MAX: usize = 16 << 10;
/// A frame of two pixels.
const PIXELS: [u8; 6] = [1, 2, 3, 4, 5, 6];

/// Answers what a closure says.
struct Says<F>(F);

impl<F: FnMut(&Question<'_>) -> Outcome + Send> Answerer for Says<F> {
    fn answer(&mut self, question: &Question<'_>) -> Outcome {
        (self.0)(question)
    }
}

fn answer(text: impl Into<String>) -> Outcome {
    Outcome::Made(Answer { text: text.into(), ..Answer::default() })
}

/// An image stamped `stamp_ms` that arrives then.
fn image(stamp_ms: i64) -> Event {
    script::image(stamp_ms, 2, PIXELS.to_vec())
}

/// The body of an image that is taken now.
fn image_now(memory: &Memory) -> Vec<u8> {
    image_body(memory.clock().now().ros_ns, 2, &PIXELS)
}

fn texts(script: &Script, topic: &str) -> Vec<String> {
    let text = |body: Vec<u8>| decode::<Text>(&body, ByteOrder::Little).unwrap().data.trim_end().to_owned();
    script.memory.published(topic).into_iter().map(text).collect()
}

fn prompt(body: Vec<u8>) -> Event {
    Box::new(move |memory| memory.inject("/eye/prompt", Text::TYPE, &body, ByteOrder::Little))
}

fn text(text: &str) -> Vec<u8> {
    encode(&Text { data: text.to_owned() })
}

fn options() -> NodeOptions {
    let name = NodeName::new("/", "eye").unwrap();
    NodeOptions { prompt: "What?".into(), max_image_bytes: 1000, ..NodeOptions::new(name) }
}

fn play(
    script: &Script,
    options: &NodeOptions,
    says: impl FnMut(&Question<'_>) -> Outcome + Send,
) -> Summary {
    let mut says = Says(says);
    let report = run(script, options, Engines::answering(&mut says), &AtomicBool::new(false), &mut |_| {});
    let summary = report.unwrap().answers.unwrap();
    assert!(summary.accounts.balance(), "{}", summary.accounts);
    assert_eq!(summary.accounts.in_flight, 0, "{}", summary.accounts);
    summary
}

#[test]
fn every_frame_of_a_stepped_graph_is_answered_with_all_that_is_known() {
    let script = Script::new(Clock::stepped(), vec![image(1000), image(1033), image(1066)]);
    let summary = play(&script, &options(), |question| {
        assert_eq!((question.prompt, question.deadline), ("What?", None));
        let details = json!({ "tokens": [1, 2], "text": "not this" });
        let text = format!("I see {:?}", question.frames[0].frame.data());
        Outcome::Made(Answer { text, details: details.as_object().unwrap().clone(), ..Answer::default() })
    });
    assert_eq!((summary.published, summary.accounts.served, summary.accounts.dropped_total()), (3, 3, 0));
    assert_eq!(texts(&script, "/eye/answer"), vec!["I see [1, 2, 3, 4, 5, 6]"; 3]);
    let json: serde_json::Value = serde_json::from_str(&texts(&script, "/eye/answer/json")[2]).unwrap();
    assert_eq!(json["text"], "I see [1, 2, 3, 4, 5, 6]");
    assert_eq!((&json["frame_id"], &json["tokens"]), (&json!("cam"), &json!([1, 2])));
    assert_eq!(json["stamps"], json!([{ "sec": 1, "nanosec": 66_000_000 }]));
    assert_eq!(json["valid_until"], json!({ "sec": 3, "nanosec": 66_000_000 }));
    assert_eq!((&json["age_ms"], &json["stamp_suspect"]), (&json!(0.0), &json!(false)));
}

/// An image stamped `stamp_ms` that arrives on `topic` at `now_ms`.
fn stamped(topic: &'static str, stamp_ms: i64, now_ms: i64) -> Event {
    Box::new(move |memory| {
        memory.clock().set(now_ms * MS);
        memory.inject(topic, ImageView::TYPE, &image_body(stamp_ms * MS, 2, &PIXELS), ByteOrder::Little);
    })
}

#[test]
fn stamps_that_cannot_be_right_give_way_to_receipt_and_are_named_once() {
    const NOW_MS: i64 = 1_790_000_000_000;
    logged("");
    let of = |stamp: fn(i64) -> i64| {
        move |i: i64| stamped("/zeros/image", stamp(NOW_MS + i * 50), NOW_MS + i * 50)
    };
    let mut events: Vec<Event> = (0..60).map(of(|_| 0)).collect();
    events.extend((60..200).map(of(|now_ms| now_ms - 20)));
    let script = Script::new(Clock::stepped(), events);
    let name = NodeName::new("/zeros", "eye").unwrap();
    let options = NodeOptions { name, clip_frames: 4, clip_rate_hz: 4.0, ..options() };
    let mut steps_ms = Vec::new();
    let summary = play(&script, &options, |question| {
        let seen = question.frames.iter().map(|received| received.seen_ns / MS).collect::<Vec<_>>();
        steps_ms.extend(seen.windows(2).map(|pair| pair[1] - pair[0]));
        answer("a clip")
    });
    assert!(steps_ms.iter().all(|step| *step == 250), "{steps_ms:?}");
    assert_eq!(summary.accounts.dropped(DropReason::Untimed), 0);
    let answers = texts(&script, "/zeros/eye/answer/json");
    assert!(30 < answers.len());
    let [first, last] = [&answers[0], &answers[answers.len() - 1]]
        .map(|text| serde_json::from_str::<serde_json::Value>(text).unwrap());
    assert_eq!((&first["stamp_suspect"], &first["timed_by"]), (&json!(true), &json!("receipt")));
    assert_eq!((&first["age_ms"], &first["stamp"]), (&json!(0.0), &json!({ "sec": 0, "nanosec": 0 })));
    // The fourth of 250 ms, and what `max_age` grants.
    assert_eq!(first["valid_until"], json!({ "sec": NOW_MS / 1000 + 2, "nanosec": 750_000_000 }));
    assert_eq!((&last["stamp_suspect"], &last["timed_by"]), (&json!(false), &json!("stamp")));
    assert_eq!(last["age_ms"], json!(20.0));
    let lines = logged("stamps of /zeros/image");
    let expected = "WARN stamps of /zeros/image are zero: clips, forecasts and ages go by receipt; let the camera's \
                    driver put the time of each image into header.stamp";
    assert_eq!(lines, [expected]);
    assert_eq!(logged("the camera's stamps are right again").len(), 1);
}

#[test]
fn a_bag_that_tells_no_time_gives_no_clips_and_says_why() {
    logged("");
    // Recorded in one heap, with stamps that stand still.
    let events = (0..100).map(|i| stamped("/heap/image", 7000, 7000 + i / 50)).collect();
    let script = Script::new(Clock::stepped(), events);
    let name = NodeName::new("/heap", "eye").unwrap();
    let options = NodeOptions { name, clip_frames: 4, clip_rate_hz: 4.0, ..options() };
    let summary = play(&script, &options, |_| answer("a clip"));
    assert_eq!(summary.published, 0);
    let events = (0..100).map(|i| stamped("/heap/image", 0, 90_000_000 + i * 10 / 50)).collect();
    let script = Script::new(Clock::stepped(), events);
    let summary = play(&script, &options, |_| answer("a clip"));
    assert!(90 < summary.accounts.dropped(DropReason::Untimed), "{}", summary.accounts);
    let lines = logged("/heap/image");
    assert!(lines.iter().any(|line| line.contains("so that no clip can be formed")), "{lines:?}");
}

/// The last report of a node that ran for a while beside a camera in its own thread.
fn report_beside(
    options: &NodeOptions,
    mut says: impl FnMut(&Question<'_>) -> Outcome + Send,
    camera: impl Fn(&Memory, u32) + Sync,
    is_enough: impl Fn(&str) -> bool + Sync,
) -> (Vec<(u8, String)>, Memory) {
    let memory = Memory::new(Arc::new(Clock::system()));
    let stop = AtomicBool::new(false);
    let mut states: Vec<(u8, String)> = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            (0..).take_while(|_| !stop.load(Relaxed)).for_each(|i| camera(&memory, i));
        });
        scope.spawn(|| {
            let until = Instant::now() + Duration::from_secs(30);
            while Instant::now() < until && !states.iter().any(|(_, message)| is_enough(message)) {
                for body in memory.published("/diagnostics") {
                    let report: DiagnosticArray = decode(&body, ByteOrder::Little).unwrap();
                    let status = &report.status[0];
                    states.push((status.level, status.message.trim_end().to_owned()));
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            stop.store(true, Relaxed);
        });
        let mut says = Says(|question: &Question<'_>| says(question));
        run(&memory, options, Engines::answering(&mut says), &stop, &mut |_| {}).unwrap();
    });
    (states, memory)
}

#[test]
fn a_camera_slower_than_its_clip_is_named_with_its_rate() {
    logged("");
    let name = NodeName::new("/", "slow").unwrap();
    let options = NodeOptions { name, clip_frames: 2, clip_rate_hz: 500.0, ..options() };
    let camera = |memory: &Memory, _| {
        memory.inject("/image", ImageView::TYPE, &image_now(memory), ByteOrder::Little);
        std::thread::sleep(Duration::from_millis(20));
    };
    let text = "a clip wants 500: give --fps";
    let (states, _) = report_beside(&options, |_| answer("yes"), camera, |message| message.contains(text));
    let (level, message) = states.last().unwrap();
    assert!(*level == 1 && message.contains(text), "{states:?}");
    let rate: f64 = message.split(' ').nth(3).unwrap().parse().unwrap();
    assert!(1.0 < rate && rate < 51.0, "{message}");
    assert_eq!(logged(text).len(), 1);
}

#[test]
fn answering_is_said_after_an_answer() {
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let camera = |memory: &Memory, _| {
        memory.inject("/image", ImageView::TYPE, &image_now(memory), ByteOrder::Little);
        std::thread::sleep(Duration::from_millis(20));
    };
    let says = |question: &Question<'_>| {
        // The first takes until two reports have been made.
        let until = Instant::now() + Duration::from_millis(1500);
        while asked.load(Relaxed) == 0 && Instant::now() < until && !question.stop.load(Relaxed) {
            std::thread::sleep(Duration::from_millis(10));
        }
        asked.fetch_add(1, Relaxed);
        answer("yes")
    };
    let (states, _) = report_beside(&options(), says, camera, |message| message == "answering");
    let of = |words: &str| states.iter().position(|(_, message)| message == words);
    let (first, answering) = (of("images come, and the first answer is being made"), of("answering"));
    assert!(first.is_some() && first < answering, "{states:?}");
    assert_eq!(states[first.unwrap()].0, 0, "it is not wrong");
}

#[test]
fn an_answer_that_was_cut_says_so_where_it_is_heard() {
    let camera = |memory: &Memory, _| {
        memory.inject("/image", ImageView::TYPE, &image_now(memory), ByteOrder::Little);
        std::thread::sleep(Duration::from_millis(20));
    };
    let mut n = 0;
    let says = |_: &Question<'_>| {
        n += 1;
        let text = ["The path is", "", "It is clear."][(n - 1).min(2)].to_owned();
        Outcome::Made(Answer { text, is_cut: n < 3, ..Answer::default() })
    };
    let (states, memory) =
        report_beside(&options(), says, camera, |message| message.contains("2 of the last "));
    let (level, message) = states.last().unwrap();
    assert!(*level == 1 && message.starts_with("2 of the last "), "{states:?}");
    assert!(
        message.contains(" answers were cut at max_age (") && message.contains(" %), 2 since the start: ")
    );
    let heard = |topic: &str| -> Vec<String> {
        let text =
            |body: Vec<u8>| decode::<Text>(&body, ByteOrder::Little).unwrap().data.trim_end().to_owned();
        memory.published(topic).into_iter().take(3).map(text).collect()
    };
    assert_eq!(heard("/eye/answer"), ["The path is …[cut at max_age]", "…[cut at max_age]", "It is clear."]);
    let whole: serde_json::Value = serde_json::from_str(&heard("/eye/answer/json")[0]).unwrap();
    assert_eq!(whole["text"], "The path is", "a program looks at finish_reason");
}

#[test]
fn the_prompt_topic_replaces_the_question_and_empty_restores_it() {
    let events = vec![
        image(0),
        prompt(text("Is it clear? ")),
        image(33),
        prompt(vec![3, 0, 0, 0, 0xff, 0xff, 0]),
        prompt(text(&"x".repeat(PROMPT_BYTES_MAX + 1))),
        Box::new(|memory: &Memory| {
            memory.inject("/eye/prompt", "std_msgs/msg/Float32", &[0; 4], ByteOrder::Little)
        }),
        image(66),
        prompt(text("")),
        image(99),
    ];
    let script = Script::new(Clock::stepped(), events);
    let mut asked = Vec::new();
    play(&script, &options(), |question| {
        asked.push(question.prompt.to_owned());
        answer("yes")
    });
    assert_eq!(asked, ["What?", "Is it clear?", "Is it clear?", "What?"]);
}

#[test]
fn what_goes_wrong_is_counted_and_the_node_lives_on() {
    let garbage = |bytes: &'static [u8]| -> Event {
        Box::new(move |memory| memory.inject("/image", ImageView::TYPE, bytes, ByteOrder::Little))
    };
    let other_type: Event =
        Box::new(|memory| memory.inject("/image", Text::TYPE, &text("hi"), ByteOrder::Little));
    let huge: Event = Box::new(|memory| {
        let header = HeaderView::default();
        let encoding = ShortString::new("mono8").unwrap();
        let data = &[0; 1001];
        let image = ImageView { header, height: 1, width: 1001, encoding, is_bigendian: 0, step: 1001, data };
        memory.inject("/image", ImageView::TYPE, &encode(&image), ByteOrder::Little);
    });
    let events = vec![image(0), image(33), garbage(&[1, 2, 3]), other_type, huge, image(66), image(99)];
    let script = Script::new(Clock::stepped(), events);
    let mut outcomes = VecDeque::from([
        Outcome::Failed("a logit is not a number".into()),
        Outcome::Rejected { frame: 0, reason: DropReason::UnknownEncoding, message: "mono8".into() },
        Outcome::Expired,
        answer("at last"),
    ]);
    let summary = play(&script, &options(), |_| outcomes.pop_front().unwrap());
    let drops: Vec<_> = summary.accounts.drops().map(|(reason, n)| (reason.name(), n)).collect();
    let expected =
        ["answer_too_late", "answer_failed", "oversized", "malformed", "wrong_type", "unknown_encoding"];
    assert_eq!(drops, expected.map(|name| (name, 1)));
    assert_eq!(texts(&script, "/eye/answer"), ["at last"]);
}

#[test]
fn a_clip_is_asked_about_when_it_is_whole() {
    let events = (0..12).map(|i| image(i * 125)).collect();
    let script = Script::new(Clock::stepped(), events);
    let mut clips = Vec::new();
    let options = NodeOptions { clip_frames: 4, clip_rate_hz: 4.0, ..options() };
    let summary = play(&script, &options, |question| {
        clips.push(question.frames.iter().map(|received| received.frame.stamp_ns / MS).collect::<Vec<_>>());
        answer("a clip")
    });
    assert_eq!(clips, [[0, 250, 500, 750], [250, 500, 750, 1000], [500, 750, 1000, 1250]]);
    assert_eq!((summary.accounts.served, summary.accounts.clip_members), (3, 3));
    assert_eq!(summary.accounts.dropped(DropReason::OffRate), 6);
    let json: serde_json::Value = serde_json::from_str(&texts(&script, "/eye/answer/json")[0]).unwrap();
    assert_eq!(json["stamps"].as_array().unwrap().len(), 4);
    assert_eq!(json["stamp"], json!({ "sec": 0, "nanosec": 750_000_000 }));
}

#[test]
fn an_answer_that_comes_too_late_is_not_published() {
    let arrival: Event = Box::new(|memory| {
        memory.inject("/image", ImageView::TYPE, &image_now(memory), ByteOrder::Little);
    });
    let script = Script::new(Clock::system(), vec![arrival]);
    let options = NodeOptions { max_age: Duration::from_millis(50), ..options() };
    let summary = play(&script, &options, |question| {
        let deadline = question.deadline.expect("time runs");
        let left = deadline.saturating_duration_since(Instant::now());
        assert!(left <= Duration::from_millis(30), "publishing takes its time too: {left:?}");
        while Instant::now() < deadline + Duration::from_millis(50) {
            std::thread::yield_now();
        }
        answer("stale")
    });
    assert_eq!(summary.accounts.dropped(DropReason::MadeTooLate), 1);
    assert_eq!(texts(&script, "/eye/answer"), [""; 0]);
}

#[test]
fn a_slow_engine_gets_the_newest_frames_of_a_fast_camera() {
    let memory = Memory::new(Arc::new(Clock::system()));
    let options = NodeOptions { max_age: Duration::from_secs(60), ..options() };
    let stop = AtomicBool::new(false);
    let see = || {
        let body = image_now(&memory);
        memory.inject("/image", ImageView::TYPE, &body, ByteOrder::Little);
        decode::<ImageView<'_>>(&body, ByteOrder::Little).unwrap().header.stamp.ns()
    };
    // Each answer takes ten frames; the next question is about the last of them.
    let (mut newest_ns, mut asked_ns) = (vec![], vec![]);
    let (mut stamps, mut ages_ms) = (Vec::new(), Vec::new());
    let summary = std::thread::scope(|scope| {
        scope.spawn(|| {
            // A first report says that the node listens.
            while memory.published("/diagnostics").is_empty() {
                std::thread::yield_now();
            }
            see()
        });
        let mut says = Says(|question: &Question<'_>| {
            let [received] = question.frames else { panic!("one frame") };
            asked_ns.push(received.frame.stamp_ns);
            for _ in 0..9 {
                see();
            }
            newest_ns.push(see());
            stop.fetch_or(asked_ns.len() == 30, Relaxed);
            answer("so so")
        });
        let mut hear = |said: Said<'_>| {
            if let Said::Answer(published) = said {
                stamps.push(published.stamp_ns);
                ages_ms.push((published.age_ms, published.answer_ms, published.camera_to_answer_ms));
            }
        };
        run(&memory, &options, Engines::answering(&mut says), &stop, &mut hear).unwrap().answers.unwrap()
    });
    assert_eq!((asked_ns.len(), &asked_ns[1..]), (30, &newest_ns[..29]), "the newest when its turn came");
    assert_eq!(stamps, asked_ns);
    for (age_ms, answer_ms, camera_to_answer_ms) in ages_ms {
        // Its camera stamps a frame just before it comes; clocks of two kinds may differ a little.
        assert!(0.0 <= answer_ms && answer_ms <= camera_to_answer_ms && camera_to_answer_ms <= age_ms + 1.0);
    }
    assert_eq!(summary.accounts.served, 30);
    assert_eq!(summary.accounts.dropped(DropReason::Superseded), 29 * 9 + 9);
    assert_eq!(summary.accounts.dropped(DropReason::Stopped), 1);
    let accounts = summary.accounts;
    assert!(accounts.balance() && accounts.in_flight == 0, "{accounts}");
    assert!(stamps.is_sorted(), "an answer about an older frame came later");
    let reports = memory.published("/diagnostics");
    let last: DiagnosticArray = decode(reports.last().unwrap(), ByteOrder::Little).unwrap();
    let find = |key: &str| {
        let values = &last.status[0].values;
        values.iter().find(|value| value.key == key).unwrap().value.trim_end().parse::<u64>().unwrap()
    };
    assert_eq!((find("answered"), find("received")), (accounts.served, accounts.received));
    assert_eq!(
        find("received"),
        find("answered") + find("clip_members") + find("dropped") + find("in_flight")
    );
}

#[test]
fn questions_keep_to_their_rate() {
    let events = (0..30).map(|i| image(i * 100)).collect();
    let script = Script::new(Clock::stepped(), events);
    let mut asked = Vec::new();
    let options = NodeOptions { max_rate_hz: 1.0, ..options() };
    let summary = play(&script, &options, |question| {
        asked.push(question.frames[0].frame.stamp_ns / MS);
        answer("now")
    });
    assert_eq!(asked, [0, 1000, 2000]);
    assert_eq!(summary.accounts.dropped(DropReason::Superseded), 26);
}

#[test]
fn stopping_ends_the_node_although_the_camera_goes_on() {
    let memory = Memory::new(Arc::new(Clock::system()));
    let stop = AtomicBool::new(false);
    let stopped = |question: &Question<'_>| {
        stop.store(true, Relaxed);
        assert!(question.stop.load(Relaxed), "the engine sees it too");
        Outcome::Stopped
    };
    let summary = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Relaxed) {
                memory.inject("/image", ImageView::TYPE, &image_now(&memory), ByteOrder::Little);
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let mut says = Says(stopped);
        let report = run(&memory, &options(), Engines::answering(&mut says), &stop, &mut |_| {});
        report.unwrap().answers.unwrap()
    });
    assert!(0 < summary.accounts.dropped(DropReason::Stopped));
    assert!(summary.accounts.balance() && summary.accounts.in_flight == 0, "{}", summary.accounts);
}

#[test]
fn an_engine_that_panics_ends_the_node() {
    let memory = Memory::new(Arc::new(Clock::system()));
    let stop = AtomicBool::new(false);
    let ended = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Relaxed) {
                memory.inject("/image", ImageView::TYPE, &image_now(&memory), ByteOrder::Little);
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let mut says = Says(|_: &Question<'_>| panic!("an engine's bug"));
        let mut heard = |_: Said<'_>| {};
        let run = || run(&memory, &options(), Engines::answering(&mut says), &stop, &mut heard);
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(run))
    });
    let told = ended.unwrap_err();
    assert_eq!(told.downcast_ref::<&str>(), Some(&"an engine's bug"));
}
