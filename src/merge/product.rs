//! The arithmetic of a merge: rows of a weight plus a product of low rank, in f32.

use std::num::NonZeroUsize;
use std::thread;

/// What is added to a weight `[n_rows, n_columns]`, axes after the first counted as one, and the lengths that its rows then have.
#[derive(Debug)]
pub(super) struct Product {
    /// `[rank, n_columns]`
    pub(super) down: Vec<f32>,
    /// `[n_rows, rank]`
    pub(super) up: Vec<f32>,
    /// The columns that the two have in common; not zero.
    pub(super) rank: usize,
    pub(super) scaling: f32,
    /// `[n_rows]`: the length of each merged row (DoRA, Liu et al. 2024, <https://arxiv.org/abs/2402.09353>).
    pub(super) magnitude: Option<Vec<f32>>,
}

impl Product {
    /// Adds `scaling · up · down` to the rows from `first` on: `W' = W + s B A`, and with a magnitude `W' = m (W + s B A) / |W + s B A|`
    /// row by row. Each product is summed in f32 before it is scaled and added. Rows are shared among the threads; each is computed by
    /// one of them in one order.
    ///
    /// # Panics
    /// If the rows are not whole ones of this weight.
    pub(super) fn add(&self, first: usize, rows: &mut [f32], threads: NonZeroUsize) {
        let n_columns = self.down.len() / self.rank;
        assert!(rows.len().is_multiple_of(n_columns), "whole rows");
        let n_rows = rows.len() / n_columns;
        let n_each = n_rows.div_ceil(threads.get()).max(1);
        thread::scope(|scope| {
            for (i, rows) in rows.chunks_mut(n_each * n_columns).enumerate() {
                scope.spawn(move || {
                    let mut sum = vec![0.0; n_columns];
                    for (j, row) in rows.chunks_mut(n_columns).enumerate() {
                        self.add_to_row(first + i * n_each + j, row, &mut sum);
                    }
                });
            }
        });
    }

    fn add_to_row(&self, at: usize, row: &mut [f32], sum: &mut [f32]) {
        sum.fill(0.0);
        let up = &self.up[at * self.rank..(at + 1) * self.rank];
        for (factor, down) in up.iter().zip(self.down.chunks_exact(sum.len())) {
            for (s, d) in sum.iter_mut().zip(down) {
                *s += factor * d;
            }
        }
        for (w, s) in row.iter_mut().zip(&*sum) {
            *w += self.scaling * s;
        }
        if let Some(magnitude) = &self.magnitude {
            let length = row.iter().map(|w| f64::from(*w) * f64::from(*w)).sum::<f64>().sqrt();
            let factor = (f64::from(magnitude[at]) / length) as f32;
            row.iter_mut().for_each(|w| *w *= factor);
        }
    }
}

/// `[n_rows, n_columns]` → `[n_columns, n_rows]`.
pub(super) fn transposed(values: &[f32], n_columns: usize) -> Vec<f32> {
    let column = |i: usize| values.iter().skip(i).step_by(n_columns).copied();
    (0..n_columns).flat_map(column).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn product(magnitude: Option<Vec<f32>>) -> Product {
        let (down, up) = (vec![1.0, 2.0, 0.0, 0.0, 1.0, -1.0], vec![1.0, 0.0, 0.0, 2.0, 1.0, 1.0]);
        Product { down, up, rank: 2, scaling: 0.5, magnitude }
    }

    #[test]
    fn rows_get_what_is_theirs_however_they_are_shared() {
        for n_threads in 1..5 {
            let threads = NonZeroUsize::new(n_threads).unwrap();
            let mut rows = vec![10.0; 9];
            product(None).add(0, &mut rows, threads);
            assert_eq!(rows, [10.5, 11.0, 10.0, 10.0, 11.0, 9.0, 10.5, 11.5, 9.5], "{n_threads} threads");
            let mut last = vec![0.0; 3];
            product(None).add(2, &mut last, threads);
            assert_eq!(last, [0.5, 1.5, -0.5]);
        }
    }

    #[test]
    fn a_row_with_a_magnitude_has_its_length() {
        let mut rows = vec![3.0, -1.0, 4.0, 0.0, 0.0, 0.0];
        // (3, -1, 4) + 0.5 (1, 2, 0) = (3.5, 0, 4) and 0.5 (0, 2, -2) = (0, 1, -1).
        product(Some(vec![2.0, 1.0, 1.0])).add(0, &mut rows, NonZeroUsize::MIN);
        let length = (3.5f64 * 3.5 + 16.0).sqrt();
        let expected = [7.0 / length, 0.0, 8.0 / length, 0.0, 0.5f64.sqrt(), -0.5f64.sqrt()];
        for (found, expected) in rows.iter().zip(expected) {
            assert!((f64::from(*found) - expected).abs() < 1e-6, "{rows:?}");
        }
    }

    #[test]
    fn columns_become_rows() {
        assert_eq!(transposed(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 3), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    }
}
