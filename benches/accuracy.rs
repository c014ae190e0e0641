//! What each precision costs the two small checkpoints in their tasks: `cargo bench --bench accuracy -- [--scenes N] [-o FILE]`.
//!
//! Reason is asked one question of each kind about each scene; its answers count when they are the truth letter by letter. Predict
//! forecasts scenes; pixels are compared with what the renderer shows. Every precision sees the same scenes, whose seeds training did not
//! use. Nothing here is timed.

use std::path::Path;

use perihelion::backend::OpenOptions;
use perihelion::camera::FrameSize;
use perihelion::engine::{BuildOptions, Engine, build};
use perihelion::export::{PredictOptions, ReasonOptions, export_predict, export_reason};
use perihelion::model::Model;
use perihelion::runtime::predict::{ForecastRequest, Limits, Noise, Predict, to_byte};
use perihelion::runtime::reason::{Picture, Reason, Request, Shown};
use perihelion::scenes::{FRAME_BYTES, Rng, SIZE, Scene, SceneOptions, Task};
use serde_json::{Value, json};

const SEED: u64 = 20_261_122;
const REASON: &[&str] =
    &["f32", "bf16", "int8", "vision=f32,language=int4", "vision=int8,language=int4", "int4"];
const PREDICT: &[&str] =
    &["f32", "bf16", "int8", "denoiser=int8,vae=f32,text=f32", "denoiser=int4,vae=int8,text=f32", "int4"];
const OPEN: OpenOptions = OpenOptions { threads: Some(1) };
const N_GIVEN: usize = 5;
const N_FRAMES: usize = 13;
const ANSWER_TOKENS_MAX: usize = 64;

fn main() {
    let mut n_scenes = 200;
    let mut out = None;
    let mut given = std::env::args().skip(1);
    while let Some(argument) = given.next() {
        match argument.as_str() {
            "--scenes" => {
                let number = given.next().and_then(|n| n.parse().ok());
                n_scenes = number.expect("--scenes takes a number");
            }
            "-o" => out = given.next(),
            "--bench" | "--test" => (),
            other => panic!("{other} is no option: there are --scenes N and -o FILE"),
        }
    }
    let dir = tempfile::tempdir().expect("a directory");
    let (reason, predict) = (dir.path().join("reason.model"), dir.path().join("predict.model"));
    export_reason(Path::new("engines/small-reason"), &ReasonOptions::default(), &reason, &mut |_| {})
        .expect("exports");
    export_predict(Path::new("engines/small-predict"), &PredictOptions::default(), &predict, &mut |_| {})
        .expect("exports");
    let mut rows = Vec::new();
    for (name, model, precisions) in [("small-reason", &reason, REASON), ("small-predict", &predict, PREDICT)]
    {
        let mut first = None;
        for precision in precisions {
            let path = dir.path().join("a.engine");
            let (engine, golden_worst) = match engine(model, precision, &path) {
                Ok(engine) => engine,
                Err(why) => {
                    rows.push(json!({"engine": name, "precision": precision, "refused": why}));
                    println!("{}", rows.last().expect("pushed above"));
                    continue;
                }
            };
            let mut row = json!({"engine": name, "precision": precision, "scenes": n_scenes,
                "file_bytes": engine.container().file_bytes(), "golden_worst": golden_worst});
            let session = engine.session(&OPEN).expect("claims");
            let measured = if name == "small-reason" {
                answers(Reason::open(&engine, session).expect("is Reason's"), n_scenes, &mut first)
            } else {
                let manifest = engine.manifest().roles.forecasts.clone().expect("it forecasts");
                forecasts(Predict::new(session, manifest, None).expect("is Predict's"), n_scenes)
            };
            row.as_object_mut().expect("made above").extend(measured.as_object().expect("is one").clone());
            println!("{row}");
            rows.push(row);
        }
    }
    if let Some(out) = out {
        let report = json!({"command": format!("cargo bench --bench accuracy -- --scenes {n_scenes}"), "seed": SEED, "isa": isa(), "rows": rows});
        let text = serde_json::to_string_pretty(&report).expect("plain values") + "\n";
        std::fs::write(&out, text).unwrap_or_else(|why| panic!("{out}: {why}"));
    }
}

fn isa() -> &'static str {
    perihelion::backend::cpu::Isa::detect().map_or("", |isa| isa.name())
}

/// The engine, and how far its golden cases lie off as a share of what is allowed; or why it was not built.
fn engine(model: &Path, precision: &str, path: &Path) -> Result<(Engine, f32), String> {
    let formats = precision.parse().expect("ours");
    let options = BuildOptions { backend: "cpu".into(), formats, limits: vec![], open: OPEN };
    let model = Model::open(model).expect("exported just now");
    let built = build(&model, &options, path, &mut |_| {}).map_err(|why| why.to_string())?;
    let tried = built.tried.expect("built for this machine");
    Ok((Engine::open(path).expect("built just now"), tried.self_test.worst))
}

/// Right answers and questions by task, and how many answers are those of the first precision.
fn answers(mut reason: Reason, n_scenes: u64, first: &mut Option<Vec<String>>) -> Value {
    let mut rng = Rng::new(SEED);
    let (mut tasks, mut said) = (Task::ALL.map(|task| (task.name(), [0u32; 2])), Vec::new());
    for _ in 0..n_scenes {
        let scene = Scene::draw(&mut rng, SceneOptions::default());
        let frames = rendered(&scene);
        let size = FrameSize { width: SIZE, height: SIZE };
        let pictures: Vec<Picture<'_>> = frames.iter().map(|frame| Picture::new(frame, size)).collect();
        let shown = [Shown::Clip { frames: &pictures, fps: 8.0 }];
        let questions = scene.questions(false);
        for (i, task) in Task::ALL.into_iter().enumerate() {
            let Some(question) = questions.iter().find(|question| question.task == task) else { continue };
            let request = Request::new(&shown, &question.texts[0], ANSWER_TOKENS_MAX);
            let answer = reason.ask(&request, None, &mut |_, _| ()).expect("a question of the kind it knows");
            tasks[i].1[0] += u32::from(answer.text == question.truth);
            tasks[i].1[1] += 1;
            said.push(answer.text);
        }
    }
    let same = first.get_or_insert_with(|| said.clone()).iter().zip(&said).filter(|(a, b)| a == b).count();
    let tasks: serde_json::Map<String, Value> =
        tasks.into_iter().map(|(name, [right, asked])| (name.to_owned(), json!([right, asked]))).collect();
    json!({"right_of_asked": tasks, "same_as_f32_of_asked": [same, said.len()]})
}

/// Peak signal to noise of forecast frames, over all pixels and over those that move.
fn forecasts(mut predict: Predict, n_scenes: u64) -> Value {
    let mut rng = Rng::new(SEED);
    let options = SceneOptions { n_frames: N_FRAMES, horizon: 0, ..SceneOptions::default() };
    let (mut psnr, mut moving, mut n_moving) = (0.0, 0.0, 0.0);
    for i in 0..n_scenes {
        let frames = rendered(&Scene::draw(&mut rng, options));
        let given: Vec<&[u8]> = frames[..N_GIVEN].iter().map(|frame| &frame[..]).collect();
        predict.show(&given, Limits::default()).expect("encodes");
        let request = ForecastRequest { noise: Noise::Seed(i), ..ForecastRequest::default() };
        predict.denoise(&request, |_| {}).expect("denoises");
        let mut found = Vec::with_capacity(N_FRAMES * FRAME_BYTES);
        predict
            .decode(Limits::default(), |part| found.extend(part.pixels.iter().map(|v| to_byte(*v))))
            .expect("decodes");
        let (found, truth) = (&found[N_GIVEN * FRAME_BYTES..], frames[N_GIVEN..].concat());
        let mut all = 0.0;
        for (i, (found, truth)) in found.chunks(3).zip(truth.chunks(3)).enumerate() {
            let off = |a: &[u8], b: &[u8]| -> Vec<f64> {
                a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)) / 255.0).collect()
            };
            let square: f64 = off(found, truth).iter().map(|v| v * v).sum();
            all += square;
            let before = &frames[N_GIVEN - 1][i * 3 % FRAME_BYTES..][..3];
            if off(truth, before).iter().any(|v| 0.05 < v.abs()) {
                (moving, n_moving) = (moving + square, n_moving + 3.0);
            }
        }
        psnr += 10.0 * (truth.len() as f64 / all).log10();
    }
    json!({"psnr_db": psnr / n_scenes as f64, "psnr_moving_db": 10.0 * (n_moving / moving).log10()})
}

fn rendered(scene: &Scene) -> Vec<Vec<u8>> {
    let frame = |t| {
        let mut rgb = vec![0; FRAME_BYTES];
        scene.render(t, &mut rgb);
        rgb
    };
    (0..scene.n_frames()).map(frame).collect()
}
