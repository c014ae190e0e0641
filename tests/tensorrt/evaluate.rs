//! Evaluates layers as TensorRT's documentation says that they compute, in f32 on the CPU, sums in f64.
//!
//! It knows nothing of graphs: only what a layer says. Element types are told apart as floats, whole numbers and truths; what is f16 or
//! bf16 is computed in f32 like the rest, so that what is compared is what was asked for and not how it is rounded.

use std::collections::HashMap;

use perihelion::backend::tensorrt::{
    Activation, Element, ElementWise, Function, Kind, Layer, Layers, RecordedTensor, Reduction, Tensor,
};

use crate::narrow;
use crate::whole_attention;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Numbers {
    Floats(Vec<f32>),
    Wholes(Vec<i64>),
    Truths(Vec<bool>),
}

/// A value with its shape.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Value {
    pub shape: Vec<usize>,
    pub numbers: Numbers,
}

impl Value {
    pub(crate) fn floats(shape: &[usize], numbers: Vec<f32>) -> Value {
        Value { shape: shape.into(), numbers: Numbers::Floats(numbers) }
    }

    pub(crate) fn wholes(shape: &[usize], numbers: Vec<i64>) -> Value {
        Value { shape: shape.into(), numbers: Numbers::Wholes(numbers) }
    }

    fn len(&self) -> usize {
        self.shape.iter().product()
    }

    pub(crate) fn f32s(&self) -> Result<&[f32], String> {
        match &self.numbers {
            Numbers::Floats(v) => Ok(v),
            other => Err(format!("takes floats, is given {other:?}")),
        }
    }

    pub(crate) fn i64s(&self) -> Result<&[i64], String> {
        match &self.numbers {
            Numbers::Wholes(v) => Ok(v),
            other => Err(format!("takes whole numbers, is given {other:?}")),
        }
    }

    /// The elements at these places, in another shape.
    fn at(&self, shape: Vec<usize>, places: impl Iterator<Item = usize>) -> Result<Value, String> {
        fn pick<T: Copy>(from: &[T], places: impl Iterator<Item = usize>) -> Result<Vec<T>, String> {
            places.map(|p| from.get(p).copied().ok_or(format!("place {p} of {}", from.len()))).collect()
        }
        let numbers = match &self.numbers {
            Numbers::Floats(v) => Numbers::Floats(pick(v, places)?),
            Numbers::Wholes(v) => Numbers::Wholes(pick(v, places)?),
            Numbers::Truths(v) => Numbers::Truths(pick(v, places)?),
        };
        Ok(Value { shape, numbers })
    }
}

/// The outputs of layers, in their order, for inputs in theirs. `told` is what TensorRT infers of each value: shapes are held against it;
/// `placed` are the placeholders' values by their names.
///
/// # Errors
/// The first layer that cannot be computed, and why.
pub(crate) fn evaluate(
    layers: &Layers,
    told: Option<&[RecordedTensor]>,
    inputs: Vec<Value>,
    placed: &HashMap<String, Value>,
) -> Result<Vec<Value>, String> {
    let mut values: HashMap<Tensor, Value> = HashMap::new();
    for (input, value) in layers.inputs.iter().zip(inputs) {
        fits(told, input.tensor, &value).map_err(|why| format!("input `{}`: {why}", input.name))?;
        values.insert(input.tensor, value);
    }
    let mut last_use: HashMap<Tensor, usize> = HashMap::new();
    for (i, layer) in layers.layers.iter().enumerate() {
        last_use.extend(layer.inputs.iter().map(|t| (*t, i)));
    }
    last_use.extend(layers.outputs.iter().map(|o| (o.tensor, usize::MAX)));
    for (i, layer) in layers.layers.iter().enumerate() {
        let named = |why: String| format!("layer `{}` ({:?}): {why}", layer.name, layer.kind);
        let (value, second) = compute(layer, &values, placed).map_err(named)?;
        fits(told, layer.output, &value).map_err(named)?;
        values.insert(layer.output, value);
        if let Some((tensor, value)) = layer.second.zip(second) {
            fits(told, tensor, &value).map_err(named)?;
            values.insert(tensor, value);
        }
        values.retain(|tensor, _| last_use.get(tensor).is_some_and(|last| i < *last));
    }
    let output = |tensor| values.get(&tensor).cloned().ok_or("an output that nothing computes".to_owned());
    layers.outputs.iter().map(|o| output(o.tensor)).collect()
}

fn fits(told: Option<&[RecordedTensor]>, tensor: Tensor, value: &Value) -> Result<(), String> {
    let Some(told) = told.map(|all| &all[tensor.index()]) else { return Ok(()) };
    let same = |(told, found): (&i64, &usize)| *told == -1 || *told == *found as i64;
    let of_type = matches!(
        (told.element, &value.numbers),
        (Element::F32 | Element::F16 | Element::Bf16, Numbers::Floats(_))
            // What stands for others is kept as what it is.
            | (Element::I8 | Element::Fp8 | Element::I4 | Element::Fp4, Numbers::Floats(_))
            | (Element::I32 | Element::I64, Numbers::Wholes(_))
            | (Element::Bool, Numbers::Truths(_))
    );
    if of_type && told.dims.len() == value.shape.len() && told.dims.iter().zip(&value.shape).all(same) {
        Ok(())
    } else {
        Err(format!("TensorRT infers {told:?}, it is {:?}", value.shape))
    }
}

/// What a layer yields, and beside that.
fn compute(
    layer: &Layer,
    values: &HashMap<Tensor, Value>,
    placed: &HashMap<String, Value>,
) -> Result<(Value, Option<Value>), String> {
    let inputs: Vec<&Value> = layer
        .inputs
        .iter()
        .map(|t| values.get(t).ok_or(format!("{t:?} is not computed yet")))
        .collect::<Result<_, _>>()?;
    let x = inputs.first().copied();
    let first = || x.ok_or("takes an input".to_owned());
    if let Kind::DynamicQuantize { axis, block } = &layer.kind {
        let (values, scales) = narrow::dynamic(first()?, inputs[1], *axis as usize, *block as usize)?;
        return Ok((values, Some(scales)));
    }
    let value = match &layer.kind {
        Kind::DynamicQuantize { .. } => unreachable!("above"),
        Kind::Placeholder { element, dims } => {
            let value =
                placed.get(&layer.name).cloned().ok_or(format!("nothing placed, {element:?} {dims:?}"))?;
            let same = value.shape.iter().map(|n| *n as i64).eq(dims.iter().copied());
            if same { Ok(value) } else { Err(format!("{:?} placed for {dims:?}", value.shape)) }
        }
        Kind::Quantize { to } => narrow::quantize_value(first()?, inputs[1], *to),
        Kind::Dequantize { axis, .. } => narrow::dequantize(first()?, inputs[1], axis.map(|a| a as usize)),
        Kind::CacheUpdate => whole_attention::update(inputs[0], inputs[1], inputs[2]),
        Kind::Attention { causal, .. } => whole_attention::attend(&inputs, *causal),
        Kind::Constant { element, dims, bytes } => constant(*element, dims, bytes),
        Kind::MatrixMultiply { transposed } => matmul(inputs[0], inputs[1], *transposed),
        Kind::ElementWise(operation) => elementwise(*operation, inputs[0], inputs[1]),
        Kind::Unary(function) => map(first()?, |x| match function {
            Function::SquareRoot => x.sqrt(),
            Function::Sine => x.sin(),
            Function::Cosine => x.cos(),
        }),
        Kind::Activation(activation) => map(first()?, |x| activate(*activation, x)),
        Kind::Reduce { operation, axes, keeps } => reduce(first()?, *operation, *axes, *keeps),
        Kind::Softmax { axes } => softmax(first()?, *axes),
        Kind::Shuffle { first: order, shape, second } => {
            let x = transpose(first()?, order)?;
            let shape = match (inputs.get(1), shape) {
                (Some(given), _) => Some(given.i64s()?.to_vec()),
                (None, shape) => shape.clone(),
            };
            transpose(&if let Some(shape) = shape { reshape(x, &shape)? } else { x }, second)
        }
        Kind::Concatenation { axis } => concat(&inputs, *axis as usize),
        Kind::Slice { start, size, stride } => {
            let (start, size) = match inputs[..] {
                [_, start, size] => (start.i64s()?.to_vec(), size.i64s()?.to_vec()),
                _ => (start.clone(), size.clone()),
            };
            slice(first()?, &start, &size, stride)
        }
        Kind::Gather { axis } => gather(inputs[0], inputs[1], *axis as usize),
        Kind::Select => select(inputs[0], inputs[1], inputs[2]),
        Kind::Shape => {
            let shape: Vec<i64> = first()?.shape.iter().map(|n| *n as i64).collect();
            Ok(Value::wholes(&[shape.len()], shape))
        }
        Kind::Cast { to } => cast(first()?, *to),
        Kind::Identity => first().cloned(),
        Kind::Convolution { maps, kernel, stride, before, after } => {
            convolve(&inputs, *maps as usize, [kernel, stride, before, after])
        }
        Kind::Resize { scales } => {
            let x = first()?;
            if scales.len() != x.shape.len() {
                return Err(format!("{scales:?} for {:?}", x.shape));
            }
            let shape: Vec<usize> =
                x.shape.iter().zip(scales).map(|(n, s)| (*n as f32 * s).floor() as usize).collect();
            let strides = strides(&x.shape);
            let of = |place: &[usize]| -> usize {
                let at = |i: usize| ((place[i] as f32 / scales[i]).floor() as usize).min(x.shape[i] - 1);
                (0..place.len()).map(|i| at(i) * strides[i]).sum()
            };
            let places: Vec<usize> = places(&shape).map(|p| of(&p)).collect();
            x.at(shape, places.into_iter())
        }
    };
    value.map(|value| (value, None))
}

pub(crate) fn constant(element: Element, dims: &[i64], bytes: &[u8]) -> Result<Value, String> {
    let shape: Vec<usize> = dims.iter().map(|n| *n as usize).collect();
    let numbers = match element {
        Element::F32 => {
            Numbers::Floats(bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
        }
        Element::F16 => Numbers::Floats(
            bytes.as_chunks::<2>().0.iter().map(|b| half::f16::from_le_bytes(*b).to_f32()).collect(),
        ),
        Element::Bf16 => Numbers::Floats(
            bytes.as_chunks::<2>().0.iter().map(|b| half::bf16::from_le_bytes(*b).to_f32()).collect(),
        ),
        Element::I32 => {
            Numbers::Wholes(bytes.as_chunks::<4>().0.iter().map(|b| i32::from_le_bytes(*b).into()).collect())
        }
        Element::I64 => {
            Numbers::Wholes(bytes.as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b)).collect())
        }
        Element::Bool => Numbers::Truths(bytes.iter().map(|b| *b != 0).collect()),
        Element::I8 | Element::Fp8 | Element::I4 | Element::Fp4 => {
            return Err("elements that stand for others are in no constant".into());
        }
    };
    if bytes.len() != element.bytes_of(shape.iter().product()) {
        return Err(format!("{} bytes for {shape:?}", bytes.len()));
    }
    Ok(Value { shape, numbers })
}

fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for i in (1..shape.len()).rev() {
        strides[i - 1] = strides[i] * shape[i];
    }
    strides
}

/// All places of a shape, row-major.
fn places(shape: &[usize]) -> impl Iterator<Item = Vec<usize>> {
    let n: usize = shape.iter().product();
    let strides = strides(shape);
    (0..n).map(move |at| strides.iter().zip(shape).map(|(s, n)| at / s % n).collect())
}

/// The shape that two meet in, and for each of its elements that of each of the two.
fn meeting(a: &[usize], b: &[usize]) -> Result<(Vec<usize>, [Vec<usize>; 2]), String> {
    let fits = a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a == b || *a == 1 || *b == 1);
    if !fits {
        return Err(format!("{a:?} does not meet {b:?}"));
    }
    let shape: Vec<usize> = a.iter().zip(b).map(|(a, b)| if *a == 1 { *b } else { *a }).collect();
    let of = |own: &[usize]| -> Vec<usize> {
        let strides = strides(own);
        let mut at = vec![0];
        for i in 0..own.len() {
            let step = if own[i] == 1 { 0 } else { strides[i] };
            at = at.iter().flat_map(|p| (0..shape[i]).map(move |k| p + k * step)).collect();
        }
        at
    };
    let both = [of(a), of(b)];
    Ok((shape, both))
}

fn matmul(a: &Value, b: &Value, transposed: [bool; 2]) -> Result<Value, String> {
    let rank = a.shape.len();
    if rank < 2 || b.shape.len() != rank {
        return Err(format!("a product of {:?} and {:?}", a.shape, b.shape));
    }
    let matrix = |x: &Value, is: bool| -> [usize; 2] {
        let [r, c] = [x.shape[rank - 2], x.shape[rank - 1]];
        if is { [c, r] } else { [r, c] }
    };
    let ([n, k], [k_b, m]) = (matrix(a, transposed[0]), matrix(b, transposed[1]));
    if k != k_b {
        return Err(format!("a product of {:?} and {:?}, transposed {transposed:?}", a.shape, b.shape));
    }
    let (front, [of_a, of_b]) = meeting(&a.shape[..rank - 2], &b.shape[..rank - 2])?;
    let (av, bv) = (a.f32s()?, b.f32s()?);
    let mut out = Vec::with_capacity(of_a.len() * n * m);
    for (pa, pb) in of_a.iter().zip(&of_b) {
        let (a, b) = (&av[pa * n * k..][..n * k], &bv[pb * k * m..][..k * m]);
        // Rows of the left one and columns of the right one, each in one piece.
        let a = if transposed[0] { turned(a, k, n) } else { a.to_vec() };
        let b = if transposed[1] { b.to_vec() } else { turned(b, k, m) };
        for i in 0..n {
            let row = &a[i * k..][..k];
            for j in 0..m {
                let column = &b[j * k..][..k];
                let sum: f64 = row.iter().zip(column).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                out.push(sum as f32);
            }
        }
    }
    Ok(Value::floats(&[&front[..], &[n, m]].concat(), out))
}

/// `[n, m]` as `[m, n]`.
fn turned(x: &[f32], n: usize, m: usize) -> Vec<f32> {
    (0..m).flat_map(|j| (0..n).map(move |i| x[i * m + j])).collect()
}

fn elementwise(operation: ElementWise, a: &Value, b: &Value) -> Result<Value, String> {
    let (shape, [of_a, of_b]) = meeting(&a.shape, &b.shape)?;
    let places = of_a.into_iter().zip(of_b);
    let numbers = match (&a.numbers, &b.numbers) {
        (Numbers::Floats(a), Numbers::Floats(b)) => {
            let pairs = places.map(|(i, j)| (a[i], b[j]));
            if operation == ElementWise::Greater {
                Numbers::Truths(pairs.map(|(a, b)| b < a).collect())
            } else {
                Numbers::Floats(pairs.map(|(a, b)| of_floats(operation, a, b)).collect())
            }
        }
        (Numbers::Wholes(a), Numbers::Wholes(b)) => {
            let pairs = places.map(|(i, j)| (a[i], b[j]));
            if operation == ElementWise::Greater {
                Numbers::Truths(pairs.map(|(a, b)| b < a).collect())
            } else {
                Numbers::Wholes(pairs.map(|(a, b)| of_wholes(operation, a, b)).collect::<Result<_, _>>()?)
            }
        }
        _ => return Err("of two types".into()),
    };
    Ok(Value { shape, numbers })
}

fn of_floats(operation: ElementWise, a: f32, b: f32) -> f32 {
    match operation {
        ElementWise::Sum => a + b,
        ElementWise::Product => a * b,
        ElementWise::Max => a.max(b),
        ElementWise::Difference => a - b,
        ElementWise::Quotient => a / b,
        ElementWise::FloorQuotient => (a / b).floor(),
        ElementWise::Greater => unreachable!("yields truths"),
    }
}

fn of_wholes(operation: ElementWise, a: i64, b: i64) -> Result<i64, String> {
    Ok(match operation {
        ElementWise::Sum => a + b,
        ElementWise::Product => a * b,
        ElementWise::Max => a.max(b),
        ElementWise::Difference => a - b,
        ElementWise::FloorQuotient if b != 0 => a.div_euclid(b),
        other => return Err(format!("{other:?} of {a} and {b}")),
    })
}

fn map(x: &Value, function: impl Fn(f64) -> f64) -> Result<Value, String> {
    Ok(Value::floats(&x.shape, x.f32s()?.iter().map(|x| function(f64::from(*x)) as f32).collect()))
}

fn activate(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Relu => x.max(0.0),
        Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Activation::GeluErf => 0.5 * x * (1.0 + erf(0.5f64.sqrt() * x)),
        Activation::GeluTanh => {
            0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (0.044715 * x.powi(3) + x)).tanh())
        }
    }
}

/// By Simpson's rule: `2/√π ∫ e^-t²` from 0 to `x`.
fn erf(x: f64) -> f64 {
    let x = x.clamp(-6.0, 6.0);
    let n = 400;
    let step = x / f64::from(n);
    let at = |i: i32| (-(step * f64::from(i)).powi(2)).exp();
    let weight = |i: i32| {
        if i == 0 || i == n {
            1.0
        } else if i % 2 == 1 {
            4.0
        } else {
            2.0
        }
    };
    2.0 / std::f64::consts::PI.sqrt() * step / 3.0 * (0..=n).map(|i| weight(i) * at(i)).sum::<f64>()
}

/// For each element of a value reduced over axes, the places of the elements that it is of.
fn groups(shape: &[usize], axes: u32) -> (Vec<usize>, Vec<Vec<usize>>) {
    let is_reduced = |i: usize| axes >> i & 1 == 1;
    let kept: Vec<usize> = (0..shape.len()).map(|i| if is_reduced(i) { 1 } else { shape[i] }).collect();
    let strides = strides(&kept);
    let mut groups = vec![Vec::new(); kept.iter().product()];
    for (at, place) in places(shape).enumerate() {
        let of: usize = (0..place.len()).filter(|i| !is_reduced(*i)).map(|i| place[i] * strides[i]).sum();
        groups[of].push(at);
    }
    (kept, groups)
}

fn reduce(x: &Value, operation: Reduction, axes: u32, keeps: bool) -> Result<Value, String> {
    let (values, (kept, groups)) = (x.f32s()?, groups(&x.shape, axes));
    let of = |group: &Vec<usize>| {
        let sum: f64 = group.iter().map(|p| f64::from(values[*p])).sum();
        match operation {
            Reduction::Sum => sum as f32,
            Reduction::Mean => (sum / group.len() as f64) as f32,
        }
    };
    let out = groups.iter().map(of).collect();
    let stays = |i: &usize| keeps || axes >> i & 1 == 0;
    let shape: Vec<usize> = (0..kept.len()).filter(stays).map(|i| kept[i]).collect();
    Ok(Value::floats(&shape, out))
}

fn softmax(x: &Value, axes: u32) -> Result<Value, String> {
    let (values, (_, groups)) = (x.f32s()?, groups(&x.shape, axes));
    let mut out = vec![0.0; values.len()];
    for group in groups {
        let largest = group.iter().fold(f32::NEG_INFINITY, |m, p| m.max(values[*p]));
        let power = |p: &usize| f64::from(values[*p] - largest).exp();
        let sum: f64 = group.iter().map(power).sum();
        for p in &group {
            out[*p] = (power(p) / sum) as f32;
        }
    }
    Ok(Value::floats(&x.shape, out))
}

fn transpose(x: &Value, order: &[i32]) -> Result<Value, String> {
    if order.is_empty() {
        return Ok(x.clone());
    }
    let order: Vec<usize> = order.iter().map(|a| *a as usize).collect();
    let mut sorted = order.clone();
    sorted.sort_unstable();
    if sorted != (0..x.shape.len()).collect::<Vec<_>>() {
        return Err(format!("{order:?} is no order of {:?}", x.shape));
    }
    let strides = strides(&x.shape);
    let shape: Vec<usize> = order.iter().map(|a| x.shape[*a]).collect();
    let mut at = vec![0];
    for axis in &order {
        let step = strides[*axis];
        at = at.iter().flat_map(|p| (0..x.shape[*axis]).map(move |k| p + k * step)).collect();
    }
    x.at(shape, at.into_iter())
}

fn reshape(x: Value, to: &[i64]) -> Result<Value, String> {
    let known: i64 = to.iter().filter(|n| **n != -1).product();
    let n_unknown = to.iter().filter(|n| **n == -1).count();
    let left = if known == 0 { 0 } else { x.len() as i64 / known };
    let shape: Vec<usize> = to.iter().map(|n| if *n == -1 { left } else { *n } as usize).collect();
    if 1 < n_unknown || shape.iter().product::<usize>() != x.len() {
        return Err(format!("{:?} as {to:?}", x.shape));
    }
    Ok(Value { shape, numbers: x.numbers })
}

fn concat(parts: &[&Value], axis: usize) -> Result<Value, String> {
    let mut shape = parts[0].shape.clone();
    let rest = |s: &[usize]| -> Vec<usize> { (0..s.len()).filter(|i| *i != axis).map(|i| s[i]).collect() };
    if shape.len() <= axis || parts.iter().any(|p| rest(&p.shape) != rest(&shape)) {
        return Err(format!("{:?} along {axis}", parts.iter().map(|p| &p.shape).collect::<Vec<_>>()));
    }
    shape[axis] = parts.iter().map(|p| p.shape[axis]).sum();
    let n_outer: usize = shape[..axis].iter().product();
    let span = |p: &Value| p.shape[axis..].iter().product::<usize>();
    fn joined<T: Copy>(parts: &[(&[T], usize)], n_outer: usize) -> Vec<T> {
        (0..n_outer)
            .flat_map(|o| parts.iter().flat_map(move |(v, n)| v[o * n..][..*n].iter().copied()))
            .collect()
    }
    let numbers = match &parts[0].numbers {
        Numbers::Wholes(_) => {
            let parts: Result<Vec<_>, String> = parts.iter().map(|p| Ok((p.i64s()?, span(p)))).collect();
            Numbers::Wholes(joined(&parts?, n_outer))
        }
        _ => {
            let parts: Result<Vec<_>, String> = parts.iter().map(|p| Ok((p.f32s()?, span(p)))).collect();
            Numbers::Floats(joined(&parts?, n_outer))
        }
    };
    Ok(Value { shape, numbers })
}

fn slice(x: &Value, start: &[i64], size: &[i64], stride: &[i64]) -> Result<Value, String> {
    let rank = x.shape.len();
    let end = |i: usize| start[i] + (size[i] - 1).max(0) * stride[i];
    let fits = [start.len(), size.len(), stride.len()] == [rank; 3]
        && (0..rank).all(|i| 0 <= start[i] && 0 <= size[i] && (size[i] == 0 || end(i) < x.shape[i] as i64));
    if !fits {
        return Err(format!("{start:?} {size:?} {stride:?} of {:?}", x.shape));
    }
    let strides = strides(&x.shape);
    let mut at = vec![0];
    for i in 0..rank {
        let of = |k: i64| (start[i] + k * stride[i]) as usize * strides[i];
        at = at.iter().flat_map(|p| (0..size[i]).map(move |k| p + of(k))).collect();
    }
    x.at(size.iter().map(|n| *n as usize).collect(), at.into_iter())
}

fn gather(x: &Value, index: &Value, axis: usize) -> Result<Value, String> {
    let (outer, n, inner) = (
        x.shape[..axis].iter().product::<usize>(),
        *x.shape.get(axis).ok_or("no such axis")?,
        x.shape[axis + 1..].iter().product::<usize>(),
    );
    let index_of = |i: &i64| usize::try_from(*i).ok().filter(|i| *i < n).ok_or(format!("index {i} of {n}"));
    let indices: Vec<usize> = index.i64s()?.iter().map(index_of).collect::<Result<_, _>>()?;
    let at = (0..outer)
        .flat_map(|o| indices.iter().flat_map(move |i| (0..inner).map(move |k| (o * n + i) * inner + k)));
    let at: Vec<usize> = at.collect();
    x.at([&x.shape[..axis], &index.shape, &x.shape[axis + 1..]].concat(), at.into_iter())
}

fn select(condition: &Value, then: &Value, otherwise: &Value) -> Result<Value, String> {
    let Numbers::Truths(truths) = &condition.numbers else { return Err("takes truths".into()) };
    let (both, [of_then, of_otherwise]) = meeting(&then.shape, &otherwise.shape)?;
    let (shape, [of_condition, of_both]) = meeting(&condition.shape, &both)?;
    let (then, otherwise) = (then.f32s()?, otherwise.f32s()?);
    let pick = |(c, b): (usize, usize)| if truths[c] { then[of_then[b]] } else { otherwise[of_otherwise[b]] };
    Ok(Value::floats(&shape, of_condition.into_iter().zip(of_both).map(pick).collect()))
}

fn cast(x: &Value, to: Element) -> Result<Value, String> {
    let numbers = match (&x.numbers, to.is_float()) {
        (Numbers::Floats(v), true) => Numbers::Floats(v.clone()),
        (Numbers::Wholes(v), true) => Numbers::Floats(v.iter().map(|n| *n as f32).collect()),
        (Numbers::Wholes(v), false) => Numbers::Wholes(v.clone()),
        (other, _) => return Err(format!("casts {other:?} to {to:?}")),
    };
    Ok(Value { shape: x.shape.clone(), numbers })
}

/// `x [1, c, …]` by `w [maps, c, …]`, and a bias `[maps]`.
fn convolve(inputs: &[&Value], maps: usize, how: [&[i64]; 4]) -> Result<Value, String> {
    let [kernel, stride, before, after] =
        how.map(|list| list.iter().map(|n| *n as usize).collect::<Vec<_>>());
    let (x, w) = (inputs[0], inputs[1]);
    let c = x.shape[1];
    if x.shape.len() != 5 || x.shape[0] != 1 || w.shape != [&[maps, c], &kernel[..]].concat() {
        return Err(format!("{:?} by {:?}", x.shape, w.shape));
    }
    let size: Vec<usize> = (0..3)
        .map(|i| {
            let padded = x.shape[2 + i] + before[i] + after[i];
            padded.checked_sub(kernel[i]).map(|n| n / stride[i] + 1).ok_or("a kernel beyond its input")
        })
        .collect::<Result<_, _>>()?;
    let (xv, wv) = (x.f32s()?, w.f32s()?);
    let bias = inputs.get(2).map(|b| b.f32s()).transpose()?;
    let (x_strides, taps) = (strides(&x.shape), kernel.iter().product::<usize>());
    let n: usize = size.iter().product();
    let mut out = vec![0.0; maps * n];
    for (at, place) in places(&size).enumerate() {
        // Which places of x the taps meet, if any.
        let met: Vec<Option<usize>> = places(&kernel)
            .map(|tap| {
                (0..3).try_fold(0, |sum, i| {
                    let p = (place[i] * stride[i] + tap[i]).checked_sub(before[i])?;
                    (p < x.shape[2 + i]).then(|| sum + p * x_strides[2 + i])
                })
            })
            .collect();
        for map in 0..maps {
            let mut sum = bias.map_or(0.0, |b| f64::from(b[map]));
            for channel in 0..c {
                let w = &wv[(map * c + channel) * taps..][..taps];
                for (w, p) in w.iter().zip(&met) {
                    sum += p.map_or(0.0, |p| f64::from(*w) * f64::from(xv[channel * x_strides[1] + p]));
                }
            }
            out[map * n + at] = sum as f32;
        }
    }
    Ok(Value::floats(&[&[1, maps], &size[..]].concat(), out))
}
