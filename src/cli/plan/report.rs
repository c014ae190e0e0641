//! What `plan` says of a ranking.

use std::path::PathBuf;

use serde::Serialize;

use crate::cli::output;
use crate::runtime::plan::{self, Noises};

#[derive(Debug, Serialize)]
pub(super) struct Report {
    #[serde(flatten)]
    pub(super) ranking: plan::Report,
    pub(super) seed: u64,
    pub(super) noises: usize,
    /// Of the denoiser.
    pub(super) steps: usize,
    #[serde(flatten)]
    pub(super) timings: Timings,
    /// What was written.
    pub(super) files: Vec<PathBuf>,
}

/// Milliseconds, from the first run.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Timings {
    /// Of the given frames.
    pub(super) encode_ms: f64,
    /// Of the goal, or of what came.
    pub(super) target_ms: f64,
    /// To the ranking.
    pub(super) total_ms: f64,
}

impl Report {
    pub(super) fn new(ranking: plan::Report, noises: Noises, steps: usize, timings: Timings) -> Report {
        Report { ranking, seed: noises.seed, noises: noises.n, steps, timings, files: Vec::new() }
    }

    /// The `top` best, as a person reads them.
    pub(super) fn text(&self, top: usize) -> String {
        let ranking = &self.ranking;
        let cut = if ranking.truncated { ", cut off by the budget" } else { "" };
        let direction = if ranking.score.higher_is_better { "higher" } else { "lower" };
        let mut text = format!(
            "{} of {} plans evaluated{cut}: {:.1} ms each, {:.1} ms in all\n{}: {}; {direction} is better\n",
            ranking.n_evaluated,
            ranking.n_candidates,
            ranking.candidate_ms,
            self.timings.total_ms,
            ranking.score.name.replace('_', " "),
            ranking.score.unit,
        );
        let rows = ranking.candidates.iter().take(ranking.n_evaluated.min(top)).map(|candidate| {
            let number = |value: Option<f64>| value.map(|v| format!("{v:.4}")).unwrap_or_default();
            let rank = candidate.rank.map(|rank| rank.to_string()).unwrap_or_default();
            vec![candidate.source.clone(), rank, number(candidate.score), number(candidate.deviation)]
        });
        let heading = ["plan", "rank", "score", if self.noises == 1 { "" } else { "±" }];
        let table: Vec<_> = std::iter::once(heading.map(str::to_owned).to_vec()).chain(rows).collect();
        text.push_str(&output::table(&table));
        for file in &self.files {
            text.push_str(&format!("{}\n", file.display()));
        }
        text
    }
}
