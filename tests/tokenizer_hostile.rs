//! Damaged tokenizers and chat templates are refused or used, never a panic.

mod support;

use std::fs;

use perihelion::checkpoint::Checkpoint;
use perihelion::models::reason2::{ChatTemplate, Reason2Config, Tokenizer};
use support::Case;

#[test]
fn tokenizers() {
    const N_DAMAGES: usize = 500;
    let case = &Case::all()[0];
    let good = case.checkpoint().file("tokenizer.json").expect("readable").expect("every case has one");
    let mut n_refused = 0;
    let mut open = |bytes: &[u8]| match Tokenizer::from_bytes(bytes) {
        Ok(tokenizer) => {
            let _ = tokenizer.encode("What is it? <think> <|im_end|> é").map(|ids| tokenizer.decode(&ids));
        }
        Err(_) => n_refused += 1,
    };
    let mut bytes = good.clone();
    for i in 0..N_DAMAGES {
        // Strewn over the file: all of its hundred thousand bits would take minutes.
        let bit = (i * 0x9e37_79b1) % (good.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        open(&bytes);
        bytes[bit / 8] ^= 1 << (bit % 8);
        open(&good[..bit / 8]);
    }
    assert!(N_DAMAGES <= n_refused, "every truncation is refused");
}

#[test]
fn chat_templates() {
    let cases = Case::all();
    let case = cases.iter().find(|c| c.name() == "one_image").expect("a fixture with one shard");
    let (good_layout, tokenizer) = case.layout();
    let config = Reason2Config::parse(case.checkpoint().config()).expect("a good config");
    let dir = tempfile::tempdir().expect("a directory");
    for name in ["config.json", "model.safetensors", "tokenizer_config.json", "chat_template.jinja"] {
        fs::copy(case.dir.join("checkpoint").join(name), dir.path().join(name)).expect("copies");
    }
    let path = dir.path().join("chat_template.jinja");
    let good = fs::read(&path).expect("copied a moment ago");
    let layout = |bytes: &[u8]| {
        fs::write(&path, bytes).expect("writes");
        let checkpoint = Checkpoint::open(dir.path()).expect("a good checkpoint");
        ChatTemplate::find(&checkpoint)?.layout(&config, &tokenizer, case.think_suffix.clone())
    };
    assert_eq!(layout(&good).expect("a good template"), good_layout);
    let mut bytes = good.clone();
    let mut n_refused = 0;
    for i in 0..good.len() {
        bytes[i] ^= 1 << (i % 8);
        n_refused += usize::from(layout(&bytes).is_err());
        bytes[i] = good[i];
        n_refused += usize::from(layout(&good[..i]).is_err());
    }
    assert!(good.len() < n_refused, "{n_refused} of {} damaged templates were refused", 2 * good.len());
}
