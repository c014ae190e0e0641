//! JPEGs of what is seen, made when somebody asks, each once for everyone who does.
//!
//! They are made in the viewers' own threads, one at a time, and not more often than leaves most of a processor to the engines:
//! all kinds together, however many look. A frame is decoded anew for them, and no engine's picture is touched, so that none is waited for.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jpeg_encoder::{ColorType, Encoder};

use super::known::{Answered, Known};
use crate::camera::{Decoder, FrameSize, Picture};
use crate::frames::frame::Received;
use crate::ros2::messages::{HeaderView, Time};
use crate::ros2::node::annotated;
use crate::runtime::reason::Place;

/// Of pictures, out of 100.
const JPEG_QUALITY: u8 = 80;
/// Pixels of a row of a picture that is drawn over, at least.
const DRAWN_WIDTH_MIN: usize = 320;
/// Beyond so many rows a picture is not enlarged.
const DRAWN_HEIGHT_MAX: usize = 4096;
/// From one picture of the camera to the next at least.
const PERIOD: Duration = Duration::from_millis(60);
/// A picture of each kind is followed by a rest of so many times as long as the last ones of all kinds took together.
const REST: u32 = 4;

/// A picture with what it shows.
#[derive(Debug, Clone)]
pub(super) struct Shown<Number> {
    pub(super) number: Number,
    pub(super) jpeg: Arc<[u8]>,
    /// When the scene was seen, in ROS time.
    pub(super) seen_ns: i64,
    /// The stamp of what it shows, and the coordinate frame.
    pub(super) header: HeaderView,
    /// Of frames: when it was drawn.
    pub(super) age_ms: f64,
}

/// Makes pictures, and keeps the last of each kind.
#[derive(Default)]
pub(super) struct Pictures(Mutex<Studio>);

#[derive(Default)]
struct Studio {
    decoder: Option<Decoder>,
    /// The frame that is being drawn.
    rgb: Vec<u8>,
    frame: Kept<(u64, u64)>,
    answer: Kept<u64>,
    forecast: Kept<u64>,
}

struct Kept<Number> {
    shown: Option<Shown<Number>>,
    next: Option<Instant>,
    /// How long the last one took.
    took: Duration,
}

impl<Number> Default for Kept<Number> {
    fn default() -> Self {
        Self { shown: None, next: None, took: Duration::ZERO }
    }
}

impl<Number: PartialEq + Clone> Kept<Number> {
    /// Whether a picture of this number is to be made now.
    fn wants(&self, number: &Number) -> bool {
        let is_known = self.shown.as_ref().is_some_and(|shown| shown.number == *number);
        !is_known && self.next.is_none_or(|next| next <= Instant::now())
    }

    /// Keeps what was made since `began`; those of other kinds took `others` when they were made last.
    fn keep(&mut self, began: Instant, others: Duration, shown: Option<Shown<Number>>) {
        self.took = began.elapsed();
        self.next = Some(began + PERIOD.max((self.took + others) * (REST + 1)));
        // What cannot be shown leaves nothing to be taken for it.
        self.shown = shown;
    }
}

impl Pictures {
    /// The camera's newest frame; the last one that there was, if none is there now.
    pub(super) fn frame(&self, known: &Known) -> Option<Shown<(u64, u64)>> {
        let mut studio = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Studio { decoder, rgb, frame, answer, forecast } = &mut *studio;
        if let Some(newest) = known.newest()
            && frame.wants(&newest.number)
        {
            let began = Instant::now();
            let picture = newest.received.frame.decode_apart(decoder.get_or_insert_with(Decoder::new), rgb);
            let shown = picture.ok().and_then(|picture| {
                let jpeg = jpeg(picture.rgb, [picture.size.width, picture.size.height])?;
                let (seen_ns, header) = (newest.received.seen_ns, header(&newest.received));
                Some(Shown { number: newest.number, jpeg, seen_ns, header, age_ms: newest.age_ms })
            });
            frame.keep(began, answer.took + forecast.took, shown);
        }
        frame.shown.clone()
    }

    /// The frame of the last answer with what was said drawn over it.
    pub(super) fn answer(&self, known: &Known) -> Option<Shown<u64>> {
        let mut studio = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Studio { decoder, rgb, frame, answer, forecast } = &mut *studio;
        if let Some(newest) = known.answer()
            && answer.wants(&newest.number)
            && let Some(received) = newest.frame()
        {
            let began = Instant::now();
            let Answered { number, text, places, age_ms, .. } = &*newest;
            let picture = received.frame.decode_apart(decoder.get_or_insert_with(Decoder::new), rgb);
            let shown = picture.ok().and_then(|picture| {
                let jpeg = drawn_over(picture, text, places, *age_ms)?.into();
                let (seen_ns, header) = (received.seen_ns, header(&received));
                Some(Shown { number: *number, jpeg, seen_ns, header, age_ms: *age_ms })
            });
            answer.keep(began, frame.took + forecast.took, shown);
        }
        answer.shown.clone()
    }

    /// The frames of the last forecast beside each other.
    pub(super) fn forecast(&self, known: &Known) -> Option<Shown<u64>> {
        let mut studio = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Studio { frame, answer, forecast: kept, .. } = &mut *studio;
        if let Some(newest) = known.forecast()
            && kept.wants(&newest.number)
        {
            let began = Instant::now();
            let shown = newest.strip.picture().and_then(|(size, rgb)| {
                let (jpeg, header) = (jpeg(&rgb, size)?, HeaderView::default());
                Some(Shown { number: newest.number, jpeg, seen_ns: 0, header, age_ms: 0.0 })
            });
            kept.keep(began, frame.took + answer.took, shown);
        }
        kept.shown.clone()
    }
}

/// The picture with what was said of it, as the node draws it; a small one enlarged, or its letters would cover it.
fn drawn_over(picture: Picture<'_>, text: &str, places: &[Place], age_ms: f64) -> Option<Vec<u8>> {
    let FrameSize { width, height } = picture.size;
    let is_small = 0 < width && height <= DRAWN_HEIGHT_MAX / DRAWN_WIDTH_MIN.div_ceil(width);
    let scale = if is_small { DRAWN_WIDTH_MIN.div_ceil(width) } else { 1 };
    if scale == 1 {
        return annotated(picture.rgb, [width, height], text, places, age_ms);
    }
    let mut rgb = Vec::with_capacity(picture.rgb.len() * scale * scale);
    for row in picture.rgb.chunks_exact(3 * width) {
        let from = rgb.len();
        for pixel in row.chunks_exact(3) {
            (0..scale).for_each(|_| rgb.extend_from_slice(pixel));
        }
        let to = rgb.len();
        (1..scale).for_each(|_| rgb.extend_from_within(from..to));
    }
    let moved = |place: &Place| {
        let pixels = place.pixels.as_ref();
        let pixels = pixels.map(|pixels| pixels.iter().map(|pixel| pixel * scale as f64).collect());
        Place { pixels, ..place.clone() }
    };
    let places: Vec<Place> = places.iter().map(moved).collect();
    annotated(&rgb, [width, height].map(|side| side * scale), text, &places, age_ms)
}

fn header(received: &Received) -> HeaderView {
    HeaderView { stamp: Time::from_ns(received.frame.stamp_ns), frame_id: received.frame.frame_id }
}

/// None of what is too large for one.
fn jpeg(rgb: &[u8], [width, height]: [usize; 2]) -> Option<Arc<[u8]>> {
    let (width, height) = (u16::try_from(width).ok()?, u16::try_from(height).ok()?);
    let mut jpeg = Vec::new();
    Encoder::new(&mut jpeg, JPEG_QUALITY).encode(rgb, width, height, ColorType::Rgb).ok()?;
    Some(jpeg.into())
}
