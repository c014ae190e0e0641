//! Summaries of samples in the field's own words, with the raw samples beside them.
//!
//! Percentiles follow trtexec: of `n` sorted samples the percentile `p` is number `n - 1 - floor((100 - p) n / 100)`, which is always a
//! sample that was measured and never one in between.

use serde::Serialize;

/// The percentile rule, as reports state it.
pub const PERCENTILE_RULE: &str = "sorted[n - 1 - floor((100 - p) * n / 100)]";

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
    /// Ninety-nine in a hundred are at most this.
    pub p99: Option<f64>,
    /// The largest.
    pub max: Option<f64>,
    /// Standard deviation (over `n - 1`).
    pub stddev: Option<f64>,
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
            p99: Some(percentile(&sorted, 99.0)),
            max: sorted.last().copied(),
            stddev: (1 < n).then(|| (squares / (n - 1) as f64).sqrt()),
        }
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
}
