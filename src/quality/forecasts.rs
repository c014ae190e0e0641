//! Forecasts of clips whose future is known, beside the newest frame held and the true future as the VAE gives it back.

use std::time::Instant;

use serde_json::{Value, json};

use super::frames::{Squares, moved, sharpness, ssim};
use super::things::Tally;
use super::world::{Course, World};
use crate::runtime::predict::{ForecastError, ForecastRequest, Limits, Noise, Predict, to_byte};
use crate::runtime::statistics::Summary;

/// Seeds of two clips' noises lie so far apart, more than a forecast has steps: none is drawn twice, whatever the number of steps.
pub(super) const SEEDS_APART: u64 = 1 << 17;

/// What is measured of one frame of the horizon over all clips, or of all frames.
#[derive(Clone, Copy, Debug, Default)]
pub struct Measures {
    all: Squares,
    moving: Squares,
    similarity: f64,
    n_similar: u64,
    gradients: [f64; 2],
    things: Tally,
}

impl Measures {
    fn add(&mut self, found: &[u8], truth: &[u8], newest: Option<&[u8]>, course: &Course, side: usize) {
        self.all.add(found, truth);
        if let Some(newest) = newest {
            let moving = moved(truth, newest);
            self.moving.add_where(found, truth, |pixel| moving[pixel]);
        }
        if let Some(similarity) = ssim(found, truth, side) {
            self.similarity += similarity;
            self.n_similar += 1;
        }
        self.gradients[0] += sharpness(found, side);
        self.gradients[1] += sharpness(truth, side);
        self.things.look(found, truth, (&course.palette, course.n_things), side);
    }

    fn absorb(&mut self, other: &Measures) {
        self.all.absorb(other.all);
        self.moving.absorb(other.moving);
        self.similarity += other.similarity;
        self.n_similar += other.n_similar;
        (0..2).for_each(|k| self.gradients[k] += other.gradients[k]);
        self.things.absorb(other.things);
    }

    /// Peak signal to noise of all pixels, in dB, of the squared errors of all clips together: infinite where nothing differs.
    #[must_use]
    pub fn psnr_db(&self) -> Option<f64> {
        self.all.psnr_db()
    }

    /// The same of the pixels that differ from the newest given frame.
    #[must_use]
    pub fn psnr_moving_db(&self) -> Option<f64> {
        self.moving.psnr_db()
    }

    /// Mean structural similarity.
    #[must_use]
    pub fn ssim(&self) -> Option<f64> {
        (0 < self.n_similar).then(|| self.similarity / self.n_similar as f64)
    }

    /// How sharp frames are beside the true ones: 1 as sharp, less blurred.
    #[must_use]
    pub fn sharpness(&self) -> Option<f64> {
        (0.0 < self.gradients[1]).then(|| self.gradients[0] / self.gradients[1])
    }

    /// What became of the things.
    #[must_use]
    pub fn things(&self) -> &Tally {
        &self.things
    }

    fn json(&self) -> Value {
        json!({
            "psnr_db": self.psnr_db(),
            "psnr_moving_db": self.psnr_moving_db(),
            "ssim": self.ssim(),
            "sharpness": self.sharpness(),
            "found": self.things.found(),
            "color_kept": self.things.color_kept(),
            "center_error_px": self.things.away_px(),
        })
    }
}

/// The frames of the horizon, from the nearest.
#[derive(Clone, Debug, Default)]
pub struct Horizon(Vec<Measures>);

impl Horizon {
    fn add(&mut self, found: &[Vec<u8>], course: &Course, n_given: usize, side: usize) {
        let (given, truth) = course.frames.split_at(n_given);
        let newest = given.last().map(|frame| &frame[..]);
        self.0.resize(truth.len(), Measures::default());
        for ((measures, found), truth) in self.0.iter_mut().zip(found).zip(truth) {
            measures.add(found, truth, newest, course, side);
        }
    }

    /// Each frame's.
    #[must_use]
    pub fn by_frame(&self) -> &[Measures] {
        &self.0
    }

    /// Those of all frames together.
    #[must_use]
    pub fn whole(&self) -> Measures {
        let mut all = Measures::default();
        self.0.iter().for_each(|measures| all.absorb(measures));
        all
    }

    fn json(&self) -> Value {
        let mut value = self.whole().json();
        value["by_frame"] = self.0.iter().map(Measures::json).collect();
        value
    }
}

/// A clip with what was forecast of it, as packed RGB.
#[derive(Clone, Debug)]
pub struct Example {
    /// The clip's number.
    pub index: u64,
    /// What was given and what came.
    pub truth: Vec<Vec<u8>>,
    /// What was forecast.
    pub forecast: Vec<Vec<u8>>,
    /// What came, as the VAE gives it back.
    pub recalled: Vec<Vec<u8>>,
}

/// What a forecaster's clips come to.
#[derive(Clone, Debug, Default)]
pub struct Forecasts {
    /// Clips that were forecast.
    pub n_clips: u64,
    /// Frames that were given of each.
    pub n_given: usize,
    /// Steps of a forecast.
    pub steps: usize,
    /// Width and height of the frames.
    pub side: usize,
    /// The forecast.
    pub forecast: Horizon,
    /// The newest given frame, held; empty where none is given.
    pub held: Horizon,
    /// The true frames, encoded and decoded.
    pub recalled: Horizon,
    /// From the given frames to the last decoded one, in milliseconds.
    pub took_ms: Vec<f64>,
    /// The first of the clips.
    pub examples: Vec<Example>,
}

impl Forecasts {
    /// As a script reads it. What is infinite or was not seen is null.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "clips": self.n_clips,
            "given_frames": self.n_given,
            "horizon_frames": self.forecast.by_frame().len(),
            "steps": self.steps,
            "forecast": self.forecast.json(),
            "newest_frame_held": self.held.json(),
            "vae": self.recalled.json(),
            "forecast_ms": Summary::of(&self.took_ms),
        })
    }
}

/// Forecasts `clips` of a world; the noise of each follows from its number. `each` hears how many are done.
///
/// # Errors
/// If the engine cannot forecast such clips, or a run failed.
pub fn forecasts(
    predict: &mut Predict,
    world: World,
    clips: std::ops::Range<u64>,
    n_examples: usize,
    mut each: impl FnMut(u64),
) -> Result<Forecasts, ForecastError> {
    let clip = predict.manifest().clip.clone();
    let (n_given, side) = (clip.n_given, clip.width);
    let mut all = Forecasts { n_given, steps: predict.n_steps(), side, ..Forecasts::default() };
    for index in clips {
        let course = world.course(index, clip.n_frames, side);
        let views: Vec<&[u8]> = course.frames.iter().map(|frame| &frame[..]).collect();
        let actions = course.actions.as_deref().filter(|_| clip.actions.is_some());
        let begin = Instant::now();
        predict.show(&views[..n_given], Limits::default())?;
        let noise = Noise::Seed(index.wrapping_mul(SEEDS_APART));
        let request = ForecastRequest { noise, actions, ..ForecastRequest::default() };
        predict.denoise(&request, |_| {})?;
        let forecast = decoded(predict, n_given)?;
        all.took_ms.push(begin.elapsed().as_secs_f64() * 1e3);
        predict.recall(&views, Limits::default())?;
        let recalled = decoded(predict, n_given)?;
        all.forecast.add(&forecast, &course, n_given, side);
        all.recalled.add(&recalled, &course, n_given, side);
        if let Some(newest) = course.frames[..n_given].last() {
            all.held.add(&vec![newest.clone(); clip.n_frames - n_given], &course, n_given, side);
        }
        all.n_clips += 1;
        if all.examples.len() < n_examples {
            all.examples.push(Example { index, truth: course.frames, forecast, recalled });
        }
        each(all.n_clips);
    }
    Ok(all)
}

/// The frames after the given ones.
fn decoded(predict: &mut Predict, n_given: usize) -> Result<Vec<Vec<u8>>, ForecastError> {
    let frame_len = predict.manifest().clip.width * predict.manifest().clip.height * 3;
    let mut frames = Vec::new();
    predict.decode(Limits::default(), |part| {
        let bytes: Vec<u8> = part.pixels.iter().map(|value| to_byte(*value)).collect();
        frames.extend(bytes.chunks_exact(frame_len).map(<[u8]>::to_vec));
    })?;
    Ok(frames.split_off(n_given))
}
