//! What each precision costs the two small checkpoints in their tasks: `cargo bench --bench accuracy -- [--scenes N] [-o FILE]`.
//!
//! Both are measured as `perihelion report` measures them, on clips whose seeds training did not use; every precision sees the same. Nothing
//! here is timed.

use std::path::Path;

use perihelion::backend::OpenOptions;
use perihelion::engine::{BuildOptions, Engine, build};
use perihelion::export::{PredictOptions, ReasonOptions, export_predict, export_reason};
use perihelion::model::Model;
use perihelion::quality::{self, world::World};
use perihelion::runtime::predict::Predict;
use perihelion::runtime::reason::Reason;
use serde_json::{Value, json};

const WORLD: World = World::Balls;
const REASON: &[&str] =
    &["f32", "bf16", "int8", "vision=f32,language=int4", "vision=int8,language=int4", "int4"];
const PREDICT: &[&str] =
    &["f32", "bf16", "int8", "denoiser=int8,vae=f32,text=f32", "denoiser=int4,vae=int8,text=f32", "int4"];
const OPEN: OpenOptions = OpenOptions { threads: Some(1) };

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
        let report = json!({"command": format!("cargo bench --bench accuracy -- --scenes {n_scenes}"), "world": WORLD.name(), "isa": isa(), "rows": rows});
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
fn answers(mut reason: Reason, n_clips: u64, first: &mut Option<Vec<String>>) -> Value {
    let found = quality::answers::answers(&mut reason, WORLD, 0..n_clips, 0, |_| ());
    let found = found.expect("questions of the kind it knows");
    let said = found.said;
    let same = first.get_or_insert_with(|| said.clone()).iter().zip(&said).filter(|(a, b)| a == b).count();
    let tasks: serde_json::Map<String, Value> =
        found.tasks.iter().map(|task| (task.task.to_owned(), json!([task.right, task.asked]))).collect();
    json!({"right_of_asked": tasks, "same_as_f32_of_asked": [same, said.len()]})
}

/// Peak signal to noise of forecast frames, over all pixels and over those that move.
fn forecasts(mut predict: Predict, n_clips: u64) -> Value {
    let found = quality::forecasts::forecasts(&mut predict, WORLD, 0..n_clips, 0, |_| ());
    let whole = found.expect("clips of the kind it knows").forecast.whole();
    json!({"psnr_db": whole.psnr_db(), "psnr_moving_db": whole.psnr_moving_db()})
}
