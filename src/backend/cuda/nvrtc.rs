//! NVRTC: compiles a kernel's text for one GPU architecture. The library is opened when it is needed.
//!
//! Source: NVIDIA's NVRTC documentation (CUDA 12 and 13); only its C interface of nine functions is used.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;
use std::ptr;

use libloading::Library;

use super::{Kernel, caused};

/// Why a kernel was not compiled.
#[derive(Debug, thiserror::Error)]
pub enum NvrtcError {
    /// No library.
    #[error(
        "NVRTC was not found ({tried}): it comes with the CUDA toolkit (package cuda-nvrtc-12-6 on JetPack 6, \
         cuda-nvrtc-13-0 on JetPack 7); name its file in PERIHELION_NVRTC if it lies elsewhere"
    )]
    NotFound {
        /// What was tried, with the loader's reason.
        tried: String,
    },
    /// A library without one of the functions.
    #[error("{path} is no NVRTC of CUDA 11.1 or later: {cause}")]
    NotNvrtc {
        /// The file.
        path: String,
        /// The loader's reason.
        cause: String,
    },
    /// The library refused.
    #[error("NVRTC could not compile {kernel} for {architecture}: {cause}{log}")]
    Refused {
        /// Which kernel.
        kernel: String,
        /// Which architecture.
        architecture: String,
        /// The library's word.
        cause: String,
        /// The library's own lines, each on a line of its own.
        log: String,
    },
}

type Program = *mut c_void;
type Ends = unsafe extern "C" fn(Program, *mut c_char) -> c_int;
type Measures = unsafe extern "C" fn(Program, *mut usize) -> c_int;

/// The library, opened. Its functions stay valid as long as it is.
#[derive(Debug)]
pub struct Nvrtc {
    path: String,
    version: unsafe extern "C" fn(*mut c_int, *mut c_int) -> c_int,
    error_string: unsafe extern "C" fn(c_int) -> *const c_char,
    create: unsafe extern "C" fn(
        *mut Program,
        *const c_char,
        *const c_char,
        c_int,
        *const *const c_char,
        *const *const c_char,
    ) -> c_int,
    compile: unsafe extern "C" fn(Program, c_int, *const *const c_char) -> c_int,
    destroy: unsafe extern "C" fn(*mut Program) -> c_int,
    log_size: Measures,
    log: Ends,
    cubin_size: Measures,
    cubin: Ends,
    _library: Library,
}

/// Names under which systems have it, newest first.
const NAMES: [&str; 3] = ["libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"];

impl Nvrtc {
    /// Opens the file that `PERIHELION_NVRTC` names, or the first of the names that systems have it under.
    ///
    /// # Errors
    /// If there is none, or it is something else.
    pub fn find() -> Result<Nvrtc, NvrtcError> {
        if let Some(path) = std::env::var_os("PERIHELION_NVRTC") {
            return Self::open(Path::new(&path));
        }
        let mut tried = Vec::new();
        for name in NAMES {
            match Self::open(Path::new(name)) {
                Err(NvrtcError::NotFound { tried: reason }) => tried.push(reason),
                found => return found,
            }
        }
        Err(NvrtcError::NotFound { tried: tried.join("; ") })
    }

    /// Opens one file, or a name that the system's loader knows.
    ///
    /// # Errors
    /// If it cannot be opened or lacks a function.
    pub fn open(path: &Path) -> Result<Nvrtc, NvrtcError> {
        // SAFETY: opening runs the library's own initialisers; which library that is, is the user's and the system's choice.
        let library = unsafe { Library::new(path) }
            .map_err(|e| NvrtcError::NotFound { tried: format!("{}: {}", path.display(), caused(&e)) })?;
        let path = path.display().to_string();
        let missing = |e: libloading::Error| NvrtcError::NotNvrtc { path: path.clone(), cause: caused(&e) };
        macro_rules! function {
            ($name:literal) => {
                // SAFETY: the signature is that of NVRTC's documentation, which has not changed since CUDA 11.1.
                *unsafe { library.get($name) }.map_err(missing)?
            };
        }
        Ok(Nvrtc {
            version: function!(b"nvrtcVersion\0"),
            error_string: function!(b"nvrtcGetErrorString\0"),
            create: function!(b"nvrtcCreateProgram\0"),
            compile: function!(b"nvrtcCompileProgram\0"),
            destroy: function!(b"nvrtcDestroyProgram\0"),
            log_size: function!(b"nvrtcGetProgramLogSize\0"),
            log: function!(b"nvrtcGetProgramLog\0"),
            cubin_size: function!(b"nvrtcGetCUBINSize\0"),
            cubin: function!(b"nvrtcGetCUBIN\0"),
            path: path.clone(),
            _library: library,
        })
    }

    /// The file, as it was opened.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Its version.
    #[must_use]
    pub fn version(&self) -> (i32, i32) {
        let (mut major, mut minor) = (0, 0);
        // SAFETY: both addresses are of integers that live through the call.
        unsafe { (self.version)(&mut major, &mut minor) };
        (major, minor)
    }

    /// Compiles a kernel to machine code for an architecture: 87 for Orin, 110 for Thor.
    ///
    /// Multiplications and additions stay apart, so that results are those of the same text on the host.
    ///
    /// # Errors
    /// With the library's own lines.
    pub fn compile(&self, kernel: &Kernel, sm: u32) -> Result<Vec<u8>, NvrtcError> {
        let architecture = format!("sm_{sm}");
        let refused = |status: c_int, log: String| {
            // SAFETY: the library gives a text of its own for every status.
            let cause = unsafe { CStr::from_ptr((self.error_string)(status)) }.to_string_lossy().into_owned();
            NvrtcError::Refused {
                kernel: kernel.name.to_owned(),
                architecture: architecture.clone(),
                cause,
                log,
            }
        };
        let source = CString::new(kernel.source()).expect("our sources hold no zeros");
        let name = CString::new(format!("{}.cu", kernel.name)).expect("nor do our names");
        let mut program = Owned { program: ptr::null_mut(), nvrtc: self };
        // SAFETY: the texts live until after the program is destroyed; no headers are given.
        let status = unsafe {
            (self.create)(&mut program.program, source.as_ptr(), name.as_ptr(), 0, ptr::null(), ptr::null())
        };
        if status != 0 {
            return Err(refused(status, String::new()));
        }
        let options = [
            CString::new(format!("--gpu-architecture={architecture}")).expect("a number holds no zeros"),
            c"--std=c++17".to_owned(),
            c"--fmad=false".to_owned(),
        ];
        let options: Vec<*const c_char> = options.iter().map(|option| option.as_ptr()).collect();
        // SAFETY: the program is alive, and so are the options.
        let status = unsafe { (self.compile)(program.program, options.len() as c_int, options.as_ptr()) };
        if status != 0 {
            let log = program.bytes(self.log_size, self.log).unwrap_or_default();
            let log = String::from_utf8_lossy(log.strip_suffix(b"\0").unwrap_or(&log)).into_owned();
            return Err(refused(status, format!("\n{}", log.trim_end())));
        }
        program.bytes(self.cubin_size, self.cubin).map_err(|status| refused(status, String::new()))
    }
}

/// A program that is destroyed when it is dropped.
struct Owned<'a> {
    program: Program,
    nvrtc: &'a Nvrtc,
}

impl Owned<'_> {
    fn bytes(&self, size: Measures, get: Ends) -> Result<Vec<u8>, c_int> {
        let mut n_bytes = 0;
        // SAFETY: the program is alive, the address that of an integer.
        let status = unsafe { size(self.program, &mut n_bytes) };
        if status != 0 {
            return Err(status);
        }
        let mut bytes = vec![0u8; n_bytes];
        // SAFETY: the library writes as many bytes as it has just said.
        match unsafe { get(self.program, bytes.as_mut_ptr().cast()) } {
            0 => Ok(bytes),
            status => Err(status),
        }
    }
}

impl Drop for Owned<'_> {
    fn drop(&mut self) {
        if !self.program.is_null() {
            // SAFETY: it is alive and nobody has it after this.
            unsafe { (self.nvrtc.destroy)(&mut self.program) };
        }
    }
}
