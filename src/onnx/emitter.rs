//! A graph of ONNX under construction: nodes, constants and names.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;

use super::Opset;
use super::data::{Layout, WEIGHTS_FILE};
use super::interface::{Interface, Port};
use super::proto::{
    AttributeProto, DimensionProto, EXTERNAL, GraphProto, INT64, NodeProto, StringStringEntryProto,
    TensorProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto, data_type,
};
use crate::graph::{Dim, Graph, Network, Node, ValueId, WeightId};
use crate::tensor::DType;

/// What was emitted once and is used again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Once {
    /// A weight as it is stored.
    Stored(WeightId),
    /// A weight in f32.
    Widened(WeightId),
    /// The transpose of a matrix, in f32.
    Turned(WeightId),
    /// A constant that lies in the graph, by type, extents and bytes.
    Constant(i32, Vec<i64>, Vec<u8>),
    /// The extents of an input.
    Shape(String),
    /// An extent, `[1]`.
    Extent(Dim),
    /// Cosines (true) or sines of a rotary table, with axes in front.
    Half(ValueId, bool),
    /// What a token may not see, added to its scores: for so many tokens after so many others.
    Mask(Dim, Dim),
}

/// A graph under construction.
pub(super) struct Emitter<'a> {
    pub(super) network: &'a Network,
    pub(super) graph: &'a Graph,
    pub(super) interface: &'a Interface,
    pub(super) opset: Opset,
    layout: &'a Layout,
    /// What names of nodes begin with.
    scope: String,
    names: HashSet<String>,
    once: HashMap<Once, String>,
    /// The names of the graph's values that are done.
    values: Vec<String>,
    emitted: GraphProto,
}

impl<'a> Emitter<'a> {
    pub(super) fn new(
        network: &'a Network,
        graph: &'a Graph,
        interface: &'a Interface,
        layout: &'a Layout,
        opset: Opset,
    ) -> Self {
        let ports = interface.inputs.iter().chain(&interface.outputs);
        Emitter {
            network,
            graph,
            interface,
            opset,
            layout,
            scope: String::new(),
            names: ports.map(|port| port.name.clone()).collect(),
            once: HashMap::new(),
            values: Vec::with_capacity(graph.nodes.len()),
            emitted: GraphProto { name: Some(graph.name.clone()), ..GraphProto::default() },
        }
    }

    /// What the following nodes belong to.
    pub(super) fn enter(&mut self, i: usize, node: &Node) {
        let weight = node.op.weights().next().map(|w| &self.network.weights[w.id.index()].name);
        self.scope = match weight {
            Some(name) => name.strip_suffix(".weight").unwrap_or(name).to_owned(),
            None => format!("{}.{i}", node.op.name()),
        };
    }

    /// The value of the next node of the graph is there under this name.
    pub(super) fn done(&mut self, name: String, node: &Node) {
        // Inputs say their shapes themselves.
        if !self.interface.inputs.iter().any(|port| port.name == name) {
            self.emitted.value_info.push(self.value_info(&name, node.dtype, &node.shape, None));
        }
        self.values.push(name);
    }

    pub(super) fn value(&self, id: ValueId) -> String {
        self.values[id.index()].clone()
    }

    pub(super) fn shape(&self, id: ValueId) -> &'a [Dim] {
        &self.graph.nodes[id.index()].shape
    }

    /// Emits a node of one output, which bears its name.
    pub(super) fn add<S: AsRef<str>>(
        &mut self,
        op: &str,
        inputs: &[S],
        attributes: Vec<AttributeProto>,
    ) -> String {
        let name = self.unique(&format!("{}/{op}", self.scope));
        self.push(op, inputs, attributes, name)
    }

    fn push<S: AsRef<str>>(
        &mut self,
        op: &str,
        inputs: &[S],
        attribute: Vec<AttributeProto>,
        name: String,
    ) -> String {
        self.emitted.node.push(NodeProto {
            input: inputs.iter().map(|input| input.as_ref().to_owned()).collect(),
            output: vec![name.clone()],
            name: Some(name.clone()),
            op_type: Some(op.to_owned()),
            attribute,
        });
        name
    }

    /// What `make` emits, emitted once.
    pub(super) fn once(&mut self, key: Once, make: impl FnOnce(&mut Self) -> String) -> String {
        let Ok(name) = self.try_once(key, |e| Ok::<_, Infallible>(make(e)));
        name
    }

    /// As [`once`](Self::once), of what may not be there.
    pub(super) fn try_once<E>(
        &mut self,
        key: Once,
        make: impl FnOnce(&mut Self) -> Result<String, E>,
    ) -> Result<String, E> {
        if let Some(name) = self.once.get(&key) {
            return Ok(name.clone());
        }
        let name = make(self)?;
        self.once.insert(key, name.clone());
        Ok(name)
    }

    /// A weight as it is stored.
    pub(super) fn stored(&mut self, id: WeightId) -> String {
        self.once(Once::Stored(id), |e| {
            let weight = &e.network.weights[id.index()];
            let name = e.unique(&weight.name);
            let place = e.layout.place(id);
            let entry = |key: &str, value: String| StringStringEntryProto::new(key, value);
            e.emitted.initializer.push(TensorProto {
                dims: place.shape.iter().map(|n| *n as i64).collect(),
                data_type: Some(data_type(weight.dtype)),
                name: Some(name.clone()),
                raw_data: None,
                external_data: vec![
                    entry("location", WEIGHTS_FILE.to_owned()),
                    entry("offset", place.offset.to_string()),
                    entry("length", place.bytes.to_string()),
                ],
                data_location: Some(EXTERNAL),
            });
            name
        })
    }

    /// A weight in f32.
    pub(super) fn widened(&mut self, id: WeightId) -> String {
        let stored = self.stored(id);
        if !self.is_narrow(id) {
            return stored;
        }
        self.once(Once::Widened(id), |e| {
            let name = e.unique(&format!("{}/Cast", e.network.weights[id.index()].name));
            e.push("Cast", &[stored], vec![to_f32()], name)
        })
    }

    /// `[k, n]` of a matrix `[n, k]`.
    pub(super) fn turned(&mut self, id: WeightId) -> String {
        let matrix = self.widened(id);
        self.once(Once::Turned(id), |e| {
            let name = e.unique(&format!("{}/Transpose", e.network.weights[id.index()].name));
            e.push("Transpose", &[matrix], vec![AttributeProto::ints("perm", [1, 0])], name)
        })
    }

    /// Rows of a value made from a weight as it is stored, in f32.
    pub(super) fn widened_rows(&mut self, id: WeightId, rows: String) -> String {
        if self.is_narrow(id) { self.add("Cast", &[rows], vec![to_f32()]) } else { rows }
    }

    /// Whether a weight is stored in fewer bits than it is computed with.
    fn is_narrow(&self, id: WeightId) -> bool {
        !matches!(self.network.weights[id.index()].dtype, DType::F32 | DType::I32)
    }

    /// Whether a weight lies in the file as ONNX's convolutions want it.
    pub(super) fn is_kernel(&self, id: WeightId) -> bool {
        self.layout.place(id).is_kernel
    }

    /// A list of 64-bit integers: axes, extents, places.
    pub(super) fn i64s(&mut self, values: &[i64]) -> String {
        let names: Vec<String> = values.iter().map(i64::to_string).collect();
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.constant(INT64, vec![values.len() as i64], bytes, &format!("i64.{}", names.join("_")))
    }

    /// One 64-bit integer without axes.
    pub(super) fn scalar_i64(&mut self, value: i64) -> String {
        let bytes = value.to_le_bytes().to_vec();
        self.constant(INT64, vec![], bytes, &format!("i64.scalar.{value}"))
    }

    /// One 32-bit integer without axes.
    pub(super) fn scalar_i32(&mut self, value: i32) -> String {
        let (kind, bytes) = (data_type(DType::I32), value.to_le_bytes().to_vec());
        self.constant(kind, vec![], bytes, &format!("i32.scalar.{value}"))
    }

    /// One number without axes.
    pub(super) fn scalar(&mut self, value: f32) -> String {
        self.constant(data_type(DType::F32), vec![], value.to_le_bytes().to_vec(), &format!("f32.{value}"))
    }

    /// A list of numbers, which is part of an op.
    pub(super) fn f32s(&mut self, values: &[f32], what: &str) -> String {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let name = format!("{}/{what}", self.scope);
        self.constant(data_type(DType::F32), vec![values.len() as i64], bytes, &name)
    }

    fn constant(&mut self, kind: i32, dims: Vec<i64>, bytes: Vec<u8>, name: &str) -> String {
        self.once(Once::Constant(kind, dims.clone(), bytes.clone()), |e| {
            let name = e.unique(name);
            e.emitted.initializer.push(TensorProto {
                dims,
                data_type: Some(kind),
                name: Some(name.clone()),
                raw_data: Some(bytes),
                ..TensorProto::default()
            });
            name
        })
    }

    /// The graph, with its inputs and outputs; `doc` says what a port is for.
    pub(super) fn finish(mut self, doc: impl Fn(&Port) -> String) -> GraphProto {
        let interface = self.interface;
        for output in &interface.outputs {
            let value = self.value(output.value);
            let (op, attributes) = ("Identity", Vec::new());
            self.emitted.node.push(NodeProto {
                input: vec![value],
                output: vec![output.name.clone()],
                name: Some(format!("{}/{op}", output.name)),
                op_type: Some(op.to_owned()),
                attribute: attributes,
            });
        }
        let info = |ports: &[Port]| -> Vec<ValueInfoProto> {
            let one = |port: &Port| self.value_info(&port.name, port.dtype, &port.shape, Some(doc(port)));
            ports.iter().map(one).collect()
        };
        let (input, output) = (info(&interface.inputs), info(&interface.outputs));
        GraphProto { input, output, ..self.emitted }
    }

    fn value_info(&self, name: &str, dtype: DType, shape: &[Dim], doc: Option<String>) -> ValueInfoProto {
        let dim = shape.iter().map(|dim| match dim {
            Dim::Fixed(n) => DimensionProto { dim_value: Some(*n as i64), dim_param: None },
            named => DimensionProto { dim_value: None, dim_param: Some(self.graph.dim_text(*named)) },
        });
        let shape = TensorShapeProto { dim: dim.collect() };
        let tensor = TensorTypeProto { elem_type: Some(data_type(dtype)), shape: Some(shape) };
        ValueInfoProto {
            name: Some(name.to_owned()),
            kind: Some(TypeProto { tensor_type: Some(tensor) }),
            doc_string: doc,
        }
    }

    /// `name`, or with a number behind it if it is taken.
    fn unique(&mut self, name: &str) -> String {
        let candidates = (2..).map(|n| format!("{name}.{n}"));
        let mut candidates = std::iter::once(name.to_owned()).chain(candidates);
        let free = candidates.find(|name| !self.names.contains(name)).expect("there are enough numbers");
        self.names.insert(free.clone());
        free
    }
}

/// The attribute of a cast.
pub(super) fn to_f32() -> AttributeProto {
    AttributeProto::int("to", i64::from(data_type(DType::F32)))
}
