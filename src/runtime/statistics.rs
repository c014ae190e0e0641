//! Summaries of samples in the field's own words, with the raw samples beside them.
//!
//! Percentiles follow trtexec: of `n` sorted samples the percentile `p` is number `n - 1 - floor((100 - p) n / 100)`, which is always a
//! sample that was measured and never one in between. Of fewer than `100 / (100 - p)` samples it is nothing but the largest one: a
//! summary says for which percentiles its samples are too few.

use serde::Serialize;

/// The percentile rule, as reports state it.
pub const PERCENTILE_RULE: &str = "sorted[n - 1 - floor((100 - p) * n / 100)]";

/// The percentiles of a summary: their names, and how many samples each needs.
pub const PERCENTILES: [(&str, usize); 4] = [("p50", 2), ("p90", 10), ("p95", 20), ("p99", 100)];

/// What a list of samples comes to. Of no sample everything is `None`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// How many samples.
    pub count: usize,
    /// The least.
    pub min: Option<f64>,
    /// The mean.
    pub mean: Option<f64>,
    /// Half of the samples are at most this.
    pub p50: Option<f64>,
    /// Nine in ten are at most this.
    pub p90: Option<f64>,
    /// Nineteen in twenty are at most this.
    pub p95: Option<f64>,
    /// Ninety-nine in a hundred are at most this.
    pub p99: Option<f64>,
    /// The largest.
    pub max: Option<f64>,
    /// Standard deviation (over `n - 1`).
    pub stddev: Option<f64>,
    /// The percentiles that so few samples do not bear: see [`PERCENTILES`].
    pub too_few_samples_for: Vec<&'static str>,
}

impl Summary {
    /// Summarises samples of any order, which are numbers.
    pub fn of(samples: &[f64]) -> Self {
        let n = samples.len();
        if n == 0 {
            return Self::default();
        }
        let mut sorted = samples.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        let mean = samples.iter().sum::<f64>() / n as f64;
        let squares: f64 = samples.iter().map(|s| (s - mean).powi(2)).sum();
        Self {
            count: n,
            min: sorted.first().copied(),
            mean: Some(mean),
            p50: Some(percentile(&sorted, 50.0)),
            p90: Some(percentile(&sorted, 90.0)),
            p95: Some(percentile(&sorted, 95.0)),
            p99: Some(percentile(&sorted, 99.0)),
            max: sorted.last().copied(),
            stddev: (1 < n).then(|| (squares / (n - 1) as f64).sqrt()),
            too_few_samples_for: PERCENTILES.into_iter().filter(|p| n < p.1).map(|p| p.0).collect(),
        }
    }

    /// The percentiles in the order of [`PERCENTILES`], without those for which the samples are too few.
    pub fn sound_percentiles(&self) -> [Option<f64>; PERCENTILES.len()] {
        let values = [self.p50, self.p90, self.p95, self.p99];
        std::array::from_fn(|i| values[i].filter(|_| PERCENTILES[i].1 <= self.count))
    }
}

/// The percentile `p`, 0 to 100, of sorted samples.
///
/// # Panics
/// If there is no sample.
pub fn percentile(sorted: &[f64], p: f64) -> f64 {
    let n = sorted.len();
    let above = ((100.0 - p) * n as f64 / 100.0).floor() as usize;
    sorted[(n - 1).saturating_sub(above)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples_by_the_stated_rule() {
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        let summary = Summary::of(&hundred);
        assert_eq!((summary.p50, summary.p90, summary.max), (Some(50.0), Some(90.0), Some(100.0)));
        assert_eq!((summary.mean, summary.min, summary.count), (Some(50.5), Some(1.0), 100));
        let three = Summary::of(&[3.0, 1.0, 2.0]);
        assert_eq!((three.p50, three.p99, three.stddev), (Some(2.0), Some(3.0), Some(1.0)));
    }

    #[test]
    fn one_sample_is_everything_and_none_is_nothing() {
        let one = Summary::of(&[7.0]);
        assert_eq!((one.min, one.p50, one.p99, one.stddev), (Some(7.0), Some(7.0), Some(7.0), None));
        assert_eq!(Summary::of(&[]), Summary::default());
    }

    #[test]
    fn a_percentile_that_is_only_the_largest_sample_is_not_passed_off_as_one() {
        for (count, too_few) in [
            (1, &["p50", "p90", "p95", "p99"][..]),
            (2, &["p90", "p95", "p99"]),
            (9, &["p90", "p95", "p99"]),
            (10, &["p95", "p99"]),
            (19, &["p95", "p99"]),
            (20, &["p99"]),
            (99, &["p99"]),
            (100, &[]),
        ] {
            let samples: Vec<f64> = (1..=count).map(f64::from).collect();
            let summary = Summary::of(&samples);
            assert_eq!(summary.too_few_samples_for, too_few, "{count} samples");
            let sound = summary.sound_percentiles();
            assert_eq!(sound.iter().filter(|p| p.is_none()).count(), too_few.len(), "{count} samples");
            assert!(sound.iter().flatten().all(|p| *p < f64::from(count)), "{count}: {sound:?}");
        }
        let twenty: Vec<f64> = (1..=20).map(f64::from).collect();
        assert_eq!(Summary::of(&twenty).p95, Some(19.0));
    }
}
