//! Recipes of training: a stage, its data, its network and how long it learns.
//!
//! A recipe is strict: a key that is not known is an error that names its line, and so is a size that cannot be. Everything that a run
//! does follows from its recipe and its seed.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::DistillError;
use super::optimizer::Settings;
use crate::bounded;

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
    /// Steps between measurements on clips of the validation split.
    #[serde(default = "validate_every")]
    pub validate_every: u64,
}

/// A causal VAE in the layout of Wan 2.1.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaeRecipe {
    /// Channels of the first level.
    pub base_dim: usize,
    /// Factors of it, level by level.
    pub dim_mult: Vec<usize>,
    /// Residual blocks of a level.
    pub num_res_blocks: usize,
    /// Channels of a latent.
    pub z_dim: usize,
    /// Which levels halve time; two of them.
    pub halve_time: Vec<bool>,
    /// Noise on latents at most, as a share of their standard deviation: a decoder must bear what a denoiser gets wrong.
    pub noise: f64,
    /// How much more pixels of objects count.
    pub object_weight: f64,
}

/// A denoiser in the layout of Predict2.5, which is taught to undo noise.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TeacherRecipe {
    /// The checkpoint of a VAE, which gives the latents, relative to the recipe.
    pub vae: PathBuf,
    /// Attention heads.
    pub heads: usize,
    /// Channels of a head.
    pub head_dim: usize,
    /// Blocks.
    pub layers: usize,
    /// Rank of the maps from timestep to modulation.
    pub adaln_dim: usize,
    /// Channels of the text token.
    pub text_dim: usize,
    /// How often each number of frames is given: pairs of frames and share.
    pub given: Vec<(usize, f64)>,
    /// Share of clips whose actions are dropped, for guidance.
    #[serde(default)]
    pub drop_actions: f64,
    /// Shift of the timesteps towards noise.
    pub shift: f64,
    /// Share of timesteps drawn from the noisiest twentieth.
    #[serde(default)]
    pub noisiest: f64,
}

/// A denoiser of few steps, distilled from a teacher.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StudentRecipe {
    /// The teacher's checkpoint, relative to the recipe.
    pub teacher: PathBuf,
    /// How often each number of frames is given: pairs of frames and share.
    pub given: Vec<(usize, f64)>,
    /// Times of the grid on which student and running mean must agree.
    pub times: usize,
    /// Shift of the grid towards noise.
    pub shift: f64,
    /// The falling σ at which the checkpoint says that it is to be asked.
    pub sigmas: Vec<f64>,
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
        let Written { output, seed, scenes, train, vae, teacher, student } =
            toml::from_str(text).map_err(|why| why.to_string().trim_end().to_owned())?;
        let stage = match (vae, teacher, student) {
            (Some(vae), None, None) => StageRecipe::Vae(vae),
            (None, Some(teacher), None) => StageRecipe::Teacher(teacher),
            (None, None, Some(student)) => StageRecipe::Student(student),
            _ => return Err("expected one table of [vae], [teacher] or [student]: what is learnt".into()),
        };
        scenes.check()?;
        train.check()?;
        let bytes = train.batch * scenes.frames_max() * scenes.size * scenes.size * 3 * size_of::<f32>();
        if STEP_BYTES_MAX < bytes {
            return Err(format!(
                "`train.batch` is {}: clips of {bytes} bytes at once; expected {STEP_BYTES_MAX} at most, the rest by `train.parts`",
                train.batch
            ));
        }
        match &stage {
            StageRecipe::Vae(vae) => vae.check(&scenes)?,
            StageRecipe::Teacher(teacher) => teacher.check(&scenes)?,
            StageRecipe::Student(student) => student.check(&scenes)?,
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
        within("scenes.clips", self.clips, 1, 1 << 61)?;
        let whole = |n: &usize| *n % 4 == 1 && (5..=FRAMES_MAX).contains(n);
        if self.frames.is_empty() || !self.frames.iter().all(whole) {
            let found = &self.frames;
            return Err(format!(
                "`scenes.frames` is {found:?}; expected lengths of 5, 9, 13, …, up to {FRAMES_MAX}"
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

impl VaeRecipe {
    fn check(&self, scenes: &Scenes) -> Result<(), String> {
        within("vae.base_dim", self.base_dim, 1, 1024)?;
        within("vae.num_res_blocks", self.num_res_blocks, 1, 8)?;
        within("vae.z_dim", self.z_dim, 1, 1024)?;
        within("vae.noise", self.noise, 0.0, 10.0)?;
        within("vae.object_weight", self.object_weight, 0.0, 1e3)?;
        let n = self.dim_mult.len();
        if !(2..=8).contains(&n) || self.dim_mult.iter().any(|m| !(1..=64).contains(m)) {
            return Err(format!(
                "`vae.dim_mult` is {:?}; expected two to eight numbers up to 64",
                self.dim_mult
            ));
        }
        if self.halve_time.len() != n - 1 || self.halve_time.iter().filter(|halve| **halve).count() != 2 {
            let found = &self.halve_time;
            return Err(format!(
                "`vae.halve_time` is {found:?}; expected {} flags, two of them true: four frames to a latent",
                n - 1
            ));
        }
        let factor = 1 << (n - 1);
        if !scenes.size.is_multiple_of(factor) {
            let size = scenes.size;
            return Err(format!("`scenes.size` is {size}; expected a multiple of {factor}, a latent's side"));
        }
        Ok(())
    }
}

impl TeacherRecipe {
    fn check(&self, scenes: &Scenes) -> Result<(), String> {
        within("teacher.heads", self.heads, 1, 256)?;
        within("teacher.layers", self.layers, 1, 256)?;
        within("teacher.adaln_dim", self.adaln_dim, 1, 4096)?;
        within("teacher.text_dim", self.text_dim, 1, 1 << 14)?;
        within("teacher.drop_actions", self.drop_actions, 0.0, 1.0)?;
        within("teacher.shift", self.shift, 0.1, 100.0)?;
        within("teacher.noisiest", self.noisiest, 0.0, 1.0)?;
        if self.head_dim < 12 || 1024 < self.head_dim || !self.head_dim.is_multiple_of(2) {
            return Err(format!(
                "`teacher.head_dim` is {}; expected an even number from 12 to 1024",
                self.head_dim
            ));
        }
        check_given("teacher", &self.given, scenes)
    }
}

impl StudentRecipe {
    fn check(&self, scenes: &Scenes) -> Result<(), String> {
        within("student.times", self.times, 2, 10_000)?;
        within("student.shift", self.shift, 0.1, 100.0)?;
        let falls = self.sigmas.windows(2).all(|pair| pair[1] < pair[0]);
        let is_sigma = |sigma: &f64| 0.0 < *sigma && *sigma <= 1.0;
        if self.sigmas.is_empty() || !falls || !self.sigmas.iter().all(is_sigma) {
            return Err(format!("`student.sigmas` is {:?}; expected falling numbers in 0…1", self.sigmas));
        }
        check_given("student", &self.given, scenes)
    }
}

/// One length of clip, and shares of how many of its frames are given.
fn check_given(table: &str, given: &[(usize, f64)], scenes: &Scenes) -> Result<(), String> {
    let [n_frames] = scenes.frames[..] else {
        return Err(format!("`scenes.frames` is {:?}; expected one length, the forecast's", scenes.frames));
    };
    let fits = |(n, share): &(usize, f64)| {
        (*n == 0 || n % 4 == 1) && *n < n_frames && share.is_finite() && 0.0 <= *share
    };
    let total: f64 = given.iter().map(|(_, share)| share).sum();
    if given.iter().all(fits) && 0.0 < total {
        return Ok(());
    }
    Err(format!(
        "`{table}.given` is {given:?}; expected pairs of frames (0, 1, 5, …, fewer than the clip's) and their shares"
    ))
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
