//! What training makes: a directory of safetensors files and configs, as Hugging Face's libraries write it. Read and written here.
//!
//! Everything in it comes from outside and is treated so: sizes are bounded before memory is asked for, headers are checked
//! against their files, and every error names the file, the key or tensor, what was expected and what was found. Weights are
//! mapped, never read: a checkpoint of gigabytes is opened in the memory of its headers.
//!
//! A directory is opened the same way whether a transformers model or one component of a diffusers pipeline lies in it; what
//! its config means is read by one file per architecture.

mod error;
mod header;
mod json;
mod tensors;
mod write;

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::tensor::TensorView;

pub use error::CheckpointError;
pub use json::{JsonFile, Section};
pub use tensors::Tensors;
pub use write::{CheckpointWriter, NewTensor};

/// Names under which libraries write weights, in the order in which they are looked for; a single file before shards.
const WEIGHT_FILES: [&str; 4] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.safetensors.index.json",
];
/// Files beside the weights that change what a model answers, and so belong to its digest.
const CONFIG_FILES: [&str; 9] = [
    "config.json",
    "generation_config.json",
    "processor_config.json",
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "chat_template.json",
];
/// The largest file beside the weights that is read: tokenizers of a quarter of a million tokens have some twenty megabytes.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// An opened checkpoint: its config, parsed, and its weights, mapped.
#[derive(Debug)]
pub struct Checkpoint {
    dir: PathBuf,
    config: JsonFile,
    tensors: Tensors,
    index: Option<&'static str>,
}

impl Checkpoint {
    /// Opens the directory: `config.json` beside `model.safetensors` or `diffusion_pytorch_model.safetensors`, or beside the
    /// shards of either with their index.
    ///
    /// # Errors
    /// If one of them is missing, is not what its name says, or contradicts another.
    pub fn open(dir: &Path) -> Result<Self, CheckpointError> {
        let config = JsonFile::open_config(dir)?;
        let found = WEIGHT_FILES.into_iter().find(|name| dir.join(name).exists());
        let expected = || WEIGHT_FILES.join(" or ");
        let name =
            found.ok_or_else(|| CheckpointError::Missing { dir: dir.to_owned(), expected: expected() })?;
        let index = name.ends_with(".json").then_some(name);
        let path = dir.join(name);
        let tensors = if index.is_some() { Tensors::open_sharded(&path) } else { Tensors::open(&path) }?;
        Ok(Self { dir: dir.to_owned(), config, tensors, index })
    }

    /// Opens the directory without its weights, if it has any: there are no tensors then.
    ///
    /// # Errors
    /// If `config.json` is missing or is no JSON.
    pub fn open_configs(dir: &Path) -> Result<Self, CheckpointError> {
        Ok(Self {
            dir: dir.to_owned(),
            config: JsonFile::open_config(dir)?,
            tensors: Tensors::none(dir),
            index: None,
        })
    }

    /// Name and content of every file beside the weights that a checkpoint's digest covers, and of older tokenizers'.
    ///
    /// # Errors
    /// As [`Checkpoint::file`].
    pub fn configs(&self) -> Result<Vec<(&'static str, Vec<u8>)>, CheckpointError> {
        let mut all = Vec::new();
        for name in CONFIG_FILES.into_iter().chain(write::TOKENIZER_FILES) {
            all.extend(self.file(name)?.map(|content| (name, content)));
        }
        Ok(all)
    }

    /// Whether a file of weights lies in the directory, by one of the names that libraries give it.
    pub fn has_weights(dir: &Path) -> bool {
        WEIGHT_FILES.iter().any(|name| dir.join(name).exists())
    }

    /// The directory, as it was given.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// `config.json`.
    pub fn config(&self) -> &JsonFile {
        &self.config
    }

    /// The file that says which shard holds which tensor, where there are shards.
    pub fn index(&self) -> Option<&'static str> {
        self.index
    }

    /// All tensors.
    pub fn tensors(&self) -> &Tensors {
        &self.tensors
    }

    /// The tensor's type, shape and bytes.
    ///
    /// # Errors
    /// As [`Tensors::tensor`].
    pub fn tensor(&self, name: &str) -> Result<TensorView<'_>, CheckpointError> {
        self.tensors.tensor(name)
    }

    /// The tensor, which must have exactly this shape.
    ///
    /// # Errors
    /// As [`Tensors::expect`].
    pub fn expect(&self, name: &str, shape: &[usize]) -> Result<TensorView<'_>, CheckpointError> {
        self.tensors.expect(name, shape)
    }

    /// The names of all tensors, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.names()
    }

    /// Another JSON file of the directory; `None` if it is not there.
    ///
    /// # Errors
    /// If it is larger than 16 MiB, cannot be read, or is no JSON.
    pub fn json(&self, name: &str) -> Result<Option<JsonFile>, CheckpointError> {
        JsonFile::open(&self.dir.join(name))
    }

    /// The bytes of another file of the directory; `None` if it is not there.
    ///
    /// # Errors
    /// If it is larger than 64 MiB or cannot be read.
    pub fn file(&self, name: &str) -> Result<Option<Vec<u8>>, CheckpointError> {
        json::read_bounded(&self.dir.join(name), FILE_BYTES_MAX)
    }

    /// SHA-256 over name, size and content of every file that the answers depend on: configs and tokenizer in a fixed order,
    /// then the weight files in the order of their names. Reads all weights once.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn digest(&self) -> Result<[u8; 32], CheckpointError> {
        let mut hash = Sha256::new();
        let mut add = |name: &[u8], content: &[u8]| {
            for part in [name, content] {
                hash.update((part.len() as u64).to_le_bytes());
                hash.update(part);
            }
        };
        for name in CONFIG_FILES {
            if let Some(content) = self.file(name)? {
                add(name.as_bytes(), &content);
            }
        }
        for file in self.tensors.files() {
            add(file.path().file_name().unwrap_or_default().as_encoded_bytes(), file);
        }
        Ok(hash.finalize().into())
    }
}

#[cfg(test)]
mod tests;
