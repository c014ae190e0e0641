//! A question with its images loaded: from the command line, or from a line of a batch.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use serde::Deserialize;

use super::Usage;
use super::clip::load_frames;
use crate::camera::{Image, load_image};
use crate::runtime::reason::{AnswerSettings, Picture, Request, Shown};

/// Pixels of a file at most. Larger than any camera's; the model sees far fewer.
pub(super) const FILE_PIXELS_MAX: u64 = 64 << 20;

/// A line of a batch. Paths are relative to the batch's file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BatchLine {
    /// Repeated in the line's answer.
    #[serde(default)]
    pub id: Option<serde_json::Value>,
    prompt: String,
    #[serde(default)]
    system: Option<String>,
    #[serde(default)]
    images: Vec<PathBuf>,
    #[serde(default)]
    video: Option<Video>,
    #[serde(default)]
    fps: Option<f64>,
    #[serde(default)]
    choices: Option<Vec<String>>,
    #[serde(default)]
    think: Option<bool>,
    #[serde(default)]
    max_tokens: Option<usize>,
    #[serde(default)]
    seed: Option<u64>,
}

impl BatchLine {
    /// Whether it can be a question, as far as it decides itself.
    pub(super) fn check(&self) -> Result<(), Usage> {
        if self.prompt.trim().is_empty() {
            return Err(Usage("the prompt is empty; ask something with --prompt TEXT".to_owned()));
        }
        if self.video.is_some() && self.fps.is_none() {
            let message = "`video` needs `fps`, the rate at which its frames were taken";
            return Err(Usage(message.to_owned()));
        }
        Ok(())
    }

    /// The files and folders that it is about, in the folder of the batch's file.
    pub(super) fn paths(&self, folder: &Path) -> Vec<PathBuf> {
        let of_video = match &self.video {
            None => Vec::new(),
            Some(Video::Directory(dir)) => vec![dir.clone()],
            Some(Video::Frames(paths)) => paths.clone(),
        };
        self.images.iter().chain(&of_video).map(|path| folder.join(path)).collect()
    }
}

/// A directory of frames, or the frames themselves.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Video {
    Directory(PathBuf),
    Frames(Vec<PathBuf>),
}

/// A question that can be asked.
#[derive(Debug)]
pub(super) struct Question {
    prompt: String,
    images: Vec<Image>,
    frames: Vec<Image>,
    fps: f64,
    settings: AnswerSettings,
}

impl Question {
    /// From the command line.
    pub(super) fn load(
        prompt: String,
        images: &[PathBuf],
        video: Option<(&Path, f64)>,
        settings: AnswerSettings,
    ) -> anyhow::Result<Self> {
        let images = images.iter().map(|path| load_image(path, FILE_PIXELS_MAX)).collect::<Result<_, _>>()?;
        let frames = match video {
            Some((dir, _)) => load_frames(dir, FILE_PIXELS_MAX)?,
            None => Vec::new(),
        };
        let fps = video.map_or(1.0, |(_, fps)| fps);
        Self { prompt, images, frames, fps, settings }.checked()
    }

    /// From a line of a batch, for which `general` holds where the line says nothing.
    pub(super) fn from_line(
        line: BatchLine,
        directory: &Path,
        general: &AnswerSettings,
    ) -> anyhow::Result<Self> {
        line.check()?;
        let load = |path: &PathBuf| load_image(&directory.join(path), FILE_PIXELS_MAX);
        let frames = match &line.video {
            None => Vec::new(),
            Some(Video::Directory(dir)) => load_frames(&directory.join(dir), FILE_PIXELS_MAX)?,
            Some(Video::Frames(paths)) => paths.iter().map(load).collect::<Result<_, _>>()?,
        };
        let mut settings = general.clone();
        settings.system = line.system.or(settings.system);
        settings.think = line.think.unwrap_or(settings.think);
        settings.tokens_max = line.max_tokens.unwrap_or(settings.tokens_max);
        settings.sampling.seed = line.seed.unwrap_or(settings.sampling.seed);
        settings.choices = line.choices.unwrap_or(settings.choices);
        Self {
            prompt: line.prompt,
            images: line.images.iter().map(load).collect::<Result<_, _>>()?,
            frames,
            fps: line.fps.unwrap_or(1.0),
            settings,
        }
        .checked()
    }

    fn checked(self) -> anyhow::Result<Self> {
        if self.prompt.trim().is_empty() {
            return Err(Usage("the prompt is empty; ask something with --prompt TEXT".to_owned()).into());
        }
        let first = self.frames.first().map(Image::size);
        if self.frames.iter().any(|frame| Some(frame.size()) != first) {
            return Err(Usage("the frames of a video have one size".to_owned()).into());
        }
        Ok(self)
    }

    /// Calls `ask` with the question as the runtime takes it. The budget begins now.
    pub(super) fn with_request<T>(
        &self,
        stop: Option<&AtomicBool>,
        ask: impl FnOnce(&Request<'_>) -> T,
    ) -> T {
        let picture = |image| -> Picture<'_> {
            let image: &Image = image;
            Picture::new(&image.rgb, image.size())
        };
        let frames: Vec<Picture<'_>> = self.frames.iter().map(picture).collect();
        let mut shown: Vec<Shown<'_>> =
            self.images.iter().map(|image| Shown::Image(picture(image))).collect();
        if !frames.is_empty() {
            shown.push(Shown::Clip { frames: &frames, fps: self.fps });
        }
        self.settings.with_request(&shown, &self.prompt, None, stop, ask)
    }
}
