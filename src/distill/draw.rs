//! What chance decides, from a seed: of every step its own, so that a resumed run draws what it would have drawn.

use crate::scenes::Rng;

/// What is drawn for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose {
    Weights,
    /// With the part of the step.
    Step(usize),
    Validation,
}

/// The generator of one step, or of one weight, of a run.
pub(super) fn generator(seed: u64, purpose: Purpose, index: u64) -> Rng {
    // A bijection of each part (Steele et al. 2014, SplitMix), so that neighbours have nothing in common.
    let mixed = |mut x: u64| {
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    };
    let purpose = match purpose {
        Purpose::Weights => 1,
        Purpose::Step(0) => 2,
        Purpose::Validation => 3,
        Purpose::Step(part) => 3 + part as u64,
    };
    Rng::new(mixed(mixed(seed.wrapping_add(purpose.wrapping_mul(0x9e37_79b9_7f4a_7c15))).wrapping_add(index)))
}

/// Numbers of the standard normal distribution (Box & Muller 1958).
pub(super) fn normal(rng: &mut Rng, n: usize) -> Vec<f32> {
    let mut all = Vec::with_capacity(n + 1);
    while all.len() < n {
        let radius = (-2.0 * (1.0 - rng.unit()).ln()).sqrt();
        let (sin, cos) = (std::f64::consts::TAU * rng.unit()).sin_cos();
        all.extend([(radius * cos) as f32, (radius * sin) as f32]);
    }
    all.truncate(n);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_and_purposes_have_numbers_of_their_own() {
        let draw = |purpose, index| generator(1, purpose, index).unit();
        let all = [
            draw(Purpose::Step(0), 1),
            draw(Purpose::Step(0), 2),
            draw(Purpose::Step(1), 1),
            draw(Purpose::Validation, 1),
            draw(Purpose::Weights, 1),
            generator(2, Purpose::Step(0), 1).unit(),
        ];
        assert_eq!(all[0], draw(Purpose::Step(0), 1));
        for (i, a) in all.iter().enumerate() {
            assert!(all[i + 1..].iter().all(|b| a != b), "{all:?}");
        }
    }

    #[test]
    fn normal_numbers_have_their_moments() {
        let all = normal(&mut Rng::new(1), 20_001);
        let n = all.len() as f32;
        let mean = all.iter().sum::<f32>() / n;
        let variance = all.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / n;
        assert_eq!(all.len(), 20_001);
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05, "{mean}, {variance}");
    }
}
