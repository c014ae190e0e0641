//! Golden cases: inputs, and the outputs that the reference evaluation gives for them.
//!
//! An engine that gives others answers wrongly: it is not written, and not run. All cases of a model follow each other in one
//! session, from empty buffers, since what one step leaves in a cache or in features is what later ones read. The first case has the
//! smallest extents, which every engine can run; later ones have larger extents and windows, where backends compute otherwise, and
//! are left out of an engine whose limits are too small for them.
//!
//! Whoever makes a case and whoever tries an engine on it run it here, by [`GoldenStep::run`], whatever the session is.

use serde::{Deserialize, Serialize};

use crate::backend::{Elements, Run, RunError, Session};
use crate::graph::{BufferId, Network};
use crate::tensor::DType;

/// Runs in a row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GoldenCase {
    /// What it is there for, in a word.
    pub name: String,
    /// In their order.
    pub steps: Vec<GoldenStep>,
}

/// One run: write the inputs, run, compare the outputs.
#[derive(Clone, Debug, PartialEq)]
pub struct GoldenStep {
    /// Name of the graph.
    pub graph: String,
    /// In the order of the graph's `dims`.
    pub extents: Vec<usize>,
    /// As in a [`Run`].
    pub windows: Vec<(BufferId, usize)>,
    /// Written before the run.
    pub inputs: Vec<GoldenInput>,
    /// Read after it.
    pub outputs: Vec<GoldenOutput>,
}

/// Rows that are written to a buffer.
#[derive(Clone, Debug, PartialEq)]
pub struct GoldenInput {
    /// The buffer.
    pub buffer: BufferId,
    /// The first of them.
    pub row: usize,
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

/// Rows that a buffer holds after the run.
#[derive(Clone, Debug, PartialEq)]
pub struct GoldenOutput {
    /// The buffer.
    pub buffer: BufferId,
    /// The first of them.
    pub row: usize,
    /// What the reference evaluation left there.
    pub values: Vec<f32>,
}

/// A case as the manifest has it: the elements lie in section `golden`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoldenCasePlaces {
    name: String,
    steps: Vec<GoldenStepPlaces>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct GoldenStepPlaces {
    graph: String,
    extents: Vec<usize>,
    windows: Vec<Window>,
    inputs: Vec<Place>,
    outputs: Vec<Place>,
}

/// The row of a buffer at which a run begins.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Window {
    buffer: String,
    row: usize,
}

/// Whole rows of a buffer, and the byte of the section at which they begin.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    buffer: String,
    /// The first of them in the buffer.
    row: usize,
    rows: usize,
    offset: usize,
}

impl GoldenStep {
    /// Writes the inputs, runs, and gives what the session then holds where the outputs are.
    ///
    /// # Errors
    /// As the session says.
    ///
    /// # Panics
    /// If the session's network has no graph of the step's name: whoever read or made the step has checked it.
    pub fn run(&self, session: &mut dyn Session) -> Result<Vec<Vec<f32>>, RunError> {
        for input in &self.inputs {
            let elements = match &input.values {
                GoldenValues::F32(values) => Elements::F32(values),
                GoldenValues::I32(values) => Elements::I32(values),
            };
            session.write(input.buffer, input.row, elements)?;
        }
        let graph = session.network().graph(&self.graph).expect("a step is of its network");
        session.run(graph, &Run { extents: &self.extents, windows: &self.windows, ..Run::default() })?;
        let read = |output: &GoldenOutput| {
            let mut values = vec![0.0; output.values.len()];
            session.read(output.buffer, output.row, &mut values)?;
            Ok(values)
        };
        self.outputs.iter().map(read).collect()
    }
}

impl GoldenCase {
    /// What the network's limits leave no room for, if anything.
    pub fn misfit(&self, network: &Network) -> Option<String> {
        self.steps.iter().find_map(|step| {
            let graph = &network.graphs[network.graph(&step.graph)?.index()];
            let beyond = graph.dims.iter().zip(&step.extents).find(|(dim, value)| dim.max < **value);
            if let Some((dim, value)) = beyond {
                let (graph, dim, max) = (&step.graph, &dim.name, dim.max);
                return Some(format!("graph `{graph}` needs {dim} = {value}, at most {max} is left"));
            }
            let rows = |buffer: BufferId, row: usize, len: usize| {
                let row_len = network.buffers[buffer.index()].row_len().max(1);
                (buffer, row.saturating_add(len / row_len))
            };
            let inputs = step.inputs.iter().map(|i| rows(i.buffer, i.row, i.values.len()));
            let outputs = step.outputs.iter().map(|o| rows(o.buffer, o.row, o.values.len()));
            let all = graph.rows_touched(&step.extents, &step.windows).chain(inputs).chain(outputs);
            let (buffer, end) = all
                .map(|(id, end)| (&network.buffers[id.index()], end))
                .find(|(buffer, end)| buffer.shape[0] < *end)?;
            let (graph, name, rows) = (&step.graph, &buffer.name, buffer.shape[0]);
            Some(format!("graph `{graph}` needs {end} rows of `{name}`, {rows} are left"))
        })
    }

    /// What the manifest says of the cases, and the section's bytes.
    pub fn pack(cases: &[GoldenCase], network: &Network) -> (Vec<GoldenCasePlaces>, Vec<u8>) {
        let mut bytes = Vec::new();
        let places = cases.iter().map(|case| GoldenCasePlaces {
            name: case.name.clone(),
            steps: case.steps.iter().map(|step| step.pack(network, &mut bytes)).collect(),
        });
        (places.collect(), bytes)
    }

    /// Reads cases back.
    ///
    /// # Errors
    /// What does not fit the network or the section.
    pub fn unpack(
        places: &[GoldenCasePlaces],
        network: &Network,
        bytes: &[u8],
    ) -> Result<Vec<GoldenCase>, String> {
        let cases = places.iter().map(|case| {
            let steps = case.steps.iter().map(|step| step.unpack(network, bytes));
            Ok(GoldenCase { name: case.name.clone(), steps: steps.collect::<Result<_, String>>()? })
        });
        cases.collect()
    }
}

impl GoldenValues {
    /// How many.
    pub fn len(&self) -> usize {
        match self {
            GoldenValues::F32(values) => values.len(),
            GoldenValues::I32(values) => values.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl GoldenStep {
    fn pack(&self, network: &Network, bytes: &mut Vec<u8>) -> GoldenStepPlaces {
        let name = |id: BufferId| network.buffers[id.index()].name.clone();
        let mut place = |id: BufferId, row: usize, elements: &mut dyn Iterator<Item = [u8; 4]>| {
            let offset = bytes.len();
            bytes.extend(elements.flatten());
            let rows = (bytes.len() - offset) / 4 / network.buffers[id.index()].row_len().max(1);
            Place { buffer: name(id), row, rows, offset }
        };
        let inputs = self.inputs.iter().map(|input| match &input.values {
            GoldenValues::F32(v) => place(input.buffer, input.row, &mut v.iter().map(|v| v.to_le_bytes())),
            GoldenValues::I32(v) => place(input.buffer, input.row, &mut v.iter().map(|v| v.to_le_bytes())),
        });
        let inputs = inputs.collect();
        let outputs = self
            .outputs
            .iter()
            .map(|o| place(o.buffer, o.row, &mut o.values.iter().map(|v| v.to_le_bytes())));
        GoldenStepPlaces {
            graph: self.graph.clone(),
            extents: self.extents.clone(),
            outputs: outputs.collect(),
            inputs,
            windows: self.windows.iter().map(|(id, row)| Window { buffer: name(*id), row: *row }).collect(),
        }
    }
}

impl GoldenStepPlaces {
    fn unpack(&self, network: &Network, bytes: &[u8]) -> Result<GoldenStep, String> {
        let id = network.graph(&self.graph).ok_or(format!("golden: no graph `{}`", self.graph))?;
        let dims = &network.graphs[id.index()].dims;
        if dims.len() != self.extents.len() {
            let (n, found) = (dims.len(), self.extents.len());
            return Err(format!("golden: graph `{}` has {n} extents, the case {found}", self.graph));
        }
        let window = |w: &Window| {
            let id = network.buffer(&w.buffer).ok_or(format!("golden: no buffer `{}`", w.buffer))?;
            Ok((id, w.row))
        };
        Ok(GoldenStep {
            graph: self.graph.clone(),
            extents: self.extents.clone(),
            windows: self.windows.iter().map(window).collect::<Result<_, String>>()?,
            inputs: self.inputs.iter().map(|p| p.input(network, bytes)).collect::<Result<_, _>>()?,
            outputs: self.outputs.iter().map(|p| p.output(network, bytes)).collect::<Result<_, _>>()?,
        })
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
        Ok(GoldenInput { buffer, row: self.row, values })
    }

    fn output(&self, network: &Network, bytes: &[u8]) -> Result<GoldenOutput, String> {
        match self.elements(network, bytes)? {
            (buffer, DType::F32, elements) => {
                let values = elements.iter().map(|b| f32::from_le_bytes(*b)).collect();
                Ok(GoldenOutput { buffer, row: self.row, values })
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
        let span = (self.row.checked_add(self.rows).is_some_and(|end| end <= buffer.shape[0]))
            .then(|| self.offset.checked_add(self.rows * buffer.row_len() * 4))
            .flatten()
            .and_then(|end| bytes.get(self.offset..end));
        let span = span.ok_or_else(|| {
            let (rows, row, offset, n) = (self.rows, self.row, self.offset, bytes.len());
            format!(
                "golden: {rows} rows of `{}` from {row} on, at byte {offset}, are not in {n} bytes",
                self.buffer
            )
        })?;
        Ok((id, buffer.dtype, span.as_chunks::<4>().0))
    }
}
