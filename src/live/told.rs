//! What `/state.json` tells of a camera, an account, and what was published.

use serde_json::{Map, Value, json};

use crate::frames::accounts::Accounts;
use crate::frames::clock::Clock;
use crate::frames::frame::Received;
use crate::ros2::node::View;

/// What stands on the JSON topic, with the number and the age of this moment.
pub(super) fn told(
    json: &Map<String, Value>,
    number: u64,
    (age_ms, said_ns): (f64, i64),
    clock: Option<&Clock>,
) -> Value {
    let since_ns = clock.filter(|clock| clock.runs()).map_or(0, |clock| clock.now().steady_ns - said_ns);
    let mut told = json.clone();
    told.insert("number".to_owned(), json!(number));
    told.insert("age_now_ms".to_owned(), json!(age_ms + since_ns as f64 / 1e6));
    Value::Object(told)
}

/// What is told of the camera that is shown.
pub(super) fn camera(view: &View) -> Value {
    let clock = view.camera.clock();
    // Its buffer is not held on to: viewers who did so together would leave none for the next frames.
    let newest = view.listener.look(|newest| (newest.frame.size(), age_ms(newest, clock)));
    json!({
        "name": view.name,
        "topic": view.camera.topic(),
        "rate_hz": view.camera.stream().rate_hz,
        "size": newest.and_then(|(size, _)| size),
        "age_ms": newest.map(|(_, age_ms)| age_ms),
    })
}

/// In a bag's time a frame is as old as it was when it came.
pub(super) fn age_ms(received: &Received, clock: &Clock) -> f64 {
    let now = if clock.runs() { clock.now() } else { received.receipt };
    received.age(clock, now).ms()
}

pub(super) fn figures(accounts: &Accounts) -> Value {
    let drops: Map<String, Value> =
        accounts.drops().map(|(reason, n)| (reason.to_string(), json!(n))).collect();
    json!({
        "received": accounts.received,
        "answered": accounts.served,
        "clip_members": accounts.clip_members,
        "dropped": drops,
        "dropped_total": accounts.dropped_total(),
        "in_flight": accounts.in_flight,
        "lost": accounts.lost,
    })
}
