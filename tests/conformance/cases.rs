//! One case for each op and each way in which it is lowered.

use perihelion::graph::{Binary, Dim, Merge, Op, RotaryStyle, Unary};

use crate::case::{Case, Sketch, Tolerance, build, rowwise};
use Tolerance::{Bits, Close};

/// All cases.
pub(crate) fn all() -> Vec<Case> {
    let groups =
        [products(), fused_products(), pointwise(), rows(), positions(), attention(), moves(), convolution()];
    groups.into_iter().flatten().collect()
}

fn products() -> Vec<Case> {
    let shapes = [(1, 1, 1), (3, 5, 4), (7, 33, 70), (64, 48, 16), (257, 100, 300), (513, 17, 200)];
    let mut cases = Vec::new();
    for (i, (k, n, rows)) in shapes.into_iter().enumerate() {
        for with_bias in [false, true] {
            let name = format!("linear {k} → {n}, up to {rows} rows, bias {with_bias}");
            cases.push(rowwise(&name, i as u64, Close, rows, &[&[k]], |s| Op::Linear {
                weight: s.weight(&[n, k]),
                bias: with_bias.then(|| s.weight(&[n])),
            }));
        }
    }
    cases.push(rowwise("linear of three axes", 9, Close, 5, &[&[3, 20]], |s| Op::Linear {
        weight: s.weight(&[6, 20]),
        bias: None,
    }));
    cases
}

fn fused_products() -> Vec<Case> {
    let mut cases = Vec::new();
    for function in [Unary::Silu, Unary::GeluTanh, Unary::GeluErf, Unary::Relu] {
        let mut s = Sketch::new(20);
        let (x, w) = (s.buffer(90, &[40]), s.weight(&[37, 40]));
        cases.push(build(s, &format!("linear and {function:?}"), Close, 90, |g, n| {
            let x = g.read(x, n);
            let y = g.linear(x, w, None);
            g.add(Op::Unary { function }, &[y])
        }));
    }
    for (function, is_first) in
        [(Binary::Add, false), (Binary::Add, true), (Binary::Mul, false), (Binary::Sub, true)]
    {
        for in_place in [false, true] {
            let mut s = Sketch::new(21);
            let (x, w, b) = (s.buffer(90, &[40]), s.weight(&[40, 40]), s.weight(&[40]));
            let name = format!("linear and {function:?}, product first {is_first}, in place {in_place}");
            cases.push(build(s, &name, Close, 90, |g, n| {
                let x = g.read(x, n);
                // A value that is needed no more after the sum may be summed in place; a buffer's rows never.
                let other = if in_place { g.add(Op::Affine { mul: 2.0, add: 0.5 }, &[x]) } else { x };
                let y = g.linear(x, w, Some(b));
                let pair = if is_first { [y, other] } else { [other, y] };
                g.add(Op::Binary { function }, &pair)
            }));
        }
    }
    let mut s = Sketch::new(22);
    let (x, gate, up, down) =
        (s.buffer(70, &[24]), s.weight(&[50, 24]), s.weight(&[50, 24]), s.weight(&[24, 50]));
    cases.push(build(s, "gated feed-forward with residual", Close, 70, |g, n| {
        let x = g.read(x, n);
        let gate = g.linear(x, gate, None);
        let gate = g.add(Op::Unary { function: Unary::Silu }, &[gate]);
        let up = g.linear(x, up, None);
        let hidden = g.add(Op::Binary { function: Binary::Mul }, &[gate, up]);
        let y = g.linear(hidden, down, None);
        g.add(Op::Binary { function: Binary::Add }, &[x, y])
    }));
    let mut s = Sketch::new(23);
    let (x, w, b) = (s.buffer(30, &[20]), s.weight(&[3 * 32, 20]), s.weight(&[96]));
    cases.push(build(s, "queries, keys and values of one matrix", Close, 30, |g, n| {
        let x = g.read(x, n);
        let all = g.linear(x, w, Some(b));
        let all = g.reshape(all, &[Dim::of(n), 3.into(), 2.into(), 16.into()]);
        let part = |g: &mut perihelion::graph::GraphBuilder<'_>, i: usize| {
            let one = g.add(Op::Slice { axis: 1, start: i.into(), len: 1.into() }, &[all]);
            g.reshape(one, &[Dim::of(n), 2.into(), 16.into()])
        };
        let (q, k, v) = (part(g, 0), part(g, 1), part(g, 2));
        g.add(Op::Attention { scale: 0.25 }, &[q, k, v])
    }));
    cases
}

fn pointwise() -> Vec<Case> {
    let mut cases = Vec::new();
    for function in [Unary::Silu, Unary::GeluTanh, Unary::GeluErf, Unary::Relu] {
        cases.push(rowwise(&format!("{function:?}"), 1, Close, 40, &[&[3, 37]], |_| Op::Unary { function }));
    }
    cases.push(rowwise("affine", 2, Close, 300, &[&[33]], |_| Op::Affine { mul: -1.5, add: 0.25 }));
    for function in [Binary::Add, Binary::Sub, Binary::Mul] {
        let name = |what: &str| format!("{function:?}, {what}");
        cases.push(rowwise(&name("equal shapes"), 3, Close, 300, &[&[5, 17], &[5, 17]], |_| Op::Binary {
            function,
        }));
        cases.push(rowwise(&name("one column"), 4, Close, 9, &[&[5, 17], &[5, 1]], |_| Op::Binary {
            function,
        }));
        cases.push(rowwise(&name("one in the middle"), 5, Close, 9, &[&[5, 17], &[1, 17]], |_| Op::Binary {
            function,
        }));
        let mut s = Sketch::new(6);
        let (x, w) = (s.buffer(50, &[6, 20]), s.weight(&[20]));
        cases.push(build(s, &name("a constant row"), Close, 50, |g, n| {
            let x = g.read(x, n);
            let w = g.add(Op::Constant { weight: w }, &[]);
            g.add(Op::Binary { function }, &[x, w])
        }));
    }
    for dim in [1, 16, 45, 300] {
        for has in [false, true] {
            let name = |what: &str| format!("{what} of {dim}, weight {has}");
            cases.push(rowwise(&name("rms norm"), 7, Close, 20, &[&[2, dim]], |s| Op::RmsNorm {
                weight: has.then(|| s.weight(&[dim])),
                eps: 1e-6,
            }));
            cases.push(rowwise(&name("layer norm"), 8, Close, 20, &[&[2, dim]], |s| Op::LayerNorm {
                weight: has.then(|| s.weight(&[dim])),
                bias: has.then(|| s.weight(&[dim])),
                eps: 1e-6,
            }));
        }
    }
    // Side by side in one stage, with more tasks than a stage has pieces.
    let mut s = Sketch::new(7);
    let x = s.buffer(4096, &[4]);
    cases.push(build(s, "seventeen norms of many rows", Close, 4096, |g, n| {
        let x = g.read(x, n);
        let norms: Vec<_> =
            (1..=17).map(|i| g.add(Op::RmsNorm { weight: None, eps: i as f32 }, &[x])).collect();
        norms.into_iter().reduce(|a, b| g.add(Op::Binary { function: Binary::Add }, &[a, b])).expect("some")
    }));
    cases
}

fn rows() -> Vec<Case> {
    let mut cases = Vec::new();
    for tied in [false, true] {
        let mut s = Sketch::new(30);
        let (ids, table) = (s.indices(40, &[], 0, 53), s.weight(&[53, 24]));
        cases.push(build(
            s,
            &format!("embedding, tied {tied}"),
            if tied { Close } else { Bits },
            40,
            |g, n| {
                let ids = g.read(ids, n);
                let x = g.add(Op::Embedding { weight: table }, &[ids]);
                if tied { g.linear(x, table, None) } else { x }
            },
        ));
    }
    for merge in [Merge::Replace, Merge::Add] {
        for in_place in [false, true] {
            let mut s = Sketch::new(31);
            let (x, table, index) = (s.buffer(40, &[24]), s.buffer(12, &[24]), s.indices(40, &[], -6, 12));
            cases.push(build(
                s,
                &format!("select rows, {merge:?}, in place {in_place}"),
                Close,
                40,
                |g, n| {
                    let x = g.read(x, n);
                    let x = if in_place { g.add(Op::Affine { mul: 0.5, add: 0.0 }, &[x]) } else { x };
                    let (table, index) = (g.read(table, 12), g.read(index, n));
                    g.add(Op::SelectRows { merge }, &[x, table, index])
                },
            ));
        }
    }
    let mut s = Sketch::new(32);
    let (index, share, table) = (s.indices(40, &[4], 0, 25), s.buffer(40, &[4]), s.weight(&[25, 18]));
    cases.push(build(s, "interpolate rows", Close, 40, |g, n| {
        let (index, share) = (g.read(index, n), g.read(share, n));
        g.add(Op::InterpolateRows { weight: table }, &[index, share])
    }));
    let mut s = Sketch::new(33);
    let (x, w) = (s.buffer(40, &[3, 8]), s.weight(&[10, 8]));
    cases.push(build(s, "last row of a computed value, through a product", Close, 40, |g, n| {
        let x = g.read(x, n);
        let x = g.add(Op::Unary { function: Unary::Silu }, &[x]);
        let last = g.add(Op::LastRow, &[x]);
        g.linear(last, w, None)
    }));
    cases
}

fn positions() -> Vec<Case> {
    let mut cases = Vec::new();
    let (axis, inverse_frequency) = (vec![0, 1, 2, 1, 0], vec![1.0, 0.3, 0.1, 0.03, 0.01]);
    let mut s = Sketch::new(40);
    let positions = s.indices(30, &[3], 0, 400);
    let (a, f) = (axis.clone(), inverse_frequency.clone());
    cases.push(build(s, "rotary table of whole positions", Close, 30, |g, n| {
        let positions = g.read(positions, n);
        g.add(Op::RotaryTable { axis: a, inverse_frequency: f }, &[positions])
    }));
    cases.push(rowwise("rotary table of any positions", 41, Close, 30, &[&[3]], |_| Op::RotaryTable {
        axis,
        inverse_frequency,
    }));
    cases.push(rowwise("sinusoid", 42, Close, 30, &[&[]], |_| Op::Sinusoid {
        frequency: vec![100.0, 3.0, 0.1],
    }));
    for style in [RotaryStyle::Halves, RotaryStyle::Pairs] {
        for dim in [2, 10, 32, 72] {
            cases.push(rowwise(
                &format!("rotary {style:?} of {dim}"),
                43,
                Close,
                30,
                &[&[3, dim], &[dim]],
                |_| Op::Rotary { style },
            ));
        }
    }
    cases
}

fn attention() -> Vec<Case> {
    let mut cases = Vec::new();
    for (heads, kv_heads, dim, rows) in
        [(1, 1, 8, 3), (4, 2, 16, 40), (6, 2, 40, 250), (5, 1, 72, 130), (1, 1, 400, 210)]
    {
        let name = format!("attention, {heads} heads over {kv_heads} of {dim}, up to {rows} tokens");
        let shapes: [&[usize]; 3] = [&[heads, dim], &[kv_heads, dim], &[kv_heads, dim]];
        cases.push(rowwise(&name, 50, Close, rows, &shapes, |_| Op::Attention { scale: 0.7 }));
    }
    let shapes: [&[usize]; 3] = [&[20, 4, 16], &[33, 2, 16], &[33, 2, 16]];
    cases.push(rowwise("attention of parts, each alone", 51, Close, 5, &shapes, |_| Op::Attention {
        scale: 0.7,
    }));
    for (heads, kv_heads, dim, new_max, context) in
        [(4, 2, 16, 1, 40), (5, 1, 32, 1, 700), (4, 4, 24, 3, 40), (6, 2, 16, 50, 300)]
    {
        cases.push(cached(heads, kv_heads, dim, new_max, context));
    }
    cases
}

/// Tokens come in runs of several lengths, with their keys and values made in the graph or read from buffers.
fn cached(heads: usize, kv_heads: usize, dim: usize, new_max: usize, context: usize) -> Case {
    let mut s = Sketch::new(52);
    let q = s.buffer(new_max, &[heads, dim]);
    let (k, v) = (s.buffer(new_max, &[kv_heads, dim]), s.buffer(new_max, &[kv_heads, dim]));
    let (keys, values) = (s.cache(context, &[kv_heads, dim]), s.cache(context, &[kv_heads, dim]));
    let out = s.buffer(new_max, &[heads, dim]);
    let mut g = s.graph("main");
    let n = g.dim("n", 1, new_max, 1);
    let past = g.dim("past", 0, context - 1, 1);
    let (q, k, v) = (g.read(q, n), g.read(k, n), g.read(v, n));
    // Keys are made in the cache; values are copied into it.
    let k = g.add(Op::Affine { mul: 2.0, add: 0.1 }, &[k]);
    let op = Op::CachedAttention { key_cache: keys, value_cache: values, past, scale: 0.3 };
    let y = g.add(op, &[q, k, v]);
    g.write(out, y);
    g.finish();
    let mut past = 0;
    let mut runs = Vec::new();
    for _ in 0..12 {
        let new = s.between(1, new_max.min(context - past));
        runs.push(s.run(0, &[new, past]));
        // Now and then the cache is cut back.
        past = if s.between(0, 4) == 0 { past / 2 } else { past + new };
        if context <= past {
            past = context / 2;
        }
    }
    // The whole of a long context at once.
    runs.push(s.run(0, &[1, context - 1]));
    let name =
        format!("cached attention, {heads} heads over {kv_heads} of {dim}, {new_max} new of {context}");
    s.with_runs(&name, Tolerance::Close, runs)
}

fn moves() -> Vec<Case> {
    let mut cases = Vec::new();
    cases.push(rowwise("nothing but a copy", 60, Bits, 20, &[&[7]], |_| Op::Concat { axis: 0 }));
    for axis in 1..3 {
        let other: &[usize] = if axis == 1 { &[4, 5] } else { &[3, 2] };
        let name = format!("concatenation along {axis}");
        cases.push(rowwise(&name, 61, Bits, 20, &[&[3, 5], other, &[3, 5]], |_| Op::Concat { axis }));
    }
    let mut s = Sketch::new(62);
    let (x, y) = (s.buffer(20, &[6]), s.buffer(4, &[6]));
    cases.push(build(s, "concatenation of rows", Bits, 20, |g, n| {
        let (x, y) = (g.read(x, n), g.read(y, 4));
        g.add(Op::Concat { axis: 0 }, &[y, x])
    }));
    for (axis, start, len) in [(1, 1, 2), (2, 0, 3), (2, 4, 1)] {
        cases.push(rowwise(&format!("slice of axis {axis}"), 63, Bits, 20, &[&[3, 5]], |_| Op::Slice {
            axis,
            start: start.into(),
            len: len.into(),
        }));
    }
    let mut s = Sketch::new(64);
    let x = s.buffer(26, &[6]);
    cases.push(build(s, "slice of rows up to a named extent", Bits, 20, |g, n| {
        let x = g.read(x, Dim::of(n).plus(6));
        g.add(Op::Slice { axis: 0, start: 6.into(), len: Dim::of(n) }, &[x])
    }));
    let orders: [&[u8]; 5] = [&[0, 2, 1, 3], &[0, 3, 1, 2], &[0, 1, 3, 2], &[0, 3, 2, 1], &[0, 1, 2, 3]];
    for order in orders {
        let name = format!("transposition {order:?}");
        cases.push(rowwise(&name, 65, Bits, 20, &[&[3, 20, 17]], |_| Op::Transpose { order: order.into() }));
    }
    cases.push(rowwise("transposition of rows longer than a task", 65, Bits, 3, &[&[130, 2, 70]], |_| {
        Op::Transpose { order: vec![0, 2, 1, 3] }
    }));
    let mut s = Sketch::new(66);
    let x = s.buffer(40, &[5]);
    cases.push(build(s, "transposition of the rows, and back", Bits, 40, |g, n| {
        let x = g.read(x, n);
        let turned = g.add(Op::Transpose { order: vec![1, 0] }, &[x]);
        let flat = g.reshape(turned, &[Dim::of(n).times(5)]);
        g.reshape(flat, &[Dim::of(n), 5.into()])
    }));
    cases.push(rowwise("upsample", 67, Bits, 4, &[&[3, 5, 2]], |_| Op::Upsample { factor: [1, 2, 3] }));
    cases.push(rowwise("upsample in time", 68, Bits, 4, &[&[3, 5, 2]], |_| Op::Upsample {
        factor: [2, 1, 1],
    }));
    cases
}

fn convolution() -> Vec<Case> {
    let mut cases = Vec::new();
    type Shape = (usize, usize, [usize; 3], [usize; 3], [[usize; 2]; 3]);
    let shapes: [Shape; 5] = [
        (3, 5, [1, 1, 1], [1, 1, 1], [[0, 0]; 3]),
        (4, 18, [3, 3, 3], [1, 1, 1], [[2, 0], [1, 1], [1, 1]]),
        (20, 7, [1, 3, 3], [1, 2, 2], [[0, 0], [0, 1], [0, 1]]),
        (3, 33, [2, 4, 4], [1, 4, 4], [[1, 0], [0, 0], [0, 0]]),
        (40, 16, [3, 1, 1], [1, 1, 1], [[2, 0], [0, 0], [0, 0]]),
    ];
    for (i, (c_in, c_out, [kt, kh, kw], stride, padding)) in shapes.into_iter().enumerate() {
        let name = format!("convolution {c_in} → {c_out} by {kt} × {kh} × {kw}");
        cases.push(rowwise(&name, 70 + i as u64, Close, 5, &[&[9, 12, c_in]], |s| Op::Conv3d {
            weight: s.weight(&[c_out, kt, kh, kw, c_in]),
            bias: i.is_multiple_of(2).then(|| s.weight(&[c_out])),
            stride,
            padding,
        }));
    }
    let mut s = Sketch::new(80);
    let (x, w) = (s.buffer(4, &[6, 6, 8]), s.weight(&[8, 1, 3, 3, 8]));
    cases.push(build(s, "convolution with residual", Close, 4, |g, n| {
        let x = g.read(x, n);
        let x = g.add(Op::Unary { function: Unary::Silu }, &[x]);
        let padding = [[0, 0], [1, 1], [1, 1]];
        let y = g.add(Op::Conv3d { weight: w, bias: None, stride: [1, 1, 1], padding }, &[x]);
        g.add(Op::Binary { function: Binary::Add }, &[y, x])
    }));
    cases
}
