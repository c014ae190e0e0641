//! Networks of many nodes: random ones, in which values are used again and again, and ones that use buffers in every order.

use perihelion::graph::{Binary, BufferId, Dim, GraphBuilder, Merge, Op, Unary, ValueId, WeightId};

use crate::case::{Case, Sketch, Tolerance};

/// All networks.
pub(crate) fn all() -> Vec<Case> {
    let mut cases: Vec<Case> = (0..60).map(random).collect();
    cases.extend([
        swapped_buffers(),
        a_buffer_read_and_written(),
        one_value_to_two_buffers(),
        decoder_block(),
    ]);
    cases
}

/// Widths of random values: `[n, WIDTH]`.
const WIDTH: usize = 32;

/// Twenty-five random nodes over values of one shape, four of which are written to buffers.
fn random(seed: u64) -> Case {
    let mut s = Sketch::new(1000 + seed);
    let rows = s.between(1, 40);
    let x = s.buffer(rows, &[WIDTH]);
    let index = s.indices(rows, &[], -3, 5);
    let table = s.buffer(5, &[WIDTH]);
    let outs: Vec<BufferId> = (0..4).map(|_| s.buffer(rows, &[WIDTH])).collect();
    let square: Vec<WeightId> = (0..3).map(|_| s.weight(&[WIDTH, WIDTH])).collect();
    let double = s.weight(&[2 * WIDTH, WIDTH]);
    let vector = s.weight(&[WIDTH]);
    let choices: Vec<[usize; 4]> =
        (0..25).map(|_| [s.between(0, 10), s.between(0, 99), s.between(0, 99), s.between(0, 2)]).collect();
    let written: Vec<usize> = (0..4).map(|_| s.between(1, 99)).collect();

    let mut g = s.graph("main");
    let n = g.dim("n", 1, rows, 1);
    let mut values = vec![g.read(x, n)];
    let (index, table) = (g.read(index, n), g.read(table, 5));
    for [op, a, b, w] in choices {
        // Recent values more often, so that chains form.
        let pick = |at: usize| values[values.len() - 1 - at % values.len().min(1 + at % 7)];
        let (a, b) = (pick(a), pick(b));
        let scaled = |g: &mut GraphBuilder<'_>, v| g.add(Op::Affine { mul: 0.2, add: 0.01 }, &[v]);
        let value = match op {
            0 | 1 => {
                let y = g.linear(a, square[w], (w == 1).then_some(vector));
                scaled(&mut g, y)
            }
            2 => {
                let y = g.linear(a, square[w], None);
                let y = g.add(Op::RmsNorm { weight: Some(vector), eps: 1e-5 }, &[y]);
                g.add(Op::Binary { function: Binary::Add }, &[b, y])
            }
            3 => {
                let y = g.linear(a, square[w], None);
                let y = g.add(Op::Binary { function: Binary::Add }, &[y, b]);
                g.add(Op::LayerNorm { weight: None, bias: Some(vector), eps: 1e-5 }, &[y])
            }
            4 => g.add(Op::Unary { function: Unary::Silu }, &[a]),
            5 => g.add(Op::RmsNorm { weight: None, eps: 1e-5 }, &[a]),
            6 => {
                let sum = g.add(Op::Binary { function: [Binary::Add, Binary::Sub, Binary::Mul][w] }, &[a, b]);
                scaled(&mut g, sum)
            }
            7 => {
                let both = g.linear(a, double, None);
                let start = [0, WIDTH, 8][w];
                let part = g.add(Op::Slice { axis: 1, start: start.into(), len: WIDTH.into() }, &[both]);
                scaled(&mut g, part)
            }
            8 => g.add(
                Op::SelectRows { merge: [Merge::Add, Merge::Replace, Merge::Add][w] },
                &[a, table, index],
            ),
            9 => {
                let both = g.add(Op::Concat { axis: 1 }, &[a, b]);
                let both = g.reshape(both, &[Dim::of(n), 2.into(), WIDTH.into()]);
                let part = g.add(Op::Slice { axis: 1, start: (w % 2).into(), len: 1.into() }, &[both]);
                g.reshape(part, &[Dim::of(n), WIDTH.into()])
            }
            _ => {
                let heads = g.reshape(a, &[Dim::of(n), 2.into(), (WIDTH / 2).into()]);
                let other = g.reshape(b, &[Dim::of(n), 2.into(), (WIDTH / 2).into()]);
                let y = g.add(Op::Attention { scale: 0.3 }, &[heads, other, other]);
                g.reshape(y, &[Dim::of(n), WIDTH.into()])
            }
        };
        values.push(value);
    }
    for (out, at) in outs.iter().zip(written) {
        g.write(*out, values[at % values.len()]);
    }
    g.finish();
    s.case(&format!("random network {seed}"), Tolerance::Close)
}

fn swapped_buffers() -> Case {
    let mut s = Sketch::new(90);
    let (a, b) = (s.buffer(10, &[6]), s.buffer(10, &[6]));
    let mut g = s.graph("main");
    let n = g.dim("n", 1, 10, 1);
    let (x, y) = (g.read(a, n), g.read(b, n));
    g.write(a, y);
    g.write(b, x);
    g.finish();
    s.case("two buffers swapped", Tolerance::Bits)
}

fn a_buffer_read_and_written() -> Case {
    let mut s = Sketch::new(91);
    let state = s.buffer(10, &[6]);
    let out = s.buffer(10, &[6]);
    let mut g = s.graph("main");
    let n = g.dim("n", 1, 10, 1);
    let x = g.read(state, n);
    let y = g.add(Op::Affine { mul: 0.5, add: 1.0 }, &[x]);
    let z = g.add(Op::Binary { function: Binary::Mul }, &[y, x]);
    g.write(state, y);
    g.write(out, z);
    g.finish();
    s.case("a state that is read and written", Tolerance::Close)
}

fn one_value_to_two_buffers() -> Case {
    let mut s = Sketch::new(92);
    let (x, a, b, c) = (s.buffer(10, &[6]), s.buffer(10, &[6]), s.buffer(10, &[6]), s.buffer(10, &[6]));
    let mut g = s.graph("main");
    let n = g.dim("n", 1, 10, 1);
    let x = g.read(x, n);
    let y = g.add(Op::Affine { mul: 0.5, add: 1.0 }, &[x]);
    let z = g.add(Op::Unary { function: Unary::Silu }, &[y]);
    g.write(a, y);
    g.write(b, y);
    g.write(c, z);
    g.finish();
    s.case("one value to two buffers, and on", Tolerance::Close)
}

/// Two layers of a language model with two graphs over one cache: some tokens at once, then one by one.
fn decoder_block() -> Case {
    const HEADS: usize = 4;
    const KV_HEADS: usize = 2;
    const HEAD: usize = 16;
    const HIDDEN: usize = HEADS * HEAD;
    const CONTEXT: usize = 60;
    let mut s = Sketch::new(93);
    let ids = s.indices(20, &[], 0, 70);
    let positions = s.indices(20, &[1], 0, CONTEXT as i32);
    let caches: Vec<[BufferId; 2]> =
        (0..2).map(|_| [s.cache(CONTEXT, &[KV_HEADS, HEAD]), s.cache(CONTEXT, &[KV_HEADS, HEAD])]).collect();
    let logits = s.buffer(1, &[70]);
    let table = s.weight(&[70, HIDDEN]);
    let shapes = [
        [HEADS * HEAD, HIDDEN],
        [KV_HEADS * HEAD, HIDDEN],
        [KV_HEADS * HEAD, HIDDEN],
        [HIDDEN, HEADS * HEAD],
        [96, HIDDEN],
        [96, HIDDEN],
        [HIDDEN, 96],
    ];
    let layers: Vec<(Vec<WeightId>, WeightId, WeightId)> = (0..2)
        .map(|_| {
            (shapes.iter().map(|shape| s.weight(shape)).collect(), s.weight(&[HIDDEN]), s.weight(&[HEAD]))
        })
        .collect();
    for (name, most) in [("prefill", 20), ("decode", 1)] {
        let mut g = s.graph(name);
        let n = g.dim("n", 1, most, 1);
        let past = g.dim("past", 0, CONTEXT - 1, 1);
        let (ids, positions) = (g.read(ids, n), g.read(positions, n));
        let frequencies: Vec<f32> = (0..HEAD / 2).map(|i| 0.5f32.powi(i as i32)).collect();
        let turns =
            g.add(Op::RotaryTable { axis: vec![0; HEAD / 2], inverse_frequency: frequencies }, &[positions]);
        let mut x = g.add(Op::Embedding { weight: table }, &[ids]);
        for ((weights, norm, head_norm), [key_cache, value_cache]) in layers.iter().zip(&caches) {
            let y = g.add(Op::RmsNorm { weight: Some(*norm), eps: 1e-6 }, &[x]);
            let heads = |g: &mut GraphBuilder<'_>, y: ValueId, weight: WeightId, heads: usize| {
                let y = g.linear(y, weight, None);
                g.reshape(y, &[Dim::of(n), heads.into(), HEAD.into()])
            };
            let turned = |g: &mut GraphBuilder<'_>, y: ValueId| {
                let y = g.add(Op::RmsNorm { weight: Some(*head_norm), eps: 1e-6 }, &[y]);
                g.add(Op::Rotary { style: perihelion::graph::RotaryStyle::Halves }, &[y, turns])
            };
            let q = heads(&mut g, y, weights[0], HEADS);
            let q = turned(&mut g, q);
            let k = heads(&mut g, y, weights[1], KV_HEADS);
            let k = turned(&mut g, k);
            let v = heads(&mut g, y, weights[2], KV_HEADS);
            let (key_cache, value_cache) = (*key_cache, *value_cache);
            let op = Op::CachedAttention { key_cache, value_cache, past, scale: 0.25 };
            let y = g.add(op, &[q, k, v]);
            let y = g.reshape(y, &[Dim::of(n), HIDDEN.into()]);
            let y = g.linear(y, weights[3], None);
            x = g.add(Op::Binary { function: Binary::Add }, &[x, y]);
            let y = g.add(Op::RmsNorm { weight: Some(*norm), eps: 1e-6 }, &[x]);
            let gate = g.linear(y, weights[4], None);
            let gate = g.add(Op::Unary { function: Unary::Silu }, &[gate]);
            let up = g.linear(y, weights[5], None);
            let y = g.add(Op::Binary { function: Binary::Mul }, &[gate, up]);
            let y = g.linear(y, weights[6], None);
            let y = g.add(Op::Affine { mul: 0.1, add: 0.0 }, &[y]);
            x = g.add(Op::Binary { function: Binary::Add }, &[x, y]);
        }
        let last = g.add(Op::LastRow, &[x]);
        let y = g.add(Op::RmsNorm { weight: None, eps: 1e-6 }, &[last]);
        let y = g.linear(y, table, None);
        g.write(logits, y);
        g.finish();
    }
    let mut runs = vec![s.run(0, &[20, 0]), s.run(0, &[7, 20])];
    for past in 27..40 {
        runs.push(s.run(1, &[1, past]));
    }
    runs.push(s.run(0, &[20, 40]));
    s.with_runs("two decoder layers", Tolerance::Close, runs)
}
