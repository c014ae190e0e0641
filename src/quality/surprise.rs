//! How well surprise tells what cannot happen from what can: clips of a robot's table as they went, and the same with something strange
//! planted, forecast from the frames before it.

use std::ops::Range;

use serde::Serialize;

use super::forecasts::SEEDS_APART;
use super::world::{HORIZON_MIN, World};
use crate::runtime::predict::{Expectation, ForecastError, ForecastRequest, Limits, Noise, Predict};
use crate::scenes::robot::Anomaly;

/// By what differences are blurred before the place is looked for where they are greatest: σ in heights of the picture.
const BLUR: f64 = 0.1;

/// The greatest surprise of a clip: of a latent and of its most surprising place, in standard deviations, and of a frame's pixels, as a
/// share of their range.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Greatest {
    latent: f64,
    place: f64,
    pixels: f64,
}

/// Areas under the receiver operating characteristic: how often a clip with something strange surprises more than one without, over all
/// pairs (Hanley and McNeil 1982, <https://doi.org/10.1148/radiology.143.1.7063747>).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Surprise {
    /// What was planted; `any` for all together.
    pub anomaly: &'static str,
    /// Clips with it.
    pub clips: u64,
    /// By surprise in latent space; none without clips.
    pub auroc_latent: Option<f64>,
    /// By surprise at the place of a latent where it is greatest, blurred by a tenth of the picture's height.
    pub auroc_place: Option<f64>,
    /// By surprise in pixels.
    pub auroc_pixels: Option<f64>,
}

/// Of clips without anything strange, and of each kind that was planted.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Surprises {
    /// Clips as they went.
    pub quiet_clips: u64,
    /// Of all kinds together, then of each.
    pub kinds: Vec<Surprise>,
}

/// Looks at each clip as it went and with one kind planted, in turn; nothing in a world where none can be, or of an engine that is given
/// no frame or forecasts too few to see it. `each` hears how many are done.
///
/// # Errors
/// If a run failed.
pub fn surprises(
    predict: &mut Predict,
    world: World,
    clips: Range<u64>,
    mut each: impl FnMut(u64),
) -> Result<Option<Surprises>, ForecastError> {
    let clip = predict.manifest().clip.clone();
    if clip.n_given == 0 || clip.n_frames < clip.n_given + HORIZON_MIN {
        return Ok(None);
    }
    let mut expectation = Expectation::new(predict).blurred(BLUR, predict);
    let (mut quiet, mut strange) = (Vec::new(), Vec::new());
    for (done, index) in (1..).zip(clips) {
        let kind = Anomaly::ALL[(index % Anomaly::ALL.len() as u64) as usize];
        let Some(planted) = world.strange(index, kind, clip.n_given, clip.n_frames, clip.width) else {
            return Ok(None);
        };
        let course = world.course(index, clip.n_frames, clip.width);
        let actions = course.actions.as_deref().filter(|_| clip.actions.is_some());
        let noise = Noise::Seed(index.wrapping_mul(SEEDS_APART));
        let request = ForecastRequest { noise, actions, ..ForecastRequest::default() };
        let mut of = |frames: &[Vec<u8>]| greatest(predict, &mut expectation, &request, frames);
        quiet.push(of(&course.frames)?);
        if let Some(frames) = planted {
            strange.push((kind, of(&frames)?));
        }
        each(done);
    }
    let of = |anomaly, kinds: &[Anomaly]| {
        let of_kinds = strange.iter().filter(|(kind, _)| kinds.contains(kind));
        let planted: Vec<Greatest> = of_kinds.map(|(_, greatest)| *greatest).collect();
        let area = |by: fn(&Greatest) -> f64| {
            let [planted, quiet] = [&planted, &quiet].map(|all| all.iter().map(by).collect::<Vec<f64>>());
            auroc(&planted, &quiet)
        };
        let clips = planted.len() as u64;
        Surprise {
            anomaly,
            clips,
            auroc_latent: area(|g| g.latent),
            auroc_place: area(|g| g.place),
            auroc_pixels: area(|g| g.pixels),
        }
    };
    let each_kind = Anomaly::ALL.iter().map(|kind| of(kind.name(), &[*kind]));
    let kinds = [of("any", &Anomaly::ALL)].into_iter().chain(each_kind).collect();
    Ok(Some(Surprises { quiet_clips: quiet.len() as u64, kinds }))
}

/// Forecasts from the first frames and compares those that came.
fn greatest(
    predict: &mut Predict,
    expectation: &mut Expectation,
    request: &ForecastRequest<'_>,
    frames: &[Vec<u8>],
) -> Result<Greatest, ForecastError> {
    let n_given = predict.manifest().clip.n_given;
    let given: Vec<&[u8]> = frames[..n_given].iter().map(|frame| &frame[..]).collect();
    let limits = Limits::default();
    predict.show(&given, limits)?;
    predict.denoise(request, |_| {})?;
    expectation.take(predict);
    predict.decode(limits, |decoded| expectation.decoded(decoded))?;
    let mut greatest = Greatest::default();
    for came in &frames[n_given..] {
        let found = expectation.compare(predict, came, limits)?;
        greatest.latent = greatest.latent.max(found.latent.map_or(0.0, f64::from));
        greatest.place = greatest.place.max(found.place.map_or(0.0, f64::from));
        greatest.pixels = greatest.pixels.max(found.pixels.map_or(0.0, f64::from));
    }
    Ok(greatest)
}

/// How often a value of the first is above one of the others, where equal ones count half; none if either is empty.
fn auroc(above: &[f64], others: &[f64]) -> Option<f64> {
    let pairs = above.iter().flat_map(|a| others.iter().map(move |b| (a, b)));
    let wins: f64 = pairs
        .map(|(a, b)| match a.total_cmp(b) {
            std::cmp::Ordering::Greater => 1.0,
            std::cmp::Ordering::Equal => 0.5,
            std::cmp::Ordering::Less => 0.0,
        })
        .sum();
    let n = above.len() * others.len();
    (0 < n).then(|| wins / n as f64)
}

#[cfg(test)]
#[test]
fn an_area_counts_pairs() {
    assert_eq!(auroc(&[3.0, 4.0], &[1.0, 2.0]), Some(1.0));
    assert_eq!(auroc(&[1.0], &[2.0]), Some(0.0));
    assert_eq!(auroc(&[2.0, 5.0], &[2.0, 3.0]), Some((0.5 + 0.0 + 2.0) / 4.0));
    assert_eq!(auroc(&[], &[1.0]), None);
}
