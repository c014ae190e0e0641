//! What a camera tells of its lens, and what is told of it beside the pictures that a node makes of its images.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "support/script.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod script;

use std::sync::atomic::AtomicBool;

use perihelion::frames::clock::Clock;
use perihelion::ros2::messages::{
    ByteOrder, CameraInfo, CompressedImageView, ImageView, Message, RegionOfInterest, Text, decode, encode,
};
use perihelion::ros2::names::NodeName;
use perihelion::ros2::node::{
    Answer, Answerer, Engines, Forecast, ForecastShape, Forecaster, Glimpse, Look, NamedCamera, NodeOptions,
    Outcome, Question, run,
};
use perihelion::ros2::transport::{Memory, TopicSeen, Transport as _};
use script::{Event, MS, Script, image_body};

const OF_FORECASTS: &str = "/eye/forecast/camera_info";
const OF_ANSWERS: &str = "/eye/annotated/camera_info";
/// Pixels of a row of the camera's images, and their rows.
const WIDTH: u32 = 8;
const HEIGHT: u32 = 6;

struct Speaker;

impl Answerer for Speaker {
    fn answer(&mut self, _: &Question<'_>) -> Outcome {
        Outcome::Made(Answer { text: "a cup".into(), ..Answer::default() })
    }
}

/// Forecasts two frames of four by two pixels from one.
struct Seer(ForecastShape);

impl Seer {
    fn new() -> Self {
        let (n_given, horizon, rate_hz, width, height) = (1, 2, 10.0, 4, 2);
        Self(ForecastShape {
            n_given,
            horizon,
            rate_hz,
            width,
            height,
            action_names: Vec::new(),
            action_limits: Vec::new(),
        })
    }
}

impl Forecaster for Seer {
    fn shape(&self) -> &ForecastShape {
        &self.0
    }

    fn look(&mut self, _: &Look<'_>, tell: &mut dyn FnMut(Glimpse<'_>)) -> Outcome<Forecast> {
        for ahead in 1..=2 {
            tell(Glimpse::Frame { ahead, rgb: &[9; 24] });
        }
        Outcome::Made(Forecast::default())
    }
}

fn lens() -> CameraInfo {
    CameraInfo {
        width: WIDTH,
        height: HEIGHT,
        distortion_model: "plumb_bob".into(),
        d: vec![0.1, -0.2, 0.0, 0.0, 0.0],
        k: [6.0, 0.0, 4.0, 0.0, 6.0, 3.0, 0.0, 0.0, 1.0],
        r: [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        p: [5.0, 0.0, 4.0, -1.5, 0.0, 5.0, 3.0, 0.0, 0.0, 0.0, 1.0, 0.0],
        ..CameraInfo::default()
    }
}

fn tells(topic: &'static str, ros_type: &'static str, body: Vec<u8>) -> Event {
    Box::new(move |memory| memory.inject(topic, ros_type, &body, ByteOrder::Little))
}

fn of_lens(topic: &'static str, info: &CameraInfo) -> Event {
    tells(topic, CameraInfo::TYPE, encode(info))
}

fn shows(topic: &'static str, stamp_ms: i64) -> Event {
    Box::new(move |memory| {
        memory.clock().set(stamp_ms * MS);
        let body = image_body(stamp_ms * MS, WIDTH, &[7; (3 * WIDTH * HEIGHT) as usize]);
        memory.inject(topic, ImageView::TYPE, &body, ByteOrder::Little);
    })
}

fn is_heard(topic: &str, ros_type: &str) -> Event {
    let (name, ros_type) = (topic.to_owned(), ros_type.to_owned());
    Box::new(move |memory| memory.announce(TopicSeen { name, ros_type, publishers: 1, subscribers: 1 }))
}

/// Somebody looks at the annotated picture and hears what is told beside everything.
fn all_heard() -> Vec<Event> {
    vec![
        is_heard("/eye/annotated/compressed", CompressedImageView::TYPE),
        is_heard(OF_ANSWERS, CameraInfo::TYPE),
        is_heard(OF_FORECASTS, CameraInfo::TYPE),
    ]
}

fn options() -> NodeOptions {
    NodeOptions {
        max_image_bytes: 1000,
        max_pixels: 100,
        ..NodeOptions::new(NodeName::new("/", "eye").unwrap())
    }
}

/// What the node published among these events.
fn played(options: &NodeOptions, events: Vec<Event>) -> Memory {
    let script = Script::new(Clock::stepped(), events);
    let (mut speaker, mut seer) = (Speaker, Seer::new());
    let engines = Engines { answerer: Some(&mut speaker), forecaster: Some(&mut seer) };
    run(&script, options, engines, &AtomicBool::new(false), &mut |_| {}).unwrap();
    script.memory
}

fn infos(memory: &Memory, topic: &str) -> Vec<CameraInfo> {
    memory.published(topic).iter().map(|body| decode(body, ByteOrder::Little).unwrap()).collect()
}

#[test]
fn every_picture_has_the_lens_beside_it_with_its_own_stamp_and_size() {
    let mut events = all_heard();
    // It is heard from the first picture on.
    events.push(shows("/image", 1000));
    events.push(of_lens("/camera_info", &lens()));
    events.extend((1..4).map(|i| shows("/image", 1000 + 100 * i)));
    let memory = played(&options(), events);
    let stamps =
        |infos: &[CameraInfo]| -> Vec<i64> { infos.iter().map(|info| info.header.stamp.ns() / MS).collect() };
    let beside_forecasts = infos(&memory, OF_FORECASTS);
    let frames: Vec<i64> = memory
        .published("/eye/forecast")
        .iter()
        .map(|body| decode::<ImageView<'_>>(body, ByteOrder::Little).unwrap().header.stamp.ns() / MS)
        .collect();
    assert_eq!((stamps(&beside_forecasts), frames.len()), (frames[2..].to_vec(), 8));
    for info in &beside_forecasts {
        assert_eq!((info.width, info.height, info.header.frame_id.as_str()), (4, 2, "cam"));
        assert_eq!(info.k, [3.0, 0.0, 2.0, 0.0, 2.0, 1.0, 0.0, 0.0, 1.0]);
        assert_eq!(info.p, [2.5, 0.0, 2.0, -0.75, 0.0, 5.0 * (2.0 / 6.0), 1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
        assert_eq!((&info.d, info.r), (&lens().d, lens().r));
    }
    let beside_answers = infos(&memory, OF_ANSWERS);
    assert_eq!(stamps(&beside_answers), [1100, 1200, 1300]);
    for (info, body) in beside_answers.iter().zip(&memory.published("/eye/annotated/compressed")[1..]) {
        let picture: CompressedImageView<'_> = decode(body, ByteOrder::Little).unwrap();
        assert_eq!((info.header.stamp, info.header.frame_id.as_str()), (picture.header.stamp, "cam"));
        let header = info.header.clone();
        assert_eq!(*info, CameraInfo { header, ..lens() }, "the picture is of the image's size");
    }
}

#[test]
fn a_region_in_binning_is_told_of_as_the_image_that_it_is() {
    let whole = CameraInfo { width: 32, ..lens() };
    let roi = RegionOfInterest { x_offset: 8, y_offset: 4, width: 16, height: 12, do_rectify: true };
    let info = CameraInfo { height: 24, binning_x: 2, binning_y: 2, roi, ..whole };
    let mut events = all_heard();
    events.extend([shows("/image", 1000), of_lens("/camera_info", &info), shows("/image", 1100)]);
    let memory = played(&options(), events);
    let beside_forecasts = infos(&memory, OF_FORECASTS);
    assert_eq!(beside_forecasts.len(), 2);
    let found = &beside_forecasts[0];
    assert_eq!(
        (found.width, found.height, found.binning_x, found.roi),
        (4, 2, 0, RegionOfInterest::default())
    );
    // Less where the region begins, then from 16×12 to 4×2.
    assert_eq!(found.k, [1.5, 0.0, -1.0, 0.0, 1.0, -1.0 / 6.0, 0.0, 0.0, 1.0]);
    let found = &infos(&memory, OF_ANSWERS)[0];
    assert_eq!((found.k, found.roi, found.binning_y), (info.k, roi, 2));
}

#[test]
fn each_camera_has_its_own() {
    let mut options = options();
    for name in ["front", "rear"] {
        options.cameras.named.push(format!("{name}=/{name}/image_raw").parse::<NamedCamera>().unwrap());
    }
    let of = |f: f64| CameraInfo { k: [f, 0.0, 4.0, 0.0, f, 3.0, 0.0, 0.0, 1.0], ..lens() };
    let mut events = all_heard();
    events.extend([shows("/front/image_raw", 1000), shows("/rear/image_raw", 1050)]);
    events.extend([of_lens("/front/camera_info", &of(1.0)), of_lens("/rear/camera_info", &of(2.0))]);
    events.extend([
        shows("/front/image_raw", 1100),
        shows("/rear/image_raw", 1150),
        shows("/front/image_raw", 1200),
    ]);
    let memory = played(&options, events);
    let of_answers: Vec<f64> = infos(&memory, OF_ANSWERS).iter().map(|info| info.k[0]).collect();
    assert_eq!(of_answers, [1.0, 2.0, 1.0]);
    let of_forecasts: Vec<f64> = infos(&memory, OF_FORECASTS).iter().map(|info| info.k[0]).collect();
    assert_eq!(of_forecasts, [0.5; 4], "the first camera is forecast");
}

#[test]
fn nothing_is_told_where_nobody_hears_or_nothing_fits() {
    let silent = |events: Vec<Event>| {
        let memory = played(&options(), events);
        assert!(!memory.published("/eye/forecast").is_empty());
        (memory.published(OF_FORECASTS).len(), memory.published(OF_ANSWERS).len())
    };
    let show = |i: i64| shows("/image", 1000 + 100 * i);
    assert_eq!(silent(vec![show(0), of_lens("/camera_info", &lens()), show(1)]), (0, 0), "nobody hears");
    let beside = |body: Vec<u8>, ros_type: &'static str| {
        let mut events = all_heard();
        events.extend([show(0), tells("/camera_info", ros_type, body), show(1)]);
        silent(events)
    };
    assert_eq!(beside(encode(&lens()), CameraInfo::TYPE), (2, 1));
    assert_eq!(beside(encode(&lens()), Text::TYPE), (0, 0), "another type");
    assert_eq!(beside(encode(&CameraInfo { width: 9, ..lens() }), CameraInfo::TYPE), (0, 0), "other images");
    let mut other = lens();
    other.header.frame_id = "another".to_owned();
    assert_eq!(beside(encode(&other), CameraInfo::TYPE), (0, 0), "another camera's");
    let mut nan = lens();
    nan.k[0] = f64::NAN;
    assert_eq!(beside(encode(&nan), CameraInfo::TYPE), (0, 0), "no number");
    let (whole, mut n_told) = (encode(&lens()), 0);
    for cut in (0..whole.len()).step_by(7) {
        n_told += beside(whole[..cut].to_vec(), CameraInfo::TYPE).0;
    }
    // The region's last byte says what holds where there is none.
    assert_eq!(n_told, 0);
    // What was right and is wrong now is told no more; what is right again is.
    let mut events = all_heard();
    events.extend([
        show(0),
        of_lens("/camera_info", &lens()),
        show(1),
        of_lens("/camera_info", &nan),
        show(2),
    ]);
    events.extend([of_lens("/camera_info", &lens()), show(3)]);
    assert_eq!(silent(events), (4, 2));
}
