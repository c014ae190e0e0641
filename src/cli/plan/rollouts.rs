//! The forecasts of the best plans as frames: made anew from the first noise, since a search keeps scores and no forecasts.

use std::path::PathBuf;

use image::RgbImage;

use super::{Options, Shown, sheet};
use crate::cli::clip::{self, FrameWriter};
use crate::runtime::plan::{Candidate, Ranking};
use crate::runtime::predict::{ForecastRequest, Limits, Noise, Predict, to_byte};

/// Writes what the options ask for; returns the files.
pub(super) fn write(
    options: &Options,
    predict: &mut Predict,
    candidates: &[Candidate],
    ranking: &Ranking,
    shown: Shown<'_>,
) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    if options.frames_out.is_none() && options.contact_sheet.is_none() {
        return Ok(files);
    }
    let mut rows = Vec::new();
    for (place, ranked) in ranking.ranked.iter().take(options.top).enumerate() {
        let request = ForecastRequest {
            noise: Noise::Seed(options.seed),
            actions: Some(&candidates[ranked.candidate].actions),
            text: options.text.as_deref(),
            ..ForecastRequest::default()
        };
        let frames = roll_out(predict, &request)?;
        if let Some(dir) = &options.frames_out {
            let mut writer = FrameWriter::create(&dir.join(format!("{:02}", place + 1)))?;
            frames.iter().try_for_each(|frame| writer.write(frame))?;
            files.extend(writer.into_files());
        }
        rows.push(frames);
    }
    if let Some(path) = &options.contact_sheet {
        let (width, height) = (predict.manifest().clip.width, predict.manifest().clip.height);
        let picture = |rgb: &[u8]| RgbImage::from_raw(width as u32, height as u32, rgb.to_vec());
        let sheet = sheet::draw(shown.given.and_then(picture), &rows, shown.goal.and_then(picture));
        clip::save(path, &sheet)?;
        files.push(path.clone());
    }
    Ok(files)
}

/// The forecast frames.
fn roll_out(predict: &mut Predict, request: &ForecastRequest<'_>) -> anyhow::Result<Vec<RgbImage>> {
    let clip = predict.manifest().clip.clone();
    let mut frames = Vec::with_capacity(clip.n_frames - clip.n_given);
    predict.denoise(request, |_| {})?;
    predict.decode(Limits::default(), |decoded| {
        for (i, pixels) in decoded.pixels.chunks(clip.width * clip.height * 3).enumerate() {
            if clip.n_given <= decoded.first + i {
                let bytes = pixels.iter().map(|value| to_byte(*value)).collect();
                frames.extend(RgbImage::from_raw(clip.width as u32, clip.height as u32, bytes));
            }
        }
    })?;
    Ok(frames)
}
