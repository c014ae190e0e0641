//! How weights learn of their gradients: Muon on the matrices inside, AdamW on the rest, and a running mean of all of them.
//!
//! Why not burn's optimisers: they go over burn's modules, and ours are weights of a graph, by their ids.

use burn_backend::Shape;
use burn_backend::ops::FloatTensorOps;
use burn_flex::{Flex, FlexTensor};
use rayon::prelude::*;

use super::ops::product::{by_itself, product};
use super::real::{shape, tensor};
use super::tape::{Slopes, Tensor};

/// How a weight is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Not at all.
    Fixed,
    /// By its gradient's running mean over the root of its running square (Loshchilov & Hutter 2019, <https://arxiv.org/abs/1711.05101>).
    AdamW,
    /// By its gradient's running mean with all singular values made alike (Jordan et al. 2024; scaled as in Liu et al. 2025,
    /// <https://arxiv.org/abs/2502.16982>, so that steps are as long as AdamW's).
    Muon,
}

/// What changes from recipe to recipe.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// How long steps are, at most.
    pub learning_rate: f64,
    /// Share of a weight that goes with each step, times the learning rate.
    pub weight_decay: f64,
    /// Decay of the first moments.
    pub beta1: f64,
    /// Decay of the second moments.
    pub beta2: f64,
    /// The largest norm of all gradients together.
    pub clip: f64,
    /// Decay of the running mean of weights.
    pub ema: f64,
    /// Whether the mean forgets its first values fast: those of weights that had learnt nothing.
    pub ema_warms_up: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            learning_rate: 2e-3,
            weight_decay: 0.0,
            beta1: 0.9,
            beta2: 0.99,
            clip: 1.0,
            ema: 0.999,
            ema_warms_up: true,
        }
    }
}

/// A weight that learns.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Its name in the network.
    pub name: String,
    rule: Rule,
    values: FlexTensor,
    mean: Vec<f32>,
    first: Vec<f32>,
    second: Vec<f32>,
}

/// Muon's momentum.
const MOMENTUM: f32 = 0.95;
/// Root mean square of Muon's steps: what AdamW's have.
const MUON_STEP: f64 = 0.2;
const EPS: f32 = 1e-8;

impl Parameter {
    /// A weight that has learnt nothing yet.
    ///
    /// # Panics
    /// If there are not as many values as the shape says.
    pub fn new(name: &str, shape: &[usize], values: Vec<f32>, rule: Rule) -> Parameter {
        let n = values.len();
        let state = |of: bool| if of { vec![0.0; n] } else { Vec::new() };
        let is_matrix = 2 <= shape.len() && shape[1..].iter().product::<usize>() != 1;
        let rule = if rule == Rule::Muon && !is_matrix { Rule::AdamW } else { rule };
        Parameter {
            name: name.to_owned(),
            rule,
            mean: values.clone(),
            values: tensor(values, shape),
            first: state(rule != Rule::Fixed),
            second: state(rule == Rule::AdamW),
        }
    }

    /// Extents.
    pub fn shape(&self) -> Vec<usize> {
        shape(&self.values)
    }

    /// As it is now.
    pub fn values(&self) -> &[f32] {
        self.values.storage()
    }

    /// The running mean of what it was.
    pub fn mean(&self) -> &[f32] {
        &self.mean
    }

    /// Whether all of its values are numbers.
    pub fn is_finite(&self) -> bool {
        // In a sum one that is none stays, and the sum is a vector's work.
        self.values().iter().map(|v| v * 0.0).sum::<f32>() == 0.0
    }

    /// As a tensor: a leaf if it learns.
    pub fn tensor(&self) -> Tensor {
        match self.rule {
            Rule::Fixed => Tensor::plain(self.values.clone()),
            _ => Tensor::leaf(self.values.clone()),
        }
    }

    /// The running mean as a tensor of which nothing is learnt.
    pub fn mean_tensor(&self) -> Tensor {
        Tensor::plain(tensor(self.mean.clone(), &self.shape()))
    }

    /// What a resumed run needs: values, running mean and moments, each under a name of its own.
    pub fn state(&self) -> [(&'static str, &[f32]); 4] {
        [("values", self.values()), ("mean", &self.mean), ("first", &self.first), ("second", &self.second)]
    }

    /// Takes a state back.
    ///
    /// # Errors
    /// Which part has another length.
    pub fn restore(&mut self, state: [Vec<f32>; 4]) -> Result<(), &'static str> {
        let expected = self.state().map(|(name, values)| (name, values.len()));
        for ((name, n), values) in expected.into_iter().zip(&state) {
            if values.len() != n {
                return Err(name);
            }
        }
        let [values, mean, first, second] = state;
        self.values = tensor(values, &self.shape());
        (self.mean, self.first, self.second) = (mean, first, second);
        Ok(())
    }
}

/// Sums of gradients over the parts of a step.
#[derive(Default)]
pub struct Gathered(Vec<Option<FlexTensor>>);

impl Gathered {
    /// Adds the gradients with respect to these leaves, which stand in the order of the parameters.
    pub fn add(&mut self, mut slopes: Slopes, leaves: &[Tensor]) {
        self.0.resize(leaves.len(), None);
        for (sum, leaf) in self.0.iter_mut().zip(leaves) {
            let Some(slope) = slopes.take(leaf) else { continue };
            *sum = Some(match sum.take() {
                Some(sum) => Flex::float_add(sum, slope),
                None => slope.to_contiguous(),
            });
        }
    }

    /// Adds what was gathered of other parts.
    pub fn join(&mut self, other: Gathered) {
        self.0.resize(other.0.len(), None);
        for (sum, of_other) in self.0.iter_mut().zip(other.0) {
            *sum = match (sum.take(), of_other) {
                (Some(sum), Some(of_other)) => Some(Flex::float_add(sum, of_other)),
                (sum, of_other) => sum.or(of_other),
            };
        }
    }

    /// The norm of all of them together.
    pub fn norm(&self) -> f64 {
        let squares = self.0.iter().flatten().map(|g| {
            g.to_contiguous().storage::<f32>().iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>()
        });
        squares.sum::<f64>().sqrt()
    }
}

/// One step: `step` counts from 0, `norm` is that of all gradients, `share` is the schedule's part of the learning rate.
pub fn update(
    parameters: &mut [Parameter],
    gathered: &Gathered,
    norm: f64,
    settings: &Settings,
    step: u64,
    share: f64,
) {
    let scale = (settings.clip / norm.max(settings.clip)) as f32;
    // A mean over fewer steps than it will be of.
    let warm = if settings.ema_warms_up { (1.0 + step as f64) / (10.0 + step as f64) } else { 1.0 };
    let ema = settings.ema.min(warm) as f32;
    parameters.par_iter_mut().zip(&gathered.0).for_each(|(parameter, gradient)| {
        if let Some(gradient) = gradient {
            let gradient = gradient.to_contiguous();
            let gradient: Vec<f32> = gradient.storage::<f32>().iter().map(|g| g * scale).collect();
            let rate = settings.learning_rate * share;
            match parameter.rule {
                Rule::Fixed => {}
                Rule::AdamW => adam(parameter, &gradient, settings, step, rate),
                Rule::Muon => muon(parameter, &gradient, settings, rate),
            }
        }
        let values: &[f32] = parameter.values.storage();
        parameter.mean.iter_mut().zip(values).for_each(|(m, v)| *m += (1.0 - ema) * (v - *m));
    });
}

fn adam(parameter: &mut Parameter, gradient: &[f32], settings: &Settings, step: u64, rate: f64) {
    let n = (step + 1).min(1 << 30) as i32;
    let (b1, b2) = (settings.beta1 as f32, settings.beta2 as f32);
    let rate = rate as f32;
    let first_scale = 1.0 / (1.0 - settings.beta1.powi(n)) as f32;
    let second_scale = 1.0 / (1.0 - settings.beta2.powi(n)) as f32;
    let kept = 1.0 - rate * settings.weight_decay as f32;
    let moments = parameter.first.iter_mut().zip(&mut parameter.second);
    let values = parameter.values.storage_mut::<f32>().iter_mut();
    for ((value, (first, second)), g) in values.zip(moments).zip(gradient) {
        *first += (1.0 - b1) * (g - *first);
        *second += (1.0 - b2) * (g * g - *second);
        *value = *value * kept - rate * *first * first_scale / ((*second * second_scale).sqrt() + EPS);
    }
}

fn muon(parameter: &mut Parameter, gradient: &[f32], settings: &Settings, rate: f64) {
    let n_rows = parameter.shape()[0];
    let n_columns = gradient.len() / n_rows;
    for (first, g) in parameter.first.iter_mut().zip(gradient) {
        *first = MOMENTUM * *first + g;
    }
    // Nesterov's look ahead.
    let ahead: Vec<f32> = parameter.first.iter().zip(gradient).map(|(m, g)| MOMENTUM * m + g).collect();
    let step = orthogonal(tensor(ahead, &[n_rows, n_columns]));
    let rate_now = (rate * MUON_STEP * (n_rows.max(n_columns) as f64).sqrt()) as f32;
    let kept = 1.0 - (rate * settings.weight_decay) as f32;
    let values = parameter.values.storage_mut::<f32>().iter_mut();
    values.zip(step.storage::<f32>()).for_each(|(value, s)| *value = *value * kept - rate_now * s);
}

/// Nearly the orthogonal matrix nearest to `x`: five rounds of a polynomial that pulls all singular values towards one (Jordan et al.
/// 2024, "Muon").
fn orthogonal(x: FlexTensor) -> FlexTensor {
    const C: [f32; 3] = [3.4445, -4.7750, 2.0315];
    let [n_rows, n_columns] = <[usize; 2]>::try_from(shape(&x)).expect("a matrix");
    let tall = n_columns < n_rows;
    let mut x = if tall { Flex::float_transpose(x).to_contiguous() } else { x };
    let square: f64 = x.storage::<f32>().iter().map(|v| f64::from(*v).powi(2)).sum();
    let scale = 1.0 / (square.sqrt() as f32 + 1e-7);
    x.storage_mut::<f32>().iter_mut().for_each(|v| *v *= scale);
    for _ in 0..5 {
        let a = by_itself(&x);
        // It is symmetric.
        let mut b = by_itself(&a);
        let terms = b.storage_mut::<f32>().iter_mut().zip(a.storage::<f32>());
        terms.for_each(|(b, a)| *b = C[1] * a + C[2] * *b);
        let mut next = product(&b, &x);
        let terms = next.storage_mut::<f32>().iter_mut().zip(x.storage::<f32>());
        terms.for_each(|(n, x)| *n += C[0] * x);
        x = next;
    }
    if tall { Flex::float_transpose(x).to_contiguous() } else { x.reshape(Shape::from([n_rows, n_columns])) }
}

/// The schedule: up in a line over the first steps, then down along a cosine to a share that is left.
pub fn share(step: u64, n_warmup: u64, n_steps: u64, floor: f64) -> f64 {
    if step < n_warmup {
        return (step + 1) as f64 / n_warmup as f64;
    }
    let through = (step - n_warmup) as f64 / n_steps.saturating_sub(n_warmup).max(1) as f64;
    floor + (1.0 - floor) * 0.5 * (1.0 + (std::f64::consts::PI * through.min(1.0)).cos())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distill::ops;
    use crate::scenes::Rng;

    fn singular_values_are_near_one(n_rows: usize, n_columns: usize) {
        let mut rng = Rng::new(3);
        let x = (0..n_rows * n_columns).map(|_| rng.uniform(-1.0, 1.0) as f32).collect();
        let q = orthogonal(tensor(x, &[n_rows, n_columns]));
        let q = if n_columns < n_rows { Flex::float_transpose(q) } else { q };
        let n = n_rows.min(n_columns);
        let square = Flex::float_matmul(q.clone(), Flex::float_transpose(q));
        let trace: f32 = (0..n).map(|i| square.storage::<f32>()[i * n + i]).sum();
        assert!((0.5..1.3).contains(&(trace / n as f32)), "{trace} of {n}");
    }

    #[test]
    fn muon_makes_singular_values_alike() {
        singular_values_are_near_one(8, 40);
        singular_values_are_near_one(40, 8);
    }

    #[test]
    fn both_rules_find_the_least_square() {
        // Of Muon's steps the longest move a singular value by 0.4 of the rate.
        for (rule, learning_rate) in [(Rule::AdamW, 0.05), (Rule::Muon, 0.1)] {
            let mut all = [Parameter::new("w", &[4, 4], vec![0.0; 16], rule)];
            let goal: Vec<f32> = (0..16).map(|i| (i as f32 * 0.7).sin()).collect();
            let distance =
                |p: &Parameter| -> f32 { p.values().iter().zip(&goal).map(|(v, g)| (v - g).powi(2)).sum() };
            let before = distance(&all[0]);
            let settings = Settings { learning_rate, clip: 1e9, ..Settings::default() };
            for step in 0..200 {
                let leaves = [all[0].tensor()];
                let goal = Tensor::constant(goal.clone(), &[4, 4]);
                let away = ops::sub(&leaves[0], &goal);
                let loss = ops::mul(&away, &away).sum();
                let mut gathered = Gathered::default();
                gathered.add(loss.backward(), &leaves);
                drop(leaves);
                let norm = gathered.norm();
                update(&mut all, &gathered, norm, &settings, step, share(step, 10, 200, 0.0));
            }
            assert!(distance(&all[0]) < 1e-2 * before, "{rule:?}: {before}, {}", distance(&all[0]));
        }
    }

    #[test]
    fn one_step_is_what_it_is_by_hand() {
        let mut all = [Parameter::new("w", &[2], vec![1.0, -2.0], Rule::AdamW)];
        let leaves = [all[0].tensor()];
        let loss = ops::mul(&leaves[0], &Tensor::constant(vec![3.0_f32, 4.0], &[2])).sum();
        let mut gathered = Gathered::default();
        gathered.add(loss.backward(), &leaves);
        drop(leaves);
        assert_eq!(gathered.norm(), 5.0);
        let settings = Settings { learning_rate: 0.1, weight_decay: 0.5, clip: 1.0, ..Settings::default() };
        update(&mut all, &gathered, 5.0, &settings, 0, 0.5);
        // A gradient of 0.6 and 0.8; a first step is as long as the rate, 0.05; 0.025 of each weight goes.
        let near = |found: &[f32], expected: [f32; 2]| {
            assert!(found.iter().zip(expected).all(|(f, e)| (f - e).abs() < 1e-6), "{found:?}, {expected:?}");
        };
        let [values, mean, first, second] = all[0].state().map(|(_, values)| values);
        near(values, [0.975 - 0.05, -1.95 - 0.05]);
        // A mean over few steps: the first values count a tenth.
        near(mean, [1.0 + 0.9 * (0.925 - 1.0), -2.0]);
        near(first, [0.06, 0.08]);
        // Of weights that have learnt before, the mean moves by its share at once.
        let mut taught = [Parameter::new("w", &[2], vec![1.0, -2.0], Rule::AdamW)];
        update(&mut taught, &gathered, 5.0, &Settings { ema: 0.98, ema_warms_up: false, ..settings }, 0, 0.5);
        near(taught[0].mean(), [1.0 + 0.02 * (0.925 - 1.0), -2.0 + 0.02 * (-2.0 + 2.0)]);
        near(second, [0.0036, 0.0064]);
    }

    #[test]
    fn a_weight_that_is_no_number_is_seen() {
        for (last, expected) in [(1e38, true), (f32::INFINITY, false), (f32::NAN, false)] {
            let weight = Parameter::new("w", &[3], vec![1e38, -1e38, last], Rule::AdamW);
            assert_eq!(weight.is_finite(), expected, "{last}");
        }
    }

    #[test]
    fn a_schedule_rises_and_falls() {
        let found: Vec<f64> = [0, 9, 10, 55, 100, 200].map(|s| share(s, 10, 100, 0.1)).to_vec();
        let expected = [0.1, 1.0, 1.0, 0.55, 0.1, 0.1];
        assert!(found.iter().zip(expected).all(|(f, e)| (f - e).abs() < 1e-9), "{found:?}");
    }
}
