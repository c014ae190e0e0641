//! Bags, written here as `ros2 bag record -s mcap` writes them, played back through the transport.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use perihelion::frames::accounts::DropReason;
use perihelion::frames::camera::{Camera, CameraOptions};
use perihelion::frames::listener::{Listener, ListenerOptions, Verdict};
use perihelion::ros2::messages::{
    HeaderView, ImageView, Message, ShortString, Text, Time, decode, encode, split_encapsulation,
    with_encapsulation,
};
use perihelion::ros2::transport::{Bag, Delivery, ImageTransport, Pace, Pump, Transport};

const MS: u64 = 1_000_000;
const START_NS: u64 = 1_700_000_000_000_000_000;

fn image(stamp_ns: u64) -> Vec<u8> {
    let header =
        HeaderView { stamp: Time::from_ns(stamp_ns as i64), frame_id: ShortString::new("cam").unwrap() };
    let encoding = ShortString::new("mono8").unwrap();
    let data: Vec<u8> = (0..64 * 48u32).map(|i| (i as u64 + stamp_ns / MS) as u8).collect();
    encode(&ImageView { header, height: 48, width: 64, encoding, is_bigendian: 0, step: 64, data: &data })
}

/// Images at these milliseconds, in this order of the file, in chunks of a few, with another topic between.
fn write_bag(path: &Path, times_ms: &[u64], compression: Option<mcap::Compression>) {
    let options = mcap::WriteOptions::new().profile("ros2").chunk_size(Some(10_000)).compression(compression);
    let mut writer = options.create(BufWriter::new(File::create(path).unwrap())).unwrap();
    let schema = writer.add_schema(ImageView::TYPE, "ros2msg", b"").unwrap();
    let images = writer.add_channel(schema, "/camera/image", "cdr", &BTreeMap::new()).unwrap();
    let schema = writer.add_schema(Text::TYPE, "ros2msg", b"").unwrap();
    let chat = writer.add_channel(schema, "/chat", "cdr", &BTreeMap::new()).unwrap();
    for (i, ms) in times_ms.iter().enumerate() {
        let log_time = START_NS + ms * MS;
        let header = |channel_id| mcap::records::MessageHeader {
            channel_id,
            sequence: i as u32,
            log_time,
            publish_time: log_time,
        };
        let text = encode(&Text { data: format!("{ms}") });
        writer.write_to_known_channel(&header(chat), &with_encapsulation(&text)).unwrap();
        writer
            .write_to_known_channel(&header(images), &with_encapsulation(&image(log_time - 5 * MS)))
            .unwrap();
    }
    writer.finish().unwrap();
}

fn subscribe(bag: &Bag, topic: &str) -> Arc<Listener> {
    let (name, topic) = ("camera".to_owned(), topic.to_owned());
    let camera = CameraOptions { name, topic, frame_bytes_max: 10_000, pixels_max: 10_000 };
    let max_age = Duration::from_secs(1);
    let listener =
        ListenerOptions { clip_frames: 1, clip_rate_hz: 1.0, follow_frames: 0, pictures: 1, max_age };
    let camera = Arc::new(Camera::new(camera, bag.clock(), &[listener]));
    bag.subscribe_images(ImageTransport::Raw, Arc::clone(&camera)).unwrap();
    Arc::clone(&camera.listeners()[0])
}

#[test]
fn every_message_comes_in_log_time_and_waits_for_the_node() {
    for compression in [None, Some(mcap::Compression::Zstd), Some(mcap::Compression::Lz4)] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("in.mcap");
        write_bag(&path, &[0, 33, 66, 200, 100, 133, 166, 233], compression);
        let bag = Bag::open(&path, Pace::AsFastAsPossible, None).unwrap();
        let listener = subscribe(&bag, "/camera/image");
        let mut times = Vec::new();
        let mut frames = Vec::new();
        while bag.pump() == Pump::Delivered {
            assert!(listener.take(&mut frames), "one message, one frame");
            let now = bag.clock().now();
            assert_eq!(now, bag.clock().now(), "time stands still");
            assert_eq!(now.ros_ns - frames[0].frame.stamp_ns, 5 * MS as i64);
            assert!(!frames[0].stamp_suspect);
            times.push((now.ros_ns as u64 - START_NS) / MS);
            listener.settle(Verdict::Served);
        }
        assert_eq!(times, [0, 33, 66, 100, 133, 166, 200, 233]);
        assert_eq!((listener.accounts().served, listener.accounts().dropped_total()), (8, 0));
        assert_eq!(bag.graph().len(), 2);
    }
}

#[test]
fn a_paced_bag_is_a_live_camera() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("in.mcap");
    write_bag(&path, &[0, 50, 100, 150], None);
    let bag = Bag::open(&path, Pace::Times(1.0), None).unwrap();
    let listener = subscribe(&bag, "/camera/image");
    let began = Instant::now();
    assert_eq!(bag.pump(), Pump::Live);
    while bag.pump() == Pump::Live {
        listener.wait(Duration::from_millis(5));
    }
    assert!(Duration::from_millis(150) <= began.elapsed(), "the last message is due then");
    assert_eq!(listener.accounts().received, 4);
    assert!(listener.take(&mut Vec::new()));
    listener.settle(Verdict::Served);
    assert_eq!(listener.accounts().dropped(DropReason::Superseded), 3, "nobody asked in time");
}

#[test]
fn leaving_does_not_wait_for_the_rest_of_a_bag() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("in.mcap");
    write_bag(&path, &[0, 1_000_000], None);
    let bag = Bag::open(&path, Pace::Times(1.0), None).unwrap();
    let _listener = subscribe(&bag, "/camera/image");
    assert_eq!(bag.pump(), Pump::Live);
    drop(bag);
}

#[test]
fn what_is_published_can_be_recorded_with_the_same_times() {
    let dir = tempfile::tempdir().unwrap();
    let (path, out) = (dir.path().join("in.mcap"), dir.path().join("out.mcap"));
    write_bag(&path, &[0, 250], None);
    let record = |out: &Path| {
        let bag = Bag::open(&path, Pace::AsFastAsPossible, Some(out)).unwrap();
        let _listener = subscribe(&bag, "/camera/image");
        let answer = bag.advertise("/eye/answer", Text::TYPE, Delivery::Reliable).unwrap();
        while bag.pump() == Pump::Delivered {
            answer.publish(encode(&Text { data: "clear".into() })).unwrap();
        }
        bag.finish().unwrap();
    };
    record(&out);
    let bytes = std::fs::read(&out).unwrap();
    let messages: Vec<_> = mcap::MessageStream::new(&bytes).unwrap().map(Result::unwrap).collect();
    let times: Vec<u64> = messages.iter().map(|message| (message.log_time - START_NS) / MS).collect();
    assert_eq!(times, [0, 250]);
    let channel = &messages[0].channel;
    assert_eq!((channel.topic.as_str(), channel.message_encoding.as_str()), ("/eye/answer", "cdr"));
    assert_eq!(channel.schema.as_ref().unwrap().name, Text::TYPE);
    let (order, body) = split_encapsulation(&messages[0].data).unwrap();
    assert_eq!(decode::<Text>(body, order).unwrap().data, "clear");
    let again = dir.path().join("again.mcap");
    record(&again);
    assert!(bytes == std::fs::read(&again).unwrap(), "two runs differ");
}

#[test]
fn a_topic_of_another_type_is_a_counted_drop() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("in.mcap");
    write_bag(&path, &[0, 33], None);
    let bag = Bag::open(&path, Pace::AsFastAsPossible, None).unwrap();
    let listener = subscribe(&bag, "/chat");
    while bag.pump() == Pump::Delivered {}
    assert_eq!(listener.accounts().dropped(DropReason::WrongType), 2);
}

#[test]
fn damaged_bags_are_refused_or_end_early() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("in.mcap");
    write_bag(&path, &[0, 33, 66, 100], Some(mcap::Compression::Zstd));
    let whole = std::fs::read(&path).unwrap();
    let damaged = dir.path().join("damaged.mcap");
    let play = |bytes: &[u8]| {
        std::fs::write(&damaged, bytes).unwrap();
        let Ok(bag) = Bag::open(&damaged, Pace::AsFastAsPossible, None) else { return 0 };
        let listener = subscribe(&bag, "/camera/image");
        while bag.pump() == Pump::Delivered {}
        listener.accounts().received
    };
    assert_eq!(play(&whole), 4);
    for len in (0..whole.len()).step_by(37) {
        assert_eq!(play(&whole[..len]), 0, "without its index, cut at {len}");
    }
    for i in (0..whole.len()).step_by(11) {
        let mut flipped = whole.clone();
        flipped[i] ^= 0x55;
        assert!(play(&flipped) <= 4, "flipped at {i}");
    }
    let refusal = Bag::open(dir.path(), Pace::AsFastAsPossible, None).err().unwrap().to_string();
    assert!(refusal.contains("directory"), "{refusal}");
}
