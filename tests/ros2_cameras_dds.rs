//! Two cameras of one node over DDS on the loopback interface: one sends raw images and is read reliably, the other JPEG.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use perihelion::frames::clock::Clock;
use perihelion::ros2::arguments::RosArguments;
use perihelion::ros2::messages::{
    CompressedImageView, HeaderView, ImageView, Message, ShortString, Text, Time, decode, encode,
};
use perihelion::ros2::names::NodeName;
use perihelion::ros2::node::{Answer, Answerer, AskCameras, Engines, NodeOptions, Outcome, Question, run};
use perihelion::ros2::transport::{
    Dds, DdsOptions, Delivery, MessageSink, Publisher, Transport, Walled, WalledOptions, free_domain,
};

const PATIENCE: Duration = Duration::from_secs(60);
const SIDE: u32 = 64;

/// Says how large the images of a question are.
struct Sizes;

impl Answerer for Sizes {
    fn answer(&mut self, question: &Question<'_>) -> Outcome {
        let size = |received: &perihelion::frames::frame::Received| received.frame.size().unwrap();
        let text = format!("{:?}", question.frames.iter().map(size).collect::<Vec<_>>());
        Outcome::Made(Answer { text, ..Answer::default() })
    }
}

fn header() -> HeaderView {
    let stamp = Time::from_ns(Clock::system().now().ros_ns);
    HeaderView { stamp, frame_id: ShortString::new("cam").unwrap() }
}

fn raw() -> Vec<u8> {
    let data = vec![80; (3 * SIDE * SIDE) as usize];
    let encoding = ShortString::new("rgb8").unwrap();
    encode(&ImageView {
        header: header(),
        height: SIDE,
        width: SIDE,
        encoding,
        is_bigendian: 0,
        step: 3 * SIDE,
        data: &data,
    })
}

fn jpeg() -> Vec<u8> {
    let side = SIDE as u16 / 2;
    let mut data = Vec::new();
    let pixels = vec![120; 3 * usize::from(side) * usize::from(side)];
    jpeg_encoder::Encoder::new(&mut data, 90)
        .encode(&pixels, side, side, jpeg_encoder::ColorType::Rgb)
        .unwrap();
    data.resize(data.len().next_multiple_of(4), 0);
    let format = ShortString::new("jpeg").unwrap();
    encode(&CompressedImageView { header: header(), format, data: &data })
}

/// Counts what a node, behind its wall or without, says of its cameras, until each text was heard five times.
fn heard(is_walled: bool, ask: AskCameras, texts: &[&str]) {
    let domain_id = free_domain();
    let dds = |name: &str| DdsOptions::local(NodeName::new("/test", name).unwrap(), domain_id);
    let clock = || Arc::new(Clock::system());
    let mut options = NodeOptions::new(NodeName::new("/test", "eye").unwrap());
    options.cameras.named = ["front=/front/image", "rear=/rear/image"].map(|one| one.parse().unwrap()).into();
    options.cameras.ask = ask;
    options.cameras.tolerance = Duration::from_secs(1);
    (options.max_image_bytes, options.max_pixels) = (20_000, 64 * 64);
    let ros = "--ros-args -p rear.image_transport:=compressed -p front.image_reliability:=reliable";
    let (arguments, _) = RosArguments::split(ros.split_whitespace().map(str::to_owned)).unwrap();
    assert_eq!(options.assign(&arguments).unwrap(), [""; 0]);
    let told = options.image_topics().unwrap().into_iter().map(|image| (image.topic, image.reliability));
    let dds_of_node = DdsOptions { image_reliability_of: told.collect(), ..dds("eye") };
    let node: Box<dyn Transport> = if is_walled {
        let program = env!("CARGO_BIN_EXE_perihelion").into();
        let image_bytes_max = options.max_image_bytes;
        let walled = WalledOptions { dds: dds_of_node, program, image_bytes_max, n_cameras: 2 };
        Box::new(Walled::join(walled, clock()).expect("the network's process"))
    } else {
        Box::new(Dds::join(&dds_of_node, clock()).expect("a participant on the loopback interface"))
    };
    let beside = Dds::join(&dds("cameras"), clock()).expect("a participant on the loopback interface");
    let publish = |topic: &str, ros_type| beside.advertise(topic, ros_type, Delivery::Reliable).unwrap();
    let front: Box<dyn Publisher> = publish("/front/image", ImageView::TYPE);
    let rear = publish("/rear/image/compressed", CompressedImageView::TYPE);
    let (sender, answers) = std::sync::mpsc::channel();
    let sink: MessageSink = Box::new(move |body| {
        let (body, order) = body.unwrap();
        // The test may have ended.
        let _ = sender.send(decode::<Text>(body, order).unwrap().data.trim_end().to_owned());
    });
    beside.subscribe("/test/eye/answer", Text::TYPE, Delivery::Reliable, sink).unwrap();

    let stop = AtomicBool::new(false);
    let report = std::thread::scope(|scope| {
        let running = scope.spawn(|| {
            let mut sizes = Sizes;
            run(&*node, &options, Engines::answering(&mut sizes), &stop, &mut |_| {}).unwrap()
        });
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        let deadline = Instant::now() + PATIENCE;
        let is_enough = |counts: &BTreeMap<String, usize>| {
            texts.iter().all(|text| counts.get(*text).is_some_and(|n| 5 <= *n))
        };
        while !is_enough(&counts) && Instant::now() < deadline {
            // A reader that has not confirmed yet is written to again in a moment.
            let _ = (front.publish(raw()), rear.publish(jpeg()));
            std::thread::sleep(Duration::from_millis(20));
            answers.try_iter().for_each(|text| *counts.entry(text).or_default() += 1);
        }
        stop.store(true, Relaxed);
        let report = running.join().unwrap();
        assert!(is_enough(&counts), "{counts:?}");
        assert_eq!(counts.len(), texts.len(), "{counts:?}");
        report
    });
    for (name, camera) in ["front", "rear"].iter().zip(&report.cameras) {
        let accounts = camera.answers.unwrap();
        assert!(accounts.balance() && 5 <= accounts.served && accounts.in_flight == 0, "{name}: {accounts}");
    }
    let choice = |topic: &str| {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // The network's process tells it in a moment.
            match node.reception(topic) {
                Some(reception) => return reception.choice,
                None => assert!(Instant::now() < deadline, "how {topic} is read"),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    assert!(choice("/front/image").is_reliable, "{:?}", choice("/front/image"));
    assert_ne!(
        choice("/front/image").why,
        choice("/rear/image/compressed").why,
        "each is read in its own way"
    );
}

#[test]
fn each_camera_is_heard_as_it_was_told_and_both_are_asked_about_together() {
    // One after the other: a domain is free until somebody is in it.
    for is_walled in [false, true] {
        heard(is_walled, AskCameras::Each, &["[(64, 64)]", "[(32, 32)]"]);
        heard(is_walled, AskCameras::All, &["[(64, 64), (32, 32)]"]);
    }
}
