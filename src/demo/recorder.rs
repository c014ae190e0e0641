//! Keeps the very frames that arrived, with the questions and answers about them, for the comparison with a reference.
//!
//! A directory holds `frames/*.png`, each picture once, `questions.jsonl` (`id`, `prompt`, `video`, `fps`) and `answers.jsonl` (`id`,
//! `task`, `truth`, `text`, `tokens`). Frames are taken where the engine takes them: behind transport, camera and clip.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::Context as _;
use serde_json::json;

use super::observer::Heard;
use super::scoreboard::Verdict;
use crate::camera::{Decoder, PictureDigest};
use crate::cli::output;
use crate::frames::frame::Frame;
use crate::ros2::node::{Answerer, Outcome, Question};

/// Writes the files.
#[derive(Debug)]
pub(super) struct Recorder {
    dir: PathBuf,
    /// The names of the pictures that are there, by their digests.
    pictures: HashMap<PictureDigest, String>,
    decoder: Decoder,
    questions: BufWriter<File>,
    answers: BufWriter<File>,
    /// The last question that reached the engine.
    last: Option<Arrived>,
}

#[derive(Debug)]
struct Arrived {
    stamps_ns: Vec<i64>,
    prompt: String,
    files: Vec<String>,
    fps: f64,
}

impl Recorder {
    /// Begins anew in `dir`, which is made if it is not there.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub(super) fn new(dir: &Path) -> anyhow::Result<Self> {
        let frames = dir.join("frames");
        fs::create_dir_all(&frames).with_context(|| frames.display().to_string())?;
        let create = |name: &str| {
            let path = dir.join(name);
            File::create(&path).map(BufWriter::new).with_context(|| path.display().to_string())
        };
        let (questions, answers) = (create("questions.jsonl")?, create("answers.jsonl")?);
        Ok(Self {
            dir: dir.to_owned(),
            pictures: HashMap::new(),
            decoder: Decoder::new(),
            questions,
            answers,
            last: None,
        })
    }

    /// Keeps the frames of a question.
    fn arrive(&mut self, question: &Question<'_>) -> anyhow::Result<()> {
        let files: Result<_, _> = question.frames.iter().map(|received| self.keep(&received.frame)).collect();
        self.last = Some(Arrived {
            stamps_ns: question.frames.iter().map(|received| received.frame.stamp_ns).collect(),
            prompt: question.prompt.to_owned(),
            files: files?,
            fps: question.clip_rate_hz,
        });
        Ok(())
    }

    /// Writes a frame as a picture unless it is there. Returns its name in the directory.
    fn keep(&mut self, frame: &Frame) -> anyhow::Result<String> {
        let decoded = frame.decode(&mut self.decoder)?;
        let picture = decoded.picture();
        let digest = picture.digest();
        if let Some(name) = self.pictures.get(&digest) {
            return Ok(name.clone());
        }
        let name = format!("frames/{:05}.png", self.pictures.len());
        let path = self.dir.join(&name);
        let (width, height) = (picture.size.width as u32, picture.size.height as u32);
        image::save_buffer(&path, picture.rgb, width, height, image::ExtendedColorType::Rgb8)
            .with_context(|| path.display().to_string())?;
        self.pictures.insert(digest, name.clone());
        Ok(name)
    }

    /// Writes down an answer that counts, with the frames that arrived for it.
    ///
    /// # Errors
    /// If the engine was last asked something else, or a file cannot be written.
    pub(super) fn write(&mut self, id: &str, heard: &Heard, verdict: &Verdict) -> anyhow::Result<()> {
        let of_it = |last: &Arrived| last.stamps_ns == heard.stamps_ns() && last.prompt == heard.prompt;
        let Some(Arrived { prompt, files, fps, .. }) = self.last.take().filter(of_it) else {
            anyhow::bail!("the frames of answer {id} were not recorded");
        };
        let question = json!({ "id": id, "prompt": prompt, "video": files, "fps": fps });
        let Verdict { task, truth, .. } = verdict;
        let answer =
            json!({ "id": id, "task": task, "truth": truth, "text": heard.text, "tokens": heard.tokens });
        writeln!(self.questions, "{question}")?;
        writeln!(self.answers, "{answer}")?;
        Ok(())
    }

    /// Ends the files.
    ///
    /// # Errors
    /// If they cannot be written.
    pub(super) fn finish(&mut self) -> anyhow::Result<()> {
        self.questions.flush().context("questions.jsonl")?;
        self.answers.flush().context("answers.jsonl")
    }
}

/// An answerer whose questions are recorded before it hears them.
pub(super) struct Recording<'a> {
    pub(super) answerer: &'a mut dyn Answerer,
    pub(super) recorder: &'a Mutex<Recorder>,
}

impl Answerer for Recording<'_> {
    fn answer(&mut self, question: &Question<'_>) -> Outcome {
        let recorded = self.recorder.lock().unwrap_or_else(PoisonError::into_inner).arrive(question);
        match recorded {
            Ok(()) => self.answerer.answer(question),
            Err(error) => {
                Outcome::Failed(format!("the question cannot be recorded: {}", output::chain(&error)))
            }
        }
    }
}
