//! The layout of a checkpoint of Reason with a few thousand weights, made of the small one's files, for tests of training.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

/// Writes the layout to the folder `dir`, which is made; no weights.
pub(crate) fn write(dir: &Path) {
    write_of(dir, [16, 24]);
}

/// Of a larger network that is shown and told the same.
#[allow(dead_code, reason = "not every test has a teacher")]
pub(crate) fn write_wider(dir: &Path) {
    write_of(dir, [32, 48]);
}

fn write_of(dir: &Path, [seeing, speaking]: [usize; 2]) {
    let small = Path::new(env!("CARGO_MANIFEST_DIR")).join("engines/small-reason");
    fs::create_dir_all(dir).expect("a folder");
    let names = ["chat_template.jinja", "generation_config.json", "processor_config.json", "tokenizer.json"];
    for name in names {
        fs::copy(small.join(name), dir.join(name)).expect("the small checkpoint has it");
    }
    let text = fs::read(small.join("config.json")).expect("the small checkpoint has it");
    let mut config: Value = serde_json::from_slice(&text).expect("JSON");
    let vision = [
        ("hidden_size", seeing),
        ("num_heads", 2),
        ("depth", 2),
        ("intermediate_size", 24),
        ("out_hidden_size", speaking),
    ];
    let language = [
        ("hidden_size", speaking),
        ("num_attention_heads", speaking / 12),
        ("head_dim", 12),
        ("num_hidden_layers", 2),
        ("intermediate_size", 32),
    ];
    for (section, sizes) in [("vision_config", vision), ("text_config", language)] {
        sizes.iter().for_each(|(key, size)| config[section][*key] = json!(size));
    }
    config["vision_config"]["deepstack_visual_indexes"] = json!([0]);
    config["text_config"]["rope_parameters"]["mrope_section"] = json!([2, 2, 2]);
    fs::write(dir.join("config.json"), config.to_string()).expect("writes");
}
