//! Writes a checkpoint's directory: configs, tokenizer and tensors, all of it or nothing.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use safetensors::{Dtype, SafeTensorError, View};
use serde_json::Value;

use super::{CONFIG_FILES, Checkpoint, CheckpointError};
use crate::install::PartialFolder;
use crate::tensor::{DType, narrow, widen};

/// Files of older tokenizers, which change no answer here, since `tokenizer.json` says the same, and which other programs read.
pub(super) const TOKENIZER_FILES: [&str; 4] =
    ["vocab.json", "merges.txt", "added_tokens.json", "special_tokens_map.json"];

/// A tensor that is made when it is written, so that a checkpoint needs no more memory than its largest tensor.
pub struct NewTensor<'a> {
    name: String,
    dtype: DType,
    shape: Vec<usize>,
    bytes: Box<dyn Fn() -> Cow<'a, [u8]> + 'a>,
}

impl<'a> NewTensor<'a> {
    /// A tensor whose little-endian bytes `bytes` gives when it is asked, as many as type and shape say.
    pub fn new(
        name: impl Into<String>,
        dtype: DType,
        shape: Vec<usize>,
        bytes: impl Fn() -> Cow<'a, [u8]> + 'a,
    ) -> Self {
        NewTensor { name: name.into(), dtype, shape, bytes: Box::new(bytes) }
    }

    /// Its name in the file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its bytes, made now.
    pub fn bytes(&self) -> Cow<'a, [u8]> {
        (self.bytes)()
    }

    /// The same in a floating type, if it is of one; `overflow` is set when a finite value does not fit.
    fn rounded_to(self, dtype: DType, overflow: Rc<Cell<bool>>) -> Self {
        let NewTensor { name, dtype: from, shape, bytes } = self;
        if from == dtype || matches!(from, DType::I32 | DType::U8) {
            return NewTensor { name, dtype: from, shape, bytes };
        }
        let rounded = move || {
            let stored = bytes();
            let mut values = vec![0.0; stored.len() / from.size_bytes()];
            widen(from, &stored, &mut values);
            let mut rounded = vec![0; values.len() * dtype.size_bytes()];
            narrow(dtype, &values, &mut rounded);
            let is_finite = |values: &[f32]| values.iter().all(|v| v.is_finite());
            if is_finite(&values) {
                widen(dtype, &rounded, &mut values);
                overflow.set(overflow.get() || !is_finite(&values));
            }
            rounded.into()
        };
        NewTensor { name, dtype, shape, bytes: Box::new(rounded) }
    }
}

impl fmt::Debug for NewTensor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{:?}", self.name, self.dtype, self.shape)
    }
}

impl View for &NewTensor<'_> {
    fn dtype(&self) -> Dtype {
        match self.dtype {
            DType::F32 => Dtype::F32,
            DType::F16 => Dtype::F16,
            DType::Bf16 => Dtype::BF16,
            DType::I32 => Dtype::I32,
            DType::U8 => Dtype::U8,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let bytes = self.bytes();
        assert_eq!(bytes.len(), self.data_len(), "{self:?}: as many bytes as it says");
        bytes
    }

    fn data_len(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype.size_bytes()
    }
}

/// A checkpoint's directory that is being written.
#[derive(Debug)]
pub struct CheckpointWriter {
    dir: PathBuf,
    folder: PartialFolder,
    rounds_to: Option<DType>,
}

impl CheckpointWriter {
    /// Begins a checkpoint that will lie at `dir` when it is finished. `source` is the one that it is made from, if it is made from one.
    ///
    /// # Errors
    /// If something lies at `dir` that is no empty directory, if `dir` lies in `source`, or if nothing can be written there.
    pub fn create(dir: &Path, source: Option<&Path>) -> Result<Self, CheckpointError> {
        let folder = PartialFolder::create(dir).map_err(|e| match e.kind() {
            io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotADirectory => {
                CheckpointError::NotEmpty { dir: dir.to_owned() }
            }
            _ => CheckpointError::io(dir, e),
        })?;
        if let Some(source) = source {
            let whole = |path: &Path| path.canonicalize().map_err(|e| CheckpointError::io(path, e));
            // Asked of the folder that is there now, since `dir` may not be.
            if whole(folder.path())?.starts_with(whole(source)?) {
                return Err(CheckpointError::IntoSource {
                    dir: dir.to_owned(),
                    source_dir: source.to_owned(),
                });
            }
        }
        Ok(Self { dir: dir.to_owned(), folder, rounds_to: None })
    }

    /// From now on tensors of a floating type are written in this one.
    #[must_use]
    pub fn rounding_to(self, dtype: DType) -> Self {
        Self { rounds_to: Some(dtype), ..self }
    }

    /// Writes a config; `name` may begin with a folder.
    ///
    /// # Errors
    /// If the disk is full or fails.
    pub fn json(&mut self, name: &str, value: &Value) -> Result<(), CheckpointError> {
        self.file(name, format!("{value:#}\n").as_bytes())
    }

    /// Writes any other file; `name` may begin with a folder.
    ///
    /// # Errors
    /// If the disk is full or fails.
    pub fn file(&mut self, name: &str, content: &[u8]) -> Result<(), CheckpointError> {
        let path = self.place(name)?;
        fs::write(path, content).map_err(|e| CheckpointError::io(&self.dir.join(name), e))
    }

    /// Writes a file of which not all need be in memory at once; `name` may begin with a folder.
    ///
    /// # Errors
    /// If the disk is full or fails.
    pub fn pieces(
        &mut self,
        name: &str,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), CheckpointError> {
        let path = self.place(name)?;
        let written = File::create(path).and_then(|mut file| write(&mut file));
        written.map_err(|e| CheckpointError::io(&self.dir.join(name), e))
    }

    /// Copies a file to `name`, if it is there.
    ///
    /// # Errors
    /// If it cannot be read, or the disk is full or fails.
    pub fn copy(&mut self, from: &Path, name: &str) -> Result<(), CheckpointError> {
        let mut file = match File::open(from) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(CheckpointError::io(from, e)),
        };
        let path = self.place(name)?;
        let io = |e| CheckpointError::io(&self.dir.join(name), e);
        io::copy(&mut file, &mut File::create(path).map_err(io)?).map_err(io)?;
        Ok(())
    }

    /// Copies every file but the weights that a checkpoint's digest covers, and older tokenizer files, into a folder (empty for the
    /// checkpoint's own).
    ///
    /// # Errors
    /// As [`CheckpointWriter::copy`].
    pub fn copy_configs(&mut self, from: &Checkpoint, folder: &str) -> Result<(), CheckpointError> {
        for name in CONFIG_FILES.iter().chain(&TOKENIZER_FILES) {
            let to = Path::new(folder).join(name);
            self.copy(&from.dir().join(name), to.to_str().expect("our names are UTF-8"))?;
        }
        Ok(())
    }

    /// Writes one safetensors file, tensor by tensor.
    ///
    /// # Errors
    /// If the disk is full or fails, or a value does not fit the type that it is to be rounded to.
    pub fn tensors(&mut self, name: &str, tensors: Vec<NewTensor<'_>>) -> Result<(), CheckpointError> {
        let path = self.place(name)?;
        let overflow = Rc::new(Cell::new(false));
        let rounded = tensors.into_iter().map(|tensor| match self.rounds_to {
            Some(dtype) => tensor.rounded_to(dtype, Rc::clone(&overflow)),
            None => tensor,
        });
        let tensors: Vec<_> = rounded.collect();
        // Loaders ask which framework's tensors these are, and know this answer.
        let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        let data = tensors.iter().map(|tensor| (tensor.name(), tensor));
        safetensors::serialize_to_file(data, Some(metadata), &path).map_err(|e| {
            let error = match e {
                SafeTensorError::IoError(e) => e,
                other => io::Error::other(other.to_string()),
            };
            CheckpointError::io(&self.dir.join(name), error)
        })?;
        match self.rounds_to.filter(|_| overflow.get()) {
            Some(dtype) => Err(CheckpointError::Overflow { path: self.dir.join(name), dtype }),
            None => Ok(()),
        }
    }

    /// Puts the directory into its place.
    ///
    /// # Errors
    /// If the disk is full or fails, or something lies there by now. Then nothing new lies there or beside it.
    pub fn finish(self) -> Result<(), CheckpointError> {
        self.folder.install().map_err(|e| CheckpointError::io(&self.dir, e))
    }

    /// Where the file of that name is written, its folder made.
    fn place(&self, name: &str) -> Result<PathBuf, CheckpointError> {
        let path = self.folder.path().join(name);
        let folder = path.parent().expect("a file lies in a folder");
        fs::create_dir_all(folder).map_err(|e| CheckpointError::io(&self.dir, e))?;
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_rounded_where_they_fit_and_nothing_else_is() {
        let place = tempfile::tempdir().unwrap();
        let write = |value: f32, dtype| {
            let dir = place.path().join(format!("{value}-{dtype}"));
            let mut writer = CheckpointWriter::create(&dir, None).unwrap().rounding_to(dtype);
            let floats = NewTensor::new("f", DType::F32, vec![2], move || {
                [1.0, value].map(f32::to_le_bytes).concat().into()
            });
            let whole = NewTensor::new("i", DType::I32, vec![1], || 7i32.to_le_bytes().to_vec().into());
            writer.tensors("model.safetensors", vec![floats, whole])?;
            writer.finish()?;
            let tensors = super::super::Tensors::open(&dir.join("model.safetensors")).unwrap();
            let view = |name: &str| {
                let view = tensors.tensor(name).unwrap();
                (view.dtype, view.bytes.to_vec())
            };
            Ok::<_, CheckpointError>((view("f"), view("i")))
        };
        let (floats, whole) = write(-2.5, DType::F16).unwrap();
        assert_eq!(floats, (DType::F16, vec![0x00, 0x3c, 0x00, 0xc1]));
        assert_eq!(whole, (DType::I32, vec![7, 0, 0, 0]));
        assert_eq!(write(1e6, DType::Bf16).unwrap().0.0, DType::Bf16);
        assert_eq!(
            write(f32::INFINITY, DType::F16).unwrap().0.1[2..],
            [0x00, 0x7c],
            "what was infinite stays so"
        );
        let refused = write(1e6, DType::F16).unwrap_err().to_string();
        assert!(refused.contains("model.safetensors: a value does not fit f16"), "{refused}");
        assert!(!place.path().join("1000000-f16").exists());
    }
}
