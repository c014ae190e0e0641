//! The file of a recording, from its name until it ends to its place.
//!
//! While it is written it lies under a name of its own beside its place (`NAME.partial.mcap`, see [`partial_of`]), and takes its place
//! when it has ended. A recorder that is killed leaves it there: it can be played and read to its last whole second. The next recording of
//! that name moves it aside (`NAME.partial-1.mcap` and on), since what led to the kill is what somebody will want to see.
//!
//! Chunks are made in memory and written whole. So a write that fails, on a disk that is full, leaves whole chunks: the file is cut
//! back to them and closed without its index, and any reader takes it.
//!
//! Why not a hidden file, as other outputs: what a killed process left hidden is swept, and this is not ours to remove.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::install;
use crate::ros2::messages::definition;
use crate::ros2::transport::BagWriter;

/// How much of log time a killed recorder loses at most.
const FLUSH_NS: u64 = 1_000_000_000;
/// A chunk is ended beyond this.
const CHUNK_BYTES: u64 = 768 << 10;
/// What ends a file whose index is elsewhere or nowhere: a data end without digest, a footer that points nowhere, the magic bytes.
const CLOSING: [u8; 50] = {
    let mut bytes = [0; 50];
    (bytes[0], bytes[1]) = (0x0f, 4);
    (bytes[13], bytes[14]) = (0x02, 20);
    let (magic, mut i) = (*b"\x89MCAP0\r\n", 0);
    while i < 8 {
        bytes[42 + i] = magic[i];
        i += 1;
    }
    bytes
};

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
fn move_aside(place: &Path, partial: &Path) -> io::Result<PathBuf> {
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

/// A topic that is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Channel {
    pub(super) topic: String,
    pub(super) ros_type: String,
}

/// Whether a message was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    Yes,
    /// With it the file would be longer than it may be.
    TooMuch,
}

pub(super) struct RecordingFile {
    bag: BagWriter<Spool>,
    spool: Spool,
    /// Locked while it is recorded in.
    file: File,
    place: PathBuf,
    /// Which file it is, whatever its name becomes.
    inode: u64,
    /// How long it is, and may become.
    n_bytes: u64,
    bytes_max: u64,
    /// By their places among all that were announced.
    channels: Vec<u16>,
    definitions_bytes: u64,
    n_chunks: u64,
    /// Of the chunk that is being made: bytes at most, and the log time of its first message.
    chunk_bytes: u64,
    chunk_since_ns: Option<u64>,
}

impl RecordingFile {
    /// Begins a recording that will lie at `place`; what a killed recorder left of the one before is kept beside it.
    ///
    /// # Errors
    /// Why it cannot begin.
    pub(super) fn create(place: &Path, bytes_max: u64) -> Result<Self, String> {
        let partial = partial_of(place);
        let failed = |error: io::Error| error.to_string();
        let (file, inode) = loop {
            let file =
                File::options().write(true).create(true).truncate(false).open(&partial).map_err(failed)?;
            if let Err(TryLockError::WouldBlock) = file.try_lock() {
                return Err("another process records in it; name another file".to_owned());
            }
            // Between opening and locking the other may have ended, and the file may be its whole recording by now.
            let ours = file.metadata().map_err(failed)?;
            if fs::metadata(&partial).map(|there| there.ino()).ok() != Some(ours.ino()) {
                return Err("another process has just ended a recording in it; try again".to_owned());
            }
            if ours.len() == 0 {
                break (file, ours.ino());
            }
            let kept = move_aside(place, &partial)
                .map_err(|error| format!("an earlier recording is left here, and cannot be kept: {error}"))?;
            log::info!("what an earlier recording left is {}", kept.display());
        };
        let spool = Spool::default();
        let bag = BagWriter::begin(spool.clone()).map_err(|error| error.to_string())?;
        let mut this = Self {
            bag,
            spool,
            file,
            place: place.to_owned(),
            inode,
            n_bytes: 0,
            bytes_max,
            channels: Vec::new(),
            definitions_bytes: 0,
            n_chunks: 0,
            chunk_bytes: 0,
            chunk_since_ns: None,
        };
        if let Err(why) = this.flush() {
            drop(fs::remove_file(&partial));
            return Err(why);
        }
        Ok(this)
    }

    /// Bytes that lie in the file.
    pub(super) fn n_bytes(&self) -> u64 {
        self.n_bytes
    }

    pub(super) fn n_channels(&self) -> usize {
        self.channels.len()
    }

    /// Announces further topics.
    ///
    /// # Errors
    /// If there are more than an MCAP file can have.
    pub(super) fn add(&mut self, channels: &[Channel]) -> Result<(), String> {
        for Channel { topic, ros_type } in channels {
            let id = self.bag.add(topic, ros_type).map_err(|error| error.to_string())?;
            self.channels.push(id);
            let definition = definition(ros_type).unwrap_or_default();
            self.definitions_bytes += (definition.len() + topic.len() + ros_type.len() + 128) as u64;
        }
        Ok(())
    }

    /// Writes a message with its encapsulation to the topic of this place among all.
    ///
    /// # Errors
    /// Why it, or what came before it, cannot be written. Nothing can be written any more then.
    pub(super) fn write(&mut self, channel: usize, time_ns: u64, payload: &[u8]) -> Result<Written, String> {
        // A message has a head of its own, and stands in two indexes.
        let message_bytes = payload.len() as u64 + 64;
        if self.bytes_max < self.length_with(message_bytes) {
            return Ok(Written::TooMuch);
        }
        let channel = self.channels[channel];
        self.bag.write_payload(channel, time_ns, payload).map_err(|error| error.to_string())?;
        self.chunk_bytes += message_bytes;
        let since_ns = *self.chunk_since_ns.get_or_insert(time_ns);
        // By log time, so that two recordings of one bag are one file.
        if CHUNK_BYTES <= self.chunk_bytes || FLUSH_NS <= time_ns.abs_diff(since_ns) {
            self.flush()?;
        }
        Ok(Written::Yes)
    }

    /// How long the whole file is at most, with its index and one more message of so many bytes.
    fn length_with(&self, message_bytes: u64) -> u64 {
        let chunk = self.chunk_bytes + message_bytes;
        // What zstd cannot compress grows by less than a hundredth.
        let chunk = chunk + chunk / 128 + 256;
        let of_channels = 32 * self.channels.len() as u64;
        let index = (self.n_chunks + 1) * (128 + of_channels);
        self.n_bytes + chunk + of_channels + index + 2 * self.definitions_bytes + 4096
    }

    /// Ends the chunk that is being made, and writes it.
    ///
    /// # Errors
    /// As [`RecordingFile::write`].
    pub(super) fn flush(&mut self) -> Result<(), String> {
        self.bag.flush().map_err(|error| error.to_string())?;
        self.n_chunks += u64::from(0 < self.chunk_bytes);
        (self.chunk_bytes, self.chunk_since_ns) = (0, None);
        self.hand_over()
    }

    /// Writes what the spool holds; if that fails, the file ends before it.
    fn hand_over(&mut self) -> Result<(), String> {
        let bytes = self.spool.take();
        match self.file.write_all(&bytes) {
            Ok(()) => self.n_bytes += bytes.len() as u64,
            Err(error) => {
                self.close_early();
                return Err(error.to_string());
            }
        }
        let partial = partial_of(&self.place);
        match fs::metadata(&partial) {
            Ok(there) if there.ino() == self.inode => Ok(()),
            Ok(_) => Err(format!("{} is another file by now", partial.display())),
            Err(error) => Err(format!("{} is not there any more: {error}", partial.display())),
        }
    }

    /// Lets the file end with its last whole chunk, so that it can be read.
    fn close_early(&mut self) {
        let cut = |file: &mut File| {
            file.set_len(self.n_bytes)?;
            file.seek(SeekFrom::Start(self.n_bytes))
        };
        if cut(&mut self.file).is_ok() && self.file.write_all(&CLOSING).is_err() {
            // Then it ends like that of a killed recorder.
            drop(self.file.set_len(self.n_bytes));
        }
    }

    /// Writes the index, and puts the recording into its place.
    ///
    /// # Errors
    /// Why something of the recording is missing; then it lies where it was written, as far as it came.
    pub(super) fn finish(mut self) -> Result<u64, String> {
        self.flush()?;
        self.bag.finish().map_err(|error| error.to_string())?;
        self.hand_over()?;
        self.file.sync_all().map_err(|error| error.to_string())?;
        fs::rename(partial_of(&self.place), &self.place).map_err(|error| error.to_string())?;
        // The new name is on the disk only when its directory is.
        let folder = File::open(install::folder_of(&self.place)).and_then(|folder| folder.sync_all());
        folder.map_err(|error| error.to_string())?;
        Ok(self.n_bytes)
    }

    /// Leaves the recording where it lies, as a killed recorder does; one without a message goes.
    pub(super) fn abandon(mut self) {
        let partial = partial_of(&self.place);
        if !self.bag.has_messages() {
            drop(fs::remove_file(partial));
            return;
        }
        // What cannot be written any more is lost with the rest.
        drop(self.flush());
        log::warn!("the recording did not end; what there is of it is {}", partial.display());
    }
}

/// The end of a file that lies in memory until it is taken.
#[derive(Debug, Clone, Default)]
struct Spool(Arc<Mutex<Spooled>>);

#[derive(Debug, Default)]
struct Spooled {
    /// Bytes of the file before these.
    n_taken: u64,
    bytes: Vec<u8>,
    /// Where is written next, among these.
    at: usize,
}

impl Spool {
    fn lock(&self) -> MutexGuard<'_, Spooled> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Vec<u8> {
        let mut spooled = self.lock();
        let bytes = std::mem::take(&mut spooled.bytes);
        spooled.n_taken += bytes.len() as u64;
        spooled.at = 0;
        bytes
    }
}

impl Write for Spool {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut spooled = self.lock();
        let (at, end) = (spooled.at, spooled.at + bytes.len());
        if spooled.bytes.len() < end {
            spooled.bytes.resize(end, 0);
        }
        spooled.bytes[at..end].copy_from_slice(bytes);
        spooled.at = end;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Spool {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let mut spooled = self.lock();
        let (at, len) = (spooled.at as i64, spooled.bytes.len() as i64);
        let at = match to {
            SeekFrom::Start(to) => to as i64 - spooled.n_taken as i64,
            SeekFrom::End(by) => len + by,
            SeekFrom::Current(by) => at + by,
        };
        if !(0..=len).contains(&at) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "what lies there was taken"));
        }
        spooled.at = at as usize;
        Ok(spooled.n_taken + at as u64)
    }
}

#[cfg(test)]
#[test]
fn a_spool_is_the_end_of_a_file() {
    let mut spool = Spool::default();
    spool.write_all(b"head").unwrap();
    assert_eq!(spool.take(), b"head");
    spool.write_all(b"0000chunk").unwrap();
    assert_eq!(spool.stream_position().unwrap(), 13);
    spool.seek(SeekFrom::Start(4)).unwrap();
    spool.write_all(b"long").unwrap();
    assert_eq!(spool.seek(SeekFrom::End(0)).unwrap(), 13);
    assert!(spool.seek(SeekFrom::Start(3)).is_err());
    assert_eq!(spool.take(), b"longchunk");
    assert_eq!(spool.stream_position().unwrap(), 13);
}
