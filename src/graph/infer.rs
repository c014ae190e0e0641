//! Shape inference: what each op yields for given inputs, or why it cannot be computed.

use super::verify::{NAMED_MAX, RANK_MAX, corners};
use super::{Dim, Graph, Network, Node, Op, ValueId, WeightId};
use crate::tensor::DType;

pub(super) type Shape = Vec<Dim>;

const TOO_LARGE: &str = "an extent beyond what a usize holds";

/// Shape and type of what `op` yields for values of `graph`, or why it cannot be computed.
pub(super) fn infer(
    network: &Network,
    graph: &Graph,
    op: &Op,
    inputs: &[ValueId],
) -> Result<(Shape, DType), String> {
    let arguments: Vec<&Node> = inputs
        .iter()
        .map(|v| graph.nodes.get(v.index()).ok_or("reads a later value".to_string()))
        .collect::<Result<_, _>>()?;
    let expect_inputs = |n: usize| {
        if arguments.len() == n {
            Ok(())
        } else {
            Err(format!("takes {n} values, was given {}", arguments.len()))
        }
    };
    let weight_shape = |id: WeightId| {
        network.weights.get(id.index()).map(|w| w.shape.as_slice()).ok_or(format!("no weight {}", id.0))
    };
    let vector = |id: Option<WeightId>, dim: Dim, what: &str| match id {
        None => Ok(()),
        Some(id) => match weight_shape(id)? {
            [n] if Dim::Fixed(*n) == dim => Ok(()),
            other => Err(format!("{what} is {other:?}, expected [{dim:?}]")),
        },
    };
    let float = |i: usize| {
        let node = arguments[i];
        if node.dtype == DType::F32 {
            Ok(&node.shape)
        } else {
            Err(format!("value {i} is {}, expected f32", node.dtype))
        }
    };
    let rank = |shape: &Shape, n: usize, what: &str| {
        if shape.len() == n { Ok(()) } else { Err(format!("{what} has {} axes, expected {n}", shape.len())) }
    };
    let f32_of = |shape: Shape| Ok((shape, DType::F32));

    match op {
        Op::Read { .. } => Err("a read is made by `GraphBuilder::read`".into()),
        Op::Constant { weight } => {
            expect_inputs(0)?;
            let declared = network.weights.get(weight.index()).ok_or("no such weight")?;
            let dtype = if declared.dtype == DType::I32 { DType::I32 } else { DType::F32 };
            Ok((declared.shape.iter().map(|n| Dim::Fixed(*n)).collect(), dtype))
        }
        Op::Linear { weight, bias } => {
            expect_inputs(1)?;
            let mut shape = float(0)?.clone();
            let [n, k] = *weight_shape(*weight)? else { return Err("weight needs two axes".into()) };
            if shape.last() != Some(&Dim::Fixed(k)) {
                return Err(format!("x is {shape:?}, weight is [{n}, {k}]"));
            }
            vector(*bias, Dim::Fixed(n), "bias")?;
            *shape.last_mut().expect("checked above") = Dim::Fixed(n);
            f32_of(shape)
        }
        Op::Embedding { weight } => {
            expect_inputs(1)?;
            let ids = arguments[0];
            rank(&ids.shape, 1, "ids")?;
            if ids.dtype != DType::I32 {
                return Err("ids must be i32".into());
            }
            let [_, d] = *weight_shape(*weight)? else { return Err("table needs two axes".into()) };
            f32_of(vec![ids.shape[0], Dim::Fixed(d)])
        }
        Op::RmsNorm { weight, .. } => {
            expect_inputs(1)?;
            let shape = float(0)?.clone();
            vector(*weight, *shape.last().ok_or("x has no axis")?, "weight")?;
            f32_of(shape)
        }
        Op::LayerNorm { weight, bias, .. } => {
            expect_inputs(1)?;
            let shape = float(0)?.clone();
            let dim = *shape.last().ok_or("x has no axis")?;
            vector(*weight, dim, "weight")?;
            vector(*bias, dim, "bias")?;
            f32_of(shape)
        }
        Op::Unary { .. } | Op::Affine { .. } => {
            expect_inputs(1)?;
            f32_of(float(0)?.clone())
        }
        Op::Binary { .. } => {
            expect_inputs(2)?;
            let (a, b) = (float(0)?, float(1)?);
            let fits = b.len() <= a.len()
                && a.iter().rev().zip(b.iter().rev()).all(|(a, b)| a == b || *b == Dim::Fixed(1));
            if !fits {
                return Err(format!("{b:?} does not broadcast to {a:?}"));
            }
            f32_of(a.clone())
        }
        Op::RotaryTable { axis, inverse_frequency } => {
            expect_inputs(1)?;
            let positions = &arguments[0].shape;
            rank(positions, 2, "positions")?;
            let Dim::Fixed(n_axes) = positions[1] else { return Err("number of axes must be fixed".into()) };
            if axis.len() != inverse_frequency.len() || axis.iter().any(|a| n_axes <= usize::from(*a)) {
                return Err(format!(
                    "{} axes for {} frequencies of {n_axes} columns",
                    axis.len(),
                    inverse_frequency.len()
                ));
            }
            f32_of(vec![positions[0], Dim::Fixed(2 * axis.len())])
        }
        Op::Rotary { .. } => {
            expect_inputs(2)?;
            let (x, table) = (float(0)?, float(1)?);
            rank(x, 3, "x")?;
            if table != &[x[0], x[2]] {
                return Err(format!("table is {table:?} for x {x:?}"));
            }
            f32_of(x.clone())
        }
        Op::Attention { .. } | Op::CachedAttention { .. } => {
            expect_inputs(3)?;
            let (mut q, mut k, mut v) = (float(0)?.as_slice(), float(1)?.as_slice(), float(2)?.as_slice());
            let batched = matches!(op, Op::Attention { .. }) && q.len() == 4;
            for x in [q, k, v] {
                let expected = if batched { 4 } else { 3 };
                if x.len() != expected {
                    return Err(format!("q, k and v have {} axes, expected {expected}", x.len()));
                }
            }
            let whole = q.to_vec();
            if batched {
                if q[0] != k[0] || q[0] != v[0] {
                    return Err(format!("q {q:?}, k {k:?}, v {v:?} are not of equally many parts"));
                }
                (q, k, v) = (&q[1..], &k[1..], &v[1..]);
            }
            let (Dim::Fixed(heads), Dim::Fixed(groups)) = (q[1], k[1]) else {
                return Err("heads must be fixed".into());
            };
            if k != v || q[2] != k[2] || groups == 0 || !heads.is_multiple_of(groups) {
                return Err(format!("q {q:?}, k {k:?}, v {v:?} do not fit"));
            }
            if let Op::CachedAttention { key_cache, value_cache, past, .. } = op {
                if q[0] != k[0] || graph.dims.len() <= past.0.into() || key_cache == value_cache {
                    return Err(
                        "new queries, keys and values must be of the same tokens, with two caches and a past"
                            .into(),
                    );
                }
                for id in [key_cache, value_cache] {
                    let cache = network.buffers.get(id.index()).ok_or("no such cache")?;
                    let row: Shape = cache.shape[1..].iter().map(|n| Dim::Fixed(*n)).collect();
                    if cache.dtype != DType::F32 || row != k[1..] {
                        return Err(format!("cache `{}` has rows {row:?}, keys {:?}", cache.name, &k[1..]));
                    }
                }
            }
            f32_of(whole)
        }
        Op::SelectRows { .. } => {
            expect_inputs(3)?;
            let (x, table, index) = (float(0)?, float(1)?, arguments[2]);
            rank(x, 2, "x")?;
            rank(table, 2, "table")?;
            if x[1] != table[1] || index.shape != [x[0]] || index.dtype != DType::I32 {
                return Err(format!("x {x:?}, table {table:?}, index {:?} do not fit", index.shape));
            }
            f32_of(x.clone())
        }
        Op::InterpolateRows { weight } => {
            expect_inputs(2)?;
            let [_, d] = *weight_shape(*weight)? else { return Err("table needs two axes".into()) };
            rank(&arguments[0].shape, 2, "index")?;
            if arguments[0].dtype != DType::I32 || float(1)? != &arguments[0].shape {
                return Err("index (i32) and share (f32) need one shape".into());
            }
            f32_of(vec![arguments[0].shape[0], Dim::Fixed(d)])
        }
        Op::LastRow => {
            expect_inputs(1)?;
            let mut shape = arguments[0].shape.clone();
            *shape.first_mut().ok_or("x has no axis")? = Dim::Fixed(1);
            Ok((shape, arguments[0].dtype))
        }
        Op::Reshape { shape } => {
            expect_inputs(1)?;
            same_elements(graph, &arguments[0].shape, shape)?;
            Ok((shape.clone(), arguments[0].dtype))
        }
        Op::Transpose { order } => {
            expect_inputs(1)?;
            let x = &arguments[0].shape;
            let mut seen = vec![false; x.len()];
            for axis in order {
                *seen.get_mut(usize::from(*axis)).ok_or("order names an axis that is not there")? = true;
            }
            if order.len() != x.len() || seen.contains(&false) {
                return Err(format!("{order:?} is no permutation of {} axes", x.len()));
            }
            Ok((order.iter().map(|a| x[usize::from(*a)]).collect(), arguments[0].dtype))
        }
        Op::Concat { axis } => {
            let axis = usize::from(*axis);
            let first = arguments.first().ok_or("takes at least one value")?;
            let mut shape = first.shape.clone();
            let mut sum = *shape.get(axis).ok_or("no such axis")?;
            for other in &arguments[1..] {
                let rest_equal = other.shape.len() == shape.len()
                    && (0..shape.len()).all(|i| i == axis || shape[i] == other.shape[i]);
                if !rest_equal || other.dtype != first.dtype {
                    return Err(format!(
                        "{:?} does not continue {:?} along {axis}",
                        other.shape, first.shape
                    ));
                }
                sum = match (sum, other.shape[axis]) {
                    (a, Dim::Fixed(n)) | (Dim::Fixed(n), a) => a.checked_plus(n).ok_or(TOO_LARGE)?,
                    _ => return Err("only one part may have a named extent along the axis".into()),
                };
            }
            shape[axis] = sum;
            Ok((shape, first.dtype))
        }
        Op::Slice { axis, start, len } => {
            expect_inputs(1)?;
            let mut shape = arguments[0].shape.clone();
            let at = shape.get_mut(usize::from(*axis)).ok_or("no such axis")?;
            for extents in corners(graph) {
                let end = start.value(&extents).checked_add(len.value(&extents)).ok_or(TOO_LARGE)?;
                if at.value(&extents) < end {
                    return Err(format!("{start:?} + {len:?} is beyond {at:?}"));
                }
            }
            *at = *len;
            Ok((shape, arguments[0].dtype))
        }
        Op::Conv3d { weight, bias, stride, padding } => {
            expect_inputs(1)?;
            let x = float(0)?;
            rank(x, 4, "x")?;
            let [c_out, kt, kh, kw, c_in] = *weight_shape(*weight)? else {
                return Err("weight needs five axes".into());
            };
            if x[3] != Dim::Fixed(c_in) {
                return Err(format!("x is {x:?}, weight takes {c_in} channels"));
            }
            vector(*bias, Dim::Fixed(c_out), "bias")?;
            let mut shape: Shape = Vec::with_capacity(4);
            for (i, k) in [kt, kh, kw].into_iter().enumerate() {
                shape.push(convolved(graph, x[i], k, stride[i], padding[i])?);
            }
            shape.push(Dim::Fixed(c_out));
            f32_of(shape)
        }
        Op::Upsample { factor } => {
            expect_inputs(1)?;
            let x = float(0)?;
            rank(x, 4, "x")?;
            let mut shape = x.clone();
            for (dim, factor) in shape.iter_mut().zip(factor) {
                *dim = dim.checked_times(*factor).ok_or(TOO_LARGE)?;
            }
            f32_of(shape)
        }
        Op::Sinusoid { frequency } => {
            expect_inputs(1)?;
            let x = float(0)?;
            rank(x, 1, "x")?;
            f32_of(vec![x[0], Dim::Fixed(2 * frequency.len())])
        }
    }
}

/// `(dim + padding - kernel) / stride + 1`; for a named extent the stride must be 1.
fn convolved(
    graph: &Graph,
    dim: Dim,
    kernel: usize,
    stride: usize,
    padding: [usize; 2],
) -> Result<Dim, String> {
    if kernel == 0 || stride == 0 {
        return Err("kernel and stride must not be 0".into());
    }
    if NAMED_MAX < stride || padding.iter().any(|n| NAMED_MAX < *n) {
        return Err(format!("stride {stride} and padding {padding:?}; at most {NAMED_MAX}"));
    }
    let padded = dim.checked_plus(padding[0] + padding[1]).ok_or(TOO_LARGE)?;
    if corners(graph).iter().any(|extents| padded.value(extents) < kernel) {
        return Err(format!("kernel {kernel} is larger than {padded:?}"));
    }
    match padded {
        Dim::Fixed(n) => Ok(Dim::Fixed((n - kernel) / stride + 1)),
        Dim::Scaled { symbol, mul, div, add } if stride == 1 && kernel - 1 <= add => {
            Ok(Dim::Scaled { symbol, mul, div, add: add - (kernel - 1) })
        }
        // s·m/d + a with both parts multiples of the stride after the kernel is taken off.
        Dim::Scaled { symbol, mul, div, add } => {
            let is_whole = div.checked_mul(stride).is_some_and(|step| mul.is_multiple_of(step));
            let rest = add.checked_add(stride).and_then(|n| n.checked_sub(kernel)).filter(|_| is_whole);
            let rest = rest.ok_or_else(|| format!("stride {stride} along the named extent {dim:?}"))?;
            Ok(Dim::Scaled { symbol, mul: mul / stride, div, add: rest / stride })
        }
    }
}

/// Whether two shapes have equally many elements whatever the extents are.
///
/// How many is a polynomial of the extents, in each of a degree of how often it is named. Two that agree at one value more than the
/// degree, for each extent, are the same; at its two bounds alone `[n, n]` and `[2 n]` would agree for `n` from 0 to 2.
fn same_elements(graph: &Graph, a: &[Dim], b: &[Dim]) -> Result<(), String> {
    if RANK_MAX < b.len() {
        return Err(format!("more than {RANK_MAX} axes"));
    }
    let times_named = |shape: &[Dim], i: usize| {
        shape.iter().filter(|d| matches!(d, Dim::Scaled { symbol, .. } if usize::from(symbol.0) == i)).count()
    };
    let mut points = vec![Vec::new()];
    for (i, dim) in graph.dims.iter().enumerate() {
        let n_values = 1 + times_named(a, i).max(times_named(b, i));
        let values = (dim.min..=dim.max).step_by(dim.multiple_of.max(1)).take(n_values);
        points = points.iter().flat_map(|p| values.clone().map(|v| [&p[..], &[v]].concat())).collect();
    }
    let count = |shape: &[Dim], point: &[usize]| {
        shape.iter().try_fold(1u128, |n, d| n.checked_mul(d.value(point) as u128)).ok_or(TOO_LARGE)
    };
    for point in points {
        let (a_len, b_len) = (count(a, &point)?, count(b, &point)?);
        if a_len != b_len {
            return Err(format!("{a:?} has {a_len} elements, {b:?} has {b_len}, at {point:?}"));
        }
    }
    Ok(())
}
