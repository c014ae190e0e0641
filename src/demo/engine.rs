//! From the small checkpoints to engines that answer and forecast, in directories that go when the demo does.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::backend::{OpenOptions, WeightFormat};
use crate::cli::Usage;
use crate::cli::engines::{open_predict, open_reason};
use crate::engine::{BuildOptions, build};
use crate::export::{PredictOptions, ReasonOptions, export_predict, export_reason};
use crate::model::Model;
use crate::ros2::reason::ReasonAnswerer;
use crate::runtime::predict::Predict;
use crate::runtime::reason::AnswerSettings;

/// The longest answer, a description, has half as many.
const ANSWER_TOKENS_MAX: usize = 64;

/// One of the project's own checkpoints.
#[derive(Debug, Clone, Copy)]
pub(super) struct Own {
    /// Where it lies, from the root of the sources.
    place: &'static str,
    /// A file that it has.
    mark: &'static str,
    /// The option that names another.
    option: &'static str,
}

pub(super) const REASON: Own =
    Own { place: "engines/small-reason", mark: "config.json", option: "--checkpoint" };
pub(super) const PREDICT: Own =
    Own { place: "engines/small-predict", mark: "model_index.json", option: "--predict-checkpoint" };
pub(super) const ROBOT: Own =
    Own { place: "engines/small-robot", mark: "model_index.json", option: "--robot-checkpoint" };

/// An engine, with the files that it is mapped from.
pub(super) struct Made {
    pub(super) answerer: ReasonAnswerer,
    _files: TempDir,
}

/// The checkpoint that was asked for, or else the project's own: here, beside the program, or where it was built.
///
/// # Errors
/// If it is not there.
pub(super) fn find(own: Own, asked: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(asked) = asked {
        return Ok(asked.to_owned());
    }
    let Own { place, mark, option } = own;
    let program = std::env::current_exe().unwrap_or_default();
    let above = program.ancestors().skip(1).filter(|dir| !dir.as_os_str().is_empty());
    // A package puts it there: `/usr/share/perihelion` of `/usr/bin/perihelion`.
    let above = above.flat_map(|dir| [dir.to_owned(), dir.join("share/perihelion")]);
    let roots = [PathBuf::new()].into_iter().chain(above).chain([PathBuf::from(env!("CARGO_MANIFEST_DIR"))]);
    let mut places = roots.map(|root| root.join(place));
    places.find(|place| place.join(mark).is_file()).ok_or_else(|| {
        let message = format!(
            "{place} is neither here nor in a directory above the program; say where it is with {option} DIR"
        );
        Usage(message).into()
    })
}

impl Made {
    /// Exports and builds the checkpoint for the CPU in f32, and opens the engine.
    ///
    /// # Errors
    /// If a step refuses it.
    pub(super) fn of(checkpoint: &Path, threads: NonZeroUsize) -> anyhow::Result<Self> {
        let (model, files) = model_in_a_directory()?;
        export_reason(checkpoint, &ReasonOptions::default(), &model, &mut |_| {})?;
        let (reason, _) = open_reason(&built(&model, threads)?, threads)?;
        let settings = AnswerSettings { tokens_max: ANSWER_TOKENS_MAX, ..AnswerSettings::default() };
        let answerer = ReasonAnswerer::new(reason, settings);
        Ok(Self { answerer, _files: files })
    }
}

/// A built engine of Predict, in the directory that it goes with.
pub(super) struct PredictEngine {
    path: PathBuf,
    _files: TempDir,
}

impl PredictEngine {
    /// Exports and builds a checkpoint for the CPU in f32.
    ///
    /// # Errors
    /// If a step refuses it.
    pub(super) fn of(checkpoint: &Path, threads: NonZeroUsize) -> anyhow::Result<Self> {
        let (model, files) = model_in_a_directory()?;
        export_predict(checkpoint, &PredictOptions::default(), &model, &mut |_| {})?;
        Ok(Self { path: built(&model, threads)?, _files: files })
    }

    /// Opens a session of it.
    ///
    /// # Errors
    /// If memory or threads are short.
    pub(super) fn open(&self, threads: NonZeroUsize) -> anyhow::Result<Predict> {
        Ok(open_predict(&self.path, threads, None)?.0)
    }
}

fn model_in_a_directory() -> anyhow::Result<(PathBuf, TempDir)> {
    let files = TempDir::with_prefix("perihelion-demo-")?;
    Ok((files.path().join("demo.model"), files))
}

/// The engine of a model, beside it.
fn built(model: &Path, threads: NonZeroUsize) -> anyhow::Result<PathBuf> {
    let engine = model.with_extension("engine");
    let options = BuildOptions {
        backend: "cpu".to_owned(),
        formats: WeightFormat::F32.into(),
        limits: Vec::new(),
        open: OpenOptions { threads: Some(threads.get()) },
    };
    build(&Model::open(model)?, &options, &engine, &mut |_| {})?;
    Ok(engine)
}
