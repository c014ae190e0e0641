//! The golden cases of Predict.
//!
//! The denoiser computes every frame of a clip at a time, so that its smallest extent is one patch of each frame. Where that is more
//! rows than kernels for few of them take, the larger case leaves the denoiser out: in the reference evaluation one call of a model of
//! two billion parameters takes a minute.

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

use super::golden::{LARGER, PlannedStep, SMALLEST};
use crate::graph::{Buffer, Network, Purpose};
use crate::model::GoldenValues::{self, F32};
use crate::models::predict25::{PredictManifest, SMALL, TextEmbedding, places};
use crate::models::wan_vae::FRAMES_PER_LATENT;

/// Golden inputs are the same for every export of a checkpoint.
const GOLDEN_SEED: u64 = 2_026;
/// Rows of the denoiser that the larger case has at least: more than any kernel for few rows takes.
const ROWS_MIN: usize = 5;

/// Random inputs of the cases' steps.
pub(super) struct GoldenInputs<'a> {
    network: &'a Network,
    manifest: &'a PredictManifest,
    texts: &'a [TextEmbedding],
    rng: ChaCha8Rng,
}

impl<'a> GoldenInputs<'a> {
    pub(super) fn new(
        network: &'a Network,
        manifest: &'a PredictManifest,
        texts: &'a [TextEmbedding],
    ) -> Self {
        GoldenInputs { network, manifest, texts, rng: ChaCha8Rng::seed_from_u64(GOLDEN_SEED) }
    }

    /// All cases.
    pub(super) fn cases(mut self) -> Vec<(&'static str, Vec<PlannedStep>)> {
        vec![(SMALLEST, self.smallest()), (LARGER, self.larger())]
    }

    /// Every graph at its smallest extents: two chunks of frames become latents and back, and one patch a frame is denoised.
    fn smallest(&mut self) -> Vec<PlannedStep> {
        let mut steps = vec![
            self.codec("encode_first", ("frames", 1), ("encoded", 1), 0),
            self.codec("encode_step", ("frames", FRAMES_PER_LATENT), ("encoded", 1), 0),
            self.codec("decode_first", ("latents", 1), ("pixels", 1), 0),
            self.codec("decode_step", ("latents", 1), ("pixels", FRAMES_PER_LATENT), 0),
        ];
        // The last text that runs is the one that the denoiser sees.
        let shortest = self.shortest();
        let longer = self.texts.iter().filter(|t| t.name != shortest.name);
        steps.extend(longer.chain([shortest]).map(|text| self.text(text, 0)));
        steps.push(self.denoise(1, 0));
        steps
    }

    /// A second clip beside the first, whose caches and latents have their own windows, and more patches a frame.
    fn larger(&mut self) -> Vec<PlannedStep> {
        let n_latents = self.manifest.latents.n_latents;
        let mut steps = Vec::new();
        if 1 < n_latents {
            // A clip's second latent goes to its second row; the decoder reads its own from there.
            steps.push(self.codec("encode_first", ("frames", 1), ("encoded", 1), 0));
            steps.push(self.codec("encode_step", ("frames", FRAMES_PER_LATENT), ("encoded", 1), 1));
            steps.push(self.codec("decode_step", ("latents", 1), ("pixels", FRAMES_PER_LATENT), 1));
            for step in &mut steps {
                self.use_last_state(step);
            }
        }
        let n_patches_max = self.buffer("patches").shape[0] / n_latents;
        let n_patches = ROWS_MIN.div_ceil(n_latents).min(n_patches_max);
        if 1 < n_patches {
            let shortest = self.shortest();
            let row = self.last_window(&format!("text.{}.key", self.last_layer()));
            steps.push(self.text(shortest, row));
            steps.push(self.denoise(n_patches, row));
        }
        steps
    }

    fn shortest(&self) -> &'a TextEmbedding {
        self.texts.iter().min_by_key(|t| t.n_tokens).expect("there is a text")
    }

    fn last_layer(&self) -> usize {
        let has_layer = |i: &usize| self.network.buffer(&format!("text.{i}.key")).is_some();
        (0..).take_while(has_layer).last().unwrap_or(0)
    }

    fn buffer(&self, name: &str) -> &'a Buffer {
        &self.network.buffers[self.network.buffer(name).expect("built with it").index()]
    }

    /// The row of the last window that a buffer has room for.
    fn last_window(&self, name: &str) -> usize {
        let buffer = self.buffer(name);
        (buffer.shape[0] / buffer.window_rows).saturating_sub(1) * buffer.window_rows
    }

    fn values(&mut self, n: usize) -> GoldenValues {
        F32((0..n).map(|_| self.rng.next_u32() as f32 / 2f32.powi(31) - 1.0).collect())
    }

    /// A run of the VAE whose latent is at row `row`.
    fn codec(&mut self, graph: &str, from: (&str, usize), to: (&str, usize), row: usize) -> PlannedStep {
        let suffix = if self.network.graph(&format!("encode_first{SMALL}")).is_some() { SMALL } else { "" };
        let named = |name: &str| format!("{name}{suffix}");
        let n_values = from.1 * self.buffer(&named(from.0)).row_len();
        let of_latents = [from.0, to.0].into_iter().filter(|name| matches!(*name, "encoded" | "latents"));
        PlannedStep {
            graph: named(graph),
            extents: vec![("latents", 1)],
            windows: of_latents.filter(|_| row != 0).map(|name| (named(name), row)).collect(),
            inputs: vec![(named(from.0), self.values(n_values))],
            outputs: vec![(named(to.0), to.1)],
        }
    }

    /// Has a run of the VAE use the caches of the last clip that there is room for.
    fn use_last_state(&self, step: &mut PlannedStep) {
        let graph = self.network.graph(&step.graph).expect("planned for this network");
        for write in &self.network.graphs[graph.index()].writes {
            let buffer = &self.network.buffers[write.buffer.index()];
            let row = self.last_window(&buffer.name);
            if buffer.purpose == Purpose::Cache && row != 0 {
                step.windows.push((buffer.name.clone(), row));
            }
        }
    }

    /// Keys and values of a text, in the rows from `row` on.
    fn text(&self, text: &TextEmbedding, row: usize) -> PlannedStep {
        let last_layer = self.last_layer();
        let outputs = ["key", "value"].map(|kind| (format!("text.{last_layer}.{kind}"), text.n_tokens));
        PlannedStep {
            graph: text.graph_name(),
            windows: self.text_windows(row),
            outputs: outputs.into(),
            ..PlannedStep::default()
        }
    }

    fn text_windows(&self, row: usize) -> Vec<(String, usize)> {
        let layers = (0..=self.last_layer()).filter(|_| row != 0);
        layers.flat_map(|i| ["key", "value"].map(|kind| (format!("text.{i}.{kind}"), row))).collect()
    }

    /// One call of the denoiser, of so many patches a frame, on the text whose rows begin at `row`.
    fn denoise(&mut self, n_patches: usize, row: usize) -> PlannedStep {
        let manifest = self.manifest;
        let t = manifest.latents.n_latents;
        let n_given = manifest.n_given_latents();
        let of_frames = |f: &dyn Fn(usize) -> f32| F32((0..t).map(f).collect());
        let given = |i: usize| i < n_given;
        let n_rows = t * n_patches;
        let mut inputs = vec![
            ("patches".to_owned(), self.values(n_rows * self.buffer("patches").row_len())),
            ("positions".to_owned(), F32(places([t, 1, n_patches], manifest.clip.rope_fps))),
            ("mask".to_owned(), of_frames(&|i| f32::from(given(i)))),
            ("timesteps".to_owned(), of_frames(&|i| if given(i) { manifest.given_timestep } else { 0.75 })),
        ];
        if let Some(actions) = &manifest.clip.actions {
            let n_values = (manifest.clip.n_frames - 1) * actions.names.len();
            inputs.push(("actions".to_owned(), self.values(n_values)));
        }
        PlannedStep {
            graph: "denoise".to_owned(),
            extents: vec![("n_patches", n_patches), ("text_tokens", self.shortest().n_tokens)],
            windows: self.text_windows(row),
            inputs,
            outputs: vec![("velocity".to_owned(), n_rows)],
        }
    }
}
