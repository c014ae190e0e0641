//! The recorder before a transport: what it writes of what is said and of what cameras send, and what it does when it cannot.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "support/script.rs"]
mod script;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use perihelion::frames::camera::{Camera, CameraOptions};
use perihelion::frames::clock::Clock;
use perihelion::frames::listener::ListenerOptions;
use perihelion::ros2::messages::{
    ByteOrder, CompressedImageView, DiagnosticArray, HeaderView, ImageView, Message, ShortString, Text, Time,
    decode, encode, split_encapsulation,
};
use perihelion::ros2::names::NodeName;
use perihelion::ros2::node::{
    Answer, Answerer, Engines, Forecast, ForecastShape, Forecaster, Glimpse, Look, NodeOptions, Outcome,
    Question, Said, run,
};
use perihelion::ros2::recorder::{RecordWhen, Recorded, Recorder, RecorderOptions};
use perihelion::ros2::transport::{Delivery, ImageTransport, Memory, Transport};
use script::{MS, Script, image, image_body};
use serde_json::Value;

/// A message of a recording: its topic, when it came in milliseconds, and its body.
type Kept = (String, i64, ByteOrder, Vec<u8>);

/// What a recording holds, in the order of the file. Every digest in it is compared.
fn kept(path: &Path) -> Vec<Kept> {
    let bytes = fs::read(path).unwrap();
    let one = |message: Result<mcap::Message<'_>, mcap::McapError>| {
        let message = message.unwrap();
        let schema = message.channel.schema.as_ref().unwrap();
        assert!(!schema.data.is_empty() && schema.encoding == "ros2msg", "{}", schema.name);
        let (order, body) = split_encapsulation(&message.data).unwrap();
        (message.channel.topic.clone(), message.log_time as i64 / MS, order, body.to_vec())
    };
    mcap::MessageStream::new(&bytes).unwrap().map(one).collect()
}

fn camera(transport: &dyn Transport, topic: &str) -> Arc<Camera> {
    let (name, topic) = ("camera".to_owned(), topic.to_owned());
    let options = CameraOptions { name, topic, frame_bytes_max: 100_000, pixels_max: 100_000 };
    let max_age = Duration::from_secs(1);
    let listener =
        ListenerOptions { clip_frames: 1, clip_rate_hz: 1.0, follow_frames: 0, pictures: 1, max_age };
    Arc::new(Camera::new(options, transport.clock(), &[listener]))
}

fn subscribe(transport: &dyn Transport, topic: &str, form: ImageTransport) -> Arc<Camera> {
    let camera = camera(transport, topic);
    transport.subscribe_images(form, Arc::clone(&camera)).unwrap();
    camera
}

fn say(transport: &dyn Transport, topic: &str, text: &str) {
    let publisher = transport.advertise(topic, Text::TYPE, Delivery::Reliable).unwrap();
    publisher.publish(encode(&Text { data: text.to_owned() })).unwrap();
}

fn options(place: &Path, when: RecordWhen) -> RecorderOptions {
    RecorderOptions { when, ..RecorderOptions::new(place) }
}

#[test]
fn what_comes_and_what_is_said_is_recorded_to_the_byte() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("out.mcap");
    let memory = Memory::new(Arc::new(Clock::stepped()));
    let recorder = Recorder::begin(options(&place, RecordWhen::Always), memory.clock()).unwrap();
    let recorded = Recorded::new(&memory, &recorder);
    let _cameras = [
        subscribe(&recorded, "/front/image", ImageTransport::Raw),
        subscribe(&recorded, "/rear/image/compressed", ImageTransport::Compressed),
    ];
    let mut expected: Vec<Kept> = Vec::new();
    for i in 0..40i64 {
        memory.clock().set(i * 100 * MS);
        let data: Vec<u8> = (0..900).map(|k| (i * 31 + k) as u8).collect();
        let raw = image_body(i * 90 * MS, 30, &data);
        memory.inject("/front/image", ImageView::TYPE, &raw, ByteOrder::Little);
        expected.push(("/front/image".into(), i * 100, ByteOrder::Little, raw));
        let header = HeaderView { stamp: Time::from_ns(i), frame_id: ShortString::default() };
        let format = ShortString::new("jpeg").unwrap();
        let file = encode(&CompressedImageView { header, format, data: &data[..70 + i as usize] });
        let rear = "/rear/image/compressed";
        memory.inject(rear, CompressedImageView::TYPE, &file, ByteOrder::Little);
        expected.push((rear.into(), i * 100, ByteOrder::Little, file));
        say(&recorded, "/eye/answer", &format!("answer {i}"));
        let body = encode(&Text { data: format!("answer {i}") });
        expected.push(("/eye/answer".into(), i * 100, ByteOrder::Little, body));
    }
    // What is no image; and one of the other order.
    memory.inject("/front/image", ImageView::TYPE, &[1, 2, 3], ByteOrder::Little);
    let swapped = big_endian_empty_image();
    memory.inject("/front/image", ImageView::TYPE, &swapped, ByteOrder::Big);
    expected.push(("/front/image".into(), 3900, ByteOrder::Big, swapped));
    recorder.finish().unwrap();
    let kept = kept(&place);
    assert_eq!(kept.len(), expected.len());
    for (i, (kept, expected)) in kept.iter().zip(&expected).enumerate() {
        assert!(kept == expected, "message {i}: {} at {} ms", kept.0, kept.1);
    }
    assert_eq!(memory.published("/eye/answer").len(), 40, "the graph hears all of it");
}

/// An image of no pixels, `mono8`, as a machine of the other order writes it.
fn big_endian_empty_image() -> Vec<u8> {
    let mut body = Vec::new();
    let numbers = |numbers: [u32; 3]| numbers.map(u32::to_be_bytes).concat();
    // Stamp, and a name of one zero.
    body.extend(numbers([0, 5, 1]));
    body.extend_from_slice(&[0; 4]);
    body.extend(numbers([0, 0, 6]));
    body.extend_from_slice(b"mono8\0");
    // Whether wide samples are the other way round, and up to the next number.
    body.extend_from_slice(&[0; 2]);
    body.extend_from_slice(&[0; 8]);
    body
}

#[test]
fn a_bag_is_recorded_twice_alike_and_its_topics_stay() {
    let dir = tempfile::tempdir().unwrap();
    let record = |name: &str| {
        let place = dir.path().join(name);
        let events = (0..30).map(|i| image(1000 + 100 * i, 2, vec![i as u8; 12])).collect();
        let script = Script::new(Clock::stepped(), events);
        let recorder = Recorder::begin(options(&place, RecordWhen::Used), script.clock()).unwrap();
        let recorded = Recorded::new(&script, &recorder);
        let node = NodeOptions { recording: recorder.recording(), ..node_options() };
        let mut engine = Says(|_: &Question<'_>| Outcome::Made(Answer::default()));
        run(&recorded, &node, Engines::answering(&mut engine), &AtomicBool::new(false), &mut |_| {}).unwrap();
        recorder.finish().unwrap();
        fs::read(place).unwrap()
    };
    let bytes = record("one.mcap");
    assert!(bytes == record("two.mcap"), "two runs differ");
    let summary = mcap::Summary::read(&bytes).unwrap().unwrap();
    let topics: Vec<&str> = summary.channels.values().map(|channel| channel.topic.as_str()).collect();
    for topic in
        ["/image", "/eye/answer", "/eye/answer/json", "/eye/answer/typed", "/eye/detections", "/diagnostics"]
    {
        assert!(topics.contains(&topic), "{topic} is not among {topics:?}");
    }
}

fn node_options() -> NodeOptions {
    let name = NodeName::new("/", "eye").unwrap();
    NodeOptions { max_image_bytes: 4096, max_pixels: 64, ..NodeOptions::new(name) }
}

struct Says<F>(F);

impl<F: FnMut(&Question<'_>) -> Outcome + Send> Answerer for Says<F> {
    fn answer(&mut self, question: &Question<'_>) -> Outcome {
        (self.0)(question)
    }
}

#[test]
fn each_answers_frames_are_there_and_no_others() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("out.mcap");
    let bodies: Vec<Vec<u8>> =
        (0..50).map(|i| image_body((1000 + 100 * i) * MS, 2, &[i as u8; 12])).collect();
    let events = (0..50).map(|i| image(1000 + 100 * i, 2, vec![i as u8; 12])).collect();
    let script = Script::new(Clock::stepped(), events);
    let recorder = Recorder::begin(options(&place, RecordWhen::Used), script.clock()).unwrap();
    let recorded = Recorded::new(&script, &recorder);
    // Clips of three at five a second, one question a second.
    let node = NodeOptions {
        recording: recorder.recording(),
        clip_frames: 3,
        clip_rate_hz: 5.0,
        max_rate_hz: 1.0,
        ..node_options()
    };
    let mut asked: Vec<i64> = Vec::new();
    let mut engine = Says(|question: &Question<'_>| {
        asked.extend(question.frames.iter().map(|received| received.frame.stamp_ns / MS));
        Outcome::Made(Answer::default())
    });
    run(&recorded, &node, Engines::answering(&mut engine), &AtomicBool::new(false), &mut |_| {}).unwrap();
    recorder.finish().unwrap();
    let kept = kept(&place);
    let of = |topic: &str| kept.iter().filter(|(name, ..)| name == topic).collect::<Vec<_>>();
    let answers = of("/eye/answer/json");
    assert!(4 <= answers.len(), "{} answers", answers.len());
    assert_eq!(of("/eye/answer/typed").len(), answers.len());
    let mut stamps = Vec::new();
    for (.., body) in &answers {
        let text = decode::<Text>(body, ByteOrder::Little).unwrap().data;
        let answer: Value = serde_json::from_str(&text).unwrap();
        for stamp in answer["stamps"].as_array().unwrap() {
            let [sec, nanosec] = ["sec", "nanosec"].map(|part| stamp[part].as_i64().unwrap());
            stamps.push(sec * 1000 + nanosec / MS);
        }
    }
    assert_eq!(stamps, asked);
    stamps.sort_unstable();
    stamps.dedup();
    assert!(stamps.len() < 50, "some frames are of no answer");
    let frames = of("/image");
    let mut times: Vec<i64> = frames.iter().map(|(_, at_ms, ..)| *at_ms).collect();
    times.sort_unstable();
    assert_eq!(times, stamps);
    for (_, at_ms, _, body) in frames {
        assert!(*body == bodies[(*at_ms as usize - 1000) / 100], "the frame of {at_ms} ms");
    }
}

/// Forecasts three frames from two, ten a second, and is surprised by the frames of these milliseconds.
struct Startled<'a> {
    shape: ForecastShape,
    by: &'a [i64],
}

impl Forecaster for Startled<'_> {
    fn shape(&self) -> &ForecastShape {
        &self.shape
    }

    fn look(&mut self, look: &Look<'_>, tell: &mut dyn FnMut(Glimpse<'_>)) -> Outcome<Forecast> {
        for (frame, received) in look.frames.iter().enumerate() {
            let is_news = self.by.contains(&(received.frame.stamp_ns / MS));
            let latent = Some(if is_news { 0.9 } else { 0.4 });
            tell(Glimpse::Surprise { frame, ahead: 1, latent, pixels: None });
        }
        Outcome::Made(Forecast::default())
    }
}

#[test]
fn frames_around_two_surprises_are_kept_and_no_others() {
    let dir = tempfile::tempdir().unwrap();
    let frames_of = |around_ms: u64, by: &[i64], limit: f64| {
        let place = dir.path().join("out.mcap");
        let events = (0..100).map(|i| image(1000 + 100 * i, 2, vec![i as u8; 12])).collect();
        let script = Script::new(Clock::stepped(), events);
        let around = Duration::from_millis(around_ms);
        let recording = RecorderOptions { around, ..options(&place, RecordWhen::Surprise) };
        let recorder = Recorder::begin(recording, script.clock()).unwrap();
        let recorded = Recorded::new(&script, &recorder);
        let mut node = NodeOptions { recording: recorder.recording(), ..node_options() };
        node.ask_when.surprise = limit;
        let action_names = Vec::new();
        let shape = ForecastShape {
            n_given: 2,
            horizon: 3,
            rate_hz: 10.0,
            width: 2,
            height: 2,
            action_names,
            action_limits: Vec::new(),
        };
        let mut engine = Startled { shape, by };
        let engines = Engines::forecasting(&mut engine);
        run(&recorded, &node, engines, &AtomicBool::new(false), &mut |_| {}).unwrap();
        recorder.finish().unwrap();
        let kept = kept(&place);
        assert!(10 < kept.iter().filter(|(topic, ..)| topic == "/eye/surprise").count());
        let mut times: Vec<i64> =
            kept.iter().filter(|(topic, ..)| topic == "/image").map(|(_, at_ms, ..)| *at_ms).collect();
        times.sort_unstable();
        times
    };
    let around = |at_ms: i64, by_ms: i64| (at_ms - by_ms..=at_ms + by_ms).step_by(100);
    let two: Vec<i64> = around(3000, 500).chain(around(8000, 500)).collect();
    assert_eq!(frames_of(500, &[3000, 8000], 0.5), two);
    assert_eq!(frames_of(500, &[], 0.5), [0; 0]);
    assert_eq!(frames_of(500, &[3000, 8000], 0.95), [0; 0], "neither is beyond the limit");
    let near: Vec<i64> = (2000..=4400).step_by(100).collect();
    assert_eq!(frames_of(1000, &[3000, 3400], 0.5), near, "each frame once");
}

#[test]
fn a_recording_ends_at_its_limit_and_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("out.mcap");
    let memory = Memory::new(Arc::new(Clock::stepped()));
    let bytes_max = 1 << 20;
    let recording = RecorderOptions { bytes_max, ..options(&place, RecordWhen::Always) };
    let recorder = Recorder::begin(recording, memory.clock()).unwrap();
    let recorded = Recorded::new(&memory, &recorder);
    let _camera = subscribe(&recorded, "/image", ImageTransport::Raw);
    // Noise, so that nothing of it can be compressed.
    let mut seed = 1u64;
    let mut noise = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as u8
    };
    let mut sent = Vec::new();
    for i in 0..100i64 {
        memory.clock().set(i * 100 * MS);
        let body = image_body(i * MS, 100, &(0..30_000).map(|_| noise()).collect::<Vec<u8>>());
        memory.inject("/image", ImageView::TYPE, &body, ByteOrder::Little);
        sent.push(body);
        say(&recorded, "/eye/answer", "clear");
    }
    let handle = recorder.recording();
    recorder.finish().unwrap();
    let troubles = handle.troubles(0);
    assert!(troubles.len() == 1 && troubles[0].contains("--record-limit, 1048576 bytes"), "{troubles:?}");
    let length = fs::metadata(&place).unwrap().len();
    assert!((bytes_max * 9 / 10..=bytes_max).contains(&length), "{length} bytes");
    let kept = kept(&place);
    let frames: Vec<&Vec<u8>> =
        kept.iter().filter(|(topic, ..)| topic == "/image").map(|(.., body)| body).collect();
    assert!(25 < frames.len() && frames.into_iter().eq(&sent[..kept.len().div_ceil(2)]), "the first of them");
    assert_eq!(memory.published("/eye/answer").len(), 100, "the node goes on");
    let names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["out.mcap"]);
}

#[test]
fn what_finds_no_room_is_counted_and_the_node_does_not_wait() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("out.mcap");
    let memory = Memory::new(Arc::new(Clock::system()));
    let recording = RecorderOptions { buffer_bytes: 1 << 20, ..options(&place, RecordWhen::Always) };
    let recorder = Recorder::begin(recording, memory.clock()).unwrap();
    let recorded = Recorded::new(&memory, &recorder);
    let handle = recorder.recording();
    let now_ns = || memory.clock().now().steady_ns;
    say(&recorded, "/eye/answer", "clear");
    assert_eq!(handle.troubles(now_ns()), [""; 0]);
    say(&recorded, "/eye/answer", &"x".repeat(2 << 20));
    let troubles = handle.troubles(now_ns());
    assert!(troubles.len() == 1 && troubles[0].starts_with("1 messages were not recorded"), "{troubles:?}");
    let lost = handle.figures().find(|(name, _)| *name == "recording_lost").unwrap();
    assert_eq!(lost.1, "1");
    say(&recorded, "/eye/answer", "clear again");
    recorder.finish().unwrap();
    assert_eq!(kept(&place).len(), 2);
    assert_eq!(memory.published("/eye/answer").len(), 3);
}

#[test]
fn a_folder_that_goes_ends_the_recording_and_not_the_node() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("drive");
    fs::create_dir(&folder).unwrap();
    let memory = Memory::new(Arc::new(Clock::stepped()));
    let recorder =
        Recorder::begin(options(&folder.join("out.mcap"), RecordWhen::Always), memory.clock()).unwrap();
    let recorded = Recorded::new(&memory, &recorder);
    let handle = recorder.recording();
    fs::remove_dir_all(&folder).unwrap();
    for second in 0..100 {
        memory.clock().set(second * 1000 * MS);
        say(&recorded, "/eye/answer", "clear");
    }
    let failed = recorder.finish().unwrap_err().to_string();
    assert!(failed.contains("out.partial.mcap is not there any more"), "{failed}");
    let troubles = handle.troubles(0);
    assert!(troubles.len() == 1 && troubles[0].contains("nothing is recorded any more"), "{troubles:?}");
    assert_eq!(memory.published("/eye/answer").len(), 100);
}

#[test]
fn diagnostics_say_that_a_recording_broke_while_answers_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("drive");
    fs::create_dir(&folder).unwrap();
    let memory = Memory::new(Arc::new(Clock::system()));
    let recorder =
        Recorder::begin(options(&folder.join("out.mcap"), RecordWhen::Used), memory.clock()).unwrap();
    let recorded = Recorded::new(&memory, &recorder);
    let handle = recorder.recording();
    let node = NodeOptions { recording: handle.clone(), ..node_options() };
    let (stop, mut n_after) = (AtomicBool::new(false), 0);
    let mut engine = Says(|_: &Question<'_>| Outcome::Made(Answer::default()));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Relaxed) {
                let now_ns = memory.clock().now().ros_ns;
                let body = image_body(now_ns, 2, &[7; 12]);
                memory.inject("/image", ImageView::TYPE, &body, ByteOrder::Little);
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let mut hear = |_: Said<'_>| {
            if n_after == 0 {
                // Gone with the first answer; again and again would be as good.
                drop(fs::remove_dir_all(&folder));
            }
            n_after += usize::from(!handle.troubles(0).is_empty());
            stop.fetch_or(10 < n_after, Relaxed);
        };
        run(&recorded, &node, Engines::answering(&mut engine), &stop, &mut hear).unwrap();
    });
    assert!(recorder.finish().is_err());
    let bodies = memory.published("/diagnostics");
    let last: DiagnosticArray = decode(bodies.last().unwrap(), ByteOrder::Little).unwrap();
    let status = &last.status[0];
    assert_eq!(status.level, 1, "{}", status.message);
    assert!(status.message.contains("nothing is recorded any more"), "{}", status.message);
    let names = ["recorded", "recorded_bytes", "recording_lost"];
    assert!(names.iter().all(|name| status.values.iter().any(|value| value.key == *name)));
}

#[test]
fn a_node_that_rests_between_is_recorded_in_one_file() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("out.mcap");
    let memory = Memory::new(Arc::new(Clock::stepped()));
    let recorder = Recorder::begin(options(&place, RecordWhen::Always), memory.clock()).unwrap();
    let recorded = Recorded::new(&memory, &recorder);
    for turn in 0..3 {
        let camera = subscribe(&recorded, "/image", ImageTransport::Raw);
        let send = |ms: i64| {
            memory.clock().set(ms * MS);
            memory.inject("/image", ImageView::TYPE, &image_body(ms * MS, 2, &[7; 12]), ByteOrder::Little);
        };
        send(turn * 1000);
        recorded.ignore_images(camera.topic());
        send(turn * 1000 + 500);
    }
    recorder.finish().unwrap();
    let kept = kept(&place);
    assert_eq!(kept.iter().map(|(_, at_ms, ..)| *at_ms).collect::<Vec<_>>(), [0, 1000, 2000]);
    let bytes = fs::read(&place).unwrap();
    assert_eq!(mcap::Summary::read(&bytes).unwrap().unwrap().channels.len(), 1);
}

#[test]
fn a_recording_comes_into_its_place_whole_and_one_that_was_cut_short_is_left_to_play() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let there = || {
        let names = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    };
    let (out, partial) = (at("out.mcap"), at("out.partial.mcap"));
    fs::write(&out, b"what was recorded before").unwrap();
    let memory = Memory::new(Arc::new(Clock::stepped()));
    let begin = || Recorder::begin(options(&out, RecordWhen::Never), memory.clock());
    drop(begin().unwrap());
    assert_eq!(there(), ["out.mcap"], "nothing was recorded, nothing is left");

    let recorder = begin().unwrap();
    let recorded = Recorded::new(&memory, &recorder);
    for ms in [0, 600, 1200] {
        memory.clock().set(ms * MS);
        say(&recorded, "/eye/answer", "clear");
    }
    // As a process leaves it that is killed now: what is on the disk, and no index.
    let on_disk = || {
        let left = fs::read(&partial).unwrap();
        let options = mcap::read::Options::IgnoreEndMagic.into();
        let messages = mcap::MessageStream::new_with_options(&left, options).unwrap();
        messages.take_while(Result::is_ok).count()
    };
    // Its thread writes it in its own time.
    while on_disk() < 3 {
        std::thread::yield_now();
    }
    assert_eq!(fs::read(&out).unwrap(), b"what was recorded before");
    let refused = begin().err().unwrap().to_string();
    assert!(refused.contains("another process records in it"), "{refused}");
    drop(recorder);
    assert_eq!(there(), ["out.mcap", "out.partial.mcap"]);
    let left = fs::read(&partial).unwrap();
    fs::write(at("out.partial-1.mcap"), b"left before that").unwrap();

    let recorder = begin().unwrap();
    say(&Recorded::new(&memory, &recorder), "/eye/answer", "clear");
    recorder.finish().unwrap();
    // What was left is kept under the first name that is free.
    assert_eq!(there(), ["out.mcap", "out.partial-1.mcap", "out.partial-2.mcap"]);
    assert!(fs::read(at("out.partial-2.mcap")).unwrap() == left);
    assert_eq!(fs::read(at("out.partial-1.mcap")).unwrap(), b"left before that");
    assert_eq!(kept(&out).len(), 1);
}
