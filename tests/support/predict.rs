//! A Predict checkpoint on its whole way to an opened engine, for tests.

use std::path::Path;

use perihelion::backend::{OpenOptions, Precision};
use perihelion::engine::{BuildOptions, Engine, build};
use perihelion::export::{Family, Model, PredictOptions, export_predict};
use perihelion::models::wan_vae::LATENTS_PER_CALL;
use perihelion::runtime::predict::Predict;

/// Exports, builds in f32 and opens a checkpoint, with so many latents in a call of the VAE.
pub(crate) fn open(
    checkpoint: &Path,
    options: &PredictOptions,
    latents_per_call: usize,
    steps: Option<usize>,
) -> Predict {
    let dir = tempfile::tempdir().expect("a directory");
    let (model, engine) = (dir.path().join("a.model"), dir.path().join("a.engine"));
    export_predict(checkpoint, options, &model, &mut |_| {}).expect("exports");
    let model = Model::open(&model).expect("opens");
    let open = OpenOptions { threads: Some(2) };
    let build_options = BuildOptions {
        backend: "cpu".into(),
        precision: Precision::F32,
        limits: vec![(LATENTS_PER_CALL.into(), latents_per_call)],
        open,
    };
    build(&model, &build_options, &engine, &mut |_| {}).expect("builds, and answers its golden case");
    let engine = Engine::open(&engine).expect("opens");
    let session = engine.session(&open).expect("claims");
    let Family::Predict(manifest) = &engine.manifest().family else { panic!("of Predict") };
    Predict::new(session, (**manifest).clone(), steps).expect("is Predict's")
}
