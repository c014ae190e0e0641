//! Bags as this program writes them: MCAP of the ROS 2 profile, every topic with its definition, so that any reader decodes it.

use std::collections::BTreeMap;
use std::io::{Seek, Write};

use mcap::records::MessageHeader;
use mcap::{McapError, WriteOptions, Writer};

use crate::ros2::messages::{definition, with_encapsulation};

/// A bag that is being written.
pub struct BagWriter<W: Write + Seek> {
    writer: Writer<W>,
    sequence: u32,
}

impl<W: Write + Seek> BagWriter<W> {
    /// Begins a bag.
    ///
    /// # Errors
    /// If `out` cannot be written to.
    pub fn begin(out: W) -> Result<Self, McapError> {
        let options = WriteOptions::new().profile("ros2").library("perihelion");
        Ok(Self { writer: options.create(out)?, sequence: 0 })
    }

    /// Adds a topic, and tells the number by which [`BagWriter::write`] knows it.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn add(&mut self, topic: &str, ros_type: &str) -> Result<u16, McapError> {
        let definition = definition(ros_type).unwrap_or_default();
        let schema = self.writer.add_schema(ros_type, "ros2msg", definition.as_bytes())?;
        self.writer.add_channel(schema, topic, "cdr", &BTreeMap::new())
    }

    /// Writes a little-endian CDR body.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&mut self, channel: u16, time_ns: u64, body: &[u8]) -> Result<(), McapError> {
        self.write_payload(channel, time_ns, &with_encapsulation(body))
    }

    /// Writes a CDR body that stands behind its encapsulation.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write_payload(&mut self, channel: u16, time_ns: u64, payload: &[u8]) -> Result<(), McapError> {
        let header = MessageHeader {
            channel_id: channel,
            sequence: self.sequence,
            log_time: time_ns,
            publish_time: time_ns,
        };
        self.sequence = self.sequence.wrapping_add(1);
        self.writer.write_to_known_channel(&header, payload)
    }

    /// Whether there is a message in it.
    pub fn has_messages(&self) -> bool {
        self.sequence != 0
    }

    /// Hands what was written to `out`.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn flush(&mut self) -> Result<(), McapError> {
        self.writer.flush()
    }

    /// Writes the index: the bag is whole.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn finish(&mut self) -> Result<(), McapError> {
        self.writer.finish().map(drop)
    }

    /// What it was written to.
    pub fn into_inner(self) -> W {
        self.writer.into_inner()
    }
}
