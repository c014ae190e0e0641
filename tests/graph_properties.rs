//! What holds of every network: what the builder takes, the verifier passes; what the verifier passes, runs, on the reference
//! evaluation and on the CPU alike, at any extents; and whatever a file says, the verifier answers and never panics.
//!
//! Networks are random: small ones made node by node, and the same with numbers in their JSON replaced by hostile ones.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use perihelion::backend::cpu::{Cpu, Isa};
use perihelion::backend::reference::Reference;
use perihelion::backend::{Elements, OpenOptions, Run, RunError, Session, Stored, WeightFormat};
use perihelion::graph::{
    Binary, Buffer, BufferId, Dim, Graph, GraphBuilder, GraphId, Merge, Network, Op, Purpose, RotaryStyle,
    Symbol, Unary, ValueId, WeightId, Weights,
};
use perihelion::tensor::{DType, TensorView};
use proptest::prelude::*;
use serde_json::Value;

/// Numbers that every choice of a node is made from.
type Choice = [u8; 6];

/// The extents that shapes are made of.
fn dims(n: Symbol, m: Symbol) -> [Dim; 9] {
    let n_dim = Dim::of(n);
    [1.into(), 2.into(), 4.into(), 6.into(), n_dim, n_dim.over(2), n_dim.times(3), n_dim.plus(1), Dim::of(m)]
}

/// A network of one graph: some buffers, some weights, and of the nodes chosen those that fit.
fn network(choices: &[Choice], bounds: [u8; 3]) -> Network {
    let mut network = Network::default();
    let rows = 24;
    let floats: Vec<BufferId> = [&[][..], &[4], &[6], &[2, 4], &[2, 2, 4], &[4, 1, 2]]
        .iter()
        .enumerate()
        .map(|(i, row)| {
            let shape = [&[rows][..], row].concat();
            network.declare_buffer(&format!("x{i}"), DType::F32, &shape, Purpose::Input)
        })
        .collect();
    let ids = network.declare_buffer("ids", DType::I32, &[rows], Purpose::Input);
    let pairs = network.declare_buffer("pairs", DType::I32, &[rows, 2], Purpose::Input);
    let caches = ["k", "v"].map(|name| network.declare_buffer(name, DType::F32, &[16, 2, 4], Purpose::Cache));
    let weights: Vec<WeightId> =
        [&[6usize, 4][..], &[4, 6], &[4], &[6], &[8, 4], &[5, 1, 1, 1, 4], &[2, 1, 2, 1, 2]]
            .iter()
            .enumerate()
            .map(|(i, shape)| network.declare_weight("all", &format!("w{i}"), DType::F32, shape))
            .collect();

    let mut graph = GraphBuilder::new(&mut network, "main");
    let [low, more, past_max] = bounds.map(usize::from);
    let n = graph.dim("n", 2 * (1 + low % 2), 2 * (1 + low % 2 + more % 3), 2);
    let m = graph.dim("m", 1, 3, 1);
    let past = graph.dim("past", 0, past_max % 4, 1);
    let dims = dims(n, m);
    let mut values: Vec<ValueId> = floats.iter().map(|b| graph.read(*b, n)).collect();
    values.extend([graph.read(ids, n), graph.read(pairs, n), graph.read(floats[1], m)]);
    let mut cached = false;
    for [op, a, b, c, p, q] in choices {
        // The newest values more often, so that chains form.
        let value = |at: &u8| values[values.len() - 1 - usize::from(*at) % values.len()];
        let dim = |at: &u8| dims[usize::from(*at) % dims.len()];
        let weight = |at: &u8| weights[usize::from(*at) % weights.len()];
        let maybe = |at: &u8| (!at.is_multiple_of(3)).then(|| weight(at));
        let (a, b, c) = (value(a), value(b), value(c));
        let shapes = graph.shape(a).to_vec();
        let (op, inputs) = match op % 21 {
            0 => (Op::Linear { weight: weight(p), bias: maybe(q) }, vec![a]),
            1 => (Op::Embedding { weight: weight(p) }, vec![a]),
            2 => (Op::RmsNorm { weight: maybe(p), eps: 1e-3 }, vec![a]),
            3 => (Op::LayerNorm { weight: maybe(p), bias: maybe(q), eps: 1e-3 }, vec![a]),
            4 => (Op::Unary { function: [Unary::Silu, Unary::GeluTanh][usize::from(p % 2)] }, vec![a]),
            5 => (Op::Binary { function: [Binary::Add, Binary::Sub][usize::from(p % 2)] }, vec![a, b]),
            6 => (Op::Affine { mul: 0.5, add: f32::from(*p) / 256.0 }, vec![a]),
            7 => {
                let axis = vec![p % 2; 1 + usize::from(q % 2)];
                (Op::RotaryTable { inverse_frequency: vec![0.5; axis.len()], axis }, vec![a])
            }
            8 => {
                let style = [RotaryStyle::Halves, RotaryStyle::Pairs][usize::from(p % 2)];
                (Op::Rotary { style }, vec![a, b])
            }
            9 => (Op::Attention { scale: 0.5 }, vec![a, b, b]),
            10 => (Op::Attention { scale: 0.5 }, vec![a, b, c]),
            11 if !cached => {
                let [key_cache, value_cache] = caches;
                (Op::CachedAttention { key_cache, value_cache, past, scale: 0.5 }, vec![a, b, b])
            }
            12 => (Op::SelectRows { merge: [Merge::Add, Merge::Replace][usize::from(p % 2)] }, vec![a, b, c]),
            13 => (Op::InterpolateRows { weight: weight(p) }, vec![a, b]),
            14 => (Op::LastRow, vec![a]),
            15 => {
                // Often one that fits: axes joined or parted.
                let mut shape = shapes.clone();
                match (p % 3, shape.len()) {
                    (0, 2..) => {
                        let last = shape.pop().unwrap();
                        if let (Dim::Fixed(last), Some(before)) = (last, shape.last_mut()) {
                            *before = before.times(last);
                        }
                    }
                    (1, 1..) => shape.insert(0, 1.into()),
                    _ => shape = vec![dim(p), dim(q)],
                }
                (Op::Reshape { shape }, vec![a])
            }
            16 => {
                let mut order: Vec<u8> = (0..shapes.len() as u8).collect();
                order.rotate_left(usize::from(*p) % shapes.len().max(1));
                (Op::Transpose { order }, vec![a])
            }
            17 => (Op::Concat { axis: p % 4 }, vec![a, b]),
            18 => {
                let (start, len) = (Dim::Fixed(usize::from(q % 3)), dim(q));
                (Op::Slice { axis: p % 4, start, len }, vec![a])
            }
            19 => {
                let padding = [[usize::from(p % 2), 0], [usize::from(q % 3), usize::from(p % 2)], [0, 1]];
                let stride = [1, 1 + usize::from(q % 2), 1];
                (Op::Conv3d { weight: weight(p), bias: None, stride, padding }, vec![a])
            }
            20 => (Op::Upsample { factor: [1, 1 + usize::from(p % 2), 2] }, vec![a]),
            _ => (Op::Sinusoid { frequency: vec![0.5, 0.25] }, vec![a]),
        };
        let caches_it = matches!(op, Op::CachedAttention { .. });
        if let Ok(value) = graph.try_add(op, &inputs) {
            values.push(value);
            cached |= caches_it;
        }
    }
    // The newest values go out, where a buffer can hold them.
    let maxima: Vec<usize> = vec![2 * (1 + low % 2 + more % 3), 3, past_max % 4];
    for (i, value) in values.iter().rev().take(4).enumerate() {
        let shape = graph.shape(*value).to_vec();
        let fixed: Option<Vec<usize>> =
            shape.iter().skip(1).map(|d| if let Dim::Fixed(d) = d { Some(*d) } else { None }).collect();
        if let (Some(row), Some(rows), DType::F32) = (fixed, shape.first(), graph.dtype(*value)) {
            let shape = [&[rows.value(&maxima)][..], &row].concat();
            let out = graph.network.declare_buffer(&format!("out{i}"), DType::F32, &shape, Purpose::Output);
            graph.write(out, *value);
        }
    }
    // Not `finish`, which panics: whether it is sound is what is asked.
    let graph = graph.unfinished();
    network.graphs.push(graph);
    network
}

/// Weights of any shape, from a few numbers.
struct Made<'a>(&'a Network);

impl Weights for Made<'_> {
    fn weight(&self, id: WeightId) -> TensorView<'_> {
        let weight = &self.0.weights[id.index()];
        let n_bytes = weight.shape.iter().product::<usize>() * weight.dtype.size_bytes();
        // Zeros, half of them at the least, and the bytes of small numbers of each type.
        let bytes: &'static [u8] = MADE.get_or_init(|| {
            let numbers = (0..MADE_BYTES / 4).map(|i| ((i * 37 % 101) as f32 - 50.0) / 64.0);
            numbers.flat_map(|v| half::bf16::from_f32(v).to_f32().to_le_bytes()).collect()
        });
        TensorView { dtype: weight.dtype, shape: weight.shape.clone(), bytes: &bytes[..n_bytes] }
    }
}

const MADE_BYTES: usize = 1 << 16;
static MADE: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();

/// Whether all of it can be claimed and filled in a test.
fn is_small(network: &Network) -> bool {
    let elements = |shape: &[usize]| shape.iter().product::<usize>();
    let value = |graph: &Graph, shape: &[Dim]| {
        let maxima: Vec<usize> = graph.dims.iter().map(|d| d.max).collect();
        shape.iter().map(|d| d.value(&maxima)).product::<usize>()
    };
    network.weights.iter().all(|w| elements(&w.shape) * w.dtype.size_bytes() <= MADE_BYTES)
        && network.buffers.iter().all(|b| elements(&b.shape) <= 1 << 16)
        && network.graphs.iter().all(|g| g.nodes.iter().all(|n| value(g, &n.shape) <= 1 << 16))
        // A constant of the graph, of any length, is made for each row.
        && network.graphs.iter().all(|g| g.nodes.len() <= 64)
}

/// Extents at their bounds and between, as many as there are to try.
fn extents(graph: &Graph) -> Vec<Vec<usize>> {
    graph.dims.iter().fold(vec![Vec::new()], |all, dim| {
        let between = dim.min + (dim.max - dim.min) / dim.multiple_of / 2 * dim.multiple_of;
        let mut values = vec![dim.min, between, dim.max];
        values.dedup();
        all.iter().flat_map(|e| values.iter().map(|v| [&e[..], &[*v]].concat())).collect()
    })
}

/// Fills all buffers and runs the first graph at all extents; what the f32 buffers then hold after each.
fn run_all(session: &mut dyn Session) -> Vec<Result<Vec<f32>, RunError>> {
    let network = session.network().clone();
    let f32s = |b: &Buffer| (0..b.len()).map(|i| ((i * 29 % 83) as f32 - 41.0) / 32.0).collect::<Vec<_>>();
    let i32s = |b: &Buffer| (0..b.len()).map(|i| (i % 4) as i32).collect::<Vec<_>>();
    let mut results = Vec::new();
    for extents in extents(&network.graphs[0]) {
        for (i, buffer) in network.buffers.iter().enumerate() {
            let id = BufferId(i as u32);
            match buffer.dtype {
                DType::I32 => session.write(id, 0, Elements::I32(&i32s(buffer))),
                _ => session.write(id, 0, Elements::F32(&f32s(buffer))),
            }
            .expect("the whole of it");
        }
        let ran = session.run(GraphId(0), &Run { extents: &extents, ..Run::default() });
        results.push(ran.map(|()| {
            let floats = network.buffers.iter().enumerate().filter(|(_, b)| b.dtype == DType::F32);
            let read = |(i, buffer): (usize, &Buffer)| {
                let mut out = vec![f32::NAN; buffer.len()];
                session.read(BufferId(i as u32), 0, &mut out).expect("the whole of it");
                out
            };
            floats.flat_map(read).collect()
        }));
    }
    results
}

/// Runs a verified network on the reference evaluation and on the CPU; gives what the first answered.
fn runs_alike(network: &Network) -> Result<Vec<Result<Vec<f32>, RunError>>, TestCaseError> {
    let weights = Made(network);
    let expected = run_all(&mut Reference::new(network, &weights));
    let cpu = Cpu::with_isa(Isa::Portable);
    let options = OpenOptions { threads: Some(1) };
    let stored = Stored::from(vec![WeightFormat::F32; network.weights.len()]);
    // It may say that it cannot compute this network; it may not compute another.
    let Ok(mut session) = cpu.prepare(network, &weights, &stored, &options) else {
        return Ok(expected);
    };
    for (expected, found) in expected.iter().zip(run_all(session.as_mut())) {
        match (expected, found) {
            (Ok(expected), Ok(found)) => {
                prop_assert_eq!(expected.len(), found.len());
                let largest =
                    expected.iter().fold(1f32, |m, v| if v.is_finite() { m.max(v.abs()) } else { m });
                for (e, f) in expected.iter().zip(&found) {
                    let same = e == f || (e - f).abs() <= 1e-3 * largest || !e.is_finite();
                    prop_assert!(same, "expected {}, found {}", e, f);
                }
            }
            // An index of a value that nothing uses is looked up by the one and not by the other.
            (Err(RunError::Index(_)), Ok(_)) => {}
            (expected, found) => prop_assert_eq!(expected.as_ref().err(), found.as_ref().err()),
        }
    }
    Ok(expected)
}

/// The numbers of a JSON value, as pointers to them.
fn numbers(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Number(_) => found.push(at.to_owned()),
        Value::Array(all) => {
            all.iter().enumerate().for_each(|(i, v)| numbers(v, &format!("{at}/{i}"), found));
        }
        Value::Object(all) => all.iter().for_each(|(k, v)| numbers(v, &format!("{at}/{k}"), found)),
        _ => {}
    }
}

const HOSTILE: [u64; 18] = [
    0,
    1,
    2,
    3,
    5,
    7,
    8,
    9,
    255,
    65_535,
    65_537,
    1 << 32,
    (1 << 32) + 1,
    1 << 40,
    (1 << 40) + 1,
    1 << 63,
    u64::MAX - 1,
    u64::MAX,
];

fn choices(n: usize) -> impl Strategy<Value = Vec<Choice>> {
    proptest::collection::vec(any::<Choice>(), 1..n)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_built_is_sound_and_runs_at_all_extents(choices in choices(40), bounds in any::<[u8; 3]>()) {
        let network = network(&choices, bounds);
        prop_assert!(network.verify().is_ok() || is_refused_late(&network), "{}", network.verify().unwrap_err());
        if network.verify().is_ok() {
            let text = serde_json::to_string(&network).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Network>(&text).unwrap(), &network);
            let found = runs_alike(&network)?;
            // Ids and indices may point outside a table, and new tokens beyond their cache; nothing else may be wrong.
            for result in &found {
                let is_expected = matches!(result, Ok(_) | Err(RunError::Index(_) | RunError::Bounds { .. }));
                prop_assert!(is_expected, "{:?}", result.as_ref().err());
            }
        }
        // It can be shown, sound or not.
        prop_assert!(network.to_string().contains("graph main"));
    }

    #[test]
    fn whatever_a_file_says_is_answered_and_what_passes_runs(
        choices in choices(12),
        bounds in any::<[u8; 3]>(),
        lies in proptest::collection::vec((any::<u32>(), 0..HOSTILE.len()), 1..4),
    ) {
        let mut lying = serde_json::to_value(network(&choices, bounds)).unwrap();
        let mut places = Vec::new();
        numbers(&lying, "", &mut places);
        for (place, number) in lies {
            let place = &places[place as usize % places.len()];
            *lying.pointer_mut(place).unwrap() = HOSTILE[number].into();
        }
        if let Ok(network) = serde_json::from_value::<Network>(lying) {
            let _ = network.to_string();
            if network.verify().is_ok() && is_small(&network) {
                runs_alike(&network)?;
            }
        }
    }
}

/// What only the whole graph shows: the builder takes a node whose value may be empty.
fn is_refused_late(network: &Network) -> bool {
    network.verify().is_err_and(|e| e.to_string().contains("has no elements"))
}
