//! A ranking as JSON tells it, the same from the command line and from the node.

use serde::Serialize;

use super::candidates::Candidate;
use super::score::Score;
use super::search::Ranking;

/// A ranking with the candidates' names and the best one's actions.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// By what.
    pub score: ScoreReport,
    /// Candidates that were given.
    pub n_candidates: usize,
    /// Those that were evaluated: the first ones.
    pub n_evaluated: usize,
    /// Whether the budget ended the search.
    pub truncated: bool,
    /// The best first, then those that were not evaluated.
    pub candidates: Vec<CandidateReport>,
    /// The best one.
    pub best: BestReport,
    /// Mean of a candidate, all its noises counted.
    pub candidate_ms: f64,
}

/// What scores mean.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScoreReport {
    /// See [`Score::name`].
    pub name: &'static str,
    /// See [`Score::unit`].
    pub unit: &'static str,
    /// See [`Score::higher_is_better`].
    pub higher_is_better: bool,
    /// See [`Score::blur`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blur: Option<f64>,
}

/// One candidate.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CandidateReport {
    /// From 1; none if it was not evaluated.
    pub rank: Option<usize>,
    /// Its place among those given, from 0.
    pub candidate: usize,
    /// Where it came from.
    pub source: String,
    /// In the score's units.
    pub score: Option<f64>,
    /// Standard deviation of the score over the noises.
    pub deviation: Option<f64>,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BestReport {
    /// Where it came from.
    pub source: String,
    /// Of each column.
    pub action_names: Vec<String>,
    /// Rows of one action each, as the candidate had them.
    pub actions: Vec<Vec<f32>>,
}

impl Report {
    /// Tells of a ranking of these candidates, whose columns have these names.
    ///
    /// # Panics
    /// If the ranking is empty or of other candidates, or there are no names.
    pub fn new(
        score: &Score<'_>,
        candidates: &[Candidate],
        ranking: &Ranking,
        action_names: &[String],
    ) -> Report {
        let n_evaluated = ranking.ranked.len();
        let of = |candidate: usize| CandidateReport {
            rank: None,
            candidate,
            source: candidates[candidate].source.clone(),
            score: None,
            deviation: None,
        };
        let ranked = ranking.ranked.iter().enumerate().map(|(place, ranked)| CandidateReport {
            rank: Some(place + 1),
            score: Some(ranked.score),
            deviation: ranked.deviation,
            ..of(ranked.candidate)
        });
        let best = &candidates[ranking.ranked[0].candidate];
        Report {
            score: ScoreReport {
                name: score.name(),
                unit: score.unit(),
                higher_is_better: score.higher_is_better(),
                blur: score.blur(),
            },
            n_candidates: candidates.len(),
            n_evaluated,
            truncated: n_evaluated < candidates.len(),
            candidates: ranked.chain((n_evaluated..candidates.len()).map(of)).collect(),
            best: BestReport {
                source: best.source.clone(),
                action_names: action_names.to_vec(),
                actions: best.actions.chunks(action_names.len()).map(<[f32]>::to_vec).collect(),
            },
            candidate_ms: ranking.candidate_ms.iter().sum::<f64>() / n_evaluated as f64,
        }
    }
}
