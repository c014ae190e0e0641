//! `meta/episodes`: where each episode lies, and its numbers.

use std::path::Path;

use super::CHUNK_FILES;
use super::features::Feature;
use super::numbers::{COUNT, Numbers, TOLD, Tally};
use super::table::{Cells, Column, Table};
use crate::curate::error::CurateError;

/// Episodes whose numbers wait to be written.
const WAITING: usize = 100;

/// An episode.
pub(super) struct Row {
    pub(super) index: usize,
    /// One for each frame.
    pub(super) tasks: Vec<String>,
    pub(super) frames: usize,
    /// The number of its file, and of its first frame.
    pub(super) file: usize,
    pub(super) from: usize,
    pub(super) tally: Tally,
    /// Of the features that have numbers, in their order, by columns.
    pub(super) numbers: Vec<Vec<Numbers>>,
}

/// The file that is being written.
pub(super) struct Episodes {
    table: Table,
    /// For each feature with numbers, whether it is of whole ones.
    are_whole: Vec<bool>,
    waiting: Vec<Row>,
    /// How many there are.
    pub(super) n: usize,
}

impl Episodes {
    pub(super) fn begin(path: &Path, features: &[Feature]) -> Result<Self, CurateError> {
        let table = Table::begin(path, &columns(features), &[])?;
        let with_numbers = features.iter().filter(|feature| feature.has_numbers());
        Ok(Self {
            table,
            are_whole: with_numbers.map(Feature::is_whole).collect(),
            waiting: Vec::new(),
            n: 0,
        })
    }

    pub(super) fn add(&mut self, mut row: Row) -> Result<(), CurateError> {
        let mut once: Vec<String> = Vec::new();
        for task in std::mem::take(&mut row.tasks) {
            if !once.contains(&task) {
                once.push(task);
            }
        }
        self.waiting.push(Row { tasks: once, ..row });
        self.n += 1;
        if WAITING <= self.waiting.len() { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<(), CurateError> {
        let rows = std::mem::take(&mut self.waiting);
        if rows.is_empty() {
            return Ok(());
        }
        let whole =
            |value: &dyn Fn(&Row) -> usize| Cells::I64(rows.iter().map(|row| value(row) as i64).collect());
        let counts = |count: &dyn Fn(&Row) -> u64| {
            Cells::I64s(rows.iter().map(|row| vec![count(row) as i64]).collect())
        };
        let mut cells = vec![
            whole(&|row| row.index),
            Cells::Texts(rows.iter().map(|row| row.tasks.clone()).collect()),
            whole(&|row| row.frames),
            whole(&|row| row.file / CHUNK_FILES),
            whole(&|row| row.file % CHUNK_FILES),
            whole(&|row| row.from),
            whole(&|row| row.from + row.frames),
        ];
        let channels: Vec<[Numbers; 3]> = rows.iter().map(|row| row.tally.numbers()).collect();
        for name in TOLD {
            cells.push(match name {
                COUNT => counts(&|row| row.tally.pictures),
                _ => Cells::Channels(channels.iter().map(|all| all.map(|one| one.told(name))).collect()),
            });
        }
        for (at, is_whole) in self.are_whole.iter().enumerate() {
            for name in TOLD {
                let of = |row: &Row| row.numbers[at].iter().map(|one| one.told(name)).collect::<Vec<f64>>();
                cells.push(match name {
                    COUNT => counts(&|row| row.frames as u64),
                    "min" | "max" if *is_whole => Cells::I64s(
                        rows.iter().map(|row| of(row).iter().map(|v| *v as i64).collect()).collect(),
                    ),
                    _ => Cells::F64s(rows.iter().map(of).collect()),
                });
            }
        }
        // Of this file itself.
        cells.extend([whole(&|_| 0), whole(&|_| 0)]);
        self.table.write(cells)
    }

    pub(super) fn end(mut self) -> Result<(), CurateError> {
        self.write()?;
        self.table.end().map(drop)
    }
}

fn columns(features: &[Feature]) -> Vec<(String, Column)> {
    let one = |name: &str| (name.to_owned(), Column::I64);
    let mut columns = vec![one("episode_index"), ("tasks".to_owned(), Column::Texts), one("length")];
    columns
        .extend(["data/chunk_index", "data/file_index", "dataset_from_index", "dataset_to_index"].map(one));
    for feature in features.iter().filter(|f| f.column == Column::Image || f.has_numbers()) {
        columns.extend(TOLD.map(|name| {
            let column = match name {
                COUNT => Column::I64s,
                _ if feature.column == Column::Image => Column::Channels,
                "min" | "max" if feature.is_whole() => Column::I64s,
                _ => Column::F64s,
            };
            (format!("stats/{}/{name}", feature.name), column)
        }));
    }
    columns.extend(["meta/episodes/chunk_index", "meta/episodes/file_index"].map(one));
    columns
}
