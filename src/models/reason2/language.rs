//! The language model: grouped-query attention with normalised queries and keys, SwiGLU (Shazeer 2020,
//! <https://arxiv.org/abs/2002.05202>), interleaved M-RoPE, visual features at visual positions.

use super::common_terms::{EMBEDDING, Head, INPUT, PREFILL_TOKENS_MAX, inverse_frequencies};
use super::{LanguageConfig, Reason2Config};
use crate::graph::{
    Binary, BufferId, Dim, GraphBuilder, LimitedBy, Merge, Network, Op, Purpose, RotaryStyle, Symbol, Unary,
    ValueId, WeightId,
};
use crate::models::layers::Layers;
use crate::tensor::DType;

/// The buffers of the language model.
pub(super) struct Language<'a> {
    tokens: BufferId,
    positions: BufferId,
    visual_index: BufferId,
    /// Keys and values of each layer.
    caches: Vec<(BufferId, BufferId)>,
    hidden: BufferId,
    logits: BufferId,
    /// The visual tokens, then the taps.
    features: &'a [BufferId],
    n_tokens_max: LimitedBy,
}

/// What all layers of one graph share.
struct Tokens {
    n: Dim,
    past: Symbol,
    rotation: ValueId,
}

impl<'a> Language<'a> {
    pub(super) fn declare(
        config: &Reason2Config,
        network: &mut Network,
        context: LimitedBy,
        features: &'a [BufferId],
    ) -> Self {
        let language = &config.language;
        let n_tokens_max = LimitedBy { cap: Some(PREFILL_TOKENS_MAX), ..context };
        let mut input = |name: &str, row: &[usize]| {
            network.declare_limited_buffer(name, DType::I32, n_tokens_max, row, INPUT)
        };
        let tokens = input("tokens", &[]);
        let positions = input("positions", &[3]);
        let visual_index = input("visual_index", &[]);
        let row = [language.n_kv_heads, language.head_dim];
        let mut cache =
            |name: String| network.declare_limited_buffer(&name, DType::F32, context, &row, Purpose::Cache);
        let caches = (0..language.n_layers)
            .map(|i| (cache(format!("key_cache.{i}")), cache(format!("value_cache.{i}"))))
            .collect();
        let hidden =
            network.declare_buffer("hidden", DType::F32, &[1, language.hidden_size], Purpose::Output);
        let logits = network.declare_buffer("logits", DType::F32, &[1, language.vocab_size], Purpose::Output);
        Language { tokens, positions, visual_index, caches, hidden, logits, features, n_tokens_max }
    }

    pub(super) fn prefill(
        &self,
        config: &Reason2Config,
        network: &mut Network,
        layers: Layers,
        context: LimitedBy,
    ) {
        let mut graph = GraphBuilder::new(network, "prefill");
        let n = graph.limited_dim("n_tokens", 1, self.n_tokens_max, 1);
        let past = graph.limited_dim("past", 0, context, 1);
        let n_visual = graph.limited_dim("n_visual", 1, context, 1);
        let (tokens, mut x) = self.begin(config, &mut graph, layers, n.into(), past);
        let index = graph.read(self.visual_index, n);
        let features = graph.read(self.features[0], n_visual);
        x = graph.add(Op::SelectRows { merge: Merge::Replace }, &[x, features, index]);
        for layer in 0..config.language.n_layers {
            x = self.layer(config, &mut graph, layers, layer, x, &tokens);
            if let Some(tap) = self.features.get(1 + layer) {
                let features = graph.read(*tap, n_visual);
                x = graph.add(Op::SelectRows { merge: Merge::Add }, &[x, features, index]);
            }
        }
        let last = graph.add(Op::LastRow, &[x]);
        let hidden = final_norm(config, &mut graph, layers, last);
        graph.write(self.hidden, hidden);
        graph.finish();
    }

    pub(super) fn head(&self, config: &Reason2Config, network: &mut Network, layers: Layers, head: Head) {
        let mut graph = GraphBuilder::new(network, "head");
        let hidden = graph.read(self.hidden, 1);
        let weight = head_weight(config, &mut graph, layers, head);
        let logits = graph.linear(hidden, weight, None);
        graph.write(self.logits, logits);
        graph.finish();
    }

    pub(super) fn decode(
        &self,
        config: &Reason2Config,
        network: &mut Network,
        layers: Layers,
        context: LimitedBy,
        head: Head,
    ) {
        let mut graph = GraphBuilder::new(network, "decode");
        let past = graph.limited_dim("past", 0, context, 1);
        let (tokens, mut x) = self.begin(config, &mut graph, layers, 1.into(), past);
        for layer in 0..config.language.n_layers {
            x = self.layer(config, &mut graph, layers, layer, x, &tokens);
        }
        let hidden = final_norm(config, &mut graph, layers, x);
        let weight = head_weight(config, &mut graph, layers, head);
        let logits = graph.linear(hidden, weight, None);
        graph.write(self.logits, logits);
        graph.finish();
    }

    /// Embedded tokens and the angles of their positions.
    fn begin(
        &self,
        config: &Reason2Config,
        graph: &mut GraphBuilder<'_>,
        layers: Layers,
        n: Dim,
        past: Symbol,
    ) -> (Tokens, ValueId) {
        let language = &config.language;
        let ids = graph.read(self.tokens, n);
        let table = [language.vocab_size, language.hidden_size];
        let weight = layers.weight(graph, EMBEDDING, &table);
        let x = graph.add(Op::Embedding { weight }, &[ids]);
        let positions = graph.read(self.positions, n);
        let rotation = graph.add(rotary_table(language), &[positions]);
        (Tokens { n, past, rotation }, x)
    }

    fn layer(
        &self,
        config: &Reason2Config,
        graph: &mut GraphBuilder<'_>,
        layers: Layers,
        layer: usize,
        x: ValueId,
        tokens: &Tokens,
    ) -> ValueId {
        let language = &config.language;
        let (dim, eps) = (language.hidden_size, language.rms_norm_eps);
        let name = |part: &str| format!("model.language_model.layers.{layer}.{part}");
        let add = Op::Binary { function: Binary::Add };

        let normed = layers.rms_norm(graph, &name("input_layernorm"), x, eps);
        let attended = self.attention(config, graph, layers, layer, normed, tokens);
        let x = graph.add(add.clone(), &[x, attended]);

        let normed = layers.rms_norm(graph, &name("post_attention_layernorm"), x, eps);
        let wide = language.intermediate_size;
        let gate = layers.linear(graph, &name("mlp.gate_proj"), normed, wide);
        let gate = graph.add(Op::Unary { function: Unary::Silu }, &[gate]);
        let up = layers.linear(graph, &name("mlp.up_proj"), normed, wide);
        let gated = graph.add(Op::Binary { function: Binary::Mul }, &[gate, up]);
        let out = layers.linear(graph, &name("mlp.down_proj"), gated, dim);
        graph.add(add, &[x, out])
    }

    fn attention(
        &self,
        config: &Reason2Config,
        graph: &mut GraphBuilder<'_>,
        layers: Layers,
        layer: usize,
        x: ValueId,
        tokens: &Tokens,
    ) -> ValueId {
        let language = &config.language;
        let (n_heads, n_kv_heads, head_dim) = (language.n_heads, language.n_kv_heads, language.head_dim);
        let (biased, eps) = (language.attention_bias, language.rms_norm_eps);
        let name = |part: &str| format!("model.language_model.layers.{layer}.self_attn.{part}");
        let project = |graph: &mut GraphBuilder<'_>, part: &str, x, n_out| match biased {
            true => layers.biased(graph, &name(part), x, n_out),
            false => layers.linear(graph, &name(part), x, n_out),
        };
        let heads = |graph: &mut GraphBuilder<'_>, part: &str, n_heads: usize, norm: Option<&str>| {
            let x = project(graph, part, x, n_heads * head_dim);
            let x = graph.reshape(x, &[tokens.n, n_heads.into(), head_dim.into()]);
            let Some(norm) = norm else { return x };
            let x = layers.rms_norm(graph, &name(norm), x, eps);
            graph.add(Op::Rotary { style: RotaryStyle::Halves }, &[x, tokens.rotation])
        };
        let q = heads(graph, "q_proj", n_heads, Some("q_norm"));
        let k = heads(graph, "k_proj", n_kv_heads, Some("k_norm"));
        let v = heads(graph, "v_proj", n_kv_heads, None);
        let (key_cache, value_cache) = self.caches[layer];
        let scale = (head_dim as f64).powf(-0.5) as f32;
        let attention = Op::CachedAttention { key_cache, value_cache, past: tokens.past, scale };
        let attended = graph.add(attention, &[q, k, v]);
        let attended = graph.reshape(attended, &[tokens.n, (n_heads * head_dim).into()]);
        project(graph, "o_proj", attended, language.hidden_size)
    }
}

/// Interleaved M-RoPE: frequencies turn by time, height, width, time, …; height and width stop when their sections are used up.
fn rotary_table(language: &LanguageConfig) -> Op {
    let half = language.head_dim / 2;
    let [_, height, width] = language.mrope_section;
    let axis = (0..half).map(|i| match i % 3 {
        1 if i < 3 * height => 1,
        2 if i < 3 * width => 2,
        _ => 0,
    });
    let inverse_frequency = inverse_frequencies(language.rope_theta, half, language.head_dim);
    Op::RotaryTable { axis: axis.collect(), inverse_frequency }
}

fn final_norm(config: &Reason2Config, graph: &mut GraphBuilder<'_>, layers: Layers, x: ValueId) -> ValueId {
    let language = &config.language;
    let name = "model.language_model.norm";
    layers.rms_norm(graph, name, x, language.rms_norm_eps)
}

fn head_weight(config: &Reason2Config, graph: &mut GraphBuilder<'_>, layers: Layers, head: Head) -> WeightId {
    let language = &config.language;
    layers.weight(graph, head.weight(), &[language.vocab_size, language.hidden_size])
}
