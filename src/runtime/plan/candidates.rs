//! What is chosen from: plans that someone made, or plans drawn around one.

use super::error::PlanError;
use crate::runtime::predict::fill_noise_of_stream;

/// A plan of actions, and where it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// As the ranking names it.
    pub source: String,
    /// Rows of one action each: for every frame after the first, or for the forecast ones.
    pub actions: Vec<f32>,
}

/// Plans drawn around one.
///
/// Each step `t` of each action `j` becomes `plan[t, j] + spread[j] · x[t, j]`, where `x` is standard normal in every step and
/// correlated from step to step: `x[t] = ρ x[t − 1] + √(1 − ρ²) e[t]` with independent standard normal `e`, `x[0] = e[0]`. So `ρ = 0`
/// perturbs every step by itself, and `ρ` near 1 shifts whole plans: robots follow smooth commands, and the noise of independent
/// steps cancels out over a horizon.
#[derive(Clone, Copy, Debug)]
pub struct Around<'a> {
    /// The plan, `[rows, width]`.
    pub actions: &'a [f32],
    /// Actions of a row.
    pub width: usize,
    /// Standard deviation of each action, in its own units: one for all, or one for each.
    pub spread: &'a [f32],
    /// `ρ`, from 0 on, below 1.
    pub correlation: f32,
    /// Lowest and highest value of each action, which samples are clipped to; empty for none.
    pub limits: &'a [[f32; 2]],
    /// Sample `i` is drawn from stream `i` of this seed, whatever the number of samples.
    pub seed: u64,
}

impl Around<'_> {
    /// The plan itself, and then `n_samples` drawn around it.
    ///
    /// # Errors
    /// If the spread has another width or is negative or not finite, or the correlation is out of range.
    pub fn candidates(&self, n_samples: usize) -> Result<Vec<Candidate>, PlanError> {
        let fits = self.spread.len() == 1 || self.spread.len() == self.width;
        if !fits || self.spread.iter().any(|s| !s.is_finite() || *s < 0.0) {
            let found = format!("{:?}", self.spread);
            return Err(PlanError::Spread { found, width: self.width });
        }
        if !(0.0..1.0).contains(&self.correlation) {
            return Err(PlanError::Correlation(self.correlation));
        }
        let itself = Candidate { source: "unperturbed".to_owned(), actions: self.actions.to_vec() };
        let samples = (1..=n_samples)
            .map(|i| Candidate { source: format!("sample {i}"), actions: self.sample(i as u64) });
        Ok(std::iter::once(itself).chain(samples).collect())
    }

    fn sample(&self, i: u64) -> Vec<f32> {
        let mut plan = vec![0.0; self.actions.len()];
        fill_noise_of_stream(self.seed, i, &mut plan);
        let innovation = (1.0 - self.correlation * self.correlation).sqrt();
        for at in self.width..plan.len() {
            plan[at] = self.correlation * plan[at - self.width] + innovation * plan[at];
        }
        for (at, (value, planned)) in plan.iter_mut().zip(self.actions).enumerate() {
            let action = at % self.width;
            let spread = self.spread[action.min(self.spread.len() - 1)];
            *value = planned + spread * *value;
            if let Some([low, high]) = self.limits.get(action) {
                *value = value.max(*low).min(*high);
            }
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: [f32; 8] = [0.0, 10.0, 0.5, 10.0, 1.0, 10.0, 1.5, 10.0];

    fn around() -> Around<'static> {
        Around { actions: &PLAN, width: 2, spread: &[0.1, 2.0], correlation: 0.8, limits: &[], seed: 3 }
    }

    #[test]
    fn samples_are_seeded_and_do_not_depend_on_their_number() {
        let few = around().candidates(2).unwrap();
        let many = around().candidates(9).unwrap();
        assert_eq!((few.len(), &few[..]), (3, &many[..3]));
        assert_eq!(few[0].actions, PLAN);
        assert_ne!(few[1].actions, few[2].actions);
        let other = Around { seed: 4, ..around() };
        assert_ne!(other.candidates(1).unwrap()[1], few[1]);
    }

    #[test]
    fn every_step_has_its_spread_and_its_correlation() {
        let around = Around { limits: &[[-1e9, 1e9], [6.0, 14.0]], ..around() };
        let candidates = around.candidates(20_000).unwrap();
        let n = (candidates.len() - 1) as f64;
        let off = |c: &Candidate, at: usize| f64::from(c.actions[at] - PLAN[at]);
        for at in [0, 6] {
            let mean = candidates.iter().map(|c| off(c, at)).sum::<f64>() / n;
            let deviation = (candidates.iter().map(|c| off(c, at).powi(2)).sum::<f64>() / n).sqrt();
            assert!(mean.abs() < 0.003 && (deviation - 0.1).abs() < 0.003, "{at}: {mean} ± {deviation}");
        }
        let correlation = candidates.iter().map(|c| off(c, 4) * off(c, 6)).sum::<f64>() / n / 0.01;
        assert!((correlation - 0.8).abs() < 0.02, "{correlation}");
        // The limit of the second action lies at two standard deviations: 2.3 % on either side are clipped.
        let at_limit = candidates.iter().filter(|c| c.actions[1] == 14.0 || c.actions[1] == 6.0).count();
        assert!((at_limit as f64 / n - 0.0455).abs() < 0.006, "{at_limit}");
        assert!(candidates.iter().all(|c| (6.0..=14.0).contains(&c.actions[3])));
    }

    #[test]
    fn what_is_no_spread_is_refused() {
        for spread in [&[0.1, 0.1, 0.1][..], &[-1.0], &[f32::NAN], &[]] {
            assert!(Around { spread, ..around() }.candidates(1).is_err(), "{spread:?}");
        }
        for correlation in [1.0, -0.1, f32::NAN] {
            assert!(Around { correlation, ..around() }.candidates(1).is_err(), "{correlation}");
        }
    }
}
