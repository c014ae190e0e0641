//! Reads a data set's frames as the images of a source: a stream for each camera, and a new beginning at each episode.

use std::path::Path;

use parquet::data_type::ByteArray;

use super::TASKS_FILE;
use super::columns::{Cell, Column, Columns};
use super::features::{ACTION, STAMP, TIMESTAMP};
use super::info::{Info, data_files};
use crate::curate::beside::{Beside, TEXT_BYTES_MAX};
use crate::curate::came::{Came, Take, Told};
use crate::curate::error::CurateError;
use crate::curate::parameters::{Format, Parameters};
use crate::curate::pictures::Pictures;
use crate::curate::record::TASK;

/// Tasks that a data set has at most.
const TASKS_MAX: i64 = 1 << 20;
/// Between episodes whose frames have no stamps but the times since the episode's first.
const BETWEEN_NS: i64 = 1_000_000_000;

/// Hands over every image in order. What is wrong from some row on is told as what is wrong with the source.
pub(in crate::curate) fn read(
    root: &Path,
    parameters: &Parameters,
    take: Take<'_>,
) -> Result<Told, CurateError> {
    let info = match Info::read(root) {
        Ok(info) => info,
        Err(problem) => return Ok(Told::problem(problem)),
    };
    let is_wanted =
        |name: &&str| parameters.topics.is_empty() || parameters.topics.iter().any(|topic| topic == name);
    let cameras: Vec<String> = info.cameras().filter(is_wanted).map(str::to_owned).collect();
    if cameras.is_empty() {
        let there: Vec<&str> = info.cameras().collect();
        let wanted = parameters.topics.join(", ");
        return Ok(Told::problem(format!("no images on {wanted} in it; it has {}", there.join(", "))));
    }
    let files = data_files(root).map_err(CurateError::at(&root.join("data")))?;
    let is_for_lerobot = parameters.format == Format::LeRobot;
    let action_names = if is_for_lerobot { info.action_names() } else { Vec::new() };
    let (tasks, no_tasks) = match is_for_lerobot.then(|| read_tasks(root)) {
        None => (Vec::new(), None),
        Some(Ok(tasks)) => (tasks, None),
        Some(Err(problem)) => (Vec::new(), Some(format!("{TASKS_FILE}: {problem}"))),
    };
    let mut reading = Reading {
        cameras,
        n_columns: action_names.len(),
        tasks,
        pictures: Pictures::default(),
        episode: None,
        begin_ns: BETWEEN_NS,
        last_ns: 0,
        n: 0,
    };
    let mut problems: Vec<String> = info.not_read().into_iter().chain(no_tasks).collect();
    for path in &files {
        let name = path.strip_prefix(root).unwrap_or(path).display();
        match reading.file(path, take) {
            Ok(()) => {}
            Err(Stopped::Damaged(problem)) => {
                problems.push(format!("{name}: {problem}; what follows in it is not read"));
            }
            Err(Stopped::Failed(error)) => return Err(error),
        }
    }
    if reading.n == 0 {
        problems.push("it has no frames".to_owned());
    }
    let problem = (!problems.is_empty()).then(|| problems.join("; "));
    Ok(Told { problem, action_names })
}

/// Why a file was not read to its end.
enum Stopped {
    Damaged(String),
    Failed(CurateError),
}

impl From<String> for Stopped {
    fn from(problem: String) -> Self {
        Self::Damaged(problem)
    }
}

struct Reading {
    cameras: Vec<String>,
    /// Columns of an action.
    n_columns: usize,
    /// Views into the file's pages: many tasks may be one text there, of which there is no second copy.
    tasks: Vec<Option<ByteArray>>,
    pictures: Pictures,
    episode: Option<i64>,
    /// Where the episode's times begin, and the last stamp.
    begin_ns: i64,
    last_ns: i64,
    n: u64,
}

/// The columns of a row group that are read.
struct Group {
    cameras: Vec<Column>,
    episode: Column,
    time: Option<Column>,
    stamp: Option<Column>,
    task: Option<Column>,
    action: Option<Column>,
}

impl Reading {
    fn file(&mut self, path: &Path, take: Take<'_>) -> Result<(), Stopped> {
        let mut columns = Columns::open(path)?;
        for number in 0..columns.groups() {
            let mut group = self.group(&mut columns, number)?;
            for _ in 0..columns.rows(number) {
                self.row(&mut group, take)?;
            }
        }
        Ok(())
    }

    fn group(&self, columns: &mut Columns, number: usize) -> Result<Group, String> {
        let mut column =
            |parts: &[&str]| columns.find(parts).map(|found| columns.column(number, found)).transpose();
        let mut cameras = Vec::new();
        for name in &self.cameras {
            let bytes = column(&[&name[..], "bytes"])?;
            cameras.push(bytes.ok_or_else(|| format!("there is no column `{name}.bytes`"))?);
        }
        let has_action = 0 < self.n_columns;
        Ok(Group {
            cameras,
            episode: column(&["episode_index"])?.ok_or("there is no column `episode_index`")?,
            time: column(&[TIMESTAMP])?,
            stamp: column(&[STAMP])?,
            task: if self.tasks.is_empty() { None } else { column(&["task_index"])? },
            action: if has_action { column(&[ACTION])? } else { None },
        })
    }

    fn row(&mut self, group: &mut Group, take: Take<'_>) -> Result<(), Stopped> {
        let episode = group.episode.whole("episode_index")?;
        let begins = self.episode.replace(episode) != Some(episode);
        if begins {
            self.begin_ns = self.last_ns.saturating_add(BETWEEN_NS);
        }
        let since_ns = match group.time.as_mut().map(Column::next).transpose()? {
            Some(Cell::Real(seconds)) if seconds.len() == 1 && seconds[0].is_finite() => {
                (seconds[0] * 1e9).round() as i64
            }
            None => 0,
            Some(_) => return Err(format!("expected a number in each row of `{TIMESTAMP}`").into()),
        };
        let stamp_ns = match &mut group.stamp {
            Some(stamp) => stamp.whole(STAMP)?,
            None => self.begin_ns.saturating_add(since_ns),
        };
        self.last_ns = stamp_ns;
        let mut beside = Beside::default();
        if let Some(task) = &mut group.task {
            let number = task.whole("task_index")?;
            let text = usize::try_from(number).ok().and_then(|number| self.tasks.get(number)?.as_ref());
            let text = text.and_then(|text| text.as_utf8().ok());
            let text = text.ok_or_else(|| format!("there is no task {number} in {TASKS_FILE}"))?;
            beside.say(TASK, text);
        }
        if let Some(action) = &mut group.action {
            let values: Vec<f32> = match action.next()? {
                Cell::Real(values) => values.into_iter().map(|value| value as f32).collect(),
                Cell::Whole(values) => values.into_iter().map(|value| value as f32).collect(),
                Cell::Bytes(_) => return Err(format!("`{ACTION}` is of texts").into()),
            };
            if values.len() != self.n_columns || values.iter().any(|value| !value.is_finite()) {
                let (n, found) = (self.n_columns, values.len());
                return Err(
                    format!("expected {n} finite numbers in each row of `{ACTION}`, found {found}").into()
                );
            }
            beside.action = values.into();
        }
        for (camera, topic) in group.cameras.iter_mut().zip(&self.cameras) {
            let image = match camera.next()? {
                Cell::Bytes(mut images) => images.pop(),
                _ => return Err(format!("`{topic}` holds no images").into()),
            };
            let data = image.as_ref().map_or(&[][..], |image| image.data());
            let picture = match image {
                Some(_) => self.pictures.of_file("", data),
                None => {
                    Err("its bytes are not there; lerobot embeds them when an episode is saved".to_owned())
                }
            };
            let bytes = data.len() as u64;
            let came = Came { topic, stamp_ns, file: None, picture, bytes, begins, beside: &beside };
            take(came).map_err(Stopped::Failed)?;
            self.n += 1;
        }
        Ok(())
    }
}

/// Tasks by their numbers.
fn read_tasks(root: &Path) -> Result<Vec<Option<ByteArray>>, String> {
    let mut columns = Columns::open(&root.join(TASKS_FILE))?;
    let number = columns.find(&["task_index"]).ok_or("there is no column `task_index`")?;
    let text = columns.find_text().ok_or("there is no column of texts")?;
    let mut tasks: Vec<Option<ByteArray>> = Vec::new();
    for group in 0..columns.groups() {
        let n = columns.rows(group);
        if TASKS_MAX < n {
            return Err(format!("{n} tasks are over the limit of {TASKS_MAX}"));
        }
        let (mut numbers, mut texts) = (columns.column(group, number)?, columns.column(group, text)?);
        for _ in 0..n {
            let number = numbers.whole("task_index")?;
            let place = usize::try_from(number).ok().filter(|place| (*place as i64) < TASKS_MAX);
            let place = place.ok_or_else(|| format!("a task of number {number}"))?;
            let text = match texts.next()? {
                Cell::Bytes(mut texts) if texts.len() == 1 => texts.pop(),
                _ => None,
            };
            let text = text.filter(|text| text.len() <= TEXT_BYTES_MAX).filter(|text| text.as_utf8().is_ok());
            if text.is_none() {
                return Err(format!("task {number} is no text of at most {TEXT_BYTES_MAX} bytes"));
            }
            if tasks.len() <= place {
                tasks.resize(place + 1, None);
            }
            tasks[place] = text;
        }
    }
    Ok(tasks)
}
