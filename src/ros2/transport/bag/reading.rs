//! A bag from its beginning to its end, for who is no node: messages in the order of their log times, one chunk in memory at a time.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use super::files;
use super::track::{Channel, Track, TrackError};
use crate::ros2::transport::TransportError;

/// A bag that is being read.
#[derive(Debug)]
pub struct BagReader {
    path: PathBuf,
    /// The files that are left, the one that is read first.
    tracks: VecDeque<(PathBuf, Track)>,
    /// Topics with their types, in order.
    topics: Vec<(String, String)>,
    /// Why it ended before its end.
    cut: Option<String>,
}

/// A message of a bag.
#[derive(Debug)]
pub struct BagMessage {
    /// The topic.
    pub topic: String,
    /// Its type, as ROS writes it.
    pub ros_type: String,
    /// When it was recorded.
    pub log_time_ns: u64,
    /// The body with its encapsulation.
    pub data: Vec<u8>,
}

/// The files of a bag, in their order.
///
/// # Errors
/// What the path is instead, and what to do.
pub fn bag_files(path: &Path) -> Result<Vec<PathBuf>, TransportError> {
    files::of(path).map_err(|problem| TransportError::Bag { path: path.display().to_string(), problem })
}

/// A bag's files, opened one after the other.
pub(super) fn open_tracks(path: &Path) -> Result<VecDeque<(PathBuf, Track)>, TransportError> {
    let bad = |problem: String| TransportError::Bag { path: path.display().to_string(), problem };
    let mut tracks = VecDeque::new();
    for file in bag_files(path)? {
        let at = |error: TrackError| match file == path {
            true => bad(error.to_string()),
            false => bad(format!("its file {}: {error}", file.display())),
        };
        tracks.push_back((file.clone(), Track::open(&file).map_err(at)?));
    }
    Ok(tracks)
}

/// What there is in the files, in order.
pub(super) fn channels_of(tracks: &VecDeque<(PathBuf, Track)>) -> Vec<Channel> {
    let mut channels: Vec<Channel> =
        tracks.iter().flat_map(|(_, track)| track.channels().values().cloned()).collect();
    channels.sort_by(|a, b| (&a.topic, &a.ros_type).cmp(&(&b.topic, &b.ros_type)));
    channels.dedup();
    channels
}

impl BagReader {
    /// Opens a bag.
    ///
    /// # Errors
    /// If it cannot be read, or is something else; the message says what, and what to do.
    pub fn open(path: &Path) -> Result<Self, TransportError> {
        let tracks = open_tracks(path)?;
        let topics = channels_of(&tracks).into_iter().map(|c| (c.topic, c.ros_type)).collect();
        Ok(Self { path: path.to_owned(), tracks, topics, cut: None })
    }

    /// Topics with their types, in order.
    #[must_use]
    pub fn topics(&self) -> &[(String, String)] {
        &self.topics
    }

    /// Why it ended before its end, if it did; known once [`BagReader::next_message`] has come there.
    #[must_use]
    pub fn cut(&self) -> Option<&str> {
        self.cut.as_deref()
    }

    /// The next message; nothing at the end, and where it cannot be read on.
    pub fn next_message(&mut self) -> Option<BagMessage> {
        while let Some((file, track)) = self.tracks.front_mut() {
            let (why, is_broken) = match track.next() {
                Ok(Some(message)) => {
                    let Some(Channel { topic, ros_type }) = track.channels().get(&message.channel).cloned()
                    else {
                        continue;
                    };
                    let (log_time_ns, data) = (message.log_time_ns, message.data);
                    return Some(BagMessage { topic, ros_type, log_time_ns, data });
                }
                Ok(None) => {
                    let interrupted =
                        |cut| format!("{cut}: the recording was interrupted; all before was read");
                    (track.cut().map(interrupted), false)
                }
                Err(error) => (Some(format!("{error}; what follows cannot be read")), true),
            };
            if let (None, Some(why)) = (&self.cut, why) {
                let name = file.file_name().unwrap_or_default().to_string_lossy();
                self.cut = Some(if *file == self.path { why } else { format!("{name}: {why}") });
            }
            self.tracks.pop_front();
            if is_broken {
                self.tracks.clear();
            }
        }
        None
    }
}
