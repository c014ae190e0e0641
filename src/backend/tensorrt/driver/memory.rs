//! The memory of a session: an arena on the device, and pinned memory of the host that the device reaches by itself.
//!
//! What was asked of the device may read and write it at any time until it was waited for. So this knows whether something was asked
//! for, lets nobody look until it is done, and waits before it frees anything.
#![expect(unsafe_code, reason = "C functions, and memory of the driver's")]

use std::ffi::c_void;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use cudarc::driver::sys;

use super::cuda::{Cuda, checked};
use crate::backend::tensorrt::session::{Failure, Place, Space};

/// See the module.
#[derive(Debug)]
pub(super) struct Memories {
    /// On the device.
    address: u64,
    device_bytes: usize,
    /// Of the host.
    pointer: NonNull<u8>,
    host_bytes: usize,
    /// Of the host, as the device knows it.
    host_address: u64,
    /// Whether something was asked for that was not waited for.
    is_busy: bool,
    cuda: Arc<Cuda>,
}

// SAFETY: it owns both memories alone, and the driver frees them from any thread.
unsafe impl Send for Memories {}

impl Memories {
    /// So many bytes of zeros of either.
    ///
    /// # Errors
    /// What the driver says.
    pub(super) fn new(cuda: &Arc<Cuda>, device_bytes: usize, host_bytes: usize) -> Result<Memories, Failure> {
        /// `CU_MEMHOSTALLOC_DEVICEMAP`.
        const ON_DEVICE_TOO: u32 = 2;
        let address = cuda.allocate(device_bytes.max(1))?;
        let mut memory: *mut c_void = ptr::null_mut();
        // SAFETY: the context is the thread's; what is allocated is freed when this is dropped, or below.
        let pinned =
            checked(unsafe { sys::cuMemHostAlloc(&raw mut memory, host_bytes.max(1), ON_DEVICE_TOO) });
        let pointer = match (pinned, NonNull::new(memory.cast::<u8>())) {
            (Ok(()), Some(pointer)) => pointer,
            (pinned, _) => {
                let _ = cuda.free(address);
                return Err(pinned.err().unwrap_or(Failure { code: 2, is_lasting: false }));
            }
        };
        let (host_address, is_busy, cuda) = (0, false, Arc::clone(cuda));
        let mut made = Memories { address, device_bytes, pointer, host_bytes, host_address, is_busy, cuda };
        // SAFETY: as many bytes of either as were allocated; the context is the thread's, and clearing is done when it returns.
        unsafe {
            checked(sys::cuMemHostGetDevicePointer_v2(&raw mut made.host_address, memory, 0))?;
            ptr::write_bytes(made.pointer.as_ptr(), 0, host_bytes);
            if device_bytes != 0 {
                checked(sys::cuMemsetD8_v2(address, 0, device_bytes))?;
            }
            checked(sys::cuCtxSynchronize())?;
        }
        Ok(made)
    }

    /// The address of so many bytes, as the device knows them.
    pub(super) fn address(&self, place: Place, n_bytes: usize) -> u64 {
        let (begin, len) = match place.space {
            Space::Device => (self.address, self.device_bytes),
            Space::Host => (self.host_address, self.host_bytes),
        };
        assert!(place.offset <= len && n_bytes <= len - place.offset, "a session stays within its claim");
        begin + place.offset as u64
    }

    /// Says that the device is about to be asked for something.
    pub(super) fn will_be_asked(&mut self) {
        self.is_busy = true;
    }

    /// Asks for a copy.
    pub(super) fn copy(&mut self, from: Place, to: Place, n_bytes: usize) -> Result<(), Failure> {
        let (from, to) = (self.address(from, n_bytes), self.address(to, n_bytes));
        self.cuda.enter()?;
        self.is_busy = true;
        // SAFETY: both are within these memories, which nobody looks at or frees before the stream was waited for.
        checked(unsafe { sys::cuMemcpyAsync(to, from, n_bytes, self.cuda.stream().cast()) })
    }

    /// Waits for everything that was asked for.
    pub(super) fn wait(&mut self) -> Result<(), Failure> {
        let waited = self.cuda.wait();
        // What fails and stays ends the process; any other failure is of work that is over.
        self.is_busy = false;
        waited
    }

    /// The host's.
    pub(super) fn host(&self) -> &[u8] {
        assert!(!self.is_busy, "a session waits before it looks");
        // SAFETY: allocated and cleared in `new`; the device has been waited for.
        unsafe { std::slice::from_raw_parts(self.pointer.as_ptr(), self.host_bytes) }
    }

    /// The host's.
    pub(super) fn host_mut(&mut self) -> &mut [u8] {
        assert!(!self.is_busy, "a session waits before it looks");
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.pointer.as_ptr(), self.host_bytes) }
    }

    /// Puts bytes on the device, at once.
    pub(super) fn store(&mut self, offset: usize, bytes: &[u8]) -> Result<(), Failure> {
        let to = self.address(Place { space: Space::Device, offset }, bytes.len());
        if bytes.is_empty() {
            return Ok(());
        }
        self.cuda.enter()?;
        // SAFETY: within the arena; the call returns when the bytes were read.
        checked(unsafe { sys::cuMemcpyHtoD_v2(to, bytes.as_ptr().cast(), bytes.len()) })?;
        // From memory that is not pinned it may return before they are there.
        self.cuda.wait_for_all()
    }

    /// Gets bytes from the device, at once.
    pub(super) fn fetch(&self, offset: usize, out: &mut [u8]) -> Result<(), Failure> {
        let from = self.address(Place { space: Space::Device, offset }, out.len());
        if out.is_empty() {
            return Ok(());
        }
        self.cuda.enter()?;
        // SAFETY: within the arena; the call returns when the bytes were written.
        checked(unsafe { sys::cuMemcpyDtoH_v2(out.as_mut_ptr().cast(), from, out.len()) })
    }
}

impl Drop for Memories {
    fn drop(&mut self) {
        // Also after a failure: memory is not freed under a run.
        let _ = self.cuda.wait();
        let _ = self.cuda.free(self.address);
        // SAFETY: allocated in `new`, freed once.
        let _ = unsafe { sys::cuMemFreeHost(self.pointer.as_ptr().cast()) };
    }
}
