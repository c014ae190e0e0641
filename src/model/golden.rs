//! Golden cases: inputs, and the outputs that the reference evaluation gives for them.
//!
//! An engine that gives others answers wrongly: it is not written, and not run. The steps of a case follow each other in one
//! session, from empty buffers, since what one leaves in a cache or in features is what the next one reads.

use serde::{Deserialize, Serialize};

use crate::graph::{BufferId, Network};
use crate::tensor::DType;

/// Runs in a row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GoldenCase {
    /// In their order.
    pub steps: Vec<GoldenStep>,
}

/// One run: write the inputs, run, compare the outputs.
#[derive(Clone, Debug, PartialEq)]
pub struct GoldenStep {
    /// Name of the graph.
    pub graph: String,
    /// In the order of the graph's `dims`. No windows.
    pub extents: Vec<usize>,
    /// Written before the run.
    pub inputs: Vec<GoldenInput>,
    /// Read after it.
    pub outputs: Vec<GoldenOutput>,
}

/// Rows that are written to a buffer, from its first on.
#[derive(Clone, Debug, PartialEq)]
pub struct GoldenInput {
    /// The buffer.
    pub buffer: BufferId,
    /// Its rows.
    pub values: GoldenValues,
}

/// Elements of an input.
#[derive(Clone, Debug, PartialEq)]
pub enum GoldenValues {
    /// For buffers of f32.
    F32(Vec<f32>),
    /// For buffers of i32.
    I32(Vec<i32>),
}

/// Rows that a buffer holds after the run, from its first on.
#[derive(Clone, Debug, PartialEq)]
pub struct GoldenOutput {
    /// The buffer.
    pub buffer: BufferId,
    /// What the reference evaluation left there.
    pub values: Vec<f32>,
}

/// A step as the manifest has it: the elements lie in section `golden`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoldenStepPlaces {
    graph: String,
    extents: Vec<usize>,
    inputs: Vec<Place>,
    outputs: Vec<Place>,
}

/// Whole rows of a buffer, and the byte of the section at which they begin.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    buffer: String,
    rows: usize,
    offset: usize,
}

impl GoldenCase {
    /// What the manifest says of the case, and the section's bytes.
    pub fn pack(&self, network: &Network) -> (Vec<GoldenStepPlaces>, Vec<u8>) {
        let mut bytes = Vec::new();
        let mut place = |id: BufferId, len: usize, elements: &mut dyn Iterator<Item = [u8; 4]>| {
            let buffer = &network.buffers[id.index()];
            let offset = bytes.len();
            bytes.extend(elements.flatten());
            Place { buffer: buffer.name.clone(), rows: len / buffer.row_len().max(1), offset }
        };
        let places = self.steps.iter().map(|step| GoldenStepPlaces {
            graph: step.graph.clone(),
            extents: step.extents.clone(),
            inputs: step
                .inputs
                .iter()
                .map(|input| match &input.values {
                    GoldenValues::F32(v) => {
                        place(input.buffer, v.len(), &mut v.iter().map(|v| v.to_le_bytes()))
                    }
                    GoldenValues::I32(v) => {
                        place(input.buffer, v.len(), &mut v.iter().map(|v| v.to_le_bytes()))
                    }
                })
                .collect(),
            outputs: step
                .outputs
                .iter()
                .map(|o| place(o.buffer, o.values.len(), &mut o.values.iter().map(|v| v.to_le_bytes())))
                .collect(),
        });
        (places.collect(), bytes)
    }

    /// Reads a case back.
    ///
    /// # Errors
    /// What does not fit the network or the section.
    pub fn unpack(places: &[GoldenStepPlaces], network: &Network, bytes: &[u8]) -> Result<Self, String> {
        let steps = places.iter().map(|step| {
            let id = network.graph(&step.graph).ok_or(format!("golden: no graph `{}`", step.graph))?;
            let dims = &network.graphs[id.index()].dims;
            if dims.len() != step.extents.len() {
                let (n, found) = (dims.len(), step.extents.len());
                return Err(format!("golden: graph `{}` has {n} extents, the case {found}", step.graph));
            }
            let inputs = step.inputs.iter().map(|p| p.input(network, bytes)).collect::<Result<_, _>>()?;
            let outputs = step.outputs.iter().map(|p| p.output(network, bytes)).collect::<Result<_, _>>()?;
            Ok(GoldenStep { graph: step.graph.clone(), extents: step.extents.clone(), inputs, outputs })
        });
        Ok(GoldenCase { steps: steps.collect::<Result<_, String>>()? })
    }
}

impl Place {
    fn input(&self, network: &Network, bytes: &[u8]) -> Result<GoldenInput, String> {
        let (buffer, dtype, elements) = self.elements(network, bytes)?;
        let elements = elements.iter();
        let values = match dtype {
            DType::I32 => GoldenValues::I32(elements.map(|b| i32::from_le_bytes(*b)).collect()),
            _ => GoldenValues::F32(elements.map(|b| f32::from_le_bytes(*b)).collect()),
        };
        Ok(GoldenInput { buffer, values })
    }

    fn output(&self, network: &Network, bytes: &[u8]) -> Result<GoldenOutput, String> {
        match self.elements(network, bytes)? {
            (buffer, DType::F32, elements) => {
                let values = elements.iter().map(|b| f32::from_le_bytes(*b)).collect();
                Ok(GoldenOutput { buffer, values })
            }
            _ => Err(format!("golden: output `{}` should be f32", self.buffer)),
        }
    }

    fn elements<'b>(
        &self,
        network: &Network,
        bytes: &'b [u8],
    ) -> Result<(BufferId, DType, &'b [[u8; 4]]), String> {
        let id = network.buffer(&self.buffer).ok_or(format!("golden: no buffer `{}`", self.buffer))?;
        let buffer = &network.buffers[id.index()];
        let span = (self.rows <= buffer.shape[0])
            .then(|| self.offset.checked_add(self.rows * buffer.row_len() * 4))
            .flatten()
            .and_then(|end| bytes.get(self.offset..end));
        let span = span.ok_or_else(|| {
            let (rows, offset, n) = (self.rows, self.offset, bytes.len());
            format!("golden: {rows} rows of `{}` at byte {offset} are not in {n} bytes", self.buffer)
        })?;
        Ok((id, buffer.dtype, span.as_chunks::<4>().0))
    }
}
