//! What TensorRT is told of graphs, without a GPU: layers evaluated on the CPU equal the graph's own reference evaluation.
//!
//! Twice: the layers as the lowering writes them, which needs no library; and, in the tests that need TensorRT-RTX, the layers as
//! TensorRT itself has recorded them, read back through its getters, with the shapes that it infers. Those tests are ignored where
//! there is no library and are run by `.ci/run`: `PERIHELION_TENSORRT` names it.
//!
//! The cases are those of `tests/conformance`, and every golden case of the two small models.

#![allow(clippy::unwrap_used, reason = "what a test cannot go on without fails it")]

#[path = "../conformance/case.rs"]
#[allow(dead_code, reason = "conformance spoils weights and stores them in blocks")]
mod case;
#[path = "../conformance/cases.rs"]
mod cases;
mod evaluate;
mod host;
mod models;
mod mutations;
mod narrow;
#[path = "../conformance/networks.rs"]
mod networks;
mod on_host;
mod plans;
mod precisions;
mod product;
mod session;
mod whole_attention;

use perihelion::backend::tensorrt::{Element, Library};

use case::Case;
use session::Evaluated;

#[test]
fn the_layers_of_every_op_and_network_equal_the_reference_evaluation() {
    check(&all(), None);
}

/// What is f16 in a plan is f32 here; what differs is numbers that were written into it, rounded.
#[test]
fn in_narrower_types_the_layers_are_the_same() {
    for compute in [Element::F16, Element::Bf16] {
        for case in all() {
            let mut session = Evaluated::new(&case.network, &case.weights, compute, None).unwrap();
            let (expected, found) = (case.reference(), case.on(&mut session));
            let share = worst(&expected, &found);
            assert!(share < 0.05, "{}, {compute:?}: off by {share} of the largest", case.name);
        }
    }
}

#[test]
#[ignore = "needs TensorRT-RTX: PERIHELION_TENSORRT names it"]
fn what_tensorrt_recorded_of_every_op_and_network_equals_the_reference_evaluation() {
    let library = Library::open(None).unwrap();
    check(&all(), Some(&library));
}

fn check(cases: &[Case], library: Option<&Library>) {
    let problems: Vec<String> = cases.iter().filter_map(|case| problem(case, library)).collect();
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

/// How a case's buffers differ from the reference evaluation's, if they do.
fn problem(case: &Case, library: Option<&Library>) -> Option<String> {
    let mut session = match Evaluated::new(&case.network, &case.weights, Element::F32, library) {
        Ok(session) => session,
        Err(why) => return Some(format!("{}: {why}", case.name)),
    };
    let found = case.on(&mut session);
    let differs = case.tolerance.differs(&case.reference(), &found, &case.network);
    differs.map(|how| format!("{}: {how}", case.name))
}

/// The largest difference as a share of the largest element, of any buffer.
fn worst(expected: &[Vec<f32>], found: &[Vec<f32>]) -> f32 {
    let of = |(e, f): (&Vec<f32>, &Vec<f32>)| {
        let largest = e.iter().fold(1.0f32, |m, v| m.max(v.abs()));
        let off = e.iter().zip(f).map(|(e, f)| if (e - f).is_nan() { f32::INFINITY } else { (e - f).abs() });
        off.fold(0.0, f32::max) / largest
    };
    expected.iter().zip(found).map(of).fold(0.0, f32::max)
}

/// All cases: of single ops, and of networks.
fn all() -> Vec<Case> {
    [cases::all(), networks::all()].into_iter().flatten().collect()
}
