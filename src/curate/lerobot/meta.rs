//! The files of `meta/`, but the episodes: what the set is, its numbers, its tasks.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::features::{Feature, described};
use super::kind::Kind;
use super::numbers::{COUNT, Numbers, TOLD, Tally};
use super::table::{Cells, Column, Table};
use super::{CHUNK_FILES, DATA_PATH, INFO_FILE, STATS_FILE, TASKS_FILE, VERSION};
use crate::curate::error::CurateError;

/// What a data set has of all.
pub(super) struct Whole<'a> {
    pub(super) kind: &'a Kind,
    pub(super) features: &'a [Feature],
    pub(super) tasks: &'a [String],
    pub(super) n_episodes: usize,
    pub(super) n_frames: usize,
    pub(super) pictures: &'a Tally,
    /// Of the features that have numbers, in their order, by columns.
    pub(super) values: &'a [Vec<Vec<f64>>],
    /// Bytes of a file of frames, at most.
    pub(super) file_bytes: u64,
}

impl Whole<'_> {
    pub(super) fn write(&self, root: &Path) -> Result<(), CurateError> {
        write_json(&root.join(INFO_FILE), &self.info())?;
        write_json(&root.join(STATS_FILE), &self.stats())?;
        write_tasks(&root.join(TASKS_FILE), self.tasks)
    }

    fn info(&self) -> Value {
        let &Self { kind, features, tasks, n_episodes, n_frames, file_bytes, .. } = self;
        json!({
            "codebase_version": VERSION, "robot_type": null, "total_episodes": n_episodes, "total_frames": n_frames,
            "total_tasks": tasks.len(), "chunks_size": CHUNK_FILES,
            "data_files_size_in_mb": file_bytes.div_ceil(1 << 20).max(1), "video_files_size_in_mb": 200,
            "fps": kind.rate.json(), "splits": { "train": format!("0:{n_episodes}") }, "data_path": DATA_PATH,
            "video_path": null, "features": described(features),
        })
    }

    fn stats(&self) -> Value {
        let mut stats = Map::new();
        // An image of one pixel, with a number for each channel.
        let channels = self.pictures.numbers();
        let of_pictures = TOLD.map(|name| {
            let told = match name {
                COUNT => json!([self.pictures.pictures]),
                _ => json!(channels.map(|numbers| [[numbers.told(name)]])),
            };
            (name.to_owned(), told)
        });
        stats.insert(self.kind.camera.clone(), of_pictures.into_iter().collect::<Map<_, _>>().into());
        let with_numbers = self.features.iter().filter(|feature| feature.has_numbers());
        for (feature, columns) in with_numbers.zip(self.values) {
            let numbers: Vec<Numbers> = columns.iter().map(|values| Numbers::of(values)).collect();
            let of_feature = TOLD.map(|name| {
                let values = || numbers.iter().map(|numbers| numbers.told(name));
                let told: Value = match name {
                    COUNT => json!([self.n_frames]),
                    "min" | "max" if feature.is_whole() => values().map(|v| Value::from(v as i64)).collect(),
                    _ => values().map(Value::from).collect(),
                };
                (name.to_owned(), told)
            });
            stats.insert(feature.name.clone(), of_feature.into_iter().collect::<Map<_, _>>().into());
        }
        stats.into()
    }
}

fn write_json(path: &Path, value: &Value) -> Result<(), CurateError> {
    let text = serde_json::to_vec_pretty(value).expect("a value has string keys");
    fs::write(path, text).map_err(CurateError::at(path))
}

/// As pandas writes a table whose rows are named by their task.
fn write_tasks(path: &Path, tasks: &[String]) -> Result<(), CurateError> {
    let column = |name: &str, of_pandas: &str, of_numpy: &str| json!({ "name": name, "field_name": name, "pandas_type": of_pandas, "numpy_type": of_numpy, "metadata": null });
    let pandas = json!({
        "index_columns": ["task"],
        "column_indexes": [{
            "name": null, "field_name": null, "pandas_type": "unicode", "numpy_type": "object",
            "metadata": { "encoding": "UTF-8" },
        }],
        "columns": [column("task_index", "int64", "int64"), column("task", "unicode", "object")],
        "creator": { "library": "perihelion", "version": "" }, "pandas_version": "2.0.0",
    });
    let columns = [("task_index".to_owned(), Column::I64), ("task".to_owned(), Column::Text)];
    let mut table = Table::begin(path, &columns, &[("pandas", pandas.to_string())])?;
    table.write(vec![Cells::I64((0..tasks.len() as i64).collect()), Cells::Text(tasks.to_vec())])?;
    table.end().map(drop)
}
