//! Writes what the node publishes to a bag of its own.
//!
//! While it is written it lies under a name of its own beside its place (`NAME.partial.mcap`, see [`partial_of`]), and takes its place
//! when it has ended. A recorder that is killed leaves it there: it can be played and read to its last whole second. The next recording of
//! that name moves it aside (`NAME.partial-1.mcap` and on), since what led to the kill is what somebody will want to see.
//!
//! Why not a hidden file, as other outputs: what a killed process left hidden is swept, and this is not ours to remove.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io::BufWriter;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::writing::BagWriter;
use crate::frames::clock::Clock;
use crate::install;
use crate::ros2::transport::{PublishError, Publisher, TransportError};

/// How much of log time a killed recorder loses at most.
const FLUSH_NS: u64 = 1_000_000_000;

pub(super) struct Recorder {
    writer: BagWriter<BufWriter<File>>,
    /// The same open file: locked while it is recorded in.
    file: File,
    place: PathBuf,
    /// Whether it is in its place.
    is_whole: bool,
    /// Whether `finish` has said what became of it.
    is_told: bool,
    /// Log time of the first message that has not been flushed.
    unflushed_ns: Option<u64>,
    /// Why the recording ended before its end.
    failed: Option<String>,
}

/// Where a recording lies until it has ended: `answers.mcap` as `answers.partial.mcap`.
#[must_use]
pub fn partial_of(place: &Path) -> PathBuf {
    beside(place, ".partial.mcap")
}

fn beside(place: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(place.file_stem().unwrap_or_default());
    name.push(ending);
    place.with_file_name(name)
}

/// Gives what lies at `partial` the first free of the names beside `place`, and tells it.
fn move_aside(place: &Path, partial: &Path) -> std::io::Result<PathBuf> {
    for number in 1u32.. {
        let kept = beside(place, &format!(".partial-{number}.mcap"));
        match renameat_with(CWD, partial, CWD, &kept, RenameFlags::NOREPLACE) {
            Ok(()) => return Ok(kept),
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    unreachable!("a folder has fewer files than there are numbers")
}

impl Recorder {
    /// Begins a recording that will lie at `place`; what a killed recorder left of the one before is kept beside it.
    pub(super) fn create(place: &Path) -> Result<Self, TransportError> {
        let partial = partial_of(place);
        let bad = |problem: String| TransportError::Bag { path: partial.display().to_string(), problem };
        let failed = |error: std::io::Error| bad(error.to_string());
        let file = loop {
            let file =
                File::options().write(true).create(true).truncate(false).open(&partial).map_err(failed)?;
            if let Err(TryLockError::WouldBlock) = file.try_lock() {
                return Err(bad("another process records in it; name another file".to_owned()));
            }
            // Between opening and locking the other may have ended, and the file may be its whole recording by now.
            let ours = file.metadata().map_err(failed)?;
            if fs::metadata(&partial).map(|there| there.ino()).ok() != Some(ours.ino()) {
                return Err(bad("another process has just ended a recording in it; try again".to_owned()));
            }
            if ours.len() == 0 {
                break file;
            }
            let kept = move_aside(place, &partial).map_err(|error| {
                bad(format!("an earlier recording is left here, and cannot be kept: {error}"))
            })?;
            log::info!("what an earlier recording left is {}", kept.display());
        };
        let writer = BufWriter::new(file.try_clone().map_err(failed)?);
        let writer = BagWriter::begin(writer).map_err(|error| bad(error.to_string()))?;
        let place = place.to_owned();
        Ok(Self { writer, file, place, is_whole: false, is_told: false, unflushed_ns: None, failed: None })
    }

    pub(super) fn add_channel(&mut self, topic: &str, ros_type: &str) -> Result<u16, mcap::McapError> {
        self.writer.add(topic, ros_type)
    }

    /// Writes the index, and puts the recording into its place.
    ///
    /// # Errors
    /// Why something of the recording is missing; then it lies where it was written, as far as it came.
    pub(super) fn finish(&mut self) -> Result<(), String> {
        self.is_told = true;
        let partial = partial_of(&self.place);
        let finished = self.writer.finish().map_err(|error| error.to_string());
        let whole = self.failed.take().map_or(finished, Err).and_then(|()| {
            self.file.sync_all().map_err(|error| error.to_string())?;
            fs::rename(&partial, &self.place).map_err(|error| error.to_string())
        });
        whole.map_err(|why| format!("{why}; what there is of it is {}", partial.display()))?;
        self.is_whole = true;
        // The new name is on the disk only when its directory is.
        let folder = File::open(install::folder_of(&self.place)).and_then(|folder| folder.sync_all());
        folder.map_err(|error| error.to_string())
    }

    fn write(&mut self, channel: u16, time_ns: u64, body: &[u8]) -> Result<(), mcap::McapError> {
        self.writer.write(channel, time_ns, body)?;
        let since = *self.unflushed_ns.get_or_insert(time_ns);
        // By log time, so that two recordings of one bag are one file.
        if FLUSH_NS <= time_ns.saturating_sub(since) {
            self.writer.flush()?;
            self.unflushed_ns = None;
        }
        Ok(())
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let partial = partial_of(&self.place);
        if self.is_whole || self.is_told {
            return;
        }
        if !self.writer.has_messages() {
            // Nothing was recorded: nothing is left.
            let _ = fs::remove_file(partial);
        } else {
            log::warn!("the recording did not end; what there is of it is {}", partial.display());
        }
    }
}

pub(super) struct Recording {
    pub(super) recorder: Arc<Mutex<Recorder>>,
    pub(super) clock: Arc<Clock>,
    pub(super) channel: u16,
}

impl Publisher for Recording {
    fn publish(&self, body: Vec<u8>) -> Result<(), PublishError> {
        let log_time = u64::try_from(self.clock.now().ros_ns).unwrap_or(0);
        let mut recorder = self.recorder.lock().unwrap_or_else(PoisonError::into_inner);
        recorder.write(self.channel, log_time, &body).map_err(|error| {
            if recorder.failed.is_none() {
                log::error!("recording: {error}");
                recorder.failed = Some(error.to_string());
            }
            PublishError::Closed
        })
    }
}
