//! The VAE of Cosmos-Predict2 and 2.5 (Wan 2.1, <https://arxiv.org/abs/2503.20314>): frames to latents and back, in calls.
//!
//! Four graphs. `encode_first` takes the first frame of a clip and yields its first latent; `encode_step` takes `4 n` frames and
//! yields `n` latents; `decode_first` and `decode_step` go the other way. What the causal convolutions saw before stands in cache
//! buffers, so `n` latents in one call and `n` calls of one yield the same. A cache has room for several clips
//! (limits `encoder_states`, `decoder_states`), one after the other: a run's windows say whose it is, and [`cache_windows`] makes
//! them. Values are `[t, h, w, c]`; frames are red, green, blue in −1…1; latents are normalised as the denoiser wants them.
//!
//! Why not one graph over a whole clip: unrolled over 61 frames it takes more than a hundred gigabytes to build.

mod blocks;
mod config;
mod names;

pub use config::WanVaeConfig;
pub use names::{FOLDER, rule};

use crate::graph::{BufferId, Dim, GraphBuilder, GraphId, LimitedBy, Network, Purpose};
use crate::models::layers::Layers;
use crate::tensor::DType;

use blocks::Blocks;

/// Frames that become one latent, after a clip's first.
pub const FRAMES_PER_LATENT: usize = 4;

/// The limit on latents of one call; frames and arena follow it.
pub const LATENTS_PER_CALL: &str = "latents_per_call";
/// The limit on clips whose encoder caches are held at a time: the newest, and the one that a forecast was made from.
pub const ENCODER_STATES: &str = "encoder_states";
/// The limit on clips whose decoder caches are held at a time.
pub const DECODER_STATES: &str = "decoder_states";

/// Size of a clip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClipSize {
    /// Of a frame, in pixels.
    pub height: usize,
    /// Of a frame, in pixels.
    pub width: usize,
    /// Latents of the whole clip.
    pub n_latents: usize,
}

/// The windows by which a run of `graph` uses the caches of clip `state`.
pub fn cache_windows(network: &Network, graph: GraphId, state: usize) -> Vec<(BufferId, usize)> {
    let written = network.graphs[graph.index()].writes.iter().map(|w| w.buffer);
    let caches = written.filter(|id| network.buffers[id.index()].purpose == Purpose::Cache);
    // A clip's own rows are where its windows begin.
    caches.map(|id| (id, state * network.buffers[id.index()].window_rows)).collect()
}

/// Adds the four graphs and their buffers: `frames` (in), `encoded` (kept, one row a latent), `latents` (in) and `pixels` (out), all
/// names with `suffix` behind them. `encode_*` read `frames` and write `encoded`; `decode_*` read `latents` and write `pixels`.
///
/// With a suffix, the same weights become graphs of another size. Weights are of part `vae` and this type, under the names that
/// diffusers gives them; [`rule`] says where they stand in a checkpoint.
pub fn build(
    network: &mut Network,
    config: &WanVaeConfig,
    size: ClipSize,
    suffix: &'static str,
    dtype: DType,
) {
    let factor = config.spatial_factor();
    let latent = [size.height / factor, size.width / factor, config.z_dim];
    let frame = [size.height, size.width, 3];
    let [per_call, encoder_states, decoder_states] =
        [(LATENTS_PER_CALL, 1), (ENCODER_STATES, 2), (DECODER_STATES, 1)]
            .map(|(name, value)| limit(network, name, value));
    let in_frames = LimitedBy { mul: FRAMES_PER_LATENT, ..per_call };
    let named = |name: &str| format!("{name}{suffix}");
    network.declare_limited_buffer(&named("frames"), DType::F32, in_frames, &frame, Purpose::Input);
    network.declare_limited_buffer(&named("pixels"), DType::F32, in_frames, &frame, Purpose::Output);
    let whole = [size.n_latents, latent[0], latent[1], latent[2]];
    network.declare_buffer(&named("encoded"), DType::F32, &whole, Purpose::Features);
    network.declare_buffer(&named("latents"), DType::F32, &whole, Purpose::Input);
    let per_call = LimitedBy { cap: Some(size.n_latents), ..per_call };
    for (name, first) in
        [("encode_first", true), ("encode_step", false), ("decode_first", true), ("decode_step", false)]
    {
        let encoder = name.starts_with("encode");
        let mut graph = GraphBuilder::new(network, &named(name));
        let n = if first { 1.into() } else { graph.limited_dim("latents", 1, per_call, 1).into() };
        let states = if encoder { encoder_states } else { decoder_states };
        let layers = Layers { part: "vae", dtype };
        let blocks = Blocks { graph, layers, config, first, states, suffix };
        if encoder { encode(blocks, n) } else { decode(blocks, n) }
    }
}

fn encode(mut blocks: Blocks<'_>, n: Dim) {
    let config = blocks.config;
    let frames = if blocks.first { n } else { n.times(FRAMES_PER_LATENT) };
    let source = blocks.buffer("frames");
    let mut x = blocks.graph.read(source, frames);
    let mut c = config.base_dim;
    x = blocks.causal(x, "encoder.conv_in", 3, c);
    let mut index = 0;
    for (level, mult) in config.dim_mult.iter().enumerate() {
        for _ in 0..config.num_res_blocks {
            x = blocks.residual(x, &format!("encoder.down_blocks.{index}"), c, mult * config.base_dim);
            c = mult * config.base_dim;
            index += 1;
        }
        if let Some(temporal) = config.temporal_downsample.get(level) {
            x = blocks.downsample(x, &format!("encoder.down_blocks.{index}"), c, *temporal);
            index += 1;
        }
    }
    x = blocks.middle(x, "encoder.mid_block", c);
    x = blocks.head(x, "encoder", c, 2 * config.z_dim);
    // Of the posterior only the mean is wanted; its normalisation is folded in.
    x = blocks.layers.biased(&mut blocks.graph, "quant_conv", x, config.z_dim);
    let target = blocks.buffer("encoded");
    blocks.graph.write(target, x);
    blocks.graph.finish();
}

fn decode(mut blocks: Blocks<'_>, n: Dim) {
    let config = blocks.config;
    let source = blocks.buffer("latents");
    let mut x = blocks.graph.read(source, n);
    // The way back from normalised latents is folded in.
    x = blocks.layers.biased(&mut blocks.graph, "post_quant_conv", x, config.z_dim);
    let dims: Vec<usize> = config.dim_mult.iter().rev().map(|m| m * config.decoder_base_dim).collect();
    let mut c = dims[0];
    x = blocks.causal(x, "decoder.conv_in", config.z_dim, c);
    x = blocks.middle(x, "decoder.mid_block", c);
    for (level, dim) in dims.iter().enumerate() {
        let name = format!("decoder.up_blocks.{level}");
        for i in 0..=config.num_res_blocks {
            x = blocks.residual(x, &format!("{name}.resnets.{i}"), c, *dim);
            c = *dim;
        }
        // The decoder doubles where the encoder halved, from the last level back.
        if let Some(temporal) = config.temporal_downsample.iter().rev().nth(level) {
            x = blocks.upsample(x, &format!("{name}.upsamplers.0"), c, *temporal);
            c /= 2;
        }
    }
    x = blocks.head(x, "decoder", c, 3);
    let target = blocks.buffer("pixels");
    blocks.graph.write(target, x);
    blocks.graph.finish();
}

/// A limit, declared once however many sizes there are.
fn limit(network: &mut Network, name: &str, value: usize) -> LimitedBy {
    match network.limits.iter().position(|l| l.name == name) {
        Some(i) => LimitedBy { limit: i as u16, mul: 1, cap: None },
        None => network.declare_limit(name, value),
    }
}
