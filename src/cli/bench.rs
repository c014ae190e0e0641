//! `bench`: measures one engine, in the field's own words.
//!
//! Every run is shown what was not seen before, since a camera never shows the same frame twice and a cache would otherwise be
//! measured. The raw samples are kept, and counts, warm-up and the percentile rule are stated beside them.

mod predict;
mod reason;
mod samples;

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use self::samples::{Samples, Summaries};
use super::engines::{Identity, memory_rows};
use super::machine::{Machine, ProcessMemory};
use super::{Context, Usage, output};
use crate::backend::Memory;
use crate::engine::Engine;
use crate::runtime::statistics::PERCENTILE_RULE;

/// Measures an engine: the parts of an answer or of a forecast, and memory by its source.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  perihelion bench small-reason.engine --image-size 64 --prompt-tokens 32 --generate 32 --runs 10 --json
  perihelion bench small-predict.engine --runs 20 --warmup 2")]
pub(crate) struct Options {
    /// The engine
    engine: PathBuf,
    /// Write one JSON object, with the raw samples
    #[arg(long)]
    json: bool,
    /// Runs that count
    #[arg(long, value_name = "N", default_value_t = 5)]
    runs: usize,
    /// Runs before them that do not
    #[arg(long, value_name = "N", default_value_t = 1)]
    warmup: usize,
    #[command(flatten)]
    reason: reason::ReasonOptions,
    #[command(flatten)]
    predict: predict::PredictOptions,
}

/// What was measured of an engine in one role. `W` says what was asked for and what came of it, `R` the rates that follow.
struct Measured<W, R> {
    identity: Identity,
    load_ms: f64,
    workload: W,
    /// The workload in words.
    description: String,
    rates: R,
    /// The rates in words.
    rates_text: String,
    samples: Samples,
    session: Memory,
    loop_bytes: u64,
    /// What the loop's own memory holds.
    loop_holds: &'static str,
}

#[derive(Serialize)]
struct Report<'a, W, R> {
    engine: &'a PathBuf,
    #[serde(flatten)]
    identity: &'a Identity,
    threads: usize,
    machine: Machine,
    workload: &'a W,
    percentile_rule: &'static str,
    load_ms: f64,
    stages: Summaries<'a>,
    #[serde(flatten)]
    rates: &'a R,
    memory: MemoryReport,
    samples: &'a Samples,
}

/// Bytes by named source. They overlap and are never summed.
#[derive(Debug, Serialize)]
struct MemoryReport {
    session: Memory,
    loop_bytes: u64,
    process: ProcessMemory,
}

pub(crate) fn run(options: &Options, context: &Context) -> anyhow::Result<()> {
    if options.runs == 0 {
        return Err(Usage("--runs takes at least 1".to_owned()).into());
    }
    let engine = Engine::open(&options.engine)?;
    let roles = &engine.manifest().roles;
    // One that does both is measured in the role that the options are of.
    if roles.forecasts.is_some() && (roles.answers.is_none() || options.predict.any()) {
        if options.reason.any() {
            let message =
                "the engine forecasts: it takes no prompt, --image-size, --generate or --same-image";
            return Err(Usage(message.to_owned()).into());
        }
        report(options, context, &predict::measure(options, context)?)
    } else {
        if options.predict.any() {
            return Err(Usage("the engine answers questions: it takes no --steps".to_owned()).into());
        }
        report(options, context, &reason::measure(options, context)?)
    }
}

fn report<W: Serialize, R: Serialize>(
    options: &Options,
    context: &Context,
    measured: &Measured<W, R>,
) -> anyhow::Result<()> {
    let report = Report {
        engine: &options.engine,
        identity: &measured.identity,
        threads: context.threads.get(),
        machine: Machine::look(),
        workload: &measured.workload,
        percentile_rule: PERCENTILE_RULE,
        load_ms: measured.load_ms,
        stages: measured.samples.summaries(),
        rates: &measured.rates,
        memory: MemoryReport {
            session: measured.session.clone(),
            loop_bytes: measured.loop_bytes,
            process: ProcessMemory::look(),
        },
        samples: &measured.samples,
    };
    if options.json { output::json(&report) } else { output::text(&text(options, &report, measured)) }
}

fn text<W, R>(options: &Options, report: &Report<'_, W, R>, measured: &Measured<W, R>) -> String {
    let mut text = format!(
        "{}: {}, {}, {} thread(s), opened in {:.1} ms\n{}\n{} warm-up runs, then {} runs; percentile p is {}\n\n",
        report.engine.display(),
        report.identity.backend,
        report.identity.precision,
        report.threads,
        report.load_ms,
        measured.description,
        options.warmup,
        options.runs,
        report.percentile_rule,
    );
    text.push_str(&measured.samples.table());
    text.push_str(&format!("\n{}\n\nmemory (the sources overlap)\n", measured.rates_text));
    let MemoryReport { session, loop_bytes, process } = &report.memory;
    let mut rows = memory_rows(session);
    let in_loop = format!("loop: {}", measured.loop_holds);
    for (name, value) in [
        (&in_loop[..], Some(*loop_bytes)),
        ("process VmHWM", process.vm_hwm_bytes),
        ("process RssAnon", process.rss_anon_bytes),
        ("process RssFile", process.rss_file_bytes),
    ] {
        let mut row = vec![name.to_owned(), value.map_or_else(|| "–".to_owned(), output::bytes)];
        row.extend(value.map(|bytes| bytes.to_string()));
        rows.push(row);
    }
    text.push_str(&output::table(&rows));
    text
}
