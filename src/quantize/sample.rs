//! Some rows out of many, evenly spread, in bounded memory.

/// Rows that are kept of one product, at most. A product's error is a mean over them and over all of its outputs.
const ROWS_MAX: usize = 64;

/// Every so-manieth row of those that came; which they are follows from their number alone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    rows: Vec<f32>,
    n_seen: u64,
    /// A power of two.
    stride: u64,
}

impl Sample {
    /// Takes rows of so many elements.
    pub(super) fn add(&mut self, rows: &[f32], row_len: usize) {
        for row in rows.chunks_exact(row_len.max(1)) {
            self.stride = self.stride.max(1);
            if self.n_seen.is_multiple_of(self.stride) {
                if self.rows.len() == ROWS_MAX * row_len {
                    let kept = self.rows.chunks_exact(row_len).step_by(2);
                    self.rows = kept.flatten().copied().collect();
                    self.stride *= 2;
                }
                if self.n_seen.is_multiple_of(self.stride) {
                    self.rows.extend(row);
                }
            }
            self.n_seen += 1;
        }
    }

    /// The rows, one after the other.
    pub fn rows(&self) -> &[f32] {
        &self.rows
    }
}

#[cfg(test)]
#[test]
fn rows_are_spread_over_all_that_came_however_they_came() {
    let values: Vec<f32> = (0..2 * 1000).map(|i| i as f32).collect();
    let (mut at_once, mut in_parts) = (Sample::default(), Sample::default());
    at_once.add(&values, 2);
    values.chunks(14).for_each(|part| in_parts.add(part, 2));
    assert_eq!(at_once, in_parts);
    let first: Vec<f32> = at_once.rows().chunks(2).map(|row| row[0] / 2.0).collect();
    let expected: Vec<f32> = (0..1000).step_by(16).map(|i| i as f32).collect();
    assert_eq!(first, expected);
    let mut few = Sample::default();
    few.add(&values[..128], 2);
    assert_eq!(few.rows(), &values[..128]);
}
