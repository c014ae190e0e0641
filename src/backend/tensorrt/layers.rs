//! What TensorRT is told of a graph, as data: inputs, layers in an order in which they can be computed, outputs.
//!
//! The lowering writes it without any library; the shim adds it to a network layer by layer, and reads a network of TensorRT's back
//! into the same words. So a lowering can be evaluated and compared where there is no GPU, and where there is no TensorRT; and
//! what the evaluation is given can be what TensorRT itself has recorded.
//!
//! Operations have the names of `NvInfer.h`, and only those are here that the lowering adds.

use serde::{Deserialize, Serialize};

/// Element types, of which a value has one. The numbers are `nvinfer1::DataType`'s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(i32)]
pub enum Element {
    /// IEEE 754 binary32.
    F32 = 0,
    /// IEEE 754 binary16.
    F16 = 1,
    /// Whole numbers of 8 bits, which stand for others by a scale.
    I8 = 2,
    /// Whole numbers of 32 bits: ids, indices.
    I32 = 3,
    /// What is compared.
    Bool = 4,
    /// Floats of 8 bits, E4M3 (<https://arxiv.org/abs/2209.05433>), which stand for others by a scale.
    Fp8 = 6,
    /// The upper half of binary32.
    Bf16 = 7,
    /// Whole numbers of 64 bits: extents.
    I64 = 8,
    /// Whole numbers of 4 bits, which stand for others by a scale; two in a byte, the first in its lower half.
    I4 = 9,
    /// Floats of 4 bits, E2M1, likewise.
    Fp4 = 10,
}

impl Element {
    /// Each.
    pub const ALL: [Element; 10] = [
        Element::F32,
        Element::F16,
        Element::I8,
        Element::I32,
        Element::Bool,
        Element::Fp8,
        Element::Bf16,
        Element::I64,
        Element::I4,
        Element::Fp4,
    ];

    /// Bits of one.
    pub fn bits(self) -> usize {
        match self {
            Element::I4 | Element::Fp4 => 4,
            Element::Bool | Element::I8 | Element::Fp8 => 8,
            Element::F16 | Element::Bf16 => 16,
            Element::F32 | Element::I32 => 32,
            Element::I64 => 64,
        }
    }

    /// Bytes of so many, one after the other.
    pub fn bytes_of(self, n: usize) -> usize {
        (n * self.bits()).div_ceil(8)
    }

    /// Whether it is a number with a fraction that stands for itself.
    pub fn is_float(self) -> bool {
        matches!(self, Element::F32 | Element::F16 | Element::Bf16)
    }
}

/// Index of a value of [`Layers`], whether an input's or a layer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Tensor(pub u32);

impl Tensor {
    /// As an index.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// `nvinfer1::ElementWiseOperation`, of two values of one type whose axes are equal or 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[repr(i32)]
#[expect(missing_docs, reason = "the names say it")]
pub enum ElementWise {
    Sum = 0,
    Product = 1,
    Max = 2,
    Difference = 4,
    Quotient = 5,
    FloorQuotient = 7,
    Greater = 12,
}

/// `nvinfer1::UnaryOperation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[repr(i32)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Function {
    SquareRoot = 2,
    Sine = 6,
    Cosine = 7,
}

/// `nvinfer1::ActivationType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[repr(i32)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Activation {
    Relu = 0,
    Sigmoid = 1,
    GeluErf = 12,
    GeluTanh = 13,
}

/// `nvinfer1::ReduceOperation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[repr(i32)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Reduction {
    Sum = 0,
    Mean = 4,
}

/// What a layer computes. Axes in a set are bits, the outermost the lowest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Kind {
    /// These elements, little-endian.
    #[expect(missing_docs, reason = "the names say it")]
    Constant { element: Element, dims: Vec<i64>, bytes: Vec<u8> },
    /// A constant that the plan lacks until it is given: what its layer is named says which it is.
    #[expect(missing_docs, reason = "the names say it")]
    Placeholder { element: Element, dims: Vec<i64> },
    /// The nearest of type `to` to each element divided by the second input, a scale without axes.
    #[expect(missing_docs, reason = "the names say it")]
    Quantize { to: Element },
    /// Each element of a type that stands for others times its scale, in type `to`. The second input has the scale of all, or of each
    /// place of `axis`; or as many axes as the first, and then one of its elements is the scale of a block in a row.
    #[expect(missing_docs, reason = "the names say it")]
    Dequantize { to: Element, axis: Option<i32> },
    /// Elements in blocks along an axis, each divided by a scale of its own, as [`Element::Fp4`]; and the scales, divided by the second
    /// input, as [`Element::Fp8`], the layer's second output.
    #[expect(missing_docs, reason = "the names say it")]
    DynamicQuantize { axis: i32, block: i32 },
    /// `a b`, over leading axes that are equal or 1; each of the two is transposed in its last two axes or is not.
    #[expect(missing_docs, reason = "the names say it")]
    MatrixMultiply { transposed: [bool; 2] },
    /// A function of two values.
    ElementWise(ElementWise),
    /// A function of each element.
    Unary(Function),
    /// A function of each element.
    Activation(Activation),
    /// Over `axes`, of which ones stay if `keeps`.
    #[expect(missing_docs, reason = "the names say it")]
    Reduce { operation: Reduction, axes: u32, keeps: bool },
    /// `e^x / Σ e^x` over `axes`.
    #[expect(missing_docs, reason = "the names say it")]
    Softmax { axes: u32 },
    /// Axes in the order `first`, then as `shape` (or as the second input, a shape, says; one extent may be -1: whatever is left),
    /// then axes in the order `second`. An empty order changes nothing; without `shape` and second input, neither does the reshape.
    #[expect(missing_docs, reason = "the names say it")]
    Shuffle { first: Vec<i32>, shape: Option<Vec<i64>>, second: Vec<i32> },
    /// Values one after the other along an axis.
    #[expect(missing_docs, reason = "the names say it")]
    Concatenation { axis: i32 },
    /// `size` places of each axis, from `start` on; or as the second and third input say.
    #[expect(missing_docs, reason = "the names say it")]
    Slice { start: Vec<i64>, size: Vec<i64>, stride: Vec<i64> },
    /// The places of an axis that the second input names, whose axes take the axis's place.
    #[expect(missing_docs, reason = "the names say it")]
    Gather { axis: i32 },
    /// The second input's elements where the first's is true, else the third's.
    Select,
    /// The extents.
    Shape,
    /// The same numbers in another type.
    #[expect(missing_docs, reason = "the names say it")]
    Cast { to: Element },
    /// The same.
    Identity,
    /// Of `[1, c, t, h, w]` by the second input `[maps, c, kernel…]`, plus the third, `[maps]`; with zeros outside.
    #[expect(missing_docs, reason = "the names say it")]
    Convolution { maps: i64, kernel: Vec<i64>, stride: Vec<i64>, before: Vec<i64>, after: Vec<i64> },
    /// Nearest neighbours: place `i` is place `floor(i / scale)` of before.
    #[expect(missing_docs, reason = "the names say it")]
    Resize { scales: Vec<f32> },
    /// A cache `[1, groups, rows, dim]` in which the second input, `[1, groups, n, dim]`, stands from the row on that the third, `[1]`,
    /// names. It is written in place: input and output have one address.
    CacheUpdate,
    /// `softmax(q kᵀ) v` of `[1, heads, n, dim]` over `[1, groups, m, dim]`, as one kernel unless it `decomposes`. With a fourth input,
    /// `[1]`, only so many keys count; `causal`, the last query sees all of those, each before it one less.
    #[expect(missing_docs, reason = "the names say it")]
    Attention { causal: bool, decomposes: bool },
}

impl Kind {
    /// A constant's.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Kind::Constant { bytes, .. } => bytes,
            _ => &[],
        }
    }
}

/// A layer and the one value that it yields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Layer {
    /// Unique: the node that it is of, and what for.
    pub name: String,
    /// What it computes.
    pub kind: Kind,
    /// Of what.
    pub inputs: Vec<Tensor>,
    /// What it yields.
    pub output: Tensor,
    /// What it yields beside that: the scales of [`Kind::DynamicQuantize`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second: Option<Tensor>,
}

/// An axis of an input: one extent, or any from `min` to `max`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    /// The smallest.
    pub min: i64,
    /// The largest, for which kernels are chosen.
    pub max: i64,
    /// Inputs' axes of one name are equally long.
    pub name: Option<String>,
}

impl Extent {
    /// An extent that never varies.
    pub fn fixed(n: usize) -> Extent {
        Extent { min: n as i64, max: n as i64, name: None }
    }

    /// Whether it varies from run to run.
    pub fn varies(&self) -> bool {
        self.min != self.max
    }
}

/// A value that a run is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// Unique among inputs and outputs.
    pub name: String,
    /// Its type.
    pub element: Element,
    /// Its shape.
    pub extents: Vec<Extent>,
    /// It.
    pub tensor: Tensor,
}

/// A value that a run yields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// Unique among inputs and outputs.
    pub name: String,
    /// Its type.
    pub element: Element,
    /// It; no two outputs are of one tensor.
    pub tensor: Tensor,
}

/// A network, as TensorRT is told it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Layers {
    /// What a run is given.
    pub inputs: Vec<Input>,
    /// In topological order.
    pub layers: Vec<Layer>,
    /// What a run yields.
    pub outputs: Vec<Output>,
    /// How many values there are.
    pub n_tensors: u32,
}

/// Bytes in place of a [`Kind::Placeholder`], given when a plan is opened.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Constant<'a> {
    /// As the plan knows it.
    pub name: &'a str,
    /// The type of its elements.
    pub element: Element,
    /// Its shape.
    pub dims: &'a [i64],
    /// They.
    pub bytes: &'a [u8],
}
