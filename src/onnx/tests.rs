//! The structure of what is written, without any reader of ONNX; what runtimes make of it, `tests/onnx.rs` and
//! `tests/reference/onnx_parity.py` look at.

use std::collections::HashSet;
use std::fs;

use prost::Message;

use super::data::Layout;
use super::folder::model_of;
use super::proto::{GraphProto, ModelProto, NodeProto};
use super::*;
use crate::graph::{Dim, GraphBuilder, Network, Op, Purpose, WeightId, Weights};
use crate::tensor::{DType, TensorView};

/// Zeros, as many as the widest weight needs.
struct Zeros(Network, Vec<u8>);

impl Zeros {
    fn of(network: &Network) -> Zeros {
        let bytes = |w: &crate::graph::Weight| w.shape.iter().product::<usize>() * w.dtype.size_bytes();
        Zeros(network.clone(), vec![0; network.weights.iter().map(bytes).max().unwrap_or(0)])
    }
}

impl Weights for Zeros {
    fn weight(&self, id: WeightId) -> TensorView<'_> {
        let weight = &self.0.weights[id.index()];
        let len = weight.shape.iter().product::<usize>() * weight.dtype.size_bytes();
        TensorView { dtype: weight.dtype, shape: weight.shape.clone(), bytes: &self.1[..len] }
    }
}

/// A decoder's beginning, so small that it can be read: a table, a map, a cache, and an output.
fn network() -> Network {
    let mut network = Network::default();
    let rows = network.declare_limit("context", 8);
    let ids = network.declare_limited_buffer("ids", DType::I32, rows, &[], Purpose::Input);
    let [k, v] = ["k", "v"]
        .map(|name| network.declare_limited_buffer(name, DType::F32, rows, &[1, 4], Purpose::Cache));
    let y = network.declare_limited_buffer("y", DType::F32, rows, &[2, 4], Purpose::Output);
    let table = network.declare_weight("main", "embed.weight", DType::Bf16, &[5, 8]);
    let map = network.declare_weight("main", "layer.0.weight", DType::F16, &[4, 8]);
    let bias = network.declare_weight("main", "layer.0.bias", DType::F32, &[4]);
    let mut graph = GraphBuilder::new(&mut network, "main");
    let (n, past) = (graph.limited_dim("n", 1, rows, 1), graph.limited_dim("past", 0, rows, 1));
    let x = graph.read(ids, n);
    let x = graph.add(Op::Embedding { weight: table }, &[x]);
    let key = graph.linear(x, map, Some(bias));
    let key = graph.reshape(key, &[n.into(), 1.into(), 4.into()]);
    let q = graph.reshape(x, &[n.into(), 2.into(), 4.into()]);
    let op = Op::CachedAttention { key_cache: k, value_cache: v, past, scale: 0.5 };
    let out = graph.add(op, &[q, key, key]);
    graph.write(y, out);
    graph.finish();
    network
}

fn emitted(network: &Network, opset: Opset) -> Result<ModelProto, OnnxError> {
    model_of(network, &network.graphs[0], &Layout::of(network), &vec![], opset)
}

fn names(values: &[super::proto::ValueInfoProto]) -> Vec<&str> {
    values.iter().map(|v| v.name()).collect()
}

/// Every name is made before it is used, and made once.
fn check_names(graph: &GraphProto) {
    let given = graph.input.iter().map(|v| v.name().to_owned());
    let mut made: HashSet<String> =
        given.chain(graph.initializer.iter().map(|t| t.name().to_owned())).collect();
    assert_eq!(made.len(), graph.input.len() + graph.initializer.len());
    let mut nodes = HashSet::new();
    for node in &graph.node {
        for input in node.input.iter().filter(|name| !name.is_empty()) {
            assert!(made.contains(input), "{} takes {input}", node.name());
        }
        assert!(nodes.insert(node.name().to_owned()), "{} is there twice", node.name());
        for output in &node.output {
            assert!(made.insert(output.clone()), "{output} is made twice");
        }
    }
    let outputs = graph.output.iter().chain(&graph.value_info);
    outputs.for_each(|value| assert!(made.contains(value.name()), "{}", value.name()));
}

fn node<'g>(graph: &'g GraphProto, op: &str) -> Option<&'g NodeProto> {
    graph.node.iter().find(|node| node.op_type() == op)
}

#[test]
fn a_graph_has_names_ports_and_weights_in_both_opsets() {
    let network = network();
    for opset in Opset::ALL {
        let model = emitted(&network, opset).unwrap();
        assert_eq!(ModelProto::decode(&model.encode_to_vec()[..]).unwrap(), model);
        assert_eq!(model.opset_import[0].version(), opset.version());
        let graph = model.graph.as_ref().unwrap();
        check_names(graph);
        assert_eq!(names(&graph.input), ["ids", "k", "v"]);
        assert_eq!(names(&graph.output), ["present.k", "present.v", "y"]);
        let dims = |value: &super::proto::ValueInfoProto| -> Vec<String> {
            let shape = value.kind.as_ref().unwrap().tensor_type.as_ref().unwrap().shape.as_ref().unwrap();
            let text = |d: &super::proto::DimensionProto| {
                d.dim_param.clone().unwrap_or_else(|| d.dim_value().to_string())
            };
            shape.dim.iter().map(text).collect()
        };
        assert_eq!(dims(&graph.input[1]), ["past", "1", "4"]);
        assert_eq!(dims(&graph.output[0]), ["n", "1", "4"]);
        assert_eq!(dims(&graph.output[2]), ["n", "2", "4"]);
        // A table is widened after its rows are picked, a matrix before; both bear the weight's name.
        let rows = node(graph, "Gather").unwrap();
        assert_eq!(
            (rows.name(), &rows.input[..]),
            ("embed/Gather", &["embed.weight".to_owned(), "ids".to_owned()][..])
        );
        let map = node(graph, "Gemm").unwrap();
        assert_eq!(map.name(), "layer.0/Gemm");
        assert_eq!(map.input, ["embed/Cast", "layer.0.weight/Cast", "layer.0.bias"]);
        assert_eq!(node(graph, "Attention").is_some(), opset == Opset::V23);
        assert_eq!(node(graph, "Softmax").is_some(), opset == Opset::V18);
        let metadata = |key: &str| {
            let entry = model.metadata_props.iter().find(|e| e.key() == format!("perihelion.{key}")).unwrap();
            serde_json::from_str::<serde_json::Value>(entry.value()).unwrap()
        };
        assert_eq!(metadata("limits")["context"], 8);
        assert_eq!(metadata("extents")["past"]["max"], 8);
        assert_eq!(metadata("outputs")["present.k"]["begins"], "past");
        assert_eq!(metadata("inputs")["ids"]["begins"], "window");
    }
}

#[test]
fn weights_lie_where_the_graphs_say() {
    let network = network();
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("onnx");
    let summary = write(&network, &Zeros::of(&network), &vec![], &place, Opset::V18, &mut |_, _| {}).unwrap();
    let file = fs::read(place.join(WEIGHTS_FILE)).unwrap();
    assert_eq!(file.len() as u64, summary.weights_bytes);
    let bytes = fs::read(place.join("main.onnx")).unwrap();
    let graph = ModelProto::decode(&bytes[..]).unwrap().graph.unwrap();
    assert_eq!(
        (summary.graphs[0].nodes, summary.graphs[0].file_bytes),
        (graph.node.len(), bytes.len() as u64)
    );
    let header = safetensors::SafeTensors::read_metadata(&file).unwrap().1;
    let begin = file.len() - header.data_len();
    let mut ranges = Vec::new();
    for tensor in graph.initializer.iter().filter(|t| t.raw_data.is_none()) {
        let entry = |key: &str| tensor.external_data.iter().find(|e| e.key() == key).unwrap().value();
        let number = |key: &str| entry(key).parse::<usize>().unwrap();
        assert_eq!(entry("location"), WEIGHTS_FILE);
        let info = header.info(tensor.name()).unwrap();
        let range = (number("offset"), number("offset") + number("length"));
        assert_eq!(range, (begin + info.data_offsets.0, begin + info.data_offsets.1), "{}", tensor.name());
        let dims: Vec<usize> = tensor.dims.iter().map(|n| *n as usize).collect();
        assert_eq!(dims, info.shape);
        assert!(range.1 <= file.len() && number("offset").is_multiple_of(4));
        ranges.push(range);
    }
    assert_eq!(ranges.len(), network.weights.len());
    assert!(begin.is_multiple_of(4096));
}

#[test]
fn what_onnx_cannot_express_is_named() {
    let refused = |network: &Network, parts: &[&str]| {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("onnx");
        for opset in Opset::ALL {
            let error =
                write(network, &Zeros::of(network), &vec![], &place, opset, &mut |_, _| {}).unwrap_err();
            let text = error.to_string();
            let version = opset.version().to_string();
            parts.iter().chain(&[&*version]).for_each(|part| assert!(text.contains(part), "{text}"));
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        }
    };
    // A cache that is read behind an op that appends to it: what goes in does not change.
    let mut late = network();
    late.graphs.clear();
    let [k, v, y] = ["k", "v", "y"].map(|name| late.buffer(name).unwrap());
    let mut graph = GraphBuilder::new(&mut late, "late");
    let past = graph.dim("past", 0, 7, 1);
    let x = graph.read(y, 1);
    let key = graph.add(Op::Slice { axis: 1, start: 0.into(), len: 1.into() }, &[x]);
    let op = Op::CachedAttention { key_cache: k, value_cache: v, past, scale: 0.5 };
    graph.add(op, &[x, key, key]);
    let again = graph.read(k, 2);
    graph.reshape(again, &[8.into()]);
    graph.finish();
    refused(&late, &["late", "node 3", "read", "`k`"]);

    // An extent that only says where a slice begins.
    let mut hidden = network();
    hidden.graphs.clear();
    let mut graph = GraphBuilder::new(&mut hidden, "hidden");
    let begin = graph.dim("begin", 0, 4, 1);
    let x = graph.read(y, 6);
    graph.add(Op::Slice { axis: 0, start: begin.into(), len: 2.into() }, &[x]);
    graph.finish();
    refused(&hidden, &["hidden", "node 1", "slice", "`begin`"]);
}

#[test]
fn extents_follow_from_those_that_inputs_have() {
    let mut network = Network::default();
    let x = network.declare_buffer("x", DType::F32, &[40, 2], Purpose::Input);
    let mut graph = GraphBuilder::new(&mut network, "main");
    let (n, m) = (graph.dim("n", 4, 16, 4), graph.dim("m", 1, 3, 1));
    let all = graph.read(x, Dim::of(n).times(2).plus(1));
    let rows = graph.read(x, Dim::of(m).times(2));
    let part = graph.add(Op::Slice { axis: 0, start: m.into(), len: Dim::of(n).over(4) }, &[all]);
    graph.add(Op::Slice { axis: 0, start: Dim::of(n), len: Dim::of(n).plus(1) }, &[all]);
    graph.reshape(part, &[Dim::of(n).over(4), 1.into(), 2.into()]);
    graph.reshape(rows, &[2.into(), m.into(), 2.into()]);
    graph.finish();
    for opset in Opset::ALL {
        let graph = emitted(&network, opset).unwrap().graph.unwrap();
        check_names(&graph);
        assert_eq!(names(&graph.input), ["x", "x.2"]);
        assert!(node(&graph, "Div").is_some(), "n is found from 2 n + 1");
    }
}

#[test]
fn a_folder_of_others_is_not_taken_for_ours() {
    assert_eq!(foreign(["README.md", "a.onnx", WEIGHTS_FILE]), None);
    assert_eq!(foreign([]), None);
    assert_eq!(foreign(["README.md"]), Some("README.md"));
    assert_eq!(foreign([WEIGHTS_FILE, "model.safetensors"]), Some("model.safetensors"));
}
