//! The magnitudes of many numbers.

/// Bins of a histogram, of which half or more are in use.
pub(super) const BINS: usize = 2048;

/// How many numbers of which magnitude there were.
///
/// Bins are as wide as a power of two, and all are made twice as wide when a number is beyond the last: so a histogram is the same in
/// whichever order its numbers came.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    bins: Vec<u64>,
    /// Of a bin; 0 while nothing but zeros has come.
    width: f32,
    zeros: u64,
    largest: f32,
    not_finite: u64,
}

/// How well numbers of eight bits stand for what was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Fit {
    /// The share of numbers that are cut.
    pub cut_share: f64,
    /// Signal to noise, in decibels.
    pub sqnr_db: f64,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { bins: vec![0; BINS], width: 0.0, zeros: 0, largest: 0.0, not_finite: 0 }
    }
}

impl Histogram {
    /// Counts numbers.
    pub fn add(&mut self, values: &[f32]) {
        let largest = values.iter().map(|v| v.abs()).filter(|v| v.is_finite()).fold(0.0, f32::max);
        self.reach(largest);
        for magnitude in values.iter().map(|v| v.abs()) {
            if !magnitude.is_finite() {
                self.not_finite += 1;
            } else if magnitude == 0.0 {
                self.zeros += 1;
            } else {
                self.bins[((magnitude / self.width) as usize).min(BINS - 1)] += 1;
            }
        }
    }

    /// Makes bins so wide that this magnitude is in one.
    fn reach(&mut self, largest: f32) {
        if largest <= self.largest {
            return;
        }
        self.largest = largest;
        if self.width == 0.0 {
            // Never denormal, so that a division by it is sound.
            self.width = f32::MIN_POSITIVE;
        }
        while self.width * BINS as f32 <= largest {
            for i in 0..BINS / 2 {
                self.bins[i] = self.bins[2 * i] + self.bins[2 * i + 1];
            }
            self.bins[BINS / 2..].fill(0);
            self.width *= 2.0;
        }
    }

    /// The largest magnitude.
    pub fn largest(&self) -> f32 {
        self.largest
    }

    /// Numbers that were counted, without those that are none.
    pub fn n(&self) -> u64 {
        self.zeros + self.bins.iter().sum::<u64>()
    }

    /// How many were infinite or no number at all.
    pub fn not_finite(&self) -> u64 {
        self.not_finite
    }

    pub(super) fn zeros(&self) -> u64 {
        self.zeros
    }

    /// The bins up to the last that is not empty.
    pub(super) fn used(&self) -> &[u64] {
        let end = self.bins.iter().rposition(|n| 0 < *n).map_or(0, |last| last + 1);
        &self.bins[..end]
    }

    /// The magnitude at which a bin begins, and never more than the largest.
    pub(super) fn edge(&self, bin: usize) -> f32 {
        (self.width * bin as f32).min(self.largest)
    }

    /// What squares of differences sum up to if 127 stands for `amax`.
    pub(super) fn square_error(&self, amax: f32) -> f64 {
        let step = f64::from(amax) / 127.0;
        let mut sum = 0.0;
        for (bin, n) in self.used().iter().enumerate().filter(|(_, n)| 0 < **n) {
            let value = self.center(bin);
            let nearest = (value / step).round().min(127.0) * step;
            sum += *n as f64 * (value - nearest) * (value - nearest);
        }
        sum
    }

    fn center(&self, bin: usize) -> f64 {
        f64::from(self.width) * (bin as f64 + 0.5)
    }

    /// How well numbers of eight bits fit, 127 of them standing for `amax`.
    pub fn fit(&self, amax: f32) -> Fit {
        let cut = self.used().iter().enumerate().filter(|(bin, _)| amax < self.edge(*bin + 1));
        let cut: u64 = cut.map(|(_, n)| *n).sum();
        let square =
            self.used().iter().enumerate().map(|(bin, n)| *n as f64 * self.center(bin) * self.center(bin));
        let noise = self.square_error(amax).max(f64::MIN_POSITIVE);
        Fit {
            cut_share: cut as f64 / self.n().max(1) as f64,
            sqnr_db: 10.0 * (square.sum::<f64>().max(f64::MIN_POSITIVE) / noise).log10(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_numbers_changes_nothing() {
        let values: Vec<f32> = (0..1000).map(|i| (i as f32 - 300.0) * 1.7e-3 * (1 + i % 9) as f32).collect();
        let (mut at_once, mut forward, mut backward) =
            (Histogram::default(), Histogram::default(), Histogram::default());
        at_once.add(&values);
        values.chunks(7).for_each(|part| forward.add(part));
        values.rchunks(13).for_each(|part| backward.add(part));
        assert_eq!(at_once, forward);
        assert_eq!(at_once, backward);
        assert_eq!((at_once.n(), at_once.zeros()), (1000, 1));
        assert!(BINS / 2 < at_once.used().len(), "{}", at_once.used().len());
    }

    #[test]
    fn every_number_is_in_the_bin_of_its_magnitude() {
        let mut histogram = Histogram::default();
        histogram.add(&[0.0, -0.0, f32::NAN, 3.0, -1.0, f32::NEG_INFINITY, 0.5]);
        assert_eq!((histogram.zeros(), histogram.not_finite(), histogram.n()), (2, 2, 5));
        assert_eq!(histogram.largest(), 3.0);
        for value in [3.0f32, 1.0, 0.5] {
            let bin = (0..BINS).rfind(|bin| histogram.width * *bin as f32 <= value).unwrap();
            assert_eq!(histogram.bins[bin], 1, "{value}");
        }
    }

    #[test]
    fn the_largest_and_smallest_numbers_there_are_can_be_counted() {
        for value in [f32::MAX, f32::MIN_POSITIVE, f32::from_bits(1)] {
            let mut histogram = Histogram::default();
            histogram.add(&[value, value / 2.0]);
            assert_eq!((histogram.largest(), histogram.n()), (value, 2), "{value}");
        }
    }

    #[test]
    fn a_fit_is_that_of_the_numbers_themselves() {
        // Of even spacing up to 127 steps the noise of rounding is a twelfth of a step's square.
        let values: Vec<f32> = (0..200_000).map(|i| i as f32 / 200_000.0).collect();
        let mut histogram = Histogram::default();
        histogram.add(&values);
        let fit = histogram.fit(histogram.largest());
        let expected = 10.0 * ((1.0 / 3.0f64) / (1.0 / 127.0f64.powi(2) / 12.0)).log10();
        assert!((fit.sqnr_db - expected).abs() < 0.2 && fit.cut_share == 0.0, "{fit:?}, {expected}");
        // At an edge, as methods choose them, to the last number.
        let edge = histogram.edge(1800);
        let above = values.iter().filter(|v| edge <= **v).count();
        let fit = histogram.fit(edge);
        assert!(0 < above && (fit.cut_share - above as f64 / 200_000.0).abs() < 1e-9, "{fit:?}, {above}");
    }
}
