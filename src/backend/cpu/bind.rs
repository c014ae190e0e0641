//! The arguments of a step's kernel, for one run.

use std::ops::Range;

use super::context::{Context, Shape};
use super::kernels::{self, CopyAxis, Keys};
use super::placement::Step;
use super::program::{Heads, Kind};
use crate::graph::{BufferId, Symbol};

/// A kernel's arguments.
pub(super) enum Bound<'a> {
    Linear(kernels::Linear<'a>),
    Conv3d(kernels::Conv3d<'a>),
    Check { index: &'a [i32], rows: usize, negative_is_none: bool },
    Embedding(kernels::Embedding<'a>),
    RmsNorm(kernels::RmsNorm<'a>, usize),
    LayerNorm(kernels::LayerNorm<'a>, usize),
    Unary(kernels::Unary<'a>),
    Affine(kernels::Affine<'a>),
    Binary(kernels::Binary<'a>),
    RotaryTable(kernels::RotaryTable<'a>),
    Rotary(kernels::Rotary<'a>),
    Attention(Parts<'a>),
    DecodeRanges(kernels::DecodeAttention<'a>),
    DecodeJoin(kernels::JoinRanges<'a>),
    SelectRows(kernels::SelectRows<'a>),
    InterpolateRows(kernels::InterpolateRows<'a>),
    Transpose(kernels::Transpose<'a>),
    Concat { outer: usize, inner: usize, to_len: usize, axis: usize },
    CopyAxis(CopyAxis<'a>),
    Narrow(kernels::Narrow<'a>),
    Upsample(kernels::Upsample<'a>),
    Sinusoid(kernels::Sinusoid<'a>),
}

/// Attention of several parts, each alone.
pub(super) struct Parts<'a> {
    /// The first part's.
    first: kernels::Attention<'a>,
    /// All parts of q.
    q: &'a [f32],
    /// All parts of k and v.
    kv: [Keys<'a>; 2],
    pub(super) n_parts: usize,
}

impl<'a> Parts<'a> {
    fn new(first: kernels::Attention<'a>, n_parts: usize, q: &'a [f32], kv: [Keys<'a>; 2]) -> Parts<'a> {
        Parts { first, q, kv, n_parts }
    }

    /// Tasks of one part.
    pub(super) fn tasks_of_part(&self) -> usize {
        self.first.tasks()
    }

    /// One part, and where its result stands.
    pub(super) fn part(&self, part: usize) -> (kernels::Attention<'a>, Range<usize>) {
        let of = |len: usize| part * len..(part + 1) * len;
        let (q_part, k_part) = (of(self.first.q.len()), of(self.first.k.len()));
        let [k, v] = self.kv.map(|all| all.part(k_part.clone()));
        (kernels::Attention { q: &self.q[q_part.clone()], k, v, ..self.first }, q_part)
    }
}

/// Room for the shapes that a kernel's arguments refer to.
pub(super) struct Shapes([Shape; 2]);

impl Shapes {
    pub(super) fn new() -> Shapes {
        Shapes([Shape::none(); 2])
    }
}

/// The arguments of a step's kernel.
pub(super) fn bind<'a>(step: &'a Step, cx: &Context<'a>, shapes: &'a mut Shapes) -> Bound<'a> {
    let read = |i: usize| cx.read(&step.inputs[i]);
    // An input that stands where the output goes is not read through a slice of its own.
    let read_apart = |i: usize| if step.in_place == Some(i) { None } else { Some(read(i)) };
    let vector = |id: &Option<_>| id.map(|id| cx.weights.rows(id));
    let shape_of = |i: usize| cx.shape(&step.inputs[i]);
    let rows_of = |i: usize, dim: usize| shape_of(i).len().checked_div(dim).unwrap_or(0);
    match &step.kind {
        Kind::Linear { weight, bias, outputs, k, epilogue } => Bound::Linear(kernels::Linear {
            x: read(0),
            m: rows_of(0, *k),
            weight: cx.weights.panels(*weight, outputs.clone()),
            bias: bias.map(|b| &cx.weights.rows(b)[outputs.clone()]),
            epilogue: epilogue.map(read_apart),
        }),
        Kind::Conv3d { weight, bias, kernel, stride, padding, epilogue } => Bound::Conv3d(kernels::Conv3d {
            x: read(0),
            shape: std::array::from_fn(|i| shape_of(0).extents[i]),
            weight: cx.weights.all_panels(*weight),
            bias: vector(bias),
            kernel: *kernel,
            stride: *stride,
            padding: *padding,
            epilogue: epilogue.map(read_apart),
        }),
        Kind::Check { rows, negative_is_none } => Bound::Check {
            index: cx.read_i32(&step.inputs[0]),
            rows: rows.value(cx.extents),
            negative_is_none: *negative_is_none,
        },
        Kind::Embedding { weight } => {
            let dim = cx.shape(step.output.as_ref().expect("it has one")).last();
            let ids = cx.read_i32(&step.inputs[0]);
            Bound::Embedding(kernels::Embedding { ids, table: cx.weights.table(*weight), dim })
        }
        Kind::RmsNorm { weight, eps, dim } => {
            let dim = dim.value(cx.extents);
            let a = kernels::RmsNorm { x: read_apart(0), weight: vector(weight), eps: *eps, dim };
            Bound::RmsNorm(a, rows_of(0, dim))
        }
        Kind::LayerNorm { weight, bias, eps, dim } => {
            let dim = dim.value(cx.extents);
            let (weight, bias) = (vector(weight), vector(bias));
            let a = kernels::LayerNorm { x: read_apart(0), weight, bias, eps: *eps, dim };
            Bound::LayerNorm(a, rows_of(0, dim))
        }
        Kind::Unary(function) => {
            Bound::Unary(kernels::Unary { x: read_apart(0), len: shape_of(0).len(), function: *function })
        }
        Kind::Affine { mul, add } => {
            Bound::Affine(kernels::Affine { x: read_apart(0), len: shape_of(0).len(), mul: *mul, add: *add })
        }
        Kind::Binary(function) => {
            shapes.0 = [shape_of(0), shape_of(1)];
            Bound::Binary(kernels::Binary {
                x: read_apart(0),
                shape: shapes.0[0].as_slice(),
                y: read(1),
                y_shape: shapes.0[1].as_slice(),
                function: *function,
            })
        }
        Kind::RotaryTable { axis, inverse_frequency, is_i32 } => Bound::RotaryTable(kernels::RotaryTable {
            positions: if *is_i32 {
                kernels::Positions::I32(cx.read_i32(&step.inputs[0]))
            } else {
                kernels::Positions::F32(read(0))
            },
            n_axes: shape_of(0).last(),
            axis,
            inverse_frequency,
        }),
        Kind::Rotary { style } => {
            let [_, heads, dim, ..] = shape_of(0).extents;
            Bound::Rotary(kernels::Rotary { x: read_apart(0), table: read(1), style: *style, heads, dim })
        }
        Kind::Attention { heads, batched } => {
            let parts = if *batched { shape_of(0).extents[0] } else { 1 };
            let (q, kv) = (read(0), [read(1), read(2)].map(Keys::F32));
            let lens = [q.len(), kv[0].len()].map(|len| len.checked_div(parts).unwrap_or(0));
            let first = whole_attention(heads, q, kv, lens, false);
            Bound::Attention(Parts::new(first, parts, q, kv))
        }
        Kind::CachedAttention { heads, caches, past } => {
            let a = cached_attention(cx, step, heads, Some(*caches), Some(*past));
            Bound::Attention(Parts::new(a, 1, a.q, [a.k, a.v]))
        }
        Kind::DecodeRanges { heads, caches, past } => {
            let attention = cached_attention(cx, step, heads, *caches, *past);
            Bound::DecodeRanges(kernels::DecodeAttention { attention })
        }
        Kind::DecodeJoin { heads, caches, past } => {
            let attention = cached_attention(cx, step, heads, *caches, *past);
            Bound::DecodeJoin(kernels::JoinRanges { attention, partials: read(3) })
        }
        Kind::SelectRows { merge } => Bound::SelectRows(kernels::SelectRows {
            x: read_apart(0),
            table: read(1),
            index: cx.read_i32(&step.inputs[2]),
            dim: shape_of(0).last(),
            merge: *merge,
        }),
        Kind::InterpolateRows { weight } => Bound::InterpolateRows(kernels::InterpolateRows {
            index: cx.read_i32(&step.inputs[0]),
            share: read(1),
            n_shares: shape_of(1).last(),
            table: cx.weights.rows(*weight),
            dim: cx.shape(step.output.as_ref().expect("it has one")).last(),
        }),
        Kind::Transpose { order } => {
            shapes.0[0] = shape_of(0);
            Bound::Transpose(kernels::Transpose { x: read(0), shape: shapes.0[0].as_slice(), order })
        }
        Kind::Concat { axis } => {
            let shape = cx.shape(step.output.as_ref().expect("it has one"));
            let shape = shape.as_slice();
            let (outer, inner) = (shape[..*axis].iter().product(), shape[*axis + 1..].iter().product());
            Bound::Concat { outer, inner, to_len: shape[*axis], axis: *axis }
        }
        Kind::Slice { axis, start, len } => {
            let shape = shape_of(0);
            let shape = shape.as_slice();
            let len = len.value(cx.extents);
            Bound::CopyAxis(CopyAxis {
                x: read(0),
                outer: shape[..*axis].iter().product(),
                inner: shape[*axis + 1..].iter().product(),
                from_len: shape[*axis],
                from_start: start.value(cx.extents),
                to_len: len,
                to_start: 0,
                len,
            })
        }
        Kind::Copy => {
            let outer = shape_of(0).as_slice().first().copied().unwrap_or(1);
            let inner = shape_of(0).len().checked_div(outer).unwrap_or(0);
            let x = read(0);
            Bound::CopyAxis(CopyAxis {
                x,
                outer,
                inner,
                from_len: 1,
                from_start: 0,
                to_len: 1,
                to_start: 0,
                len: 1,
            })
        }
        Kind::Narrow => {
            let rows = shape_of(0).as_slice().first().copied().unwrap_or(1);
            let len = shape_of(0).len().checked_div(rows).unwrap_or(0);
            Bound::Narrow(kernels::Narrow { x: read(0), len })
        }
        Kind::Upsample { factor } => {
            let shape = std::array::from_fn(|i| shape_of(0).extents[i]);
            Bound::Upsample(kernels::Upsample { x: read(0), shape, factor: *factor })
        }
        Kind::Sinusoid { frequency } => Bound::Sinusoid(kernels::Sinusoid { x: read(0), frequency }),
    }
}

/// Attention over q, k and v of these lengths (of one part).
fn whole_attention<'a>(
    heads: &Heads,
    q: &'a [f32],
    kv: [Keys<'a>; 2],
    [q_len, k_len]: [usize; 2],
    causal: bool,
) -> kernels::Attention<'a> {
    let rows = |len: usize, heads_of_row: usize| len / (heads_of_row * heads.dim).max(1);
    let [k, v] = kv.map(|all| all.part(0..k_len));
    kernels::Attention {
        q: &q[..q_len],
        k,
        v,
        n: rows(q_len, heads.heads),
        m: rows(k_len, heads.kv_heads),
        heads: heads.heads,
        kv_heads: heads.kv_heads,
        dim: heads.dim,
        scale: heads.scale,
        causal,
    }
}

/// Attention over caches, causal, or over k and v.
fn cached_attention<'a>(
    cx: &Context<'a>,
    step: &'a Step,
    heads: &Heads,
    caches: Option<[BufferId; 2]>,
    past: Option<Symbol>,
) -> kernels::Attention<'a> {
    let q = cx.read(&step.inputs[0]);
    let kv = match caches {
        Some(caches) => {
            let n = cx.shape(&step.inputs[0]).extents[0];
            caches.map(|cache| cx.cache(cache, cx.past(past) + n))
        }
        None => [cx.read(&step.inputs[1]), cx.read(&step.inputs[2])].map(Keys::F32),
    };
    whole_attention(heads, q, kv, [q.len(), kv[0].len()], caches.is_some())
}
