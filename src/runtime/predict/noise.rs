//! Noise from a seed, the same on every machine.

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

/// Fills `out` with normal deviates: ChaCha8 seeded by `seed_from_u64(seed)`, whose 64-bit words pairwise become two deviates
/// (Box & Muller 1958, <https://doi.org/10.1214/aoms/1177706645>): from the words `a`, `b` with `u = (a >> 11 + ½) / 2⁵³`, likewise
/// `v`, the deviates `√(−2 ln u) cos 2πv` and `√(−2 ln u) sin 2πv`, rounded to f32. They are drawn in the order of `out`.
pub fn fill_noise(seed: u64, out: &mut [f32]) {
    fill_noise_of_stream(seed, 0, out);
}

/// The same from another of ChaCha's 2⁶⁴ streams of this seed: noises that do not depend on each other.
pub fn fill_noise_of_stream(seed: u64, stream: u64, out: &mut [f32]) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(stream);
    let mut unit = || ((random.next_u64() >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    for pair in out.chunks_mut(2) {
        let radius = (-2.0 * unit().ln()).sqrt();
        let (sin, cos) = (std::f64::consts::TAU * unit()).sin_cos();
        for (o, v) in pair.iter_mut().zip([radius * cos, radius * sin]) {
            *o = v as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_one_standard_normal_noise() {
        let mut noise = vec![0.0; 100_001];
        fill_noise(7, &mut noise);
        let mut again = vec![0.0; noise.len()];
        fill_noise(7, &mut again);
        assert_eq!(noise, again);
        let n = noise.len() as f64;
        let mean = noise.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
        let variance = noise.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / n;
        let fourth = noise.iter().map(|v| f64::from(*v).powi(4)).sum::<f64>() / n;
        assert!(
            mean.abs() < 0.01 && (variance - 1.0).abs() < 0.02 && (fourth - 3.0).abs() < 0.15,
            "{mean} {variance} {fourth}"
        );
        fill_noise(8, &mut again);
        assert_ne!(noise, again);
    }
}
