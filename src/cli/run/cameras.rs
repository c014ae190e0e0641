//! The cameras of `run`: what `--image` says, and whether a bag and an engine can serve them.

use std::path::Path;
use std::sync::OnceLock;

use clap::ValueEnum;

use super::Options;
use crate::camera::{FrameSize, Picture};
use crate::cli::Usage;
use crate::ros2::node::{AskCameras, Cameras, ImageTopic, NodeOptions};
use crate::ros2::transport::{Bag, Transport};
use crate::runtime::reason::{AskError, Reason, Request, Shown};

/// Sides of an image beyond which a question grows no more: every engine scales larger ones down.
const SIDE_MAX: usize = 2048;

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum About {
    Each,
    All,
}

/// What the command line says of cameras.
///
/// # Errors
/// If two have no name, or a name is not allowed.
pub(super) fn of(options: &Options) -> anyhow::Result<Cameras> {
    let mut cameras = Cameras::default();
    match &options.image[..] {
        [topic] if !topic.contains('=') => cameras.unnamed.clone_from(topic),
        images => {
            for image in images {
                let named = image.parse().map_err(|error| Usage(format!("--image {image}: {error}")))?;
                cameras.named.push(named);
            }
        }
    }
    cameras.ask = match options.ask_cameras {
        About::Each => AskCameras::Each,
        About::All => AskCameras::All,
    };
    cameras.tolerance = super::seconds("--camera-tolerance", options.camera_tolerance)?;
    cameras.forecast.clone_from(&options.forecast_camera);
    Ok(cameras)
}

/// Says which images a bag lacks.
///
/// # Errors
/// If it lacks any.
pub(super) fn check_bag(bag: &Bag, path: &Path, images: &[ImageTopic]) -> Result<(), Usage> {
    let topics = bag.graph();
    let is_missing = |image: &&ImageTopic| {
        !topics.iter().any(|topic| topic.name == image.topic && topic.ros_type == image.transport.ros_type())
    };
    let missing: Vec<String> = images
        .iter()
        .filter(is_missing)
        .map(|ImageTopic { camera, topic, transport, .. }| {
            let of = camera.as_ref().map_or_else(String::new, |camera| format!(" (camera {camera})"));
            format!("no topic {topic} of type {}{of}", transport.ros_type())
        })
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let there: Vec<String> =
        topics.iter().map(|topic| format!("{} ({})", topic.name, topic.ros_type)).collect();
    let there = if there.is_empty() { "no whole message".to_owned() } else { there.join(", ") };
    let cure = match images {
        [ImageTopic { camera: None, .. }] => "choose one with --ros-args -r image:=TOPIC",
        _ => "choose others with --image NAME=TOPIC",
    };
    Err(Usage(format!("{} has {}; it has {there}: {cure}", path.display(), missing.join(" and "))))
}

/// Says whether an engine takes one image of each camera in a question, each as large as images may be.
///
/// # Errors
/// What a question would be refused for, and what to do.
pub(super) fn check_engine(reason: &Reason, node: &NodeOptions) -> Result<(), Usage> {
    if !node.cameras.are_asked_together() {
        return Ok(());
    }
    let names: Vec<&str> = node.cameras.named.iter().map(|camera| camera.name.as_str()).collect();
    let side = node.max_pixels.isqrt().clamp(1, SIDE_MAX);
    let (rgb, digest) = (vec![0; 3 * side * side], OnceLock::new());
    let picture = Picture::with_digest(&rgb, FrameSize { width: side, height: side }, &digest);
    let shown = vec![Shown::Image(picture); names.len()];
    let settings = node.answers.clone().unwrap_or_default();
    let ask = |request: &Request<'_>| reason.check(&Request { captions: &names, ..*request });
    match settings.with_request(&shown, &node.prompt, None, None, ask) {
        Err(error @ (AskError::TooLong { .. } | AskError::TooManyVisualTokens { .. })) => {
            Err(Usage(format!(
                "one question about {} cameras, with images as large as --max-pixels lets them be: {error}; or give the \
             cameras' own size as --max-pixels, or ask about each (--ask-cameras each)",
                names.len()
            )))
        }
        // Whatever else is wrong is so of this picture, and not of a camera's.
        _ => Ok(()),
    }
}
