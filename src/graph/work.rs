//! How much a run of a graph computes, and how much it must move at the least.
//!
//! For estimates: what a device could reach, were nothing lost. So a weight is counted once a run, values between ops are not counted as
//! moved at all (a backend may keep them on the chip), and of products only the products themselves.

use super::{Graph, Network, Node, Op, Purpose, WeightId, WeightUse};

/// What one run computes and moves, all of it counted and nothing of it measured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Multiplications and additions of products: linear layers, convolutions, attention.
    pub matrix_operations: u64,
    /// Elements that other ops compute, the scores that a softmax takes among them.
    pub elements: u64,
    /// Elements read of each weight, in the order of first use.
    pub weights: Vec<WeightWork>,
    /// Elements read and written of caches.
    pub cache_elements: u64,
    /// Elements read and written of other buffers.
    pub buffer_elements: u64,
}

/// What a run reads of one weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeightWork {
    /// Which.
    pub id: WeightId,
    /// As what.
    pub usage: WeightUse,
    /// So many elements.
    pub elements: u64,
}

impl Graph {
    /// What a run of a verified graph computes and moves at these extents, which stand in the order of its dims.
    ///
    /// # Panics
    /// If there are fewer extents than dims.
    pub fn work(&self, network: &Network, extents: &[usize]) -> Work {
        let mut work = Work::default();
        for node in &self.nodes {
            work.add(self, network, node, extents);
        }
        for write in &self.writes {
            work.moves(network, write.buffer.index(), self.nodes[write.value.index()].elements(extents));
        }
        work
    }
}

impl Node {
    fn elements(&self, extents: &[usize]) -> u64 {
        product(self.shape.iter().map(|dim| dim.value(extents)))
    }
}

impl Work {
    fn add(&mut self, graph: &Graph, network: &Network, node: &Node, extents: &[usize]) {
        let out = node.elements(extents);
        let input = |i: usize| &graph.nodes[node.inputs[i].index()];
        let axis = |i: usize, from_end: usize| {
            let shape = &input(i).shape;
            shape[shape.len() - from_end].value(extents) as u64
        };
        let (mut products, mut elements) = (0, 0);
        match &node.op {
            Op::Linear { weight, bias } | Op::Conv3d { weight, bias, .. } => {
                let shape = &network.weights[weight.index()].shape;
                products = 2 * out.saturating_mul(product(shape[1..].iter().copied()));
                elements = if bias.is_some() { out } else { 0 };
            }
            Op::Attention { .. } => {
                let keys = axis(1, 3);
                products = 4 * out.saturating_mul(keys);
                // One score for each query, head and key.
                elements = (out / axis(0, 1)).saturating_mul(keys);
            }
            Op::CachedAttention { key_cache, value_cache, past, .. } => {
                let (n, past) = (axis(0, 3), extents[usize::from(past.0)] as u64);
                // Token `i` of `n` attends to `past + i + 1` rows.
                let keys = n * past + n * (n + 1) / 2;
                let of_token = out / n;
                products = 4 * of_token.saturating_mul(keys);
                elements = (of_token / axis(0, 1)).saturating_mul(keys);
                for cache in [key_cache, value_cache] {
                    let row = network.buffers[cache.index()].row_len() as u64;
                    // Written are the new ones, read are all.
                    self.moves(network, cache.index(), (n + past + n).saturating_mul(row));
                }
            }
            Op::InterpolateRows { .. } => elements = out.saturating_mul(axis(0, 1)),
            Op::Read { buffer } => self.moves(network, buffer.index(), out),
            Op::RmsNorm { .. }
            | Op::LayerNorm { .. }
            | Op::Unary { .. }
            | Op::Binary { .. }
            | Op::Affine { .. }
            | Op::RotaryTable { .. }
            | Op::Rotary { .. }
            | Op::SelectRows { .. }
            | Op::Sinusoid { .. } => elements = out,
            // They name or place what is there.
            Op::Constant { .. }
            | Op::Embedding { .. }
            | Op::LastRow
            | Op::Reshape { .. }
            | Op::Transpose { .. }
            | Op::Concat { .. }
            | Op::Slice { .. }
            | Op::Upsample { .. } => {}
        }
        self.matrix_operations = self.matrix_operations.saturating_add(products);
        self.elements = self.elements.saturating_add(elements);
        for touched in node.op.weights() {
            let whole = product(network.weights[touched.id.index()].shape.iter().copied());
            let read = if touched.usage == WeightUse::Table { out.min(whole) } else { whole };
            match self.weights.iter_mut().find(|known| known.id == touched.id && known.usage == touched.usage)
            {
                Some(known) => known.elements = known.elements.saturating_add(read).min(whole),
                None => {
                    self.weights.push(WeightWork { id: touched.id, usage: touched.usage, elements: read })
                }
            }
        }
    }

    fn moves(&mut self, network: &Network, buffer: usize, elements: u64) {
        let of = match network.buffers[buffer].purpose {
            Purpose::Cache => &mut self.cache_elements,
            Purpose::Input | Purpose::Output | Purpose::Features => &mut self.buffer_elements,
        };
        *of = of.saturating_add(elements);
    }
}

fn product(extents: impl Iterator<Item = usize>) -> u64 {
    extents.fold(1, |product, extent| product.saturating_mul(extent as u64))
}

#[cfg(test)]
mod tests {
    use super::super::{Dim, GraphBuilder};
    use super::*;
    use crate::tensor::DType;

    #[test]
    fn a_small_graph_is_counted_as_by_hand() {
        let mut network = Network::default();
        let ids = network.declare_buffer("ids", DType::I32, &[8], Purpose::Input);
        let keys = network.declare_buffer("keys", DType::F32, &[16, 1, 4], Purpose::Cache);
        let values = network.declare_buffer("values", DType::F32, &[16, 1, 4], Purpose::Cache);
        let y = network.declare_buffer("y", DType::F32, &[8, 3], Purpose::Output);
        let table = network.declare_weight("all", "table", DType::F32, &[100, 8]);
        let narrow = network.declare_weight("all", "narrow", DType::F32, &[4, 8]);
        let last = network.declare_weight("all", "last", DType::F32, &[3, 8]);
        let bias = network.declare_weight("all", "bias", DType::F32, &[3]);
        let mut graph = GraphBuilder::new(&mut network, "main");
        let n = graph.dim("n", 1, 8, 1);
        let past = graph.dim("past", 0, 8, 1);
        let ids = graph.read(ids, n);
        let x = graph.add(Op::Embedding { weight: table }, &[ids]);
        let heads = |h: usize| Op::Reshape { shape: vec![n.into(), h.into(), Dim::Fixed(4)] };
        let q = graph.add(heads(2), &[x]);
        let k = graph.add(Op::Linear { weight: narrow, bias: None }, &[x]);
        let k = graph.add(heads(1), &[k]);
        let attention = Op::CachedAttention { key_cache: keys, value_cache: values, past, scale: 1.0 };
        let a = graph.add(attention, &[q, k, k]);
        let a = graph.add(Op::Reshape { shape: vec![n.into(), Dim::Fixed(8)] }, &[a]);
        let out = graph.add(Op::Linear { weight: last, bias: Some(bias) }, &[a]);
        graph.write(y, out);
        graph.finish();
        network.verify().unwrap();

        // Three tokens after five: rows attended to are 6 + 7 + 8 = 21, by two heads of four.
        let work = network.graphs[0].work(&network, &[3, 5]);
        assert_eq!(work.matrix_operations, 2 * 3 * 4 * 8 + 2 * 2 * 2 * 4 * 21 + 2 * 3 * 3 * 8);
        assert_eq!(work.elements, 2 * 21 + 3 * 3);
        // Of the table three rows, of everything else the whole.
        let weights: Vec<_> = work.weights.iter().map(|w| (w.id, w.elements)).collect();
        assert_eq!(weights, [(table, 3 * 8), (narrow, 4 * 8), (last, 3 * 8), (bias, 3)]);
        // Keys and values: three rows written, eight read.
        assert_eq!(work.cache_elements, 2 * (3 + 8) * 4);
        assert_eq!(work.buffer_elements, 3 + 3 * 3);
    }

    #[test]
    fn a_convolution_counts_every_tap_of_every_place() {
        let mut network = Network::default();
        let x = network.declare_buffer("x", DType::F32, &[2, 4, 6, 3], Purpose::Input);
        let y = network.declare_buffer("y", DType::F32, &[2, 2, 3, 5], Purpose::Output);
        let weight = network.declare_weight("all", "w", DType::F32, &[5, 1, 2, 2, 3]);
        let mut graph = GraphBuilder::new(&mut network, "main");
        let x = graph.read(x, 2);
        let conv = Op::Conv3d { weight, bias: None, stride: [1, 2, 2], padding: [[0, 0]; 3] };
        let out = graph.add(conv, &[x]);
        graph.write(y, out);
        graph.finish();
        network.verify().unwrap();
        let work = network.graphs[0].work(&network, &[]);
        assert_eq!(work.matrix_operations, 2 * (2 * 2 * 3 * 5) * (2 * 2 * 3));
        assert_eq!((work.elements, work.buffer_elements), (0, 2 * 4 * 6 * 3 + 2 * 2 * 3 * 5));
    }
}
