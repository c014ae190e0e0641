//! A loaded engine on a device: buffers where they are used, plans bound to them, one run after another.
//!
//! Inputs and outputs have their home in host memory, which a program fills and views in place; caches and features have theirs on
//! the device, caches in the type that their plans compute in, and never leave it. A run binds each tensor of its plan to the rows that it
//! is about. It binds a copy (*staging*) where rows begin at no multiple of 256 bytes, where they stand in host memory that the
//! device does not share, and where a plan would overwrite what it reads. New rows of a cache need none of that: the plan writes
//! them behind those that it reads.
//!
//! The device looks at nothing of a run but the run itself: indices that point outside their table are found here, before it.
//!
//! Why deadline and stop are looked at once a run: a plan that has begun cannot be stopped. The loops look between their runs.

mod device;
mod homes;
mod wiring;

pub use device::{Claim, Device, Failure, Place, Space};

use std::io::Write as _;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use self::homes::{Home, Room, counted};
use self::wiring::{Table, Wire, Wiring};
use super::layers::Element;
use super::placed::PlacedLayout;
use super::weights::{ALIGN_BYTES, WeightLayout};
use super::whole::Whole;
use crate::backend::run::{rows_of, whole_rows};
use crate::backend::{
    BackendError, Elements, Memory, Payload, Run, RunError, Sections, Session, Stored, WeightFormat,
};
use crate::graph::{BufferId, GraphId, Network, Purpose};
use crate::mapped::EXIT_CODE;
use crate::tensor::{DType, widen};

/// The section of the weights that are inputs of plans.
pub(super) const WEIGHTS: &str = "weights";
/// The section of those that plans are given as constants.
pub(super) const CONSTANTS: &str = "constants";
/// Bytes that are turned into another type at once, on the stack.
const PIECE_BYTES: usize = 4096;

/// The section of a graph's plan.
pub(super) fn plan_section(graph: &str) -> String {
    format!("plan.{graph}")
}

/// See the module.
pub(super) struct TensorRtSession {
    network: Network,
    device: Box<dyn Device>,
    plans: Vec<Wiring>,
    homes: Vec<Home>,
    memory: Memory,
    arithmetic: WeightFormat,
    shares_memory: bool,
    /// Rows at which the windows of the run under way begin, by buffer.
    windows: Vec<usize>,
}

/// Opens what [`write_sections`](super::write_sections) wrote on a device. The network must have been verified.
///
/// # Errors
/// If the sections are not of this network so stored, or the device lacks something.
pub fn open_on(
    network: Network,
    stored: &Stored,
    sections: &Sections,
    mut device: Box<dyn Device>,
) -> Result<Box<dyn Session>, BackendError> {
    let whole = Whole::new(&network, stored)?;
    let (layout, placed) = (WeightLayout::new(&network, &whole), PlacedLayout::new(&whole));
    let weights = section(sections, WEIGHTS, "weights", layout.total_bytes())?;
    let constants = match placed.total_bytes() {
        0 => None,
        n_bytes => Some(section(sections, CONSTANTS, "weights in fewer bits", n_bytes)?),
    };
    // The weights begin at 0, as in their section.
    let mut room = Room { device_bytes: layout.total_bytes(), host_bytes: 0 };
    let homes: Vec<Home> =
        network.buffers.iter().zip(&whole.kept_in).map(|(b, kept)| room.home(b, *kept)).collect();
    let mut plans = Vec::with_capacity(network.graphs.len());
    let (mut scratch_bytes, mut constant_bytes) = (0, 0);
    for (i, (graph, lowered)) in network.graphs.iter().zip(&whole.graphs).enumerate() {
        let wiring = Wiring::new(&network, graph, lowered)?;
        let row_bytes: Vec<usize> =
            wiring.outputs.iter().map(|wire| homes[wire.buffer.index()].row_bytes).collect();
        let plan = sections.get(&plan_section(&graph.name))?;
        let given =
            placed.constants(&whole, i, constants.as_ref().map_or(&[][..], |constants| constants.bytes()));
        constant_bytes += given.iter().map(|constant| constant.bytes.len() as u64).sum::<u64>();
        let asked = device.load(&graph.name, plan.bytes(), &lowered.layers, &row_bytes, &given)?;
        scratch_bytes = scratch_bytes.max(asked);
        plans.push(wiring);
    }
    check_constants(&network, &plans, &layout, weights.bytes())?;
    let staging = room.device_bytes;
    for (graph, wiring) in network.graphs.iter().zip(&mut plans) {
        // Plans run one at a time, and share what they are staged in.
        let mut at = staging;
        let maxima: Vec<usize> = graph.dims.iter().map(|dim| dim.max).collect();
        for wire in wiring.inputs.iter_mut().chain(&mut wiring.outputs) {
            wire.staging = at;
            at += wire.rows.value(&maxima) * homes[wire.buffer.index()].row_bytes;
            at = at.next_multiple_of(ALIGN_BYTES);
        }
        room.device_bytes = room.device_bytes.max(at);
    }
    let scratch = room.device_bytes..room.device_bytes + scratch_bytes;
    device.claim(&Claim {
        device_bytes: scratch.end,
        scratch: scratch.clone(),
        host_bytes: room.host_bytes,
    })?;
    device.store(0, weights.bytes()).map_err(broken)?;
    for (plan, lowered) in whole.graphs.iter().enumerate() {
        for input in 0..lowered.sources.len() {
            if let Some(offset) = layout.start_of(plan, input) {
                device.bind(plan, input, Place { space: Space::Device, offset }).map_err(broken)?;
            }
        }
    }
    let memory = Memory {
        // Plans have their constants each for itself.
        weights_private_bytes: layout.total_bytes() as u64 + constant_bytes,
        arena_bytes: (scratch.end - staging) as u64,
        ..counted(&network, &homes)
    };
    Ok(Box::new(TensorRtSession {
        shares_memory: device.shares_memory(),
        windows: vec![0; network.buffers.len()],
        arithmetic: whole.arithmetic,
        network,
        device,
        plans,
        homes,
        memory,
    }))
}

/// A section of so many bytes.
fn section(sections: &Sections, name: &str, what: &str, expected: usize) -> Result<Payload, BackendError> {
    let section = sections.get(name)?.clone();
    let found = section.bytes().len();
    if found != expected {
        let why = format!("the {what} take {found} bytes, expected {expected}");
        return Err(BackendError::Payload { why });
    }
    Ok(section)
}

/// Indices that stand among the weights point into their tables, or the plan would read elsewhere.
fn check_constants(
    network: &Network,
    plans: &[Wiring],
    layout: &WeightLayout,
    weights: &[u8],
) -> Result<(), BackendError> {
    for (id, table) in plans.iter().flat_map(|plan| &plan.constant_indices) {
        let Some(range) = layout.wholes_of(*id) else { continue };
        let mut values = weights[range].as_chunks::<4>().0.iter().map(|b| i32::from_le_bytes(*b));
        if let Some(wrong) = values.find(|v| !table.allows(*v)) {
            let (name, table_rows) = (&network.weights[id.index()].name, table.n_rows);
            let why = format!("weight `{name}` holds index {wrong}, its table has {table_rows} rows");
            return Err(BackendError::Payload { why });
        }
    }
    Ok(())
}

fn broken(failure: Failure) -> BackendError {
    BackendError::Unavailable {
        name: "tensorrt",
        why: format!("the GPU fails while an engine is opened (CUDA error {})", failure.code),
    }
}

/// What a run says of a failure, if this process can go on at all.
fn ended(failure: Failure) -> RunError {
    if failure.is_lasting {
        let _ = writeln!(
            std::io::stderr(),
            "error: the GPU is lost to this process (CUDA error {}): start it again",
            failure.code
        );
        // Without what is done at an ordinary exit: the driver waits there for a device that does not answer.
        signal_hook::low_level::exit(EXIT_CODE);
    }
    RunError::Device(failure.code)
}

impl TensorRtSession {
    /// Checks a run as far as the host can, and notes its windows.
    fn check(&mut self, graph: GraphId, run: &Run<'_>) -> Result<(), RunError> {
        run.check_extents(&self.network.graphs[graph.index()])?;
        run.check_windows(&self.network)?;
        self.windows.fill(0);
        for (buffer, row) in run.windows {
            self.windows[buffer.index()] = *row;
        }
        let plan = &self.plans[graph.index()];
        for wire in plan.inputs.iter().chain(&plan.outputs) {
            wire.rows_in(&self.network, run, &self.windows)?;
        }
        if run.stop.is_some_and(|stop| stop.load(Relaxed)) {
            return Err(RunError::Stopped);
        }
        if run.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Err(RunError::Deadline);
        }
        for indices in &plan.indices {
            let home = self.homes[indices.buffer.index()];
            let begin = home.place.offset + self.windows[indices.buffer.index()] * home.row_bytes;
            let bytes = &self.device.host()[begin..][..indices.rows.value(run.extents) * home.row_bytes];
            let n_rows = indices.table_rows.value(run.extents);
            let table = Table { n_rows, negative_is_none: indices.negative_is_none };
            if !bytemuck::cast_slice::<u8, i32>(bytes).iter().all(|i| table.allows(*i)) {
                return Err(RunError::Index(graph));
            }
        }
        Ok(())
    }

    /// Where the rows of a wire stand, where the plan is to find them, and how many bytes they are.
    fn places(&self, wire: &Wire, run: &Run<'_>) -> Result<(Place, Place, usize), RunError> {
        let home = self.homes[wire.buffer.index()];
        let (row, n_rows) = wire.rows_in(&self.network, run, &self.windows)?;
        let rows = home.place.after(row * home.row_bytes);
        let is_reached = rows.space == Space::Device || self.shares_memory;
        let in_place = is_reached && !wire.is_apart && rows.offset.is_multiple_of(ALIGN_BYTES);
        let staging = Place { space: Space::Device, offset: wire.staging };
        Ok((rows, if in_place { rows } else { staging }, n_rows * home.row_bytes))
    }

    fn compute(&mut self, plan: usize, run: &Run<'_>) -> Result<(), RunError> {
        for i in 0..self.plans[plan].inputs.len() {
            let wire = self.plans[plan].inputs[i];
            let (rows, given, n_bytes) = self.places(&wire, run)?;
            if given != rows && n_bytes != 0 {
                self.device.copy(rows, given, n_bytes).map_err(ended)?;
            }
            self.device.bind(plan, wire.tensor, given).map_err(ended)?;
            if wire.varies {
                let n_rows = wire.rows.value(run.extents);
                self.device.set_rows(plan, wire.tensor, n_rows).map_err(ended)?;
            }
        }
        for i in 0..self.plans[plan].outputs.len() {
            let wire = self.plans[plan].outputs[i];
            let (_, given, _) = self.places(&wire, run)?;
            self.device.bind(plan, wire.tensor, given).map_err(ended)?;
        }
        self.device.launch(plan).map_err(ended)?;
        for i in 0..self.plans[plan].outputs.len() {
            let wire = self.plans[plan].outputs[i];
            let (rows, given, n_bytes) = self.places(&wire, run)?;
            if given != rows && n_bytes != 0 {
                self.device.copy(given, rows, n_bytes).map_err(ended)?;
            }
        }
        Ok(())
    }

    /// The host memory of some elements (of four bytes) of a buffer whose home is there.
    fn on_host(&self, buffer: BufferId, elements: std::ops::Range<usize>) -> std::ops::Range<usize> {
        let begin = self.homes[buffer.index()].place.offset;
        begin + elements.start * 4..begin + elements.end * 4
    }
}

impl Session for TensorRtSession {
    fn network(&self) -> &Network {
        &self.network
    }

    fn input(&mut self, buffer: BufferId, row: usize, n_rows: usize) -> Result<&mut [f32], RunError> {
        let part = rows_of(&self.network, Purpose::Input, buffer, DType::F32, row, n_rows)?;
        let bytes = self.on_host(buffer, part);
        Ok(bytemuck::cast_slice_mut(&mut self.device.host_mut()[bytes]))
    }

    fn input_i32(&mut self, buffer: BufferId, row: usize, n_rows: usize) -> Result<&mut [i32], RunError> {
        let part = rows_of(&self.network, Purpose::Input, buffer, DType::I32, row, n_rows)?;
        let bytes = self.on_host(buffer, part);
        Ok(bytemuck::cast_slice_mut(&mut self.device.host_mut()[bytes]))
    }

    fn view(&self, buffer: BufferId, row: usize, n_rows: usize) -> Result<&[f32], RunError> {
        let part = rows_of(&self.network, Purpose::Output, buffer, DType::F32, row, n_rows)?;
        Ok(bytemuck::cast_slice(&self.device.host()[self.on_host(buffer, part)]))
    }

    fn write(&mut self, buffer: BufferId, row: usize, elements: Elements<'_>) -> Result<(), RunError> {
        let (dtype, words): (DType, &[f32]) = match elements {
            Elements::F32(values) => (DType::F32, values),
            Elements::I32(values) => (DType::I32, bytemuck::cast_slice(values)),
        };
        let part = whole_rows(&self.network, buffer, dtype, row, words.len())?;
        let home = self.homes[buffer.index()];
        if home.place.space == Space::Host {
            let bytes = self.on_host(buffer, part);
            self.device.host_mut()[bytes].copy_from_slice(bytemuck::cast_slice(words));
            return Ok(());
        }
        let size = home.element.bytes_of(1);
        let mut at = home.place.offset + part.start * size;
        if size == 4 {
            return self.device.store(at, bytemuck::cast_slice(words)).map_err(ended);
        }
        for values in words.chunks(PIECE_BYTES / 2) {
            let mut piece = [0; PIECE_BYTES];
            let bytes = &mut piece[..values.len() * size];
            for (value, bytes) in values.iter().zip(bytes.as_chunks_mut::<2>().0) {
                *bytes = match home.element {
                    Element::F16 => half::f16::from_f32(*value).to_le_bytes(),
                    _ => half::bf16::from_f32(*value).to_le_bytes(),
                };
            }
            self.device.store(at, bytes).map_err(ended)?;
            at += bytes.len();
        }
        Ok(())
    }

    fn read(&self, buffer: BufferId, row: usize, out: &mut [f32]) -> Result<(), RunError> {
        let part = whole_rows(&self.network, buffer, DType::F32, row, out.len())?;
        let home = self.homes[buffer.index()];
        if home.place.space == Space::Host {
            let bytes = &self.device.host()[self.on_host(buffer, part)];
            out.copy_from_slice(bytemuck::cast_slice(bytes));
            return Ok(());
        }
        let size = home.element.bytes_of(1);
        let mut at = home.place.offset + part.start * size;
        let narrow = match home.element {
            Element::F16 => DType::F16,
            Element::Bf16 => DType::Bf16,
            _ => return self.device.fetch(at, bytemuck::cast_slice_mut(out)).map_err(ended),
        };
        for values in out.chunks_mut(PIECE_BYTES / 2) {
            let mut piece = [0; PIECE_BYTES];
            let bytes = &mut piece[..values.len() * size];
            self.device.fetch(at, bytes).map_err(ended)?;
            widen(narrow, bytes, values);
            at += bytes.len();
        }
        Ok(())
    }

    fn run(&mut self, graph: GraphId, run: &Run<'_>) -> Result<(), RunError> {
        if self.plans.len() <= graph.index() {
            return Err(RunError::Graph(graph));
        }
        self.check(graph, run)?;
        let asked = self.compute(graph.index(), run);
        // Also after a failure: nothing may be under way when a program looks at its memory.
        let done = self.device.wait().map_err(ended);
        asked.and(done)
    }

    /// One look a run, and a run takes as long as its plan.
    fn looks_ms_max(&self) -> Option<u32> {
        None
    }

    fn memory(&self) -> Memory {
        self.memory.clone()
    }

    fn arithmetic(&self) -> WeightFormat {
        self.arithmetic
    }
}
