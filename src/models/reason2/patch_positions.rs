//! Where patches lie: what the vision graph is told beside the pixels.
//!
//! Patches come square by square (the squares that merge into one token, row-major; inside a square row-major again). Each has
//! its row and column, by which its heads turn, and a position embedding: the table, learned for a square grid, is stretched
//! over the picture with its corners on the picture's corners, and read between its rows.

use serde::{Deserialize, Serialize};

/// The two numbers of a vision encoder on which positions depend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PatchPositions {
    /// Side of the square of patches that becomes one token.
    pub merge_size: usize,
    /// Side of the table of learned positions.
    pub table_side: usize,
}

/// Inputs of the vision graph for one group of frames.
#[derive(Debug)]
pub struct PatchInputs<'a> {
    /// `position_index [n, 4]`: rows of the table around the patch.
    pub index: &'a mut [i32],
    /// `position_share [n, 4]`: how much of each; they add up to 1.
    pub share: &'a mut [f32],
    /// `patch_positions [n, 2]`: row and column.
    pub position: &'a mut [i32],
}

impl PatchPositions {
    /// Fills the inputs for a grid of `h` rows and `w` columns of patches, multiples of the merge size.
    ///
    /// # Panics
    /// If the grid is none of whole squares, or a slice is not as long as `h * w` patches ask for.
    pub fn fill(&self, h: usize, w: usize, out: PatchInputs<'_>) {
        let (n, m) = (h * w, self.merge_size);
        assert!(h.is_multiple_of(m) && w.is_multiple_of(m), "{h} by {w} patches in squares of {m}");
        assert_eq!((out.index.len(), out.share.len(), out.position.len()), (4 * n, 4 * n, 2 * n));
        let rows = out.index.chunks_exact_mut(4).zip(out.share.chunks_exact_mut(4));
        for (i, ((index, share), position)) in rows.zip(out.position.chunks_exact_mut(2)).enumerate() {
            let (square, inside) = (i / (m * m), i % (m * m));
            let row = square / (w / m) * m + inside / m;
            let column = square % (w / m) * m + inside % m;
            position.copy_from_slice(&[row as i32, column as i32]);
            let (rows, columns) = (self.between(row, h), self.between(column, w));
            for (k, ((r, r_share), (c, c_share))) in
                rows.iter().flat_map(|r| columns.iter().map(move |c| (r, c))).enumerate()
            {
                index[k] = (r * self.table_side + c) as i32;
                share[k] = r_share * c_share;
            }
        }
    }

    /// The two rows (or columns) of the table around place `i` of `n`, and their shares; in f32, as the reference has it.
    fn between(&self, i: usize, n: usize) -> [(usize, f32); 2] {
        let last = self.table_side - 1;
        let at = (i * last) as f32 / n.saturating_sub(1).max(1) as f32;
        let low = at.floor();
        let share = at - low;
        [(low as usize, 1.0 - share), ((low as usize + 1).min(last), share)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn squares_follow_each_other_and_corners_lie_on_corners() {
        let positions = PatchPositions { merge_size: 2, table_side: 5 };
        let (h, w) = (4, 6);
        let (mut index, mut share, mut position) = (vec![-1; 96], vec![f32::NAN; 96], vec![-1; 48]);
        positions.fill(h, w, PatchInputs { index: &mut index, share: &mut share, position: &mut position });
        assert_eq!(position[..10], [0, 0, 0, 1, 1, 0, 1, 1, 0, 2]);
        assert_eq!(position[22..26], [1, 5, 2, 0]);
        // The last patch is the table's last corner, wholly.
        assert_eq!((index[92..].to_vec(), share[92..].to_vec()), (vec![24; 4], vec![1.0, 0.0, 0.0, 0.0]));
        // Row 1 of 4 lies at 4/3 of the table, column 1 of 6 at 4/5.
        assert_eq!(index[12..16], [5, 6, 10, 11]);
        for (found, expected) in share[12..16].iter().zip([2. / 15., 8. / 15., 1. / 15., 4. / 15.]) {
            assert!((found - expected).abs() < 1e-6);
        }
        assert!(share.chunks(4).all(|s| (s.iter().sum::<f32>() - 1.0).abs() < 1e-6));
    }

    #[test]
    fn a_table_of_one_place_serves_every_grid() {
        let positions = PatchPositions { merge_size: 1, table_side: 1 };
        let (mut index, mut share, mut position) = ([-1; 4], [f32::NAN; 4], [-1; 2]);
        positions.fill(1, 1, PatchInputs { index: &mut index, share: &mut share, position: &mut position });
        assert_eq!((index, share, position), ([0; 4], [1.0, 0.0, 0.0, 0.0], [0, 0]));
    }
}
