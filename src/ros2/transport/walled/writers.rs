//! Which image of each publisher came last: gaps are frames that never reached us, also while nobody was there to hear.

use std::time::Instant;

use crate::ros2::transport::gaps::missing;

/// Publishers of one topic that are remembered; beyond them the oldest is forgotten, which costs a gap uncounted.
const WRITERS_MAX: usize = 32;

/// The last number of each publisher of a topic, and when it came.
#[derive(Debug, Default)]
pub(super) struct Writers(Vec<([u8; 16], i64, Instant)>);

impl Writers {
    /// How many of this publisher's images are missing between the last one and this; remembers this one.
    pub(super) fn lost_before(&mut self, writer: [u8; 16], sequence: i64) -> u64 {
        // Of a sample whose encoding could not be read we are not told the number.
        if sequence <= 0 {
            return 0;
        }
        let now = Instant::now();
        let Some((_, last, heard)) = self.0.iter_mut().find(|(known, ..)| *known == writer) else {
            if self.0.len() == WRITERS_MAX {
                self.0.remove(0);
            }
            self.0.push((writer, sequence, now));
            return 0;
        };
        let lost = missing(*last, sequence, now.duration_since(*heard));
        (*last, *heard) = (sequence, now);
        lost
    }
}

#[cfg(test)]
#[test]
fn gaps_are_counted_by_publisher() {
    let mut writers = Writers::default();
    let (a, b) = ([1; 16], [2; 16]);
    let lost = [(a, 7), (a, 8), (b, 3), (a, 11), (a, 0), (b, 4), (a, 5), (a, 6)]
        .map(|(writer, sequence)| writers.lost_before(writer, sequence));
    assert_eq!(lost, [0, 0, 0, 2, 0, 0, 0, 0]);
    // Numbers that nobody can have reached, and back.
    assert_eq!([1 << 40, 7, i64::MAX, 8].map(|sequence| writers.lost_before(a, sequence)), [0; 4]);
    for i in 0..100 {
        writers.lost_before([i; 16], 1);
    }
    assert_eq!(writers.0.len(), WRITERS_MAX);
}
