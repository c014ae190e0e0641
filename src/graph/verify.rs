//! The verifier that a network from a file must pass, so that a backend can rely on every index and size.

use super::bounds::{DIMS_MAX, ELEMENTS_MAX, FACTOR_MAX, NAMED_MAX, RANK_MAX, corners};
use super::infer::{Shape, infer};
use super::{Dim, Graph, Network, Op};
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

/// See [`Network::verify`].
pub(super) fn verify(network: &Network) -> Result<(), GraphError> {
    let broken = |why: String| GraphError::Graph { graph: "network".into(), why };
    for (kind, name, shape) in network
        .weights
        .iter()
        .map(|w| ("weight", &w.name, &w.shape))
        .chain(network.buffers.iter().map(|b| ("buffer", &b.name, &b.shape)))
    {
        if !is_small(shape.iter().copied())
            || RANK_MAX < shape.len()
            || (kind == "buffer" && shape.is_empty())
        {
            return Err(broken(format!(
                "{kind} `{name}` has the shape {shape:?}: more than {RANK_MAX} axes or too many elements"
            )));
        }
    }
    if let Some(weight) = network.weights.iter().find(|w| w.shape.contains(&0)) {
        return Err(broken(format!(
            "weight `{}` has no elements: its shape is {:?}",
            weight.name, weight.shape
        )));
    }
    if let Some(buffer) = network.buffers.iter().find(|b| !matches!(b.dtype, DType::F32 | DType::I32)) {
        return Err(broken(format!("buffer `{}` is {}; buffers are f32 or i32", buffer.name, buffer.dtype)));
    }
    if let Some(buffer) = network.buffers.iter().find(|b| b.window_rows == 0) {
        return Err(broken(format!("windows of buffer `{}` begin at multiples of 0 rows", buffer.name)));
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

/// Whether a value of these extents is small enough, and each part of it also where another extent is 0.
fn is_small(mut extents: impl Iterator<Item = usize>) -> bool {
    let product = extents.try_fold(1usize, |n, d| n.checked_mul(d.max(1)).filter(|n| *n <= ELEMENTS_MAX));
    product.is_some()
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
    if DIMS_MAX < graph.dims.len() {
        return Err(broken(format!("{} named extents; at most {DIMS_MAX}", graph.dims.len())));
    }
    for dim in &graph.dims {
        let bounds_fit =
            dim.min <= dim.max && dim.max <= NAMED_MAX && (1..=NAMED_MAX).contains(&dim.multiple_of);
        if !bounds_fit || !dim.min.is_multiple_of(dim.multiple_of) || !dim.max.is_multiple_of(dim.multiple_of)
        {
            return Err(broken(format!("extent `{}` has impossible bounds {dim:?}", dim.name)));
        }
    }
    let corners = corners(graph);
    for (i, node) in graph.nodes.iter().enumerate() {
        verify_node(network, graph, &corners, i).map_err(|why| GraphError::Node {
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
        if corners.iter().any(|e| buffer.shape[0] < value.shape[0].value(e)) {
            return Err(broken(format!(
                "writes {:?} rows to `{}`, which has {}",
                value.shape[0], buffer.name, buffer.shape[0]
            )));
        }
    }
    // Whatever extents and windows a run gives, two writes of one buffer cannot overlap if there is but one.
    let in_place = graph.nodes.iter().flat_map(|node| node.op.writes());
    let mut written = std::collections::HashSet::new();
    for buffer in in_place.chain(graph.writes.iter().map(|w| w.buffer)) {
        if !written.insert(buffer) {
            return Err(broken(format!("writes `{}` twice", network.buffers[buffer.index()].name)));
        }
    }
    Ok(())
}

fn verify_node(network: &Network, graph: &Graph, corners: &[Vec<usize>], i: usize) -> Result<(), String> {
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
    let touches = node.op.touches();
    for (_, dim) in &touches.extents {
        dim_is_sound(graph, *dim)?;
    }
    if let Some(missing) = touches.weights.iter().find(|w| network.weights.len() <= w.id.index()) {
        return Err(format!("no weight {}", missing.id.0));
    }
    let is_i32 = |id: super::WeightId| network.weights[id.index()].dtype == DType::I32;
    if let Some(whole) =
        touches.weights.iter().find(|w| is_i32(w.id) && !matches!(node.op, Op::Constant { .. }))
    {
        return Err(format!("weight {} is i32: only a constant is", whole.id.0));
    }
    if let Some(missing) = touches.buffers.iter().find(|b| network.buffers.len() <= b.id.index()) {
        return Err(format!("its buffer {} is not there", missing.id.0));
    }
    for extents in corners {
        if node.shape.iter().any(|d| d.value(extents) == 0) {
            return Err(format!("{:?} has no elements at {extents:?}", node.shape));
        }
        if !is_small(node.shape.iter().map(|d| d.value(extents))) {
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
            && corners.iter().all(|e| node.shape[0].value(e) <= declared.shape[0]);
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
    let (symbol, mul, div, add) = match dim {
        Dim::Fixed(n) if n <= ELEMENTS_MAX => return Ok(()),
        Dim::Fixed(n) => return Err(format!("an axis of {n}; at most {ELEMENTS_MAX}")),
        Dim::Scaled { symbol, mul, div, add } => (symbol, mul, div, add),
    };
    let named = graph.dims.get(usize::from(symbol.0)).ok_or(format!(
        "names extent {} of {}",
        symbol.0,
        graph.dims.len()
    ))?;
    let sound = div != 0
        && (1..=FACTOR_MAX).contains(&mul)
        && add <= NAMED_MAX
        && (named.multiple_of as u128 * mul as u128).is_multiple_of(div as u128);
    if sound { Ok(()) } else { Err(format!("extent {dim:?} is not whole for every `{}`", named.name)) }
}

#[cfg(test)]
mod tests {
    use super::super::{
        BufferId, GraphBuilder, Limit, LimitedBy, Node, Purpose, Symbol, ValueId, WeightId, Write,
    };
    use super::*;

    fn linear_network() -> Network {
        let mut network = Network::default();
        let x = network.declare_buffer("x", DType::F32, &[8, 4], Purpose::Input);
        let y = network.declare_buffer("y", DType::F32, &[8, 3], Purpose::Output);
        let weight = network.declare_weight("main", "w", DType::F32, &[3, 4]);
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

    /// An extent made from the first named one.
    fn scaled(mul: usize, div: usize, add: usize) -> Dim {
        Dim::Scaled { symbol: Symbol(0), mul, div, add }
    }

    /// Adds a slice of the first value's columns.
    fn slice(network: &mut Network, start: Dim, len: Dim) {
        let nodes = &mut network.graphs[0].nodes;
        let node = Node {
            op: Op::Slice { axis: 1, start, len },
            inputs: vec![ValueId(0)],
            shape: vec![nodes[0].shape[0], len],
            dtype: DType::F32,
        };
        nodes.push(node);
    }

    #[test]
    fn a_cache_is_written_by_one_op_and_by_nothing_else() {
        let mut network = Network::default();
        let x = network.declare_buffer("x", DType::F32, &[4, 1, 2], Purpose::Input);
        let caches =
            ["k", "v", "w"].map(|name| network.declare_buffer(name, DType::F32, &[9, 1, 2], Purpose::Cache));
        let cached = |key_cache, value_cache| Op::CachedAttention {
            key_cache,
            value_cache,
            past: Symbol(1),
            scale: 1.0,
        };
        let mut graph = GraphBuilder::new(&mut network, "main");
        let n = graph.dim("n", 1, 4, 1);
        graph.dim("past", 0, 5, 1);
        let x = graph.read(x, n);
        graph.add(cached(caches[0], caches[1]), &[x, x, x]);
        graph.finish();
        let with = |change: &dyn Fn(&mut Graph)| {
            let mut network = network.clone();
            change(&mut network.graphs[0]);
            network.verify().map_err(|e| e.to_string())
        };
        let again = |key, value| Node { op: cached(key, value), ..network.graphs[0].nodes[1].clone() };
        assert_eq!(with(&|_| ()), Ok(()));
        assert_eq!(with(&|g| g.writes.push(Write { buffer: caches[2], value: ValueId(0) })), Ok(()));
        let twice = |name| Err(format!("graph `main`: writes `{name}` twice"));
        assert_eq!(with(&|g| g.writes.push(Write { buffer: caches[1], value: ValueId(0) })), twice("v"));
        assert_eq!(with(&|g| g.nodes.push(again(caches[2], caches[0]))), twice("k"));
        assert!(with(&|g| g.nodes.push(again(caches[2], BufferId(9)))).is_err());
    }

    #[test]
    fn broken_networks_are_refused() {
        #[expect(clippy::type_complexity, reason = "read once, right below")]
        let break_it: &[(&str, fn(&mut Network))] = &[
            ("yields", |n| n.graphs[0].nodes[1].shape[1] = Dim::Fixed(5)),
            ("later value", |n| n.graphs[0].nodes[1].inputs[0] = ValueId(1)),
            ("no weight", |n| n.graphs[0].nodes[1].op = Op::Linear { weight: WeightId(7), bias: None }),
            ("not there", |n| n.graphs[0].writes[0].value = ValueId(9)),
            ("impossible", |n| n.graphs[0].dims[0].max = 0),
            ("which has", |n| n.buffers[1].shape[0] = 7),
            ("two buffers", |n| n.buffers[1].name = "x".into()),
            ("too many", |n| n.weights[0].shape = vec![usize::MAX, usize::MAX]),
            ("weight `w` has the shape", |n| n.weights[0].shape = vec![1; 7]),
            ("weight `w` has the shape", |n| n.weights[0].shape = vec![1 << 41]),
            ("weight `w` has no elements", |n| n.weights[0].shape[0] = 0),
            ("buffer `x` has the shape", |n| n.buffers[0].shape = Vec::new()),
            ("buffer `x` has the shape", |n| n.buffers[0].shape = vec![0, 1 << 40, 1 << 40]),
            ("buffers are f32 or i32", |n| n.buffers[0].dtype = DType::Bf16),
            ("a limit that is not declared", |n| {
                n.buffers[0].rows_limit = Some(LimitedBy { limit: 0, mul: 1, cap: None });
            }),
            ("a limit that is not declared", |n| {
                n.limits.push(Limit { name: "rows".into(), value: 8 });
                n.graphs[0].dims[0].max_limit = Some(LimitedBy { limit: 1, mul: 1, cap: None });
            }),
            ("two limits", |n| {
                n.limits = vec![Limit { name: "rows".into(), value: 8 }; 2];
            }),
            ("two weights", |n| n.weights.push(n.weights[0].clone())),
            ("two graphs", |n| n.graphs.push(n.graphs[0].clone())),
            ("impossible", |n| n.graphs[0].dims[0].multiple_of = 0),
            ("impossible", |n| n.graphs[0].dims[0].multiple_of = 3),
            ("impossible", |n| {
                let dim = &mut n.graphs[0].dims[0];
                (dim.min, dim.multiple_of) = (1, 2);
            }),
            ("impossible", |n| {
                let dim = &mut n.graphs[0].dims[0];
                (dim.min, dim.multiple_of) = (3, 3);
            }),
            ("impossible", |n| n.graphs[0].dims[0].max = NAMED_MAX + 1),
            ("9 named extents", |n| n.graphs[0].dims = vec![n.graphs[0].dims[0].clone(); 9]),
            ("later value", |n| n.graphs[0].nodes[1].inputs[0] = ValueId(7)),
            ("more than 6 axes", |n| n.graphs[0].nodes[0].shape = vec![Dim::Fixed(1); 7]),
            ("names extent 1 of 1", |n| n.graphs[0].nodes[0].shape[0] = Dim::of(Symbol(1))),
            ("is not whole", |n| n.graphs[0].nodes[0].shape[0] = scaled(1, 0, 0)),
            ("is not whole", |n| n.graphs[0].nodes[0].shape[0] = scaled(0, 0, 1)),
            ("is not whole", |n| n.graphs[0].nodes[0].shape[0] = scaled(1, 2, 0)),
            ("is not whole", |n| n.graphs[0].nodes[0].shape[0] = scaled((1 << 16) + 1, 1, 0)),
            ("is not whole", |n| n.graphs[0].nodes[0].shape[0] = scaled(1, 1, NAMED_MAX + 1)),
            ("an axis of", |n| n.graphs[0].nodes[0].shape[0] = Dim::Fixed(ELEMENTS_MAX + 1)),
            ("has too many elements", |n| n.graphs[0].nodes[0].shape = vec![Dim::Fixed(1 << 21); 2]),
            ("has no elements", |n| n.graphs[0].dims[0].min = 0),
            ("reads", |n| n.graphs[0].nodes[0].shape[0] = Dim::Fixed(9)),
            ("reads", |n| n.graphs[0].nodes[0].shape[0] = scaled(1, 1, 1)),
            ("reads", |n| n.graphs[0].nodes[0].shape[1] = Dim::Fixed(2)),
            ("reads", |n| n.graphs[0].nodes[0].dtype = DType::I32),
            ("reads", |n| n.graphs[0].nodes[0].shape = Vec::new()),
            ("its buffer 9", |n| n.graphs[0].nodes[0].op = Op::Read { buffer: BufferId(9) }),
            ("yields", |n| n.graphs[0].nodes[1].dtype = DType::I32),
            ("is i32: only a constant", |n| n.weights[0].dtype = DType::I32),
            ("a buffer that is not there", |n| n.graphs[0].writes[0].buffer = BufferId(9)),
            ("to `y` of rows", |n| n.buffers[1].shape[1] = 4),
            ("to `y` of rows", |n| n.buffers[1].dtype = DType::I32),
            ("writes `y` twice", |n| {
                let write = n.graphs[0].writes[0];
                n.graphs[0].writes.push(write);
            }),
            ("is beyond", |n| slice(n, Dim::Fixed(3), Dim::Fixed(2))),
            ("windows of buffer `x`", |n| n.buffers[0].window_rows = 0),
            ("an axis of 18446744073709551615", |n| slice(n, Dim::Fixed(usize::MAX), Dim::Fixed(2))),
            ("an axis of 18446744073709551615", |n| slice(n, Dim::Fixed(2), Dim::Fixed(usize::MAX))),
        ];
        for (expected, change) in break_it {
            let mut network = linear_network();
            change(&mut network);
            let message = network.verify().expect_err(expected).to_string();
            assert!(message.contains(expected), "{message:?} does not say {expected:?}");
        }
    }
}
