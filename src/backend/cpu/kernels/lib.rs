//! The arithmetic of the CPU backend: functions over slices, which know nothing of graphs.
//!
//! Each kernel is a struct that says what to compute, with a `tasks()` count, and a function that computes some of
//! these tasks. A task computes whole results in an order of its own, and how work is cut into tasks depends on shapes
//! alone: results do not depend on the number of threads, nor on which thread ran what. Nothing here allocates but the
//! packing of weights. Kernels that compute are written once over `simd::Simd` and compiled for each instruction set
//! into a table, [`Kernels`]; those that only move elements are plain functions.
//!
//! Why not one trait over all kernels: callers keep lists of calls of different kinds anyway, and structs with named
//! fields read better where they are made.

mod arithmetic;
mod attention;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod block;
mod block_product;
mod blocks;
mod conv3d;
mod decode_attention;
mod dots;
#[cfg(target_arch = "aarch64")]
mod dots_neon;
#[cfg(target_arch = "x86_64")]
mod dots_x86;
mod elementwise;
mod isa;
mod keys;
mod layout;
mod linear;
mod math;
mod matmul;
mod matvec;
#[cfg(target_arch = "aarch64")]
mod neon;
mod norm;
mod out;
#[cfg(target_arch = "x86_64")]
mod pairs_x86;
mod panels;
mod quantise;
mod rotary;
mod rows;
mod simd;
mod table;

pub use attention::{Attention, HEAD_DIM_MAX};
pub use conv3d::Conv3d;
pub use decode_attention::{DECODE_QUERIES_MAX, DecodeAttention, JoinRanges, decode_partial_floats};
pub use elementwise::{AXES_MAX, Affine, Binary, Unary};
pub use isa::{ISA_VARIABLE, Isa, IsaError};
pub use keys::{Keys, Narrow, narrow};
pub use layout::{CopyAxis, Transpose, Upsample, copy_axis, transpose, upsample};
pub use linear::Linear;
pub use matmul::Epilogue;
pub use norm::{LayerNorm, RmsNorm};
pub use out::Out;
pub use panels::{PANEL_ROWS, PanelFormat, Panels, Unstorable, pack_panel_range, pack_panels, panels_bytes};
pub use rotary::{Positions, Rotary, RotaryTable, Sinusoid, rotary_table, sinusoid};
pub use rows::{Embedding, InterpolateRows, SelectRows, Table, embedding, first_outside, select_rows};
pub use table::{Kernels, SCRATCH_FLOATS};
