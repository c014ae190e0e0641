//! The two traits of a backend, at whole-engine grain.

use std::time::Duration;

use super::{
    BackendError, Binding, Elements, Memory, Run, RunError, SectionSink, Sections, Stored, Storing,
    WeightFormat,
};
use crate::graph::{BufferId, GraphId, Network, Weights};

/// How to open an engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenOptions {
    /// Threads of a run; none is the backend's default: one core fewer than there are, at least one.
    pub threads: Option<usize>,
}

/// What a build tells while it goes on.
#[derive(Clone, Copy, Debug)]
pub enum Told<'a> {
    /// Bytes of weights written so far.
    Weights(u64),
    /// How far a plan is.
    Plan(PlanTold<'a>),
    /// What the user should know, and is no failure.
    Note(&'a str),
}

/// How far the plan of one graph is.
#[derive(Clone, Copy, Debug)]
pub struct PlanTold<'a> {
    /// The graph.
    pub graph: &'a str,
    /// Which of the network's graphs it is, and how many there are.
    pub place: (usize, usize),
    /// Since it was begun.
    pub elapsed: Duration,
    /// How long it is expected to take, by those before it.
    pub expected: Option<Duration>,
    /// Set when it is there.
    pub made: Option<PlanMade>,
}

/// A plan that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanMade {
    /// Its length.
    pub plan_bytes: u64,
    /// The most memory that making it took, then or when it was made.
    pub peak_bytes: u64,
    /// Whether it was made before and kept.
    pub is_kept: bool,
}

/// Compiles a network into sections, and opens them as a session.
pub trait Backend: Send {
    /// As the command line and manifests name it.
    fn name(&self) -> &'static str;

    /// What it will run with on this machine, in words.
    ///
    /// # Errors
    /// Why it cannot run here.
    fn check(&self) -> Result<String, BackendError>;

    /// What an engine that is built here is bound to. One that is bound to something else, in any field, is not opened.
    fn binding(&self) -> Binding;

    /// How it stores numbers.
    fn storing(&self) -> Storing;

    /// Whether it builds such an engine of a network for its target: asked before anything is made that takes time.
    ///
    /// # Errors
    /// Why not.
    fn accepts(&self, network: &Network, stored: &Stored) -> Result<(), BackendError>;

    /// Bytes that [`build`](Backend::build) will write, if that can be known before.
    fn estimate_bytes(&self, network: &Network, stored: &Stored) -> Option<u64>;

    /// Writes what [`open`](Backend::open) takes, in memory that does not grow with the weights, and says how many bytes that
    /// were. `told` hears how far it is.
    ///
    /// # Errors
    /// If the network holds what this backend cannot compute, or in a format that it does not store, or the sink fails.
    fn build(
        &self,
        network: &Network,
        weights: &dyn Weights,
        stored: &Stored,
        out: &mut dyn SectionSink,
        told: &mut dyn FnMut(Told<'_>),
    ) -> Result<u64, BackendError>;

    /// Claims everything that runs of the network need. The network must have passed [`Network::verify`].
    ///
    /// # Errors
    /// If the sections are not of this network so stored, or the system lacks something.
    fn open(
        &self,
        network: Network,
        stored: &Stored,
        sections: &Sections,
        options: &OpenOptions,
    ) -> Result<Box<dyn Session>, BackendError>;
}

/// A loaded engine with every byte claimed. Opening may allocate; nothing here does.
pub trait Session: Send {
    /// Graphs and buffers; ids index into it.
    fn network(&self) -> &Network;

    /// `n_rows` rows of an f32 input from `row` on, to be filled in place: what a run computes from need not stand in memory
    /// of the caller's first. They hold what was last put there; rows that are not asked for stay as they are.
    ///
    /// # Errors
    /// If the buffer is no input of f32, or has no such rows.
    fn input(&mut self, buffer: BufferId, row: usize, n_rows: usize) -> Result<&mut [f32], RunError>;

    /// As [`input`](Session::input), of an input of i32.
    ///
    /// # Errors
    /// If the buffer is no input of i32, or has no such rows.
    fn input_i32(&mut self, buffer: BufferId, row: usize, n_rows: usize) -> Result<&mut [i32], RunError>;

    /// `n_rows` rows of an f32 output from `row` on, as the last run left them.
    ///
    /// Why outputs only: a backend on a device brings those to the host after each run, and no other buffer.
    ///
    /// # Errors
    /// If the buffer is no output of f32, or has no such rows.
    fn view(&self, buffer: BufferId, row: usize, n_rows: usize) -> Result<&[f32], RunError>;

    /// Puts whole rows into a buffer of any purpose, from `row` on.
    ///
    /// # Errors
    /// If they do not fit in type or extent; then nothing was written.
    fn write(&mut self, buffer: BufferId, row: usize, elements: Elements<'_>) -> Result<(), RunError>;

    /// Gets whole f32 rows out of a buffer of any purpose, from `row` on.
    ///
    /// # Errors
    /// If they do not fit in type or extent.
    fn read(&self, buffer: BufferId, row: usize, out: &mut [f32]) -> Result<(), RunError>;

    /// Runs a graph. Neither allocates nor frees, formats, logs or opens files. It looks at the run's deadline and stop flag at
    /// the backend's own steps, at most [`looks_ms_max`](Session::looks_ms_max) apart where it can say.
    ///
    /// # Errors
    /// See [`RunError`]. What the caches held below the rows that the run would write is untouched.
    fn run(&mut self, graph: GraphId, run: &Run<'_>) -> Result<(), RunError>;

    /// The most milliseconds between two looks of a run at its deadline and its stop flag, or none if nothing sure can be said.
    fn looks_ms_max(&self) -> Option<u32>;

    /// Bytes by purpose.
    fn memory(&self) -> Memory;

    /// The coarsest type in which values of a run are rounded, named as a format: it explains differences beside those that the
    /// formats of the weights explain.
    fn arithmetic(&self) -> WeightFormat {
        WeightFormat::F32
    }
}
