//! A layer in the lowering's words, and as the shim's struct of numbers.

use super::raw::{RawAxes, RawLayer};
use crate::backend::tensorrt::layers::{Activation, Element, ElementWise, Function, Kind, Reduction};

/// The order of `ShimKind` in `shim.cc`.
#[derive(Clone, Copy)]
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
}

const CODES: [Code; 17] = [
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
];

/// How many inputs a layer of this code takes: the fewest and the most.
pub(super) fn arity(kind: i32) -> (usize, usize) {
    match CODES[usize::try_from(kind).expect("made by `to_raw`")] {
        Code::Constant => (0, 0),
        Code::MatrixMultiply | Code::ElementWise | Code::Gather => (2, 2),
        Code::Unary | Code::Activation | Code::Reduce | Code::Softmax | Code::Shape | Code::Cast => (1, 1),
        Code::Identity | Code::Resize => (1, 1),
        Code::Shuffle => (1, 2),
        Code::Concatenation => (1, usize::MAX),
        Code::Slice => (1, 3),
        Code::Select => (3, 3),
        Code::Convolution => (2, 3),
    }
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
            n_elements: (bytes.len() / element.size_bytes()) as i64,
            ..of(Code::Constant)
        },
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

/// The layer of a struct that TensorRT's getters filled; `bytes` are a constant's, `n_inputs` how many it has.
///
/// # Errors
/// Which number has no word here.
pub(super) fn from_raw(raw: &RawLayer, bytes: &[u8], n_inputs: usize) -> Result<Kind, String> {
    let code = usize::try_from(raw.kind).ok().and_then(|i| CODES.get(i)).ok_or("an unknown kind")?;
    let operation = raw.operation;
    let unknown = |what: &str| format!("{what} {operation}");
    // An order that changes nothing, whatever was asked for, is none.
    let order = |axes: &RawAxes| -> Vec<i32> {
        let order: Vec<i32> = axes.list().iter().map(|a| *a as i32).collect();
        if order.iter().enumerate().all(|(i, a)| i as i32 == *a) { Vec::new() } else { order }
    };
    Ok(match code {
        Code::Constant => Kind::Constant {
            element: element(raw.element)?,
            dims: raw.dims.list().into(),
            bytes: bytes.into(),
        },
        Code::MatrixMultiply => Kind::MatrixMultiply { transposed: raw.transposed.map(|t| t != 0) },
        Code::ElementWise => {
            use ElementWise::{Difference, FloorQuotient, Greater, Max, Min, Product, Quotient, Sum};
            let all = [Sum, Product, Max, Min, Difference, Quotient, FloorQuotient, Greater];
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
    use Element::{Bf16, Bool, F16, F32, I32, I64};
    let found = [F32, F16, I32, Bool, Bf16, I64].into_iter().find(|e| *e as i32 == code);
    found.ok_or_else(|| format!("element type {code}"))
}
