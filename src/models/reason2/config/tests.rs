//! Configs in every spelling.

use std::fs;
use std::path::Path;

use safetensors::tensor::TensorView as Stored;
use serde_json::{Value, json};

use super::*;

/// A config of the 2B shape, as transformers 4 writes it.
fn config_of_transformers_4() -> Value {
    json!({
        "architectures": ["Qwen3VLForConditionalGeneration"],
        "model_type": "qwen3_vl",
        "image_token_id": 151655,
        "text_config": {
            "bos_token_id": 151643, "eos_token_id": 151645, "head_dim": 128, "hidden_act": "silu", "hidden_size": 2048,
            "intermediate_size": 6144, "max_position_embeddings": 262144, "model_type": "qwen3_vl_text",
            "num_attention_heads": 16, "num_hidden_layers": 28, "num_key_value_heads": 8, "rms_norm_eps": 1e-6,
            "rope_scaling": { "mrope_interleaved": true, "mrope_section": [24, 20, 20], "rope_type": "default" },
            "rope_theta": 5000000, "tie_word_embeddings": true, "vocab_size": 151936
        },
        "tie_word_embeddings": true,
        "video_token_id": 151656,
        "vision_config": {
            "deepstack_visual_indexes": [5, 11, 17], "depth": 24, "hidden_act": "gelu_pytorch_tanh", "hidden_size": 1024,
            "in_channels": 3, "intermediate_size": 4096, "model_type": "qwen3_vl", "num_heads": 16,
            "num_position_embeddings": 2304, "out_hidden_size": 2048, "patch_size": 16, "spatial_merge_size": 2,
            "temporal_patch_size": 2
        },
        "vision_end_token_id": 151653,
        "vision_start_token_id": 151652
    })
}

fn parse(config: &Value) -> Result<Reason2Config, CheckpointError> {
    let text = serde_json::to_vec(config).expect("a value is JSON");
    Reason2Config::parse(&JsonFile::parse(Path::new("dir/config.json"), &text)?)
}

/// Changes the value at `pointer` and expects an error with all of `parts`.
fn check_refused(pointer: &str, value: Value, parts: &[&str]) {
    let mut config = config_of_transformers_4();
    let (section, key) = pointer.rsplit_once('/').expect("a pointer has a slash");
    config.pointer_mut(section).expect("the section is there")[key] = value;
    let message = parse(&config).expect_err(pointer).to_string();
    for part in parts.iter().chain([&"dir/config.json"]) {
        assert!(message.contains(part), "{pointer}: `{message}` lacks `{part}`");
    }
}

#[test]
fn both_spellings_of_rotary_parameters_mean_the_same() {
    let old = config_of_transformers_4();
    let mut new = old.clone();
    let text = new["text_config"].as_object_mut().expect("an object");
    let mut rope = text.remove("rope_scaling").expect("the old spelling");
    rope["rope_theta"] = text.remove("rope_theta").expect("the old spelling");
    text.insert("rope_parameters".to_owned(), rope);
    new["vision_config"]["rope_parameters"] = json!({ "rope_theta": 10000.0, "rope_type": "axial" });

    let config = parse(&old).expect("a good config");
    assert_eq!(config, parse(&new).expect("a good config"));
    assert_eq!(config.language.rope_theta, 5e6);
    assert_eq!(config.language.mrope_section, [24, 20, 20]);
    assert_eq!(config.vision.position_grid_side, 48);
    assert_eq!(config.vision.deepstack_layers, [5, 11, 17]);
    assert_eq!(config.eos_token_ids, [151_645]);
    assert!(config.tie_word_embeddings);
}

#[test]
fn the_outer_tie_flag_decides_and_the_inner_stands_in_for_it() {
    let mut config = config_of_transformers_4();
    config["tie_word_embeddings"] = json!(false);
    assert!(!parse(&config).expect("a good config").tie_word_embeddings);
    config.as_object_mut().expect("an object").remove("tie_word_embeddings");
    assert!(parse(&config).expect("a good config").tie_word_embeddings);
}

#[test]
fn names_the_key_the_expected_and_the_found() {
    check_refused(
        "/model_type",
        json!("qwen2_5_vl"),
        &["architecture Qwen3VLForConditionalGeneration (`qwen2_5_vl`)", "Cosmos-Reason2"],
    );
    check_refused(
        "/text_config/hidden_size",
        json!("wide"),
        &["`text_config.hidden_size`", "found \"wide\""],
    );
    check_refused("/text_config/vocab_size", json!(0), &["`text_config.vocab_size`", "found 0"]);
    check_refused("/text_config/num_hidden_layers", json!(u64::MAX), &["`text_config.num_hidden_layers`"]);
    check_refused(
        "/text_config/num_key_value_heads",
        json!(3),
        &["a divisor of the 16 attention heads", "found 3"],
    );
    check_refused("/text_config/head_dim", json!(7), &["`text_config.head_dim`"]);
    check_refused("/text_config/hidden_act", json!("gelu"), &["`silu`", "found \"gelu\""]);
    check_refused(
        "/text_config/rope_scaling/rope_type",
        json!("yarn"),
        &["rope_scaling.rope_type", "found \"yarn\""],
    );
    check_refused(
        "/text_config/rope_scaling/mrope_section",
        json!([24, 20, 21]),
        &["share out 64 frequencies"],
    );
    check_refused("/text_config/rope_scaling/mrope_section", json!([20, 22, 22]), &["found [20, 22, 22]"]);
    check_refused("/text_config/rope_scaling/mrope_interleaved", json!(false), &["mrope_interleaved"]);
    check_refused("/vision_config/deepstack_visual_indexes", json!([5, 24]), &["indexes of the 24 blocks"]);
    check_refused("/vision_config/deepstack_visual_indexes", json!([11, 5]), &["ascending"]);
    check_refused("/vision_config/num_position_embeddings", json!(2303), &["a square number"]);
    check_refused("/vision_config/num_heads", json!(3), &["`vision_config.num_heads`"]);
    check_refused("/vision_config/out_hidden_size", json!(4096), &["the language model's width, 2048"]);
    check_refused("/vision_config/patch_size", json!([16, 14]), &["found [16, 14]"]);
    check_refused("/image_token_id", json!(151_936), &["`image_token_id`", "below 151936"]);
    check_refused("/vision_config", json!(null), &["`vision_config`", "found null"]);
}

#[test]
fn stop_tokens_are_one_id_or_several() {
    let parse =
        |text: &str| GenerationConfig::parse(&JsonFile::parse(Path::new("g.json"), text.as_bytes())?, 512);
    let one = parse(r#"{"eos_token_id": 504, "temperature": 0.7, "do_sample": true}"#).expect("good");
    assert_eq!((one.eos_token_ids, one.sampling.temperature, one.sampling.top_k), (vec![504], 0.7, 50));
    let several = parse(r#"{"eos_token_id": [504, 502, 512], "top_p": 0.8, "top_k": 20}"#).expect("good");
    assert_eq!(
        (several.eos_token_ids, several.sampling.top_p, several.sampling.top_k),
        (vec![504, 502], 0.8, 20)
    );
    assert_eq!(parse("{}").expect("good"), GenerationConfig::default());
    let config =
        Reason2Config { eos_token_ids: vec![3], ..self::parse(&config_of_transformers_4()).expect("good") };
    assert_eq!(config.stop_token_ids(&parse(r#"{"eos_token_id": [504, 502]}"#).expect("good")), [504, 502]);
    assert_eq!(config.stop_token_ids(&GenerationConfig::default()), [3]);
    for bad in [
        r#"{"top_p": 0}"#,
        r#"{"temperature": -1}"#,
        r#"{"temperature": 1e-60}"#,
        r#"{"eos_token_id": "x"}"#,
        "[]",
        "{",
    ] {
        assert!(parse(bad).is_err(), "{bad}");
    }
}

/// Writes a safetensors file of bytes, each tensor with shape `[n]`.
fn write_weights(path: &Path, tensors: &[(&str, &[u8])]) {
    let views = tensors.iter().map(|(name, bytes)| {
        (*name, Stored::new(safetensors::Dtype::U8, vec![bytes.len()], bytes).expect("lengths agree"))
    });
    fs::write(path, safetensors::serialize(views, None).expect("serialises")).expect("writes");
}

#[test]
fn a_tied_head_is_the_embedding_unless_the_checkpoint_has_another() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("w.safetensors");
    let (embedding, head) = ("model.language_model.embed_tokens.weight", "lm_head.weight");
    let mut config = parse(&config_of_transformers_4()).expect("a good config");
    let mut check = |tied: bool, tensors: &[(&str, &[u8])], expected: Option<Head>| {
        config.tie_word_embeddings = tied;
        write_weights(&path, tensors);
        assert_eq!(config.head(&Tensors::open(&path).expect("good")).ok(), expected);
    };
    check(true, &[(embedding, &[1])], Some(Head::Embedding));
    check(true, &[(embedding, &[1]), (head, &[1])], Some(Head::Embedding));
    check(true, &[(embedding, &[1]), (head, &[2])], Some(Head::Own));
    check(false, &[(embedding, &[1]), (head, &[1])], Some(Head::Own));
    check(false, &[(embedding, &[1])], None);
}
