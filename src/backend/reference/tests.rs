//! Small cases whose results are worked out by hand or by another formula.

use super::*;
use crate::graph::WeightId;
use crate::graph::{Binary, Dim, GraphBuilder, Merge, Op, Purpose, RotaryStyle, ValueId};
use crate::tensor::TensorView;

/// Weights by their order of declaration.
struct Held(Vec<(DType, Vec<usize>, Vec<u8>)>);

impl Weights for Held {
    fn weight(&self, id: WeightId) -> TensorView<'_> {
        let (dtype, shape, bytes) = &self.0[id.index()];
        TensorView { dtype: *dtype, shape: shape.clone(), bytes }
    }
}

impl Held {
    fn declare(&mut self, network: &mut Network, shape: &[usize], values: &[f32]) -> WeightId {
        self.0.push((DType::F32, shape.into(), values.iter().flat_map(|v| v.to_le_bytes()).collect()));
        network.declare_weight("main", &format!("w{}", self.0.len()), DType::F32, shape)
    }
}

/// Evaluates one op on whole buffers of these shapes.
fn check(
    inputs: &[(&[usize], Values)],
    make_op: impl FnOnce(&mut Network, &mut Held) -> Op,
    expected: &[f32],
) {
    let (mut network, mut held) = (Network::default(), Held(Vec::new()));
    let op = make_op(&mut network, &mut held);
    let buffers: Vec<BufferId> = inputs
        .iter()
        .enumerate()
        .map(|(i, (shape, values))| {
            let dtype = if matches!(values, Values::I32(_)) { DType::I32 } else { DType::F32 };
            network.declare_buffer(&format!("in{i}"), dtype, shape, Purpose::Input)
        })
        .collect();
    let out = network.declare_buffer("out", DType::F32, &[expected.len()], Purpose::Output);
    let mut graph = GraphBuilder::new(&mut network, "main");
    let values: Vec<ValueId> =
        buffers.iter().zip(inputs).map(|(b, (shape, _))| graph.read(*b, shape[0])).collect();
    let value = graph.add(op.clone(), &values);
    let flat = graph.reshape(value, &[Dim::Fixed(expected.len())]);
    graph.write(out, flat);
    graph.finish();

    let mut reference = Reference::new(&network, &held);
    for (buffer, (_, values)) in buffers.iter().zip(inputs) {
        match values {
            Values::F32(v) => reference.write(*buffer, 0, Elements::F32(v)).unwrap(),
            Values::I32(v) => reference.write(*buffer, 0, Elements::I32(v)).unwrap(),
        }
    }
    reference.run(GraphId(0), &Run::default()).unwrap();
    let mut found = vec![f32::NAN; expected.len()];
    reference.read(out, 0, &mut found).unwrap();
    for (f, e) in found.iter().zip(expected) {
        assert!((f - e).abs() <= 1e-6 * e.abs().max(1.0), "{op:?}: found {found:?}, expected {expected:?}");
    }
}

fn f(values: &[f32]) -> Values {
    Values::F32(values.to_vec())
}

#[test]
fn products_with_weights() {
    check(
        &[(&[2, 3], f(&[1., 2., 3., 4., 5., 6.]))],
        |n, h| Op::Linear {
            weight: h.declare(n, &[2, 3], &[1., 0., -1., 2., 2., 2.]),
            bias: Some(h.declare(n, &[2], &[10., 0.])),
        },
        &[8., 12., 8., 30.],
    );
    check(
        &[(&[2], Values::I32(vec![2, 0]))],
        |n, h| Op::Embedding { weight: h.declare(n, &[3, 2], &[1., 2., 3., 4., 5., 6.]) },
        &[5., 6., 1., 2.],
    );
    check(
        &[(&[1, 2], Values::I32(vec![2, 0])), (&[1, 2], f(&[0.25, 0.75]))],
        |n, h| Op::InterpolateRows { weight: h.declare(n, &[3, 2], &[1., 2., 3., 4., 5., 6.]) },
        &[2., 3.],
    );
}

#[test]
fn a_large_product_is_the_same_on_several_threads() {
    let (m, n, k) = (3, 300, 401);
    let x: Vec<f32> = (0..m * k).map(|i| ((i * 37 % 101) as f32 - 50.) / 8.).collect();
    let w: Vec<f32> = (0..n * k).map(|i| ((i * 53 % 97) as f32 - 48.) / 16.).collect();
    let bytes: Vec<u8> = w.iter().flat_map(|v| half::bf16::from_f32(*v).to_le_bytes()).collect();
    let found = dense::linear(&x, k, n, DType::Bf16, &bytes, None);
    for i in 0..m {
        for j in 0..n {
            // All products are multiples of 1/128 and the sums are exact.
            let sum: f32 = (0..k).map(|t| x[i * k + t] * w[j * k + t]).sum();
            assert_eq!(found[i * n + j], sum);
        }
    }
}

#[test]
fn elements_in_other_places() {
    let x = || (&[1usize, 2, 3][..], f(&[0., 1., 2., 3., 4., 5.]));
    check(&[x()], |_, _| Op::Transpose { order: vec![2, 0, 1] }, &[0., 3., 1., 4., 2., 5.]);
    check(&[x()], |_, _| Op::Slice { axis: 2, start: 1.into(), len: 2.into() }, &[1., 2., 4., 5.]);
    check(
        &[x(), (&[1, 2, 1], f(&[8., 9.]))],
        |_, _| Op::Concat { axis: 2 },
        &[0., 1., 2., 8., 3., 4., 5., 9.],
    );
    check(&[(&[3, 2], f(&[0., 1., 2., 3., 4., 5.]))], |_, _| Op::LastRow, &[4., 5.]);
    check(
        &[x(), (&[2, 1], f(&[10., 20.]))],
        |_, _| Op::Binary { function: Binary::Add },
        &[10., 11., 12., 23., 24., 25.],
    );
    check(
        &[(&[1, 1, 2, 1], f(&[1., 2.]))],
        |_, _| Op::Upsample { factor: [1, 2, 2] },
        &[1., 1., 2., 2., 1., 1., 2., 2.],
    );
    let table = (&[2usize, 2][..], f(&[10., 20., 30., 40.]));
    let index = (&[3usize][..], Values::I32(vec![1, -1, 0]));
    let rows = (&[3usize, 2][..], f(&[1., 2., 3., 4., 5., 6.]));
    for (merge, expected) in
        [(Merge::Replace, [30., 40., 3., 4., 10., 20.]), (Merge::Add, [31., 42., 3., 4., 15., 26.])]
    {
        check(&[rows.clone(), table.clone(), index.clone()], |_, _| Op::SelectRows { merge }, &expected);
    }
}

#[test]
fn convolution_sees_zeros_outside_and_steps_by_its_stride() {
    // Sums of three neighbours along w, and their centre times ten along t.
    check(
        &[(&[2, 1, 3, 1], f(&[1., 2., 3., 4., 5., 6.]))],
        |n, h| Op::Conv3d {
            weight: h.declare(n, &[1, 1, 1, 3, 1], &[1., 1., 1.]),
            bias: Some(h.declare(n, &[1], &[100.])),
            stride: [1, 1, 2],
            padding: [[0, 0], [0, 0], [1, 1]],
        },
        &[103., 105., 109., 111.],
    );
    check(
        &[(&[2, 1, 1, 2], f(&[1., 2., 3., 4.]))],
        |n, h| Op::Conv3d {
            weight: h.declare(n, &[1, 2, 1, 1, 2], &[1., 10., 100., 1000.]),
            bias: None,
            stride: [1, 1, 1],
            padding: [[1, 0], [0, 0], [0, 0]],
        },
        &[2100., 4321.],
    );
}

#[test]
fn rotary_turns_pairs_by_the_positions_of_their_axes() {
    let half_turn = std::f32::consts::PI;
    check(
        &[(&[1, 2], Values::I32(vec![1, 2]))],
        |_, _| Op::RotaryTable { axis: vec![0, 1], inverse_frequency: vec![half_turn, half_turn / 4.] },
        &[-1., 0., 0., 1.],
    );
    let x = || (&[1usize, 1, 4][..], f(&[1., 2., 3., 4.]));
    let table = || (&[1usize, 4][..], f(&[-1., 0., 0., 1.]));
    check(&[x(), table()], |_, _| Op::Rotary { style: RotaryStyle::Halves }, &[-1., -4., -3., 2.]);
    check(&[x(), table()], |_, _| Op::Rotary { style: RotaryStyle::Pairs }, &[-1., -2., -4., 3.]);
    check(&[(&[1], f(&[2.]))], |_, _| Op::Sinusoid { frequency: vec![half_turn / 4.] }, &[0., 1.]);
}

#[test]
fn attention_weighs_values_by_their_keys() {
    // Two query heads on one key head; the second key is e times as likely as the first for head 0, equally for head 1.
    let e = std::f32::consts::E;
    check(
        &[(&[1, 2, 1], f(&[2., 0.])), (&[2, 1, 1], f(&[0., 1.])), (&[2, 1, 1], f(&[0., 8.]))],
        |_, _| Op::Attention { scale: 0.5 },
        &[8. * e / (1. + e), 4.],
    );
    // Two parts of one token each: every query sees the one value of its own part.
    check(
        &[(&[2, 1, 1, 1], f(&[2., 3.])), (&[2, 1, 1, 1], f(&[5., 1.])), (&[2, 1, 1, 1], f(&[7., 8.]))],
        |_, _| Op::Attention { scale: 0.5 },
        &[7., 8.],
    );
}

/// A cache of four tokens, one head of width one: what comes out is the mean of the values seen, since all keys are equal.
fn cached_network() -> Network {
    let mut network = Network::default();
    let x = network.declare_buffer("x", DType::F32, &[4, 1, 1], Purpose::Input);
    let y = network.declare_buffer("y", DType::F32, &[4, 1, 1], Purpose::Output);
    let key_cache = network.declare_buffer("k", DType::F32, &[4, 1, 1], Purpose::Cache);
    let value_cache = network.declare_buffer("v", DType::F32, &[4, 1, 1], Purpose::Cache);
    let mut graph = GraphBuilder::new(&mut network, "main");
    let n = graph.dim("n", 1, 4, 1);
    let past = graph.dim("past", 0, 3, 1);
    let v = graph.read(x, n);
    let k = graph.add(Op::Affine { mul: 0., add: 1. }, &[v]);
    let out = graph.add(Op::CachedAttention { key_cache, value_cache, past, scale: 1. }, &[k, k, v]);
    graph.write(y, out);
    graph.finish();
    network
}

fn run(
    reference: &mut Reference<'_>,
    extents: &[usize],
    windows: &[(BufferId, usize)],
) -> Result<(), RunError> {
    reference.run(GraphId(0), &Run { extents, windows, ..Run::default() })
}

#[test]
fn a_prompt_in_pieces_is_the_prompt_at_once() {
    let network = cached_network();
    let held = Held(Vec::new());
    let mut reference = Reference::new(&network, &held);
    let (x, y) = (BufferId(0), BufferId(1));
    reference.write(x, 0, Elements::F32(&[1., 3., 5., 7.])).unwrap();
    run(&mut reference, &[4, 0], &[]).unwrap();
    let mut whole = [0.; 4];
    reference.read(y, 0, &mut whole).unwrap();
    assert_eq!(whole, [1., 2., 3., 4.]);

    // The same tokens, two by two, each piece at its window.
    for past in [0, 2] {
        run(&mut reference, &[2, past], &[(x, past), (y, past)]).unwrap();
    }
    let mut pieces = [0.; 4];
    reference.read(y, 0, &mut pieces).unwrap();
    assert_eq!(pieces, whole);
}

#[test]
fn what_does_not_fit_is_refused() {
    let network = cached_network();
    let held = Held(Vec::new());
    let mut reference = Reference::new(&network, &held);
    let (x, y) = (BufferId(0), BufferId(1));
    let cache = BufferId(2);
    use RunError::{Bounds, Extent, Graph, Type};
    let mut run = |extents: &[usize], windows: &[_]| run(&mut reference, extents, windows);
    assert_eq!(run(&[5, 0], &[]), Err(Extent { index: 0, value: 5 }));
    assert_eq!(run(&[1], &[]), Err(Extent { index: 1, value: usize::MAX }));
    assert_eq!(run(&[1, 0, 0], &[]), Err(Extent { index: 2, value: 0 }));
    assert_eq!(run(&[2, 3], &[]), Err(Bounds { buffer: cache, row: 3, end: 5 }));
    assert_eq!(run(&[2, 0], &[(y, 3)]), Err(Bounds { buffer: y, row: 3, end: 5 }));
    assert_eq!(reference.run(GraphId(1), &Run::default()), Err(Graph(GraphId(1))));
    assert_eq!(reference.write(x, 4, Elements::F32(&[0.])), Err(Bounds { buffer: x, row: 4, end: 5 }));
    assert_eq!(reference.write(x, 0, Elements::I32(&[0])), Err(Type(x)));
    assert_eq!(reference.write(BufferId(9), 0, Elements::I32(&[0])), Err(Type(BufferId(9))));
}

#[test]
fn inputs_are_filled_and_outputs_viewed_in_place() {
    let network = cached_network();
    let held = Held(Vec::new());
    let mut reference = Reference::new(&network, &held);
    let (x, y) = (BufferId(0), BufferId(1));
    reference.input(x, 1, 3).unwrap().copy_from_slice(&[3., 5., 7.]);
    reference.input(x, 0, 1).unwrap()[0] = 1.;
    run(&mut reference, &[4, 0], &[]).unwrap();
    assert_eq!(reference.view(y, 1, 3), Ok(&[2., 3., 4.][..]));
    assert_eq!(reference.view(y, 3, 2), Err(RunError::Bounds { buffer: y, row: 3, end: 5 }));
    assert_eq!(reference.view(x, 0, 1), Err(RunError::Purpose(x)));
    assert_eq!(reference.input(y, 0, 1), Err(RunError::Purpose(y)));
    assert_eq!(reference.input_i32(x, 0, 1), Err(RunError::Type(x)));
}

#[test]
fn a_run_that_was_stopped_or_is_late_writes_nothing() {
    let network = cached_network();
    let held = Held(Vec::new());
    let mut reference = Reference::new(&network, &held);
    reference.write(BufferId(0), 0, Elements::F32(&[1., 3., 5., 7.])).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(true);
    let whole = Run { extents: &[4, 0], ..Run::default() };
    assert_eq!(reference.run(GraphId(0), &Run { stop: Some(&stop), ..whole }), Err(RunError::Stopped));
    let deadline = Some(std::time::Instant::now());
    assert_eq!(reference.run(GraphId(0), &Run { deadline, ..whole }), Err(RunError::Deadline));
    let mut found = [f32::NAN; 4];
    reference.read(BufferId(1), 0, &mut found).unwrap();
    assert_eq!(found, [0.; 4]);
}

#[test]
fn an_id_outside_its_table_is_refused() {
    for id in [-1, 3] {
        let (mut network, mut held) = (Network::default(), Held(Vec::new()));
        let ids = network.declare_buffer("ids", DType::I32, &[1], Purpose::Input);
        let weight = held.declare(&mut network, &[3, 1], &[1., 2., 3.]);
        let mut graph = GraphBuilder::new(&mut network, "main");
        let value = graph.read(ids, 1);
        graph.add(Op::Embedding { weight }, &[value]);
        graph.finish();
        let mut reference = Reference::new(&network, &held);
        reference.write(ids, 0, Elements::I32(&[id])).unwrap();
        assert_eq!(reference.run(GraphId(0), &Run::default()), Err(RunError::Index(GraphId(0))));
    }
}
