//! Reads one source into a folder of its own: the frames of its clips, small pictures of what was left out, and its record.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::error::Category;

use super::beside::{Beside, COLUMNS_MAX, TEXT_BYTES_MAX};
use super::came::{Came, Pixels, Told};
use super::encoded::Encoded;
use super::error::CurateError;
use super::measure::Measures;
use super::parameters::Parameters;
use super::reading::read;
use super::record::{Clip, Damaged, Dropped, Measured, Said, SourceRecord, Stream};
use super::segment::{Event, Run, Seen, Segmenter, Stretch};
use super::source::Source;
use super::thumbnail::thumbnail;
use crate::bounded;
use crate::camera::{FrameSize, Resizer, load_image, png};

/// The record's file within its folder.
pub const RECORD_FILE: &str = "record.json";
/// No record of a source is longer.
const RECORD_BYTES_MAX: u64 = 4 << 30;
/// No name within a record is longer, and no stream has more frames.
const NAME_BYTES_MAX: usize = 64;
const COUNT_MAX: u64 = 1 << 48;
/// Damaged images that are named; the others are counted.
const DAMAGED_NAMED_MAX: usize = 100;
/// What was stored is not larger than what was read.
const PIXELS_MAX: u64 = 1 << 26;

/// Reads a source and writes what is kept of it into `folder`, which is there and empty. `progress` is told how many of its bytes
/// were read.
///
/// # Errors
/// If a file cannot be read or written. What is wrong with single images is noted, and so is a bag that is cut.
pub fn survey(
    source: &Source,
    parameters: &Parameters,
    folder: &Path,
    progress: &mut dyn FnMut(u64),
) -> Result<SourceRecord, CurateError> {
    let (sha256, bytes) = source.digest()?;
    let mut desks: BTreeMap<String, Desk> = BTreeMap::new();
    let mut read_bytes = 0;
    let Told { problem, action_names } = read(source, parameters, &mut |came| {
        read_bytes += came.bytes;
        progress(read_bytes.min(bytes));
        if !desks.contains_key(came.topic) {
            let desk = Desk::new(came.topic, desks.len(), folder, parameters)?;
            desks.insert(came.topic.to_owned(), desk);
        }
        desks.get_mut(came.topic).expect("just made").take(came)
    })?;
    let mut streams = desks.into_values().map(Desk::end).collect::<Result<Vec<_>, _>>()?;
    for stream in streams.iter_mut().filter(|stream| stream.clips.iter().any(|c| !c.actions.is_empty())) {
        stream.action_names.clone_from(&action_names);
    }
    let record =
        SourceRecord { name: source.name.clone(), kind: source.kind, sha256, bytes, problem, streams };
    let place = folder.join(RECORD_FILE);
    let text = serde_json::to_vec(&record).expect("a record has string keys");
    fs::write(&place, text).map_err(CurateError::at(&place))?;
    Ok(record)
}

/// Reads a record that [`survey`] wrote into `folder`.
///
/// # Errors
/// If it is not there, or not as it was written.
pub fn read_record(folder: &Path) -> Result<SourceRecord, CurateError> {
    let path = folder.join(RECORD_FILE);
    let text = bounded::read(&path, RECORD_BYTES_MAX).map_err(CurateError::at(&path))?;
    let record: SourceRecord = serde_json::from_slice(&text).map_err(|error| {
        let what = if error.classify() == Category::Eof { "it is cut" } else { "no record of `curate`" };
        CurateError::Part { path: path.clone(), problem: format!("{what}: {error}") }
    })?;
    // Names lead to files, and only to those beside the record.
    let names = record.streams.iter().flat_map(|stream| {
        let frames = stream.clips.iter().flat_map(|clip| &clip.files);
        frames.chain(stream.dropped.iter().map(|dropped| &dropped.thumbnail))
    });
    let is_plain = |name: &str| {
        let dots = name.bytes().filter(|b| *b == b'.').count();
        name.len() <= NAME_BYTES_MAX
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-./".contains(&b))
            && dots == 1
            && (name.ends_with(".png") || name.ends_with(".jpg"))
            && !name.starts_with('/')
    };
    let is_whole = |clip: &Clip| {
        let n = clip.files.len();
        let is_shape = |side: usize| (1..=usize::from(u16::MAX)).contains(&side);
        0 < n
            && n == clip.hashes.len()
            && n == clip.stamps_ns.len()
            && is_shape(clip.width)
            && is_shape(clip.height)
    };
    // What came of another machine fits together, or a data set of it would not.
    let is_row = |stream: &Stream, row: &[f32]| {
        row.len() == stream.action_names.len() && row.iter().all(|value| value.is_finite())
    };
    let fits = |stream: &Stream, clip: &Clip| {
        let n = clip.files.len();
        let are_in_order = |said: &Vec<Said>| {
            said.is_sorted_by(|a, b| a.from < b.from)
                && said.iter().all(|said| said.from < n && said.text.len() <= TEXT_BYTES_MAX)
        };
        (clip.actions.is_empty() || clip.actions.len() == n)
            && stream.action_names.len() <= COLUMNS_MAX
            && clip.actions.iter().all(|row| is_row(stream, row))
            && clip.said.values().all(are_in_order)
    };
    let is_count = |stream: &Stream| stream.frames.max(stream.damaged) < COUNT_MAX;
    if record.sha256.len() != 64 || !record.sha256.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(CurateError::Part { path, problem: format!("`{}` is no SHA-256", record.sha256) });
    }
    if !record.streams.iter().all(is_count) {
        return Err(CurateError::Part { path, problem: "no stream has so many frames".into() });
    }
    for name in names {
        if !is_plain(name) {
            return Err(CurateError::Part { path, problem: format!("`{name}` is no image beside it") });
        }
    }
    if !record.streams.iter().all(|stream| stream.clips.iter().all(|clip| fits(stream, clip))) {
        let problem = "a clip has other actions or texts than frames".into();
        return Err(CurateError::Part { path, problem });
    }
    if !record.streams.iter().flat_map(|stream| &stream.clips).all(is_whole) {
        return Err(CurateError::Part {
            path,
            problem: "a clip has other files than frames, or no size".into(),
        });
    }
    Ok(record)
}

/// One stream's decisions and files.
struct Desk {
    /// Its files' folder within the record's.
    name: String,
    folder: PathBuf,
    segmenter: Segmenter,
    stream: Stream,
    /// Files of frames that are stored, by the frames' numbers, with what held beside them.
    stored: BTreeMap<u64, (String, Beside)>,
    /// Whether the next image has nothing to do with the one before.
    begins: bool,
    /// The small picture of the stretch that is left out.
    thumbnail: String,
    resizer: Resizer,
}

impl Desk {
    fn new(topic: &str, number: usize, folder: &Path, parameters: &Parameters) -> Result<Self, CurateError> {
        let name = format!("{number:02}");
        let place = folder.join(&name);
        fs::create_dir(&place).map_err(CurateError::at(&place))?;
        let (topic, none) = (topic.to_owned(), Vec::new());
        let stream = Stream {
            topic,
            frames: 0,
            damaged: 0,
            damaged_first: none,
            clips: Vec::new(),
            dropped: Vec::new(),
            action_names: Vec::new(),
        };
        Ok(Self {
            name,
            folder: folder.to_owned(),
            segmenter: Segmenter::new(parameters),
            stream,
            stored: BTreeMap::new(),
            begins: false,
            thumbnail: String::new(),
            resizer: Resizer::new(),
        })
    }

    fn take(&mut self, came: Came<'_>) -> Result<(), CurateError> {
        let frame = self.stream.frames;
        self.stream.frames += 1;
        self.begins |= came.begins;
        let pixels = match came.picture {
            Ok(pixels) => pixels,
            Err(problem) => {
                self.stream.damaged += 1;
                if self.stream.damaged_first.len() < DAMAGED_NAMED_MAX {
                    self.stream.damaged_first.push(Damaged { frame, file: came.file, problem });
                }
                return Ok(());
            }
        };
        let measures = Measures::of(pixels.rgb, pixels.size);
        let begins = std::mem::take(&mut self.begins);
        let seen = Seen { frame, stamp_ns: came.stamp_ns, size: pixels.size, measures, begins };
        if self.segmenter.push(seen) {
            let encoded = Encoded::of(pixels.data, pixels.rgb, pixels.size);
            let name = format!("{}/{frame:08}.{}", self.name, encoded.extension);
            self.write(&name, &encoded.bytes)?;
            self.stored.insert(frame, (name, came.beside.clone()));
        }
        self.carry_out(Some((frame, &pixels)))
    }

    fn end(mut self) -> Result<Stream, CurateError> {
        self.segmenter.end();
        self.carry_out(None)?;
        Ok(self.stream)
    }

    fn carry_out(&mut self, current: Option<(u64, &Pixels<'_>)>) -> Result<(), CurateError> {
        for event in self.segmenter.take_events() {
            match event {
                Event::Clip(run) => {
                    let clip = self.clip(run);
                    self.stream.clips.push(clip);
                }
                Event::Opened(frame) => match current {
                    Some((number, pixels)) if number == frame => {
                        self.picture(frame, pixels.rgb, pixels.size)?;
                    }
                    _ => {
                        let place = self.folder.join(self.stored.get(&frame).map_or("", |(name, _)| name));
                        let image = load_image(&place, PIXELS_MAX)?;
                        self.picture(frame, &image.rgb, image.size())?;
                    }
                },
                Event::Discarded(frames) => {
                    for (name, _) in frames.iter().filter_map(|frame| self.stored.remove(frame)) {
                        let place = self.folder.join(name);
                        fs::remove_file(&place).map_err(CurateError::at(&place))?;
                    }
                }
                Event::Dropped(stretch) => {
                    let dropped = self.dropped(&stretch);
                    self.stream.dropped.push(dropped);
                }
            }
        }
        Ok(())
    }

    fn picture(&mut self, frame: u64, rgb: &[u8], size: FrameSize) -> Result<(), CurateError> {
        let (small, size) = thumbnail(&mut self.resizer, rgb, size);
        self.thumbnail = format!("{}/dropped-{frame:08}.png", self.name);
        self.write(&self.thumbnail, &png(&small, size))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), CurateError> {
        let place = self.folder.join(name);
        fs::write(&place, bytes).map_err(CurateError::at(&place))
    }

    fn clip(&mut self, Run { size, begins, frames }: Run) -> Clip {
        let (first, last) = (&frames[0], &frames[frames.len() - 1]);
        let stored = frames.iter().filter_map(|kept| self.stored.remove(&kept.frame));
        let (files, beside): (Vec<String>, Vec<Beside>) = stored.unzip();
        let nearest = |a: Measured, b: Measured| Measured {
            light_min: a.light_min.min(b.light_min),
            blur_max: a.blur_max.max(b.blur_max),
            text_max: a.text_max.max(b.text_max),
            jump_max: a.jump_max.max(b.jump_max),
        };
        Clip {
            first: first.frame,
            last: last.frame,
            stamps_ns: frames.iter().map(|kept| kept.stamp_ns).collect(),
            width: size.width,
            height: size.height,
            begins,
            measured: frames.iter().map(|kept| kept.measured).reduce(nearest).expect("a clip has frames"),
            files,
            hashes: frames.iter().map(|kept| kept.hash).collect(),
            actions: actions(&beside),
            said: said(&beside),
        }
    }

    fn dropped(&mut self, stretch: &Stretch) -> Dropped {
        let &Stretch { first, last, frames, reason, value, threshold } = stretch;
        Dropped {
            first: first.0,
            last: last.0,
            frames,
            first_stamp_ns: first.1,
            last_stamp_ns: last.1,
            reason,
            value,
            threshold,
            thumbnail: std::mem::take(&mut self.thumbnail),
        }
    }
}

/// Of all frames, or none.
fn actions(beside: &[Beside]) -> Vec<Vec<f32>> {
    let is_whole = beside.iter().all(|beside| !beside.action.is_empty());
    if is_whole { beside.iter().map(|beside| beside.action.to_vec()).collect() } else { Vec::new() }
}

fn said(beside: &[Beside]) -> BTreeMap<String, Vec<Said>> {
    let mut all: BTreeMap<String, Vec<Said>> = BTreeMap::new();
    for (from, beside) in beside.iter().enumerate() {
        for (name, text) in &beside.said {
            let said = all.entry(name.to_string()).or_default();
            if said.last().is_none_or(|last| last.text != **text) {
                said.push(Said { from, text: text.to_string() });
            }
        }
    }
    all
}
