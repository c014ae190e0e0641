//! Recipes of training: a stage, its data, its network and how long it learns.
//!
//! A recipe is strict: a key that is not known is an error that names its line, and so is a size that cannot be. Everything that a run
//! does follows from its recipe and its seed.

mod predict;
mod reason;

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::DistillError;
use super::optimizer::Settings;
use crate::bounded;
use crate::tensor::DType;

pub use predict::{StudentRecipe, TeacherRecipe, VaeRecipe};
pub use reason::{GkdRecipe, GrpoRecipe, SftRecipe};

/// No recipe is longer.
const RECIPE_BYTES_MAX: u64 = 1 << 20;
/// Bounds of what one machine trains: beyond them is a mistake, and memory is asked for by these numbers.
const STEPS_MAX: u64 = 10_000_000;
const BATCH_MAX: usize = 4096;
const FRAMES_MAX: usize = 257;
const SIZE_MAX: usize = 1024;
const STEP_BYTES_MAX: usize = 1 << 29;

/// A recipe that was read and found sound.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    /// Where it stands.
    pub path: PathBuf,
    /// Where the run's folder is to be.
    pub output: PathBuf,
    /// All else follows from it.
    pub seed: u64,
    /// What is learnt from.
    pub scenes: Scenes,
    /// How it is learnt.
    pub train: Train,
    /// What is learnt.
    pub stage: StageRecipe,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    output: PathBuf,
    seed: u64,
    scenes: Scenes,
    train: Train,
    vae: Option<VaeRecipe>,
    teacher: Option<TeacherRecipe>,
    student: Option<StudentRecipe>,
    sft: Option<SftRecipe>,
    grpo: Option<GrpoRecipe>,
    gkd: Option<GkdRecipe>,
}

/// What is learnt, by the table that a recipe has.
#[derive(Clone, Debug, PartialEq)]
pub enum StageRecipe {
    /// Table `vae`.
    Vae(VaeRecipe),
    /// Table `teacher`.
    Teacher(TeacherRecipe),
    /// Table `student`.
    Student(StudentRecipe),
    /// Table `sft`.
    Sft(SftRecipe),
    /// Table `grpo`.
    Grpo(GrpoRecipe),
    /// Table `gkd`.
    Gkd(GkdRecipe),
}

impl StageRecipe {
    /// Whether the first weights have learnt already, so that a running mean of weights need not forget them fast.
    pub(super) fn begins_taught(&self) -> bool {
        match self {
            StageRecipe::Vae(vae) => vae.from.is_some(),
            StageRecipe::Teacher(teacher) => teacher.from.is_some(),
            StageRecipe::Student(_) | StageRecipe::Grpo(_) => true,
            StageRecipe::Sft(sft) => sft.from.is_some(),
            StageRecipe::Gkd(gkd) => gkd.from.is_some(),
        }
    }
}

/// The clips.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenes {
    /// Width and height of a frame, in pixels.
    pub size: usize,
    /// Objects on a table at most.
    pub objects: usize,
    /// How many clips of the split are drawn from.
    pub clips: u64,
    /// Lengths of clips; each step draws one.
    pub frames: Vec<usize>,
    /// Share of clips that are of errands: a ball, and a pusher that is to bring it somewhere; the others are of any table.
    #[serde(default)]
    pub errands: f64,
    /// Share of these errands' plans that come to rest at their end, as `demo`'s do; the others may end in motion.
    #[serde(default)]
    pub resting: f64,
}

/// The steps.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Train {
    /// How many.
    pub steps: u64,
    /// Clips of a step, computed together.
    pub batch: usize,
    /// Such parts of a step, one after the other.
    #[serde(default = "one")]
    pub parts: usize,
    /// So many of them at the same time, each by its share of the threads, for as many times the memory; no more than there are threads.
    /// Sums are added up in the same order with any number of threads.
    #[serde(default = "one")]
    pub at_once: usize,
    /// How long a step is at most.
    pub learning_rate: f64,
    /// Steps until it is so long.
    #[serde(default)]
    pub warmup: u64,
    /// Share of it that is left at the end.
    #[serde(default)]
    pub floor: f64,
    /// Share of a weight that goes with each step, times the learning rate.
    #[serde(default)]
    pub weight_decay: f64,
    /// The largest norm of a gradient.
    #[serde(default = "one_f64")]
    pub clip: f64,
    /// Decay of the running mean of the weights, which is what is written as a checkpoint.
    #[serde(default = "ema")]
    pub ema: f64,
    /// Seconds between saves; 0 saves after every step.
    #[serde(default = "save_every_s")]
    pub save_every_s: u64,
    /// In what a checkpoint's weights are written.
    #[serde(default)]
    pub weights: WeightType,
    /// Steps between measurements on clips of the validation split.
    #[serde(default = "validate_every")]
    pub validate_every: u64,
}

/// A floating type of a checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WeightType {
    /// As they are learnt.
    #[default]
    F32,
    /// Half as large.
    F16,
    /// Half as large, for values of any size.
    Bf16,
}

impl WeightType {
    /// As a config of `transformers` names it.
    pub(super) fn name(self) -> &'static str {
        match self {
            WeightType::F32 => "float32",
            WeightType::F16 => "float16",
            WeightType::Bf16 => "bfloat16",
        }
    }

    pub(super) fn dtype(self) -> DType {
        match self {
            WeightType::F32 => DType::F32,
            WeightType::F16 => DType::F16,
            WeightType::Bf16 => DType::Bf16,
        }
    }
}

fn one() -> usize {
    1
}

fn one_f64() -> f64 {
    1.0
}

fn ema() -> f64 {
    0.999
}

fn save_every_s() -> u64 {
    300
}

fn validate_every() -> u64 {
    200
}

impl Recipe {
    /// Reads a recipe.
    ///
    /// # Errors
    /// If it cannot be read or is wrong: the file, the line or key, what was found and what may stand there.
    pub fn open(path: &Path) -> Result<Recipe, DistillError> {
        let io = |e| DistillError::io(path, e);
        let wrong = |why: String| DistillError::Recipe { path: path.to_owned(), why };
        Recipe::parse(path, &bounded::read_text(path, RECIPE_BYTES_MAX).map_err(io)?).map_err(wrong)
    }

    fn parse(path: &Path, text: &str) -> Result<Recipe, String> {
        let Written { output, seed, scenes, train, vae, teacher, student, sft, grpo, gkd } =
            toml::from_str(text).map_err(|why| why.to_string().trim_end().to_owned())?;
        let tables = [
            vae.map(StageRecipe::Vae),
            teacher.map(StageRecipe::Teacher),
            student.map(StageRecipe::Student),
            sft.map(StageRecipe::Sft),
            grpo.map(StageRecipe::Grpo),
            gkd.map(StageRecipe::Gkd),
        ];
        let mut tables = tables.into_iter().flatten();
        let (Some(stage), None) = (tables.next(), tables.next()) else {
            return Err(
                "expected one table of [vae], [teacher], [student], [sft], [grpo] or [gkd]: what is learnt"
                    .into(),
            );
        };
        scenes.check()?;
        train.check()?;
        match &stage {
            StageRecipe::Vae(vae) => vae.check(&scenes)?,
            StageRecipe::Teacher(teacher) => teacher.check(&scenes)?,
            StageRecipe::Student(student) => student.check(&scenes)?,
            StageRecipe::Sft(sft) => sft.check(&scenes)?,
            StageRecipe::Grpo(grpo) => grpo.check(&scenes, &train)?,
            StageRecipe::Gkd(gkd) => gkd.check(&scenes)?,
        }
        let bytes = train.batch * scenes.frames_max() * scenes.size * scenes.size * 3 * size_of::<f32>();
        if STEP_BYTES_MAX < bytes {
            return Err(format!(
                "`train.batch` is {}: clips of {bytes} bytes at once; expected {STEP_BYTES_MAX} at most, the rest by `train.parts`",
                train.batch
            ));
        }
        let folder = path.parent().unwrap_or(Path::new(""));
        Ok(Recipe { path: path.to_owned(), output: folder.join(output), seed, scenes, train, stage })
    }

    /// Paths of a recipe are relative to it.
    pub(super) fn beside(&self, path: &Path) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(path)
    }
}

/// `key` must be within these bounds.
fn within<T: PartialOrd + std::fmt::Display>(key: &str, found: T, low: T, high: T) -> Result<(), String> {
    match low <= found && found <= high {
        true => Ok(()),
        false => Err(format!("`{key}` is {found}; expected {low} to {high}")),
    }
}

impl Scenes {
    fn check(&self) -> Result<(), String> {
        within("scenes.size", self.size, 16, SIZE_MAX)?;
        within("scenes.objects", self.objects, 1, 6)?;
        within("scenes.errands", self.errands, 0.0, 1.0)?;
        within("scenes.resting", self.resting, 0.0, 1.0)?;
        within("scenes.clips", self.clips, 1, 1 << 61)
    }

    /// Any lengths.
    fn check_frames(&self) -> Result<(), String> {
        self.check_lengths("1 or more", |n| 1 <= n)
    }

    /// Lengths that are a latent of one frame and others of four.
    fn check_latents(&self) -> Result<(), String> {
        self.check_lengths("5, 9, 13, …", |n| n % 4 == 1 && 5 <= n)
    }

    fn check_lengths(&self, expected: &str, fits: impl Fn(usize) -> bool) -> Result<(), String> {
        let found = &self.frames;
        if found.is_empty() || !found.iter().all(|n| fits(*n) && *n <= FRAMES_MAX) {
            return Err(format!(
                "`scenes.frames` is {found:?}; expected lengths of {expected}, up to {FRAMES_MAX}"
            ));
        }
        Ok(())
    }

    /// The longest clip.
    pub(super) fn frames_max(&self) -> usize {
        self.frames.iter().copied().max().expect("checked: there is a length")
    }
}

impl Train {
    fn check(&self) -> Result<(), String> {
        within("train.steps", self.steps, 1, STEPS_MAX)?;
        within("train.batch", self.batch, 1, BATCH_MAX)?;
        within("train.parts", self.parts, 1, BATCH_MAX)?;
        within("train.at_once", self.at_once, 1, self.parts)?;
        within("train.learning_rate", self.learning_rate, 1e-9, 10.0)?;
        within("train.warmup", self.warmup, 0, self.steps)?;
        within("train.floor", self.floor, 0.0, 1.0)?;
        within("train.weight_decay", self.weight_decay, 0.0, 10.0)?;
        within("train.clip", self.clip, 1e-9, 1e9)?;
        within("train.ema", self.ema, 0.0, 0.999_999)?;
        within("train.save_every_s", self.save_every_s, 0, 1 << 31)?;
        within("train.validate_every", self.validate_every, 1, STEPS_MAX)
    }

    /// As the optimiser takes them.
    pub fn settings(&self) -> Settings {
        let Train { learning_rate, weight_decay, clip, ema, .. } = *self;
        Settings { learning_rate, weight_decay, clip, ema, ..Settings::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: &str = "output = \"run\"\nseed = 1\n[scenes]\nsize = 64\nobjects = 3\nclips = 10\nframes = [5]\n\
        [train]\nsteps = 10\nbatch = 2\nlearning_rate = 0.002\n\
        [vae]\nbase_dim = 8\ndim_mult = [1, 2, 4, 8]\nnum_res_blocks = 1\nz_dim = 16\n\
        halve_time = [false, true, true]\nnoise = 0.5\nobject_weight = 4.0\n";

    #[test]
    fn what_is_wrong_is_told_with_its_line_or_key() {
        let recipe = Recipe::parse(Path::new("f/a.toml"), SOUND).unwrap();
        assert_eq!(recipe.output, Path::new("f/run"));
        for (from, to, expected) in [
            ("steps", "stepps", "line 9, column 1"),
            ("steps", "stepps", "unknown field `stepps`"),
            ("steps = 10", "steps = 0", "`train.steps` is 0; expected 1 to"),
            ("batch = 2", "batch = 0", "`train.batch` is 0"),
            ("batch = 2", "batch = -1", "line 10"),
            ("batch = 2", "batch = 4096", "clips of 1006632960 bytes"),
            ("learning_rate = 0.002", "learning_rate = nan", "`train.learning_rate` is NaN"),
            ("size = 64", "size = 60", "expected a multiple of 8"),
            ("size = 64", "size = 9999", "`scenes.size` is 9999"),
            ("frames = [5]", "frames = [6]", "expected lengths of 5, 9, 13"),
            ("frames = [5]", "frames = []", "expected lengths of 5, 9, 13"),
            ("[false, true, true]", "[true, true, true]", "two of them true"),
            ("[1, 2, 4, 8]", "[1]", "two to eight numbers"),
            ("[vae]", "[vea]", "unknown field `vea`"),
            ("seed = 1\n", "", "missing field `seed`"),
        ] {
            let refused = Recipe::parse(Path::new("a"), &SOUND.replacen(from, to, 1)).unwrap_err();
            assert!(refused.contains(expected), "{to}: {refused}");
        }
        let (none, _) = SOUND.split_once("[vae]").unwrap();
        assert!(Recipe::parse(Path::new("a"), none).unwrap_err().contains("expected one table of"));
    }
}
