//! A graph as layers, and what their inputs, outputs and placeholders have to do with its network.

use crate::backend::WeightFormat;
use crate::backend::tensorrt::layers::{Element, Layers};
use crate::backend::tensorrt::quantize::Quantized;
use crate::graph::{BufferId, Dim, Symbol, WeightId};

/// Where an input's elements come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A weight, its axes in this order, or as they are if it is empty.
    Weight {
        /// Which.
        id: WeightId,
        /// A permutation of its axes.
        order: Vec<u8>,
    },
    /// Rows of a buffer from the run's window on.
    Rows {
        /// Which.
        buffer: BufferId,
        /// How many.
        rows: Dim,
    },
    /// The first rows of a cache.
    Past {
        /// Which.
        cache: BufferId,
        /// How many: as many as the run says are valid.
        rows: Dim,
    },
    /// All of a cache, as [`CacheForm::Heads`](crate::backend::tensorrt::CacheForm::Heads) keeps it: `[1, groups, rows, dim]`. An output of the same memory has it with the new rows.
    Cache(BufferId),
    /// An extent of the run, one number.
    Extent(Symbol),
}

/// Where an output's elements go when the run is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sink {
    /// Rows of a buffer from the run's window on.
    Rows(BufferId),
    /// The rows of a cache behind those that were valid, of which this extent tells how many they were.
    Append(BufferId, Symbol),
    /// Nowhere: it is all of a cache, in the memory of [`Source::Cache`].
    InPlace(BufferId),
}

/// A constant that a plan is given when it is opened: part of a weight in fewer bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// As the plan knows it.
    pub name: String,
    /// Which weight.
    pub weight: WeightId,
    /// In how many bits.
    pub precision: WeightFormat,
    /// Which part of it.
    pub given: Given,
}

/// The parts of [`Quantized`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "`Quantized` says it")]
pub enum Given {
    Values,
    Scales,
    ScaleOfScales,
    Ratios,
}

impl Quantized {
    /// The bytes of a part.
    pub fn part(&self, given: Given) -> &[u8] {
        match given {
            Given::Values => &self.values,
            Given::Scales => &self.scales,
            Given::ScaleOfScales => &self.scale_of_scales,
            Given::Ratios => &self.ratios,
        }
    }
}

/// A graph as layers, and what they have to do with its network.
#[derive(Clone, Debug)]
pub struct Lowered {
    /// What TensorRT is told.
    pub layers: Layers,
    /// For each input.
    pub sources: Vec<Source>,
    /// For each output.
    pub sinks: Vec<Sink>,
    /// For each layer that is a placeholder, in the order of layers.
    pub placed: Vec<Placed>,
    /// What it is computed in.
    pub compute: Element,
}
