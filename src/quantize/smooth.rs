//! How far magnitude is moved from what products are given to their matrices.
//!
//! What is given is divided, channel by channel, by a factor `s`, and the columns of its matrices are multiplied:
//!
//! | bits | `s` | of |
//! | --- | --- | --- |
//! | eight, of both | `max\|X\|^α / max\|W\|^(1-α)` | SmoothQuant, Xiao et al. 2022, <https://arxiv.org/abs/2211.10438> |
//! | four, of matrices | `mean\|X\|^α`, over the root of the largest times the smallest | AWQ, Lin et al. 2023, <https://arxiv.org/abs/2306.00978> |
//!
//! The maxima are of all columns of a channel, in all matrices of a group, as the checkpoint has them: one group's factors do not depend on
//! another's. Means are of the sample.

use super::narrow::{Bits, Narrow, errors};
use super::{Group, Histogram, Method, Watched};
use crate::graph::{WeightId, Weights};

/// How far, for products of which bits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Smooth {
    /// Of the matrices.
    pub bits: Bits,
    /// `α`, from 0 to 1, everywhere; none for what makes each group's products the nearest, also nothing at all.
    pub alpha: Option<f32>,
}

/// The shares that are tried where none is given, of means.
const ALPHAS: [f32; 10] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0];
/// And of maxima: with larger ones factors follow the largest numbers of this data, which other data does not have in the same channels.
const ALPHAS_OF_MAXIMA: [f32; 5] = [0.3, 0.4, 0.5, 0.6, 0.7];
/// What a factor may be; beyond, 16 bits would hold neither side.
const FACTORS: [f32; 2] = [1e-5, 1e5];

/// How a group is balanced.
#[derive(Clone, Debug, PartialEq)]
pub struct Smoothed {
    /// The share of magnitude that was moved.
    pub alpha: f32,
    /// By channel.
    pub factors: Vec<f32>,
}

/// How a group is best balanced by what was watched; none if its products are nearest as they are, or were never reached.
pub fn smoothed(
    group: &Group,
    weights: &dyn Weights,
    watched: &Watched,
    smooth: Smooth,
    method: Method,
) -> Option<Smoothed> {
    let first = group.multiplied[0];
    let (given, sample) = (watched.largest(first), watched.sample(first));
    if given.is_empty() {
        return None;
    }
    let factors: Box<dyn Fn(f32) -> Vec<f32>> = match smooth.bits {
        Bits::Eight => {
            let largest = [by_channel(group, &given), of_matrices(group, weights)];
            Box::new(move |alpha| balancing(&largest, alpha))
        }
        Bits::Four => {
            let means = by_channel(group, &means(sample.rows(), given.len()));
            Box::new(move |alpha| protecting(&means, alpha))
        }
    };
    let of = |alpha: f32| Smoothed { alpha, factors: factors(alpha) };
    if let Some(alpha) = smooth.alpha {
        return Some(of(alpha));
    }
    let alphas = if smooth.bits == Bits::Eight { &ALPHAS_OF_MAXIMA[..] } else { &ALPHAS[..] };
    let tried: Vec<Option<Smoothed>> =
        [None].into_iter().chain(alphas.iter().map(|alpha| Some(of(*alpha)))).collect();
    let way = |smoothed: &Option<Smoothed>| {
        let (bits, factors) = (smooth.bits, smoothed.as_ref().map(|of| group.by_column(&of.factors)));
        let amax = amax(sample.rows(), &given, factors.as_deref(), method);
        Narrow { bits, factors, amax: amax.filter(|_| bits == Bits::Eight) }
    };
    let ways: Vec<Narrow> = tried.iter().map(way).collect();
    let mut sums = vec![0.0; ways.len()];
    for id in &group.multiplied {
        let of_product = errors(&weights.weight(*id), sample.rows(), &ways);
        sums.iter_mut().zip(of_product).for_each(|(sum, error)| *sum += error * error);
    }
    let best = (0..sums.len()).min_by(|a, b| sums[*a].total_cmp(&sums[*b]))?;
    tried.into_iter().nth(best).flatten()
}

/// `max|X|^α / max|W|^(1-α)` by channel. A channel that is nothing but zeros on either side stays as it is.
fn balancing([given, matrices]: &[Vec<f32>; 2], alpha: f32) -> Vec<f32> {
    let one = |(x, w): (&f32, &f32)| match x.is_normal() && w.is_normal() {
        true => bounded(x.powf(alpha) / w.powf(1.0 - alpha)),
        false => 1.0,
    };
    given.iter().zip(matrices).map(one).collect()
}

/// `mean|X|^α` by channel, as far above one as below. A channel that is nothing but zeros stays as it is.
fn protecting(means: &[f32], alpha: f32) -> Vec<f32> {
    let powers = || means.iter().filter(|mean| mean.is_normal()).map(|mean| mean.powf(alpha));
    let middle = (powers().fold(0.0, f32::max) * powers().fold(f32::MAX, f32::min)).sqrt();
    let one = |mean: &f32| if mean.is_normal() { bounded(mean.powf(alpha) / middle) } else { 1.0 };
    means.iter().map(one).collect()
}

fn bounded(factor: f32) -> f32 {
    factor.clamp(FACTORS[0], FACTORS[1])
}

/// The mean magnitude of each column.
fn means(rows: &[f32], row_len: usize) -> Vec<f32> {
    let mut means = vec![0.0f32; row_len];
    let n_rows = (rows.len() / row_len.max(1)).max(1);
    for row in rows.chunks_exact(row_len.max(1)) {
        means.iter_mut().zip(row).for_each(|(mean, v)| *mean += v.abs() / n_rows as f32);
    }
    means
}

/// The magnitude of a sample that is divided by factors; of everything that came, where the largest is asked for.
fn amax(rows: &[f32], given: &[f32], factors: Option<&[f32]>, method: Method) -> Option<f32> {
    let divided = |row: &[f32]| -> Vec<f32> {
        match factors {
            Some(factors) => row.iter().zip(factors).map(|(x, factor)| x / factor).collect(),
            None => row.to_vec(),
        }
    };
    let mut histogram = Histogram::default();
    match method {
        Method::Max => histogram.add(&divided(given)),
        _ => rows.chunks_exact(given.len()).for_each(|row| histogram.add(&divided(row))),
    }
    method.amax(&histogram)
}

/// Magnitudes by column as those of their channels.
fn by_channel(group: &Group, columns: &[f32]) -> Vec<f32> {
    let mut largest = vec![0.0f32; group.n_channels];
    for (channel, column) in group.channels.iter().zip(columns) {
        largest[*channel] = largest[*channel].max(*column);
    }
    largest
}

/// The largest magnitude of a channel's columns in all matrices of a group.
fn of_matrices(group: &Group, weights: &dyn Weights) -> Vec<f32> {
    let mut largest = vec![0.0f32; group.channels.len()];
    for id in &group.multiplied {
        largest_by_column(*id, weights, &mut largest);
    }
    by_channel(group, &largest)
}

fn largest_by_column(id: WeightId, weights: &dyn Weights, largest: &mut [f32]) {
    let matrix = weights.weight(id);
    let mut row = vec![0.0; largest.len()];
    let row_bytes = row.len() * matrix.dtype.size_bytes();
    for bytes in matrix.bytes.chunks_exact(row_bytes.max(1)) {
        crate::tensor::widen(matrix.dtype, bytes, &mut row);
        largest.iter_mut().zip(&row).for_each(|(most, w)| *most = most.max(w.abs()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_are_the_papers() {
        let largest = [vec![16.0, 1.0, 0.25, 0.0, 3.0, 1e30], vec![1.0, 4.0, 0.0, 2.0, 3.0, 1e-30]];
        assert_eq!(balancing(&largest, 0.5), [4.0, 0.5, 1.0, 1.0, 1.0, 1e5]);
        assert_eq!(balancing(&largest, 1.0)[..2], [16.0, 1.0], "all to the matrices");
        assert_eq!(balancing(&largest, 0.0)[..2], [1.0, 0.25], "all to what is given");
        let means = means(&[1.0, -8.0, 0.0, 3.0, 0.0, 0.0], 3);
        assert_eq!(means, [2.0, 4.0, 0.0]);
        // Of 2, 8 and 1, whose middle is the root of 8.
        let found = protecting(&[4.0, 64.0, 0.0, 1.0], 0.5);
        for (found, expected) in found.iter().zip([0.5f32.sqrt(), 8f32.sqrt(), 1.0, 0.125f32.sqrt()]) {
            assert!((found - expected).abs() < 1e-6, "{found}, {expected}");
        }
        assert_eq!(protecting(&[4.0, 64.0], 0.0), [1.0, 1.0]);
    }
}
