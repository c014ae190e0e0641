//! Whatever ends a question or a forecast midway, the next one is right: each run of the loops is made to give up in turn, with the
//! rows that it would have written spoilt.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use perihelion::backend::{OpenOptions, RunError, Session, WeightFormat};
use perihelion::camera::FrameSize;
use perihelion::engine::{BuildOptions, Engine, build};
use perihelion::export::{PredictOptions, ReasonOptions, export_reason};
use perihelion::model::Model;
use perihelion::runtime::predict::{Expectation, ForecastError, ForecastRequest, Limits, Noise, Predict};
use perihelion::runtime::reason::{Answer, AskError, FinishReason, Picture, Reason, Request, Shown};
use perihelion::runtime::{Lender, SharedSession};

#[path = "support/faulty.rs"]
mod faulty;
#[path = "support/predict.rs"]
mod support;

use faulty::{Faulty, Orders};

const ENDS: [RunError; 3] = [RunError::Deadline, RunError::Stopped, RunError::Device(1)];

fn reason_engine() -> Engine {
    reason_engine_of(Vec::new())
}

fn reason_engine_of(limits: Vec<(String, usize)>) -> Engine {
    reason_engine_as(&ReasonOptions::default(), limits)
}

fn reason_engine_as(options: &ReasonOptions, limits: Vec<(String, usize)>) -> Engine {
    let dir = tempfile::tempdir().expect("a directory");
    let (model, engine) = (dir.path().join("a.model"), dir.path().join("a.engine"));
    export_reason(Path::new("engines/small-reason"), options, &model, &mut |_| {}).expect("exports");
    let open = OpenOptions { threads: Some(2) };
    let options = BuildOptions { backend: "cpu".into(), formats: WeightFormat::F32.into(), limits, open };
    build(&Model::open(&model).expect("opens"), &options, &engine, &mut |_| {}).expect("builds");
    Engine::open(&engine).expect("opens")
}

fn session(engine: &Engine) -> Box<dyn Session> {
    engine.session(&support::OPEN).expect("claims")
}

const SIZE: FrameSize = FrameSize { width: 64, height: 64 };

/// A frame with a bright square that moves.
fn frame(t: usize) -> Vec<u8> {
    let is_bright = |i: usize| (i / 3 % 64).abs_diff(8 + 4 * t) < 8 && (i / 192).abs_diff(30) < 8;
    (0..SIZE.rgb_bytes()).map(|i| if is_bright(i) { 250 } else { (i * 7 % 60) as u8 }).collect()
}

fn said(answer: &Answer) -> (&str, &[u32], FinishReason) {
    (&answer.text, &answer.tokens, answer.finish_reason)
}

#[test]
fn a_question_is_answered_right_after_one_that_was_ended_at_any_run() {
    let engine = reason_engine();
    let frames: Vec<Vec<u8>> = (0..4).map(frame).collect();
    let pictures: Vec<Picture<'_>> = frames.iter().map(|rgb| Picture::new(rgb, SIZE)).collect();
    let clip = [Shown::Clip { frames: &pictures, fps: 4.0 }];
    let question = "Which way is the red ball moving?";
    let request = Request { ignore_stop_tokens: true, ..Request::new(&clip, question, 5) };
    let ask = |reason: &mut Reason, request: &Request<'_>| reason.ask(request, None, &mut |_, _| {});
    let expected =
        ask(&mut Reason::open(&engine, session(&engine)).expect("of Reason"), &request).expect("fits");
    // Another one, so that a part of the cache is cut: it begins as the first does.
    let two = [Shown::Clip { frames: &pictures[..2], fps: 4.0 }];
    let other = Request::new(&two, question, 2);

    let orders = Orders::default();
    let mut reason = Reason::open(&engine, Faulty::boxed(session(&engine), &orders)).expect("of Reason");
    let mut n_ended = 0;
    for end in ENDS {
        for at in 0.. {
            orders.behave();
            reason.forget();
            ask(&mut reason, &other).expect("fits");
            orders.give_up(at, end);
            let found = ask(&mut reason, &request);
            if !orders.has_given_up() {
                assert_eq!(said(&found.expect("nothing ended it")), said(&expected));
                break;
            }
            n_ended += 1;
            match (end, found) {
                (RunError::Deadline, Ok(answer)) => {
                    assert_eq!((answer.finish_reason, answer.truncated), (FinishReason::Deadline, true));
                    assert!(expected.tokens.starts_with(&answer.tokens), "{answer:?}");
                }
                (RunError::Stopped, Err(AskError::Stopped)) => {}
                (RunError::Device(1), Err(AskError::Run(RunError::Device(1)))) => {}
                other => panic!("run {at}: {other:?}"),
            }
            let next = ask(&mut reason, &request).expect("fits");
            assert_eq!(said(&next), said(&expected), "after {end:?} at run {at}");
            assert_eq!(next.prompt, expected.prompt);
        }
    }
    // One group's encoding, the prompt, its head, and four of five tokens.
    assert_eq!(n_ended, ENDS.len() * 7);
}

#[test]
fn two_loops_over_one_session_go_on_from_one_cache() {
    let engine = reason_engine();
    let rgb = frame(0);
    let image = [Shown::Image(Picture::new(&rgb, SIZE))];
    let request = Request::new(&image, "What colour is the ball?", 4);
    let shared = SharedSession::from(session(&engine));
    let mut first = Reason::open(&engine, shared.clone()).expect("of Reason");
    let mut second = Reason::open(&engine, shared.clone()).expect("of Reason");
    let expected = first.ask(&request, None, &mut |_, _| {}).expect("fits");
    assert_eq!((expected.reused_tokens, expected.encoded_pictures), (0, 1));
    let found = second.ask(&request, None, &mut |_, _| {}).expect("fits");
    assert_eq!(said(&found), said(&expected));
    assert_eq!((found.reused_tokens, found.encoded_pictures), (expected.prompt_tokens - 1, 0));
    second.forget();
    let again = first.ask(&request, None, &mut |_, _| {}).expect("fits");
    assert_eq!((said(&again), again.reused_tokens), (said(&expected), 0));

    // Who waits for the other gives up by its own limits, and says so as if it had run.
    let loan = shared.take(Limits::default()).expect("nobody has it");
    let late = Request { deadline: Some(Instant::now()), ..request };
    let late = first.ask(&late, None, &mut |_, _| {}).expect("the deadline is no error");
    assert_eq!((late.finish_reason, late.tokens.len()), (FinishReason::Deadline, 0));
    let stop = AtomicBool::new(true);
    let stopped = first.ask(&Request { stop: Some(&stop), ..request }, None, &mut |_, _| {});
    assert!(matches!(stopped, Err(AskError::Stopped)), "{stopped:?}");
    drop(loan);
    assert_eq!(said(&first.ask(&request, None, &mut |_, _| {}).expect("fits")), said(&expected));
}

#[test]
fn pictures_that_hardly_fit_are_kept_and_made_room_for_rightly() {
    let engine = reason_engine_of(vec![("context".into(), 112), ("image_tokens".into(), 64)]);
    let mut kept = Reason::open(&engine, session(&engine)).expect("of Reason");
    let mut fresh = Reason::open(&engine, session(&engine)).expect("of Reason");
    let sizes = [(64, 64), (128, 64), (64, 96), (96, 96), (32, 64), (128, 96)];
    let images: Vec<(Vec<u8>, FrameSize)> = sizes
        .iter()
        .enumerate()
        .map(|(k, (width, height))| {
            let size = FrameSize { width: *width, height: *height };
            ((0..size.rgb_bytes()).map(|i| ((i * (k + 3)) % 251) as u8).collect(), size)
        })
        .collect();
    let mut random = perihelion::scenes::Rng::new(5);
    let (mut n_answered, mut n_reused, mut n_encoded) = (0, 0, 0);
    for _ in 0..60 {
        let n_shown = 1 + (random.unit() * 3.0) as usize;
        let shown: Vec<Shown<'_>> = (0..n_shown)
            .map(|_| {
                let (rgb, size) = &images[(random.unit() * images.len() as f64) as usize];
                Shown::Image(Picture::new(rgb, *size))
            })
            .collect();
        let request = Request::new(&shown, "What?", 2);
        fresh.forget();
        match (kept.ask(&request, None, &mut |_, _| {}), fresh.ask(&request, None, &mut |_, _| {})) {
            (Ok(found), Ok(expected)) => {
                assert_eq!(said(&found), said(&expected), "question {n_answered}");
                n_answered += 1;
                n_reused += usize::from(found.encoded_pictures < expected.encoded_pictures);
                n_encoded += found.encoded_pictures;
            }
            (Err(found), Err(expected)) => assert_eq!(found.to_string(), expected.to_string()),
            other => panic!("{other:?}"),
        }
    }
    assert!(20 < n_answered && 10 < n_reused && 20 < n_encoded, "{n_answered} {n_reused} {n_encoded}");
}

#[test]
fn a_clip_that_would_not_fit_is_scaled_down() {
    let engine = reason_engine_of(vec![("context".into(), 256), ("image_tokens".into(), 64)]);
    let mut reason = Reason::open(&engine, session(&engine)).expect("of Reason");
    let size = FrameSize { width: 192, height: 128 };
    let rgb: Vec<u8> = (0..size.rgb_bytes()).map(|i| (i * 7 % 251) as u8).collect();
    let frames = [Picture::new(&rgb, size); 8];
    let mut n_tokens = |n_frames| {
        let shown = [Shown::Clip { frames: &frames[..n_frames], fps: 4.0 }];
        let answer =
            reason.ask(&Request::new(&shown, "?", 1), None, &mut |_, _| {}).expect("it is made to fit");
        answer.image_tokens
    };
    // A quarter of the context is left to text and answer, and a picture has 64 tokens at most.
    let [one, two, four] = [2, 4, 8].map(&mut n_tokens);
    assert!(32 < one && one <= 64, "{one}");
    assert!(64 < two && two <= 128 && 120 < four && four <= 192, "{two} {four}");
}

#[test]
fn an_answer_says_nothing_of_the_one_before_that_was_stopped() {
    let engine = reason_engine();
    let orders = Orders::default();
    let mut reason = Reason::open(&engine, Faulty::boxed(session(&engine), &orders)).expect("of Reason");
    let tokenizer = perihelion::models::reason2::Tokenizer::from_bytes(engine.tokenizer().expect("has one"));
    let tokenizer = tokenizer.expect("can be used");
    // What may become a tag is held back, and half of a character too.
    let half_of_a_character = tokenizer.encode("𓂀").expect("text")[..1].to_vec();
    assert!(std::str::from_utf8(tokenizer.token_bytes(half_of_a_character[0])).is_err(), "it proves nothing");
    let what_may_be_a_tag = tokenizer.encode("  <thi").expect("text");
    for tokens in [what_may_be_a_tag, half_of_a_character] {
        orders.say(&tokens);
        // The prompt, its head, and as many tokens as are said but for the last.
        orders.give_up(1 + tokens.len(), RunError::Stopped);
        let request = Request::new(&[], "Is it?", 64);
        assert!(matches!(reason.ask(&request, None, &mut |_, _| {}), Err(AskError::Stopped)));
        assert!(orders.has_given_up());
        orders.say(&[]);
        let late = Request { deadline: Some(Instant::now()), ..request };
        let mut heard = String::new();
        let answer = reason.ask(&late, None, &mut |_, text| heard.push_str(text)).expect("no error");
        assert_eq!((&answer.text[..], &answer.thought, &heard[..]), ("", &None, ""), "after {tokens:?}");
    }
}

/// A thought that was cut is closed, and what follows may be white space for as long as separators are; a model that goes on with
/// it never answers.
#[test]
fn white_space_after_a_thought_that_was_cut_has_an_end() {
    const THOUGHT_TOKENS: usize = 4;
    let think_suffix = Some("\nThink first, in <think> </think>.".to_owned());
    let engine = reason_engine_as(&ReasonOptions { think_suffix, ..ReasonOptions::default() }, Vec::new());
    let orders = Orders::default();
    let mut reason = Reason::open(&engine, Faulty::boxed(session(&engine), &orders)).expect("of Reason");
    let tokenizer = perihelion::models::reason2::Tokenizer::from_bytes(engine.tokenizer().expect("has one"));
    let tokenizer = tokenizer.expect("can be used");
    let thought = tokenizer.encode("<think> ball ball ball ball ball ball").expect("text");
    let space = *tokenizer.encode("\n").expect("text").last().expect("a token");
    assert!(tokenizer.token_bytes(space).iter().all(u8::is_ascii_whitespace), "it proves nothing");
    // What closes the thought is said in place of some of these.
    orders.say(&[&thought[..], &[space; 120]].concat());
    let request =
        Request { think: true, thought_tokens_max: THOUGHT_TOKENS, ..Request::new(&[], "Is it?", 64) };
    let answer = reason.ask(&request, None, &mut |_, _| {}).expect("no error");
    assert!(answer.thought_truncated && answer.text.is_empty(), "{answer:?}");
    assert_eq!((answer.finish_reason, answer.truncated), (FinishReason::Length, true));
    assert_eq!(
        answer.tokens.len(),
        THOUGHT_TOKENS + 32,
        "as many as may stand between a thought and its answer"
    );
}

const CHECKPOINT: &str = "tests/fixtures/predict/predict25_actions_of_each_latent/checkpoint";

fn faulty_predict(orders: &Orders) -> Predict {
    let engine = support::built(Path::new(CHECKPOINT), &PredictOptions::default(), 1);
    let manifest = engine.manifest().roles.forecasts.clone().expect("it forecasts");
    Predict::new(Faulty::boxed(session(&engine), orders), manifest, None).expect("is Predict's")
}

fn clip(predict: &Predict, phase: usize, n: usize) -> Vec<Vec<u8>> {
    let len = predict.manifest().clip.width * predict.manifest().clip.height * 3;
    (0..n).map(|t| (0..len).map(|i| ((i * 7 + (t + phase) * 31) % 251) as u8).collect()).collect()
}

fn views(frames: &[Vec<u8>]) -> Vec<&[u8]> {
    frames.iter().map(|frame| &frame[..]).collect()
}

fn wanted() -> ForecastRequest<'static> {
    ForecastRequest { noise: Noise::Seed(3), ..ForecastRequest::default() }
}

#[test]
fn a_thought_that_was_cut_ends_with_its_last_letter() {
    let engine = reason_engine();
    let orders = Orders::default();
    let mut reason = Reason::open(&engine, Faulty::boxed(session(&engine), &orders)).expect("of Reason");
    let tokenizer = perihelion::models::reason2::Tokenizer::from_bytes(engine.tokenizer().expect("has one"));
    let tokens = tokenizer.expect("can be used").encode("<think> It is. \n ").expect("text");
    orders.say(&tokens);
    let answer = reason.ask(&Request::new(&[], "Is it?", tokens.len()), None, &mut |_, _| {}).expect("fits");
    assert_eq!((answer.thought.as_deref(), &answer.text[..]), (Some("It is."), ""));
    assert_eq!((answer.tokens, answer.finish_reason), (tokens, FinishReason::Length));
}

#[test]
fn an_answer_ends_where_the_context_does() {
    let engine = reason_engine_of(vec![("context".into(), 64), ("image_tokens".into(), 64)]);
    let mut reason = Reason::open(&engine, session(&engine)).expect("of Reason");
    let request = Request { ignore_stop_tokens: true, ..Request::new(&[], "Is it?", 1000) };
    for _ in 0..2 {
        let answer = reason.ask(&request, None, &mut |_, _| {}).expect("no run is refused");
        assert_eq!((answer.finish_reason, answer.truncated), (FinishReason::Length, true));
        // The last token needs no row: nothing comes after it.
        assert_eq!(answer.prompt_tokens + answer.tokens.len(), 64 + 1);
    }
}

#[test]
fn pictures_that_are_asked_about_in_turn_are_all_kept() {
    let engine = reason_engine();
    let mut reason = Reason::open(&engine, session(&engine)).expect("of Reason");
    let frames: Vec<Vec<u8>> = (0..3).map(frame).collect();
    for round in 0..2 {
        for rgb in &frames {
            let image = [Shown::Image(Picture::new(rgb, SIZE))];
            let answer = reason.ask(&Request::new(&image, "What?", 1), None, &mut |_, _| {}).expect("fits");
            assert_eq!(answer.encoded_pictures, 1 - round);
        }
    }
}

#[test]
fn a_share_that_is_reached_exactly_takes_no_token_more() {
    let mut sampler = perihelion::runtime::Sampler::new(4);
    let half = perihelion::runtime::Sampling {
        greedy: false,
        top_k: 0,
        top_p: 0.5,
        ..perihelion::runtime::Sampling::default()
    };
    let drawn = (0..200).map(|seed| {
        sampler.begin(perihelion::runtime::Sampling { seed, ..half }, &[]).expect("in range");
        sampler.pick(&[1.5; 4]).expect("finite")
    });
    assert!(drawn.collect::<std::collections::BTreeSet<_>>() == [0, 1].into());
}

/// A clip's latents, its frames, and how far it was decoded.
type Whole = (Vec<f32>, Vec<f32>, usize);

fn forecast(predict: &mut Predict, given: &[Vec<u8>]) -> Result<Whole, ForecastError> {
    predict.show(&views(given), Limits::default())?;
    predict.denoise(&wanted(), |_| {})?;
    let (mut latents, mut frames) = (vec![0.0; predict.manifest().latents.len()], Vec::new());
    predict.latents(&mut latents)?;
    let n = predict.decode(Limits::default(), |part| frames.extend_from_slice(part.pixels))?;
    Ok((latents, frames, n))
}

fn onward(predict: &mut Predict, frames: &[Vec<u8>]) -> Result<Vec<f32>, ForecastError> {
    let mut latents = vec![0.0; predict.manifest().latents.len()];
    let n = predict.encode_onward(&views(frames), &mut latents, Limits::default())?;
    latents.truncate(n * predict.manifest().latents.frame_len());
    Ok(latents)
}

#[test]
fn a_forecast_is_right_after_one_that_was_ended_at_any_run() {
    let orders = Orders::default();
    let mut predict = faulty_predict(&orders);
    let n_given = predict.manifest().clip.n_given;
    let (given, other) = (clip(&predict, 0, n_given), clip(&predict, 9, n_given));
    let came = clip(&predict, n_given, 4);
    let expected = forecast(&mut predict, &given).expect("fits");
    let expected_onward = onward(&mut predict, &came).expect("follows");
    assert!(expected.0.iter().chain(&expected_onward).all(|v| v.is_finite()));
    let (n_shown, n_steps, n_calls) = (predict.manifest().n_given_latents(), predict.n_steps(), 4);
    assert_eq!(n_calls, predict.manifest().latents.n_latents);
    for end in ENDS {
        for at in 0..=n_shown + n_steps + n_calls {
            forecast(&mut predict, &other).expect("fits");
            orders.give_up(at, end);
            let found = forecast(&mut predict, &given);
            if at == n_shown + n_steps + n_calls {
                assert!(!orders.has_given_up() && found.expect("nothing ended it") == expected);
                orders.behave();
                break;
            }
            assert!(orders.has_given_up(), "run {at}");
            if n_shown + n_steps <= at && end != RunError::Device(1) {
                // Decoded as far as it came.
                let (latents, frames, n) = found.expect("no error");
                assert!(n < expected.2 && latents == expected.0 && frames == expected.1[..frames.len()]);
            } else {
                assert_eq!(found.expect_err("ended"), ForecastError::Run(end), "run {at}");
            }
            if at < n_shown {
                // Neither the other clip's caches and latents nor the beginning of this one's may be gone on from.
                assert_eq!(onward(&mut predict, &came), Err(ForecastError::NotShown), "{end:?} at run {at}");
                assert_eq!(predict.denoise(&wanted(), |_| {}), Err(ForecastError::NotShown));
                assert_eq!(predict.continuation().err(), Some(ForecastError::Nothing));
            } else {
                assert_eq!(onward(&mut predict, &came).as_ref(), Ok(&expected_onward), "{end:?} at run {at}");
                let is_forecast = n_shown + n_steps <= at;
                assert_eq!(predict.continuation().is_ok(), is_forecast, "{end:?} at run {at}");
            }
            assert!(forecast(&mut predict, &given).expect("fits") == expected, "after {end:?} at run {at}");
            assert_eq!(
                onward(&mut predict, &came).as_ref(),
                Ok(&expected_onward),
                "after {end:?} at run {at}"
            );
        }
    }
}

#[test]
fn a_forecast_that_was_ended_is_none() {
    let orders = Orders::default();
    let mut predict = faulty_predict(&orders);
    let given = clip(&predict, 0, predict.manifest().clip.n_given);
    let expected = forecast(&mut predict, &given).expect("fits");
    // Of the same clip, and after one that was whole.
    orders.give_up(1, RunError::Deadline);
    let other = ForecastRequest { noise: Noise::Seed(4), ..wanted() };
    assert_eq!(predict.denoise(&other, |_| {}), Err(ForecastError::Run(RunError::Deadline)));
    assert_eq!(predict.decode(Limits::default(), |_| {}), Err(ForecastError::Nothing));
    assert_eq!(predict.continuation().err(), Some(ForecastError::Nothing));
    assert!(forecast(&mut predict, &given).expect("fits") == expected);
}

#[test]
fn refused_frames_show_nothing_and_what_was_shown_before_is_not_gone_on_from() {
    let orders = Orders::default();
    let mut predict = faulty_predict(&orders);
    let n_given = predict.manifest().clip.n_given;
    let (given, came) = (clip(&predict, 0, n_given), clip(&predict, n_given, 4));
    assert_eq!(predict.denoise(&wanted(), |_| {}), Err(ForecastError::NotShown));
    assert_eq!(onward(&mut predict, &came), Err(ForecastError::NotShown));
    let expected = forecast(&mut predict, &given).expect("fits");
    let mut odd = clip(&predict, 0, n_given);
    // The last one alone: the clip would be stopped midway.
    odd[n_given - 1].pop();
    assert!(matches!(predict.show(&views(&odd), Limits::default()), Err(ForecastError::FrameSize { .. })));
    assert_eq!(onward(&mut predict, &came), Err(ForecastError::NotShown));
    assert_eq!(predict.denoise(&wanted(), |_| {}), Err(ForecastError::NotShown));
    // A refusal of what would follow takes nothing.
    assert!(forecast(&mut predict, &given).expect("fits") == expected);
    let mut odd = came.clone();
    odd[3].pop();
    assert!(matches!(onward(&mut predict, &odd), Err(ForecastError::FrameSize { .. })));
    let first = onward(&mut predict, &came).expect("follows");
    assert_eq!(onward(&mut predict, &came), Err(ForecastError::NotShown));
    predict.show(&views(&given), Limits::default()).expect("fits");
    assert_eq!(onward(&mut predict, &came), Ok(first));
}

#[test]
fn a_comparison_that_was_ended_compares_no_more_latents() {
    let orders = Orders::default();
    let mut predict = faulty_predict(&orders);
    let (n_given, n_frames) = (predict.manifest().clip.n_given, predict.manifest().clip.n_frames);
    let (given, came) = (clip(&predict, 0, n_given), clip(&predict, n_given, n_frames - n_given));
    let mut expectation = Expectation::new(&predict);
    let mut compare = |predict: &mut Predict, ends_at: Option<usize>| {
        forecast(predict, &given).expect("fits");
        expectation.take(predict);
        let mut latents = Vec::new();
        for (i, frame) in came.iter().enumerate() {
            if ends_at == Some(i) {
                orders.give_up(0, RunError::Stopped);
            }
            let surprise = expectation.compare(predict, frame, Limits::default());
            latents.push(surprise.map(|surprise| surprise.latent));
        }
        latents
    };
    let whole = compare(&mut predict, None);
    let of = |i: usize| whole[i].expect("compares");
    assert!(of(3).is_some() && of(7).is_some() && of(0).is_none());
    let cut = compare(&mut predict, Some(3));
    assert_eq!(cut[3], Err(ForecastError::Run(RunError::Stopped)));
    // Not gone on from caches of half a latent, and no panic.
    assert_eq!(cut[4..], [Ok(None), Ok(None), Ok(None), Ok(None)]);
    assert_eq!(compare(&mut predict, Some(7))[..7], whole[..7]);
    assert_eq!(compare(&mut predict, None), whole);
    // What has come has made the caches those of a longer clip: nothing else follows the shown one.
    assert_eq!(onward(&mut predict, &came), Err(ForecastError::NotShown));
}

#[test]
fn a_forecast_waits_for_its_session_no_longer_than_it_may() {
    let engine = support::built(Path::new(CHECKPOINT), &PredictOptions::default(), 1);
    let manifest = engine.manifest().roles.forecasts.clone().expect("it forecasts");
    let shared = SharedSession::from(session(&engine));
    let mut predict = Predict::new(shared.clone(), manifest, None).expect("is Predict's");
    let given = clip(&predict, 0, predict.manifest().clip.n_given);
    let expected = forecast(&mut predict, &given).expect("fits");
    predict.show(&views(&given), Limits::default()).expect("fits");
    let stop = AtomicBool::new(true);
    for limits in
        [Limits { deadline: Some(Instant::now()), stop: None }, Limits { deadline: None, stop: Some(&stop) }]
    {
        let loan = shared.take(Limits::default()).expect("nobody has it");
        let end = if limits.stop.is_some() { RunError::Stopped } else { RunError::Deadline };
        assert_eq!(predict.show(&views(&given), limits), Err(ForecastError::Run(end)));
        drop(loan);
        assert!(forecast(&mut predict, &given).expect("fits") == expected);
        let loan = shared.take(Limits::default()).expect("nobody has it");
        assert_eq!(predict.decode(limits, |_| panic!("nothing is decoded")), Ok(0));
        drop(loan);
    }
    let lender = Lender::new(predict);
    let loan = lender.take(Limits::default()).expect("nobody has it");
    let late = Limits { deadline: Some(Instant::now()), stop: None };
    assert!(matches!(lender.take(late), Err(RunError::Deadline)));
    drop(loan);
    assert!(forecast(&mut lender.take(late).expect("free"), &given).expect("fits") == expected);
}
