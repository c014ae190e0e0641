//! Which tensor of a checkpoint an adapter's name is for.
//!
//! The models that adapters are trained in are wrapped, and transformers has moved its wrappers between versions
//! (`model.language_model.` was `language_model.model.`), so that names are compared without the wrappers before them. A denoiser that is
//! stored under the names of its training is also looked for under these.

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value;

use super::error::MergeError;
use crate::checkpoint::Checkpoint;
use crate::models::predict25::Spelling;

/// What stands before a layer's own name, in any order.
const WRAPPERS: [&str; 6] = ["base_model", "language_model", "model", "module", "net", "transformer"];
/// Head and embedding, of which a checkpoint may have one for both.
const TIED: [&str; 2] = ["lm_head.weight", "embed_tokens.weight"];
/// Of a checkpoint's names in a message.
const SHOWN: usize = 3;

/// A checkpoint's names without their wrappers.
#[derive(Debug)]
pub(super) struct Targets<'c> {
    checkpoint: &'c Checkpoint,
    by_own_name: HashMap<&'c str, Vec<&'c str>>,
    spelling: Spelling,
    is_tied: bool,
}

impl<'c> Targets<'c> {
    pub(super) fn of(checkpoint: &'c Checkpoint) -> Self {
        let mut by_own_name: HashMap<&str, Vec<&str>> = HashMap::new();
        for name in checkpoint.names() {
            by_own_name.entry(without_wrappers(name)).or_default().push(name);
        }
        let config = checkpoint.config().value();
        let tied = |section: &Value| section.get("tie_word_embeddings")?.as_bool();
        let is_tied = tied(config).or_else(|| tied(config.get("text_config")?)).unwrap_or(false);
        Self { checkpoint, by_own_name, spelling: Spelling::of(checkpoint.tensors()), is_tied }
    }

    /// The one tensor that `key` of the adapter in `path` is for.
    ///
    /// # Errors
    /// If there is none, or more than one.
    pub(super) fn find(&self, path: &Path, key: &str) -> Result<&'c str, MergeError> {
        let own = without_wrappers(key);
        if self.is_tied && TIED.contains(&own) {
            let (path, key) = (path.to_owned(), key.to_owned());
            return Err(MergeError::Tied { path, key, checkpoint: self.checkpoint.dir().to_owned() });
        }
        let trained = self.spelling.stored_name(own);
        let found = self.by_own_name.get(own).or_else(|| self.by_own_name.get(without_wrappers(&trained)));
        match found.map(Vec::as_slice) {
            Some(&[one]) => Ok(one),
            Some(several) => {
                let exact = key.strip_prefix("base_model.model.").unwrap_or(key);
                let alike = several.iter().copied().find(|name| *name == exact);
                alike.ok_or_else(|| MergeError::Ambiguous {
                    path: path.to_owned(),
                    key: key.to_owned(),
                    what: format!("{} has {}", self.checkpoint.dir().display(), several.join(" and ")),
                })
            }
            None => Err(self.unmatched(path, key, own)),
        }
    }

    fn unmatched(&self, path: &Path, key: &str, own: &str) -> MergeError {
        let (path, key) = (path.to_owned(), key.to_owned());
        let checkpoint = self.checkpoint.dir().to_owned();
        let mut near: Vec<(usize, &str)> =
            self.checkpoint.names().map(|name| (in_common(without_wrappers(name), own), name)).collect();
        near.sort_by_key(|(n, _)| std::cmp::Reverse(*n));
        let near = near.into_iter().filter(|(n, _)| 1 < *n).take(SHOWN);
        MergeError::Unmatched {
            path,
            key,
            checkpoint,
            found: near.map(|(_, name)| name.to_owned()).collect(),
        }
    }
}

/// A name without what wraps the layer.
fn without_wrappers(name: &str) -> &str {
    let mut own = name;
    while let Some((_, rest)) = own.split_once('.').filter(|(first, _)| WRAPPERS.contains(first)) {
        own = rest;
    }
    own
}

/// How many parts of one name stand in the other too.
fn in_common(one: &str, other: &str) -> usize {
    one.split('.').filter(|part| other.split('.').any(|of_other| of_other == *part)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrappers_fall_off_the_front_alone() {
        for (name, own) in [
            (
                "base_model.model.model.language_model.layers.0.mlp.up_proj.weight",
                "layers.0.mlp.up_proj.weight",
            ),
            ("language_model.model.layers.0.mlp.up_proj.weight", "layers.0.mlp.up_proj.weight"),
            ("model.visual.blocks.0.attn.qkv.weight", "visual.blocks.0.attn.qkv.weight"),
            ("transformer.transformer_blocks.0.attn1.to_q.weight", "transformer_blocks.0.attn1.to_q.weight"),
            ("net.blocks.0.model.weight", "blocks.0.model.weight"),
            ("text_encoder.model.layers.0.weight", "text_encoder.model.layers.0.weight"),
            ("model", "model"),
        ] {
            assert_eq!(without_wrappers(name), own);
        }
    }

    #[test]
    fn names_are_near_that_have_parts_in_common() {
        assert_eq!(in_common("layers.0.mlp.up_proj.weight", "layers.0.mlp.gate_proj.weight"), 4);
        assert_eq!(in_common("layers.0.self_attn.q_proj.weight", "layers.9.self_attn.q_proj.bias"), 3);
        assert_eq!(in_common("a.b", "c.d"), 0);
    }
}
