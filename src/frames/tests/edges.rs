//! What lies at the edges of a clip's grid, of a listener's life, and of a frame's account.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::{Heard, account, forecasting, offer, take};
use crate::frames::accounts::DropReason;
use crate::frames::listener::Verdict;

#[test]
fn a_clip_bears_its_cameras_jitter() {
    let heard = Heard::of(4);
    for stamp in [0, 240, 505, 740] {
        offer(&heard, stamp);
    }
    assert_eq!(take(&heard), [0, 240, 505, 740]);
    heard.settle(Verdict::Served);
    // A sixteenth of the period is borne, and no more.
    offer(&heard, 980);
    assert_eq!((take(&heard), heard.accounts().dropped(DropReason::OffRate)), (vec![], 1));
    offer(&heard, 990);
    assert_eq!(take(&heard), [240, 505, 740, 990]);
}

#[test]
fn what_comes_right_after_a_gap_is_not_the_next_moment() {
    let heard = Heard::of(3);
    for stamp in [0, 600, 633, 725] {
        offer(&heard, stamp);
    }
    assert_eq!(take(&heard), [0, 600, 725]);
    assert_eq!(heard.accounts().dropped(DropReason::OffRate), 1);
}

#[test]
fn a_bad_frame_counts_as_bad_although_it_was_compared() {
    let heard = forecasting();
    for i in 0..3 {
        offer(&heard, i * 250);
    }
    assert_eq!(take(&heard), [0, 250, 500]);
    heard.compared(1);
    heard.compared(2);
    heard.settle(Verdict::Rejected(0, DropReason::Corrupt));
    let line = "received 3 = answered 0 + clip members 1 + dropped 2 (clip_restart 1, corrupt 1) + in flight 0; lost 0";
    assert_eq!(account(&heard), line);
}

#[test]
fn what_fails_is_counted_once_and_the_rest_of_its_clip_may_still_be_of_use() {
    let heard = Heard::of(3);
    for i in 0..3 {
        offer(&heard, i * 250);
    }
    assert_eq!(take(&heard), [0, 250, 500]);
    heard.settle(Verdict::Dropped(DropReason::EngineFailed));
    offer(&heard, 750);
    assert_eq!(take(&heard), [250, 500, 750]);
    heard.settle(Verdict::Served);
    heard.close();
    let line = "received 4 = answered 1 + clip members 2 + dropped 1 (superseded 1) + in flight 0; lost 0";
    assert_eq!(account(&heard), line);
}

#[test]
fn a_closed_listener_holds_nothing_and_counts_what_comes() {
    let heard = Heard::of(1);
    offer(&heard, 0);
    assert_eq!(take(&heard), [0]);
    offer(&heard, 10);
    heard.close();
    assert_eq!(heard.accounts().in_flight, 1, "the one that is being served");
    heard.settle(Verdict::Served);
    for stamp in 20..30 {
        offer(&heard, stamp);
    }
    assert_eq!(take(&heard), [0; 0]);
    let line = "received 12 = answered 1 + clip members 0 + dropped 11 (stopped 11) + in flight 0; lost 0";
    assert_eq!(account(&heard), line);
}

#[test]
fn a_nudge_and_a_frame_end_a_wait() {
    let check = |act: &dyn Fn(&Heard, i64)| {
        let (heard, done, began) = (Heard::of(1), AtomicBool::new(false), Instant::now());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                heard.listener.wait(Duration::from_secs(60));
                done.store(true, Relaxed);
            });
            for i in 0.. {
                if done.load(Relaxed) {
                    break;
                }
                act(&heard, i);
                std::thread::yield_now();
            }
        });
        assert!(began.elapsed() < Duration::from_secs(60));
    };
    check(&|heard, _| heard.nudge());
    check(&|heard, i| offer(heard, i));
    check(&|heard, _| heard.close());
}
