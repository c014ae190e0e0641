//! Best of N: what is known to be best ranks first, in the library and through the real binary.
//!
//! The action-conditioned checkpoints have random weights, so truths are made with the engine itself: the goal is what one of the
//! plans leads to. How well a goal *image* ranks real outcomes is asked of the trained small VAE on rendered scenes.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use perihelion::backend::WeightFormat;
use perihelion::engine::{BuildOptions, Engine, build};
use perihelion::export::{PredictOptions, ReasonOptions, export_reason};
use perihelion::model::Model;
use perihelion::runtime::Lender;
use perihelion::runtime::plan::{
    Around, Candidate, Critic, Noises, PlanError, Ranking, Score, Target, search,
};
use perihelion::runtime::predict::{Expectation, ForecastError, ForecastRequest, Limits, Noise, Predict};
use perihelion::runtime::reason::{AskError, Reason};
use perihelion::scenes::{FRAME_BYTES, Rng, SIZE, Scene, SceneOptions};

#[path = "support/predict.rs"]
mod support;

const CASES: [&str; 2] = ["predict25_actions_of_each_latent", "predict25_actions_of_the_clip"];

fn checkpoint(case: &str) -> PathBuf {
    Path::new("tests/fixtures/predict").join(case).join("checkpoint")
}

fn open(case: &str) -> Predict {
    support::open(&checkpoint(case), &PredictOptions::default(), 1, None)
}

/// Frames of a pattern that moves.
fn frames(predict: &Predict, n: usize) -> Vec<Vec<u8>> {
    let clip = &predict.manifest().clip;
    let value = |t: usize, i: usize| ((i * 7 + t * 31) % 251) as u8;
    (0..n).map(|t| (0..clip.width * clip.height * 3).map(|i| value(t, i)).collect()).collect()
}

fn show(predict: &mut Predict) {
    let given = frames(predict, predict.manifest().clip.n_given);
    let given: Vec<&[u8]> = given.iter().map(|f| &f[..]).collect();
    predict.show(&given, Limits::default()).expect("encodes");
}

fn candidates(predict: &Predict, n: usize) -> Vec<Candidate> {
    let width = predict.manifest().clip.actions.as_ref().expect("takes actions").names.len();
    let plan = vec![0.25; predict.manifest().horizon() * width];
    let around = Around { actions: &plan, width, spread: &[1.0], correlation: 0.5, limits: &[], seed: 11 };
    around.candidates(n - 1).expect("a spread")
}

fn rank(predict: &mut Predict, candidates: &[Candidate], score: &mut Score<'_>, n_noises: usize) -> Ranking {
    let noises = Noises { seed: 5, n: n_noises };
    search(predict, candidates, score, noises, &ForecastRequest::default(), |_| {}).expect("ranks")
}

/// The whole clip's latents, `[C, T, h, w]`, of one plan from one seed.
fn outcome(predict: &mut Predict, candidate: &Candidate, seed: u64) -> Vec<f32> {
    let request = ForecastRequest {
        noise: Noise::Seed(seed),
        actions: Some(&candidate.actions),
        ..ForecastRequest::default()
    };
    predict.denoise(&request, |_| {}).expect("denoises");
    let mut clip = vec![0.0; predict.manifest().latents.len()];
    predict.latents(&mut clip).expect("forecast");
    clip
}

fn rms(a: &[f32], b: &[f32]) -> f64 {
    (a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>() / a.len() as f64).sqrt()
}

#[test]
fn the_plan_that_leads_to_the_goal_ranks_first_in_any_order() {
    for case in CASES {
        let mut predict = open(case);
        show(&mut predict);
        let mut plans = candidates(&predict, 6);
        for k in [0, 3, 5] {
            let clip = outcome(&mut predict, &plans[k], 5);
            let mut goal = Score::Goal(Target::goal_of_clip(&predict, &clip).expect("fits"));
            let ranking = rank(&mut predict, &plans, &mut goal, 1);
            assert_eq!((ranking.ranked.len(), ranking.ranked[0].candidate), (6, k), "{case}");
            assert_eq!(ranking.ranked[0].score, 0.0, "{case}");
            assert!(1e-4 < ranking.ranked[1].score, "{case}: actions make no difference: {ranking:?}");
            assert!(ranking.ranked.is_sorted_by(|a, b| a.score <= b.score), "{case}");

            plans.reverse();
            let mut reversed = rank(&mut predict, &plans, &mut goal, 1);
            plans.reverse();
            reversed.ranked.iter_mut().for_each(|r| r.candidate = 5 - r.candidate);
            assert_eq!(reversed.ranked, ranking.ranked, "{case}: the order in which plans are given counts");
        }
    }
}

#[test]
fn equal_plans_keep_their_order_and_several_noises_are_averaged() {
    let mut predict = open(CASES[0]);
    show(&mut predict);
    let plans = candidates(&predict, 3);
    let mut twins = vec![plans[1].clone(); 3];
    twins.push(plans[2].clone());
    let clip = outcome(&mut predict, &plans[1], 5);
    let mut goal = Score::Goal(Target::goal_of_clip(&predict, &clip).expect("fits"));
    let order: Vec<usize> =
        rank(&mut predict, &twins, &mut goal, 1).ranked.iter().map(|r| r.candidate).collect();
    assert_eq!(order, [0, 1, 2, 3]);

    let by_seed: Vec<f64> = (0..3)
        .map(|i| {
            let noises = Noises { seed: predict.seed_of(5, i), n: 1 };
            let request = ForecastRequest::default();
            let ranking = search(&mut predict, &plans, &mut goal, noises, &request, |_| {});
            let ranking = ranking.expect("ranks");
            ranking.ranked.iter().find(|r| r.candidate == 2).expect("all are ranked").score
        })
        .collect();
    let ranking = rank(&mut predict, &plans, &mut goal, 3);
    let found = ranking.ranked.iter().find(|r| r.candidate == 2).expect("all are ranked");
    let mean = by_seed.iter().sum::<f64>() / 3.0;
    let deviation = (by_seed.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / 2.0).sqrt();
    assert!((found.score - mean).abs() < 1e-12 && 0.0 < deviation);
    assert!((found.deviation.expect("of three") - deviation).abs() < 1e-12);
}

#[test]
fn surprise_is_what_the_runtime_calls_surprise() {
    let mut predict = open(CASES[0]);
    let clip = predict.manifest().clip.clone();
    let came = frames(&predict, clip.n_frames).split_off(clip.n_given);
    let plans = candidates(&predict, 2);

    show(&mut predict);
    outcome(&mut predict, &plans[1], 5);
    let mut expectation = Expectation::new(&predict);
    expectation.take(&predict);
    let mut squares = Vec::new();
    for frame in &came {
        let surprise = expectation.compare(&mut predict, frame, Limits::default()).expect("compares");
        squares.extend(surprise.latent.map(|s| f64::from(s).powi(2)));
    }
    assert_eq!(squares.len(), clip.n_frames / 4 - 1);
    let expected = (squares.iter().sum::<f64>() / squares.len() as f64).sqrt();

    show(&mut predict);
    // A frame too many, and one that fills no latent, are left out.
    let longer: Vec<&[u8]> = came.iter().chain([&came[0]]).map(|f| &f[..]).collect();
    let target = Target::came(&mut predict, &longer, Limits::default()).expect("encodes");
    let ranking = rank(&mut predict, &plans, &mut Score::Surprise(target), 1);
    let found = ranking.ranked.iter().find(|r| r.candidate == 1).expect("all are ranked").score;
    assert!((found - expected).abs() < 1e-6 * expected, "{found} for {expected}");
}

#[test]
fn the_expected_surprise_is_the_distance_between_forecasts_of_other_noise() {
    let mut predict = open(CASES[0]);
    show(&mut predict);
    let plans = candidates(&predict, 2);
    let mut forecast = |i| {
        let seed = predict.seed_of(5, i);
        outcome(&mut predict, &plans[1], seed);
        predict.continuation().expect("forecast").to_vec()
    };
    let expected = rms(&forecast(0), &forecast(1));
    let mut score = Score::ExpectedSurprise;
    let ranking = rank(&mut predict, &plans, &mut score, 2);
    let found = ranking.ranked.iter().find(|r| r.candidate == 1).expect("all are ranked");
    assert!((found.score - expected).abs() < 1e-6 * expected, "{found:?} for {expected}");
    assert_eq!(found.deviation, None);
    let one = Noises { seed: 0, n: 1 };
    let error = search(&mut predict, &plans, &mut score, one, &ForecastRequest::default(), |_| {});
    assert!(matches!(error, Err(PlanError::OneNoise)));
}

#[test]
fn a_budget_ends_the_search_between_candidates() {
    let mut predict = open(CASES[1]);
    show(&mut predict);
    let plans = candidates(&predict, 5);
    let clip = outcome(&mut predict, &plans[4], 5);
    let mut goal = Score::Goal(Target::goal_of_clip(&predict, &clip).expect("fits"));
    let noises = Noises { seed: 5, n: 1 };
    let deadline = Instant::now() + Duration::from_secs(3);
    let limits = Limits { deadline: Some(deadline), stop: None };
    let request = ForecastRequest { limits, ..ForecastRequest::default() };
    let ranking = search(&mut predict, &plans, &mut goal, noises, &request, |done| {
        if done == 2 {
            std::thread::sleep(deadline.saturating_duration_since(Instant::now()));
        }
    });
    let mut evaluated: Vec<usize> = ranking.expect("two").ranked.iter().map(|r| r.candidate).collect();
    evaluated.sort();
    assert_eq!(evaluated, [0, 1]);
    let ranking = search(&mut predict, &plans, &mut goal, noises, &request, |_| {});
    assert!(matches!(ranking, Err(PlanError::NoTime)));
    // A search that was cut leaves the engine as it was.
    assert_eq!(rank(&mut predict, &plans, &mut goal, 1).ranked[0].candidate, 4);
}

fn reason() -> Reason {
    let dir = tempfile::tempdir().expect("a directory");
    let (model, engine) = (dir.path().join("a.model"), dir.path().join("a.engine"));
    export_reason(Path::new("engines/small-reason"), &ReasonOptions::default(), &model, &mut |_| {})
        .expect("exports");
    let options = BuildOptions {
        backend: "cpu".into(),
        formats: WeightFormat::F32.into(),
        limits: Vec::new(),
        open: support::OPEN,
    };
    build(&Model::open(&model).expect("opens"), &options, &engine, &mut |_| {}).expect("builds");
    let engine = Engine::open(&engine).expect("opens");
    Reason::open(&engine, engine.session(&support::OPEN).expect("claims")).expect("of Reason")
}

#[test]
fn a_critic_that_another_has_is_waited_for_no_longer_than_the_plan_may_take() {
    let reason = Lender::new(reason());
    let mut predict = open(CASES[0]);
    show(&mut predict);
    let plans = candidates(&predict, 3);
    let noises = Noises { seed: 5, n: 1 };
    let critic = |predict: &Predict, limits| {
        Critic::new(&reason, predict, "Is the path clear?", &["yes", "no"], "yes", 1, limits)
    };
    let free = critic(&predict, Limits::default()).expect("nobody has it");
    let expected = rank(&mut predict, &plans, &mut Score::Critic(free), 1);
    assert_eq!(expected.ranked.len(), 3);

    let late = Limits { deadline: Some(Instant::now()), stop: None };
    let stop = AtomicBool::new(true);
    let stopped = Limits { deadline: None, stop: Some(&stop) };
    let mut score = Score::Critic(critic(&predict, late).expect("nobody has it, so nobody is waited for"));
    // Whoever has it gives it back only when this is over: an answer that takes for ever.
    let loan = reason.take(Limits::default()).expect("nobody has it");
    assert!(matches!(critic(&predict, late), Err(PlanError::NoTime)));
    assert!(matches!(critic(&predict, stopped), Err(PlanError::Critic(AskError::Stopped))));
    let deadline = Some(Instant::now() + Duration::from_secs(2));
    let request = ForecastRequest { limits: Limits { deadline, stop: None }, ..ForecastRequest::default() };
    let ranking = search(&mut predict, &plans, &mut score, noises, &request, |_| {});
    assert!(matches!(ranking, Err(PlanError::NoTime)), "{ranking:?}");
    drop(loan);

    // Taken after the first plan was judged: that one is ranked, and the others wait for nothing.
    let mut loan = None;
    let deadline = Some(Instant::now() + Duration::from_secs(5));
    let request = ForecastRequest { limits: Limits { deadline, stop: None }, ..ForecastRequest::default() };
    let ranking = search(&mut predict, &plans, &mut score, noises, &request, |_| {
        loan = Some(reason.take(Limits::default()).expect("given back between two questions"));
    });
    assert_eq!(ranking.expect("the first").ranked.iter().map(|r| r.candidate).collect::<Vec<_>>(), [0]);
    drop(loan);
    assert_eq!(rank(&mut predict, &plans, &mut score, 1).ranked, expected.ranked);
}

#[test]
fn what_does_not_fit_is_refused_before_any_work() {
    let mut predict = open(CASES[0]);
    let clip = predict.manifest().clip.clone();
    let image = frames(&predict, 1).remove(0);
    let limits = Limits::default();
    let error = Target::goal(&mut predict, &image, limits).expect_err("nothing was shown");
    assert_eq!(error, ForecastError::NotShown);
    show(&mut predict);
    assert!(Target::goal(&mut predict, &image[1..], limits).is_err());
    show(&mut predict);
    let few = vec![&image[..]; 3];
    let error = Target::came(&mut predict, &few, limits).expect_err("no latent");
    assert_eq!(error, ForecastError::Continuation { found: 3, least: 4, most: clip.n_frames - clip.n_given });
    // What was refused took nothing; what was encoded did.
    let target = Target::goal(&mut predict, &image, limits).expect("encodes");
    assert_eq!(Target::goal(&mut predict, &image, limits).expect_err("used up"), ForecastError::NotShown);
    assert!(Target::goal_of_clip(&predict, &[0.0; 7]).is_none());

    let mut goal = Score::Goal(target);
    let plans = candidates(&predict, 3);
    let noises = Noises { seed: 0, n: 1 };
    let mut refuse = |plans: &[Candidate], noises, words: &str| {
        let error = search(&mut predict, plans, &mut goal, noises, &ForecastRequest::default(), |_| {
            panic!("no work is done")
        });
        let message = error.expect_err(words).to_string();
        assert!(message.contains(words), "{message:?} lacks {words:?}");
    };
    refuse(&[], noises, "no candidate");
    refuse(&plans, Noises { seed: 0, n: 0 }, "0 noises");
    for (actions, words) in [
        (vec![0.0; 3], "candidate 2 (bad.csv): 3 values are no whole rows of 2"),
        (vec![0.0; 2 * 13], "a plan of 13 rows"),
        (vec![f32::NAN; 2 * 8], "not a finite number"),
    ] {
        let mut plans = plans.clone();
        plans[2] = Candidate { source: "bad.csv".into(), actions };
        refuse(&plans, noises, words);
    }
}

#[test]
fn a_goal_image_ranks_true_outcomes_of_pushes() {
    const N_GIVEN: usize = 5;
    const N_FRAMES: usize = 13;
    const N_PUSHES: usize = 9;
    const N_SCENES: usize = 6;
    let mut predict = support::open(Path::new("engines/small-predict"), &PredictOptions::default(), 1, None);
    let latent_len = predict.manifest().latents.frame_len();
    let mut rng = Rng::new(77);
    let options = SceneOptions {
        n_frames: N_FRAMES,
        horizon: 0,
        push_at: Some(N_GIVEN - 1),
        ..SceneOptions::default()
    };
    let mut n_first = 0;
    for _ in 0..N_SCENES {
        let scene = Scene::draw(&mut rng, options);
        let futures: Vec<Vec<Vec<u8>>> = (0..N_PUSHES)
            .map(|k| {
                let mut start = scene.start.clone();
                let angle = k as f64 / N_PUSHES as f64 * std::f64::consts::TAU;
                let strength = [1.5, 3.0, 4.5][k % 3];
                start.push = [angle.cos() * strength, angle.sin() * strength];
                let scene = Scene::simulate(start, N_FRAMES, 0);
                let render = |t| {
                    let mut rgb = vec![0; FRAME_BYTES];
                    scene.render(t, &mut rgb);
                    rgb
                };
                (0..N_FRAMES).map(render).collect()
            })
            .collect();
        assert!(futures.iter().all(|f| f[..N_GIVEN] == futures[0][..N_GIVEN]));
        let given: Vec<&[u8]> = futures[0][..N_GIVEN].iter().map(|f| &f[..]).collect();
        let last_latent = |predict: &mut Predict, frames: &[&[u8]]| {
            predict.show(&given, Limits::default()).expect("encodes");
            let mut latents = vec![0.0; predict.manifest().latents.len()];
            let n = predict.encode_onward(frames, &mut latents, Limits::default()).expect("encodes");
            latents[(n - 1) * latent_len..n * latent_len].to_vec()
        };
        let outcomes: Vec<Vec<f32>> = futures
            .iter()
            .map(|f| {
                let frames: Vec<&[u8]> = f[N_GIVEN..].iter().map(|f| &f[..]).collect();
                last_latent(&mut predict, &frames)
            })
            .collect();
        for (k, future) in futures.iter().enumerate() {
            // As `Target::goal` encodes it.
            let goal = last_latent(&mut predict, &[&future[N_FRAMES - 1][..]; 4]);
            let distances: Vec<f64> = outcomes.iter().map(|o| rms(o, &goal)).collect();
            n_first += usize::from(distances.iter().all(|d| distances[k] <= *d));
        }
    }
    let n = N_SCENES * N_PUSHES;
    println!("{SIZE}×{SIZE}: the push that led to the goal image ranks first for {n_first} of {n}");
    assert!(n * 9 <= n_first * 10, "{n_first} of {n}; by chance {N_SCENES}");
}
