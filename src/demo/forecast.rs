//! What the small world model expects of rendered scenes, beside what then comes, and how surprised it is by a ball that jumps.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use embedded_graphics::pixelcolor::Rgb888;
use serde::Serialize;

use super::course::{quiet, rendered, with_jump};
use super::engine::PredictEngine;
use super::plot::{self, Curve, Panel};
use super::sheet::{self, Forecasted};
use crate::quality::frames::Squares;
use crate::report::{Html, element};
use crate::ros2::predict::{PredictForecaster, PredictSettings};
use crate::runtime::predict::{Expectation, ForecastRequest, Limits, Noise, Predict, to_byte};
use crate::runtime::statistics::Summary;
use crate::scenes::{FPS, Rng, SIZE, Scene, SceneOptions};

/// Scenes that are forecast.
const SCENES: usize = 20;
/// Those of them that the contact sheet shows.
const SHOWN_SCENES: usize = 3;
/// Forecasts of a course, each held against what comes until the next.
const COURSE_FORECASTS: usize = 4;
/// The forecast of a course in which the ball jumps, and after how many of its frames.
const JUMP_IN: (usize, usize) = (1, 4);
/// Frames in which the balls slow down before a course begins: what bounces fast can go on in two ways, and surprises too.
const SETTLING: usize = 16;
/// Surprise that few such courses reach while nothing jumps, and few jumps stay below: in latent space and in pixels.
pub(super) const THRESHOLD: Greatest = Greatest { latent: 0.7, pixels: 0.03 };

/// The figures, and where the pictures are. Its fields are those of `forecast` in `demo --json`.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    scenes: usize,
    given_frames: usize,
    forecast_frames: usize,
    /// Mean over the scenes, of all frames that were forecast.
    psnr_db: f64,
    /// The same where the newest given frame is held instead.
    held_psnr_db: f64,
    /// Of showing, denoising and decoding.
    forecast_ms: Summary,
    surprise: Surprises,
    files: Vec<PathBuf>,
    #[serde(skip)]
    shown: Vec<Forecasted>,
    #[serde(skip)]
    panels: [Panel; 2],
}

#[derive(Debug, Serialize)]
struct Surprises {
    threshold: Greatest,
    quiet: Greatest,
    jump: Greatest,
    jump_frame: usize,
}

/// The greatest surprise of a course.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Greatest {
    pub(super) latent: f32,
    pub(super) pixels: f32,
}

/// One frame's surprise.
#[derive(Debug, Clone, Copy)]
struct Moment {
    frame: usize,
    latent: Option<f32>,
    pixels: Option<f32>,
}

/// An engine that forecasts.
pub(super) struct Forecaster {
    engine: PredictEngine,
    predict: Predict,
    expectation: Expectation,
}

impl Forecaster {
    /// Exports and builds the checkpoint for the CPU in f32, and opens the engine.
    ///
    /// # Errors
    /// If a step refuses it, or it forecasts other frames than the scenes'.
    pub(super) fn of(checkpoint: &Path, threads: NonZeroUsize) -> anyhow::Result<Self> {
        let engine = PredictEngine::of(checkpoint, threads)?;
        let predict = engine.open(threads)?;
        let clip = &predict.manifest().clip;
        let fits = (clip.width, clip.height) == (SIZE, SIZE) && 0 < clip.n_given && clip.actions.is_none();
        ensure!(fits, "{}: it forecasts other frames than those of the scenes", checkpoint.display());
        Ok(Self { expectation: Expectation::new(&predict), predict, engine })
    }

    /// The same engine as a node runs it.
    ///
    /// # Errors
    /// If memory or threads are short.
    pub(super) fn for_node(&self, threads: NonZeroUsize) -> anyhow::Result<PredictForecaster> {
        let settings = PredictSettings { seed: 0, latent_only: false, ..PredictSettings::default() };
        Ok(PredictForecaster::new(self.engine.open(threads)?, settings))
    }

    /// Forecasts scenes and follows two courses; draws both into `dir`. Nothing if `stop` is set before it ends.
    ///
    /// # Errors
    /// If a forecast fails or a picture cannot be written.
    pub(super) fn play(
        &mut self,
        seed: u64,
        dir: &Path,
        stop: &AtomicBool,
    ) -> anyhow::Result<Option<Report>> {
        let mut rng = Rng::new(seed);
        let (n_given, n_frames) =
            (self.predict.manifest().clip.n_given, self.predict.manifest().clip.n_frames);
        let mut draw = |n_frames| {
            Scene::draw(&mut rng, SceneOptions { n_frames, horizon: 0, ..SceneOptions::default() })
        };
        let (mut psnr, mut held_psnr, mut took_ms, mut shown) = (0.0, 0.0, Vec::new(), Vec::new());
        for number in 0..SCENES {
            if stop.load(Relaxed) {
                return Ok(None);
            }
            let scene = draw(n_frames);
            let given: Vec<Vec<u8>> = (0..n_given).map(|frame| rendered(&scene, frame)).collect();
            let came: Vec<Vec<u8>> = (n_given..n_frames).map(|frame| rendered(&scene, frame)).collect();
            let started = Instant::now();
            let forecast = self.forecast(&given, number as u64)?;
            took_ms.push(started.elapsed().as_secs_f64() * 1e3);
            psnr += psnr_db(&forecast, &came) / SCENES as f64;
            held_psnr += psnr_db(&vec![given[n_given - 1].clone(); came.len()], &came) / SCENES as f64;
            if number < SHOWN_SCENES {
                shown.push(Forecasted { given, forecast, came });
            }
        }

        let horizon = n_frames - n_given;
        let jump_frame = n_given + JUMP_IN.0 * horizon + JUMP_IN.1;
        let scene = draw(SETTLING + n_given + COURSE_FORECASTS * horizon);
        let quiet = self.follow(&quiet(&scene)[SETTLING..])?;
        if stop.load(Relaxed) {
            return Ok(None);
        }
        let jump = self.follow(&with_jump(&scene, SETTLING + jump_frame)[SETTLING..])?;

        std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
        let files = ["forecast.png", "surprise.png"].map(|name| dir.join(name));
        let panels = panels(&quiet, &jump, jump_frame as f64 / FPS);
        for (canvas, file) in [sheet::draw(&shown), plot::draw(&panels)].iter().zip(&files) {
            canvas.save(file).with_context(|| file.display().to_string())?;
        }
        Ok(Some(Report {
            scenes: SCENES,
            given_frames: n_given,
            forecast_frames: horizon,
            psnr_db: psnr,
            held_psnr_db: held_psnr,
            forecast_ms: Summary::of(&took_ms),
            surprise: Surprises {
                threshold: THRESHOLD,
                quiet: greatest(&quiet),
                jump: greatest(&jump),
                jump_frame,
            },
            files: files.into(),
            shown,
            panels,
        }))
    }

    fn forecast(&mut self, given: &[Vec<u8>], seed: u64) -> anyhow::Result<Vec<Vec<u8>>> {
        let given: Vec<&[u8]> = given.iter().map(|frame| &frame[..]).collect();
        let (limits, frame_len) = (Limits::default(), given[0].len());
        self.predict.show(&given, limits)?;
        let request = ForecastRequest { noise: Noise::Seed(seed), ..ForecastRequest::default() };
        self.predict.denoise(&request, |_| {})?;
        let mut frames = Vec::new();
        let expectation = &mut self.expectation;
        expectation.take(&self.predict);
        self.predict.decode(limits, |decoded| {
            expectation.decoded(decoded);
            let bytes: Vec<u8> = decoded.pixels.iter().map(|value| to_byte(*value)).collect();
            frames.extend(bytes.chunks(frame_len).map(<[u8]>::to_vec));
        })?;
        Ok(frames.split_off(given.len()))
    }

    /// Forecasts from the newest frames, compares what comes as far as the forecast reaches, and forecasts again.
    fn follow(&mut self, course: &[Vec<u8>]) -> anyhow::Result<Vec<Moment>> {
        let n_given = self.predict.manifest().clip.n_given;
        let mut moments = Vec::with_capacity(course.len());
        for (frame, came) in course.iter().enumerate().skip(n_given) {
            if !self.expectation.expects_more() || frame == n_given {
                self.forecast(&course[frame - n_given..frame], 0)?;
            }
            let surprise = self.expectation.compare(&mut self.predict, came, Limits::default())?;
            moments.push(Moment { frame, latent: surprise.latent, pixels: surprise.pixels });
        }
        Ok(moments)
    }
}

impl Report {
    /// As a person reads it.
    pub(super) fn lines(&self) -> [String; 3] {
        let Surprises { threshold, quiet, jump, .. } = &self.surprise;
        [
            format!(
                "forecasts of {} scenes, {} frames from {}: PSNR {:.1} dB (the newest frame held: {:.1} dB), {:.0} ms each",
                self.scenes,
                self.forecast_frames,
                self.given_frames,
                self.psnr_db,
                self.held_psnr_db,
                self.forecast_ms.p50.unwrap_or(f64::NAN),
            ),
            format!(
                "surprise in latent space: {:.2} at most on a quiet course, {:.2} where a ball jumps, threshold {:.2}",
                quiet.latent, jump.latent, threshold.latent
            ),
            format!(
                "surprise in pixels: {:.3}, {:.3}, threshold {:.3}",
                quiet.pixels, jump.pixels, threshold.pixels
            ),
        ]
    }

    /// The pictures.
    pub(super) fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// PSNR in dB, that of the newest frame held, and the greatest surprise in latent space of a quiet course and of one with a jump.
    pub(super) fn figures(&self) -> [f64; 4] {
        let Surprises { quiet, jump, .. } = &self.surprise;
        [self.psnr_db, self.held_psnr_db, quiet.latent.into(), jump.latent.into()]
    }

    /// The scenes as films: what was given, what was forecast, what came, and what differs.
    pub(super) fn films(&self) -> Html {
        let said = format!(
            "{} of the {} scenes that were forecast after the live camera: {} frames were given, {} forecast. The difference is \
             black where the forecast was right.",
            self.shown.len(),
            self.scenes,
            self.given_frames,
            self.forecast_frames
        );
        let cards = self.shown.iter().map(sheet::films);
        Html::join([Html::from(element("p", "soft").with(said)), Html::join(cards)])
    }

    /// Surprise over time, in latent space and in pixels.
    pub(super) fn plots(&self) -> Vec<Html> {
        self.panels.iter().map(Panel::figure).collect()
    }
}

fn psnr_db(found: &[Vec<u8>], expected: &[Vec<u8>]) -> f64 {
    let mut squares = Squares::default();
    found.iter().zip(expected).for_each(|(found, expected)| squares.add(found, expected));
    squares.psnr_db().unwrap_or(f64::NAN)
}

fn greatest(moments: &[Moment]) -> Greatest {
    let most = |values: &mut dyn Iterator<Item = f32>| values.fold(0.0, f32::max);
    Greatest {
        latent: most(&mut moments.iter().filter_map(|m| m.latent)),
        pixels: most(&mut moments.iter().filter_map(|m| m.pixels)),
    }
}

fn panels(quiet: &[Moment], jump: &[Moment], jump_s: f64) -> [Panel; 2] {
    type Measure = fn(&Moment) -> Option<f32>;
    let (latent, pixels): (Measure, Measure) = (|m| m.latent, |m| m.pixels);
    let measures = [
        ("surprise in latent space", "standard deviations", THRESHOLD.latent, latent),
        ("surprise in pixels", "share of their range", THRESHOLD.pixels, pixels),
    ];
    measures.map(|(title, unit, threshold, of)| {
        let curve = |name, color, moments: &[Moment]| {
            let points = moments.iter().filter_map(|m| Some([m.frame as f64 / FPS, f64::from(of(m)?)]));
            Curve { name, color, points: points.collect() }
        };
        let curves = vec![
            curve("quiet", Rgb888::new(30, 110, 180), quiet),
            curve("a ball jumps", Rgb888::new(220, 120, 20), jump),
        ];
        Panel { title, unit, threshold: threshold.into(), jump_s, curves }
    })
}
