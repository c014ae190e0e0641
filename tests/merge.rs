//! Adapters in checkpoints: what comes out is what was computed by hand, everything else stays byte for byte, and what does not fit is
//! refused by its name. Against `peft` itself: `tests/reference/merge.py`.

#![allow(clippy::unwrap_used, reason = "what a test cannot go on without fails it")]

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use perihelion::checkpoint::Tensors;
use perihelion::tensor::{DType, narrow};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};

/// The layer that most tests change, in a checkpoint and in an adapter of PEFT.
const LAYER: &str = "model.language_model.layers.0.self_attn.q_proj";
const TRAINED: &str = "base_model.model.model.language_model.layers.0.self_attn.q_proj";

/// A tensor's name, type, shape and bytes.
type Tensor = (String, Dtype, Vec<usize>, Vec<u8>);

fn tensor(name: &str, dtype: DType, shape: &[usize], values: &[f32]) -> Tensor {
    let mut bytes = vec![0; values.len() * dtype.size_bytes()];
    narrow(dtype, values, &mut bytes);
    let dtype = match dtype {
        DType::F16 => Dtype::F16,
        DType::Bf16 => Dtype::BF16,
        _ => Dtype::F32,
    };
    (name.to_owned(), dtype, shape.to_vec(), bytes)
}

fn f32s(name: &str, shape: &[usize], values: &[f32]) -> Tensor {
    tensor(name, DType::F32, shape, values)
}

/// Of PEFT's names, the part of a layer.
fn part(part: &str, shape: &[usize], values: &[f32]) -> Tensor {
    f32s(&format!("{TRAINED}.{part}"), shape, values)
}

fn write(path: &Path, tensors: &[Tensor], metadata: Option<HashMap<String, String>>) {
    let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
        (name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).expect("lengths agree"))
    });
    fs::write(path, safetensors::serialize(views, metadata).unwrap()).unwrap();
}

/// A checkpoint, an adapter, and a place for what comes of them.
struct Scene {
    dir: tempfile::TempDir,
}

impl Scene {
    fn new(weights: &[Tensor]) -> Self {
        let scene = Scene { dir: tempfile::tempdir().unwrap() };
        fs::create_dir(scene.at("base")).unwrap();
        fs::create_dir(scene.at("adapter")).unwrap();
        fs::write(scene.at("base/config.json"), r#"{"tie_word_embeddings": true}"#).unwrap();
        fs::write(scene.at("base/tokenizer.json"), "{}").unwrap();
        write(&scene.at("base/model.safetensors"), weights, None);
        scene
    }

    /// Of one weight `[2, 3]` and another that stays.
    fn small(dtype: DType) -> Self {
        Self::new(&[
            tensor(&format!("{LAYER}.weight"), dtype, &[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
            tensor("model.language_model.norm.weight", dtype, &[3], &[7.0, 8.0, 9.0]),
        ])
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn adapter(&self, config: Value, tensors: &[Tensor]) {
        let mut whole =
            json!({"peft_type": "LORA", "r": 2, "lora_alpha": 4, "bias": "none", "use_dora": false});
        whole.as_object_mut().unwrap().extend(config.as_object().unwrap().clone());
        fs::write(self.at("adapter/adapter_config.json"), whole.to_string()).unwrap();
        write(&self.at("adapter/adapter_model.safetensors"), tensors, None);
    }

    /// The exit code, and what was said.
    fn merge_into(&self, adapter: &str, out: &str, more: &[&str]) -> (Option<i32>, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_perihelion"))
            .args([Path::new("merge"), &self.at("base"), &self.at(adapter), Path::new("-o"), &self.at(out)])
            .args(more)
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    }

    fn merge(&self, more: &[&str]) -> String {
        let (code, said) = self.merge_into("adapter", "out", more);
        assert_eq!(code, Some(0), "{said}");
        said
    }

    fn is_refused(&self, words: &[&str]) {
        let before = names(self.dir.path());
        let (code, said) = self.merge_into("adapter", "out", &[]);
        assert_eq!(code, Some(1), "{said}");
        assert!(words.iter().all(|word| said.contains(word)), "{said:?} lacks one of {words:?}");
        assert!(!said.contains("panicked"), "{said}");
        assert_eq!(names(self.dir.path()), before, "{said}");
    }

    fn found(&self, name: &str) -> Vec<f32> {
        let tensors = Tensors::open(&self.at("out/model.safetensors")).unwrap();
        tensors.tensor(name).unwrap().to_f32()
    }
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A of rank two, and B, whose product is `[[2, 0, -2], [2, 2, 0]]`.
fn both_halves() -> Vec<Tensor> {
    vec![
        part("lora_A.weight", &[2, 3], &[1.0, 0.0, -1.0, 0.5, 0.5, 0.0]),
        part("lora_B.weight", &[2, 2], &[2.0, 0.0, 0.0, 4.0]),
    ]
}

#[test]
fn a_product_is_added_with_its_scaling_in_the_type_of_the_weight() {
    for dtype in [DType::F32, DType::Bf16, DType::F16] {
        let scene = Scene::small(dtype);
        // alpha / r = 2.
        scene.adapter(json!({}), &both_halves());
        let said: Value = serde_json::from_str(&scene.merge(&["--json"])).unwrap();
        assert_eq!(scene.found(&format!("{LAYER}.weight")), [5.0, 2.0, -1.0, 8.0, 9.0, 6.0]);
        assert_eq!(scene.found("model.language_model.norm.weight"), [7.0, 8.0, 9.0]);
        assert_eq!((&said["tensors_merged"], &said["tensors_copied"]), (&json!(1), &json!(1)));
        let out = Tensors::open(&scene.at("out/model.safetensors")).unwrap();
        assert_eq!(out.tensor(&format!("{LAYER}.weight")).unwrap().dtype, dtype);
        assert_eq!(
            names(&scene.at("out")),
            ["config.json", "model.safetensors", "perihelion_merge.json", "tokenizer.json"]
        );
        let record = fs::read(scene.at("out/perihelion_merge.json")).unwrap();
        let record: Value = serde_json::from_slice(&record).unwrap();
        assert_eq!(record["merged"][0]["adapter_sha256"], said["adapter_sha256"]);
        assert_eq!(
            record["merged"][0]["tensors"][format!("{LAYER}.weight")],
            json!({"rank": 2, "scaling": 2.0})
        );
    }
    let scene = Scene::small(DType::F32);
    scene.adapter(json!({}), &both_halves());
    scene.merge(&["--scale", "-0.5"]);
    assert_eq!(scene.found(&format!("{LAYER}.weight")), [-1.0, 2.0, 5.0, 2.0, 3.0, 6.0]);
}

#[test]
fn a_sum_is_rounded_once() {
    let scene = Scene::new(&[tensor(&format!("{LAYER}.weight"), DType::Bf16, &[1, 1], &[1.0])]);
    // A bit more than half a step of bf16 at one: rounded itself first, it would be half a step, and the sum one.
    let half = 2f32.powi(-8) + 2f32.powi(-20);
    scene.adapter(
        json!({"r": 1, "lora_alpha": 1}),
        &[part("lora_A.weight", &[1, 1], &[1.0]), part("lora_B.weight", &[1, 1], &[half])],
    );
    scene.merge(&[]);
    assert_eq!(scene.found(&format!("{LAYER}.weight")), [1.0 + 2f32.powi(-7)]);
}

#[test]
fn ranks_and_alphas_are_those_of_the_layer() {
    let weights = ["q_proj", "k_proj", "v_proj"]
        .map(|name| f32s(&format!("model.language_model.layers.0.self_attn.{name}.weight"), &[1, 1], &[0.0]));
    let scene = Scene::new(&weights);
    let of = |name: &str, rank: usize| {
        let at = format!("base_model.model.model.language_model.layers.0.self_attn.{name}");
        let ones = vec![1.0; rank];
        [
            f32s(&format!("{at}.lora_A.weight"), &[rank, 1], &ones),
            f32s(&format!("{at}.lora_B.weight"), &[1, rank], &ones),
        ]
    };
    let all = [of("q_proj", 4), of("k_proj", 9), of("v_proj", 4)].concat();
    scene.adapter(
        json!({"r": 4, "lora_alpha": 6, "use_rslora": true, "rank_pattern": {"k_proj": 9},
               "alpha_pattern": {r".*layers\.0\.self_attn\.(v|o)_proj": 1.0}}),
        &all,
    );
    scene.merge(&[]);
    // Each product is its rank; alpha over the rank's root is 6 / 2, 6 / 3 and 1 / 2.
    let found = |name: &str| scene.found(&format!("model.language_model.layers.0.self_attn.{name}.weight"));
    assert_eq!(["q_proj", "k_proj", "v_proj"].map(found), [[12.0], [18.0], [2.0]]);
}

#[test]
fn whole_tensors_replace_and_biases_embeddings_and_kernels_are_merged() {
    let scene = Scene::new(&[
        tensor("model.language_model.norm.weight", DType::Bf16, &[2], &[1.0, 1.0]),
        f32s("model.language_model.embed_tokens.weight", &[3, 2], &[0.0, 1.0, 0.0, 1.0, 0.0, 1.0]),
        f32s("model.visual.patch_embed.proj.weight", &[2, 1, 1, 1, 2], &[1.0, 2.0, 3.0, 4.0]),
        f32s("model.visual.patch_embed.proj.bias", &[2], &[1.0, 2.0]),
        f32s("model.visual.blocks.0.attn.qkv.bias", &[2], &[0.0, 0.0]),
    ]);
    fs::write(scene.at("base/config.json"), "{}").unwrap();
    let own = |name: &str, shape: &[usize], values: &[f32]| {
        f32s(&format!("base_model.model.model.{name}"), shape, values)
    };
    scene.adapter(
        json!({"r": 1, "lora_alpha": 0.5, "bias": "all", "lora_bias": true, "modules_to_save": ["norm"]}),
        &[
            own("language_model.norm.weight", &[2], &[1.0 + 2f32.powi(-7), 3.0]),
            own("language_model.embed_tokens.lora_embedding_A", &[1, 3], &[1.0, 2.0, 3.0]),
            own("language_model.embed_tokens.lora_embedding_B", &[2, 1], &[10.0, 20.0]),
            own("visual.patch_embed.proj.lora_A.weight", &[1, 1, 1, 1, 2], &[1.0, -1.0]),
            own("visual.patch_embed.proj.lora_B.weight", &[2, 1, 1, 1, 1], &[2.0, 4.0]),
            own("visual.patch_embed.proj.lora_B.bias", &[2], &[2.0, 4.0]),
            own("visual.blocks.0.attn.qkv.base_layer.bias", &[2], &[5.0, 6.0]),
        ],
    );
    scene.merge(&[]);
    for (name, expected) in [
        ("language_model.norm.weight", &[1.0 + 2f32.powi(-7), 3.0][..]),
        ("language_model.embed_tokens.weight", &[5.0, 11.0, 10.0, 21.0, 15.0, 31.0]),
        ("visual.patch_embed.proj.weight", &[2.0, 1.0, 5.0, 2.0]),
        ("visual.patch_embed.proj.bias", &[2.0, 4.0]),
        ("visual.blocks.0.attn.qkv.bias", &[5.0, 6.0]),
    ] {
        assert_eq!(scene.found(&format!("model.{name}")), expected, "{name}");
    }
}

#[test]
fn a_row_of_dora_has_the_length_that_was_trained() {
    let scene = Scene::small(DType::F32);
    let mut tensors = both_halves();
    tensors.push(part("lora_magnitude_vector", &[2], &[2.0, 0.5]));
    scene.adapter(json!({"use_dora": true}), &tensors);
    scene.merge(&[]);
    let sum = [[5.0f64, 2.0, -1.0], [8.0, 9.0, 6.0]];
    let lengths = sum.map(|row| row.iter().map(|w| w * w).sum::<f64>().sqrt());
    for (i, found) in scene.found(&format!("{LAYER}.weight")).iter().enumerate() {
        let expected = [2.0, 0.5][i / 3] * sum[i / 3][i % 3] / lengths[i / 3];
        assert!((f64::from(*found) - expected).abs() < 1e-6, "{i}: {found}, expected {expected}");
    }
}

#[test]
fn shards_headers_and_what_else_lies_there_stay_as_they_are() {
    let scene = Scene::small(DType::F32);
    fs::remove_file(scene.at("base/model.safetensors")).unwrap();
    let note = HashMap::from([("written by".to_owned(), "somebody".to_owned())]);
    let numbers = ("model.counter".to_owned(), Dtype::I64, vec![1], 7i64.to_le_bytes().to_vec());
    let first = [f32s(&format!("{LAYER}.weight"), &[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), numbers];
    write(&scene.at("base/model-1-of-2.safetensors"), &first, Some(note));
    write(&scene.at("base/model-2-of-2.safetensors"), &[f32s("other", &[1], &[1.0])], None);
    let index = json!({"weight_map": {format!("{LAYER}.weight"): "model-1-of-2.safetensors",
        "model.counter": "model-1-of-2.safetensors", "other": "model-2-of-2.safetensors"}});
    fs::write(scene.at("base/model.safetensors.index.json"), index.to_string()).unwrap();
    fs::create_dir(scene.at("base/pages")).unwrap();
    fs::create_dir(scene.at("base/.cache")).unwrap();
    for name in ["pages/a.md", ".cache/b", "pytorch_model.bin", "adapter_config.json"] {
        fs::write(scene.at("base").join(name), "theirs").unwrap();
    }
    scene.adapter(json!({}), &both_halves());
    let said = scene.merge(&[]);
    assert!(said.contains("pytorch_model.bin is not copied"), "{said}");
    assert_eq!(
        names(&scene.at("out")),
        [
            "config.json",
            "model-1-of-2.safetensors",
            "model-2-of-2.safetensors",
            "model.safetensors.index.json",
            "pages",
            "perihelion_merge.json",
            "tokenizer.json"
        ]
    );
    for name in ["model-2-of-2.safetensors", "model.safetensors.index.json", "pages/a.md"] {
        assert_eq!(
            fs::read(scene.at("out").join(name)).unwrap(),
            fs::read(scene.at("base").join(name)).unwrap()
        );
    }
    let [before, after] =
        ["base", "out"].map(|dir| fs::read(scene.at(dir).join("model-1-of-2.safetensors")).unwrap());
    let differ = before.iter().zip(&after).filter(|(a, b)| a != b).count();
    assert_eq!(before.len(), after.len());
    assert!((1..=24).contains(&differ), "{differ} bytes differ");

    // Again, into what came out: the record tells both.
    fs::rename(scene.at("out"), scene.at("once")).unwrap();
    fs::rename(scene.at("base"), scene.at("first")).unwrap();
    fs::rename(scene.at("once"), scene.at("base")).unwrap();
    scene.merge(&["--scale", "-1"]);
    let record: Value =
        serde_json::from_slice(&fs::read(scene.at("out/perihelion_merge.json")).unwrap()).unwrap();
    assert_eq!([0, 1].map(|i| record["merged"][i]["scale"].as_f64()), [Some(1.0), Some(-1.0)]);
    assert_eq!(fs::read(scene.at("out/model-1-of-2.safetensors")).unwrap(), before);
}

#[test]
fn names_are_found_under_the_wrappers_of_other_versions() {
    for (stored, trained) in [
        ("language_model.model.layers.0.q", "base_model.model.model.language_model.layers.0.q"),
        ("model.language_model.layers.0.q", "base_model.model.language_model.model.layers.0.q"),
        ("model.visual.blocks.0.q", "base_model.model.visual.blocks.0.q"),
    ] {
        let scene = Scene::new(&[f32s(&format!("{stored}.weight"), &[1, 1], &[1.0])]);
        let [a, b] = ["A", "B"].map(|half| f32s(&format!("{trained}.lora_{half}.weight"), &[1, 1], &[2.0]));
        scene.adapter(json!({"r": 1, "lora_alpha": 1}), &[a, b]);
        scene.merge(&[]);
        assert_eq!(scene.found(&format!("{stored}.weight")), [5.0]);
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &to);
        } else {
            fs::copy(&path, to).unwrap();
        }
    }
}

/// The small pipeline, one weight of which an adapter of diffusers changes.
fn pipeline(base: &str, metadata: Option<Value>) -> Scene {
    let scene = Scene::small(DType::F32);
    fs::remove_dir_all(scene.at("base")).unwrap();
    copy(Path::new(base), &scene.at("base"));
    let at = "transformer.transformer_blocks.0.attn1.to_q";
    let weights = Tensors::open(&scene.at("base/transformer/diffusion_pytorch_model.safetensors")).unwrap();
    let name = weights
        .names()
        .find(|name| name.ends_with("0.attn1.to_q.weight") || name.ends_with("0.self_attn.q_proj.weight"));
    let [n_out, n_in] = weights.shape(name.unwrap()).unwrap() else { panic!("a matrix") };
    let halves = [
        f32s(&format!("{at}.lora_A.weight"), &[1, *n_in], &vec![0.25; *n_in]),
        f32s(&format!("{at}.lora_B.weight"), &[*n_out, 1], &vec![2.0; *n_out]),
    ];
    let metadata =
        metadata.map(|config| HashMap::from([("lora_adapter_metadata".to_owned(), config.to_string())]));
    write(&scene.at("adapter/pytorch_lora_weights.safetensors"), &halves, metadata);
    scene
}

#[test]
fn an_adapter_of_a_pipeline_changes_its_denoiser_under_either_spelling() {
    let config = json!({"transformer.r": 1, "transformer.lora_alpha": 4, "transformer.peft_type": "LORA"});
    let original = "tests/fixtures/predict/predict25_actions_of_each_latent/checkpoint";
    for (base, metadata, scaling) in [
        ("engines/small-predict", None, 1.0f32),
        ("engines/small-predict", Some(config.clone()), 4.0),
        (original, Some(config), 4.0),
    ] {
        let scene = pipeline(base, metadata);
        scene.merge(&[]);
        let file = "transformer/diffusion_pytorch_model.safetensors";
        let [before, after] = ["base", "out"].map(|dir| Tensors::open(&scene.at(dir).join(file)).unwrap());
        let mut n_changed = 0;
        for name in before.names() {
            let (old, new) = (before.tensor(name).unwrap(), after.tensor(name).unwrap());
            if old != new {
                n_changed += 1;
                let step = if old.dtype == DType::F32 { 1e-6 } else { 0.01 };
                for (old, new) in old.to_f32().iter().zip(new.to_f32()) {
                    let expected = old + scaling * 0.5;
                    assert!(
                        (new - expected).abs() <= step * expected.abs().max(1.0),
                        "{name}: {new} of {old}"
                    );
                }
            }
        }
        assert_eq!(n_changed, 1, "{base}");
        for file in [
            "model_index.json",
            "vae/config.json",
            "vae/diffusion_pytorch_model.safetensors",
            "text_embedding.safetensors",
        ] {
            assert_eq!(
                fs::read(scene.at("out").join(file)).unwrap(),
                fs::read(scene.at("base").join(file)).unwrap()
            );
        }
        let export = Command::new(env!("CARGO_BIN_EXE_perihelion"))
            .args([Path::new("export"), &scene.at("out"), Path::new("-o"), &scene.at("a.model")])
            .output()
            .unwrap();
        assert!(export.status.success(), "{}", String::from_utf8_lossy(&export.stderr));
    }
}

#[test]
fn a_checkpoint_that_an_adapter_was_merged_into_is_exported() {
    let scene = Scene::small(DType::F32);
    fs::remove_dir_all(scene.at("base")).unwrap();
    copy(Path::new("engines/small-reason"), &scene.at("base"));
    let weights = Tensors::open(&scene.at("base/model.safetensors")).unwrap();
    let [n_out, n_in] = weights.shape(&format!("{LAYER}.weight")).unwrap() else { panic!("a matrix") };
    scene.adapter(
        json!({"r": 1}),
        &[
            part("lora_A.weight", &[1, *n_in], &vec![0.01; *n_in]),
            part("lora_B.weight", &[*n_out, 1], &vec![0.01; *n_out]),
        ],
    );
    let export = |of: &str| {
        Command::new(env!("CARGO_BIN_EXE_perihelion"))
            .args([Path::new("export"), &scene.at(of), Path::new("-o"), &scene.at("a.model")])
            .output()
            .unwrap()
    };
    let alone = export("adapter");
    assert!(String::from_utf8_lossy(&alone.stderr).contains("perihelion merge"), "{alone:?}");
    scene.merge(&[]);
    let merged = export("out");
    assert!(merged.status.success() && merged.stderr.is_empty(), "{merged:?}");
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let scene = Scene::small(DType::F32);
    let plain = both_halves;
    let with = |more: Tensor| [plain(), vec![more]].concat();
    for (config, tensors, words) in [
        (json!({"r": 0}), plain(), &["adapter_config.json", "`r`"][..]),
        (json!({"r": 3}), plain(), &["lora_A.weight", "[3, 3]", "[2, 3]"]),
        (json!({"peft_type": "LOHA"}), plain(), &["`peft_type`", "LOHA", "merge_and_unload"]),
        (
            json!({"trainable_token_indices": [1]}),
            plain(),
            &["`trainable_token_indices`", "merge_and_unload"],
        ),
        (json!({"use_dora": true}), plain(), &["lora_magnitude_vector"]),
        (json!({}), with(part("lora_magnitude_vector", &[2], &[1.0, 1.0])), &["use_dora"]),
        (json!({}), with(part("lora_C.weight", &[1], &[1.0])), &["lora_C.weight", "none of LoRA"]),
        (json!({}), plain()[..1].to_vec(), &["q_proj", "has lora_A and no lora_B"]),
        (json!({}), vec![], &["without tensors"]),
        (
            json!({}),
            with(f32s(
                "base_model.model.model.language_model.layers.9.self_attn.q_proj.bias",
                &[2],
                &[1.0; 2],
            )),
            &["layers.9.self_attn.q_proj.bias", "is for no tensor", LAYER],
        ),
        (
            json!({}),
            with(f32s("base_model.model.lm_head.weight", &[2], &[1.0; 2])),
            &["lm_head", "tie_word_embeddings"],
        ),
        (
            json!({}),
            with(f32s("base_model.model.model.language_model.norm.weight", &[4], &[1.0; 4])),
            &["norm.weight", "expected shape [3], found [4]"],
        ),
        (
            json!({}),
            with(f32s("base_model.model.model.language_model.norm.weight", &[3], &[1.0, f32::NAN, 1.0])),
            &["norm.weight", "NaN"],
        ),
        (
            json!({}),
            [
                plain(),
                vec![
                    f32s("model.layers.0.self_attn.q_proj.weight", &[2, 3], &[0.0; 6]),
                    f32s(&format!("{LAYER}.weight"), &[2, 3], &[0.0; 6]),
                ],
            ]
            .concat(),
            &["is not for one tensor alone", "is also changed by"],
        ),
        (
            json!({"lora_alpha": 1e38}),
            vec![part("lora_A.weight", &[2, 3], &[1e30; 6]), part("lora_B.weight", &[2, 2], &[1.0; 4])],
            &[LAYER, "not finite after the merge"],
        ),
    ] {
        scene.adapter(config, &tensors);
        scene.is_refused(words);
    }
    fs::write(scene.at("adapter/adapter_config.json"), "{").unwrap();
    scene.is_refused(&["adapter_config.json", "not the JSON expected"]);
}

#[test]
fn damaged_files_are_refused_and_nothing_is_left() {
    let scene = Scene::small(DType::F32);
    scene.adapter(json!({}), &both_halves());
    let file = scene.at("adapter/adapter_model.safetensors");
    let whole = fs::read(&file).unwrap();
    for cut in [0, 7, 8, 20, whole.len() - 1] {
        fs::write(&file, &whole[..cut]).unwrap();
        scene.is_refused(&["adapter_model.safetensors", "safetensors header"]);
    }
    let mut huge = whole.clone();
    huge[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    fs::write(&file, huge).unwrap();
    scene.is_refused(&["adapter_model.safetensors", "its length is given as"]);
    fs::remove_file(&file).unwrap();
    scene.is_refused(&["expected an adapter", "found none"]);
    fs::write(scene.at("adapter/adapter_model.bin"), "pickle").unwrap();
    scene.is_refused(&["adapter_model.bin", "safetensors"]);
    fs::write(&file, &whole).unwrap();
    fs::remove_file(scene.at("adapter/adapter_config.json")).unwrap();
    let (code, said) = scene.merge_into("adapter/adapter_model.safetensors", "out", &[]);
    assert!(code == Some(1) && said.contains("expected adapter_config.json beside it"), "{said}");
}

#[test]
fn quantised_weights_are_refused() {
    for (dtype, name) in [(Dtype::F8_E4M3, "F8_E4M3"), (Dtype::I8, "I8"), (Dtype::U8, "U8")] {
        let scene = Scene::new(&[(format!("{LAYER}.weight"), dtype, vec![2, 3], vec![0; 6])]);
        scene.adapter(json!({}), &both_halves());
        scene.is_refused(&[LAYER, name, "not quantised"]);
    }
}

#[test]
fn what_is_read_is_never_written_over() {
    let scene = Scene::small(DType::F32);
    scene.adapter(json!({}), &both_halves());
    std::os::unix::fs::symlink(scene.at("base"), scene.at("link")).unwrap();
    fs::create_dir(scene.at("full")).unwrap();
    fs::write(scene.at("full/theirs"), "").unwrap();
    let before = names(&scene.at("base"));
    for (out, words) in [
        ("base", &["is read"][..]),
        ("link", &["is read"]),
        ("base/new", &["lies in", "is read"]),
        ("link/new", &["lies in", "is read"]),
        ("adapter", &["is read"]),
        ("adapter/new", &["lies in", "is read"]),
        ("full", &["is not empty"]),
        ("full/theirs", &["is a file"]),
    ] {
        let (code, said) = scene.merge_into("adapter", out, &[]);
        assert_eq!(code, Some(2), "{out}: {said}");
        assert!(words.iter().all(|word| said.contains(word)), "{out}: {said}");
    }
    let (code, said) = scene.merge_into("adapter", "none/new", &[]);
    assert!(code == Some(1) && said.contains("there is no folder"), "{said}");
    assert_eq!(names(&scene.at("base")), before);
    assert_eq!(names(scene.dir.path()), ["adapter", "base", "full", "link"]);
    fs::create_dir(scene.at("out")).unwrap();
    scene.merge(&[]);
}
