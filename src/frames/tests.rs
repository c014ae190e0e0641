//! Frames from the camera to an engine: what is chosen, and what becomes of every frame.

use std::sync::Arc;
use std::time::Duration;

use super::accounts::DropReason;
use super::camera::{Camera, CameraOptions};
use super::clock::Clock;
use super::frame::{Format, FrameHeader};
use super::listener::{Listener, ListenerOptions, Verdict};
use super::short_string::ShortString;

mod buffers;
mod edges;
mod time;

const MS: i64 = 1_000_000;

fn options(clip_frames: usize, follow_frames: usize) -> ListenerOptions {
    let max_age = Duration::from_millis(500);
    ListenerOptions { clip_frames, clip_rate_hz: 4.0, follow_frames, pictures: clip_frames, max_age }
}

fn camera(listeners: &[ListenerOptions], clock: Clock) -> Camera {
    let (name, topic) = ("camera".to_owned(), "/image".to_owned());
    let options = CameraOptions { name, topic, frame_bytes_max: 64, pixels_max: 8 };
    Camera::new(options, &Arc::new(clock), listeners)
}

/// A row of `width` gray pixels.
fn header(stamp_ms: i64, width: u32) -> FrameHeader {
    let encoding = ShortString::new("mono8").unwrap();
    let format = Format::Raw { encoding, width, height: 1, step: width, is_bigendian: false };
    FrameHeader { stamp_ns: stamp_ms * MS, frame_id: ShortString::new("cam").unwrap(), format }
}

/// A camera with one listener.
struct Heard {
    camera: Camera,
    listener: Arc<Listener>,
}

impl std::ops::Deref for Heard {
    type Target = Listener;

    fn deref(&self) -> &Listener {
        &self.listener
    }
}

impl Heard {
    fn of(clip_frames: usize) -> Self {
        Self::in_time(clip_frames, Clock::stepped())
    }

    fn in_time(clip_frames: usize, clock: Clock) -> Self {
        Self::by(options(clip_frames, 0), clock)
    }

    fn by(options: ListenerOptions, clock: Clock) -> Self {
        let camera = camera(&[options], clock);
        let listener = Arc::clone(&camera.listeners()[0]);
        Self { camera, listener }
    }

    /// A frame stamped `stamp_ms` arrives now.
    fn sees(&self, stamp_ms: i64, width: u32) {
        self.camera.offer(self.camera.take(header(stamp_ms, width), &[7; 8]), 0);
    }
}

/// A frame stamped `stamp_ms` that arrives then.
fn offer(heard: &Heard, stamp_ms: i64) {
    heard.clock().set(stamp_ms * MS);
    heard.sees(stamp_ms, 8);
}

fn take(listener: &Listener) -> Vec<i64> {
    let mut frames = Vec::new();
    assert_eq!(listener.take(&mut frames), !frames.is_empty());
    frames.iter().map(|received| received.frame.stamp_ns / MS).collect()
}

fn account(listener: &Listener) -> String {
    let accounts = listener.accounts();
    assert!(accounts.balance(), "{accounts}");
    accounts.to_string()
}

#[test]
fn the_newest_wins() {
    let heard = Heard::of(1);
    for stamp in [10, 20, 30] {
        offer(&heard, stamp);
    }
    assert_eq!(take(&heard), [30]);
    offer(&heard, 40);
    offer(&heard, 50);
    assert_eq!(heard.accounts().in_flight, 2, "one asked about, one waiting");
    heard.settle(Verdict::Served);
    assert_eq!(take(&heard), [50]);
    heard.settle(Verdict::Dropped(DropReason::MadeTooLate));
    assert_eq!(take(&heard), [0; 0]);
    let line = "received 5 = answered 1 + clip members 0 + dropped 4 (superseded 3, answer_too_late 1) \
                + in flight 0; lost 0";
    assert_eq!(account(&heard), line);
}

#[test]
fn what_waits_can_be_looked_at_and_passed_over() {
    let heard = Heard::of(1);
    assert_eq!(heard.waiting(), None);
    offer(&heard, 10);
    let first = heard.waiting().unwrap();
    assert_eq!((first.seen_ns, heard.waiting()), (10 * MS, Some(first)), "it goes on waiting");
    offer(&heard, 20);
    heard.pass_over(first, DropReason::Unpaired);
    let second = heard.waiting().unwrap();
    assert_eq!(second.seen_ns, 20 * MS, "a newer one has come");
    heard.pass_over(second, DropReason::Unpaired);
    assert_eq!((heard.waiting(), take(&heard)), (None, vec![]));
    let line = "received 2 = answered 0 + clip members 0 + dropped 2 (superseded 1, unpaired 1) + in flight 0; lost 0";
    assert_eq!(account(&heard), line);
    // What is too old does not wait.
    let heard = Heard::in_time(1, Clock::simulated());
    heard.clock().set(2000 * MS);
    heard.sees(1000, 8);
    assert_eq!((heard.waiting(), heard.accounts().dropped(DropReason::TooOld)), (None, 1));
}

#[test]
fn an_old_frame_is_never_asked_about() {
    // Simulated time is what we set; steady time runs, so that the frame of a second ago is too old by its stamp.
    for (clock, asked) in [(Clock::simulated(), vec![]), (Clock::stepped(), vec![1000])] {
        let heard = Heard::in_time(1, clock);
        heard.clock().set(2000 * MS);
        heard.sees(1000, 8);
        assert_eq!(take(&heard), asked);
        assert_eq!(heard.accounts().dropped(DropReason::TooOld), u64::from(asked.is_empty()));
        assert!(heard.accounts().balance());
    }
}

#[test]
fn time_on_the_way_counts_unless_the_stamp_is_absurd() {
    let check = |stamp_ms: i64, now_ms: i64, suspect, deadline_ms| {
        let heard = Heard::of(1);
        heard.clock().set(now_ms * MS);
        heard.sees(stamp_ms, 8);
        let mut frames = Vec::new();
        assert!(heard.take(&mut frames));
        let received = &frames[0];
        assert_eq!((received.stamp_suspect, received.deadline_steady_ns), (suspect, deadline_ms * MS));
    };
    check(100_000, 100_200, false, 100_500);
    check(100_050, 100_000, false, 100_500);
    check(95_000, 100_000, false, 95_500);
    check(0, 100_000, true, 100_500);
    check(200_000, 100_000, true, 100_500);
}

#[test]
fn another_age_holds_for_frames_that_wait_too() {
    let heard = Heard::of(1);
    let deadline_ms = || {
        let mut frames = Vec::new();
        assert!(heard.take(&mut frames));
        heard.settle(Verdict::Served);
        frames[0].deadline_steady_ns / MS
    };
    offer(&heard, 1000);
    heard.set_max_age(Duration::from_millis(2000));
    assert_eq!((deadline_ms(), heard.max_age_ns()), (3000, 2000 * MS));
    offer(&heard, 1100);
    assert_eq!(deadline_ms(), 3100);
    offer(&heard, 1200);
    heard.set_max_age(Duration::from_millis(100));
    assert_eq!(deadline_ms(), 1300);
    heard.set_max_age(Duration::MAX);
    offer(&heard, 1300);
    assert_eq!(deadline_ms(), i64::MAX / MS);
    assert!(heard.accounts().balance());
}

#[test]
fn a_clip_is_sampled_by_stamps_and_moves_on_by_one() {
    let heard = Heard::of(3);
    // 30 Hz for a second and a bit, into 4 Hz.
    for i in 0..=23 {
        offer(&heard, i * 1000 / 30);
    }
    assert_eq!(take(&heard), [266, 500, 766]);
    heard.settle(Verdict::Served);
    assert_eq!(take(&heard), [0; 0], "nothing new");
    for i in 24..=30 {
        offer(&heard, i * 1000 / 30);
    }
    assert_eq!(take(&heard), [500, 766, 1000]);
    heard.settle(Verdict::Served);
    heard.close();
    let line = "received 31 = answered 2 + clip members 2 + dropped 27 (superseded 1, off_rate 26) \
                + in flight 0; lost 0";
    assert_eq!(account(&heard), line);
}

#[test]
fn a_clip_starts_over_after_a_break() {
    let check = |breaking: &dyn Fn(&Heard)| {
        let heard = Heard::of(3);
        offer(&heard, 1000);
        offer(&heard, 1250);
        breaking(&heard);
        assert_eq!(take(&heard), [0; 0]);
        assert_eq!(heard.accounts().dropped(DropReason::ClipRestart), 2);
        assert_eq!(heard.accounts().in_flight, 1);
        account(&heard);
    };
    check(&|heard| offer(heard, 2250));
    check(&|heard| offer(heard, 900));
    check(&|heard| {
        heard.clock().set(1500 * MS);
        heard.sees(1500, 4);
    });
}

#[test]
fn a_bad_frame_leaves_its_clip() {
    let heard = Heard::of(2);
    offer(&heard, 0);
    offer(&heard, 250);
    assert_eq!(take(&heard), [0, 250]);
    heard.settle(Verdict::Rejected(0, DropReason::Corrupt));
    offer(&heard, 500);
    assert_eq!(take(&heard), [0; 0], "the clip forms anew");
    offer(&heard, 750);
    assert_eq!(take(&heard), [500, 750]);
    heard.settle(Verdict::Served);
    assert_eq!(heard.accounts().dropped(DropReason::Corrupt), 1);
    assert_eq!(heard.accounts().dropped(DropReason::ClipRestart), 1);
    account(&heard);
}

#[test]
fn a_bad_frame_does_not_take_the_next_one_with_it() {
    let heard = Heard::of(1);
    offer(&heard, 0);
    assert_eq!(take(&heard), [0]);
    offer(&heard, 33);
    heard.settle(Verdict::Rejected(0, DropReason::UnknownEncoding));
    assert_eq!(take(&heard), [33]);
    heard.settle(Verdict::Rejected(0, DropReason::UnknownEncoding));
    assert_eq!(heard.accounts().dropped(DropReason::UnknownEncoding), 2);
    account(&heard);
}

#[test]
fn a_clip_with_a_bad_frame_is_not_asked_about_again() {
    let heard = Heard::of(2);
    offer(&heard, 0);
    offer(&heard, 250);
    assert_eq!(take(&heard), [0, 250]);
    offer(&heard, 500);
    heard.settle(Verdict::Rejected(1, DropReason::Corrupt));
    assert_eq!(take(&heard), [0; 0], "although a newer clip was whole");
    account(&heard);
}

#[test]
fn buffers_never_run_out_while_a_clip_is_asked_about() {
    let heard = Heard::of(4);
    let mut frames = Vec::new();
    for i in 0..40 {
        offer(&heard, i * 250);
        if i == 10 {
            assert!(heard.take(&mut frames));
        }
    }
    assert_eq!(heard.accounts().dropped(DropReason::NoBuffer), 0);
    heard.settle(Verdict::Served);
    heard.close();
    assert_eq!(heard.accounts().in_flight, 0);
    account(&heard);
}

/// Clips of two, and three frames that follow one.
fn forecasting() -> Heard {
    Heard::by(options(2, 3), Clock::stepped())
}

#[test]
fn frames_that_follow_a_look_wait_for_the_next() {
    let heard = forecasting();
    for i in 0..=1 {
        offer(&heard, i * 250);
    }
    assert_eq!(take(&heard), [0, 250]);
    for i in 2..=9 {
        offer(&heard, i * 250);
    }
    heard.compared(1);
    heard.settle(Verdict::Served);
    let mut frames = Vec::new();
    assert!(heard.take(&mut frames));
    let places: Vec<u64> = frames.iter().map(|received| received.place).collect();
    assert_eq!(places, [3, 4, 5, 9, 10], "what follows the last look, and the clip");
    for place in &places[..2] {
        heard.compared(*place);
    }
    heard.settle(Verdict::Served);
    heard.close();
    let line = "received 10 = answered 2 + clip members 4 + dropped 4 (superseded 4) + in flight 0; lost 0";
    assert_eq!(account(&heard), line);
}

#[test]
fn a_break_leaves_a_place_out() {
    let check = |breaking: &dyn Fn(&Heard)| {
        let heard = forecasting();
        offer(&heard, 0);
        offer(&heard, 250);
        assert_eq!(take(&heard), [0, 250]);
        breaking(&heard);
        let mut frames = Vec::new();
        assert!(heard.take(&mut frames));
        assert_eq!(frames.len(), 2, "the clip alone");
        assert!(3 < frames[0].place, "{}", frames[0].place);
        heard.settle(Verdict::Dropped(DropReason::EngineFailed));
        heard.close();
        assert_eq!(heard.accounts().dropped(DropReason::EngineFailed), 1);
        account(&heard);
    };
    let start_over = |heard: &Heard, from: i64| {
        heard.settle(Verdict::Served);
        offer(heard, from);
        offer(heard, from + 250);
    };
    check(&|heard| start_over(heard, 750));
    check(&|heard| start_over(heard, 100));
    check(&|heard| {
        heard.settle(Verdict::Rejected(1, DropReason::Corrupt));
        offer(heard, 500);
        offer(heard, 750);
    });
}

#[test]
fn a_camera_as_fast_as_the_clip_or_faster_never_breaks_it() {
    for camera_hz in [4.0, 4.1, 5.0, 6.0, 7.9, 8.0, 30.0] {
        let heard = forecasting();
        for i in 0..200 {
            offer(&heard, (f64::from(i) * 1000.0 / camera_hz) as i64);
        }
        assert_eq!(heard.accounts().dropped(DropReason::ClipRestart), 0, "{camera_hz} Hz");
        account(&heard);
    }
    let slow = forecasting();
    for i in 0..200 {
        offer(&slow, i * 1000 / 3);
    }
    assert!(0 < slow.accounts().dropped(DropReason::ClipRestart), "three frames are not four");
}

#[test]
fn two_listeners_share_the_frames_and_count_each_for_itself() {
    let camera = camera(&[options(2, 3), options(1, 0)], Clock::stepped());
    let [clips, singles] = camera.listeners() else { panic!("two listen") };
    for i in 0..20 {
        clips.clock().set(i * 250 * MS);
        camera.offer(camera.take(header(i * 250, 8), &[7; 8]), 0);
        assert_eq!(take(singles), [i * 250]);
        singles.settle(Verdict::Served);
    }
    camera.offer(Err(DropReason::Malformed), 1);
    assert_eq!(take(clips).last(), Some(&(19 * 250)));
    clips.settle(Verdict::Served);
    for listener in [singles, clips] {
        let accounts = listener.accounts();
        assert_eq!((accounts.received, accounts.lost, accounts.dropped(DropReason::NoBuffer)), (21, 1, 0));
        account(listener);
    }
    assert_eq!((singles.accounts().served, clips.accounts().served), (20, 1));
}
