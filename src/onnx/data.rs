//! The file of weights that all graphs share: a safetensors file (<https://huggingface.co/docs/safetensors>), in which each graph finds
//! its tensors by offset and length. So it is read by whatever reads safetensors, and a weight of several graphs lies on the disk once.
//!
//! Tensors are in the types in which the model has them, wide elements first, so that each is aligned to its elements. Kernels of
//! convolutions lie as ONNX wants them, `[c_out, c_in, t, h, w]`; everything else as in the model.
//!
//! Why not the `safetensors` crate's writer: it gives no offsets back, and reports no progress.

use std::collections::HashSet;
use std::io::{self, Write};

use serde_json::{Map, Value, json};

use crate::graph::{Network, Op, WeightId, WeightUse, Weights};
use crate::tensor::{DType, TensorView};

/// The file's name.
pub const WEIGHTS_FILE: &str = "weights.safetensors";
/// Where the first tensor begins is a multiple of it, so that readers may map the tensors alone.
const PAGE_BYTES: usize = 4096;
/// Bytes between two reports.
const STEP_BYTES: usize = 16 << 20;

/// A tensor in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// From the beginning of the file.
    pub(super) offset: u64,
    pub(super) bytes: u64,
    /// Extents as they lie there.
    pub(super) shape: Vec<usize>,
    /// Whether it is the kernel of a convolution, with channels before places.
    pub(super) is_kernel: bool,
}

/// What lies where in the file.
#[derive(Debug)]
pub(super) struct Layout {
    header: Vec<u8>,
    order: Vec<WeightId>,
    places: Vec<Place>,
    /// Length of the file.
    pub(super) file_bytes: u64,
}

impl Layout {
    pub(super) fn of(network: &Network) -> Self {
        let mut order: Vec<WeightId> = (0..network.weights.len()).map(|i| WeightId(i as u32)).collect();
        let element_bytes = |id: &WeightId| network.weights[id.index()].dtype.size_bytes();
        order.sort_by_key(|id| std::cmp::Reverse(element_bytes(id)));
        let kernels = kernels(network);
        let mut places: Vec<Place> = (0..network.weights.len())
            .map(|i| {
                let (weight, is_kernel) = (&network.weights[i], kernels.contains(&WeightId(i as u32)));
                let shape = match (is_kernel, &weight.shape[..]) {
                    (true, &[c_out, t, h, w, c_in]) => vec![c_out, c_in, t, h, w],
                    (_, shape) => shape.to_vec(),
                };
                let bytes = (weight.shape.iter().product::<usize>() * weight.dtype.size_bytes()) as u64;
                Place { offset: 0, bytes, shape, is_kernel }
            })
            .collect();
        let mut header = Map::new();
        let mut at = 0;
        for id in &order {
            let (weight, place) = (&network.weights[id.index()], &mut places[id.index()]);
            place.offset = at;
            at += place.bytes;
            let value = json!({"dtype": code(weight.dtype), "shape": place.shape, "data_offsets": [place.offset, at]});
            header.insert(weight.name.clone(), value);
        }
        let mut text = Value::Object(header).to_string().into_bytes();
        // The header's length stands before it, in eight bytes; readers take spaces behind it.
        text.resize((8 + text.len()).next_multiple_of(PAGE_BYTES) - 8, b' ');
        let begin = 8 + text.len() as u64;
        places.iter_mut().for_each(|place| place.offset += begin);
        let header = [&(text.len() as u64).to_le_bytes()[..], &text].concat();
        Self { header, order, places, file_bytes: begin + at }
    }

    pub(super) fn place(&self, id: WeightId) -> &Place {
        &self.places[id.index()]
    }

    /// Writes the file; `progress` is told the bytes so far.
    pub(super) fn write(
        &self,
        weights: &dyn Weights,
        out: &mut dyn Write,
        progress: &mut dyn FnMut(u64),
    ) -> io::Result<()> {
        out.write_all(&self.header)?;
        let mut done = self.header.len() as u64;
        for id in &self.order {
            let tensor = weights.weight(*id);
            if self.place(*id).is_kernel {
                write_kernel(&tensor, out)?;
                done += tensor.bytes.len() as u64;
                progress(done);
                continue;
            }
            for part in tensor.bytes.chunks(STEP_BYTES) {
                out.write_all(part)?;
                done += part.len() as u64;
                progress(done);
            }
        }
        Ok(())
    }
}

/// The weights that convolutions read as kernels and nothing reads otherwise.
fn kernels(network: &Network) -> HashSet<WeightId> {
    let (mut kernels, mut others) = (HashSet::new(), HashSet::new());
    for node in network.graphs.iter().flat_map(|graph| &graph.nodes) {
        for weight in node.op.weights() {
            let is_kernel = matches!(node.op, Op::Conv3d { .. }) && weight.usage == WeightUse::Matrix;
            if is_kernel {
                kernels.insert(weight.id)
            } else {
                others.insert(weight.id)
            };
        }
    }
    &kernels - &others
}

/// `[c_out, t, h, w, c_in]` → `[c_out, c_in, t, h, w]`, one `c_out` at a time.
fn write_kernel(tensor: &TensorView<'_>, out: &mut dyn Write) -> io::Result<()> {
    let [c_out, .., c_in] = tensor.shape[..] else { unreachable!("kernels have five axes") };
    let size = tensor.dtype.size_bytes();
    let row_bytes = tensor.bytes.len() / c_out.max(1);
    let mut row = Vec::with_capacity(row_bytes);
    for places in tensor.bytes.chunks(row_bytes.max(1)) {
        row.clear();
        for c in 0..c_in {
            places
                .chunks(c_in * size)
                .for_each(|place| row.extend_from_slice(&place[c * size..(c + 1) * size]));
        }
        out.write_all(&row)?;
    }
    Ok(())
}

/// A type as safetensors names it.
fn code(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "F32",
        DType::F16 => "F16",
        DType::Bf16 => "BF16",
        DType::I32 => "I32",
        DType::U8 => "U8",
    }
}
