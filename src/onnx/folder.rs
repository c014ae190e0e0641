//! Writes the folder: all of its files, or nothing.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use prost::Message;

use super::data::{Layout, WEIGHTS_FILE};
use super::emitter::Emitter;
use super::facts::{Facts, GraphFile, doc, metadata};
use super::interface::Interface;
use super::proto::{ModelProto, OperatorSetIdProto};
use super::{OnnxError, Opset, readme};
use crate::container::hex;
use crate::graph::{Graph, Network, Weights};
use crate::install::{self, PartialFolder};
use crate::model::Model;

/// The file that explains the others.
const README_FILE: &str = "README.md";
const BUFFER_BYTES: usize = 1 << 20;

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// In the network's order.
    pub graphs: Vec<GraphFile>,
    /// Length of the file of weights.
    pub weights_bytes: u64,
}

/// Of the names of everything in a folder the first that [`write()`] did not make, if any. A text that explains graphs is one of them
/// only beside their weights.
pub fn foreign<'a>(names: impl IntoIterator<Item = &'a str> + Clone) -> Option<&'a str> {
    let has_weights = names.clone().into_iter().any(|name| name == WEIGHTS_FILE);
    let is_ours =
        |name: &str| has_weights && (name == WEIGHTS_FILE || name == README_FILE || name.ends_with(".onnx"));
    names.into_iter().find(|name| !is_ours(name))
}

/// Writes a model's graphs to `dir`; see [`write()`].
///
/// # Errors
/// As [`write()`].
pub fn write_model(
    model: &Model,
    dir: &Path,
    opset: Opset,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Summary, OnnxError> {
    let manifest = model.manifest();
    let families =
        [(manifest.roles.answers.is_some(), "reason"), (manifest.roles.forecasts.is_some(), "predict")];
    let families: Vec<&str> = families.into_iter().filter(|(has, _)| *has).map(|(_, name)| name).collect();
    let facts = [
        ("family", families.join(",")),
        ("written_by", manifest.written_by.clone()),
        ("checkpoint", manifest.source.name.clone()),
        ("checkpoint_sha256", manifest.source.sha256.clone()),
        ("model_sha256", hex(&model.digest())),
    ];
    let facts = facts.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    write(model.network(), model, &facts, dir, opset, progress)
}

/// Writes the graphs of a verified network to the folder `dir`, where nothing lies, or an empty folder. `progress` is told how many
/// bytes of weights are done, and of how many.
///
/// # Errors
/// If a graph has what ONNX does not express, or the folder cannot be written. Then nothing new lies at `dir` or beside it.
pub fn write(
    network: &Network,
    weights: &dyn Weights,
    facts: &Facts,
    dir: &Path,
    opset: Opset,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Summary, OnnxError> {
    let layout = Layout::of(network);
    let mut names = HashSet::new();
    let mut files = Vec::with_capacity(network.graphs.len());
    // All graphs before the first byte is written: what cannot be expressed is found at once.
    for graph in &network.graphs {
        let model = model_of(network, graph, &layout, facts, opset)?;
        let nodes = model.graph.as_ref().map_or(0, |graph| graph.node.len());
        let bytes = model.encode_to_vec();
        let file = file_name(&graph.name, &mut names);
        let summary = GraphFile { graph: graph.name.clone(), file, nodes, file_bytes: bytes.len() as u64 };
        files.push((summary, bytes));
    }
    let failed = |path: PathBuf| move |source| OnnxError::Io { path, source };
    let whole = |source| OnnxError::Io { path: dir.to_owned(), source };
    let graphs_bytes: u64 = files.iter().map(|(file, _)| file.file_bytes).sum();
    install::check_room(dir, layout.file_bytes + graphs_bytes).map_err(whole)?;
    let folder = PartialFolder::create(dir).map_err(whole)?;
    let create = |name: &str| File::create(folder.path().join(name));

    let mut out = BufWriter::with_capacity(BUFFER_BYTES, create(WEIGHTS_FILE).map_err(whole)?);
    let total = layout.file_bytes;
    layout
        .write(weights, &mut out, &mut |done| progress(done, total))
        .and_then(|()| out.flush())
        .map_err(failed(dir.join(WEIGHTS_FILE)))?;
    for (file, bytes) in &files {
        create(&file.file).and_then(|mut out| out.write_all(bytes)).map_err(failed(dir.join(&file.file)))?;
    }
    let graphs: Vec<GraphFile> = files.into_iter().map(|(file, _)| file).collect();
    let text = readme::text(network, &graphs, facts, opset);
    create(README_FILE)
        .and_then(|mut out| out.write_all(text.as_bytes()))
        .map_err(failed(dir.join(README_FILE)))?;
    folder.install().map_err(whole)?;
    Ok(Summary { graphs, weights_bytes: layout.file_bytes })
}

/// One graph as a file's content.
pub(super) fn model_of(
    network: &Network,
    graph: &Graph,
    layout: &Layout,
    facts: &Facts,
    opset: Opset,
) -> Result<ModelProto, OnnxError> {
    let interface = Interface::of(network, graph);
    let mut emitter = Emitter::new(network, graph, &interface, layout, opset);
    emitter.lower()?;
    let mut emitted = emitter.finish(|port| doc(network, graph, port));
    emitted.doc_string = Some(format!("Graph `{}` of a model of Perihelion.", graph.name));
    Ok(ModelProto {
        ir_version: Some(opset.ir_version()),
        producer_name: Some("perihelion".to_owned()),
        producer_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        doc_string: Some(format!("{README_FILE} beside this file says what goes in and what comes out.")),
        graph: Some(emitted),
        opset_import: vec![OperatorSetIdProto {
            domain: Some(String::new()),
            version: Some(opset.version()),
        }],
        metadata_props: metadata(network, graph, &interface, facts),
    })
}

/// A file for a graph, by its name as far as files may be called so.
fn file_name(graph: &str, taken: &mut HashSet<String>) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let name: String = graph.chars().map(|c| if is_plain(c) { c } else { '_' }).take(200).collect();
    let name = name.trim_start_matches('.');
    let mut candidates =
        (1..).map(|n| if n == 1 { format!("{name}.onnx") } else { format!("{name}.{n}.onnx") });
    let free =
        candidates.find(|name| !taken.contains(&name.to_lowercase())).expect("there are enough numbers");
    taken.insert(free.to_lowercase());
    free
}
