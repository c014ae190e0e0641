//! What a model is calibrated on: clips in folders, as `scenes` writes them or only frames; or questions, as `ask --batch` takes them.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::Deserialize;

use crate::camera::{Image, frame_files};
use crate::cli::clip::load_frames;
use crate::cli::places::CLIP_FILE;
use crate::cli::question::FILE_PIXELS_MAX;

/// The longest description of a clip, or file of questions, that is read.
const TEXT_BYTES_MAX: u64 = 64 << 20;

/// Where the data lies.
#[derive(Debug, PartialEq)]
pub(super) enum Data {
    /// A file of questions.
    Questions(PathBuf),
    /// Folders of frames, in natural order.
    Clips(Vec<PathBuf>),
}

impl Data {
    /// Looks what lies there.
    pub(super) fn find(path: &Path) -> anyhow::Result<Self> {
        if fs::metadata(path).with_context(|| path.display().to_string())?.is_file() {
            if path.extension().is_some_and(|extension| extension == "jsonl") {
                return Ok(Data::Questions(path.to_owned()));
            }
            bail!(
                "{}: expected a folder of clips or a file of questions (.jsonl), found another file; `scenes` writes clips, and a bag's \
                 images can be taken out by `ros2 bag` tools",
                path.display()
            );
        }
        let mut folders = Vec::new();
        for entry in fs::read_dir(path).with_context(|| path.display().to_string())? {
            let entry = entry.with_context(|| path.display().to_string())?;
            if entry.path().is_dir() && !entry.file_name().as_encoded_bytes().starts_with(b".") {
                folders.push(entry.path());
            }
        }
        if folders.is_empty() {
            // Says what is there if it is no clip.
            frame_files(path)?;
            return Ok(Data::Clips(vec![path.to_owned()]));
        }
        folders.sort_by(|a, b| crate::camera::natural_order(bytes(a), bytes(b)));
        Ok(Data::Clips(folders))
    }
}

fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_encoded_bytes()
}

/// The text of a file.
pub(super) fn read_bounded(place: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let file = File::open(place).with_context(|| place.display().to_string())?;
    file.take(TEXT_BYTES_MAX + 1).read_to_string(&mut text).with_context(|| place.display().to_string())?;
    if TEXT_BYTES_MAX < text.len() as u64 {
        bail!("{}: expected at most {TEXT_BYTES_MAX} bytes", place.display());
    }
    Ok(text)
}

/// Frames of one size, and what is known of them.
#[derive(Debug)]
pub(super) struct Clip {
    pub(super) frames: Vec<Image>,
    pub(super) described: Described,
}

/// What of `clip.json` is of use here.
#[derive(Debug, Deserialize)]
pub(super) struct Described {
    /// Frames a second.
    #[serde(default = "eight")]
    pub(super) fps: f64,
    /// For each frame after the first, at least.
    #[serde(default)]
    pub(super) actions: Vec<Vec<f32>>,
    #[serde(default)]
    pub(super) questions: Vec<Asked>,
}

/// A question about some of the frames.
#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    /// Ways to ask it; the first is taken.
    pub(super) texts: Vec<String>,
    /// Which frames it is about.
    pub(super) frames: Vec<usize>,
}

fn eight() -> f64 {
    8.0
}

impl Clip {
    /// Loads a folder.
    pub(super) fn load(dir: &Path) -> anyhow::Result<Self> {
        let frames = load_frames(dir, FILE_PIXELS_MAX)?;
        let place = dir.join(CLIP_FILE);
        let described = if place.exists() { Described::read(&place)? } else { Described::parse("{}")? };
        if let Some(frame) =
            described.questions.iter().flat_map(|asked| &asked.frames).find(|frame| frames.len() <= **frame)
        {
            bail!(
                "{}: a question is about frame {frame}; there are {} frames",
                place.display(),
                frames.len()
            );
        }
        Ok(Clip { frames, described })
    }
}

impl Described {
    fn read(place: &Path) -> anyhow::Result<Self> {
        Self::parse(&read_bounded(place)?).with_context(|| place.display().to_string())
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let described: Self = serde_json::from_str(text)?;
        if !(described.fps.is_finite() && 0.0 < described.fps) {
            bail!("expected an `fps` above 0, found {}", described.fps);
        }
        Ok(described)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_a_clip_or_holds_clips() {
        let dir = tempfile::tempdir().unwrap();
        let empty = Data::find(dir.path()).unwrap_err().to_string();
        assert!(empty.contains("no"), "{empty}");
        for name in ["b10", "b9", ".hidden"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let found = Data::find(dir.path()).unwrap();
        assert_eq!(found, Data::Clips(vec![dir.path().join("b9"), dir.path().join("b10")]));
        let lines = dir.path().join("a.jsonl");
        fs::write(&lines, "").unwrap();
        assert_eq!(Data::find(&lines).unwrap(), Data::Questions(lines));
        let bag = dir.path().join("a.mcap");
        fs::write(&bag, "").unwrap();
        assert!(Data::find(&bag).unwrap_err().to_string().contains("a.mcap: expected"));
        assert!(Data::find(Path::new("/nowhere")).unwrap_err().to_string().contains("/nowhere"));
    }

    #[test]
    fn a_description_says_what_it_must() {
        let parsed = Described::parse;
        let described = parsed(
            r#"{"fps": 4, "split": "train", "questions": [{"texts": ["?"], "frames": [3], "answer": "a"}]}"#,
        );
        let described = described.unwrap();
        assert_eq!((described.fps, described.questions[0].frames[0]), (4.0, 3));
        assert_eq!(parsed("{}").unwrap().fps, 8.0);
        for text in [
            "",
            "3",
            r#"{"fps": 0}"#,
            r#"{"fps": -1e999}"#,
            r#"{"questions": [{"frames": [-1], "texts": []}]}"#,
        ] {
            assert!(parsed(text).is_err(), "{text}");
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(TEXT_BYTES_MAX + 1).unwrap();
        assert!(read_bounded(file.path()).unwrap_err().to_string().contains("at most"));
    }
}
