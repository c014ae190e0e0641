//! Whether layers are such that TensorRT may be told of them: an order comes from another process, and what is read from there is
//! believed in nothing. TensorRT itself looks at what a layer means; here is what would be a wrong address or an endless size.

use std::collections::HashSet;

use super::layers::{Extent, Kind, Layer, Layers, Tensor};

/// `nvinfer1::Dims::MAX_DIMS`.
const AXES_MAX: usize = 8;
/// The longest axis that is taken, and so the most of anything.
const EXTENT_MAX: i64 = i32::MAX as i64;
/// The longest name: TensorRT's own bound, less the byte that ends it.
const NAME_BYTES_MAX: usize = 4095;

impl Kind {
    /// How many inputs such a layer takes: the fewest and the most.
    pub fn arity(&self) -> (usize, usize) {
        match self {
            Kind::Constant { .. } | Kind::Placeholder { .. } => (0, 0),
            Kind::Unary(_) | Kind::Activation(_) | Kind::Reduce { .. } | Kind::Softmax { .. } => (1, 1),
            Kind::Shape | Kind::Cast { .. } | Kind::Identity | Kind::Resize { .. } => (1, 1),
            Kind::MatrixMultiply { .. } | Kind::ElementWise(_) | Kind::Gather { .. } => (2, 2),
            Kind::Quantize { .. } | Kind::Dequantize { .. } | Kind::DynamicQuantize { .. } => (2, 2),
            Kind::Shuffle { .. } => (1, 2),
            Kind::Concatenation { .. } => (1, usize::MAX),
            Kind::Slice { .. } => (1, 3),
            Kind::Select | Kind::CacheUpdate => (3, 3),
            Kind::Convolution { .. } => (2, 3),
            Kind::Attention { .. } => (3, 4),
        }
    }
}

impl Layers {
    /// Looks at every index, size and name.
    ///
    /// # Errors
    /// The first input, layer or output that TensorRT must not be told of, and why.
    pub fn check(&self) -> Result<(), String> {
        // Each value is of an input or a layer, so that there are no more than of those.
        let n_most = self.inputs.len() + 2 * self.layers.len();
        if n_most < self.n_tensors as usize {
            return Err(format!("{} values of {n_most} inputs and layers", self.n_tensors));
        }
        let mut values = Values(vec![false; self.n_tensors as usize]);
        let mut names = HashSet::new();
        for input in &self.inputs {
            let named = |why: String| format!("input `{}`: {why}", input.name);
            name(&input.name).and_then(|()| values.make(input.tensor)).map_err(named)?;
            if AXES_MAX < input.extents.len() || !input.extents.iter().all(is_sound) {
                return Err(named(format!("extents {:?}", input.extents)));
            }
            if !names.insert(&input.name) {
                return Err(named("a name given twice".into()));
            }
        }
        for layer in &self.layers {
            let checked = name(&layer.name).and_then(|()| values.used(&layer.inputs));
            let checked = checked.and_then(|()| kind(layer)).and_then(|()| values.make(layer.output));
            let checked = checked.and_then(|()| layer.second.map_or(Ok(()), |second| values.make(second)));
            checked.map_err(|why| format!("layer `{}`: {why}", layer.name))?;
        }
        let mut yielded = HashSet::new();
        for output in &self.outputs {
            let named = |why: String| format!("output `{}`: {why}", output.name);
            name(&output.name).and_then(|()| values.used(&[output.tensor])).map_err(named)?;
            if !names.insert(&output.name) || !yielded.insert(output.tensor) {
                return Err(named("a name or a value given twice".into()));
            }
        }
        Ok(())
    }
}

/// Which values are there already.
struct Values(Vec<bool>);

impl Values {
    fn make(&mut self, tensor: Tensor) -> Result<(), String> {
        match self.0.get_mut(tensor.index()) {
            Some(is_there) if !*is_there => {
                *is_there = true;
                Ok(())
            }
            Some(_) => Err(format!("{tensor:?} is yielded twice")),
            None => Err(format!("{tensor:?} of {} values", self.0.len())),
        }
    }

    fn used(&self, tensors: &[Tensor]) -> Result<(), String> {
        let missing = tensors.iter().find(|t| self.0.get(t.index()) != Some(&true));
        missing.map_or(Ok(()), |tensor| Err(format!("{tensor:?} is not there yet")))
    }
}

fn name(name: &str) -> Result<(), String> {
    let is_name = !name.is_empty() && name.len() <= NAME_BYTES_MAX;
    if is_name { Ok(()) } else { Err(format!("a name of {} bytes", name.len())) }
}

fn is_sound(extent: &Extent) -> bool {
    0 <= extent.min && extent.min <= extent.max && extent.max <= EXTENT_MAX
}

fn kind(layer: &Layer) -> Result<(), String> {
    let (fewest, most) = layer.kind.arity();
    if layer.inputs.len() < fewest || most < layer.inputs.len() {
        return Err(format!("{} inputs for {:?}", layer.inputs.len(), layer.kind));
    }
    if layer.second.is_some() != matches!(layer.kind, Kind::DynamicQuantize { .. }) {
        return Err("as many outputs as its kind has not".into());
    }
    let wrong = |what: &str| Err(format!("{what} of {:?}", layer.kind));
    let is_axis = |axis: i32| (0..AXES_MAX as i32).contains(&axis);
    let is_set = |axes: u32| axes != 0 && axes < 1 << AXES_MAX;
    match &layer.kind {
        Kind::Constant { element, dims, bytes } => match volume(dims) {
            Some(n) if bytes.len() == element.bytes_of(n) => Ok(()),
            _ => Err(format!("{} bytes for {dims:?} of {element:?}", bytes.len())),
        },
        Kind::Placeholder { element, dims } => match volume(dims) {
            Some(n) if 0 < n => Ok(()),
            _ => Err(format!("{dims:?} of {element:?}")),
        },
        Kind::Reduce { axes, .. } | Kind::Softmax { axes } if !is_set(*axes) => wrong("axes"),
        Kind::Shuffle { first, shape, second } => {
            let is_shape =
                |s: &Vec<i64>| s.len() <= AXES_MAX && s.iter().all(|n| (-1..=EXTENT_MAX).contains(n));
            let is_sound = is_order(first) && is_order(second) && shape.as_ref().is_none_or(is_shape);
            if is_sound { Ok(()) } else { wrong("orders or shape") }
        }
        Kind::Concatenation { axis } | Kind::Gather { axis } if !is_axis(*axis) => wrong("the axis"),
        Kind::Dequantize { axis: Some(axis), .. } if !is_axis(*axis) => wrong("the axis"),
        Kind::DynamicQuantize { axis, block } if !is_axis(*axis) || *block < 1 => wrong("the block"),
        Kind::Slice { start, size, stride } => {
            let lens = [start.len(), size.len(), stride.len()];
            let rank = lens[2];
            let is_told = if layer.inputs.len() == 1 { lens == [rank; 3] } else { lens[..2] == [0, 0] };
            let is_sound = layer.inputs.len() != 2 && is_told && rank <= AXES_MAX;
            if is_sound && [start, size, stride].into_iter().all(|list| all_within(list, 0)) {
                Ok(())
            } else {
                wrong("places")
            }
        }
        Kind::Convolution { maps, kernel, stride, before, after } => {
            let same = [stride, before, after].iter().all(|list| list.len() == kernel.len());
            let is_sound = (2..=3).contains(&kernel.len()) && same && all_within(&[*maps], 1);
            let is_sound = is_sound && all_within(kernel, 1) && all_within(stride, 1);
            if is_sound && all_within(before, 0) && all_within(after, 0) { Ok(()) } else { wrong("sizes") }
        }
        Kind::Resize { scales } => {
            let is_scale = |s: &f32| s.is_finite() && 0.0 < *s;
            if scales.len() <= AXES_MAX && scales.iter().all(is_scale) { Ok(()) } else { wrong("scales") }
        }
        _ => Ok(()),
    }
}

/// Elements of a shape, unless it is none or they are more than can be counted.
fn volume(dims: &[i64]) -> Option<usize> {
    let is_shape = dims.len() <= AXES_MAX && all_within(dims, 0);
    let mut n = 1i64;
    for dim in dims.iter().filter(|_| is_shape) {
        n = n.checked_mul(*dim).filter(|n| *n <= 1 << 40)?;
    }
    usize::try_from(n).ok().filter(|_| is_shape)
}

fn all_within(list: &[i64], least: i64) -> bool {
    list.iter().all(|n| (least..=EXTENT_MAX).contains(n))
}

/// Whether it names every axis once; an empty one names none and changes nothing.
fn is_order(order: &[i32]) -> bool {
    let mut sorted = order.to_vec();
    sorted.sort_unstable();
    order.len() <= AXES_MAX && sorted.iter().enumerate().all(|(i, axis)| i as i32 == *axis)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::tensorrt::layers::{Element, Input, Output, Reduction};

    /// `x`, a constant of it, a sum over an axis, a turn.
    fn sound() -> Layers {
        let layer = |i: u32, kind: Kind, inputs: &[u32]| Layer {
            name: format!("layer {i}"),
            kind,
            inputs: inputs.iter().map(|t| Tensor(*t)).collect(),
            output: Tensor(i),
            second: None,
        };
        let bytes = vec![0; 8];
        let extents = vec![Extent { min: 0, max: 4, name: None }, Extent::fixed(2)];
        Layers {
            inputs: vec![Input { name: "x".into(), element: Element::F32, extents, tensor: Tensor(0) }],
            layers: vec![
                layer(1, Kind::Constant { element: Element::F32, dims: vec![2], bytes }, &[]),
                layer(2, Kind::Reduce { operation: Reduction::Sum, axes: 1, keeps: true }, &[0]),
                layer(3, Kind::Shuffle { first: vec![1, 0], shape: None, second: vec![] }, &[0]),
            ],
            outputs: vec![Output { name: "y".into(), element: Element::F32, tensor: Tensor(3) }],
            n_tensors: 4,
        }
    }

    #[test]
    fn sizes_and_indices_that_are_none_are_refused_by_name() {
        assert_eq!(sound().check(), Ok(()));
        type Change = fn(&mut Layers);
        let changes: [(Change, &str); 16] = [
            (|l| l.n_tensors = u32::MAX, "4294967295 values"),
            (|l| l.inputs[0].tensor = Tensor(9), "input `x`: Tensor(9) of 4"),
            (|l| l.inputs[0].extents[0].max = -1, "input `x`: extents"),
            (|l| l.inputs[0].extents[0].max = i64::MAX, "input `x`: extents"),
            (|l| l.inputs[0].extents = vec![Extent::fixed(1); 9], "input `x`: extents"),
            (|l| l.inputs[0].name = String::new(), "a name of 0 bytes"),
            (|l| l.layers[0].output = Tensor(0), "layer `layer 1`: Tensor(0) is yielded twice"),
            (|l| l.layers[1].inputs = vec![Tensor(3)], "layer `layer 2`: Tensor(3) is not there yet"),
            (|l| l.layers[1].inputs.clear(), "0 inputs"),
            (|l| l.layers[1].second = Some(Tensor(3)), "outputs"),
            (|l| l.layers[1].name = "n".repeat(5000), "a name of 5000 bytes"),
            (|l| l.outputs[0].tensor = Tensor(77), "output `y`: Tensor(77)"),
            (|l| l.outputs[0].name = "x".into(), "output `x`: a name"),
            (
                |l| l.layers[2].kind = Kind::Shuffle { first: vec![1, 1], shape: None, second: vec![] },
                "orders",
            ),
            (
                |l| l.layers[1].kind = Kind::Reduce { operation: Reduction::Sum, axes: 1 << 8, keeps: true },
                "axes",
            ),
            (
                |l| {
                    let dims = vec![i64::from(i32::MAX); 8];
                    l.layers[0].kind = Kind::Constant { element: Element::I4, dims, bytes: vec![0; 8] };
                },
                "8 bytes",
            ),
        ];
        for (change, expected) in changes {
            let mut layers = sound();
            change(&mut layers);
            let why = layers.check().expect_err(expected);
            assert!(why.contains(expected), "{why} lacks {expected}");
        }
    }
}
