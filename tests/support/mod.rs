//! What several tests share: the reference's fixtures under `tests/fixtures/reason`, read back.
#![allow(dead_code, unreachable_pub, reason = "every test is a crate of its own and uses another part")]

use std::fs;
use std::path::{Path, PathBuf};

use perihelion::camera::{
    Grid, Image, Preprocess, Preprocessor, ProcessorConfigs, VideoLayout, load_frames_dir, load_image,
};
use perihelion::checkpoint::{Checkpoint, Tensors};
use perihelion::models::reason2::{
    ChatTemplate, Media, Prompt, PromptLayout, Question, Reason2Config, Tokenizer,
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

/// A medium as the network receives it.
#[derive(Debug)]
pub struct Prepared {
    pub grid: Grid,
    pub patches: Vec<f32>,
    /// The times of a video's groups of frames.
    pub seconds: Option<Vec<f64>>,
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
    pub fn expected(&self) -> Tensors {
        Tensors::open(&self.dir.join("expected.safetensors")).expect(self.name())
    }

    /// The rules by which the case's media are preprocessed.
    pub fn rules(&self) -> Preprocess {
        let checkpoint = self.checkpoint();
        let json = |name: &str| checkpoint.json(name).expect(self.name());
        let files =
            ["processor_config.json", "preprocessor_config.json", "video_preprocessor_config.json"].map(json);
        let [processor, image, video] = files.each_ref().map(|file| file.as_ref().map(|file| file.value()));
        ProcessorConfigs { processor, image, video }.preprocess().expect(self.name())
    }

    /// The pictures of each medium: one of an image, several of a video.
    pub fn pictures(&self) -> Vec<Vec<Image>> {
        let load = |media: &MediaFile| match media {
            MediaFile::Image { image } => {
                load_image(&self.dir.join(image), u64::MAX).map(|image| vec![image])
            }
            MediaFile::Video { video, .. } => load_frames_dir(&self.dir.join(video), u64::MAX),
        };
        self.media.iter().map(|media| load(media).expect(self.name())).collect()
    }

    /// The media, preprocessed by us: in the case's order.
    pub fn media(&self) -> Vec<Prepared> {
        let rules = self.rules();
        let mut preprocessor = Preprocessor::new(rules).expect(self.name());
        let prepare = |(media, frames): (&MediaFile, Vec<Image>)| {
            let size = frames[0].size();
            let (grid, seconds) = match media {
                MediaFile::Image { .. } => (rules.image_grid(size).expect(self.name()), None),
                MediaFile::Video { fps, .. } => {
                    let layout =
                        VideoLayout::new(&rules, frames.len(), Some(*fps), size, false).expect(self.name());
                    (layout.grid, Some(layout.timestamps_s))
                }
            };
            let mut patches = vec![f32::NAN; grid.n_patches() * rules.patches.patch_len()];
            let frames: Vec<&[u8]> = frames.iter().map(|frame| &frame.rgb[..]).collect();
            let prepared = match media {
                MediaFile::Image { .. } => preprocessor.image(frames[0], size, &mut patches),
                MediaFile::Video { .. } => preprocessor.video(&frames, size, &mut patches),
            };
            assert_eq!(prepared.expect(self.name()), grid);
            Prepared { grid, patches, seconds }
        };
        self.media.iter().zip(self.pictures()).map(prepare).collect()
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

    /// The prompt that we make of the case's question about these media.
    pub fn prompt(&self, layout: &PromptLayout, tokenizer: &Tokenizer, media: &[Prepared]) -> Prompt {
        let media: Vec<Media<'_>> = media.iter().map(Prepared::as_media).collect();
        let question = Question {
            system: self.system.as_deref(),
            media: &media,
            captions: &[],
            text: &self.question,
            think: self.think_suffix.is_some(),
        };
        layout.assemble(tokenizer, &question).expect(self.name())
    }
}

impl Prepared {
    fn as_media(&self) -> Media<'_> {
        let grid = [self.grid.h, self.grid.w];
        self.seconds.as_ref().map_or(Media::Image { grid }, |seconds| Media::Video { grid, seconds })
    }
}

/// The largest difference of two equally long lists, and the largest magnitude in the second.
pub fn largest_difference(found: &[f32], expected: &[f32]) -> (f32, f32) {
    assert_eq!(found.len(), expected.len());
    let difference = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
    // Not `max`, which leaves NaN out.
    let largest = |values: &mut dyn Iterator<Item = f32>| {
        values.fold(0.0, |m: f32, v| if m.is_nan() || v <= m { m } else { v })
    };
    (largest(&mut { difference }), largest(&mut expected.iter().map(|v| v.abs())))
}
