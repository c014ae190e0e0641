//! Which sigmas a forecast is denoised at, and by which solver, as `scheduler/scheduler_config.json` says.
//!
//! Sigmas are those of rectified flow: a sample is `(1 − σ) x₀ + σ ε`, and the network is told σ. Predict2's pipeline counts in
//! `s = σ / (1 − σ)` instead; its Euler steps in `s` are Euler steps in σ, since either keeps `x₀` and `ε` of a call and changes only
//! their shares. So one sampler serves both, and only where it begins and ends differs.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::{Generation, PredictError};
use crate::checkpoint::Section;

/// More steps than a forecast is ever given.
const STEPS_MAX: usize = 1000;

/// Spacing of the sigmas.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spacing {
    /// Evenly from 1, then `shift σ / (1 + (shift − 1) σ)`.
    Shift {
        /// More than 1 puts more steps at high noise.
        shift: f64,
        /// Where the last one lies, if not where it falls.
        terminal: Option<f64>,
    },
    /// Evenly in the seventh root of `s = σ / (1 − σ)` (Karras et al. 2022, <https://arxiv.org/abs/2206.00364>).
    Karras {
        /// The last `s`.
        min: f64,
        /// The first `s`.
        max: f64,
    },
    /// The same over σ itself, between the bounds of a shifted spacing: diffusers' Euler scheduler outside Predict2's pipeline.
    KarrasOfSigma {
        /// As in [`Spacing::Shift`].
        shift: f64,
    },
}

/// Steps of UniPC (Zhao et al. 2023, <https://arxiv.org/abs/2302.04867>), predicting `x₀` with `B(h) = eʰ − 1`, the last ones of lower
/// order: toward σ = 0 the other variants divide by zero.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UniPc {
    /// Of the predictor, 1 to 3.
    pub order: usize,
    /// Steps after which nothing is corrected.
    pub uncorrected: Vec<usize>,
}

/// Where noise for the next step of few comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Renoise {
    /// The first noise again, as Predict2.5's distilled sampler.
    Same,
    /// New noise, as Cosmos 3's.
    Fresh,
}

/// How a forecast is sampled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// First-order steps along the velocity.
    Euler {
        /// Of the sigmas.
        spacing: Spacing,
        /// Training timesteps: how small a shifted sigma gets.
        n_train_steps: usize,
    },
    /// UniPC.
    UniPc {
        /// Of the sigmas.
        spacing: Spacing,
        /// Training timesteps: how small a shifted sigma gets.
        n_train_steps: usize,
        /// Of the solver.
        solver: UniPc,
    },
    /// Predict2's pipeline: Euler steps, the noise scaled to the first `s`, the last `s` left in.
    Predict2Euler {
        /// The last `s`.
        min: f64,
        /// The first `s`.
        max: f64,
    },
    /// The sigmas that a distilled student was trained at; `x₀` is guessed and noised again, without guidance.
    Fixed {
        /// Falling, each in 0…1 (0 excluded).
        sigmas: Vec<f64>,
        /// With what it is noised.
        renoise: Renoise,
    },
}

impl Schedule {
    /// How many steps it can be gone through in.
    #[must_use]
    pub fn steps(&self) -> RangeInclusive<usize> {
        match self {
            Schedule::Fixed { sigmas, .. } => 1..=sigmas.len(),
            Schedule::Predict2Euler { .. } => 2..=STEPS_MAX,
            Schedule::Euler { .. } | Schedule::UniPc { .. } => 1..=STEPS_MAX,
        }
    }

    /// Reads a scheduler's config.
    ///
    /// # Errors
    /// If it is none of those above.
    pub fn parse(config: &Section<'_>, generation: Generation) -> Result<Schedule, PredictError> {
        let n_train_steps = config.count("num_train_timesteps")?.unwrap_or(1000);
        if n_train_steps < 2 {
            return Err(config.wrong("num_train_timesteps", "an integer from 2 on").into());
        }
        for key in [
            "use_exponential_sigmas",
            "use_beta_sigmas",
            "use_dynamic_shifting",
            "invert_sigmas",
            "thresholding",
            "stochastic_sampling",
        ] {
            if config.flag(key)? == Some(true) {
                return Err(config.wrong(key, "false").into());
            }
        }
        let karras = config.flag("use_karras_sigmas")? == Some(true);
        let terminal = config.number("shift_terminal")?;
        if terminal.is_some_and(|t| t <= 0.0 || 1.0 <= t) {
            return Err(config.wrong("shift_terminal", "a number between 0 and 1").into());
        }
        let bounds = |config: &Section<'_>| -> Result<(f64, f64), PredictError> {
            let min = config.required("sigma_min", config.number("sigma_min")?)?;
            let max = config.required("sigma_max", config.number("sigma_max")?)?;
            if min <= 0.0 || max <= min {
                return Err(config.wrong("sigma_max", "more than `sigma_min`, which is more than 0").into());
            }
            Ok((min, max))
        };
        let shift = |key: &str| -> Result<f64, PredictError> {
            let shift = config.number(key)?.unwrap_or(1.0);
            if shift <= 0.0 { Err(config.wrong(key, "a positive number").into()) } else { Ok(shift) }
        };
        match config.text("_class_name")? {
            Some("FlowMatchEulerDiscreteScheduler") if generation == Generation::Predict2 => {
                // The pipeline sets the bounds itself, whatever the config says.
                Ok(Schedule::Predict2Euler { min: 0.002, max: 80.0 })
            }
            Some("FlowMatchEulerDiscreteScheduler") => {
                let shift = shift("shift")?;
                let spacing = if karras {
                    Spacing::KarrasOfSigma { shift }
                } else {
                    Spacing::Shift { shift, terminal }
                };
                Ok(Schedule::Euler { spacing, n_train_steps })
            }
            Some("UniPCMultistepScheduler") => {
                if config.flag("use_flow_sigmas")? != Some(true) {
                    return Err(config.wrong("use_flow_sigmas", "true").into());
                }
                let text = |key: &str, one: &str| match config.text(key)? {
                    Some(found) if found != one => {
                        Err(PredictError::from(config.wrong(key, format!("`{one}`"))))
                    }
                    _ => Ok(()),
                };
                text("prediction_type", "flow_prediction")?;
                text("solver_type", "bh2")?;
                text("final_sigmas_type", "zero")?;
                for key in ["predict_x0", "lower_order_final"] {
                    if config.flag(key)? == Some(false) {
                        return Err(config.wrong(key, "true").into());
                    }
                }
                let spacing = if karras {
                    let (min, max) = bounds(config)?;
                    Spacing::Karras { min, max }
                } else {
                    Spacing::Shift { shift: shift("flow_shift")?, terminal }
                };
                let order = config.count("solver_order")?.unwrap_or(2);
                if !(1..=3).contains(&order) {
                    return Err(config.wrong("solver_order", "1, 2 or 3").into());
                }
                let uncorrected = config.counts("disable_corrector")?.unwrap_or_default();
                Ok(Schedule::UniPc { spacing, n_train_steps, solver: UniPc { order, uncorrected } })
            }
            _ => Err(config
                .wrong("_class_name", "`UniPCMultistepScheduler` or `FlowMatchEulerDiscreteScheduler`")
                .into()),
        }
    }

    /// Checks what a file may have made of it.
    ///
    /// # Errors
    /// What is out of range, in words.
    pub fn check(&self) -> Result<(), String> {
        let spacing = |spacing: Spacing| match spacing {
            Spacing::Shift { shift, terminal } => {
                positive(shift) && terminal.is_none_or(|t| positive(t) && t < 1.0)
            }
            Spacing::Karras { min, max } => positive(min) && positive(max) && min < max,
            Spacing::KarrasOfSigma { shift } => positive(shift),
        };
        let sound = match self {
            Schedule::Euler { spacing: s, n_train_steps } => spacing(*s) && 2 <= *n_train_steps,
            Schedule::UniPc { spacing: s, n_train_steps, solver } => {
                spacing(*s) && 2 <= *n_train_steps && (1..=3).contains(&solver.order)
            }
            Schedule::Predict2Euler { min, max } => spacing(Spacing::Karras { min: *min, max: *max }),
            Schedule::Fixed { sigmas, .. } => {
                !sigmas.is_empty()
                    && sigmas.iter().all(|s| positive(*s) && *s <= 1.0)
                    && sigmas.windows(2).all(|w| w[1] < w[0])
            }
        };
        if sound { Ok(()) } else { Err(format!("the schedule is out of range: {self:?}")) }
    }

    /// How many steps are taken unless someone asks for another number.
    pub fn default_steps(&self) -> usize {
        match self {
            Schedule::Fixed { sigmas, .. } => sigmas.len(),
            Schedule::Predict2Euler { .. } => 35,
            Schedule::Euler { .. } | Schedule::UniPc { .. } => 36,
        }
    }

    /// The sigmas of the network's calls, and the one after them, when `n_steps` are asked for. Of distilled sigmas the first
    /// `n_steps` are taken.
    ///
    /// Rounded to f32 as the reference rounds them, since solvers divide by their differences.
    pub fn sigmas(&self, n_steps: usize) -> Vec<f32> {
        let mut sigmas = match self {
            Schedule::Fixed { sigmas, .. } => sigmas[..n_steps.min(sigmas.len())].to_vec(),
            Schedule::Predict2Euler { min, max } => {
                // The pipeline repeats its last `s`, so that its last call changes nothing: that call is not made.
                return karras(*min, *max, n_steps.max(2)).iter().map(|s| flow_f32(*s as f32)).collect();
            }
            Schedule::Euler { spacing, n_train_steps } => euler_sigmas(*spacing, *n_train_steps, n_steps),
            Schedule::UniPc { spacing, n_train_steps, .. } => unipc_sigmas(*spacing, *n_train_steps, n_steps),
        };
        sigmas.push(0.0);
        sigmas.iter().map(|s| *s as f32).collect()
    }
}

fn positive(x: f64) -> bool {
    x.is_finite() && 0.0 < x
}

fn flow_f32(s: f32) -> f32 {
    s / (s + 1.0)
}

fn shifted(sigma: f64, shift: f64) -> f64 {
    shift * sigma / (1.0 + (shift - 1.0) * sigma)
}

fn linspace(from: f64, to: f64, n: usize) -> Vec<f64> {
    let step = (to - from) / (n.max(2) - 1) as f64;
    (0..n).map(|i| if i + 1 == n && 1 < n { to } else { from + i as f64 * step }).collect()
}

fn karras(min: f64, max: f64, n: usize) -> Vec<f64> {
    const RHO: f64 = 7.0;
    let (low, high) = (min.powf(1.0 / RHO), max.powf(1.0 / RHO));
    linspace(0.0, 1.0, n).iter().map(|ramp| (high + ramp * (low - high)).powf(RHO)).collect()
}

/// Moves the last sigma to `terminal` and stretches the others with it.
fn stretch(sigmas: &mut [f64], terminal: Option<f64>) {
    if let (Some(terminal), Some(last)) = (terminal, sigmas.last().copied()) {
        let scale = (1.0 - last) / (1.0 - terminal);
        sigmas.iter_mut().for_each(|s| *s = 1.0 - (1.0 - *s) / scale);
    }
}

fn euler_sigmas(spacing: Spacing, n_train_steps: usize, n: usize) -> Vec<f64> {
    let (shift, terminal) = match spacing {
        Spacing::Shift { shift, terminal } => (shift, terminal),
        Spacing::KarrasOfSigma { shift } => (shift, None),
        Spacing::Karras { min, max } => return karras(min, max, n).iter().map(|s| s / (s + 1.0)).collect(),
    };
    // The reference shifts the smallest training sigma and then everything once more.
    let smallest = shifted_f32(1.0 / n_train_steps as f32, shift as f32);
    let train = n_train_steps as f64;
    let mut sigmas: Vec<f64> =
        linspace(train, f64::from(smallest) * train, n).iter().map(|t| shifted(t / train, shift)).collect();
    stretch(&mut sigmas, terminal);
    if let Spacing::KarrasOfSigma { .. } = spacing {
        sigmas = karras(sigmas[n - 1], sigmas[0], n);
    }
    sigmas
}

fn shifted_f32(sigma: f32, shift: f32) -> f32 {
    shift * sigma / (1.0 + (shift - 1.0) * sigma)
}

fn unipc_sigmas(spacing: Spacing, n_train_steps: usize, n: usize) -> Vec<f64> {
    match spacing {
        Spacing::Karras { min, max } => karras(min, max, n).iter().map(|s| s / (s + 1.0)).collect(),
        Spacing::Shift { shift, terminal } => {
            let mut sigmas = linspace(1.0, 1.0 / n_train_steps as f64, n + 1);
            sigmas.truncate(n);
            sigmas.iter_mut().for_each(|s| *s = shifted(*s, shift));
            stretch(&mut sigmas, terminal);
            // The logarithm of `1 − σ` is taken.
            if (sigmas[0] - 1.0).abs() < 1e-6 {
                sigmas[0] -= 1e-6;
            }
            sigmas
        }
        Spacing::KarrasOfSigma { shift } => euler_sigmas(Spacing::KarrasOfSigma { shift }, n_train_steps, n),
    }
}
