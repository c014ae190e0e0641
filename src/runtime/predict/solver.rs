//! From noise to a clip, one velocity at a time: what every sampler does between two calls of the network.
//!
//! Each step of each solver is a fixed mixture of a few whole samples, so its shares are computed once for all steps, and a step is
//! element by element. Given latents come first in time and so first in memory: they are a prefix of every sample.

use crate::models::predict25::{Renoise, Schedule, UniPc};

/// The longest memory of a solver: guesses of the clean sample.
const ORDER_MAX: usize = 3;

/// Shares of one step of UniPC. Guesses stand newest first.
#[derive(Clone, Copy, Debug, Default)]
struct Shares {
    /// Of the sample before the last prediction, of the guesses before this one, and of this one; if the sample is corrected.
    correct: Option<(f64, [f64; ORDER_MAX], f64)>,
    /// Of the sample, and of the guesses from this one on.
    sample: f64,
    guesses: [f64; ORDER_MAX],
}

/// What a step of the solver reads beside the velocity.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// The noise that the sample began as.
    pub noise: &'a [f32],
    /// The given latents: a prefix of the clip.
    pub given: &'a [f32],
    /// New noise for the next sigma, where the schedule wants it; ignored elsewhere.
    pub renoise: Option<&'a [f32]>,
}

#[derive(Clone, Debug)]
enum Method {
    Euler,
    /// Euler in Predict2's own coordinates: what is given moves along the line from the sample to it.
    Predict2Euler,
    UniPc(Vec<Shares>),
    Fixed(Renoise),
}

/// The sample of one forecast, and how its steps go. Claims everything when it is made.
#[derive(Clone, Debug)]
pub struct Solver {
    method: Method,
    sigmas: Vec<f32>,
    sample: Vec<f32>,
    /// UniPC: guesses of the clean sample, newest first, and the sample before the last prediction.
    guesses: [Vec<f32>; ORDER_MAX],
    before: Vec<f32>,
}

impl Solver {
    /// A solver of `n_steps` steps over samples of `len` elements.
    pub fn new(schedule: &Schedule, n_steps: usize, len: usize) -> Solver {
        let sigmas = schedule.sigmas(n_steps);
        let method = match schedule {
            Schedule::Euler { .. } => Method::Euler,
            Schedule::Predict2Euler { .. } => Method::Predict2Euler,
            Schedule::UniPc { solver, .. } => Method::UniPc(unipc_shares(&sigmas, solver)),
            Schedule::Fixed { renoise, .. } => Method::Fixed(*renoise),
        };
        let memory = if matches!(method, Method::UniPc(_)) { len } else { 0 };
        let zeros = || vec![0.0; memory];
        Solver {
            method,
            sigmas,
            sample: vec![0.0; len],
            guesses: [zeros(), zeros(), zeros()],
            before: zeros(),
        }
    }

    /// Calls of the network, one for each step.
    pub fn n_calls(&self) -> usize {
        self.sigmas.len() - 1
    }

    /// Bytes that it has claimed.
    pub fn claimed_bytes(&self) -> u64 {
        let guesses: usize = self.guesses.iter().map(Vec::len).sum();
        4 * (self.sigmas.len() + self.sample.len() + guesses + self.before.len()) as u64
    }

    /// What the network is told at step `i`.
    pub fn sigma(&self, i: usize) -> f32 {
        self.sigmas[i]
    }

    /// The sample: before the first step noise, after the last a clip.
    pub fn sample(&self) -> &[f32] {
        &self.sample
    }

    /// Begins a forecast.
    ///
    /// # Panics
    /// If `noise` is not of the solver's length.
    pub fn begin(&mut self, noise: &[f32]) {
        // Predict2 begins with the noise times `s`, of which the share of the sample is `s / (1 + s)`.
        let scale = if matches!(self.method, Method::Predict2Euler) { self.sigmas[0] } else { 1.0 };
        assert_eq!(noise.len(), self.sample.len(), "noise is of the clip's shape");
        for (x, n) in self.sample.iter_mut().zip(noise) {
            *x = scale * n;
        }
    }

    /// Lets this be the sample.
    ///
    /// # Panics
    /// If it is not of the clip's shape.
    pub fn hold(&mut self, sample: &[f32]) {
        self.sample.copy_from_slice(sample);
    }

    /// Makes step `i` along `velocity`, whose part for the given latents is overwritten: their velocity is known.
    ///
    /// # Panics
    /// If the lengths disagree, or step `i` is none.
    pub fn step(&mut self, i: usize, velocity: &mut [f32], inputs: Inputs<'_>) {
        assert!(
            velocity.len() == self.sample.len() && inputs.noise.len() == self.sample.len(),
            "one clip's shape"
        );
        let (sigma, next) = (self.sigmas[i], self.sigmas[i + 1]);
        self.known_velocity(velocity, inputs, sigma);
        match &self.method {
            Method::Euler | Method::Predict2Euler => {
                let dt = next - sigma;
                for (x, v) in self.sample.iter_mut().zip(&*velocity) {
                    *x += dt * v;
                }
                if i + 1 == self.n_calls() && matches!(self.method, Method::Predict2Euler) {
                    // Back from shares to `x₀ + s ε`.
                    let scale = (1.0 - next).recip();
                    self.sample.iter_mut().for_each(|x| *x *= scale);
                }
            }
            Method::UniPc(shares) => {
                let shares = shares[i];
                self.unipc(velocity, sigma, shares);
            }
            Method::Fixed(renoise) => {
                let noise = match renoise {
                    Renoise::Same => Some(inputs.noise),
                    Renoise::Fresh => inputs.renoise,
                };
                let n_given = inputs.given.len();
                for (x, v) in self.sample.iter_mut().zip(&*velocity) {
                    *x -= sigma * v;
                }
                self.sample[..n_given].copy_from_slice(inputs.given);
                if let (Some(noise), true) = (noise, 0.0 < next) {
                    for (x, n) in self.sample.iter_mut().zip(noise) {
                        *x = (1.0 - next) * *x + next * n;
                    }
                }
            }
        }
    }

    /// Where given latents go: from the noise straight to what they are.
    fn known_velocity(&self, velocity: &mut [f32], inputs: Inputs<'_>, sigma: f32) {
        let pairs = velocity.iter_mut().zip(inputs.given);
        match self.method {
            Method::Predict2Euler | Method::Fixed(_) => {
                for ((v, given), x) in pairs.zip(&self.sample) {
                    *v = (x - given) / sigma;
                }
            }
            Method::Euler | Method::UniPc(_) => {
                for ((v, given), n) in pairs.zip(inputs.noise) {
                    *v = n - given;
                }
            }
        }
    }

    fn unipc(&mut self, velocity: &[f32], sigma: f32, shares: Shares) {
        let [first, second, third] = &mut self.guesses;
        for j in 0..self.sample.len() {
            let x = self.sample[j];
            let guess = x - sigma * velocity[j];
            let known = [first[j], second[j], third[j]];
            let corrected = match shares.correct {
                None => x,
                Some((of_before, of_known, of_guess)) => {
                    let sum = of_before * f64::from(self.before[j]) + of_guess * f64::from(guess);
                    mix(sum, of_known, known)
                }
            };
            (first[j], second[j], third[j]) = (guess, known[0], known[1]);
            self.before[j] = corrected;
            self.sample[j] =
                mix(shares.sample * f64::from(corrected), shares.guesses, [guess, known[0], known[1]]);
        }
    }
}

fn mix(sum: f64, shares: [f64; ORDER_MAX], values: [f32; ORDER_MAX]) -> f32 {
    shares.iter().zip(values).fold(sum, |sum, (s, v)| if *s == 0.0 { sum } else { sum + s * f64::from(v) })
        as f32
}

/// The shares of every step, in the paper's letters: `λ = ln((1 − σ) / σ)`, `h` its difference, `r` distances of older steps in `h`.
fn unipc_shares(sigmas: &[f32], solver: &UniPc) -> Vec<Shares> {
    let n_steps = sigmas.len() - 1;
    let lambda = |i: usize| {
        let sigma = f64::from(sigmas[i]);
        (1.0 - sigma).ln() - sigma.ln()
    };
    let mut steps = Vec::with_capacity(n_steps);
    let mut order = 0;
    for i in 0..n_steps {
        let mut shares = Shares::default();
        if 0 < i && !solver.uncorrected.contains(&(i - 1)) {
            let update = Update::new(sigmas, i - 1, i);
            let r = distances(&lambda, i - 1, order, update.h);
            let rho = update.rho(&r, order, order == 1);
            // Guesses before this one: the newest is that of step i − 1.
            let mut of_known = [0.0; ORDER_MAX];
            of_known[0] = update.of_guess;
            for (k, (rho, r)) in rho.iter().zip(&r).enumerate() {
                of_known[k + 1] = update.of_difference * rho / r;
                of_known[0] -= update.of_difference * rho / r;
            }
            let of_new = update.of_difference * rho[order - 1];
            of_known[0] -= of_new;
            shares.correct = Some((update.of_sample, of_known, of_new));
        }
        order = solver.order.min(n_steps - i).min(i + 1);
        let update = Update::new(sigmas, i, i + 1);
        let r = distances(&lambda, i, order, update.h);
        let rho = if order == 1 { Vec::new() } else { update.rho(&r, order - 1, order == 2) };
        shares.sample = update.of_sample;
        shares.guesses[0] = update.of_guess;
        for (k, (rho, r)) in rho.iter().zip(&r).enumerate() {
            shares.guesses[k + 1] = update.of_difference * rho / r;
            shares.guesses[0] -= update.of_difference * rho / r;
        }
        steps.push(shares);
    }
    steps
}

/// `r_k` of the `order - 1` steps before step `from`.
fn distances(lambda: &impl Fn(usize) -> f64, from: usize, order: usize, h: f64) -> Vec<f64> {
    (1..order).map(|k| (lambda(from - k) - lambda(from)) / h).collect()
}

/// From one sigma to another: the part that all orders share.
struct Update {
    h: f64,
    /// Of the sample, of the newest guess, and of what differences of guesses add, before `rho`.
    of_sample: f64,
    of_guess: f64,
    of_difference: f64,
}

impl Update {
    fn new(sigmas: &[f32], from: usize, to: usize) -> Update {
        let (s, t) = (f64::from(sigmas[from]), f64::from(sigmas[to]));
        let h = ((1.0 - t).ln() - t.ln()) - ((1.0 - s).ln() - s.ln());
        // φ₁ and B are one and the same.
        let b = (-h).exp_m1();
        Update { h, of_sample: t / s, of_guess: -(1.0 - t) * b, of_difference: -(1.0 - t) * b }
    }

    /// Weights of the differences of guesses: the solution of the first `n` order conditions for the distances `r` and, if there are
    /// fewer of them than `n`, 1. `half` says that the paper's simplification of one condition holds.
    fn rho(&self, r: &[f64], n: usize, half: bool) -> Vec<f64> {
        if half {
            return vec![0.5];
        }
        let hh = -self.h;
        let b_h = hh.exp_m1();
        let mut nodes = r.to_vec();
        nodes.resize(n, 1.0);
        let (mut phi, mut factorial) = (hh.exp_m1() / hh - 1.0, 1.0);
        let mut rows: Vec<(Vec<f64>, f64)> = Vec::with_capacity(n);
        for k in 0..n {
            rows.push((nodes.iter().map(|r| r.powi(k as i32)).collect(), phi * factorial / b_h));
            factorial *= (k + 2) as f64;
            phi = phi / hh - 1.0 / factorial;
        }
        solve(rows)
    }
}

/// Gauss elimination with the largest pivot, for one to three unknowns.
fn solve(mut rows: Vec<(Vec<f64>, f64)>) -> Vec<f64> {
    let n = rows.len();
    for i in 0..n {
        let pivot =
            (i..n).max_by(|a, b| rows[*a].0[i].abs().total_cmp(&rows[*b].0[i].abs())).expect("not empty");
        rows.swap(i, pivot);
        let (head, tail) = rows.split_at_mut(i + 1);
        let (row, value) = &head[i];
        for (other, other_value) in tail {
            let factor = other[i] / row[i];
            other.iter_mut().zip(row).for_each(|(o, r)| *o -= factor * r);
            *other_value -= factor * value;
        }
    }
    let mut out = vec![0.0; n];
    for i in (0..n).rev() {
        let known: f64 = (i + 1..n).map(|j| rows[i].0[j] * out[j]).sum();
        out[i] = (rows[i].1 - known) / rows[i].0[i];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{JsonFile, Tensors};
    use crate::models::predict25::Generation;
    use std::path::Path;

    #[test]
    fn every_scheduler_steps_as_diffusers() {
        let dir = Path::new("tests/fixtures/predict");
        let tensors = Tensors::open(&dir.join("schedulers.safetensors")).unwrap();
        let configs = JsonFile::open(&dir.join("schedulers.json")).unwrap().unwrap();
        let configs = configs.root().unwrap();
        let names: Vec<&str> = tensors.names().filter_map(|n| n.strip_suffix(".sigmas")).collect();
        assert!(8 < names.len());
        for name in names {
            let config = configs.section(name).unwrap().unwrap();
            let schedule = Schedule::parse(&config, Generation::Predict25).unwrap();
            let n_steps = config.extent("steps").unwrap();
            let get = |what: &str| tensors.tensor(&format!("{name}.{what}")).unwrap().to_f32();
            let (velocities, samples, sigmas) = (get("velocities"), get("samples"), get("sigmas"));
            let n = samples.len() / (n_steps + 1);
            let mut solver = Solver::new(&schedule, n_steps, n);
            for (found, expected) in solver.sigmas.iter().zip(&sigmas) {
                assert!(
                    (found - expected).abs() <= 2e-7 * expected.abs(),
                    "{name}: sigma {found} for {expected}"
                );
            }
            assert_eq!((solver.n_calls(), sigmas.len()), (n_steps, n_steps + 1), "{name}");
            let largest = samples.iter().fold(0.0f32, |m, v| m.max(v.abs()));
            solver.begin(&samples[..n]);
            for i in 0..n_steps {
                let mut velocity = velocities[i * n..][..n].to_vec();
                solver.step(i, &mut velocity, Inputs { noise: &samples[..n], given: &[], renoise: None });
                for (found, expected) in solver.sample().iter().zip(&samples[(i + 1) * n..]) {
                    let off = (found - expected).abs();
                    assert!(
                        off <= 2e-5 * largest,
                        "{name}, step {i}: {found} for {expected} (largest {largest})"
                    );
                }
            }
        }
    }

    #[test]
    fn fixed_sigmas_end_in_the_guess_and_keep_what_is_given() {
        for renoise in [Renoise::Same, Renoise::Fresh] {
            let schedule = Schedule::Fixed { sigmas: vec![1.0, 0.5], renoise };
            let mut solver = Solver::new(&schedule, 2, 3);
            let (noise, given) = ([1.0, 2.0, 3.0], [9.0]);
            let again = [10.0, 20.0, 30.0];
            solver.begin(&noise);
            let inputs = Inputs { noise: &noise, given: &given, renoise: Some(&again) };
            solver.step(0, &mut [f32::NAN, 1.0, 1.0], inputs);
            let mixed = match renoise {
                Renoise::Same => [5.0, 1.5, 2.5],
                Renoise::Fresh => [9.5, 10.5, 16.0],
            };
            assert_eq!(solver.sample(), mixed);
            solver.step(1, &mut [f32::NAN, 2.0, 4.0], inputs);
            assert_eq!(solver.sample(), [9.0, mixed[1] - 1.0, mixed[2] - 2.0]);
        }
    }

    #[test]
    fn a_constant_velocity_leads_every_solver_to_the_same_clip() {
        // x = (1 − σ) x₀ + σ ε with v = ε − x₀ is a straight line.
        let (clean, noise) = ([0.5f32, -2.0], [1.0f32, 0.25]);
        let solver_of = |order| UniPc { order, uncorrected: vec![] };
        let spacing = crate::models::predict25::Spacing::Shift { shift: 5.0, terminal: None };
        let mut schedules = vec![Schedule::Euler { spacing, n_train_steps: 1000 }];
        schedules.extend((1..=3).map(|order| Schedule::UniPc {
            spacing,
            n_train_steps: 1000,
            solver: solver_of(order),
        }));
        for schedule in schedules {
            let mut solver = Solver::new(&schedule, 7, 2);
            solver.begin(&noise);
            for i in 0..solver.n_calls() {
                let mut velocity = [noise[0] - clean[0], noise[1] - clean[1]];
                solver.step(i, &mut velocity, Inputs { noise: &noise, given: &[], renoise: None });
            }
            for (found, expected) in solver.sample().iter().zip(clean) {
                assert!((found - expected).abs() < 1e-4, "{schedule:?}: {found} for {expected}");
            }
        }
    }
}
