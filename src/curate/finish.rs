//! From the records of all sources to the set: the same, whoever made the records and in whatever order they come.

mod writing;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use self::writing::{Placed, Writing};
use super::bucket::Bucket;
use super::duplicates::{Candidate, near_duplicates};
use super::error::CurateError;
use super::lerobot::Kind;
use super::manifest::{
    ClipLine, DroppedLine, MANIFEST_FILE, Manifest, SCHEMA, SourceLine, StreamLine, Totals,
};
use super::page::{self, Shown};
use super::parameters::{Format, Parameters};
use super::record::{Clip, Dropped, Reason, SourceRecord, Stream};
use crate::camera::natural_order;
use crate::container::hex;

/// The page's file.
const PAGE_FILE: &str = "index.html";

/// What the set is.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Counts.
    pub totals: Totals,
    /// The manifest's digest of all frames.
    pub digest: String,
    /// Names of sources with what was wrong with them as a whole.
    pub problems: Vec<(String, String)>,
    /// Shards that were written.
    pub shards: u64,
    /// Folders of LeRobot's data sets that were written, within the set's.
    pub datasets: Vec<String>,
}

/// A source's record with the folder in which its files lie.
type Surveyed = (PathBuf, SourceRecord);

/// A clip with all that is known of it.
struct Found<'a> {
    folder: &'a Path,
    source: &'a SourceRecord,
    stream: &'a Stream,
    clip: &'a Clip,
}

/// Writes the set of these records into `out`, a folder that is there and empty. Frames are linked where `may_link` says that their
/// files will not be needed otherwise. `progress` is told how many clips of how many are written.
///
/// # Errors
/// If nothing is left, or a file cannot be read or written.
pub fn finish(
    mut records: Vec<Surveyed>,
    parameters: &Parameters,
    out: &Path,
    may_link: bool,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Summary, CurateError> {
    records.sort_by(|(_, a), (_, b)| natural_order(a.name.as_bytes(), b.name.as_bytes()));
    let (sources, also) = united(&records);
    let found: Vec<Found<'_>> = sources.iter().flat_map(|surveyed| clips_of(surveyed)).collect();
    let candidates: Vec<Candidate<'_>> = found
        .iter()
        .map(|Found { source, stream, clip, .. }| Candidate {
            clip,
            sha256: &source.sha256,
            topic: &stream.topic,
        })
        .collect();
    let likes = near_duplicates(&candidates, parameters);
    let mut kept: Vec<usize> = (0..found.len()).filter(|at| likes[*at].is_none()).collect();
    // By shape; those of one shape stay in the order of their sources.
    kept.sort_by_key(|at| Bucket::of(found[*at].clip));
    let mut names = vec![String::new(); found.len()];
    kept.iter().enumerate().for_each(|(number, at)| names[*at] = format!("{number:06}"));

    let mut dropped = Vec::new();
    let mut shown_dropped = Vec::new();
    for (folder, source) in &sources {
        for stream in &source.streams {
            for line in &stream.dropped {
                dropped.push(dropped_line(source, stream, line));
                shown_dropped.push(folder.join(&line.thumbnail));
            }
        }
    }
    for (at, like) in likes.iter().enumerate() {
        let Some(like) = like else { continue };
        let of = &found[at];
        dropped.push(duplicate_line(of, like.apart, parameters.duplicate, names[like.of].clone()));
        shown_dropped.push(of.folder.join(&of.clip.files[0]));
    }
    let totals = totals(&sources, &dropped, kept.iter().map(|at| found[*at].clip.files.len()));
    if kept.is_empty() {
        return Err(CurateError::NothingKept(why_nothing(&totals, &sources)));
    }

    let mut order: Vec<usize> = (0..kept.len()).collect();
    if parameters.format == Format::LeRobot {
        // One data set after the other.
        order.sort_by_cached_key(|number| {
            let Found { stream, clip, .. } = &found[kept[*number]];
            Kind::of(stream, clip, parameters)
        });
    }
    let mut writing = Writing::begin(out, parameters, may_link)?;
    let line_of = |at: &usize| {
        let Found { source, stream, clip, .. } = &found[*at];
        clip_line(source, stream, clip, names[*at].clone(), parameters)
    };
    let mut clips: Vec<ClipLine<'_>> = kept.iter().map(line_of).collect();
    for (done, number) in order.into_iter().enumerate() {
        progress(done as u64, kept.len() as u64);
        let Found { folder, stream, clip, .. } = &found[kept[number]];
        let line = &mut clips[number];
        let placed = writing.clip(folder, stream, clip, line)?;
        Placed { place: line.place, sha256: line.sha256, episode: line.episode } = placed;
    }
    let (shards, datasets) = writing.end()?;
    let lines: String = clips.iter().map(|line| format!("{}\n", line.sha256)).collect();
    let digest = hex(&Sha256::digest(lines));
    let manifest = Manifest {
        schema: SCHEMA,
        digest: digest.clone(),
        parameters,
        totals: totals.clone(),
        sources: sources.iter().map(|(_, source)| source_line(source, &also)).collect(),
        clips,
        dropped,
        shards,
        datasets,
    };
    let text = serde_json::to_vec_pretty(&manifest).expect("a manifest has string keys");
    write(&out.join(MANIFEST_FILE), &text)?;
    let shown = Shown {
        clips: kept.iter().map(|at| (found[*at].folder, found[*at].clip)).collect(),
        dropped: shown_dropped,
    };
    write(&out.join(PAGE_FILE), page::html(&manifest, &shown)?.as_bytes())?;
    let problem = |(_, source): &&Surveyed| Some((source.name.clone(), source.problem.clone()?));
    Ok(Summary {
        totals,
        digest,
        problems: sources.iter().filter_map(problem).collect(),
        shards: manifest.shards.len() as u64,
        datasets: manifest.datasets.iter().map(|set| set.place.clone()).collect(),
    })
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), CurateError> {
    fs::write(path, bytes).map_err(CurateError::at(path))
}

/// One source of each content, that whose name comes first, and the other names by the digest.
fn united(records: &[Surveyed]) -> (Vec<&Surveyed>, BTreeMap<&str, Vec<&str>>) {
    let mut also: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut sources = Vec::new();
    for surveyed in records {
        match also.get_mut(&surveyed.1.sha256[..]) {
            Some(names) => names.push(&surveyed.1.name),
            None => {
                also.insert(&surveyed.1.sha256, Vec::new());
                sources.push(surveyed);
            }
        }
    }
    (sources, also)
}

fn clips_of((folder, source): &Surveyed) -> impl Iterator<Item = Found<'_>> {
    source
        .streams
        .iter()
        .flat_map(move |stream| stream.clips.iter().map(move |clip| Found { folder, source, stream, clip }))
}

fn clip_line<'a>(
    source: &'a SourceRecord,
    stream: &'a Stream,
    clip: &Clip,
    name: String,
    parameters: &Parameters,
) -> ClipLine<'a> {
    let n = clip.files.len();
    let (first_ns, last_ns) = (clip.stamps_ns[0], clip.stamps_ns[n - 1]);
    let seconds = last_ns.saturating_sub(first_ns) as f64 / 1e9;
    let fps = if 0.0 < seconds { (n - 1) as f64 / seconds } else { parameters.fps };
    ClipLine {
        clip: name,
        place: String::new(),
        episode: None,
        source: &source.name,
        topic: &stream.topic,
        first: clip.first,
        last: clip.last,
        frames: n,
        first_stamp_ns: first_ns,
        last_stamp_ns: last_ns,
        fps: (1000.0 * fps).round() / 1000.0,
        bucket: Bucket::of(clip),
        begins: clip.begins,
        measured: clip.measured,
        sha256: String::new(),
    }
}

fn dropped_line<'a>(source: &'a SourceRecord, stream: &'a Stream, dropped: &Dropped) -> DroppedLine<'a> {
    let &Dropped { first, last, frames, first_stamp_ns, last_stamp_ns, reason, value, threshold, .. } =
        dropped;
    DroppedLine {
        source: &source.name,
        topic: &stream.topic,
        first,
        last,
        frames,
        first_stamp_ns,
        last_stamp_ns,
        reason,
        value,
        threshold,
        like: None,
    }
}

fn duplicate_line<'a>(found: &Found<'a>, value: f32, threshold: f32, like: String) -> DroppedLine<'a> {
    let &Found { source, stream, clip, .. } = found;
    DroppedLine {
        source: &source.name,
        topic: &stream.topic,
        first: clip.first,
        last: clip.last,
        frames: clip.files.len() as u64,
        first_stamp_ns: clip.stamps_ns[0],
        last_stamp_ns: clip.stamps_ns[clip.stamps_ns.len() - 1],
        reason: Reason::Duplicate,
        value,
        threshold,
        like: Some(like),
    }
}

fn source_line<'a>(source: &'a SourceRecord, also: &BTreeMap<&str, Vec<&'a str>>) -> SourceLine<'a> {
    let SourceRecord { name, kind, sha256, bytes, problem, streams } = source;
    let stream = |stream: &'a Stream| StreamLine {
        topic: &stream.topic,
        frames: stream.frames,
        damaged: stream.damaged,
        damaged_first: &stream.damaged_first,
    };
    SourceLine {
        name,
        also: also.get(&sha256[..]).cloned().unwrap_or_default(),
        kind: *kind,
        sha256,
        bytes: *bytes,
        problem: problem.as_deref(),
        streams: streams.iter().map(stream).collect(),
    }
}

fn totals(
    sources: &[&Surveyed],
    dropped: &[DroppedLine<'_>],
    kept: impl Iterator<Item = usize> + Clone,
) -> Totals {
    let streams = || sources.iter().flat_map(|(_, source)| &source.streams);
    let mut totals = Totals {
        sources: sources.len() as u64,
        frames: streams().map(|stream| stream.frames).sum(),
        kept_frames: kept.clone().sum::<usize>() as u64,
        clips: kept.count() as u64,
        damaged: streams().map(|stream| stream.damaged).sum(),
        dropped: BTreeMap::new(),
    };
    for reason in Reason::ALL {
        totals.dropped.insert(reason.name(), Default::default());
    }
    for line in dropped {
        let count = totals.dropped.entry(line.reason.name()).or_default();
        count.stretches += 1;
        count.frames += line.frames;
    }
    totals
}

fn why_nothing(totals: &Totals, sources: &[&Surveyed]) -> String {
    let by_reason = totals.dropped.iter().filter(|(_, count)| 0 < count.frames);
    let mut why: Vec<String> =
        by_reason.map(|(reason, count)| format!("{} {reason}", count.frames)).collect();
    if 0 < totals.damaged {
        why.push(format!("{} damaged", totals.damaged));
    }
    let frames = format!("{} frames came, {}", totals.frames, why.join(", "));
    let problems = sources
        .iter()
        .filter_map(|(_, source)| Some(format!("{}: {}", source.name, source.problem.as_ref()?)));
    let said: Vec<String> = (0 < totals.frames).then_some(frames).into_iter().chain(problems).collect();
    if said.is_empty() { "no frames came".to_owned() } else { said.join("; ") }
}
