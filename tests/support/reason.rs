//! The small Reason engine on its whole way from its checkpoint, for tests.

use std::path::Path;

use perihelion::backend::{OpenOptions, WeightFormat};
use perihelion::engine::{BuildOptions, Engine, build};
use perihelion::export::{ReasonOptions, export_reason};
use perihelion::model::Model;
use perihelion::runtime::reason::Reason;

/// Exports and builds `engines/small-reason` in f32, and opens it.
pub(crate) fn open() -> Reason {
    let dir = tempfile::tempdir().expect("a directory");
    let (model, path) = (dir.path().join("a.model"), dir.path().join("a.engine"));
    let checkpoint = Path::new("engines/small-reason");
    export_reason(checkpoint, &ReasonOptions::default(), &model, &mut |_| {}).expect("exports");
    let open = OpenOptions { threads: Some(2) };
    let options =
        BuildOptions { backend: "cpu".into(), formats: WeightFormat::F32.into(), limits: vec![], open };
    let model = Model::open(&model).expect("opens");
    build(&model, &options, &path, &mut |_| {}).expect("builds, and answers its golden case");
    let engine = Engine::open(&path).expect("opens");
    Reason::open(&engine, engine.session(&open).expect("claims")).expect("is Reason's")
}
