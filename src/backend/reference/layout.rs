//! Elements in other places: for each element of the result, where it comes from.

use super::{Tensor, Values};

/// For each place of `shape`, row-major, the offset that the strides give it.
fn places(shape: &[usize], strides: &[usize]) -> Vec<usize> {
    let mut places = vec![0];
    for (extent, stride) in shape.iter().zip(strides) {
        places = places.iter().flat_map(|at| (0..*extent).map(move |i| at + i * stride)).collect();
    }
    places
}

fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for i in (1..shape.len()).rev() {
        strides[i - 1] = strides[i] * shape[i];
    }
    strides
}

fn gather(values: &Values, places: impl Iterator<Item = usize>) -> Values {
    match values {
        Values::F32(v) => Values::F32(places.map(|p| v[p]).collect()),
        Values::I32(v) => Values::I32(places.map(|p| v[p]).collect()),
    }
}

/// For each element of a value of `shape`, the element of a value of `other` that meets it.
pub(super) fn broadcast(shape: &[usize], other: &[usize]) -> Vec<usize> {
    let missing = shape.len() - other.len();
    let mut meeting = vec![0; missing];
    meeting.extend(strides(other).iter().zip(other).map(|(s, n)| if *n == 1 { 0 } else { *s }));
    places(shape, &meeting)
}

/// Axis `i` of the result is axis `order[i]` of `x`.
pub(super) fn transpose(x: &Tensor, order: &[u8]) -> Values {
    let from = strides(&x.shape);
    let shape: Vec<usize> = order.iter().map(|a| x.shape[usize::from(*a)]).collect();
    let strides: Vec<usize> = order.iter().map(|a| from[usize::from(*a)]).collect();
    gather(&x.values, places(&shape, &strides).into_iter())
}

/// The places of an axis from `start` on, as many as `shape` has there.
pub(super) fn slice(x: &Tensor, shape: &[usize], axis: usize, start: usize) -> Values {
    let strides = strides(&x.shape);
    let offset = start * strides[axis];
    gather(&x.values, places(shape, &strides).into_iter().map(|p| p + offset))
}

/// Values one after the other along an axis.
pub(super) fn concat(parts: &[&Tensor], axis: usize) -> Values {
    let n_outer: usize = parts[0].shape[..axis].iter().product();
    let mut out = match parts[0].values {
        Values::F32(_) => Values::F32(Vec::new()),
        Values::I32(_) => Values::I32(Vec::new()),
    };
    for outer in 0..n_outer {
        for part in parts {
            let span: usize = part.shape[axis..].iter().product();
            match (&mut out, part.values.slice(outer * span, (outer + 1) * span)) {
                (Values::F32(out), Values::F32(v)) => out.extend(v),
                (Values::I32(out), Values::I32(v)) => out.extend(v),
                _ => unreachable!("verified: one type"),
            }
        }
    }
    out
}

/// Each place of `x [t, h, w, c]` repeated.
pub(super) fn upsample(x: &Tensor, factor: [usize; 3]) -> Values {
    let from = strides(&x.shape);
    let mut shape = Vec::new();
    let mut strides = Vec::new();
    for axis in 0..3 {
        shape.extend([x.shape[axis], factor[axis]]);
        strides.extend([from[axis], 0]);
    }
    shape.push(x.shape[3]);
    strides.push(1);
    gather(&x.values, places(&shape, &strides).into_iter())
}
