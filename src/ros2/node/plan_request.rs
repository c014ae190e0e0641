//! What is asked on `~/plan/request`: JSON, from anyone on the graph, so that every size is bounded and every mistake has words. The
//! transport bounds the whole.

use serde::{Deserialize, Serialize};

use super::forecast_shape::ForecastShape;

const CANDIDATES_MAX: usize = 256;
const NOISES_MAX: usize = 16;
const BUDGET_MS_MAX: u64 = 60_000;
const TEXT_BYTES_MAX: usize = 4 << 10;
const CHOICES_MAX: usize = 16;

/// Plans to choose from, and what makes one good. Its numbers are within bounds, but not all that an engine asks of them is checked.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanRequest {
    /// Repeated in the result.
    pub id: Option<PlanId>,
    /// What is chosen from.
    pub plans: Plans,
    /// What makes one good.
    pub score: ScoreRequest,
    /// Of the drawn plans and of the noises.
    pub seed: u64,
    /// Noises from which every plan is forecast.
    pub noises: usize,
    /// Milliseconds for the whole request, from the moment that it is looked at.
    pub budget_ms: u64,
}

/// A request's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PlanId {
    /// A number.
    Number(i64),
    /// A text.
    Text(String),
}

/// Rows of actions, `[horizon, width]` each.
#[derive(Debug, Clone, PartialEq)]
pub enum Plans {
    /// These.
    Given(Vec<Vec<f32>>),
    /// One, and others drawn around it.
    Around {
        /// The one.
        plan: Vec<f32>,
        /// How many are drawn.
        samples: usize,
        /// By which standard deviation: one for all actions, or one for each.
        spread: Vec<f32>,
        /// Of what is drawn for one step with the step before.
        correlation: f32,
    },
}

/// What makes a plan good.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ScoreRequest {
    /// The forecast ends like an image.
    Goal {
        /// A PNG or JPEG file in base64.
        image: String,
        /// σ of the Gaussian by which differences are blurred before they count, in heights of the picture, 0 to 1.
        #[serde(default)]
        blur: f64,
    },
    /// The node's Reason engine gives the answer that is hoped for.
    Critic {
        /// What it is asked about the forecast.
        question: String,
        /// What it may answer.
        #[serde(default = "yes_or_no")]
        choices: Vec<String>,
        /// What is hoped for.
        #[serde(default = "yes")]
        expect: String,
        /// The last forecast frames that it sees.
        #[serde(default = "one")]
        frames: usize,
    },
    /// Forecasts from different noises agree.
    ExpectedSurprise {},
}

/// A request that cannot be served.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Refusal {
    /// The request's name, if it could be read.
    pub(super) id: Option<PlanId>,
    /// What is wrong.
    pub(super) problem: String,
}

/// As it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    id: Option<PlanId>,
    candidates: Option<Vec<Vec<Vec<f32>>>>,
    around: Option<Vec<Vec<f32>>>,
    samples: Option<usize>,
    spread: Option<Spread>,
    correlation: Option<f32>,
    score: ScoreRequest,
    #[serde(default)]
    seed: u64,
    #[serde(default = "one")]
    noises: usize,
    #[serde(default = "a_second")]
    budget_ms: u64,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Spread {
    All(f32),
    Each(Vec<f32>),
}

fn yes() -> String {
    "yes".to_owned()
}

fn yes_or_no() -> Vec<String> {
    vec![yes(), "no".to_owned()]
}

fn one() -> usize {
    1
}

fn a_second() -> u64 {
    1000
}

impl PlanRequest {
    /// Reads a request to an engine of this shape.
    pub(super) fn parse(text: &str, shape: &ForecastShape) -> Result<PlanRequest, Refusal> {
        let refuse = |id, problem| Refusal { id, problem };
        let wire: Wire = serde_json::from_str(text).map_err(|error| refuse(None, error.to_string()))?;
        let id =
            wire.id.clone().filter(|id| !matches!(id, PlanId::Text(text) if TEXT_BYTES_MAX < text.len()));
        wire.check(shape).map_err(|problem| refuse(id, problem))
    }
}

impl Wire {
    fn check(self, shape: &ForecastShape) -> Result<PlanRequest, String> {
        let n_samples = self.samples.unwrap_or(15);
        let n_candidates = self.candidates.as_ref().map_or(n_samples.saturating_add(1), Vec::len);
        for (what, found, (least, most)) in [
            ("candidates", n_candidates, (1, CANDIDATES_MAX)),
            ("noises", self.noises, (1, NOISES_MAX)),
            ("choices", self.score.n_choices(), (0, CHOICES_MAX)),
            ("bytes of text", self.score.text_bytes(), (0, TEXT_BYTES_MAX)),
            ("budget_ms", usize::try_from(self.budget_ms).unwrap_or(usize::MAX), (1, BUDGET_MS_MAX as usize)),
        ] {
            if !(least..=most).contains(&found) {
                return Err(format!("{found} {what}; expected {least} to {most}"));
            }
        }
        if let ScoreRequest::Goal { blur, .. } = &self.score
            && !(0.0..=1.0).contains(blur)
        {
            return Err(format!(
                "the goal's `blur` is {blur}; expected 0 to 1, a share of the picture's height"
            ));
        }
        let is_drawn = self.samples.is_some() || self.spread.is_some() || self.correlation.is_some();
        let plans = match (self.candidates, self.around) {
            (Some(_), None) if is_drawn => {
                return Err("`samples`, `spread` and `correlation` go with `around`".to_owned());
            }
            (Some(candidates), None) => {
                let plan = |(i, rows): (usize, &Vec<Vec<f32>>)| {
                    plan(rows, shape).map_err(|problem| format!("candidate {i}: {problem}"))
                };
                Plans::Given(candidates.iter().enumerate().map(plan).collect::<Result<_, _>>()?)
            }
            (None, Some(rows)) => Plans::Around {
                plan: plan(&rows, shape).map_err(|problem| format!("around: {problem}"))?,
                samples: n_samples,
                spread: match self.spread {
                    Some(Spread::All(spread)) => vec![spread],
                    Some(Spread::Each(spread)) => spread,
                    None => return Err("`around` needs a `spread`".to_owned()),
                },
                correlation: self.correlation.unwrap_or(0.8),
            },
            _ => return Err("either `candidates` or `around` is needed".to_owned()),
        };
        let Wire { id, score, seed, noises, budget_ms, .. } = self;
        Ok(PlanRequest { id, plans, score, seed, noises, budget_ms })
    }
}

impl ScoreRequest {
    fn n_choices(&self) -> usize {
        if let ScoreRequest::Critic { choices, .. } = self { choices.len() } else { 0 }
    }

    fn text_bytes(&self) -> usize {
        let ScoreRequest::Critic { question, choices, expect, .. } = self else { return 0 };
        question.len() + expect.len() + choices.iter().map(String::len).sum::<usize>()
    }
}

/// Rows one after another; a shorter plan holds its last row, as on `~/actions`.
fn plan(rows: &[Vec<f32>], shape: &ForecastShape) -> Result<Vec<f32>, String> {
    let (width, horizon) = (shape.action_names.len(), shape.horizon);
    let Some(last) = rows.last().filter(|_| rows.len() <= horizon) else {
        return Err(format!("{} steps; expected 1 to {horizon}", rows.len()));
    };
    if let Some(at) = rows.iter().position(|row| row.len() != width) {
        let names = shape.action_names.join(", ");
        return Err(format!("step {at} has {} actions; expected {width} ({names})", rows[at].len()));
    }
    if let Some(at) = rows.iter().position(|row| row.iter().any(|value| !value.is_finite())) {
        return Err(format!("step {at} has an action that is not a finite number"));
    }
    let held = std::iter::repeat_n(last, horizon - rows.len());
    Ok(rows.iter().chain(held).flatten().copied().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape() -> ForecastShape {
        let action_names = vec!["linear".to_owned(), "angular".to_owned()];
        ForecastShape {
            n_given: 1,
            horizon: 3,
            rate_hz: 1.0,
            width: 1,
            height: 1,
            action_names,
            action_limits: Vec::new(),
        }
    }

    #[test]
    fn short_plans_hold_their_last_row() {
        let text = r#"{"id": "a", "candidates": [[[1, 2]], [[0, 0], [3, 4]]], "score": {"expected_surprise": {}}, "noises": 2}"#;
        let request = PlanRequest::parse(text, &shape()).unwrap();
        let plans = vec![vec![1.0, 2.0, 1.0, 2.0, 1.0, 2.0], vec![0.0, 0.0, 3.0, 4.0, 3.0, 4.0]];
        assert_eq!((request.plans, request.id), (Plans::Given(plans), Some(PlanId::Text("a".into()))));
        assert_eq!((request.noises, request.budget_ms, request.seed), (2, 1000, 0));
        let text = r#"{"id": 7, "around": [[1, 2]], "spread": 0.5, "samples": 3, "score": {"critic": {"question": "?"}}}"#;
        let request = PlanRequest::parse(text, &shape()).unwrap();
        assert!(matches!(&request.plans, Plans::Around { samples: 3, spread, .. } if *spread == [0.5]));
        assert!(matches!(&request.score, ScoreRequest::Critic { expect, frames: 1, .. } if expect == "yes"));
    }

    #[test]
    fn what_is_no_request_is_refused_in_words() {
        let surprise = r#""score": {"expected_surprise": {}}"#;
        let row = "[0,0],".repeat(4);
        let many = "[[0,0]],".repeat(257);
        for (text, words) in [
            (String::new(), "EOF"),
            ("[".repeat(1000), "recursion limit"),
            ("{}".into(), "missing field `score`"),
            (format!("{{{surprise}, \"id\": 5}}"), "either `candidates` or `around`"),
            (format!("{{{surprise}, \"candidates\": [], \"id\": 5}}"), "0 candidates; expected 1 to 256"),
            (format!("{{{surprise}, \"candidates\": [{}]}}", many.trim_end_matches(',')), "257 candidates"),
            (format!("{{{surprise}, \"candidates\": [[]]}}"), "candidate 0: 0 steps; expected 1 to 3"),
            (format!("{{{surprise}, \"candidates\": [[{}]]}}", row.trim_end_matches(',')), "4 steps"),
            (format!("{{{surprise}, \"candidates\": [[[1]]]}}"), "1 actions; expected 2 (linear, angular)"),
            (format!("{{{surprise}, \"candidates\": [[[1, 1e39]]]}}"), "number out of range"),
            (format!("{{{surprise}, \"candidates\": [[[1, NaN]]]}}"), "expected value"),
            (format!("{{{surprise}, \"candidates\": [[[1, 1]]], \"spread\": 1}}"), "go with `around`"),
            (format!("{{{surprise}, \"around\": [[1, 1]]}}"), "needs a `spread`"),
            (
                format!(
                    "{{{surprise}, \"around\": [[1, 1]], \"spread\": 1, \"samples\": 18446744073709551615}}"
                ),
                "1 to 256",
            ),
            (format!("{{{surprise}, \"around\": [[1, 1]], \"spread\": 1, \"noises\": 17}}"), "17 noises"),
            (
                format!("{{{surprise}, \"around\": [[1, 1]], \"spread\": 1, \"budget_ms\": 60001}}"),
                "60001 budget_ms",
            ),
            (format!("{{{surprise}, \"rows\": 3}}"), "unknown field `rows`"),
            (
                r#"{"candidates": [[[1, 1]]], "score": {"goal": {"image": "", "blur": 1.5}}}"#.into(),
                "`blur` is 1.5; expected 0 to 1",
            ),
            (r#"{"score": {"beauty": {}}}"#.into(), "unknown variant `beauty`"),
        ] {
            let refusal = PlanRequest::parse(&text, &shape()).expect_err(words);
            assert!(refusal.problem.contains(words), "{words:?}: {refusal:?}");
            assert!(refusal.id.is_none() || refusal.id == Some(PlanId::Number(5)));
        }
    }
}
