//! What is known of a source once it was read: its clips, what was left out and why, and what was wrong with it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::hash::Hash;
use super::source_kind::SourceKind;

/// Why frames were left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// Nothing moves.
    Still,
    /// Nothing can be seen.
    Dark,
    /// Out of focus, or without any structure.
    Blurred,
    /// A screen or a sheet of text.
    Text,
    /// Fewer frames than a clip has.
    Short,
    /// Seen in another clip.
    Duplicate,
}

impl Reason {
    /// All of them.
    pub const ALL: [Reason; 6] =
        [Reason::Still, Reason::Dark, Reason::Blurred, Reason::Text, Reason::Short, Reason::Duplicate];

    /// The name in the manifest.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Reason::Still => "still",
            Reason::Dark => "dark",
            Reason::Blurred => "blurred",
            Reason::Text => "text",
            Reason::Short => "short",
            Reason::Duplicate => "duplicate",
        }
    }
}

/// What a clip begins at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Begins {
    /// The stream's beginning.
    Start,
    /// The picture jumped.
    Cut,
    /// The stamps jumped.
    Gap,
    /// Frames became of another size.
    Size,
    /// Frames before it were left out.
    Dropped,
    /// The clip before it was as long as a clip is.
    Length,
}

/// A source, read to its end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceRecord {
    /// As it was named.
    pub name: String,
    /// What it is.
    pub kind: SourceKind,
    /// Of its content, not of its name.
    pub sha256: String,
    /// Bytes of its files.
    pub bytes: u64,
    /// What was wrong with it as a whole.
    pub problem: Option<String>,
    /// Its topics; a folder is one stream without a topic.
    pub streams: Vec<Stream>,
}

/// The images of one topic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stream {
    /// The topic; empty for a folder.
    pub topic: String,
    /// Images that came, damaged ones too.
    pub frames: u64,
    /// Images that could not be decoded.
    pub damaged: u64,
    /// The first of them, with what is wrong.
    pub damaged_first: Vec<Damaged>,
    /// In order of time.
    pub clips: Vec<Clip>,
    /// In order of time.
    pub dropped: Vec<Dropped>,
    /// Names of the columns of its clips' actions; none where the source has no actions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub action_names: Vec<String>,
}

/// An image that could not be decoded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Damaged {
    /// Its number in its stream, from 0.
    pub frame: u64,
    /// Its file's name, in a folder.
    pub file: Option<String>,
    /// What is wrong with it.
    pub problem: String,
}

/// A run of frames without a jump, of one size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clip {
    /// Number of its first frame in its stream, from 0.
    pub first: u64,
    /// Number of its last frame.
    pub last: u64,
    /// Stamps of its frames, in nanoseconds.
    pub stamps_ns: Vec<i64>,
    /// Pixels across.
    pub width: usize,
    /// Pixels down.
    pub height: usize,
    /// What it begins at.
    pub begins: Begins,
    /// What was measured over it.
    pub measured: Measured,
    /// Names of its frames' files, within the record's folder.
    pub files: Vec<String>,
    /// A hash of each frame.
    pub hashes: Vec<Hash>,
    /// The action that held at each frame; none where one of them came before the first action.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<Vec<f32>>,
    /// Texts that held, by their names, in order of time.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub said: BTreeMap<String, Vec<Said>>,
}

/// The name of the text that says what a robot was to do.
pub(super) const TASK: &str = "task";

/// A text, and since when it held.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Said {
    /// The first frame within the clip.
    pub from: usize,
    /// Its words.
    pub text: String,
}

impl Clip {
    /// The text of this name at each frame; empty before the first.
    pub(super) fn said_in(&self, name: &str) -> Vec<String> {
        let mut texts = vec![String::new(); self.files.len()];
        for Said { from, text } in self.said.get(name).into_iter().flatten() {
            texts[*from..].fill(text.clone());
        }
        texts
    }
}

/// The measures of a clip's frames that lie nearest to being left out.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// The least light.
    pub light_min: f32,
    /// The greatest blur.
    pub blur_max: f32,
    /// The greatest share of text.
    pub text_max: f32,
    /// The greatest difference from one frame to the next.
    pub jump_max: f32,
}

/// A stretch that was left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dropped {
    /// Number of its first frame in its stream, from 0.
    pub first: u64,
    /// Number of its last frame.
    pub last: u64,
    /// Frames; damaged ones between are not among them.
    pub frames: u64,
    /// Stamp of the first frame, in nanoseconds.
    pub first_stamp_ns: i64,
    /// Stamp of the last frame.
    pub last_stamp_ns: i64,
    /// Why.
    pub reason: Reason,
    /// What was measured, of the frame that lies nearest to being kept; of a short one its frames.
    pub value: f32,
    /// What it was held against.
    pub threshold: f32,
    /// A small picture of its first frame, within the record's folder.
    pub thumbnail: String,
}
