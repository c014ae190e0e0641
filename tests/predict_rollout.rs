//! Forecasts longer than the engine's clip: chunk after chunk equals what one would do by hand.

use std::path::{Path, PathBuf};
use std::time::Instant;

use perihelion::export::PredictOptions;
use perihelion::runtime::predict::{
    ForecastError, ForecastRequest, Limits, Noise, Predict, Progress, Rollout, to_byte,
};

#[path = "support/predict.rs"]
mod support;

fn case(name: &str) -> PathBuf {
    Path::new("tests/fixtures/predict").join(name).join("checkpoint")
}

fn texture(predict: &Predict) -> Vec<Vec<u8>> {
    let clip = &predict.manifest().clip;
    let (width, n) = (clip.width, clip.height * clip.width * 3);
    let frame =
        |t| (0..n).map(|i| ((i % (3 * width) * 5 + i / (3 * width) * 3 + t * 7) % 64 * 4) as u8).collect();
    (0..clip.n_given).map(frame).collect()
}

fn views(frames: &[Vec<u8>]) -> Vec<&[u8]> {
    frames.iter().map(|f| &f[..]).collect()
}

/// The forecast frames, as bytes.
fn forecast(predict: &mut Predict, given: &[Vec<u8>], request: &ForecastRequest<'_>) -> Vec<Vec<u8>> {
    predict.show(&views(given), Limits::default()).expect("encodes");
    predict.denoise(request, |_| {}).expect("denoises");
    let clip = predict.manifest().clip.clone();
    let mut frames = Vec::new();
    let mut push = |pixels: &[f32]| {
        let bytes: Vec<u8> = pixels.iter().map(|v| to_byte(*v)).collect();
        frames.extend(bytes.chunks(clip.height * clip.width * 3).map(<[u8]>::to_vec));
    };
    predict.decode(Limits::default(), |part| push(part.pixels)).expect("decodes");
    frames.split_off(clip.n_given)
}

/// What a rollout tells: forecast frames as bytes, and how many given frames, encodings and steps.
fn rolled_out(
    predict: &mut Predict,
    rollout: &mut Rollout,
    given: &[Vec<u8>],
    request: &ForecastRequest<'_>,
) -> (Vec<Vec<u8>>, [usize; 3]) {
    let frame_len = given[0].len();
    let (mut frames, mut counts) = (Vec::new(), [0; 3]);
    let n = rollout
        .run(predict, &views(given), request, |progress| match progress {
            Progress::Encoded { chunk } => {
                assert_eq!(counts[1], chunk);
                counts[1] += 1;
            }
            Progress::Step { .. } => counts[2] += 1,
            Progress::Decoded { chunk, given, first, forecast } => {
                assert!(chunk == 0 || given.is_empty());
                assert!(forecast.is_empty() || first == frames.len());
                counts[0] += given.len() / frame_len;
                let bytes: Vec<u8> = forecast.iter().map(|v| to_byte(*v)).collect();
                frames.extend(bytes.chunks(frame_len).map(<[u8]>::to_vec));
            }
        })
        .expect("forecasts");
    assert_eq!(n, frames.len());
    (frames, counts)
}

#[test]
fn two_chunks_equal_two_forecasts_by_hand() {
    // Five given frames of thirteen, four actions a latent; and one of nine with the clip's actions as one.
    // The first of four steps draws fresh noise at each, so that the next seed that shares none is four on.
    for (name, latents_per_call, next_seed) in [
        ("predict25_actions_of_each_latent", 1, 11),
        ("predict25_actions_of_each_latent", 3, 11),
        ("predict25_actions_of_the_clip", 2, 8),
    ] {
        let mut predict = support::open(&case(name), &PredictOptions::default(), latents_per_call, None);
        let clip = predict.manifest().clip.clone();
        let (per_chunk, n_given) = (predict.manifest().horizon(), clip.n_given);
        let width = clip.actions.as_ref().map_or(0, |a| a.names.len());
        let given = texture(&predict);
        let plan: Vec<f32> = (0..2 * per_chunk * width).map(|i| (i as f32 * 0.7).sin()).collect();

        let wanted = |seed, plan| ForecastRequest {
            noise: Noise::Seed(seed),
            actions: Some(plan),
            ..ForecastRequest::default()
        };
        let mut by_hand = forecast(&mut predict, &given, &wanted(7, &plan[..per_chunk * width]));
        // The actions that led through the given frames are known now.
        let before = (per_chunk + 1 - n_given) * width;
        let newest: Vec<Vec<u8>> = [&given[..], &by_hand[..]].concat().split_off(per_chunk);
        by_hand.extend(forecast(&mut predict, &newest, &wanted(next_seed, &plan[before..])));
        assert_ne!(by_hand[..per_chunk], by_hand[per_chunk..]);

        let mut rollout = Rollout::new(&predict, 2 * per_chunk).expect("it may");
        assert_eq!(rollout.n_chunks(), 2);
        let n_steps = 2 * predict.n_steps();
        let (found, counts) = rolled_out(&mut predict, &mut rollout, &given, &wanted(7, &plan[..]));
        assert_eq!(counts, [n_given, 2, n_steps]);
        assert!(found == by_hand, "{name}, {latents_per_call} latents a call");

        // A shorter one is a part of it, when the plan says the same of what is forecast after it: the last action goes on.
        let horizon = per_chunk + 3;
        let mut shorter = Rollout::new(&predict, horizon).expect("it may");
        let mut going_on = plan[..horizon * width].to_vec();
        while going_on.len() < plan.len() {
            going_on.extend_from_within(going_on.len() - width..);
        }
        let (whole, _) = rolled_out(&mut predict, &mut rollout, &given, &wanted(7, &going_on[..]));
        let (part, _) = rolled_out(&mut predict, &mut shorter, &given, &wanted(7, &plan[..horizon * width]));
        assert_eq!(part.len(), horizon);
        assert!(part == whole[..horizon], "{name}");
    }
}

#[test]
fn a_horizon_or_plan_that_cannot_be_is_refused() {
    let predict = support::open(&case("predict25_nothing_given"), &PredictOptions::default(), 1, Some(1));
    assert!(Rollout::new(&predict, 5).is_ok());
    for horizon in [0, 6] {
        let refused = Rollout::new(&predict, horizon).expect_err("it cannot go on from nothing");
        assert!(matches!(refused, ForecastError::Horizon { found, .. } if found == horizon), "{refused}");
    }
    let predict =
        support::open(&case("predict25_actions_of_each_latent"), &PredictOptions::default(), 1, Some(1));
    let rollout = Rollout::new(&predict, 20).expect("it may");
    assert_eq!(rollout.n_chunks(), 3);
    let check = |plan: &[f32]| {
        rollout.check(&predict, &ForecastRequest { actions: Some(plan), ..ForecastRequest::default() })
    };
    for (n_rows, fits) in [(20, true), (24, true), (19, false), (21, false), (25, false)] {
        assert_eq!(check(&vec![0.5; 2 * n_rows]).is_ok(), fits, "{n_rows} rows");
    }
    assert_eq!(check(&[0.0; 39]), Err(ForecastError::PlanWidth { found: 39, width: 2 }));
    let mut plan = [0.0; 40];
    plan[37] = f32::NAN;
    assert_eq!(check(&plan), Err(ForecastError::NotFinite { row: 18, column: 1 }));
}

#[test]
fn the_deadline_ends_a_rollout_between_its_chunks_and_in_them() {
    let mut predict = support::open(&case("predict25_two_given"), &PredictOptions::default(), 1, Some(1));
    let given = texture(&predict);
    let per_chunk = predict.manifest().horizon();
    let mut rollout = Rollout::new(&predict, 3 * per_chunk).expect("it may");
    let past = Limits { deadline: Some(Instant::now()), stop: None };
    let late = ForecastRequest { limits: past, ..ForecastRequest::default() };
    assert!(rollout.run(&mut predict, &views(&given), &late, |_| {}).is_err(), "nothing was denoised");
    let stop = std::sync::atomic::AtomicBool::new(false);
    // Stopped while the second chunk is denoised, or decoded: what was decoded before counts.
    for stop_at_step in [true, false] {
        stop.store(false, std::sync::atomic::Ordering::Relaxed);
        let limits = Limits { deadline: None, stop: Some(&stop) };
        let request = ForecastRequest { limits, ..ForecastRequest::default() };
        let told = |progress: Progress<'_>| {
            let is_then = match progress {
                Progress::Encoded { chunk } => stop_at_step && chunk == 1,
                Progress::Step { chunk, .. } => !stop_at_step && chunk == 1,
                Progress::Decoded { .. } => false,
            };
            if is_then {
                stop.store(true, std::sync::atomic::Ordering::Relaxed);
            }
        };
        assert_eq!(rollout.run(&mut predict, &views(&given), &request, told), Ok(per_chunk));
    }
}
