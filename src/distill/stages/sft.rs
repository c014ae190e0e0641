//! Supervised fine-tuning of a model that answers: how likely the true answers' tokens are, given clip and question.
//!
//! The loss is the mean surprise at the tokens of answers, with the one that ends them, and none of the question's. Beside it may stand
//! what visual tokens are to tell of the objects in their squares (`seeing.rs`). Measured is what counts afterwards: greedy answers to
//! clips of the validation split, right by the judge that `report` asks.

use std::path::Path;

use super::lesson::{Lesson, Lessons};
use super::reading::Reading;
use super::reasoner::Reasoner;
use super::{Means, Stage, judged, seeing};
use crate::distill::DistillError;
use crate::distill::ops;
use crate::distill::optimizer::Parameter;
use crate::distill::recipe::{Recipe, SftRecipe, Train};
use crate::distill::tape::Tensor;
use crate::scenes::Rng;

pub(super) struct Sft {
    train: Train,
    of: SftRecipe,
    reasoner: Reasoner,
    lessons: Lessons,
}

impl Sft {
    pub(super) fn new(recipe: &Recipe, of: &SftRecipe) -> Result<Sft, DistillError> {
        let reasoner = Reasoner::new(recipe, ["sft.like", "sft.from"], &of.like, of.from.as_deref())?;
        let lessons = Lessons::new(recipe, &reasoner, of.topics(), of.questions)?;
        Ok(Sft { train: recipe.train.clone(), of: of.clone(), reasoner, lessons })
    }
}

/// The surprise at the tokens of a lesson's answers, added up.
fn surprise(reading: &Reading<'_>, lesson: &Lesson) -> Result<Tensor, DistillError> {
    let answers: Vec<(usize, &[u32])> =
        lesson.posed.iter().map(|posed| &posed.answer[..]).enumerate().collect();
    let ids: Vec<usize> =
        lesson.posed.iter().flat_map(|posed| &posed.answer).map(|id| *id as usize).collect();
    Ok(ops::log_likelihood(&reading.logits(&answers)?, &ids).sum().scaled(-1.0))
}

impl Stage for Sft {
    fn inputs(&self) -> String {
        self.reasoner.inputs()
    }

    fn parameters(&self, seed: u64) -> Vec<Parameter> {
        let mut all = self.reasoner.parameters(seed);
        if 0.0 < self.of.auxiliary {
            all.extend(seeing::parameters(seed, self.reasoner.config.language.hidden_size));
        }
        all
    }

    fn loss(&self, weights: &[Tensor], _: &Means<'_>, rng: &mut Rng) -> Result<Tensor, DistillError> {
        let lessons = self.lessons.draw(&self.reasoner, self.train.batch, rng)?;
        let n_tokens: usize =
            lessons.iter().flat_map(|lesson| &lesson.posed).map(|posed| posed.answer.len()).sum();
        let n_views: usize = lessons.iter().map(|lesson| lesson.views.len()).sum();
        let mut loss = weights[0].constant_like(&[0.0], &[1]);
        for lesson in &lessons {
            let reading = Reading::new(&self.reasoner, weights, lesson)?;
            let surprise = surprise(&reading, lesson)?;
            loss = ops::add(&loss, &surprise.scaled(1.0 / n_tokens as f64));
            let head = &weights[self.reasoner.network.weights.len()..];
            if !head.is_empty() {
                let patches = &self.reasoner.manifest.preprocess.patches;
                let (merge, group) = (patches.merge_size, patches.temporal_patch_size);
                let off = seeing::off(reading.features(), head, lesson, merge, group);
                let share = self.of.auxiliary * lesson.views.len() as f64 / n_views as f64;
                loss = ops::add(&loss, &off.scaled(share));
            }
        }
        Ok(loss)
    }

    fn measure(&self, weights: &[Tensor], _: &mut Rng) -> Result<Vec<(&'static str, f64)>, DistillError> {
        let of = |reading: &Reading<'_>, lesson: &Lesson| Ok(surprise(reading, lesson)?.item());
        let Self { reasoner, lessons, of: SftRecipe { measured, .. }, .. } = self;
        judged::measured(reasoner, lessons, weights, *measured, "validation_loss", of)
    }

    fn write(&self, values: &[Vec<f32>], dir: &Path) -> Result<(), DistillError> {
        self.reasoner.write(values, dir)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distill::recipe::StageRecipe;
    use crate::distill::stages::{differences, tiny_reason};

    const RECIPE: &str = "output = \"run\"\nseed = 5\n[scenes]\nsize = 32\nobjects = 2\nclips = 50\nframes = [9]\n\
        [train]\nsteps = 2\nbatch = 3\nlearning_rate = 0.002\n\
        [sft]\nlike = \"like\"\ntasks = [[\"what\", 1.0], [\"puzzle\", 1.0], [\"way\", 1.0], [\"path\", 1.0]]\nquestions = 2\n\
        auxiliary = 0.5\nmeasured = 2\n";

    fn stage(folder: &Path) -> (Recipe, Sft) {
        tiny_reason::write(&folder.join("like"));
        let path = folder.join("a.toml");
        std::fs::write(&path, RECIPE).unwrap();
        let recipe = Recipe::open(&path).unwrap();
        let StageRecipe::Sft(of) = &recipe.stage else { panic!("another stage: {:?}", recipe.stage) };
        let stage = Sft::new(&recipe, of).unwrap();
        (recipe, stage)
    }

    /// The whole of a step: vision, what prompts begin with, questions of several lengths, the head, the likelihood and the auxiliary
    /// head, in f64.
    #[test]
    fn the_gradient_of_a_step_agrees_with_finite_differences() {
        let folder = tempfile::tempdir().unwrap();
        let (recipe, stage) = stage(folder.path());
        let parameters = stage.parameters(recipe.seed);
        let values = differences::enlarged(&parameters);
        differences::agree(&parameters, &values, |weights| {
            stage.loss(weights, &|| Vec::new(), &mut Rng::new(3)).unwrap()
        });
    }

    #[test]
    fn greedy_answers_are_the_likeliest_tokens_of_what_was_read() {
        let folder = tempfile::tempdir().unwrap();
        let (recipe, stage) = stage(folder.path());
        let weights: Vec<Tensor> = stage
            .parameters(recipe.seed)
            .iter()
            .map(|p| Tensor::constant(p.values().iter().map(|v| v * 8.0).collect(), &p.shape()))
            .collect();
        let lessons = stage.lessons.measured(&stage.reasoner, 0..3).unwrap();
        let mut n_tokens = 0;
        for lesson in &lessons {
            let reading = Reading::new(&stage.reasoner, &weights, lesson).unwrap();
            let answers = reading.answers(5).unwrap();
            let read: Vec<(usize, &[u32])> = answers.iter().enumerate().map(|(i, a)| (i, &a[..])).collect();
            let logits = reading.logits(&read).unwrap();
            let n = logits.shape()[1];
            let likeliest = logits
                .to_f32()
                .chunks_exact(n)
                .map(|row| (0..n).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap() as u32)
                .collect::<Vec<u32>>();
            assert_eq!(likeliest, answers.concat());
            n_tokens += likeliest.len();
        }
        assert!(1 < lessons.len() && 20 < n_tokens, "{n_tokens}");
    }
}
