//! TensorRT's library and its networks, as the rest of the crate uses them.

use std::collections::HashMap;
use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::ffi::{Building, can_open, check_structs, has, header_version, print_log};
use super::opened::{Opened, start_cuda};
use super::raw::{RawAxes, Role, TensorSeen};
use super::running::{Allocator, Running, Runtime};
use super::translate::{element, from_raw, to_raw, yields_two};
use super::{Recorded, RecordedTensor, Target};
use crate::backend::BackendError;
use crate::backend::tensorrt::layers::{
    Constant, Element, Extent, Input, Kind, Layer, Layers, Output, Tensor,
};

/// Names the library, or the folder that it lies in.
const PLACE: &str = "PERIHELION_TENSORRT";

/// An opened library of the version of the headers that this program was built with.
#[derive(Clone, Debug)]
pub struct Library {
    opened: Arc<Opened>,
    version: String,
    is_rtx: bool,
}

impl Library {
    /// Opens the library at a place, or else where `PERIHELION_TENSORRT` says (a file or its folder), or else by its name wherever the
    /// system looks.
    ///
    /// # Errors
    /// If there is none, or it is of another version than the headers.
    pub fn open(place: Option<&Path>) -> Result<Library, BackendError> {
        let ([major, minor], is_rtx) = header_version();
        let name =
            if is_rtx { format!("libtensorrt_rtx.so.{major}") } else { format!("libnvinfer.so.{major}") };
        check_structs();
        let named = || std::env::var_os(PLACE).filter(|place| !place.is_empty());
        let place = place.map(Path::to_owned).or_else(|| named().map(PathBuf::from));
        let path = match place {
            Some(folder) if folder.is_dir() => folder.join(&name),
            Some(file) => file,
            None => PathBuf::from(&name),
        };
        let unusable = |why: String| BackendError::Unavailable { name: "tensorrt", why };
        let opened = Opened::open(&path).map_err(|why| {
            unusable(format!("{why}; {PLACE} names the folder of {name}, as a package of TensorRT brings it"))
        })?;
        let found = opened.version().ok_or_else(|| {
            unusable(format!("{} is no library of TensorRT: it lacks getInferLibVersion", path.display()))
        })?;
        let (found_major, found_minor) = (found / 10_000, found / 100 % 100);
        // RTX's classes change with every minor version; TensorRT's grow at their ends within a major one.
        let fits = found_major == major && if is_rtx { found_minor == minor } else { minor <= found_minor };
        if !fits {
            return Err(unusable(format!(
                "{} is version {found_major}.{found_minor}, this program was built with the headers of {major}.{minor}; \
                 install that version, or build with this one's headers in TENSORRT_INCLUDE_DIR",
                path.display()
            )));
        }
        let product = if is_rtx { "TensorRT-RTX" } else { "TensorRT" };
        let version = format!("{product} {found_major}.{found_minor}.{}", found % 100);
        Ok(Library { opened: Arc::new(opened), version, is_rtx })
    }

    /// Name and version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// From now on this process prints what TensorRT says, as it says it.
    pub(in crate::backend::tensorrt) fn print_log(&self) {
        print_log();
    }

    /// Its runtime, which takes device memory from the allocator. CUDA must have begun.
    ///
    /// # Errors
    /// What TensorRT says.
    pub(in crate::backend::tensorrt) fn runtime(
        &self,
        allocator: Box<dyn Allocator>,
    ) -> Result<Arc<Runtime>, BackendError> {
        Runtime::new(&self.opened, allocator).map_err(|said| BackendError::Unavailable {
            name: "tensorrt",
            why: format!("{} makes no runtime: {}", self.version, joined(&said)),
        })
    }

    /// A plan with the constants that it waits for, to be run on the GPU of this machine.
    ///
    /// # Errors
    /// What TensorRT says.
    pub(in crate::backend::tensorrt) fn running(
        &self,
        runtime: &Arc<Runtime>,
        graph: &str,
        plan: &[u8],
        constants: &[Constant<'_>],
    ) -> Result<Running, BackendError> {
        Running::new(runtime, plan, constants).map_err(|said| {
            let (n_bytes, version, said) = (plan.len(), &self.version, joined(&said));
            let why =
                format!("{version} does not open the plan of graph `{graph}` ({n_bytes} bytes): {said}");
            BackendError::Payload { why }
        })
    }

    /// Whether it is TensorRT-RTX.
    pub(in crate::backend::tensorrt) fn is_rtx(&self) -> bool {
        self.is_rtx
    }

    /// Whether it makes plans that wait for constants.
    pub(in crate::backend::tensorrt) fn takes_placeholders(&self) -> bool {
        to_raw(&Kind::Placeholder { element: Element::I8, dims: vec![1] }).is_ok_and(|raw| has(&raw))
    }

    /// Whether a plan can be opened on this machine.
    ///
    /// # Errors
    /// Why not: with TensorRT's own words, or that there is no GPU.
    pub fn can_open(&self, plan: &[u8]) -> Result<(), BackendError> {
        // RTX looks at a plan before it looks for a GPU; without one, TensorRT's runtime is not to be touched.
        if !self.is_rtx {
            start_cuda().map_err(|why| BackendError::Unavailable {
                name: "tensorrt",
                why: format!("there is no NVIDIA driver to open a plan with: {why}"),
            })?;
        }
        can_open(&self.opened, plan).map_err(|said| BackendError::Payload {
            why: format!(
                "{} does not open this plan of {} bytes: {}",
                self.version,
                plan.len(),
                joined(&said)
            ),
        })
    }
}

/// A network in TensorRT.
#[derive(Debug)]
pub struct Network {
    building: Building,
    inputs: Vec<Input>,
}

impl Network {
    /// Tells TensorRT of a network, layer by layer.
    ///
    /// It waits while another thread has one, since TensorRT tells of all of them in one log.
    ///
    /// # Errors
    /// Which layer it refuses, in its own words.
    ///
    /// # Panics
    /// If this thread has one already.
    pub fn new(library: &Library, layers: &Layers) -> Result<Network, BackendError> {
        Self::with(library, layers, |_| None)
    }

    /// As [`new`](Self::new), with the bytes of placeholders: those that have some become part of the plan. TensorRT before 11.3 takes
    /// no others.
    ///
    /// # Errors
    /// The same; also if the bytes of one are not as many as it has.
    ///
    /// # Panics
    /// The same.
    pub fn with(
        library: &Library,
        layers: &Layers,
        placed: impl Fn(&str) -> Option<Vec<u8>>,
    ) -> Result<Network, BackendError> {
        layers.check().map_err(unsupported)?;
        let mut building = Building::new(&library.opened).map_err(|said| BackendError::Unavailable {
            name: "tensorrt",
            why: format!("{} makes no builder: {}", library.version, joined(&said)),
        })?;
        // By the lowering's tensor, the building's.
        let mut places: Vec<Option<usize>> = vec![None; layers.n_tensors as usize];
        // A name that one axis alone has says nothing, and TensorRT-RTX 1.7 has been seen to stumble over one.
        let mut n_named: HashMap<&str, usize> = HashMap::new();
        for name in layers.inputs.iter().flat_map(|i| &i.extents).filter_map(|e| e.name.as_deref()) {
            *n_named.entry(name).or_default() += 1;
        }
        for input in &layers.inputs {
            let dims = input.extents.iter().map(|e| if e.varies() { -1 } else { e.min });
            let dims = RawAxes::new(dims).map_err(unsupported)?;
            let added = building.add_input(&c_string(&input.name), input.element as i32, &dims);
            let place = added.ok_or_else(|| refused(&building, &format!("input `{}`", input.name)))?;
            for (axis, extent) in input.extents.iter().enumerate() {
                if let Some(name) = extent.name.as_deref().filter(|name| extent.varies() && 1 < n_named[name])
                {
                    building.name_axis(place, axis, &c_string(name));
                }
            }
            places[input.tensor.index()] = Some(place);
        }
        let place_of = |places: &[Option<usize>], tensor: Tensor| {
            places[tensor.index()].expect("layers stand in an order in which they can be computed")
        };
        for layer in &layers.layers {
            let given = given(layer, &placed).map_err(unsupported)?;
            let kind = given.as_ref().unwrap_or(&layer.kind);
            let raw = to_raw(kind).map_err(unsupported)?;
            if !has(&raw) {
                let why = format!("{} has no layer such as `{}` ({kind:?})", library.version, layer.name);
                return Err(unsupported(why));
            }
            let inputs: Vec<usize> = layer.inputs.iter().map(|t| place_of(&places, *t)).collect();
            let added =
                building.add_layer(raw, kind.bytes(), (&inputs, kind.arity()), &c_string(&layer.name));
            let what = || format!("layer `{}` ({:?})", layer.name, layer.kind);
            let (first, second) = added.ok_or_else(|| refused(&building, &what()))?;
            places[layer.output.index()] = Some(first);
            if let Some(tensor) = layer.second {
                places[tensor.index()] = Some(second.ok_or_else(|| refused(&building, &what()))?);
            }
        }
        for output in &layers.outputs {
            building.mark_output(place_of(&places, output.tensor), &c_string(&output.name));
        }
        let said = building.said();
        if said.iter().any(|line| leaves_out(line)) {
            return Err(unsupported(format!("TensorRT leaves out part of the network: {}", joined(&said))));
        }
        Ok(Network { building, inputs: layers.inputs.clone() })
    }

    /// What TensorRT says that it was told, by its own getters.
    ///
    /// # Errors
    /// If it has a layer that is none of the lowering's.
    pub fn recorded(&self) -> Result<Recorded, BackendError> {
        let mut recorded = Recorded { layers: Layers::default(), tensors: Vec::new() };
        let mut known: HashMap<usize, Tensor> = HashMap::new();
        let mut keep = |tensors: &mut Vec<RecordedTensor>, seen: &TensorSeen| {
            let tensor = *known.entry(seen.address).or_insert(Tensor(tensors.len() as u32));
            if tensor.index() == tensors.len() {
                let element = element(seen.element).map_err(unsupported)?;
                tensors.push(RecordedTensor { element, dims: seen.dims.clone() });
            }
            Ok::<Tensor, BackendError>(tensor)
        };
        let there = |seen: Option<TensorSeen>, what: &str| {
            seen.ok_or_else(|| unsupported(format!("TensorRT's network lacks {what}")))
        };
        let [n_layers, n_inputs, n_outputs] = self.building.counts();
        for i in 0..n_inputs {
            let seen = there(self.building.input(i), "an input")?;
            let tensor = keep(&mut recorded.tensors, &seen)?;
            let extents = seen.dims.iter().map(|n| match n {
                -1 => Extent { min: 0, max: i64::MAX, name: None },
                n => Extent { min: *n, max: *n, name: None },
            });
            let element = recorded.tensors[tensor.index()].element;
            let extents = extents.collect();
            recorded.layers.inputs.push(Input { name: seen.name, element, extents, tensor });
        }
        for i in 0..n_layers {
            let seen = self.building.read_layer(i);
            let foreign =
                |why: &str| unsupported(format!("layer `{}` of TensorRT's network: {why}", seen.name));
            match seen.role {
                Role::Known => {}
                Role::Beginning => continue,
                Role::Foreign => return Err(foreign("none that this program adds")),
            }
            let mut inputs = Vec::new();
            for k in 0..seen.n_inputs {
                // A layer has places for inputs that it may do without, all behind those that it has.
                let Some(tensor) = self.building.layer_input(i, k) else { break };
                inputs.push(keep(&mut recorded.tensors, &tensor)?);
            }
            let mut output = |k| {
                let seen = there(self.building.layer_output(i, k), "an output of a layer")?;
                keep(&mut recorded.tensors, &seen)
            };
            let second = yields_two(seen.raw.kind).then(|| output(1)).transpose()?;
            let output = output(0)?;
            let n_elements = usize::try_from(seen.raw.n_elements).unwrap_or(0);
            let n_bytes = element(seen.raw.element).map_or(0, |e| e.bytes_of(n_elements));
            let bytes = self.building.bytes(&seen, n_bytes);
            let kind = from_raw(&seen.raw, bytes, inputs.len()).map_err(|why| foreign(&why))?;
            recorded.layers.layers.push(Layer { name: seen.name.clone(), kind, inputs, output, second });
        }
        for i in 0..n_outputs {
            let seen = there(self.building.output(i), "an output")?;
            let tensor = keep(&mut recorded.tensors, &seen)?;
            let element = recorded.tensors[tensor.index()].element;
            recorded.layers.outputs.push(Output { name: seen.name, element, tensor });
        }
        recorded.layers.n_tensors = recorded.tensors.len() as u32;
        Ok(recorded)
    }

    /// Has a plan made of it, which may take minutes.
    ///
    /// # Errors
    /// What TensorRT cannot do, in its own words; also if it says that it leaves an input out.
    pub fn plan(&mut self, target: &Target) -> Result<Vec<u8>, BackendError> {
        /// `ComputeCapability::kCURRENT`.
        const CURRENT: i32 = 1;
        let capabilities = match target {
            Target::Current => vec![CURRENT],
            Target::Capabilities(all) => all.clone(),
        };
        match (self.building.target(&capabilities), target) {
            (Some(true), _) | (None, Target::Current) => {}
            (Some(false), _) => {
                let said = joined(&self.building.said());
                return Err(BackendError::Target {
                    why: format!("TensorRT does not build for {target}: {said}"),
                });
            }
            (None, Target::Capabilities(_)) => {
                return Err(BackendError::Target {
                    why: format!(
                        "this TensorRT builds for the GPU of its own machine, not for {target}: build there, or with TensorRT-RTX"
                    ),
                });
            }
        }
        let mut bounds = Vec::new();
        for input in self.inputs.iter().filter(|input| input.extents.iter().any(Extent::varies)) {
            let of = |pick: fn(&Extent) -> i64| RawAxes::new(input.extents.iter().map(pick));
            let [min, max] = [of(|e| e.min).map_err(unsupported)?, of(|e| e.max).map_err(unsupported)?];
            bounds.push((c_string(&input.name), [min, max, max]));
        }
        let bounds: Vec<_> = bounds.iter().map(|(name, dims)| (name.as_c_str(), *dims)).collect();
        if !bounds.is_empty() && !self.building.profile(&bounds) {
            return Err(refused(&self.building, "the bounds of the inputs"));
        }
        let plan = self.building.build();
        let said = self.building.said();
        match plan {
            Some(_) if said.iter().any(|line| leaves_out(line)) => {
                Err(unsupported(format!("TensorRT would leave out part of the network: {}", joined(&said))))
            }
            Some(plan) => Ok(plan),
            None => Err(unsupported(format!("TensorRT makes no plan of it: {}", joined(&said)))),
        }
    }
}

/// A placeholder as a constant, if there are bytes for it.
fn given(layer: &Layer, placed: impl Fn(&str) -> Option<Vec<u8>>) -> Result<Option<Kind>, String> {
    let Kind::Placeholder { element, dims } = &layer.kind else { return Ok(None) };
    let Some(bytes) = placed(&layer.name) else { return Ok(None) };
    let expected = element.bytes_of(dims.iter().product::<i64>() as usize);
    if bytes.len() != expected {
        return Err(format!("`{}` is given {} bytes, expected {expected}", layer.name, bytes.len()));
    }
    Ok(Some(Kind::Constant { element: *element, dims: dims.clone(), bytes }))
}

/// Whether a line says that something of the network does not count.
fn leaves_out(line: &str) -> bool {
    line.to_lowercase().contains("unused input")
}

fn refused(building: &Building, what: &str) -> BackendError {
    unsupported(format!("TensorRT refuses {what}: {}", joined(&building.said())))
}

fn unsupported(why: impl Into<String>) -> BackendError {
    BackendError::Unsupported { why: why.into() }
}

fn joined(said: &[String]) -> String {
    if said.is_empty() { "it does not say why".into() } else { said.join(" · ") }
}

/// A name without what ends a C string.
fn c_string(name: &str) -> CString {
    CString::new(name.replace('\0', "�")).expect("replaced above")
}

#[cfg(test)]
#[test]
fn a_line_that_leaves_an_input_out_is_seen() {
    assert!(leaves_out("[W] Unused Input: nonpad_kv_seqlen"));
    assert!(!leaves_out("Using default timing cache"));
}
