//! A device that is memory of the host: what plans would compute is evaluated from their layers.
//!
//! It is as strict as a GPU is careless. Work is done when it is waited for and not before, so that what is looked at too early is
//! seen to be old; memory that was promised nothing is no numbers; a tensor that is not aligned, or is written where another of the
//! same plan is read, ends the run.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use perihelion::backend::BackendError;
use perihelion::backend::tensorrt::{
    Claim, Constant, Device, Element, Failure, Layers, Library, Network, Place, RecordedTensor, Space,
};

use crate::evaluate::{Numbers, Value, evaluate};
use crate::narrow;

/// What a device was asked for, for tests to look at.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record(Arc<Mutex<Asked>>);

#[derive(Debug, Default)]
pub(crate) struct Asked {
    pub copied_bytes: usize,
    pub n_copies: usize,
    pub n_launches: usize,
    /// Where tensors stand, by plan and tensor.
    pub bound: HashMap<(usize, usize), Place>,
    /// Given at the next wait, once.
    pub failure: Option<Failure>,
}

impl Record {
    pub(crate) fn with<T>(&self, see: impl FnOnce(&mut Asked) -> T) -> T {
        see(&mut self.0.lock().unwrap())
    }
}

struct Plan {
    layers: Layers,
    tensors: Option<Vec<RecordedTensor>>,
    constants: HashMap<String, Value>,
    /// Of a row of each output.
    row_bytes: Vec<usize>,
    /// By tensor: inputs, then outputs.
    bound: Vec<Option<Place>>,
    rows: Vec<usize>,
}

enum Work {
    Copy { from: Place, to: Place, n_bytes: usize },
    Launch { plan: usize, bound: Vec<Option<Place>>, rows: Vec<usize> },
}

/// See the module. A plan's bytes are its layers as JSON.
pub(crate) struct Host {
    /// What the layers are told to first, and read back from.
    library: Option<Library>,
    shares_memory: bool,
    record: Record,
    plans: Vec<Plan>,
    work: Vec<Work>,
    device: Vec<u64>,
    host: Vec<u64>,
    scratch: Range<usize>,
}

/// Of a plan that does not need any: enough to see that it is left alone.
const SCRATCH_BYTES: usize = 1000;

pub(crate) fn plan_of(layers: &Layers) -> Vec<u8> {
    serde_json::to_vec(layers).unwrap()
}

impl Host {
    pub(crate) fn new(library: Option<Library>, shares_memory: bool, record: &Record) -> Box<Host> {
        let (plans, work, device, host) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let record = record.clone();
        Box::new(Host { library, shares_memory, record, plans, work, device, host, scratch: 0..0 })
    }

    fn bytes(&self, space: Space) -> &[u8] {
        bytemuck::cast_slice(if space == Space::Device { &self.device } else { &self.host })
    }

    fn bytes_mut(&mut self, space: Space) -> &mut [u8] {
        bytemuck::cast_slice_mut(if space == Space::Device { &mut self.device } else { &mut self.host })
    }

    fn run(&mut self, plan: usize, bound: &[Option<Place>], rows: &[usize]) {
        let (layers, shares_memory) = (self.plans[plan].layers.clone(), self.shares_memory);
        let place = |tensor: usize| {
            let place =
                bound[tensor].unwrap_or_else(|| panic!("plan {plan}: tensor {tensor} stands nowhere"));
            assert!(place.offset.is_multiple_of(256), "plan {plan}: tensor {tensor} stands at {place:?}");
            assert!(place.space == Space::Device || shares_memory, "plan {plan}: {place:?} is not reached");
            place
        };
        let mut read = Vec::new();
        let mut given = Vec::new();
        for (i, input) in layers.inputs.iter().enumerate() {
            let mut shape: Vec<usize> = input.extents.iter().map(|e| e.max as usize).collect();
            if input.extents.iter().any(|e| e.varies()) {
                let n = rows[i] as i64;
                assert!((input.extents[0].min..=input.extents[0].max).contains(&n), "{n} rows of {input:?}");
                shape[0] = rows[i];
            }
            let place = place(i);
            let n_bytes = input.element.bytes_of(shape.iter().product());
            let range = place.offset..place.offset + n_bytes;
            given.push(value(input.element, shape, &self.bytes(place.space)[range.clone()]));
            read.push((place.space, range));
        }
        let Plan { tensors, constants, .. } = &self.plans[plan];
        let yielded = evaluate(&layers, tensors.as_deref(), given, constants);
        let yielded = yielded.unwrap_or_else(|why| panic!("{why}"));
        for (i, (output, value)) in layers.outputs.iter().zip(yielded).enumerate() {
            let place = place(layers.inputs.len() + i);
            let bytes = bytes_of(output.element, &value);
            let row_len: usize = value.shape.iter().skip(1).product();
            assert_eq!(
                output.element.bytes_of(row_len),
                self.plans[plan].row_bytes[i],
                "plan {plan}: {output:?}"
            );
            let range = place.offset..place.offset + bytes.len();
            let meets = |(space, other): &&(Space, Range<usize>)| {
                *space == place.space && other.start < range.end && range.start < other.end
            };
            let met = read.iter().find(meets);
            assert!(met.is_none(), "plan {plan}: output `{}` at {range:?} overwrites {met:?}", output.name);
            self.bytes_mut(place.space)[range].copy_from_slice(&bytes);
        }
    }
}

fn value(element: Element, shape: Vec<usize>, bytes: &[u8]) -> Value {
    let numbers = match element {
        Element::I32 => {
            Numbers::Wholes(bytes.as_chunks::<4>().0.iter().map(|b| i32::from_le_bytes(*b).into()).collect())
        }
        Element::F16 => Numbers::Floats(
            bytes.as_chunks::<2>().0.iter().map(|b| half::f16::from_le_bytes(*b).to_f32()).collect(),
        ),
        Element::Bf16 => Numbers::Floats(
            bytes.as_chunks::<2>().0.iter().map(|b| half::bf16::from_le_bytes(*b).to_f32()).collect(),
        ),
        Element::F32 => {
            Numbers::Floats(bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
        }
        other => panic!("{other:?} is no type of an input"),
    };
    Value { shape, numbers }
}

fn bytes_of(element: Element, value: &Value) -> Vec<u8> {
    match (element, &value.numbers) {
        (Element::I32, Numbers::Wholes(v)) => v.iter().flat_map(|v| (*v as i32).to_le_bytes()).collect(),
        (Element::F16, Numbers::Floats(v)) => {
            v.iter().flat_map(|v| half::f16::from_f32(*v).to_le_bytes()).collect()
        }
        (Element::Bf16, Numbers::Floats(v)) => {
            v.iter().flat_map(|v| half::bf16::from_f32(*v).to_le_bytes()).collect()
        }
        (Element::F32, Numbers::Floats(v)) => v.iter().flat_map(|v| v.to_le_bytes()).collect(),
        (element, numbers) => panic!("{numbers:?} is no {element:?}"),
    }
}

impl Device for Host {
    fn load(
        &mut self,
        graph: &str,
        plan: &[u8],
        expected: &Layers,
        row_bytes: &[usize],
        constants: &[Constant<'_>],
    ) -> Result<usize, BackendError> {
        let broken = |why: String| BackendError::Payload { why: format!("plan of graph `{graph}`: {why}") };
        let layers: Layers = serde_json::from_slice(plan).map_err(|why| broken(why.to_string()))?;
        if &layers != expected {
            return Err(broken("of other layers".into()));
        }
        let mut tensors = None;
        let mut told = layers;
        if let Some(library) = &self.library {
            let recorded = Network::new(library, &told)?.recorded()?;
            // Bounds are in no network: those that were told.
            let bounds = std::mem::take(&mut told.inputs);
            told = recorded.layers;
            for (input, bounds) in told.inputs.iter_mut().zip(bounds) {
                input.extents = bounds.extents;
            }
            tensors = Some(recorded.tensors);
        }
        let n_tensors = told.inputs.len() + told.outputs.len();
        self.plans.push(Plan {
            bound: vec![None; n_tensors],
            rows: vec![0; n_tensors],
            layers: told,
            row_bytes: row_bytes.to_vec(),
            tensors,
            constants: constants.iter().map(narrow::value).collect(),
        });
        Ok(SCRATCH_BYTES)
    }

    fn claim(&mut self, claim: &Claim) -> Result<(), BackendError> {
        assert!(self.device.is_empty(), "claimed twice");
        self.device = vec![0; claim.device_bytes.div_ceil(8)];
        self.host = vec![0; claim.host_bytes.div_ceil(8)];
        self.scratch = claim.scratch.clone();
        let scratch = claim.scratch.clone();
        self.bytes_mut(Space::Device)[scratch].fill(0xff);
        Ok(())
    }

    fn shares_memory(&self) -> bool {
        self.shares_memory
    }

    fn host(&self) -> &[u8] {
        assert!(self.work.is_empty(), "looked at before it was waited for");
        self.bytes(Space::Host)
    }

    fn host_mut(&mut self) -> &mut [u8] {
        assert!(self.work.is_empty(), "looked at before it was waited for");
        self.bytes_mut(Space::Host)
    }

    fn store(&mut self, offset: usize, bytes: &[u8]) -> Result<(), Failure> {
        assert!(self.work.is_empty(), "stored before it was waited for");
        self.bytes_mut(Space::Device)[offset..][..bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn fetch(&self, offset: usize, out: &mut [u8]) -> Result<(), Failure> {
        assert!(self.work.is_empty(), "fetched before it was waited for");
        out.copy_from_slice(&self.bytes(Space::Device)[offset..][..out.len()]);
        Ok(())
    }

    fn copy(&mut self, from: Place, to: Place, n_bytes: usize) -> Result<(), Failure> {
        self.record.with(|asked| {
            (asked.n_copies, asked.copied_bytes) = (asked.n_copies + 1, asked.copied_bytes + n_bytes)
        });
        self.work.push(Work::Copy { from, to, n_bytes });
        Ok(())
    }

    fn bind(&mut self, plan: usize, tensor: usize, place: Place) -> Result<(), Failure> {
        self.plans[plan].bound[tensor] = Some(place);
        self.record.with(|asked| asked.bound.insert((plan, tensor), place));
        Ok(())
    }

    fn set_rows(&mut self, plan: usize, input: usize, rows: usize) -> Result<(), Failure> {
        self.plans[plan].rows[input] = rows;
        Ok(())
    }

    fn launch(&mut self, plan: usize) -> Result<(), Failure> {
        self.record.with(|asked| asked.n_launches += 1);
        let Plan { bound, rows, .. } = &self.plans[plan];
        self.work.push(Work::Launch { plan, bound: bound.clone(), rows: rows.clone() });
        Ok(())
    }

    fn wait(&mut self) -> Result<(), Failure> {
        for work in std::mem::take(&mut self.work) {
            match work {
                Work::Copy { from, to, n_bytes } => {
                    let bytes = self.bytes(from.space)[from.offset..][..n_bytes].to_vec();
                    self.bytes_mut(to.space)[to.offset..][..n_bytes].copy_from_slice(&bytes);
                }
                Work::Launch { plan, bound, rows } => self.run(plan, &bound, &rows),
            }
        }
        let scratch = &self.bytes(Space::Device)[self.scratch.clone()];
        assert!(scratch.iter().all(|b| *b == 0xff), "something was written where plans compute");
        match self.record.with(|asked| asked.failure.take()) {
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    }
}
