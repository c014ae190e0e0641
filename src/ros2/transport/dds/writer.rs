//! One DDS writer of ready-made bodies.

use std::convert::Infallible;

use rustdds::bytes::Bytes;
use rustdds::dds::{CreateResult, WriteError};
use rustdds::no_key::{DataWriter, SerializerAdapter};
use rustdds::{GUID, RTPSEntity, RepresentationIdentifier, Timestamp, Topic};

use crate::ros2::transport::{PublishError, Publisher};

pub(super) struct DdsPublisher {
    writer: DataWriter<Body, Verbatim>,
}

impl DdsPublisher {
    pub(super) fn new(publisher: &rustdds::Publisher, topic: &Topic) -> CreateResult<Self> {
        Ok(Self { writer: publisher.create_datawriter_no_key(topic, None)? })
    }

    pub(super) fn guid(&self) -> GUID {
        self.writer.guid()
    }

    /// Waits until the readers that are there have all, at most `timeout`.
    pub(super) fn flush(&self, timeout: std::time::Duration) {
        // What they do not confirm in time is theirs to miss: we are leaving.
        drop(self.writer.wait_for_acknowledgments(timeout));
    }
}

impl Publisher for DdsPublisher {
    fn publish(&self, body: Vec<u8>) -> Result<(), PublishError> {
        match self.writer.write(Body(Bytes::from(body)), Some(Timestamp::now())) {
            Ok(()) => Ok(()),
            Err(WriteError::WouldBlock { .. }) => Err(PublishError::Full),
            Err(_) => Err(PublishError::Closed),
        }
    }
}

/// A little-endian CDR body.
pub(super) struct Body(Bytes);

/// Writes bodies as they are.
pub(super) struct Verbatim;

impl SerializerAdapter<Body> for Verbatim {
    type Error = Infallible;

    fn output_encoding() -> RepresentationIdentifier {
        RepresentationIdentifier::CDR_LE
    }

    fn to_bytes(body: &Body) -> Result<Bytes, Infallible> {
        Ok(body.0.clone())
    }
}
