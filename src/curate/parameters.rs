//! What decides: thresholds with their units and defaults. README says what the defaults were chosen by.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::record::TASK;

/// How the set is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// A numbered folder of frames for each clip, as `scenes` writes them.
    Frames,
    /// Shards of tar files, a sample for each clip.
    WebDataset,
    /// LeRobot's data sets, an episode for each clip, with what the robot did and heard.
    LeRobot,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Frames, Self::WebDataset, Self::LeRobot];

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Frames => "frames",
            Self::WebDataset => "webdataset",
            Self::LeRobot => "lerobot",
        }
    }
}

/// Everything beside the sources that the result depends on. A share is one of the range of a colour, 0 to 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameters {
    /// Topics that are taken; all with images where none is named.
    pub topics: Vec<String>,
    /// Frames a second of folders that do not say it themselves.
    pub fps: f64,
    /// A cut: the mean difference of two frames on a 16×16 grid of mean colours, share; and a third of their hash differs.
    pub cut: f32,
    /// A gap: time between two stamps, in seconds.
    pub gap_s: f64,
    /// A frame stands still while no cell of the grid is this far from the stretch's first frame, share.
    pub still: f32,
    /// What stands still for this long is left out, in seconds.
    pub still_s: f64,
    /// Dark is where 95 of 100 pixels are below this light, share.
    pub dark: f32,
    /// Blurred is from here on: 0 is sharp, 1 is without structure (Crete et al. 2007).
    pub blurred: f32,
    /// Full of text is from this share of the picture's tiles on.
    pub text: f32,
    /// Frames that a clip has at least.
    pub min_frames: u64,
    /// Frames that a clip has at most.
    pub max_frames: u64,
    /// A clip is a near duplicate if nine of ten of its frames differ from one of another clip's in at most this share of the hash's bits.
    pub duplicate: f32,
    /// And in at most this much of the hue of a cell of a 4×4 grid, share.
    pub duplicate_hue: f32,
    /// Bytes of a shard, at most, where a clip is not longer.
    pub shard_bytes: u64,
    /// How the set is written.
    pub format: Format,
    /// The topic of actions; the only one where none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actions: Option<String>,
    /// What the robot is to do in every clip, whatever a source says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// Topics of texts by the names that these get; one may be the task.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub texts: BTreeMap<String, String>,
}

impl Parameters {
    /// Names of the texts that every frame has, but its task.
    pub(super) fn feature_texts(&self) -> impl Iterator<Item = &String> {
        self.texts.keys().filter(|name| *name != TASK)
    }
}
