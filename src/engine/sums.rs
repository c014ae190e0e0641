//! How far outputs lie from the reference evaluation's, over several runs.

use serde::Serialize;

/// One buffer's elements in all golden cases, beside those of the reference evaluation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OutputAccuracy {
    /// Its name.
    pub buffer: String,
    /// Root of the mean square of the differences, over that of the elements. In JSON `null` if one was no number.
    pub rms_share: f64,
    /// The largest difference, over the largest element of its run. In JSON `null` if one was no number.
    pub largest_share: f64,
    /// Of logits: rows whose highest is the same, and rows.
    pub top1: Option<[usize; 2]>,
}

/// Differences of an output's elements, summed up.
#[derive(Default)]
pub(super) struct Sums {
    off: f64,
    square: f64,
    largest_share: f64,
    top1: Option<[usize; 2]>,
}

impl Sums {
    /// Adds the elements of a run. With rows of scores their length is given, without it is 0.
    pub(super) fn add(&mut self, expected: &[f32], found: &[f32], row_len: usize) {
        let (mut farthest, mut largest) = (0.0f64, f64::from(f32::MIN_POSITIVE));
        for (e, f) in expected.iter().zip(found).map(|(e, f)| (f64::from(*e), f64::from(*f))) {
            let off = if (e - f).is_nan() { f64::INFINITY } else { (e - f).abs() };
            self.off += off * off;
            self.square += e * e;
            (farthest, largest) = (farthest.max(off), largest.max(e.abs()));
        }
        self.largest_share = self.largest_share.max(farthest / largest);
        if row_len != 0 {
            let [same, rows] = self.top1.get_or_insert([0, 0]);
            for (e, f) in expected.chunks_exact(row_len).zip(found.chunks_exact(row_len)) {
                *same += usize::from(highest(e) == highest(f));
                *rows += 1;
            }
        }
    }

    /// Root of the mean square of the differences, over that of the elements.
    pub(super) fn rms_share(&self) -> f64 {
        (self.off / self.square.max(f64::MIN_POSITIVE)).sqrt()
    }

    /// The largest difference, over the largest element of its run.
    pub(super) fn largest_share(&self) -> f64 {
        self.largest_share
    }

    pub(super) fn of(self, buffer: String) -> OutputAccuracy {
        let rms_share = self.rms_share();
        OutputAccuracy { buffer, rms_share, largest_share: self.largest_share, top1: self.top1 }
    }
}

/// The place of the greatest element, the first of equal ones.
fn highest(row: &[f32]) -> Option<usize> {
    (0..row.len()).reduce(|best, i| if row[best] < row[i] { i } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_agreement_are_of_all_runs() {
        let mut sums = Sums::default();
        sums.add(&[3.0, 4.0], &[3.0, 4.0], 2);
        sums.add(&[0.0, 10.0, 5.0, 0.0], &[0.0, 9.0, 0.0, 1.0], 2);
        let found = sums.of("logits".to_owned());
        assert_eq!(found.top1, Some([2, 3]));
        assert_eq!(found.largest_share, 0.5);
        assert!((found.rms_share - (27.0f64 / 150.0).sqrt()).abs() < 1e-12, "{found:?}");
    }

    #[test]
    fn what_is_not_a_number_is_the_worst() {
        let mut sums = Sums::default();
        sums.add(&[1.0], &[f32::NAN], 0);
        let found = sums.of("x".to_owned());
        assert_eq!((found.rms_share, found.largest_share, found.top1), (f64::INFINITY, f64::INFINITY, None));
    }
}
