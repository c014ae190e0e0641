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
//! Weights in fewer bits are constants that a plan lacks until it is given them ([`Placed`]), since products in the narrow types ask for
//! constants: so those plans too are made without a weight, and given the same bytes out of the engine. On the device each plan has a copy of
//! its own then, so that those of prefill and decode take twice the bytes: TensorRT shares constants between no two plans. [`quantize()`]
//! says which numbers stand for others.
//!
//! Caches are inputs, up to the rows that are valid, and the new rows are outputs, which whoever runs the plan copies behind them. For
//! one token attention sums over cached keys and values where they stand ([`CacheForm::Tokens`]); [`CacheForm::Heads`] is TensorRT's own,
//! which writes caches in place, where the version has it. What either copies of a cache for each token, of Reason2-2B (28 layers, 8 heads
//! of 128 for keys and for values, f16) after 4096 tokens, as the plans' text says for TensorRT-RTX 1.7 and compute capability 8.6:
//!
//! | attention of one token | copied | written |
//! | --- | --- | --- |
//! | sums over elements (portable; what is taken unless asked otherwise) | nothing | 115 kB of new rows, 15 MB of scores |
//! | TensorRT's own, in place | nothing | 115 kB of new rows |
//! | products of matrices (portable; taken for more than one token) | 940 MB, the cache twice over | 115 kB of new rows, 7 MB of scores |
//! | the cache joined with its new rows | 470 MB | |
//!
//! [`lint()`] looks for such copies in the text of a plan.
//!
//! Why not through ONNX: its parser drops what it does not know with a warning (the valid length of a cache, for one) and computes
//! something else.

mod backend;
mod cache;
mod check;
mod compile;
mod driver;
mod layers;
mod lint;
mod lower;
mod placed;
mod precision;
mod quantize;
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
    Activation, Constant, Element, ElementWise, Extent, Function, Input, Kind, Layer, Layers, Output,
    Reduction, Tensor,
};
pub use lint::{Budget, Kernel, Program, lint, programs};
pub use lower::{Given, Lowered, Placed, Sink, Source, lower};
pub use precision::{CacheForm, Rules, STORING, check_target, products_alone, rules};
pub use quantize::{Quantized, e2m1, e4m3, of_e2m1, of_e4m3, quantize};
pub use sections::{MakeAlone, write_sections};
pub use session::{Claim, Device, Failure, Place, Space, open_on};
pub use shim::{Library, Network, Recorded, RecordedTensor, Target};
