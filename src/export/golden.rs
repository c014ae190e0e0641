//! Makes golden cases: runs planned steps in the reference evaluation and keeps what they leave.

use std::path::Path;

use super::ExportError;
use crate::backend::reference::Reference;
use crate::graph::{BufferId, Network, Weights};
use crate::model::{GoldenCase, GoldenInput, GoldenOutput, GoldenStep, GoldenValues};

/// The case with the smallest extents, which every engine can run.
pub(super) const SMALLEST: &str = "smallest";
/// The case beyond them: more rows than what backends have special kernels for, and windows that do not begin at row 0. It goes on
/// from what the smallest left.
pub(super) const LARGER: &str = "larger";

/// A step whose outputs are not known yet.
#[derive(Default)]
pub(super) struct PlannedStep {
    pub(super) graph: String,
    /// By name; the graph says in which order.
    pub(super) extents: Vec<(&'static str, usize)>,
    /// Buffers and the rows at which they begin; row 0 for the others.
    pub(super) windows: Vec<(String, usize)>,
    /// What is written, from the run's window on.
    pub(super) inputs: Vec<(String, GoldenValues)>,
    /// Buffers and how many of their rows, from the run's window on.
    pub(super) outputs: Vec<(String, usize)>,
}

/// Runs the cases in the reference evaluation, one after the other; those that do not fit the network's limits are left out.
/// `dir` is the checkpoint's, for messages; `progress` is told how many steps are done, and of how many.
pub(super) fn make(
    network: &Network,
    weights: &dyn Weights,
    cases: Vec<(&'static str, Vec<PlannedStep>)>,
    dir: &Path,
    mut progress: impl FnMut(usize, usize),
) -> Result<Vec<GoldenCase>, ExportError> {
    let cases = cases.into_iter().map(|(name, steps)| GoldenCase {
        name: name.to_owned(),
        steps: steps.into_iter().map(|step| step.of(network)).collect(),
    });
    let mut cases: Vec<GoldenCase> =
        cases.filter(|case| !case.steps.is_empty() && case.misfit(network).is_none()).collect();
    let mut reference = Reference::new(network, weights);
    let total = cases.iter().map(|case| case.steps.len()).sum();
    for (i, step) in cases.iter_mut().flat_map(|case| &mut case.steps).enumerate() {
        let graph = || step.graph.clone();
        let failed = |source| ExportError::Golden { dir: dir.to_owned(), graph: graph(), source };
        let found = step.run(&mut reference).map_err(failed)?;
        for (output, values) in step.outputs.iter_mut().zip(found) {
            if let Some(value) = values.iter().find(|v| !v.is_finite()) {
                let buffer = network.buffers[output.buffer.index()].name.clone();
                let (dir, graph) = (dir.to_owned(), step.graph.clone());
                return Err(ExportError::NotFinite { dir, graph, buffer, value: *value });
            }
            output.values = values;
        }
        progress(i + 1, total);
    }
    Ok(cases)
}

impl PlannedStep {
    /// The step, with zeros for its outputs.
    fn of(self, network: &Network) -> GoldenStep {
        let buffer = |name: &str| network.buffer(name).expect("the case is planned for this network");
        let id = network.graph(&self.graph).expect("the case is planned for this network");
        let extent = |name: &str| self.extents.iter().find(|(n, _)| *n == name).map(|(_, value)| *value);
        let dims = network.graphs[id.index()].dims.iter();
        let extents = dims.map(|d| extent(&d.name).expect("the case names every extent")).collect();
        let windows: Vec<(BufferId, usize)> =
            self.windows.iter().map(|(name, row)| (buffer(name), *row)).collect();
        let row = |id: BufferId| windows.iter().find(|(b, _)| *b == id).map_or(0, |(_, row)| *row);
        let inputs = self.inputs.into_iter().map(|(name, values)| {
            let buffer = buffer(&name);
            GoldenInput { buffer, row: row(buffer), values }
        });
        let inputs = inputs.collect();
        let outputs = self.outputs.into_iter().map(|(name, n_rows)| {
            let buffer = buffer(&name);
            let values = vec![0.0; n_rows * network.buffers[buffer.index()].row_len()];
            GoldenOutput { buffer, row: row(buffer), values }
        });
        let outputs = outputs.collect();
        GoldenStep { graph: self.graph, extents, windows, inputs, outputs }
    }
}
