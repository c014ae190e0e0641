//! Shape inference, and the verifier that a network from a file must pass.

use super::{Dim, Graph, Network, Node, Op, ValueId, WeightId};
use crate::tensor::DType;

/// What is wrong with a network.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GraphError {
    /// A node does not fit its inputs.
    #[error("graph `{graph}`, node {node} ({op}): {why}")]
    Node {
        /// Graph.
        graph: String,
        /// Index of the node.
        node: usize,
        /// Its op, in short.
        op: String,
        /// The broken rule.
        why: String,
    },
    /// A graph or the network breaks a rule.
    #[error("graph `{graph}`: {why}")]
    Graph {
        /// Graph, or `network`.
        graph: String,
        /// The broken rule.
        why: String,
    },
}

/// Elements of any one value, buffer or weight: keeps all arithmetic on sizes far from overflow.
const ELEMENTS_MAX: u128 = 1 << 40;
const RANK_MAX: usize = 6;
const NAMED_MAX: usize = 1 << 32;

type Shape = Vec<Dim>;

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
            let (q, k, v) = (float(0)?, float(1)?, float(2)?);
            for x in [q, k, v] {
                rank(x, 3, "q, k and v")?;
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
            f32_of(q.clone())
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
                    (a, Dim::Fixed(n)) | (Dim::Fixed(n), a) => a.plus(n),
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
                if at.value(&extents) < start.value(&extents) + len.value(&extents) {
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
            f32_of((0..4).map(|i| if i < 3 { x[i].times(factor[i]) } else { x[i] }).collect())
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
    let padded = dim.plus(padding[0] + padding[1]);
    if corners(graph).iter().any(|extents| padded.value(extents) < kernel) {
        return Err(format!("kernel {kernel} is larger than {padded:?}"));
    }
    match padded {
        Dim::Fixed(n) => Ok(Dim::Fixed((n - kernel) / stride + 1)),
        Dim::Scaled { symbol, mul, div, add } if stride == 1 && kernel - 1 <= add => {
            Ok(Dim::Scaled { symbol, mul, div, add: add - (kernel - 1) })
        }
        // s·m/d + a with both parts multiples of the stride after the kernel is taken off.
        Dim::Scaled { symbol, mul, div, add }
            if mul.is_multiple_of(div * stride) && kernel <= add + stride =>
        {
            Ok(Dim::Scaled { symbol, mul: mul / stride, div, add: (add + stride - kernel) / stride })
        }
        Dim::Scaled { .. } => Err(format!("stride {stride} along the named extent {dim:?}")),
    }
}

/// The extents at which a rule that is linear in each symbol has to hold: each symbol at its bounds.
fn corners(graph: &Graph) -> Vec<Vec<usize>> {
    let n = graph.dims.len().min(8);
    (0..1usize << n)
        .map(|bits| {
            graph
                .dims
                .iter()
                .enumerate()
                .map(|(i, d)| if bits >> i.min(7) & 1 == 1 { d.max } else { d.min })
                .collect()
        })
        .collect()
}

fn same_elements(graph: &Graph, a: &[Dim], b: &[Dim]) -> Result<(), String> {
    let count =
        |shape: &[Dim], extents: &[usize]| shape.iter().map(|d| d.value(extents) as u128).product::<u128>();
    for extents in corners(graph) {
        let (a_len, b_len) = (count(a, &extents), count(b, &extents));
        if a_len != b_len {
            return Err(format!("{a:?} has {a_len} elements, {b:?} has {b_len}"));
        }
    }
    Ok(())
}

/// See [`Network::verify`].
pub(super) fn verify(network: &Network) -> Result<(), GraphError> {
    let broken = |why: String| GraphError::Graph { graph: "network".into(), why };
    for (kind, name, shape) in network
        .weights
        .iter()
        .map(|w| ("weight", &w.name, &w.shape))
        .chain(network.buffers.iter().map(|b| ("buffer", &b.name, &b.shape)))
    {
        let elements =
            shape.iter().try_fold(1u128, |n, d| n.checked_mul(*d as u128).filter(|n| *n <= ELEMENTS_MAX));
        if elements.is_none() || RANK_MAX < shape.len() || (kind == "buffer" && shape.is_empty()) {
            return Err(broken(format!(
                "{kind} `{name}` has the shape {shape:?}: more than {RANK_MAX} axes or too many elements"
            )));
        }
    }
    if let Some(buffer) = network.buffers.iter().find(|b| !matches!(b.dtype, DType::F32 | DType::I32)) {
        return Err(broken(format!("buffer `{}` is {}; buffers are f32 or i32", buffer.name, buffer.dtype)));
    }
    let limits = network.buffers.iter().filter_map(|b| b.rows_limit);
    let mut limits =
        limits.chain(network.graphs.iter().flat_map(|g| g.dims.iter().filter_map(|d| d.max_limit)));
    if limits.any(|l| network.limits.len() <= usize::from(l.limit)) {
        return Err(broken("something follows a limit that is not declared".into()));
    }
    unique("limit", network.limits.iter().map(|l| l.name.as_str()))?;
    unique("weight", network.weights.iter().map(|w| w.name.as_str()))?;
    unique("buffer", network.buffers.iter().map(|b| b.name.as_str()))?;
    unique("graph", network.graphs.iter().map(|g| g.name.as_str()))?;
    network.graphs.iter().try_for_each(|graph| verify_graph(network, graph))
}

fn unique<'a>(kind: &str, names: impl Iterator<Item = &'a str>) -> Result<(), GraphError> {
    let mut seen = std::collections::HashSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(GraphError::Graph {
                graph: "network".into(),
                why: format!("two {kind}s are named `{name}`"),
            });
        }
    }
    Ok(())
}

fn verify_graph(network: &Network, graph: &Graph) -> Result<(), GraphError> {
    let broken = |why: String| GraphError::Graph { graph: graph.name.clone(), why };
    for dim in &graph.dims {
        let bounds_fit = dim.min <= dim.max && dim.max <= NAMED_MAX && dim.multiple_of != 0;
        if !bounds_fit || !dim.min.is_multiple_of(dim.multiple_of) || !dim.max.is_multiple_of(dim.multiple_of)
        {
            return Err(broken(format!("extent `{}` has impossible bounds {dim:?}", dim.name)));
        }
    }
    if 8 < graph.dims.len() {
        return Err(broken(format!("{} named extents; at most 8", graph.dims.len())));
    }
    for (i, node) in graph.nodes.iter().enumerate() {
        verify_node(network, graph, i).map_err(|why| GraphError::Node {
            graph: graph.name.clone(),
            node: i,
            op: node.op.name().into(),
            why,
        })?;
    }
    for write in &graph.writes {
        let value = graph
            .nodes
            .get(write.value.index())
            .ok_or_else(|| broken("writes a value that is not there".into()))?;
        let buffer = network
            .buffers
            .get(write.buffer.index())
            .ok_or_else(|| broken("writes a buffer that is not there".into()))?;
        let rows: Shape = buffer.shape[1..].iter().map(|n| Dim::Fixed(*n)).collect();
        if value.shape.is_empty() || value.shape[1..] != rows || value.dtype != buffer.dtype {
            return Err(broken(format!(
                "writes {} {:?} to `{}` of rows {rows:?}",
                value.dtype, value.shape, buffer.name
            )));
        }
        if corners(graph).iter().any(|e| buffer.shape[0] < value.shape[0].value(e)) {
            return Err(broken(format!(
                "writes {:?} rows to `{}`, which has {}",
                value.shape[0], buffer.name, buffer.shape[0]
            )));
        }
    }
    Ok(())
}

fn verify_node(network: &Network, graph: &Graph, i: usize) -> Result<(), String> {
    let node = &graph.nodes[i];
    if node.inputs.iter().any(|v| i <= v.index()) {
        return Err("reads a later value".into());
    }
    if RANK_MAX < node.shape.len() {
        return Err(format!("more than {RANK_MAX} axes"));
    }
    for dim in &node.shape {
        dim_is_sound(graph, *dim)?;
    }
    match &node.op {
        Op::Slice { start, len, .. } => {
            dim_is_sound(graph, *start)?;
            dim_is_sound(graph, *len)?;
        }
        Op::Reshape { shape } => shape.iter().try_for_each(|d| dim_is_sound(graph, *d))?,
        _ => {}
    }
    for extents in corners(graph) {
        let elements = node
            .shape
            .iter()
            .try_fold(1u128, |n, d| n.checked_mul(d.value(&extents) as u128).filter(|n| *n <= ELEMENTS_MAX));
        if elements.is_none() {
            return Err(format!("{:?} has too many elements", node.shape));
        }
    }
    if let Op::Read { buffer } = node.op {
        let declared = network.buffers.get(buffer.index()).ok_or("reads a buffer that is not there")?;
        let row: Shape = declared.shape[1..].iter().map(|n| Dim::Fixed(*n)).collect();
        let fits = node.inputs.is_empty()
            && node.dtype == declared.dtype
            && !node.shape.is_empty()
            && node.shape[1..] == row
            && corners(graph).iter().all(|e| node.shape[0].value(e) <= declared.shape[0]);
        return if fits {
            Ok(())
        } else {
            Err(format!("reads {:?} of `{}` {:?}", node.shape, declared.name, declared.shape))
        };
    }
    let (shape, dtype) = infer(network, graph, &node.op, &node.inputs)?;
    if shape != node.shape || dtype != node.dtype {
        return Err(format!("says {} {:?}, yields {dtype} {shape:?}", node.dtype, node.shape));
    }
    Ok(())
}

fn dim_is_sound(graph: &Graph, dim: Dim) -> Result<(), String> {
    let Dim::Scaled { symbol, mul, div, add } = dim else { return Ok(()) };
    let named = graph.dims.get(usize::from(symbol.0)).ok_or(format!(
        "names extent {} of {}",
        symbol.0,
        graph.dims.len()
    ))?;
    let sound = div != 0
        && mul <= 1 << 16
        && add <= NAMED_MAX
        && (named.multiple_of as u128 * mul as u128).is_multiple_of(div as u128);
    if sound { Ok(()) } else { Err(format!("extent {dim:?} is not whole for every `{}`", named.name)) }
}

#[cfg(test)]
mod tests {
    use super::super::{GraphBuilder, Purpose};
    use super::*;

    fn linear_network() -> Network {
        let mut network = Network::default();
        let x = network.declare_buffer("x", DType::F32, &[8, 4], Purpose::Input);
        let y = network.declare_buffer("y", DType::F32, &[8, 3], Purpose::Output);
        let weight = network.declare_weight("w", DType::F32, &[3, 4]);
        let mut graph = GraphBuilder::new(&mut network, "main");
        let n = graph.dim("n", 1, 8, 1);
        let value = graph.read(x, n);
        let value = graph.linear(value, weight, None);
        graph.write(y, value);
        graph.finish();
        network
    }

    #[test]
    fn a_sound_network_passes_and_survives_serde() {
        let network = linear_network();
        let text = serde_json::to_string(&network).unwrap();
        assert_eq!(serde_json::from_str::<Network>(&text).unwrap(), network);
    }

    #[test]
    fn broken_networks_are_refused() {
        let break_it: &[(&str, fn(&mut Network))] = &[
            ("yields", |n| n.graphs[0].nodes[1].shape[1] = Dim::Fixed(5)),
            ("later value", |n| n.graphs[0].nodes[1].inputs[0] = ValueId(1)),
            ("no weight", |n| n.graphs[0].nodes[1].op = Op::Linear { weight: WeightId(7), bias: None }),
            ("not there", |n| n.graphs[0].writes[0].value = ValueId(9)),
            ("impossible", |n| n.graphs[0].dims[0].max = 0),
            ("which has", |n| n.buffers[1].shape[0] = 7),
            ("two buffers", |n| n.buffers[1].name = "x".into()),
            ("too many", |n| n.weights[0].shape = vec![usize::MAX, usize::MAX]),
        ];
        for (expected, change) in break_it {
            let mut network = linear_network();
            change(&mut network);
            let message = network.verify().expect_err(expected).to_string();
            assert!(message.contains(expected), "{message:?} does not say {expected:?}");
        }
    }
}
