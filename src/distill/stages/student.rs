//! A student of few steps: discrete consistency (Song et al. 2023, <https://arxiv.org/abs/2303.01469>, section 5).
//!
//! On a grid of shifted times, from a to the next b: one step of the teacher from the noised latents at a gives those at b, and what the
//! student says of the clean latents at a must be what its own running mean says at b. So what it says at the first time, of noise
//! alone, is where the teacher's course would have ended. The loss is the root of the square over each clip, which large errors move less.
//!
//! Why not by forward derivatives, as rCM: the tape goes back only.

use std::collections::HashMap;
use std::path::Path;

use serde_json::json;

use super::denoiser::{DECODED, Denoiser, mixed, shifted, shifted_times};
use super::{Means, Stage, digest, pipeline};
use crate::checkpoint::Checkpoint;
use crate::distill::DistillError;
use crate::distill::draw::normal;
use crate::distill::ops;
use crate::distill::optimizer::Parameter;
use crate::distill::recipe::{Recipe, StudentRecipe, Train};
use crate::distill::tape::Tensor;
use crate::models::predict25::{PredictCheckpoint, TextEmbedding};
use crate::scenes::Rng;
use crate::scenes::robot::Split;

/// The teacher's forecast that a student is measured beside.
const TEACHER_STEPS: usize = 8;
const TEACHER_SHIFT: f64 = 3.0;
/// Keeps the root's slope finite where nothing is off.
const ROOT_FLOOR: f64 = 1e-6;

pub(super) struct Student {
    train: Train,
    of: StudentRecipe,
    denoiser: Denoiser,
    teacher: Vec<Tensor>,
    first: HashMap<String, Vec<f32>>,
}

impl Student {
    pub(super) fn new(recipe: &Recipe, of: &StudentRecipe) -> Result<Student, DistillError> {
        let dir = recipe.beside(&of.teacher);
        let checkpoint = PredictCheckpoint::open(&dir)?;
        let config = checkpoint.config();
        pipeline::check_taught(&checkpoint).map_err(|why| DistillError::run(&dir, why))?;
        // Its own keys are set below: what stands there is an object, or nothing.
        config.notes()?;
        let text = TextEmbedding::load(&config.denoiser, "default", &dir.join(TextEmbedding::FILE))?;
        let mut index = config.index.value().clone();
        pipeline::ask_at(&mut index, &of.sigmas);
        let notes = &mut index["perihelion"];
        // What it is trained on, which may not be what its teacher was.
        for side in ["height", "width"] {
            notes[side] = json!(recipe.scenes.size);
        }
        notes["frames"] = json!(recipe.scenes.frames_max());
        notes["condition_frames"] = json!(of.given[0].0);
        let transformer = checkpoint.transformer().config().value().clone();
        let vae = Checkpoint::open(checkpoint.vae().dir())?;
        let denoiser = Denoiser::new(recipe, &of.given, index, transformer, vae, text)?;
        let first = denoiser.first(&checkpoint)?;
        let teacher = denoiser.parameters(|_, weight| first[&weight.name].clone());
        let teacher = teacher.iter().map(Parameter::mean_tensor).collect();
        Ok(Student { train: recipe.train.clone(), of: of.clone(), denoiser, teacher, first })
    }
}

impl Stage for Student {
    fn inputs(&self) -> String {
        let values: Vec<Vec<f32>> = self.teacher.iter().map(Tensor::to_f32).collect();
        digest(values.iter().map(Vec::as_slice))
    }

    fn parameters(&self, _: u64) -> Vec<Parameter> {
        self.denoiser.parameters(|_, weight| self.first[&weight.name].clone())
    }

    fn loss(&self, weights: &[Tensor], means: &Means<'_>, rng: &mut Rng) -> Result<Tensor, DistillError> {
        let batch = self.denoiser.drawn(weights, self.train.batch, rng)?;
        let times = self.of.times;
        let (mut a, mut b) = (Vec::new(), Vec::new());
        for _ in 0..batch.n {
            let at = 1 + rng.below(times);
            a.push(shifted(at as f64 / times as f64, self.of.shift) as f32);
            b.push(shifted((at - 1) as f64 / times as f64, self.of.shift) as f32);
        }
        let (_, x_a) = mixed(&self.denoiser, &batch, &a, rng);
        let open = self.denoiser.open(&batch);
        let each = self.denoiser.len();
        let course = self.denoiser.velocity(&self.teacher, &batch, &a, &x_a)?.to_f32();
        let step =
            |(i, ((x, v), open)): (usize, ((&f32, &f32), &f32))| x - (a[i / each] - b[i / each]) * v * open;
        let x_b: Vec<f32> = x_a.iter().zip(&course).zip(&open).enumerate().map(step).collect();
        let told = self.denoiser.velocity(&means(), &batch, &b, &x_b)?.to_f32();
        let clean = x_b.iter().zip(told).enumerate().map(|(i, (x, v))| x - b[i / each] * v).collect();

        let velocity = self.denoiser.velocity(weights, &batch, &a, &x_a)?;
        let shape = velocity.shape();
        let sigma = Tensor::constant(a, &[batch.n, 1, 1]);
        let said = ops::sub(&Tensor::constant(x_a, &shape), &ops::mul(&velocity, &sigma));
        let away = ops::sub(&said, &Tensor::constant(clean, &shape));
        let n_open: Vec<f32> = open.chunks_exact(each).map(|open| open.iter().sum()).collect();
        let away = ops::mul(&away, &Tensor::constant(open, &shape));
        let square = ops::mul(&away, &away).reshaped(&[batch.n, each]);
        let share = n_open.iter().flat_map(|n| vec![1.0 / n; each]).collect();
        let square = ops::mul(&square, &Tensor::constant(share, &[batch.n, each]));
        // The sum over a clip is a product with ones.
        let square = ops::linear(&square, &Tensor::constant(vec![1.0_f32; each], &[1, each]), None);
        Ok(square.shifted(ROOT_FLOOR).sqrt().mean())
    }

    fn measure(&self, weights: &[Tensor], rng: &mut Rng) -> Result<Vec<(&'static str, f64)>, DistillError> {
        let batch = self.denoiser.measured(weights, rng)?;
        let noise = normal(&mut Rng::new(1), batch.latents.len());
        let decibels = |weights: &[Tensor], sigmas: &[f32], straight: bool| {
            let found = self.denoiser.forecast(weights, &batch, &noise, sigmas, straight)?;
            self.denoiser.decibels(weights, &found, Split::Validation, DECODED)
        };
        let sigmas: Vec<f32> = self.of.sigmas.iter().map(|s| *s as f32).collect();
        let taught = shifted_times(TEACHER_STEPS, TEACHER_SHIFT);
        Ok(vec![
            ("forecast_psnr_db", decibels(weights, &sigmas, false)?),
            ("one_step_psnr_db", decibels(weights, &[1.0], false)?),
            ("teacher_8_steps_psnr_db", decibels(&self.teacher, &taught, true)?),
        ])
    }

    fn write(&self, values: &[Vec<f32>], dir: &Path) -> Result<(), DistillError> {
        self.denoiser.write(values, dir)
    }
}
