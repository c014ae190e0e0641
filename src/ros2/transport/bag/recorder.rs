//! Writes what the node publishes to a bag of its own.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::frames::clock::Clock;
use crate::ros2::messages::{definition, with_encapsulation};
use crate::ros2::transport::{PublishError, Publisher, TransportError};

pub(super) struct Recorder {
    writer: mcap::Writer<BufWriter<File>>,
    sequence: u32,
    /// Why the recording ended before its end.
    failed: Option<String>,
}

impl Recorder {
    pub(super) fn create(path: &Path) -> Result<Self, TransportError> {
        let bad = |problem: String| TransportError::Bag { path: path.display().to_string(), problem };
        let file = File::create(path).map_err(|error| bad(error.to_string()))?;
        let options = mcap::WriteOptions::new().profile("ros2").library("perihelion");
        let writer = options.create(BufWriter::new(file)).map_err(|error| bad(error.to_string()))?;
        Ok(Self { writer, sequence: 0, failed: None })
    }

    pub(super) fn add_channel(&mut self, topic: &str, ros_type: &str) -> Result<u16, mcap::McapError> {
        let definition = definition(ros_type).unwrap_or_default();
        let schema = self.writer.add_schema(ros_type, "ros2msg", definition.as_bytes())?;
        self.writer.add_channel(schema, topic, "cdr", &BTreeMap::new())
    }

    /// Writes the index.
    ///
    /// # Errors
    /// Why something of the recording is missing.
    pub(super) fn finish(&mut self) -> Result<(), String> {
        let finished = self.writer.finish().map_err(|error| error.to_string());
        self.failed.take().map_or(finished.map(drop), Err)
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
        recorder.writer.write_to_known_channel(&header, &with_encapsulation(&body)).map_err(|error| {
            if recorder.failed.is_none() {
                log::error!("recording: {error}");
                recorder.failed = Some(error.to_string());
            }
            PublishError::Closed
        })
    }
}
