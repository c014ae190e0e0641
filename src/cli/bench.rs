//! `bench`: measures one engine, in the field's own words.
//!
//! Every run is shown what was not seen before, since a camera never shows the same frame twice and a cache would otherwise be
//! measured. The raw samples are kept, and counts, warm-up and the percentile rule are stated beside them. A percentile of too few
//! samples is left out where a person reads it.

mod predict;
mod reason;
mod samples;
mod table;

use std::path::PathBuf;

use clap::builder::RangedU64ValueParser;
use clap::{Args, ValueEnum};
use serde::Serialize;

use self::samples::{Samples, Summaries};
use super::engines::Identity;
use super::machine::{Machine, ProcessMemory};
use super::progress::Progress;
use super::{Context, Usage, output};
use crate::backend::Memory;
use crate::board::{self, Root, Watch};
use crate::engine::Engine;
use crate::runtime::statistics::PERCENTILE_RULE;

/// Runs at most, of each kind: samples are kept in memory.
const RUNS_MAX: u64 = 1_000_000;

/// Measures an engine: the parts of an answer or of a forecast, its rates, and memory by its source.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  perihelion bench small-reason.engine --image-size 64 --prompt-tokens 32 --generate 32 --runs 100 --json
  perihelion bench small-predict.engine --runs 20 --warmup 2 --format md")]
pub(crate) struct Options {
    /// The engine
    engine: PathBuf,
    /// How the result is written
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::Text)]
    format: Format,
    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// Runs that count; p90 needs 10 of them, p95 20, p99 100
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = RangedU64ValueParser::<usize>::new().range(1..=RUNS_MAX))]
    runs: usize,
    /// Runs before them that do not
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = RangedU64ValueParser::<usize>::new().range(0..=RUNS_MAX))]
    warmup: usize,
    #[command(flatten)]
    reason: reason::ReasonOptions,
    #[command(flatten)]
    predict: predict::PredictOptions,
}

/// The ways of writing the result.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Format {
    /// Tables for a person
    Text,
    /// Markdown tables
    Md,
    /// A line for each part of a run and each rate, every one with the whole setting
    Csv,
    /// One object, with the raw samples
    Json,
}

/// What was measured of an engine in one role. `W` says what was asked for and what came of it, `R` the rates of the mean run.
struct Measured<W, R> {
    identity: Identity,
    load_ms: f64,
    workload: W,
    /// The workload in words.
    description: String,
    mean_rates: R,
    /// Rates of each run.
    rates: Samples,
    samples: Samples,
    /// The board during the runs that count; none of a machine that is no Jetson.
    board: Option<OnBoard>,
    session: Memory,
    loop_bytes: u64,
    /// What the loop's own memory holds.
    loop_holds: &'static str,
}

/// What a Jetson went through while it was measured.
#[derive(Clone, Debug, Serialize)]
struct OnBoard {
    #[serde(flatten)]
    record: board::Record,
    /// Energy of all that the board draws, over the number of runs.
    joules_per_run: Option<f64>,
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
    /// Of each run, so that they have a standard deviation.
    rates: Summaries<'a>,
    #[serde(flatten)]
    mean_rates: &'a R,
    #[serde(skip_serializing_if = "Option::is_none")]
    board: &'a Option<OnBoard>,
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

/// Runs `measure` with the number of each run, the warm-up before those that count, and shows how far it is. Says what the board went
/// through in those that count.
fn run_each(
    options: &Options,
    mut measure: impl FnMut(u64, bool) -> anyhow::Result<()>,
) -> anyhow::Result<Option<OnBoard>> {
    let (n_warmup, n_runs) = (options.warmup as u64, (options.warmup + options.runs) as u64);
    let progress = Progress::counting("runs");
    let mut watch = None;
    for run in 0..n_runs {
        let counts = n_warmup <= run;
        if run == n_warmup {
            watch = Watch::start(Root::machine());
        }
        progress.set(run, n_runs, if counts { "measuring" } else { "warming up" });
        measure(run, counts)?;
    }
    Ok(watch.and_then(Watch::finish).map(|record| {
        let joules_per_run = record.joules.map(|joules| joules / options.runs as f64);
        OnBoard { record, joules_per_run }
    }))
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
        rates: measured.rates.summaries(),
        mean_rates: &measured.mean_rates,
        board: &measured.board,
        memory: MemoryReport {
            session: measured.session.clone(),
            loop_bytes: measured.loop_bytes,
            process: ProcessMemory::look(),
        },
        samples: &measured.samples,
    };
    if let Some(warning) = table::too_few(options.runs, &measured.samples) {
        eprintln!("warning: {warning}");
    }
    match if options.json { Format::Json } else { options.format } {
        Format::Json => output::json(&report),
        Format::Text => output::text(&table::text(options, &report, measured)),
        Format::Md => output::text(&table::markdown(options, &report, measured)),
        Format::Csv => output::text(&table::csv(options, &report, measured)),
    }
}
