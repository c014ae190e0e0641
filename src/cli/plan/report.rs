//! What `plan` says of a ranking.

use std::path::PathBuf;

use serde::Serialize;

use super::Options;
use crate::cli::output;
use crate::runtime::plan::{Candidate, Ranking, Score};
use crate::runtime::predict::Predict;

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

#[derive(Debug, Serialize)]
pub(super) struct Report {
    score: ScoreReport,
    n_candidates: usize,
    n_evaluated: usize,
    /// Whether the budget ended the search.
    truncated: bool,
    seed: u64,
    noises: usize,
    steps: usize,
    /// The best first, then those that were not evaluated.
    candidates: Vec<CandidateReport>,
    best: Best,
    #[serde(flatten)]
    timings: Timings,
    /// Mean of a candidate, all its noises counted.
    candidate_ms: f64,
    /// What was written.
    files: Vec<PathBuf>,
}

#[derive(Debug, Serialize)]
struct ScoreReport {
    name: &'static str,
    unit: &'static str,
    higher_is_better: bool,
}

#[derive(Debug, Serialize)]
struct CandidateReport {
    /// From 1; null if it was not evaluated.
    rank: Option<usize>,
    /// Its place among those given, from 0.
    candidate: usize,
    source: String,
    score: Option<f64>,
    /// Standard deviation of the score over the noises.
    deviation: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Best {
    source: String,
    action_names: Vec<String>,
    actions: Vec<Vec<f32>>,
}

impl Report {
    #[expect(clippy::too_many_arguments, reason = "what a report is about")]
    pub(super) fn new(
        options: &Options,
        score: &Score<'_>,
        candidates: &[Candidate],
        ranking: &Ranking,
        names: &[String],
        timings: Timings,
        files: Vec<PathBuf>,
        predict: &Predict,
    ) -> Report {
        let n_evaluated = ranking.ranked.len();
        let ranked = ranking.ranked.iter().enumerate().map(|(place, ranked)| CandidateReport {
            rank: Some(place + 1),
            candidate: ranked.candidate,
            source: candidates[ranked.candidate].source.clone(),
            score: Some(ranked.score),
            deviation: ranked.deviation,
        });
        let rest = (n_evaluated..candidates.len()).map(|candidate| CandidateReport {
            rank: None,
            candidate,
            source: candidates[candidate].source.clone(),
            score: None,
            deviation: None,
        });
        let best = &candidates[ranking.ranked[0].candidate];
        Report {
            score: ScoreReport {
                name: score.name(),
                unit: score.unit(),
                higher_is_better: score.higher_is_better(),
            },
            n_candidates: candidates.len(),
            n_evaluated,
            truncated: n_evaluated < candidates.len(),
            seed: options.seed,
            noises: options.noises,
            steps: predict.n_steps(),
            candidates: ranked.chain(rest).collect(),
            best: Best {
                source: best.source.clone(),
                action_names: names.to_vec(),
                actions: best.actions.chunks(names.len()).map(<[f32]>::to_vec).collect(),
            },
            timings,
            candidate_ms: ranking.candidate_ms.iter().sum::<f64>() / n_evaluated as f64,
            files,
        }
    }

    pub(super) fn text(&self, top: usize) -> String {
        let cut = if self.truncated { ", cut off by the budget" } else { "" };
        let direction = if self.score.higher_is_better { "higher" } else { "lower" };
        let mut text = format!(
            "{} of {} plans evaluated{cut}: {:.1} ms each, {:.1} ms in all\n{}: {}; {direction} is better\n",
            self.n_evaluated,
            self.n_candidates,
            self.candidate_ms,
            self.timings.total_ms,
            self.score.name.replace('_', " "),
            self.score.unit,
        );
        let ranked = self.candidates.iter().take(self.n_evaluated.min(top));
        let rows = ranked.map(|candidate| {
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
