//! Conformance: one list of cases × every backend, against the graph's reference evaluation.
//!
//! Each case is a small network with random weights and contents. All its buffers, also those that a run should leave alone, are
//! filled at random, and after several runs at several extents and windows all of them are compared. The CPU backend is run
//! with every instruction set that this machine has, in every format and some in turn, and on one, two and three threads, whose results must be
//! equal to the last bit. What this machine lacks is printed as not run.

#![allow(clippy::unwrap_used, reason = "what a test cannot go on without fails it")]

use std::io::Write;

mod buffers;
mod building;
mod case;
mod cases;
mod networks;

use case::{Case, Tolerance};
use perihelion::backend::cpu::{Cpu, Isa};
use perihelion::backend::{OpenOptions, WeightFormat};

#[test]
fn every_op_agrees_with_the_reference_evaluation() {
    check_all(&cases::all());
}

#[test]
fn whole_networks_agree_with_the_reference_evaluation() {
    check_all(&networks::all());
}

#[test]
fn a_wrong_result_is_seen() {
    let case = &cases::all()[0];
    let expected = case.reference();
    let mut wrong = expected.clone();
    let last = wrong.iter_mut().flatten().next_back().expect("the case has buffers");
    *last += 0.01;
    assert!(Tolerance::Close.differs(&expected, &wrong, &case.network).is_some());
    assert!(Tolerance::Close.differs(&expected, &expected, &case.network).is_none());
}

fn check_all(cases: &[Case]) {
    for isa in Isa::ALL {
        if !isa.is_available() {
            say(&format!("cpu, {isa}: NOT RUN, this machine lacks it"));
            continue;
        }
        for formats in FORMATS {
            let problems: Vec<String> = cases.iter().flat_map(|case| check(case, isa, formats)).collect();
            assert!(problems.is_empty(), "\n{}", problems.join("\n"));
            say(&format!("cpu, {isa}, {formats:?}, 1, 2 and 3 threads: {} cases agree", cases.len()));
        }
    }
    let why = perihelion::backend::backend("tensorrt").err();
    let why = why.map_or_else(|| "its plans run in `build`'s golden cases".to_owned(), |why| why.to_string());
    say(&format!("tensorrt: NOT RUN here on a GPU (tests/tensorrt runs its session on the host): {why}"));
}

/// Says what was run and what was not, also when the test passes: libtest keeps what is printed otherwise.
fn say(what: &str) {
    writeln!(std::io::stderr(), "{what}").expect("stderr is there");
}

/// What the weights of a case take in turn.
const FORMATS: &[&[WeightFormat]] = &[
    &[WeightFormat::F32],
    &[WeightFormat::Bf16],
    &[WeightFormat::Bf16, WeightFormat::F32],
    &[WeightFormat::Int8],
    &[WeightFormat::F32, WeightFormat::Int8],
    &[WeightFormat::Int4],
];

/// What a case allows where its weights are of some formats.
fn allowed(of_case: Tolerance, formats: &[WeightFormat]) -> Tolerance {
    match formats.iter().max() {
        Some(WeightFormat::Int4) => Tolerance::OfInt4,
        Some(WeightFormat::Int8) => Tolerance::OfInt8,
        _ => of_case,
    }
}

fn check(case: &Case, isa: Isa, formats: &[WeightFormat]) -> Vec<String> {
    let expected = case.reference();
    let mut problems = Vec::new();
    let mut on_one_thread = None;
    let of_weights: Vec<WeightFormat> =
        formats.iter().copied().cycle().take(case.network.weights.len()).collect();
    for threads in 1..=3 {
        let cpu = if threads == 1 { Cpu::with_isa(isa) } else { Cpu::with_isa(isa).sharing_all_work() };
        let options = OpenOptions { threads: Some(threads) };
        let place = format!("{} ({isa}, {formats:?}, {threads} threads)", case.name);
        let mut session = match cpu.prepare(&case.network, &case.weights, &of_weights, &options) {
            Ok(session) => session,
            Err(why) => return vec![format!("{place}: {why}")],
        };
        let found = case.on(session.as_mut());
        match &on_one_thread {
            None => {
                let tolerance = allowed(case.tolerance, formats);
                if let Some(difference) = tolerance.differs(&expected, &found, &case.network) {
                    problems.push(format!("{place}: {difference}"));
                }
                on_one_thread = Some(found);
            }
            Some(first) => {
                if let Some(difference) = Tolerance::Bits.differs(first, &found, &case.network) {
                    problems.push(format!("{place}: other bits than on one thread: {difference}"));
                }
            }
        }
    }
    problems
}
