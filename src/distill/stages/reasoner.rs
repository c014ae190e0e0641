//! A network of Reason as it is trained, with all that says how a question becomes its inputs: what the stages of Reason have in common.

use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Values, check_size, hex};
use crate::checkpoint::{Checkpoint, CheckpointWriter};
use crate::distill::DistillError;
use crate::distill::draw::{Purpose, generator, normal};
use crate::distill::optimizer::{Parameter, Rule};
use crate::distill::recipe::{Recipe, WeightType};
use crate::export::{ReasonOptions, reason_manifest};
use crate::graph::{Network, Weight, WeightId, Weights as _};
use crate::models::names::Names;
use crate::models::reason2::{Head, Limits, Reason2Config, ReasonManifest, Tokenizer, names, network};
use crate::tensor::DType;

/// Deviation of random weights where the config has no `initializer_range`: transformers'.
const DEVIATION: f64 = 0.02;

/// The file that says which tokens there are.
const TOKENIZER: &str = "tokenizer.json";

pub(super) struct Reasoner {
    pub(super) config: Reason2Config,
    pub(super) network: Network,
    pub(super) manifest: ReasonManifest,
    pub(super) tokenizer: Tokenizer,
    names: Names,
    /// Everything beside the weights, as it was read when the run began.
    beside: Vec<(&'static str, Vec<u8>)>,
    deviation: f64,
    /// What a checkpoint's are written in.
    weights: WeightType,
    /// The weights to begin with; none for random ones.
    first: Option<Vec<Vec<f32>>>,
}

impl Reasoner {
    /// The network in the layout of the checkpoint `like`, with the weights of `from` or random ones. `keys` are theirs in the recipe, for
    /// errors.
    pub(super) fn new(
        recipe: &Recipe,
        keys: [&str; 2],
        like: &Path,
        from: Option<&Path>,
    ) -> Result<Reasoner, DistillError> {
        let [key_like, key_from] = keys;
        let wrong = |key: &str, why: &dyn std::fmt::Display| DistillError::Recipe {
            path: recipe.path.clone(),
            why: format!("`{key}`: {why}"),
        };
        let files = Checkpoint::open_configs(&recipe.beside(like)).map_err(|why| wrong(key_like, &why))?;
        let mut config = Reason2Config::parse(files.config()).map_err(|why| wrong(key_like, &why))?;
        let (manifest, tokenizer, _) = reason_manifest(&files, &config, &ReasonOptions::default())
            .map_err(|why| wrong(key_like, &why))?;
        if manifest.stop_token_ids.is_empty() {
            return Err(wrong(
                key_like,
                &"no token ends an answer; expected an `eos_token_id` in generation_config.json",
            ));
        }
        let source = from.map(|from| Checkpoint::open(&recipe.beside(from)));
        let source = source.transpose().map_err(|why| wrong(key_from, &why))?;
        let head = match &source {
            Some(source) => config.head(source.tensors()).map_err(|why| wrong(key_from, &why))?,
            None if config.tie_word_embeddings => Head::Embedding,
            None => Head::Own,
        };
        config.dtype = DType::F32;
        let limits = Limits::default().within(config.language.max_position_embeddings);
        let network = network(&config, limits, head, DType::F32);
        check_size(recipe, &network)?;
        let names = names(&config, &network, head);
        let first = source.map(|source| {
            let folders = [("", source.tensors())];
            Names::expect_no_others(&[&names], &folders)?;
            let constants = names.read(&mut network.clone(), &folders)?;
            let ids = (0..network.weights.len()).map(|i| WeightId(i as u32));
            Ok(ids.map(|id| constants.weight(id).to_f32()).collect())
        });
        let first =
            first.transpose().map_err(|why: crate::checkpoint::CheckpointError| wrong(key_from, &why))?;
        let mut beside = files.configs()?;
        let mut written = files.config().value().clone();
        let weights = recipe.train.weights;
        written["dtype"] = json!(weights.name());
        if head == Head::Own {
            written["tie_word_embeddings"] = json!(false);
        }
        let deviation = deviation(&written);
        let text = format!("{written:#}\n").into_bytes();
        beside.retain(|(name, _)| *name != "config.json");
        beside.push(("config.json", text));
        Ok(Reasoner { config, network, manifest, tokenizer, names, beside, deviation, weights, first })
    }

    /// The digest of what a run learns from besides clips: the layout, and the weights it begins with.
    pub(super) fn inputs(&self) -> String {
        let mut hasher = Sha256::new();
        for (name, content) in &self.beside {
            hasher.update(name.as_bytes());
            hasher.update((content.len() as u64).to_le_bytes());
            hasher.update(content);
        }
        for values in self.first.iter().flatten() {
            hasher.update(bytemuck::cast_slice::<f32, u8>(values));
        }
        hex(hasher)
    }

    /// What another is shown or told otherwise, if it is.
    pub(super) fn differs(&self, other: &Reasoner) -> Option<&'static str> {
        let (a, b) = (&self.manifest, &other.manifest);
        // As it is meant, however it is spaced.
        let tokens = |of: &Reasoner| -> Option<Value> {
            let (_, content) = of.beside.iter().find(|(name, _)| *name == TOKENIZER)?;
            serde_json::from_slice(content).ok()
        };
        match () {
            () if a.preprocess != b.preprocess => Some("pixels"),
            () if tokens(self) != tokens(other) || a.vocab_size != b.vocab_size => Some("tokens"),
            () if a.prompt != b.prompt => Some("prompts"),
            () if a.stop_token_ids != b.stop_token_ids => Some("ends of answers"),
            () => None,
        }
    }

    /// The weights before the first step.
    pub(super) fn parameters(&self, seed: u64) -> Vec<Parameter> {
        let of = |(i, weight): (usize, &Weight)| {
            let values = match &self.first {
                Some(first) => first[i].clone(),
                None => self.random(seed, i, weight),
            };
            Parameter::new(&weight.name, &weight.shape, values, rule(weight))
        };
        self.network.weights.iter().enumerate().map(of).collect()
    }

    /// As transformers begins: normal numbers, norms of one, biases of nought.
    fn random(&self, seed: u64, i: usize, weight: &Weight) -> Vec<f32> {
        let n = weight.shape.iter().product();
        match weight.shape[..] {
            [_] if weight.name.ends_with(".bias") => vec![0.0; n],
            [_] => vec![1.0; n],
            _ => {
                let rng = &mut generator(seed, Purpose::Weights, i as u64);
                normal(rng, n).into_iter().map(|v| v * self.deviation as f32).collect()
            }
        }
    }

    /// Writes a checkpoint with these values of the weights; what stands beside them is what was read.
    pub(super) fn write(&self, values: &[Vec<f32>], dir: &Path) -> Result<(), DistillError> {
        let mut writer = CheckpointWriter::create(dir, None)?.rounding_to(self.weights.dtype());
        for (name, content) in &self.beside {
            writer.file(name, content)?;
        }
        let constants = Values::of(&self.network, values);
        for (_, tensors) in self.names.write(&self.network, &constants, &[]) {
            writer.tensors("model.safetensors", tensors)?;
        }
        Ok(writer.finish()?)
    }
}

/// `initializer_range`, which either config may have.
fn deviation(config: &Value) -> f64 {
    let found = config["text_config"]["initializer_range"].as_f64();
    found.filter(|d| d.is_finite() && 0.0 < *d && *d < 10.0).unwrap_or(DEVIATION)
}

/// What goes in and comes out is no matrix inside.
fn rule(weight: &Weight) -> Rule {
    let outer = ["embed_tokens", "patch_embed", "pos_embed", "lm_head"];
    if outer.iter().any(|outer| weight.name.contains(outer)) { Rule::AdamW } else { Rule::Muon }
}
