//! A session that runs graphs by their layers: what a TensorRT session does with plans, on the CPU.

use std::collections::HashMap;

use perihelion::backend::reference::Reference;
use perihelion::backend::tensorrt::{
    Layers, Library, Lowered, Network as InTensorRt, RecordedTensor, Rules, Sink, Source, lower,
};
use perihelion::backend::{Elements, Memory, Run, RunError, Session};
use perihelion::graph::{BufferId, GraphId, Network, Symbol, Weights};
use perihelion::tensor::DType;

use crate::evaluate::{Numbers, Value, evaluate};
use crate::narrow;

/// A graph's layers, as lowered or as TensorRT recorded them.
pub(crate) struct Plan {
    pub lowered: Lowered,
    pub layers: Layers,
    tensors: Option<Vec<RecordedTensor>>,
    placed: HashMap<String, Value>,
}

impl Plan {
    pub(crate) fn lowered(lowered: Lowered) -> Plan {
        Plan { layers: lowered.layers.clone(), lowered, tensors: None, placed: HashMap::new() }
    }

    /// The layers that TensorRT says that it has, once it was told these.
    pub(crate) fn recorded(lowered: Lowered, library: &Library) -> Result<Plan, String> {
        let network = InTensorRt::new(library, &lowered.layers).map_err(|why| why.to_string())?;
        let recorded = network.recorded().map_err(|why| why.to_string())?;
        let tensors = Some(recorded.tensors);
        Ok(Plan { lowered, layers: recorded.layers, tensors, placed: HashMap::new() })
    }
}

/// Buffers in a reference session; runs by layers.
pub(crate) struct Evaluated<'a> {
    network: &'a Network,
    weights: &'a dyn Weights,
    buffers: Reference<'a>,
    pub plans: Vec<Plan>,
    /// Why the last run failed.
    pub why: Option<String>,
}

impl<'a> Evaluated<'a> {
    /// All graphs of a network, lowered by rules and read back from a library if there is one.
    pub(crate) fn new(
        network: &'a Network,
        weights: &'a dyn Weights,
        rules: impl Into<Rules>,
        library: Option<&Library>,
    ) -> Result<Self, String> {
        let rules = rules.into();
        let plan = |graph| {
            let lowered = lower(network, graph, rules.clone()).map_err(|why| why.to_string())?;
            let placed = narrow::placed(&lowered, weights);
            let plan = match library {
                Some(library) => Plan::recorded(lowered, library)?,
                None => Plan::lowered(lowered),
            };
            Ok::<Plan, String>(Plan { placed, ..plan })
        };
        let plans = network.graphs.iter().map(plan).collect::<Result<_, _>>()?;
        Ok(Evaluated { network, weights, buffers: Reference::new(network, weights), plans, why: None })
    }

    fn source(&mut self, source: &Source, run: &Run<'_>) -> Result<Value, RunError> {
        let (buffer, row, n_rows) = match source {
            Source::Weight { id, order } => return Ok(self.weight(*id, order)),
            Source::Rows { buffer, rows } => (*buffer, window(run, *buffer), rows.value(run.extents)),
            Source::Past { cache, rows } => (*cache, 0, rows.value(run.extents)),
            Source::Extent(symbol) => return Ok(Value::wholes(&[1], vec![extent(run, *symbol) as i64])),
            Source::Cache(cache) => {
                let [rows, groups, dim] = self.network.buffers[cache.index()].shape[..] else {
                    unreachable!("verified: three axes")
                };
                let mut values = vec![0.0; rows * groups * dim];
                self.buffers.read(*cache, 0, &mut values)?;
                return Ok(Value::floats(&[1, groups, rows, dim], exchanged(&values, [rows, groups, dim])));
            }
        };
        let declared = &self.network.buffers[buffer.index()];
        let mut shape = declared.shape.clone();
        shape[0] = n_rows;
        if declared.dtype == DType::I32 {
            let values = self.buffers.input_i32(buffer, row, n_rows)?.iter().map(|v| i64::from(*v));
            return Ok(Value::wholes(&shape, values.collect()));
        }
        let mut values = vec![0.0; shape.iter().product()];
        self.buffers.read(buffer, row, &mut values)?;
        Ok(Value::floats(&shape, values))
    }

    fn weight(&self, id: perihelion::graph::WeightId, order: &[u8]) -> Value {
        let view = self.weights.weight(id);
        if view.dtype == DType::I32 {
            let values = view.bytes.as_chunks::<4>().0.iter().map(|b| i32::from_le_bytes(*b).into());
            return Value::wholes(&view.shape, values.collect());
        }
        let (shape, values) = (&view.shape, view.to_f32());
        if order.is_empty() {
            return Value::floats(shape, values);
        }
        let order: Vec<usize> = order.iter().map(|a| usize::from(*a)).collect();
        let mut places = vec![0];
        for axis in &order {
            let stride = shape[axis + 1..].iter().product::<usize>();
            places = places.iter().flat_map(|p| (0..shape[*axis]).map(move |k| p + k * stride)).collect();
        }
        let turned: Vec<usize> = order.iter().map(|axis| shape[*axis]).collect();
        Value::floats(&turned, places.into_iter().map(|p| values[p]).collect())
    }

    fn compute(&mut self, graph: GraphId, run: &Run<'_>) -> Result<(), RunError> {
        let sources = self.plans[graph.index()].lowered.sources.clone();
        let given: Vec<Value> =
            sources.iter().map(|source| self.source(source, run)).collect::<Result<_, _>>()?;
        let plan = &self.plans[graph.index()];
        let names = plan.lowered.layers.inputs.iter().map(|input| &input.name);
        assert!(names.eq(plan.layers.inputs.iter().map(|input| &input.name)), "inputs keep their order");
        let outputs = match evaluate(&plan.layers, plan.tensors.as_deref(), given, &plan.placed) {
            Ok(outputs) => outputs,
            Err(why) => {
                self.why = Some(format!("graph `{}`: {why}", self.network.graphs[graph.index()].name));
                return Err(RunError::Device(-1));
            }
        };
        let sinks = plan.lowered.sinks.clone();
        for (sink, value) in sinks.iter().zip(outputs) {
            let (buffer, row) = match sink {
                Sink::Rows(buffer) => (*buffer, window(run, *buffer)),
                Sink::Append(cache, past) => (*cache, extent(run, *past)),
                Sink::InPlace(cache) => {
                    let ([1, groups, rows, dim], Numbers::Floats(v)) = (&value.shape[..], &value.numbers)
                    else {
                        return Err(RunError::Type(*cache));
                    };
                    let rows = exchanged(v, [*groups, *rows, *dim]);
                    self.buffers.write(*cache, 0, Elements::F32(&rows))?;
                    continue;
                }
            };
            if value.shape[1..] != self.network.buffers[buffer.index()].shape[1..] {
                self.why = Some(format!("rows of {:?} for buffer {}", value.shape, buffer.0));
                return Err(RunError::Type(buffer));
            }
            match value.numbers {
                Numbers::Floats(v) => self.buffers.write(buffer, row, Elements::F32(&v))?,
                Numbers::Wholes(v) => {
                    let v: Vec<i32> = v.iter().map(|n| *n as i32).collect();
                    self.buffers.write(buffer, row, Elements::I32(&v))?;
                }
                Numbers::Truths(_) => return Err(RunError::Type(buffer)),
            }
        }
        Ok(())
    }
}

fn extent(run: &Run<'_>, symbol: Symbol) -> usize {
    run.extents[usize::from(symbol.0)]
}

/// `[a, b, c]` as `[b, a, c]`.
fn exchanged(x: &[f32], [a, b, c]: [usize; 3]) -> Vec<f32> {
    let row = |i: usize, j: usize| x[(i * b + j) * c..][..c].iter().copied();
    (0..b).flat_map(|j| (0..a).flat_map(move |i| row(i, j))).collect()
}

fn window(run: &Run<'_>, buffer: BufferId) -> usize {
    run.windows.iter().find(|(id, _)| *id == buffer).map_or(0, |(_, row)| *row)
}

impl Session for Evaluated<'_> {
    fn network(&self) -> &Network {
        self.network
    }

    fn input(&mut self, buffer: BufferId, row: usize, n_rows: usize) -> Result<&mut [f32], RunError> {
        self.buffers.input(buffer, row, n_rows)
    }

    fn input_i32(&mut self, buffer: BufferId, row: usize, n_rows: usize) -> Result<&mut [i32], RunError> {
        self.buffers.input_i32(buffer, row, n_rows)
    }

    fn view(&self, buffer: BufferId, row: usize, n_rows: usize) -> Result<&[f32], RunError> {
        self.buffers.view(buffer, row, n_rows)
    }

    fn write(&mut self, buffer: BufferId, row: usize, elements: Elements<'_>) -> Result<(), RunError> {
        self.buffers.write(buffer, row, elements)
    }

    fn read(&self, buffer: BufferId, row: usize, out: &mut [f32]) -> Result<(), RunError> {
        self.buffers.read(buffer, row, out)
    }

    fn run(&mut self, graph: GraphId, run: &Run<'_>) -> Result<(), RunError> {
        self.compute(graph, run)
    }

    fn looks_ms_max(&self) -> Option<u32> {
        None
    }

    fn memory(&self) -> Memory {
        self.buffers.memory()
    }
}
