//! `--onnx`: the graphs of a model as ONNX, for the verbs that have a model in hand.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::output;
use super::progress::Progress;
use crate::model::Model;
use crate::onnx::{Opset, WEIGHTS_FILE, write_model};

/// Where graphs are written as ONNX, and how.
#[derive(Clone, Debug, PartialEq, Args)]
pub(super) struct OnnxOptions {
    /// Write the graphs as ONNX to this folder: a file for each, one of weights, and a README. An input takes the rows of its buffer
    /// from the run's window on; caches go in as the rows that they hold, and `present.NAME` are the rows to put behind them
    #[arg(long, value_name = "DIR")]
    onnx: Option<PathBuf>,
    /// The version of ONNX's operators: 18 is known to every reader of the last years; 23 has some for norms, rotary positions and
    /// attention, of which TensorRT does not build attention in f32
    #[arg(long, value_name = "18|23", default_value = "18", value_parser = opset, requires = "onnx")]
    opset: Opset,
    /// Replace the ONNX files that are in the folder
    #[arg(long, requires = "onnx")]
    overwrite: bool,
}

fn opset(text: &str) -> Result<Opset, String> {
    let known = || Opset::ALL.map(|opset| opset.version().to_string()).join(" and ");
    text.parse().ok().and_then(Opset::of_version).ok_or_else(|| format!("expected one of {}", known()))
}

/// What was written.
#[derive(Debug, Serialize)]
pub(super) struct OnnxReport {
    folder: PathBuf,
    opset: i64,
    weights_bytes: u64,
    graphs: Vec<GraphLine>,
}

#[derive(Debug, Serialize)]
struct GraphLine {
    graph: String,
    file: String,
    nodes: usize,
    file_bytes: u64,
}

impl OnnxOptions {
    /// As it is typed.
    pub(super) const FLAG: &str = "--onnx";

    /// The folder, if it is asked for.
    pub(super) fn dir(&self) -> Option<&PathBuf> {
        self.onnx.as_ref()
    }

    /// Whether ONNX files in it may go.
    pub(super) fn overwrites(&self) -> bool {
        self.overwrite
    }

    /// Writes them, if that is asked for.
    pub(super) fn write(&self, model: &Model) -> anyhow::Result<Option<OnnxReport>> {
        let Some(folder) = &self.onnx else { return Ok(None) };
        let progress = Progress::new("onnx");
        let summary =
            write_model(model, folder, self.opset, &mut |done, total| progress.set(done, total, "weights"))?;
        let graphs = summary.graphs.into_iter().map(|file| GraphLine {
            graph: file.graph,
            file: file.file,
            nodes: file.nodes,
            file_bytes: file.file_bytes,
        });
        Ok(Some(OnnxReport {
            folder: folder.clone(),
            opset: self.opset.version(),
            weights_bytes: summary.weights_bytes,
            graphs: graphs.collect(),
        }))
    }
}

impl OnnxReport {
    pub(super) fn text(&self) -> String {
        let heading = ["file", "nodes", "bytes"].map(str::to_owned).to_vec();
        let graphs = self
            .graphs
            .iter()
            .map(|graph| vec![graph.file.clone(), graph.nodes.to_string(), output::bytes(graph.file_bytes)]);
        let weights = vec![WEIGHTS_FILE.to_owned(), String::new(), output::bytes(self.weights_bytes)];
        let rows: Vec<Vec<String>> = std::iter::once(heading).chain(graphs).chain([weights]).collect();
        format!("{}: ONNX, opset {}\n{}", self.folder.display(), self.opset, output::table(&rows))
    }
}
