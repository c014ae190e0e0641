//! A checkpoint of Cosmos-Reason2 as network and constants: every tensor looked for, none read. And the way back.

use std::path::Path;

use super::graphs::{Limits, network};
use super::{Reason2Config, names};
use crate::checkpoint::{Checkpoint, CheckpointError, CheckpointWriter};
use crate::graph::{Network, WeightId, Weights};
use crate::models::names::{Constants, Names};
use crate::tensor::TensorView;

/// A network with its constants, which lie in the checkpoint's map.
#[derive(Debug)]
pub struct Reason2<'a> {
    /// What the checkpoint's config says.
    pub config: Reason2Config,
    /// The graphs.
    pub network: Network,
    /// Where its weights stand in the checkpoint.
    pub names: Names,
    checkpoint: &'a Checkpoint,
    constants: Constants<'a>,
}

impl<'a> Reason2<'a> {
    /// Reads the config, writes the network and finds each of its weights in the checkpoint.
    ///
    /// # Errors
    /// If the config is wrong, or a tensor is missing, has another shape than the config implies, is of a type that weights
    /// never have, or is one that the network does not know.
    pub fn new(checkpoint: &'a Checkpoint, limits: Limits) -> Result<Self, CheckpointError> {
        let config = Reason2Config::parse(checkpoint.config())?;
        let head = config.head(checkpoint.tensors())?;
        let mut network = network(&config, limits, head, config.dtype);
        let names = names(&config, &network, head);
        let folders = [("", checkpoint.tensors())];
        let constants = names.read(&mut network, &folders)?;
        Names::expect_no_others(&[&names], &folders)?;
        Ok(Self { config, network, names, checkpoint, constants })
    }

    /// Writes a checkpoint like this one to `dir`, with these weights of the network; all other files are copied.
    ///
    /// # Errors
    /// As [`CheckpointWriter::create`], and if the disk is full or fails. Then nothing new lies at `dir` or beside it.
    pub fn write(&self, weights: &dyn Weights, dir: &Path) -> Result<(), CheckpointError> {
        let mut writer = CheckpointWriter::create(dir, Some(self.checkpoint.dir()))?;
        writer.copy_configs(self.checkpoint, "")?;
        let folders = [("", self.checkpoint.tensors())];
        for (_, tensors) in self.names.write(&self.network, weights, &folders) {
            writer.tensors("model.safetensors", tensors)?;
        }
        writer.finish()
    }
}

impl Weights for Reason2<'_> {
    fn weight(&self, id: WeightId) -> TensorView<'_> {
        self.constants.weight(id)
    }
}
