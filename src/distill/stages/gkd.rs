//! Distillation of a model that answers into a smaller one, by the shares that both give to the next token (generalised knowledge
//! distillation: Agarwal et al. 2024, <https://arxiv.org/abs/2306.13649>).
//!
//! The loss is the mean divergence over the tokens of answers, at a temperature. Answers are true ones, or those that the student samples by
//! the weights of the very step (on policy): only there it meets what its own mistakes lead to. Nothing is learnt of how they came about.
//! By `beta` the divergence goes from what covers all that the teacher finds likely to what keeps to its likeliest.
//!
//! Both see the same pixels and read the same tokens: preprocessing, tokenizer and prompts have to be the same, sizes of networks not.
//!
//! Measured are the divergence on true answers to clips of the validation split, and greedy answers by the judge that `report` asks.

use std::path::Path;

use sha2::{Digest, Sha256};

use super::lesson::{Lesson, Lessons};
use super::reading::{Reading, at_random};
use super::reasoner::Reasoner;
use super::{Means, Stage, hex, judged};
use crate::distill::DistillError;
use crate::distill::ops;
use crate::distill::optimizer::Parameter;
use crate::distill::recipe::{GkdRecipe, Recipe, Train};
use crate::distill::tape::Tensor;
use crate::quality::answers::TOKENS_MAX;
use crate::runtime::Sampling;
use crate::scenes::Rng;

pub(super) struct Gkd {
    train: Train,
    of: GkdRecipe,
    reasoner: Reasoner,
    lessons: Lessons,
    guide: Guide,
}

/// Who is learnt from.
struct Guide {
    teacher: Reasoner,
    /// The teacher's weights.
    taught: Vec<Tensor>,
    temperature: f64,
    beta: f64,
}

impl Guide {
    /// How far student and teacher are apart at these answers, added up over their tokens.
    fn apart(
        &self,
        reading: &Reading<'_>,
        lesson: &Lesson,
        answers: &[(usize, &[u32])],
    ) -> Result<Tensor, DistillError> {
        let cooled = |logits: Tensor| logits.scaled(1.0 / self.temperature);
        let told = Reading::new(&self.teacher, &self.taught, lesson)?.logits(answers)?;
        Ok(ops::divergence(&cooled(reading.logits(answers)?), &cooled(told), self.beta).sum())
    }
}

impl Gkd {
    pub(super) fn new(recipe: &Recipe, of: &GkdRecipe) -> Result<Gkd, DistillError> {
        let reasoner = Reasoner::new(recipe, ["gkd.like", "gkd.from"], &of.like, of.from.as_deref())?;
        let teacher = Reasoner::new(recipe, ["gkd.teacher", "gkd.teacher"], &of.teacher, Some(&of.teacher))?;
        if let Some(what) = reasoner.differs(&teacher) {
            let why = format!(
                "`gkd.teacher`: its {what} are not those of `gkd.like`; expected a teacher that is shown and told the same"
            );
            return Err(DistillError::Recipe { path: recipe.path.clone(), why });
        }
        let taught = teacher.parameters(recipe.seed).iter().map(Parameter::mean_tensor).collect();
        let lessons = Lessons::new(recipe, &reasoner, of.topics(), of.questions)?;
        let guide = Guide { teacher, taught, temperature: of.temperature, beta: of.beta };
        Ok(Gkd { train: recipe.train.clone(), of: of.clone(), reasoner, lessons, guide })
    }

    /// One answer of the student's own to each question of a lesson.
    fn said(
        &self,
        reading: &Reading<'_>,
        lesson: &Lesson,
        rng: &mut Rng,
    ) -> Result<Vec<Vec<u32>>, DistillError> {
        let put: Vec<(usize, Sampling)> =
            (0..lesson.posed.len()).map(|posed| (posed, at_random(self.of.temperature, rng))).collect();
        Ok(reading.said(&put, TOKENS_MAX)?)
    }
}

impl Stage for Gkd {
    fn inputs(&self) -> String {
        let mut hasher = Sha256::new();
        [&self.reasoner, &self.guide.teacher].into_iter().for_each(|of| hasher.update(of.inputs()));
        hex(hasher)
    }

    fn parameters(&self, seed: u64) -> Vec<Parameter> {
        self.reasoner.parameters(seed)
    }

    fn loss(&self, weights: &[Tensor], _: &Means<'_>, rng: &mut Rng) -> Result<Tensor, DistillError> {
        let lessons = self.lessons.draw(&self.reasoner, self.train.batch, rng)?;
        let plain = |value: f32| weights[0].constant_like(&[value], &[1]);
        let (mut apart, mut n_tokens) = (plain(0.0), 0);
        for lesson in &lessons {
            let reading = Reading::new(&self.reasoner, weights, lesson)?;
            let answers = match rng.chance(self.of.on_policy) {
                true => self.said(&reading, lesson, rng)?,
                false => lesson.posed.iter().map(|posed| posed.answer.clone()).collect(),
            };
            // Of weights that give no numbers; the run ends where its loss is looked at.
            if answers.iter().any(Vec::is_empty) {
                return Ok(plain(f32::NAN));
            }
            let answers: Vec<(usize, &[u32])> = answers.iter().map(Vec::as_slice).enumerate().collect();
            n_tokens += answers.iter().map(|(_, answer)| answer.len()).sum::<usize>();
            apart = ops::add(&apart, &self.guide.apart(&reading, lesson, &answers)?);
        }
        Ok(apart.scaled(1.0 / n_tokens as f64))
    }

    fn measure(&self, weights: &[Tensor], _: &mut Rng) -> Result<Vec<(&'static str, f64)>, DistillError> {
        let Self { reasoner, lessons, guide, of: GkdRecipe { measured, .. }, .. } = self;
        let of = |reading: &Reading<'_>, lesson: &Lesson| {
            let answers: Vec<(usize, &[u32])> =
                lesson.posed.iter().map(|posed| &posed.answer[..]).enumerate().collect();
            Ok(guide.apart(reading, lesson, &answers)?.item())
        };
        judged::measured(reasoner, lessons, weights, *measured, "divergence", of)
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
        [gkd]\nlike = \"like\"\nteacher = \"teacher\"\ntasks = [[\"what\", 1.0], [\"puzzle\", 1.0], [\"way\", 1.0], [\"path\", 1.0]]\n\
        questions = 2\non_policy = 0.0\ntemperature = 1.5\nbeta = BETA\nmeasured = 2\n";

    /// A stage whose teacher has a wider network, of random weights.
    fn stage(folder: &Path, text: &str, beta: f64) -> Gkd {
        tiny_reason::write(&folder.join("like"));
        tiny_reason::write_wider(&folder.join("layout"));
        let path = folder.join("a.toml");
        std::fs::write(&path, text.replace("BETA", &format!("{beta:.1}"))).unwrap();
        let recipe = Recipe::open(&path).unwrap();
        let StageRecipe::Gkd(of) = &recipe.stage else { panic!("another stage: {:?}", recipe.stage) };
        let keys = ["gkd.like", "gkd.from"];
        let random = Reasoner::new(&recipe, keys, Path::new("layout"), None).unwrap();
        let values: Vec<Vec<f32>> = random.parameters(3).iter().map(|p| p.values().to_vec()).collect();
        random.write(&values, &folder.join("teacher")).unwrap();
        Gkd::new(&recipe, of).unwrap()
    }

    /// The whole of a step, in f64, by what covers the teacher, what keeps to its likeliest, and between.
    #[test]
    fn the_gradient_of_a_step_agrees_with_finite_differences() {
        for beta in [0.0, 0.3, 1.0] {
            let folder = tempfile::tempdir().unwrap();
            let mut stage = stage(folder.path(), RECIPE, beta);
            let enlarged = differences::enlarged(&stage.guide.teacher.parameters(0));
            let wide = stage.guide.taught.iter().zip(enlarged);
            stage.guide.taught = wide.map(|(t, values)| Tensor::constant(values, &t.shape())).collect();
            let parameters = stage.parameters(5);
            let values = differences::enlarged(&parameters);
            differences::agree(&parameters, &values, |weights| {
                stage.loss(weights, &|| Vec::new(), &mut Rng::new(3)).unwrap()
            });
        }
    }

    #[test]
    fn whoever_is_its_own_teacher_has_nothing_to_learn() {
        for (beta, on_policy) in [(0.0, 0.0), (0.5, 1.0), (1.0, 1.0)] {
            let folder = tempfile::tempdir().unwrap();
            let text = RECIPE
                .replace("like = \"like\"", "like = \"teacher\"\nfrom = \"teacher\"")
                .replace("on_policy = 0.0", &format!("on_policy = {on_policy:.1}"));
            let stage = stage(folder.path(), &text, beta);
            let parameters = stage.parameters(0);
            let leaves: Vec<Tensor> = parameters.iter().map(Parameter::tensor).collect();
            let loss = stage.loss(&leaves, &|| Vec::new(), &mut Rng::new(3)).unwrap();
            assert!(loss.item().abs() < 1e-6, "{}", loss.item());
            let mut slopes = loss.backward();
            for (leaf, parameter) in leaves.iter().zip(&parameters) {
                let slope = slopes.gradient::<f32>(leaf).unwrap();
                assert!(slope.iter().all(|s| s.abs() < 1e-5), "{}", parameter.name);
            }
        }
    }
}
