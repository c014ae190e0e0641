//! What an adapter's config says of its scaling, and what it asks for that is not done here.
//!
//! `W' = W + s B A` with `s = alpha / r`, or `alpha / √r` with `use_rslora` (Kalajdzievski 2023, <https://arxiv.org/abs/2312.03732>). Rank and
//! alpha of a layer are the config's, or those of the first pattern that its name ends with: `rank_pattern` and `alpha_pattern` are
//! regular expressions, as PEFT's are.

use fancy_regex::Regex;
use serde_json::Value;

use super::error::{MergeError, WITH_PEFT};
use crate::checkpoint::{CheckpointError, Section};

/// More patterns than any config has: one for each layer.
const PATTERNS_MAX: usize = 1 << 16;
/// Values that say where and how was trained, or are read here: whatever they are, no other weights come out.
const HARMLESS: [&str; 32] = [
    "alpha_pattern",
    "auto_mapping",
    "base_model_name_or_path",
    "bias",
    "corda_config",
    "ensure_weight_tying",
    "eva_config",
    "exclude_modules",
    "fan_in_fan_out",
    "inference_mode",
    "init_lora_weights",
    "layers_pattern",
    "layers_to_transform",
    "loftq_config",
    "lora_alpha",
    "lora_bias",
    "lora_dropout",
    "lora_ga_config",
    "megatron_core",
    "modules_to_save",
    "peft_type",
    "peft_version",
    "qalora_group_size",
    "r",
    "rank_pattern",
    "revision",
    "runtime_config",
    "target_modules",
    "task_type",
    "use_dora",
    "use_rslora",
    "velora_config",
];
/// First weights that leave the base as it is; others are what is left of the base, which is then another one.
const INITIAL: [&str; 3] = ["eva", "gaussian", "orthogonal"];

/// Rank, alpha and kind of each layer of an adapter.
#[derive(Debug)]
pub(super) struct Rules {
    rank: usize,
    alpha: f64,
    ranks: Vec<(Regex, usize)>,
    alphas: Vec<(Regex, f64)>,
    is_rank_stabilised: bool,
    is_dora: bool,
}

impl Rules {
    /// Reads a config's values. Of a pipeline's config these are the denoiser's.
    ///
    /// # Errors
    /// If one cannot be meant, or asks for something that is not done here.
    pub(super) fn parse(config: &Section<'_>, keys: &[&str]) -> Result<Self, MergeError> {
        if config.text("peft_type")?.is_some_and(|name| name != "LORA") {
            return Err(config.wrong("peft_type", format!("\"LORA\": {WITH_PEFT}")).into());
        }
        if config.flag("fan_in_fan_out")?.unwrap_or(false) {
            return Err(config.wrong("fan_in_fan_out", "false: no network here has such layers").into());
        }
        let initial = config.get("init_lora_weights");
        if !initial.is_none_or(|v| v.is_boolean() || v.as_str().is_some_and(|name| INITIAL.contains(&name))) {
            let expected = "true, false, \"gaussian\", \"eva\" or \"orthogonal\": others change the base too, unless they are saved with \
                            `path_initial_model_for_weight_conversion`";
            return Err(config.wrong("init_lora_weights", expected).into());
        }
        for key in keys.iter().filter(|key| !HARMLESS.contains(key)) {
            if config.get(key).is_some_and(|value| !is_nothing(value)) {
                let expected = format!("nothing, since it may change what is merged: {WITH_PEFT}");
                return Err(config.wrong(key, expected).into());
            }
        }
        let expected = "an integer from 1 to 2147483648";
        let positive = |v: &Value| v.as_u64().filter(|n| (1..=1 << 31).contains(n)).map(|n| n as usize);
        Ok(Self {
            rank: config.extent("r")?,
            alpha: config.required("lora_alpha", config.number("lora_alpha")?)?,
            ranks: patterns(config, "rank_pattern", expected, positive)?,
            alphas: patterns(config, "alpha_pattern", "a finite number", |v| {
                v.as_f64().filter(|n| (*n as f32).is_finite())
            })?,
            is_rank_stabilised: config.flag("use_rslora")?.unwrap_or(false),
            is_dora: config.flag("use_dora")?.unwrap_or(false),
        })
    }

    /// The rank that a layer should have.
    pub(super) fn rank(&self, module: &str) -> usize {
        first(&self.ranks, module).unwrap_or(self.rank)
    }

    /// What a layer's product is multiplied with.
    pub(super) fn scaling(&self, module: &str) -> f64 {
        let (rank, alpha) = (self.rank(module) as f64, first(&self.alphas, module).unwrap_or(self.alpha));
        alpha / if self.is_rank_stabilised { rank.sqrt() } else { rank }
    }

    /// Whether every layer has a magnitude.
    pub(super) fn is_dora(&self) -> bool {
        self.is_dora
    }
}

/// Whether a value asks for nothing.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

/// The value of the first pattern that a name ends with.
fn first<T: Copy>(patterns: &[(Regex, T)], module: &str) -> Option<T> {
    // One that takes too long to match is one that does not.
    patterns.iter().find(|(pattern, _)| pattern.is_match(module).unwrap_or(false)).map(|(_, value)| *value)
}

fn patterns<T>(
    config: &Section<'_>,
    key: &str,
    expected: &str,
    read: impl Fn(&Value) -> Option<T>,
) -> Result<Vec<(Regex, T)>, CheckpointError> {
    let Some(value) = config.get(key) else { return Ok(Vec::new()) };
    let map = value.as_object().filter(|map| map.len() <= PATTERNS_MAX);
    let map = map.ok_or_else(|| config.wrong(key, "an object of patterns"))?;
    let section = config.section(key)?.expect("just seen");
    let pattern = |(name, value): (&String, &Value)| {
        let regex = Regex::new(&format!(r"^(?:.*\.)?(?:{name})$"))
            .map_err(|e| section.wrong(name, format!("a regular expression as the key ({e})")))?;
        Ok((regex, read(value).ok_or_else(|| section.wrong(name, expected))?))
    };
    map.iter().map(pattern).collect()
}

/// The keys of a config's object, without the pipeline's part before them.
pub(super) fn keys(value: &Value) -> Vec<&str> {
    value.as_object().into_iter().flatten().map(|(key, _)| &key[..]).collect()
}

/// The config that a pipeline's file has in its header, with the denoiser's keys alone and without the part before them.
pub(super) fn of_denoiser(value: Value) -> Value {
    const PART: &str = "transformer.";
    match value {
        Value::Object(map) if map.keys().any(|key| key.starts_with(PART)) => {
            let own = map.into_iter().filter_map(|(key, v)| Some((key.strip_prefix(PART)?.to_owned(), v)));
            Value::Object(own.collect())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;

    fn parse(value: &Value) -> Result<Rules, String> {
        let section = Section::root(Path::new("adapter_config.json"), value).unwrap();
        Rules::parse(&section, &keys(value)).map_err(|e| e.to_string())
    }

    #[test]
    fn scaling_follows_rank_alpha_and_the_first_pattern() {
        let rules = parse(&json!({
            "peft_type": "LORA", "r": 4, "lora_alpha": 8, "lora_dropout": 0.1, "target_modules": ["q_proj"], "layer_replication": null,
            "rank_pattern": {"layers.1.self_attn.q_proj": 2, "^model.visual.*": 16, "q_proj": 3},
            "alpha_pattern": {r"layers\.\d+\.mlp\.up_proj": 12.0},
        }))
        .unwrap();
        for (module, rank, scaling) in [
            ("model.language_model.layers.0.mlp.down_proj", 4, 2.0),
            ("model.language_model.layers.0.mlp.up_proj", 4, 3.0),
            ("model.language_model.layers.1.self_attn.q_proj", 2, 4.0),
            ("model.language_model.layers.11.self_attn.q_proj", 3, 8.0 / 3.0),
            ("model.visual.blocks.0.attn.qkv", 16, 0.5),
            ("other.model.visual", 4, 2.0),
            // Only whole parts of a name are its end.
            ("model.language_model.layers.0.self_attn.other_q_proj", 4, 2.0),
        ] {
            assert_eq!((rules.rank(module), rules.scaling(module)), (rank, scaling), "{module}");
        }
        let rules = parse(&json!({"r": 4, "lora_alpha": 8, "use_rslora": true})).unwrap();
        assert_eq!(rules.scaling("a"), 4.0);
    }

    #[test]
    fn what_is_not_done_here_is_refused_by_name() {
        for (key, value) in [
            ("peft_type", json!("IA3")),
            ("fan_in_fan_out", json!(true)),
            ("init_lora_weights", json!("pissa_niter_4")),
            ("trainable_token_indices", json!([1])),
            ("target_parameters", json!(["experts.gate_up_proj"])),
            ("layer_replication", json!([[0, 4]])),
            ("alora_invocation_tokens", json!([3])),
            ("a_method_of_tomorrow", json!(0.5)),
            ("r", json!(0)),
            ("r", json!("4")),
            ("lora_alpha", json!(null)),
            ("lora_alpha", json!("much")),
            ("rank_pattern", json!([4])),
        ] {
            let mut config = json!({"peft_type": "LORA", "r": 4, "lora_alpha": 8});
            config[key] = value;
            let message = parse(&config).unwrap_err();
            assert!(
                message.contains("adapter_config.json") && message.contains(&format!("`{key}`")),
                "{message}"
            );
        }
        for (pattern, value) in [("q_proj", json!(0)), ("(", json!(4)), ("(a{9999}){9999}", json!(4))] {
            let message =
                parse(&json!({"r": 4, "lora_alpha": 8, "rank_pattern": {pattern: value}})).unwrap_err();
            assert!(message.contains(&format!("rank_pattern.{pattern}")), "{message}");
        }
    }

    #[test]
    fn a_pipeline_s_config_is_the_denoiser_s() {
        let own = of_denoiser(json!({"transformer.r": 2, "text_encoder.r": 3}));
        assert_eq!(own, json!({"r": 2}));
        assert_eq!(of_denoiser(json!({"r": 2})), json!({"r": 2}));
    }
}
