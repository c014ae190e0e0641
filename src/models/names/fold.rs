//! Folds: what stands before or behind a linear map becomes part of it, once, when a checkpoint is read.
//!
//! All are computed in f32 in one order, so that a network's weights do not depend on the machine. Going back, what a fold dropped is
//! left as it is in the tensor that is written over.

use super::Stored;

/// How values of a weight come of those of a tensor.
#[derive(Clone, Debug, PartialEq)]
pub enum Fold {
    /// `(x[i, …] − shift[i]) / scale[i]` for the first rows of the tensor, as many as there are scales.
    Standardised {
        /// Taken from each row.
        shift: Vec<f32>,
        /// Divides each row.
        scale: Vec<f32>,
    },
    /// `x[…, j] · scale[j]`.
    ScaledColumns {
        /// A factor for each column.
        scale: Vec<f32>,
    },
    /// `x[i] + Σ_j w[i, j] · by[j]`, summed in f64: what a map `w` makes of a constant beside its input joins the bias.
    Shifted {
        /// The map, another tensor of the checkpoint, its first axis as long as the bias.
        map: Stored,
        /// The constant.
        by: Vec<f32>,
    },
    /// Columns (channel, place) become (place, channel), of the first channels.
    PlacesFirst {
        /// Channels of the weight.
        n_channels: usize,
        /// Places of a channel.
        n_places: usize,
    },
    /// Columns (channel, place) become one, the sum over the places of a channel: its input is the same everywhere.
    SumOfPlaces {
        /// The channel.
        channel: usize,
        /// Its places.
        n_places: usize,
    },
}

impl Fold {
    /// The weight's values. `n_rows` is the tensor's first extent, `map` what [`Fold::Shifted`] reads.
    pub(super) fn forth(&self, stored: &[f32], n_rows: usize, map: Option<&[f32]>) -> Vec<f32> {
        let n = stored.len() / n_rows;
        match self {
            Fold::Standardised { shift, scale } => {
                let rows = stored.chunks(n).zip(shift.iter().zip(scale));
                rows.flat_map(|(row, (shift, scale))| row.iter().map(move |x| (x - shift) / scale)).collect()
            }
            Fold::ScaledColumns { scale } => {
                stored.chunks(n).flat_map(|row| row.iter().zip(scale).map(|(x, s)| x * s)).collect()
            }
            Fold::Shifted { by, .. } => {
                let shifts = shifts(map.expect("read beside the bias"), by);
                stored.iter().zip(shifts).map(|(x, shift)| (f64::from(*x) + shift) as f32).collect()
            }
            Fold::PlacesFirst { n_channels, n_places } => {
                let mut values = Vec::with_capacity(n_rows * n_channels * n_places);
                for row in stored.chunks(n) {
                    for place in 0..*n_places {
                        values.extend((0..*n_channels).map(|channel| row[channel * n_places + place]));
                    }
                }
                values
            }
            Fold::SumOfPlaces { channel, n_places } => {
                let places = channel * n_places..(channel + 1) * n_places;
                stored.chunks(n).map(|row| row[places.clone()].iter().sum()).collect()
            }
        }
    }

    /// Makes the tensor's values such that they give the weight's, as nearly as f32 can, changing no others.
    pub(super) fn back(&self, weight: &[f32], stored: &mut [f32], n_rows: usize, map: Option<&[f32]>) {
        let n = stored.len() / n_rows;
        match self {
            Fold::Standardised { shift, scale } => {
                let rows = stored.chunks_mut(n).zip(weight.chunks(n)).zip(shift.iter().zip(scale));
                for ((row, weight), (shift, scale)) in rows {
                    row.iter_mut().zip(weight).for_each(|(x, w)| *x = w * scale + shift);
                }
            }
            Fold::ScaledColumns { scale } => {
                for (row, weight) in stored.chunks_mut(n).zip(weight.chunks(n)) {
                    row.iter_mut().zip(weight).zip(scale).for_each(|((x, w), s)| *x = w / s);
                }
            }
            Fold::Shifted { by, .. } => {
                let shifts = shifts(map.expect("written before the bias"), by);
                for ((x, w), shift) in stored.iter_mut().zip(weight).zip(shifts) {
                    *x = (f64::from(*w) - shift) as f32;
                }
            }
            Fold::PlacesFirst { n_channels, n_places } => {
                for (row, weight) in stored.chunks_mut(n).zip(weight.chunks(n_channels * n_places)) {
                    for (i, w) in weight.iter().enumerate() {
                        row[i % n_channels * n_places + i / n_channels] = *w;
                    }
                }
            }
            Fold::SumOfPlaces { channel, n_places } => {
                // The places share alike in what the sum has changed by.
                let places = channel * n_places..(channel + 1) * n_places;
                for (row, w) in stored.chunks_mut(n).zip(weight) {
                    let row = &mut row[places.clone()];
                    let share = (w - row.iter().sum::<f32>()) / *n_places as f32;
                    row.iter_mut().for_each(|x| *x += share);
                }
            }
        }
    }
}

/// What the map makes of the constant, row by row.
fn shifts(map: &[f32], by: &[f32]) -> impl Iterator<Item = f64> {
    map.chunks(by.len()).map(move |row| row.iter().zip(by).map(|(w, b)| f64::from(*w) * f64::from(*b)).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fold makes `weight` of `stored`, and, over `kept`, `back` of `weight`.
    fn check(fold: &Fold, n_rows: usize, stored: &[f32], map: Option<&[f32]>, weight: &[f32], kept: &[f32]) {
        assert_eq!(fold.forth(stored, n_rows, map), weight, "{fold:?}");
        let mut back = kept.to_vec();
        fold.back(weight, &mut back, n_rows, map);
        assert_eq!(fold.forth(&back, n_rows, map), weight, "{fold:?}: {back:?}");
        // The places of a sum share alike in what it changed by; all others are undone exactly.
        if !matches!(fold, Fold::SumOfPlaces { .. }) {
            assert_eq!(back, stored, "{fold:?}");
        }
    }

    #[test]
    fn every_fold_is_undone_and_leaves_what_it_dropped() {
        let fold = Fold::Standardised { shift: vec![1.0], scale: vec![2.0] };
        check(&fold, 2, &[3.0, 5.0, 7.0, 9.0], None, &[1.0, 2.0], &[0.0, 0.0, 7.0, 9.0]);
        let fold = Fold::ScaledColumns { scale: vec![2.0, 4.0] };
        check(&fold, 2, &[1.0, 2.0, 3.0, 4.0], None, &[2.0, 8.0, 6.0, 16.0], &[0.0; 4]);
        let map = Stored::new("map", &[2, 2]);
        let fold = Fold::Shifted { map, by: vec![1.0, 0.5] };
        check(&fold, 2, &[1.0, -1.0], Some(&[1.0, 2.0, 3.0, 4.0]), &[3.0, 4.0], &[0.0; 2]);
        // Three channels of two places, of which two are kept, and one is summed.
        let row = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let fold = Fold::PlacesFirst { n_channels: 2, n_places: 2 };
        check(&fold, 1, &row, None, &[1.0, 3.0, 2.0, 4.0], &[0.0, 0.0, 0.0, 0.0, 5.0, 6.0]);
        let fold = Fold::SumOfPlaces { channel: 2, n_places: 2 };
        check(&fold, 1, &row, None, &[11.0], &[1.0, 2.0, 3.0, 4.0, 0.0, 1.0]);
        let mut back = [1.0, 2.0, 3.0, 4.0, 0.0, 1.0];
        fold.back(&[11.0], &mut back, 1, None);
        assert_eq!(back, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    }
}
