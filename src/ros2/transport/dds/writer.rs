//! One DDS writer of ready-made bodies.

use std::convert::Infallible;
use std::time::Duration;

use rustdds::bytes::Bytes;
use rustdds::dds::{CreateResult, WriteError};
use rustdds::no_key::{DataWriter, SerializerAdapter};
use rustdds::{
    GUID, RTPSEntity, RepresentationIdentifier, SampleIdentity, Timestamp, Topic, WriteOptionsBuilder,
};

use crate::ros2::transport::{PublishError, Publisher};

/// How long readers may take to confirm what was published last.
const FLUSH_AT_LEAVE: Duration = Duration::from_millis(100);

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

    /// Publishes a body at this time, as the reply to the request of this identity if there is one, and tells its sequence
    /// number. These begin at 1 and leave none out.
    pub(super) fn publish_at(
        &self,
        body: Vec<u8>,
        stamp: Timestamp,
        request: Option<SampleIdentity>,
    ) -> Result<i64, PublishError> {
        let mut options = WriteOptionsBuilder::new().source_timestamp(stamp);
        if let Some(request) = request {
            options = options.related_sample_identity(request);
        }
        let written = self.writer.write_with_options(Body(Bytes::from(body)), options.build());
        written.map(|sample| i64::from(sample.sequence_number)).map_err(refusal)
    }

    /// Waits until the readers that are there have all, at most `timeout`.
    pub(super) fn flush(&self, timeout: Duration) {
        // What they do not confirm in time is theirs to miss: we are leaving.
        drop(self.writer.wait_for_acknowledgments(timeout));
    }
}

impl Publisher for DdsPublisher {
    fn publish(&self, body: Vec<u8>) -> Result<(), PublishError> {
        self.writer.write(Body(Bytes::from(body)), Some(Timestamp::now())).map_err(refusal)
    }
}

/// A last answer or report should reach those who listen, although the node leaves.
impl Drop for DdsPublisher {
    fn drop(&mut self) {
        self.flush(FLUSH_AT_LEAVE);
    }
}

fn refusal(error: WriteError<Body>) -> PublishError {
    match error {
        WriteError::WouldBlock { .. } => PublishError::Full,
        _ => PublishError::Closed,
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
