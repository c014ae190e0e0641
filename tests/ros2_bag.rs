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
    HeaderView, ImageView, Message, ShortString, Text, Time, encode, with_encapsulation,
};
use perihelion::ros2::transport::{Bag, ImageTransport, Pace, Pump, Transport};

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
        let bag = Bag::open(&path, Pace::AsFastAsPossible).unwrap();
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
    let bag = Bag::open(&path, Pace::Times(1.0)).unwrap();
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
    let bag = Bag::open(&path, Pace::Times(1.0)).unwrap();
    let _listener = subscribe(&bag, "/camera/image");
    assert_eq!(bag.pump(), Pump::Live);
    drop(bag);
}

#[test]
fn a_topic_of_another_type_is_a_counted_drop() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("in.mcap");
    write_bag(&path, &[0, 33], None);
    let bag = Bag::open(&path, Pace::AsFastAsPossible).unwrap();
    let listener = subscribe(&bag, "/chat");
    while bag.pump() == Pump::Delivered {}
    assert_eq!(listener.accounts().dropped(DropReason::WrongType), 2);
}

/// How many frames of a bag arrive, and why it ended if not at its end; or why it is refused.
fn play(path: &Path) -> Result<(u64, Option<String>), String> {
    let bag = Bag::open(path, Pace::AsFastAsPossible).map_err(|error| error.to_string())?;
    let listener = subscribe(&bag, "/camera/image");
    let mut frames = Vec::new();
    while bag.pump() == Pump::Delivered {
        if listener.take(&mut frames) {
            listener.settle(Verdict::Served);
        }
    }
    Ok((listener.accounts().received, bag.finish().err().map(|error| error.to_string())))
}

#[test]
fn an_interrupted_recording_is_played_to_its_last_message_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("in.mcap");
    write_bag(&path, &[0, 33, 66, 100], Some(mcap::Compression::Zstd));
    assert_eq!(play(&path), Ok((4, None)));
    let whole = std::fs::read(&path).unwrap();
    let cut = dir.path().join("cut.mcap");
    let mut most = 0;
    for len in (0..whole.len() - 1).step_by(37) {
        std::fs::write(&cut, &whole[..len]).unwrap();
        match play(&cut) {
            Ok((n, why)) => {
                assert!(n >= most, "cut at {len}: {n} frames, {most} before");
                most = n;
                // All that is lost after the last message is the index, and that is said only where the data end is missing too.
                assert!(why.is_some_and(|why| why.contains("interrupted")) || n == 4, "cut at {len}");
            }
            Err(why) => assert!(len < 200 && why.contains("no MCAP"), "cut at {len}: {why}"),
        }
    }
    assert_eq!(most, 4);
}

#[test]
fn a_flipped_bit_is_no_frame() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("in.mcap");
    write_bag(&path, &[0, 33, 66, 100], None);
    let whole = std::fs::read(&path).unwrap();
    let flipped = dir.path().join("flipped.mcap");
    let mut refused = 0;
    for i in (0..whole.len()).step_by(11) {
        let mut bytes = whole.clone();
        bytes[i] ^= 0x55;
        std::fs::write(&flipped, bytes).unwrap();
        match play(&flipped) {
            Ok((n, why)) => {
                assert!(n <= 4, "flipped at {i}");
                refused += usize::from(why.is_some());
            }
            Err(_) => refused += 1,
        }
    }
    // Most of the file are pixels within chunks, whose digests are compared.
    assert!(refused * 10 > 9 * whole.len() / 11, "{refused} of {}", whole.len() / 11);
}

#[test]
fn bags_without_chunks_and_without_an_index_are_played_in_log_time() {
    let dir = tempfile::tempdir().unwrap();
    for (name, chunked, indexed) in
        [("flat", false, true), ("bare", false, false), ("unindexed", true, false)]
    {
        let path = dir.path().join(format!("{name}.mcap"));
        let options = mcap::WriteOptions::new()
            .use_chunks(chunked)
            .chunk_size(Some(4000))
            .emit_chunk_indexes(indexed)
            .emit_message_indexes(indexed)
            .emit_summary_offsets(indexed)
            .emit_statistics(indexed)
            .repeat_channels(indexed)
            .repeat_schemas(indexed);
        let mut writer = options.create(BufWriter::new(File::create(&path).unwrap())).unwrap();
        let schema = writer.add_schema(ImageView::TYPE, "ros2msg", b"").unwrap();
        let channel_id = writer.add_channel(schema, "/camera/image", "cdr", &BTreeMap::new()).unwrap();
        for ms in [0, 66, 33, 100] {
            let log_time = START_NS + ms * MS;
            let header =
                mcap::records::MessageHeader { channel_id, sequence: 0, log_time, publish_time: log_time };
            writer.write_to_known_channel(&header, &with_encapsulation(&image(log_time))).unwrap();
        }
        writer.finish().unwrap();
        let bag = Bag::open(&path, Pace::AsFastAsPossible).unwrap();
        assert_eq!(bag.graph()[0].ros_type, ImageView::TYPE, "{name}");
        let listener = subscribe(&bag, "/camera/image");
        let mut times = Vec::new();
        while bag.pump() == Pump::Delivered {
            times.push((bag.clock().now().ros_ns as u64 - START_NS) / MS);
            listener.take(&mut Vec::new());
            listener.settle(Verdict::Served);
        }
        assert_eq!(times, [0, 33, 66, 100], "{name}");
        bag.finish().unwrap();
    }
}

#[test]
fn a_split_bag_is_its_directory() {
    let dir = tempfile::tempdir().unwrap();
    let bag = dir.path();
    // By their names the tenth would come before the second.
    write_bag(&bag.join("drive_10.mcap"), &[200, 233], None);
    write_bag(&bag.join("drive_2.mcap"), &[0, 33, 66], None);
    assert_eq!(play(bag), Ok((5, None)), "a killed recorder has left no metadata");
    let metadata = |storage: &str, mode: &str, files: &str| {
        let text = format!(
            "rosbag2_bagfile_information:\n  version: 9\n  storage_identifier: {storage}\n  compression_mode: '{mode}'\n  \
             relative_file_paths: {files}\n  custom_data: ~\n"
        );
        std::fs::write(bag.join("metadata.yaml"), text).unwrap();
    };
    metadata("mcap", "", "[drive_2.mcap, drive_10.mcap]");
    assert_eq!(play(bag), Ok((5, None)));
    assert_eq!(play(&bag.join("metadata.yaml")), Ok((5, None)), "its description names it too");
    metadata("mcap", "", "[drive_2.mcap]");
    assert_eq!(play(bag), Ok((3, None)), "only what it names");
    let refusals = [
        ("mcap", "", "[../other.mcap]", "does not lie in the directory"),
        ("mcap", "", "[]", "names no file"),
        ("mcap", "", "[drive_3.mcap]", "drive_3.mcap"),
        ("sqlite3", "", "[drive_0.db3]", "--dst-storage mcap"),
        ("mcap", "MESSAGE", "[drive_2.mcap]", "ros2 bag convert"),
    ];
    for (storage, mode, files, expected) in refusals {
        metadata(storage, mode, files);
        let why = play(bag).unwrap_err();
        assert!(why.contains(expected), "{why}");
    }
    std::fs::write(bag.join("metadata.yaml"), "[1, 2").unwrap();
    assert!(play(bag).unwrap_err().contains("is not rosbag2's"));
}

#[test]
fn a_bag_of_many_files_has_one_open() {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..20 {
        write_bag(&dir.path().join(format!("drive_{i}.mcap")), &[100 * i, 100 * i + 33], None);
    }
    let n_open = || {
        let open = std::fs::read_dir("/proc/self/fd").unwrap();
        let places = open.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
        places.filter(|place| place.starts_with(dir.path())).count()
    };
    let bag = Bag::open(dir.path(), Pace::AsFastAsPossible).unwrap();
    assert_eq!(n_open(), 0, "before it is played");
    let listener = subscribe(&bag, "/camera/image");
    while bag.pump() == Pump::Delivered {
        assert_eq!(n_open(), 1);
        assert!(listener.take(&mut Vec::new()));
        listener.settle(Verdict::Served);
    }
    assert_eq!((listener.accounts().served, n_open()), (40, 0));
    bag.finish().unwrap();
}

#[test]
fn what_is_no_bag_is_named_with_the_way_to_one() {
    let dir = tempfile::tempdir().unwrap();
    let cases: [(&str, &[u8], &str); 6] = [
        ("a.db3", b"SQLite format 3\0....", "rosbags-convert"),
        ("a.mcap.zstd", &[0x28, 0xb5, 0x2f, 0xfd, 0, 0, 0, 0], "zstd -d"),
        ("a.bag", b"#ROSBAG V2.0\n....", "ROS 1"),
        ("a.png", b"\x89PNG\r\n\x1a\n....", "ask --image"),
        ("a.txt", b"hello", "ros2 bag record -s mcap"),
        ("empty.mcap", b"", "no MCAP"),
    ];
    for (name, bytes, expected) in cases {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let why = play(&path).unwrap_err();
        assert!(why.contains(expected) && why.contains(name), "{name}: {why}");
    }
    let pipe = dir.path().join("pipe.mcap");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert!(play(&pipe).unwrap_err().contains("not a regular file"));
    let empty = dir.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    assert!(play(&empty).unwrap_err().contains("metadata.yaml"));
    assert!(play(&dir.path().join("none.mcap")).unwrap_err().contains("No such file"));
}
