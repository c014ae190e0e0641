//! The files of a merged checkpoint: those of the one before it, with other bytes where tensors changed.

use std::fs;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::Path;

use serde_json::{Value, json};

use super::adapter;
use super::changes::{Changed, Changes};
use super::error::MergeError;
use crate::checkpoint::{Checkpoint, CheckpointWriter, JsonFile};
use crate::tensor::{narrow, widen};

/// What was merged into the checkpoint, first to last.
const RECORD: &str = "perihelion_merge.json";
/// Bytes that are copied between two reports.
const STEP_BYTES: usize = 16 << 20;
/// Elements of a changed tensor that are in memory at once, or one row.
const BLOCK_LEN: usize = 4 << 20;
/// Folders in folders: a pipeline has two.
const DEPTH_MAX: usize = 16;
/// How names of files end that hold weights.
const WEIGHTS: [&str; 9] =
    [".safetensors", ".bin", ".pt", ".pth", ".gguf", ".onnx", ".h5", ".msgpack", ".index.json"];

/// Which files are written, from what.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    dir: &'a Path,
    folder: &'a Path,
    checkpoint: &'a Checkpoint,
    /// Names from the checkpoint's directory on, with their sizes.
    copied: Vec<(String, u64)>,
    /// Weights in files that are none of the checkpoint's.
    left: Vec<String>,
}

impl<'a> Plan<'a> {
    /// Looks through the directory `dir`, in whose `folder` the checkpoint lies.
    ///
    /// # Errors
    /// If something in it cannot be looked at, or has a name that is no text.
    pub(super) fn of(
        dir: &'a Path,
        folder: &'a Path,
        checkpoint: &'a Checkpoint,
    ) -> Result<Self, MergeError> {
        let (copied, left) = (Vec::new(), Vec::new());
        let mut plan = Self { dir, folder, checkpoint, copied, left };
        plan.look_into(Path::new(""), 0)?;
        Ok(plan)
    }

    /// Bytes of all files but the record.
    pub(super) fn bytes(&self) -> u64 {
        let weights = self.checkpoint.tensors().files().iter().map(|file| file.len() as u64);
        weights.sum::<u64>() + self.copied.iter().map(|(_, bytes)| bytes).sum::<u64>()
    }

    /// What is not in the merged checkpoint.
    pub(super) fn notes(&self) -> Vec<String> {
        let note =
            |name: &String| format!("{name} is not copied: its weights are not those that were merged");
        self.left.iter().map(note).collect()
    }

    /// Writes all of it to `out`.
    ///
    /// # Errors
    /// If the disk is full or fails, if `out` lies in the checkpoint or is not empty, or if a merged tensor is not finite. Then nothing new
    /// lies at `out` or beside it.
    pub(super) fn write(
        &self,
        changes: &Changes<'_>,
        record: Value,
        threads: NonZeroUsize,
        out: &Path,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(), MergeError> {
        let record = self.with_earlier(record)?;
        let mut writer = CheckpointWriter::create(out, Some(self.dir))?;
        let (mut done, total) = (0, self.bytes());
        let mut tell = |bytes: u64| {
            done += bytes;
            progress(done, total);
        };
        for (name, bytes) in &self.copied {
            writer.copy(&self.dir.join(name), name)?;
            tell(*bytes);
        }
        let tensors = self.checkpoint.tensors();
        for (file, places) in tensors.files().iter().zip(tensors.places()) {
            let name = self.folder.join(file.path().file_name().expect("it was opened by its name"));
            let mut overflow = None;
            writer.pieces(text(&name)?, |out| {
                let header = places.first().map_or(file.len(), |(_, place)| place.start);
                copy(&file[..header], out, &mut tell)?;
                for (name, place) in places {
                    match changes.changed(name) {
                        None => copy(&file[place], out, &mut tell)?,
                        Some(changed) => {
                            if !write_changed(&changed, out, threads, &mut tell)? {
                                overflow = Some(name.to_owned());
                                break;
                            }
                        }
                    }
                }
                Ok(())
            })?;
            if let Some(name) = overflow {
                return Err(MergeError::Overflow { path: self.checkpoint.dir().to_owned(), name });
            }
        }
        writer.json(RECORD, &record)?;
        Ok(writer.finish()?)
    }

    /// The record after those of earlier merges.
    fn with_earlier(&self, record: Value) -> Result<Value, MergeError> {
        let earlier = JsonFile::open(&self.dir.join(RECORD))?;
        let earlier = earlier.as_ref().and_then(|file| file.value().get("merged")?.as_array());
        let merged: Vec<Value> = earlier.into_iter().flatten().cloned().chain([record]).collect();
        Ok(json!({"merged": merged}))
    }

    fn look_into(&mut self, folder: &Path, depth: usize) -> Result<(), MergeError> {
        let path = self.dir.join(folder);
        if depth == DEPTH_MAX {
            return Err(MergeError::TooDeep { path });
        }
        let io = |e| MergeError::io(&path, e);
        let entries: io::Result<Vec<_>> = fs::read_dir(&path).map_err(io)?.collect();
        let mut names: Vec<_> = entries.map_err(io)?.into_iter().map(|entry| entry.file_name()).collect();
        names.sort();
        for name in names {
            let name = folder.join(name);
            let at = self.dir.join(&name);
            let metadata = fs::metadata(&at).map_err(|e| MergeError::io(&at, e))?;
            if metadata.is_dir() {
                if !is_hidden(&name) && !is_of_adapter(&at) {
                    self.look_into(&name, depth + 1)?;
                }
            } else if metadata.is_file() {
                self.look_at(&name, metadata.len())?;
            }
        }
        Ok(())
    }

    fn look_at(&mut self, name: &Path, bytes: u64) -> Result<(), MergeError> {
        let (path, folder) = (name, name.parent().unwrap_or(Path::new("")));
        let name = text(path)?;
        let alone = path.file_name().unwrap_or_default().to_str().unwrap_or_default();
        if is_hidden(path) || name == RECORD {
            return Ok(());
        }
        let is_ours = folder == Path::new("") || folder == self.folder;
        if is_ours && adapter::FILES.contains(&alone) {
            return Ok(());
        }
        if folder == self.folder && WEIGHTS.iter().any(|end| alone.ends_with(end)) {
            let files = self.checkpoint.tensors().files();
            if files.iter().any(|file| file.path().file_name() == path.file_name()) {
                return Ok(());
            }
            if self.checkpoint.index() != Some(alone) {
                self.left.push(name.to_owned());
                return Ok(());
            }
        }
        self.copied.push((name.to_owned(), bytes));
        Ok(())
    }
}

/// Copies bytes that do not change.
fn copy(bytes: &[u8], out: &mut dyn Write, tell: &mut dyn FnMut(u64)) -> io::Result<()> {
    bytes.chunks(STEP_BYTES).try_for_each(|piece| {
        out.write_all(piece)?;
        tell(piece.len() as u64);
        Ok(())
    })
}

/// Merges one tensor and writes it, each number rounded once; whether all of them are finite. What was written of one that is not is
/// good for nothing.
fn write_changed(
    changed: &Changed<'_>,
    out: &mut dyn Write,
    threads: NonZeroUsize,
    tell: &mut dyn FnMut(u64),
) -> io::Result<bool> {
    let Changed { dtype, before, product } = changed;
    if before.is_empty() {
        return Ok(true);
    }
    let row_len = product.as_ref().map_or(1, |product| product.down.len() / product.rank);
    let n_rows = (BLOCK_LEN / row_len).max(1);
    let (mut values, mut bytes) = (Vec::new(), Vec::new());
    for (i, block) in before.bytes.chunks(n_rows * row_len * before.dtype.size_bytes()).enumerate() {
        values.resize(block.len() / before.dtype.size_bytes(), 0.0);
        widen(before.dtype, block, &mut values);
        if let Some(product) = product {
            product.add(i * n_rows, &mut values, threads);
        }
        bytes.resize(values.len() * dtype.size_bytes(), 0);
        narrow(*dtype, &values, &mut bytes);
        // The rounding may have overflowed, too.
        widen(*dtype, &bytes, &mut values);
        if !values.iter().all(|value| value.is_finite()) {
            return Ok(false);
        }
        out.write_all(&bytes)?;
        tell(bytes.len() as u64);
    }
    Ok(true)
}

/// Whether an adapter lies in this folder and no part of a checkpoint.
fn is_of_adapter(folder: &Path) -> bool {
    adapter::FILES.iter().any(|name| folder.join(name).exists()) && !folder.join("config.json").exists()
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().unwrap_or_default().as_encoded_bytes().starts_with(b".")
}

fn text(name: &Path) -> Result<&str, MergeError> {
    let wrong = || io::Error::new(io::ErrorKind::InvalidData, "a name that is no UTF-8");
    name.to_str().ok_or_else(|| MergeError::io(name, wrong()))
}
