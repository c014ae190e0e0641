//! Best of N for a node: a request's plans, rolled out from the newest clip by the engine that also forecasts.
//!
//! The clip is encoded again, so that a goal can be encoded onward from it while the caches that the standing forecast will be
//! compared with stay as they are.

use std::time::Instant;

use serde_json::{Map, Value, json};

use crate::camera::{Decoder, FrameSize, Resample, Resizer};
use crate::ros2::node::{PlanRequest, Plans, ScoreRequest};
use crate::runtime::plan::{Around, Candidate, Critic, Noises, PlanError, Report, Score, Target, search};
use crate::runtime::predict::{ForecastRequest, Predict};
use crate::runtime::reason::Reason;
use crate::runtime::{Lender, Limits};

/// The largest goal image; a frame of the engine is far smaller.
const GOAL_PIXELS_MAX: usize = 1 << 21;

/// Evaluates a request from `given`, frames of the engine's own size, oldest first; the result's members, or what is wrong.
pub(super) fn plan(
    predict: &mut Predict,
    critic: Option<&Lender<Reason>>,
    request: &PlanRequest,
    given: &[&[u8]],
    limits: Limits<'_>,
) -> Result<Map<String, Value>, String> {
    let words = |error: PlanError| error.to_string();
    let begin = Instant::now();
    let ms = || begin.elapsed().as_secs_f64() * 1e3;
    let actions = predict.manifest().clip.actions.clone().ok_or("the engine takes no actions")?;
    let candidates = match &request.plans {
        Plans::Given(plans) => {
            let named = |(i, actions): (usize, &Vec<f32>)| Candidate {
                source: format!("candidate {i}"),
                actions: actions.clone(),
            };
            plans.iter().enumerate().map(named).collect()
        }
        Plans::Around { plan, samples, spread, correlation } => {
            let around = Around {
                actions: plan,
                width: actions.names.len(),
                spread,
                correlation: *correlation,
                limits: &actions.limits,
                seed: request.seed,
            };
            around.candidates(*samples).map_err(words)?
        }
    };
    // What is wrong with the request itself is told before any work.
    let image = match &request.score {
        ScoreRequest::Goal { image, .. } => goal_image(image, predict)?,
        _ => Vec::new(),
    };
    predict.show(given, limits).map_err(|error| error.to_string())?;
    let encode_ms = ms();
    let choices: Vec<&str>;
    let mut score = match (&request.score, critic) {
        (ScoreRequest::ExpectedSurprise {}, _) => Score::ExpectedSurprise,
        (ScoreRequest::Goal { blur, .. }, _) => {
            let target = Target::goal(predict, &image, limits).map_err(|error| error.to_string())?;
            Score::Goal(target.blurred(*blur, predict))
        }
        (ScoreRequest::Critic { question, choices: texts, expect, frames }, Some(reason)) => {
            choices = texts.iter().map(String::as_str).collect();
            let critic = Critic::new(reason, predict, question, &choices, expect, *frames, limits);
            Score::Critic(critic.map_err(words)?)
        }
        (ScoreRequest::Critic { .. }, None) => {
            return Err("this node runs no engine that answers questions, so there is no critic".to_owned());
        }
    };
    let target_ms = ms() - encode_ms;
    let noises = Noises { seed: request.seed, n: request.noises };
    let forecasts = ForecastRequest { limits, ..ForecastRequest::default() };
    let ranking = search(predict, &candidates, &mut score, noises, &forecasts, |_| {}).map_err(words)?;
    let report = Report::new(&score, &candidates, &ranking, &actions.names);
    let Ok(Value::Object(mut members)) = serde_json::to_value(report) else {
        unreachable!("a report is a JSON object")
    };
    for (name, value) in [
        ("seed", json!(request.seed)),
        ("noises", json!(request.noises)),
        ("steps", json!(predict.n_steps())),
        ("encode_ms", json!(encode_ms)),
        ("target_ms", json!(target_ms)),
        ("total_ms", json!(ms())),
    ] {
        members.insert(name.to_owned(), value);
    }
    Ok(members)
}

/// The image of a file in base64, at the engine's size, as frames are scaled.
fn goal_image(text: &str, predict: &Predict) -> Result<Vec<u8>, String> {
    let file = base64::decode(text).map_err(|error| format!("the goal image is not base64: {error}"))?;
    let format = if file.starts_with(b"\x89PNG") { "png" } else { "jpeg" };
    let mut rgb = vec![0; 3 * GOAL_PIXELS_MAX];
    let came = Decoder::new()
        .decode(format, &file, &mut rgb)
        .map_err(|error| format!("the goal image, read as {format}: {error}"))?;
    let clip = &predict.manifest().clip;
    let size = FrameSize { width: clip.width, height: clip.height };
    let mut scaled = vec![0; size.rgb_bytes()];
    Resizer::new().resize(&rgb[..came.rgb_bytes()], came, &mut scaled, size, Resample::Bilinear);
    Ok(scaled)
}
