//! Which products are given values whose channels can be scaled by what stands before them, so that scaling costs nothing in a run.
//!
//! A channel's scale commutes with what lies between: a norm's weight is multiplied channel by channel, so are the outputs of a product by
//! the rows of its matrix; one factor of a product of two values may be scaled instead of it; attention mixes rows of values and leaves
//! their channels apart. So what queries, keys and values are made of is scaled in the norm before them, what an MLP's last product is given in
//! the rows of the matrix that a gate multiplies, and what the product behind attention is given in the rows of the values' matrix, each
//! head group's for all of its heads.
//!
//! A group counts only if every graph agrees: whatever is scaled goes to products that undo it and nowhere else.
//!
//! Why not scale by an op where nothing stands before: it would be a step and a value more in every run.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::graph::{Binary, BufferId, Dim, Graph, Network, Node, Op, ValueId, WeightId, WeightUse};

/// Products that are given the same scaled channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Whose channels are divided: a norm's weight and bias, or a matrix by rows and its bias.
    pub divided: Vec<WeightId>,
    /// Matrices whose columns are multiplied.
    pub multiplied: Vec<WeightId>,
    /// The channel of each column; several columns may have one.
    pub channels: Vec<usize>,
    /// Channels there are.
    pub n_channels: usize,
}

impl Group {
    /// Numbers by channel, as the columns of its matrices have them.
    pub fn by_column(&self, by_channel: &[f32]) -> Vec<f32> {
        self.channels.iter().map(|channel| by_channel[*channel]).collect()
    }
}

/// A value whose channels are those of some weights.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Carried {
    divided: Vec<WeightId>,
    /// By element of a row, which is all but the first axis.
    channels: Vec<usize>,
}

/// The groups of a network, in the order of their first products.
pub fn groups(network: &Network) -> Vec<Group> {
    let mut seen = Seen::default();
    for graph in &network.graphs {
        seen.graph(graph);
    }
    seen.groups(network)
}

/// What all graphs have shown.
#[derive(Default)]
struct Seen {
    /// Weights that scaling would change for somebody else too.
    broken: HashSet<WeightId>,
    /// By product's weight: what each of its products is given.
    given: BTreeMap<WeightId, Vec<Option<Carried>>>,
    /// By weight: as part of what it is used each time, none where its channels are no value's.
    uses: HashMap<WeightId, Vec<Option<Vec<WeightId>>>>,
    /// By cache: whose channels its rows have each time.
    cached: HashMap<BufferId, Vec<Option<Vec<WeightId>>>>,
}

impl Seen {
    fn graph(&mut self, graph: &Graph) {
        let mut carried: Vec<Option<Carried>> = Vec::with_capacity(graph.nodes.len());
        for node in &graph.nodes {
            let own = origin(node);
            let passed = own.is_none().then(|| passed(graph, node, &carried)).flatten();
            for (n, input) in node.inputs.iter().enumerate() {
                let Some(of) = &carried[input.index()] else { continue };
                let goes_on = passed.as_ref().is_some_and(|(place, _)| *place == n);
                if !goes_on && !matches!(node.op, Op::Linear { .. }) {
                    self.broken.extend(&of.divided);
                }
            }
            if let Op::Linear { weight, .. } = node.op {
                self.given.entry(weight).or_default().push(carried[node.inputs[0].index()].clone());
            }
            for weight in node.op.weights() {
                let part = own.as_ref().map(|own| own.divided.clone()).filter(|d| d.contains(&weight.id));
                self.uses.entry(weight.id).or_default().push(part);
            }
            for buffer in node.op.touches().buffers {
                let of_values = match node.op {
                    Op::CachedAttention { value_cache, .. } if value_cache == buffer.id => {
                        carried[node.inputs[2].index()].as_ref().map(|of| of.divided.clone())
                    }
                    _ => None,
                };
                self.cached.entry(buffer.id).or_default().push(of_values);
            }
            carried.push(own.or(passed.map(|(_, carried)| carried)));
        }
        for write in &graph.writes {
            self.broken.extend(carried[write.value.index()].iter().flat_map(|of| &of.divided));
            self.cached.entry(write.buffer).or_default().push(None);
        }
    }

    fn groups(mut self, network: &Network) -> Vec<Group> {
        for (id, uses) in &self.uses {
            // A matrix that is no origin of channels at all is none of anybody's.
            if uses.iter().any(|part| part.as_ref() != uses[0].as_ref()) {
                self.broken.extend(uses.iter().flatten().flatten());
                self.broken.insert(*id);
            }
        }
        for whose in self.cached.values().filter(|whose| whose.iter().any(|of| *of != whose[0])) {
            self.broken.extend(whose.iter().flatten().flatten());
        }
        let mut groups: Vec<Group> = Vec::new();
        for (weight, given) in &self.given {
            let columns = network.weights[weight.index()].shape[1];
            let is_multiplied = takes_columns(network, *weight);
            let first = given[0].as_ref().and_then(|of| Some((of, repeated(&of.channels, columns)?)));
            let all_alike = given.iter().all(|of| *of == given[0]);
            match first {
                Some((of, channels)) if is_multiplied && all_alike => {
                    let Some(group) = groups.iter_mut().find(|group| group.divided == of.divided) else {
                        let n_channels = network.weights[of.divided[0].index()].shape[0];
                        let (divided, multiplied) = (of.divided.clone(), vec![*weight]);
                        groups.push(Group { divided, multiplied, channels, n_channels });
                        continue;
                    };
                    if group.channels == channels {
                        group.multiplied.push(*weight);
                    } else {
                        self.broken.extend(&of.divided);
                    }
                }
                _ => self.broken.extend(given.iter().flatten().flat_map(|of| &of.divided)),
            }
        }
        groups.retain(|group| group.divided.iter().all(|id| !self.broken.contains(id)));
        groups
    }
}

/// Whether products take a matrix and nothing else does.
fn takes_columns(network: &Network, weight: WeightId) -> bool {
    let nodes = network.graphs.iter().flat_map(|graph| &graph.nodes);
    let mut uses = nodes.flat_map(|node| node.op.weights().map(move |used| (&node.op, used)));
    uses.all(|(op, used)| {
        used.id != weight || (matches!(op, Op::Linear { .. }) && used.usage == WeightUse::Matrix)
    })
}

/// The first channels of a row, if all others are those again.
fn repeated(channels: &[usize], n: usize) -> Option<Vec<usize>> {
    let first = channels.get(..n)?;
    channels.chunks(n.max(1)).all(|part| part == first).then(|| first.to_vec())
}

/// Elements of a row, if they do not vary from run to run.
fn row_len(node: &Node) -> Option<usize> {
    node.shape.get(1..)?.iter().try_fold(1, |len, dim| match dim {
        Dim::Fixed(n) => Some(len * n),
        Dim::Scaled { .. } => None,
    })
}

/// What a node makes of weights whose channels are those of its value.
fn origin(node: &Node) -> Option<Carried> {
    let divided: Vec<WeightId> = match &node.op {
        Op::RmsNorm { weight, .. } => vec![(*weight)?],
        Op::LayerNorm { weight, bias, .. } => [Some((*weight)?), *bias].into_iter().flatten().collect(),
        Op::Linear { weight, bias } => [Some(*weight), *bias].into_iter().flatten().collect(),
        _ => return None,
    };
    let Some(Dim::Fixed(n)) = node.shape.last().filter(|_| 1 < node.shape.len()) else { return None };
    Some(Carried { divided, channels: (0..row_len(node)?).map(|i| i % n).collect() })
}

/// The input whose channels a node's value has, and what becomes of them.
fn passed(graph: &Graph, node: &Node, carried: &[Option<Carried>]) -> Option<(usize, Carried)> {
    let of = |n: usize| carried[node.inputs[n].index()].clone();
    let shape = |value: ValueId| &graph.nodes[value.index()].shape;
    match &node.op {
        Op::Binary { function: Binary::Mul } if node.inputs[0] != node.inputs[1] => {
            let second = of(1).filter(|_| *shape(node.inputs[1]) == node.shape);
            second.map(|of| (1, of)).or_else(|| Some((0, of(0)?)))
        }
        Op::Reshape { .. } => {
            let of = of(0)?;
            let is_by_row = shape(node.inputs[0]).first() == node.shape.first();
            (is_by_row && row_len(node)? == of.channels.len()).then_some((0, of))
        }
        Op::Attention { .. } | Op::CachedAttention { .. } => {
            let Carried { divided, channels } = of(2)?;
            let [_, Dim::Fixed(groups), Dim::Fixed(dim)] = shape(node.inputs[2])[..] else { return None };
            let [_, Dim::Fixed(heads), _] = node.shape[..] else { return None };
            let of_head = |head: usize| &channels[head / (heads / groups) * dim..][..dim];
            let channels = (0..heads).flat_map(|head| of_head(head).to_vec()).collect();
            Some((2, Carried { divided, channels }))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{GraphBuilder, Purpose, Unary};
    use crate::tensor::DType;

    /// A layer of a language model with two heads over one group: `[[divided, …], [multiplied, …]]` by name.
    fn found(spoil: impl Fn(&mut Network)) -> Vec<[Vec<String>; 2]> {
        let mut network = Network::default();
        layer(&mut network, "prefill");
        layer(&mut network, "decode");
        spoil(&mut network);
        network.verify().unwrap();
        let names =
            |ids: &[WeightId]| ids.iter().map(|id| network.weights[id.index()].name.clone()).collect();
        groups(&network).iter().map(|group| [names(&group.divided), names(&group.multiplied)]).collect()
    }

    fn weight(graph: &mut GraphBuilder<'_>, name: &str, shape: &[usize]) -> WeightId {
        graph.network.declare_weight("language", name, DType::F32, shape)
    }

    fn layer(network: &mut Network, name: &str) {
        let buffer = |network: &mut Network, name: &str, shape: &[usize], purpose| {
            network.buffer(name).unwrap_or_else(|| network.declare_buffer(name, DType::F32, shape, purpose))
        };
        let x = buffer(network, "x", &[8, 4], Purpose::Input);
        let y = buffer(network, "y", &[8, 4], Purpose::Output);
        let [keys, values] = ["keys", "values"].map(|name| buffer(network, name, &[8, 1, 2], Purpose::Cache));
        let mut graph = GraphBuilder::new(network, name);
        let n = graph.dim("n", 1, 8, 1);
        let past = graph.dim("past", 0, 8, 1);
        let x = graph.read(x, Dim::of(n));
        let norm = weight(&mut graph, "norm", &[4]);
        let normed = graph.add(Op::RmsNorm { weight: Some(norm), eps: 1e-6 }, &[x]);
        let heads = |graph: &mut GraphBuilder<'_>, name: &str, n_heads: usize| {
            let matrix = weight(graph, name, &[2 * n_heads, 4]);
            let bias = (name == "v").then(|| weight(graph, "v.bias", &[2]));
            let rows = graph.linear(normed, matrix, bias);
            graph.reshape(rows, &[Dim::of(n), n_heads.into(), 2.into()])
        };
        let (q, k, v) = (heads(&mut graph, "q", 2), heads(&mut graph, "k", 1), heads(&mut graph, "v", 1));
        let op = Op::CachedAttention { key_cache: keys, value_cache: values, past, scale: 1.0 };
        let attended = graph.add(op, &[q, k, v]);
        let attended = graph.reshape(attended, &[Dim::of(n), 4.into()]);
        let o = weight(&mut graph, "o", &[4, 4]);
        let x = graph.linear(attended, o, None);
        let [after, after_bias] = ["after", "after.bias"].map(|name| weight(&mut graph, name, &[4]));
        let op = Op::LayerNorm { weight: Some(after), bias: Some(after_bias), eps: 1e-6 };
        let normed = graph.add(op, &[x]);
        let [gate, up] = ["gate", "up"].map(|name| weight(&mut graph, name, &[6, 4]));
        let gate = graph.linear(normed, gate, None);
        let gate = graph.add(Op::Unary { function: Unary::Silu }, &[gate]);
        let up = graph.linear(normed, up, None);
        let gated = graph.add(Op::Binary { function: Binary::Mul }, &[gate, up]);
        let down = weight(&mut graph, "down", &[4, 6]);
        let x = graph.linear(gated, down, None);
        graph.write(y, x);
        graph.finish();
    }

    const ALL: [&str; 4] = ["norm: q k v", "v v.bias: o", "after after.bias: gate up", "up: down"];

    fn check(spoil: impl Fn(&mut Network), expected: &[&str]) {
        let found: Vec<String> =
            found(spoil).iter().map(|[d, m]| format!("{}: {}", d.join(" "), m.join(" "))).collect();
        assert_eq!(found, expected);
    }

    /// Adds a graph that reads rows of four and does something with them.
    fn another(network: &mut Network, of: impl Fn(&mut GraphBuilder<'_>, ValueId) -> ValueId) {
        let x = network.buffer("x").unwrap();
        let mut graph = GraphBuilder::new(network, "another");
        let rows = graph.read(x, 1);
        let rows = of(&mut graph, rows);
        let shape: Vec<usize> =
            graph.shape(rows).iter().map(|dim| if let Dim::Fixed(n) = dim { *n } else { 1 }).collect();
        let out = graph.network.declare_buffer("out", DType::F32, &shape, Purpose::Output);
        graph.write(out, rows);
        graph.finish();
    }

    #[test]
    fn what_stands_before_products_and_goes_nowhere_else_is_a_group_with_them() {
        check(|_| (), &ALL);
        let mut network = Network::default();
        layer(&mut network, "alone");
        let all = groups(&network);
        assert_eq!((&all[1].channels[..], all[1].n_channels), (&[0, 1, 0, 1][..], 2), "both heads read one");
        assert_eq!((&all[3].channels[..], all[3].n_channels), (&[0, 1, 2, 3, 4, 5][..], 6));
        assert_eq!(all[1].by_column(&[0.5, 2.0]), [0.5, 2.0, 0.5, 2.0]);
    }

    #[test]
    fn what_another_graph_does_otherwise_is_none() {
        let without = |which: usize| -> Vec<&str> {
            ALL.into_iter().enumerate().filter(|(i, _)| *i != which).map(|(_, group)| group).collect()
        };
        // A norm that is written; a product that is given something else; a matrix that is also a table; a norm before a function.
        check(
            |network| {
                another(network, |graph, x| {
                    let norm = weight(graph, "norm", &[4]);
                    graph.add(Op::RmsNorm { weight: Some(norm), eps: 1e-6 }, &[x])
                });
            },
            &without(0),
        );
        check(
            |network| {
                another(network, |graph, x| {
                    let o = weight(graph, "o", &[4, 4]);
                    graph.linear(x, o, None)
                });
            },
            &without(1),
        );
        check(
            |network| {
                let ids = network.declare_buffer("ids", DType::I32, &[1], Purpose::Input);
                another(network, |graph, _| {
                    let ids = graph.read(ids, 1);
                    let down = weight(graph, "down", &[4, 6]);
                    graph.add(Op::Embedding { weight: down }, &[ids])
                });
            },
            &without(3),
        );
        check(
            |network| {
                another(network, |graph, x| {
                    let [after, bias] = ["after", "after.bias"].map(|name| weight(graph, name, &[4]));
                    let op = Op::LayerNorm { weight: Some(after), bias: Some(bias), eps: 1e-6 };
                    let normed = graph.add(op, &[x]);
                    graph.add(Op::Unary { function: Unary::Silu }, &[normed])
                });
            },
            &without(2),
        );
        // The same matrix without its bias is not the same channels.
        check(
            |network| {
                another(network, |graph, x| {
                    let v = weight(graph, "v", &[2, 4]);
                    graph.linear(x, v, None)
                });
            },
            &["after after.bias: gate up", "up: down"],
        );
        // Values that lie in a cache are read by somebody.
        check(
            |network| {
                let values = network.buffer("values").unwrap();
                another(network, |graph, _| graph.read(values, 1));
            },
            &without(1),
        );
    }
}
