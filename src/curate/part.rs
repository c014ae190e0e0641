//! A share of the sources that was read by itself, and how shares join.
//!
//! A part is a folder: `part.json`, and `sources/` with a folder for each source, as [`super::survey`] writes it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::error::CurateError;
use super::parameters::Parameters;
use super::record::SourceRecord;
use super::source::Source;
use super::survey::read_record;
use crate::bounded;
use crate::container::hex;

/// What a part is, in its folder.
pub const PART_FILE: &str = "part.json";
const SCHEMA: &str = "perihelion-curated-part-1";
const PART_BYTES_MAX: u64 = 256 << 20;

/// `part.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    schema: String,
    /// Which part it is, from 1.
    pub share: u64,
    /// Of how many.
    pub of: u64,
    /// What decides.
    pub parameters: Parameters,
    /// Digest of the names of all parts' sources.
    pub all: String,
    /// Names of this part's sources.
    pub names: Vec<String>,
}

impl Part {
    /// Part `share` of `of` (from 1) of `sources`, which are in order.
    #[must_use]
    pub fn new(sources: &[Source], share: u64, of: u64, parameters: &Parameters) -> Self {
        let lines: String = sources.iter().map(|source| format!("{}\n", source.name)).collect();
        let names = take_share(sources, share, of).into_iter().map(|source| source.name).collect();
        let all = hex(&Sha256::digest(lines));
        Self { schema: SCHEMA.to_owned(), share, of, parameters: parameters.clone(), all, names }
    }

    /// Reads `part.json` in a folder.
    ///
    /// # Errors
    /// If it is not there, or none that was written here.
    pub fn read(folder: &Path) -> Result<Self, CurateError> {
        let path = folder.join(PART_FILE);
        let text = bounded::read(&path, PART_BYTES_MAX).map_err(CurateError::at(&path))?;
        let bad = |problem: String| CurateError::Part { path: path.clone(), problem };
        let part: Self = serde_json::from_slice(&text)
            .map_err(|error| bad(format!("no part of `curate --shard`: {error}")))?;
        if part.schema != SCHEMA {
            return Err(bad(format!("expected the schema `{SCHEMA}`, found `{}`", part.schema)));
        }
        Ok(part)
    }

    /// Writes `part.json` into a folder.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, folder: &Path) -> Result<(), CurateError> {
        let path = folder.join(PART_FILE);
        let text = serde_json::to_vec_pretty(self).expect("a part has string keys");
        fs::write(&path, text).map_err(CurateError::at(&path))
    }

    /// Where a source's record lies in a part's folder: a name that any file system takes.
    #[must_use]
    pub fn place(folder: &Path, name: &str) -> PathBuf {
        folder.join("sources").join(&hex(&Sha256::digest(name))[..16])
    }

    /// The records of all its sources.
    ///
    /// # Errors
    /// If one is not there, or is another's.
    pub fn records(&self, folder: &Path) -> Result<Vec<(PathBuf, SourceRecord)>, CurateError> {
        let record = |name: &String| {
            let place = Self::place(folder, name);
            let record = read_record(&place)?;
            if record.name != *name {
                let problem = format!("expected the record of {name}, found that of {}", record.name);
                return Err(CurateError::Part { path: place, problem });
            }
            Ok((place, record))
        };
        self.names.iter().map(record).collect()
    }
}

/// The sources of part `share` of `of`, from 1: every `of`-th, so that what was recorded one after the other is shared out.
#[must_use]
pub fn take_share(sources: &[Source], share: u64, of: u64) -> Vec<Source> {
    let is_ours = |at: &usize| *at as u64 % of == share - 1;
    (0..sources.len()).filter(is_ours).map(|at| sources[at].clone()).collect()
}

/// Reads parts, in whatever order: each share once, all of one run.
///
/// # Errors
/// Which is missing, which is there twice, and where they differ.
pub fn read_parts(folders: &[PathBuf]) -> Result<(Parameters, Vec<(PathBuf, SourceRecord)>), CurateError> {
    let mut parts =
        folders.iter().map(|f| Ok((f, Part::read(f)?))).collect::<Result<Vec<_>, CurateError>>()?;
    parts.sort_by_key(|(_, part)| part.share);
    let bad = |folder: &Path, problem: String| CurateError::Part { path: folder.to_owned(), problem };
    let Some((first_folder, first)) = parts.first() else {
        return Err(bad(Path::new(""), "no part is named".to_owned()));
    };
    let mut seen = BTreeSet::new();
    for (folder, part) in &parts {
        let beside = first_folder.display();
        let what = match () {
            () if part.share < 1 || part.of < part.share => {
                format!("is part {} of {}, which cannot be", part.share, part.of)
            }
            () if part.of != first.of => format!("is one of {} parts, {beside} one of {}", part.of, first.of),
            () if part.parameters != first.parameters => {
                format!("was made with other parameters than {beside}")
            }
            () if part.all != first.all => format!("is of other sources than {beside}"),
            () if !seen.insert(part.share) => {
                format!("is part {} of {}, which is there twice", part.share, part.of)
            }
            () => continue,
        };
        return Err(bad(folder, what));
    }
    let missing: Vec<String> = (1..=first.of)
        .filter(|share| !seen.contains(share))
        .take(10)
        .map(|share| share.to_string())
        .collect();
    if !missing.is_empty() {
        let problem = format!("one of {} parts, of which are missing: {}", first.of, missing.join(", "));
        return Err(bad(first_folder, problem));
    }
    let mut records = Vec::new();
    for (folder, part) in &parts {
        records.extend(part.records(folder)?);
    }
    Ok((first.parameters.clone(), records))
}
