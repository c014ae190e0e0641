//! What the stages of Reason are told: by which checkpoint's layout, on which tasks, how questions are drawn.

use std::path::PathBuf;

use serde::Deserialize;

use super::{Scenes, Train, within};
use crate::scenes::robot::Topic;

/// Questions about one clip at most.
const QUESTIONS_MAX: usize = 64;
/// Clips of one measurement at most.
const MEASURED_MAX: u64 = 10_000;
/// Answers to one question, at least and at most: one alone is its group's mean.
const GROUP: [usize; 2] = [2, 64];
/// Answers that are computed together at most: memory is asked for by their number.
const ANSWERS_MAX: usize = 1 << 14;

/// A model in the layout of Qwen3-VL that learns to answer questions about clips from true answers.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SftRecipe {
    /// A checkpoint whose layout the model has, relative to the recipe: sizes, tokenizer, chat template, preprocessing. Its weights are
    /// not looked at.
    pub like: PathBuf,
    /// The checkpoint whose weights the model begins with, relative to the recipe; random ones if none is named.
    pub from: Option<PathBuf>,
    /// How often each kind of question leads: pairs of its name and a share.
    pub tasks: Vec<(String, f64)>,
    /// Questions about one clip.
    #[serde(default = "questions")]
    pub questions: usize,
    /// Weight of what visual tokens are to tell of the objects in their squares, by a head that is thrown away; 0 leaves it out.
    #[serde(default)]
    pub auxiliary: f64,
    /// Clips of the validation split that a measurement asks about.
    #[serde(default = "measured")]
    pub measured: u64,
}

/// A model in the layout of Qwen3-VL that goes on learning from what its own answers are worth.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrpoRecipe {
    /// A checkpoint whose layout the model has, relative to the recipe: sizes, tokenizer, chat template, preprocessing. Its weights are
    /// not looked at.
    pub like: PathBuf,
    /// The checkpoint whose weights the model begins with, relative to the recipe: what is never answered right is never rewarded.
    pub from: PathBuf,
    /// How often each kind of question leads: pairs of its name and a share.
    pub tasks: Vec<(String, f64)>,
    /// Questions about one clip.
    #[serde(default = "questions")]
    pub questions: usize,
    /// Answers to one question, which are judged by their mean.
    #[serde(default = "group")]
    pub group: usize,
    /// Temperature at which they are sampled; above 0.
    #[serde(default = "temperature")]
    pub temperature: f64,
    /// Weight of how far the answers' likelihoods have come from those of the first weights, in rewards a nat; 0 leaves it out.
    #[serde(default)]
    pub kl: f64,
    /// Share of the reward that is given for an answer's form alone.
    #[serde(default = "format")]
    pub format: f64,
    /// Clips of the validation split that a measurement asks about.
    #[serde(default = "measured")]
    pub measured: u64,
}

/// A model in the layout of Qwen3-VL that learns from another's shares of the next token, as a rule a larger one's.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GkdRecipe {
    /// A checkpoint whose layout the model has, relative to the recipe: sizes, tokenizer, chat template, preprocessing. Its weights are
    /// not looked at.
    pub like: PathBuf,
    /// The checkpoint whose weights the model begins with, relative to the recipe; random ones if none is named.
    pub from: Option<PathBuf>,
    /// The checkpoint that it learns from, relative to the recipe: with the same tokenizer, chat template and preprocessing.
    pub teacher: PathBuf,
    /// How often each kind of question leads: pairs of its name and a share.
    pub tasks: Vec<(String, f64)>,
    /// Questions about one clip.
    #[serde(default = "questions")]
    pub questions: usize,
    /// Share of clips about which the model learns at answers of its own, and not at true ones.
    #[serde(default = "half")]
    pub on_policy: f64,
    /// Which divergence: 0 covers all that the teacher finds likely, 1 keeps to its likeliest.
    #[serde(default = "half")]
    pub beta: f64,
    /// Temperature at which shares are compared and answers are sampled; above 0.
    #[serde(default = "temperature")]
    pub temperature: f64,
    /// Clips of the validation split that a measurement asks about.
    #[serde(default = "measured")]
    pub measured: u64,
}

fn half() -> f64 {
    0.5
}

fn questions() -> usize {
    4
}

fn group() -> usize {
    8
}

fn temperature() -> f64 {
    1.0
}

fn format() -> f64 {
    0.1
}

fn measured() -> u64 {
    64
}

impl SftRecipe {
    pub(super) fn check(&self, scenes: &Scenes) -> Result<(), String> {
        within("sft.questions", self.questions, 1, QUESTIONS_MAX)?;
        within("sft.auxiliary", self.auxiliary, 0.0, 1e3)?;
        within("sft.measured", self.measured, 1, MEASURED_MAX)?;
        check_tasks("sft", &self.tasks, scenes)
    }

    /// The tasks and their shares.
    pub(in crate::distill) fn topics(&self) -> Vec<(Topic, f64)> {
        topics(&self.tasks)
    }
}

impl GrpoRecipe {
    pub(super) fn check(&self, scenes: &Scenes, train: &Train) -> Result<(), String> {
        within("grpo.questions", self.questions, 1, QUESTIONS_MAX)?;
        within("grpo.group", self.group, GROUP[0], GROUP[1])?;
        within("grpo.temperature", self.temperature, 0.01, 100.0)?;
        within("grpo.kl", self.kl, 0.0, 1e3)?;
        within("grpo.format", self.format, 0.0, 1.0)?;
        within("grpo.measured", self.measured, 1, MEASURED_MAX)?;
        let n_answers = train.batch * self.questions * self.group;
        if ANSWERS_MAX < n_answers {
            return Err(format!(
                "`train.batch`, `grpo.questions` and `grpo.group` make {n_answers} answers at once; expected {ANSWERS_MAX} at most, the \
                 rest by `train.parts`"
            ));
        }
        check_tasks("grpo", &self.tasks, scenes)
    }

    /// The tasks and their shares.
    pub(in crate::distill) fn topics(&self) -> Vec<(Topic, f64)> {
        topics(&self.tasks)
    }
}

impl GkdRecipe {
    pub(super) fn check(&self, scenes: &Scenes) -> Result<(), String> {
        within("gkd.questions", self.questions, 1, QUESTIONS_MAX)?;
        within("gkd.on_policy", self.on_policy, 0.0, 1.0)?;
        within("gkd.beta", self.beta, 0.0, 1.0)?;
        within("gkd.temperature", self.temperature, 0.01, 100.0)?;
        within("gkd.measured", self.measured, 1, MEASURED_MAX)?;
        check_tasks("gkd", &self.tasks, scenes)
    }

    /// The tasks and their shares.
    pub(in crate::distill) fn topics(&self) -> Vec<(Topic, f64)> {
        topics(&self.tasks)
    }
}

fn topic(name: &str) -> Option<Topic> {
    Topic::ALL.into_iter().find(|topic| topic.name() == name)
}

fn topics(tasks: &[(String, f64)]) -> Vec<(Topic, f64)> {
    tasks.iter().map(|(name, share)| (topic(name).expect("checked: a task"), *share)).collect()
}

/// Tasks that there are, each once, of which at least one is asked; of a single frame only those that one frame answers.
fn check_tasks(table: &str, tasks: &[(String, f64)], scenes: &Scenes) -> Result<(), String> {
    scenes.check_frames()?;
    let names = Topic::ALL.map(Topic::name).join(", ");
    let mut seen = Vec::new();
    for (name, share) in tasks {
        let Some(topic) = topic(name) else {
            return Err(format!(
                "`{table}.tasks` names `{name}`, which is no task; expected some of {names}"
            ));
        };
        if seen.contains(&topic) {
            return Err(format!("`{table}.tasks` names `{name}` twice"));
        }
        if !(share.is_finite() && 0.0 < *share) {
            return Err(format!(
                "`{table}.tasks` gives `{name}` the share {share}; expected a number above 0"
            ));
        }
        seen.push(topic);
    }
    let of_one_frame = [Topic::What, Topic::Count, Topic::Where, Topic::Side, Topic::Describe];
    let shortest = scenes.frames.iter().min().expect("checked: there is a length");
    match shortest {
        _ if seen.is_empty() => {
            Err(format!("`{table}.tasks` is empty; expected pairs of a task and its share: {names}"))
        }
        1 if !seen.iter().any(|topic| of_one_frame.contains(topic)) => Err(format!(
            "`scenes.frames` has clips of one frame, and none of `{table}.tasks` can be asked of one; expected some of {}",
            of_one_frame.map(Topic::name).join(", ")
        )),
        2..8 if seen == [Topic::Puzzle] => {
            Err(format!("`scenes.frames` has clips of {shortest} frames; expected 8 at least, for a puzzle"))
        }
        _ => Ok(()),
    }
}
