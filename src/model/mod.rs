//! The model file: graphs, weights, tokenizer, preprocessing and golden cases, for any device.
//!
//! It is whole: nobody who opens it looks at the checkpoint again. `export` writes it, `build` reads it; its manifest's parts
//! stand in engines too.

mod error;
mod file;
mod golden;
mod manifest;

pub use error::ModelError;
pub use file::Model;
pub use golden::{GoldenCase, GoldenCasePlaces, GoldenInput, GoldenOutput, GoldenStep, GoldenValues};
pub(crate) use manifest::{GOLDEN, TENSOR_ALIGNMENT, TOKENIZER, WEIGHTS};
pub use manifest::{ModelManifest, Roles, Source};
