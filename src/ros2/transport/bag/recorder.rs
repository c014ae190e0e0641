//! Writes what the node publishes to a bag of its own.
//!
//! While it is written it lies under a name of its own beside its place (`NAME.partial.mcap`, see [`partial_of`]), and takes its place
//! when it has ended. A recorder that is killed leaves it there: it can be played and read to its last whole second.
//!
//! Why not a hidden file, as other outputs: what a killed process left hidden is swept, and this stays until a recording of that name begins.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io::BufWriter;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::install;

use crate::frames::clock::Clock;
use crate::ros2::messages::{definition, with_encapsulation};
use crate::ros2::transport::{PublishError, Publisher, TransportError};

/// How much of log time a killed recorder loses at most.
const FLUSH_NS: u64 = 1_000_000_000;

pub(super) struct Recorder {
    writer: mcap::Writer<BufWriter<File>>,
    /// The same open file: locked while it is recorded in.
    file: File,
    place: PathBuf,
    /// Whether it is in its place.
    is_whole: bool,
    /// Whether `finish` has said what became of it.
    is_told: bool,
    sequence: u32,
    /// Log time of the first message that has not been flushed.
    unflushed_ns: Option<u64>,
    /// Why the recording ended before its end.
    failed: Option<String>,
}

/// Where a recording lies until it has ended: `answers.mcap` as `answers.partial.mcap`.
#[must_use]
pub fn partial_of(place: &Path) -> PathBuf {
    let mut name = OsString::from(place.file_stem().unwrap_or_default());
    name.push(".partial.mcap");
    place.with_file_name(name)
}

impl Recorder {
    /// Begins a recording that will lie at `place`, over what a killed recorder left of the one before.
    pub(super) fn create(place: &Path) -> Result<Self, TransportError> {
        let partial = partial_of(place);
        let bad = |problem: String| TransportError::Bag { path: partial.display().to_string(), problem };
        let failed = |error: std::io::Error| bad(error.to_string());
        let file = File::options().write(true).create(true).truncate(false).open(&partial).map_err(failed)?;
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            return Err(bad("another process records in it; name another file".to_owned()));
        }
        // Between opening and locking the other may have ended, and the file may be its whole recording by now.
        let ours = file.metadata().map_err(failed)?.ino();
        if fs::metadata(&partial).map(|there| there.ino()).ok() != Some(ours) {
            return Err(bad("another process has just ended a recording in it; try again".to_owned()));
        }
        file.set_len(0).map_err(failed)?;
        let options = mcap::WriteOptions::new().profile("ros2").library("perihelion");
        let writer = BufWriter::new(file.try_clone().map_err(failed)?);
        let writer = options.create(writer).map_err(|error| bad(error.to_string()))?;
        let place = place.to_owned();
        Ok(Self {
            writer,
            file,
            place,
            is_whole: false,
            is_told: false,
            sequence: 0,
            unflushed_ns: None,
            failed: None,
        })
    }

    pub(super) fn add_channel(&mut self, topic: &str, ros_type: &str) -> Result<u16, mcap::McapError> {
        let definition = definition(ros_type).unwrap_or_default();
        let schema = self.writer.add_schema(ros_type, "ros2msg", definition.as_bytes())?;
        self.writer.add_channel(schema, topic, "cdr", &BTreeMap::new())
    }

    /// Writes the index, and puts the recording into its place.
    ///
    /// # Errors
    /// Why something of the recording is missing; then it lies where it was written, as far as it came.
    pub(super) fn finish(&mut self) -> Result<(), String> {
        self.is_told = true;
        let partial = partial_of(&self.place);
        let finished = self.writer.finish().map_err(|error| error.to_string()).map(drop);
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

    fn write(&mut self, header: &mcap::records::MessageHeader, body: &[u8]) -> Result<(), mcap::McapError> {
        self.writer.write_to_known_channel(header, body)?;
        let since = *self.unflushed_ns.get_or_insert(header.log_time);
        // By log time, so that two recordings of one bag are one file.
        if FLUSH_NS <= header.log_time.saturating_sub(since) {
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
        if self.sequence == 0 {
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
        let sequence = recorder.sequence;
        recorder.sequence = sequence.wrapping_add(1);
        let header = mcap::records::MessageHeader {
            channel_id: self.channel,
            sequence,
            log_time,
            publish_time: log_time,
        };
        recorder.write(&header, &with_encapsulation(&body)).map_err(|error| {
            if recorder.failed.is_none() {
                log::error!("recording: {error}");
                recorder.failed = Some(error.to_string());
            }
            PublishError::Closed
        })
    }
}
