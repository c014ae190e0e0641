//! How one engine stores its weights, and what follows for its arithmetic.

use std::sync::Arc;

use super::format::{FormatError, PartFormats, WeightFormat};
use super::scales::ActivationScales;
use crate::graph::Network;

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// Of each weight.
    pub formats: Vec<WeightFormat>,
    /// What caches of keys and values are kept in, if that is known to have been settled.
    pub caches: Option<WeightFormat>,
    /// How large activations become: what products are given is in fewer bits where it is known.
    pub scales: Option<Arc<ActivationScales>>,
}

impl From<Vec<WeightFormat>> for Stored {
    /// Weights of these formats, caches as the backend keeps them by itself, and no scales.
    fn from(formats: Vec<WeightFormat>) -> Self {
        Stored { formats, caches: None, scales: None }
    }
}

impl Stored {
    /// Of the parts of a network, with scales if there are any.
    ///
    /// # Errors
    /// If the parts are not the network's.
    pub fn new(
        parts: &PartFormats,
        network: &Network,
        scales: Option<Arc<ActivationScales>>,
    ) -> Result<Stored, FormatError> {
        let formats = parts.of_weights(network)?;
        Ok(Stored { formats, caches: parts.caches(), scales })
    }

    /// What graphs compute in whose weights all stand for others.
    pub fn narrow_in(&self) -> WeightFormat {
        self.caches.filter(|caches| caches.is_float()).unwrap_or(WeightFormat::F16)
    }
}
