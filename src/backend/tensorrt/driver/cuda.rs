//! CUDA's driver API as far as a session needs it: one GPU, one stream, memory that owns itself, recorded runs.
//!
//! Every function makes the GPU's primary context the thread's, since a session goes from thread to thread. What a call returns is a
//! [`Failure`] with the driver's number.
#![expect(unsafe_code, reason = "C functions, and memory of the driver's")]

use std::ffi::{CStr, c_void};
use std::ptr;
use std::sync::Arc;

use cudarc::driver::sys::{self, CUdevice_attribute, CUresult, CUstreamCaptureMode};

use super::Gpu;
use crate::backend::tensorrt::session::Failure;

/// Errors that stay: the device's memory is damaged, or its context answers every later call of this process in the same way.
const LASTING: [i32; 13] = [214, 220, 700, 702, 709, 710, 714, 715, 716, 717, 718, 719, 999];

pub(super) fn checked(result: CUresult) -> Result<(), Failure> {
    match result as i32 {
        0 => Ok(()),
        code => Err(Failure { code, is_lasting: LASTING.contains(&code) }),
    }
}

/// The first GPU, with its primary context and a stream of ours.
#[derive(Debug)]
pub(super) struct Cuda {
    device: sys::CUdevice,
    context: sys::CUcontext,
    stream: sys::CUstream,
}

// SAFETY: contexts and streams of the driver may be used from any thread.
unsafe impl Send for Cuda {}
// SAFETY: as above.
unsafe impl Sync for Cuda {}

/// Begins CUDA and finds the first GPU.
fn first() -> Result<sys::CUdevice, String> {
    // SAFETY: it looks whether the driver's library is there, which the calls below would panic without.
    if !unsafe { sys::is_culib_present() } {
        return Err("there is no NVIDIA driver on this machine (libcuda.so.1)".into());
    }
    let failed = |failure: Failure| format!("NVIDIA's driver does not start (CUDA error {})", failure.code);
    let mut device = 0;
    let mut n = 0;
    // SAFETY: the library is there; both addresses are of integers.
    unsafe {
        checked(sys::cuInit(0)).map_err(failed)?;
        checked(sys::cuDeviceGetCount(&raw mut n)).map_err(failed)?;
        if n < 1 {
            return Err("NVIDIA's driver finds no GPU".into());
        }
        checked(sys::cuDeviceGet(&raw mut device, 0)).map_err(failed)?;
    }
    Ok(device)
}

fn attribute(device: sys::CUdevice, which: CUdevice_attribute) -> Result<i32, Failure> {
    let mut value = 0;
    // SAFETY: the address is of an integer.
    checked(unsafe { sys::cuDeviceGetAttribute(&raw mut value, which, device) })?;
    Ok(value)
}

/// What the first GPU is.
///
/// # Errors
/// If there is none.
pub(super) fn gpu() -> Result<Gpu, String> {
    let device = first()?;
    let failed = |failure: Failure| {
        format!("NVIDIA's driver does not say what GPU it has (CUDA error {})", failure.code)
    };
    let mut name = [0; 128];
    let mut memory_bytes = 0;
    // SAFETY: the name is a C string no longer than said; the other address is of an integer.
    unsafe {
        checked(sys::cuDeviceGetName(name.as_mut_ptr(), name.len() as i32 - 1, device)).map_err(failed)?;
        checked(sys::cuDeviceTotalMem_v2(&raw mut memory_bytes, device)).map_err(failed)?;
    }
    let of = |which| attribute(device, which).map_err(failed);
    let major = of(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
    let minor = of(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
    Ok(Gpu {
        // SAFETY: the last byte is zero, whatever the driver wrote before it.
        name: unsafe { CStr::from_ptr(name.as_ptr()) }.to_string_lossy().into_owned(),
        capability: major * 10 + minor,
        n_multiprocessors: of(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
        memory_bytes: memory_bytes as u64,
    })
}

impl Cuda {
    /// Opens the first GPU.
    ///
    /// # Errors
    /// If there is none.
    pub(super) fn open() -> Result<Arc<Cuda>, String> {
        let device = first()?;
        let failed =
            |failure: Failure| format!("NVIDIA's driver opens no context (CUDA error {})", failure.code);
        let mut context = ptr::null_mut();
        // SAFETY: the device is there; the context is given back when this is dropped.
        checked(unsafe { sys::cuDevicePrimaryCtxRetain(&raw mut context, device) }).map_err(failed)?;
        let mut cuda = Cuda { device, context, stream: ptr::null_mut() };
        cuda.enter().map_err(failed)?;
        /// `CU_STREAM_NON_BLOCKING`: not held up by what others do on the default stream.
        const NON_BLOCKING: u32 = 1;
        // SAFETY: the context is the thread's; the stream is destroyed when this is dropped.
        checked(unsafe { sys::cuStreamCreate(&raw mut cuda.stream, NON_BLOCKING) }).map_err(failed)?;
        Ok(Arc::new(cuda))
    }

    /// Makes the context this thread's.
    pub(super) fn enter(&self) -> Result<(), Failure> {
        // SAFETY: the context lives as long as this.
        checked(unsafe { sys::cuCtxSetCurrent(self.context) })
    }

    /// The stream, for TensorRT and for copies.
    pub(super) fn stream(&self) -> *mut c_void {
        self.stream.cast()
    }

    /// Whether the GPU's memory is the machine's, as on a Jetson.
    pub(super) fn is_integrated(&self) -> Result<bool, Failure> {
        Ok(attribute(self.device, CUdevice_attribute::CU_DEVICE_ATTRIBUTE_INTEGRATED)? != 0)
    }

    /// Bytes of device memory that are free, and of all.
    pub(super) fn free_and_all_bytes(&self) -> Result<(usize, usize), Failure> {
        self.enter()?;
        let (mut free, mut all) = (0, 0);
        // SAFETY: both addresses are of integers.
        checked(unsafe { sys::cuMemGetInfo_v2(&raw mut free, &raw mut all) })?;
        Ok((free, all))
    }

    /// Memory for TensorRT, by its address.
    pub(super) fn allocate(&self, n_bytes: usize) -> Result<u64, Failure> {
        self.enter()?;
        let mut address = 0;
        // SAFETY: the context is the thread's; whoever has the address frees it.
        checked(unsafe { sys::cuMemAlloc_v2(&raw mut address, n_bytes) })?;
        Ok(address)
    }

    /// Frees what [`Cuda::allocate`] gave.
    pub(super) fn free(&self, address: u64) -> Result<(), Failure> {
        self.enter()?;
        // SAFETY: the driver checks that the address is one that it gave.
        checked(unsafe { sys::cuMemFree_v2(address) })
    }

    /// Waits for everything that was asked for.
    pub(super) fn wait(&self) -> Result<(), Failure> {
        self.enter()?;
        // SAFETY: the stream lives as long as this.
        checked(unsafe { sys::cuStreamSynchronize(self.stream) })
    }

    /// Waits for everything in the context, whatever stream it is on.
    pub(super) fn wait_for_all(&self) -> Result<(), Failure> {
        self.enter()?;
        // SAFETY: the context is the thread's.
        checked(unsafe { sys::cuCtxSynchronize() })
    }

    /// Records what `ask` asks the stream for, without doing it; nothing if it cannot be recorded.
    pub(super) fn record(self: &Arc<Self>, ask: impl FnOnce() -> bool) -> Option<Recorded> {
        self.enter().ok()?;
        let (mut graph, mut runnable) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: the stream lives; recording is ended whatever `ask` says; the graph is destroyed once, what runs it by its owner.
        unsafe {
            let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
            checked(sys::cuStreamBeginCapture_v2(self.stream, mode)).ok()?;
            let is_asked = ask();
            let ended = checked(sys::cuStreamEndCapture(self.stream, &raw mut graph));
            if graph.is_null() {
                return None;
            }
            let made = checked(sys::cuGraphInstantiateWithFlags(&raw mut runnable, graph, 0));
            let _ = sys::cuGraphDestroy(graph);
            if made.is_err() {
                return None;
            }
            let recorded = Recorded { runnable, cuda: Arc::clone(self) };
            (is_asked && ended.is_ok()).then_some(recorded)
        }
    }
}

impl Drop for Cuda {
    fn drop(&mut self) {
        if self.enter().is_ok() && !self.stream.is_null() {
            // SAFETY: made in `open`, destroyed once.
            let _ = unsafe { sys::cuStreamDestroy_v2(self.stream) };
        }
        // SAFETY: retained in `open`, released once.
        let _ = unsafe { sys::cuDevicePrimaryCtxRelease_v2(self.device) };
    }
}

/// A run that was recorded.
#[derive(Debug)]
pub(super) struct Recorded {
    runnable: sys::CUgraphExec,
    cuda: Arc<Cuda>,
}

// SAFETY: as of contexts.
unsafe impl Send for Recorded {}

impl Recorded {
    /// Asks for it.
    pub(super) fn launch(&self) -> Result<(), Failure> {
        self.cuda.enter()?;
        // SAFETY: both live.
        checked(unsafe { sys::cuGraphLaunch(self.runnable, self.cuda.stream) })
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        if self.cuda.enter().is_ok() {
            // SAFETY: made by `record`, destroyed once.
            let _ = unsafe { sys::cuGraphExecDestroy(self.runnable) };
        }
    }
}
