//! What a graph's file says about itself besides its nodes: to people in its documentation, to programs in its metadata.

use serde_json::{Map, Value, json};

use super::interface::{Begins, Interface, Port};
use super::proto::StringStringEntryProto;
use crate::graph::{Graph, Network};

/// What a file says about the model besides its graph, for people and programs: keys (without `perihelion.`) with their texts.
pub type Facts = Vec<(String, String)>;

/// A graph's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphFile {
    /// The graph's name.
    pub graph: String,
    /// The file's, in the folder.
    pub file: String,
    /// Nodes of ONNX.
    pub nodes: usize,
    /// The file's length.
    pub file_bytes: u64,
}

/// Everything under `perihelion.`: of the model, and of this graph.
pub(super) fn metadata(
    network: &Network,
    graph: &Graph,
    interface: &Interface,
    facts: &Facts,
) -> Vec<StringStringEntryProto> {
    let of_graph = [
        ("graph", graph.name.clone()),
        ("limits", limits(network).to_string()),
        ("extents", extents(graph).to_string()),
        ("inputs", ports(network, graph, &interface.inputs).to_string()),
        ("outputs", ports(network, graph, &interface.outputs).to_string()),
    ];
    let of_model = facts.iter().map(|(key, value)| (key.as_str(), value.clone()));
    let entry = |(key, value)| StringStringEntryProto::new(format!("perihelion.{key}"), value);
    of_model.chain(of_graph).map(entry).collect()
}

/// What a port is for, in words.
pub(super) fn doc(network: &Network, graph: &Graph, port: &Port) -> String {
    let name = &network.buffers[port.buffer.index()].name;
    match port.begins {
        Begins::First => format!("the rows that `{name}` holds, from its first on"),
        Begins::Window => format!("rows of `{name}` from the run's window on"),
        Begins::At(symbol) => {
            let past = graph.dim_text(symbol.into());
            format!("new rows of `{name}`, which follow its first {past}")
        }
    }
}

fn limits(network: &Network) -> Value {
    Value::Object(network.limits.iter().map(|limit| (limit.name.clone(), json!(limit.value))).collect())
}

fn extents(graph: &Graph) -> Value {
    let dims = graph.dims.iter().map(|dim| {
        let bounds = json!({"min": dim.min, "max": dim.max, "multiple_of": dim.multiple_of});
        (dim.name.clone(), bounds)
    });
    Value::Object(dims.collect())
}

/// For each port its buffer, where its rows begin, and how they may begin there.
fn ports(network: &Network, graph: &Graph, ports: &[Port]) -> Value {
    let one = |port: &Port| {
        let buffer = &network.buffers[port.buffer.index()];
        let begins = match port.begins {
            Begins::First => json!(0),
            Begins::Window => json!("window"),
            Begins::At(symbol) => json!(graph.dim_text(symbol.into())),
        };
        let facts = json!({
            "buffer": buffer.name, "purpose": buffer.purpose, "rows": buffer.shape[0], "begins": begins,
            "window_rows": buffer.window_rows,
        });
        (port.name.clone(), facts)
    };
    Value::Object(ports.iter().map(one).collect::<Map<_, _>>())
}
