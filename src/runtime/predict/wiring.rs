//! The graphs and buffers of a Predict network by their names, with the windows that their runs need, made once.

use super::encodings::STATES_MAX;
use crate::graph::{BufferId, GraphId, Network};
use crate::models::predict25::{NEGATIVE, PredictManifest, graph_name};
use crate::models::wan_vae::{ENCODER_STATES, LATENTS_PER_CALL, cache_windows};

/// A graph of the VAE, with the windows of its caches and, last, of its latents.
#[derive(Debug)]
pub(super) struct CodecGraph {
    pub(super) id: GraphId,
    windows: Vec<Vec<(BufferId, usize)>>,
}

impl CodecGraph {
    fn new(network: &Network, name: &str, latents: BufferId, n_states: usize) -> Result<Self, String> {
        let id = graph(network, name)?;
        let windows = (0..n_states).map(|state| {
            let mut windows = cache_windows(network, id, state);
            windows.push((latents, 0));
            windows
        });
        Ok(CodecGraph { id, windows: windows.collect() })
    }

    /// The windows of clip `state` whose latents begin at `row`.
    pub(super) fn windows(&mut self, state: usize, row: usize) -> &[(BufferId, usize)] {
        let windows = &mut self.windows[state];
        windows.last_mut().expect("the latents' own is last").1 = row;
        windows
    }
}

/// Ids and windows, looked up once.
#[derive(Debug)]
pub(super) struct Wiring {
    pub(super) encode_first: CodecGraph,
    pub(super) encode_step: CodecGraph,
    pub(super) decode_first: CodecGraph,
    pub(super) decode_step: CodecGraph,
    pub(super) denoise: GraphId,
    /// For each of the manifest's texts.
    pub(super) texts: Vec<GraphId>,
    pub(super) frames: BufferId,
    pub(super) pixels: BufferId,
    pub(super) encoded: BufferId,
    pub(super) latents: BufferId,
    pub(super) patches: BufferId,
    pub(super) positions: BufferId,
    pub(super) mask: BufferId,
    pub(super) timesteps: BufferId,
    pub(super) actions: Option<BufferId>,
    pub(super) velocity: BufferId,
    /// The rows of keys and values of the text, and of the one to lead away from.
    pub(super) text_windows: [Vec<(BufferId, usize)>; 2],
    /// Whether texts differ in length, so that a run must say which.
    pub(super) text_extent: bool,
    /// Latents that one run of the VAE takes.
    pub(super) latents_per_call: usize,
    /// Clips whose encoder caches are held.
    pub(super) encoder_states: usize,
}

impl Wiring {
    /// Finds everything in a network that the manifest has been checked against.
    ///
    /// # Errors
    /// What is missing, in words.
    pub(super) fn new(network: &Network, manifest: &PredictManifest) -> Result<Self, String> {
        let buffer = |name: &str| network.buffer(name).ok_or(format!("it has no buffer `{name}`"));
        let limit = |name: &str| network.limit(name).ok_or(format!("it has no limit `{name}`"));
        let (encoded, latents) = (buffer("encoded")?, buffer("latents")?);
        let encoder_states = limit(ENCODER_STATES)?.clamp(1, STATES_MAX);
        let denoise = graph(network, "denoise")?;
        let ids = || network.buffers.iter().enumerate().map(|(i, b)| (BufferId(i as u32), b));
        let caches = || ids().filter(|(_, b)| b.name.starts_with("text."));
        let negative = usize::from(manifest.texts.iter().any(|t| t.name == NEGATIVE));
        let second = caches().map(|(id, b)| (id, negative * (b.shape[0] / (1 + negative))));
        let texts = manifest.texts.iter().map(|t| graph(network, &graph_name(&t.name)));
        Ok(Self {
            encode_first: CodecGraph::new(network, "encode_first", encoded, encoder_states)?,
            encode_step: CodecGraph::new(network, "encode_step", encoded, encoder_states)?,
            decode_first: CodecGraph::new(network, "decode_first", latents, 1)?,
            decode_step: CodecGraph::new(network, "decode_step", latents, 1)?,
            denoise,
            texts: texts.collect::<Result<_, _>>()?,
            frames: buffer("frames")?,
            pixels: buffer("pixels")?,
            encoded,
            latents,
            patches: buffer("patches")?,
            positions: buffer("positions")?,
            mask: buffer("mask")?,
            timesteps: buffer("timesteps")?,
            actions: network.buffer("actions"),
            velocity: buffer("velocity")?,
            text_windows: [caches().map(|(id, _)| (id, 0)).collect(), second.collect()],
            text_extent: network.graphs[denoise.index()].dims.len() == 2,
            latents_per_call: limit(LATENTS_PER_CALL)?.clamp(1, manifest.latents.n_latents),
            encoder_states,
        })
    }
}

fn graph(network: &Network, name: &str) -> Result<GraphId, String> {
    network.graph(name).ok_or(format!("it has no graph `{name}`"))
}
