//! What a model is calibrated on: clips in folders, as `scenes` writes them or only frames; or questions, as `ask --batch` takes them.
//!
//! All of it but the pixels is read before the work, which may take hours and must not end at the last clip for a word that is wrong.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::Deserialize;

use crate::bounded::{self, TEXT_BYTES_MAX};
use crate::camera::{Image, frame_files, load_frames, natural_order};
use crate::cli::places::CLIP_FILE;
use crate::cli::question::{BatchLine, FILE_PIXELS_MAX};

/// What there is.
#[derive(Debug)]
pub(super) enum Data {
    /// Questions, in the order of their lines.
    Questions(Questions),
    /// Clips, in natural order of their names.
    Clips(Vec<Clip>),
}

/// The lines of a file.
#[derive(Debug)]
pub(super) struct Questions {
    pub(super) path: PathBuf,
    /// With their numbers, from 1.
    pub(super) lines: Vec<(usize, BatchLine)>,
}

/// A folder of frames, and what is known of them.
#[derive(Debug)]
pub(super) struct Clip {
    pub(super) dir: PathBuf,
    pub(super) files: Vec<PathBuf>,
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

impl Data {
    /// Reads what lies there, but for the pixels.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let name = || path.display().to_string();
        if fs::metadata(path).with_context(name)?.is_file() {
            if path.extension().is_some_and(|extension| extension == "jsonl") {
                return Questions::read(path).map(Data::Questions);
            }
            bail!(
                "{}: expected a folder of clips or a file of questions (.jsonl), found another file; `scenes` writes clips, and a bag's \
                 images can be taken out by `ros2 bag` tools",
                path.display()
            );
        }
        let (mut folders, mut has_files) = (Vec::new(), false);
        for entry in fs::read_dir(path).with_context(name)? {
            let place = entry.with_context(name)?.path();
            if place.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")) {
                continue;
            }
            match place.is_dir() {
                true => folders.push(place),
                false => has_files |= place.extension().is_none_or(|extension| extension != "json"),
            }
        }
        if let (Some(folder), true) = (folders.first(), has_files) {
            bail!(
                "{}: frames lie here, and folders as {}: name the folder whose frames are one clip, or one that holds folders of frames \
                 alone",
                path.display(),
                folder.display()
            );
        }
        if folders.is_empty() {
            return Ok(Data::Clips(vec![Clip::read(path)?]));
        }
        folders.sort_by(|a, b| natural_order(bytes(a), bytes(b)));
        folders.iter().map(|folder| Clip::read(folder)).collect::<Result<_, _>>().map(Data::Clips)
    }

    /// Everything that will be read, beside what was named.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        match self {
            Data::Questions(Questions { path, lines }) => {
                let folder = path.parent().unwrap_or(Path::new(""));
                lines.iter().flat_map(|(_, line)| line.paths(folder)).collect()
            }
            Data::Clips(clips) => clips.iter().flat_map(|clip| clip.files.clone()).collect(),
        }
    }
}

fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_encoded_bytes()
}

impl Questions {
    fn read(path: &Path) -> anyhow::Result<Self> {
        let text = bounded::read_text(path, TEXT_BYTES_MAX).with_context(|| path.display().to_string())?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut lines = Vec::new();
        for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let of_line = || format!("{}:{}", path.display(), at + 1);
            let line: BatchLine = serde_json::from_str(line).with_context(of_line)?;
            line.check().with_context(of_line)?;
            for place in line.paths(folder) {
                fs::metadata(&place).with_context(|| format!("{}: {}", of_line(), place.display()))?;
            }
            lines.push((at + 1, line));
        }
        if lines.is_empty() {
            bail!(
                "{}: no question is there to be asked; write a line as `ask --batch` takes it",
                path.display()
            );
        }
        Ok(Self { path: path.to_owned(), lines })
    }
}

impl Clip {
    fn read(dir: &Path) -> anyhow::Result<Self> {
        // Says what is there if it is no clip.
        let files = frame_files(dir)?.paths;
        let place = dir.join(CLIP_FILE);
        let described = if place.exists() { Described::read(&place)? } else { Described::parse("{}")? };
        let n = files.len();
        if let Some(frame) = described.questions.iter().flat_map(|asked| &asked.frames).find(|at| n <= **at) {
            bail!("{}: a question is about frame {frame}; there are {n} frames", place.display());
        }
        Ok(Clip { dir: dir.to_owned(), files, described })
    }

    /// Loads some of the frames.
    pub(super) fn frames(&self, which: &[usize]) -> anyhow::Result<Vec<Image>> {
        let files: Vec<PathBuf> = which.iter().map(|at| self.files[*at].clone()).collect();
        Ok(load_frames(&files, FILE_PIXELS_MAX)?)
    }
}

impl Described {
    fn read(place: &Path) -> anyhow::Result<Self> {
        let name = || place.display().to_string();
        Self::parse(&bounded::read_text(place, TEXT_BYTES_MAX).with_context(name)?).with_context(name)
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
        let refused = |path: &Path| format!("{:#}", Data::read(path).unwrap_err());
        assert!(refused(dir.path()).contains("no"), "{}", refused(dir.path()));
        for name in ["b10", "b9", ".hidden"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        // A folder without a frame is no clip.
        assert!(refused(dir.path()).contains("b9"), "{}", refused(dir.path()));
        for name in ["b10/2.png", "b9/10.png", "b9/9.png", "b9/clip.json"] {
            fs::write(dir.path().join(name), "{}").unwrap();
        }
        let Data::Clips(clips) = Data::read(dir.path()).unwrap() else { panic!("these are clips") };
        assert_eq!(clips.iter().map(|clip| clip.files.len()).collect::<Vec<_>>(), [2, 1]);
        assert_eq!(clips[0].files[0], dir.path().join("b9/9.png"));
        // What is said of all of them may lie beside; frames may not.
        fs::write(dir.path().join("all.json"), "{}").unwrap();
        assert!(Data::read(dir.path()).is_ok());
        fs::write(dir.path().join("1.png"), "").unwrap();
        assert!(refused(dir.path()).contains("and folders as"), "{}", refused(dir.path()));
        let bag = dir.path().join("a.mcap");
        fs::write(&bag, "").unwrap();
        assert!(refused(&bag).contains("a.mcap: expected"));
        assert!(refused(Path::new("/nowhere")).contains("/nowhere"));
    }

    #[test]
    fn every_line_is_looked_at_before_the_first_is_asked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jsonl");
        let good = r#"{"prompt": "?"}"#;
        for (last, word) in [
            ("{", "a.jsonl:3"),
            (r#"{"prompt": " "}"#, "prompt is empty"),
            (r#"{"prompt": "?", "images": ["b.png"]}"#, "b.png"),
            (r#"{"prompt": "?", "video": "c"}"#, "`fps`"),
        ] {
            fs::write(&path, format!("{good}\n\n{last}\n")).unwrap();
            let why = format!("{:#}", Data::read(&path).unwrap_err());
            assert!(why.contains(word) && why.contains("a.jsonl:3"), "{last}: {why}");
        }
        fs::write(dir.path().join("b.png"), "").unwrap();
        fs::write(&path, format!("{good}\n{}\n", r#"{"prompt": "?", "images": ["b.png"]}"#)).unwrap();
        let data = Data::read(&path).unwrap();
        assert_eq!(data.files(), [dir.path().join("b.png")]);
    }

    #[test]
    fn a_description_says_what_it_must() {
        let described =
            r#"{"fps": 4, "split": "train", "questions": [{"texts": ["?"], "frames": [3], "answer": "a"}]}"#;
        let described = Described::parse(described).unwrap();
        assert_eq!((described.fps, described.questions[0].frames[0]), (4.0, 3));
        assert_eq!(Described::parse("{}").unwrap().fps, 8.0);
        for text in [
            "",
            "3",
            r#"{"fps": 0}"#,
            r#"{"fps": -1e999}"#,
            r#"{"questions": [{"frames": [-1], "texts": []}]}"#,
        ] {
            assert!(Described::parse(text).is_err(), "{text}");
        }
    }
}
