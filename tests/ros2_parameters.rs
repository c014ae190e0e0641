//! Parameters that change while the node runs: the services, what the next question makes of them, and `/parameter_events`.

#![allow(clippy::unwrap_used, reason = "what a test cannot go on without fails it")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use perihelion::frames::clock::Clock;
use perihelion::ros2::messages::{
    ByteOrder, ImageView, Message, ParameterEvent, ParameterValue, SetAtomicallyReply, SetReply, SetRequest,
    Text, WireParameter, decode, encode,
};
use perihelion::ros2::names::NodeName;
use perihelion::ros2::node::{Answer, Answerer, Checker, Engines, NodeOptions, Outcome, Question, run};
use perihelion::ros2::transport::{Memory, Transport};
use perihelion::runtime::reason::AnswerSettings;

#[path = "support/script.rs"]
mod script;

use script::{Event, MS, Script, image_body};

const PIXELS: [u8; 6] = [1, 2, 3, 4, 5, 6];

/// Answers what a closure says; of choices it takes those that differ.
struct Says<F>(F);

impl<F: FnMut(&Question<'_>) -> Outcome + Send> Answerer for Says<F> {
    fn answer(&mut self, question: &Question<'_>) -> Outcome {
        (self.0)(question)
    }

    fn checker(&self) -> Option<Checker> {
        Some(Box::new(|prompt, settings| match &settings.choices[..] {
            [one, other] if one == other => Err(format!("{prompt:?} has one choice twice")),
            _ => Ok(()),
        }))
    }
}

fn said() -> Outcome {
    Outcome::Made(Answer { text: "yes".to_owned(), ..Answer::default() })
}

fn image(stamp_ms: i64) -> Event {
    script::image(stamp_ms, 2, PIXELS.to_vec())
}

fn options() -> NodeOptions {
    let name = NodeName::new("/", "eye").unwrap();
    let answers = Some(AnswerSettings::default());
    NodeOptions { prompt: "What?".into(), max_image_bytes: 1000, answers, ..NodeOptions::new(name) }
}

fn double(name: &str, value: f64) -> WireParameter {
    let value = ParameterValue { kind: 3, double_value: value, ..ParameterValue::default() };
    WireParameter { name: name.to_owned(), value }
}

fn integer(name: &str, value: i64) -> WireParameter {
    let value = ParameterValue { kind: 2, integer_value: value, ..ParameterValue::default() };
    WireParameter { name: name.to_owned(), value }
}

fn text(name: &str, value: &str) -> WireParameter {
    let value = ParameterValue { kind: 4, string_value: value.to_owned(), ..ParameterValue::default() };
    WireParameter { name: name.to_owned(), value }
}

fn texts(name: &str, values: &[&str]) -> WireParameter {
    let string_array_value = values.iter().map(|value| value.to_string()).collect();
    let value = ParameterValue { kind: 9, string_array_value, ..ParameterValue::default() };
    WireParameter { name: name.to_owned(), value }
}

/// The reasons of refusals, empty where a value was taken.
fn set(memory: &Memory, parameters: Vec<WireParameter>) -> Vec<String> {
    let reply = memory.call("/eye/set_parameters", &encode(&SetRequest { parameters })).unwrap();
    let reply: SetReply = decode(&reply, ByteOrder::Little).unwrap();
    assert!(reply.results.iter().all(|result| result.successful == result.reason.is_empty()));
    reply.results.into_iter().map(|result| result.reason).collect()
}

fn set_all(memory: &Memory, parameters: Vec<WireParameter>) -> String {
    let reply = memory.call("/eye/set_parameters_atomically", &encode(&SetRequest { parameters })).unwrap();
    decode::<SetAtomicallyReply>(&reply, ByteOrder::Little).unwrap().result.reason
}

fn play(script: &Script, options: &NodeOptions, says: impl FnMut(&Question<'_>) -> Outcome + Send) {
    let mut says = Says(says);
    run(script, options, Engines::answering(&mut says), &AtomicBool::new(false), &mut |_| {}).unwrap();
}

#[test]
fn the_next_question_is_asked_with_what_was_set() {
    let changes: Event = Box::new(|memory| {
        let wanted = vec![
            text("prompt", "Clear?"),
            double("temperature", 0.25),
            double("top_p", 0.5),
            integer("top_k", 7),
            integer("max_tokens", 3),
            texts("choices", &["yes", " no"]),
        ];
        assert_eq!(set(memory, wanted), [""; 6]);
    });
    let back: Event = Box::new(|memory| {
        let body = encode(&Text { data: "Where?".to_owned() });
        memory.inject("/eye/prompt", Text::TYPE, &body, ByteOrder::Little);
        // `ros2 param set` sends `[]` as a list of bools.
        let nothing = ParameterValue { kind: 6, ..ParameterValue::default() };
        let free = WireParameter { name: "choices".to_owned(), value: nothing };
        assert_eq!(set_all(memory, vec![free, integer("max_tokens", 256)]), "");
    });
    let script = Script::new(Clock::stepped(), vec![image(0), changes, image(33), back, image(66)]);
    let mut asked = Vec::new();
    play(&script, &options(), |question| {
        asked.push((question.prompt.to_owned(), question.settings.unwrap().clone()));
        said()
    });
    let [first, second, third] = &asked[..] else { panic!("{asked:?}") };
    assert_eq!(*first, ("What?".to_owned(), AnswerSettings::default()));
    let (prompt, settings) = second;
    let sampling = settings.sampling;
    assert_eq!((prompt.as_str(), settings.tokens_max), ("Clear?", 3));
    assert_eq!((sampling.temperature, sampling.top_p, sampling.top_k), (0.25, 0.5, 7));
    assert_eq!(settings.choices, ["yes", "no"]);
    let (prompt, settings) = third;
    assert_eq!((prompt.as_str(), settings.tokens_max, settings.choices.len()), ("Where?", 256, 0));
    assert_eq!(settings.sampling, sampling);
}

#[test]
fn an_answer_is_valid_for_as_long_as_max_age_is_now() {
    let longer: Event = Box::new(|memory| assert_eq!(set(memory, vec![double("max_age", 9.5)]), [""]));
    let script = Script::new(Clock::stepped(), vec![image(1000), longer, image(2000)]);
    play(&script, &options(), |_| said());
    let until = |body: Vec<u8>| {
        let text = decode::<Text>(&body, ByteOrder::Little).unwrap().data;
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        json["valid_until"].clone()
    };
    let heard: Vec<_> = script.memory.published("/eye/answer/json").into_iter().map(until).collect();
    let seconds = |sec: u32, nanosec: u32| serde_json::json!({ "sec": sec, "nanosec": nanosec });
    assert_eq!(heard, [seconds(3, 0), seconds(11, 500_000_000)]);
}

#[test]
fn what_cannot_be_is_refused_and_nothing_of_it_happens() {
    let attempts: Event = Box::new(|memory| {
        for (wanted, expected) in [
            (double("max_rate", -1.0), "expected a number from 0 to 86400, found -1"),
            (double("max_age", f64::NAN), "max_age"),
            (integer("max_rate", 3), "Wrong parameter type, parameter {max_rate} is of type {double}"),
            (double("temperature", 0.0), "above 0"),
            (integer("max_tokens", 0), "max_tokens"),
            (texts("choices", &["same", "same"]), "one choice twice"),
            (integer("clip", 2), "read-only"),
            (text("image_transport", "compressed"), "read-only"),
            (text("nothing", "x"), "not declared"),
        ] {
            let reasons = set(memory, vec![wanted.clone()]);
            assert!(reasons[0].contains(expected), "{wanted:?}: {reasons:?}");
            let reason = set_all(memory, vec![text("prompt", "Clear?"), wanted]);
            assert!(reason.contains(expected), "{reason}");
        }
    });
    let script = Script::new(Clock::stepped(), vec![attempts, image(0)]);
    let mut asked = Vec::new();
    play(&script, &options(), |question| {
        asked.push((question.prompt.to_owned(), question.settings.unwrap().clone()));
        said()
    });
    assert_eq!(asked, [("What?".to_owned(), AnswerSettings::default())]);
}

#[test]
fn the_rate_counts_from_the_next_question_on() {
    let rate = |hz: f64| -> Event {
        Box::new(move |memory| assert_eq!(set(memory, vec![double("max_rate", hz)]), [""]))
    };
    let mut events = vec![image(0), image(100), rate(5.0), image(150), image(200), image(300)];
    events.extend([rate(0.0), image(301), image(302), rate(1.0), image(400), image(1302)]);
    let script = Script::new(Clock::stepped(), events);
    let mut asked = Vec::new();
    play(&script, &NodeOptions { max_rate_hz: 1.0, ..options() }, |question| {
        asked.push(question.frames[0].frame.stamp_ns / MS);
        said()
    });
    assert_eq!(asked, [0, 200, 300, 301, 302, 1302]);
}

#[test]
fn changes_are_published_and_a_question_that_waits_for_its_turn_is_asked() {
    let memory = Memory::new(Arc::new(Clock::system()));
    let options = NodeOptions { max_rate_hz: 0.002, max_age: Duration::from_secs(600), ..options() };
    let (stop, give_up) = (AtomicBool::new(false), Instant::now() + Duration::from_secs(60));
    let await_that = |holds: &mut dyn FnMut() -> bool| {
        while !holds() {
            assert!(Instant::now() < give_up, "waited in vain");
            std::thread::yield_now();
        }
    };
    let n_answers = || memory.published("/eye/answer").len();
    let events = || -> Vec<ParameterEvent> {
        let bodies = memory.published("/parameter_events");
        bodies.iter().map(|body| decode(body, ByteOrder::Little).unwrap()).collect()
    };
    let see = || {
        let body = image_body(memory.clock().now().ros_ns, 2, &PIXELS);
        memory.inject("/image", ImageView::TYPE, &body, ByteOrder::Little);
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            await_that(&mut || !memory.published("/diagnostics").is_empty());
            let mut first = Vec::new();
            await_that(&mut || {
                first = events();
                !first.is_empty()
            });
            assert_eq!((first.len(), first[0].node.as_str()), (1, "/eye"));
            assert!(first[0].new_parameters.iter().any(|parameter| parameter.name == "temperature"));
            see();
            await_that(&mut || n_answers() == 1);
            // The next one has its turn in eight minutes.
            see();
            let together = vec![double("max_rate", 0.0), text("prompt", "Clear?"), double("max_age", 600.0)];
            assert_eq!(set_all(&memory, together), "");
            await_that(&mut || n_answers() == 1);
            assert_eq!(set(&memory, vec![integer("clip", 3), double("max_rate", 0.0)]).len(), 2);
            let mut told = Vec::new();
            await_that(&mut || {
                told.extend(events());
                !told.is_empty()
            });
            stop.store(true, Relaxed);
            let changed: Vec<Vec<&str>> = told
                .iter()
                .map(|event| event.changed_parameters.iter().map(|changed| changed.name.as_str()).collect())
                .collect();
            assert_eq!(changed, [["prompt", "max_rate"]], "what stays as it was is no event");
        });
        let mut says = Says(|_: &Question<'_>| said());
        run(&memory, &options, Engines::answering(&mut says), &stop, &mut |_| {}).unwrap();
    });
    let _ = set(&memory, vec![double("max_rate", 9.0)]);
    assert_eq!(events(), [], "a node that is gone publishes nothing");
}
