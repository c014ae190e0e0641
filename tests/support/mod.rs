//! What several tests share: the reference's fixtures under `tests/fixtures/reason`, read back.
#![allow(dead_code, unreachable_pub, reason = "every test is a crate of its own and uses another part")]

use std::fs;
use std::path::{Path, PathBuf};

use perihelion::checkpoint::{Checkpoint, Reason2Config, Weights};
use perihelion::models::reason2::{
    ChatTemplate, Media, Prompt, PromptLayout, Question, Tokenizer, group_seconds,
};
use serde::Deserialize;

/// One checkpoint, one question about some media, and what transformers made of them. `tests/reference/reason.py` wrote it.
#[derive(Debug, Deserialize)]
pub struct Case {
    #[serde(skip)]
    pub dir: PathBuf,
    pub media: Vec<MediaFile>,
    pub system: Option<String>,
    pub question: String,
    pub think_suffix: Option<String>,
    pub prompt_ids: Vec<u32>,
    pub rope_delta: i32,
    pub image_grid_thw: Vec<[usize; 3]>,
    pub video_grid_thw: Vec<[usize; 3]>,
    /// The reference's greedy tokens, stop tokens ignored.
    pub generated: Vec<u32>,
    /// By how much the reference preferred each of them.
    pub top_two_gaps: Vec<f32>,
}

/// A file of the case's directory.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum MediaFile {
    Image { image: String },
    Video { video: String, fps: f64 },
}

impl Case {
    /// All cases, by name. `PERIHELION_REASON_FIXTURES` names a directory of others, remade with another seed.
    pub fn all() -> Vec<Case> {
        let dir = std::env::var("PERIHELION_REASON_FIXTURES")
            .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/reason").to_owned());
        let mut dirs: Vec<PathBuf> =
            fs::read_dir(&dir).expect(&dir).map(|entry| entry.expect("readable").path()).collect();
        dirs.sort();
        dirs.retain(|dir| dir.join("case.json").exists());
        dirs.iter().map(|dir| Case::read(dir)).collect()
    }

    fn read(dir: &Path) -> Case {
        let text = fs::read(dir.join("case.json")).expect("listed a moment ago");
        let case = serde_json::from_slice(&text).expect("reason.py writes these keys");
        Case { dir: dir.to_owned(), ..case }
    }

    pub fn name(&self) -> &str {
        self.dir.file_name().and_then(|n| n.to_str()).expect("reason.py's names are ASCII")
    }

    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint::open(&self.dir.join("checkpoint")).expect(self.name())
    }

    /// `pixel_values`, `position_ids`, `image.features`, `logits` and so on.
    pub fn expected(&self) -> Weights {
        Weights::open(&self.dir.join("expected.safetensors")).expect(self.name())
    }

    /// The paths of a video's frames, in order.
    pub fn frames(&self, video: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.dir.join(video)).expect("reason.py wrote it");
        let mut frames: Vec<PathBuf> = entries.map(|e| e.expect("readable").path()).collect();
        frames.sort();
        frames
    }

    /// The case's layout and tokenizer, as an export makes them.
    pub fn layout(&self) -> (PromptLayout, Tokenizer) {
        let checkpoint = self.checkpoint();
        let config = Reason2Config::parse(checkpoint.config()).expect(self.name());
        let json = checkpoint.file("tokenizer.json").expect(self.name()).expect("every case has one");
        let tokenizer = Tokenizer::from_bytes(&json).expect(self.name());
        let template = ChatTemplate::find(&checkpoint).expect(self.name());
        let layout = template.layout(&config, &tokenizer, self.think_suffix.clone()).expect(self.name());
        (layout, tokenizer)
    }

    /// The prompt that we make of the case's question, with the grids that the reference found.
    pub fn prompt(&self, layout: &PromptLayout, tokenizer: &Tokenizer) -> Prompt {
        let (mut image_grids, mut video_grids) = (self.image_grid_thw.iter(), self.video_grid_thw.iter());
        let seconds: Vec<Vec<f64>> = self.media.iter().map(|media| self.seconds(media)).collect();
        let media: Vec<Media<'_>> = (self.media.iter().zip(&seconds))
            .map(|(media, seconds)| match media {
                MediaFile::Image { .. } => {
                    let [_, rows, columns] = image_grids.next().expect("one for each image");
                    Media::Image { grid: [*rows, *columns] }
                }
                MediaFile::Video { .. } => {
                    let [groups, rows, columns] = video_grids.next().expect("one for each video");
                    assert_eq!(*groups, seconds.len());
                    Media::Video { grid: [*rows, *columns], seconds }
                }
            })
            .collect();
        let question = Question {
            system: self.system.as_deref(),
            media: &media,
            text: &self.question,
            think: self.think_suffix.is_some(),
        };
        layout.assemble(tokenizer, &question).expect(self.name())
    }

    fn seconds(&self, media: &MediaFile) -> Vec<f64> {
        match media {
            MediaFile::Image { .. } => Vec::new(),
            MediaFile::Video { video, fps } => group_seconds(self.frames(video).len(), *fps, 2),
        }
    }
}
