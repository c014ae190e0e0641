//! The built artefact: a model compiled for one backend, one architecture and one precision.
//!
//! An engine is one file that needs no other. Its manifest says what it was built from and for; its weights are in the
//! backend's own layout and are used where the file is mapped, so opening costs what checking the manifest costs. An engine
//! that answers its golden case wrongly is not installed, and [`self_test`] asks it again on the machine that runs it.

mod build;
mod error;
mod manifest;
mod self_test;

pub use build::{BuildOptions, Summary, build};
pub use error::EngineError;
pub use manifest::{EngineManifest, ModelSource};
pub use self_test::{SelfTest, self_test};

use std::path::Path;
use std::sync::Arc;

use crate::backend::{OpenOptions, Payload, Session, backend};
use crate::container::{Container, Kind};
use crate::graph::Network;
use crate::model::GoldenCase;

/// Section with the weights, as the backend wrote them.
const WEIGHTS: &str = "weights";
/// Section with the inputs and outputs of the golden case.
const GOLDEN: &str = "golden";
/// Section with the checkpoint's `tokenizer.json`.
const TOKENIZER: &str = "tokenizer";

/// An opened engine: checked, but nothing is claimed for runs yet.
#[derive(Debug)]
pub struct Engine {
    container: Arc<Container>,
    manifest: EngineManifest,
    golden: GoldenCase,
}

impl Engine {
    /// Maps the file and checks all that its manifest says. The weights are not looked at; [`Engine::verify`] compares their
    /// digest.
    ///
    /// # Errors
    /// If it is no engine, was damaged, says of itself what is not so, or was built for something else than this program
    /// on this machine.
    pub fn open(path: &Path) -> Result<Engine, EngineError> {
        let container = Container::open(path, Kind::Engine)?;
        let manifest: EngineManifest = container.content()?;
        manifest.check(path)?;
        container.section(WEIGHTS)?;
        if manifest.has_tokenizer() {
            container.section(TOKENIZER)?;
        }
        let golden = GoldenCase::unpack(&manifest.golden, &manifest.network, container.section(GOLDEN)?);
        let golden = golden.map_err(|what| EngineError::Manifest { path: path.to_owned(), what })?;
        Ok(Engine { container: Arc::new(container), manifest, golden })
    }

    /// Claims everything that runs need.
    ///
    /// # Errors
    /// If the backend cannot be used here, or the weights are not the network's, or memory or threads are short.
    pub fn session(&self, options: &OpenOptions) -> Result<Box<dyn Session>, EngineError> {
        let failed = |source| EngineError::Backend { path: self.path().to_owned(), source };
        let backend = backend(&self.manifest.backend).map_err(failed)?;
        let section =
            self.container.sections().iter().find(|s| s.name == WEIGHTS).expect("checked when opened");
        let payload =
            Payload::mapped(Arc::clone(&self.container) as _, section.offset..section.offset + section.bytes);
        backend.open(self.manifest.network.clone(), self.manifest.precision, payload, options).map_err(failed)
    }

    /// The file's path, as it was opened.
    pub fn path(&self) -> &Path {
        self.container.path()
    }

    /// SHA-256 of the manifest, which holds those of all sections.
    pub fn digest(&self) -> [u8; 32] {
        self.container.digest()
    }

    /// The file, with its sections.
    pub fn container(&self) -> &Container {
        &self.container
    }

    /// What it says about itself.
    pub fn manifest(&self) -> &EngineManifest {
        &self.manifest
    }

    /// The graphs, at the limits that the build set.
    pub fn network(&self) -> &Network {
        &self.manifest.network
    }

    /// The golden case.
    pub fn golden(&self) -> &GoldenCase {
        &self.golden
    }

    /// The checkpoint's `tokenizer.json`.
    ///
    /// # Errors
    /// If there is none: only Reason has one.
    pub fn tokenizer(&self) -> Result<&[u8], EngineError> {
        Ok(self.container.section(TOKENIZER)?)
    }

    /// Reads all sections and compares their digests; `progress` is told how many bytes are done, and of how many.
    ///
    /// # Errors
    /// If one differs.
    pub fn verify(&self, progress: impl FnMut(u64, u64)) -> Result<(), EngineError> {
        Ok(self.container.verify(progress)?)
    }
}
