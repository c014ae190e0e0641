//! Logs with planted stretches, made of rendered tables that a camera passes over.

use std::collections::HashMap;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::sync::{Mutex, OnceLock};

use perihelion::drawing::{Alignment, Canvas, Color, Point};
use perihelion::ros2::messages::{
    CompressedImageView, HeaderView, ImageView, Message, ShortString, Text, Time, Twist, Vector3, encode,
};
use perihelion::ros2::transport::BagWriter;
use perihelion::scenes::robot::{Clip, ClipOptions, Split};

pub(crate) const WIDTH: usize = 64;
pub(crate) const HEIGHT: usize = 48;
/// Of the tables that are passed over.
const SIDE: usize = 128;
/// Time between frames.
const STEP_NS: i64 = 125_000_000;

/// Packed RGB.
pub(crate) type Frame = Vec<u8>;

/// `n` frames of a camera that passes over table `index`, from step `from` on, two pixels a step.
pub(crate) fn pass(index: u64, from: usize, n: usize) -> Vec<Frame> {
    static TABLES: OnceLock<Mutex<HashMap<u64, Frame>>> = OnceLock::new();
    let mut tables = TABLES.get_or_init(Mutex::default).lock().unwrap();
    let table = tables.entry(index).or_insert_with(|| {
        let options = ClipOptions { n_objects_max: 6, ..ClipOptions::default() };
        let mut rgb = vec![0; 3 * SIDE * SIDE];
        Clip::draw(Split::Train, index, &options).render(0, SIDE, &mut rgb);
        rgb
    });
    let window = |step: usize| {
        let rows = 20..20 + HEIGHT;
        rows.flat_map(|y| &table[3 * (y * SIDE + 2 * step)..][..3 * WIDTH]).copied().collect()
    };
    (from..from + n).map(window).collect()
}

/// The same with noise of a sensor, `light` times as bright.
pub(crate) fn seen_again(frames: &[Frame], light: f64) -> Vec<Frame> {
    let mut state = 1u64;
    let mut noise = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f64::from((state >> 33) as u32 % 7) - 3.0
    };
    let mut pixel = |value: &u8| (f64::from(*value) * light + noise()).clamp(0.0, 255.0) as u8;
    frames.iter().map(|frame| frame.iter().map(&mut pixel).collect()).collect()
}

/// A camera before which nothing moves.
pub(crate) fn still(frame: &Frame, n: usize) -> Vec<Frame> {
    seen_again(&vec![frame.clone(); n], 1.0)
}

pub(crate) fn dark(frames: &[Frame]) -> Vec<Frame> {
    frames.iter().map(|frame| frame.iter().map(|value| value / 20).collect()).collect()
}

/// Out of focus: three means of five by five.
pub(crate) fn blurred(frames: &[Frame]) -> Vec<Frame> {
    let mean = |frame: &Frame, along: usize, across: usize, n_along: usize, n_across: usize| {
        let mut out = frame.clone();
        for line in 0..n_across {
            for i in 0..n_along {
                for c in 0..3 {
                    let at = |j: isize| {
                        let j = j.clamp(0, n_along as isize - 1) as usize;
                        u32::from(frame[3 * (line * across + j * along) + c])
                    };
                    let sum: u32 = (-2..=2).map(|d| at(i as isize + d)).sum();
                    out[3 * (line * across + i * along) + c] = (sum / 5) as u8;
                }
            }
        }
        out
    };
    let blur = |frame: &Frame| {
        (0..3).fold(frame.clone(), |f, _| mean(&mean(&f, 1, WIDTH, WIDTH, HEIGHT), WIDTH, 1, HEIGHT, WIDTH))
    };
    frames.iter().map(blur).collect()
}

/// Pages that scroll.
pub(crate) fn text(n: usize) -> Vec<Frame> {
    let lines = ["robot takes", "a cup from", "the table", "error 404", "log of day", "nobody is", "near it"];
    let page = |at: usize| {
        let mut canvas = Canvas::new(WIDTH as u32, HEIGHT as u32);
        for row in 0..4 {
            let line = lines[(at + row) % lines.len()];
            canvas.text(Point::new(0, 7 + 14 * row as i32), Alignment::Left, line, Color::new(10, 10, 10));
        }
        canvas.rgb().to_vec()
    };
    (0..n).map(page).collect()
}

/// A recording: frames with their stamps.
#[derive(Clone, Debug, Default)]
pub(crate) struct Film {
    pub(crate) frames: Vec<(i64, Frame)>,
    pub(crate) now_ns: i64,
}

impl Film {
    pub(crate) fn new() -> Self {
        Self { frames: Vec::new(), now_ns: 1_000_000_000 }
    }

    /// Adds frames, eight a second.
    pub(crate) fn add(mut self, frames: impl IntoIterator<Item = Frame>) -> Self {
        for frame in frames {
            self.frames.push((self.now_ns, frame));
            self.now_ns += STEP_NS;
        }
        self
    }

    /// Nothing is recorded for so long.
    pub(crate) fn gap(mut self, seconds: i64) -> Self {
        self.now_ns += seconds * 1_000_000_000;
        self
    }

    /// As a bag of raw images on `/camera/image_raw`, and something else.
    pub(crate) fn bag(&self, path: &Path) {
        let mut bag = BagWriter::begin(BufWriter::new(File::create(path).unwrap())).unwrap();
        let image = bag.add("/camera/image_raw", ImageView::TYPE).unwrap();
        let clock = bag.add("/clock", "rosgraph_msgs/msg/Clock").unwrap();
        for (stamp_ns, frame) in &self.frames {
            bag.write(clock, *stamp_ns as u64, &encode(&Time::from_ns(*stamp_ns))).unwrap();
            let view = view(*stamp_ns, frame);
            // It is recorded a moment later.
            bag.write(image, *stamp_ns as u64 + 7, &encode(&view)).unwrap();
        }
        bag.finish().unwrap();
        std::io::Write::flush(&mut bag.into_inner()).unwrap();
    }

    /// As a folder of PNG.
    pub(crate) fn folder(&self, path: &Path) {
        std::fs::create_dir_all(path).unwrap();
        for (at, (_, frame)) in self.frames.iter().enumerate() {
            let file = path.join(format!("{at}.png"));
            let color = image::ExtendedColorType::Rgb8;
            image::save_buffer(file, frame, WIDTH as u32, HEIGHT as u32, color).unwrap();
        }
    }

    /// As JPEG files.
    pub(crate) fn jpegs(&self) -> Vec<(i64, Vec<u8>)> {
        let jpeg = |(stamp_ns, frame): &(i64, Frame)| {
            let mut bytes = Vec::new();
            let encoder = jpeg_encoder::Encoder::new(&mut bytes, 90);
            encoder.encode(frame, WIDTH as u16, HEIGHT as u16, jpeg_encoder::ColorType::Rgb).unwrap();
            (*stamp_ns, bytes)
        };
        self.frames.iter().map(jpeg).collect()
    }
}

/// A bag of compressed images on `/camera/image/compressed`.
pub(crate) fn compressed_bag(path: &Path, images: &[(i64, Vec<u8>)]) {
    let mut bag = BagWriter::begin(BufWriter::new(File::create(path).unwrap())).unwrap();
    let image = bag.add("/camera/image/compressed", CompressedImageView::TYPE).unwrap();
    for (stamp_ns, data) in images {
        let format = ShortString::new("jpeg").unwrap();
        let view = CompressedImageView { header: header(*stamp_ns), format, data };
        bag.write(image, *stamp_ns as u64, &encode(&view)).unwrap();
    }
    bag.finish().unwrap();
    std::io::Write::flush(&mut bag.into_inner()).unwrap();
}

/// A bag of raw images, and at each image's time, after it, the action of its number; texts at the fifth and the tenth.
pub(crate) fn acting_bag(path: &Path, film: &Film) {
    bag_with_actions(path, film, film);
}

fn view(stamp_ns: i64, frame: &[u8]) -> ImageView<'_> {
    ImageView {
        header: header(stamp_ns),
        height: HEIGHT as u32,
        width: WIDTH as u32,
        encoding: ShortString::new("rgb8").unwrap(),
        is_bigendian: 0,
        step: 3 * WIDTH as u32,
        data: frame,
    }
}

/// As [`acting_bag`], with the actions at those images alone that are in `acting`.
pub(crate) fn bag_with_actions(path: &Path, film: &Film, acting: &Film) {
    let mut bag = BagWriter::begin(BufWriter::new(File::create(path).unwrap())).unwrap();
    let image = bag.add("/camera/image_raw", ImageView::TYPE).unwrap();
    let action = bag.add("/cmd_vel", Twist::TYPE).unwrap();
    let [prompt, answer] = ["/prompt", "/answer"].map(|topic| bag.add(topic, Text::TYPE).unwrap());
    let said = |text: &str| encode(&Text { data: text.to_owned() });
    bag.write(prompt, 1, &said("push  ")).unwrap();
    for (at, (stamp_ns, frame)) in film.frames.iter().enumerate() {
        let view = view(*stamp_ns, frame);
        bag.write(image, *stamp_ns as u64, &encode(&view)).unwrap();
        let axis = |axis: usize| at as f64 + axis as f64 / 8.0;
        let linear = Vector3 { x: axis(0), y: axis(1), z: axis(2) };
        let angular = Vector3 { x: axis(3), y: axis(4), z: axis(5) };
        if acting.frames.iter().any(|(acting_ns, _)| acting_ns == stamp_ns) {
            bag.write(action, *stamp_ns as u64, &encode(&Twist { linear, angular })).unwrap();
        }
        match at {
            5 => bag.write(answer, *stamp_ns as u64, &said("I see 5")).unwrap(),
            10 => bag.write(prompt, *stamp_ns as u64, &said("stop")).unwrap(),
            _ => {}
        }
    }
    bag.finish().unwrap();
    std::io::Write::flush(&mut bag.into_inner()).unwrap();
}

/// A bag of something else.
pub(crate) fn clock_bag(path: &Path) {
    let mut bag = BagWriter::begin(BufWriter::new(File::create(path).unwrap())).unwrap();
    let clock = bag.add("/clock", "rosgraph_msgs/msg/Clock").unwrap();
    bag.write(clock, 7, &encode(&Time::from_ns(7))).unwrap();
    bag.finish().unwrap();
    std::io::Write::flush(&mut bag.into_inner()).unwrap();
}

fn header(stamp_ns: i64) -> HeaderView {
    HeaderView { stamp: Time::from_ns(stamp_ns), frame_id: ShortString::new("camera").unwrap() }
}
