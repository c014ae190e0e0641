//! The functions of `shim.cc`, `layers.cc` and `read.cc`, and handles that own what they make.
//!
//! Values are indices into the handle that made them, so that none outlives it; a constant's bytes live as long as the
//! handle; every list is as long as TensorRT lets it be.
#![expect(unsafe_code, reason = "C functions, and memory of TensorRT's")]

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_void};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::opened::Opened;
use super::raw::{LayerSeen, RawAxes, RawLayer, RawTensor, Role, TensorSeen};

pub(super) type Logging = extern "C" fn(i32, *const c_char);

unsafe extern "C" {
    safe fn shim_header_major() -> i32;
    safe fn shim_header_minor() -> i32;
    safe fn shim_header_is_rtx() -> i32;
    safe fn shim_struct_bytes() -> i64;
    safe fn shim_has(kind: i32) -> i32;
    fn shim_building_new(create: *mut c_void, log: Logging) -> *mut c_void;
    fn shim_building_free(building: *mut c_void);
    fn shim_add_input(b: *mut c_void, name: *const c_char, element: i32, dims: *const RawAxes)
    -> *mut c_void;
    fn shim_name_axis(tensor: *mut c_void, axis: i32, name: *const c_char);
    fn shim_add_layer(
        b: *mut c_void,
        layer: *const RawLayer,
        inputs: *const *mut c_void,
        n_inputs: i32,
        name: *const c_char,
        second: *mut *mut c_void,
    ) -> *mut c_void;
    fn shim_mark_output(b: *mut c_void, tensor: *mut c_void, name: *const c_char);
    fn shim_n_layers(b: *mut c_void) -> i32;
    fn shim_n_inputs(b: *mut c_void) -> i32;
    fn shim_n_outputs(b: *mut c_void) -> i32;
    fn shim_read_layer(
        b: *mut c_void,
        i: i32,
        out: *mut RawLayer,
        n_inputs: *mut i32,
        name: *mut *const c_char,
    ) -> i32;
    fn shim_layer_input(b: *mut c_void, i: i32, k: i32, out: *mut RawTensor);
    fn shim_layer_output(b: *mut c_void, i: i32, k: i32, out: *mut RawTensor);
    fn shim_input(b: *mut c_void, i: i32, out: *mut RawTensor);
    fn shim_output(b: *mut c_void, i: i32, out: *mut RawTensor);
    fn shim_target(b: *mut c_void, n: i32, capabilities: *const i32) -> i32;
    fn shim_profile(b: *mut c_void) -> *mut c_void;
    fn shim_profile_dims(
        profile: *mut c_void,
        name: *const c_char,
        min: *const RawAxes,
        opt: *const RawAxes,
        max: *const RawAxes,
    ) -> i32;
    fn shim_add_profile(b: *mut c_void, profile: *mut c_void) -> i32;
    fn shim_build(b: *mut c_void) -> *mut c_void;
    fn shim_plan_data(plan: *mut c_void) -> *const u8;
    fn shim_plan_bytes(plan: *mut c_void) -> i64;
    fn shim_plan_free(plan: *mut c_void);
    fn shim_can_open(create: *mut c_void, log: Logging, bytes: *const u8, n_bytes: i64) -> i32;
}

/// The version of the headers, `[major, minor]`, and whether they are TensorRT-RTX's.
pub(super) fn header_version() -> ([i32; 2], bool) {
    ([shim_header_major(), shim_header_minor()], shim_header_is_rtx() != 0)
}

/// Whether the TensorRT of the headers has layers of a kind.
pub(super) fn has(layer: &RawLayer) -> bool {
    shim_has(layer.kind) != 0
}

/// Checks that the structs of `shim.h` are those of `raw.rs`.
///
/// # Panics
/// If they are not: a mistake of whoever changed one of them.
pub(super) fn check_structs() {
    let ours = (size_of::<RawLayer>() * 1000 + size_of::<RawTensor>()) as i64;
    assert_eq!(shim_struct_bytes(), ours, "the structs of shim.h are the ones of raw.rs");
}

/// What TensorRT says, warnings and worse, while somebody has his turn.
static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());
/// Lines kept; a library that fails says the cause first.
const LINES_MAX: usize = 1000;
/// Whether it is also printed as it is said, so that a process that TensorRT takes down has said it.
static PRINTS: AtomicBool = AtomicBool::new(false);

/// From now on this process prints what TensorRT says.
pub(super) fn print_log() {
    PRINTS.store(true, Relaxed);
}

pub(super) extern "C" fn log(severity: i32, line: *const c_char) {
    const WARNING: i32 = 2;
    if severity <= WARNING && PRINTS.load(Relaxed) {
        eprintln!("{}", text(line).trim());
    }
    if severity <= WARNING
        && let Ok(mut lines) = LINES.lock()
        && lines.len() < LINES_MAX
    {
        lines.push(text(line).trim().to_owned());
    }
}

/// TensorRT has one logger in a process, so whoever wants to know what is said of his own must be alone.
#[derive(Debug)]
pub(super) struct Turn(#[expect(dead_code, reason = "held")] MutexGuard<'static, ()>);

static TURNS: Mutex<()> = Mutex::new(());
thread_local!(static HAS_TURN: Cell<bool> = const { Cell::new(false) });

impl Turn {
    /// Waits for it.
    ///
    /// # Panics
    /// If this thread has it, and would wait for itself.
    pub(super) fn wait() -> Turn {
        assert!(!HAS_TURN.get(), "a thread has one network of TensorRT's at a time");
        let turn = TURNS.lock().unwrap_or_else(PoisonError::into_inner);
        HAS_TURN.set(true);
        let turn = Turn(turn);
        turn.take_lines();
        turn
    }

    pub(super) fn take_lines(&self) -> Vec<String> {
        std::mem::take(&mut *LINES.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        HAS_TURN.set(false);
    }
}

/// A network under construction. Fields are dropped after the network itself.
#[derive(Debug)]
pub(super) struct Building {
    raw: NonNull<c_void>,
    tensors: Vec<NonNull<c_void>>,
    /// The bytes of constants, which TensorRT does not copy.
    constants: Vec<Box<[u8]>>,
    turn: Turn,
    _library: Arc<Opened>,
}

impl Drop for Building {
    fn drop(&mut self) {
        // SAFETY: made by `shim_building_new`, freed once.
        unsafe { shim_building_free(self.raw.as_ptr()) }
    }
}

impl Building {
    /// Nothing yet; or what TensorRT said.
    pub(super) fn new(library: &Arc<Opened>) -> Result<Building, Vec<String>> {
        let turn = Turn::wait();
        let create = library.address(b"createInferBuilder_INTERNAL\0").ok_or_else(Vec::new)?;
        // SAFETY: the library's own function, whose version has been compared with the headers'.
        let raw = unsafe { shim_building_new(create, log) };
        let raw = NonNull::new(raw).ok_or_else(|| turn.take_lines())?;
        let (tensors, constants) = (Vec::new(), Vec::new());
        Ok(Building { raw, tensors, constants, turn, _library: Arc::clone(library) })
    }

    /// Warnings and errors since the last time.
    pub(super) fn said(&self) -> Vec<String> {
        self.turn.take_lines()
    }

    fn keep(&mut self, tensor: *mut c_void) -> Option<usize> {
        self.tensors.push(NonNull::new(tensor)?);
        Some(self.tensors.len() - 1)
    }

    pub(super) fn add_input(&mut self, name: &CStr, element: i32, dims: &RawAxes) -> Option<usize> {
        // SAFETY: the handle lives, and TensorRT copies names and dims.
        let tensor = unsafe { shim_add_input(self.raw.as_ptr(), name.as_ptr(), element, dims) };
        self.keep(tensor)
    }

    pub(super) fn name_axis(&mut self, tensor: usize, axis: usize, name: &CStr) {
        // SAFETY: the tensor is of this network, and TensorRT copies the name and checks the axis.
        unsafe { shim_name_axis(self.tensors[tensor].as_ptr(), axis as i32, name.as_ptr()) }
    }

    /// A layer, with the bytes if it is a constant: what it yields, and what it yields beside that; or nothing, and then the log says
    /// why.
    pub(super) fn add_layer(
        &mut self,
        mut layer: RawLayer,
        bytes: &[u8],
        (inputs, arity): (&[usize], (usize, usize)),
        name: &CStr,
    ) -> Option<(usize, Option<usize>)> {
        assert!(arity.0 <= inputs.len() && inputs.len() <= arity.1, "layers have been checked");
        let constant: Box<[u8]> = bytes.into();
        layer.bytes = constant.as_ptr().cast();
        self.constants.push(constant);
        let inputs: Vec<*mut c_void> = inputs.iter().map(|i| self.tensors[*i].as_ptr()).collect();
        let (of, n) = (inputs.as_ptr(), inputs.len() as i32);
        let (mut second, name) = (ptr::null_mut(), name.as_ptr());
        // SAFETY: as many inputs of this network as the kind takes; the bytes live as long as it.
        let tensor =
            unsafe { shim_add_layer(self.raw.as_ptr(), &raw const layer, of, n, name, &raw mut second) };
        let first = self.keep(tensor)?;
        Some((first, self.keep(second)))
    }

    pub(super) fn mark_output(&mut self, tensor: usize, name: &CStr) {
        // SAFETY: the tensor is of this network.
        unsafe { shim_mark_output(self.raw.as_ptr(), self.tensors[tensor].as_ptr(), name.as_ptr()) }
    }

    /// Layers, inputs and outputs: how many there are.
    pub(super) fn counts(&self) -> [usize; 3] {
        // SAFETY: the handle lives.
        let counts = unsafe {
            let b = self.raw.as_ptr();
            [shim_n_layers(b), shim_n_inputs(b), shim_n_outputs(b)]
        };
        counts.map(|n| usize::try_from(n).unwrap_or(0))
    }

    pub(super) fn read_layer(&self, i: usize) -> LayerSeen {
        assert!(i < self.counts()[0]);
        let (mut raw, mut n_inputs, mut name) = (RawLayer::default(), 0, ptr::null());
        // SAFETY: there is such a layer; the shim fills all three.
        let role = unsafe {
            shim_read_layer(self.raw.as_ptr(), i as i32, &raw mut raw, &raw mut n_inputs, &raw mut name)
        };
        LayerSeen {
            raw,
            role: match role {
                0 => Role::Foreign,
                2 => Role::Beginning,
                _ => Role::Known,
            },
            name: text(name),
            n_inputs: usize::try_from(n_inputs).unwrap_or(0),
        }
    }

    /// The bytes of a constant that this network has told of; none if it was given none.
    pub(super) fn bytes(&self, layer: &LayerSeen, n_bytes: usize) -> Option<&[u8]> {
        let start = layer.raw.bytes.addr();
        let kept = self.constants.iter().find(|c| c.as_ptr().addr() == start && n_bytes <= c.len());
        kept.map(|c| &c[..n_bytes])
    }

    pub(super) fn layer_input(&self, i: usize, k: usize) -> Option<TensorSeen> {
        assert!(i < self.counts()[0]);
        // SAFETY: there is such a layer; an input that it lacks is described as none.
        self.seen(|b, out| unsafe { shim_layer_input(b, i as i32, k as i32, out) })
    }

    pub(super) fn layer_output(&self, i: usize, k: usize) -> Option<TensorSeen> {
        assert!(i < self.counts()[0]);
        // SAFETY: there is such a layer; an output that it lacks is described as none.
        self.seen(|b, out| unsafe { shim_layer_output(b, i as i32, k as i32, out) })
    }

    pub(super) fn input(&self, i: usize) -> Option<TensorSeen> {
        assert!(i < self.counts()[1]);
        // SAFETY: there is such an input.
        self.seen(|b, out| unsafe { shim_input(b, i as i32, out) })
    }

    pub(super) fn output(&self, i: usize) -> Option<TensorSeen> {
        assert!(i < self.counts()[2]);
        // SAFETY: there is such an output.
        self.seen(|b, out| unsafe { shim_output(b, i as i32, out) })
    }

    fn seen(&self, fill: impl FnOnce(*mut c_void, *mut RawTensor)) -> Option<TensorSeen> {
        let (element, is_there, dims) = (0, 0, RawAxes::NONE);
        let mut raw = RawTensor { tensor: ptr::null(), name: ptr::null(), element, is_there, dims };
        fill(self.raw.as_ptr(), &raw mut raw);
        (raw.is_there != 0).then(|| TensorSeen {
            address: raw.tensor.addr(),
            name: text(raw.name),
            element: raw.element,
            dims: raw.dims.list().into(),
        })
    }

    /// For which GPUs: whether they were taken, or none where this TensorRT builds for its own alone.
    pub(super) fn target(&mut self, capabilities: &[i32]) -> Option<bool> {
        let n = capabilities.len() as i32;
        // SAFETY: the handle lives, and the list is as long as said.
        match unsafe { shim_target(self.raw.as_ptr(), n, capabilities.as_ptr()) } {
            -1 => None,
            taken => Some(taken != 0),
        }
    }

    /// The bounds of inputs by name: smallest, most likely, largest; whether they were taken.
    pub(super) fn profile(&mut self, inputs: &[(&CStr, [RawAxes; 3])]) -> bool {
        // SAFETY: the handle lives, owns the profile, and copies names and dims.
        unsafe {
            let profile = shim_profile(self.raw.as_ptr());
            !profile.is_null()
                && inputs.iter().all(|(name, [min, opt, max])| {
                    shim_profile_dims(profile, name.as_ptr(), min, opt, max) != 0
                })
                && 0 <= shim_add_profile(self.raw.as_ptr(), profile)
        }
    }

    /// The plan; or nothing, and then the log says why.
    pub(super) fn build(&mut self) -> Option<Vec<u8>> {
        // SAFETY: the handle lives; the plan's memory is copied before it is freed, once.
        unsafe {
            let plan = shim_build(self.raw.as_ptr());
            if plan.is_null() {
                return None;
            }
            let n_bytes = usize::try_from(shim_plan_bytes(plan)).unwrap_or(0);
            let bytes = std::slice::from_raw_parts(shim_plan_data(plan), n_bytes).to_vec();
            shim_plan_free(plan);
            Some(bytes)
        }
    }
}

/// Whether the library can open a plan on this machine; if not, what it said.
pub(super) fn can_open(library: &Opened, bytes: &[u8]) -> Result<(), Vec<String>> {
    let turn = Turn::wait();
    let create = library.address(b"createInferRuntime_INTERNAL\0").ok_or_else(Vec::new)?;
    // SAFETY: the library's own function, whose version has been compared with the headers'; the bytes are as many as said.
    let is_open = unsafe { shim_can_open(create, log, bytes.as_ptr(), bytes.len() as i64) } != 0;
    if is_open { Ok(()) } else { Err(turn.take_lines()) }
}

fn text(name: *const c_char) -> String {
    if name.is_null() {
        return String::new();
    }
    // SAFETY: a name of TensorRT's, a C string that lives as long as what it names.
    unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned()
}
