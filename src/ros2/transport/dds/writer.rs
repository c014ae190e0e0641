//! One DDS writer of ready-made bodies.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustdds::bytes::Bytes;
use rustdds::dds::{CreateResult, WriteError};
use rustdds::no_key::{DataWriter, SerializerAdapter};
use rustdds::qos::HasQoSPolicy;
use rustdds::{
    GUID, RTPSEntity, RepresentationIdentifier, SampleIdentity, Timestamp, Topic, WriteOptionsBuilder,
};

use super::silent::Silent;
use crate::ros2::transport::{PublishError, Publisher};

/// How long the writers of a participant wait together, when they end, for readers to confirm what was published last. While one
/// waits the others' readers confirm too, so it is the time that a leave takes beside a reader that does not.
const PATIENCE: Duration = Duration::from_secs(1);
/// A writer that ends so long after another ends by itself.
const APART: Duration = Duration::from_secs(5);
/// What a writer that comes too late looks for: confirmations that are there already.
const GLANCE: Duration = Duration::from_millis(1);

/// What the writers of a participant share.
#[derive(Default)]
pub(super) struct Writers {
    patience: Patience,
    /// Those that have published nothing yet.
    pub(super) silent: Silent,
}

/// Until when the writers that end together wait for readers that do not confirm.
#[derive(Default)]
struct Patience(Mutex<Option<Instant>>);

impl Patience {
    /// What is left of it.
    fn left(&self) -> Duration {
        let now = Instant::now();
        let mut until = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let deadline = until.filter(|until| now < *until + APART).unwrap_or(now + PATIENCE);
        *until = Some(deadline);
        deadline.saturating_duration_since(now).max(GLANCE)
    }
}

pub(super) struct DdsPublisher {
    writer: DataWriter<Body, Verbatim>,
    has_published: AtomicBool,
    writers: Arc<Writers>,
}

impl DdsPublisher {
    pub(super) fn new(
        publisher: &rustdds::Publisher,
        topic: &Topic,
        writers: &Arc<Writers>,
    ) -> CreateResult<Self> {
        let writer = publisher.create_datawriter_no_key(topic, None)?;
        if writer.qos().is_reliable() {
            writers.silent.add(writer.guid());
        }
        Ok(Self { writer, has_published: AtomicBool::new(false), writers: Arc::clone(writers) })
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
        self.begin();
        let written = self.writer.write_with_options(Body(Bytes::from(body)), options.build());
        written.map(|sample| i64::from(sample.sequence_number)).map_err(refusal)
    }

    /// Before its first sample.
    fn begin(&self) {
        if !self.has_published.swap(true, Relaxed) {
            self.writers.silent.remove(self.guid());
        }
    }

    /// Waits until the readers that are there have all: as long as there is patience, and so long at least.
    pub(super) fn flush(&self, at_least: Duration) {
        // What they do not confirm in time is theirs to miss: we are leaving.
        drop(self.writer.wait_for_acknowledgments(self.writers.patience.left().max(at_least)));
    }
}

impl Publisher for DdsPublisher {
    fn publish(&self, body: Vec<u8>) -> Result<(), PublishError> {
        self.begin();
        self.writer.write(Body(Bytes::from(body)), Some(Timestamp::now())).map_err(refusal)
    }
}

/// A last answer or report should reach those who listen, although the node leaves.
impl Drop for DdsPublisher {
    fn drop(&mut self) {
        self.begin();
        self.flush(Duration::ZERO);
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

#[cfg(test)]
#[test]
fn patience_is_spent_once_by_all_who_leave_together() {
    let patience = Patience::default();
    let first = patience.left();
    assert!(Duration::ZERO < first && first <= PATIENCE && patience.left() <= first);
    // As if all of it had been waited for.
    let gone = Instant::now().checked_sub(Duration::from_millis(1));
    *patience.0.lock().unwrap_or_else(PoisonError::into_inner) = gone;
    assert_eq!((patience.left(), patience.left()), (GLANCE, GLANCE));
    *patience.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now().checked_sub(APART);
    assert!(GLANCE < patience.left(), "another leave has its own");
}
