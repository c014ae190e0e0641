//! Shape inference: what each op yields for given inputs, or why it cannot be computed.

use super::bounds::{NAMED_MAX, RANK_MAX, corners};
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

#[cfg(test)]
mod tests {
    use super::super::{BufferId, GraphBuilder, Merge, NamedDim, Purpose, RotaryStyle, Symbol};
    use super::*;

    const W: WeightId = WeightId(0);
    const OF_FOUR: WeightId = WeightId(1);
    const OF_SIX: WeightId = WeightId(2);
    const KERNEL: WeightId = WeightId(3);

    /// `W [6, 4]`, vectors of four and of six, a kernel `[5, 2, 3, 3, 4]`, and two caches `[9, 2, 4]`.
    fn network() -> Network {
        let mut network = Network::default();
        for (i, shape) in [&[6usize, 4][..], &[4], &[6], &[5, 2, 3, 3, 4]].iter().enumerate() {
            network.declare_weight("all", &format!("w{i}"), DType::F32, shape);
        }
        for name in ["k", "v"] {
            network.declare_buffer(name, DType::F32, &[9, 2, 4], Purpose::Cache);
        }
        network.declare_buffer("wide", DType::F32, &[9, 2, 5], Purpose::Cache);
        network
    }

    /// `n` from 2 to 6 in steps of 2, and `m` from 0 to 2.
    fn dims() -> Vec<NamedDim> {
        let named = |name: &str, min, max, multiple_of| NamedDim {
            name: name.into(),
            min,
            max,
            multiple_of,
            max_limit: None,
        };
        vec![named("n", 2, 6, 2), named("m", 0, 2, 1)]
    }

    fn n() -> Dim {
        Dim::of(Symbol(0))
    }

    fn m() -> Dim {
        Dim::of(Symbol(1))
    }

    /// What an op yields for values of these shapes; those of one axis whose extent is named are i32.
    fn yields(op: Op, inputs: &[&[Dim]]) -> Result<Vec<Dim>, String> {
        let network = network();
        let nodes = inputs.iter().map(|shape| Node {
            op: Op::Read { buffer: BufferId(0) },
            inputs: Vec::new(),
            shape: shape.to_vec(),
            dtype: if matches!(shape, [Dim::Scaled { .. }]) { DType::I32 } else { DType::F32 },
        });
        let graph = Graph { name: "main".into(), dims: dims(), nodes: nodes.collect(), writes: Vec::new() };
        let ids: Vec<ValueId> = (0..inputs.len() as u32).map(ValueId).collect();
        infer(&network, &graph, &op, &ids).map(|(shape, _)| shape)
    }

    #[track_caller]
    fn refused(op: Op, inputs: &[&[Dim]], expected: &str) {
        let shown = format!("{op:?}");
        match yields(op, inputs) {
            Ok(shape) => panic!("{shown} yields {shape:?}"),
            Err(why) => assert!(why.contains(expected), "{shown}: {why:?} does not say {expected:?}"),
        }
    }

    fn d<const N: usize>(extents: [usize; N]) -> [Dim; N] {
        extents.map(Dim::Fixed)
    }

    #[test]
    fn products_and_norms_know_their_weights_shapes() {
        let linear = |weight, bias| Op::Linear { weight, bias };
        assert_eq!(yields(linear(W, Some(OF_SIX)), &[&[n(), 4.into()]]), Ok(vec![n(), 6.into()]));
        refused(linear(W, None), &[&[n(), 6.into()]], "x is");
        refused(linear(W, Some(OF_FOUR)), &[&[n(), 4.into()]], "bias is [4]");
        refused(linear(OF_SIX, None), &[&[n(), 6.into()]], "two axes");
        refused(linear(WeightId(9), None), &[&[n(), 4.into()]], "no weight 9");
        refused(linear(W, None), &[&[n(), 4.into()], &[n(), 4.into()]], "takes 1 values, was given 2");
        refused(linear(W, None), &[&[n()]], "i32");
        refused(Op::RmsNorm { weight: Some(OF_SIX), eps: 1.0 }, &[&[n(), 4.into()]], "weight is [6]");
        refused(Op::LayerNorm { weight: None, bias: Some(W), eps: 1.0 }, &[&d([2, 4])], "bias is [6, 4]");
        refused(Op::RmsNorm { weight: None, eps: 1.0 }, &[&[]], "no axis");
        assert_eq!(yields(Op::Embedding { weight: W }, &[&[n()]]), Ok(vec![n(), 4.into()]));
        refused(Op::Embedding { weight: W }, &[&d([3])], "must be i32");
    }

    #[test]
    fn what_meets_element_by_element_fits() {
        let add = || Op::Binary { function: super::super::Binary::Add };
        assert_eq!(yields(add(), &[&d([3, 4]), &d([1, 4])]), Ok(d([3, 4]).to_vec()));
        refused(add(), &[&d([3, 4]), &d([2, 4])], "does not broadcast");
        refused(add(), &[&d([4]), &d([3, 4])], "does not broadcast");
        refused(add(), &[&[n(), 4.into()], &[m(), 4.into()]], "does not broadcast");
        let select = || Op::SelectRows { merge: Merge::Add };
        assert_eq!(yields(select(), &[&[n(), 4.into()], &d([7, 4]), &[n()]]), Ok(vec![n(), 4.into()]));
        refused(select(), &[&[n(), 4.into()], &d([7, 5]), &[n()]], "do not fit");
        refused(select(), &[&[n(), 4.into()], &d([7, 4]), &[m()]], "do not fit");
    }

    #[test]
    fn positions_name_columns_that_are_there() {
        let table = |axis: &[u8], n_frequencies| Op::RotaryTable {
            axis: axis.into(),
            inverse_frequency: vec![1.0; n_frequencies],
        };
        assert_eq!(yields(table(&[0, 1, 1], 3), &[&d([7, 2])]), Ok(d([7, 6]).to_vec()));
        refused(table(&[0, 2], 2), &[&d([7, 2])], "2 axes for 2 frequencies of 2 columns");
        refused(table(&[0, 1], 3), &[&d([7, 2])], "2 axes for 3");
        let rotary = || Op::Rotary { style: RotaryStyle::Pairs };
        assert!(yields(rotary(), &[&d([7, 2, 4]), &d([7, 4])]).is_ok());
        refused(rotary(), &[&d([7, 2, 4]), &d([7, 2])], "table is");
        refused(rotary(), &[&d([7, 2, 4]), &d([6, 4])], "table is");
    }

    #[test]
    fn heads_are_whole_groups_and_caches_hold_such_rows() {
        let attention = || Op::Attention { scale: 1.0 };
        let kv = d([9, 2, 4]);
        assert!(yields(attention(), &[&d([3, 4, 4]), &kv, &kv]).is_ok());
        refused(attention(), &[&d([3, 3, 4]), &kv, &kv], "do not fit");
        refused(attention(), &[&d([3, 4, 5]), &kv, &kv], "do not fit");
        refused(attention(), &[&d([3, 4, 4]), &kv, &d([8, 2, 4])], "do not fit");
        refused(attention(), &[&d([3, 4, 4]), &d([9, 0, 4]), &d([9, 0, 4])], "do not fit");
        refused(attention(), &[&d([5, 3, 4, 4]), &d([5, 9, 2, 4]), &d([6, 9, 2, 4])], "equally many parts");
        refused(attention(), &[&d([3, 4, 4]), &d([1, 9, 2, 4]), &kv], "axes, expected 3");
        let cached = |key: u32, value: u32, past| Op::CachedAttention {
            key_cache: BufferId(key),
            value_cache: BufferId(value),
            past: Symbol(past),
            scale: 1.0,
        };
        let (q, kv): (&[Dim], &[Dim]) = (&[n(), 4.into(), 4.into()], &[n(), 2.into(), 4.into()]);
        assert!(yields(cached(0, 1, 1), &[q, kv, kv]).is_ok());
        refused(cached(0, 0, 1), &[q, kv, kv], "two caches");
        refused(cached(0, 1, 2), &[q, kv, kv], "a past");
        refused(cached(0, 2, 1), &[q, kv, kv], "cache `wide`");
        refused(cached(0, 7, 1), &[q, kv, kv], "no such cache");
        let longer: &[Dim] = &[n().plus(1), 2.into(), 4.into()];
        refused(cached(0, 1, 1), &[q, longer, longer], "same tokens");
    }

    #[test]
    fn parts_lie_in_the_whole_at_all_extents() {
        let slice = |axis, start: Dim, len: Dim| Op::Slice { axis, start, len };
        assert_eq!(yields(slice(1, 1.into(), 3.into()), &[&d([2, 4])]), Ok(d([2, 3]).to_vec()));
        refused(slice(1, 2.into(), 3.into()), &[&d([2, 4])], "is beyond");
        refused(slice(2, 0.into(), 1.into()), &[&d([2, 4])], "no such axis");
        // Whole at the largest n, not at the smallest; and the reverse.
        refused(slice(0, 0.into(), 4.into()), &[&[n(), 4.into()]], "is beyond");
        refused(slice(0, m(), 6.into()), &[&d([6, 4])], "is beyond");
        assert!(yields(slice(0, m(), 4.into()), &[&d([6, 4])]).is_ok());
        refused(slice(0, usize::MAX.into(), 2.into()), &[&d([6, 4])], "beyond what a usize holds");
        let concat = |axis| Op::Concat { axis };
        assert_eq!(yields(concat(0), &[&d([2, 4]), &[n(), 4.into()]]), Ok(vec![n().plus(2), 4.into()]));
        refused(concat(0), &[&d([2, 4]), &d([2, 5])], "does not continue");
        refused(concat(0), &[&[n(), 4.into()], &[n(), 4.into()]], "only one part");
        refused(concat(0), &[], "at least one");
        refused(concat(1), &[&d([2]), &d([2])], "no such axis");
        refused(concat(0), &[&d([2, usize::MAX]), &d([usize::MAX, usize::MAX])], "beyond what a usize holds");
        let transpose = |order: &[u8]| Op::Transpose { order: order.into() };
        assert_eq!(yields(transpose(&[1, 0]), &[&d([2, 4])]), Ok(d([4, 2]).to_vec()));
        for order in [&[0u8, 0][..], &[0], &[0, 2], &[0, 1, 1]] {
            assert!(yields(transpose(order), &[&d([2, 4])]).is_err(), "{order:?}");
        }
        assert_eq!(yields(Op::LastRow, &[&[n(), 4.into()]]), Ok(d([1, 4]).to_vec()));
    }

    #[test]
    fn reshapes_hold_as_many_elements_at_all_extents() {
        let to = |shape: &[Dim]| Op::Reshape { shape: shape.into() };
        assert!(yields(to(&[n().over(2), 8.into()]), &[&[n(), 4.into()]]).is_ok());
        refused(to(&[n(), 5.into()]), &[&[n(), 4.into()]], "elements");
        // As many at n = 2 alone, and at m = 0 and m = 2 but not between.
        refused(to(&d([8])), &[&[n(), 4.into()]], "elements");
        refused(to(&[m().times(2)]), &[&[m(), m()]], "at [2, 1]");
        refused(to(&[m()]), &[&[m(), m()]], "at [2, 2]");
        refused(to(&[n().times(8)]), &[&[n(), n()]], "elements");
        assert!(yields(to(&[n(), m(), 6.into()]), &[&[m().times(3), n().times(2)]]).is_ok());
        refused(
            to(&[usize::MAX.into(), usize::MAX.into(), 9.into()]),
            &[&d([1])],
            "beyond what a usize holds",
        );
        refused(to(&[1.into(); 7]), &[&d([1])], "more than 6 axes");
    }

    #[test]
    fn convolutions_and_enlargements_count_their_places() {
        let conv = |stride, padding| Op::Conv3d { weight: KERNEL, bias: None, stride, padding };
        let padding = [[1, 0], [1, 1], [1, 1]];
        let shape = |t: Dim, h, w| [t, Dim::Fixed(h), Dim::Fixed(w), 4.into()];
        assert_eq!(
            yields(conv([1, 2, 2], padding), &[&shape(n(), 7, 8)]),
            Ok(vec![n(), 4.into(), 4.into(), 5.into()])
        );
        assert_eq!(
            yields(conv([1, 1, 1], [[0, 0], [1, 1], [1, 1]]), &[&shape(n().plus(1), 7, 8)]),
            Ok(vec![n(), 7.into(), 8.into(), 5.into()])
        );
        // Four times n in steps of two: the kernel of two covers the first place with one zero before it.
        assert_eq!(
            yields(conv([2, 1, 1], padding), &[&shape(n().times(4), 3, 3)]),
            Ok(vec![n().times(2), 3.into(), 3.into(), 5.into()])
        );
        refused(conv([2, 1, 1], padding), &[&shape(n(), 3, 3)], "stride 2 along the named extent");
        refused(conv([1, 1, 1], [[0, 0]; 3]), &[&shape(n(), 7, 8)], "stride 1 along the named extent");
        refused(conv([1, 1, 1], [[0, 0]; 3]), &[&shape(2.into(), 2, 8)], "kernel 3 is larger");
        refused(conv([1, 0, 1], padding), &[&shape(n(), 7, 8)], "must not be 0");
        refused(conv([1, 1, 1], padding), &[&[n(), 7.into(), 8.into(), 5.into()]], "weight takes 4 channels");
        for hostile in [usize::MAX, NAMED_MAX + 1] {
            refused(conv([1, 1, 1], [[1, 0], [hostile, 1], [0, 0]]), &[&shape(n(), 7, 8)], "at most");
            refused(conv([1, 1, hostile], padding), &[&shape(n(), 7, 8)], "at most");
        }
        let upsample = |factor| Op::Upsample { factor };
        assert_eq!(yields(upsample([1, 2, 3]), &[&shape(n(), 7, 8)]), Ok(shape(n(), 14, 24).to_vec()));
        refused(upsample([1, usize::MAX, 1]), &[&shape(n(), 7, 8)], "beyond what a usize holds");
        let sinusoid = Op::Sinusoid { frequency: vec![1.0; 3] };
        assert_eq!(yields(sinusoid, &[&d([7])]), Ok(d([7, 6]).to_vec()));
    }

    #[test]
    fn the_builder_says_what_does_not_fit() {
        let mut network = network();
        let mut graph = GraphBuilder::new(&mut network, "main");
        let x = graph.read(BufferId(0), 3);
        let why = graph.try_add(Op::Linear { weight: OF_FOUR, bias: None }, &[x]).unwrap_err();
        assert!(why.contains("Linear") && why.contains("two axes"), "{why}");
        assert_eq!(graph.try_add(Op::LastRow, &[x]), Ok(ValueId(1)), "nothing was added before");
        assert!(graph.try_add(Op::LastRow, &[ValueId(2)]).is_err());
    }
}
