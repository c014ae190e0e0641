//! The tensors of one safetensors file or of a set of shards, by name, through maps.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::CheckpointError;
use super::header::{self, Entry};
use super::json::{UniqueMap, read_bounded};
use crate::mapped::FileMap;
use crate::tensor::{DType, TensorView};

/// The largest index of shards that is read: some hundred thousand names.
const INDEX_BYTES_MAX: u64 = 64 << 20;

/// Named tensors in one or more mapped files.
#[derive(Debug)]
pub struct Tensors {
    /// The file, or the directory of the shards: what messages name when no one file is to blame.
    path: PathBuf,
    files: Vec<FileMap>,
    tensors: BTreeMap<String, Stored>,
    metadata: Vec<(String, String)>,
}

#[derive(Debug)]
struct Stored {
    file: usize,
    entry: Entry,
}

impl Tensors {
    /// None at all.
    pub(super) fn none(path: &Path) -> Self {
        Self { path: path.to_owned(), files: Vec::new(), tensors: BTreeMap::new(), metadata: Vec::new() }
    }

    /// Opens one safetensors file. Its header is checked, its data is not looked at.
    ///
    /// # Errors
    /// If it cannot be mapped or its header does not fit it.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        let mut all = Self::none(path);
        all.add(path)?;
        Ok(all)
    }

    /// Opens the shards that an index (`*.safetensors.index.json`) names, which lie beside it.
    ///
    /// # Errors
    /// If a shard is missing or broken, holds a tensor of another shard, or lacks one that the index promises.
    pub fn open_sharded(index: &Path) -> Result<Self, CheckpointError> {
        let wrong = |what: String| CheckpointError::Index { path: index.to_owned(), what };
        let dir = index.parent().unwrap_or(Path::new("."));
        let shard_of = read_index(index)?;

        let mut all = Self::none(dir);
        let mut shards: Vec<&str> = shard_of.iter().map(|(_, shard)| &shard[..]).collect();
        shards.sort_unstable();
        shards.dedup();
        for shard in &shards {
            // A plain name: an index must not lead out of its directory.
            if shard.is_empty() || shard.contains(['/', '\\', '\0']) || *shard == "." || *shard == ".." {
                return Err(wrong(format!("shard `{}` is not a plain file name", shard.escape_debug())));
            }
            all.add(&dir.join(shard))?;
        }
        for (name, shard) in &shard_of {
            let found = all.tensors.get(name).map(|stored| shards[stored.file]);
            if found != Some(shard) {
                return Err(wrong(format!("tensor `{name}` should be in `{shard}`, found in {found:?}")));
            }
        }
        Ok(all)
    }

    /// The tensor's type, shape and bytes.
    ///
    /// # Errors
    /// If there is none of this name, or its type is none that networks here use.
    pub fn tensor(&self, name: &str) -> Result<TensorView<'_>, CheckpointError> {
        let (file, entry) = self.entry(name)?;
        let Some(dtype) = entry.dtype else {
            let (path, found) = (file.path().to_owned(), entry.dtype_name.to_owned());
            return Err(CheckpointError::DType { path, name: name.to_owned(), found });
        };
        Ok(TensorView { dtype, shape: entry.shape.clone(), bytes: &file[entry.begin..entry.end] })
    }

    /// The tensor, which must have exactly this shape.
    ///
    /// # Errors
    /// As [`Tensors::tensor`], and if the shape differs.
    pub fn expect(&self, name: &str, shape: &[usize]) -> Result<TensorView<'_>, CheckpointError> {
        let (file, entry) = self.entry(name)?;
        if entry.shape != shape {
            return Err(CheckpointError::Shape {
                path: file.path().to_owned(),
                name: name.to_owned(),
                expected: shape.to_owned(),
                found: entry.shape.clone(),
            });
        }
        self.tensor(name)
    }

    /// Extents of the tensor, if there is one of this name.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|stored| &stored.entry.shape[..])
    }

    /// Whether there is a tensor of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// That every tensor is one that somebody has a use for: weights that a network does not use are another network's.
    ///
    /// # Errors
    /// [`CheckpointError::Leftover`], with the first few of the others.
    pub fn expect_only(&self, is_known: impl Fn(&str) -> bool) -> Result<(), CheckpointError> {
        let mut leftover = self.tensors.iter().filter(|(name, _)| !is_known(name)).peekable();
        let Some((_, stored)) = leftover.peek() else { return Ok(()) };
        let path = self.files[stored.file].path();
        let names: Vec<&str> = leftover.map(|(name, _)| name.as_str()).collect();
        Err(CheckpointError::leftover(path, &names))
    }

    /// Says that a tensor is of a type that weights never have.
    pub(crate) fn wrong_type(&self, name: &str, found: DType) -> CheckpointError {
        let path = self.tensors.get(name).map_or(&*self.path, |stored| self.files[stored.file].path());
        CheckpointError::DType { path: path.to_owned(), name: name.to_owned(), found: found.to_string() }
    }

    /// All names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The mapped files, in the order of their names.
    pub fn files(&self) -> &[FileMap] {
        &self.files
    }

    /// A text that whoever wrote the file left in it under this name.
    pub fn metadata(&self, name: &str) -> Option<&str> {
        self.metadata.iter().find(|(key, _)| key == name).map(|(_, text)| &text[..])
    }

    /// The names of the tensors in each of the [`Tensors::files`], with the places of their bytes there, in the order of these places:
    /// from the first one's beginning to the end of the file without a gap.
    pub fn places(&self) -> Vec<Vec<(&str, Range<usize>)>> {
        let mut places = vec![Vec::new(); self.files.len()];
        for (name, stored) in &self.tensors {
            places[stored.file].push((&name[..], stored.entry.begin..stored.entry.end));
        }
        places.iter_mut().for_each(|places| places.sort_by_key(|(_, place)| (place.start, place.end)));
        places
    }

    /// Bytes of all tensors together.
    pub fn size_bytes(&self) -> u64 {
        self.tensors.values().map(|t| (t.entry.end - t.entry.begin) as u64).sum()
    }

    fn entry(&self, name: &str) -> Result<(&FileMap, &Entry), CheckpointError> {
        match self.tensors.get(name) {
            Some(stored) => Ok((&self.files[stored.file], &stored.entry)),
            None => {
                let found = self.ends_like(name).map(str::to_owned);
                Err(CheckpointError::NoTensor { path: self.path.clone(), name: name.to_owned(), found })
            }
        }
    }

    /// The name that has most of its last parts in common with `name`, two at least, and differs before them by more than a number.
    fn ends_like(&self, name: &str) -> Option<&str> {
        let in_common = |other: &str| {
            let mut pairs = name.rsplit('.').zip(other.rsplit('.'));
            let mut n = 0;
            for (one, other) in pairs.by_ref() {
                if one != other {
                    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
                    return if is_number(one) && is_number(other) { 0 } else { n };
                }
                n += 1;
            }
            n
        };
        let best = self.names().max_by_key(|other| in_common(other))?;
        (2 <= in_common(best)).then_some(best)
    }

    fn add(&mut self, path: &Path) -> Result<(), CheckpointError> {
        let file = FileMap::open(path).map_err(|e| CheckpointError::io(path, e))?;
        let header = header::read(path, &file)?;
        self.metadata.extend(header.metadata);
        for entry in header.entries {
            let name = entry.name.clone();
            if let Some(other) = self.tensors.get(&name) {
                let other = self.files[other.file].path().display();
                return Err(CheckpointError::header(path, format!("tensor `{name}` is also in {other}")));
            }
            let stored = Stored { file: self.files.len(), entry };
            self.tensors.insert(name, stored);
        }
        self.files.push(file);
        Ok(())
    }
}

/// Which shard holds which tensor.
fn read_index(path: &Path) -> Result<Vec<(String, String)>, CheckpointError> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: UniqueMap<String>,
    }
    let text = read_bounded(path, INDEX_BYTES_MAX)?.ok_or_else(|| CheckpointError::Missing {
        dir: path.parent().unwrap_or(path).to_owned(),
        expected: path.display().to_string(),
    })?;
    let index: Index = serde_json::from_slice(&text)
        .map_err(|e| CheckpointError::Json { path: path.to_owned(), message: e.to_string() })?;
    Ok(index.weight_map.0)
}
