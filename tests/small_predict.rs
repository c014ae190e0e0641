//! `engines/small-predict` on scenes rendered here: its forecasts are diffusers' own, and as good as its README says.

#[path = "support/predict.rs"]
mod support;

use std::path::Path;

use perihelion::checkpoint::Tensors;
use perihelion::export::PredictOptions;
use perihelion::runtime::predict::{Expectation, ForecastRequest, Limits, Noise, Predict, to_byte};
use perihelion::scenes::{FRAME_BYTES, Rng, SIZE, Scene, SceneOptions};

const CHECKPOINT: &str = "engines/small-predict";
const N_GIVEN: usize = 5;
const N_FRAMES: usize = 13;

fn from(noise: Noise<'_>) -> ForecastRequest<'_> {
    ForecastRequest { noise, ..ForecastRequest::default() }
}

fn forecast(predict: &mut Predict, given: &[&[u8]], noise: Noise<'_>) -> Vec<u8> {
    predict.show(given, Limits::default()).expect("encodes");
    predict.denoise(&from(noise), |_| {}).expect("denoises");
    let mut frames = Vec::with_capacity(N_FRAMES * FRAME_BYTES);
    predict
        .decode(Limits::default(), |part| frames.extend(part.pixels.iter().map(|v| to_byte(*v))))
        .expect("decodes");
    frames.split_off(N_GIVEN * FRAME_BYTES)
}

#[test]
fn twenty_forecasts_equal_diffusers() {
    let fixtures = Path::new("tests/fixtures/predict_scenes");
    let sheet = image::open(fixtures.join("given.png")).expect("fixture").into_rgb8();
    let expected = Tensors::open(&fixtures.join("forecasts.safetensors")).expect("fixture");
    let tensor = |name: &str| expected.tensor(name).expect("fixture");
    let (noise, latents) = (tensor("noise").to_f32(), tensor("latents").to_f32());
    let frames = tensor("frames").bytes;
    let mut predict = support::open(Path::new(CHECKPOINT), &PredictOptions::default(), 1, None);
    let len = predict.manifest().latents.len();
    assert_eq!(noise.len(), 20 * len);
    let largest = latents.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let (mut worst, mut n_with_frames) = (0.0f32, 0);
    for scene in 0..20 {
        let given: Vec<Vec<u8>> = (0..N_GIVEN)
            .map(|t| {
                let (x, y) = ((t * SIZE) as u32, (scene * SIZE) as u32);
                image::imageops::crop_imm(&sheet, x, y, SIZE as u32, SIZE as u32).to_image().into_raw()
            })
            .collect();
        let given: Vec<&[u8]> = given.iter().map(|f| &f[..]).collect();
        let noise = Noise::Given { noise: &noise[scene * len..][..len], renoise: &[] };
        let found_frames = forecast(&mut predict, &given, noise);
        let mut found = vec![0.0; len];
        predict.latents(&mut found).expect("forecast");
        for (a, b) in found.iter().zip(&latents[scene * len..]) {
            worst = worst.max((a - b).abs());
        }
        // The frames of the first scenes are there; those of all the others follow from latents, which are.
        if let Some(of_scene) = frames.chunks(found_frames.len()).nth(scene) {
            let off = found_frames.iter().zip(of_scene).map(|(a, b)| a.abs_diff(*b)).max().expect("frames");
            assert!(off <= 1, "scene {scene}: a pixel is off by {off}");
            n_with_frames += 1;
        }
    }
    assert_eq!(n_with_frames, 2, "scenes whose frames are compared");
    println!("latents: {worst:.2e} of {largest:.2}");
    assert!(worst <= 1e-3 * largest, "{worst} of {largest}");
}

fn rendered(scene: &Scene) -> Vec<Vec<u8>> {
    let frame = |t| {
        let mut rgb = vec![0; FRAME_BYTES];
        scene.render(t, &mut rgb);
        rgb
    };
    (0..N_FRAMES).map(frame).collect()
}

fn views(frames: &[Vec<u8>]) -> Vec<&[u8]> {
    frames.iter().map(|f| &f[..]).collect()
}

#[test]
fn what_came_as_forecast_surprises_less_than_what_did_not() {
    const N_SCENES: u64 = 20;
    let mut predict = support::open(Path::new(CHECKPOINT), &PredictOptions::default(), 1, None);
    let mut rng = Rng::new(4);
    let options = SceneOptions { n_frames: N_FRAMES, horizon: 0, ..SceneOptions::default() };
    let scenes: Vec<_> = (0..N_SCENES).map(|_| rendered(&Scene::draw(&mut rng, options))).collect();
    let mut expectation = Expectation::new(&predict);
    let mut means = [0.0f32; 3];
    for (i, scene) in scenes.iter().enumerate() {
        let noise = Noise::Seed(i as u64);
        let forecast = forecast(&mut predict, &views(&scene[..N_GIVEN]), noise);
        let forecast: Vec<Vec<u8>> = forecast.chunks(FRAME_BYTES).map(<[u8]>::to_vec).collect();
        let another = &scenes[(i + 1) % scenes.len()];
        let mut of_scene = [0.0f32; 3];
        for (k, came) in [&forecast[..], &scene[N_GIVEN..], &another[N_GIVEN..]].into_iter().enumerate() {
            // Comparing moves the encoder's caches on, so each future needs them made anew.
            predict.show(&views(&scene[..N_GIVEN]), Limits::default()).expect("encodes");
            predict.denoise(&from(noise), |_| {}).expect("denoises");
            expectation.take(&predict);
            for frame in came {
                let surprise = expectation.compare(&mut predict, frame, Limits::default()).expect("compares");
                of_scene[k] += surprise.latent.unwrap_or(0.0) / 2.0;
            }
        }
        println!("scene {i}: {of_scene:.3?}");
        let [as_forecast, true_future, another] = of_scene;
        assert!(as_forecast < true_future && true_future < another, "scene {i}: {of_scene:?}");
        means.iter_mut().zip(of_scene).for_each(|(m, s)| *m += s / N_SCENES as f32);
    }
    println!(
        "latent surprise: the forecast itself {:.3}, the truth {:.3}, another scene {:.3}",
        means[0], means[1], means[2]
    );
}

/// Mean squared difference of values in −1…1, over all pixels and over those that move.
fn errors(forecast: &[u8], truth: &[u8], last_given: &[u8]) -> (f64, f64, usize) {
    let difference = |a: u8, b: u8| (f64::from(a) - f64::from(b)) / 127.5;
    let (mut all, mut moving, mut n_moving) = (0.0, 0.0, 0);
    let pixels = forecast.chunks(3).zip(truth.chunks(3)).enumerate();
    for (i, (found, expected)) in pixels {
        let square: f64 = found.iter().zip(expected).map(|(a, b)| difference(*a, *b).powi(2)).sum();
        all += square;
        let before = &last_given[i * 3 % FRAME_BYTES..][..3];
        if expected.iter().zip(before).any(|(a, b)| 0.1 < difference(*a, *b).abs()) {
            moving += square;
            n_moving += 3;
        }
    }
    (all / forecast.len() as f64, moving, n_moving)
}

/// Centre and mass of what has a ball's colour.
fn colour_mass(frame: &[u8], rgb: [u8; 3]) -> ([f64; 2], f64) {
    let (mut sum, mut mass) = ([0.0; 2], 0.0);
    for (i, pixel) in frame.chunks(3).enumerate() {
        let distance = pixel
            .iter()
            .zip(rgb)
            .map(|(a, b)| ((f64::from(*a) - f64::from(b)) / 127.5).powi(2))
            .sum::<f64>()
            .sqrt();
        let weight = (1.0 - distance / 0.6).max(0.0);
        mass += weight;
        sum[0] += weight * ((i % SIZE) as f64 + 0.5);
        sum[1] += weight * ((i / SIZE) as f64 + 0.5);
    }
    ([sum[0] / mass.max(1e-9), sum[1] / mass.max(1e-9)], mass)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[test]
fn forecasts_of_200_scenes_are_as_good_as_the_readme_says() {
    let mut predict = support::open(Path::new(CHECKPOINT), &PredictOptions::default(), 1, None);
    let mut rng = Rng::new(20_261_122);
    let options = SceneOptions { n_frames: N_FRAMES, horizon: 0, ..SceneOptions::default() };
    let (mut psnr, mut squares, mut n_moving) = (Vec::new(), 0.0, 0);
    let (mut off, mut n_found) = ([Vec::new(), Vec::new()], 0);
    for i in 0..200 {
        let scene = Scene::draw(&mut rng, options);
        let frames = rendered(&scene);
        let found = forecast(&mut predict, &views(&frames[..N_GIVEN]), Noise::Seed(i));
        let (all, moving, n) = errors(&found, &frames[N_GIVEN..].concat(), &frames[N_GIVEN - 1]);
        psnr.push(10.0 * (4.0 / all).log10());
        (squares, n_moving) = (squares + moving, n_moving + n);
        let rgb = scene.start.balls[0].color.rgb();
        for (k, step) in [4, 8].into_iter().enumerate() {
            let frame = &found[(step - 1) * FRAME_BYTES..][..FRAME_BYTES];
            let (centre, mass) = colour_mass(frame, rgb);
            let (true_centre, true_mass) = colour_mass(&frames[N_GIVEN + step - 1], rgb);
            if 0.4 * true_mass < mass {
                off[k].push((centre[0] - true_centre[0]).hypot(centre[1] - true_centre[1]));
                n_found += usize::from(step == 8);
            }
        }
    }
    let psnr = psnr.iter().sum::<f64>() / psnr.len() as f64;
    let moving = 10.0 * (4.0 * n_moving as f64 / squares).log10();
    let [at_4, at_8] = off.map(median);
    println!(
        "PSNR {psnr:.2} dB, where something moves {moving:.2}; centre off by {at_4:.2} and {at_8:.2} px; found {n_found} of 200"
    );
    for (what, found, expected) in [
        ("PSNR", psnr, 24.51),
        ("PSNR, moving", moving, 13.69),
        ("+4", at_4, 1.89),
        ("+8", at_8, 3.61),
        ("found", n_found as f64, 177.0),
    ] {
        let share = found / expected;
        // Of what is better when larger the lower bound matters, of a distance the upper one.
        let worse = if what.starts_with('+') { share } else { 1.0 / share };
        assert!(worse <= 1.15, "{what}: {found:.2}, the README says {expected}");
    }
}

/// True frames that stand as the forecast have their own latents and come back as themselves, whatever was forecast before.
#[test]
fn a_recalled_clip_is_the_forecast() {
    let mut predict = support::open(Path::new(CHECKPOINT), &PredictOptions::default(), 1, None);
    let scenes = [7, 8].map(|seed| {
        let options = SceneOptions { n_frames: N_FRAMES, horizon: 0, ..SceneOptions::default() };
        rendered(&Scene::draw(&mut Rng::new(seed), options))
    });
    let len = predict.manifest().latents.len();
    let (mut before, mut recalled, mut again) = (vec![0.0; len], vec![0.0; len], vec![0.0; len]);
    forecast(&mut predict, &views(&scenes[0])[..N_GIVEN], Noise::Seed(1));
    predict.latents(&mut before).expect("forecast");
    predict.recall(&views(&scenes[1]), Limits::default()).expect("encodes");
    predict.latents(&mut recalled).expect("recalled");
    assert_ne!(before, recalled);
    let mut frames = Vec::new();
    predict
        .decode(Limits::default(), |part| frames.extend(part.pixels.iter().map(|v| to_byte(*v))))
        .expect("decodes");
    let truth = scenes[1].concat();
    let off: f64 = frames.iter().zip(&truth).map(|(a, b)| f64::from(a.abs_diff(*b))).sum();
    assert!(off / (truth.len() as f64) < 4.0, "levels off on average: {}", off / truth.len() as f64);
    // What was encoded onward is what it continues with.
    predict.show(&views(&scenes[1])[..N_GIVEN], Limits::default()).expect("encodes");
    let mut onward = vec![0.0; len];
    let n = predict
        .encode_onward(&views(&scenes[1])[N_GIVEN..], &mut onward, Limits::default())
        .expect("encodes");
    assert_eq!(n, 2);
    predict.recall(&views(&scenes[1]), Limits::default()).expect("encodes");
    let continuation = predict.continuation().expect("recalled").to_vec();
    assert_eq!(continuation, onward[..continuation.len()]);
    predict.latents(&mut again).expect("recalled");
    assert_eq!(recalled, again);
    assert!(predict.recall(&views(&scenes[1])[1..], Limits::default()).is_err());
}
