//! Checkpoints as the world writes them: what is taken, what is said beside it, and what is refused with a way on.

#![allow(clippy::unwrap_used, reason = "what a test cannot go on without fails it")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use safetensors::SafeTensors;
use serde_json::Value;

const CHECKPOINT: &str = "engines/small-reason";

/// A copy of the small checkpoint, whose files can be changed.
struct Copy {
    dir: tempfile::TempDir,
}

impl Copy {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("checkpoint")).unwrap();
        let copy = Copy { dir };
        for entry in fs::read_dir(CHECKPOINT).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, copy.at(path.file_name().unwrap().to_str().unwrap())).unwrap();
        }
        copy
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join("checkpoint").join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.at(name), text).unwrap();
    }

    /// Exports it: the exit code, and what was said.
    fn export(&self) -> (Option<i32>, String) {
        let out = self.dir.path().join("a.model");
        let output = Command::new(env!("CARGO_BIN_EXE_perihelion"))
            .args([Path::new("export"), &self.dir.path().join("checkpoint"), Path::new("-o"), &out])
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    }

    fn is_taken(&self, words: &[&str]) {
        let (code, said) = self.export();
        assert_eq!(code, Some(0), "{said}");
        assert!(words.iter().all(|word| said.contains(word)), "{said:?} lacks one of {words:?}");
    }

    fn is_refused(&self, words: &[&str]) {
        let (code, said) = self.export();
        assert!(matches!(code, Some(1 | 2)), "{said}");
        assert!(words.iter().all(|word| said.contains(word)), "{said:?} lacks one of {words:?}");
        assert!(!said.contains("panicked"), "{said}");
    }

    /// Writes the weights under other names; none leaves one out.
    fn rename(&self, name: impl Fn(&str) -> Option<String>) {
        let bytes = fs::read(self.at("model.safetensors")).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let renamed = tensors.iter().filter_map(|(old, view)| Some((name(old)?, view)));
        fs::write(self.at("model.safetensors"), safetensors::serialize(renamed, None).unwrap()).unwrap();
    }
}

/// The template of this name among those that are compared with transformers.
fn template(name: &str) -> String {
    let fixture: Value =
        serde_json::from_str(&fs::read_to_string("tests/fixtures/templates.json").unwrap()).unwrap();
    let cases = fixture["cases"].as_array().unwrap();
    let case = cases.iter().find(|case| case["name"] == name).expect(name);
    case["template"].as_str().unwrap().to_owned()
}

#[test]
fn a_template_of_a_thinking_model_is_taken() {
    let copy = Copy::new();
    copy.write("chat_template.jinja", &template("thinking with tools"));
    copy.is_taken(&[]);
}

#[test]
fn a_template_that_writes_the_date_is_said() {
    let copy = Copy::new();
    let template = fs::read_to_string(copy.at("chat_template.jinja")).unwrap();
    copy.write("chat_template.jinja", &format!("{{{{ strftime_now('%d %b %Y') }}}}{template}"));
    copy.is_taken(&["writes the date"]);
}

#[test]
fn settings_that_are_not_used_are_not_judged() {
    let copy = Copy::new();
    let mut config: Value =
        serde_json::from_slice(&fs::read(copy.at("generation_config.json")).unwrap()).unwrap();
    config["do_sample"] = false.into();
    config["temperature"] = 0.0.into();
    config["top_p"] = 0.0.into();
    copy.write("generation_config.json", &config.to_string());
    copy.is_taken(&[]);
    config["do_sample"] = true.into();
    copy.write("generation_config.json", &config.to_string());
    copy.is_refused(&["generation_config.json", "temperature"]);
}

#[test]
fn an_adapter_is_said_beside_weights_and_refused_without() {
    let copy = Copy::new();
    copy.write("adapter_config.json", r#"{"base_model_name_or_path": "nvidia/Cosmos-Reason2-2B"}"#);
    copy.write("adapter_model.safetensors", "");
    copy.is_taken(&["adapter_model.safetensors", "is not applied", "perihelion merge"]);
    for name in ["config.json", "model.safetensors"] {
        fs::remove_file(copy.at(name)).unwrap();
    }
    copy.is_refused(&["adapter", "nvidia/Cosmos-Reason2-2B", "perihelion merge"]);
}

#[test]
fn a_tied_head_may_have_either_name() {
    let copy = Copy::new();
    let embedding = "model.language_model.embed_tokens.weight";
    let rename = |name: &str| if name == embedding { "lm_head.weight".to_owned() } else { name.to_owned() };
    copy.rename(|name| (name != "lm_head.weight").then(|| rename(name)));
    copy.is_taken(&[]);
    copy.rename(|name| (name != "lm_head.weight").then(|| name.to_owned()));
    copy.is_refused(&[&format!("no tensor `{embedding}`")]);
}

#[test]
fn other_prefixes_are_said_with_what_is_there() {
    let copy = Copy::new();
    copy.rename(|name| Some(name.replace("model.language_model.", "language_model.model.")));
    copy.is_refused(&["no tensor `model.language_model.", "but `language_model.model.", "another prefix"]);
}
