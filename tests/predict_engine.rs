//! Predict from a checkpoint to frames on the CPU: exported, built, asked, and compared with what diffusers made of it
//! (`tests/reference/predict.py`).

use std::path::PathBuf;

use perihelion::backend::cpu::Cpu;
use perihelion::backend::{Elements, OpenOptions, Run, RunError, Session, WeightFormat};
use perihelion::checkpoint::Tensors;
use perihelion::export::{PredictOptions, export_predict};
use perihelion::model::Model;
use perihelion::models::predict25::{Guidance, Renoise, Schedule};
use perihelion::models::wan_vae::cache_windows;
use perihelion::runtime::predict::{
    Expectation, ForecastError, ForecastRequest, Limits, Noise, Predict, to_byte,
};

#[path = "support/predict.rs"]
mod support;

use support::{OPEN, built, open};

/// Of the largest value of the reference's tensor.
const TOLERANCE: f32 = 5e-4;

fn fixtures() -> PathBuf {
    std::env::var_os("PERIHELION_PREDICT_FIXTURES")
        .map_or_else(|| "tests/fixtures/predict".into(), PathBuf::from)
}

fn case(name: &str) -> PathBuf {
    fixtures().join(name)
}

fn close(what: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let off = |(a, b): (&f32, &f32)| if (a - b).is_nan() { f32::INFINITY } else { (a - b).abs() };
    let worst = found.iter().zip(expected).map(off).fold(0.0f32, f32::max);
    println!("{what}: {worst:.2e} of {largest:.2}");
    assert!(worst <= TOLERANCE * largest, "{what}: off by {worst:e}, largest {largest}");
}

fn decoded(predict: &mut Predict) -> Vec<f32> {
    let mut pixels = Vec::new();
    let n = predict.decode(Limits::default(), |part| pixels.extend_from_slice(part.pixels)).expect("decodes");
    assert_eq!(n, predict.manifest().clip.n_frames);
    pixels
}

/// Bytes of a texture that moves, the same on every machine.
fn texture(width: usize, height: usize, n_frames: usize) -> Vec<Vec<u8>> {
    let value = |t: usize, y: usize, x: usize, c: usize| ((x * (5 + c) + y * 3 + t * 7) % 64 * 4) as u8;
    let frame = |t| {
        let places = (0..height).flat_map(|y| (0..width).map(move |x| (y, x)));
        places.flat_map(|(y, x)| (0..3).map(move |c| value(t, y, x, c))).collect()
    };
    (0..n_frames).map(frame).collect()
}

/// From seed 0, with the engine's own text and guidance, and no actions.
const WANTED: ForecastRequest<'static> = ForecastRequest {
    noise: Noise::Seed(0),
    actions: None,
    text: None,
    guidance: None,
    limits: Limits { deadline: None, stop: None },
};

fn given<'a>(noise: &'a [f32], renoise: &'a [f32]) -> Noise<'a> {
    Noise::Given { noise, renoise }
}

fn denoise(predict: &mut Predict, request: ForecastRequest<'_>) -> Result<(), ForecastError> {
    predict.denoise(&request, |_| {})
}

fn views(frames: &[Vec<u8>]) -> Vec<&[u8]> {
    frames.iter().map(|f| &f[..]).collect()
}

#[test]
fn whole_forecasts_are_diffusers_own() {
    let mut cases: Vec<PathBuf> =
        std::fs::read_dir(fixtures()).expect("there").map(|e| e.expect("readable").path()).collect();
    cases.retain(|path| path.is_dir());
    assert!(8 <= cases.len());
    for case in cases {
        let name = case.file_name().expect("named").to_string_lossy().into_owned();
        let text = std::fs::read(case.join("case.json")).expect("fixture");
        let said: serde_json::Value = serde_json::from_slice(&text).expect("fixture");
        let expected = Tensors::open(&case.join("expected.safetensors")).expect("fixture");
        let tensor = |name: &str| expected.tensor(name).expect("fixture");
        let steps = said["steps"].as_u64().map(|n| n as usize);
        let mut predict = open(&case.join("checkpoint"), &PredictOptions::default(), 1, steps);

        let scale = said["guidance"].as_f64().unwrap_or(0.0) as f32;
        let renoise = if expected.contains("renoise") { tensor("renoise").to_f32() } else { Vec::new() };
        let noise = tensor("noise").to_f32();
        let actions = expected.contains("actions").then(|| tensor("actions").to_f32());
        let request = ForecastRequest {
            noise: Noise::Given { noise: &noise, renoise: &renoise },
            actions: actions.as_deref(),
            guidance: Some(Guidance { scale, interval: [0.0, 1.0] }),
            ..ForecastRequest::default()
        };
        let manifest = predict.manifest().clone();
        let frame_len = manifest.clip.height * manifest.clip.width * 3;
        let frames: Vec<&[u8]> =
            tensor("frames").bytes.chunks(frame_len).take(manifest.clip.n_given).collect();
        // Twice: the second forecast must not see the first.
        for _ in 0..2 {
            predict.show(&frames, Limits::default()).expect("encodes");
            predict.denoise(&request, |_| {}).expect("denoises");
        }
        let mut latents = vec![0.0; manifest.latents.len()];
        predict.latents(&mut latents).expect("forecast");
        close(&format!("{name}: latents"), &latents, &tensor("latents").to_f32());
        close(&format!("{name}: frames"), &decoded(&mut predict), &tensor("decoded").to_f32());
    }
}

/// Encodes `n_latents` latents of a clip and decodes them again, `per_call` of them in a call.
fn coded(session: &mut dyn Session, pixels: &[f32], n_latents: usize, per_call: usize) -> [Vec<f32>; 2] {
    let buffer = |session: &dyn Session, name: &str| {
        let id = session.network().buffer(name).expect("Predict has it");
        (id, session.network().buffers[id.index()].row_len())
    };
    let ((frames, frame_len), (encoded, latent_len)) =
        (buffer(session, "frames"), buffer(session, "encoded"));
    let ((latents, _), (out, _)) = (buffer(session, "latents"), buffer(session, "pixels"));
    let run = |session: &mut dyn Session, graph: &str, rows: (_, usize), k: usize| {
        let id = session.network().graph(&format!("{graph}_{}", if rows.1 == 0 { "first" } else { "step" }));
        let id = id.expect("Predict has it");
        let mut windows = cache_windows(session.network(), id, 0);
        windows.push(rows);
        let extents: &[usize] = if rows.1 == 0 { &[] } else { &[k] };
        session.run(id, &Run { extents, windows: &windows, ..Run::default() }).expect("runs");
    };
    let (mut found, mut decoded) = (vec![0.0; n_latents * latent_len], Vec::new());
    let calls = || {
        let mut at = 0;
        std::iter::from_fn(move || {
            let k = if at == 0 { 1 } else { per_call.min(n_latents - at) };
            at += k;
            (0 < k).then_some((at - k, k))
        })
    };
    for (at, k) in calls() {
        let (first, n) = if at == 0 { (0, 1) } else { (4 * at - 3, 4 * k) };
        session.write(frames, 0, Elements::F32(&pixels[first * frame_len..][..n * frame_len])).expect("fits");
        run(session, "encode", (encoded, at), k);
    }
    session.read(encoded, 0, &mut found).expect("fits");
    session.write(latents, 0, Elements::F32(&found)).expect("fits");
    for (at, k) in calls() {
        run(session, "decode", (latents, at), k);
        let mut part = vec![0.0; if at == 0 { 1 } else { 4 * k } * frame_len];
        session.read(out, 0, &mut part).expect("fits");
        decoded.extend(part);
    }
    [found, decoded]
}

#[test]
fn large_frames_have_a_small_golden_case_and_a_plan_of_their_memory() {
    let checkpoint = case("predict25_euler/checkpoint");
    let options = PredictOptions {
        height: Some(80),
        width: Some(96),
        frames: Some(5),
        condition_frames: Some(1),
        ..PredictOptions::default()
    };
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("large.model");
    export_predict(&checkpoint, &options, &path, &mut |_| {}).expect("exports");
    let model = Model::open(&path).expect("opens");
    let graphs: Vec<&str> = model.golden()[0].steps.iter().map(|step| &step.graph[..]).collect();
    assert_eq!(graphs[..2], ["encode_first.small", "encode_step.small"]);
    assert_eq!(graphs[2..4], ["decode_first.small", "decode_step.small"]);
    // Two latents of one patch each are fewer rows than the larger case has, whose clip has caches and rows of its own.
    let larger = &model.golden()[1].steps;
    let graphs: Vec<&str> = larger.iter().map(|step| &step.graph[..]).collect();
    assert_eq!(graphs[..3], ["encode_first.small", "encode_step.small", "decode_step.small"]);
    assert!(graphs[3].starts_with("text_") && graphs[4..] == ["denoise"]);
    assert!(larger[0].windows.iter().any(|(_, row)| *row != 0), "the second clip's caches");
    assert_eq!((larger[1].outputs[0].row, larger[2].inputs[0].row), (1, 1));
    assert!(larger[4].extents.contains(&3), "{:?}", larger[4].extents);
    assert_eq!(larger[4].windows, larger[3].windows);
    let open_options = OpenOptions { threads: Some(2) };
    let claims = Cpu::new().expect("this machine").claims(model.network(), WeightFormat::F32, &open_options);

    let mut predict = open(&checkpoint, &options, 1, Some(1));
    assert_eq!(predict.session_memory(), claims.expect("every graph can be computed"));
    predict.show(&views(&texture(96, 80, 1)), Limits::default()).expect("encodes");
    predict.denoise(&WANTED, |_| {}).expect("denoises");
    let pixels = decoded(&mut predict);
    assert!(pixels.len() == 5 * 80 * 96 * 3 && pixels.iter().all(|v| v.is_finite()));
}

#[test]
fn the_vae_gives_the_same_however_many_latents_are_in_a_call() {
    let (width, height) = (32, 16);
    let options = PredictOptions {
        height: Some(height),
        width: Some(width),
        frames: Some(33),
        condition_frames: Some(1),
        ..PredictOptions::default()
    };
    let engine = built(&case("predict25_euler/checkpoint"), &options, 8);
    let mut session = engine.session(&OPEN).expect("claims");
    let pixels: Vec<f32> =
        texture(width, height, 33).concat().iter().map(|v| f32::from(*v) / 127.5 - 1.0).collect();
    for n_frames in [1, 5, 9, 33] {
        let n_latents = (n_frames - 1) / 4 + 1;
        let [latents, frames] = coded(session.as_mut(), &pixels, n_latents, 1);
        assert_eq!(frames.len(), n_frames * width * height * 3);
        assert!(latents.iter().chain(&frames).all(|v| v.is_finite() && *v != 0.0));
        for per_call in [2, 3, 8] {
            let found = coded(session.as_mut(), &pixels, n_latents, per_call);
            assert_eq!(found, [latents.clone(), frames.clone()], "{n_frames} frames, {per_call} a call");
        }
    }
}

#[test]
fn a_forecast_is_the_same_however_many_latents_are_in_a_call() {
    let checkpoint = case("predict25_euler/checkpoint");
    for (n_frames, n_given) in [(5, 1), (9, 5), (33, 29)] {
        let options = PredictOptions {
            height: Some(16),
            width: Some(32),
            frames: Some(n_frames),
            condition_frames: Some(n_given),
            ..PredictOptions::default()
        };
        let frames = texture(32, 16, n_given);
        let mut first: Option<(Vec<f32>, Vec<f32>)> = None;
        for latents_per_call in [1, 3, 8] {
            let mut predict = open(&checkpoint, &options, latents_per_call, Some(1));
            predict.show(&views(&frames), Limits::default()).expect("encodes");
            predict.denoise(&WANTED, |_| {}).expect("denoises");
            let mut latents = vec![0.0; predict.manifest().latents.len()];
            predict.latents(&mut latents).expect("forecast");
            let found = (latents, decoded(&mut predict));
            assert_eq!(
                first.get_or_insert_with(|| found.clone()),
                &found,
                "{n_frames} frames, {latents_per_call} a call"
            );
        }
    }
}

#[test]
fn what_comes_is_compared_with_its_forecast_frame_by_frame() {
    let checkpoint = case("predict25_euler/checkpoint");
    let mut predict = open(&checkpoint, &PredictOptions::default(), 1, Some(1));
    let clip = predict.manifest().clip.clone();
    let frames = texture(clip.width, clip.height, clip.n_frames);
    let given = views(&frames[..clip.n_given]);
    // So little of a blur is none.
    let mut expectation = Expectation::new(&predict).blurred(1e-9, &predict);
    assert!(!expectation.expects_more());
    let mut surprises = Vec::new();
    for comes_as_forecast in [true, false] {
        predict.show(&given, Limits::default()).expect("encodes");
        predict.denoise(&WANTED, |_| {}).expect("denoises");
        expectation.take(&predict);
        let mut forecast = Vec::new();
        predict
            .decode(Limits::default(), |part| {
                expectation.decoded(part);
                forecast.extend(part.pixels.iter().map(|v| to_byte(*v)));
            })
            .expect("decodes");
        // Another clip is shown before the forecast's own future comes.
        predict
            .show(&views(&texture(clip.width, clip.height, clip.n_given)), Limits::default())
            .expect("encodes");
        let frame_len = clip.height * clip.width * 3;
        let mut latents = Vec::new();
        for i in clip.n_given..clip.n_frames {
            let frame = &forecast[i * frame_len..][..frame_len];
            let came: Vec<u8> =
                if comes_as_forecast { frame.to_vec() } else { frame.iter().map(|v| v ^ 0xff).collect() };
            let surprise = expectation.compare(&mut predict, &came, Limits::default()).expect("compares");
            assert_eq!(surprise.frame, i);
            let pixels = surprise.pixels.expect("decoded");
            assert!(if comes_as_forecast { pixels == 0.0 } else { 0.1 < pixels }, "{pixels}");
            assert_eq!(surprise.place.is_some(), surprise.latent.is_some());
            // The greatest of all places is no less than their mean.
            assert!(surprise.latent <= surprise.place, "{surprise:?}");
            latents.extend(surprise.latent);
        }
        assert_eq!(latents.len(), predict.manifest().horizon() / 4);
        surprises.push(latents);
        assert_eq!(
            expectation
                .compare(&mut predict, &frames[0], Limits::default())
                .expect_err("nothing is expected"),
            ForecastError::Nothing
        );
    }
    // Whether the forecast's own future surprises less is for a trained VAE to say (tests/small_predict.rs): here encoding does not
    // undo decoding.
    assert!(surprises[0].iter().zip(&surprises[1]).all(|(a, b)| a != b), "{surprises:?}");
    assert!(surprises.concat().iter().all(|s| s.is_finite() && 0.0 < *s), "{surprises:?}");
}

#[test]
fn what_does_not_fit_is_refused_and_nothing_is_lost() {
    let checkpoint = case("predict25_actions_of_each_latent/checkpoint");
    let mut predict = open(&checkpoint, &PredictOptions::default(), 1, None);
    let clip = predict.manifest().clip.clone();
    assert!(matches!(predict.manifest().schedule, Schedule::Fixed { renoise: Renoise::Fresh, .. }));
    let frames = texture(clip.width, clip.height, clip.n_given);
    assert_eq!(predict.decode(Limits::default(), |_| {}).expect_err("nothing yet"), ForecastError::Nothing);
    predict.show(&views(&frames), Limits::default()).expect("encodes");
    predict.denoise(&WANTED, |_| {}).expect("denoises");
    let mut before = vec![0.0; predict.manifest().latents.len()];
    predict.latents(&mut before).expect("forecast");

    let n = before.len();
    type Try = fn(&mut Predict, usize) -> Result<(), ForecastError>;
    let refused: [(Try, &str); 9] = [
        (|p, _| denoise(p, ForecastRequest { actions: Some(&[0.0; 3]), ..WANTED }), "no whole rows"),
        (|p, _| denoise(p, ForecastRequest { actions: Some(&[0.0; 2 * 13]), ..WANTED }), "a plan of 13 rows"),
        (|p, _| denoise(p, ForecastRequest { actions: Some(&[f32::NAN; 2 * 12]), ..WANTED }), "not a finite"),
        (|p, _| denoise(p, ForecastRequest { text: Some("nothing"), ..WANTED }), "no text"),
        (|p, n| denoise(p, ForecastRequest { noise: given(&vec![0.0; n - 1], &[]), ..WANTED }), "expected"),
        (
            |p, n| {
                let noise = (vec![f32::INFINITY; n], vec![0.0; 3 * n]);
                denoise(p, ForecastRequest { noise: given(&noise.0, &noise.1), ..WANTED })
            },
            "not a finite",
        ),
        (|p, _| p.show(&[], Limits::default()), "0 frames"),
        (|p, _| p.show(&[&[0u8; 5][..]; 5], Limits::default()), "5 bytes"),
        (|p, _| p.latents(&mut []), "nothing has been forecast"),
    ];
    for (try_it, expected) in refused {
        let message = try_it(&mut predict, n).expect_err(expected).to_string();
        assert!(message.contains(expected), "{message:?} does not say {expected:?}");
    }
    predict.show(&views(&frames), Limits::default()).expect("encodes");
    predict.denoise(&WANTED, |_| {}).expect("denoises");
    let mut after = vec![0.0; n];
    predict.latents(&mut after).expect("forecast");
    assert_eq!(before, after);
    // A clip that starts from nothing has an action less than frames.
    let options = PredictOptions { condition_frames: Some(0), ..PredictOptions::default() };
    let from_nothing = open(&case("predict25_actions_of_the_clip/checkpoint"), &options, 1, None);
    let with = |actions| ForecastRequest { actions: Some(actions), ..WANTED };
    assert!(from_nothing.check(&with(&[0.0; 3 * 8])).is_ok());
    let refused = from_nothing.check(&with(&[0.0; 3 * 9])).expect_err("one too many");
    assert!(matches!(refused, ForecastError::PlanRows { found: 9, whole: 8, forecast: 8 }), "{refused:?}");
    // A deadline that has passed stops decoding at once, and says so.
    let limits = Limits { deadline: Some(std::time::Instant::now()), stop: None };
    assert_eq!(predict.decode(limits, |_| {}), Ok(0));
    let late = ForecastRequest { limits, ..WANTED };
    assert_eq!(predict.denoise(&late, |_| {}), Err(ForecastError::Run(RunError::Deadline)));
}
