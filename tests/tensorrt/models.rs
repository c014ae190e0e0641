//! Every graph of the two small models, by its golden cases: inputs, windows and caches as a run has them, and the outputs of the
//! reference evaluation.

use std::path::Path;

use perihelion::backend::tensorrt::{CacheForm, Element, Library, Rules};
use perihelion::export::{PredictOptions, ReasonOptions, export_predict, export_reason};
use perihelion::model::Model;

use crate::session::Evaluated;
use crate::worst;

/// Of the largest element of an output.
const TOLERANCE: f32 = 1e-4;

/// The model of a checkpoint of ours.
pub(crate) fn model(name: &str) -> Model {
    let dir = tempfile::tempdir().unwrap();
    let (path, checkpoint) = (dir.path().join("a.model"), Path::new("engines").join(name));
    match name {
        "small-reason" => {
            export_reason(&checkpoint, &ReasonOptions::default(), &path, &mut |_| {}).unwrap();
        }
        _ => {
            export_predict(&checkpoint, &PredictOptions::default(), &path, &mut |_| {}).unwrap();
        }
    }
    // Mapped, so that the file may go.
    Model::open(&path).unwrap()
}

fn check(name: &str, caches: CacheForm, library: Option<&Library>) {
    let model = model(name);
    let network = model.network();
    let rules = Rules { caches, ..Rules::from(Element::F32) };
    let mut session = Evaluated::new(network, &model, rules, library).unwrap();
    let mut ran = std::collections::BTreeSet::new();
    for case in model.golden() {
        for step in &case.steps {
            let found = step.run(&mut session);
            let found =
                found.unwrap_or_else(|why| panic!("{}, {}: {why}: {:?}", case.name, step.graph, session.why));
            let expected: Vec<Vec<f32>> = step.outputs.iter().map(|o| o.values.clone()).collect();
            let share = worst(&expected, &found);
            println!("{name}, {}, {} at {:?}: off by {share:.1e}", case.name, step.graph, step.extents);
            assert!(share <= TOLERANCE, "{}, {}: off by {share} of the largest", case.name, step.graph);
            ran.insert(step.graph.clone());
        }
    }
    let all: std::collections::BTreeSet<_> = network.graphs.iter().map(|g| g.name.clone()).collect();
    assert_eq!(ran, all, "every graph has a golden case");
}

#[test]
fn the_layers_of_every_graph_of_small_reason_give_its_golden_outputs() {
    check("small-reason", CacheForm::Tokens, None);
}

#[test]
fn with_tensorrts_own_attention_they_give_them_too() {
    check("small-reason", CacheForm::Heads, None);
}

#[test]
fn the_layers_of_every_graph_of_small_predict_give_its_golden_outputs() {
    check("small-predict", CacheForm::Tokens, None);
}

#[test]
#[ignore = "needs TensorRT-RTX: PERIHELION_TENSORRT names it"]
fn what_tensorrt_recorded_of_small_reason_gives_its_golden_outputs() {
    let library = Library::open(None).unwrap();
    for caches in [CacheForm::Tokens, CacheForm::Heads] {
        check("small-reason", caches, Some(&library));
    }
}

#[test]
#[ignore = "needs TensorRT-RTX: PERIHELION_TENSORRT names it"]
fn what_tensorrt_recorded_of_small_predict_gives_its_golden_outputs() {
    let library = Library::open(None).unwrap();
    for caches in [CacheForm::Tokens, CacheForm::Heads] {
        check("small-predict", caches, Some(&library));
    }
}
