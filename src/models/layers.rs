//! The layers that every family has, declared by the names of their weights.
//!
//! Weights are declared in one type, the one that a checkpoint of the config would be written in: a network needs no checkpoint. When
//! one is read, each weight takes the type in which it is found.

use crate::graph::{Dim, GraphBuilder, Op, ValueId, WeightId};
use crate::tensor::DType;

/// Declares weights of one part of a network.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layers {
    /// Whose weights they are.
    pub(super) part: &'static str,
    /// Their type.
    pub(super) dtype: DType,
}

impl Layers {
    /// Declares a weight, or finds it: graphs share weights by name.
    pub(super) fn weight(self, graph: &mut GraphBuilder<'_>, name: &str, shape: &[usize]) -> WeightId {
        graph.network.declare_weight(self.part, name, self.dtype, shape)
    }

    /// Values that are no checkpoint's, as f32.
    pub(super) fn constant(self, graph: &mut GraphBuilder<'_>, name: &str, shape: &[usize]) -> ValueId {
        let weight = graph.network.declare_weight(self.part, name, DType::F32, shape);
        graph.add(Op::Constant { weight }, &[])
    }

    /// `x Wᵀ` with `NAME.weight`, which is `[n_out, last axis of x]`.
    pub(super) fn linear(
        self,
        graph: &mut GraphBuilder<'_>,
        name: &str,
        x: ValueId,
        n_out: usize,
    ) -> ValueId {
        let weight = self.weight(graph, &format!("{name}.weight"), &[n_out, width(graph, x)]);
        graph.linear(x, weight, None)
    }

    /// `x Wᵀ + b` with `NAME.weight` and `NAME.bias`.
    pub(super) fn biased(
        self,
        graph: &mut GraphBuilder<'_>,
        name: &str,
        x: ValueId,
        n_out: usize,
    ) -> ValueId {
        let weight = self.weight(graph, &format!("{name}.weight"), &[n_out, width(graph, x)]);
        let bias = self.weight(graph, &format!("{name}.bias"), &[n_out]);
        graph.linear(x, weight, Some(bias))
    }

    /// Layer normalisation over the last axis, with `NAME.weight` and `NAME.bias`.
    pub(super) fn layer_norm(
        self,
        graph: &mut GraphBuilder<'_>,
        name: &str,
        x: ValueId,
        eps: f32,
    ) -> ValueId {
        let dim = width(graph, x);
        let weight = Some(self.weight(graph, &format!("{name}.weight"), &[dim]));
        let bias = Some(self.weight(graph, &format!("{name}.bias"), &[dim]));
        graph.add(Op::LayerNorm { weight, bias, eps }, &[x])
    }

    /// Root-mean-square normalisation over the last axis, with `NAME.weight`.
    pub(super) fn rms_norm(self, graph: &mut GraphBuilder<'_>, name: &str, x: ValueId, eps: f32) -> ValueId {
        let dim = width(graph, x);
        let weight = Some(self.weight(graph, &format!("{name}.weight"), &[dim]));
        graph.add(Op::RmsNorm { weight, eps }, &[x])
    }
}

/// The last extent.
fn width(graph: &GraphBuilder<'_>, x: ValueId) -> usize {
    match graph.shape(x).last() {
        Some(Dim::Fixed(n)) => *n,
        other => unreachable!("channels do not vary from run to run: {other:?}"),
    }
}

#[cfg(test)]
#[test]
fn a_weight_is_declared_once_and_found_again() {
    use crate::graph::{Network, Purpose};

    let mut network = Network::default();
    let x = network.declare_buffer("x", DType::F32, &[1, 3], Purpose::Input);
    let mut graph = GraphBuilder::new(&mut network, "twice");
    let layers = Layers { part: "all", dtype: DType::Bf16 };
    let x = graph.read(x, 1);
    let y = layers.biased(&mut graph, "w", x, 3);
    let y = layers.linear(&mut graph, "w", y, 3);
    layers.constant(&mut graph, "c", &[1]);
    assert_eq!(graph.shape(y), [Dim::Fixed(1), Dim::Fixed(3)]);
    let weights: Vec<_> =
        graph.network.weights.iter().map(|w| (&w.name[..], w.dtype, &w.shape[..])).collect();
    let expected =
        [("w.weight", DType::Bf16, &[3, 3][..]), ("w.bias", DType::Bf16, &[3]), ("c", DType::F32, &[1])];
    assert_eq!(weights, expected);
}
