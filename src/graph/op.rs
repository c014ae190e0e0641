//! The operations, at the level the field speaks. Shapes are written outermost first; `n` is any extent.

use serde::{Deserialize, Serialize};

use super::{BufferId, Dim, Symbol, WeightId};
use crate::tensor::function::{Binary, Merge, RotaryStyle, Unary};

/// One operation. Inputs are named in the order in which they stand in [`Node::inputs`](super::Node::inputs).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Op {
    /// Rows of a buffer, from the run's window on (row 0 if the run names none); yields the node's shape.
    Read {
        /// Which buffer.
        buffer: BufferId,
    },
    /// A constant.
    Constant {
        /// Which weight; yields its shape, as f32 or i32.
        weight: WeightId,
    },
    /// `x Wᵀ + b`: `x [.., k]`, `W [n, k]`, `b [n]` → `[.., n]`.
    Linear {
        /// `W`.
        weight: WeightId,
        /// `b`.
        bias: Option<WeightId>,
    },
    /// Rows of a table by id: `ids [n]` i32, table `[m, d]` → `[n, d]`. An id outside the table is an error of the run.
    Embedding {
        /// The table.
        weight: WeightId,
    },
    /// `x / sqrt(mean(x²) + eps) * w` over the last axis (Zhang & Sennrich 2019, <https://arxiv.org/abs/1910.07467>).
    RmsNorm {
        /// `[dim]`; none is ones.
        weight: Option<WeightId>,
        /// Added to the mean square.
        eps: f32,
    },
    /// `(x - mean) / sqrt(var + eps) * w + b` over the last axis (Ba et al. 2016, <https://arxiv.org/abs/1607.06450>).
    LayerNorm {
        /// `[dim]`; none is ones.
        weight: Option<WeightId>,
        /// `[dim]`; none is zeros.
        bias: Option<WeightId>,
        /// Added to the variance.
        eps: f32,
    },
    /// A function of each element.
    Unary {
        /// Which.
        function: Unary,
    },
    /// A function of two values; the second's axes, aligned at the last, are equal to the first's or 1 or missing.
    Binary {
        /// Which.
        function: Binary,
    },
    /// `x * mul + add` for each element.
    Affine {
        /// Factor.
        mul: f32,
        /// Addend.
        add: f32,
    },
    /// Cosines and sines of rotary angles: `positions [n, n_axes]` (i32 or f32) → `[n, 2 f]`, `f` cosines and then
    /// `f` sines of `positions[axis[j]] * inverse_frequency[j]`. Several axes make M-RoPE and 2-D or 3-D RoPE.
    RotaryTable {
        /// For each frequency, the column of `positions`.
        axis: Vec<u8>,
        /// Radians for one step of position.
        inverse_frequency: Vec<f32>,
    },
    /// Turns pairs of `x [n, heads, dim]` by `table [n, dim]` (made by [`Op::RotaryTable`], `dim / 2` frequencies).
    Rotary {
        /// Which elements are a pair.
        style: RotaryStyle,
    },
    /// `softmax(scale q kᵀ) v` over all keys: `q [n, h, d]`, `k [m, g, d]`, `v [m, g, d]`, `g` divides `h`; → `[n, h, d]`.
    /// With one more axis in front of all three (`q [b, n, h, d]`, `k [b, m, g, d]`, …), each of the `b` parts attends to
    /// itself alone, exactly as if it were computed by itself: frames of a video.
    Attention {
        /// Of the scores.
        scale: f32,
    },
    /// Causal attention with a cache. `q [n, h, d]`, `k [n, g, d]`, `v [n, g, d]` of new tokens; the caches are
    /// `[context_max, g, d]` and hold `past` tokens. Writes `k` and `v` at rows `past..past + n`, then token `i`
    /// attends to rows `0..=past + i`; → `[n, h, d]`. How many rows are valid is the caller's to remember.
    CachedAttention {
        /// Keys, f32.
        key_cache: BufferId,
        /// Values, f32.
        value_cache: BufferId,
        /// Tokens that are in the cache before this run.
        past: Symbol,
        /// Of the scores.
        scale: f32,
    },
    /// `x [n, d]`, `table [m, d]`, `index [n]` i32: row `i` is merged with `table[index[i]]` where `index[i] >= 0`.
    /// An index of `m` or more is an error of the run.
    SelectRows {
        /// How.
        merge: Merge,
    },
    /// Weighted sums of rows of a table: `index [n, c]` i32, `share [n, c]` f32, table `[m, d]` →
    /// `Σ_j share[i, j] * table[index[i, j]]`, `[n, d]`: bilinear position embeddings.
    InterpolateRows {
        /// The table.
        weight: WeightId,
    },
    /// The last row: `[n, ..]` → `[1, ..]`.
    LastRow,
    /// The same elements in another shape.
    Reshape {
        /// The new shape, of equally many elements.
        shape: Vec<Dim>,
    },
    /// Axes in another order: axis `i` of the result is axis `order[i]` of `x`.
    Transpose {
        /// A permutation.
        order: Vec<u8>,
    },
    /// Values one after the other along an axis.
    Concat {
        /// Which.
        axis: u8,
    },
    /// `len` places of an axis, from `start` on.
    Slice {
        /// Which.
        axis: u8,
        /// First place.
        start: Dim,
        /// Places kept.
        len: Dim,
    },
    /// Convolution over `x [t, h, w, c]` (channels last) with `W [c_out, kt, kh, kw, c_in]` and `b [c_out]`, zeros outside.
    Conv3d {
        /// `W`.
        weight: WeightId,
        /// `b`.
        bias: Option<WeightId>,
        /// Steps along t, h, w.
        stride: [usize; 3],
        /// Zeros before and after, along t, h, w.
        padding: [[usize; 2]; 3],
    },
    /// Each place of `x [t, h, w, c]` repeated: nearest-neighbour enlargement.
    Upsample {
        /// Factors along t, h, w.
        factor: [usize; 3],
    },
    /// `[n]` f32 → `[n, 2 f]`: cosines and then sines of `x * frequency[j]`: the timestep embedding of diffusion models.
    Sinusoid {
        /// Radians for a unit of `x`.
        frequency: Vec<f32>,
    },
}

impl Op {
    /// Its name in dumps and errors, as serialised.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Read { .. } => "read",
            Op::Constant { .. } => "constant",
            Op::Linear { .. } => "linear",
            Op::Embedding { .. } => "embedding",
            Op::RmsNorm { .. } => "rms_norm",
            Op::LayerNorm { .. } => "layer_norm",
            Op::Unary { .. } => "unary",
            Op::Binary { .. } => "binary",
            Op::Affine { .. } => "affine",
            Op::RotaryTable { .. } => "rotary_table",
            Op::Rotary { .. } => "rotary",
            Op::Attention { .. } => "attention",
            Op::CachedAttention { .. } => "cached_attention",
            Op::SelectRows { .. } => "select_rows",
            Op::InterpolateRows { .. } => "interpolate_rows",
            Op::LastRow => "last_row",
            Op::Reshape { .. } => "reshape",
            Op::Transpose { .. } => "transpose",
            Op::Concat { .. } => "concat",
            Op::Slice { .. } => "slice",
            Op::Conv3d { .. } => "conv3d",
            Op::Upsample { .. } => "upsample",
            Op::Sinusoid { .. } => "sinusoid",
        }
    }
}
