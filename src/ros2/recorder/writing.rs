//! The thread that writes: it waits for a slow disk, and nobody waits for it.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::file::{RecordingFile, Written, partial_of};
use super::shared::{Next, Shared};
use crate::ros2::messages::{ByteOrder, encapsulation};

/// What was recorded is on the disk after this long at the latest.
const FLUSH_PERIOD: Duration = Duration::from_secs(1);

/// How a recording ended.
pub(super) enum Ended {
    /// It was closed, and is to be finished.
    Closed(Box<RecordingFile>),
    /// It has become as long as it may, and lies in its place.
    Full,
    /// It broke: why, and where it lies.
    Broken(String),
}

/// Writes what comes until it is closed, is full, or cannot be written any more; only what comes is a reason to write where time stands
/// still, so that two recordings of one bag are one file.
pub(super) fn write(shared: &Shared, file: RecordingFile, flushes_when_idle: bool) -> Ended {
    let _ending = Ending(shared);
    let mut writing = Writing { shared, payload: Vec::new(), has_told_of_loss: false };
    match writing.go_on(file, flushes_when_idle) {
        Ok(ended) => ended,
        Err(why) => {
            let partial = partial_of(&shared.options.place);
            let why = format!("{why}; what there is of it is {}", partial.display());
            log::error!("the recording broke, and the node goes on without it: {why}");
            shared.end(why.clone());
            Ended::Broken(why)
        }
    }
}

/// Lets nobody wait for a thread that has panicked.
struct Ending<'a>(&'a Shared);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.end("its thread has panicked".to_owned());
        }
    }
}

struct Writing<'a> {
    shared: &'a Shared,
    /// A message with its encapsulation.
    payload: Vec<u8>,
    has_told_of_loss: bool,
}

impl Writing<'_> {
    fn go_on(&mut self, mut file: RecordingFile, flushes_when_idle: bool) -> Result<Ended, String> {
        let shared = self.shared;
        loop {
            match shared.next(file.n_channels(), FLUSH_PERIOD) {
                Next::Message(entry, new) => {
                    let order = if entry.is_big_endian { ByteOrder::Big } else { ByteOrder::Little };
                    self.payload.clear();
                    self.payload.extend_from_slice(&encapsulation(order));
                    entry.body.append_to(&mut self.payload);
                    let (channel, received, is_frame) = (entry.channel, entry.received, entry.frame != 0);
                    shared.give_back(entry);
                    file.add(&new)?;
                    let time_ns = u64::try_from(received.ros_ns).unwrap_or(0);
                    match file.write(channel, time_ns, &self.payload)? {
                        Written::Yes => {
                            shared.counts.messages.fetch_add(1, Relaxed);
                            shared.counts.frames.fetch_add(u64::from(is_frame), Relaxed);
                        }
                        Written::TooMuch => {
                            let n_bytes = file.finish()?;
                            shared.counts.bytes.store(n_bytes, Relaxed);
                            let why = format!(
                                "{} has reached --record-limit, {} bytes",
                                shared.options.place.display(),
                                shared.options.bytes_max
                            );
                            log::warn!("nothing is recorded any more: {why}");
                            shared.end(why);
                            return Ok(Ended::Full);
                        }
                    }
                    self.tell_of_loss();
                }
                Next::Idle if flushes_when_idle => file.flush()?,
                Next::Idle => {}
                Next::Closed(new) => {
                    file.add(&new)?;
                    return Ok(Ended::Closed(Box::new(file)));
                }
            }
            shared.counts.bytes.store(file.n_bytes(), Relaxed);
        }
    }

    /// Says once that not everything is recorded. Here, since whoever finds no room has no time for it.
    fn tell_of_loss(&mut self) {
        if !self.has_told_of_loss && 0 < self.shared.counts.lost.load(Relaxed) {
            self.has_told_of_loss = true;
            log::warn!(
                "more comes than can be written to {}: what finds no room in --record-buffer is not recorded",
                self.shared.options.place.display()
            );
        }
    }
}
