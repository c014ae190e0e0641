//! Times of the parts of a run, under one name in JSON and another in text.

use serde::{Serialize, Serializer};

use crate::cli::output;
use crate::runtime::statistics::Summary;

/// The samples of every part, in the order of a run.
#[derive(Debug)]
pub(super) struct Samples(Vec<Stage>);

#[derive(Debug)]
struct Stage {
    key: &'static str,
    title: &'static str,
    ms: Vec<f64>,
}

/// The same samples as summaries.
#[derive(Debug)]
pub(super) struct Summaries<'a>(&'a Samples);

impl Samples {
    /// No samples yet of the parts `(key, title)`.
    pub(super) fn new(stages: &[(&'static str, &'static str)]) -> Samples {
        Samples(stages.iter().map(|&(key, title)| Stage { key, title, ms: Vec::new() }).collect())
    }

    /// Adds samples of the part `key`.
    ///
    /// # Panics
    /// If there is no such part.
    pub(super) fn add(&mut self, key: &str, ms: impl IntoIterator<Item = f64>) {
        let stage = self.0.iter_mut().find(|stage| stage.key == key);
        stage.expect("the parts are named where the samples are made").ms.extend(ms);
    }

    /// The mean of the part `key`, if it has samples.
    pub(super) fn mean(&self, key: &str) -> Option<f64> {
        Summary::of(&self.0.iter().find(|stage| stage.key == key)?.ms).mean
    }

    pub(super) fn summaries(&self) -> Summaries<'_> {
        Summaries(self)
    }

    /// A line for each part.
    pub(super) fn table(&self) -> String {
        let heading = ["ms", "count", "min", "mean", "p50", "p90", "p99", "max"];
        let mut rows = vec![heading.map(str::to_owned).to_vec()];
        for stage in &self.0 {
            let cell = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |v| format!("{v:.3}"));
            let Summary { count, min, mean, p50, p90, p99, max, .. } = Summary::of(&stage.ms);
            let mut row = vec![stage.title.to_owned(), count.to_string()];
            row.extend([min, mean, p50, p90, p99, max].map(cell));
            rows.push(row);
        }
        output::table(&rows)
    }
}

impl Serialize for Samples {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|stage| (stage.key, &stage.ms)))
    }
}

impl Serialize for Summaries<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.0.iter().map(|stage| (stage.key, Summary::of(&stage.ms))))
    }
}
