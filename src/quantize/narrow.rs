//! What a product of few bits computes, whose numbers stand for others by scales: eight bits as TensorRT's plans have INT8
//! (`backend/tensorrt/quantize.rs`), weights of four about as the CPU packs INT4.

use crate::tensor::{TensorView, widen};

/// The largest whole number.
const MOST: f32 = 127.0;

/// Elements of a row that share a scale, with four bits.
const BLOCK: usize = 32;

/// What matrices are stored in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bits {
    /// Whole numbers within 127, a scale for each row; what is given has eight bits too.
    #[default]
    Eight,
    /// Whole numbers from -8 to 7, a scale for every 32 of a row; what is given stays as it is.
    Four,
}

/// How one product is made in few bits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Narrow {
    /// Of the matrix.
    pub bits: Bits,
    /// By column: what is given is divided by it, the matrix multiplied; none are ones.
    pub factors: Option<Vec<f32>>,
    /// The magnitude of what is given then, for which the largest number stands; without, it stays as it is.
    pub amax: Option<f32>,
}

impl Narrow {
    /// `x Wᵀ`: `x [m, k]`, `W [n, k]`, → `[m, n]`.
    pub fn product(&self, matrix: &TensorView<'_>, x: &[f32]) -> Vec<f32> {
        let mut x = x.to_vec();
        for row in x.chunks_mut(matrix.shape[1].max(1)) {
            self.balanced(row, |x, factor| x / factor);
            if let Some(amax) = self.amax {
                rounded(row, amax / MOST, [-MOST - 1.0, MOST]);
            }
        }
        product(matrix, &x, |row| {
            self.balanced(row, |w, factor| w * factor);
            match self.bits {
                Bits::Eight => rounded(row, farthest(row).abs() / MOST, [-MOST, MOST]),
                // The value farthest from zero is -8.
                Bits::Four => row.chunks_mut(BLOCK).for_each(|block| {
                    rounded(block, farthest(block) / -8.0, [-8.0, 7.0]);
                }),
            }
        })
    }

    fn balanced(&self, row: &mut [f32], by: impl Fn(f32, f32) -> f32) {
        if let Some(factors) = &self.factors {
            row.iter_mut().zip(factors).for_each(|(v, factor)| *v = by(*v, *factor));
        }
    }
}

/// The value farthest from zero.
fn farthest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |most: f32, v| if most.abs() < v.abs() { *v } else { most })
}

/// Numbers as the nearest whole ones within bounds times a scale.
fn rounded(values: &mut [f32], scale: f32, [least, most]: [f32; 2]) {
    if scale.is_normal() {
        values.iter_mut().for_each(|v| *v = (*v / scale).round_ties_even().clamp(least, most) * scale);
    }
}

/// `x Wᵀ` as it stands, of rows of `W` that are changed first.
fn product(matrix: &TensorView<'_>, x: &[f32], change: impl Fn(&mut [f32])) -> Vec<f32> {
    let (n, k) = (matrix.shape[0], matrix.shape[1]);
    let m = x.len().checked_div(k).unwrap_or(0);
    let mut out = vec![0.0; m * n];
    let mut row = vec![0.0; k];
    let row_bytes = k * matrix.dtype.size_bytes();
    for j in 0..n {
        widen(matrix.dtype, &matrix.bytes[j * row_bytes..][..row_bytes], &mut row);
        change(&mut row);
        for (i, x) in x.chunks_exact(k.max(1)).enumerate() {
            out[i * n + j] = dot(x, &row);
        }
    }
    out
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a_parts, a_rest), (b_parts, b_rest)) = (a.as_chunks::<16>(), b.as_chunks::<16>());
    let mut sums = [0.0f32; 16];
    for (a, b) in a_parts.iter().zip(b_parts) {
        for i in 0..16 {
            sums[i] += a[i] * b[i];
        }
    }
    sums.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f32>()
}

/// How far products of few bits lie from the true ones: root of the mean square of the differences, over that of the products.
pub fn errors(matrix: &TensorView<'_>, x: &[f32], ways: &[Narrow]) -> Vec<f64> {
    let exact = product(matrix, x, |_| ());
    let square: f64 = exact.iter().map(|y| f64::from(*y).powi(2)).sum();
    let of = |way: &Narrow| {
        let found = way.product(matrix, x);
        let off: f64 = exact.iter().zip(&found).map(|(e, f)| f64::from(e - f).powi(2)).sum();
        (off / square.max(f64::MIN_POSITIVE)).sqrt()
    };
    ways.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::DType;

    fn with_matrix<T>(values: &[f32], k: usize, f: impl Fn(&TensorView<'_>) -> T) -> T {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        f(&TensorView { dtype: DType::F32, shape: vec![values.len() / k, k], bytes: &bytes })
    }

    #[test]
    fn numbers_of_eight_bits_are_exact_and_others_are_the_nearest_of_them() {
        // Steps of 1 in what is given, of 2 and of 1 in the rows.
        with_matrix(&[254.0, -4.0, 127.0, 1.0], 2, |matrix| {
            let eight = Narrow { amax: Some(127.0), ..Narrow::default() };
            assert_eq!(eight.product(matrix, &[1.0, 2.0, -3.0, 5.0]), [246.0, 129.0, -782.0, -376.0]);
            // 1.4 is 1, 300 is cut to 127, and -300 to -128.
            assert_eq!(eight.product(matrix, &[1.4, 300.0]), [254.0 - 508.0, 254.0]);
            assert_eq!(eight.product(matrix, &[0.0, -300.0]), [512.0, -128.0]);
            let wide = Narrow::default();
            assert_eq!(wide.product(matrix, &[0.5, 0.0]), [127.0, 63.5], "what is given stays as it is");
            assert_eq!(errors(matrix, &[1.0, 2.0], &[eight]), [0.0]);
        });
    }

    #[test]
    fn factors_change_what_is_rounded_and_not_the_product() {
        // A channel that is a hundred times as large as the other takes its digits.
        with_matrix(&[0.01, 1.0, 0.02, -0.5], 2, |matrix| {
            let x = [100.0, 0.37, -55.0, 0.61];
            let plain = Narrow { amax: Some(100.0), ..Narrow::default() };
            let balanced = Narrow { factors: Some(vec![100.0, 1.0]), amax: Some(1.0), ..Narrow::default() };
            let [plain, balanced] = errors(matrix, &x, &[plain, balanced])[..] else { unreachable!() };
            assert!(0.1 < plain && balanced < 0.01, "{plain}, {balanced}");
        });
    }

    #[test]
    fn four_bits_have_a_scale_for_every_block_whose_farthest_is_the_least() {
        // A block in steps of a half, from -4 to 3.5, and one in steps of -2.
        let mut row: Vec<f32> =
            (0..64).map(|i| if i < 32 { (i % 16) as f32 / 2.0 - 4.0 } else { 0.0 }).collect();
        (row[32], row[33], row[34]) = (16.0, -13.0, 5.1);
        with_matrix(&row, 64, |matrix| {
            let four = Narrow { bits: Bits::Four, ..Narrow::default() };
            let element = |i: usize| {
                let x: Vec<f32> = (0..64).map(|j| f32::from(u8::from(i == j))).collect();
                four.product(matrix, &x)[0]
            };
            assert_eq!([0, 1, 15, 16].map(element), [-4.0, -3.5, 3.5, -4.0]);
            assert_eq!(
                [32, 33, 34, 35].map(element),
                [16.0, -12.0, 6.0, 0.0],
                "-6.5 is even -6, -2.55 is -3"
            );
        });
    }
}
