//! The text beside the graphs, for whoever finds the folder.

use std::fmt::Write as _;

use super::Opset;
use super::data::WEIGHTS_FILE;
use super::facts::{Facts, GraphFile, doc};
use super::interface::{Interface, Port};
use crate::graph::{Dim, Graph, NamedDim, Network};

pub(super) fn text(network: &Network, files: &[GraphFile], facts: &Facts, opset: Opset) -> String {
    let mut text = "# A model of Perihelion as ONNX\n\n".to_owned();
    for (key, value) in facts {
        let _ = writeln!(text, "- {key}: {value}");
    }
    let limits: Vec<String> = network.limits.iter().map(|l| format!("{} {}", l.name, l.value)).collect();
    let _ = writeln!(text, "- limits: {}\n- opset: {}\n", limits.join(", "), opset.version());
    let _ = writeln!(
        text,
        "Every graph lies in a file of its own; `{WEIGHTS_FILE}` holds the weights of all of them, which a graph finds by offset and \
         length. Keep the files together. Arithmetic is f32; weights of fewer bits are widened by `Cast` nodes.\n"
    );
    text.push_str(MEMORY);
    for (graph, file) in network.graphs.iter().zip(files) {
        graph_text(network, graph, file, &mut text);
    }
    text.push_str(OTHERS);
    // One whose extents vary, if there is such, since bounds are what is hard to write.
    let pairs = || network.graphs.iter().zip(files);
    if let Some((graph, file)) = pairs().rfind(|(graph, _)| !graph.dims.is_empty()).or_else(|| pairs().next())
    {
        text.push_str(&calls(network, graph, file, opset));
    }
    text
}

const MEMORY: &str = "\
## What outlives a run

Nothing does: what a run leaves for the next one comes out and goes in.

- An input takes rows of the buffer that it is named after, *from the run's window on*: of frames, features and latents the rows that
  this run is about. The caller chooses them by what it passes; there are no offsets among the inputs.
- `present.NAME` is what to put into the buffer `NAME`. Of a key or value cache only the rows of the new tokens come out: put them
  behind the `past` rows that went in. A cache that is kept as `[context, groups, dim]` in one piece is passed as its first `past`
  rows, and takes the new rows right behind them, so that nothing needs to be copied. Of every other buffer these rows take the place
  of those that went in.
- Every other output is named after its buffer, and is its rows from the run's window on.
- `past` may be 0: pass a cache of no rows.

`perihelion.inputs` and `perihelion.outputs` in a file's metadata say the same for programs.

## The graphs

Extents that a run chooses stand by their names.

";

fn graph_text(network: &Network, graph: &Graph, file: &GraphFile, text: &mut String) {
    let _ = writeln!(text, "### `{}`\n", file.file);
    for dim in &graph.dims {
        let _ = write!(text, "- `{}`: {} to {}", dim.name, dim.min, dim.max);
        if dim.multiple_of != 1 {
            let _ = write!(text, ", a multiple of {}", dim.multiple_of);
        }
        text.push('\n');
    }
    if !graph.dims.is_empty() {
        text.push('\n');
    }
    let interface = Interface::of(network, graph);
    text.push_str("| | name | type | extents | what |\n| --- | --- | --- | --- | --- |\n");
    for (way, ports) in [("in", &interface.inputs), ("out", &interface.outputs)] {
        for port in ports {
            let (shape, what) = (extents(graph, port), doc(network, graph, port));
            let _ = writeln!(text, "| {way} | `{}` | {} | `[{shape}]` | {what} |", port.name, port.dtype);
        }
    }
    text.push('\n');
}

fn extents(graph: &Graph, port: &Port) -> String {
    let dims: Vec<String> = port.shape.iter().map(|dim| graph.dim_text(*dim)).collect();
    dims.join(", ")
}

const OTHERS: &str = "\
## In other programs

";

const TENSORRT_AND_OPSET_23: &str = "\
TensorRT has kernels for the `Attention` operator in f16 and bf16 alone, and does not build one of f32: for it, write the model in
opset 18.

";

/// How other programs open a graph.
fn calls(network: &Network, graph: &Graph, file: &GraphFile, opset: Opset) -> String {
    let file = &file.file;
    let mut text = format!(
        "ONNX Runtime:\n\n```python\nimport onnxruntime\nsession = onnxruntime.InferenceSession(\"{file}\")\n\
         outputs = session.run(None, {{name: array, ...}})\n```\n\n\
         Netron: `netron {file}`\n\n\
         The checker of ONNX: `python -c \"import onnx; onnx.checker.check_model('{file}', full_check=True)\"`\n\n"
    );
    let middle = |dim: &NamedDim| {
        let middle = dim.min.midpoint(dim.max);
        (middle - middle % dim.multiple_of).max(dim.min)
    };
    let bounds = [
        ("min", shapes(network, graph, |dim| dim.min)),
        ("opt", shapes(network, graph, middle)),
        ("max", shapes(network, graph, |dim| dim.max)),
    ];
    let mut trtexec = format!("trtexec --onnx={file}");
    let mut polygraphy = format!("polygraphy run {file} --onnxrt --trt");
    for (name, shapes) in bounds.iter().filter(|(_, shapes)| !shapes.is_empty()) {
        let by =
            |dims: &[usize], sign: &str| dims.iter().map(usize::to_string).collect::<Vec<_>>().join(sign);
        let all: Vec<String> =
            shapes.iter().map(|(port, dims)| format!("{port}:{}", by(dims, "x"))).collect();
        let _ = write!(trtexec, " \\\n    --{name}Shapes={}", all.join(","));
        let all: Vec<String> =
            shapes.iter().map(|(port, dims)| format!("'{port}:[{}]'", by(dims, ","))).collect();
        let all = all.join(" ");
        let _ = write!(polygraphy, " \\\n    --trt-{name}-shapes {all}");
        if *name == "opt" {
            let _ = write!(polygraphy, " \\\n    --input-shapes {all}");
        }
    }
    if opset == Opset::V23 {
        text.push_str(TENSORRT_AND_OPSET_23);
    }
    let _ = writeln!(text, "TensorRT, within the bounds of this model's limits:\n\n```sh\n{trtexec}\n```\n");
    let _ =
        writeln!(text, "Polygraphy, which compares ONNX Runtime and TensorRT:\n\n```sh\n{polygraphy}\n```");
    text
}

/// The inputs whose extents a run chooses, with what they are at some of them.
fn shapes(network: &Network, graph: &Graph, of: impl Fn(&NamedDim) -> usize) -> Vec<(String, Vec<usize>)> {
    let extents: Vec<usize> = graph.dims.iter().map(of).collect();
    let inputs = Interface::of(network, graph).inputs.into_iter();
    let varying = inputs.filter(|port| port.shape.iter().any(|dim| matches!(dim, Dim::Scaled { .. })));
    varying.map(|port| (port.name, port.shape.iter().map(|dim| dim.value(&extents)).collect())).collect()
}
