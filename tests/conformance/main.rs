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

use case::{Case, Held, Tolerance};
use perihelion::backend::cpu::{Cpu, Isa};
use perihelion::backend::{CACHE_PART, OpenOptions, Stored, WeightFormat, parts};
use perihelion::graph::{WeightId, WeightUse, Weights};
use perihelion::tensor::DType;
use perihelion_kernels::{PanelFormat, Panels, pack_panels, panels_bytes};

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
    for buffer in &mut wrong {
        buffer.iter_mut().for_each(|element| *element *= 0.9);
    }
    assert!(Tolerance::OfInt8.differs(&expected, &wrong, &case.network).is_some());
}

fn check_all(cases: &[Case]) {
    for isa in Isa::ALL {
        if !isa.is_available() {
            say(&format!("cpu, {isa}: NOT RUN, this machine lacks it"));
            continue;
        }
        for formats in FORMATS {
            let problems: Vec<String> =
                cases.iter().flat_map(|case| check(case, isa, formats, None)).collect();
            assert!(problems.is_empty(), "\n{}", problems.join("\n"));
            say(&format!("cpu, {isa}, {formats:?}, 1, 2 and 3 threads: {} cases agree", cases.len()));
        }
        let with_caches = || cases.iter().filter(|case| parts(&case.network).contains(&CACHE_PART));
        let narrow = Some(WeightFormat::Bf16);
        let problems: Vec<String> =
            with_caches().flat_map(|case| check(case, isa, &[WeightFormat::F32], narrow)).collect();
        assert!(problems.is_empty(), "\n{}", problems.join("\n"));
        assert!(0 < with_caches().count(), "some cases have caches");
        say(&format!(
            "cpu, {isa}, caches in bf16, 1, 2 and 3 threads: {} cases agree",
            with_caches().count()
        ));
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
    &[WeightFormat::F32, WeightFormat::Int4],
];

/// The weights with those that are stored in blocks as they are read back: what then differs is what activations of 8 bits cost. None if
/// there are no such.
fn read_back(case: &Case, of_weights: &[WeightFormat]) -> Option<Held> {
    let nodes = case.network.graphs.iter().flat_map(|graph| &graph.nodes);
    let uses: Vec<_> = nodes.flat_map(|node| node.op.weights()).collect();
    let mut weights = case.weights.clone();
    let mut are_some = false;
    for (i, format) in of_weights.iter().enumerate() {
        let format = match format {
            WeightFormat::Int8 => PanelFormat::Int8,
            WeightFormat::Int4 => PanelFormat::Int4,
            _ => continue,
        };
        let mut of_this = uses.iter().filter(|of| of.id.index() == i).peekable();
        if of_this.peek().is_none() || of_this.any(|of| of.usage == WeightUse::Elements) {
            continue;
        }
        let view = case.weights.weight(WeightId(i as u32));
        let (rows, k) = (view.shape[0], view.shape[1..].iter().product());
        let n_bytes = panels_bytes(format, rows, k);
        let mut words = vec![0u64; n_bytes.div_ceil(8)];
        let bytes = &mut bytemuck::cast_slice_mut(&mut words)[..n_bytes];
        pack_panels(&view, format, bytes).unwrap();
        let panels = Panels { format, rows, k, bytes };
        let mut elements = vec![0.0f32; rows * k];
        (0..rows).for_each(|row| panels.gather_row(row, &mut elements[row * k..][..k]));
        let elements = elements.iter().flat_map(|v| v.to_le_bytes()).collect();
        weights.0[i] = (DType::F32, view.shape.clone(), elements);
        are_some = true;
    }
    are_some.then_some(weights)
}

fn check(case: &Case, isa: Isa, formats: &[WeightFormat], caches: Option<WeightFormat>) -> Vec<String> {
    let of_weights: Vec<WeightFormat> =
        formats.iter().copied().cycle().take(case.network.weights.len()).collect();
    let (expected, tolerance) = match read_back(case, &of_weights) {
        Some(weights) => (case.reference_of(&weights), Tolerance::OfInt8),
        None if caches.is_some() => (case.reference(), Tolerance::OfBf16),
        None if isa.rounds_activations() && of_weights.contains(&WeightFormat::Bf16) => {
            (case.reference(), case.tolerance.max(Tolerance::OfBf16))
        }
        None => (case.reference(), case.tolerance),
    };
    let stored = Stored { caches, ..Stored::from(of_weights) };
    let mut problems = Vec::new();
    let mut on_one_thread = None;
    for threads in 1..=3 {
        let cpu = if threads == 1 { Cpu::with_isa(isa) } else { Cpu::with_isa(isa).sharing_all_work() };
        let options = OpenOptions { threads: Some(threads) };
        let place = format!("{} ({isa}, {formats:?}, {threads} threads)", case.name);
        let mut session = match cpu.prepare(&case.network, &case.weights, &stored, &options) {
            Ok(session) => session,
            Err(why) => return vec![format!("{place}: {why}")],
        };
        let found = case.on(session.as_mut());
        match &on_one_thread {
            None => {
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
