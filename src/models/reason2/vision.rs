//! The vision encoder: a group of frames in patches becomes visual tokens, and DeepStack taps of earlier blocks (Meng et al. 2024,
//! <https://arxiv.org/abs/2406.04334>).

use super::common_terms::{INPUT, LAYER_NORM_EPS, PATCH_EMBEDDING, inverse_frequencies};
use super::{Reason2Config, VisionConfig};
use crate::graph::{
    Binary, BufferId, Dim, GraphBuilder, LimitedBy, Network, Op, Purpose, RotaryStyle, Unary, ValueId,
};
use crate::models::layers::Layers;
use crate::tensor::DType;

/// The buffers of the vision encoder.
pub(super) struct Vision {
    patches: BufferId,
    position_index: BufferId,
    position_share: BufferId,
    patch_positions: BufferId,
    /// The visual tokens, then the taps.
    features: Vec<BufferId>,
    n_patches_max: LimitedBy,
}

impl Vision {
    pub(super) fn declare(
        config: &Reason2Config,
        network: &mut Network,
        context: LimitedBy,
        image_tokens: LimitedBy,
    ) -> Self {
        let vision = &config.vision;
        let rows = LimitedBy { mul: vision.spatial_merge_size.pow(2), ..image_tokens };
        let mut input =
            |name: &str, dtype, row: &[usize]| network.declare_limited_buffer(name, dtype, rows, row, INPUT);
        let patches = input("patches", DType::F32, &[patch_len(vision)]);
        let position_index = input("position_index", DType::I32, &[4]);
        let position_share = input("position_share", DType::F32, &[4]);
        let patch_positions = input("patch_positions", DType::I32, &[2]);
        let names = std::iter::once("visual_features".to_owned())
            .chain((0..vision.deepstack_layers.len()).map(|i| format!("deepstack.{i}")));
        let row = [vision.out_hidden_size];
        let features = names
            .map(|n| network.declare_limited_buffer(&n, DType::F32, context, &row, Purpose::Features))
            .collect();
        let n_patches_max = rows;
        Vision { patches, position_index, position_share, patch_positions, features, n_patches_max }
    }

    pub(super) fn features(&self) -> &[BufferId] {
        &self.features
    }

    pub(super) fn graph(&self, config: &Reason2Config, network: &mut Network, layers: Layers) {
        let vision = &config.vision;
        let merged = vision.spatial_merge_size.pow(2);
        let mut graph = GraphBuilder::new(network, "vision");
        let n = graph.limited_dim("n_patches", merged, self.n_patches_max, merged);

        let patches = graph.read(self.patches, n);
        let weight = layers.weight(&mut graph, PATCH_EMBEDDING, &[vision.hidden_size, patch_len(vision)]);
        let bias = layers.weight(&mut graph, "model.visual.patch_embed.proj.bias", &[vision.hidden_size]);
        let embedded = graph.linear(patches, weight, Some(bias));
        let index = graph.read(self.position_index, n);
        let share = graph.read(self.position_share, n);
        let table = [vision.position_grid_side.pow(2), vision.hidden_size];
        let table = layers.weight(&mut graph, "model.visual.pos_embed.weight", &table);
        let learned = graph.add(Op::InterpolateRows { weight: table }, &[index, share]);
        let mut x = graph.add(Op::Binary { function: Binary::Add }, &[embedded, learned]);

        let positions = graph.read(self.patch_positions, n);
        let rotation = graph.add(rotary_table(vision), &[positions]);
        for block in 0..vision.depth {
            x = encoder_block(vision, &mut graph, layers, block, x, rotation, n.into());
            if let Some(tap) = vision.deepstack_layers.iter().position(|b| *b == block) {
                let name = format!("model.visual.deepstack_merger_list.{tap}");
                let value = merger(vision, &mut graph, layers, &name, x, n.into(), true);
                graph.write(self.features[1 + tap], value);
            }
        }
        let value = merger(vision, &mut graph, layers, "model.visual.merger", x, n.into(), false);
        graph.write(self.features[0], value);
        graph.finish();
    }
}

/// Numbers in a patch: channels, frames, rows, columns.
fn patch_len(vision: &VisionConfig) -> usize {
    vision.in_channels * vision.temporal_patch_size * vision.patch_size.pow(2)
}

/// A quarter of a head turns by the patch's row, a quarter by its column; the other half are their partners.
fn rotary_table(vision: &VisionConfig) -> Op {
    let head_dim = vision.hidden_size / vision.n_heads;
    let of_an_axis = inverse_frequencies(vision.rope_theta, head_dim / 4, head_dim / 2);
    let axis = [vec![0; head_dim / 4], vec![1; head_dim / 4]].concat();
    Op::RotaryTable { axis, inverse_frequency: [&of_an_axis[..], &of_an_axis].concat() }
}

fn encoder_block(
    vision: &VisionConfig,
    graph: &mut GraphBuilder<'_>,
    layers: Layers,
    block: usize,
    x: ValueId,
    rotation: ValueId,
    n: Dim,
) -> ValueId {
    let (dim, heads) = (vision.hidden_size, vision.n_heads);
    let name = |part: &str| format!("model.visual.blocks.{block}.{part}");
    let add = Op::Binary { function: Binary::Add };

    let normed = layers.layer_norm(graph, &name("norm1"), x, LAYER_NORM_EPS);
    let qkv = layers.biased(graph, &name("attn.qkv"), normed, 3 * dim);
    let [q, k, v] = [0, 1, 2].map(|i| {
        let part = graph.add(Op::Slice { axis: 1, start: (i * dim).into(), len: dim.into() }, &[qkv]);
        graph.reshape(part, &[n, heads.into(), (dim / heads).into()])
    });
    let [q, k] = [q, k].map(|x| graph.add(Op::Rotary { style: RotaryStyle::Halves }, &[x, rotation]));
    let scale = ((dim / heads) as f64).powf(-0.5) as f32;
    let attended = graph.add(Op::Attention { scale }, &[q, k, v]);
    let attended = graph.reshape(attended, &[n, dim.into()]);
    let projected = layers.biased(graph, &name("attn.proj"), attended, dim);
    let x = graph.add(add.clone(), &[x, projected]);

    let normed = layers.layer_norm(graph, &name("norm2"), x, LAYER_NORM_EPS);
    let wide = layers.biased(graph, &name("mlp.linear_fc1"), normed, vision.intermediate_size);
    let wide = graph.add(Op::Unary { function: Unary::GeluTanh }, &[wide]);
    let out = layers.biased(graph, &name("mlp.linear_fc2"), wide, dim);
    graph.add(add, &[x, out])
}

/// A square of patches, which lie one after the other, becomes one token. The encoder's own merger normalises patches, those of
/// the taps whole squares.
fn merger(
    vision: &VisionConfig,
    graph: &mut GraphBuilder<'_>,
    layers: Layers,
    name: &str,
    x: ValueId,
    n: Dim,
    normalise_squares: bool,
) -> ValueId {
    let merged = vision.spatial_merge_size.pow(2);
    let dim = vision.hidden_size * merged;
    let norm = format!("{name}.norm");
    let squares = |graph: &mut GraphBuilder<'_>, x| graph.reshape(x, &[n.over(merged), dim.into()]);
    let x = if normalise_squares {
        let x = squares(graph, x);
        layers.layer_norm(graph, &norm, x, LAYER_NORM_EPS)
    } else {
        let x = layers.layer_norm(graph, &norm, x, LAYER_NORM_EPS);
        squares(graph, x)
    };
    let x = layers.biased(graph, &format!("{name}.linear_fc1"), x, dim);
    let x = graph.add(Op::Unary { function: Unary::GeluErf }, &[x]);
    layers.biased(graph, &format!("{name}.linear_fc2"), x, vision.out_hidden_size)
}
