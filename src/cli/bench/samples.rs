//! Samples of the parts of a run, under one name in JSON and another in text.

use serde::{Serialize, Serializer};

use crate::runtime::statistics::Summary;

/// The samples of every part, in the order of a run.
#[derive(Debug)]
pub(super) struct Samples(Vec<Part>);

/// A part of a run, or a rate of it.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) key: &'static str,
    pub(super) title: &'static str,
    values: Vec<f64>,
}

/// The same samples as summaries.
#[derive(Debug)]
pub(super) struct Summaries<'a>(&'a Samples);

impl Part {
    pub(super) fn summary(&self) -> Summary {
        Summary::of(&self.values)
    }
}

impl Samples {
    /// No samples yet of the parts `(key, title)`.
    pub(super) fn new(parts: &[(&'static str, &'static str)]) -> Samples {
        Samples(parts.iter().map(|&(key, title)| Part { key, title, values: Vec::new() }).collect())
    }

    /// Adds samples of the part `key`.
    ///
    /// # Panics
    /// If there is no such part.
    pub(super) fn add(&mut self, key: &str, values: impl IntoIterator<Item = f64>) {
        let part = self.0.iter_mut().find(|part| part.key == key);
        part.expect("the parts are named where the samples are made").values.extend(values);
    }

    /// The mean of the part `key`, if it has samples.
    pub(super) fn mean(&self, key: &str) -> Option<f64> {
        self.parts().find(|part| part.key == key)?.summary().mean
    }

    pub(super) fn parts(&self) -> impl Iterator<Item = &Part> {
        self.0.iter()
    }

    pub(super) fn summaries(&self) -> Summaries<'_> {
        Summaries(self)
    }
}

impl Serialize for Samples {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.parts().map(|part| (part.key, &part.values)))
    }
}

impl Serialize for Summaries<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.parts().map(|part| (part.key, part.summary())))
    }
}
