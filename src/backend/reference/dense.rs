//! Everything that is a sum of products with a weight.

use crate::tensor::{DType, TensorView, widen};

/// Below this many products the threads cost more than they save.
const PARALLEL_MIN: usize = 1 << 18;

/// `Σ a[i] b[i]`. Eight partial sums only shorten the chain of additions; in f64 their order does not show in f32.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f64 {
    let (a_eights, a_rest) = a.as_chunks::<8>();
    let (b_eights, b_rest) = b.as_chunks::<8>();
    let mut sums = [0.0f64; 8];
    for (a, b) in a_eights.iter().zip(b_eights) {
        for i in 0..8 {
            sums[i] += f64::from(a[i]) * f64::from(b[i]);
        }
    }
    let rest = a_rest.iter().zip(b_rest).map(|(a, b)| f64::from(*a) * f64::from(*b));
    sums.iter().sum::<f64>() + rest.sum::<f64>()
}

/// `x Wᵀ + b`: `x [m, k]`, `W [n, k]` as stored → `[m, n]`. Each row of `W` is widened once, on the thread that needs it.
pub(super) fn linear(
    x: &[f32],
    k: usize,
    n: usize,
    dtype: DType,
    weight: &[u8],
    bias: Option<&[f32]>,
) -> Vec<f32> {
    let m = x.len().checked_div(k).unwrap_or(0);
    let row_bytes = k * dtype.size_bytes();
    // One column of the result after the other: `[n, m]`.
    let columns = in_parallel(n, m, m * n * k, |first, out| {
        let mut row = vec![0.0f32; k];
        for (j, column) in (first..).zip(out.chunks_mut(m.max(1))) {
            widen(dtype, &weight[j * row_bytes..(j + 1) * row_bytes], &mut row);
            let b = bias.map_or(0.0, |b| f64::from(b[j]));
            for (o, x_row) in column.iter_mut().zip(x.chunks(k.max(1))) {
                *o = (dot(x_row, &row) + b) as f32;
            }
        }
    });
    let mut out = vec![0.0; m * n];
    for (j, column) in columns.chunks(m.max(1)).enumerate() {
        for (i, value) in column.iter().enumerate() {
            out[i * n + j] = *value;
        }
    }
    out
}

/// Row `id` of a table, widened; `None` if there is none.
pub(super) fn table_row(table: &TensorView<'_>, id: i32) -> Option<Vec<f32>> {
    let id = usize::try_from(id).ok().filter(|id| *id < table.shape[0])?;
    let mut row = vec![0.0; table.shape[1]];
    let row_bytes = row.len() * table.dtype.size_bytes();
    widen(table.dtype, &table.bytes[id * row_bytes..(id + 1) * row_bytes], &mut row);
    Some(row)
}

/// `Σ_j share[i, j] * table[index[i, j]]`; `None` if an index is outside the table.
pub(super) fn interpolate_rows(
    table: &TensorView<'_>,
    index: &[i32],
    share: &[f32],
    per_row: usize,
) -> Option<Vec<f32>> {
    let mut out = Vec::with_capacity(index.len() / per_row.max(1) * table.shape[1]);
    for (index, share) in index.chunks(per_row.max(1)).zip(share.chunks(per_row.max(1))) {
        let mut sums = vec![0.0f64; table.shape[1]];
        for (index, share) in index.iter().zip(share) {
            for (sum, value) in sums.iter_mut().zip(table_row(table, *index)?) {
                *sum += f64::from(*share) * f64::from(value);
            }
        }
        out.extend(sums.iter().map(|s| *s as f32));
    }
    Some(out)
}

/// A convolution of `x [t, h, w, c]` with zeros outside.
pub(super) struct Convolution<'a> {
    pub(super) stride: [usize; 3],
    pub(super) padding: [[usize; 2]; 3],
    /// `[t, h, w, c_out]`.
    pub(super) out: &'a [usize],
}

impl Convolution<'_> {
    /// Gathers for each place what the kernel covers there, and multiplies it with each of the kernel's rows.
    pub(super) fn apply(
        &self,
        x: &[f32],
        x_shape: &[usize],
        kernel: &TensorView<'_>,
        bias: Option<&[f32]>,
    ) -> Vec<f32> {
        let weight = kernel.to_f32();
        let (c_out, covered_len) = (kernel.shape[0], kernel.shape[1..].iter().product::<usize>());
        let [_, height, width, _] = *self.out else { unreachable!("verified: four axes") };
        let n_lines = self.out[0] * height;
        in_parallel(n_lines, width * c_out, n_lines * width * weight.len(), |first, out| {
            let mut covered = vec![0.0f32; covered_len];
            for (line, out) in (first..).zip(out.chunks_mut((width * c_out).max(1))) {
                for (column, out) in out.chunks_mut(c_out).enumerate() {
                    self.gather(
                        x,
                        x_shape,
                        &kernel.shape,
                        [line / height, line % height, column],
                        &mut covered,
                    );
                    for (j, o) in out.iter_mut().enumerate() {
                        let row = &weight[j * covered_len..(j + 1) * covered_len];
                        *o = (dot(&covered, row) + bias.map_or(0.0, |b| f64::from(b[j]))) as f32;
                    }
                }
            }
        })
    }

    fn gather(&self, x: &[f32], x_shape: &[usize], kernel: &[usize], place: [usize; 3], out: &mut [f32]) {
        let c = x_shape[3];
        // Where the kernel's tap lies along an axis of x, if it does.
        let source = |axis: usize, tap: usize| {
            let at = (place[axis] * self.stride[axis] + tap).checked_sub(self.padding[axis][0])?;
            Some(at).filter(|at| *at < x_shape[axis])
        };
        let mut taps = out.chunks_mut(c.max(1));
        for t in 0..kernel[1] {
            for h in 0..kernel[2] {
                for w in 0..kernel[3] {
                    let Some(tap) = taps.next() else { return };
                    match (source(0, t), source(1, h), source(2, w)) {
                        (Some(t), Some(h), Some(w)) => {
                            let begin = ((t * x_shape[1] + h) * x_shape[2] + w) * c;
                            tap.copy_from_slice(&x[begin..begin + c]);
                        }
                        _ => tap.fill(0.0),
                    }
                }
            }
        }
    }
}

/// Fills `n` rows of `row_len` values; `fill(first, rows)` is called for spans of rows, on several threads if there is much to
/// do. Which thread makes a row does not change it.
fn in_parallel(
    n: usize,
    row_len: usize,
    products: usize,
    fill: impl Fn(usize, &mut [f32]) + Sync,
) -> Vec<f32> {
    let mut out = vec![0.0f32; n * row_len];
    let n_threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let rows_each = n.div_ceil(n_threads).max(1);
    if products < PARALLEL_MIN || row_len == 0 {
        fill(0, &mut out);
    } else {
        std::thread::scope(|scope| {
            for (i, rows) in out.chunks_mut(rows_each * row_len).enumerate() {
                let fill = &fill;
                scope.spawn(move || fill(i * rows_each, rows));
            }
        });
    }
    out
}
