//! Makes golden cases: runs planned steps in the reference evaluation and keeps what they leave.

use std::path::Path;

use super::ExportError;
use crate::backend::reference::Reference;
use crate::backend::{Elements, Run, RunError, Session};
use crate::graph::{Network, Weights};
use crate::model::{GoldenCase, GoldenInput, GoldenOutput, GoldenStep, GoldenValues};

/// A step whose outputs are not known yet.
pub(super) struct PlannedStep {
    pub(super) graph: String,
    /// By name; the graph says in which order.
    pub(super) extents: Vec<(&'static str, usize)>,
    pub(super) inputs: Vec<(String, GoldenValues)>,
    /// Buffers and how many of their rows.
    pub(super) outputs: Vec<(String, usize)>,
}

/// Runs the steps in the reference evaluation. `dir` is the checkpoint's, for messages.
pub(super) fn make(
    network: &Network,
    weights: &dyn Weights,
    steps: Vec<PlannedStep>,
    dir: &Path,
    mut progress: impl FnMut(usize),
) -> Result<GoldenCase, ExportError> {
    let mut reference = Reference::new(network, weights);
    let mut case = GoldenCase::default();
    for (i, planned) in steps.into_iter().enumerate() {
        let graph = planned.graph.clone();
        let failed = |source| ExportError::Golden { dir: dir.to_owned(), graph: graph.clone(), source };
        let step = run(network, &mut reference, planned).map_err(failed)?;
        for output in &step.outputs {
            if let Some(value) = output.values.iter().find(|v| !v.is_finite()) {
                let buffer = network.buffers[output.buffer.index()].name.clone();
                let (dir, graph) = (dir.to_owned(), graph.clone());
                return Err(ExportError::NotFinite { dir, graph, buffer, value: *value });
            }
        }
        case.steps.push(step);
        progress(i + 1);
    }
    Ok(case)
}

fn run(
    network: &Network,
    reference: &mut Reference<'_>,
    planned: PlannedStep,
) -> Result<GoldenStep, RunError> {
    let buffer = |name: &str| network.buffer(name).expect("the case is planned for this network");
    let id = network.graph(&planned.graph).expect("the case is planned for this network");
    let extent = |name: &str| planned.extents.iter().find(|(n, _)| *n == name).map(|(_, value)| *value);
    let dims = &network.graphs[id.index()].dims;
    let extents: Vec<usize> =
        dims.iter().map(|d| extent(&d.name).expect("the case names every extent")).collect();

    let mut inputs = Vec::new();
    for (name, values) in planned.inputs {
        match &values {
            GoldenValues::F32(v) => reference.write(buffer(&name), 0, Elements::F32(v))?,
            GoldenValues::I32(v) => reference.write(buffer(&name), 0, Elements::I32(v))?,
        }
        inputs.push(GoldenInput { buffer: buffer(&name), values });
    }
    reference.run(id, &Run { extents: &extents, ..Run::default() })?;
    let mut outputs = Vec::new();
    for (name, n_rows) in planned.outputs {
        let buffer = buffer(&name);
        let mut values = vec![0.0; n_rows * network.buffers[buffer.index()].row_len()];
        reference.read(buffer, 0, &mut values)?;
        outputs.push(GoldenOutput { buffer, values });
    }
    Ok(GoldenStep { graph: planned.graph, extents, inputs, outputs })
}
