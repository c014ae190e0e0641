//! Opening whole checkpoints.

use std::fs;
use std::path::Path;

use safetensors::tensor::TensorView as Stored;

use super::*;

/// Writes a safetensors file of bytes, each tensor with shape `[n]`.
fn write_weights(path: &Path, tensors: &[(&str, &[u8])]) {
    let views = tensors.iter().map(|(name, bytes)| {
        (*name, Stored::new(safetensors::Dtype::U8, vec![bytes.len()], bytes).expect("lengths agree"))
    });
    fs::write(path, safetensors::serialize(views, None).expect("serialises")).expect("writes");
}

#[test]
fn shards_and_a_single_file_open_alike() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = |name: &str| dir.path().join(name);
    let refused = |part: &str| {
        let message = Checkpoint::open(dir.path()).expect_err(part).to_string();
        assert!(message.contains(part), "`{message}` lacks `{part}`");
    };
    refused("expected config.json");
    fs::write(at("config.json"), "{}").expect("writes");
    refused("model.safetensors");

    for stem in ["diffusion_pytorch_model", "model"] {
        write_weights(&at("1.safetensors"), &[("a", &[1]), ("b", &[2, 3])]);
        write_weights(&at("2.safetensors"), &[("c", &[4])]);
        let index =
            |map: &str| fs::write(at(&format!("{stem}.safetensors.index.json")), map).expect("writes");
        index(
            r#"{"metadata":{},"weight_map":{"a":"1.safetensors","b":"1.safetensors","c":"2.safetensors"}}"#,
        );
        let checkpoint = Checkpoint::open(dir.path()).expect("a good checkpoint");
        assert_eq!(checkpoint.names().collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(checkpoint.tensor("c").expect("is there").bytes, [4]);
        assert_eq!(checkpoint.expect("b", &[2]).expect("is there").bytes, [2, 3]);
        let message = checkpoint.expect("b", &[3]).expect_err("another shape").to_string();
        assert!(message.contains("1.safetensors: tensor `b`: expected shape [3], found [2]"), "{message}");
        assert!(matches!(checkpoint.tensor("d"), Err(CheckpointError::NoTensor { .. })));

        index(r#"{"weight_map":{"a":"1.safetensors","c":"1.safetensors"}}"#);
        refused("tensor `c` should be in `1.safetensors`");
        index(r#"{"weight_map":{"a":"1.safetensors","a":"1.safetensors"}}"#);
        refused("`a` stands twice");
        index(r#"{"weight_map":{"a":"../1.safetensors"}}"#);
        refused("not a plain file name");
        index(r#"{"weight_map":{"a":"3.safetensors"}}"#);
        refused("3.safetensors");
        write_weights(&at("2.safetensors"), &[("a", &[4])]);
        index(r#"{"weight_map":{"a":"1.safetensors","c":"2.safetensors"}}"#);
        refused("tensor `a` is also in");
    }
    write_weights(&at("model.safetensors"), &[("a", &[9])]);
    assert_eq!(
        Checkpoint::open(dir.path()).expect("a good checkpoint").tensor("a").expect("is there").bytes,
        [9]
    );
}

#[test]
fn the_digest_changes_with_every_file_and_every_weight() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = |name: &str| dir.path().join(name);
    let digest = || Checkpoint::open(dir.path()).and_then(|c| c.digest()).expect("a good checkpoint");
    fs::write(at("config.json"), "{}").expect("writes");
    write_weights(&at("model.safetensors"), &[("a", &[1])]);
    let mut digests = vec![digest(), digest()];
    assert_eq!(digests[0], digests[1]);
    digests.pop();
    write_weights(&at("model.safetensors"), &[("a", &[2])]);
    digests.push(digest());
    fs::write(at("tokenizer.json"), "{}").expect("writes");
    digests.push(digest());
    fs::write(at("config.json"), "{ }").expect("writes");
    digests.push(digest());
    for (i, d) in digests.iter().enumerate() {
        assert!(!digests[..i].contains(d));
    }
}
