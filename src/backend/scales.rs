//! How large activations become, as calibration has seen them: what scales of eight and four bits are made from.
//!
//! The file is JSON, of which this is all:
//!
//! ```json
//! {
//!   "format": 1,
//!   "model": "the digest of the model's weights and graphs, as `inspect` shows it",
//!   "tensors": [{ "weight": "language.layers.0.q_proj.weight", "amax": 7.25, "method": "max" }]
//! }
//! ```
//!
//! A tensor is what a product with that weight is given. `amax` is the magnitude that the largest number of the narrow type stands for;
//! what is larger is cut. `method` says how it was found, and changes nothing.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::bounded::{self, TEXT_BYTES_MAX};

/// The format that is read and written.
const FORMAT: u32 = 1;

/// Scales of one model's activations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActivationScales {
    format: u32,
    /// The digest of the model that they are of.
    pub model: String,
    /// In no order; no weight twice.
    pub tensors: Vec<ActivationScale>,
}

/// How large what a product is given becomes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActivationScale {
    /// The name of the product's weight.
    pub weight: String,
    /// A magnitude, above 0.
    pub amax: f32,
    /// How it was found: `max`, `percentile 99.9`, …
    pub method: String,
}

/// Why scales cannot be read, or are of something else.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScalesError {
    /// It cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is no such file.
    #[error(
        "{path}: no file of scales: {why}; expected a JSON object of `format`, `model` (its digest) and `tensors` (`weight`, `amax`, `method`)"
    )]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// Expected and found.
        why: String,
    },
    /// One is of a weight that the model has not.
    #[error("scales have `{0}`, which is no weight of the model; `calibrate` makes those that it has")]
    Weight(String),
    /// They are another model's.
    #[error("scales are of model {found}, this one is {expected}; `calibrate` makes those of a model")]
    Model {
        /// The model's digest.
        expected: String,
        /// Theirs.
        found: String,
    },
}

impl ActivationScales {
    /// Of a model with this digest.
    pub fn new(model: &str, tensors: Vec<ActivationScale>) -> Self {
        ActivationScales { format: FORMAT, model: model.to_owned(), tensors }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// If it cannot be read, or is no such file: each magnitude a number above 0, no weight twice.
    pub fn open(path: &Path) -> Result<Self, ScalesError> {
        let read = |source| ScalesError::Read { path: path.to_owned(), source };
        let malformed = |why: String| ScalesError::Malformed { path: path.to_owned(), why };
        Self::parse(&bounded::read(path, TEXT_BYTES_MAX).map_err(read)?).map_err(malformed)
    }

    /// Reads a file's bytes.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let scales: Self = serde_json::from_slice(bytes).map_err(|why| why.to_string())?;
        scales.check().map(|()| scales)
    }

    /// Whether they are of a model with this digest and weights of these names.
    ///
    /// # Errors
    /// Whose they are instead, or which weight it has not.
    pub fn check_of<'a>(
        &self,
        digest: &str,
        names: impl Iterator<Item = &'a str>,
    ) -> Result<(), ScalesError> {
        self.check_model(digest)?;
        self.check_weights(names)
    }

    /// Serialised anew: what a file may have between its words is not kept.
    pub fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain data")
    }

    fn check(&self) -> Result<(), String> {
        if self.format != FORMAT {
            return Err(format!("format {}, expected {FORMAT}", self.format));
        }
        let mut seen = HashMap::new();
        for ActivationScale { weight, amax, .. } in &self.tensors {
            if !amax.is_normal() || *amax < 0.0 {
                return Err(format!("`{weight}` has amax {amax}, expected a number above 0"));
            }
            if seen.insert(weight, ()).is_some() {
                return Err(format!("`{weight}` is there twice"));
            }
        }
        Ok(())
    }

    /// Whether they are of a model.
    ///
    /// # Errors
    /// Whose they are instead.
    fn check_model(&self, digest: &str) -> Result<(), ScalesError> {
        if self.model == digest {
            return Ok(());
        }
        Err(ScalesError::Model { expected: digest.to_owned(), found: self.model.clone() })
    }

    /// Whether every one is of a weight that there is.
    ///
    /// # Errors
    /// The first that is not.
    fn check_weights<'a>(&self, names: impl Iterator<Item = &'a str>) -> Result<(), ScalesError> {
        let known: HashSet<&str> = names.collect();
        match self.tensors.iter().find(|scale| !known.contains(&scale.weight[..])) {
            Some(scale) => Err(ScalesError::Weight(scale.weight.clone())),
            None => Ok(()),
        }
    }

    /// Magnitudes by the names of weights.
    pub fn by_weight(&self) -> HashMap<&str, f32> {
        self.tensors.iter().map(|t| (t.weight.as_str(), t.amax)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scale(weight: &str, amax: f32) -> ActivationScale {
        ActivationScale { weight: weight.into(), amax, method: "max".into() }
    }

    fn opened(text: &str) -> Result<ActivationScales, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("scales.json");
        std::fs::write(&path, text).unwrap();
        ActivationScales::open(&path).map_err(|why| why.to_string())
    }

    #[test]
    fn a_file_is_read_as_it_was_written() {
        let scales = ActivationScales::new("abc", vec![scale("a", 1.5), scale("b", 7.25)]);
        let text = serde_json::to_string(&scales).unwrap();
        assert_eq!(opened(&text).unwrap(), scales);
        assert_eq!(scales.by_weight()["b"], 7.25);
        assert!(scales.check_model("abc").is_ok());
        assert!(scales.check_weights(["b", "a", "c"].into_iter()).is_ok());
        let unknown = scales.check_weights(["a", "c"].into_iter()).unwrap_err().to_string();
        assert!(unknown.contains("`b`"), "{unknown}");
        let why = scales.check_model("def").unwrap_err().to_string();
        assert!(why.contains("model abc") && why.contains("is def"), "{why}");
    }

    #[test]
    fn what_is_no_file_of_scales_is_refused() {
        let of = |tensors: Vec<ActivationScale>| {
            serde_json::to_string(&ActivationScales::new("abc", tensors)).unwrap()
        };
        for (text, expected) in [
            ("", "EOF"),
            ("{}", "missing field"),
            (r#"{"format": 2, "model": "a", "tensors": []}"#, "format 2, expected 1"),
            (r#"{"format": 1, "model": "a", "tensors": [], "more": 1}"#, "unknown field"),
            (&of(vec![scale("a", 0.0)]), "`a` has amax 0"),
            (&of(vec![scale("a", -1.0)]), "`a` has amax -1"),
            (&of(vec![scale("a", 1.0), scale("a", 2.0)]), "`a` is there twice"),
            (&of(vec![scale("a", 1.0)])[..40], "EOF"),
            (r#"{"format": 1, "model": "a", "tensors": [{"weight": "a", "amax": 1e99, "method": ""}]}"#, "a"),
        ] {
            let why = opened(text).unwrap_err();
            assert!(why.contains(expected) && why.contains("scales.json"), "{text}: {why}");
        }
        for (place, expected) in [("/", "no regular file"), ("/dev/zero", "no regular file")] {
            let why = ActivationScales::open(Path::new(place)).unwrap_err().to_string();
            assert!(why.contains(expected), "{place}: {why}");
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(TEXT_BYTES_MAX + 1).unwrap();
        let why = ActivationScales::open(file.path()).unwrap_err().to_string();
        assert!(why.contains("more than"), "{why}");
        let why = ActivationScales::open(Path::new("/nowhere/a.json")).unwrap_err().to_string();
        assert!(why.contains("/nowhere/a.json"), "{why}");
    }
}
