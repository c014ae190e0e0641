//! Frames a second of a clip, as a data set of one rate says it.
//!
//! LeRobot takes frame `i` of an episode to have come `i / fps` seconds after its first. A camera's stamps waver about that, and a
//! frame that was lost leaves twice the time: the median of the times between frames is of neither.

use std::cmp::Ordering;

use serde_json::{Number, Value};

/// A rate is said with the fewest parts that are as near as this, in a share of it.
const NEAR: u64 = 50;
const SECOND_NS: u64 = 1_000_000_000;

/// Frames in seconds: 30 in 1, 15 in 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rate {
    frames: u64,
    seconds: u64,
}

impl Ord for Rate {
    /// The slower one first.
    fn cmp(&self, other: &Self) -> Ordering {
        let across = |frames: u64, seconds: u64| u128::from(frames) * u128::from(seconds);
        let by_rate = across(self.frames, other.seconds).cmp(&across(other.frames, self.seconds));
        by_rate.then(self.seconds.cmp(&other.seconds))
    }
}

impl PartialOrd for Rate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Rate {
    /// The whole number of frames a second that is within a fiftieth of what the median of the times between these stamps says, or
    /// else the fraction with the smallest denominator; `otherwise` where no time passes.
    pub(super) fn nominal(stamps_ns: &[i64], otherwise: f64) -> Self {
        let mut steps: Vec<u64> = stamps_ns
            .windows(2)
            .filter_map(|pair| u64::try_from(pair[1].saturating_sub(pair[0])).ok())
            .filter(|step| 0 < *step)
            .collect();
        steps.sort_unstable();
        let said = (SECOND_NS as f64 / otherwise).round().clamp(1.0, 1e18) as u64;
        let step = steps.get(steps.len() / 2).copied().unwrap_or(said);
        if step <= SECOND_NS {
            let (frames, seconds) = simplest(SECOND_NS, step);
            return Self { frames, seconds };
        }
        let (seconds, frames) = simplest(step, SECOND_NS);
        Self { frames, seconds }
    }

    pub(super) fn fps(self) -> f64 {
        self.frames as f64 / self.seconds as f64
    }

    /// As `info.json` has it: whole where it is.
    pub(super) fn json(self) -> Value {
        match self.seconds {
            1 => Value::from(self.frames),
            _ => Number::from_f64(self.fps()).map_or(Value::Null, Value::Number),
        }
    }

    /// Seconds from an episode's first frame to its `frame`-th.
    pub(super) fn timestamp(self, frame: usize) -> f64 {
        frame as f64 / self.fps()
    }

    /// For a name: three digits behind the point where there are any.
    pub(super) fn short(self) -> String {
        let text = format!("{:.3}", self.fps());
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}

/// The nearest fraction to `n / d`, which is at least 1, of the smallest denominator with one within a fiftieth of it.
fn simplest(n: u64, d: u64) -> (u64, u64) {
    let (n, d) = (u128::from(n), u128::from(d));
    let near = (1..=u128::from(NEAR)).find_map(|parts| {
        let whole = (2 * n * parts + d) / (2 * d);
        let off = (whole * d).abs_diff(n * parts);
        (u128::from(NEAR) * off <= n * parts).then_some((whole as u64, parts as u64))
    });
    near.expect("a fiftieth of at least 1 is a fiftieth apart from one of 50 parts")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(steps: &[i64]) -> String {
        let mut now = 1_700_000_000_000_000_000;
        let mut stamp = |step: &i64| {
            now += step;
            now
        };
        let stamps: Vec<i64> = [0].iter().chain(steps).map(&mut stamp).collect();
        Rate::nominal(&stamps, 8.0).short()
    }

    #[test]
    fn a_rate_is_whole_where_it_nearly_is() {
        // A camera of 29.97, one that wavers, one that lost frames.
        assert_eq!(of(&[33_366_667; 9]), "30");
        assert_eq!(of(&[33_100_000, 33_600_000, 33_333_000, 32_900_000, 34_000_000]), "30");
        assert_eq!(of(&[125_000_000, 250_000_000, 125_000_000, 375_000_000, 125_000_000]), "8");
        assert_eq!(of(&[10_040_000; 3]), "100");
        assert_eq!(of(&[133_000_000; 4]), "7.5");
        assert_eq!(of(&[80_000_000; 4]), "12.5");
        assert_eq!(of(&[2_000_000_000; 4]), "0.5");
        assert_eq!(of(&[60_300_000_000; 4]), "0.017");
        // No time passes, or it runs backwards.
        assert_eq!(of(&[0, 0]), "8");
        assert_eq!(of(&[]), "8");
        assert_eq!(of(&[1]), "1000000000");
        assert_eq!(of(&[i64::MAX / 2, -5]), of(&[i64::MAX / 2]));
        assert_eq!(Rate::nominal(&[7], 1e-300).frames, 1);
    }

    #[test]
    fn timestamps_are_what_lerobot_makes_of_the_rate() {
        let rate = Rate::nominal(&[], 30.0);
        assert_eq!((rate.json(), rate.timestamp(7)), (Value::from(30), 7.0 / 30.0));
        assert_eq!(Rate::nominal(&[], 7.5).json(), Value::from(7.5));
    }
}
