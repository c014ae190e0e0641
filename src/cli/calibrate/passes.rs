//! The work itself: a model answers or forecasts all that there is, while its session looks on.

use anyhow::{Context as _, bail};

use super::data::{Clip, Data, Questions};
use super::{Options, Usage};
use crate::cli::clip;
use crate::cli::places::CLIP_FILE;
use crate::cli::progress::Progress;
use crate::cli::question::Question;
use crate::models::predict25::PredictManifest;
use crate::runtime::predict::{ForecastRequest, Limits, Noise, Predict};
use crate::runtime::reason::{AnswerSettings, Picture, Reason, Request, Shown};

/// What clips are asked that bring no questions.
const PROMPT: &str = "Describe what happens.";
/// Tokens of an answer.
const TOKENS_MAX: usize = 32;

/// Asks all questions of the data; says how many.
pub(super) fn answers(reason: &mut Reason, data: &Data, options: &Options) -> anyhow::Result<usize> {
    // What was read and seen before is to be read and seen again.
    reason.forget();
    let tokens_max = options.max_tokens.unwrap_or(TOKENS_MAX);
    let progress = Progress::counting("calibrate");
    let samples = options.samples.unwrap_or(usize::MAX);
    match data {
        Data::Questions(Questions { path, lines }) => {
            let settings = AnswerSettings { tokens_max, ..AnswerSettings::default() };
            let folder = path.parent().unwrap_or(std::path::Path::new("")).to_owned();
            let n = lines.len().min(samples);
            for (done, (number, line)) in lines.iter().take(n).enumerate() {
                progress.set(done as u64, n as u64, "questions");
                let of_line = || format!("{}:{number}", path.display());
                let question = Question::from_line(line.clone(), &folder, &settings).with_context(of_line)?;
                let asked = question.with_request(None, |request| reason.ask(request, None, &mut |_, _| ()));
                asked.with_context(of_line)?;
            }
            Ok(n)
        }
        Data::Clips(clips) => {
            let prompt = options.prompt.as_deref().unwrap_or(PROMPT);
            let mut n_asked = 0;
            for (done, clip) in clips.iter().enumerate() {
                if samples <= n_asked {
                    break;
                }
                progress.set(done as u64, clips.len() as u64, "clips");
                let asked = ask(reason, clip, (prompt, tokens_max), samples - n_asked);
                n_asked += asked.with_context(|| clip.dir.display().to_string())?;
            }
            Ok(n_asked)
        }
    }
}

/// Asks what a clip asks, or the prompt, at most so often; says how many questions that were.
fn ask(
    reason: &mut Reason,
    clip: &Clip,
    (prompt, tokens_max): (&str, usize),
    at_most: usize,
) -> anyhow::Result<usize> {
    let all: Vec<usize> = (0..clip.files.len()).collect();
    let own = clip.described.questions.iter();
    let mut questions: Vec<(&str, &[usize])> =
        own.filter_map(|asked| Some((asked.texts.first()?.as_str(), &asked.frames[..]))).collect();
    if questions.is_empty() {
        questions.push((prompt, &all));
    }
    questions.truncate(at_most);
    for (text, frames) in &questions {
        let images = clip.frames(&frames[..frames.len().min(reason.frames_max().max(1))])?;
        let pictures: Vec<Picture<'_>> =
            images.iter().map(|image| Picture::new(&image.rgb, image.size())).collect();
        let shown = match &pictures[..] {
            [] => Vec::new(),
            [one] => vec![Shown::Image(*one)],
            several => vec![Shown::Clip { frames: several, fps: clip.described.fps }],
        };
        reason.ask(&Request::new(&shown, text, tokens_max), None, &mut |_, _| ())?;
    }
    Ok(questions.len())
}

/// Whether a model could forecast the data, as far as that is known before.
pub(super) fn check_forecasts(
    data: &Data,
    manifest: &PredictManifest,
    options: &Options,
) -> anyhow::Result<()> {
    let Data::Clips(clips) = data else {
        let message =
            format!("{}: a model that forecasts takes clips, not questions", options.data.display());
        return Err(Usage(message).into());
    };
    let n_given = manifest.clip.n_given;
    let width = manifest.clip.actions.as_ref().map(|actions| actions.names.len());
    for Clip { dir, files, described } in clips {
        if files.len() < n_given {
            bail!("{}: {} frames; the model forecasts from {n_given}", dir.display(), files.len());
        }
        let Some(width) = width else { continue };
        let is_wrong = |row: &Vec<f32>| row.len() != width || row.iter().any(|v| !v.is_finite());
        if let Some(row) = described.actions.iter().position(is_wrong) {
            let place = dir.join(CLIP_FILE);
            bail!(
                "{}: row {row} of `actions`: expected {width} numbers, as the model's actions have",
                place.display()
            );
        }
    }
    Ok(())
}

/// Forecasts all clips of data that was checked; says how many.
pub(super) fn forecasts(predict: &mut Predict, data: &Data, options: &Options) -> anyhow::Result<usize> {
    let Data::Clips(clips) = data else { return Ok(0) };
    let manifest = predict.manifest().clone();
    let progress = Progress::counting("calibrate");
    let n = options.samples.unwrap_or(clips.len()).min(clips.len());
    for (done, clip) in clips[..n].iter().enumerate() {
        progress.set(done as u64, n as u64, "clips");
        let forecast = forecast(predict, &manifest, clip, done as u64);
        forecast.with_context(|| clip.dir.display().to_string())?;
    }
    Ok(n)
}

fn forecast(predict: &mut Predict, manifest: &PredictManifest, clip: &Clip, seed: u64) -> anyhow::Result<()> {
    let given: Vec<usize> = (0..manifest.clip.n_given).collect();
    let frames = clip::scaled(&clip.frames(&given)?, manifest);
    let frames: Vec<&[u8]> = frames.iter().map(|frame| &frame[..]).collect();
    let actions = manifest.clip.actions.as_ref().map(|actions| {
        let n = (manifest.clip.n_frames - 1) * actions.names.len();
        let mut rows: Vec<f32> = clip.described.actions.iter().flatten().copied().take(n).collect();
        // Behind the clip's end the robot does nothing.
        rows.resize(n, 0.0);
        rows
    });
    predict.show(&frames, Limits::default())?;
    let request = ForecastRequest {
        noise: Noise::Seed(seed),
        actions: actions.as_deref(),
        ..ForecastRequest::default()
    };
    predict.denoise(&request, |_| {})?;
    predict.decode(Limits::default(), |_| ())?;
    Ok(())
}
