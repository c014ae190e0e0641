//! Graphs for TensorRT: what it is told of them, and the library itself.
//!
//! A graph is lowered to [`Layers`], which are data ([`lower`]); the shim ([`Library`], [`Network`]) hands them to TensorRT, reads them
//! back from it, and has a plan made of them. The lowering is always compiled; the shim needs feature `tensorrt`, TensorRT's headers
//! and a C++ compiler, and opens the library when it is asked for. Where it is not compiled in, it says so.
//!
//! Weights are inputs of a plan, in the layout of the checkpoint, not part of it: so the plans of a network (prefill and decode, and
//! those of several GPUs) share one copy of them in device memory, a plan is small and is made without reading a weight, and
//! none is transposed at run time, since the product takes its transpose.
//!
//! Caches are inputs, up to the rows that are valid, and the new rows are outputs, which whoever runs the plan copies behind them.
//! Attention scores the cached keys and the new ones each where they stand ([`lower`] says how), so no plan copies a cache. For
//! Reason2-2B (28 layers, 8 heads of 128 for keys and for values, f16) at 4096 tokens that is 115 kB written for each token; a cache
//! concatenated with its new rows would be 470 MB read and 470 MB written beside it, for each token.
//!
//! Why not through ONNX: its parser drops what it does not know with a warning (the valid length of a cache, for one) and computes
//! something else.

mod backend;
mod cache;
mod compile;
mod driver;
mod layers;
mod lower;
mod recorder;
mod sections;
mod session;
mod shim;
mod target;
mod weights;
mod whole;

pub use backend::TensorRt;
pub use compile::{Compiled, Order, compile, serve};
pub use layers::{
    Activation, Element, ElementWise, Extent, Function, Input, Kind, Layer, Layers, Output, Reduction, Tensor,
};
pub use lower::{Lowered, Sink, Source, lower};
pub use sections::write_sections;
pub use session::{Claim, Device, Failure, Place, Space, open_on};
pub use shim::{Library, Network, Recorded, RecordedTensor, Target};
