//! The loop: draw, run, go back, change the weights, log, measure, save.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::DistillError;
use super::draw::{Purpose, generator};
use super::optimizer::{Gathered, Parameter, share, update};
use super::recipe::Recipe;
use super::run::{RunFolder, Step};
use super::stages::{Stage, stage};
use super::tape::Tensor;

/// What happens in a run, for whoever watches.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A step was done.
    Step(Step),
    /// Something was measured after a step.
    Measured {
        /// Which.
        step: u64,
        /// Names and figures.
        figures: Vec<(&'static str, f64)>,
    },
    /// The run can be resumed from the step after this many.
    Saved(u64),
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// Steps that are done, of all resumptions together.
    pub steps: u64,
    /// Whether these are all.
    pub finished: bool,
    /// The last step's loss.
    pub loss: f64,
}

/// Trains by a recipe until its steps are done or `stop` is set, which saves first.
///
/// # Errors
/// If the run's folder is not as it must be, the loss is no number any more, or something cannot be written. What was saved last is whole.
pub fn train(
    recipe: &Recipe,
    resume: bool,
    stop: &AtomicBool,
    watch: &mut dyn FnMut(&Event),
) -> Result<Outcome, DistillError> {
    let mut stage = stage(recipe)?;
    let mut parameters = stage.parameters(recipe.seed);
    let (mut folder, first) = match resume {
        true => RunFolder::resume(recipe, &mut parameters)?,
        false => (RunFolder::create(recipe)?, 0),
    };
    let n_steps = recipe.train.steps;
    let (before, begun) = (folder.seconds(), Instant::now());
    let save_every = Duration::from_secs(recipe.train.save_every_s);
    let (mut saved, mut loss, mut next) = (Instant::now(), f64::NAN, first);
    while next < n_steps && !stop.load(Relaxed) {
        let mut step = one_step(recipe, &mut *stage, &mut parameters, next)?;
        step.seconds = before + begun.elapsed().as_secs_f64();
        loss = step.loss;
        folder.step(step.clone())?;
        watch(&Event::Step(step));
        next += 1;
        if next.is_multiple_of(recipe.train.validate_every) || next == n_steps {
            let means: Vec<Tensor> = parameters.iter().map(Parameter::mean_tensor).collect();
            let rng = &mut generator(recipe.seed, Purpose::Validation, next);
            let figures = stage.measure(&means, rng)?;
            folder.measured(next - 1, &figures)?;
            watch(&Event::Measured { step: next - 1, figures });
        }
        if save_every <= saved.elapsed() && next < n_steps {
            save(&folder, &mut *stage, &parameters, next)?;
            saved = Instant::now();
            watch(&Event::Saved(next));
        }
    }
    save(&folder, &mut *stage, &parameters, next)?;
    watch(&Event::Saved(next));
    Ok(Outcome { steps: next, finished: next == n_steps, loss })
}

/// Saves what a resumed run needs, and a checkpoint of the running means.
fn save(
    folder: &RunFolder,
    stage: &mut dyn Stage,
    parameters: &[Parameter],
    next: u64,
) -> Result<(), DistillError> {
    folder.save(next, parameters)?;
    let means: Vec<Vec<f32>> = parameters.iter().map(|p| p.mean().to_vec()).collect();
    folder.checkpoint(|dir| stage.write(&means, dir))
}

fn one_step(
    recipe: &Recipe,
    stage: &mut dyn Stage,
    parameters: &mut [Parameter],
    step: u64,
) -> Result<Step, DistillError> {
    let train = &recipe.train;
    let leaves: Vec<Tensor> = parameters.iter().map(Parameter::tensor).collect();
    let rng = &mut generator(recipe.seed, Purpose::Step, step);
    let (mut gathered, mut loss) = (Gathered::default(), 0.0);
    let means = || -> Vec<Tensor> { parameters.iter().map(Parameter::mean_tensor).collect() };
    for _ in 0..train.parts {
        let part = stage.loss(&leaves, &means, rng)?.scaled(1.0 / train.parts as f64);
        loss += part.item();
        gathered.add(part.backward(), &leaves);
    }
    // Released, so that weights change in place.
    drop(leaves);
    let norm = gathered.norm();
    if !loss.is_finite() || !norm.is_finite() {
        return Err(DistillError::NotANumber { step, loss, norm });
    }
    let share = share(step, train.warmup, train.steps, train.floor);
    update(parameters, gathered, &train.settings(), step, share);
    Ok(Step { step, loss, norm, rate: train.learning_rate * share, seconds: 0.0 })
}
