//! Buffers of frames and of their pictures: taken, shared, and free again.

use std::sync::Arc;

use super::{Heard, MS, account, camera, header, offer, options};
use crate::camera::{Decoder, FrameSize};
use crate::frames::accounts::DropReason;
use crate::frames::clock::Clock;
use crate::frames::decoding::decode;
use crate::frames::frame::Received;
use crate::frames::listener::Verdict;
use crate::frames::scaled::Scaled;

#[test]
fn a_buffer_is_free_again_when_the_last_holder_lets_go() {
    let camera = camera(&[options(1, 0)], Clock::stepped());
    let take = |data: &[u8]| camera.take(header(1, data.len() as u32), data);
    let frames: Vec<_> = (0..4).map(|i| take(&[i]).unwrap()).collect();
    let shared = Arc::clone(&frames[0]);
    drop(frames);
    let mut others: Vec<_> = (0..3).map(|i| take(&[2, i]).unwrap()).collect();
    assert_eq!(take(&[4]).unwrap_err(), DropReason::NoBuffer);
    assert_eq!((shared.data(), others[2].data()), (&[0][..], &[2, 2][..]));
    drop(shared);
    others.push(take(&[4, 5, 6]).unwrap());
    let last = &others[3];
    assert_eq!((last.data(), last.stamp_ns, last.size()), (&[4, 5, 6][..], MS, Some((3, 1))));
    assert_eq!(last.frame_id.as_str(), "cam");
}

#[test]
fn what_is_too_large_takes_no_buffer() {
    let camera = camera(&[options(1, 0)], Clock::stepped());
    for _ in 0..10 {
        assert_eq!(camera.take(header(0, 65), &[0; 65]).unwrap_err(), DropReason::Oversized);
    }
    let taken: Vec<_> = (0..4).map(|_| camera.take(header(0, 64), &[0; 64])).collect();
    assert!(taken.iter().all(Result::is_ok));
}

/// The frames of a question, decoded: the first gray value of each.
fn look(decoder: &mut Decoder, frames: &[Received]) -> Vec<u8> {
    let pictures = decode(decoder, frames).unwrap();
    pictures.iter().map(|decoded| decoded.picture().rgb[0]).collect()
}

#[test]
fn a_frame_is_decoded_once_whoever_looks_and_however_often() {
    let camera = camera(&[options(4, 0), options(2, 3)], Clock::stepped());
    let [clips, forecasts] = camera.listeners() else { panic!("two listen") };
    let (mut decoder, mut frames, mut seen) = (Decoder::new(), Vec::new(), 0);
    for i in 0..30 {
        clips.clock().set(i * 250 * MS);
        camera.offer(camera.take(header(i * 250, 8), &[i as u8; 8]), 0);
        for listener in [clips, forecasts] {
            if listener.take(&mut frames) {
                let shown: Vec<u8> = frames.iter().map(|received| received.frame.data()[0]).collect();
                assert_eq!(look(&mut decoder, &frames), shown);
                assert_eq!(look(&mut decoder, &frames), shown);
                seen += frames.len();
                frames.clear();
                listener.settle(Verdict::Served);
            }
        }
    }
    assert_eq!(camera.n_decoded(), 30, "of {seen} looks");
    assert!(4 * 30 < seen);
}

#[test]
fn a_picture_stays_while_a_listener_may_look_and_no_longer() {
    let camera = camera(&[options(1, 0), options(1, 0)], Clock::stepped());
    let [one, other] = camera.listeners() else { panic!("two listen") };
    let (mut decoder, mut ones, mut others) = (Decoder::new(), Vec::new(), Vec::new());
    camera.offer(camera.take(header(0, 8), &[5; 8]), 0);
    assert!(one.take(&mut ones));
    assert_eq!(look(&mut decoder, &ones), [5]);
    one.settle(Verdict::Served);
    assert!(other.take(&mut others));
    assert_eq!((look(&mut decoder, &others), camera.n_decoded()), (vec![5], 1), "the other may still look");
    others[0].let_go_of_pixels();
    assert_eq!((look(&mut decoder, &others), camera.n_decoded()), (vec![5], 2), "nobody kept it");
    assert_eq!((look(&mut decoder, &others), camera.n_decoded()), (vec![5], 3), "and nobody keeps it now");
    // What is settled is let go of a second time, which is as once.
    other.settle(Verdict::Served);
    assert_eq!(account(other), account(one));
}

#[test]
fn a_frame_that_cannot_be_decoded_is_tried_once() {
    let camera = camera(&[options(1, 0), options(1, 0)], Clock::stepped());
    camera.offer(camera.take(header(0, 9), &[5; 8]), 0);
    let (mut decoder, mut frames) = (Decoder::new(), Vec::new());
    let refusals: Vec<_> = camera
        .listeners()
        .iter()
        .map(|listener| {
            assert!(listener.take(&mut frames));
            let (frame, error) = decode(&mut decoder, &frames).unwrap_err();
            (frame, error.reason())
        })
        .collect();
    assert_eq!((refusals, camera.n_decoded()), (vec![(0, "too_many_pixels"); 2], 1));
}

#[test]
fn a_buffer_that_is_used_again_shows_the_new_frame() {
    let heard = Heard::of(1);
    let mut decoder = Decoder::new();
    let mut digests = std::collections::HashSet::new();
    for i in 0..20 {
        heard.camera.offer(heard.camera.take(header(i, 8), &[i as u8; 8]), 0);
        let mut frames = Vec::new();
        assert!(heard.take(&mut frames));
        let decoded = frames[0].frame.decode(&mut decoder).unwrap();
        assert_eq!(decoded.picture().rgb, [i as u8; 24]);
        assert!(digests.insert(decoded.picture().digest()), "another picture, another digest");
        heard.settle(Verdict::Served);
    }
    assert_eq!(heard.camera.claimed_bytes(), 4 * 64 + 3 * 8, "one picture for one that looks at one");
}

#[test]
fn a_bad_frame_is_named_and_the_good_ones_stay() {
    let heard = Heard::of(2);
    offer(&heard, 0);
    heard.clock().set(250 * MS);
    heard.camera.offer(heard.camera.take(header(250, 8), &[1; 4]), 0);
    let (mut decoder, mut frames) = (Decoder::new(), Vec::new());
    assert!(heard.take(&mut frames));
    let (frame, error) = decode(&mut decoder, &frames).unwrap_err();
    assert_eq!((frame, error.reason()), (1, "too_few_bytes"));
    assert_eq!(look(&mut decoder, &frames[..1]), [7]);
    assert_eq!(heard.camera.n_decoded(), 2, "the good one was decoded already");
}

#[test]
fn frames_of_one_clip_have_one_size_and_are_scaled_once() {
    let heard = Heard::of(1);
    let receive = |width: u32, place: u64| {
        heard.sees(0, width);
        let mut frames = Vec::new();
        assert!(heard.take(&mut frames));
        heard.settle(Verdict::Served);
        Received { place, ..frames.remove(0) }
    };
    let mut scaled = Scaled::new(2, FrameSize { width: 2, height: 1 });
    let frames = [receive(8, 7), receive(4, 8)];
    let (frame, reason, message) = scaled.take(&frames).unwrap_err();
    assert_eq!((frame, reason), (1, DropReason::Unfit));
    assert!(message.contains("4×1 pixels, the one before it 8×1"), "{message}");
    // Beyond a gap there may be another size.
    let [first, second] = frames;
    let frames = [first, Received { place: 9, ..second }];
    for _ in 0..3 {
        scaled.take(&frames).unwrap();
        assert_eq!((scaled.rgb(7), scaled.rgb(9)), (&[7; 6][..], &[7; 6][..]));
    }
    assert_eq!(heard.camera.n_decoded(), 3, "two, and one again under its new place");
}
