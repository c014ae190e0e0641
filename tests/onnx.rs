//! Models as ONNX: what is in the folder, and runs for ONNX Runtime to repeat.
//!
//! For every graph of six models, and for every op and network of the conformance list, runs at three sets of extents are made, with random
//! inputs, caches and windows: by the CPU backend for models, by the reference evaluation for the list. `PERIHELION_ONNX_CASES` names a
//! folder where they and the ONNX files stay, in both opsets; `tests/reference/onnx_parity.py` then compares what ONNX Runtime makes
//! of them. Without it the same is made in a folder that goes away, and looked at from here alone.
#![allow(clippy::unwrap_used, reason = "what a test cannot go on without fails it")]

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use perihelion::backend::reference::Reference;
use perihelion::backend::{Elements, OpenOptions, Run, Session, WeightFormat};
use perihelion::checkpoint::Tensors;
use perihelion::engine::{BuildOptions, Engine, build};
use perihelion::export::{PredictOptions, ReasonOptions, export_predict, export_reason};
use perihelion::graph::{BufferId, Dim, Graph, GraphId, Network, Op, ValueId, WeightId, Weights};
use perihelion::model::Model;
use perihelion::onnx::{Begins, Interface, Opset, Port, Summary, WEIGHTS_FILE, write, write_model};
use perihelion::tensor::DType;
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use safetensors::tensor::{Dtype, TensorView};

#[allow(dead_code, unreachable_pub)]
#[path = "conformance/case.rs"]
mod case;
#[allow(dead_code)]
#[path = "conformance/cases.rs"]
mod cases;
#[allow(dead_code)]
#[path = "conformance/networks.rs"]
mod networks;

/// Sets of extents for each graph.
const N_RUNS: usize = 3;
/// Extents beyond their smallest: as many as are quickly computed.
const BEYOND_MIN: usize = 40;
/// Values of positions and other whole numbers that are no places of a table.
const INTEGERS: u32 = 50;

/// The two engines' checkpoints and four random ones.
const MODELS: [(&str, &str); 6] = [
    ("small_reason", "engines/small-reason"),
    ("small_predict", "engines/small-predict"),
    ("groups", "tests/fixtures/reason/video/checkpoint"),
    ("deepstack", "tests/fixtures/reason/one_image/checkpoint"),
    ("untied", "tests/fixtures/reason/large_image_untied/checkpoint"),
    ("actions", "tests/fixtures/predict/predict25_actions_of_each_latent/checkpoint"),
];

/// A folder for the cases, and what removes it if nobody asked for it.
fn out() -> (PathBuf, Option<tempfile::TempDir>) {
    match std::env::var_os("PERIHELION_ONNX_CASES") {
        Some(path) => (PathBuf::from(path), None),
        None => {
            let dir = tempfile::tempdir().unwrap();
            (dir.path().to_owned(), Some(dir))
        }
    }
}

#[test]
fn every_graph_of_six_models_and_runs_of_each() {
    let (out, _dir) = out();
    for (seed, (name, checkpoint)) in MODELS.into_iter().enumerate() {
        let dir = out.join(name);
        fs::create_dir_all(dir.join("cases")).unwrap();
        let (path, engine) = (dir.join("a.model"), dir.join("a.engine"));
        let options = PredictOptions::default();
        let exported = match Path::new(checkpoint).join("model_index.json").exists() {
            true => export_predict(Path::new(checkpoint), &options, &path, &mut |_| {}),
            false => export_reason(Path::new(checkpoint), &ReasonOptions::default(), &path, &mut |_| {}),
        };
        exported.unwrap();
        let model = Model::open(&path).unwrap();
        for opset in Opset::ALL {
            let folder = dir.join(opset.version().to_string());
            let summary = write_model(&model, &folder, opset, &mut |_, _| {}).unwrap();
            check_folder(&folder, &summary, model.network(), &model);
        }
        let open = OpenOptions { threads: Some(2) };
        let options =
            BuildOptions { backend: "cpu".into(), formats: WeightFormat::F32.into(), limits: vec![], open };
        build(&model, &options, &engine, &mut |_| {}).unwrap();
        let mut session = Engine::open(&engine).unwrap().session(&open).unwrap();
        write_cases(model.network(), session.as_mut(), &dir.join("cases"), seed as u64);
    }
}

/// Rows that begin and end where an extent says, which only the shape of an input tells.
fn extents() -> case::Case {
    let mut s = case::Sketch::new(77);
    let [x, y, z] = [0; 3].map(|_| s.buffer(40, &[2]));
    let mut graph = s.graph("main");
    let (n, m) = (graph.dim("n", 4, 16, 4), graph.dim("m", 1, 3, 1));
    let all = graph.read(x, Dim::of(n).times(2).plus(1));
    let rows = graph.read(x, Dim::of(m).times(2));
    let middle = graph.add(Op::Slice { axis: 0, start: Dim::of(m), len: Dim::of(n).over(4) }, &[all]);
    let end = graph.add(Op::Slice { axis: 0, start: Dim::of(n), len: Dim::of(n).plus(1) }, &[all]);
    let pair = graph.add(Op::Slice { axis: 0, start: Dim::of(m), len: 1.into() }, &[rows]);
    let both = graph.add(Op::Concat { axis: 0 }, &[middle, pair]);
    graph.write(y, both);
    graph.write(z, end);
    graph.finish();
    s.case("rows between extents", case::Tolerance::Bits)
}

#[test]
fn every_op_and_runs_of_it() {
    let (out, _dir) = out();
    let cases = cases::all().into_iter().chain(networks::all()).chain([extents()]);
    for (seed, case) in cases.enumerate() {
        let dir = out.join(format!("op-{seed:03}"));
        fs::create_dir_all(dir.join("cases")).unwrap();
        fs::write(dir.join("name.txt"), &case.name).unwrap();
        let facts = vec![("case".to_owned(), case.name.clone())];
        for opset in Opset::ALL {
            let folder = dir.join(opset.version().to_string());
            let summary = write(&case.network, &case.weights, &facts, &folder, opset, &mut |_, _| {})
                .expect(&case.name);
            check_folder(&folder, &summary, &case.network, &case.weights);
        }
        let mut session = Reference::new(&case.network, &case.weights);
        write_cases(&case.network, &mut session, &dir.join("cases"), seed as u64);
    }
}

/// The weights are all there, as they were or with channels before places; and there is a file for each graph.
fn check_folder(folder: &Path, summary: &Summary, network: &Network, weights: &dyn Weights) {
    let file = Tensors::open(&folder.join(WEIGHTS_FILE)).unwrap();
    for (i, weight) in network.weights.iter().enumerate() {
        let (found, expected) = (file.tensor(&weight.name).unwrap(), weights.weight(WeightId(i as u32)));
        assert_eq!(found.dtype, expected.dtype, "{}", weight.name);
        if (&found.shape, found.bytes) == (&expected.shape, expected.bytes) {
            continue;
        }
        // Extents that are alike in either order hide nothing: the elements tell.
        let [c_out, c_in, t, h, w] = found.shape[..] else { panic!("{}: {:?}", weight.name, found.shape) };
        assert_eq!(expected.shape, [c_out, t, h, w, c_in]);
        let (found, expected) = (found.to_f32(), expected.to_f32());
        let n_places = t * h * w;
        for (at, value) in found.iter().enumerate() {
            let (o, c, place) = (at / (c_in * n_places), at / n_places % c_in, at % n_places);
            assert_eq!(expected[(o * n_places + place) * c_in + c].to_bits(), value.to_bits());
        }
    }
    let graphs: Vec<&String> = summary.graphs.iter().map(|g| &g.graph).collect();
    assert_eq!(graphs, network.graphs.iter().map(|g| &g.name).collect::<Vec<_>>());
    let mut expected: Vec<String> = summary.graphs.iter().map(|g| g.file.clone()).collect();
    expected.extend([WEIGHTS_FILE.to_owned(), "README.md".to_owned()]);
    expected.sort();
    let mut found: Vec<String> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    found.sort();
    assert_eq!(found, expected);
    for graph in &summary.graphs {
        assert_eq!(fs::metadata(folder.join(&graph.file)).unwrap().len(), graph.file_bytes);
    }
}

/// Runs every graph and writes what went in and what came out, by the names of the ONNX graph.
fn write_cases(network: &Network, session: &mut dyn Session, dir: &Path, seed: u64) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    for (i, graph) in network.graphs.iter().enumerate() {
        for run in 0..N_RUNS {
            let tensors = one_run(network, session, GraphId(i as u32), run, &mut rng);
            let views = tensors.iter().map(|t| {
                (t.0.as_str(), TensorView::new(t.1, t.2.clone(), &t.3).expect("as many bytes as it says"))
            });
            let about = HashMap::from([("graph".to_owned(), graph.name.clone())]);
            let path = dir.join(format!("{i:02}-{run}.safetensors"));
            safetensors::serialize_to_file(views, Some(about), &path).unwrap();
        }
    }
}

type Tensor = (String, Dtype, Vec<usize>, Vec<u8>);

fn one_run(
    network: &Network,
    session: &mut dyn Session,
    id: GraphId,
    run: usize,
    rng: &mut ChaCha8Rng,
) -> Vec<Tensor> {
    let graph = &network.graphs[id.index()];
    let interface = Interface::of(network, graph);
    let (extents, windows) = places(network, graph, run, rng);
    let row = |port: &Port| match port.begins {
        Begins::First => 0,
        Begins::Window => windows.iter().find(|(b, _)| *b == port.buffer).map_or(0, |(_, row)| *row),
        Begins::At(symbol) => extents[usize::from(symbol.0)],
    };
    let mut tensors = Vec::new();
    for port in &interface.inputs {
        let shape: Vec<usize> = port.shape.iter().map(|d| d.value(&extents)).collect();
        let len: usize = shape.iter().product();
        let name = format!("input.{}", port.name);
        if port.dtype == DType::I32 {
            let (low, n) = integers(network, graph, port.value, &extents);
            let values: Vec<i32> = (0..len).map(|_| low + (rng.next_u32() % n) as i32).collect();
            session.write(port.buffer, row(port), Elements::I32(&values)).unwrap();
            tensors.push((
                name,
                Dtype::I32,
                shape,
                values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>(),
            ));
        } else {
            let values: Vec<f32> = (0..len).map(|_| rng.next_u32() as f32 / 2f32.powi(31) - 1.0).collect();
            session.write(port.buffer, row(port), Elements::F32(&values)).unwrap();
            tensors.push((
                name,
                Dtype::F32,
                shape,
                values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>(),
            ));
        }
    }
    // What a second port of a buffer has put over the first one's rows is what both hold.
    assert!(interface.inputs.iter().all(|p| !p.name.ends_with(".2") || p.dtype == DType::F32));
    for (port, tensor) in interface.inputs.iter().zip(&mut tensors) {
        if port.dtype == DType::F32 {
            let mut values = vec![0.0; tensor.3.len() / 4];
            session.read(port.buffer, row(port), &mut values).unwrap();
            tensor.3 = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        }
    }
    session.run(id, &Run { extents: &extents, windows: &windows, ..Run::default() }).unwrap();
    for port in &interface.outputs {
        let shape: Vec<usize> = port.shape.iter().map(|d| d.value(&extents)).collect();
        let mut values = vec![f32::NAN; shape.iter().product()];
        session.read(port.buffer, row(port), &mut values).unwrap();
        assert!(values.iter().all(|v| v.is_finite()), "{} of {}", port.name, graph.name);
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        tensors.push((format!("output.{}", port.name), Dtype::F32, shape, bytes));
    }
    tensors
}

/// Extents and windows for which every buffer has room.
fn places(
    network: &Network,
    graph: &Graph,
    run: usize,
    rng: &mut ChaCha8Rng,
) -> (Vec<usize>, Vec<(BufferId, usize)>) {
    let interface = Interface::of(network, graph);
    let ports = || interface.inputs.iter().chain(&interface.outputs);
    for _ in 0..1000 {
        let pick = |dim: &perihelion::graph::NamedDim| {
            let steps = (dim.max.min(dim.min + BEYOND_MIN) - dim.min) / dim.multiple_of;
            let step = match run {
                0 => 0,
                1 => rng.next_u32() as usize % (steps + 1),
                _ => steps - rng.next_u32() as usize % (steps / 4 + 1),
            };
            dim.min.next_multiple_of(dim.multiple_of) + step * dim.multiple_of
        };
        let extents: Vec<usize> = graph.dims.iter().map(pick).collect();
        let mut windows: Vec<(BufferId, usize)> = Vec::new();
        for port in ports().filter(|port| port.begins == Begins::Window) {
            let buffer = &network.buffers[port.buffer.index()];
            let n_rows =
                ports().filter(|p| p.buffer == port.buffer).map(|p| p.shape[0].value(&extents)).max();
            let slack = (buffer.shape[0] + buffer.window_rows)
                .saturating_sub(n_rows.unwrap().max(buffer.window_rows));
            let slack = slack / buffer.window_rows;
            if run != 0 && 0 < slack && windows.iter().all(|(id, _)| *id != port.buffer) {
                windows.push((port.buffer, rng.next_u32() as usize % slack * buffer.window_rows));
            }
        }
        let fits = |(id, end): (BufferId, usize)| end <= network.buffers[id.index()].shape[0];
        if graph.dims.iter().zip(&extents).all(|(d, e)| *e <= d.max)
            && graph.rows_touched(&extents, &windows).all(fits)
        {
            return (extents, windows);
        }
    }
    panic!("graph {} has no extents that fit", graph.name)
}

/// The smallest whole number that a value may hold, and how many there are: places of a table where it is looked up in one.
fn integers(network: &Network, graph: &Graph, value: ValueId, extents: &[usize]) -> (i32, u32) {
    let rows = |weight: WeightId| network.weights[weight.index()].shape[0] as u32;
    let is_same = |id: &ValueId| match (&graph.nodes[id.index()].op, &graph.nodes[value.index()].op) {
        (Op::Read { buffer: a }, Op::Read { buffer: b }) => a == b,
        _ => *id == value,
    };
    for node in &graph.nodes {
        match &node.op {
            Op::Embedding { weight } | Op::InterpolateRows { weight } if is_same(&node.inputs[0]) => {
                return (0, rows(*weight));
            }
            Op::SelectRows { .. } if is_same(&node.inputs[2]) => {
                let table = &graph.nodes[node.inputs[1].index()].shape;
                return (-1, 1 + table[0].value(extents) as u32);
            }
            _ => {}
        }
    }
    (0, INTEGERS)
}

fn perihelion(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_perihelion")).args(arguments).output().unwrap()
}

/// Exit code and what was said on stderr.
fn refusal(arguments: &[&str]) -> (i32, String) {
    let out = perihelion(arguments);
    assert!(out.stdout.is_empty(), "{}", String::from_utf8_lossy(&out.stdout));
    (out.status.code().unwrap(), String::from_utf8(out.stderr).unwrap())
}

#[test]
fn the_command_writes_both_and_says_what_it_cannot_do() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (model, onnx, again) = (at("a.model"), at("onnx"), at("again"));
    let checkpoint = "tests/fixtures/reason/text_only/checkpoint";
    let out = perihelion(&["export", checkpoint, "-o", &model, "--onnx", &onnx, "--json"]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let report: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    let files = report["onnx"]["graphs"].as_array().unwrap();
    let names: Vec<&str> = files.iter().map(|file| file["file"].as_str().unwrap()).collect();
    assert_eq!(names, ["vision.onnx", "prefill.onnx", "head.onnx", "decode.onnx"]);
    assert_eq!(report["onnx"]["opset"], 18);

    // The same from the model, byte by byte.
    let out = perihelion(&["inspect", &model, "--onnx", &again]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(text.contains("opset 18") && text.contains("decode.onnx"), "{text}");
    for name in names.iter().chain(&[WEIGHTS_FILE, "README.md"]) {
        let read = |folder: &str| fs::read(Path::new(folder).join(name)).unwrap();
        assert!(read(&onnx) == read(&again), "{name}");
    }
    let readme = fs::read_to_string(Path::new(&onnx).join("README.md")).unwrap();
    for part in ["present.key_cache.0", "n_tokens", "trtexec", "polygraphy", "netron", "onnxruntime"] {
        assert!(readme.contains(part), "{part}");
    }

    let said = |arguments: &[&str], code: i32, parts: &[&str]| {
        let (found, text) = refusal(arguments);
        assert_eq!(found, code, "{arguments:?}: {text}");
        parts.iter().for_each(|part| assert!(text.contains(part), "{arguments:?}: {text}"));
    };
    said(&["inspect", &model, "--onnx", &again], 2, &["--overwrite", &again]);
    said(&["inspect", &model, "--onnx", &at("new"), "--opset", "17"], 2, &["17", "18 and 23"]);
    said(&["inspect", &model, "--onnx", &at("a.model/in")], 1, &["--onnx", "a.model"]);
    said(&["inspect", &model, "--onnx", &at("none/in")], 1, &["there is no folder"]);
    said(&["inspect", &model, "--onnx", &model], 2, &["would be lost"]);
    said(&["inspect", checkpoint, "--onnx", &at("new")], 2, &["export"]);
    said(&["inspect", &model, "--opset", "23"], 2, &["--onnx"]);
    fs::create_dir(at("new")).unwrap();
    said(&["export", checkpoint, "-o", &at("new/b.model"), "--onnx", &at("new")], 2, &["lies in it"]);
    fs::remove_dir(at("new")).unwrap();
    fs::write(Path::new(&again).join("notes.txt"), "mine").unwrap();
    said(&["inspect", &model, "--onnx", &again, "--overwrite"], 2, &["notes.txt"]);
    fs::remove_file(Path::new(&again).join("notes.txt")).unwrap();
    let out = perihelion(&["inspect", &model, "--onnx", &again, "--overwrite", "--opset", "23", "--json"]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let report: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(report["opset"], 23);
    let mut left: Vec<String> =
        fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    left.sort();
    assert_eq!(left, ["a.model", "again", "onnx"], "nothing half lies anywhere");
}
