//! From a histogram to the magnitude that the largest number of eight bits stands for.

use std::fmt;

use super::Histogram;

/// Bins from which a threshold may be chosen: with fewer, there are not more bins than numbers of eight bits.
const BINS_MIN: usize = 128;

/// How a magnitude is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Method {
    /// The largest that was seen: nothing is cut.
    Max,
    /// The least that so many of a hundred numbers are not above, zeros not counted.
    Percentile(f64),
    /// Which changes the numbers' distribution least (relative entropy of 128 levels; Migacz 2017, "8-bit inference with TensorRT").
    Entropy,
    /// Which changes the numbers least (mean of squares, with 255 levels).
    Mse,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Method::Max => f.write_str("max"),
            Method::Percentile(share) => write!(f, "percentile {share}"),
            Method::Entropy => f.write_str("entropy"),
            Method::Mse => f.write_str("mse"),
        }
    }
}

impl Method {
    /// The magnitude; none if nothing but zeros was seen.
    pub fn amax(self, seen: &Histogram) -> Option<f32> {
        let chosen = match self {
            Method::Max => seen.largest(),
            Method::Percentile(share) => percentile(seen, share),
            Method::Entropy => least(seen, |edge| divergence(seen.used(), edge)),
            Method::Mse => least(seen, |edge| seen.square_error(seen.edge(edge))),
        };
        chosen.is_normal().then_some(chosen)
    }
}

fn percentile(seen: &Histogram, share: f64) -> f32 {
    // Zeros are exact in every scale; where nearly all are, all others would be cut.
    let wanted = (seen.n() - seen.zeros()) as f64 * (share / 100.0);
    let mut counted = 0;
    for (bin, n) in seen.used().iter().enumerate() {
        counted += n;
        if wanted <= counted as f64 {
            return seen.edge(bin + 1);
        }
    }
    seen.largest()
}

/// The magnitude of the edge whose cost is least, of the last such.
fn least(seen: &Histogram, cost: impl Fn(usize) -> f64) -> f32 {
    let all = seen.used().len();
    if all == 0 {
        return 0.0;
    }
    let edges = (BINS_MIN..all).step_by(8).chain([all]);
    let costs = edges.map(|edge| (edge, cost(edge)));
    let best = costs.reduce(|best, next| if next.1 <= best.1 { next } else { best });
    best.map_or(0.0, |(edge, _)| seen.edge(edge))
}

/// Relative entropy between magnitudes that are cut at an edge, and those that stand for them in 128 levels.
fn divergence(bins: &[u64], edge: usize) -> f64 {
    let mut cut: Vec<f64> = bins[..edge].iter().map(|n| *n as f64).collect();
    // Near zero every scale has numbers that are near enough; what peaks there would outweigh all else.
    cut[0] = cut.get(1).copied().unwrap_or(0.0);
    let mut stands: Vec<f64> = vec![0.0; edge];
    for level in 0..BINS_MIN.min(edge) {
        let (from, to) = (level * edge / BINS_MIN, ((level + 1) * edge / BINS_MIN).min(edge));
        let there = cut[from..to].iter().filter(|n| 0.0 < **n).count();
        let mean = cut[from..to].iter().sum::<f64>() / there.max(1) as f64;
        for (stand, n) in stands[from..to].iter_mut().zip(&cut[from..to]) {
            *stand = if 0.0 < *n { mean } else { 0.0 };
        }
    }
    cut[edge - 1] += bins[edge..].iter().sum::<u64>() as f64;
    let (n_cut, n_stands): (f64, f64) = (cut.iter().sum(), stands.iter().sum());
    let mut sum = 0.0;
    for (p, q) in cut.iter().zip(&stands) {
        let (p, q) = (p / n_cut.max(1.0), q / n_stands.max(1.0));
        // Numbers that nothing stands for are as bad as can be counted.
        sum += if p == 0.0 { 0.0 } else { p * (p / q.max(1e-12)).ln() };
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers of a normal distribution, by the inverse of their rank (Abramowitz & Stegun 26.2.23, within 4.5e-4).
    fn normal(n: usize) -> Histogram {
        let of_rank = |p: f64| {
            let t = (-2.0 * p.ln()).sqrt();
            let above = 2.515_517 + 0.802_853 * t + 0.010_328 * t * t;
            t - above / (1.0 + 1.432_788 * t + 0.189_269 * t * t + 0.001_308 * t * t * t)
        };
        let values: Vec<f32> = (0..n).map(|i| of_rank((i as f64 + 0.5) / (2 * n) as f64) as f32).collect();
        let mut histogram = Histogram::default();
        histogram.add(&values);
        histogram
    }

    #[test]
    fn numbers_of_a_normal_distribution_are_cut_where_the_literature_cuts_them() {
        let seen = normal(400_000);
        assert_eq!(Method::Max.amax(&seen), Some(seen.largest()));
        // Banner et al. 2019, "Post training 4-bit quantization of convolutional networks", table of optimal clipping: 8 bits.
        let mse = Method::Mse.amax(&seen).unwrap();
        assert!((mse - 3.92).abs() < 0.12, "{mse}");
        // 99.73 % of a normal distribution lie within three standard deviations, 95.45 % within two.
        for (share, expected) in [(99.73, 3.0), (95.45, 2.0)] {
            let amax = Method::Percentile(share).amax(&seen).unwrap();
            assert!((amax - expected).abs() < 0.02, "{share}: {amax}");
        }
        assert_eq!(Method::Percentile(100.0).amax(&seen), Some(seen.largest()));
    }

    #[test]
    fn one_number_far_out_moves_only_the_largest() {
        let mut seen = normal(400_000);
        seen.add(&[60.0]);
        assert_eq!(Method::Max.amax(&seen), Some(60.0));
        for method in [Method::Entropy, Method::Percentile(99.99)] {
            let amax = method.amax(&seen).unwrap();
            assert!((2.5..12.0).contains(&amax), "{method}: {amax}");
        }
        // Of n numbers whose noise is a twelfth of a step's square each, and one that is cut, the sum of squares is least here.
        let least = 60.0 / (1.0 + 400_000.0 / (12.0 * 127.0 * 127.0));
        let amax = Method::Mse.amax(&seen).unwrap();
        assert!((amax - least).abs() < 0.3, "{amax}, {least}");
        assert!(seen.fit(60.0).sqnr_db < seen.fit(amax).sqnr_db);
    }

    #[test]
    fn numbers_among_many_zeros_are_not_cut_for_them() {
        let mut seen = Histogram::default();
        seen.add(&vec![0.0; 1_000_000]);
        seen.add(&[1.0, 2.0, 3.0, 4.0]);
        assert_eq!(Method::Percentile(99.99).amax(&seen), Some(4.0));
        let half = Method::Percentile(50.0).amax(&seen).unwrap();
        assert!((2.0..2.01).contains(&half), "{half}");
    }

    #[test]
    fn even_numbers_are_not_cut() {
        let values: Vec<f32> = (0..100_000).map(|i| i as f32 / 1e5).collect();
        let mut seen = Histogram::default();
        seen.add(&values);
        for method in [Method::Mse, Method::Entropy] {
            let amax = method.amax(&seen).unwrap();
            assert!(0.98 < amax, "{method}: {amax}");
        }
    }

    #[test]
    fn of_few_numbers_or_none_there_is_a_magnitude_or_none() {
        let of = |values: &[f32]| {
            let mut seen = Histogram::default();
            seen.add(values);
            [Method::Max, Method::Percentile(99.0), Method::Entropy, Method::Mse].map(|m| m.amax(&seen))
        };
        assert_eq!(of(&[]), [None; 4]);
        assert_eq!(of(&[0.0, -0.0, f32::NAN]), [None; 4]);
        assert_eq!(of(&[f32::from_bits(1)]), [None; 4]);
        assert_eq!(of(&[-2.0]), [Some(2.0); 4]);
    }
}
