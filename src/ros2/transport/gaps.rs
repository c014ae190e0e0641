//! How many samples of a publisher never came, told from the numbers of those that did.
//!
//! The numbers are the publisher's word, and on DDS anybody may speak in its name. So a gap is believed only as far as a
//! publisher could have filled it since it was last heard: whoever jumps further has numbered anew, or is somebody else,
//! and nothing is known to be lost.

use std::time::Duration;

/// Samples that one publisher sends in a second, at most: no camera comes near.
const RATE_HZ_MAX: u128 = 1000;
/// So long a publisher's samples may pile up on the way and then come at once.
const DELAY: Duration = Duration::from_secs(1);

/// How many are missing between two numbers of one publisher that came this far apart.
pub(super) fn missing(last: i64, number: i64, apart: Duration) -> u64 {
    let gap = u64::try_from(number.saturating_sub(last).saturating_sub(1)).unwrap_or(0);
    let sent_max = apart.saturating_add(DELAY).as_millis() * RATE_HZ_MAX / 1000;
    if u128::from(gap) <= sent_max { gap } else { 0 }
}

#[cfg(test)]
#[test]
fn a_gap_is_believed_as_far_as_a_publisher_fills_it() {
    let s = Duration::from_secs;
    assert_eq!([7, 8, 11].map(|number| missing(7, number, s(0))), [0, 0, 3]);
    assert_eq!(missing(7, 5, s(1)), 0);
    // An hour out of reach at 30 Hz.
    assert_eq!(missing(0, 108_001, s(3600)), 108_000);
    assert_eq!(missing(7, i64::MAX, s(3600)), 0);
    assert_eq!(missing(i64::MIN, i64::MAX, Duration::MAX), i64::MAX as u64 - 1);
}
