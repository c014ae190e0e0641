//! Products of matrices: f32 by the kernels that engines run, f64, in which gradients are checked, by burn's.
//!
//! Why not burn's for both: the kernels have tiles for each instruction set, and panels that are packed once serve a whole step of a
//! convolution.

use std::cell::RefCell;
use std::sync::OnceLock;

use burn_backend::ops::FloatTensorOps;
use burn_backend::{DType, Shape};
use burn_flex::{Flex, FlexTensor};
use perihelion_kernels::{Epilogue, Isa, Kernels, Linear, Out, PanelFormat, Panels, SCRATCH_FLOATS};
use rayon::prelude::*;

use crate::distill::real::{shape, tensor};

/// Sixteen numbers, where vectors are loaded fastest.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
pub(super) struct Line([f32; WIDTH]);

const WIDTH: usize = perihelion_kernels::PANEL_ROWS;
const ZEROS: Line = Line([0.0; WIDTH]);
/// Multiply-adds that are worth a thread of their own.
const PIECE: usize = 1 << 21;
/// Rows of a piece at least: a tile has fewer.
const PIECE_ROWS_MIN: usize = 32;

thread_local! {
    static SCRATCH: RefCell<Vec<Line>> = RefCell::new(vec![ZEROS; SCRATCH_FLOATS.div_ceil(WIDTH)]);
}

/// The kernels of this processor.
fn kernels() -> &'static Kernels {
    static KERNELS: OnceLock<&'static Kernels> = OnceLock::new();
    KERNELS.get_or_init(|| {
        Isa::detect().and_then(Kernels::of).expect("whoever trains has asked for the instruction set")
    })
}

/// The right side of a product, as it is multiplied fastest.
pub(super) enum Factor {
    /// Panels of sixteen of the `n` columns, each `k` lines.
    Packed { panels: Vec<Line>, n: usize, k: usize },
    /// `[k, n]`
    Plain(FlexTensor),
}

impl Factor {
    /// Of `b [n, k]`: products are `x bᵀ`.
    pub(super) fn rows(b: &FlexTensor) -> Factor {
        if b.dtype() != DType::F32 {
            return Factor::Plain(Flex::float_transpose(b.clone()));
        }
        let [n, k] = extents(b);
        let b = b.to_contiguous();
        let mut panels = vec![ZEROS; n.div_ceil(WIDTH) * k];
        for (row, values) in b.storage::<f32>().chunks_exact(k).enumerate() {
            let (panel, lane) = (row / WIDTH, row % WIDTH);
            let places = &mut panels[panel * k..(panel + 1) * k];
            places.iter_mut().zip(values).for_each(|(to, v)| to.0[lane] = *v);
        }
        Factor::Packed { panels, n, k }
    }

    /// Of `b [k, n]`: products are `x b`.
    pub(super) fn columns(b: &FlexTensor) -> Factor {
        if b.dtype() != DType::F32 {
            return Factor::Plain(b.clone());
        }
        let [k, n] = extents(b);
        let b = b.to_contiguous();
        let mut panels = vec![ZEROS; n.div_ceil(WIDTH) * k];
        for (at, row) in b.storage::<f32>().chunks_exact(n).enumerate() {
            for (panel, values) in row.chunks(WIDTH).enumerate() {
                panels[panel * k + at].0[..values.len()].copy_from_slice(values);
            }
        }
        Factor::Packed { panels, n, k }
    }

    /// `x [m, k]` times this: `[m, n]`.
    pub(super) fn times(&self, x: &FlexTensor) -> FlexTensor {
        let (panels, n, k) = match self {
            Factor::Plain(b) => return Flex::float_matmul(x.clone(), b.clone()),
            Factor::Packed { panels, n, k } => (panels, *n, *k),
        };
        let [m, _] = extents(x);
        let weight =
            Panels { format: PanelFormat::F32, rows: n, k, bytes: bytemuck::cast_slice(&panels[..]) };
        let mut out = vec![0.0; m * n];
        let x = x.to_contiguous();
        let one = |(x, out): (&[f32], &mut [f32])| {
            let linear = Linear { x, m: x.len() / k, weight, bias: None, epilogue: Epilogue::None };
            SCRATCH.with_borrow_mut(|scratch| {
                let scratch = bytemuck::cast_slice_mut(&mut scratch[..]);
                (kernels().linear)(&linear, 0..linear.tasks(), &mut Out::new(out), scratch);
            });
        };
        // Not by the number of threads, so that the sums are the same with any.
        let rows = PIECE.div_ceil(n * k).max(PIECE_ROWS_MIN);
        x.storage::<f32>().par_chunks(rows * k).zip(out.par_chunks_mut(rows * n)).for_each(one);
        tensor(out, &[m, n])
    }
}

/// `aᵀ b`: `a [r, m]`, `b [r, n]`.
pub(super) fn of_columns(a: &FlexTensor, b: &FlexTensor) -> FlexTensor {
    if a.dtype() != DType::F32 {
        return Flex::float_matmul(Flex::float_transpose(a.clone()), b.clone());
    }
    Factor::columns(b).times(&transposed(a))
}

/// `[m, n]` to `[n, m]`, by squares that a core keeps near.
fn transposed(x: &FlexTensor) -> FlexTensor {
    let [m, n] = extents(x);
    let x = x.to_contiguous();
    let from = x.storage::<f32>();
    let mut out = vec![0.0; m * n];
    for row in (0..m).step_by(WIDTH) {
        let rows = row..m.min(row + WIDTH);
        for column in 0..n {
            let to = &mut out[column * m + row..column * m + rows.end];
            to.iter_mut().zip(rows.clone()).for_each(|(to, row)| *to = from[row * n + column]);
        }
    }
    tensor(out, &[n, m])
}

/// Symmetric products of one step of Newton and Schulz: `x xᵀ`, as `[m, m]`.
pub(in crate::distill) fn by_itself(x: &FlexTensor) -> FlexTensor {
    Factor::rows(x).times(x)
}

/// `a b`: `a [m, k]`, `b [k, n]`.
pub(in crate::distill) fn product(a: &FlexTensor, b: &FlexTensor) -> FlexTensor {
    Factor::columns(b).times(a)
}

fn extents(x: &FlexTensor) -> [usize; 2] {
    let found = shape(x);
    assert!(found.iter().all(|n| 0 < *n), "a product of something: {found:?}");
    <[usize; 2]>::try_from(found).expect("whoever calls gives two axes")
}

/// As a matrix of rows of `k`.
pub(super) fn grouped(x: &FlexTensor, k: usize) -> FlexTensor {
    let n_rows = x.layout().num_elements() / k;
    x.reshape(Shape::from([n_rows, k]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenes::Rng;

    #[test]
    fn products_are_those_of_f64() {
        let mut rng = Rng::new(5);
        for (m, k, n) in [(1, 1, 1), (3, 5, 17), (33, 216, 8), (70, 40, 100), (300, 193, 65)] {
            let mut random = |rows: usize, columns: usize| {
                let values: Vec<f32> = (0..rows * columns).map(|_| rng.uniform(-1.0, 1.0) as f32).collect();
                let wide: Vec<f64> = values.iter().map(|v| f64::from(*v)).collect();
                (tensor(values, &[rows, columns]), tensor(wide, &[rows, columns]))
            };
            let ((a, a_wide), (b, b_wide)) = (random(m, k), random(k, n));
            let expected = product(&a_wide, &b_wide);
            let turned = |x: &FlexTensor| Flex::float_transpose(x.clone()).to_contiguous();
            let found = [product(&a, &b), Factor::rows(&turned(&b)).times(&a), of_columns(&turned(&a), &b)];
            for found in &found {
                assert_eq!(shape(found), [m, n]);
                let pairs = found.storage::<f32>().iter().zip(expected.storage::<f64>());
                let off = pairs.map(|(f, e)| (f64::from(*f) - e).abs()).fold(0.0, f64::max);
                assert!(off < 1e-4, "{m} {k} {n}: {off}");
            }
            let square = by_itself(&a);
            let expected = product(&a_wide, &turned(&a_wide));
            let pairs = square.storage::<f32>().iter().zip(expected.storage::<f64>());
            assert!(pairs.map(|(f, e)| (f64::from(*f) - e).abs()).fold(0.0, f64::max) < 1e-4);
        }
    }
}
