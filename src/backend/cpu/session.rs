//! A loaded engine on the CPU.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;

use super::arena::{Memory as Arena, Placer};
use super::bind::Shapes;
use super::caches;
use super::context::{BufferPlace, Context};
use super::cost::{self, nanoseconds};
use super::kernels::{Isa, Kernels, SCRATCH_FLOATS};
use super::lower::lower;
use super::pack::PackedWeights;
use super::placement::{Placement, Step, place};
use super::pool::{Job, Lease, PIECES_MAX, THREADS_MAX};
use super::program::RowAt;
use super::step::BoundStep;
use crate::backend::run::{rows_of, whole_rows};
use crate::backend::{BackendError, Elements, Memory, Run, RunError, Session, WeightFormat};
use crate::graph::{BufferId, GraphId, Network, Purpose};
use crate::tensor::{DType, narrow, widen};

/// See the module.
pub(super) struct CpuSession {
    network: Network,
    placements: Vec<Placement>,
    arena: Arena,
    buffers: Vec<BufferPlace>,
    weights: PackedWeights,
    kernels: &'static Kernels,
    lease: Lease,
    /// Whether no stage is too small to be shared.
    shares_all: bool,
    /// One for each thread, which alone takes it.
    scratch: Vec<Mutex<Vec<Line>>>,
    memory: Memory,
    /// Rows at which the windows of the run under way begin, by buffer.
    windows: Vec<usize>,
}

/// The most pieces into which one step of a stage is cut, where the stage has room for so many.
const STEP_PIECES_MAX: usize = 4096;

/// Sixteen floats, aligned to a cache line.
#[derive(Clone, Copy, bytemuck::Zeroable, bytemuck::Pod)]
#[repr(C, align(64))]
struct Line([f32; 16]);

impl CpuSession {
    /// Places all graphs of a verified network, whose caches are kept in a format, and claims everything that their runs need.
    ///
    /// # Errors
    /// If a graph holds what this backend cannot compute, or the system lacks memory or threads.
    pub(super) fn new(
        network: Network,
        caches: Option<WeightFormat>,
        weights: PackedWeights,
        isa: Isa,
        n_threads: usize,
        shares_all: bool,
    ) -> Result<CpuSession, BackendError> {
        let Placed { placer, buffers, placements } = Placed::of(&network, caches)?;
        let failed = |what| move |source| BackendError::System { what, source };
        let arena = placer.claim().map_err(failed("memory for buffers and the arena"))?;
        let lease = Lease::new(n_threads).map_err(failed("threads"))?;
        let unavailable =
            |e: super::kernels::IsaError| BackendError::Unavailable { name: "cpu", why: e.to_string() };
        let kernels = Kernels::of(isa).map_err(unavailable)?;
        let line = Line([0.0; 16]);
        let scratch = (0..lease.n_threads()).map(|_| Mutex::new(vec![line; SCRATCH_FLOATS.div_ceil(16)]));
        let scratch: Vec<_> = scratch.collect();
        let (weights_mapped_bytes, weights_private_bytes) = weights.mapped_and_private_bytes();
        let claimed = claimed(&network, &buffers, &placer, scratch.len());
        let memory = Memory { weights_mapped_bytes, weights_private_bytes, ..claimed };
        Ok(CpuSession {
            windows: vec![0; buffers.len()],
            network,
            placements,
            arena,
            buffers,
            weights,
            kernels,
            lease,
            shares_all,
            scratch,
            memory,
        })
    }

    /// Checks a run's extents and windows, and notes the windows.
    fn check(&mut self, graph: GraphId, run: &Run<'_>) -> Result<(), RunError> {
        run.check_extents(&self.network.graphs[graph.index()])?;
        run.check_windows(&self.network)?;
        self.windows.fill(0);
        for (buffer, row) in run.windows {
            self.windows[buffer.index()] = *row;
        }
        for touched in &self.placements[graph.index()].touched {
            let row = match touched.at {
                RowAt::Window => self.windows[touched.buffer.index()],
                RowAt::Past(symbol) => run.extents[usize::from(symbol.0)],
            };
            let end = row.saturating_add(touched.rows.value(run.extents));
            if self.network.buffers[touched.buffer.index()].shape[0] < end {
                return Err(RunError::Bounds { buffer: touched.buffer, row, end });
            }
        }
        Ok(())
    }
}

/// Places and calls of a network, before anything is claimed for them.
struct Placed {
    placer: Placer,
    buffers: Vec<BufferPlace>,
    placements: Vec<Placement>,
}

impl Placed {
    fn of(network: &Network, caches: Option<WeightFormat>) -> Result<Placed, BackendError> {
        let unsupported = |why| BackendError::Unsupported { why };
        let narrow = caches::narrow(network, caches).map_err(unsupported)?;
        let mut placer = Placer::default();
        let keep = |(buffer, is_narrow): (&crate::graph::Buffer, &bool)| BufferPlace {
            place: placer.keep(if *is_narrow { buffer.len() / 2 } else { buffer.len() }),
            row_len: buffer.row_len(),
            is_narrow: *is_narrow,
        };
        let buffers = network.buffers.iter().zip(&narrow).map(keep).collect();
        let mut placements = Vec::with_capacity(network.graphs.len());
        for graph in &network.graphs {
            let program = lower(network, graph, &narrow).map_err(unsupported)?;
            placements.push(place(graph, program, &mut placer));
        }
        Ok(Placed { placer, buffers, placements })
    }
}

/// What a session of the network claims on so many threads, but for its weights. Claims nothing.
///
/// # Errors
/// If a graph holds what this backend cannot compute.
pub(super) fn claims_of(
    network: &Network,
    caches: Option<WeightFormat>,
    n_threads: usize,
) -> Result<Memory, BackendError> {
    let Placed { placer, buffers, .. } = Placed::of(network, caches)?;
    Ok(claimed(network, &buffers, &placer, n_threads.clamp(1, THREADS_MAX)))
}

fn claimed(network: &Network, places: &[BufferPlace], placer: &Placer, n_threads: usize) -> Memory {
    let mut memory = Memory {
        arena_bytes: placer.arena_bytes() as u64,
        scratch_bytes: (n_threads * SCRATCH_FLOATS * 4) as u64,
        ..Memory::default()
    };
    for (buffer, place) in network.buffers.iter().zip(places) {
        let n_bytes = (place.words(0..buffer.len()).len() * buffer.dtype.size_bytes()) as u64;
        match buffer.purpose {
            Purpose::Input | Purpose::Output => memory.buffers_bytes += n_bytes,
            Purpose::Cache | Purpose::Features => memory.caches_bytes += n_bytes,
        }
    }
    memory
}

impl Session for CpuSession {
    fn network(&self) -> &Network {
        &self.network
    }

    fn input(&mut self, buffer: BufferId, row: usize, n_rows: usize) -> Result<&mut [f32], RunError> {
        let part = rows_of(&self.network, Purpose::Input, buffer, DType::F32, row, n_rows)?;
        Ok(self.arena.get_mut(self.buffers[buffer.index()].place, part))
    }

    fn input_i32(&mut self, buffer: BufferId, row: usize, n_rows: usize) -> Result<&mut [i32], RunError> {
        let part = rows_of(&self.network, Purpose::Input, buffer, DType::I32, row, n_rows)?;
        Ok(bytemuck::cast_slice_mut(self.arena.get_mut(self.buffers[buffer.index()].place, part)))
    }

    fn view(&self, buffer: BufferId, row: usize, n_rows: usize) -> Result<&[f32], RunError> {
        let part = rows_of(&self.network, Purpose::Output, buffer, DType::F32, row, n_rows)?;
        Ok(self.arena.read(self.buffers[buffer.index()].place, part))
    }

    fn write(&mut self, buffer: BufferId, row: usize, elements: Elements<'_>) -> Result<(), RunError> {
        let (dtype, words): (DType, &[f32]) = match elements {
            Elements::F32(values) => (DType::F32, values),
            Elements::I32(values) => (DType::I32, bytemuck::cast_slice(values)),
        };
        let part = whole_rows(&self.network, buffer, dtype, row, words.len())?;
        let buffer = self.buffers[buffer.index()];
        let to = self.arena.get_mut(buffer.place, buffer.words(part));
        match buffer.is_narrow {
            true => narrow(DType::Bf16, words, bytemuck::cast_slice_mut(to)),
            false => to.copy_from_slice(words),
        }
        Ok(())
    }

    fn read(&self, buffer: BufferId, row: usize, out: &mut [f32]) -> Result<(), RunError> {
        let part = whole_rows(&self.network, buffer, DType::F32, row, out.len())?;
        let buffer = self.buffers[buffer.index()];
        let from = self.arena.read(buffer.place, buffer.words(part));
        match buffer.is_narrow {
            true => widen(DType::Bf16, bytemuck::cast_slice(from), out),
            false => out.copy_from_slice(from),
        }
        Ok(())
    }

    fn run(&mut self, graph: GraphId, run: &Run<'_>) -> Result<(), RunError> {
        if self.placements.len() <= graph.index() {
            return Err(RunError::Graph(graph));
        }
        self.check(graph, run)?;
        let stages = &self.placements[graph.index()].stages;
        let cx = Context {
            extents: run.extents,
            windows: &self.windows,
            memory: &self.arena,
            buffers: &self.buffers,
            weights: &self.weights,
            kernels: self.kernels,
        };
        let n_threads = self.lease.n_threads();
        let job = RunJob {
            stages,
            cx,
            watch: Watch { run, outcome: AtomicU8::new(Watch::GOING) },
            scratch: &self.scratch,
            shares: n_threads != 1,
            shares_all: self.shares_all,
        };
        self.lease.run(n_threads, run.deadline, run.stop, &job)?;
        job.watch.result(graph)
    }

    /// A thread alone looks about every [`cost::LOOK_NS`], several do at every piece. But these lengths are estimates for one
    /// kind of machine, and a slower or busier one takes longer: nothing that could be promised.
    fn looks_ms_max(&self) -> Option<u32> {
        None
    }

    /// What is rounded on the way: keys and values if their caches are narrow, and what the kernels round.
    fn arithmetic(&self) -> WeightFormat {
        let is_narrow = self.buffers.iter().any(|buffer| buffer.is_narrow);
        let rounds = self.kernels.isa.rounds_activations() && self.weights.have_bf16();
        if is_narrow || rounds { WeightFormat::Bf16 } else { WeightFormat::F32 }
    }

    fn memory(&self) -> Memory {
        self.memory.clone()
    }
}

/// Deadline and stop flag of a run, and what has become of it.
struct Watch<'a> {
    run: &'a Run<'a>,
    outcome: AtomicU8,
}

impl Watch<'_> {
    const GOING: u8 = 0;
    const DEADLINE: u8 = 1;
    const STOPPED: u8 = 2;
    const INDEX: u8 = 3;

    /// Whether to go on.
    fn look(&self) -> bool {
        if self.outcome.load(Ordering::Relaxed) != Watch::GOING {
            return false;
        }
        if self.run.stop.is_some_and(|s| s.load(Ordering::Relaxed)) {
            self.end(Watch::STOPPED);
        } else if self.run.deadline.is_some_and(|d| d <= Instant::now()) {
            self.end(Watch::DEADLINE);
        } else {
            return true;
        }
        false
    }

    fn end(&self, outcome: u8) {
        self.outcome.store(outcome, Ordering::Relaxed);
    }

    fn result(&self, graph: GraphId) -> Result<(), RunError> {
        match self.outcome.load(Ordering::Relaxed) {
            Watch::GOING => Ok(()),
            Watch::DEADLINE => Err(RunError::Deadline),
            Watch::STOPPED => Err(RunError::Stopped),
            _ => Err(RunError::Index(graph)),
        }
    }
}

/// The stages of one run.
struct RunJob<'a> {
    stages: &'a [Vec<Step>],
    cx: Context<'a>,
    watch: Watch<'a>,
    scratch: &'a [Mutex<Vec<Line>>],
    /// Whether there is another thread to share with.
    shares: bool,
    shares_all: bool,
}

impl Job for RunJob<'_> {
    fn advance(&self, from: usize, thread: usize) -> Option<(usize, usize)> {
        for (i, stage) in self.stages.iter().enumerate().skip(from) {
            if !self.watch.look() {
                return None;
            }
            let n_pieces = if self.shares { self.n_pieces(stage) } else { 1 };
            if 1 < n_pieces {
                return Some((i, n_pieces));
            }
            for step in stage {
                let mut shapes = Shapes::new();
                let bound = BoundStep::new(step, &self.cx, &mut shapes);
                let at_once = self.tasks_in(step, bound.n_tasks, cost::LOOK_NS, STEP_PIECES_MAX);
                for first in (0..bound.n_tasks).step_by(at_once) {
                    self.run(&bound, first..bound.n_tasks.min(first + at_once), thread);
                }
            }
        }
        None
    }

    fn piece(&self, stage: usize, piece: usize, thread: usize) {
        let mut first_piece = 0;
        let stage = &self.stages[stage][..];
        for step in stage {
            let mut shapes = Shapes::new();
            let bound = BoundStep::new(step, &self.cx, &mut shapes);
            let tasks_per_piece = self.tasks_in(step, bound.n_tasks, self.piece_ns(), step_pieces_max(stage));
            let n_pieces = bound.n_tasks.div_ceil(tasks_per_piece);
            if piece < first_piece + n_pieces {
                let first = (piece - first_piece) * tasks_per_piece;
                self.run(&bound, first..bound.n_tasks.min(first + tasks_per_piece), thread);
                return;
            }
            first_piece += n_pieces;
        }
    }
}

impl RunJob<'_> {
    /// Pieces into which a stage is cut; 1 if sharing it would take longer than doing it.
    fn n_pieces(&self, stage: &[Step]) -> usize {
        let cost_ns: u64 = stage.iter().map(|step| nanoseconds(step, &self.cx)).sum();
        if cost_ns <= cost::SHARED_NS && !self.shares_all {
            return 1;
        }
        let pieces = stage.iter().map(|step| {
            let mut shapes = Shapes::new();
            let n_tasks = BoundStep::new(step, &self.cx, &mut shapes).n_tasks;
            n_tasks.div_ceil(self.tasks_in(step, n_tasks, self.piece_ns(), step_pieces_max(stage)))
        });
        pieces.sum::<usize>().max(1)
    }

    fn piece_ns(&self) -> u64 {
        if self.shares_all { 1 } else { cost::PIECE_NS }
    }

    /// Tasks of a step that take about so long, in no more than so many pieces.
    fn tasks_in(&self, step: &Step, n_tasks: usize, wanted_ns: u64, pieces_max: usize) -> usize {
        let n_pieces = nanoseconds(step, &self.cx).div_ceil(wanted_ns).clamp(1, pieces_max as u64);
        n_tasks.div_ceil(n_pieces as usize).max(1)
    }

    /// Runs some tasks of a step, unless the run is to end.
    fn run(&self, step: &BoundStep<'_>, tasks: Range<usize>, thread: usize) {
        if !self.watch.look() {
            return;
        }
        let mut scratch = self.scratch[thread].try_lock().expect("each thread of a run has its own");
        if step.run(&self.cx, tasks, bytemuck::cast_slice_mut(&mut scratch)).is_err() {
            self.watch.end(Watch::INDEX);
        }
    }
}

/// The most pieces of one step, so that all steps of the stage have room: lowering makes fewer calls than a stage has pieces.
fn step_pieces_max(stage: &[Step]) -> usize {
    (PIECES_MAX / stage.len().max(1)).min(STEP_PIECES_MAX)
}
