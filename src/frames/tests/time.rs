//! When frames were seen, where their stamps do not say it: clips by receipt, ages, and what a camera's stream is like.

use super::{Heard, MS, account, camera, header, options, take};
use crate::frames::accounts::DropReason;
use crate::frames::camera::Camera;
use crate::frames::clock::{Clock, Moment};
use crate::frames::frame::{FrameHeader, Received};
use crate::frames::listener::Verdict;
use crate::frames::short_string::ShortString;
use crate::frames::stamps::{StampFault, TimedBy};

/// Some time after the epoch, in milliseconds.
const NOW_MS: i64 = 1_790_000_000_000;

/// A frame stamped `stamp_ms` that arrives at `now_ms`.
fn comes(heard: &Heard, stamp_ms: i64, now_ms: i64) {
    heard.clock().set(now_ms * MS);
    heard.sees(stamp_ms, 8);
}

fn seen_ms(heard: &Heard) -> Vec<i64> {
    let mut frames = Vec::new();
    heard.take(&mut frames);
    frames.iter().map(|received| received.seen_ns / MS - NOW_MS).collect()
}

#[test]
fn a_clip_forms_by_receipt_where_stamps_cannot_be_right() {
    let whole_seconds = |now_ms: i64| now_ms / 1000 * 1000;
    let stamps: [&dyn Fn(i64) -> i64; 5] =
        [&|_| 0, &|_| NOW_MS, &whole_seconds, &|now_ms| now_ms + 3_600_000, &|now_ms| now_ms - 3_600_000];
    for stamp in stamps {
        // Thirty a second, into four a second.
        let heard = Heard::of(3);
        for i in 0..60 {
            let now_ms = NOW_MS + i * 1000 / 30;
            comes(&heard, stamp(now_ms), now_ms);
        }
        let seen = seen_ms(&heard);
        assert_eq!(seen.len(), 3, "{}", account(&heard));
        for pair in seen.windows(2) {
            assert!((233..=267).contains(&(pair[1] - pair[0])), "{seen:?}");
        }
        let restarts = heard.accounts().dropped(DropReason::ClipRestart);
        assert!(restarts <= 1, "once where the fault is found: {}", account(&heard));
        heard.settle(Verdict::Served);
        account(&heard);
    }
}

#[test]
fn frames_that_follow_a_forecast_are_found_by_receipt() {
    let heard = Heard::by(options(2, 3), Clock::stepped());
    for i in 0..40 {
        comes(&heard, 0, NOW_MS + i * 250);
        if i == 30 {
            assert_eq!(seen_ms(&heard), [0, 250, 500, 7250, 7500]);
        }
    }
    heard.settle(Verdict::Served);
    assert_eq!(seen_ms(&heard), [7750, 8000, 8250, 9500, 9750], "what follows, and the clip");
    assert_eq!(heard.accounts().dropped(DropReason::ClipRestart), 0);
}

#[test]
fn a_clip_is_refused_where_receipt_will_not_do() {
    // A bag of zero stamps that was recorded in one heap.
    let (clips, singles) = (Heard::of(3), Heard::of(1));
    for i in 0..60 {
        comes(&clips, 0, NOW_MS + i / 30);
        comes(&singles, 0, NOW_MS + i / 30);
    }
    assert_eq!(take(&clips), [0; 0]);
    assert!(50 < clips.accounts().dropped(DropReason::Untimed), "{}", account(&clips));
    let report = clips.camera.stamps();
    assert_eq!((report.fault, report.timed_by), (Some(StampFault::Zero), TimedBy::Nothing));
    assert_eq!(take(&singles), [0], "a single frame needs no neighbours");
    assert_eq!(singles.accounts().dropped(DropReason::Untimed), 0);
}

#[test]
fn a_clip_does_not_mix_two_ways_of_telling_time() {
    let heard = Heard::of(2);
    comes(&heard, NOW_MS, NOW_MS);
    // One bad stamp: its receipt would fit.
    comes(&heard, 0, NOW_MS + 250);
    assert_eq!(seen_ms(&heard), [0; 0]);
    comes(&heard, NOW_MS + 500, NOW_MS + 500);
    comes(&heard, NOW_MS + 750, NOW_MS + 750);
    assert_eq!(seen_ms(&heard), [500, 750]);
}

/// A frame stamped at 5 s that arrived when a clock showed `receipt`, in milliseconds.
fn received(stamp_suspect: bool, receipt: Moment) -> Received {
    let heard = Heard::of(1);
    comes(&heard, 5000, 5000);
    let mut frames = Vec::new();
    assert!(heard.take(&mut frames));
    Received { receipt, stamp_suspect, ..frames.remove(0) }
}

#[test]
fn an_age_is_never_the_distance_of_two_clocks() {
    let moment = |ros_ms: i64, steady_ms: i64| Moment { ros_ns: ros_ms * MS, steady_ns: steady_ms * MS };
    let check = |clock: &Clock, is_bad: bool, receipt, now: Moment, ms: f64, suspect, until_ms: i64| {
        let age = received(is_bad, receipt).age(clock, now);
        assert_eq!((age.ms(), age.is_suspect), (ms, suspect));
        assert_eq!(age.reaches_ns(2000 * MS), until_ms * MS, "valid for two seconds from then");
    };
    let system = Clock::system();
    check(&system, false, moment(5100, 70), moment(5400, 370), 400.0, false, 7000);
    check(&system, true, moment(NOW_MS, 70), moment(NOW_MS + 300, 370), 300.0, true, NOW_MS + 2000);
    // The clock was set by an hour while an answer was made.
    check(&system, false, moment(5100, 70), moment(3_605_400, 370), 400.0, true, 3_607_000);
    check(&system, false, moment(5100, 70), moment(-3_594_600, 370), 400.0, true, -3_593_000);
    // A simulation has its own pace; started over, it is no measure.
    let simulated = Clock::simulated();
    check(&simulated, false, moment(5100, 70), moment(5100, 9070), 100.0, false, 7000);
    check(&simulated, false, moment(5100, 70), moment(0, 370), 400.0, true, 1600);
    let far = received(true, moment(i64::MAX / MS, 0)).age(&system, moment(0, i64::MAX / MS));
    assert!(far.is_suspect);
}

/// A camera whose images come `hz` a second, the nth made by `make`, from `n` publishers in turn.
fn streamed(n: i64, hz: f64, make: impl Fn(i64) -> (FrameHeader, u128)) -> Camera {
    let camera = camera(&[options(1, 0)], Clock::stepped());
    for i in 0..n {
        let ms = NOW_MS + (i as f64 / hz * 1e3) as i64;
        camera.listeners()[0].clock().set(ms * MS);
        let (header, publisher) = make(i);
        let header = FrameHeader { stamp_ns: ms * MS, ..header };
        camera.offer_from(publisher, camera.take(header, &[7; 8]), 0);
    }
    camera
}

#[test]
fn a_rate_is_measured_and_gaps_are_none() {
    let rate = |n, hz| streamed(n, hz, |_| (header(0, 8), 0)).stream().rate_hz;
    assert_eq!(rate(7, 30.0), None);
    for hz in [0.4, 4.9, 30.0, 120.0] {
        let measured = rate(100, hz).unwrap();
        assert!((measured / hz - 1.0).abs() < 0.02, "{measured} for {hz}");
    }
    let heard = Heard::of(1);
    for i in 0..100 {
        // Five a second, two of three lost, and a pause; then a clock that is set.
        let jump = [0, 90_000, -3_600_000][(i / 34) as usize];
        comes(&heard, NOW_MS + i * 600 + jump, NOW_MS + i * 600 + jump);
        let Some(measured) = heard.camera.stream().rate_hz else { continue };
        assert!((measured - 1.0 / 0.6).abs() < 0.01, "{measured} at {i}");
    }
}

#[test]
fn what_comes_to_and_fro_is_mixed_and_what_changes_once_is_not() {
    let two = |i: i64| (header(0, if i % 3 == 0 { 4 } else { 8 }), 1 + u128::from(i % 3 == 0));
    let mixed = streamed(96, 30.0, two).stream().mixed;
    let [many, few] = mixed.publishers_hz[..] else { panic!("{mixed:?}") };
    assert!((few.min(many) - 10.0).abs() < 1.0 && (few.max(many) - 20.0).abs() < 1.0, "{mixed:?}");
    let mut sizes: Vec<(u32, u32)> = mixed.sizes.iter().map(|(size, _)| *size).collect();
    sizes.sort_unstable();
    assert_eq!((sizes, mixed.frame_ids.len()), (vec![(4, 1), (8, 1)], 0));
    let quiet = |make: &dyn Fn(i64) -> (FrameHeader, u128)| {
        for n in [8, 40, 100] {
            let mixed = streamed(n, 30.0, make).stream().mixed;
            assert!(
                mixed.publishers_hz.is_empty() && mixed.frame_ids.is_empty() && mixed.sizes.is_empty(),
                "{mixed:?}"
            );
        }
    };
    quiet(&|_| (header(0, 8), 5));
    // A camera that was started anew, with another size.
    quiet(&|i| (header(0, if i < 30 { 4 } else { 8 }), 1 + u128::from(30 < i)));
    let named = |name: &str| FrameHeader { frame_id: ShortString::new(name).unwrap(), ..header(0, 8) };
    let mixed = streamed(40, 30.0, |i| (named(["left", "right"][(i % 2) as usize]), 0)).stream().mixed;
    assert_eq!(mixed.frame_ids.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), ["left", "right"]);
    quiet(&|i| (named(&format!("frame {i}")), 0));
}
