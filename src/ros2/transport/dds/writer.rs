//! One DDS writer of ready-made bodies.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustdds::bytes::Bytes;
use rustdds::dds::{CreateResult, WriteError};
use rustdds::no_key::{DataWriter, SerializerAdapter};
use rustdds::{
    GUID, RTPSEntity, RepresentationIdentifier, SampleIdentity, Timestamp, Topic, WriteOptionsBuilder,
};

use crate::ros2::transport::{PublishError, Publisher};

/// How long the writers of a participant wait together, when they end, for readers to confirm what was published last. While one
/// waits the others' readers confirm too, so it is the time that a leave takes beside a reader that does not.
const PATIENCE: Duration = Duration::from_secs(1);
/// What a writer looks for beyond that: confirmations that are there already.
const GLANCE: Duration = Duration::from_millis(1);

/// What is left of the time for readers that do not confirm.
pub(super) struct Patience(Mutex<Duration>);

impl Default for Patience {
    fn default() -> Self {
        Self(Mutex::new(PATIENCE))
    }
}

impl Patience {
    /// Lets `wait` take what is left, and takes off what it took.
    fn spend(&self, wait: impl FnOnce(Duration)) {
        let mut left = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = Instant::now();
        wait(left.max(GLANCE));
        *left = left.saturating_sub(begin.elapsed());
    }
}

pub(super) struct DdsPublisher {
    writer: DataWriter<Body, Verbatim>,
    patience: Arc<Patience>,
}

impl DdsPublisher {
    pub(super) fn new(
        publisher: &rustdds::Publisher,
        topic: &Topic,
        patience: &Arc<Patience>,
    ) -> CreateResult<Self> {
        let writer = publisher.create_datawriter_no_key(topic, None)?;
        Ok(Self { writer, patience: Arc::clone(patience) })
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

    /// Waits until the readers that are there have all, as long as there is patience.
    pub(super) fn flush(&self) {
        // What they do not confirm in time is theirs to miss: we are leaving.
        self.patience.spend(|most| drop(self.writer.wait_for_acknowledgments(most)));
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
        self.flush();
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
