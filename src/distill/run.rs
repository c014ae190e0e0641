//! The folder of a run: its recipe, its log and curves, what a resumed run needs, and the last checkpoint.
//!
//! ```text
//! recipe.toml         as it was begun
//! recipe-STEP.toml    as it went on from that step, where its [train] had changed
//! log.jsonl           one object a step, and one for each measurement
//! loss.csv, loss.svg  the steps for spreadsheets and eyes
//! measured-NAME.svg   each figure that is measured
//! inputs.sha256       digest of what the run learns from besides clips: a VAE, a teacher, a checkpoint of Reason
//! state.safetensors   weights, running means and moments at the last save
//! checkpoint/         a directory that `export` reads, or the next stage
//! ```
//! Files take their places whole; a run that is killed goes on from the last save. The folder is locked while a run is in it.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::DistillError;
use super::optimizer::Parameter;
use super::recipe::Recipe;
use crate::bounded;
use crate::checkpoint::{NewTensor, Tensors};
use crate::install::{self, Partial};
use crate::report::{Plot, Series};
use crate::tensor::DType;

const STATE: &str = "state.safetensors";
const RECIPE: &str = "recipe.toml";
const LOG: &str = "log.jsonl";
const INPUTS: &str = "inputs.sha256";
/// The folder of the last checkpoint.
pub const CHECKPOINT: &str = "checkpoint";
/// A digest; a log of twice as many steps as a recipe may ask for.
const INPUTS_BYTES_MAX: u64 = 1 << 10;
const LOG_BYTES_MAX: u64 = 4 << 30;
/// Steps a point of the curve is the mean of, at least.
const POINTS: usize = 400;

/// One step of a run, as its log has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// From 0.
    pub step: u64,
    /// Mean over its parts.
    pub loss: f64,
    /// Of all gradients together, before they were cut.
    pub norm: f64,
    /// How long a step was.
    pub rate: f64,
    /// Since the run began, without the times between its resumptions.
    pub seconds: f64,
}

/// A run's folder.
pub(super) struct RunFolder {
    dir: PathBuf,
    /// Locked while a run is in the folder.
    _in_use: File,
    steps: Vec<Step>,
    measured: Vec<Value>,
}

impl RunFolder {
    /// Begins a run where nothing lies yet but its recipe; `inputs` is the digest of what else it learns from.
    pub(super) fn create(recipe: &Recipe, inputs: &str) -> Result<RunFolder, DistillError> {
        let dir = recipe.output.clone();
        fs::create_dir_all(&dir).map_err(|e| DistillError::io(&dir, e))?;
        let folder = RunFolder::locked(dir)?;
        let dir = &folder.dir;
        if dir.join(STATE).exists() || dir.join(LOG).exists() {
            let why = "a run lies there; go on with it by --resume, or choose another `output`";
            return Err(DistillError::run(dir, why));
        }
        let text = fs::read(&recipe.path).map_err(|e| DistillError::io(&recipe.path, e))?;
        for entry in fs::read_dir(dir).map_err(|e| DistillError::io(dir, e))?.flatten() {
            let name = entry.file_name();
            // What a run that was killed before its first step left, and the recipe if it lies there.
            let is_own = match name.to_str() {
                Some(RECIPE) => fs::read(entry.path()).is_ok_and(|found| found == text),
                Some(INPUTS) => true,
                Some(hidden) if install::is_hidden(hidden) => true,
                _ => is_same(&entry.path(), &recipe.path),
            };
            if !is_own {
                let name = name.display();
                let why = format!("`{name}` lies there already; choose a new or an empty folder as `output`");
                return Err(DistillError::run(dir, why));
            }
        }
        for (name, text) in [(RECIPE, &text[..]), (INPUTS, inputs.as_bytes())] {
            let place = dir.join(name);
            install::write(&place, text).map_err(|e| DistillError::io(&place, e))?;
        }
        Ok(folder)
    }

    fn locked(dir: PathBuf) -> Result<RunFolder, DistillError> {
        let in_use = File::open(&dir).map_err(|e| DistillError::io(&dir, e))?;
        // A file system that has no locks leaves each process to itself.
        if let Err(TryLockError::WouldBlock) = in_use.try_lock() {
            let why = "another process trains there; wait for it, or choose another `output`";
            return Err(DistillError::run(&dir, why));
        }
        Ok(RunFolder { dir, _in_use: in_use, steps: Vec::new(), measured: Vec::new() })
    }

    /// Goes on with a run: the next step, and the parameters as they were. One that was killed before it was saved begins again.
    pub(super) fn resume(
        recipe: &Recipe,
        inputs: &str,
        parameters: &mut [Parameter],
    ) -> Result<(RunFolder, u64), DistillError> {
        let dir = recipe.output.clone();
        if !dir.join(INPUTS).exists() {
            return Err(DistillError::run(&dir, "no run was saved there; begin one without --resume"));
        }
        let mut folder = RunFolder::locked(dir.clone())?;
        let begun = Recipe::open(&dir.join(RECIPE))?;
        if (begun.seed, &begun.scenes, &begun.stage) != (recipe.seed, &recipe.scenes, &recipe.stage) {
            let why =
                "the run was begun by a recipe of another seed, scenes or network; choose another `output`";
            return Err(DistillError::run(&dir, why));
        }
        let place = dir.join(INPUTS);
        if bounded::read(&place, INPUTS_BYTES_MAX).map_err(|e| DistillError::io(&place, e))?
            != inputs.as_bytes()
        {
            let why = "the VAE, the teacher or the checkpoint of Reason is not the one that the run was begun with; put that one back, \
                or begin a run in another `output`";
            return Err(DistillError::run(&dir, why));
        }
        let state = dir.join(STATE);
        if !state.exists() {
            folder.read_log(0)?;
            folder.keep_recipe(&begun, recipe, 0)?;
            return Ok((folder, 0));
        }
        let tensors = Tensors::open(&state)?;
        let step = tensors.expect("step", &[2])?.bytes.to_vec();
        let step = <[u8; 8]>::try_from(&step[..]).map(u64::from_le_bytes);
        let step = step.map_err(|_| DistillError::run(&state, "`step` is no number"))?;
        let n_steps = recipe.train.steps;
        if n_steps < step {
            let why = format!(
                "{step} steps are done, and the recipe has {n_steps}; raise `train.steps`, or begin a run in another `output`"
            );
            return Err(DistillError::run(&dir, why));
        }
        for parameter in parameters.iter_mut() {
            let mut parts = [const { Vec::new() }; 4];
            let wanted = parameter.state().map(|(part, values)| (part, values.len()));
            for (to, (part, n)) in parts.iter_mut().zip(wanted).filter(|(_, (_, n))| 0 < *n) {
                let name = format!("{}.{part}", parameter.name);
                let tensor = tensors.expect(&name, &[n])?;
                if tensor.dtype != DType::F32 {
                    return Err(DistillError::run(
                        &state,
                        format!("`{name}` is {:?}, expected F32", tensor.dtype),
                    ));
                }
                *to = tensor.to_f32();
            }
            parameter
                .restore(parts)
                .map_err(|part| DistillError::run(&state, format!("{part} is too short")))?;
        }
        folder.read_log(step)?;
        folder.keep_recipe(&begun, recipe, step)?;
        Ok((folder, step))
    }

    /// Keeps by which recipe a run goes on from `step`, where that is not the one that it was begun by.
    fn keep_recipe(&self, begun: &Recipe, recipe: &Recipe, step: u64) -> Result<(), DistillError> {
        if begun.train == recipe.train {
            return Ok(());
        }
        let text = fs::read(&recipe.path).map_err(|e| DistillError::io(&recipe.path, e))?;
        let place = self.dir.join(format!("recipe-{step}.toml"));
        install::write(&place, &text).map_err(|e| DistillError::io(&place, e))
    }

    /// Steps of the log before `step`; those after it were not saved and are run again.
    fn read_log(&mut self, step: u64) -> Result<(), DistillError> {
        let path = self.dir.join(LOG);
        let text = match bounded::read(&path, LOG_BYTES_MAX) {
            Err(e) if e.kind() == ErrorKind::NotFound => Vec::new(),
            other => other.map_err(|e| DistillError::io(&path, e))?,
        };
        for line in text.split(|byte| *byte == b'\n') {
            // The last line of a killed run may be cut. What else is no row says nothing of a state that is whole.
            let Ok(row) = serde_json::from_slice::<Value>(line) else { continue };
            let Some(at) = row["step"].as_u64() else { continue };
            let number = |key: &str| row[key].as_f64().unwrap_or(f64::NAN);
            if step <= at {
                continue;
            }
            // What is measured may be a loss too.
            if row.get("seconds").is_none() {
                self.measured.push(row);
                continue;
            }
            let [loss, norm, rate, seconds] = ["loss", "norm", "rate", "seconds"].map(number);
            self.steps.push(Step { step: at, loss, norm, rate, seconds });
        }
        let lines: String = self.rows().map(|row| format!("{row}\n")).collect();
        install::write(&path, lines.as_bytes()).map_err(|e| DistillError::io(&path, e))
    }

    fn rows(&self) -> impl Iterator<Item = Value> {
        let mut rows: Vec<(u64, Value)> = self.steps.iter().map(|step| (step.step, row(step))).collect();
        rows.extend(self.measured.iter().map(|row| (row["step"].as_u64().unwrap_or(0), row.clone())));
        rows.sort_by_key(|(step, _)| *step);
        rows.into_iter().map(|(_, row)| row)
    }

    /// Seconds of the run so far.
    pub(super) fn seconds(&self) -> f64 {
        self.steps.last().map_or(0.0, |step| step.seconds)
    }

    /// The last step's loss.
    pub(super) fn loss(&self) -> f64 {
        self.steps.last().map_or(f64::NAN, |step| step.loss)
    }

    /// Logs a step.
    pub(super) fn step(&mut self, step: Step) -> Result<(), DistillError> {
        let line = row(&step);
        self.steps.push(step);
        self.append(&line)
    }

    /// Logs what was measured after a step.
    pub(super) fn measured(
        &mut self,
        step: u64,
        figures: &[(&'static str, f64)],
    ) -> Result<(), DistillError> {
        let mut row = json!({ "step": step });
        figures.iter().for_each(|(name, value)| row[*name] = json!(value));
        self.append(&row)?;
        self.measured.push(row);
        Ok(())
    }

    fn append(&self, row: &Value) -> Result<(), DistillError> {
        let path = self.dir.join(LOG);
        let io = |e| DistillError::io(&path, e);
        let mut file = fs::OpenOptions::new().create(true).append(true).open(&path).map_err(io)?;
        file.write_all(format!("{row}\n").as_bytes()).map_err(io)
    }

    /// Writes what a resumed run needs; `next` is the step that it begins with.
    pub(super) fn save(&self, next: u64, parameters: &[Parameter]) -> Result<(), DistillError> {
        let step = next.to_le_bytes();
        let mut all = vec![NewTensor::new("step", DType::I32, vec![2], || (&step[..]).into())];
        for parameter in parameters {
            for (part, values) in parameter.state() {
                if !values.is_empty() {
                    let bytes: &[u8] = bytemuck::cast_slice(values);
                    let name = format!("{}.{part}", parameter.name);
                    all.push(NewTensor::new(name, DType::F32, vec![values.len()], move || bytes.into()));
                }
            }
        }
        let path = self.dir.join(STATE);
        let io = |e: std::io::Error| DistillError::io(&path, e);
        let mut file = Partial::create(&path).map_err(io)?;
        let bytes =
            safetensors::serialize(all.iter().map(|t| (t.name(), t)), None::<HashMap<String, String>>);
        file.write_all(&bytes.map_err(|e| io(std::io::Error::other(e.to_string())))?).map_err(io)?;
        file.install().map_err(io)?;
        self.curves()
    }

    /// Puts a checkpoint that `write` makes into the place of the last one.
    pub(super) fn checkpoint(
        &self,
        write: impl FnOnce(&Path) -> Result<(), DistillError>,
    ) -> Result<(), DistillError> {
        let (place, new) = (self.dir.join(CHECKPOINT), self.dir.join("checkpoint.new"));
        // What a killed process left.
        match fs::remove_dir_all(&new) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(DistillError::io(&new, e)),
            _ => {}
        }
        write(&new)?;
        install::exchange(&new, &place).map_err(|e| DistillError::io(&place, e))
    }

    fn curves(&self) -> Result<(), DistillError> {
        let mut csv = String::from("step,loss,norm,rate,seconds\n");
        for Step { step, loss, norm, rate, seconds } in &self.steps {
            csv += &format!("{step},{loss},{norm},{rate},{seconds}\n");
        }
        let run = self.steps.len().div_ceil(POINTS).max(1);
        let mean = |steps: &[Step]| {
            let last = steps.last().expect("chunks are not empty");
            [last.step as f64, steps.iter().map(|s| s.loss).sum::<f64>() / steps.len() as f64]
        };
        let loss = self.steps.chunks(run).map(mean).collect();
        let loss = plot("Loss", format!("mean of {run} steps"), "training", loss);
        let mut files = vec![("loss.csv".to_owned(), csv), ("loss.svg".to_owned(), loss.file())];
        let of_rows = self.measured.iter().filter_map(Value::as_object).flat_map(|row| row.keys());
        for name in names(of_rows.filter(|name| *name != "step")) {
            let point = |row: &Value| Some([row["step"].as_f64()?, row[name].as_f64()?]);
            let points = self.measured.iter().filter_map(point).collect();
            files.push((
                format!("measured-{name}.svg"),
                plot(name, String::new(), "validation", points).file(),
            ));
        }
        for (name, text) in files {
            let path = self.dir.join(name);
            install::write(&path, text.as_bytes()).map_err(|e| DistillError::io(&path, e))?;
        }
        Ok(())
    }
}

/// Each name once, of those that may stand in a file's name: what a log has from outside becomes no path.
fn names<'n>(all: impl Iterator<Item = &'n String>) -> BTreeSet<&'n str> {
    let is_plain = |name: &&String| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    all.filter(is_plain).map(String::as_str).collect()
}

fn plot(title: &str, unit: String, name: &str, points: Vec<[f64; 2]>) -> Plot {
    let series = vec![Series { name: name.to_owned(), points }];
    Plot { title: title.to_owned(), across: "step".into(), unit, series, ..Plot::default() }
}

fn is_same(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

fn row(Step { step, loss, norm, rate, seconds }: &Step) -> Value {
    json!({ "step": step, "loss": loss, "norm": norm, "rate": rate, "seconds": seconds })
}
