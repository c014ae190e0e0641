//! `perihelion compile`: makes TensorRT plans of a model's graphs, on machines without a GPU too, and says what is in them.
//!
//! Without a model it is the process in which one plan is made, which `build` and this verb start for themselves.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;

use super::progress::Progress;
use super::{Context, Usage, inspect, output};
use crate::backend::tensorrt::{
    CacheForm, Order, STORING, Target, check_target, compile, lower, programs, rules, serve,
};
use crate::backend::{ActivationScales, BackendError, FormatChoice, Stored, WeightFormat};
use crate::container::{Kind, hex};
use crate::graph::Network;
use crate::model::Model;
use crate::quantize::groups_of;

/// Makes TensorRT plans of a model's graphs, on machines without a GPU too, and says what is in them: a look ahead. Engines are `build`'s
#[derive(Debug, clap::Args)]
#[command(
    hide = true,
    after_help = "Without a model it is the process in which one plan is made: standard input is a network and its target, standard \
                  output is the plan.

Examples:
  perihelion compile small-reason.model --target sm86
  perihelion compile Cosmos-Reason2-2B --graph decode --precision language=int4,vision=f16 --target sm89 --attention own"
)]
pub(crate) struct Options {
    /// A model, or a checkpoint directory (or one of its configs alone, since plans are made without weights)
    #[arg(value_name = "CHECKPOINT|MODEL")]
    path: Option<PathBuf>,
    /// As `build` takes it, but f16 for parts that are not named
    #[arg(long, value_name = "FORMAT|PART=FORMAT,…", default_value = "f16", requires = "path")]
    precision: FormatChoice,
    /// As `build` takes it
    #[arg(long, value_name = "FILE", requires = "path")]
    scales: Option<PathBuf>,
    /// As `build` takes it, several separated by commas
    #[arg(long, default_value = "current", requires = "path")]
    target: Target,
    /// Of operations that every TensorRT has, or TensorRT's own, which writes caches in place
    #[arg(long, value_enum, default_value_t = Attention::Portable, requires = "path")]
    attention: Attention,
    /// This graph alone
    #[arg(long, value_name = "GRAPH", requires = "path")]
    graph: Option<String>,
    /// Write one JSON object
    #[arg(long, requires = "path")]
    json: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Attention {
    Portable,
    Own,
}

/// What was made of a model.
#[derive(Serialize)]
struct Report {
    precision: String,
    target: Target,
    attention: CacheForm,
    plans: Vec<Made>,
}

/// One graph's plan.
#[derive(Serialize)]
struct Made {
    graph: String,
    layers: usize,
    plan_bytes: usize,
    elapsed_ms: u64,
    peak_bytes: u64,
    /// What a plan is given when it is opened, beside its inputs.
    placed: usize,
    programs: Vec<OfTarget>,
}

/// What a plan's text says that one GPU does.
#[derive(Serialize)]
struct OfTarget {
    target: String,
    kernels: usize,
    scratch_bytes: u64,
}

pub(crate) fn run(options: &Options, context: &Context) -> anyhow::Result<()> {
    let Some(path) = &options.path else {
        return Ok(serve(&mut std::io::stdin().lock(), &mut std::io::stdout().lock())?);
    };
    let (network, digest) = opened(path, context)?;
    let choice = options.precision.clone().otherwise(WeightFormat::F16);
    let parts = choice.of_parts(&network, &STORING).map_err(|why| Usage(why.to_string()))?;
    let scales = options.scales.as_deref().map(ActivationScales::open).transpose()?;
    if let (Some(scales), Some(path)) = (&scales, &options.scales) {
        let whose = || Usage("--scales are a model's: give the model's file and not its checkpoint".into());
        let names = network.weights.iter().map(|weight| &weight.name[..]);
        let digest = digest.as_deref().ok_or_else(whose)?;
        let balances = || groups_of(&network, &scales.balances);
        let of_model = scales.check_of(digest, names).and_then(|()| balances());
        of_model.with_context(|| path.display().to_string())?;
    }
    let stored = Stored::new(&parts, &network, scales.map(Arc::new))?;
    check_target(&network, &stored, &options.target)?;
    let caches = match options.attention {
        Attention::Portable => CacheForm::Tokens,
        Attention::Own => CacheForm::Heads,
    };
    let rules = rules(&network, &stored, caches)?;
    let is_asked = |name: &str| options.graph.as_deref().is_none_or(|asked| asked == name);
    let asked: Vec<_> = network.graphs.iter().zip(rules).filter(|(graph, _)| is_asked(&graph.name)).collect();
    if let (Some(graph), []) = (&options.graph, &asked[..]) {
        let names: Vec<&str> = network.graphs.iter().map(|graph| graph.name.as_str()).collect();
        return Err(Usage(format!("no graph is named `{graph}`; there are {}", names.join(", "))).into());
    }
    // All before the first plan, which may take minutes.
    let lowered = asked.into_iter().map(|(graph, rules)| Ok((graph, lower(&network, graph, rules)?)));
    let lowered = lowered.collect::<Result<Vec<_>, BackendError>>()?;
    let progress = Progress::counting("compile");
    let mut plans = Vec::new();
    let n_graphs = lowered.len() as u64;
    for (i, (graph, lowered)) in lowered.into_iter().enumerate() {
        log::info!("graph `{}`, {} of {n_graphs}", graph.name, i + 1);
        let (layers, placed) = (lowered.layers.layers.len(), lowered.placed.len());
        let order =
            Order { graph: graph.name.clone(), layers: lowered.layers, target: options.target.clone() };
        let mut child = Command::new(std::env::current_exe().context("this program's own file")?);
        child.arg("compile");
        let mut tick = |elapsed: Duration| {
            let message = format!("plan {}: {} s", graph.name, elapsed.as_secs());
            progress.count(i as u64, n_graphs, message);
        };
        let made = compile(child, &order, &mut tick)?;
        let of_target = |program: crate::backend::tensorrt::Program| OfTarget {
            target: program.target,
            kernels: program.kernels.len(),
            scratch_bytes: program.scratch_bytes,
        };
        plans.push(Made {
            graph: order.graph,
            layers,
            plan_bytes: made.plan.len(),
            elapsed_ms: made.elapsed.as_millis() as u64,
            peak_bytes: made.peak_bytes,
            placed,
            programs: programs(&made.plan).into_iter().map(of_target).collect(),
        });
    }
    let report =
        Report { precision: parts.to_string(), target: options.target.clone(), attention: caches, plans };
    if options.json { output::json(&report) } else { output::text(&text(&report)) }
}

/// The network of a model or of configs, and a model's digest.
fn opened(path: &Path, context: &Context) -> anyhow::Result<(Network, Option<String>)> {
    if path.is_dir() {
        return Ok((inspect::network_of_checkpoint(path, context.threads)?, None));
    }
    match Kind::of_file(path)? {
        Some(Kind::Model) => {
            let model = Model::open(path)?;
            Ok((model.network().clone(), Some(hex(&model.digest()))))
        }
        _ => {
            let message = format!("{} is neither a checkpoint directory nor a model", path.display());
            Err(Usage(message).into())
        }
    }
}

fn text(report: &Report) -> String {
    let heads = ["graph", "layers", "plan", "took", "memory", "kernels", "scratch"];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    for made in &report.plans {
        let of = |pick: fn(&OfTarget) -> String| -> String {
            made.programs.iter().map(pick).collect::<Vec<_>>().join(" ")
        };
        rows.push(vec![
            made.graph.clone(),
            made.layers.to_string(),
            output::bytes(made.plan_bytes as u64),
            format!("{:.1} s", made.elapsed_ms as f64 / 1e3),
            output::bytes(made.peak_bytes),
            of(|p| format!("{}:{}", p.target, p.kernels)),
            of(|p| output::bytes(p.scratch_bytes)),
        ]);
    }
    format!("{}\n{}", report.precision, output::table(&rows))
}
