//! Opens a model: the file is mapped, and all that its manifest says is checked against it.

use std::path::Path;

use super::manifest::{GOLDEN, ModelManifest, Roles, TOKENIZER, WEIGHTS};
use super::{GoldenCase, ModelError};
use crate::container::{Container, Kind};
use crate::graph::Weights;
use crate::graph::{Network, WeightId};
use crate::tensor::TensorView;

/// An opened model.
#[derive(Debug)]
pub struct Model {
    container: Container,
    manifest: ModelManifest,
    golden: Vec<GoldenCase>,
}

impl Model {
    /// Opens the file. The contents of its sections are not looked at; [`Model::verify`] compares their digests.
    ///
    /// # Errors
    /// If it is no model, was damaged, or says of itself what is not so.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        let container = Container::open(path, Kind::Model)?;
        let manifest: ModelManifest = container.content()?;
        let wrong = |what: String| ModelError::Manifest { path: path.to_owned(), what };
        let network = &manifest.network;
        network.verify().map_err(|source| ModelError::Graph { path: path.to_owned(), source })?;
        check_tensors(&manifest, container.section(WEIGHTS)?.len()).map_err(wrong)?;
        manifest.roles.check(network).map_err(wrong)?;
        if manifest.roles.need_tokenizer() {
            container.section(TOKENIZER)?;
        }
        let golden = GoldenCase::unpack(&manifest.golden, network, container.section(GOLDEN)?);
        Ok(Self { golden: golden.map_err(wrong)?, container, manifest })
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
    pub fn manifest(&self) -> &ModelManifest {
        &self.manifest
    }

    /// The graphs.
    pub fn network(&self) -> &Network {
        &self.manifest.network
    }

    /// A weight's type, shape and bytes.
    pub fn tensor(&self, id: WeightId) -> TensorView<'_> {
        let weight = &self.manifest.network.weights[id.index()];
        let begin = self.manifest.tensors[id.index()];
        let bytes = weight.shape.iter().product::<usize>() * weight.dtype.size_bytes();
        let section = self.container.section(WEIGHTS).expect("checked when opened");
        TensorView { dtype: weight.dtype, shape: weight.shape.clone(), bytes: &section[begin..begin + bytes] }
    }

    /// The golden cases, in the order in which they are run.
    pub fn golden(&self) -> &[GoldenCase] {
        &self.golden
    }

    /// The checkpoint's `tokenizer.json`.
    ///
    /// # Errors
    /// If there is none: only Reason has one.
    pub fn tokenizer(&self) -> Result<&[u8], ModelError> {
        Ok(self.container.section(TOKENIZER)?)
    }

    /// Reads all sections and compares their digests; `progress` is told how many bytes are done, and of how many.
    ///
    /// # Errors
    /// If one differs.
    pub fn verify(&self, progress: impl FnMut(u64, u64)) -> Result<(), ModelError> {
        Ok(self.container.verify(progress)?)
    }
}

impl Weights for Model {
    fn weight(&self, id: WeightId) -> TensorView<'_> {
        self.tensor(id)
    }
}

fn check_tensors(manifest: &ModelManifest, section_bytes: usize) -> Result<(), String> {
    let weights = &manifest.network.weights;
    if weights.len() != manifest.tensors.len() {
        return Err(format!("{} weights, but places of {}", weights.len(), manifest.tensors.len()));
    }
    for (weight, begin) in weights.iter().zip(&manifest.tensors) {
        // The network was verified: the product is far from overflow.
        let bytes = weight.shape.iter().product::<usize>() * weight.dtype.size_bytes();
        if begin.checked_add(bytes).is_none_or(|end| section_bytes < end) {
            let name = &weight.name;
            return Err(format!(
                "weight `{name}`: {bytes} bytes from {begin} should lie in the section's {section_bytes}"
            ));
        }
    }
    Ok(())
}

impl Roles {
    /// Checks what the runtime would otherwise find out by a panic.
    ///
    /// # Errors
    /// That there is none, what the network lacks, or what is out of range.
    pub fn check(&self, network: &Network) -> Result<(), String> {
        if self.answers.is_none() && self.forecasts.is_none() {
            return Err("`roles` should name at least one of `answers`, `forecasts`".into());
        }
        self.answers.as_ref().map_or(Ok(()), |reason| reason.check(network))?;
        self.forecasts.as_ref().map_or(Ok(()), |predict| predict.check(network))
    }

    /// Whether a role takes text, and so the checkpoint's tokenizer.
    pub fn need_tokenizer(&self) -> bool {
        self.answers.is_some()
    }
}
