//! Frames and plans of actions in files, as the verbs of Predict take and write them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use image::buffer::ConvertBuffer;
use image::codecs::gif::{GifEncoder, Repeat};
use image::{Delay, Frame, ImageFormat, RgbImage};

use super::Usage;
use crate::camera::{
    FrameSize, Image, ImageFileError, Resample, Resizer, frame_files, load_frames_dir, load_image,
};
use crate::install;
use crate::models::predict25::PredictManifest;

/// No camera's frame is larger.
const FRAME_PIXELS_MAX: u64 = 1 << 26;

/// The frames of a directory in natural order, which is said where it is not that of the names' bytes.
///
/// # Errors
/// As [`load_frames_dir`].
pub(super) fn load_frames(dir: &Path, pixels_max: u64) -> Result<Vec<Image>, ImageFileError> {
    let files = frame_files(dir)?;
    if files.has_mixed_widths {
        let name = |path: Option<&PathBuf>| -> String {
            path.and_then(|path| path.file_name()).unwrap_or_default().to_string_lossy().into_owned()
        };
        eprintln!(
            "{}: the numbers in the names have several widths: frames are taken as they count, from {} to {}",
            dir.display(),
            name(files.paths.first()),
            name(files.paths.last())
        );
    }
    load_frames_dir(dir, pixels_max)
}

/// Whether the engine has a text, if one is named.
///
/// # Errors
/// Which it has.
pub(super) fn check_text(name: Option<&str>, manifest: &PredictManifest) -> anyhow::Result<()> {
    let names: Vec<&str> = manifest.texts.iter().map(|text| text.name.as_str()).collect();
    match name.filter(|name| !names.contains(name)) {
        Some(name) => Err(Usage(format!("--text {name}: the engine has {}", names.join(", "))).into()),
        None => Ok(()),
    }
}

/// The newest frames of a directory, as many as the engine takes, at its size.
pub(super) fn given_frames(dir: Option<&Path>, manifest: &PredictManifest) -> anyhow::Result<Vec<Vec<u8>>> {
    let n = manifest.clip.n_given;
    let frames = match dir {
        Some(dir) => load_frames(dir, FRAME_PIXELS_MAX)?,
        None if n == 0 => Vec::new(),
        None => return Err(Usage(format!("the engine forecasts from {n} frames: pass --frames DIR")).into()),
    };
    if frames.len() < n {
        let dir = dir.unwrap_or(Path::new("")).display();
        return Err(Usage(format!("{dir}: {} frames; the engine forecasts from {n}", frames.len())).into());
    }
    Ok(scaled(&frames[frames.len() - n..], manifest))
}

/// Every frame of a directory, at the engine's size.
pub(super) fn all_frames(dir: &Path, manifest: &PredictManifest) -> anyhow::Result<Vec<Vec<u8>>> {
    Ok(scaled(&load_frames(dir, FRAME_PIXELS_MAX)?, manifest))
}

/// One image, at the engine's size.
pub(super) fn frame(path: &Path, manifest: &PredictManifest) -> anyhow::Result<Vec<u8>> {
    let frame = load_image(path, FRAME_PIXELS_MAX)?;
    Ok(scaled(&[frame], manifest).remove(0))
}

/// Frames of any size fill the engine's: one of another aspect ratio is stretched.
pub(super) fn scaled(frames: &[Image], manifest: &PredictManifest) -> Vec<Vec<u8>> {
    let size = FrameSize { width: manifest.clip.width, height: manifest.clip.height };
    let mut resizer = Resizer::new();
    let mut scaled = |frame: &Image| {
        if frame.size() == size {
            return frame.rgb.clone();
        }
        let mut rgb = vec![0; size.width * size.height * 3];
        resizer.resize(&frame.rgb, frame.size(), &mut rgb, size, Resample::Bilinear);
        rgb
    };
    frames.iter().map(&mut scaled).collect()
}

/// Numbers of a CSV file whose header is `names`.
pub(super) fn read_plan(path: &Path, names: &[String]) -> anyhow::Result<Vec<f32>> {
    let table = Table::read(path)?;
    table.expect_header(path, names, 0)?;
    let mut plan = Vec::new();
    for (number, cells) in &table.rows {
        plan.extend(numbers(path, *number, cells, names)?);
    }
    Ok(plan)
}

/// Plans of one CSV file: either the header is `names`, and the file is one plan under its own name; or a column `candidate` stands
/// before them, and rows with the same value, which stand together, are one.
pub(super) fn read_plans(path: &Path, names: &[String]) -> anyhow::Result<Vec<(String, Vec<f32>)>> {
    let table = Table::read(path)?;
    let own_name = path.file_name().unwrap_or_default().to_string_lossy();
    let labels = usize::from(table.header.first().is_some_and(|name| name == "candidate"));
    table.expect_header(path, names, labels)?;
    let mut plans: Vec<(String, Vec<f32>)> = Vec::new();
    for (number, cells) in &table.rows {
        if cells.len() != table.header.len() {
            bail!(
                "{}:{number}: expected {} values, found {}",
                path.display(),
                table.header.len(),
                cells.len()
            );
        }
        let label = cells[..labels].first().map_or(&own_name[..], |label| label);
        let values = numbers(path, *number, &cells[labels..], names)?;
        match plans.iter().position(|(name, _)| name == label) {
            None => plans.push((label.to_owned(), values)),
            Some(at) if at + 1 == plans.len() => plans[at].1.extend(values),
            Some(_) => bail!(
                "{}:{number}: candidate `{label}` begins again; rows of one candidate stand together",
                path.display()
            ),
        }
    }
    Ok(plans)
}

/// Writes a plan as [`read_plan`] reads it.
pub(super) fn plan_text(plan: &[f32], names: &[String]) -> String {
    let row = |row: &[f32]| row.iter().map(f32::to_string).collect::<Vec<_>>().join(",");
    let rows = plan.chunks(names.len()).map(row);
    std::iter::once(names.join(",")).chain(rows).map(|line| line + "\n").collect()
}

/// Writes frames as PNG, in time order, each as soon as there is one.
#[derive(Debug)]
pub(super) struct FrameWriter {
    dir: PathBuf,
    files: Vec<PathBuf>,
}

impl FrameWriter {
    /// Makes the folder.
    pub(super) fn create(dir: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
        Ok(Self { dir: dir.to_owned(), files: Vec::new() })
    }

    /// Writes the next frame.
    pub(super) fn write(&mut self, frame: &RgbImage) -> anyhow::Result<()> {
        let path = self.dir.join(format!("{:04}.png", self.files.len()));
        save(&path, frame)?;
        self.files.push(path);
        Ok(())
    }

    /// What was written.
    pub(super) fn into_files(self) -> Vec<PathBuf> {
        self.files
    }
}

/// Writes a picture in the format that the file's name says.
pub(super) fn save(path: &Path, picture: &RgbImage) -> anyhow::Result<()> {
    let context = || path.display().to_string();
    let format = ImageFormat::from_path(path).with_context(context)?;
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).with_context(context)?;
    install::write(path, bytes.get_ref()).with_context(context)
}

/// Writes a GIF that repeats.
pub(super) fn write_gif(path: &Path, frames: &[RgbImage], fps: f64) -> anyhow::Result<()> {
    let context = || path.display().to_string();
    let mut bytes = Vec::new();
    let mut encoder = GifEncoder::new(&mut bytes);
    encoder.set_repeat(Repeat::Infinite)?;
    let delay = Delay::from_saturating_duration(Duration::from_secs_f64(1.0 / fps));
    for frame in frames {
        encoder.encode_frame(Frame::from_parts(frame.convert(), 0, 0, delay)).with_context(context)?;
    }
    drop(encoder);
    install::write(path, &bytes).with_context(context)
}

/// A CSV file without quotes: numbers and plain names need none.
struct Table {
    header: Vec<String>,
    /// With the numbers of their lines, from 1.
    rows: Vec<(usize, Vec<String>)>,
}

impl Table {
    fn read(path: &Path) -> anyhow::Result<Table> {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let cells = |line: &str| line.split(',').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let mut lines = lines.map(|(at, line)| (at + 1, cells(line)));
        let header = lines.next().map(|(_, header)| header).unwrap_or_default();
        Ok(Table { header, rows: lines.collect() })
    }

    /// The header must be `names` after so many columns of labels.
    fn expect_header(&self, path: &Path, names: &[String], labels: usize) -> anyhow::Result<()> {
        if self.header[labels..] != *names {
            bail!(
                "{}: expected the header `{}`, found `{}`",
                path.display(),
                names.join(","),
                self.header.join(",")
            );
        }
        Ok(())
    }
}

fn numbers(path: &Path, line: usize, cells: &[String], names: &[String]) -> anyhow::Result<Vec<f32>> {
    if cells.len() != names.len() {
        bail!("{}:{line}: expected {} values, found {}", path.display(), names.len(), cells.len());
    }
    let number = |(cell, name): (&String, &String)| {
        let value: Option<f32> = cell.parse().ok().filter(|v: &f32| v.is_finite());
        value.with_context(|| {
            format!("{}:{line}: `{name}`: expected a finite number, found `{cell}`", path.display())
        })
    };
    cells.iter().zip(names).map(number).collect()
}
