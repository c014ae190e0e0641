//! `Conv3d`: an implicit matrix product. The rows of the product are the output places, its columns the places under
//! the window; a block of rows is gathered chunk by chunk, so the unrolled input never exists as a whole.

use std::ops::Range;

#[cfg(target_arch = "x86_64")]
use super::arithmetic::Arithmetic;
use super::arithmetic::InF32;
use super::block::BlockRow;
use super::block_product;
use super::dots::Dots;
use super::matmul::{self, Epilogue, Finish, RowSource, Split};
use super::out::Out;
#[cfg(target_arch = "x86_64")]
use super::panels::PanelFormat;
use super::panels::Panels;
use super::simd::Simd;

/// `epilogue(conv(x, W) + b)`: `x [t, h, w, c_in]`, `W [c_out, kt, kh, kw, c_in]` → `[t', h', w', c_out]`, zeros outside.
///
/// A task writes some places and channels of the output.
#[derive(Clone, Copy, Debug)]
pub struct Conv3d<'a> {
    /// `[t, h, w, c_in]`.
    pub x: &'a [f32],
    /// `[t, h, w, c_in]`.
    pub shape: [usize; 4],
    /// `[c_out, kt * kh * kw * c_in]`.
    pub weight: Panels<'a>,
    /// `[c_out]`.
    pub bias: Option<&'a [f32]>,
    /// `[kt, kh, kw]`.
    pub kernel: [usize; 3],
    /// Steps along t, h, w.
    pub stride: [usize; 3],
    /// Zeros before and after, along t, h, w.
    pub padding: [[usize; 2]; 3],
    /// What follows.
    pub epilogue: Epilogue<Option<&'a [f32]>>,
}

impl Conv3d<'_> {
    /// `[t', h', w']`.
    pub fn output_places(&self) -> [usize; 3] {
        std::array::from_fn(|i| {
            let padded = self.shape[i] + self.padding[i][0] + self.padding[i][1];
            (padded + self.stride[i]).saturating_sub(self.kernel[i]) / self.stride[i]
        })
    }

    /// Tasks that the product is cut into.
    pub fn tasks(&self) -> usize {
        Split::new(self.output_places().iter().product(), self.weight.n_panels()).tasks()
    }
}

struct Windows<'a> {
    x: &'a [f32],
    shape: [usize; 4],
    kernel: [usize; 3],
    stride: [usize; 3],
    before: [usize; 3],
    places: [usize; 3],
}

impl RowSource for Windows<'_> {
    fn shape(&self) -> (usize, usize) {
        (self.places.iter().product(), self.kernel.iter().product::<usize>() * self.shape[3])
    }

    #[inline(always)]
    fn copy(&self, rows: Range<usize>, k: Range<usize>, to: &mut [BlockRow]) {
        for (row, to) in rows.zip(to) {
            let [_, h, w] = self.places;
            self.copy_window([row / (h * w), row / w % h, row % w], k.clone(), &mut to[..k.len()]);
        }
    }
}

impl Windows<'_> {
    /// Columns `k` of the window at `place`. All taps along w are neighbours in memory, so a window is `kt * kh` runs
    /// of `kw * c_in` elements, each cut where the image ends.
    #[inline(always)]
    fn copy_window(&self, place: [usize; 3], k: Range<usize>, mut to: &mut [f32]) {
        let [t_len, h_len, w_len, c] = self.shape;
        let run = self.kernel[2] * c;
        // Where the window starts along w, in elements; columns of the run that lie in the image.
        let start = (place[2] * self.stride[2]) as isize - self.before[2] as isize;
        let start = start * c as isize;
        let inside_from = (-start).clamp(0, run as isize) as usize;
        let inside_to = ((w_len * c) as isize - start).clamp(inside_from as isize, run as isize) as usize;
        let mut at = k.start;
        while at < k.end {
            let tap = at / run;
            let columns = at - tap * run..run.min(k.end - tap * run);
            at = tap * run + columns.end;
            let (part, rest) = to.split_at_mut(columns.len());
            to = rest;
            // Wraps around to a large number before the first row.
            let t = (place[0] * self.stride[0] + tap / self.kernel[1]).wrapping_sub(self.before[0]);
            let h = (place[1] * self.stride[1] + tap % self.kernel[1]).wrapping_sub(self.before[1]);
            if t_len <= t || h_len <= h {
                part.fill(0.0);
                continue;
            }
            let inside =
                inside_from.clamp(columns.start, columns.end)..inside_to.clamp(columns.start, columns.end);
            if inside.is_empty() {
                part.fill(0.0);
                continue;
            }
            part[..inside.start - columns.start].fill(0.0);
            part[inside.end - columns.start..].fill(0.0);
            let from = (((t * h_len + h) * w_len * c) as isize + start) as usize;
            // `from` may stand before the row, but from the first inside column on it is within it.
            let source = &self.x[from.wrapping_add(inside.start)..][..inside.len()];
            part[inside.start - columns.start..inside.end - columns.start].copy_from_slice(source);
        }
    }
}

/// What follows the sums of a convolution whose lengths agree, and its rows.
#[inline(always)]
fn checked<'a>(a: &Conv3d<'a>, out: &Out<'_>) -> (Finish<'a>, Windows<'a>) {
    let windows = Windows {
        x: a.x,
        shape: a.shape,
        kernel: a.kernel,
        stride: a.stride,
        before: a.padding.map(|p| p[0]),
        places: a.output_places(),
    };
    let (rows, k) = windows.shape();
    assert_eq!(a.x.len(), a.shape.iter().product::<usize>(), "x is [t, h, w, c]");
    assert_eq!(a.weight.k, k, "the weights are of this window");
    assert_eq!(out.len(), rows * a.weight.rows, "the output is [t, h, w, c_out]");
    (Finish { bias: a.bias, epilogue: a.epilogue, n: a.weight.rows }, windows)
}

/// With weights that are floats.
#[inline(always)]
pub(super) fn run<S: Simd, const T: usize>(
    s: S,
    a: &Conv3d<'_>,
    tasks: Range<usize>,
    out: &mut Out<'_>,
    scratch: &mut [f32],
) {
    let (finish, windows) = checked(a, out);
    matmul::run::<S, _, _, T>(s, InF32, &windows, &a.weight, finish, tasks, out, scratch);
}

/// With weights that are floats, those of bfloat16 in pairs.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(super) fn run_pairs<S: Simd, A: Arithmetic<S>, const T: usize>(
    s: S,
    arithmetic: A,
    a: &Conv3d<'_>,
    tasks: Range<usize>,
    out: &mut Out<'_>,
    scratch: &mut [f32],
) {
    if a.weight.format != PanelFormat::Bf16 {
        return run::<S, T>(s, a, tasks, out, scratch);
    }
    let (finish, windows) = checked(a, out);
    matmul::run::<S, A, _, T>(s, arithmetic, &windows, &a.weight, finish, tasks, out, scratch);
}

/// With weights in blocks.
#[inline(always)]
pub(super) fn run_blocks<S: Simd, D: Dots<S::V>, const T: usize>(
    s: S,
    d: D,
    a: &Conv3d<'_>,
    tasks: Range<usize>,
    out: &mut Out<'_>,
    scratch: &mut [f32],
) {
    let (finish, windows) = checked(a, out);
    block_product::run::<S, D, _, T>(s, d, &windows, &a.weight, finish, tasks, out, scratch);
}
