//! The recorder: writes what the node says, and the frames that this is about, to a bag.
//!
//! [`Recorded`] puts it before any transport, a bag that is played or a live graph, so that there is one recorder. Messages are copied
//! to memory that was claimed at the start, and a thread writes them; a frame or an answer never waits for it. What the node says is
//! always written; of the frames, those that [`RecordWhen`] names. The newest frames wait in memory for that: whether one will be used,
//! or a surprise comes, is known later than the frame.
//!
//! A recording that breaks (a disk is full, a folder goes) ends there and says so, and the node goes on.

mod file;
mod options;
mod queue;
mod recorded;
mod shared;
mod writing;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;

pub use self::file::partial_of as recording_until_it_ends;
pub use self::options::{RecordWhen, RecorderOptions};
pub use self::recorded::Recorded;
pub use self::shared::Recording;

use self::file::{RecordingFile, partial_of};
use self::shared::Shared;
use self::writing::Ended;
use crate::frames::clock::Clock;

/// A recording that cannot begin, or does not end as it should.
#[derive(Debug, thiserror::Error)]
#[error("recording {path}: {problem}")]
pub struct RecorderError {
    path: String,
    problem: String,
}

impl RecorderError {
    fn new(path: &Path, problem: String) -> Self {
        Self { path: path.display().to_string(), problem }
    }
}

/// A recording that goes on. Dropped without [`Recorder::finish`] it is left as a killed recorder leaves it.
pub struct Recorder {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Ended>>,
}

impl Recorder {
    /// Begins a recording of what happens by this clock, and claims its memory.
    ///
    /// # Errors
    /// If its file cannot be made.
    pub fn begin(options: RecorderOptions, clock: &Clock) -> Result<Self, RecorderError> {
        let partial = partial_of(&options.place);
        let bad = |problem| RecorderError::new(&partial, problem);
        let file = RecordingFile::create(&options.place, options.bytes_max).map_err(bad)?;
        let (shared, runs) = (Arc::new(Shared::new(options)), clock.runs());
        let writes = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("recorder".into())
            .spawn(move || writing::write(&writes, file, runs))
            .map_err(|error| bad(error.to_string()))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// For the node that is recorded, which says what its engines use and what surprises it.
    pub fn recording(&self) -> Recording {
        Recording(Some(Arc::clone(&self.shared)))
    }

    /// Writes what waits, puts the recording into its place, and says what is in it.
    ///
    /// # Errors
    /// Why something of it is missing that found room, and where it lies.
    pub fn finish(mut self) -> Result<(), RecorderError> {
        let ended = self.close();
        let place = &self.shared.options.place;
        let bad = |problem| RecorderError::new(place, problem);
        match ended {
            Some(Ended::Closed(file)) => {
                let finished = file.finish();
                let n_bytes = finished.map_err(|why| {
                    bad(format!("{why}; what there is of it is {}", partial_of(place).display()))
                })?;
                self.shared.counts.bytes.store(n_bytes, Relaxed);
            }
            Some(Ended::Broken(why)) => return Err(bad(why)),
            Some(Ended::Full) | None => {}
        }
        let counts = &self.shared.counts;
        let [messages, frames, bytes, lost] =
            [&counts.messages, &counts.frames, &counts.bytes, &counts.lost].map(|count| count.load(Relaxed));
        log::info!(
            "recording {}: {messages} messages, {frames} of them frames, in {bytes} bytes; {lost} found no room",
            place.display()
        );
        Ok(())
    }

    fn close(&mut self) -> Option<Ended> {
        self.shared.close();
        let ended = self.thread.take()?.join();
        Some(ended.unwrap_or_else(|_| Ended::Broken("its thread has panicked".to_owned())))
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if let Some(Ended::Closed(file)) = self.close() {
            file.abandon();
        }
    }
}
