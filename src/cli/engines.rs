//! Opening engines, and what reports say of them.

use std::num::NonZeroUsize;
use std::path::Path;

use anyhow::bail;
use serde::Serialize;

use super::output;
use super::places::is_file;
use crate::backend::{Memory, OpenOptions};
use crate::container::hex;
use crate::engine::{Engine, self_test};
use crate::models::predict25::PredictManifest;
use crate::runtime::SharedSession;
use crate::runtime::predict::Predict;
use crate::runtime::reason::Reason;

/// What an engine was built from and for.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Identity {
    pub engine_sha256: String,
    pub model_sha256: String,
    pub checkpoint: String,
    pub checkpoint_sha256: String,
    pub backend: String,
    /// What the weights are stored as: one name where all parts agree, `PART=FORMAT,…` otherwise.
    pub precision: String,
}

impl Identity {
    pub(crate) fn of(engine: &Engine) -> Self {
        let manifest = engine.manifest();
        Self {
            engine_sha256: hex(&engine.digest()),
            model_sha256: manifest.model.sha256.clone(),
            checkpoint: manifest.source.name.clone(),
            checkpoint_sha256: manifest.source.sha256.clone(),
            backend: manifest.backend.clone(),
            precision: manifest.formats.to_string(),
        }
    }
}

/// An engine, and a session of it that the loops of all its roles share.
pub(crate) struct Loaded {
    engine: Engine,
    session: SharedSession,
}

impl Loaded {
    /// Opens an engine, and runs its golden cases, as warm-up and so that damaged weights answer nothing.
    ///
    /// Why not the weights' digest: it would read gigabytes at every start, where the golden cases read what an answer reads.
    ///
    /// # Errors
    /// If the file is none, or cannot be used here, or answers its golden case wrongly.
    pub(crate) fn open(path: &Path, threads: NonZeroUsize) -> anyhow::Result<Self> {
        is_file(path, "an engine")?;
        let engine = Engine::open(path)?;
        let mut session = engine.session(&OpenOptions { threads: Some(threads.get()) })?;
        self_test(&engine, session.as_mut())?;
        Ok(Self { engine, session: session.into() })
    }

    /// The engine's file.
    pub(crate) fn path(&self) -> &Path {
        self.engine.path()
    }

    /// What it was built from and for.
    pub(crate) fn identity(&self) -> Identity {
        Identity::of(&self.engine)
    }

    /// Whether it answers questions.
    pub(crate) fn answers(&self) -> bool {
        self.engine.manifest().roles.answers.is_some()
    }

    /// What it says of its forecasts, if it makes any.
    pub(crate) fn forecasts(&self) -> Option<&PredictManifest> {
        self.engine.manifest().roles.forecasts.as_ref()
    }

    /// Its loop that answers questions.
    ///
    /// # Errors
    /// If that is none of its roles.
    pub(crate) fn reason(&self) -> anyhow::Result<Reason> {
        Ok(Reason::open(&self.engine, self.session.clone())?)
    }

    /// Its loop that forecasts, in `steps` steps if another number than its own is asked for.
    ///
    /// # Errors
    /// If that is none of its roles, or its schedule has no such number of steps.
    pub(crate) fn predict(&self, steps: Option<usize>) -> anyhow::Result<Predict> {
        let Some(manifest) = &self.engine.manifest().roles.forecasts else {
            bail!("{}: the engine answers questions; `ask` runs it", self.engine.path().display());
        };
        Ok(Predict::new(self.session.clone(), manifest.clone(), steps)?)
    }
}

/// Opens an engine that answers questions.
///
/// # Errors
/// As [`Loaded::open`] and [`Loaded::reason`].
pub(crate) fn open_reason(path: &Path, threads: NonZeroUsize) -> anyhow::Result<(Reason, Identity)> {
    let loaded = Loaded::open(path, threads)?;
    Ok((loaded.reason()?, loaded.identity()))
}

/// Opens an engine that forecasts.
///
/// # Errors
/// As [`Loaded::open`] and [`Loaded::predict`].
pub(crate) fn open_predict(
    path: &Path,
    threads: NonZeroUsize,
    steps: Option<usize>,
) -> anyhow::Result<(Predict, Identity)> {
    let loaded = Loaded::open(path, threads)?;
    Ok((loaded.predict(steps)?, loaded.identity()))
}

/// A session's bytes as rows of a table.
pub(crate) fn memory_rows(memory: &Memory) -> Vec<Vec<String>> {
    let Memory {
        weights_mapped_bytes,
        weights_private_bytes,
        buffers_bytes,
        caches_bytes,
        arena_bytes,
        scratch_bytes,
    } = *memory;
    [
        ("weights, mapped", weights_mapped_bytes),
        ("weights, private", weights_private_bytes),
        ("inputs and outputs", buffers_bytes),
        ("caches and features", caches_bytes),
        ("arena", arena_bytes),
        ("scratch of threads", scratch_bytes),
    ]
    .into_iter()
    .map(|(name, bytes)| vec![name.to_owned(), output::bytes(bytes), bytes.to_string()])
    .collect()
}
