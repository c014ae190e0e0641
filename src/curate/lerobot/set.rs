//! Writes clips as episodes: one data set of version 3.0 for each kind, in a folder of its own.
//!
//! Frames lie in the Parquet files as the image files that they are (`dtype` `image`): not a byte of them is lost. Why not as videos,
//! which are smaller: they would be coded anew, by an encoder that is no part of this program.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::CHUNK_FILES;
use super::episodes::{Episodes, Row};
use super::features::{self, Feature, features};
use super::frames::Frames;
use super::kind::Kind;
use super::meta::Whole;
use super::numbers::{Numbers, Tally};
use super::table::{Cells, Table, Written};
use crate::curate::error::CurateError;
use crate::curate::manifest::{DataFile, DataSet, Episode};
use crate::curate::parameters::Parameters;
use crate::curate::record::{Clip, Stream, TASK};

/// Frames of a row group: who reads one frame reads so many.
const GROUP_FRAMES: usize = 100;
/// Row groups of a file; the format has 32767.
const GROUPS_MAX: usize = 30_000;

/// All data sets of a run.
pub(in crate::curate) struct Sets {
    out: PathBuf,
    /// Where they lie within it.
    folder: &'static str,
    parameters: Parameters,
    open: Option<Open>,
    /// How often a name was taken.
    names: BTreeMap<String, usize>,
    done: Vec<DataSet>,
}

impl Sets {
    pub(in crate::curate) fn begin(out: &Path, folder: &'static str, parameters: &Parameters) -> Self {
        let (names, parameters) = (BTreeMap::new(), parameters.clone());
        Self { out: out.to_owned(), folder, parameters, open: None, names, done: Vec::new() }
    }

    /// Writes a clip as the next episode of its kind; those of one kind come one after the other. Tells the data set's place, the digest
    /// of the frames' files one after the other, and which episode it is.
    pub(in crate::curate) fn episode(
        &mut self,
        from: &Path,
        stream: &Stream,
        clip: &Clip,
    ) -> Result<(String, String, Episode), CurateError> {
        let kind = Kind::of(stream, clip, &self.parameters);
        if self.open.as_ref().is_some_and(|open| open.kind != kind) {
            self.close()?;
        }
        if self.open.is_none() {
            let name = kind.name();
            let n = self.names.entry(name.clone()).or_default();
            *n += 1;
            let name = if *n == 1 { name } else { format!("{name}-{n}") };
            let place = format!("{}/{name}", self.folder);
            self.open = Some(Open::begin(&self.out, place, kind, &self.parameters)?);
        }
        let Some(open) = &mut self.open else { unreachable!("just opened") };
        open.episode(from, clip, &self.parameters)
    }

    fn close(&mut self) -> Result<(), CurateError> {
        let Some(open) = self.open.take() else { return Ok(()) };
        self.done.push(open.end(&self.parameters)?);
        Ok(())
    }

    /// Ends the last one, and tells all.
    pub(in crate::curate) fn end(mut self) -> Result<Vec<DataSet>, CurateError> {
        self.close()?;
        Ok(self.done)
    }
}

/// A data set that is being written.
struct Open {
    place: String,
    root: PathBuf,
    kind: Kind,
    features: Vec<Feature>,
    data: Option<DataTable>,
    files: Vec<DataFile>,
    episodes: Episodes,
    n_frames: usize,
    /// Tasks, in the order in which they came, and their numbers.
    tasks: Vec<String>,
    task_numbers: BTreeMap<String, usize>,
    pictures: Tally,
    /// All values of the features that have numbers, in their order, by columns.
    values: Vec<Vec<Vec<f64>>>,
}

/// A file of frames that is being written.
struct DataTable {
    table: Table,
    bytes: u64,
    groups: usize,
}

/// What the frames of an episode have beside their pictures.
struct Beside<'a> {
    clip: &'a Clip,
    kind: &'a Kind,
    /// The episode's number, and its first frame's.
    index: usize,
    begin: usize,
    tasks: Vec<i64>,
    texts: Vec<Vec<String>>,
}

impl Beside<'_> {
    /// A feature of a frame that is one whole number.
    fn whole(&self, feature: &str, at: usize) -> i64 {
        match feature {
            features::STAMP => self.clip.stamps_ns[at],
            "frame_index" => at as i64,
            "episode_index" => self.index as i64,
            "index" => (self.begin + at) as i64,
            _ => self.tasks[at],
        }
    }

    fn timestamp(&self, at: usize) -> f32 {
        self.kind.rate.timestamp(at) as f32
    }

    /// The cells of some rows, but the pictures'.
    fn cells<'c>(&self, features: &[Feature], rows: &Range<usize>) -> Vec<Cells<'c>> {
        let mut cells = Vec::new();
        match self.kind.action_names.len() {
            0 => {}
            1 => cells.push(Cells::F32(self.clip.actions[rows.clone()].concat())),
            _ => cells.push(Cells::F32s(self.clip.actions[rows.clone()].to_vec())),
        }
        cells.extend(self.texts.iter().map(|text| Cells::Text(text[rows.clone()].to_vec())));
        for Feature { name, .. } in features.iter().filter(|f| f.has_numbers() && f.name != features::ACTION)
        {
            cells.push(match &name[..] {
                features::TIMESTAMP => Cells::F32(rows.clone().map(|at| self.timestamp(at)).collect()),
                name => Cells::I64(rows.clone().map(|at| self.whole(name, at)).collect()),
            });
        }
        cells
    }

    /// A feature's values in all frames, by columns.
    fn values(&self, feature: &str) -> Vec<Vec<f64>> {
        let frames = 0..self.clip.files.len();
        match feature {
            features::ACTION => (0..self.kind.action_names.len())
                .map(|column| self.clip.actions.iter().map(|row| f64::from(row[column])).collect())
                .collect(),
            features::TIMESTAMP => vec![frames.map(|at| f64::from(self.timestamp(at))).collect()],
            name => vec![frames.map(|at| self.whole(name, at) as f64).collect()],
        }
    }
}

impl Open {
    fn begin(out: &Path, place: String, kind: Kind, parameters: &Parameters) -> Result<Self, CurateError> {
        let root = out.join(&place);
        let features = features(&kind, parameters.feature_texts());
        let episodes = Episodes::begin(&make_folder(&root, EPISODES, 0)?, &features)?;
        let values = vec![Vec::new(); features.iter().filter(|feature| feature.has_numbers()).count()];
        Ok(Self {
            place,
            root,
            kind,
            features,
            data: None,
            files: Vec::new(),
            episodes,
            n_frames: 0,
            tasks: Vec::new(),
            task_numbers: BTreeMap::new(),
            pictures: Tally::new(),
            values,
        })
    }

    fn episode(
        &mut self,
        from: &Path,
        clip: &Clip,
        parameters: &Parameters,
    ) -> Result<(String, String, Episode), CurateError> {
        let n = clip.files.len();
        let mut tasks = clip.said_in(TASK);
        if let Some(task) = &parameters.task {
            tasks.fill(task.clone());
        }
        let kind = self.kind.clone();
        let beside = Beside {
            clip,
            kind: &kind,
            index: self.episodes.n,
            begin: self.n_frames,
            tasks: tasks.iter().map(|task| self.task_number(task) as i64).collect(),
            texts: parameters.feature_texts().map(|name| clip.said_in(name)).collect(),
        };
        let mut frames = Frames::of(clip, from);
        self.make_room(from, clip, parameters.shard_bytes)?;
        let Some(DataTable { table, .. }) = &mut self.data else { unreachable!("there is room in it") };
        for first in (0..n).step_by(GROUP_FRAMES) {
            let rows = first..(first + GROUP_FRAMES).min(n);
            let mut read = |at: usize| frames.read(first + at);
            let mut cells = vec![Cells::Images(rows.len(), &mut read)];
            cells.extend(beside.cells(&self.features, &rows));
            table.write(cells)?;
        }
        let (tally, sha256) = frames.end();
        let mut numbers: Vec<Vec<Numbers>> = Vec::new();
        for (feature, all) in self.features.iter().filter(|f| f.has_numbers()).zip(&mut self.values) {
            let values = beside.values(&feature.name);
            numbers.push(values.iter().map(|values| Numbers::of(values)).collect());
            all.resize(values.len(), Vec::new());
            all.iter_mut().zip(values).for_each(|(all, values)| all.extend(values));
        }
        let index = beside.index;
        let (from_frame, file) = (beside.begin, self.files.len());
        self.pictures.join(&tally);
        self.n_frames += n;
        self.episodes.add(Row { index, tasks, frames: n, file, from: from_frame, tally, numbers })?;
        let rate = self.kind.rate;
        let off = |at: usize| {
            let since_ns = clip.stamps_ns[at].saturating_sub(clip.stamps_ns[0]);
            (since_ns as f64 / 1e9 - rate.timestamp(at)).abs()
        };
        let stamps_off_s = (1e6 * (0..n).map(off).fold(0.0, f64::max)).round() / 1e6;
        let episode = Episode { index, fps: rate.json(), stamps_off_s };
        Ok((self.place.clone(), sha256, episode))
    }

    /// Sees that a file of frames is open that the clip may go into.
    fn make_room(&mut self, from: &Path, clip: &Clip, file_bytes: u64) -> Result<(), CurateError> {
        let mut bytes = 0;
        for name in &clip.files {
            let path = from.join(name);
            bytes += fs::metadata(&path).map_err(CurateError::at(&path))?.len();
        }
        let groups = clip.files.len().div_ceil(GROUP_FRAMES);
        let is_full = |data: &DataTable| {
            file_bytes < data.bytes.saturating_add(bytes) || GROUPS_MAX < data.groups + groups
        };
        if self.data.as_ref().is_some_and(is_full) {
            self.close_data()?;
        }
        if self.data.is_none() {
            let path = make_folder(&self.root, DATA, self.files.len())?;
            let columns: Vec<_> = self.features.iter().map(|f| (f.name.clone(), f.column)).collect();
            let described = [("huggingface", features::of_datasets(&self.features))];
            let table = Table::begin(&path, &columns, &described)?;
            self.data = Some(DataTable { table, bytes: 0, groups: 0 });
        }
        let Some(data) = &mut self.data else { unreachable!("just opened") };
        data.bytes += bytes;
        data.groups += groups;
        Ok(())
    }

    fn task_number(&mut self, task: &str) -> usize {
        if let Some(number) = self.task_numbers.get(task) {
            return *number;
        }
        let number = self.tasks.len();
        self.tasks.push(task.to_owned());
        self.task_numbers.insert(task.to_owned(), number);
        number
    }

    fn close_data(&mut self) -> Result<(), CurateError> {
        let Some(DataTable { table, .. }) = self.data.take() else { return Ok(()) };
        let Written { bytes, sha256 } = table.end()?;
        let place = format!("{}/{}", self.place, file_name(DATA, self.files.len()));
        self.files.push(DataFile { place, bytes, sha256 });
        Ok(())
    }

    fn end(mut self, parameters: &Parameters) -> Result<DataSet, CurateError> {
        self.close_data()?;
        let Self { place, root, kind, features, files, episodes, n_frames, tasks, pictures, values, .. } =
            self;
        let n_episodes = episodes.n;
        episodes.end()?;
        let whole = Whole {
            kind: &kind,
            features: &features,
            tasks: &tasks,
            n_episodes,
            n_frames,
            pictures: &pictures,
            values: &values,
            file_bytes: parameters.shard_bytes,
        };
        whole.write(&root)?;
        let Kind { camera, width, height, rate, action_names } = kind;
        Ok(DataSet {
            place,
            camera,
            width,
            height,
            fps: rate.json(),
            actions: action_names,
            episodes: n_episodes,
            frames: n_frames,
            files,
        })
    }
}

/// Folders of files that are numbered.
const DATA: &str = "data";
const EPISODES: &str = "meta/episodes";

fn file_name(folder: &str, number: usize) -> String {
    format!("{folder}/chunk-{:03}/file-{:03}.parquet", number / CHUNK_FILES, number % CHUNK_FILES)
}

/// The place of a file, in a folder that is there.
fn make_folder(root: &Path, folder: &str, number: usize) -> Result<PathBuf, CurateError> {
    let path = root.join(file_name(folder, number));
    let parent = path.parent().expect("it is in a folder");
    fs::create_dir_all(parent).map_err(CurateError::at(parent))?;
    Ok(path)
}
