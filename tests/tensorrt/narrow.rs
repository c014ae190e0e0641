//! Numbers of fewer bits in the evaluation: into them, out of them, and a weight's bytes as a plan is given them.

use std::collections::HashMap;

use perihelion::backend::tensorrt::{
    Constant, Element, Kind, Lowered, e2m1, e4m3, of_e2m1, of_e4m3, quantize,
};
use perihelion::graph::Weights;

use crate::evaluate::{Value, constant};

/// `x / scale` as the nearest number of a type.
fn nearest(x: f32, to: Element) -> Result<f32, String> {
    match to {
        Element::I8 => Ok(x.round_ties_even().clamp(-128.0, 127.0)),
        Element::I4 => Ok(x.round_ties_even().clamp(-8.0, 7.0)),
        Element::Fp8 => Ok(of_e4m3(e4m3(x))),
        Element::Fp4 => Ok(of_e2m1(e2m1(x))),
        other => Err(format!("{other:?} stands for itself")),
    }
}

pub(crate) fn quantize_value(x: &Value, scale: &Value, to: Element) -> Result<Value, String> {
    let [scale] = scale.f32s()? else { return Err(format!("{:?} scales", scale.shape)) };
    let all: Result<_, String> = x.f32s()?.iter().map(|v| nearest(v / scale, to)).collect();
    Ok(Value::floats(&x.shape, all?))
}

/// Times the scale of all, of each place of an axis, or of each block.
pub(crate) fn dequantize(x: &Value, scale: &Value, axis: Option<usize>) -> Result<Value, String> {
    let scales = scale.f32s()?;
    let misfit = || format!("scales {:?} along {axis:?} for {:?}", scale.shape, x.shape);
    let blocks: Vec<usize> = match axis {
        Some(axis) => {
            let fits = scale.shape.len() == 1 && x.shape.get(axis) == scale.shape.first();
            (0..x.shape.len()).map(|i| if i == axis { 1 } else { x.shape[i] }).filter(|_| fits).collect()
        }
        None if scales.len() == 1 => x.shape.clone(),
        None if scale.shape.len() == x.shape.len() => {
            let whole = |(n, s): (&usize, &usize)| (*s != 0 && n.is_multiple_of(*s)).then(|| n / s);
            x.shape.iter().zip(&scale.shape).map(whole).collect::<Option<_>>().ok_or_else(misfit)?
        }
        None => return Err(misfit()),
    };
    if blocks.len() != x.shape.len() {
        return Err(misfit());
    }
    let mut out = Vec::with_capacity(x.f32s()?.len());
    for (at, value) in x.f32s()?.iter().enumerate() {
        let (mut left, mut of, mut step) = (at, 0, 1);
        for i in (0..x.shape.len()).rev() {
            of += left % x.shape[i] / blocks[i] * step;
            step *= x.shape[i] / blocks[i];
            left /= x.shape[i];
        }
        out.push(value * scales[of]);
    }
    Ok(Value::floats(&x.shape, out))
}

/// Blocks of the last axis with scales of their own, which are divided by `scale` and kept as E4M3.
pub(crate) fn dynamic(x: &Value, scale: &Value, axis: usize, block: usize) -> Result<(Value, Value), String> {
    let [scale] = scale.f32s()? else { return Err(format!("{:?} scales", scale.shape)) };
    let k = *x.shape.last().ok_or("no axis")?;
    if axis + 1 != x.shape.len() || !k.is_multiple_of(block) {
        return Err(format!("blocks of {block} along {axis} of {:?}", x.shape));
    }
    let (mut values, mut scales) = (Vec::new(), Vec::new());
    for part in x.f32s()?.chunks(block) {
        let most = part.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        let own = of_e4m3(e4m3(most / 6.0 / scale));
        scales.push(own);
        values.extend(part.iter().map(|v| if own == 0.0 { 0.0 } else { of_e2m1(e2m1(v / (own * scale))) }));
    }
    let mut shape = x.shape.clone();
    shape[axis] /= block;
    Ok((Value::floats(&x.shape, values), Value::floats(&shape, scales)))
}

/// What a plan is given in place of its placeholders.
pub(crate) fn placed(lowered: &Lowered, weights: &dyn Weights) -> HashMap<String, Value> {
    let placeholders = lowered.layers.layers.iter().filter_map(|layer| match &layer.kind {
        Kind::Placeholder { element, dims } => Some((*element, dims)),
        _ => None,
    });
    let one = |(placed, (element, dims)): (&perihelion::backend::tensorrt::Placed, (Element, &Vec<i64>))| {
        let part = quantize(&weights.weight(placed.weight), placed.precision, lowered.compute);
        value(&Constant { name: &placed.name, element, dims, bytes: part.part(placed.given) })
    };
    lowered.placed.iter().zip(placeholders).map(one).collect()
}

/// A constant's numbers, and what it is called.
pub(crate) fn value(given: &Constant<'_>) -> (String, Value) {
    let dims: Vec<usize> = given.dims.iter().map(|n| *n as usize).collect();
    let value = match given.element {
        Element::F32 | Element::F16 | Element::Bf16 => {
            constant(given.element, given.dims, given.bytes).expect("as many bytes as it has")
        }
        narrow => Value::floats(&dims, elements(narrow, given.bytes).collect()),
    };
    (given.name.to_owned(), value)
}

/// The numbers of codes.
fn elements(element: Element, bytes: &[u8]) -> Box<dyn Iterator<Item = f32> + '_> {
    let nibbles = || bytes.iter().flat_map(|b| [b & 15, b >> 4]);
    match element {
        Element::I8 => Box::new(bytes.iter().map(|b| f32::from(*b as i8))),
        Element::Fp8 => Box::new(bytes.iter().map(|b| of_e4m3(*b))),
        Element::I4 => Box::new(nibbles().map(|c| f32::from((c << 4) as i8 >> 4))),
        _ => Box::new(nibbles().map(of_e2m1)),
    }
}
