//! The loop over candidates.

use std::time::Instant;

use super::candidates::Candidate;
use super::error::PlanError;
use super::score::Score;
use crate::backend::RunError;
use crate::runtime::predict::{ForecastError, ForecastRequest, Noise, Predict};

/// The noises that every candidate's forecasts start from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Noises {
    /// Of the first; those of the others are [`Predict::seed_of`]'s.
    pub seed: u64,
    /// How many.
    pub n: usize,
}

/// A candidate's score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ranked {
    /// The candidate's place among those given.
    pub candidate: usize,
    /// In the score's own units.
    pub score: f64,
    /// Standard deviation of the score over the noises; absent if there is one score only.
    pub deviation: Option<f64>,
}

/// Candidates, the best first. Equal scores keep the order in which the candidates were given.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ranking {
    /// The best first. Fewer than were given if time was up: then it is the first ones that were evaluated.
    pub ranked: Vec<Ranked>,
    /// Milliseconds of each, in the order in which they were given.
    pub candidate_ms: Vec<f64>,
}

/// Rolls candidates out from the frames that `predict` was shown last, one after the other until time is up, and ranks them.
/// `request` is every forecast's but for noise and actions. `progress` is told how many are done. A candidate counts only once all its
/// noises are done.
///
/// # Errors
/// If there is no candidate, one does not fit the engine, a forecast failed, the critic did not answer, or the first candidate was not
/// ready in time.
pub fn search(
    predict: &mut Predict,
    candidates: &[Candidate],
    score: &mut Score<'_>,
    noises: Noises,
    request: &ForecastRequest<'_>,
    mut progress: impl FnMut(usize),
) -> Result<Ranking, PlanError> {
    check(candidates, score, noises)?;
    // What does not fit is told before any work.
    for (index, candidate) in candidates.iter().enumerate() {
        predict.check(&of_candidate(candidate, request)).map_err(|error| of(index, candidate, error))?;
    }
    let manifest = predict.manifest();
    let n_forecast = manifest.latents.len() - manifest.n_given_latents() * manifest.latents.frame_len();
    let n_compared = if matches!(score, Score::ExpectedSurprise) { n_forecast } else { 0 };
    let mut pairs = Pairs { mean: vec![0.0; n_compared], n: 0, squares: 0.0 };
    let mut ranking = Ranking {
        ranked: Vec::with_capacity(candidates.len()),
        candidate_ms: Vec::with_capacity(candidates.len()),
    };
    for (index, candidate) in candidates.iter().enumerate() {
        let begin = Instant::now();
        let scored = match roll_out(predict, score, noises, &of_candidate(candidate, request), &mut pairs) {
            Err(PlanError::Forecast(ForecastError::Run(RunError::Deadline))) => None,
            Err(PlanError::Forecast(error)) => return Err(of(index, candidate, error)),
            other => other?,
        };
        let Some((score, deviation)) = scored else { break };
        ranking.ranked.push(Ranked { candidate: index, score, deviation });
        ranking.candidate_ms.push(begin.elapsed().as_secs_f64() * 1e3);
        progress(index + 1);
    }
    if ranking.ranked.is_empty() {
        return Err(PlanError::NoTime);
    }
    let higher_is_better = score.higher_is_better();
    // No two are equal, and a stable sort would allocate.
    ranking.ranked.sort_unstable_by(|a, b| {
        let rising = a.score.total_cmp(&b.score);
        let best_first = if higher_is_better { rising.reverse() } else { rising };
        best_first.then(a.candidate.cmp(&b.candidate))
    });
    Ok(ranking)
}

fn check(candidates: &[Candidate], score: &Score<'_>, noises: Noises) -> Result<(), PlanError> {
    match (candidates.len(), noises.n, score) {
        (0, _, _) => Err(PlanError::NoCandidates),
        (_, 0, _) => Err(PlanError::NoNoises),
        (_, 1, Score::ExpectedSurprise) => Err(PlanError::OneNoise),
        _ => Ok(()),
    }
}

/// What every forecast of a candidate has in common.
fn of_candidate<'a>(candidate: &'a Candidate, request: &ForecastRequest<'a>) -> ForecastRequest<'a> {
    ForecastRequest { actions: Some(&candidate.actions), ..*request }
}

fn of(index: usize, candidate: &Candidate, error: ForecastError) -> PlanError {
    PlanError::Candidate { index, from: candidate.source.clone(), error }
}

/// Score and deviation of one candidate; none if time was up.
fn roll_out(
    predict: &mut Predict,
    score: &mut Score<'_>,
    noises: Noises,
    request: &ForecastRequest<'_>,
    pairs: &mut Pairs,
) -> Result<Option<(f64, Option<f64>)>, PlanError> {
    if request.limits.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
        return Ok(None);
    }
    pairs.begin();
    let (mut mean, mut squares) = (0.0, 0.0);
    for i in 0..noises.n {
        let noise = Noise::Seed(predict.seed_of(noises.seed, i));
        predict.denoise(&ForecastRequest { noise, ..*request }, |_| {})?;
        let value = match score {
            Score::Goal(target) | Score::Surprise(target) => target.distance(predict.continuation()?),
            Score::ExpectedSurprise => {
                pairs.add(predict.continuation()?);
                continue;
            }
            Score::Critic(critic) => match critic.score(predict, request.limits)? {
                Some(value) => value,
                None => return Ok(None),
            },
        };
        let off = value - mean;
        mean += off / (i + 1) as f64;
        squares += off * (value - mean);
    }
    Ok(Some(match score {
        Score::ExpectedSurprise => (pairs.distance(), None),
        _ => (mean, (1 < noises.n).then(|| (squares / (noises.n - 1) as f64).sqrt())),
    }))
}

/// The distance between forecasts of the same plan, from their running variance (Welford 1962,
/// <https://doi.org/10.1080/00401706.1962.10490022>): the mean square difference of all pairs is twice the unbiased variance.
#[derive(Debug)]
struct Pairs {
    mean: Vec<f64>,
    n: usize,
    squares: f64,
}

impl Pairs {
    fn begin(&mut self) {
        self.mean.fill(0.0);
        (self.n, self.squares) = (0, 0.0);
    }

    fn add(&mut self, values: &[f32]) {
        self.n += 1;
        for (mean, value) in self.mean.iter_mut().zip(values) {
            let off = f64::from(*value) - *mean;
            *mean += off / self.n as f64;
            self.squares += off * (f64::from(*value) - *mean);
        }
    }

    fn distance(&self) -> f64 {
        (2.0 * self.squares / (self.n - 1) as f64 / self.mean.len() as f64).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_expected_surprise_is_the_distance_of_all_pairs() {
        let forecasts = [[1.0f32, -2.0, 0.5], [0.0, 1.0, 0.5], [3.0, -1.0, 0.0], [1.0, 1.0, 1.0]];
        let mut pairs = Pairs { mean: vec![0.0; 3], n: 0, squares: 0.0 };
        for _ in 0..2 {
            pairs.begin();
            forecasts.iter().for_each(|f| pairs.add(f));
            let (mut sum, mut n) = (0.0, 0);
            for (i, a) in forecasts.iter().enumerate() {
                for b in &forecasts[i + 1..] {
                    sum += a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>();
                    n += a.len();
                }
            }
            assert!((pairs.distance() - (sum / n as f64).sqrt()).abs() < 1e-12);
        }
        pairs.begin();
        (0..3).for_each(|_| pairs.add(&forecasts[0]));
        assert_eq!(pairs.distance(), 0.0);
    }
}
