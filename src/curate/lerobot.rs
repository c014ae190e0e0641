//! LeRobot's data sets, version 3.0: written of clips, and read as a source.
//!
//! A data set is a folder: `meta/info.json` with the features and the one rate, `meta/stats.json`, `meta/tasks.parquet`,
//! `meta/episodes/` with a row for each episode, and `data/` with a row for each frame, in files of whole episodes. All frames of a
//! feature have one size and all episodes the same features, so that clips of different kinds are different data sets (`kind`).
//!
//! Frame `i` of an episode came `i / fps` seconds after its first, by the format: `timestamp` is that, the rate is the clip's nominal
//! one (`rate`), and the stamp that came is kept beside it (`stamp_ns`).

mod columns;
mod episodes;
mod features;
mod frames;
mod info;
mod kind;
mod meta;
mod numbers;
mod pages;
mod rate;
mod read;
mod set;
mod table;

pub use self::features::text_name_problem;
pub(super) use self::info::{check, files, is_data_set};
pub(super) use self::kind::Kind;
pub(super) use self::read::read;
pub(super) use self::set::Sets;

/// What the data sets say that they are.
const VERSION: &str = "v3.0";
const INFO_FILE: &str = "meta/info.json";
const STATS_FILE: &str = "meta/stats.json";
const TASKS_FILE: &str = "meta/tasks.parquet";
const DATA_PATH: &str = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet";
/// Files of a folder.
const CHUNK_FILES: usize = 1000;

#[cfg(test)]
mod tests;
