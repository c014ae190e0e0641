//! From the small checkpoint to an engine that answers, in a directory that goes when the demo does.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::stage::CLIP_FRAMES;
use crate::backend::{OpenOptions, Precision};
use crate::cli::Usage;
use crate::cli::engines::open_reason;
use crate::engine::{BuildOptions, build};
use crate::export::{Model, ReasonOptions, export_reason};
use crate::ros2::reason::{ReasonAnswerer, ReasonSettings};
use crate::runtime::Sampling;
use crate::scenes::SIZE;

/// Where the checkpoint lies, from the root of the sources.
const CHECKPOINT: &str = "engines/small-reason";
/// The longest answer, a description, has half as many.
const ANSWER_TOKENS_MAX: usize = 64;

/// An engine, with the files that it is mapped from.
pub(super) struct Made {
    pub(super) answerer: ReasonAnswerer,
    _files: TempDir,
}

/// The checkpoint that was asked for, or else the project's own: here, beside the program, or where it was built.
///
/// # Errors
/// If it is not there.
pub(super) fn find(asked: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(asked) = asked {
        return Ok(asked.to_owned());
    }
    let program = std::env::current_exe().unwrap_or_default();
    let above = program.ancestors().skip(1).filter(|dir| !dir.as_os_str().is_empty());
    let roots = [Path::new("")].into_iter().chain(above).chain([Path::new(env!("CARGO_MANIFEST_DIR"))]);
    let mut places = roots.map(|root| root.join(CHECKPOINT));
    places.find(|place| place.join("config.json").is_file()).ok_or_else(|| {
        let message = format!(
            "{CHECKPOINT} is neither here nor in a directory above the program; say where it is with --checkpoint DIR"
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
        let files = TempDir::with_prefix("perihelion-demo-")?;
        let (model_path, engine_path) = (files.path().join("demo.model"), files.path().join("demo.engine"));
        export_reason(checkpoint, &ReasonOptions::default(), &model_path, &mut |_| {})?;
        let options = BuildOptions {
            backend: "cpu".to_owned(),
            precision: Precision::F32,
            limits: Vec::new(),
            open: OpenOptions { threads: Some(threads.get()) },
        };
        build(&Model::open(&model_path)?, &options, &engine_path, &mut |_| {})?;
        let (reason, _) = open_reason(&engine_path, threads, false)?;
        let settings = ReasonSettings {
            system: None,
            sampling: Sampling { greedy: true, ..Sampling::default() },
            tokens_max: ANSWER_TOKENS_MAX,
            think: false,
            thought_tokens_max: 0,
            budget_ms: None,
            choices: Vec::new(),
        };
        let answerer = ReasonAnswerer::new(reason, settings, CLIP_FRAMES, SIZE * SIZE);
        Ok(Self { answerer, _files: files })
    }
}
