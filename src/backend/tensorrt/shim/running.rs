//! The functions of `runtime.cc`, and handles that own what they make: plans that run in memory of the caller's.
#![expect(unsafe_code, reason = "C functions, and memory of TensorRT's")]

use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr::NonNull;
use std::sync::Arc;

use super::ffi::{Logging, Turn, log};
use super::opened::Opened;
use super::raw::AXES_MAX;
use crate::backend::tensorrt::layers::Constant;

type Take = extern "C" fn(*mut c_void, u64, u64) -> *mut c_void;
type Give = extern "C" fn(*mut c_void, *mut c_void) -> i32;

unsafe extern "C" {
    fn shim_runtime_new(
        create: *mut c_void,
        log: Logging,
        take: Take,
        give: Give,
        owner: *mut c_void,
    ) -> *mut c_void;
    fn shim_runtime_free(runtime: *mut c_void);
    fn shim_running_new(runtime: *mut c_void, bytes: *const u8, n_bytes: i64) -> *mut c_void;
    fn shim_running_give(
        running: *mut c_void,
        create: *mut c_void,
        log: Logging,
        name: *const c_char,
        element: i32,
        values: *const u8,
        n_elements: i64,
    ) -> i32;
    fn shim_running_start(running: *mut c_void) -> i32;
    fn shim_running_free(running: *mut c_void);
    fn shim_running_scratch_bytes(running: *mut c_void) -> i64;
    fn shim_running_set_scratch(running: *mut c_void, memory: *mut c_void, n_bytes: i64);
    fn shim_running_n_tensors(running: *mut c_void) -> i32;
    fn shim_running_tensor(
        running: *mut c_void,
        name: *const c_char,
        element: *mut i32,
        is_input: *mut i32,
        extents: *mut i64,
    ) -> i32;
    fn shim_running_rows_max(running: *mut c_void, name: *const c_char) -> i64;
    fn shim_running_set_extents(
        running: *mut c_void,
        name: *const c_char,
        n: i32,
        extents: *const i64,
    ) -> i32;
    fn shim_running_set_address(running: *mut c_void, name: *const c_char, address: *mut c_void) -> i32;
    fn shim_running_enqueue(running: *mut c_void, stream: *mut c_void) -> i32;
}

/// What gives TensorRT the device memory that it takes for itself, and takes it back.
pub(in crate::backend::tensorrt) trait Allocator: Send + Sync {
    /// The address of so many bytes, or 0.
    fn take(&self, n_bytes: u64, alignment: u64) -> u64;
    /// Takes back what it gave; whether it had.
    fn give(&self, address: u64) -> bool;
}

extern "C" fn take(owner: *mut c_void, n_bytes: u64, alignment: u64) -> *mut c_void {
    // SAFETY: the owner is the box of `Runtime`, which lives as long as TensorRT's runtime.
    let allocator = unsafe { &*owner.cast::<Box<dyn Allocator>>() };
    std::ptr::with_exposed_provenance_mut(allocator.take(n_bytes, alignment) as usize)
}

extern "C" fn give(owner: *mut c_void, memory: *mut c_void) -> i32 {
    // SAFETY: as above.
    let allocator = unsafe { &*owner.cast::<Box<dyn Allocator>>() };
    i32::from(allocator.give(memory.expose_provenance() as u64))
}

/// TensorRT's runtime. Fields are dropped after the runtime itself.
#[derive(Debug)]
pub(in crate::backend::tensorrt) struct Runtime {
    raw: NonNull<c_void>,
    /// A `Box<dyn Allocator>`, which TensorRT calls.
    owner: NonNull<Box<dyn Allocator>>,
    library: Arc<Opened>,
}

// SAFETY: TensorRT's runtime belongs to no thread. Plans are opened by one thread at a time, which has its turn; nothing else uses it.
unsafe impl Send for Runtime {}

// SAFETY: as above.
unsafe impl Sync for Runtime {}

impl Drop for Runtime {
    fn drop(&mut self) {
        // SAFETY: made by `shim_runtime_new`, freed once; then nobody calls the allocator any more, whose box was leaked once.
        unsafe {
            shim_runtime_free(self.raw.as_ptr());
            drop(Box::from_raw(self.owner.as_ptr()));
        }
    }
}

impl Runtime {
    /// A runtime of the library; or what TensorRT said. CUDA must have begun.
    pub(super) fn new(
        library: &Arc<Opened>,
        allocator: Box<dyn Allocator>,
    ) -> Result<Arc<Runtime>, Vec<String>> {
        let turn = Turn::wait();
        let create = library.address(b"createInferRuntime_INTERNAL\0").ok_or_else(Vec::new)?;
        let owner = Box::into_raw(Box::new(allocator));
        // SAFETY: the library's own function, whose version has been compared with the headers'; the owner lives until the runtime is
        // freed.
        let raw = unsafe { shim_runtime_new(create, log, take, give, owner.cast()) };
        let owner = NonNull::new(owner).expect("a box is somewhere");
        match NonNull::new(raw) {
            Some(raw) => Ok(Arc::new(Runtime { raw, owner, library: Arc::clone(library) })),
            None => {
                // SAFETY: leaked above, and given to nobody who lives.
                drop(unsafe { Box::from_raw(owner.as_ptr()) });
                Err(turn.take_lines())
            }
        }
    }
}

/// What a plan says of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::backend::tensorrt) struct TensorOfPlan {
    pub(in crate::backend::tensorrt) element: i32,
    pub(in crate::backend::tensorrt) is_input: bool,
    n: usize,
    extents: [i64; AXES_MAX],
}

impl TensorOfPlan {
    /// -1 for one that varies.
    pub(in crate::backend::tensorrt) fn extents(&self) -> &[i64] {
        &self.extents[..self.n]
    }
}

/// A plan that can be run.
#[derive(Debug)]
pub(in crate::backend::tensorrt) struct Running {
    raw: NonNull<c_void>,
    _runtime: Arc<Runtime>,
}

// SAFETY: an execution context belongs to no thread and is used by one at a time: every function that changes it takes `&mut self`. The
// runtime that it keeps alive is not used through it.
unsafe impl Send for Running {}

impl Drop for Running {
    fn drop(&mut self) {
        // SAFETY: made by `shim_running_new`, freed once, before its runtime.
        unsafe { shim_running_free(self.raw.as_ptr()) }
    }
}

impl Running {
    /// A plan's engine, which is given its constants, and its context; or what TensorRT said.
    pub(super) fn new(
        runtime: &Arc<Runtime>,
        plan: &[u8],
        constants: &[Constant<'_>],
    ) -> Result<Running, Vec<String>> {
        let turn = Turn::wait();
        // SAFETY: the runtime lives; the bytes are as many as said, and are not needed afterwards.
        let raw = unsafe { shim_running_new(runtime.raw.as_ptr(), plan.as_ptr(), plan.len() as i64) };
        let raw = NonNull::new(raw).ok_or_else(|| turn.take_lines())?;
        let running = Running { raw, _runtime: Arc::clone(runtime) };
        for Constant { name, element, dims, bytes } in constants {
            let no_refitter = || vec!["the library gives plans no weights when they are opened".to_owned()];
            let create =
                runtime.library.address(b"createInferRefitter_INTERNAL\0").ok_or_else(no_refitter)?;
            let n_elements: i64 = dims.iter().product();
            assert_eq!(bytes.len(), element.bytes_of(n_elements as usize), "as many as its elements take");
            let own = CString::new(name.replace('\0', "\u{fffd}")).expect("replaced");
            let values = bytes.as_ptr();
            // SAFETY: the handle lives; the library's own function, of the headers' version; the bytes are as many as elements of that type
            // take, and stay until the plan was started below.
            let taken = unsafe {
                shim_running_give(
                    raw.as_ptr(),
                    create,
                    log,
                    own.as_ptr(),
                    *element as i32,
                    values,
                    n_elements,
                )
            };
            if taken == 0 {
                return Err([vec![format!("it did not take `{name}`")], turn.take_lines()].concat());
            }
        }
        // SAFETY: the handle lives, and so do all constants.
        if unsafe { shim_running_start(raw.as_ptr()) } == 0 {
            return Err(turn.take_lines());
        }
        Ok(running)
    }

    /// Bytes of device memory that it computes in.
    pub(in crate::backend::tensorrt) fn scratch_bytes(&self) -> usize {
        // SAFETY: the handle lives.
        usize::try_from(unsafe { shim_running_scratch_bytes(self.raw.as_ptr()) }).unwrap_or(0)
    }

    /// Gives it that memory, which must be the device's, as much as it asks for, and stay.
    pub(in crate::backend::tensorrt) fn set_scratch(&mut self, address: u64, n_bytes: usize) {
        // SAFETY: the handle lives; what TensorRT does with the address is done on the device.
        unsafe { shim_running_set_scratch(self.raw.as_ptr(), pointer(address), n_bytes as i64) }
    }

    /// How many inputs and outputs it has.
    pub(in crate::backend::tensorrt) fn n_tensors(&self) -> usize {
        // SAFETY: the handle lives.
        usize::try_from(unsafe { shim_running_n_tensors(self.raw.as_ptr()) }).unwrap_or(0)
    }

    /// What it says of an input or output, if it has one of this name.
    pub(in crate::backend::tensorrt) fn tensor(&self, name: &CStr) -> Option<TensorOfPlan> {
        let (mut element, mut is_input, mut extents) = (0, 0, [0; AXES_MAX]);
        let out = (&raw mut element, &raw mut is_input, extents.as_mut_ptr());
        // SAFETY: the handle lives; there is room for as many extents as TensorRT lets a tensor have.
        let n = unsafe { shim_running_tensor(self.raw.as_ptr(), name.as_ptr(), out.0, out.1, out.2) };
        let n = usize::try_from(n).ok().filter(|n| *n <= AXES_MAX)?;
        Some(TensorOfPlan { element, is_input: is_input != 0, n, extents })
    }

    /// The most rows that an input may have; -1 if TensorRT does not tell.
    pub(in crate::backend::tensorrt) fn rows_max(&self, name: &CStr) -> i64 {
        // SAFETY: the handle lives.
        unsafe { shim_running_rows_max(self.raw.as_ptr(), name.as_ptr()) }
    }

    /// The extents of an input from the next run on; whether they are within its bounds.
    pub(in crate::backend::tensorrt) fn set_extents(&mut self, name: &CStr, extents: &[i64]) -> bool {
        assert!(extents.len() <= AXES_MAX, "an input that was loaded has no more");
        let n = extents.len() as i32;
        // SAFETY: the handle lives, and TensorRT copies the extents.
        0 != unsafe { shim_running_set_extents(self.raw.as_ptr(), name.as_ptr(), n, extents.as_ptr()) }
    }

    /// Where a tensor stands from the next run on; whether it can.
    pub(in crate::backend::tensorrt) fn set_address(&mut self, name: &CStr, address: u64) -> bool {
        // SAFETY: the handle lives; the address is read on the device, where whoever runs the plan has as much memory as it takes.
        0 != unsafe { shim_running_set_address(self.raw.as_ptr(), name.as_ptr(), pointer(address)) }
    }

    /// Asks for a run on a stream, a `CUstream` that lives; whether it was taken.
    pub(in crate::backend::tensorrt) fn enqueue(&mut self, stream: *mut c_void) -> bool {
        // SAFETY: the handle lives, and so does the stream.
        0 != unsafe { shim_running_enqueue(self.raw.as_ptr(), stream) }
    }
}

/// An address of the device, which no pointer of this program's comes from.
fn pointer(address: u64) -> *mut c_void {
    std::ptr::with_exposed_provenance_mut(address as usize)
}
