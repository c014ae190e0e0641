//! The denoiser as two kinds of graphs: `denoise`, one call of the network, and one `text_NAME` for each text, which computes what
//! cross-attention sees of it once for all calls.
//!
//! Timesteps belong to frames, not to patches: shifts, scales and gates are computed for each frame and shared by its patches. The
//! condition mask is one value for a frame, so its input channel becomes a vector added to the patches of given frames; the padding
//! mask is zero everywhere in every pipeline, so its channel is dropped.

use super::{ActionSpan, Actions, DenoiserConfig, PATCH, TextEntry, graph_name, positions};
use crate::graph::{Binary, BufferId, Dim, GraphBuilder, Network, Op, Purpose, RotaryStyle, Unary, ValueId};
use crate::models::layers::Layers;
use crate::models::wan_vae::FRAMES_PER_LATENT;
use crate::tensor::DType;

/// Of the norms of queries and keys, which the config does not name.
const QK_NORM_EPS: f32 = 1e-5;
/// Of the norms before attention and perceptron, and of the timestep's.
const NORM_EPS: f32 = 1e-6;

/// What the denoiser's graphs are built from.
#[derive(Clone, Copy)]
pub(super) struct Parts<'n> {
    pub(super) layers: Layers,
    pub(super) config: &'n DenoiserConfig,
    /// Frames, rows and columns of patches.
    pub(super) grid: [usize; 3],
}

/// Adds `text_NAME` for each text, and the buffers of keys and values that they fill: as many rows as the longest text has tokens,
/// once for each of `n_sets` texts that a step asks for.
pub(super) fn build_texts(parts: Parts<'_>, network: &mut Network, texts: &[TextEntry], n_sets: usize) {
    let config = parts.config;
    let rows_of_a_set = texts.iter().map(|t| t.n_tokens).max().expect("there is a text");
    for layer in 0..config.n_layers {
        for kind in ["key", "value"] {
            let shape = [n_sets * rows_of_a_set, config.n_heads, config.head_dim];
            let name = format!("text.{layer}.{kind}");
            let cache = network.declare_buffer(&name, DType::F32, &shape, Purpose::Cache);
            network.keep_windows(cache, rows_of_a_set);
        }
    }
    for text in texts {
        let mut graph = GraphBuilder::new(network, &graph_name(&text.name));
        let name = format!("text.{}", text.name);
        let tokens = parts.layers.constant(&mut graph, &name, &[text.n_tokens, config.text_dim]);
        for layer in 0..config.n_layers {
            let name = format!("transformer_blocks.{layer}.attn2");
            let k = parts.layers.linear(&mut graph, &format!("{name}.to_k"), tokens, config.width());
            let k = parts.heads(&mut graph, k, text.n_tokens);
            let k = parts.head_norm(&mut graph, k, &format!("{name}.norm_k"));
            let v = parts.layers.linear(&mut graph, &format!("{name}.to_v"), tokens, config.width());
            let v = parts.heads(&mut graph, v, text.n_tokens);
            for (kind, value) in [("key", k), ("value", v)] {
                let target = buffer(graph.network, &format!("text.{layer}.{kind}"));
                graph.write(target, value);
            }
        }
        graph.finish();
    }
}

/// Adds `denoise`. It reads `patches`, one row for each patch of 2×2 latents, frame by frame, elements in the order (row, column,
/// channel), with given frames clean in place; `positions` (see [`positions::places`]); `mask` and `timesteps`, one row a frame; and
/// `actions`, where there are such. It writes `velocity`, rows as `patches`. The extent `n_patches` counts those of one frame.
pub(super) fn build_denoise(
    parts: Parts<'_>,
    network: &mut Network,
    n_text_tokens: (usize, usize),
    actions: Option<&Actions>,
) {
    let config = parts.config;
    let [t, rows, columns] = parts.grid;
    let (n_patches_max, width) = (rows * columns, config.width());
    let n_values = PATCH * PATCH * config.channels;
    let input = |network: &mut Network, name: &str, shape: &[usize]| {
        network.declare_buffer(name, DType::F32, shape, Purpose::Input)
    };
    let patches = input(network, "patches", &[t * n_patches_max, n_values]);
    let positions = input(network, "positions", &[t * n_patches_max, 3]);
    let mask = input(network, "mask", &[t, 1]);
    let timesteps = input(network, "timesteps", &[t]);
    let actions = actions.map(|actions| {
        (input(network, "actions", &[(t - 1) * FRAMES_PER_LATENT, actions.names.len()]), actions)
    });
    let velocity =
        network.declare_buffer("velocity", DType::F32, &[t * n_patches_max, n_values], Purpose::Output);

    let mut graph = GraphBuilder::new(network, "denoise");
    let text: Dim = match n_text_tokens {
        (min, max) if min == max => max.into(),
        (min, max) => graph.dim("text_tokens", min, max, 1).into(),
    };
    let n_patches: Dim = graph.dim("n_patches", 1, n_patches_max, 1).into();
    let (axis, inverse_frequency) = positions::frequencies(config);
    let positions = graph.read(positions, n_patches.times(t));
    let rotary = graph.add(Op::RotaryTable { axis, inverse_frequency }, &[positions]);
    let mask = graph.read(mask, t);
    let mut x = parts.embed(&mut graph, patches, n_patches, mask);
    let time = parts.time(&mut graph, timesteps, mask, actions);
    for layer in 0..config.n_layers {
        let name = format!("transformer_blocks.{layer}");

        let [shift, scale, gate] = parts.modulation(&mut graph, &time, &format!("{name}.norm1"));
        let y = parts.modulated_norm(&mut graph, x, shift, scale);
        let y = parts.self_attention(&mut graph, y, &format!("{name}.attn1"), rotary);
        x = gated_sum(&mut graph, x, y, gate);

        let [shift, scale, gate] = parts.modulation(&mut graph, &time, &format!("{name}.norm2"));
        let y = parts.modulated_norm(&mut graph, x, shift, scale);
        let y = parts.text_attention(&mut graph, y, &format!("{name}.attn2"), layer, text);
        x = gated_sum(&mut graph, x, y, gate);

        let [shift, scale, gate] = parts.modulation(&mut graph, &time, &format!("{name}.norm3"));
        let y = parts.modulated_norm(&mut graph, x, shift, scale);
        let y = parts.layers.linear(&mut graph, &format!("{name}.ff.net.0.proj"), y, config.mlp_dim);
        let y = graph.add(Op::Unary { function: Unary::GeluErf }, &[y]);
        let y = parts.layers.linear(&mut graph, &format!("{name}.ff.net.2"), y, width);
        x = gated_sum(&mut graph, x, y, gate);
    }
    let [shift, scale] = parts.modulation(&mut graph, &time, "norm_out");
    let y = parts.modulated_norm(&mut graph, x, shift, scale);
    // The stored rows are already in the order (row, column, channel), while those of the first map are not.
    let y = parts.layers.linear(&mut graph, "proj_out", y, n_values);
    let y = graph.reshape(y, &[n_patches.times(t), n_values.into()]);
    graph.write(velocity, y);
    graph.finish();
}

/// What all modulations are made from, one row a frame.
struct Time {
    /// `silu` of the normalised timestep embedding, `[t, width]`.
    embedded: ValueId,
    /// Shift, scale and gate that every block adds its own to, each `[t, width]`.
    base: [ValueId; 3],
}

impl Parts<'_> {
    /// `[t, n_patches, width]` of the patches, with what the mask's channel adds.
    fn embed(
        self,
        graph: &mut GraphBuilder<'_>,
        patches: BufferId,
        n_patches: Dim,
        mask: ValueId,
    ) -> ValueId {
        let config = self.config;
        let (t, c, width) = (self.grid[0], config.channels, config.width());
        let name = "patch_embed.latent.weight";
        let weight = self.layers.weight(graph, name, &[width, PATCH * PATCH * c]);
        let mask_weight = self.layers.weight(graph, "patch_embed.mask.weight", &[width, 1]);

        let x = graph.read(patches, n_patches.times(t));
        let x = graph.linear(x, weight, None);
        let x = graph.reshape(x, &[t.into(), n_patches, width.into()]);
        let given = graph.linear(mask, mask_weight, None);
        let given = graph.reshape(given, &[t.into(), 1.into(), width.into()]);
        graph.add(Op::Binary { function: Binary::Add }, &[x, given])
    }

    /// The timesteps' embedding and the modulation made from it, with what the actions add to both.
    fn time(
        self,
        graph: &mut GraphBuilder<'_>,
        timesteps: BufferId,
        mask: ValueId,
        actions: Option<(BufferId, &Actions)>,
    ) -> Time {
        let width = self.config.width();
        let half = width / 2;
        let frequency =
            (0..half).map(|j| (-(10_000f64.ln()) as f32 * j as f32 / half as f32).exp()).collect();
        let timesteps = graph.read(timesteps, self.grid[0]);
        let mut embedded = graph.add(Op::Sinusoid { frequency }, &[timesteps]);
        let base = self.layers.linear(graph, "time_embed.t_embedder.linear_1", embedded, width);
        let base = graph.add(Op::Unary { function: Unary::Silu }, &[base]);
        let mut base = self.layers.linear(graph, "time_embed.t_embedder.linear_2", base, 3 * width);
        if let Some((buffer, actions)) = actions {
            let add =
                |graph: &mut GraphBuilder<'_>, a, b| graph.add(Op::Binary { function: Binary::Add }, &[a, b]);
            let [hidden, hidden_3d] = self.config.action_hidden();
            let (name, widths) = ("action_embedder_B_D", [hidden, width]);
            let bias = self.actions(graph, buffer, actions, mask, name, widths);
            embedded = add(graph, embedded, bias);
            let (name, widths) = ("action_embedder_B_3D", [hidden_3d, 3 * width]);
            let bias = self.actions(graph, buffer, actions, mask, name, widths);
            base = add(graph, base, bias);
        }
        let embedded = self.layers.rms_norm(graph, "time_embed.norm", embedded, NORM_EPS);
        let embedded = graph.add(Op::Unary { function: Unary::Silu }, &[embedded]);
        let base = [0, 1, 2].map(|i| part(graph, base, i, width));
        Time { embedded, base }
    }

    /// A perceptron over the actions: one row for the clip, or one a latent, zero for given ones.
    fn actions(
        self,
        graph: &mut GraphBuilder<'_>,
        buffer: BufferId,
        actions: &Actions,
        mask: ValueId,
        name: &str,
        [hidden, n_out]: [usize; 2],
    ) -> ValueId {
        let t = self.grid[0];
        let n_rows = graph.network.buffers[buffer.index()].shape[0];
        let x = graph.read(buffer, n_rows);
        let (groups, n_in) = match actions.span {
            ActionSpan::Clip => (1, n_rows * actions.names.len()),
            ActionSpan::Latent => (t - 1, FRAMES_PER_LATENT * actions.names.len()),
        };
        let x = graph.reshape(x, &[groups.into(), n_in.into()]);
        let x = self.layers.biased(graph, &format!("{name}.fc1"), x, hidden);
        let x = graph.add(Op::Unary { function: Unary::GeluTanh }, &[x]);
        let x = self.layers.biased(graph, &format!("{name}.fc2"), x, n_out);
        if actions.span == ActionSpan::Clip {
            return x;
        }
        let zeros = self.layers.constant(graph, &format!("{name}.first"), &[1, n_out]);
        let x = graph.add(Op::Concat { axis: 0 }, &[zeros, x]);
        let not_given = graph.add(Op::Affine { mul: -1.0, add: 1.0 }, &[mask]);
        graph.add(Op::Binary { function: Binary::Mul }, &[x, not_given])
    }

    /// Shift, scale (and gate) of a norm, each `[t, 1, width]`: a map of low rank of the timestep, added to what all share.
    fn modulation<const N: usize>(
        self,
        graph: &mut GraphBuilder<'_>,
        time: &Time,
        name: &str,
    ) -> [ValueId; N] {
        let (width, rank, t) = (self.config.width(), self.config.adaln_dim, self.grid[0]);
        let own = self.layers.linear(graph, &format!("{name}.linear_1"), time.embedded, rank);
        let own = self.layers.linear(graph, &format!("{name}.linear_2"), own, N * width);
        std::array::from_fn(|i| {
            let own = part(graph, own, i, width);
            let sum = graph.add(Op::Binary { function: Binary::Add }, &[own, time.base[i]]);
            let sum = graph.reshape(sum, &[t.into(), 1.into(), width.into()]);
            // The scale is relative to one.
            if i == 1 { graph.add(Op::Affine { mul: 1.0, add: 1.0 }, &[sum]) } else { sum }
        })
    }

    fn modulated_norm(
        self,
        graph: &mut GraphBuilder<'_>,
        x: ValueId,
        shift: ValueId,
        scale: ValueId,
    ) -> ValueId {
        let x = graph.add(Op::LayerNorm { weight: None, bias: None, eps: NORM_EPS }, &[x]);
        let x = graph.add(Op::Binary { function: Binary::Mul }, &[x, scale]);
        graph.add(Op::Binary { function: Binary::Add }, &[x, shift])
    }

    fn self_attention(
        self,
        graph: &mut GraphBuilder<'_>,
        x: ValueId,
        name: &str,
        rotary: ValueId,
    ) -> ValueId {
        let width = self.config.width();
        let shape = graph.shape(x).to_vec();
        let n = shape[1].times(self.grid[0]);
        let turned = |graph: &mut GraphBuilder<'_>, part: &str| {
            let y = self.layers.linear(graph, &format!("{name}.to_{part}"), x, width);
            let y = self.heads(graph, y, n);
            let y = self.head_norm(graph, y, &format!("{name}.norm_{part}"));
            graph.add(Op::Rotary { style: RotaryStyle::Halves }, &[y, rotary])
        };
        let (q, k) = (turned(graph, "q"), turned(graph, "k"));
        let v = self.layers.linear(graph, &format!("{name}.to_v"), x, width);
        let v = self.heads(graph, v, n);
        self.attend(graph, [q, k, v], &shape, name)
    }

    fn text_attention(
        self,
        graph: &mut GraphBuilder<'_>,
        x: ValueId,
        name: &str,
        layer: usize,
        n_tokens: Dim,
    ) -> ValueId {
        let width = self.config.width();
        let q = self.layers.linear(graph, &format!("{name}.to_q"), x, width);
        let shape = graph.shape(x).to_vec();
        let q = self.heads(graph, q, shape[1].times(self.grid[0]));
        let q = self.head_norm(graph, q, &format!("{name}.norm_q"));
        let [k, v] = ["key", "value"].map(|kind| {
            let source = buffer(graph.network, &format!("text.{layer}.{kind}"));
            graph.read(source, n_tokens)
        });
        self.attend(graph, [q, k, v], &shape, name)
    }

    fn attend(self, graph: &mut GraphBuilder<'_>, qkv: [ValueId; 3], shape: &[Dim], name: &str) -> ValueId {
        let width = self.config.width();
        let scale = (self.config.head_dim as f32).sqrt().recip();
        let y = graph.add(Op::Attention { scale }, &qkv);
        let y = graph.reshape(y, shape);
        self.layers.linear(graph, &format!("{name}.to_out.0"), y, width)
    }

    /// `[n, heads, head_dim]` of `[.., width]`.
    fn heads(self, graph: &mut GraphBuilder<'_>, x: ValueId, n: impl Into<Dim>) -> ValueId {
        graph.reshape(x, &[n.into(), self.config.n_heads.into(), self.config.head_dim.into()])
    }

    fn head_norm(self, graph: &mut GraphBuilder<'_>, x: ValueId, name: &str) -> ValueId {
        self.layers.rms_norm(graph, name, x, QK_NORM_EPS)
    }
}

/// Columns `i · width ..` of `x`.
fn part(graph: &mut GraphBuilder<'_>, x: ValueId, i: usize, width: usize) -> ValueId {
    graph.add(Op::Slice { axis: 1, start: (i * width).into(), len: width.into() }, &[x])
}

fn gated_sum(graph: &mut GraphBuilder<'_>, x: ValueId, y: ValueId, gate: ValueId) -> ValueId {
    let y = graph.add(Op::Binary { function: Binary::Mul }, &[y, gate]);
    graph.add(Op::Binary { function: Binary::Add }, &[x, y])
}

fn buffer(network: &Network, name: &str) -> BufferId {
    network.buffer(name).expect("declared before the graphs")
}
