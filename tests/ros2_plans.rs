//! `~/plan/request` and `~/plan/result` on a scripted graph: rankings are the library's own on the frames that came, forecasts and
//! surprise are what they would be without, and no bytes on the topic do any harm.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "support/predict.rs"]
mod engine;
#[path = "support/reason.rs"]
mod reason;
#[path = "support/script.rs"]
mod script;

use std::io::Cursor;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use perihelion::export::PredictOptions;
use perihelion::frames::clock::Clock;
use perihelion::ros2::messages::{ByteOrder, Message, Text, decode, encode};
use perihelion::ros2::names::NodeName;
use perihelion::ros2::node::{Engines, NodeOptions, run};
use perihelion::ros2::predict::{PredictForecaster, PredictSettings};
use perihelion::ros2::reason::ReasonAnswerer;
use perihelion::ros2::transport::Memory;
use perihelion::runtime::plan::{Around, Noises, Score, Target, search};
use perihelion::runtime::predict::{ForecastRequest, Limits, Predict};
use perihelion::runtime::reason::AnswerSettings;
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use script::{Event, Script, image};
use serde_json::{Value, json};

const CHECKPOINT: &str = "tests/fixtures/predict/predict25_actions_of_each_latent/checkpoint";
const WIDTH: usize = 16;
const HEIGHT: usize = 32;
const N_GIVEN: usize = 5;
const HORIZON: usize = 8;

fn predict() -> Predict {
    engine::open(Path::new(CHECKPOINT), &PredictOptions::default(), 1, None)
}

fn forecaster() -> PredictForecaster {
    let settings = PredictSettings { seed: 3, latent_only: false, ..PredictSettings::default() };
    PredictForecaster::new(predict(), settings)
}

fn frame(t: usize) -> Vec<u8> {
    (0..WIDTH * HEIGHT * 3).map(|i| ((i * 7 + t * 31) % 251) as u8).collect()
}

/// Frame `t` of a camera of four frames a second.
fn seen(t: usize) -> Event {
    image(250 * t as i64, WIDTH as u32, frame(t))
}

fn says(body: Vec<u8>) -> Event {
    Box::new(move |memory| memory.inject("/eye/plan/request", Text::TYPE, &body, ByteOrder::Little))
}

fn asks(request: &Value) -> Event {
    says(encode(&Text { data: request.to_string() }))
}

fn play(events: Vec<Event>, forecaster: &mut PredictForecaster) -> Memory {
    let script = Script::new(Clock::stepped(), events);
    let options = NodeOptions {
        max_image_bytes: WIDTH * HEIGHT * 3,
        max_pixels: WIDTH * HEIGHT,
        ..NodeOptions::new(NodeName::new("/", "eye").unwrap())
    };
    let stop = AtomicBool::new(false);
    let report = run(&script, &options, Engines::forecasting(forecaster), &stop, &mut |_| {}).unwrap();
    let accounts = report.forecasts.unwrap().accounts;
    assert!(accounts.balance() && accounts.in_flight == 0, "{accounts}");
    script.memory
}

fn results(memory: &Memory) -> Vec<Value> {
    let text = |body: Vec<u8>| decode::<Text>(&body, ByteOrder::Little).unwrap().data;
    let bodies = memory.published("/eye/plan/result").into_iter();
    bodies.map(text).map(|text| serde_json::from_str(&text).unwrap()).collect()
}

fn goal_png() -> Vec<u8> {
    let mut file = Vec::new();
    let goal = image::RgbImage::from_raw(WIDTH as u32, HEIGHT as u32, frame(40)).unwrap();
    goal.write_to(&mut Cursor::new(&mut file), image::ImageFormat::Png).unwrap();
    file
}

fn goal_request() -> Value {
    json!({
        "id": "dock", "around": [[0.5, 0.0]], "samples": 4, "spread": [1.0, 2.0], "seed": 9, "noises": 2,
        "score": { "goal": { "image": base64::encode(goal_png()) } },
    })
}

#[test]
fn a_request_is_ranked_on_the_newest_clip_as_the_library_ranks() {
    let mut events: Vec<Event> = (0..6).map(seen).collect();
    events.extend([asks(&goal_request()), seen(6), seen(7)]);
    let results = results(&play(events, &mut forecaster()));
    assert_eq!(results.len(), 1, "one result for a request: {results:?}");
    let result = &results[0];
    assert_eq!((&result["id"], &result["error"]), (&json!("dock"), &Value::Null));
    assert_eq!((&result["frame_id"], &result["age_ms"]), (&json!("cam"), &json!(0.0)));
    assert_eq!(result["stamp"], json!({ "sec": 1, "nanosec": 500_000_000 }));
    assert_eq!(result["stamps"].as_array().unwrap().len(), N_GIVEN);

    let mut predict = predict();
    let given: Vec<Vec<u8>> = (2..7).map(frame).collect();
    let given: Vec<&[u8]> = given.iter().map(|f| &f[..]).collect();
    predict.show(&given, Limits::default()).unwrap();
    let goal = Target::goal(&mut predict, &frame(40), Limits::default()).unwrap();
    let plan = [0.5, 0.0].repeat(HORIZON);
    let around =
        Around { actions: &plan, width: 2, spread: &[1.0, 2.0], correlation: 0.8, limits: &[], seed: 9 };
    let (candidates, noises) = (around.candidates(4).unwrap(), Noises { seed: 9, n: 2 });
    let mut score = Score::Goal(goal);
    let ranking =
        search(&mut predict, &candidates, &mut score, noises, &ForecastRequest::default(), |_| {}).unwrap();
    let found = result["candidates"].as_array().unwrap();
    assert_eq!(found.len(), 5);
    for (found, expected) in found.iter().zip(&ranking.ranked) {
        assert_eq!(found["candidate"], json!(expected.candidate));
        assert_eq!(found["score"], json!(expected.score));
    }
    let best = &candidates[ranking.ranked[0].candidate];
    assert_eq!(result["best"]["actions"].as_array().unwrap().len(), HORIZON);
    assert_eq!(result["best"]["actions"][3], json!(&best.actions[6..8]));
    assert_eq!(result["best"]["action_names"], json!(["linear", "angular"]));
}

#[test]
fn forecasts_and_surprise_are_what_they_are_without_plans() {
    let topics = ["/eye/forecast", "/eye/surprise", "/eye/surprise/pixels"];
    let mut told = Vec::new();
    for plans in [false, true] {
        let mut events: Vec<Event> = Vec::new();
        for t in 0..16 {
            if plans {
                events.push(asks(&goal_request()));
            }
            events.push(seen(t));
        }
        let memory = play(events, &mut forecaster());
        assert_eq!(
            results(&memory).iter().filter(|r| r["error"].is_null()).count(),
            if plans { 12 } else { 0 }
        );
        told.push(topics.map(|topic| memory.published(topic)));
    }
    assert!(told[0].iter().all(|bodies| 2 <= bodies.len()));
    assert!(told[0] == told[1], "planning changes what is forecast");
}

#[test]
fn a_critic_is_the_nodes_own_reason_engine() {
    let reason = reason::open();
    let settings =
        AnswerSettings { sampling: reason.default_sampling(), tokens_max: 8, ..AnswerSettings::default() };
    let answerer = ReasonAnswerer::new(reason, settings);
    let critic = |question: &str, expect: &str| {
        json!({
            "candidates": [[[0, 0]], [[3, -3]]],
            "score": { "critic": { "question": question, "expect": expect, "frames": 4 } },
        })
    };
    let question = "Is the path of the red ball clear?";
    let mut shares = Vec::new();
    for (with_critic, request) in [
        (false, critic(question, "yes")),
        (true, critic(question, "yes")),
        (true, critic(question, "no")),
        (true, critic(question, "maybe")),
        (true, critic("", "yes")),
    ] {
        let mut events: Vec<Event> = vec![asks(&request)];
        events.extend((0..N_GIVEN).map(seen));
        let mut forecaster = forecaster();
        if with_critic {
            forecaster = forecaster.with_critic(answerer.shared());
        }
        let results = results(&play(events, &mut forecaster));
        assert_eq!(results.len(), 1);
        if !with_critic {
            assert!(results[0]["error"].as_str().unwrap().contains("no critic"), "{results:?}");
        } else if request == critic(question, "maybe") {
            assert!(results[0]["error"].as_str().unwrap().contains("none of the choices: yes, no"));
        } else if results[0]["error"].is_null() {
            let mut of = results[0]["candidates"].as_array().unwrap().clone();
            of.sort_by_key(|candidate| candidate["candidate"].as_u64());
            shares.push(of.iter().map(|candidate| candidate["score"].as_f64().unwrap()).collect::<Vec<_>>());
        }
    }
    // What is not yes is no.
    assert!(shares[0].iter().zip(&shares[1]).all(|(yes, no)| (yes + no - 1.0).abs() < 1e-9), "{shares:?}");
    assert_ne!(shares[0][0], shares[0][1], "the critic does not see the forecasts");
}

#[test]
fn hostile_requests_are_refused_and_the_node_lives_on() {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let good = goal_request().to_string();
    let mut bodies: Vec<Vec<u8>> = Vec::new();
    for i in 0..600 {
        let mut bytes = good.clone().into_bytes();
        match i % 4 {
            0 => bytes.truncate(random.next_u32() as usize % bytes.len()),
            1 => {
                let at = random.next_u32() as usize % 120;
                bytes[at] = b" {}[]0123456789,.:\"-e"[random.next_u32() as usize % 21];
            }
            2 => {
                // Within the image: another byte of base64.
                let at = bytes.len() - 8 - random.next_u32() as usize % (bytes.len() / 2);
                bytes[at] = b"ABCabc019+/="[random.next_u32() as usize % 12];
            }
            _ => bytes = (0..random.next_u32() % 300).map(|_| random.next_u32() as u8).collect(),
        }
        match String::from_utf8(bytes) {
            Ok(data) => bodies.push(encode(&Text { data })),
            // Not even a string.
            Err(error) => bodies.push(error.into_bytes()),
        }
    }
    for text in [
        json!({ "around": [[0, 0]], "spread": -1, "score": { "expected_surprise": {} }, "noises": 2 })
            .to_string(),
        json!({ "around": [[0, 0]], "spread": [1, 1, 1], "score": { "expected_surprise": {} } }).to_string(),
        json!({ "around": [[0, 0]], "spread": 1, "score": { "expected_surprise": {} } }).to_string(),
        json!({ "around": [[0, 0]], "spread": 1e30, "score": { "expected_surprise": {} }, "noises": 2 })
            .to_string(),
        json!({ "candidates": [[[0, 0]]], "score": { "goal": { "image": "" } } }).to_string(),
        format!("{{\"{}\": 1}}", "x".repeat(100_000)),
    ] {
        bodies.push(encode(&Text { data: text }));
    }
    let n_requests = bodies.len() + 1;
    let mut events: Vec<Event> = (0..N_GIVEN).map(seen).collect();
    let mut t = N_GIVEN;
    for body in bodies {
        // Every request is looked at with a clip of its own.
        events.extend([says(body), seen(t)]);
        t += 1;
    }
    events.extend([asks(&goal_request()), seen(t)]);
    let settings = PredictSettings { seed: 3, latent_only: true, ..PredictSettings::default() };
    let mut forecaster = PredictForecaster::new(predict(), settings);
    let results = results(&play(events, &mut forecaster));
    assert_eq!(results.len(), n_requests, "one result for each request");
    let refused: Vec<&str> = results.iter().filter_map(|r| r["error"].as_str()).collect();
    assert!(400 < refused.len() && refused.iter().all(|e| e.chars().count() <= 500), "{}", refused.len());
    for words in [
        "a spread of [-1.0]",
        "one for each of the 2",
        "at least 2 noises",
        "the goal image",
        "unknown field",
    ] {
        assert!(refused.iter().any(|error| error.contains(words)), "{words:?} of {:?}", &refused[380..]);
    }
    let last = results.last().unwrap();
    assert_eq!(
        (&last["id"], &last["n_evaluated"], &last["error"]),
        (&json!("dock"), &json!(5), &Value::Null)
    );
}

#[test]
fn a_newer_request_takes_an_older_ones_place() {
    let request = |id: i64| json!({ "id": id, "candidates": [[[0, 0]]], "score": { "expected_surprise": {} }, "noises": 2 });
    let mut events: Vec<Event> = vec![asks(&request(1)), asks(&request(2))];
    events.extend((0..N_GIVEN + 1).map(seen));
    let results = results(&play(events, &mut forecaster()));
    assert_eq!(results.iter().map(|r| r["id"].as_i64()).collect::<Vec<_>>(), [Some(1), Some(2)]);
    assert!(results[0]["error"].as_str().unwrap().contains("newer request"));
    assert_eq!((&results[1]["best"]["source"], &results[1]["error"]), (&json!("candidate 0"), &Value::Null));
}

#[test]
fn refusals_that_come_at_once_are_all_told() {
    let flood: Event = Box::new(|memory| {
        for id in 0..70 {
            let body =
                encode(&Text { data: json!({ "id": id, "score": { "expected_surprise": {} } }).to_string() });
            memory.inject("/eye/plan/request", Text::TYPE, &body, ByteOrder::Little);
        }
    });
    let results = results(&play(vec![flood, seen(0)], &mut forecaster()));
    let ids: Vec<i64> = results.iter().map(|result| result["id"].as_i64().unwrap()).collect();
    assert_eq!(ids, (0..64).collect::<Vec<_>>(), "as many as may wait");
}
