//! What the episodes of one data set have in common: the camera, the size, the rate, the columns of actions.

use super::rate::Rate;
use crate::curate::parameters::Parameters;
use crate::curate::record::{Clip, Stream};

/// Before the names of cameras.
const CAMERAS: &str = "observation.images.";
/// A data set of another writer may have one camera without a name.
const CAMERA: &str = "observation.image";
/// Parts of a topic that say how images are sent, not what they show.
const MANNERS: [&str; 9] = [
    "image",
    "image_raw",
    "image_color",
    "image_mono",
    "image_rect",
    "image_rect_color",
    "image_raw_color",
    "compressed",
    "image_compressed",
];
const NAME_CHARS_MAX: usize = 64;

/// Frames of one kind are in one data set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::curate) struct Kind {
    /// The feature that holds the frames.
    pub(super) camera: String,
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) rate: Rate,
    /// Names of an action's columns; none where the episodes have no actions.
    pub(super) action_names: Vec<String>,
}

impl Kind {
    pub(in crate::curate) fn of(stream: &Stream, clip: &Clip, parameters: &Parameters) -> Self {
        let action_names = if clip.actions.is_empty() { Vec::new() } else { stream.action_names.clone() };
        Self {
            camera: camera(&stream.topic),
            width: clip.width,
            height: clip.height,
            rate: Rate::nominal(&clip.stamps_ns, parameters.fps),
            action_names,
        }
    }

    /// For its folder. Two kinds may have the same.
    pub(super) fn name(&self) -> String {
        let Self { camera, width, height, rate, action_names } = self;
        let camera = camera.strip_prefix(CAMERAS).unwrap_or("camera");
        let actions = if action_names.is_empty() { "" } else { "-actions" };
        format!("{camera}-{width}x{height}-{}fps{actions}", rate.short())
    }
}

/// The feature's name: what of the topic says which camera it is, or the name that a data set had.
fn camera(topic: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if topic == CAMERA {
        return CAMERA.to_owned();
    }
    let name: Vec<&str> = match topic.strip_prefix(CAMERAS) {
        Some(name) => vec![name],
        None => topic.split('/').filter(|part| !part.is_empty() && !MANNERS.contains(part)).collect(),
    };
    let name = name.join("_");
    let name: String = name.chars().take(NAME_CHARS_MAX).map(|c| if is_plain(c) { c } else { '_' }).collect();
    format!("{CAMERAS}{}", if name.is_empty() { "camera" } else { &name })
}

#[cfg(test)]
#[test]
fn a_camera_is_named_by_its_topic() {
    for (topic, name) in [
        ("/camera/image_raw", "observation.images.camera"),
        ("/robot/front_camera/color/image_raw/compressed", "observation.images.robot_front_camera_color"),
        ("/image/compressed", "observation.images.camera"),
        ("", "observation.images.camera"),
        ("observation.images.wrist", "observation.images.wrist"),
        ("observation.image", "observation.image"),
        ("/a b/ü", "observation.images.a_b__"),
    ] {
        assert_eq!(camera(topic), name, "{topic}");
    }
}
