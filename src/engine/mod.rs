//! The built artefact: a model compiled for one backend and what that is bound to, its weights in a format for each part.
//!
//! An engine is one file that needs no other. Its manifest says what it was built from and for; its sections are in the
//! backend's own layout and are used where the file is mapped, so opening costs what checking the manifest costs. An engine
//! that answers its golden cases wrongly is not installed, and [`self_test`] asks it again on the machine that runs it. One that is
//! for another machine can be tried there alone; it is written only if that was asked for, and its manifest says so.

mod accuracy;
mod build;
mod error;
mod keeping;
mod manifest;
mod self_test;
mod sums;

pub use accuracy::{PartAccuracy, accuracy};
pub use build::{BuildOptions, BuildTold, For, Summary, Tried, build, build_for};
pub use error::EngineError;
pub use keeping::{GoldenError, Keeping, keeping};
pub use manifest::{EngineManifest, ModelSource};
pub use self_test::{SelfTest, self_test};
pub use sums::OutputAccuracy;

use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::backend::{
    ActivationScales, Difference, OpenOptions, Payload, Sections, Session, Stored, backend,
};
use crate::container::{Container, Kind, hex};
use crate::graph::Network;
use crate::model::GoldenCase;

/// Section with the inputs and outputs of the golden cases.
const GOLDEN: &str = "golden";
/// Section with the scales of activations, serialised anew.
const SCALES: &str = "scales";
/// Section with the checkpoint's `tokenizer.json`.
const TOKENIZER: &str = "tokenizer";

/// An opened engine: checked, but nothing is claimed for runs yet.
#[derive(Debug)]
pub struct Engine {
    container: Arc<Container>,
    manifest: EngineManifest,
    golden: Vec<GoldenCase>,
    scales: Option<Arc<ActivationScales>>,
}

impl Engine {
    /// Maps the file and checks all that its manifest says, but for what it is bound to: an engine for another machine can be
    /// looked at. The weights are not; [`Engine::verify`] compares their digest.
    ///
    /// # Errors
    /// If it is no engine, was damaged, or says of itself what is not so.
    pub fn open(path: &Path) -> Result<Engine, EngineError> {
        let container = Container::open(path, Kind::Engine)?;
        let manifest: EngineManifest = container.content()?;
        manifest.check(path)?;
        if manifest.has_tokenizer() {
            container.section(TOKENIZER)?;
        }
        let golden = GoldenCase::unpack(&manifest.golden, &manifest.network, container.section(GOLDEN)?);
        let wrong = |what| EngineError::Manifest { path: path.to_owned(), what };
        let golden = golden.map_err(wrong)?;
        let scales = match &manifest.scales_sha256 {
            None => None,
            Some(expected) => Some(Arc::new(scales(container.section(SCALES)?, expected).map_err(wrong)?)),
        };
        if let Some(scales) = &scales {
            let names = manifest.network.weights.iter().map(|weight| &weight.name[..]);
            scales.check_of(&manifest.model.sha256, names).map_err(|why| wrong(why.to_string()))?;
        }
        Ok(Engine { container: Arc::new(container), manifest, golden, scales })
    }

    /// Claims everything that runs need.
    ///
    /// # Errors
    /// If the backend cannot be used here, the engine is bound to something else than this program on this machine, its sections
    /// are not the network's, or memory or threads are short.
    pub fn session(&self, options: &OpenOptions) -> Result<Box<dyn Session>, EngineError> {
        let manifest = &self.manifest;
        let (path, name) = (|| self.path().to_owned(), || manifest.backend.clone());
        let backend = backend(&manifest.backend).map_err(|source| EngineError::OtherBackend {
            path: path(),
            backend: name(),
            source,
        })?;
        if let Some(Difference { field, expected, found }) = backend.binding().difference(&manifest.bound_to)
        {
            return Err(EngineError::BuiltFor { path: path(), backend: name(), field, expected, found });
        }
        let wrong = |source| EngineError::Formats { path: path(), source };
        manifest.formats.check(&manifest.network, &backend.storing()).map_err(wrong)?;
        let stored = Stored::new(&manifest.formats, &manifest.network, self.scales.clone()).map_err(wrong)?;
        let failed = |source| EngineError::Backend { path: path(), source };
        backend.accepts(&manifest.network, &stored).map_err(failed)?;
        let mut sections = Sections::default();
        for section in
            self.container.sections().iter().filter(|s| ![GOLDEN, SCALES, TOKENIZER].contains(&&s.name[..]))
        {
            let range = section.offset..section.offset + section.bytes;
            sections.add(&section.name, Payload::mapped(Arc::clone(&self.container) as _, range));
        }
        let opened = backend.open(manifest.network.clone(), &stored, &sections, options);
        opened.map_err(failed)
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

    /// The golden cases, in the order in which they are run: those of the model's that the limits leave room for.
    pub fn golden(&self) -> &[GoldenCase] {
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

/// The scales of a section whose digest its manifest says.
fn scales(bytes: &[u8], expected: &str) -> Result<ActivationScales, String> {
    let found = digest(bytes);
    if found != expected {
        return Err(format!("its scales have digest {found}, expected {expected}"));
    }
    ActivationScales::parse(bytes).map_err(|why| format!("its scales: {why}"))
}

/// SHA-256 in hexadecimal digits.
fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_are_believed_only_as_they_were_written() {
        let good = br#"{"format":1,"model":"a","tensors":[{"weight":"w","amax":2.0,"method":"max"}]}"#;
        assert_eq!(scales(good, &digest(good)).unwrap().by_weight()["w"], 2.0);
        let changed = std::str::from_utf8(good).unwrap().replace("2.0", "3.0");
        let why = scales(changed.as_bytes(), &digest(good)).unwrap_err();
        assert!(why.contains("digest"), "{why}");
        for bad in [
            "{".to_owned(),
            changed.replace("3.0", "0.0"),
            changed.replace("3.0", "-1.0"),
            changed.replace("3.0", "1e999"),
            changed.replace(r#"}]"#, r#"},{"weight":"w","amax":1.0,"method":"max"}]"#),
            changed.replace(r#""format":1"#, r#""format":3"#),
        ] {
            let why = scales(bad.as_bytes(), &digest(bad.as_bytes())).unwrap_err();
            assert!(why.contains("its scales:"), "{bad}: {why}");
        }
    }
}
