//! The cameras of `run`: what `--image` says, and whether a bag and an engine can serve them.

use std::path::Path;
use std::sync::OnceLock;

use super::Options;
use crate::camera::{FrameSize, Picture, Preprocess};
use crate::cli::Usage;
use crate::ros2::node::{AskCameras, Cameras, ImageTopic, NodeOptions};
use crate::ros2::transport::{Bag, Transport};
use crate::runtime::reason::{AskError, Reason, Request, Shown};

/// How many times longer than wide a camera's image may be where the largest is looked for: no camera gives a thin strip.
const ASPECT_RATIO_MAX: usize = 4;

/// What the command line says of cameras.
///
/// # Errors
/// If two have no name, a name is not allowed, or what needs names has none.
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
    cameras.ask = options.ask_cameras;
    if let Some(tolerance) = options.camera_tolerance {
        cameras.tolerance = super::seconds("--camera-tolerance", tolerance)?;
    }
    let wants_names = match (cameras.ask, options.camera_tolerance) {
        (AskCameras::All, _) => Some("--ask-cameras all"),
        (AskCameras::Each, tolerance) => tolerance.map(|_| "--camera-tolerance"),
    };
    if let Some(option) = wants_names.filter(|_| cameras.named.is_empty()) {
        let message = format!("{option}: no camera has a name; give each as --image NAME=TOPIC");
        return Err(Usage(message).into());
    }
    cameras.forecast.clone_from(&options.forecast_camera);
    Ok(cameras)
}

/// Says which images a bag lacks; `is_default` says that nobody told of a camera.
///
/// # Errors
/// If it lacks any.
pub(super) fn check_bag(
    bag: &Bag,
    path: &Path,
    images: &[ImageTopic],
    is_default: bool,
) -> Result<(), Usage> {
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
        [ImageTopic { camera: None, .. }] if is_default => "choose one with --ros-args -r image:=TOPIC",
        [ImageTopic { camera: None, .. }] => "choose one with --image TOPIC",
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
    let size = largest(reason.preprocess(), node.max_pixels);
    let (rgb, digest) = (vec![0; 3 * size.width * size.height], OnceLock::new());
    let picture = Picture::with_digest(&rgb, size, &digest);
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

/// The size of at most so many pixels whose image has the most tokens: sides are rounded, so that it need be no square.
fn largest(rules: &Preprocess, pixels_max: usize) -> FrameSize {
    let of_rules = usize::try_from(rules.image.pixels.pixels_max).unwrap_or(usize::MAX);
    let n_pixels = pixels_max.min(of_rules).max(1);
    let side = n_pixels.isqrt();
    let heights = side.div_ceil(ASPECT_RATIO_MAX.isqrt())..=side;
    let sizes = heights.map(|height| FrameSize { width: n_pixels / height, height });
    let n_patches = |size: &FrameSize| rules.image_grid(*size).map_or(0, |grid| grid.h * grid.w);
    sizes.max_by_key(n_patches).expect("one pixel is there")
}

#[cfg(test)]
#[test]
fn the_largest_image_is_of_the_worst_shape_and_within_the_rules() {
    use crate::camera::{PixelRules, Resample};

    let tokens = |tokens_max: u64, n_pixels: usize| {
        let (resample, pixels_max) = (Some(Resample::Bicubic), tokens_max * 32 * 32);
        let pixels = PixelRules { resample, pixels_min: 1, pixels_max, rescale: None, normalize: None };
        let rules = Preprocess::of_tests(16, pixels);
        let n_tokens = |size| rules.image_grid(size).unwrap().n_tokens_per_group(2);
        (n_tokens(largest(&rules, n_pixels)), n_tokens(FrameSize { width: 1920, height: 1080 }))
    };
    let (largest, full_hd) = tokens(4096, 1920 * 1080);
    assert!(full_hd == 2040 && (2040..=2200).contains(&largest), "{largest} {full_hd}");
    assert_eq!(tokens(4096, 3840 * 2160).0, 4096);
    assert!(8000 <= tokens(16_384, 3840 * 2160).0, "no limit but the rules'");
}
