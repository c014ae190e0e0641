//! What a graph is lowered to: calls of kernels on values that have no place yet.
//!
//! [`super::lower`] makes it, [`super::placement`] gives every value a place and every call a stage.

use std::ops::Range;

use super::kernels::Epilogue;
use crate::graph::{Binary, BufferId, Dim, Graph, Merge, RotaryStyle, Symbol, Unary, WeightId};

/// Index of a value of a [`Program`]; those of the graph come first, under their own numbers.
pub(super) type Value = usize;

/// Calls and the values that they read and make.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) values: Vec<ValueInfo>,
    /// In an order in which they can be run.
    pub(super) calls: Vec<Call>,
    /// Rows of buffers that a run touches: its windows are checked against these.
    pub(super) touched: Vec<Touched>,
}

/// What is known of a value.
#[derive(Clone, Debug)]
pub(super) struct ValueInfo {
    pub(super) shape: Vec<Dim>,
    pub(super) source: Source,
    /// It must stand there when the run is over (or until its reader, for caches): its place may not be reused.
    pub(super) home: Option<Home>,
}

/// Where a value comes from.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// A call makes it.
    Call,
    /// It does not exist.
    Nothing,
    /// Rows of a buffer, from the window on.
    Buffer(BufferId),
    /// A constant.
    Weight(WeightId),
    /// Part of another value, from an element on.
    View(Value, Offset),
}

/// The first element of a view: `(places - less) * product of factors`.
#[derive(Clone, Debug, Default)]
pub(super) struct Offset {
    pub(super) places: Option<Dim>,
    pub(super) less: usize,
    pub(super) factors: Vec<Dim>,
}

/// Rows of a buffer in which a value is made, so that it need not be copied there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Home {
    pub(super) buffer: BufferId,
    pub(super) at: RowAt,
}

/// Where rows of a buffer begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RowAt {
    /// The run's window.
    Window,
    /// The value of an extent.
    Past(Symbol),
}

/// Rows that a run touches.
#[derive(Clone, Copy, Debug)]
pub(super) struct Touched {
    pub(super) buffer: BufferId,
    pub(super) at: RowAt,
    pub(super) rows: Dim,
}

/// One kernel call.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) kind: Kind,
    pub(super) inputs: Vec<Value>,
    pub(super) output: Option<Value>,
    /// The input whose place the output may take if nothing needs it afterwards.
    pub(super) may_reuse: Option<usize>,
    /// Calls that must be done before, besides those that make the inputs.
    pub(super) after: Vec<usize>,
    /// Buffers that it reads or writes as such.
    pub(super) reads: Vec<BufferId>,
    pub(super) writes: Vec<BufferId>,
}

/// Attention's constants.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heads {
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) dim: usize,
    pub(super) scale: f32,
}

/// The kernel of a call, and what of its arguments is known now.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    Linear {
        weight: WeightId,
        bias: Option<WeightId>,
        outputs: Range<usize>,
        k: usize,
        /// The other operand is an input, by its index.
        epilogue: Epilogue<usize>,
    },
    Conv3d {
        weight: WeightId,
        bias: Option<WeightId>,
        kernel: [usize; 3],
        stride: [usize; 3],
        padding: [[usize; 2]; 3],
        /// As a linear layer's.
        epilogue: Epilogue<usize>,
    },
    /// Checks indices; makes nothing.
    Check {
        rows: Dim,
        negative_is_none: bool,
    },
    Embedding {
        weight: WeightId,
    },
    RmsNorm {
        weight: Option<WeightId>,
        eps: f32,
        dim: Dim,
    },
    LayerNorm {
        weight: Option<WeightId>,
        bias: Option<WeightId>,
        eps: f32,
        dim: Dim,
    },
    Unary(Unary),
    Affine {
        mul: f32,
        add: f32,
    },
    Binary(Binary),
    RotaryTable {
        axis: Vec<u8>,
        inverse_frequency: Vec<f32>,
        is_i32: bool,
    },
    Rotary {
        style: RotaryStyle,
    },
    /// Inputs q, k, v, with the batch axis in front if `batched`.
    Attention {
        heads: Heads,
        batched: bool,
    },
    /// Inputs q, then k and v as what must be in the caches before.
    CachedAttention {
        heads: Heads,
        caches: [BufferId; 2],
        past: Symbol,
    },
    /// The first of two steps of attention for few queries: makes partial results. Inputs as the whole.
    DecodeRanges {
        heads: Heads,
        caches: Option<[BufferId; 2]>,
        past: Option<Symbol>,
    },
    /// The second: its last input is the partial results.
    DecodeJoin {
        heads: Heads,
        caches: Option<[BufferId; 2]>,
        past: Option<Symbol>,
    },
    SelectRows {
        merge: Merge,
    },
    InterpolateRows {
        weight: WeightId,
    },
    Transpose {
        order: Vec<u8>,
    },
    Concat {
        axis: usize,
    },
    Slice {
        axis: usize,
        start: Dim,
        len: Dim,
    },
    /// The same elements to another place.
    Copy,
    /// The same elements, rounded, to a narrow cache.
    Narrow,
    Upsample {
        factor: [usize; 3],
    },
    Sinusoid {
        frequency: Vec<f32>,
    },
}

/// The value that a view is a part of in the end, and whether it is all of it.
pub(super) fn root(program: &Program, mut value: Value) -> (Value, bool) {
    let mut is_whole = true;
    while let Source::View(of, offset) = &program.values[value].source {
        is_whole &= offset.places.is_none();
        value = *of;
    }
    (value, is_whole)
}

/// The value of an extent when every named one is at its maximum.
pub(super) fn maximum(graph: &Graph, dim: Dim) -> usize {
    let mut maxima = [0; 8];
    for (max, named) in maxima.iter_mut().zip(&graph.dims) {
        *max = named.max;
    }
    dim.value(&maxima)
}
