//! A session that gives up in mid-run when it is told to, having spoilt what such a run may spoil; and says what it is told to say.
#![allow(dead_code, reason = "each test uses its part of it")]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use perihelion::backend::{Elements, Memory, Run, RunError, Session};
use perihelion::graph::{BufferId, GraphId, Network, Purpose};

/// What a [`Faulty`] does, from outside of the loop that has it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Orders(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    n_runs: usize,
    /// Runs that still succeed, and what the next one ends with.
    gives_up: Option<(usize, RunError)>,
    /// The likeliest token after each run of `head` or `decode`.
    says: VecDeque<u32>,
}

impl Orders {
    /// Gives up at run number `at`, counted from 0 and from now. Once only.
    pub(crate) fn give_up(&self, at: usize, error: RunError) {
        let mut state = self.0.lock().expect("no panic while it is held");
        (state.n_runs, state.gives_up) = (0, Some((at, error)));
    }

    /// Whether it has given up since it was told to.
    pub(crate) fn has_given_up(&self) -> bool {
        self.0.lock().expect("no panic while it is held").gives_up.is_none()
    }

    /// Forgets what it was told.
    pub(crate) fn behave(&self) {
        self.0.lock().expect("no panic while it is held").gives_up = None;
    }

    /// Makes these the likeliest tokens, one after another.
    pub(crate) fn say(&self, tokens: &[u32]) {
        self.0.lock().expect("no panic while it is held").says = tokens.iter().copied().collect();
    }
}

/// See the module.
pub(crate) struct Faulty {
    session: Box<dyn Session>,
    orders: Orders,
    logits: Vec<f32>,
    is_said: bool,
}

impl Faulty {
    pub(crate) fn boxed(session: Box<dyn Session>, orders: &Orders) -> Box<dyn Session> {
        let logits = session.network().buffer("logits");
        let n = logits.map_or(0, |id| session.network().buffers[id.index()].row_len());
        Box::new(Self { session, orders: orders.clone(), logits: vec![0.0; n], is_said: false })
    }

    /// Rows that the run would have written are undefined: here they are no numbers.
    fn spoil(&mut self, graph: GraphId, run: &Run<'_>) {
        let network = self.session.network();
        let name = network.graphs[graph.index()].name.clone();
        let buffers: Vec<(BufferId, Purpose, usize, usize)> = (0..network.buffers.len())
            .map(|i| {
                let buffer = &network.buffers[i];
                (BufferId(i as u32), buffer.purpose, buffer.row_len(), buffer.shape[0])
            })
            .collect();
        // Reason: the rows of the caches from `past` on; everything else has windows.
        let past = match name.as_str() {
            "prefill" => Some(run.extents[1]),
            "decode" => Some(run.extents[0]),
            _ => None,
        };
        for (id, purpose, row_len, n_rows) in buffers {
            let window = run.windows.iter().find(|(buffer, _)| *buffer == id).map(|(_, row)| *row);
            let row = match purpose {
                // The denoiser reads the text's keys and values, and writes no cache.
                Purpose::Cache if name == "denoise" => None,
                Purpose::Cache => past.filter(|_| window.is_none()).or(window),
                Purpose::Features if name == "vision" || name.starts_with("encode") => window,
                _ => None,
            };
            if let Some(row) = row.filter(|row| *row < n_rows) {
                let row_of_nothing = vec![f32::NAN; row_len];
                self.session.write(id, row, Elements::F32(&row_of_nothing)).expect("a row of it");
            }
        }
    }
}

impl Session for Faulty {
    fn network(&self) -> &Network {
        self.session.network()
    }

    fn input(&mut self, buffer: BufferId, row: usize, n_rows: usize) -> Result<&mut [f32], RunError> {
        self.session.input(buffer, row, n_rows)
    }

    fn input_i32(&mut self, buffer: BufferId, row: usize, n_rows: usize) -> Result<&mut [i32], RunError> {
        self.session.input_i32(buffer, row, n_rows)
    }

    fn view(&self, buffer: BufferId, row: usize, n_rows: usize) -> Result<&[f32], RunError> {
        let is_logits = self.network().buffer("logits") == Some(buffer);
        if is_logits && self.is_said { Ok(&self.logits) } else { self.session.view(buffer, row, n_rows) }
    }

    fn write(&mut self, buffer: BufferId, row: usize, elements: Elements<'_>) -> Result<(), RunError> {
        self.session.write(buffer, row, elements)
    }

    fn read(&self, buffer: BufferId, row: usize, out: &mut [f32]) -> Result<(), RunError> {
        self.session.read(buffer, row, out)
    }

    fn run(&mut self, graph: GraphId, run: &Run<'_>) -> Result<(), RunError> {
        let due = {
            let mut state = self.orders.0.lock().expect("no panic while it is held");
            let due = state.gives_up.filter(|(at, _)| *at == state.n_runs).map(|(_, error)| error);
            if due.is_some() {
                state.gives_up = None;
            }
            state.n_runs += 1;
            let name = &self.session.network().graphs[graph.index()].name;
            if matches!(name.as_str(), "head" | "decode") {
                let said = state.says.pop_front();
                self.is_said = said.is_some();
                if let Some(token) = said {
                    self.logits.fill(0.0);
                    self.logits[token as usize] = 10.0;
                }
            }
            due
        };
        self.session.run(graph, run)?;
        match due {
            Some(error) => {
                self.spoil(graph, run);
                Err(error)
            }
            None => Ok(()),
        }
    }

    fn looks_ms_max(&self) -> Option<u32> {
        self.session.looks_ms_max()
    }

    fn memory(&self) -> Memory {
        self.session.memory()
    }
}
