//! TensorRT's library where it lies, and the beginning of CUDA's.
#![expect(unsafe_code, reason = "libraries that are opened at run time")]

use std::ffi::c_void;
use std::path::Path;

use crate::backend::cuda::caused;

/// An opened library, nothing of which has been called but its version.
#[derive(Debug)]
pub(super) struct Opened {
    library: libloading::Library,
}

impl Opened {
    pub(super) fn open(path: &Path) -> Result<Opened, String> {
        // SAFETY: it runs the library's initialisers, which is what whoever names a library asks for.
        let library = unsafe { libloading::Library::new(path) }.map_err(|why| caused(&why))?;
        Ok(Opened { library })
    }

    /// `getInferLibVersion`, if it is such a library.
    pub(super) fn version(&self) -> Option<i32> {
        type Version = unsafe extern "C" fn() -> i32;
        // SAFETY: the function of that name has had this type in every TensorRT.
        let version = unsafe { self.library.get::<Version>(b"getInferLibVersion\0") }.ok()?;
        // SAFETY: the same.
        Some(unsafe { version() })
    }

    pub(super) fn address(&self, name: &[u8]) -> Option<*mut c_void> {
        // SAFETY: an address, which is not read here.
        unsafe { self.library.get::<*mut c_void>(name) }.ok().map(|symbol| *symbol)
    }
}

/// Whether CUDA's driver is there and has begun: before any TensorRT that wants a GPU, since one without answers with garbage.
///
/// # Errors
/// What is missing.
pub(super) fn start_cuda() -> Result<(), String> {
    type Init = unsafe extern "C" fn(u32) -> i32;
    // SAFETY: the driver's library and its function of that name, which takes 0 and may be called any number of times.
    let code = unsafe {
        let driver = libloading::Library::new("libcuda.so.1").map_err(|why| caused(&why))?;
        let init = driver.get::<Init>(b"cuInit\0").map_err(|why| caused(&why))?;
        let code = init(0);
        // It stays loaded: what it started must not lose its code.
        std::mem::forget(driver);
        code
    };
    if code == 0 { Ok(()) } else { Err(format!("cuInit answers {code}")) }
}
