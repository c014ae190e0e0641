//! The kernels as a table of functions, one table for each instruction set.
//!
//! Which table to use is settled once, so a call costs what any call through a pointer costs. All have one signature:
//! what to compute, which of its tasks, where to write, and a thread's own scratch of [`SCRATCH_FLOATS`].
#![cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "calls of functions that enable instructions")
)]
#![cfg_attr(
    target_arch = "aarch64",
    expect(unsafe_code, reason = "calls of functions that enable instructions")
)]

use std::ops::Range;

use super::attention::{self, Attention};
use super::block_product;
use super::conv3d::{self, Conv3d};
use super::decode_attention::{self, DecodeAttention, JoinRanges};
use super::elementwise::{self, Affine, Binary, Unary};
use super::isa::{Isa, IsaError};
use super::linear::{self, Linear};
use super::matmul;
use super::norm::{self, LayerNorm, RmsNorm};
use super::out::Out;
use super::rotary::{self, Rotary};
use super::rows::{self, InterpolateRows};
use super::simd::Portable;

/// Elements of the scratch that each thread passes: its contents do not matter, its start should be aligned to 64 bytes.
pub const SCRATCH_FLOATS: usize = {
    let mut most = matmul::SCRATCH_FLOATS;
    if most < attention::SCRATCH_FLOATS {
        most = attention::SCRATCH_FLOATS;
    }
    if most < decode_attention::SCRATCH_FLOATS {
        most = decode_attention::SCRATCH_FLOATS;
    }
    if most < block_product::SCRATCH_FLOATS {
        most = block_product::SCRATCH_FLOATS;
    }
    most
};

/// Rows of a tile of plain Rust, with weights of any kind.
const PORTABLE_ROWS: usize = 4;

/// Defines [`Kernels`] and the maker of a table from one list.
macro_rules! kernels {
    ($($(#[$doc:meta])* $name:ident: $args:ident => $module:ident::$run:ident $(, $tiled:ident)?;)+) => {
        /// The kernels of one instruction set. Each panics where lengths disagree with what it is asked: lowering has
        /// fixed them, so that is our bug.
        pub struct Kernels {
            /// Which.
            pub isa: Isa,
            $($(#[$doc])* pub $name: fn(&$args<'_>, Range<usize>, &mut Out<'_>, &mut [f32]),)+
        }

        static PORTABLE: Kernels = Kernels {
            isa: Isa::Portable,
            $($name: |a, tasks, out, scratch| {
                kernels!(@call $module::$run, Portable, [PORTABLE_ROWS, PORTABLE_ROWS], a, tasks, out, scratch $(, $tiled)?)
            },)+
        };

        /// Makes the table of an instruction set: its name, token, the features it needs, the rows of a tile with weights that are
        /// floats and with weights in blocks.
        #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
        macro_rules! table {
            ($table:ident, $isa:expr, $token:ty, $features:literal, $rows:tt) => {
                static $table: Kernels = Kernels {
                    isa: $isa,
                    $($name: |a, tasks, out, scratch| {
                        #[target_feature(enable = $features)]
                        fn run(a: &$args<'_>, tasks: Range<usize>, out: &mut Out<'_>, scratch: &mut [f32]) {
                            // SAFETY: this function enables the features that the token stands for.
                            let token = unsafe { <$token>::new() };
                            kernels!(@call $module::$run, token, $rows, a, tasks, out, scratch $(, $tiled)?)
                        }
                        // SAFETY: `Kernels::of` gives this table out only where the CPU has these features.
                        unsafe { run(a, tasks, out, scratch) }
                    },)+
                };
            };
        }
    };
    (@call $module:ident::$run:ident, $token:expr, $rows:tt, $a:ident, $tasks:ident, $out:ident, $scratch:ident) => {
        $module::$run($token, $a, $tasks, $out, $scratch)
    };
    (@call $module:ident::$run:ident, $token:expr, [$rows:expr, $of_blocks:expr], $a:ident, $tasks:ident, $out:ident, $scratch:ident, tiled) => {
        $module::$run::<_, { $rows }>($token, $a, $tasks, $out, $scratch)
    };
    (@call $module:ident::$run:ident, $token:expr, [$rows:expr, $of_blocks:expr], $a:ident, $tasks:ident, $out:ident, $scratch:ident, blocks) => {
        $module::$run::<_, _, { $of_blocks }>($token, $token, $a, $tasks, $out, $scratch)
    };
}

kernels! {
    /// Activations times packed weights that are floats.
    linear: Linear => linear::run, tiled;
    /// Activations times packed weights in blocks.
    linear_blocks: Linear => linear::run_blocks, blocks;
    /// Convolution with weights that are floats, channels last.
    conv3d: Conv3d => conv3d::run, tiled;
    /// Convolution with weights in blocks.
    conv3d_blocks: Conv3d => conv3d::run_blocks, blocks;
    /// Attention of many queries.
    attention: Attention => attention::run, tiled;
    /// Attention of few queries: partial results by range of keys.
    decode_attention: DecodeAttention => decode_attention::run;
    /// Attention of few queries: the ranges joined.
    join_ranges: JoinRanges => decode_attention::run_join;
    /// Root-mean-square norm.
    rms_norm: RmsNorm => norm::run_rms;
    /// Layer norm.
    layer_norm: LayerNorm => norm::run_layer;
    /// Rotary positions.
    rotary: Rotary => rotary::run;
    /// A function of each element.
    unary: Unary => elementwise::run_unary;
    /// A factor and an addend.
    affine: Affine => elementwise::run_affine;
    /// A function of two values.
    binary: Binary => elementwise::run_binary;
    /// Weighted sums of rows.
    interpolate_rows: InterpolateRows => rows::run_interpolate;
}

#[cfg(target_arch = "x86_64")]
table!(AVX2, Isa::Avx2, super::avx2::Avx2, "avx2,fma", [6, 4]);
#[cfg(target_arch = "x86_64")]
table!(AVX512, Isa::Avx512, super::avx512::Avx512, "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl", [12, 4]);
#[cfg(target_arch = "aarch64")]
table!(NEON, Isa::Neon, super::neon::Neon, "neon", [6, 4]);

/// Makes the table of an instruction set that adds dot products to those of another table: its name, that table, the token for all
/// else, the one for dot products, the features it needs, the rows of a tile with weights in blocks.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! table_with_dots {
    ($table:ident, $isa:expr, $base:ident, $token:ty, $dots:ty, $features:literal, $rows:literal) => {
        static $table: Kernels = Kernels {
            isa: $isa,
    linear_blocks: table_with_dots!(@entry Linear, linear, $token, $dots, $features, $rows),
    conv3d_blocks: table_with_dots!(@entry Conv3d, conv3d, $token, $dots, $features, $rows),
            ..$base
        };
    };
    (@entry $args:ident, $module:ident, $token:ty, $dots:ty, $features:literal, $rows:literal) => {
        |a, tasks, out, scratch| {
            #[target_feature(enable = $features)]
            fn run(a: &$args<'_>, tasks: Range<usize>, out: &mut Out<'_>, scratch: &mut [f32]) {
                // SAFETY: this function enables the features that both tokens stand for.
                let (token, dots) = unsafe { (<$token>::new(), <$dots>::new()) };
                $module::run_blocks::<_, _, $rows>(token, dots, a, tasks, out, scratch);
            }
            // SAFETY: `Kernels::of` gives this table out only where the CPU has these features.
            unsafe { run(a, tasks, out, scratch) }
        }
    };
}

#[cfg(target_arch = "x86_64")]
table_with_dots!(
    AVX_VNNI,
    Isa::AvxVnni,
    AVX2,
    super::avx2::Avx2,
    super::dots_x86::AvxVnni,
    "avx2,fma,avxvnni",
    4
);
#[cfg(target_arch = "x86_64")]
table_with_dots!(
    AVX512_VNNI,
    Isa::Avx512Vnni,
    AVX512,
    super::avx512::Avx512,
    super::dots_x86::Avx512Vnni,
    "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni",
    12
);
#[cfg(target_arch = "aarch64")]
table_with_dots!(
    NEON_DOT,
    Isa::NeonDot,
    NEON,
    super::neon::Neon,
    super::dots_neon::NeonDot,
    "neon,dotprod",
    4
);

/// The table of AVX512-VNNI with products of bfloat16 in pairs.
#[cfg(target_arch = "x86_64")]
static AVX512_BF16: Kernels = {
    macro_rules! entry {
        ($args:ident, $module:ident) => {
            |a, tasks, out, scratch| {
                #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
                fn run(a: &$args<'_>, tasks: Range<usize>, out: &mut Out<'_>, scratch: &mut [f32]) {
                    // SAFETY: this function enables the features that the token stands for.
                    let token = unsafe { super::avx512::Avx512::new() };
                    // SAFETY: as above.
                    let pairs = unsafe { super::pairs_x86::Avx512Bf16::new() };
                    $module::run_pairs::<_, _, 12>(token, pairs, a, tasks, out, scratch);
                }
                // SAFETY: `Kernels::of` gives this table out only where the CPU has these features.
                unsafe { run(a, tasks, out, scratch) }
            }
        };
    }
    Kernels {
        isa: Isa::Avx512Bf16,
        linear: entry!(Linear, linear),
        conv3d: entry!(Conv3d, conv3d),
        ..AVX512_VNNI
    }
};

impl Kernels {
    /// The table of `isa`.
    ///
    /// # Errors
    /// If this CPU lacks it.
    pub fn of(isa: Isa) -> Result<&'static Kernels, IsaError> {
        Ok(match isa.checked()? {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => &AVX2,
            #[cfg(target_arch = "x86_64")]
            Isa::AvxVnni => &AVX_VNNI,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => &AVX512,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni => &AVX512_VNNI,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Bf16 => &AVX512_BF16,
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => &NEON,
            #[cfg(target_arch = "aarch64")]
            Isa::NeonDot => &NEON_DOT,
            _ => &PORTABLE,
        })
    }
}
