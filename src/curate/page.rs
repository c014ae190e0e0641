//! The set as a page to look through: every clip's pictures, and what was left out beside the measure that it was left out for.

use std::path::{Path, PathBuf};

use super::error::CurateError;
use super::manifest::{ClipLine, DroppedLine, Manifest, SourceLine};
use super::record::Clip;
use super::thumbnail::thumbnail;
use crate::camera::{FrameSize, Resizer, load_image};
use crate::report::{Film, Html, Page, Tile, element, table};

/// Pictures of a clip.
const PICTURES: usize = 5;
/// Clips that are shown; the manifest has all.
const CLIPS_MAX: usize = 300;
/// Stretches that are shown of those that were left out.
const DROPPED_MAX: usize = 300;
const PIXELS_MAX: u64 = 1 << 26;

/// Where the pictures are, in the manifest's order.
pub(super) struct Shown<'a> {
    pub(super) clips: Vec<(&'a Path, &'a Clip)>,
    pub(super) dropped: Vec<PathBuf>,
}

/// The page's markup.
pub(super) fn html(manifest: &Manifest<'_>, shown: &Shown<'_>) -> Result<String, CurateError> {
    let totals = &manifest.totals;
    let n_dropped: u64 = totals.dropped.values().map(|count| count.frames).sum();
    let lead = format!(
        "{} clips of {} frames out of {} images from {} sources.",
        totals.clips, totals.kept_frames, totals.frames, totals.sources
    );
    let mut page = Page::new("Curated clips", lead);
    for source in &manifest.sources {
        if let Some(problem) = source.problem {
            page.note(format!("{}: {problem}", source.name));
        }
    }
    let mut tile = |value: u64, name, beside: String| {
        page.tile(Tile { value: value.to_string(), name, beside });
    };
    tile(totals.clips, "clips", format!("in {} shapes", shapes(manifest)));
    tile(totals.kept_frames, "frames kept", format!("of {}", totals.frames));
    tile(n_dropped, "frames left out", format!("in {} stretches", manifest.dropped.len()));
    tile(totals.damaged, "damaged images", "left out, the clip goes on".to_owned());

    let mut pictures = Pictures { resizer: Resizer::new() };
    let mut cards = Vec::new();
    for (line, (folder, clip)) in manifest.clips.iter().zip(&shown.clips).take(CLIPS_MAX) {
        cards.push(pictures.clip(line, folder, clip)?);
    }
    let clips =
        Html::join([beyond(manifest.clips.len(), CLIPS_MAX), element("div", "cards").with_all(cards).into()]);
    page.section("clips", "Clips", clips);

    let rows = totals.dropped.iter().map(|(reason, count)| {
        vec![Html::from(*reason), count.stretches.to_string().into(), count.frames.to_string().into()]
    });
    let counts = table(&["reason", "stretches", "frames"], rows.collect());
    let mut rows = Vec::new();
    for (line, place) in manifest.dropped.iter().zip(&shown.dropped).take(DROPPED_MAX) {
        rows.push(pictures.dropped(line, place)?);
    }
    let heading = ["", "reason", "measured", "threshold", "frames", "seconds", "from"];
    let parts = [counts, beyond(manifest.dropped.len(), DROPPED_MAX), table(&heading, rows)];
    page.section("dropped", "Left out", Html::join(parts));
    page.section("sources", "Sources", sources(manifest));
    page.section("parameters", "What decided", parameters(manifest));
    Ok(page.html())
}

struct Pictures {
    resizer: Resizer,
}

impl Pictures {
    fn small(&mut self, place: &Path) -> Result<(Vec<u8>, FrameSize), CurateError> {
        let image = load_image(place, PIXELS_MAX)?;
        Ok(thumbnail(&mut self.resizer, &image.rgb, image.size()))
    }

    fn clip(&mut self, line: &ClipLine<'_>, folder: &Path, clip: &Clip) -> Result<Html, CurateError> {
        let n = clip.files.len();
        let n_pictures = PICTURES.min(n);
        let (mut frames, mut small) = (Vec::new(), FrameSize { width: 1, height: 1 });
        for i in 0..n_pictures {
            let at = if n_pictures == 1 { 0 } else { i * (n - 1) / (n_pictures - 1) };
            let (rgb, size) = self.small(&folder.join(&clip.files[at]))?;
            frames.push(rgb);
            small = size;
        }
        let film = Film::new(&frames, small.width as u32, small.height as u32, 2.0);
        let heading = element("header", "").with(element("h3", "").with(line.clip.as_str())).with(
            element("span", "meta").with(format!(
                "{} frames · {} a second · {}×{} ({}) · begins at {}",
                line.frames,
                line.fps,
                line.bucket.width,
                line.bucket.height,
                line.bucket.aspect,
                serde_json::to_value(line.begins).ok().as_ref().and_then(|b| b.as_str()).unwrap_or_default(),
            )),
        );
        let measured = &line.measured;
        let below = format!(
            "{} {} frames {} to {} · blur at most {:.2}, light at least {:.2}, text at most {:.2}",
            line.source,
            line.topic,
            line.first,
            line.last,
            measured.blur_max,
            measured.light_min,
            measured.text_max
        );
        let words = format!("{PICTURES} frames of clip {}", line.clip);
        Ok(film
            .around("div", "card")
            .with(heading)
            .with(element("p", "meta").with(below))
            .with(film.strip(&words))
            .into())
    }

    fn dropped(&mut self, line: &DroppedLine<'_>, place: &Path) -> Result<Vec<Html>, CurateError> {
        let (rgb, size) = self.small(place)?;
        let film = Film::new(&[rgb], size.width as u32, size.height as u32, 1.0);
        let reason = match &line.like {
            Some(like) => format!("{} of {like}", line.reason.name()),
            None => line.reason.name().to_owned(),
        };
        let seconds = line.last_stamp_ns.saturating_sub(line.first_stamp_ns) as f64 / 1e9;
        Ok(vec![
            film.around("div", "").with(film.still(0, &[], &format!("the first frame: {reason}"))).into(),
            reason.into(),
            format!("{:.3}", line.value).into(),
            format!("{:.3}", line.threshold).into(),
            format!("{} to {}", line.first, line.last).into(),
            format!("{seconds:.1}").into(),
            format!("{} {}", line.source, line.topic).into(),
        ])
    }
}

fn shapes(manifest: &Manifest<'_>) -> usize {
    let sizes = manifest.clips.iter().map(|line| (line.bucket.width, line.bucket.height));
    sizes.collect::<std::collections::BTreeSet<_>>().len()
}

fn beyond(n: usize, shown: usize) -> Html {
    match n.saturating_sub(shown) {
        0 => Html::new(),
        more => {
            element("p", "soft").with(format!("The first {shown}; {more} more are in the manifest.")).into()
        }
    }
}

fn sources(manifest: &Manifest<'_>) -> Html {
    let row = |source: &SourceLine<'_>| {
        let (frames, damaged) =
            source.streams.iter().fold((0, 0), |(f, d), stream| (f + stream.frames, d + stream.damaged));
        let also =
            if source.also.is_empty() { String::new() } else { format!(" = {}", source.also.join(" = ")) };
        vec![
            format!("{}{also}", source.name).into(),
            source.streams.len().to_string().into(),
            frames.to_string().into(),
            damaged.to_string().into(),
            source.sha256[..source.sha256.len().min(12)].into(),
        ]
    };
    let heading = ["source", "streams", "images", "damaged", "SHA-256"];
    table(&heading, manifest.sources.iter().map(row).collect())
}

fn parameters(manifest: &Manifest<'_>) -> Html {
    // By way of the text, in which numbers are as short as they were given.
    let text = serde_json::to_string(manifest.parameters).unwrap_or_default();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let rows = value
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| vec![Html::from(name.as_str()), value.to_string().into()]);
    table(&["parameter", "value"], rows.collect())
}
