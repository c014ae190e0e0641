//! A model as ONNX (<https://onnx.ai>): one file for each graph, and one of weights that they share.
//!
//! | file | what |
//! | --- | --- |
//! | `GRAPH.onnx` | a graph: nodes named by the weights that they read, dynamic axes named by the graph's extents |
//! | `weights.safetensors` | every weight, in the type in which the model has it |
//! | `README.md` | what goes in, what comes out, and how other programs open it |
//!
//! Arithmetic is f32: weights of fewer bits are widened by a `Cast`. Memory that outlives a run becomes inputs and outputs, see
//! [`Interface`]. In the file's metadata, under `perihelion.…`, stand the family, the limits, digests, bounds of the extents, and for
//! each input and output its buffer and where in it its rows begin.
//!
//! Weights are copied from the model's map, so that memory does not grow with them.

mod attention;
mod data;
mod emitter;
mod extents;
mod facts;
mod folder;
mod interface;
mod lower;
mod proto;
mod readme;

pub use data::WEIGHTS_FILE;
pub use facts::{Facts, GraphFile};
pub use folder::{Summary, foreign, write, write_model};
pub use interface::{Begins, Interface, Port};

use std::path::PathBuf;

/// Which operators a file is written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Opset {
    /// Plain ones, which every reader of the last years knows.
    #[default]
    V18,
    /// With operators for normalisation, rotary positions and attention.
    V23,
}

impl Opset {
    /// All of them.
    pub const ALL: [Opset; 2] = [Opset::V18, Opset::V23];

    /// As ONNX counts.
    pub fn version(self) -> i64 {
        match self {
            Opset::V18 => 18,
            Opset::V23 => 23,
        }
    }

    /// The one of that version.
    pub fn of_version(version: i64) -> Option<Opset> {
        Opset::ALL.into_iter().find(|opset| opset.version() == version)
    }

    /// The version of the file format that came with it.
    fn ir_version(self) -> i64 {
        match self {
            Opset::V18 => 8,
            Opset::V23 => 11,
        }
    }
}

/// Why no ONNX files were written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OnnxError {
    /// A graph has what ONNX does not express.
    #[error("graph `{graph}`, node {node} ({op}): {why}; ONNX opset {opset} cannot express it")]
    Op {
        /// The graph's name.
        graph: String,
        /// Index of the node.
        node: usize,
        /// Its op.
        op: &'static str,
        /// The version that was asked for.
        opset: i64,
        /// What it is about.
        why: String,
    },
    /// The folder could not be written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The folder or a file in it.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}

#[cfg(test)]
mod tests;
