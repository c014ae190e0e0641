//! Convolution over time, height and width, channels last: what the kernel covers at some hundred places is gathered into rows, which a
//! product with the kernel turns into values.
//!
//! Why not burn's: it takes channels first, which no value of a graph has, and writes each gradient through several layouts. What is
//! gathered is not kept for the way back but gathered again: it is 27 times its source.

use burn_backend::Shape;
use burn_flex::FlexTensor;
use rayon::prelude::*;

use super::pointwise::summed_rows;
use super::product::{Factor, of_columns};
use crate::distill::real::{Real, by_type, shape, tensor};
use crate::distill::tape::Tensor;

/// Elements that are gathered at a time: what a core keeps near.
const GATHERED: usize = 1 << 17;

/// Steps and zeros around, along t, h, w.
#[derive(Clone, Copy, Debug)]
pub(in crate::distill) struct Convolution {
    pub(in crate::distill) stride: [usize; 3],
    pub(in crate::distill) padding: [[usize; 2]; 3],
}

/// `x [b, t, h, w, c]` with `W [c_out, kt, kh, kw, c]` and `b [c_out]`.
pub(in crate::distill) fn conv3d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    by: Convolution,
) -> Tensor {
    let (values, kernel, dtype) = (x.values(), weight.values(), x.dtype());
    let places = Places::of(&values, &kernel, by);
    let c_out = places.c_out;
    let absent = || by_type!(dtype, E => Tensor::constant(vec![E::ZERO; c_out], &[c_out]));
    let bias = bias.cloned().unwrap_or_else(absent);
    let mut out = by_type!(dtype, E => places.apply::<E>(&values, &kernel));
    super::dense::add_row(&mut out, &bias.values());
    Tensor::recorded([x, weight, &bias], out, move |g, [of_x, of_w, of_b]| {
        let g = g.to_contiguous();
        by_type!(dtype, E => {
            let to_x = || match places.undone() {
                Some(undone) => undone.apply::<E>(&g, &turned::<E>(&kernel)),
                None => places.scattered::<E>(&g, &kernel),
            };
            [
                of_x.then(to_x),
                of_w.then(|| places.kernel_slope::<E>(&values, &g)),
                of_b.then(|| summed_rows::<E>(&g)),
            ]
        })
    })
}

/// The kernel turned around in time and place, its channels exchanged: by it gradients go back where every place was covered by a
/// step of one.
fn turned<E: Real>(kernel: &FlexTensor) -> FlexTensor {
    let [c_out, t, h, w, c] = <[usize; 5]>::try_from(shape(kernel)).expect("a kernel has five axes");
    let n = t * h * w;
    let from = kernel.storage::<E>();
    let mut out = vec![E::ZERO; from.len()];
    for o in 0..c_out {
        for place in 0..n {
            for i in 0..c {
                out[(i * n + (n - 1 - place)) * c_out + o] = from[(o * n + place) * c + i];
            }
        }
    }
    tensor::<E>(out, &[c, t, h, w, c_out])
}

/// Extents of one convolution.
#[derive(Clone, Copy, Debug)]
struct Places {
    n: usize,
    source: [usize; 3],
    target: [usize; 3],
    taps: [usize; 3],
    c: usize,
    c_out: usize,
    stride: [usize; 3],
    before: [usize; 3],
    by: Convolution,
}

/// Lines of one frame that are computed together.
#[derive(Clone, Copy)]
struct Piece {
    frame: usize,
    first: usize,
    n_lines: usize,
}

impl Places {
    fn of(x: &FlexTensor, kernel: &FlexTensor, by: Convolution) -> Places {
        let [n, t, h, w, c] = <[usize; 5]>::try_from(shape(x)).expect("verified: four axes and the batch");
        let [c_out, kt, kh, kw, _] = <[usize; 5]>::try_from(shape(kernel)).expect("a kernel has five axes");
        Places::with([t, h, w], [kt, kh, kw], n, c, c_out, by)
    }

    fn with(
        source: [usize; 3],
        taps: [usize; 3],
        n: usize,
        c: usize,
        c_out: usize,
        by: Convolution,
    ) -> Places {
        let target =
            [0, 1, 2].map(|i| (source[i] + by.padding[i][0] + by.padding[i][1] - taps[i]) / by.stride[i] + 1);
        let before = by.padding.map(|p| p[0]);
        Places { n, source, target, taps, c, c_out, stride: by.stride, before, by }
    }

    /// Elements that the kernel covers.
    fn covered(&self) -> usize {
        self.taps.iter().product::<usize>() * self.c
    }

    /// The convolution by which gradients go back to the source, where steps are of one.
    fn undone(&self) -> Option<Places> {
        let mut padding = [[0; 2]; 3];
        for ((undone, taps), done) in padding.iter_mut().zip(self.taps).zip(self.by.padding) {
            for (undone, done) in undone.iter_mut().zip(done) {
                *undone = (taps - 1).checked_sub(done)?;
            }
        }
        (self.stride == [1; 3]).then(|| {
            let by = Convolution { stride: [1; 3], padding };
            Places::with(self.target, self.taps, self.n, self.c_out, self.c, by)
        })
    }

    fn pieces_of(&self, member: usize) -> Vec<Piece> {
        let [t, h, w] = self.target;
        let n_lines = (GATHERED / (w * self.covered())).clamp(1, h);
        let frames = member * t..(member + 1) * t;
        let of = |frame: usize| {
            (0..h).step_by(n_lines).map(move |first| Piece { frame, first, n_lines: n_lines.min(h - first) })
        };
        frames.flat_map(of).collect()
    }

    fn apply<E: Real>(&self, x: &FlexTensor, kernel: &FlexTensor) -> FlexTensor {
        let [t, h, w] = self.target;
        let kernel = Factor::rows(&kernel.reshape(Shape::from([self.c_out, self.covered()])));
        let mut out = vec![E::ZERO; self.n * t * h * w * self.c_out];
        let line = w * self.c_out;
        let x = x.storage::<E>();
        let each = |(member, mut out): (usize, &mut [E])| {
            for piece in self.pieces_of(member) {
                let (now, rest) = std::mem::take(&mut out).split_at_mut(piece.n_lines * line);
                let values = kernel.times(&self.gathered::<E>(x, piece)).to_contiguous();
                now.copy_from_slice(values.storage::<E>());
                out = rest;
            }
        };
        out.par_chunks_mut(t * h * line).enumerate().for_each(each);
        tensor::<E>(out, &[self.n, t, h, w, self.c_out])
    }

    /// The gradient of the kernel.
    fn kernel_slope<E: Real>(&self, x: &FlexTensor, g: &FlexTensor) -> FlexTensor {
        let [_, h, w] = self.target;
        let line = w * self.c_out;
        let (x, g) = (x.storage::<E>(), g.storage::<E>());
        let of_member = |member: usize| {
            let mut sum = vec![E::ZERO; self.c_out * self.covered()];
            for piece in self.pieces_of(member) {
                let begin = (piece.frame * h + piece.first) * line;
                let g = g[begin..begin + piece.n_lines * line].to_vec();
                let g = tensor::<E>(g, &[piece.n_lines * w, self.c_out]);
                let product = of_columns(&g, &self.gathered::<E>(x, piece)).to_contiguous();
                sum.iter_mut().zip(product.storage::<E>()).for_each(|(s, p)| *s += *p);
            }
            sum
        };
        // By members, then in their order: the sum does not depend on the number of threads.
        let sums: Vec<Vec<E>> = (0..self.n).into_par_iter().map(of_member).collect();
        let mut total = vec![E::ZERO; self.c_out * self.covered()];
        for sum in sums {
            total.iter_mut().zip(&sum).for_each(|(t, s)| *t += *s);
        }
        let [t, h, w] = self.taps;
        tensor::<E>(total, &[self.c_out, t, h, w, self.c])
    }

    /// The gradient of the source, each place's added to what it was gathered from.
    fn scattered<E: Real>(&self, g: &FlexTensor, kernel: &FlexTensor) -> FlexTensor {
        let [t, h, w] = self.source;
        let kernel = Factor::columns(&kernel.reshape(Shape::from([self.c_out, self.covered()])));
        let line = self.target[2] * self.c_out;
        let g = g.storage::<E>();
        let mut out = vec![E::ZERO; self.n * t * h * w * self.c];
        let each = |(member, out): (usize, &mut [E])| {
            for piece in self.pieces_of(member) {
                let begin = (piece.frame * self.target[1] + piece.first) * line;
                let g = g[begin..begin + piece.n_lines * line].to_vec();
                let g = tensor::<E>(g, &[piece.n_lines * self.target[2], self.c_out]);
                let rows = kernel.times(&g).to_contiguous();
                let rows = rows.storage::<E>();
                self.runs(piece, |from, to, len| {
                    let from = from - member * t * h * w * self.c;
                    out[from..from + len].iter_mut().zip(&rows[to..]).for_each(|(o, r)| *o += *r);
                });
            }
        };
        out.par_chunks_mut(t * h * w * self.c).enumerate().for_each(each);
        tensor::<E>(out, &[self.n, t, h, w, self.c])
    }

    /// What the kernel covers at each place of a piece, a row each; zeros outside.
    fn gathered<E: Real>(&self, x: &[E], piece: Piece) -> FlexTensor {
        let n = piece.n_lines * self.target[2];
        let mut rows = vec![E::ZERO; n * self.covered()];
        self.runs(piece, |from, to, len| rows[to..to + len].copy_from_slice(&x[from..from + len]));
        tensor::<E>(rows, &[n, self.covered()])
    }

    /// For each run of elements that lie side by side in the source and in a row: where it begins in either, and how long it is.
    fn runs(&self, piece: Piece, mut f: impl FnMut(usize, usize, usize)) {
        let [t, h, w] = self.source;
        let [kt, kh, kw] = self.taps;
        let (member, frame) = (piece.frame / self.target[0], piece.frame % self.target[0]);
        // Taps along an axis that lie in the source, and the place of the first.
        let inside = |axis: usize, place: usize, n: usize, taps: usize| {
            let begin = place * self.stride[axis];
            let first = self.before[axis].saturating_sub(begin).min(taps);
            let last = (n + self.before[axis]).saturating_sub(begin).min(taps);
            (first, last.max(first), begin)
        };
        let (t_first, t_last, t_begin) = inside(0, frame, t, kt);
        let mut row = 0;
        for line in piece.first..piece.first + piece.n_lines {
            let (h_first, h_last, h_begin) = inside(1, line, h, kh);
            for column in 0..self.target[2] {
                let (w_first, w_last, w_begin) = inside(2, column, w, kw);
                let len = (w_last - w_first) * self.c;
                for tap_t in if len == 0 { 0..0 } else { t_first..t_last } {
                    let at_t = member * t + t_begin + tap_t - self.before[0];
                    for tap_h in h_first..h_last {
                        let at_h = at_t * h + h_begin + tap_h - self.before[1];
                        let from = (at_h * w + w_begin + w_first - self.before[2]) * self.c;
                        let to = ((tap_t * kh + tap_h) * kw + w_first) * self.c;
                        f(from, row + to, len);
                    }
                }
                row += self.covered();
            }
        }
    }
}
