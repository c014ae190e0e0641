//! The images of a source, one after the other, decoded.

use std::path::Path;

use super::beside::{Beside, Hearing};
use super::came::{Came, Take, Told};
use super::error::CurateError;
use super::lerobot;
use super::parameters::Parameters;
use super::pictures::Pictures;
use super::source::{Source, said_fps};
use super::source_kind::SourceKind;
use crate::bounded;
use crate::camera::frame_files;
use crate::ros2::messages::{CompressedImageView, ImageView, Message};
use crate::ros2::transport::{BagMessage, BagReader, TransportError};

/// Images of one time that wait for what is heard at it.
const WAITING_MAX: usize = 8;
/// No camera's file is.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// Hands over every image in order.
pub(super) fn read(source: &Source, parameters: &Parameters, take: Take<'_>) -> Result<Told, CurateError> {
    match source.kind {
        SourceKind::Bag => read_bag(&source.path, parameters, take),
        SourceKind::Frames => read_frames(&source.path, parameters, take),
        SourceKind::LeRobot => lerobot::read(&source.path, parameters, take),
    }
}

fn read_bag(path: &Path, parameters: &Parameters, take: Take<'_>) -> Result<Told, CurateError> {
    let mut bag = match BagReader::open(path) {
        Ok(bag) => bag,
        Err(TransportError::Bag { problem, .. }) => return Ok(Told::problem(problem)),
        Err(error) => return Err(error.into()),
    };
    let is_image = |ros_type: &str| [ImageView::TYPE, CompressedImageView::TYPE].contains(&ros_type);
    let is_wanted =
        |topic: &str| parameters.topics.is_empty() || parameters.topics.iter().any(|t| t == topic);
    if !bag.topics().iter().any(|(topic, ros_type)| is_image(ros_type) && is_wanted(topic)) {
        let there: Vec<String> = bag.topics().iter().map(|(topic, of)| format!("{topic} ({of})")).collect();
        let wanted = match parameters.topics.is_empty() {
            true => "no topic of images".to_owned(),
            false => format!("no images on {}", parameters.topics.join(", ")),
        };
        let there = if there.is_empty() { "no topics".to_owned() } else { there.join(", ") };
        return Ok(Told::problem(format!("{wanted} in it; it has {there}")));
    }
    let mut hearing = Hearing::of(bag.topics(), parameters);
    let mut pictures = Pictures::default();
    let (mut bytes, mut n_came) = (0, 0u64);
    // What is heard at the very time of an image holds at it, whichever was written first.
    let mut waiting: Vec<(BagMessage, u64)> = Vec::new();
    loop {
        let message = bag.next_message();
        let is_same_time = |message: &BagMessage| {
            waiting.first().is_none_or(|(image, _)| image.log_time_ns == message.log_time_ns)
        };
        if WAITING_MAX <= waiting.len() || !message.as_ref().is_some_and(is_same_time) {
            for (image, bytes) in waiting.drain(..) {
                let log_time_ns = i64::try_from(image.log_time_ns).unwrap_or(i64::MAX);
                let (stamp_ns, picture) = pictures.of_message(&image.ros_type, &image.data);
                // A camera that sets no stamp is taken at the time of recording.
                let stamp_ns = stamp_ns.filter(|stamp| 0 < *stamp).unwrap_or(log_time_ns);
                let (topic, beside) = (&image.topic[..], &hearing.now);
                take(Came { topic, stamp_ns, file: None, picture, bytes, begins: false, beside })?;
            }
        }
        let Some(message) = message else { break };
        bytes += message.data.len() as u64;
        if is_image(&message.ros_type) && is_wanted(&message.topic) {
            waiting.push((message, std::mem::take(&mut bytes)));
            n_came += 1;
        } else {
            hearing.hear(&message);
        }
    }
    let none = || (n_came == 0).then(|| "its topics of images hold no image".to_owned());
    let problems = [bag.cut().map(str::to_owned).or_else(none), hearing.problem()];
    let problem = problems.into_iter().flatten().reduce(|all, more| format!("{all}; {more}"));
    Ok(Told { problem, action_names: hearing.action_names })
}

fn read_frames(path: &Path, parameters: &Parameters, take: Take<'_>) -> Result<Told, CurateError> {
    let fps = said_fps(path).unwrap_or(parameters.fps);
    let mut pictures = Pictures::default();
    for (frame, file) in frame_files(path)?.paths.iter().enumerate() {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let data = bounded::read(file, FILE_BYTES_MAX);
        let stamp_ns = (frame as f64 * 1e9 / fps).round() as i64;
        let bytes = data.as_ref().map_or(0, |data| data.len() as u64);
        let picture = match &data {
            Ok(data) => pictures.of_file("", data),
            Err(error) => Err(error.to_string()),
        };
        let (file, beside) = (Some(name), &Beside::default());
        take(Came { topic: "", stamp_ns, file, picture, bytes, begins: false, beside })?;
    }
    Ok(Told::default())
}
