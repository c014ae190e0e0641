//! A Predict checkpoint on its whole way to an opened engine, for tests.
#![allow(dead_code, reason = "each test uses its part of it")]

use std::path::Path;

use perihelion::backend::{OpenOptions, WeightFormat};
use perihelion::engine::{BuildOptions, Engine, build};
use perihelion::export::{PredictOptions, export_predict};
use perihelion::model::Model;
use perihelion::models::wan_vae::LATENTS_PER_CALL;
use perihelion::runtime::predict::Predict;

/// How engines are opened here.
pub(crate) const OPEN: OpenOptions = OpenOptions { threads: Some(2) };

/// Exports and builds a checkpoint in f32, with so many latents in a call of the VAE.
pub(crate) fn built(checkpoint: &Path, options: &PredictOptions, latents_per_call: usize) -> Engine {
    limited(checkpoint, options, vec![(LATENTS_PER_CALL.into(), latents_per_call)])
}

/// Exports and builds a checkpoint in f32, with these limits.
pub(crate) fn limited(checkpoint: &Path, options: &PredictOptions, limits: Vec<(String, usize)>) -> Engine {
    let dir = tempfile::tempdir().expect("a directory");
    let (model, engine) = (dir.path().join("a.model"), dir.path().join("a.engine"));
    export_predict(checkpoint, options, &model, &mut |_| {}).expect("exports");
    let model = Model::open(&model).expect("opens");
    let build_options =
        BuildOptions { backend: "cpu".into(), formats: WeightFormat::F32.into(), limits, open: OPEN };
    build(&model, &build_options, &engine, &mut |_| {}).expect("builds, and answers its golden case");
    Engine::open(&engine).expect("opens")
}

/// The same, opened.
pub(crate) fn open(
    checkpoint: &Path,
    options: &PredictOptions,
    latents_per_call: usize,
    steps: Option<usize>,
) -> Predict {
    let engine = built(checkpoint, options, latents_per_call);
    let session = engine.session(&OPEN).expect("claims");
    let manifest = engine.manifest().roles.forecasts.clone().expect("it forecasts");
    Predict::new(session, manifest, steps).expect("is Predict's")
}
