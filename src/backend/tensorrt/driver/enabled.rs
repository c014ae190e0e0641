//! The driver as a device: plans bound to one arena, and counted is what TensorRT takes beside it.

use std::ffi::CString;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use super::Gpu;
use super::cuda::{self, Cuda, Recorded};
use super::memory::Memories;
use crate::backend::BackendError;
use crate::backend::tensorrt::layers::{Constant, Extent, Layers};
use crate::backend::tensorrt::session::{Claim, Device, Failure, Place, Space};
use crate::backend::tensorrt::shim::{AXES_MAX, Allocator, Library, Running, Runtime};

/// Set to 1, runs that repeat themselves are recorded as CUDA graphs.
const RECORDS: &str = "PERIHELION_CUDA_GRAPHS";
/// A run is recorded when it has come this often with the same shapes and places: TensorRT settles them in the first.
const REPEATS: u32 = 2;

/// What the first GPU is.
///
/// # Errors
/// If there is none.
pub(in crate::backend::tensorrt) fn gpu() -> Result<Gpu, String> {
    cuda::gpu()
}

/// The first GPU as a device.
///
/// # Errors
/// If there is none, or TensorRT does not start on it.
pub(in crate::backend::tensorrt) fn open(library: &Library) -> Result<Box<dyn Device>, BackendError> {
    let cuda = Cuda::open().map_err(|why| BackendError::NoDevice { name: "tensorrt", why })?;
    let taken = Arc::new(Taken::default());
    let allocator = Box::new(OfTensorRt { cuda: Arc::clone(&cuda), taken: Arc::clone(&taken) });
    let shares_memory = cuda.is_integrated().map_err(fails)?;
    Ok(Box::new(Driver {
        runtime: library.runtime(allocator)?,
        library: library.clone(),
        records: std::env::var_os(RECORDS).is_some_and(|v| v == "1"),
        plans: Vec::new(),
        memory: None,
        shares_memory,
        taken,
        cuda,
    }))
}

fn fails(failure: Failure) -> BackendError {
    let why = format!("NVIDIA's driver fails (CUDA error {})", failure.code);
    BackendError::Unavailable { name: "tensorrt", why }
}

/// What TensorRT has taken for itself.
#[derive(Debug, Default)]
struct Taken {
    /// Whether sessions run: from then on it should take nothing.
    is_settled: AtomicBool,
    late_calls: AtomicU64,
}

struct OfTensorRt {
    cuda: Arc<Cuda>,
    taken: Arc<Taken>,
}

impl Allocator for OfTensorRt {
    fn take(&self, n_bytes: u64, _alignment: u64) -> u64 {
        if self.taken.is_settled.load(Relaxed) {
            self.taken.late_calls.fetch_add(1, Relaxed);
        }
        // The driver's allocations begin at multiples of 256 bytes or more.
        usize::try_from(n_bytes).ok().and_then(|n| self.cuda.allocate(n).ok()).unwrap_or(0)
    }

    fn give(&self, address: u64) -> bool {
        self.cuda.free(address).is_ok()
    }
}

/// One plan, and how it was bound last.
struct Plan {
    running: Running,
    graph: String,
    tensors: Vec<Tensor>,
    /// How often it has run as it is bound now.
    n_repeats: u32,
    recorded: Option<Recorded>,
    /// It could not be recorded once.
    is_unrecordable: bool,
}

struct Tensor {
    name: CString,
    place: Option<Place>,
    extents: [i64; AXES_MAX],
    n_axes: usize,
}

struct Driver {
    // Dropped first, before what they run in.
    plans: Vec<Plan>,
    runtime: Arc<Runtime>,
    library: Library,
    memory: Option<Memories>,
    shares_memory: bool,
    records: bool,
    taken: Arc<Taken>,
    cuda: Arc<Cuda>,
}

const CLAIMED: &str = "a session claims before it does anything else";

impl Driver {
    fn memory(&self) -> &Memories {
        self.memory.as_ref().expect(CLAIMED)
    }

    fn memory_mut(&mut self) -> &mut Memories {
        self.memory.as_mut().expect(CLAIMED)
    }
}

/// A plan is of the layers that it is said to be: every tensor by name, type and direction, inputs by their extents and as many rows as
/// there may be, outputs by the size of a row.
fn check(
    graph: &str,
    running: &Running,
    layers: &Layers,
    row_bytes: &[usize],
) -> Result<Vec<Tensor>, BackendError> {
    let wrong = |why: String| BackendError::Payload { why: format!("the plan of graph `{graph}` {why}") };
    let inputs = layers.inputs.iter().map(|input| (&input.name, input.element, Ok(&input.extents)));
    let outputs = layers.outputs.iter().zip(row_bytes);
    let outputs = outputs.map(|(output, row_bytes)| (&output.name, output.element, Err(*row_bytes)));
    let mut tensors = Vec::new();
    for (name, element, expected) in inputs.chain(outputs) {
        let c_name = CString::new(name.replace('\0', "\u{fffd}")).expect("replaced");
        let found = running.tensor(&c_name).ok_or_else(|| wrong(format!("has no tensor `{name}`")))?;
        let told = |e: &Extent| if e.varies() { -1 } else { e.min };
        let fits = match expected {
            Ok(extents) => {
                let rows_max = extents.first().filter(|e| e.varies()).map_or(0, |e| e.max);
                found.is_input
                    && extents.iter().map(told).eq(found.extents().iter().copied())
                    && rows_max <= running.rows_max(&c_name)
            }
            Err(row_bytes) => {
                !found.is_input && row_elements(found.extents()) == Some(row_bytes / element.bytes_of(1))
            }
        };
        if !fits || found.element != element as i32 {
            return Err(wrong(format!("has another `{name}` than its network: {found:?}")));
        }
        let n_axes = found.extents().len();
        let mut extents = [0; AXES_MAX];
        extents[..n_axes].copy_from_slice(found.extents());
        tensors.push(Tensor { name: c_name, place: None, extents, n_axes });
    }
    if running.n_tensors() != tensors.len() {
        return Err(wrong(format!("has {} tensors, its network {}", running.n_tensors(), tensors.len())));
    }
    Ok(tensors)
}

/// How many elements a row has; none if that varies.
fn row_elements(extents: &[i64]) -> Option<usize> {
    extents.iter().skip(1).try_fold(1usize, |n, extent| n.checked_mul(usize::try_from(*extent).ok()?))
}

/// TensorRT refuses without a number of the driver's; waiting then finds what it was.
const REFUSED: Failure = Failure { code: -1, is_lasting: false };

impl Device for Driver {
    fn load(
        &mut self,
        graph: &str,
        plan: &[u8],
        layers: &Layers,
        row_bytes: &[usize],
        constants: &[Constant<'_>],
    ) -> Result<usize, BackendError> {
        self.cuda.enter().map_err(fails)?;
        let running = self.library.running(&self.runtime, graph, plan, constants)?;
        let tensors = check(graph, &running, layers, row_bytes)?;
        let scratch_bytes = running.scratch_bytes();
        let (graph, n_repeats, recorded, is_unrecordable) = (graph.to_owned(), 0, None, false);
        self.plans.push(Plan { running, graph, tensors, n_repeats, recorded, is_unrecordable });
        Ok(scratch_bytes)
    }

    fn claim(&mut self, claim: &Claim) -> Result<(), BackendError> {
        let (free, all) = self.cuda.free_and_all_bytes().map_err(fails)?;
        let wanted = claim.device_bytes.saturating_add(if self.shares_memory { claim.host_bytes } else { 0 });
        let short = |failure: Failure| BackendError::Unavailable {
            name: "tensorrt",
            why: format!(
                "the engine claims {wanted} bytes of GPU memory, {free} of {all} are free (CUDA error {}); end other programs, or \
                 build with smaller limits or a coarser precision",
                failure.code
            ),
        };
        if free < wanted {
            return Err(short(Failure { code: 2, is_lasting: false }));
        }
        let memory = Memories::new(&self.cuda, claim.device_bytes, claim.host_bytes).map_err(short)?;
        let scratch = Place { space: Space::Device, offset: claim.scratch.start };
        let address = memory.address(scratch, claim.scratch.len());
        for plan in &mut self.plans {
            plan.running.set_scratch(address, claim.scratch.len());
        }
        self.memory = Some(memory);
        self.taken.is_settled.store(true, Relaxed);
        Ok(())
    }

    fn shares_memory(&self) -> bool {
        self.shares_memory
    }

    fn host(&self) -> &[u8] {
        self.memory().host()
    }

    fn host_mut(&mut self) -> &mut [u8] {
        self.memory_mut().host_mut()
    }

    fn store(&mut self, offset: usize, bytes: &[u8]) -> Result<(), Failure> {
        self.memory_mut().store(offset, bytes)
    }

    fn fetch(&self, offset: usize, out: &mut [u8]) -> Result<(), Failure> {
        self.memory().fetch(offset, out)
    }

    fn copy(&mut self, from: Place, to: Place, n_bytes: usize) -> Result<(), Failure> {
        self.memory_mut().copy(from, to, n_bytes)
    }

    fn bind(&mut self, plan: usize, tensor: usize, place: Place) -> Result<(), Failure> {
        let address = self.memory().address(place, 0);
        let plan = &mut self.plans[plan];
        let bound = &mut plan.tensors[tensor];
        if bound.place == Some(place) {
            return Ok(());
        }
        plan.n_repeats = 0;
        // What was refused is asked for again.
        bound.place = plan.running.set_address(&bound.name, address).then_some(place);
        bound.place.map(drop).ok_or(REFUSED)
    }

    fn set_rows(&mut self, plan: usize, input: usize, rows: usize) -> Result<(), Failure> {
        let plan = &mut self.plans[plan];
        let bound = &mut plan.tensors[input];
        if bound.extents[0] == rows as i64 {
            return Ok(());
        }
        bound.extents[0] = rows as i64;
        plan.n_repeats = 0;
        if plan.running.set_extents(&bound.name, &bound.extents[..bound.n_axes]) {
            return Ok(());
        }
        // No number of rows, so that it is asked for again.
        bound.extents[0] = -1;
        Err(REFUSED)
    }

    fn launch(&mut self, plan: usize) -> Result<(), Failure> {
        self.cuda.enter()?;
        self.memory_mut().will_be_asked();
        let (stream, cuda) = (self.cuda.stream(), &self.cuda);
        let Plan { running, graph, n_repeats, recorded, is_unrecordable, .. } = &mut self.plans[plan];
        if *n_repeats == 0 {
            *recorded = None;
        }
        *n_repeats = n_repeats.saturating_add(1);
        if self.records && recorded.is_none() && REPEATS < *n_repeats && !*is_unrecordable {
            *recorded = cuda.record(|| running.enqueue(stream));
            if recorded.is_none() {
                *is_unrecordable = true;
                log::warn!(
                    "the plan of graph `{graph}` cannot be recorded as a CUDA graph, and is asked for each time"
                );
            }
        }
        match recorded {
            Some(recorded) => recorded.launch(),
            None if running.enqueue(stream) => Ok(()),
            None => Err(REFUSED),
        }
    }

    fn wait(&mut self) -> Result<(), Failure> {
        self.memory_mut().wait()
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // Plans go before the memory that they run in: nothing of theirs may be under way.
        let _ = self.cuda.wait();
        let late_calls = self.taken.late_calls.load(Relaxed);
        if late_calls != 0 {
            log::warn!("TensorRT asked for GPU memory {late_calls} times while sessions ran");
        }
    }
}
