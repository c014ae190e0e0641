//! A request is all that a forecast depends on beside what was shown: nothing of an earlier one stays, and what is said in two ways
//! means the same.

use std::path::{Path, PathBuf};

use perihelion::backend::RunError;
use perihelion::export::PredictOptions;
use perihelion::models::predict25::{Guidance, LatentShape};
use perihelion::runtime::predict::{
    Expectation, ForecastError, ForecastRequest, Limits, Noise, Predict, Solver, fill_noise, to_byte,
};

#[path = "support/faulty.rs"]
mod faulty;
#[path = "support/predict.rs"]
mod support;

use faulty::{Faulty, Orders};

/// Fresh noise at each step, and two actions a frame.
const ACTIONS: &str = "predict25_actions_of_each_latent";
/// Whose steps are told all actions of the clip as one, those of the given frames too.
const ACTIONS_OF_THE_CLIP: &str = "predict25_actions_of_the_clip";
/// With a text to lead away from.
const GUIDED: &str = "predict25_one_given";

fn checkpoint(case: &str) -> PathBuf {
    Path::new("tests/fixtures/predict").join(case).join("checkpoint")
}

/// The engine, shown a clip of a pattern that moves.
fn open(case: &str) -> Predict {
    open_with(case, &PredictOptions::default())
}

fn open_with(case: &str, options: &PredictOptions) -> Predict {
    let mut predict = support::open(&checkpoint(case), options, 1, None);
    show(&mut predict);
    predict
}

fn show(predict: &mut Predict) {
    let clip = predict.manifest().clip.clone();
    let value = |t: usize, i: usize| ((i * 7 + t * 31) % 251) as u8;
    let frame = |t| (0..clip.width * clip.height * 3).map(|i| value(t, i)).collect::<Vec<u8>>();
    let given: Vec<Vec<u8>> = (0..clip.n_given).map(frame).collect();
    let given: Vec<&[u8]> = given.iter().map(|frame| &frame[..]).collect();
    predict.show(&given, Limits::default()).expect("encodes");
}

/// The clip's latents.
fn latents(predict: &mut Predict, request: &ForecastRequest<'_>) -> Vec<f32> {
    predict.denoise(request, |_| {}).expect("denoises");
    let mut latents = vec![0.0; predict.manifest().latents.len()];
    predict.latents(&mut latents).expect("forecast");
    latents
}

fn seeded(seed: u64) -> ForecastRequest<'static> {
    ForecastRequest { noise: Noise::Seed(seed), ..ForecastRequest::default() }
}

#[test]
fn a_seed_is_the_noise_that_it_draws() {
    let mut predict = open(ACTIONS);
    let shape: LatentShape = predict.manifest().latents;
    let drawn = |seed| {
        let mut noise = vec![0.0; shape.len()];
        fill_noise(seed, &mut noise);
        noise
    };
    let renoise: Vec<f32> = (1..predict.n_steps() as u64).flat_map(|i| drawn(7 + i)).collect();
    let noise = drawn(7);
    let given = ForecastRequest {
        noise: Noise::Given { noise: &noise, renoise: &renoise },
        ..ForecastRequest::default()
    };
    let of_seed = latents(&mut predict, &seeded(7));
    let of_other = latents(&mut predict, &seeded(8));
    assert_ne!(of_seed, of_other);
    assert_eq!(of_seed, latents(&mut predict, &given));
    assert_eq!(
        of_other,
        latents(&mut predict, &seeded(8)),
        "what was drawn before is not what was given since"
    );
    // What was given has taken the place of what was drawn, and the other way round.
    let zeros = (vec![0.0; noise.len()], vec![0.0; renoise.len()]);
    let none = Noise::Given { noise: &zeros.0, renoise: &zeros.1 };
    assert_ne!(
        of_seed,
        latents(&mut predict, &ForecastRequest { noise: none, ..ForecastRequest::default() })
    );
    assert_eq!(of_seed, latents(&mut predict, &seeded(7)));
    assert_eq!(predict.seed_of(7, 2), 7 + 2 * predict.n_steps() as u64);
}

#[test]
fn nothing_of_a_plan_stays_for_the_next_forecast() {
    // Four of eight actions lead to given frames.
    let options = PredictOptions { condition_frames: Some(5), ..PredictOptions::default() };
    let mut predict = open_with(ACTIONS_OF_THE_CLIP, &options);
    let (horizon, whole) = (predict.manifest().horizon(), predict.manifest().clip.n_frames - 1);
    let width = predict.manifest().clip.actions.as_ref().expect("takes actions").names.len();
    let plan: Vec<f32> = (0..width * whole).map(|i| 0.5 + (i as f32 * 0.7).sin()).collect();
    let forecast_rows = &plan[width * (whole - horizon)..];
    let with = |actions| ForecastRequest { actions: Some(actions), ..seeded(3) };
    let without = latents(&mut predict, &seeded(3));
    let of_rows = latents(&mut predict, &with(forecast_rows));
    let of_whole = latents(&mut predict, &with(&plan[..]));
    assert!(without != of_rows && of_rows != of_whole && of_whole != without);
    assert_eq!(
        of_rows,
        latents(&mut predict, &with(forecast_rows)),
        "the rows before the forecast are of the plan before"
    );
    assert_eq!(without, latents(&mut predict, &seeded(3)));
}

#[test]
fn guidance_is_within_its_interval_both_ends_counted() {
    let mut predict = open(GUIDED);
    let solver = Solver::new(&predict.manifest().schedule, predict.n_steps(), 1);
    let sigma = solver.sigma(predict.n_steps() / 2);
    let mut guided = |scale, interval| {
        let guidance = Some(Guidance { scale, interval });
        latents(&mut predict, &ForecastRequest { guidance, ..seeded(3) })
    };
    let none = guided(0.0, [0.0, 1.0]);
    assert_ne!(guided(3.0, [sigma, sigma]), none, "one step at {sigma}");
    assert_eq!(guided(3.0, [sigma * 1.0001, sigma * 1.0002]), none);
    assert_ne!(guided(3.0, [0.0, 1.0]), guided(3.0, [sigma, sigma]));
    assert_eq!(guided(0.0, [0.0, 1.0]), none, "guidance stays");
}

#[test]
fn a_text_that_could_not_be_made_ready_is_made_ready_anew() {
    let engine = support::built(&checkpoint(GUIDED), &PredictOptions::default(), 1);
    let manifest = engine.manifest().roles.forecasts.clone().expect("it forecasts");
    let names: Vec<String> = manifest.texts.iter().map(|text| text.name.clone()).collect();
    assert_eq!(names.len(), 2);
    let orders = Orders::default();
    let session = Faulty::boxed(engine.session(&support::OPEN).expect("claims"), &orders);
    let mut predict = Predict::new(session, manifest, None).expect("is Predict's");
    show(&mut predict);
    let with = |name: &'static str| ForecastRequest { text: Some(name), ..seeded(3) };
    let (first, second): (&'static str, &'static str) =
        (Box::leak(names[0].clone().into_boxed_str()), Box::leak(names[1].clone().into_boxed_str()));
    let expected = [latents(&mut predict, &with(first)), latents(&mut predict, &with(second))];
    assert_ne!(expected[0], expected[1]);
    assert_eq!(expected[0], latents(&mut predict, &seeded(3)), "the first text stands");
    // The other text's run fails, and spoils what was there.
    orders.give_up(0, RunError::Device(7));
    let failed = predict.denoise(&with(second), |_| {});
    assert_eq!(failed, Err(ForecastError::Run(RunError::Device(7))));
    assert_eq!(expected[1], latents(&mut predict, &with(second)));
    orders.give_up(0, RunError::Device(7));
    assert!(predict.denoise(&with(first), |_| {}).is_err());
    assert_eq!(expected[0], latents(&mut predict, &with(first)));
}

#[test]
fn pixels_are_compared_as_far_as_they_were_decoded() {
    let mut predict = open(ACTIONS);
    let clip = predict.manifest().clip.clone();
    let frame_len = clip.width * clip.height * 3;
    let mut expectation = Expectation::new(&predict);
    latents(&mut predict, &seeded(3));
    expectation.take(&predict);
    let mut frames = Vec::new();
    let mut calls = 0;
    predict
        .decode(Limits::default(), |part| {
            // The last call's frames are kept back, as if a deadline had come before it.
            calls += 1;
            if calls < predict_calls(clip.n_frames) {
                expectation.decoded(part);
            }
            frames.extend(part.pixels.iter().map(|value| to_byte(*value)));
        })
        .expect("decodes");
    let n_decoded = clip.n_frames - 4;
    for at in clip.n_given..clip.n_frames {
        let expected = &frames[at * frame_len..][..frame_len];
        let came: Vec<u8> = expected.iter().map(|byte| byte ^ 0xff).collect();
        let surprise = expectation.compare(&mut predict, &came, Limits::default()).expect("compares");
        let difference: u64 = expected.iter().zip(&came).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        let share = (difference as f64 / frame_len as f64 / 255.0) as f32;
        assert_eq!(surprise.pixels, (at < n_decoded).then_some(share), "frame {at}");
    }
}

/// Calls of the decoder with one latent in each.
fn predict_calls(n_frames: usize) -> usize {
    1 + (n_frames - 1) / 4
}
