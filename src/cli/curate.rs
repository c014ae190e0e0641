//! `perihelion curate`: a robot's logs into clips to calibrate on and to train with.

mod merge;
mod place;
mod work;

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use self::place::Place;
use self::work::Work;
use super::progress::Progress;
use super::{Context, Usage, one_of, output, unit};
use crate::curate::{
    Format, Parameters, Part, Source, SourceRecord, Summary, find, finish, read_record, survey, take_share,
    text_name_problem,
};

/// Make a clean set of clips of a robot's logs: cut, sorted out, without near duplicates, with a manifest and a page
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(after_help = "\
A source is a bag (MCAP, or its folder), a folder of frames or a LeRobot data set (v3.0 with images); folders of them are looked through.
DIR then has manifest.json (where each clip came from, what was left out, why), index.html (the same with pictures), and the clips:
frames/000000/ and on, each as `calibrate --data` and `imagine --frames` take them; shards/000000.tar and on for WebDataset, a sample for
each clip; or lerobot/NAME/, a LeRobot data set for each camera, size and rate, an episode for each clip.
Thresholds are shares of a colour's range where no unit is named.

Examples:
  perihelion curate logs/ -o calibration/kitchen
  perihelion curate logs/ -o parts/2 --shard 2/4 --resume && perihelion curate merge parts/* -o calibration/kitchen")]
pub(crate) struct Options {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// Bags, folders of frames, LeRobot data sets, and folders of those
    #[arg(value_name = "BAG|DIR", required = true)]
    sources: Vec<PathBuf>,
    /// A folder that is not there or empty
    #[arg(short, long, value_name = "DIR", required = true)]
    output: Option<PathBuf>,
    /// How clips are written: frames (folders), webdataset (tar shards) or lerobot (data sets)
    #[arg(long, value_name = "FORMAT", default_value = "frames", value_parser = one_of(Format::ALL, Format::name))]
    format: Format,
    /// Take this topic alone [default: every topic of images; repeatable]
    #[arg(long = "topic", value_name = "TOPIC")]
    topics: Vec<String>,
    /// With lerobot: the topic of actions [default: the only one of Twist, TwistStamped or Float32MultiArray]
    #[arg(long, value_name = "TOPIC")]
    actions: Option<String>,
    /// With lerobot: what the robot is to do in every clip [default: as a source says it, or nothing]
    #[arg(long, value_name = "TEXT")]
    task: Option<String>,
    /// With lerobot: a text for each frame, the last on a topic of String; the name `task` makes it the task [repeatable]
    #[arg(long = "text-topic", value_name = "NAME=TOPIC", value_parser = text_topic)]
    texts: Vec<(String, String)>,
    #[command(flatten)]
    thresholds: Thresholds,
    /// Read only the i-th of n shares of the sources, for `curate merge`
    #[arg(long, value_name = "i/n", value_parser = share)]
    shard: Option<(u64, u64)>,
    /// Keep what is read in DIR.curating when interrupted, and go on from what is there
    #[arg(long)]
    resume: bool,
    /// Replace a set or a part that lies there
    #[arg(long)]
    overwrite: bool,
    /// One JSON object about the result
    #[arg(long)]
    json: bool,
}

/// What decides. The defaults lie between what planted stretches and clean clips measure (`tests/curate/`).
#[derive(Debug, Args)]
struct Thresholds {
    /// Frames a second of folders without a clip.json that says it
    #[arg(long, value_name = "HZ", default_value_t = 8.0, value_parser = positive)]
    fps: f64,
    /// A cut: the mean difference of two frames
    #[arg(long, value_name = "SHARE", default_value_t = 0.05, value_parser = unit::<f32>)]
    cut: f32,
    /// A gap between two stamps, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 0.5, value_parser = positive)]
    gap: f64,
    /// Still: no cell of a 16×16 grid differs this much
    #[arg(long, value_name = "SHARE", default_value_t = 0.04, value_parser = unit::<f32>)]
    still: f32,
    /// What stands still for this long is left out, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = positive)]
    still_for: f64,
    /// Dark: 95 of 100 pixels are below this light
    #[arg(long, value_name = "SHARE", default_value_t = 0.08, value_parser = unit::<f32>)]
    dark: f32,
    /// Blurred, from 0 (sharp) to 1 (no structure)
    #[arg(long, value_name = "MEASURE", default_value_t = 0.5, value_parser = unit::<f32>)]
    blurred: f32,
    /// Text: this share of the picture's tiles looks like it
    #[arg(long, value_name = "SHARE", default_value_t = 0.3, value_parser = unit::<f32>)]
    text: f32,
    /// Frames that a clip has at least
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=4096))]
    min_frames: u64,
    /// Frames that a clip has at most
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=4096))]
    max_frames: u64,
    /// A near duplicate: nine of ten frames differ from another clip's in at most this share of their hash
    #[arg(long, value_name = "SHARE", default_value_t = 0.2, value_parser = unit::<f32>)]
    duplicate: f32,
    /// And in at most this much of the hue of a cell of a 4×4 grid
    #[arg(long, value_name = "SHARE", default_value_t = 0.1, value_parser = unit::<f32>)]
    duplicate_hue: f32,
    /// Bytes of a shard or a data file, at most, in MB
    #[arg(long, value_name = "MB", default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    shard_mb: u64,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    Merge(merge::Options),
}

fn share(text: &str) -> Result<(u64, u64), String> {
    let numbers = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
    match numbers {
        Some((i, n)) if 1 <= i && i <= n && n <= 1_000_000 => Ok((i, n)),
        _ => Err("expected i/n with i from 1 to n, as 2/4".to_owned()),
    }
}

fn text_topic(text: &str) -> Result<(String, String), String> {
    let Some((name, topic)) = text.split_once('=').filter(|(_, topic)| !topic.is_empty()) else {
        return Err("expected NAME=TOPIC, as answer=/perihelion/answer".to_owned());
    };
    match text_name_problem(name) {
        Some(problem) => Err(format!("`{name}` {problem}")),
        None => Ok((name.to_owned(), topic.to_owned())),
    }
}

fn positive(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|n: &f64| n.is_finite() && 0.0 < *n);
    number.ok_or_else(|| "expected a number above 0".to_owned())
}

impl Options {
    fn parameters(&self) -> anyhow::Result<Parameters> {
        let t = &self.thresholds;
        if t.max_frames < t.min_frames {
            return Err(Usage(format!(
                "--min-frames {} is more than --max-frames {}",
                t.min_frames, t.max_frames
            ))
            .into());
        }
        let is_for_lerobot = self.actions.is_some() || self.task.is_some() || !self.texts.is_empty();
        if is_for_lerobot && self.format != Format::LeRobot {
            let message = "--actions, --task and --text-topic are for --format lerobot";
            return Err(Usage(message.to_owned()).into());
        }
        let texts: BTreeMap<String, String> = self.texts.iter().cloned().collect();
        if texts.len() < self.texts.len() {
            return Err(Usage("--text-topic names a text twice".to_owned()).into());
        }
        let mut topics = self.topics.clone();
        topics.sort();
        topics.dedup();
        Ok(Parameters {
            topics,
            fps: t.fps,
            cut: t.cut,
            gap_s: t.gap,
            still: t.still,
            still_s: t.still_for,
            dark: t.dark,
            blurred: t.blurred,
            text: t.text,
            min_frames: t.min_frames,
            max_frames: t.max_frames,
            duplicate: t.duplicate,
            duplicate_hue: t.duplicate_hue,
            shard_bytes: t.shard_mb * 1_000_000,
            format: self.format,
            actions: self.actions.clone(),
            task: self.task.clone(),
            texts,
        })
    }
}

pub(crate) fn run(options: &Options, _context: &Context) -> anyhow::Result<()> {
    if let Some(Verb::Merge(options)) = &options.verb {
        return merge::run(options);
    }
    let Some(out) = &options.output else { return Err(Usage("name a folder with -o DIR".into()).into()) };
    let parameters = options.parameters()?;
    let (share, of) = options.shard.unwrap_or((1, 1));
    let all = find(&options.sources)?;
    let part = Part::new(&all, share, of, &parameters);
    if options.shard.is_some() && options.resume && Part::read(out).is_ok_and(|there| there == part) {
        // Whoever asked for it may have died before it was told.
        return tell_part(options, out, &part, 0, part.names.len());
    }
    let found = all.iter().map(|source| source.path.clone());
    let inputs: Vec<PathBuf> = options.sources.iter().cloned().chain(found).collect();
    let place = Place::new(out, &inputs, options.overwrite)?;
    let work = if options.resume { Work::kept(out, &part)? } else { Work::hidden(out, &part)? };
    let ours = take_share(&all, share, of);
    let (records, n_resumed) = read_all(&ours, &parameters, &work)?;
    if options.shard.is_some() {
        work.becomes_part(&place)?;
        return tell_part(options, out, &part, ours.len() - n_resumed, n_resumed);
    }
    let records = ours.iter().map(|source| Part::place(work.path(), &source.name)).zip(records).collect();
    let progress = Progress::counting("clips");
    let result = work.result()?;
    let summary =
        finish(records, &parameters, result.path(), true, &mut |done, of| progress.set(done, of, ""))?;
    drop(progress);
    result.install()?;
    work.done(&place)?;
    tell(options.json, out, &parameters, &summary, n_resumed)
}

/// Reads what was not read already; tells the records in the sources' order, and how many of them were there.
fn read_all(
    sources: &[Source],
    parameters: &Parameters,
    work: &Work,
) -> anyhow::Result<(Vec<SourceRecord>, usize)> {
    let progress = Progress::new("curate");
    let sizes: Vec<u64> = sources.iter().map(Source::bytes).collect();
    let total = sizes.iter().sum();
    let (mut records, mut done, mut n_resumed) = (Vec::new(), 0, 0);
    for (source, bytes) in sources.iter().zip(sizes) {
        progress.set(done, total, "");
        let record = match work.there(source) {
            Some(record) => {
                n_resumed += 1;
                record
            }
            None => {
                let folder = work.begin(source)?;
                let mut tell = |read: u64| progress.set(done + read.min(bytes), total, "");
                survey(source, parameters, folder.path(), &mut tell)?;
                work.keep(source, folder)?;
                read_record(&Part::place(work.path(), &source.name))?
            }
        };
        if let Some(problem) = &record.problem {
            progress.say(&format!("warning: {}: {problem}", record.name));
        }
        for stream in record.streams.iter().filter(|stream| 0 < stream.damaged) {
            let first = stream.damaged_first.first();
            let first = first.map_or(String::new(), |damaged| {
                let file = damaged.file.as_ref().map_or(String::new(), |file| format!(" ({file})"));
                format!("; the first is number {}{file}: {}", damaged.frame, damaged.problem)
            });
            let (name, topic, n, of) = (&record.name, &stream.topic, stream.damaged, stream.frames);
            progress.say(&format!("warning: {name}: {topic} {n} of {of} images are damaged{first}"));
        }
        records.push(record);
        done += bytes;
    }
    Ok((records, n_resumed))
}

fn tell_part(
    options: &Options,
    out: &std::path::Path,
    part: &Part,
    n_read: usize,
    n_resumed: usize,
) -> anyhow::Result<()> {
    let place = out.display();
    let (share, of) = (part.share, part.of);
    if options.json {
        return output::json(&json!({
            "output": place.to_string(), "shard": share, "of": of, "sources": n_read + n_resumed, "read": n_read,
            "resumed": n_resumed,
        }));
    }
    output::text(&format!(
        "{place}: part {share} of {of}: {} sources, of which {n_resumed} were there\n",
        n_read + n_resumed
    ))
}

/// Tells what the set is.
fn tell(
    as_json: bool,
    out: &std::path::Path,
    parameters: &Parameters,
    summary: &Summary,
    n_resumed: usize,
) -> anyhow::Result<()> {
    let Summary { totals, digest, problems, shards, datasets } = summary;
    let place = out.display();
    if as_json {
        let problems: Vec<Value> = problems
            .iter()
            .map(|(source, problem)| json!({ "source": source, "problem": problem }))
            .collect();
        return output::json(&json!({
            "output": place.to_string(), "format": parameters.format, "digest": digest, "sources": totals.sources,
            "resumed": n_resumed, "clips": totals.clips, "frames": totals.frames, "kept_frames": totals.kept_frames,
            "damaged": totals.damaged, "dropped": totals.dropped, "shards": shards, "datasets": datasets,
            "problems": problems,
        }));
    }
    let left_out: Vec<String> = totals
        .dropped
        .iter()
        .filter(|(_, count)| 0 < count.frames)
        .map(|(reason, count)| format!("{} {reason}", count.frames))
        .chain((0 < totals.damaged).then(|| format!("{} damaged", totals.damaged)))
        .collect();
    let left_out = if left_out.is_empty() { "none".to_owned() } else { left_out.join(", ") };
    output::text(&format!(
        "{place}: {} clips of {} frames, of {} in {} sources; left out: {left_out}\n{}\n",
        totals.clips,
        totals.kept_frames,
        totals.frames,
        totals.sources,
        out.join("index.html").display()
    ))
}
