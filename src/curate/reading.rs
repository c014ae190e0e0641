//! The images of a source, one after the other, decoded.

use std::path::Path;

use super::error::CurateError;
use super::parameters::Parameters;
use super::source::{Source, SourceKind, said_fps};
use crate::bounded;
use crate::camera::{Decoder, FrameError, FrameSize, RawFrame, convert, frame_files, size_in_header};
use crate::ros2::messages::{
    CompressedImageView, HeaderView, ImageView, Message, decode, split_encapsulation,
};
use crate::ros2::transport::{BagReader, TransportError};

/// No camera's frame is larger.
const PIXELS_MAX: u64 = 1 << 26;
/// No camera's file is.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// An image that came.
pub(super) struct Came<'a> {
    /// The topic; empty for a folder.
    pub(super) topic: &'a str,
    pub(super) stamp_ns: i64,
    /// Its file, in a folder.
    pub(super) file: Option<String>,
    /// Its pixels, or what is wrong.
    pub(super) picture: Result<Pixels<'a>, String>,
    /// Bytes of the source that were read since the image before.
    pub(super) bytes: u64,
}

/// A decoded image.
pub(super) struct Pixels<'a> {
    pub(super) rgb: &'a [u8],
    pub(super) size: FrameSize,
    /// The file's bytes, if it came as one.
    pub(super) data: Option<&'a [u8]>,
}

/// Hands over every image in order. Returns what is wrong with the source as a whole: it is shorter than it was, or has no images.
pub(super) fn read(
    source: &Source,
    parameters: &Parameters,
    take: &mut dyn FnMut(Came<'_>) -> Result<(), CurateError>,
) -> Result<Option<String>, CurateError> {
    match source.kind {
        SourceKind::Bag => read_bag(&source.path, parameters, take),
        SourceKind::Frames => read_frames(&source.path, parameters, take),
    }
}

fn read_bag(
    path: &Path,
    parameters: &Parameters,
    take: &mut dyn FnMut(Came<'_>) -> Result<(), CurateError>,
) -> Result<Option<String>, CurateError> {
    let mut bag = match BagReader::open(path) {
        Ok(bag) => bag,
        Err(TransportError::Bag { problem, .. }) => return Ok(Some(problem)),
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
        return Ok(Some(format!("{wanted} in it; it has {there}")));
    }
    let mut pictures = Pictures::default();
    let (mut bytes, mut n_came) = (0, 0u64);
    while let Some(message) = bag.next_message() {
        bytes += message.data.len() as u64;
        if !is_image(&message.ros_type) || !is_wanted(&message.topic) {
            continue;
        }
        let log_time_ns = i64::try_from(message.log_time_ns).unwrap_or(i64::MAX);
        let (stamp_ns, picture) = pictures.of_message(&message.ros_type, &message.data);
        // A camera that sets no stamp is taken at the time of recording.
        let stamp_ns = stamp_ns.filter(|stamp| 0 < *stamp).unwrap_or(log_time_ns);
        let bytes = std::mem::take(&mut bytes);
        take(Came { topic: &message.topic, stamp_ns, file: None, picture, bytes })?;
        n_came += 1;
    }
    let none = || (n_came == 0).then(|| "its topics of images hold no image".to_owned());
    Ok(bag.cut().map(str::to_owned).or_else(none))
}

fn read_frames(
    path: &Path,
    parameters: &Parameters,
    take: &mut dyn FnMut(Came<'_>) -> Result<(), CurateError>,
) -> Result<Option<String>, CurateError> {
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
        take(Came { topic: "", stamp_ns, file: Some(name), picture, bytes })?;
    }
    Ok(None)
}

/// Room for one picture.
#[derive(Default)]
struct Pictures {
    decoder: Decoder,
    rgb: Vec<u8>,
}

impl Pictures {
    fn of_message<'a>(
        &'a mut self,
        ros_type: &str,
        data: &'a [u8],
    ) -> (Option<i64>, Result<Pixels<'a>, String>) {
        let malformed = |why: &dyn std::fmt::Display| format!("not a message of type {ros_type}: {why}");
        let Some((order, body)) = split_encapsulation(data) else {
            return (None, Err(malformed(&"it is not in plain CDR")));
        };
        let stamp = |header: &HeaderView| Some(header.stamp.ns());
        if ros_type == CompressedImageView::TYPE {
            return match decode::<CompressedImageView<'_>>(body, order) {
                Ok(view) => (stamp(&view.header), self.of_file(view.format.as_str(), view.data)),
                Err(error) => (None, Err(malformed(&error))),
            };
        }
        match decode::<ImageView<'_>>(body, order) {
            Ok(view) => (stamp(&view.header), self.of_raw(&view)),
            Err(error) => (None, Err(malformed(&error))),
        }
    }

    fn of_raw(&mut self, view: &ImageView<'_>) -> Result<Pixels<'_>, String> {
        let &ImageView { width, height, step, is_bigendian, data, .. } = view;
        // What the bytes cannot hold is not made room for.
        if (data.len() as u64) < u64::from(width) * u64::from(height) {
            let n = data.len();
            return Err(format!("{width}×{height} pixels of `{}` in {n} bytes", view.encoding.as_str()));
        }
        self.make_room(width, height)?;
        let encoding = view.encoding.as_str();
        let raw = RawFrame { width, height, step, encoding, is_bigendian: is_bigendian != 0, data };
        let size = convert(&raw, &mut self.rgb).map_err(|error| error.to_string())?;
        Ok(Pixels { rgb: &self.rgb[..size.rgb_bytes()], size, data: None })
    }

    fn of_file<'a>(&'a mut self, format: &str, data: &'a [u8]) -> Result<Pixels<'a>, String> {
        // The decoder says itself what is wrong with bytes that tell no size.
        let (width, height) = size_in_header(data).or_else(|| gif_size(data)).unwrap_or((1, 1));
        self.make_room(width, height)?;
        let decoded = self.decoder.decode(format, data, &mut self.rgb);
        let size = decoded.map_err(|error: FrameError| error.to_string())?;
        Ok(Pixels { rgb: &self.rgb[..size.rgb_bytes()], size, data: Some(data) })
    }

    fn make_room(&mut self, width: u32, height: u32) -> Result<(), String> {
        let n_pixels = u64::from(width) * u64::from(height);
        if PIXELS_MAX < n_pixels {
            return Err(format!("{width}×{height} pixels are over the limit of {PIXELS_MAX}"));
        }
        let n = 3 * n_pixels as usize;
        if self.rgb.len() < n {
            self.rgb.resize(n, 0);
        }
        Ok(())
    }
}

fn gif_size(data: &[u8]) -> Option<(u32, u32)> {
    let at = |offset: usize| Some(u32::from(u16::from_le_bytes(*data.get(offset..)?.first_chunk()?)));
    data.starts_with(b"GIF8").then_some(())?;
    Some((at(6)?, at(8)?))
}
