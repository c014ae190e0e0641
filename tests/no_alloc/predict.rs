//! The same of Predict's whole loop: showing, denoising by every kind of solver, decoding, comparing with what came, and refusing.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use perihelion::backend::{OpenOptions, WeightFormat};
use perihelion::engine::{BuildOptions, Engine, build};
use perihelion::export::{PredictOptions, export_predict};
use perihelion::model::Model;
use perihelion::runtime::plan::{Candidate, Noises, Score, Target, search};
use perihelion::runtime::predict::{
    Decoded, Expectation, ForecastError, ForecastRequest, Limits, Noise, Predict,
};

use crate::{heap_calls, times};

const DENOISE_STEPS: usize = 200;
const DECODE_CHUNKS: usize = 100;

/// Few steps at fixed sigmas; UniPC with guidance; Euler with two latents given; fresh noise at each step, and actions.
const CHECKPOINTS: [&str; 4] = [
    "engines/small-predict",
    "tests/fixtures/predict/predict25_one_given/checkpoint",
    "tests/fixtures/predict/predict2_two_given/checkpoint",
    "tests/fixtures/predict/predict25_actions_of_each_latent/checkpoint",
];

pub(crate) fn check(dir: &Path) {
    for (checkpoint, format, threads) in CHECKPOINTS.into_iter().zip([1, 2, 1, 2]).flat_map(|(c, threads)| {
        let formats: &[WeightFormat] =
            if threads == 1 { &[WeightFormat::F32] } else { &[WeightFormat::F32, WeightFormat::Bf16] };
        formats.iter().map(move |format| (c, *format, threads))
    }) {
        let mut predict = open(dir, &Path::new(env!("CARGO_MANIFEST_DIR")).join(checkpoint), format, threads);
        let (n_steps, n_chunks) = steady_state(&mut predict);
        refusals(&mut predict);
        planning(&mut predict);
        println!(
            "{checkpoint}, {format}, {threads} threads: 0 heap calls in {n_steps} denoise steps, {n_chunks} decode chunks, \
             and all refusals"
        );
    }
}

fn open(dir: &Path, checkpoint: &Path, format: WeightFormat, threads: usize) -> Predict {
    let (model_path, path) = (dir.join("predict.model"), dir.join("predict.engine"));
    export_predict(checkpoint, &PredictOptions::default(), &model_path, &mut |_| ())
        .expect("it is a checkpoint");
    let model = Model::open(&model_path).expect("it was written just now");
    let open = OpenOptions { threads: Some(threads) };
    let options = BuildOptions { backend: "cpu".into(), formats: format.into(), limits: Vec::new(), open };
    build(&model, &options, &path, &mut |_| ()).expect("it answers its golden case");
    let engine = Engine::open(&path).expect("it was built just now");
    let manifest = engine.manifest().roles.forecasts.clone().expect("it forecasts");
    let session = engine.session(&open).expect("it is for this machine");
    Predict::new(session, manifest, None).expect("it is Predict's")
}

fn steady_state(predict: &mut Predict) -> (usize, usize) {
    let clip = predict.manifest().clip.clone();
    let frame: Vec<u8> = (0..clip.height * clip.width * 3).map(|i| (i % 251) as u8).collect();
    let given = vec![&frame[..]; clip.n_given];
    let plan = vec![0.25; clip.actions.as_ref().map_or(0, |a| (clip.n_frames - 1) * a.names.len())];
    let mut latents = vec![0.0; predict.manifest().latents.len()];
    let noise = latents.clone();
    let renoise = vec![0.5; if predict.wants_renoise() { (predict.n_steps() - 1) * noise.len() } else { 0 }];
    let mut expectation = Expectation::new(predict).blurred(0.1, predict);
    let (steps, chunks) = (times(DENOISE_STEPS), times(DECODE_CHUNKS));
    let (mut n_steps, mut n_chunks, mut n_compared, mut brightest) = (0, 0, 0, f32::NEG_INFINITY);
    let counted = heap_calls(|| {
        for seed in 0..u64::MAX {
            if n_steps < steps {
                let request = ForecastRequest {
                    noise: match seed % 2 {
                        0 => Noise::Seed(seed),
                        _ => Noise::Given { noise: &noise, renoise: &renoise },
                    },
                    actions: (!plan.is_empty()).then_some(&plan[..]),
                    text: Some("default"),
                    ..ForecastRequest::default()
                };
                predict.show(&given, Limits::default()).expect("steady state");
                predict.denoise(&request, |_| n_steps += 1).expect("steady state");
                predict.latents(&mut latents).expect("there is a forecast");
            } else if chunks <= n_chunks {
                break;
            }
            if n_chunks < chunks {
                expectation.take(predict);
                let each = |part: Decoded<'_>| {
                    n_chunks += 1;
                    expectation.decoded(part);
                    brightest = part.pixels.iter().fold(brightest, |m, v| m.max(*v));
                };
                predict.decode(Limits::default(), each).expect("steady state");
                while expectation.expects_more() {
                    let surprise = expectation.compare(predict, &frame, Limits::default());
                    n_compared += usize::from(surprise.expect("steady state").latent.is_some());
                }
            }
        }
    });
    assert_eq!(counted, 0, "forecasting touched the heap");
    assert!(
        brightest.is_finite() && latents.iter().any(|v| *v != 0.0) && 0 < n_compared,
        "it computed something"
    );
    (n_steps, n_chunks)
}

fn refusals(predict: &mut Predict) {
    let clip = predict.manifest().clip.clone();
    let frame = vec![0u8; clip.height * clip.width * 3];
    let given = vec![&frame[..]; clip.n_given];
    let short = vec![&frame[1..]; clip.n_given];
    let width = clip.actions.as_ref().map_or(0, |a| a.names.len());
    let not_finite = vec![f32::NAN; width * (clip.n_frames - 1)];
    let stop = AtomicBool::new(true);
    let stopped = Limits { deadline: None, stop: Some(&stop) };
    let request = ForecastRequest::default();
    let counted = heap_calls(|| {
        for _ in 0..100 {
            assert!(matches!(
                predict.show(&given[1..], Limits::default()),
                Err(ForecastError::FrameCount { .. })
            ));
            assert!(matches!(predict.show(&short, Limits::default()), Err(ForecastError::FrameSize { .. })));
            assert!(matches!(predict.show(&given, stopped), Err(ForecastError::Run(_))));
            let while_stopped = ForecastRequest { limits: stopped, ..request };
            assert!(matches!(predict.denoise(&while_stopped, |_| ()), Err(ForecastError::Run(_))));
            assert_eq!(predict.denoise(&request, |_| ()), Err(ForecastError::NotShown));
            assert_eq!(predict.decode(Limits::default(), |_| ()), Err(ForecastError::Nothing));
            let other_text = ForecastRequest { text: Some("none"), ..request };
            assert_eq!(predict.denoise(&other_text, |_| ()), Err(ForecastError::NoText));
            let short = ForecastRequest { noise: Noise::Given { noise: &[0.0], renoise: &[] }, ..request };
            assert!(matches!(predict.denoise(&short, |_| ()), Err(ForecastError::NoiseLen { .. })));
            let endless = ForecastRequest { actions: Some(&not_finite), ..request };
            let refused = predict.denoise(&endless, |_| ()).expect_err("no plan");
            assert!(matches!(
                refused,
                ForecastError::NoActions | ForecastError::NotFinite { row: 0, column: 0 }
            ));
        }
    });
    assert_eq!(counted, 0, "refusing touched the heap");
    predict.show(&given, Limits::default()).expect("it forecasts on after refusals");
    predict.denoise(&request, |_| ()).expect("it forecasts on after refusals");
}

/// A search claims what it needs at its start, so that further candidates cost no heap calls.
fn planning(predict: &mut Predict) {
    let clip = predict.manifest().clip.clone();
    let Some(actions) = &clip.actions else { return };
    let plan = |i: usize| vec![i as f32 / 8.0; (clip.n_frames - clip.n_given) * actions.names.len()];
    let candidates: Vec<Candidate> =
        (0..12).map(|i| Candidate { source: String::new(), actions: plan(i) }).collect();
    let goal = vec![0.5; predict.manifest().latents.len()];
    let goal = Target::goal_of_clip(predict, &goal).expect("it fits");
    let near = goal.clone().blurred(0.1, predict);
    for mut score in [Score::Goal(goal), Score::Goal(near), Score::ExpectedSurprise] {
        let mut searched = |n: usize| {
            heap_calls(|| {
                let noises = Noises { seed: 1, n: 2 };
                let ranking = search(
                    predict,
                    &candidates[..n],
                    &mut score,
                    noises,
                    &ForecastRequest::default(),
                    |_| (),
                );
                assert_eq!(ranking.expect("it ranks").ranked.len(), n);
            })
        };
        assert_eq!(searched(12), searched(2), "a candidate touched the heap");
    }
}
