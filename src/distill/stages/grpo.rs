//! Group-relative policy optimisation of a model that answers (GRPO: Shao et al. 2024, <https://arxiv.org/abs/2402.03300>): it answers a
//! question several times, and those answers become likelier that were better than their group's mean, the others less likely.
//!
//! What an answer is worth is verified, not estimated (`judged.rs`). Its advantage is its reward less its group's mean. It is not divided
//! by the group's deviation, which would weigh questions by how hard they are, nor by the answer's length, which would spare long wrong
//! answers (Dr. GRPO: Liu et al. 2025, <https://arxiv.org/abs/2503.20783>): the loss is minus the sum of advantage times log-likelihood
//! over all tokens, by the number of answers. Its slope is that of the mean reward, times 1 - 1/group, since each answer is in its group's
//! mean. Questions whose answers are all alike teach nothing.
//!
//! Why no ratio to older weights, and nothing that clips it: answers are sampled from the weights of the very step that learns from them,
//! once, so that the ratio is one.
//!
//! Beside it may stand how far the likelihoods have come from those of the first weights: for each token r - ln r - 1, r being how much
//! likelier it was (Schulman 2020, "Approximating KL divergence", k3), as GRPO has it. Likelihoods are those at the temperature at which
//! answers are sampled.
//!
//! The loss itself says nothing of how good answers are, and need not fall. Measured are greedy answers to clips of the validation split,
//! by the judge that `report` asks, and of sampled ones what they are worth and how long they are.

use std::path::Path;

use super::judged::{Tally, reward};
use super::lesson::{Lesson, Lessons, together};
use super::reading::{Reading, at_random};
use super::reasoner::Reasoner;
use super::{Means, Stage};
use crate::distill::DistillError;
use crate::distill::ops;
use crate::distill::optimizer::Parameter;
use crate::distill::recipe::{GrpoRecipe, Recipe, Train};
use crate::distill::tape::Tensor;
use crate::quality::answers::TOKENS_MAX;
use crate::runtime::Sampling;
use crate::scenes::Rng;

/// Of a recipe: where layout and weights are.
const KEYS: [&str; 2] = ["grpo.like", "grpo.from"];

pub(super) struct Grpo {
    train: Train,
    of: GrpoRecipe,
    reasoner: Reasoner,
    lessons: Lessons,
    /// The weights before the first step, where answers are to stay near theirs.
    reference: Option<Vec<Tensor>>,
}

/// An answer that was sampled.
struct Said {
    /// The question's index in its lesson.
    posed: usize,
    answer: Vec<u32>,
    reward: f64,
    advantage: f64,
}

impl Grpo {
    pub(super) fn new(recipe: &Recipe, of: &GrpoRecipe) -> Result<Grpo, DistillError> {
        let reasoner = Reasoner::new(recipe, KEYS, &of.like, Some(&of.from))?;
        let lessons = Lessons::new(recipe, &reasoner, of.topics(), of.questions)?;
        let first = || reasoner.parameters(recipe.seed).iter().map(Parameter::mean_tensor).collect();
        let reference = (0.0 < of.kl).then(first);
        Ok(Grpo { train: recipe.train.clone(), of: of.clone(), reasoner, lessons, reference })
    }

    /// Answers `n` times to each question of a lesson.
    fn said(
        &self,
        reading: &Reading<'_>,
        lesson: &Lesson,
        n: usize,
        rng: &mut Rng,
    ) -> Result<Vec<Said>, DistillError> {
        let questions = (0..lesson.posed.len()).flat_map(|posed| std::iter::repeat_n(posed, n));
        let put: Vec<(usize, Sampling)> =
            questions.map(|posed| (posed, at_random(self.of.temperature, rng))).collect();
        let answers = reading.said(&put, TOKENS_MAX)?;
        let of = |((posed, _), answer): (&(usize, Sampling), &Vec<u32>)| {
            reward(&self.reasoner, &lesson.posed[*posed], answer, self.of.format)
        };
        let rewards: Vec<f64> = put.iter().zip(&answers).map(of).collect();
        let mut advantages = rewards.chunks_exact(n).flat_map(advantages);
        let mut all = Vec::new();
        for (((posed, _), answer), reward) in put.into_iter().zip(answers).zip(&rewards) {
            let advantage = advantages.next().expect("each reward has one");
            all.push(Said { posed, answer, reward: *reward, advantage });
        }
        Ok(all)
    }

    /// The loss of a lesson's answers, added up.
    fn taught(&self, reading: &Reading<'_>, lesson: &Lesson, said: &[Said]) -> Result<Tensor, DistillError> {
        let plain = |value: f32| reading.features().constant_like(&[value], &[1]);
        // Of weights that give no numbers; the run ends where its loss is looked at.
        if said.iter().any(|said| said.advantage.is_nan()) {
            return Ok(plain(f32::NAN));
        }
        let teaches = |said: &&Said| said.advantage != 0.0 || self.reference.is_some();
        let said: Vec<&Said> = said.iter().filter(teaches).collect();
        if said.is_empty() {
            return Ok(plain(0.0));
        }
        let likelihood = self.likelihood(reading, &said)?;
        let each: Vec<f32> = said
            .iter()
            .flat_map(|said| std::iter::repeat_n(-said.advantage as f32, said.answer.len()))
            .collect();
        let each = likelihood.constant_like(&each, &[each.len()]);
        let loss = ops::mul(&likelihood, &each).sum();
        let Some(reference) = &self.reference else { return Ok(loss) };
        let first = self.likelihood(&Reading::new(&self.reasoner, reference, lesson)?, &said)?;
        let log_ratio = ops::sub(&first, &likelihood);
        let away = ops::sub(&log_ratio.exp(), &log_ratio).shifted(-1.0).sum();
        Ok(ops::add(&loss, &away.scaled(self.of.kl)))
    }

    /// The log-likelihood of each token of answers, as they are sampled, answer by answer.
    fn likelihood(&self, reading: &Reading<'_>, said: &[&Said]) -> Result<Tensor, DistillError> {
        let answers: Vec<(usize, &[u32])> = said.iter().map(|said| (said.posed, &said.answer[..])).collect();
        let ids: Vec<usize> = said.iter().flat_map(|said| &said.answer).map(|id| *id as usize).collect();
        let logits = reading.logits(&answers)?.scaled(1.0 / self.of.temperature);
        Ok(ops::log_likelihood(&logits, &ids))
    }
}

impl Stage for Grpo {
    fn inputs(&self) -> String {
        self.reasoner.inputs()
    }

    fn parameters(&self, seed: u64) -> Vec<Parameter> {
        self.reasoner.parameters(seed)
    }

    fn loss(&self, weights: &[Tensor], _: &Means<'_>, rng: &mut Rng) -> Result<Tensor, DistillError> {
        let lessons = self.lessons.draw(&self.reasoner, self.train.batch, rng)?;
        let n_questions: usize = lessons.iter().map(|lesson| lesson.posed.len()).sum();
        let share = 1.0 / (n_questions * self.of.group) as f64;
        let mut loss = nought(weights);
        for lesson in &lessons {
            let reading = Reading::new(&self.reasoner, weights, lesson)?;
            let said = self.said(&reading, lesson, self.of.group, rng)?;
            loss = ops::add(&loss, &self.taught(&reading, lesson, &said)?.scaled(share));
        }
        Ok(loss)
    }

    fn measure(&self, weights: &[Tensor], rng: &mut Rng) -> Result<Vec<(&'static str, f64)>, DistillError> {
        let (mut rewards, mut n_tokens, mut n) = (0.0, 0, 0);
        let mut tally = Tally::default();
        for clips in together(self.of.measured) {
            for lesson in &self.lessons.measured(&self.reasoner, clips)? {
                let reading = Reading::new(&self.reasoner, weights, lesson)?;
                tally.ask(&self.reasoner, &reading, lesson)?;
                for said in self.said(&reading, lesson, 1, rng)? {
                    (rewards, n_tokens, n) = (rewards + said.reward, n_tokens + said.answer.len(), n + 1);
                }
            }
        }
        let mean = |sum: f64| sum / f64::from(n.max(1));
        let mut figures = vec![("reward", mean(rewards)), ("answer_tokens", mean(n_tokens as f64))];
        figures.extend(tally.shares());
        Ok(figures)
    }

    fn write(&self, values: &[Vec<f32>], dir: &Path) -> Result<(), DistillError> {
        self.reasoner.write(values, dir)
    }
}

/// Each reward less the mean of all: exactly nought where all are alike.
fn advantages(rewards: &[f64]) -> Vec<f64> {
    let off = rewards.iter().map(|reward| reward - rewards[0]);
    let mean = off.clone().sum::<f64>() / rewards.len() as f64;
    off.map(|off| off - mean).collect()
}

/// Nought, and of every weight: where nothing is learnt a gradient is nought, and not missing.
fn nought(weights: &[Tensor]) -> Tensor {
    let none = weights[0].constant_like(&[0.0], &[1]);
    weights.iter().fold(none, |sum, weight| ops::add(&sum, &weight.sum().scaled(0.0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distill::recipe::StageRecipe;
    use crate::distill::stages::{differences, tiny_reason};

    const RECIPE: &str = "output = \"run\"\nseed = 5\n[scenes]\nsize = 32\nobjects = 2\nclips = 50\nframes = [9]\n\
        [train]\nsteps = 2\nbatch = 3\nlearning_rate = 0.002\n\
        [grpo]\nlike = \"like\"\nfrom = \"from\"\ntasks = [[\"what\", 1.0], [\"puzzle\", 1.0], [\"way\", 1.0], [\"path\", 1.0]]\n\
        questions = 2\ngroup = 4\ntemperature = 1.5\nkl = 0.3\nmeasured = 2\n";

    /// A stage that begins with random weights, of which no answer is right.
    fn stage(folder: &Path, text: &str) -> Grpo {
        tiny_reason::write(&folder.join("like"));
        let path = folder.join("a.toml");
        std::fs::write(&path, text).unwrap();
        let recipe = Recipe::open(&path).unwrap();
        let StageRecipe::Grpo(of) = &recipe.stage else { panic!("another stage: {:?}", recipe.stage) };
        let random = Reasoner::new(&recipe, KEYS, &of.like, None).unwrap();
        let values: Vec<Vec<f32>> = random.parameters(3).iter().map(|p| p.values().to_vec()).collect();
        random.write(&values, &folder.join("from")).unwrap();
        Grpo::new(&recipe, of).unwrap()
    }

    fn tensors(parameters: &[Parameter], values: &[Vec<f64>]) -> Vec<Tensor> {
        values.iter().zip(parameters).map(|(v, p)| Tensor::constant(v.clone(), &p.shape())).collect()
    }

    /// Of answers that were sampled, with advantages of all kinds, near the first weights and without them, in f64.
    #[test]
    fn the_gradient_of_answers_agrees_with_finite_differences() {
        let folder = tempfile::tempdir().unwrap();
        let mut stage = stage(folder.path(), RECIPE);
        let parameters = stage.parameters(0);
        let values = differences::enlarged(&parameters);
        let first: Vec<Vec<f64>> =
            values.iter().map(|all| all.iter().map(|v| v * 0.95 + 0.01).collect()).collect();
        let rng = &mut Rng::new(3);
        let lessons = stage.lessons.draw(&stage.reasoner, 3, rng).unwrap();
        let mut all = Vec::new();
        for lesson in &lessons {
            let reading = Reading::new(&stage.reasoner, &tensors(&parameters, &values), lesson).unwrap();
            let put: Vec<(usize, Sampling)> = (0..lesson.posed.len())
                .flat_map(|i| [(i, at_random(1.5, rng)), (i, at_random(1.5, rng))])
                .collect();
            let answers = reading.said(&put, 5).unwrap();
            let said = |((posed, _), answer): (&(usize, Sampling), Vec<u32>)| Said {
                posed: *posed,
                answer,
                reward: 0.0,
                advantage: rng.uniform(-1.0, 1.0),
            };
            all.push(put.iter().zip(answers).map(said).collect::<Vec<Said>>());
        }
        for reference in [None, Some(tensors(&parameters, &first))] {
            stage.reference = reference;
            differences::agree(&parameters, &values, |weights| {
                lessons.iter().zip(&all).fold(nought(weights), |sum, (lesson, said)| {
                    let reading = Reading::new(&stage.reasoner, weights, lesson).unwrap();
                    ops::add(&sum, &stage.taught(&reading, lesson, said).unwrap())
                })
            });
        }
    }

    #[test]
    fn groups_whose_answers_are_worth_the_same_teach_nothing_and_still_give_every_weight_a_gradient() {
        let folder = tempfile::tempdir().unwrap();
        for kl in ["0.0", "0.3"] {
            let text = RECIPE.replace("kl = 0.3", &format!("kl = {kl}\nformat = 0.0"));
            let folder = folder.path().join(kl);
            let stage = stage(&folder, &text);
            let parameters = stage.parameters(0);
            let leaves: Vec<Tensor> = parameters.iter().map(Parameter::tensor).collect();
            let loss = stage.loss(&leaves, &|| Vec::new(), &mut Rng::new(3)).unwrap();
            assert_eq!(loss.item(), 0.0);
            let mut slopes = loss.backward();
            for (leaf, parameter) in leaves.iter().zip(&parameters) {
                let slope = slopes.gradient::<f32>(leaf).unwrap();
                assert_eq!(slope.len(), parameter.values().len());
                assert!(slope.iter().all(|s| *s == 0.0), "{}", parameter.name);
            }
        }
    }

    #[test]
    fn members_of_a_group_say_what_each_would_say_alone() {
        let folder = tempfile::tempdir().unwrap();
        let stage = stage(folder.path(), RECIPE);
        let parameters = stage.parameters(0);
        let weights: Vec<Tensor> = parameters.iter().map(Parameter::mean_tensor).collect();
        let lessons = stage.lessons.draw(&stage.reasoner, 3, &mut Rng::new(3)).unwrap();
        for lesson in &lessons {
            let reading = Reading::new(&stage.reasoner, &weights, lesson).unwrap();
            let rng = &mut Rng::new(7);
            let put: Vec<(usize, Sampling)> = [2, 0, 1, 0, 2, 0]
                .map(|i| (i % lesson.posed.len(), at_random(1.0, rng)))
                .into_iter()
                .chain([(0, Sampling::default())])
                .collect();
            let together = reading.said(&put, 12).unwrap();
            let alone: Vec<Vec<u32>> =
                put.iter().map(|one| reading.said(&[*one], 12).unwrap().remove(0)).collect();
            assert_eq!(together, alone);
            assert_eq!(together[6], reading.answers(12).unwrap()[0]);
            assert_ne!(together[1], together[3], "two seeds");
        }
    }

    #[test]
    fn advantages_are_rewards_less_their_mean() {
        assert_eq!(advantages(&[1.0, 0.0, 0.0, 1.0]), [0.5, -0.5, -0.5, 0.5]);
        assert_eq!(advantages(&[0.1; 7]), [0.0; 7]);
        assert!(advantages(&[0.0, f64::NAN]).iter().all(|a| a.is_nan()));
    }

    #[test]
    fn an_answer_is_worth_what_the_judge_says_and_a_little_for_its_form() {
        let folder = tempfile::tempdir().unwrap();
        let text = RECIPE.replace("\"path\"", "\"where\"").replace("frames = [9]", "frames = [1]");
        let stage = stage(folder.path(), &text);
        let lessons = stage.lessons.measured(&stage.reasoner, 0..4).unwrap();
        let stop = stage.reasoner.manifest.stop_token_ids[0];
        let mut seen = Vec::new();
        for posed in lessons.iter().flat_map(|lesson| &lesson.posed) {
            let encode = |text: &str| stage.reasoner.tokenizer.encode(text).unwrap();
            let worth = |answer: &[u32]| reward(&stage.reasoner, posed, answer, 0.1);
            let ended = |text: &str| [encode(text), vec![stop]].concat();
            assert!((worth(&posed.answer) - 1.0).abs() < 1e-12, "{}", posed.truth);
            assert!(worth(&encode("no")).is_nan() && worth(&[]).is_nan(), "broken off");
            assert_eq!(worth(&encode(&"no ".repeat(200))[..TOKENS_MAX]), 0.0, "never ended");
            let is_box = posed.topic.name() == "where";
            assert_eq!(worth(&ended("no such thing")), if is_box { 0.0 } else { 0.1 });
            if is_box {
                let all = crate::quality::boxes::iou("[0, 0, 1000, 1000]", &posed.truth);
                assert!((worth(&ended("[0, 0, 1000, 1000]")) - (0.9 * all + 0.1)).abs() < 1e-12);
            }
            seen.push(is_box);
        }
        assert!(seen.contains(&true) && seen.contains(&false), "{seen:?}");
    }
}
