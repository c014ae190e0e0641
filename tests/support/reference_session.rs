//! The reference evaluation as a session: the whole loop runs on it, so that what a backend gets wrong is told from what the loop does.

use perihelion::backend::reference::{Reference, ReferenceError};
use perihelion::backend::{Elements, Memory, Run, RunError, Session};
use perihelion::checkpoint::Checkpoint;
use perihelion::graph::{BufferId, GraphId, Network};
use perihelion::models::reason2::{Limits, Reason2};

/// A network with its weights, evaluated slowly.
pub struct ReferenceSession {
    model: &'static Reason2<'static>,
    reference: Reference<'static>,
}

impl ReferenceSession {
    /// Leaks the checkpoint and its model, which live as long as the test.
    pub fn open(checkpoint: Checkpoint, limits: Limits) -> Self {
        let checkpoint: &'static Checkpoint = Box::leak(Box::new(checkpoint));
        let model = Reason2::new(checkpoint, limits).expect("a good checkpoint");
        let model: &'static Reason2<'static> = Box::leak(Box::new(model));
        Self { model, reference: Reference::new(&model.network, model) }
    }
}

impl Session for ReferenceSession {
    fn network(&self) -> &Network {
        &self.model.network
    }

    fn input(&mut self, buffer: BufferId, row: usize, n_rows: usize) -> Result<&mut [f32], RunError> {
        self.reference.rows_mut(buffer, row, n_rows).map_err(|e| run_error(e, GraphId(0)))
    }

    fn input_i32(&mut self, buffer: BufferId, row: usize, n_rows: usize) -> Result<&mut [i32], RunError> {
        self.reference.rows_mut_i32(buffer, row, n_rows).map_err(|e| run_error(e, GraphId(0)))
    }

    fn view(&self, buffer: BufferId, row: usize, n_rows: usize) -> Result<&[f32], RunError> {
        self.reference.rows(buffer, row, n_rows).map_err(|e| run_error(e, GraphId(0)))
    }

    fn write(&mut self, buffer: BufferId, row: usize, elements: Elements<'_>) -> Result<(), RunError> {
        let written = match elements {
            Elements::F32(elements) => self.reference.write(buffer, row, elements),
            Elements::I32(elements) => self.reference.write_i32(buffer, row, elements),
        };
        written.map_err(|e| run_error(e, GraphId(0)))
    }

    fn read(&self, buffer: BufferId, row: usize, out: &mut [f32]) -> Result<(), RunError> {
        self.reference.read(buffer, row, out).map_err(|e| run_error(e, GraphId(0)))
    }

    fn run(&mut self, graph: GraphId, run: &Run<'_>) -> Result<(), RunError> {
        self.reference.run(graph, run.extents, run.windows).map_err(|e| run_error(e, graph))
    }

    fn looks_ms_max(&self) -> Option<u32> {
        None
    }

    fn memory(&self) -> Memory {
        Memory::default()
    }
}

fn run_error(error: ReferenceError, graph: GraphId) -> RunError {
    match error {
        ReferenceError::Extent { index, value } => {
            RunError::Extent { index, value: value.unwrap_or(usize::MAX) }
        }
        ReferenceError::Bounds { buffer, row, end } => RunError::Bounds { buffer, row, end },
        ReferenceError::Type(buffer) => RunError::Type(buffer),
        ReferenceError::Index { .. } => RunError::Index(graph),
        other => panic!("{other}"),
    }
}
