//! Roughly how long a step takes on one core: whether threads are worth waking for it, and how large its pieces are.
//!
//! No result depends on these figures.

use super::context::Context;
use super::kernels::PanelFormat;
use super::placement::Step;
use super::program::Kind;

/// Pieces of work that threads claim take about this long.
pub(super) const PIECE_NS: u64 = 5_000;
/// A stage shorter than this is done by one thread: meeting the others would take as long.
pub(super) const SHARED_NS: u64 = 5_000;

/// A thread that works alone looks about this often at deadline and stop flag.
pub(super) const LOOK_NS: u64 = 3_000_000;

/// Multiply-adds of a nanosecond, when data are in the cache.
const MULTIPLY_ADDS: u64 = 24;
/// The same of whole numbers of 8 bits.
const BYTE_MULTIPLY_ADDS: u64 = 64;
/// Bytes of a nanosecond from memory.
const BYTES: u64 = 12;

/// Nanoseconds, about.
pub(super) fn nanoseconds(step: &Step, cx: &Context<'_>) -> u64 {
    let len = |i: usize| step.inputs.get(i).map_or(0, |view| cx.shape(view).len() as u64);
    let out_len = step.output.as_ref().map_or(0, |view| cx.shape(view).len() as u64);
    match &step.kind {
        Kind::Linear { weight, outputs, k, .. } => {
            let panels = cx.weights.panels(*weight, outputs.clone());
            let rows = len(0) / (*k as u64).max(1);
            let multiply_adds = (outputs.len() * k) as u64 * rows;
            (multiply_adds / speed(panels.format)).max(panels.n_bytes() as u64 / BYTES)
        }
        Kind::Conv3d { weight, kernel, .. } => {
            let channels = step.inputs.first().map_or(1, |view| cx.shape(view).last()) as u64;
            let multiply_adds = out_len * channels * kernel.iter().product::<usize>() as u64;
            multiply_adds / speed(cx.weights.all_panels(*weight).format)
        }
        Kind::Attention { heads, batched } => {
            let parts = if *batched { cx.shape(&step.inputs[0]).extents[0].max(1) as u64 } else { 1 };
            let keys = len(1) / ((heads.kv_heads * heads.dim) as u64 * parts).max(1);
            2 * len(0) * keys / MULTIPLY_ADDS
        }
        Kind::CachedAttention { past, .. } => {
            let keys = cx.past(Some(*past)) + cx.shape(&step.inputs[0]).extents[0];
            2 * len(0) * keys as u64 / MULTIPLY_ADDS
        }
        Kind::DecodeRanges { heads, past, .. } => {
            let keys = match past {
                Some(_) => cx.past(*past) as u64 + 1,
                None => len(1) / ((heads.kv_heads * heads.dim) as u64).max(1),
            };
            keys * (heads.kv_heads * heads.dim) as u64 * 8 / BYTES
        }
        Kind::Check { .. } => len(0) / 4,
        Kind::RotaryTable { .. } | Kind::Sinusoid { .. } => out_len * 10,
        Kind::Copy | Kind::Slice { .. } | Kind::Concat { .. } | Kind::Embedding { .. } => out_len / 2,
        Kind::DecodeJoin { .. } | Kind::Narrow => out_len * 2,
        _ => out_len,
    }
}

/// Multiply-adds of a nanosecond with weights of a format.
fn speed(format: PanelFormat) -> u64 {
    if format.is_blocks() { BYTE_MULTIPLY_ADDS } else { MULTIPLY_ADDS }
}
