//! How long somebody else's request may take: by its own `max_age`, or by the node's.

use std::time::{Duration, Instant};

use super::PUBLISHING;
use super::gaze::Gaze;
use crate::frames::clock::{Clock, Moment};
use crate::frames::frame::Received;

/// For frames is waited as long as one may be old, and at least so long.
const PATIENCE_MIN: Duration = Duration::from_secs(1);

/// How long a request waits for frames, where one may be so old.
pub(super) fn patience(max_age: Duration) -> Duration {
    max_age.max(PATIENCE_MIN)
}

/// When what is made of some frames is of no use any more.
pub(super) struct Term {
    pub(super) max_age_ns: i64,
    deadline_ns: i64,
}

impl Term {
    /// Of frames that age with this one, for a request of so many seconds; 0 is the node's.
    pub(super) fn of(max_age_s: f64, gaze: &Gaze, lead: &Received) -> Self {
        let max_age_ns = match max_age_s {
            0.0 => gaze.max_age_ns(),
            seconds => (seconds * 1e9) as i64,
        };
        let longer_ns = max_age_ns.saturating_sub(gaze.max_age_ns());
        Self { max_age_ns, deadline_ns: lead.deadline_steady_ns.saturating_add(longer_ns) }
    }

    /// By when it is to be made, if work on it began then; none where time stands still.
    pub(super) fn deadline(&self, clock: &Clock, began: Moment) -> Option<Instant> {
        let left_ns = self.deadline_ns.saturating_sub(began.steady_ns);
        let left = Duration::from_nanos(u64::try_from(left_ns).unwrap_or(0)).saturating_sub(PUBLISHING);
        clock.runs().then(|| Instant::now() + left)
    }

    /// Whether it is too late to tell it.
    pub(super) fn is_over(&self, clock: &Clock) -> bool {
        clock.runs() && self.deadline_ns <= clock.now().steady_ns
    }
}
