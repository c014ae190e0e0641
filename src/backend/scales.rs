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
//!
//! With format 2 there may be two members more:
//!
//! ```json
//! {
//!   "balances": [{
//!     "divided": ["language.layers.0.input_layernorm.weight"],
//!     "multiplied": ["language.layers.0.q_proj.weight"],
//!     "alpha": 0.5,
//!     "factors": [0.25, 2.0]
//!   }],
//!   "wide": ["language.layers.0.down_proj.weight"]
//! }
//! ```
//!
//! A balance moves magnitude between what products are given and their matrices (Xiao et al. 2022, SmoothQuant,
//! <https://arxiv.org/abs/2211.10438>): channel `j` of the divided weights (an element of a norm's weight and bias, a row of a matrix and
//! an element of its bias) is divided by factor `j`, and the columns of the multiplied matrices that this channel becomes are multiplied by
//! it. `amax` is of what is given then. `alpha` says how the factors were found, and changes nothing. `wide` names matrices whose
//! products stay in 16 bits in what they are given; they have no tensor.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::bounded::{self, TEXT_BYTES_MAX};

/// The formats that are read. What has neither balances nor wide products is written as the first, which older programs read.
const FORMATS: [u32; 2] = [1, 2];
/// What a factor may be: beyond, 16 bits would hold neither the divided nor the multiplied.
const FACTORS: std::ops::RangeInclusive<f32> = 1e-6..=1e6;

/// Scales of one model's activations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActivationScales {
    format: u32,
    /// The digest of the model that they are of.
    pub model: String,
    /// In no order; no weight twice.
    pub tensors: Vec<ActivationScale>,
    /// In no order; no weight is divided twice, none multiplied twice.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub balances: Vec<Balance>,
    /// Names of matrices whose products are given numbers of 16 bits or more, where all others have fewer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wide: Vec<String>,
}

/// Factors between what products are given and their matrices, channel by channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Balance {
    /// Names of weights whose channels are divided.
    pub divided: Vec<String>,
    /// Names of matrices whose columns are multiplied.
    pub multiplied: Vec<String>,
    /// The share of magnitude that matrices take: 0 to 1.
    pub alpha: f32,
    /// By channel of the divided.
    pub factors: Vec<f32>,
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
        "{path}: no file of scales: {why}; expected a JSON object of `format`, `model` (its digest) and `tensors` (`weight`, `amax`, `method`), as `calibrate` writes it"
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
    /// A balance is not one of the model's.
    #[error("scales balance {weights}: {why}; `calibrate` makes what the model has")]
    Balance {
        /// Its matrices.
        weights: String,
        /// Expected and found.
        why: String,
    },
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
        Self::balanced(model, tensors, Vec::new(), Vec::new())
    }

    /// Of a model with this digest, whose products are balanced so, and some of them given what is wide.
    pub fn balanced(
        model: &str,
        tensors: Vec<ActivationScale>,
        balances: Vec<Balance>,
        wide: Vec<String>,
    ) -> Self {
        let format = FORMATS[usize::from(!(balances.is_empty() && wide.is_empty()))];
        ActivationScales { format, model: model.to_owned(), tensors, balances, wide }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// If it cannot be read, or is no such file: each magnitude and factor a number above 0, no weight twice.
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
        if !FORMATS.contains(&self.format) {
            return Err(format!("format {}, expected {} or {}", self.format, FORMATS[0], FORMATS[1]));
        }
        if self.format == FORMATS[0] && !(self.balances.is_empty() && self.wide.is_empty()) {
            return Err(format!("`balances` or `wide` in format {}, which has neither", self.format));
        }
        let mut seen = HashSet::new();
        for ActivationScale { weight, amax, .. } in &self.tensors {
            if !amax.is_normal() || *amax < 0.0 {
                return Err(format!("`{weight}` has amax {amax}, expected a number above 0"));
            }
            if !seen.insert(weight) {
                return Err(format!("`{weight}` is there twice"));
            }
        }
        if let Some(weight) = self.wide.iter().find(|weight| !seen.insert(weight)) {
            return Err(format!("`{weight}` is wide, and is there a second time"));
        }
        self.balances.iter().try_for_each(Balance::check)?;
        let (mut divided, mut multiplied) = (HashSet::new(), HashSet::new());
        for of in &self.balances {
            let twice = of.divided.iter().find(|weight| !divided.insert(*weight));
            let twice = twice.or_else(|| of.multiplied.iter().find(|weight| !multiplied.insert(*weight)));
            if let Some(weight) = twice {
                return Err(format!("`{weight}` is balanced twice"));
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
        let balanced = self.balances.iter().flat_map(|of| of.divided.iter().chain(&of.multiplied));
        let mut all = self.tensors.iter().map(|scale| &scale.weight).chain(&self.wide).chain(balanced);
        match all.find(|weight| !known.contains(&weight[..])) {
            Some(weight) => Err(ScalesError::Weight(weight.clone())),
            None => Ok(()),
        }
    }

    /// Magnitudes by the names of weights.
    pub fn by_weight(&self) -> HashMap<&str, f32> {
        self.tensors.iter().map(|t| (t.weight.as_str(), t.amax)).collect()
    }
}

impl Balance {
    fn check(&self) -> Result<(), String> {
        let name = self.multiplied.first().map_or("nothing", |name| name);
        if self.divided.is_empty() || self.multiplied.is_empty() || self.factors.is_empty() {
            return Err(format!(
                "a balance of `{name}` without weights that are divided, multiplied, or factors"
            ));
        }
        if !(0.0..=1.0).contains(&self.alpha) {
            return Err(format!("the balance of `{name}` has alpha {}, expected 0 to 1", self.alpha));
        }
        match self.factors.iter().enumerate().find(|(_, factor)| !FACTORS.contains(*factor)) {
            Some((i, factor)) => Err(format!(
                "the balance of `{name}` has factor {factor} in channel {i}, expected {:e} to {:e}",
                FACTORS.start(),
                FACTORS.end()
            )),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scale(weight: &str, amax: f32) -> ActivationScale {
        ActivationScale { weight: weight.into(), amax, method: "max".into() }
    }

    fn balance(divided: &str, multiplied: &[&str], factors: &[f32]) -> Balance {
        let multiplied = multiplied.iter().map(|name| (*name).to_owned()).collect();
        Balance { divided: vec![divided.to_owned()], multiplied, alpha: 0.5, factors: factors.into() }
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
        assert!(text.starts_with(r#"{"format":1,"#), "older programs read what they know: {text}");
        let of = [balance("norm", &["a", "b"], &[0.5, 1e-6, 2.0])];
        let scales = ActivationScales::balanced("abc", scales.tensors, of.into(), vec!["c".into()]);
        let text = serde_json::to_string(&scales).unwrap();
        assert_eq!(opened(&text).unwrap(), scales);
        let missing = |names: &[&str]| scales.check_weights(names.iter().copied()).unwrap_err().to_string();
        assert!(missing(&["a", "b", "norm"]).contains("`c`"));
        assert!(missing(&["a", "b", "c"]).contains("`norm`"));
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
            (r#"{"format": 3, "model": "a", "tensors": []}"#, "format 3, expected 1 or 2"),
            (r#"{"format": 1, "model": "a", "tensors": [], "wide": ["a"]}"#, "format 1, which has neither"),
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
        let with = |balances: &[Balance], wide: &[&str]| {
            let wide = wide.iter().map(|name| (*name).to_owned()).collect();
            let all = ActivationScales::balanced("abc", vec![scale("a", 1.0)], balances.into(), wide);
            opened(&serde_json::to_string(&all).unwrap()).unwrap_err()
        };
        let good = || balance("norm", &["a"], &[1.0, 2.0]);
        for (factor, expected) in
            [(0.0, "factor 0 in channel 1"), (-1.0, "factor -1"), (1e-7, "expected 1e-6 to 1e6"), (1e7, "1e")]
        {
            let why = with(&[balance("norm", &["a"], &[1.0, factor])], &[]);
            assert!(why.contains(expected) && why.contains("balance of `a`"), "{why}");
        }
        // JSON has no number that is none.
        for no_number in ["null", "NaN", "1e999", "\"1\""] {
            let text = r#"{"format":2,"model":"a","tensors":[],"balances":[{"divided":["n"],"multiplied":["w"],"alpha":0.5,"factors":[?]}]}"#;
            let why = opened(&text.replace('?', no_number)).unwrap_err();
            assert!(why.contains("no file of scales"), "{no_number}: {why}");
        }
        let none = Balance { factors: Vec::new(), ..good() };
        for (balances, wide, expected) in [
            (&[none][..], &[][..], "without weights"),
            (&[Balance { divided: Vec::new(), ..good() }], &[], "without weights"),
            (&[Balance { multiplied: Vec::new(), ..good() }], &[], "without weights"),
            (&[Balance { alpha: 1.5, ..good() }], &[], "alpha 1.5"),
            (&[good(), balance("other", &["a"], &[1.0])], &[], "`a` is balanced twice"),
            (&[good(), balance("norm", &["b"], &[1.0])], &[], "`norm` is balanced twice"),
            (&[], &["a"], "`a` is wide"),
            (&[], &["b", "b"], "`b` is wide"),
        ] {
            let why = with(balances, wide);
            assert!(why.contains(expected), "{why}");
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
