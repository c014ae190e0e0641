//! What `inspect` says of a model or an engine.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use serde::Serialize;

use super::claims::Plan;
use crate::backend::{Binding, Memory, OpenOptions, PartFormats, parts};
use crate::camera::Preprocess;
use crate::cli::engines::{Identity, memory_rows};
use crate::cli::output;
use crate::container::{Container, Section, hex};
use crate::engine::Engine;
use crate::graph::{Network, Purpose};
use crate::model::{Model, Roles};
use crate::models::predict25::PredictManifest;

/// A model or an engine.
#[derive(Debug, Serialize)]
pub(super) struct FileReport {
    kind: &'static str,
    path: PathBuf,
    written_by: String,
    sha256: String,
    #[serde(flatten)]
    built: Option<Built>,
    checkpoint: String,
    checkpoint_sha256: String,
    file_bytes: u64,
    limits: BTreeMap<String, usize>,
    graphs: Vec<GraphLine>,
    weights: usize,
    /// What a build may give formats of their own.
    parts: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<ReasonLine>,
    #[serde(skip_serializing_if = "Option::is_none")]
    predict: Option<PredictManifest>,
    sections: Vec<Section>,
    buffers: Vec<PurposeLine>,
    /// What a session will claim when the model is built for the CPU at these limits; absent for an engine.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    plans: Vec<Plan>,
    /// What a session claims; absent for a model, and where it cannot be opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<Memory>,
    /// Why this machine cannot open it.
    #[serde(skip_serializing_if = "Option::is_none")]
    cannot_open: Option<String>,
}

/// What only an engine has.
#[derive(Debug, Serialize)]
struct Built {
    backend: String,
    precision: String,
    formats: PartFormats,
    bound_to: Binding,
    is_tried: bool,
    model: String,
    model_sha256: String,
}

#[derive(Debug, Serialize)]
struct GraphLine {
    name: String,
    nodes: usize,
    extents: BTreeMap<String, [usize; 2]>,
}

/// What surrounds a Reason network.
#[derive(Debug, Serialize)]
struct ReasonLine {
    vocab_size: usize,
    stop_token_ids: Vec<u32>,
    can_think: bool,
    clip_frames: usize,
    clip_fps: f64,
    preprocess: Preprocess,
}

/// Buffers that serve one purpose.
#[derive(Debug, Serialize)]
struct PurposeLine {
    purpose: Purpose,
    buffers: usize,
    bytes: u64,
}

impl FileReport {
    /// Plans sessions and opens none, so that a model may be larger than this machine.
    pub(super) fn of_model(model: &Model, threads: NonZeroUsize) -> anyhow::Result<Self> {
        let manifest = model.manifest();
        let mut report = Self::new("model", model.container(), model.network(), &manifest.roles);
        report.written_by.clone_from(&manifest.written_by);
        report.checkpoint.clone_from(&manifest.source.name);
        report.checkpoint_sha256.clone_from(&manifest.source.sha256);
        report.plans = Plan::all(model.network(), threads)?;
        Ok(report)
    }

    /// Opens a session, to see what it claims.
    pub(super) fn of_engine(engine: &Engine, threads: NonZeroUsize) -> Self {
        let manifest = engine.manifest();
        let identity = Identity::of(engine);
        let mut report = Self::new("engine", engine.container(), engine.network(), &manifest.roles);
        report.written_by.clone_from(&manifest.written_by);
        report.checkpoint = identity.checkpoint;
        report.checkpoint_sha256 = identity.checkpoint_sha256;
        report.built = Some(Built {
            backend: identity.backend,
            precision: identity.precision,
            formats: manifest.formats.clone(),
            bound_to: manifest.bound_to.clone(),
            is_tried: manifest.is_tried,
            model: manifest.model.name.clone(),
            model_sha256: identity.model_sha256,
        });
        match engine.session(&OpenOptions { threads: Some(threads.get()) }) {
            Ok(session) => report.memory = Some(session.memory()),
            Err(why) => report.cannot_open = Some(why.to_string()),
        }
        report
    }

    fn new(kind: &'static str, container: &Container, network: &Network, roles: &Roles) -> Self {
        let graphs = network.graphs.iter().map(|graph| GraphLine {
            name: graph.name.clone(),
            nodes: graph.nodes.len(),
            extents: graph.dims.iter().map(|dim| (dim.name.clone(), [dim.min, dim.max])).collect(),
        });
        let reason = roles.answers.as_ref().map(|reason| ReasonLine {
            vocab_size: reason.vocab_size,
            stop_token_ids: reason.stop_token_ids.clone(),
            can_think: reason.prompt.think_suffix.is_some(),
            clip_frames: reason.clip.frames,
            clip_fps: reason.clip.fps,
            preprocess: reason.preprocess,
        });
        Self {
            kind,
            path: container.path().to_owned(),
            written_by: String::new(),
            sha256: hex(&container.digest()),
            built: None,
            checkpoint: String::new(),
            checkpoint_sha256: String::new(),
            file_bytes: container.file_bytes(),
            limits: network.limits.iter().map(|limit| (limit.name.clone(), limit.value)).collect(),
            graphs: graphs.collect(),
            weights: network.weights.len(),
            parts: parts(network).into_iter().map(str::to_owned).collect(),
            reason,
            predict: roles.forecasts.clone(),
            sections: container.sections().to_vec(),
            buffers: buffers_by_purpose(network),
            plans: Vec::new(),
            memory: None,
            cannot_open: None,
        }
    }

    pub(super) fn text(&self, is_verified: bool) -> String {
        let mut text = format!("{} {}, {}\n", self.kind, self.path.display(), output::bytes(self.file_bytes));
        let mut line = |name: &str, value: String| text.push_str(&format!("  {name:12}  {value}\n"));
        line("sha256", format!("{}{}", self.sha256, if is_verified { " (every byte verified)" } else { "" }));
        if let Some(built) = &self.built {
            let bound_to = built.bound_to.fields().map(|(field, value)| format!("{field} {value}"));
            let bound_to = bound_to.collect::<Vec<_>>().join(", ");
            let untried = if built.is_tried { "" } else { "; not tried yet" };
            line("built for", format!("{}, {}, {bound_to}{untried}", built.backend, built.precision));
            line("model", format!("{} {}", built.model, built.model_sha256));
        }
        line("checkpoint", format!("{} {}", self.checkpoint, self.checkpoint_sha256));
        line("written by", self.written_by.clone());
        let limits = self.limits.iter().map(|(name, value)| format!("{name} {value}"));
        line("limits", limits.collect::<Vec<_>>().join(", "));
        line("parts", self.parts.join(", "));
        for GraphLine { name, nodes, extents } in &self.graphs {
            let extents = extents.iter().map(|(name, [min, max])| format!("{name} {min}..={max}"));
            let extents = extents.collect::<Vec<_>>().join(", ");
            line(
                "graph",
                format!("{name}: {nodes} nodes{}{extents}", if extents.is_empty() { "" } else { "; " }),
            );
        }
        if let Some(reason) = &self.reason {
            let stop: Vec<String> = reason.stop_token_ids.iter().map(u32::to_string).collect();
            line("tokens", format!("{}, of which {} end an answer", reason.vocab_size, stop.join(" and ")));
            let thinks =
                if reason.can_think { "when asked" } else { "not (exported without --think-suffix)" };
            line("thinks", thinks.to_owned());
            line(
                "clip",
                format!("{} frames at {} a second, unless told", reason.clip_frames, reason.clip_fps),
            );
        }
        if let Some(predict) = &self.predict {
            let clip = &predict.clip;
            line(
                "frames",
                format!(
                    "{}×{}, {} given and {} forecast, {} a second",
                    clip.width,
                    clip.height,
                    clip.n_given,
                    predict.horizon(),
                    predict.fps
                ),
            );
            let texts: Vec<&str> = predict.texts.iter().map(|t| t.name.as_str()).collect();
            line("texts", texts.join(", "));
            let actions = clip.actions.as_ref().map_or("none".to_owned(), |a| a.describe());
            line("actions", actions);
            line("steps", format!("{}, guidance {}", predict.steps, predict.guidance.scale));
        }
        text.push_str("\nbytes by purpose, in the file\n");
        let rows = self.sections.iter().map(|section| {
            let bytes = section.bytes as u64;
            vec![
                section.name.clone(),
                output::bytes(bytes),
                bytes.to_string(),
                section.sha256.chars().take(16).collect(),
            ]
        });
        text.push_str(&output::table(&rows.collect::<Vec<_>>()));
        match (&self.memory, &self.cannot_open) {
            (Some(memory), _) => {
                text.push_str("\nbytes by purpose, once opened\n");
                text.push_str(&output::table(&memory_rows(memory)));
            }
            (None, Some(why)) => text.push_str(&format!("\ncannot be opened here: {why}\n")),
            (None, None) => {
                for plan in &self.plans {
                    text.push_str(&plan.text());
                }
            }
        }
        text
    }
}

fn buffers_by_purpose(network: &Network) -> Vec<PurposeLine> {
    [Purpose::Input, Purpose::Output, Purpose::Cache, Purpose::Features]
        .into_iter()
        .map(|purpose| {
            let of_it = || network.buffers.iter().filter(|buffer| buffer.purpose == purpose);
            let bytes = of_it().map(|buffer| (buffer.len() * buffer.dtype.size_bytes()) as u64).sum();
            PurposeLine { purpose, buffers: of_it().count(), bytes }
        })
        .collect()
}
