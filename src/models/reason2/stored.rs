//! A checkpoint of Cosmos-Reason2 as network and constants: every tensor looked for, none read.

use super::Reason2Config;
use super::graphs::{Limits, network, stored_shape};
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::graph::Weights;
use crate::graph::{Network, WeightId};
use crate::tensor::{DType, TensorView};

/// A second name of a tied head, which some writers store besides.
const HEAD: &str = "lm_head.weight";

/// A network with its constants, which lie in the checkpoint's map.
#[derive(Debug)]
pub struct Reason2<'a> {
    /// What the checkpoint's config says.
    pub config: Reason2Config,
    /// The graphs.
    pub network: Network,
    tensors: Vec<TensorView<'a>>,
}

impl<'a> Reason2<'a> {
    /// Reads the config, writes the network and finds each of its weights in the checkpoint.
    ///
    /// # Errors
    /// If the config is wrong, or a tensor is missing, has another shape than the config implies, is of a type that weights
    /// never have, or is one that the network does not know.
    pub fn new(checkpoint: &'a Checkpoint, limits: Limits) -> Result<Self, CheckpointError> {
        let config = Reason2Config::parse(checkpoint.config())?;
        let head = config.head_tensor(checkpoint.tensors())?;
        // A tensor that is missing is found out below, with a better message.
        let dtype_of = |name: &str| checkpoint.tensor(name).map_or(DType::F32, |t| t.dtype);
        let network = network(&config, limits, head, &dtype_of);
        let mut tensors = Vec::with_capacity(network.weights.len());
        for weight in &network.weights {
            let view =
                checkpoint.expect(&weight.name, &stored_shape(&config, &weight.name, &weight.shape))?;
            if !matches!(view.dtype, DType::F32 | DType::F16 | DType::Bf16) {
                return Err(CheckpointError::DType {
                    path: checkpoint.dir().to_owned(),
                    name: weight.name.clone(),
                    found: view.dtype.to_string(),
                });
            }
            tensors.push(TensorView { shape: weight.shape.clone(), ..view });
        }
        let unknown: Vec<&str> = checkpoint
            .names()
            .filter(|name| network.weight(name).is_none())
            .filter(|name| !(config.tie_word_embeddings && *name == HEAD))
            .collect();
        if !unknown.is_empty() {
            return Err(CheckpointError::leftover(checkpoint.dir(), &unknown));
        }
        Ok(Self { config, network, tensors })
    }

    /// The constants, in the order of the network's weights.
    pub fn tensors(&self) -> &[TensorView<'a>] {
        &self.tensors
    }
}

impl Weights for Reason2<'_> {
    fn weight(&self, id: WeightId) -> TensorView<'_> {
        self.tensors[id.index()].clone()
    }
}
