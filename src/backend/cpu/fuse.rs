//! Which nodes of a graph are computed together.
//!
//! A linear layer or convolution takes what follows it into its epilogue: an activation, a residual sum, a product
//! with a gate. A linear layer of which only parts are used (queries, keys and values from one matrix) becomes one
//! product for each part, over that part's rows of the weight, and the parts need never be copied out.

use std::ops::Range;

use super::kernels::{Epilogue, PANEL_ROWS};
use crate::graph::{Binary, Dim, Graph, Network, Op, ValueId};

/// How the value of a node comes about.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Form {
    /// As its op says.
    Plain,
    /// Within the nodes that use it; it does not exist by itself.
    Absorbed,
    /// By the linear layer or convolution at another node (or this one), and what follows it.
    Product(Product),
}

/// A linear layer or convolution with its epilogue.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Product {
    /// The node with the weights.
    pub(super) node: usize,
    /// Outputs that are wanted, of all.
    pub(super) outputs: Range<usize>,
    /// What follows.
    pub(super) epilogue: Epilogue<ValueId>,
}

/// Whether each node's value is used, by an effect on a buffer in the end.
pub(super) fn live(graph: &Graph) -> Vec<bool> {
    let mut live = vec![false; graph.nodes.len()];
    for write in &graph.writes {
        live[write.value.index()] = true;
    }
    for (i, node) in graph.nodes.iter().enumerate().rev() {
        live[i] |= node.op.writes().next().is_some();
        if live[i] {
            node.inputs.iter().for_each(|v| live[v.index()] = true);
        }
    }
    live
}

/// The form of each node.
pub(super) fn forms(network: &Network, graph: &Graph, live: &[bool]) -> Vec<Form> {
    let mut fusing =
        Fusing { network, graph, users: users(graph, live), forms: vec![Form::Plain; graph.nodes.len()] };
    for i in (0..graph.nodes.len()).filter(|i| live[*i]) {
        fusing.node(i);
    }
    fusing.forms
}

/// For each value the nodes that use it, once for each use; a write counts as a user that is no node.
fn users(graph: &Graph, live: &[bool]) -> Vec<Vec<usize>> {
    let mut users = vec![Vec::new(); graph.nodes.len()];
    for (i, node) in graph.nodes.iter().enumerate().filter(|(i, _)| live[*i]) {
        node.inputs.iter().for_each(|v| users[v.index()].push(i));
    }
    for write in &graph.writes {
        users[write.value.index()].push(usize::MAX);
    }
    users
}

struct Fusing<'a> {
    network: &'a Network,
    graph: &'a Graph,
    users: Vec<Vec<usize>>,
    forms: Vec<Form>,
}

impl Fusing<'_> {
    fn node(&mut self, i: usize) {
        let node = &self.graph.nodes[i];
        match &node.op {
            Op::Linear { weight, .. } | Op::Conv3d { weight, .. } => {
                let outputs = self.network.weights[weight.index()].shape[0];
                if self.forms[i] == Form::Plain {
                    let whole = Product { node: i, outputs: 0..outputs, epilogue: Epilogue::None };
                    self.forms[i] = Form::Product(whole);
                    self.split(i, outputs);
                }
            }
            Op::Unary { function } => self.absorb(node.inputs[0], i, Epilogue::Unary(*function)),
            Op::Binary { function: function @ (Binary::Add | Binary::Mul) } => {
                let [a, b] = node.inputs[..] else { return };
                if self.graph.nodes[a.index()].shape != self.graph.nodes[b.index()].shape {
                    return;
                }
                let epilogue = |other| match function {
                    Binary::Mul => Epilogue::Mul(other),
                    _ => Epilogue::Add(other),
                };
                // The later of the two, so that the other is there by then.
                let (late, early) = if a < b { (b, a) } else { (a, b) };
                self.absorb(late, i, epilogue(early));
                if self.forms[i] == Form::Plain {
                    self.absorb(early, i, epilogue(late));
                }
            }
            _ => {}
        }
    }

    /// Makes node `into` the product that `value` is, with `epilogue` after it, if nothing else uses the value and
    /// nothing follows it yet.
    fn absorb(&mut self, value: ValueId, into: usize, epilogue: Epilogue<ValueId>) {
        if self.users[value.index()].len() != 1 {
            return;
        }
        let Form::Product(product) = &self.forms[value.index()] else { return };
        if product.epilogue == Epilogue::None {
            self.forms[into] = Form::Product(Product { epilogue, ..product.clone() });
            self.forms[value.index()] = Form::Absorbed;
        }
    }

    /// If all that is used of a linear layer are parts of its outputs, makes each part a product of its own.
    fn split(&mut self, linear: usize, outputs: usize) {
        if !matches!(self.graph.nodes[linear].op, Op::Linear { .. }) {
            return;
        }
        let (mut parts, mut between) = (Vec::new(), Vec::new());
        let mut values = vec![linear];
        while let Some(value) = values.pop() {
            for &user in &self.users[value] {
                match self.graph.nodes.get(user).map(|n| &n.op) {
                    Some(Op::Reshape { .. }) => {
                        between.push(user);
                        values.push(user);
                    }
                    Some(Op::Slice { axis, start, len }) => {
                        let shape = &self.graph.nodes[value].shape;
                        match part(shape, usize::from(*axis), *start, *len, outputs) {
                            Some(range) => parts.push((user, range)),
                            None => return,
                        }
                    }
                    _ => return,
                }
            }
        }
        if parts.is_empty() {
            return;
        }
        for node in between.into_iter().chain([linear]) {
            self.forms[node] = Form::Absorbed;
        }
        for (user, outputs) in parts {
            self.forms[user] = Form::Product(Product { node: linear, outputs, epilogue: Epilogue::None });
        }
    }
}

/// The outputs of a linear layer that a slice of its (reshaped) value keeps, if they are the same whole panels in
/// every row.
fn part(shape: &[Dim], axis: usize, start: Dim, len: Dim, outputs: usize) -> Option<Range<usize>> {
    let (Dim::Fixed(start), Dim::Fixed(len)) = (start, len) else { return None };
    let fixed =
        |dims: &[Dim]| dims.iter().try_fold(1, |n, d| if let Dim::Fixed(d) = d { Some(n * d) } else { None });
    if fixed(&shape[axis..])? != outputs {
        return None;
    }
    let inner = fixed(&shape[axis + 1..])?;
    let range = start * inner..(start + len) * inner;
    (range.start.is_multiple_of(PANEL_ROWS) && !range.is_empty()).then_some(range)
}
