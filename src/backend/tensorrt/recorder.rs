//! Writes [`Layers`] one by one, with the type of each value.

use super::layers::{
    Activation, Element, ElementWise, Extent, Function, Input, Kind, Layer, Layers, Output, Reduction, Tensor,
};

/// Layers under construction.
#[derive(Default)]
pub(super) struct Recorder {
    layers: Layers,
    elements: Vec<Element>,
    /// What layers that follow are named after.
    pub(super) scope: String,
}

impl Recorder {
    /// What was recorded.
    pub(super) fn finish(self) -> Layers {
        self.layers
    }

    /// Type of a value.
    pub(super) fn element(&self, tensor: Tensor) -> Element {
        self.elements[tensor.index()]
    }

    pub(super) fn input(&mut self, name: &str, element: Element, extents: Vec<Extent>) -> Tensor {
        let tensor = self.tensor(element);
        self.layers.inputs.push(Input { name: name.into(), element, extents, tensor });
        tensor
    }

    pub(super) fn output(&mut self, name: &str, tensor: Tensor) {
        let element = self.element(tensor);
        self.layers.outputs.push(Output { name: name.into(), element, tensor });
    }

    pub(super) fn matmul(&mut self, a: Tensor, b: Tensor, transposed: [bool; 2]) -> Tensor {
        self.layer(Kind::MatrixMultiply { transposed }, &[a, b])
    }

    pub(super) fn elementwise(&mut self, operation: ElementWise, a: Tensor, b: Tensor) -> Tensor {
        self.layer(Kind::ElementWise(operation), &[a, b])
    }

    pub(super) fn function(&mut self, function: Function, x: Tensor) -> Tensor {
        self.layer(Kind::Unary(function), &[x])
    }

    pub(super) fn activation(&mut self, activation: Activation, x: Tensor) -> Tensor {
        self.layer(Kind::Activation(activation), &[x])
    }

    /// Over one axis, of which a one stays if `keeps`.
    pub(super) fn reduce(&mut self, operation: Reduction, x: Tensor, axis: usize, keeps: bool) -> Tensor {
        self.layer(Kind::Reduce { operation, axes: 1 << axis, keeps }, &[x])
    }

    pub(super) fn softmax(&mut self, x: Tensor, axis: usize) -> Tensor {
        self.layer(Kind::Softmax { axes: 1 << axis }, &[x])
    }

    pub(super) fn transpose(&mut self, x: Tensor, order: &[i32]) -> Tensor {
        self.layer(Kind::Shuffle { first: order.into(), shape: None, second: Vec::new() }, &[x])
    }

    pub(super) fn gather(&mut self, x: Tensor, index: Tensor, axis: usize) -> Tensor {
        self.layer(Kind::Gather { axis: axis as i32 }, &[x, index])
    }

    pub(super) fn concat(&mut self, parts: &[Tensor], axis: usize) -> Tensor {
        self.layer(Kind::Concatenation { axis: axis as i32 }, parts)
    }

    pub(super) fn cast(&mut self, x: Tensor, to: Element) -> Tensor {
        if self.element(x) == to { x } else { self.layer(Kind::Cast { to }, &[x]) }
    }

    /// Numbers of this element type, rounded to it.
    pub(super) fn floats(&mut self, element: Element, dims: &[usize], values: &[f32]) -> Tensor {
        let bytes: Vec<u8> = match element {
            Element::F16 => values.iter().flat_map(|v| half::f16::from_f32(*v).to_le_bytes()).collect(),
            Element::Bf16 => values.iter().flat_map(|v| half::bf16::from_f32(*v).to_le_bytes()).collect(),
            _ => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        };
        let element = if element.is_float() { element } else { Element::F32 };
        self.constant(element, dims, bytes)
    }

    pub(super) fn i32s(&mut self, dims: &[usize], values: &[i32]) -> Tensor {
        self.constant(Element::I32, dims, values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    pub(super) fn i64s(&mut self, values: &[i64]) -> Tensor {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.constant(Element::I64, &[values.len()], bytes)
    }

    fn constant(&mut self, element: Element, dims: &[usize], bytes: Vec<u8>) -> Tensor {
        let dims = dims.iter().map(|n| *n as i64).collect();
        self.layer(Kind::Constant { element, dims, bytes }, &[])
    }

    pub(super) fn layer(&mut self, kind: Kind, inputs: &[Tensor]) -> Tensor {
        let element = match &kind {
            Kind::Constant { element, .. } | Kind::Placeholder { element, .. } => *element,
            Kind::Cast { to } | Kind::Quantize { to } | Kind::Dequantize { to, .. } => *to,
            Kind::DynamicQuantize { .. } => Element::Fp4,
            Kind::ElementWise(ElementWise::Greater) => Element::Bool,
            Kind::Shape => Element::I64,
            Kind::Select => self.element(inputs[1]),
            _ => self.element(inputs[0]),
        };
        let name = format!("{} #{}", self.scope, self.layers.layers.len());
        self.named(name, kind, inputs, element)
    }

    /// A constant of this name, which must be no other's, that the plan is given later.
    pub(super) fn placeholder(&mut self, name: &str, element: Element, dims: &[usize]) -> Tensor {
        let dims = dims.iter().map(|n| *n as i64).collect();
        self.named(name.into(), Kind::Placeholder { element, dims }, &[], element)
    }

    /// Elements in blocks of their own scales, and those; `scale` is the scales' own.
    pub(super) fn dynamic_quantize(
        &mut self,
        x: Tensor,
        scale: Tensor,
        axis: i32,
        block: usize,
    ) -> [Tensor; 2] {
        let values = self.layer(Kind::DynamicQuantize { axis, block: block as i32 }, &[x, scale]);
        let scales = self.tensor(Element::Fp8);
        self.layers.layers.last_mut().expect("added above").second = Some(scales);
        [values, scales]
    }

    fn named(&mut self, name: String, kind: Kind, inputs: &[Tensor], element: Element) -> Tensor {
        let output = self.tensor(element);
        self.layers.layers.push(Layer { name, kind, inputs: inputs.into(), output, second: None });
        output
    }

    fn tensor(&mut self, element: Element) -> Tensor {
        self.elements.push(element);
        self.layers.n_tensors += 1;
        Tensor(self.layers.n_tensors - 1)
    }
}
