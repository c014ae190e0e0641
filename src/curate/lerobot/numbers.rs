//! What `meta/stats.json` and the episodes say of a feature: least, greatest, mean, deviation, count, quantiles.
//!
//! The formulas are those of `lerobot.datasets.compute_stats`, in f64 throughout: of images its 100 samples and more of an episode,
//! each thinned out to about 150 pixels; quantiles from 5000 bins between the least and the greatest value. Two things differ. The
//! deviation of images is true, where lerobot up to 0.4.4 squares bytes in a byte. And the quantiles of a whole data set are of all its
//! values, where lerobot puts those of its episodes together.

/// Of the quantiles that policies normalise by.
pub(super) const QUANTILES: [(&str, f64); 5] =
    [("q01", 0.01), ("q10", 0.10), ("q50", 0.50), ("q90", 0.90), ("q99", 0.99)];
/// What is told of a feature, in the order in which it is.
pub(super) const TOLD: [&str; 10] = ["min", "max", "mean", "std", COUNT, "q01", "q10", "q50", "q90", "q99"];
/// Of these the one that is of the feature as a whole.
pub(super) const COUNT: &str = "count";
const BINS: usize = 5000;
/// So far the bins reach beyond the values.
const MARGIN: f64 = 1e-10;
/// Frames of an episode that are looked at, if it has them.
const SAMPLES_MIN: usize = 100;
const SAMPLES_MAX: usize = 10_000;
/// A picture with a side of this length is thinned out, to about `THINNED` pixels of its longer side.
const THICK: usize = 300;
const THINNED: usize = 150;
const LEVELS: usize = 256;

/// Of one number of a feature.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Numbers {
    pub(super) min: f64,
    pub(super) max: f64,
    pub(super) mean: f64,
    pub(super) std: f64,
    pub(super) quantiles: [f64; QUANTILES.len()],
}

impl Numbers {
    /// Of at least one value.
    pub(super) fn of(values: &[f64]) -> Self {
        let n = values.len() as f64;
        let (min, max) = values
            .iter()
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(*v), high.max(*v)));
        let mean = values.iter().sum::<f64>() / n;
        let variance = values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / n;
        let quantiles = if values.len() < 2 {
            [mean; QUANTILES.len()]
        } else {
            quantiles(min, max, values.iter().map(|value| (*value, 1)))
        };
        Self { min, max, mean, std: variance.sqrt(), quantiles }
    }

    /// One of [`TOLD`], but the count.
    pub(super) fn told(&self, name: &str) -> f64 {
        match name {
            "min" => self.min,
            "max" => self.max,
            "mean" => self.mean,
            "std" => self.std,
            _ => {
                let at = QUANTILES.iter().position(|(quantile, _)| *quantile == name);
                self.quantiles[at.expect("it is one of those that are told")]
            }
        }
    }

    fn scaled(self, factor: f64) -> Self {
        let Self { min, max, mean, std, quantiles } = self;
        Self {
            min: min / factor,
            max: max / factor,
            mean: mean / factor,
            std: std / factor,
            quantiles: quantiles.map(|q| q / factor),
        }
    }
}

/// How often each level came in each channel.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    counts: [[u64; LEVELS]; 3],
    pub(super) pictures: u64,
}

impl Tally {
    pub(super) fn new() -> Self {
        Self { counts: [[0; LEVELS]; 3], pictures: 0 }
    }

    /// Adds packed RGB.
    pub(super) fn add(&mut self, rgb: &[u8], width: usize, height: usize) {
        let side = width.max(height);
        let step = if side < THICK { 1 } else { side / THINNED };
        for y in (0..height).step_by(step) {
            let row = &rgb[3 * y * width..3 * (y + 1) * width];
            for pixel in row.chunks_exact(3).step_by(step) {
                for (counts, level) in self.counts.iter_mut().zip(pixel) {
                    counts[usize::from(*level)] += 1;
                }
            }
        }
        self.pictures += 1;
    }

    pub(super) fn join(&mut self, other: &Self) {
        for (ours, theirs) in self.counts.iter_mut().flatten().zip(other.counts.iter().flatten()) {
            *ours += theirs;
        }
        self.pictures += other.pictures;
    }

    /// Of each channel, 1 is the greatest level that there can be.
    pub(super) fn numbers(&self) -> [Numbers; 3] {
        [0, 1, 2].map(|channel| {
            let levels = || {
                let counts = self.counts[channel].iter().enumerate();
                counts.filter(|(_, n)| 0 < **n).map(|(level, n)| (level as f64, *n))
            };
            let n = levels().map(|(_, n)| n).sum::<u64>() as f64;
            let mean = levels().map(|(level, n)| level * n as f64).sum::<f64>() / n;
            let variance =
                levels().map(|(level, n)| (level - mean) * (level - mean) * n as f64).sum::<f64>() / n;
            let min = levels().next().map_or(f64::NAN, |(level, _)| level);
            let max = levels().next_back().map_or(f64::NAN, |(level, _)| level);
            let quantiles = if n < 2.0 { [mean; QUANTILES.len()] } else { quantiles(min, max, levels()) };
            Numbers { min, max, mean, std: variance.sqrt(), quantiles }.scaled(255.0)
        })
    }
}

/// Which frames of an episode are looked at.
pub(super) fn sampled(n_frames: usize) -> Vec<usize> {
    // The power of three quarters, rounded down.
    let cubed = (n_frames as u128).pow(3);
    let power = (0..=SAMPLES_MAX).rev().find(|n| (*n as u128).pow(4) <= cubed).unwrap_or(0);
    let n = power.max(SAMPLES_MIN.min(n_frames));
    let step = (n_frames - 1) as f64 / (n.max(2) - 1) as f64;
    (0..n).map(|at| (at as f64 * step).round_ties_even() as usize).collect()
}

/// Of values that come so and so often and lie from `min` to `max`.
fn quantiles(min: f64, max: f64, values: impl Iterator<Item = (f64, u64)>) -> [f64; QUANTILES.len()] {
    let (first, last) = (min - MARGIN, max + MARGIN);
    let step = (last - first) / BINS as f64;
    let edge = |bin: usize| if bin == BINS { last } else { bin as f64 * step + first };
    let mut bins = vec![0u64; BINS];
    let mut total = 0;
    for (value, n) in values {
        // Numbers so large that a margin is nothing to them are all the same.
        let mut bin = if 0.0 < step { (((value - first) / step) as usize).min(BINS - 1) } else { BINS - 1 };
        while 0 < bin && value < edge(bin) {
            bin -= 1;
        }
        while bin + 1 < BINS && edge(bin + 1) <= value {
            bin += 1;
        }
        bins[bin] += n;
        total += n;
    }
    QUANTILES.map(|(_, share)| {
        let target = share * total as f64;
        let mut before = 0;
        for (bin, n) in bins.iter().enumerate() {
            if target <= (before + n) as f64 {
                if bin == 0 || *n == 0 {
                    return edge(bin);
                }
                return edge(bin) + (target - before as f64) / *n as f64 * (edge(bin + 1) - edge(bin));
            }
            before += n;
        }
        last
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_lerobot() {
        // Of ten whole numbers: `get_feature_stats(np.arange(10), axis=0, keepdims=True)` of lerobot 0.4.4.
        let numbers = Numbers::of(&(0..10).map(f64::from).collect::<Vec<_>>());
        assert_eq!((numbers.min, numbers.max, numbers.mean), (0.0, 9.0, 4.5));
        assert_eq!(numbers.std, 2.872_281_323_269_014_3);
        let expected = [-1e-10, -1e-10, 4.001_399_999_988_92, 8.001_000_000_077_8, 8.999_820_000_099_996];
        for (found, expected) in numbers.quantiles.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
        let one = Numbers::of(&[3.0]);
        assert_eq!((one.std, one.quantiles), (0.0, [3.0; 5]));
        // Stamps of a clock, in whose steps the margin is lost.
        let same = Numbers::of(&[1.7e18; 3]);
        assert_eq!((same.std, same.quantiles), (0.0, [1.7e18; 5]));
    }

    #[test]
    fn pictures_are_tallied_by_channel_and_thinned_out() {
        let mut tally = Tally::new();
        tally.add(&[0, 10, 255, 0, 20, 255], 2, 1);
        let [red, green, blue] = tally.numbers();
        assert_eq!((red.min, red.max, red.std, blue.mean, blue.std), (0.0, 0.0, 0.0, 1.0, 0.0));
        assert_eq!((green.min, green.max, green.mean), (10.0 / 255.0, 20.0 / 255.0, 15.0 / 255.0));
        assert_eq!(green.std, 5.0 / 255.0);
        let mut twice = tally.clone();
        twice.join(&tally);
        assert_eq!((twice.pictures, twice.numbers()[1].std), (2, green.std));
        // Every fourth pixel of every fourth row of 640 by 480.
        let mut large = Tally::new();
        let rgb: Vec<u8> =
            (0..480 * 640).flat_map(|at| [(at % 640 % 4) as u8, (at / 640 % 4) as u8, 7]).collect();
        large.add(&rgb, 640, 480);
        let [red, green, _] = large.numbers();
        assert_eq!((red.max, green.max), (0.0, 0.0));
        assert_eq!(large.counts[0].iter().sum::<u64>(), 160 * 120);
    }

    #[test]
    fn long_episodes_are_sampled() {
        assert_eq!(sampled(3), [0, 1, 2]);
        assert_eq!(sampled(1), [0]);
        assert_eq!(sampled(100).len(), 100);
        // `len(sample_indices(n))` of lerobot 0.4.4, and its first and last ones.
        for (n, samples) in [(256, 100), (500, 105), (625, 125), (1000, 177), (4096, 512)] {
            let found = sampled(n);
            assert_eq!((found.len(), found[0], found[samples - 1]), (samples, 0, n - 1), "{n}");
        }
        assert_eq!(sampled(256)[..6], [0, 3, 5, 8, 10, 13]);
    }
}
