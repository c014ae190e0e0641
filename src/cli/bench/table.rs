//! What was measured, as tables: for a person, in Markdown, and as comma-separated values.

use super::samples::Samples;
use super::{Measured, MemoryReport, OnBoard, Options, Report};
use crate::cli::engines::memory_rows;
use crate::cli::output;
use crate::runtime::statistics::{PERCENTILES, Summary};

const NONE: &str = "–";

/// Which percentiles so many runs do not bear, if any.
pub(super) fn too_few(runs: usize, samples: &Samples) -> Option<String> {
    let summaries: Vec<Summary> = samples.parts().map(|part| part.summary()).collect();
    let is_short = |name: &str| summaries.iter().any(|summary| summary.too_few_samples_for.contains(&name));
    let short: Vec<_> = PERCENTILES.into_iter().filter(|(name, _)| is_short(name)).collect();
    let needs: Vec<String> = short.iter().map(|(name, needed)| format!("{name} (needs {needed})")).collect();
    let (_, most) = short.last()?;
    let needs = needs.join(", ");
    Some(format!(
        "{runs} run(s) give too few samples for {needs}: tables leave it out; --runs {most} gives enough"
    ))
}

/// For a person.
pub(super) fn text<W, R>(options: &Options, report: &Report<'_, W, R>, measured: &Measured<W, R>) -> String {
    format!(
        "{}\n{}\n\n{}\n{}\nmemory (the sources overlap)\n{}",
        heading(&report.engine.display().to_string(), report),
        setting(options, report, measured),
        output::table(&stages(&measured.samples)),
        output::table(&rates(&measured.rates)),
        output::table(&memory(report, measured)),
    )
}

/// The same in Markdown.
pub(super) fn markdown<W, R>(
    options: &Options,
    report: &Report<'_, W, R>,
    measured: &Measured<W, R>,
) -> String {
    let engine = output::markdown_cell(&report.engine.display().to_string());
    let mut memory = memory(report, measured);
    memory.insert(0, ["memory (the sources overlap)", "", "bytes"].map(str::to_owned).to_vec());
    format!(
        "**{}**, {}\n\n{}\n\n{}\n{}\n{}",
        heading(&engine, report),
        output::markdown_cell(&report.machine.cpu),
        setting(options, report, measured).replace('\n', "  \n"),
        output::markdown(&stages(&measured.samples)),
        output::markdown(&rates(&measured.rates)),
        output::markdown(&memory),
    )
}

/// A line for each part and rate, with the whole setting, so that files may be put together.
pub(super) fn csv<W, R>(options: &Options, report: &Report<'_, W, R>, measured: &Measured<W, R>) -> String {
    let heading = "measure,unit,count,min,mean,stddev,p50,p90,p95,p99,max,warmup_runs,runs,engine,backend,precision,threads,\
                   cpu,workload";
    let mut rows = vec![heading.split(',').map(str::to_owned).collect::<Vec<_>>()];
    let setting = [
        options.warmup.to_string(),
        options.runs.to_string(),
        report.engine.display().to_string(),
        report.identity.backend.clone(),
        report.identity.precision.clone(),
        report.threads.to_string(),
        report.machine.cpu.clone(),
        measured.description.clone(),
    ];
    let mut row = |measure: &str, unit: &str, summary: &Summary| {
        let Summary { count, min, mean, stddev, max, .. } = *summary;
        let mut row = vec![measure.to_owned(), unit.to_owned(), count.to_string()];
        let figures = [min, mean, stddev].into_iter().chain(summary.sound_percentiles()).chain([max]);
        row.extend(figures.map(|value| value.map_or_else(String::new, |value| value.to_string())));
        row.extend_from_slice(&setting);
        rows.push(row);
    };
    row("load_ms", "ms", &Summary::of(&[report.load_ms]));
    for part in measured.samples.parts() {
        row(part.key, "ms", &part.summary());
    }
    for rate in measured.rates.parts() {
        row(rate.key, if rate.key.ends_with("_per_s") { "1/s" } else { "1" }, &rate.summary());
    }
    output::csv(&rows)
}

fn heading<W, R>(engine: &str, report: &Report<'_, W, R>) -> String {
    let identity = &report.identity;
    format!(
        "{engine}: {}, {}, {} thread(s), opened in {:.1} ms",
        identity.backend, identity.precision, report.threads, report.load_ms
    )
}

fn setting<W, R>(options: &Options, report: &Report<'_, W, R>, measured: &Measured<W, R>) -> String {
    format!(
        "{}\n{} warm-up run(s), then {} run(s); ± is the standard deviation of the samples, of rates over the runs\n\
         percentile p is {}; it is left out of fewer than 100 / (100 - p) samples{}",
        measured.description,
        options.warmup,
        options.runs,
        report.percentile_rule,
        measured.board.as_ref().map_or(String::new(), on_board)
    )
}

/// What the board went through, on lines of their own.
fn on_board(OnBoard { record, joules_per_run }: &OnBoard) -> String {
    let figure = |value: Option<f64>| value.map_or_else(|| NONE.to_owned(), |value| format!("{value:.1}"));
    let mode = record.power_mode.as_ref().map_or("power mode not told", |mode| &mode.name);
    let throttled = if record.throttled.is_empty() { "none".to_owned() } else { record.throttled.join(", ") };
    let events: u64 = record.over_current_events.iter().map(|counter| counter.events).sum();
    let mhz = |khz: Option<u64>| khz.map_or_else(|| NONE.to_owned(), |khz| (khz / 1000).to_string());
    let clocks = record.clocks_before.all().zip(record.clocks_after.all());
    let clocks = clocks.map(|(a, b)| format!("{} {} then {} MHz", a.name, mhz(a.khz), mhz(b.khz)));
    format!(
        "\nboard: {mode}; {} °C, then {} at most; throttled: {throttled}; over-current events: {events}\n\
         power: {} W, {} at most ({}); {} J a run\nclocks: {}",
        figure(record.celsius_before),
        figure(record.celsius_max),
        figure(record.watts_mean),
        figure(record.watts_max),
        record.watts_of.join(" + "),
        joules_per_run.map_or_else(|| NONE.to_owned(), |joules| format!("{joules:.3}")),
        clocks.collect::<Vec<_>>().join(", ")
    )
}

/// A row for each part of a run.
fn stages(samples: &Samples) -> Vec<Vec<String>> {
    let heading = ["ms", "count", "min", "mean", "±", "p50", "p90", "p95", "p99", "max"];
    let rows = samples.parts().map(|part| {
        let summary = part.summary();
        let Summary { count, min, mean, stddev, max, .. } = summary;
        let figures = [min, mean, stddev].into_iter().chain(summary.sound_percentiles()).chain([max]);
        [part.title.to_owned(), count.to_string()].into_iter().chain(figures.map(figure)).collect()
    });
    std::iter::once(heading.map(str::to_owned).to_vec()).chain(rows).collect()
}

/// A row for each rate.
fn rates(rates: &Samples) -> Vec<Vec<String>> {
    let rows = rates.parts().map(|part| {
        let Summary { count, min, mean, stddev, max, .. } = part.summary();
        let figures = [min, mean, stddev, max].map(figure);
        [part.title.to_owned(), count.to_string()].into_iter().chain(figures).collect()
    });
    std::iter::once(["a second", "runs", "min", "mean", "±", "max"].map(str::to_owned).to_vec())
        .chain(rows)
        .collect()
}

fn memory<W, R>(report: &Report<'_, W, R>, measured: &Measured<W, R>) -> Vec<Vec<String>> {
    let MemoryReport { session, loop_bytes, process } = &report.memory;
    let mut rows = memory_rows(session);
    let in_loop = format!("loop: {}", measured.loop_holds);
    for (name, value) in [
        (&in_loop[..], Some(*loop_bytes)),
        ("process VmHWM", process.vm_hwm_bytes),
        ("process RssAnon", process.rss_anon_bytes),
        ("process RssFile", process.rss_file_bytes),
    ] {
        let shown = value.map_or_else(|| NONE.to_owned(), output::bytes);
        let exact = value.map_or_else(|| NONE.to_owned(), |bytes| bytes.to_string());
        rows.push(vec![name.to_owned(), shown, exact]);
    }
    rows
}

/// A figure with four or more of its digits.
fn figure(value: Option<f64>) -> String {
    let Some(value) = value else { return NONE.to_owned() };
    let decimals = match value.abs() {
        size if size < 10.0 => 3,
        size if size < 100.0 => 2,
        size if size < 1000.0 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}")
}

#[cfg(test)]
#[test]
fn what_a_board_went_through_is_told_whole() {
    use crate::board::{Root, Watch};

    let tree = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/boards/orin-nano");
    let record = Watch::start(Root::at(tree)).and_then(Watch::finish).expect("a Jetson");
    let text = on_board(&OnBoard { record, joules_per_run: Some(1.5) });
    assert_eq!(
        text,
        "\nboard: 15W; 51.3 °C, then 51.3 at most; throttled: none; over-current events: 0\n\
         power: 7.4 W, 7.4 at most (VDD_IN); 1.500 J a run\n\
         clocks: cpu0 1497 then 1497 MHz, cpu4 729 then 729 MHz, 17000000.gpu 306 then 306 MHz"
    );
}
