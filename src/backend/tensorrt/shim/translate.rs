//! A layer in the lowering's words, and as the shim's struct of numbers.

use super::raw::{RawAxes, RawLayer};
use crate::backend::tensorrt::layers::{Activation, Element, ElementWise, Function, Kind, Reduction};

/// The order of `ShimKind` in `shim.h`.
#[derive(Clone, Copy, PartialEq)]
enum Code {
    Constant,
    MatrixMultiply,
    ElementWise,
    Unary,
    Activation,
    Reduce,
    Softmax,
    Shuffle,
    Concatenation,
    Slice,
    Gather,
    Select,
    Shape,
    Cast,
    Identity,
    Convolution,
    Resize,
    Placeholder,
    Quantize,
    Dequantize,
    DynamicQuantize,
    CacheUpdate,
    Attention,
}

const CODES: [Code; 23] = [
    Code::Constant,
    Code::MatrixMultiply,
    Code::ElementWise,
    Code::Unary,
    Code::Activation,
    Code::Reduce,
    Code::Softmax,
    Code::Shuffle,
    Code::Concatenation,
    Code::Slice,
    Code::Gather,
    Code::Select,
    Code::Shape,
    Code::Cast,
    Code::Identity,
    Code::Convolution,
    Code::Resize,
    Code::Placeholder,
    Code::Quantize,
    Code::Dequantize,
    Code::DynamicQuantize,
    Code::CacheUpdate,
    Code::Attention,
];

/// Whether such a layer yields two values.
pub(super) fn yields_two(kind: i32) -> bool {
    kind == Code::DynamicQuantize as i32
}

/// The struct of a layer, without a constant's bytes.
///
/// # Errors
/// If it has more axes than TensorRT has.
pub(super) fn to_raw(kind: &Kind) -> Result<RawLayer, String> {
    let of = |code: Code| RawLayer { kind: code as i32, ..RawLayer::default() };
    let orders = |order: &[i32]| RawAxes::new(order.iter().map(|a| i64::from(*a)));
    Ok(match kind {
        Kind::Constant { element, dims, bytes } => RawLayer {
            element: *element as i32,
            dims: RawAxes::new(dims.iter().copied())?,
            n_elements: (bytes.len() * 8 / element.bits()) as i64,
            ..of(Code::Constant)
        },
        Kind::Placeholder { element, dims } => RawLayer {
            element: *element as i32,
            dims: RawAxes::new(dims.iter().copied())?,
            n_elements: dims.iter().product(),
            ..of(Code::Placeholder)
        },
        Kind::Quantize { to } => RawLayer { element: *to as i32, ..of(Code::Quantize) },
        Kind::Dequantize { to, axis } => {
            RawLayer { element: *to as i32, axis: axis.unwrap_or(-1), ..of(Code::Dequantize) }
        }
        Kind::DynamicQuantize { axis, block } => {
            RawLayer { axis: *axis, maps: i64::from(*block), ..of(Code::DynamicQuantize) }
        }
        Kind::CacheUpdate => of(Code::CacheUpdate),
        Kind::Attention { causal, decomposes } => {
            RawLayer { operation: i32::from(*causal), keeps: i32::from(*decomposes), ..of(Code::Attention) }
        }
        Kind::MatrixMultiply { transposed } => {
            RawLayer { transposed: transposed.map(i32::from), ..of(Code::MatrixMultiply) }
        }
        Kind::ElementWise(operation) => RawLayer { operation: *operation as i32, ..of(Code::ElementWise) },
        Kind::Unary(function) => RawLayer { operation: *function as i32, ..of(Code::Unary) },
        Kind::Activation(activation) => RawLayer { operation: *activation as i32, ..of(Code::Activation) },
        Kind::Reduce { operation, axes, keeps } => RawLayer {
            operation: *operation as i32,
            axes: *axes,
            keeps: i32::from(*keeps),
            ..of(Code::Reduce)
        },
        Kind::Softmax { axes } => RawLayer { axes: *axes, ..of(Code::Softmax) },
        Kind::Shuffle { first, shape, second } => RawLayer {
            first: orders(first)?,
            dims: shape.as_ref().map_or(Ok(RawAxes::NONE), |s| RawAxes::new(s.iter().copied()))?,
            second: orders(second)?,
            ..of(Code::Shuffle)
        },
        Kind::Concatenation { axis } => RawLayer { axis: *axis, ..of(Code::Concatenation) },
        Kind::Slice { start, size, stride } => RawLayer {
            first: RawAxes::new(start.iter().copied())?,
            dims: RawAxes::new(size.iter().copied())?,
            stride: RawAxes::new(stride.iter().copied())?,
            ..of(Code::Slice)
        },
        Kind::Gather { axis } => RawLayer { axis: *axis, ..of(Code::Gather) },
        Kind::Select => of(Code::Select),
        Kind::Shape => of(Code::Shape),
        Kind::Cast { to } => RawLayer { element: *to as i32, ..of(Code::Cast) },
        Kind::Identity => of(Code::Identity),
        Kind::Convolution { maps, kernel, stride, before, after } => RawLayer {
            maps: *maps,
            dims: RawAxes::new(kernel.iter().copied())?,
            stride: RawAxes::new(stride.iter().copied())?,
            first: RawAxes::new(before.iter().copied())?,
            second: RawAxes::new(after.iter().copied())?,
            ..of(Code::Convolution)
        },
        Kind::Resize { scales } => {
            let mut raw = of(Code::Resize);
            let room = raw.scales.get_mut(..scales.len()).ok_or("too many axes")?;
            room.copy_from_slice(scales);
            raw.n_scales = scales.len() as i64;
            raw
        }
    })
}

/// The layer of a struct that TensorRT's getters filled; `bytes` are a constant's, unless it has none yet; `n_inputs` is how many it has.
///
/// # Errors
/// Which number has no word here.
pub(super) fn from_raw(raw: &RawLayer, bytes: Option<&[u8]>, n_inputs: usize) -> Result<Kind, String> {
    let code = usize::try_from(raw.kind).ok().and_then(|i| CODES.get(i)).ok_or("an unknown kind")?;
    let operation = raw.operation;
    let unknown = |what: &str| format!("{what} {operation}");
    // An order that changes nothing, whatever was asked for, is none.
    let order = |axes: &RawAxes| -> Vec<i32> {
        let order: Vec<i32> = axes.list().iter().map(|a| *a as i32).collect();
        if order.iter().enumerate().all(|(i, a)| i as i32 == *a) { Vec::new() } else { order }
    };
    Ok(match code {
        Code::Constant | Code::Placeholder => {
            let (element, dims) = (element(raw.element)?, raw.dims.list().into());
            match bytes {
                Some(bytes) => Kind::Constant { element, dims, bytes: bytes.into() },
                None => Kind::Placeholder { element, dims },
            }
        }
        Code::Quantize => Kind::Quantize { to: element(raw.element)? },
        Code::Dequantize => {
            Kind::Dequantize { to: element(raw.element)?, axis: (0 <= raw.axis).then_some(raw.axis) }
        }
        Code::DynamicQuantize => {
            let block = i32::try_from(raw.maps).map_err(|_| format!("a block of {}", raw.maps))?;
            Kind::DynamicQuantize { axis: raw.axis, block }
        }
        Code::CacheUpdate => Kind::CacheUpdate,
        Code::Attention => Kind::Attention { causal: operation != 0, decomposes: raw.keeps != 0 },
        Code::MatrixMultiply => Kind::MatrixMultiply { transposed: raw.transposed.map(|t| t != 0) },
        Code::ElementWise => {
            use ElementWise::{Difference, FloorQuotient, Greater, Max, Product, Quotient, Sum};
            let all = [Sum, Product, Max, Difference, Quotient, FloorQuotient, Greater];
            let found = all.into_iter().find(|o| *o as i32 == operation);
            Kind::ElementWise(found.ok_or_else(|| unknown("element-wise operation"))?)
        }
        Code::Unary => {
            let all = [Function::SquareRoot, Function::Sine, Function::Cosine];
            let found = all.into_iter().find(|o| *o as i32 == operation);
            Kind::Unary(found.ok_or_else(|| unknown("unary operation"))?)
        }
        Code::Activation => {
            use Activation::{GeluErf, GeluTanh, Relu, Sigmoid};
            let found = [Relu, Sigmoid, GeluErf, GeluTanh].into_iter().find(|o| *o as i32 == operation);
            Kind::Activation(found.ok_or_else(|| unknown("activation"))?)
        }
        Code::Reduce => {
            let found = [Reduction::Sum, Reduction::Mean].into_iter().find(|o| *o as i32 == operation);
            let operation = found.ok_or_else(|| unknown("reduction"))?;
            Kind::Reduce { operation, axes: raw.axes, keeps: raw.keeps != 0 }
        }
        Code::Softmax => Kind::Softmax { axes: raw.axes },
        Code::Shuffle => {
            let shape = (n_inputs == 1 && 0 <= raw.dims.n).then(|| raw.dims.list().into());
            Kind::Shuffle { first: order(&raw.first), shape, second: order(&raw.second) }
        }
        Code::Concatenation => Kind::Concatenation { axis: raw.axis },
        Code::Slice => {
            let given = |axes: &RawAxes| if n_inputs == 1 { axes.list().into() } else { Vec::new() };
            Kind::Slice { start: given(&raw.first), size: given(&raw.dims), stride: raw.stride.list().into() }
        }
        Code::Gather => Kind::Gather { axis: raw.axis },
        Code::Select => Kind::Select,
        Code::Shape => Kind::Shape,
        Code::Cast => Kind::Cast { to: element(raw.element)? },
        Code::Identity => Kind::Identity,
        Code::Convolution => Kind::Convolution {
            maps: raw.maps,
            kernel: raw.dims.list().into(),
            stride: raw.stride.list().into(),
            before: raw.first.list().into(),
            after: raw.second.list().into(),
        },
        Code::Resize => {
            let n = usize::try_from(raw.n_scales).unwrap_or(0).min(raw.scales.len());
            Kind::Resize { scales: raw.scales[..n].into() }
        }
    })
}

/// The element type of TensorRT's number.
///
/// # Errors
/// Which number it is.
pub(super) fn element(code: i32) -> Result<Element, String> {
    let found = Element::ALL.into_iter().find(|e| *e as i32 == code);
    found.ok_or_else(|| format!("element type {code}"))
}
