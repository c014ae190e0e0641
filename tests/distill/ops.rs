//! Every op, forward and back.

use std::collections::BTreeSet;

use perihelion::backend::Run;
use perihelion::distill::{Interpreter, Tensor, ops};
use perihelion::graph::{BufferId, Op, ValueId, WeightId, Weights};
use perihelion::scenes::Rng;

use crate::case::{Case, Contents};
use crate::{cases, networks};

fn all() -> Vec<Case> {
    cases::all().into_iter().chain(networks::all()).collect()
}

fn copied(contents: &Contents) -> Contents {
    match contents {
        Contents::F32(values) => Contents::F32(values.clone()),
        Contents::I32(values) => Contents::I32(values.clone()),
    }
}

/// Each element in the place before it, the first at the end.
fn turn(contents: &mut Contents) {
    match contents {
        Contents::F32(values) => values.rotate_left(1),
        Contents::I32(values) => values.rotate_left(1),
    }
}

fn weights(case: &Case) -> Vec<(Vec<f64>, Vec<usize>)> {
    let ids = (0..case.network.weights.len()).map(|i| WeightId(i as u32));
    let of = |id| {
        let view = case.weights.weight(id);
        (view.to_f32().into_iter().map(f64::from).collect(), view.shape)
    };
    ids.map(of).collect()
}

/// Writes what the buffers hold at first, `n` members of a batch of which each is moved by one element against the one before, and
/// runs the case's runs.
fn run(case: &Case, on: &mut Interpreter<'_>, n: usize) {
    for (i, contents) in case.contents.iter().enumerate() {
        let id = BufferId(i as u32);
        let shape = batched(case, i, n);
        match contents {
            Contents::F32(values) => on.write(id, Tensor::constant(members(values, n), &shape)),
            Contents::I32(values) => on.write_whole(id, &members(values, n), &shape),
        }
    }
    run_only(case, on);
}

fn run_only(case: &Case, on: &mut Interpreter<'_>) {
    for run in &case.runs {
        let given = Run { extents: &run.extents, windows: &run.windows, ..Run::default() };
        on.run(run.graph, &given).unwrap_or_else(|why| panic!("{}: {run:?}: {why}", case.name));
    }
}

fn batched(case: &Case, buffer: usize, n: usize) -> Vec<usize> {
    [&[n], &case.network.buffers[buffer].shape[..]].concat()
}

fn members<T: Copy>(values: &[T], n: usize) -> Vec<T> {
    let mut all = Vec::new();
    for i in 0..n {
        all.extend(values.iter().cycle().skip(i).take(values.len()));
    }
    all
}

#[test]
fn every_op_and_network_agrees_with_the_reference_evaluation() {
    let mut problems = Vec::new();
    for mut case in all() {
        let of = |(values, shape): (Vec<f64>, Vec<usize>)| {
            Tensor::constant(values.iter().map(|v| *v as f32).collect(), &shape)
        };
        let held: Vec<Tensor> = weights(&case).into_iter().map(of).collect();
        // One by itself, and two at a time, of which each must be what it is alone.
        for n in [1, 2] {
            let mut on = Interpreter::new(&case.network, held.clone());
            run(&case, &mut on, n);
            let found: Vec<Vec<f32>> = (0..case.network.buffers.len())
                .map(|i| on.buffer(BufferId(i as u32)).map(Tensor::to_f32).unwrap_or_default())
                .collect();
            for member in 0..n {
                let whole: Vec<Contents> = case.contents.iter().map(copied).collect();
                if member == 1 {
                    case.contents.iter_mut().for_each(turn);
                }
                let expected = case.reference();
                case.contents = whole;
                let share =
                    |values: &Vec<f32>| values[values.len() / n * member..][..values.len() / n].to_vec();
                let found: Vec<Vec<f32>> = found.iter().map(share).collect();
                // Elements that only move are copied here too.
                let tolerance = case.tolerance;
                if let Some(difference) = tolerance.differs(&expected, &found, &case.network) {
                    problems.push(format!("{}, member {member} of {n}: {difference}", case.name));
                }
            }
        }
    }
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

/// A case as a function of its weights and of what its buffers hold: one number, a sum over all that they hold at the end, each
/// element with a share of its own.
struct Function {
    case: Case,
    /// Values and shapes: the weights, then the buffers of f32.
    leaves: Vec<(String, Vec<f64>, Vec<usize>)>,
    shares: Vec<Option<Vec<f64>>>,
    n: usize,
}

impl Function {
    fn of(case: Case, n: usize, rng: &mut Rng) -> Function {
        let mut leaves = Vec::new();
        for (i, (values, shape)) in weights(&case).into_iter().enumerate() {
            leaves.push((format!("weight {i}"), values, shape));
        }
        let mut shares = Vec::new();
        for (i, contents) in case.contents.iter().enumerate() {
            let Contents::F32(values) = contents else {
                shares.push(None);
                continue;
            };
            let values: Vec<f64> = members(values, n).into_iter().map(f64::from).collect();
            shares.push(Some((0..values.len()).map(|_| rng.uniform(-1.0, 1.0)).collect()));
            leaves.push((format!("buffer {i}"), values, batched(&case, i, n)));
        }
        Function { case, leaves, shares, n }
    }

    /// The number, where the leaves are these tensors.
    fn at(&self, leaves: &[Tensor]) -> Tensor {
        let (weights, buffers) = leaves.split_at(self.case.network.weights.len());
        let mut on = Interpreter::new(&self.case.network, weights.to_vec());
        let mut buffers = buffers.iter();
        for (i, contents) in self.case.contents.iter().enumerate() {
            let id = BufferId(i as u32);
            match contents {
                Contents::F32(_) => on.write(id, buffers.next().unwrap().clone()),
                Contents::I32(values) => {
                    on.write_whole(id, &members(values, self.n), &batched(&self.case, i, self.n));
                }
            }
        }
        run_only(&self.case, &mut on);
        let mut sum: Option<Tensor> = None;
        for (i, shares) in self.shares.iter().enumerate() {
            let Some(shares) = shares else { continue };
            let held = on.buffer(BufferId(i as u32)).unwrap();
            let shares = Tensor::constant(shares.clone(), &held.shape());
            let one = ops::mul(held, &shares).sum();
            sum = Some(match sum {
                Some(sum) => ops::add(&sum, &one),
                None => one,
            });
        }
        sum.expect("a case has a buffer")
    }

    /// The leaves, one of them moved along a direction.
    fn moved(&self, leaf: usize, along: &[f64], by: f64) -> f64 {
        let all = self.leaves.iter().enumerate().map(|(i, (_, values, shape))| {
            let moved = |(v, a): (&f64, &f64)| v + by * a;
            let values =
                if i == leaf { values.iter().zip(along).map(moved).collect() } else { values.clone() };
            Tensor::constant(values, shape)
        });
        self.at(&all.collect::<Vec<_>>()).item()
    }
}

/// Nothing is learnt of positions: neither tables of angles nor what they are made of have a gradient.
fn is_of_positions(case: &Case, buffer: usize) -> bool {
    case.network.graphs.iter().any(|graph| {
        let reads = |input: &ValueId| matches!(&graph.nodes[input.index()].op, Op::Read { buffer: b } if b.index() == buffer);
        graph.nodes.iter().any(|node| match &node.op {
            Op::RotaryTable { .. } | Op::Sinusoid { .. } => node.inputs.iter().any(reads),
            Op::Rotary { .. } => reads(&node.inputs[1]),
            _ => false,
        })
    })
}

/// The gradient of a function with respect to each leaf, by the tape.
fn slopes(function: &Function) -> Vec<Vec<f64>> {
    let leaves: Vec<Tensor> =
        function.leaves.iter().map(|(_, values, shape)| Tensor::learnt(values.clone(), shape)).collect();
    let mut slopes = function.at(&leaves).backward();
    let of = |leaf: &Tensor| slopes.gradient::<f64>(leaf);
    let found: Vec<Option<Vec<f64>>> = leaves.iter().map(of).collect();
    // Whatever nothing depends on has none.
    found
        .into_iter()
        .zip(&function.leaves)
        .map(|(s, (_, v, _))| s.unwrap_or_else(|| vec![0.0; v.len()]))
        .collect()
}

/// How the gradient with respect to a leaf differs from the quotient of small differences along a direction, if it does.
fn disagrees(function: &Function, leaf: usize, slope: &[f64], rng: &mut Rng) -> Option<String> {
    let along: Vec<f64> = slope.iter().map(|_| rng.uniform(-1.0, 1.0)).collect();
    let found: f64 = slope.iter().zip(&along).map(|(s, a)| s * a).sum();
    let size: f64 = slope.iter().zip(&along).map(|(s, a)| (s * a).powi(2)).sum::<f64>().sqrt();
    let h = 1e-6;
    let expected = (function.moved(leaf, &along, h) - function.moved(leaf, &along, -h)) / (2.0 * h);
    let is_off = 2e-5 * size.max(1e-2) < (found - expected).abs();
    let (name, what) = (&function.case.name, &function.leaves[leaf].0);
    is_off.then(|| format!("{name}, {what}: expected {expected}, found {found}, size {size}"))
}

#[test]
fn gradients_of_every_op_and_network_agree_with_finite_differences() {
    let mut rng = Rng::new(77);
    let (mut problems, mut seen, mut n_compared) = (Vec::new(), BTreeSet::new(), 0);
    for case in all() {
        let nodes = case.network.graphs.iter().flat_map(|graph| &graph.nodes);
        seen.extend(nodes.map(|node| node.op.name()));
        let function = Function::of(case, 2, &mut rng);
        for (i, slope) in slopes(&function).iter().enumerate() {
            let n_weights = function.case.network.weights.len();
            if n_weights <= i && is_of_positions(&function.case, function.leaves[i].0[7..].parse().unwrap()) {
                continue;
            }
            n_compared += 1;
            problems.extend(disagrees(&function, i, slope, &mut rng));
        }
    }
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
    assert!(300 < n_compared, "{n_compared}");
    // The parser says which ops there are.
    let refused = serde_json::from_value::<Op>(serde_json::json!({"op": "?"})).unwrap_err().to_string();
    let known: Vec<&str> = refused.split('`').skip(3).step_by(2).collect();
    let missing: Vec<&&str> = known.iter().filter(|op| !seen.contains(**op)).collect();
    assert!(!known.is_empty() && missing.is_empty(), "no case for {missing:?}");
}

#[test]
fn a_wrong_gradient_is_seen() {
    let mut n_tried = 0;
    for case in all() {
        let function = Function::of(case, 1, &mut Rng::new(1));
        for (i, slope) in
            slopes(&function).into_iter().enumerate().filter(|(_, slope)| slope.iter().any(|s| 0.1 < s.abs()))
        {
            // Too large by a thousandth, of the other sign, or not there.
            for factor in [1.001, -1.0, 0.0] {
                let wrong: Vec<f64> = slope.iter().map(|s| s * factor).collect();
                let is_seen =
                    (0..8).any(|seed| disagrees(&function, i, &wrong, &mut Rng::new(seed)).is_some());
                assert!(is_seen, "{}, {}: {factor}", function.case.name, function.leaves[i].0);
                n_tried += 1;
            }
        }
        if 300 < n_tried {
            return;
        }
    }
    panic!("only {n_tried} were tried");
}
