//! The loop: draw, run, go back, change the weights, log, measure, save.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::Builder;
use std::time::{Duration, Instant};

use perihelion_kernels::Isa;
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::DistillError;
use super::draw::{Purpose, generator};
use super::optimizer::{Gathered, Parameter, Settings, share, update};
use super::recipe::Recipe;
use super::run::{RunFolder, Step};
use super::stages::{Stage, stage};
use super::tape::Tensor;
use crate::install::check_room;

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
    Isa::detect()?;
    let stage = stage(recipe)?;
    let inputs = stage.inputs();
    let mut parameters = stage.parameters(recipe.seed);
    // Where a run goes on, one state and checkpoint lie there already.
    let room =
        check_room(&recipe.output.join("state"), saved_bytes(&parameters) / if resume { 2 } else { 1 });
    room.map_err(|e| DistillError::io(&recipe.output, e))?;
    let (mut folder, first) = match resume {
        true => RunFolder::resume(recipe, &inputs, &mut parameters)?,
        false => (RunFolder::create(recipe, &inputs)?, 0),
    };
    let n_steps = recipe.train.steps;
    let (before, begun) = (folder.seconds(), Instant::now());
    let save_every = Duration::from_secs(recipe.train.save_every_s);
    let (mut saved, mut loss, mut next) = (Instant::now(), folder.loss(), first);
    let pools = pools(recipe)?;
    while next < n_steps && !stop.load(Relaxed) {
        let slopes = slopes(recipe, &*stage, &parameters, next, recipe.train.parts, &pools)?;
        // Here, where the weights are known to give a loss and a gradient that are numbers.
        if first < next && save_every <= saved.elapsed() {
            save(&folder, &*stage, &parameters, next)?;
            saved = Instant::now();
            watch(&Event::Saved(next));
        }
        let mut step = change(recipe, &mut parameters, next, &slopes)?;
        step.seconds = before + begun.elapsed().as_secs_f64();
        loss = step.loss;
        folder.step(step.clone())?;
        watch(&Event::Step(step));
        next += 1;
        if next.is_multiple_of(recipe.train.validate_every) || next == n_steps {
            let means: Vec<Tensor> = parameters.iter().map(Parameter::mean_tensor).collect();
            let rng = &mut generator(recipe.seed, Purpose::Validation, next);
            let figures = stage.measure(&means, rng)?;
            if let Some((name, value)) = figures.iter().find(|(_, value)| !value.is_finite()) {
                return Err(DistillError::Measured { step: next - 1, name, value: *value });
            }
            folder.measured(next - 1, &figures)?;
            watch(&Event::Measured { step: next - 1, figures });
        }
    }
    // What was saved last is of use: these weights are saved only if they give a loss and a gradient that are numbers, too. One part shows
    // it, since who stops a run waits.
    if first < next {
        slopes(recipe, &*stage, &parameters, next, 1, &pools)?;
    }
    save(&folder, &*stage, &parameters, next)?;
    watch(&Event::Saved(next));
    Ok(Outcome { steps: next, finished: next == n_steps, loss })
}

/// Of a state and a checkpoint, beside those that they take the place of.
fn saved_bytes(parameters: &[Parameter]) -> u64 {
    let of = |p: &Parameter| p.state().map(|(_, values)| values.len()).iter().sum::<usize>() + p.mean().len();
    2 * size_of::<f32>() as u64 * parameters.iter().map(of).sum::<usize>() as u64
}

/// Saves what a resumed run needs, and a checkpoint of the running means.
fn save(
    folder: &RunFolder,
    stage: &dyn Stage,
    parameters: &[Parameter],
    next: u64,
) -> Result<(), DistillError> {
    folder.save(next, parameters)?;
    let means: Vec<Vec<f32>> = parameters.iter().map(|p| p.mean().to_vec()).collect();
    folder.checkpoint(|dir| stage.write(&means, dir))
}

/// The gradients of a step, and its loss.
struct SlopesOfStep {
    gathered: Gathered,
    loss: f64,
    norm: f64,
}

/// The threads of each part that is computed at the same time as others: no more parts than there are threads.
fn pools(recipe: &Recipe) -> Result<Vec<ThreadPool>, DistillError> {
    let n_threads = rayon::current_num_threads();
    let n = recipe.train.at_once.min(n_threads);
    let pool = |_| ThreadPoolBuilder::new().num_threads(n_threads / n).build();
    let pools = (0..n).map(pool).collect::<Result<_, _>>();
    pools.map_err(|why| DistillError::io(&recipe.output, std::io::Error::other(why)))
}

/// The gradients of `n_parts` parts. They are added up in as many lanes as the recipe has parts at the same time, and these in their
/// order, however many pools there are to compute them.
fn slopes(
    recipe: &Recipe,
    stage: &dyn Stage,
    parameters: &[Parameter],
    step: u64,
    n_parts: usize,
    pools: &[ThreadPool],
) -> Result<SlopesOfStep, DistillError> {
    let n_lanes = recipe.train.at_once.min(n_parts);
    let lane = |first: usize| -> Result<(Gathered, f64), DistillError> {
        let (mut gathered, mut loss) = (Gathered::default(), 0.0);
        let means = || -> Vec<Tensor> { parameters.iter().map(Parameter::mean_tensor).collect() };
        for part in (first..n_parts).step_by(n_lanes) {
            // Leaves of their own, since the tape keeps what has leaves in common under one lock.
            let leaves: Vec<Tensor> = parameters.iter().map(Parameter::tensor).collect();
            let rng = &mut generator(recipe.seed, Purpose::Step(part), step);
            let of_part = stage.loss(&leaves, &means, rng)?.scaled(1.0 / n_parts as f64);
            loss += of_part.item();
            gathered.add(of_part.backward(), &leaves);
        }
        Ok((gathered, loss))
    };
    // Pool `i` of `n` takes every `n`th lane from the `i`th on; the first is this thread's.
    let of_pool =
        |i: usize| -> Vec<_> { pools[i].install(|| (i..n_lanes).step_by(pools.len()).map(&lane).collect()) };
    let mut of_pools = std::thread::scope(|scope| {
        let of_pool = &of_pool;
        let begin = |i| Builder::new().spawn_scoped(scope, move || of_pool(i));
        let begun = (1..pools.len().min(n_lanes)).map(begin).collect::<Result<Vec<_>, _>>();
        let begun = begun.map_err(|why| DistillError::io(&recipe.output, why))?;
        let others = begun.into_iter().map(|of| of.join().unwrap_or_else(|panic| resume_unwind(panic)));
        Ok::<Vec<_>, DistillError>(std::iter::once(of_pool(0)).chain(others).map(Vec::into_iter).collect())
    })?;
    let (mut gathered, mut loss) = (Gathered::default(), 0.0);
    for i in 0..n_lanes {
        let lane = of_pools[i % pools.len()].next().expect("each pool has its lanes in their order");
        let (of_lane, loss_of_lane) = lane?;
        gathered.join(of_lane);
        loss += loss_of_lane;
    }
    let norm = gathered.norm();
    match loss.is_finite() && norm.is_finite() {
        true => Ok(SlopesOfStep { gathered, loss, norm }),
        false => Err(DistillError::NotANumber { step, loss, norm }),
    }
}

/// Changes the weights; no other holds them, so that they change in place.
fn change(
    recipe: &Recipe,
    parameters: &mut [Parameter],
    step: u64,
    slopes: &SlopesOfStep,
) -> Result<Step, DistillError> {
    let train = &recipe.train;
    let SlopesOfStep { gathered, loss, norm } = slopes;
    let (loss, norm) = (*loss, *norm);
    let share = share(step, train.warmup, train.steps, train.floor);
    let ema_warms_up = !recipe.stage.begins_taught();
    update(parameters, gathered, norm, &Settings { ema_warms_up, ..train.settings() }, step, share);
    // Before anything of them is saved.
    match parameters.iter().all(Parameter::is_finite) {
        true => Ok(Step { step, loss, norm, rate: train.learning_rate * share, seconds: 0.0 }),
        false => Err(DistillError::Diverged { step, norm }),
    }
}
