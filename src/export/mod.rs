//! From a checkpoint to a model: one file with graphs, weights, tokenizer, preprocessing and golden cases, for any device.
//!
//! What `export` writes is whole: nobody after it looks at the checkpoint again, no template engine and no config parser runs on
//! the robot. Weights are streamed from the checkpoint's map to the disk in the types in which they are stored; what
//! precision an engine computes in is decided when it is built.

mod error;
mod golden;
mod predict;
mod predict_golden;
mod reason;
mod reason_golden;
mod text;
mod write;

pub use error::ExportError;
pub use predict::{PredictOptions, export_predict};
pub use reason::{ReasonOptions, export_reason, reason_manifest};
pub use text::load_text;
pub use write::{Progress, Summary};
