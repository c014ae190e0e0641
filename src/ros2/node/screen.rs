//! A forecast on its way out: its frames as they are decoded, a report at its end, and surprises.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::answer::{milliseconds, time};
use super::forecast_shape::ForecastShape;
use super::forecaster::Forecast;
use super::lens::{InfoTopic, Lens};
use super::options::Topics;
use crate::frames::clock::Moment;
use crate::frames::frame::{Age, Received};
use crate::frames::listener::Listener;
use crate::ros2::messages::{
    CameraInfo, Float32, ForecastMessage, Header, HeaderView, ImageView, Message, ShortString,
    SurpriseMessage, Text, Time, encode, encode_padded, padding_bytes,
};
use crate::ros2::transport::{Delivery, Publisher, Transport, TransportError};

const NANOSECONDS_PER_SECOND: f64 = 1e9;

/// A forecast that was published.
#[derive(Debug, Clone, PartialEq)]
pub struct PublishedForecast {
    /// What stands on the JSON topic.
    pub json: Map<String, Value>,
    /// The stamp of the newest frame that it was made from.
    pub stamp_ns: i64,
    /// Frames that were published.
    pub n_frames: usize,
    /// Whether these are fewer than there should have been.
    pub is_cut: bool,
    /// ROS time of the report less the stamp; since the receipt where the stamp cannot be right.
    pub age_ms: f64,
    /// From the taking of the frames to the report, in steady time.
    pub forecast_ms: f64,
    /// Of one step of the denoiser.
    pub step_ms: f64,
}

/// A comparison that was published.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PublishedSurprise {
    /// When the frame that came was seen: its stamp, or its receipt where the stamp cannot be right.
    pub stamp_ns: i64,
    /// How many frames after the forecast's clip it came, from 1.
    pub ahead: usize,
    /// In latent space: for the frame that ends a latent.
    pub latent: Option<f32>,
    /// In pixels: for a frame that was decoded.
    pub pixels: Option<f32>,
}

/// A forecast and what it was made from.
#[derive(Clone, Copy)]
pub(super) struct Made<'a> {
    pub(super) forecast: &'a Forecast,
    /// Where its actions come from, if it takes any.
    pub(super) actions: Option<&'a str>,
    /// The clip.
    pub(super) given: &'a [Received],
    /// Frames that were shown.
    pub(super) n_frames: usize,
    /// When work on it began.
    pub(super) began: Moment,
}

/// The topics of an engine that forecasts.
pub(super) struct Screen<'a> {
    frames: Box<dyn Publisher>,
    info: InfoTopic<'a>,
    lens: Arc<Lens>,
    json: Box<dyn Publisher>,
    typed: Box<dyn Publisher>,
    surprise: Box<dyn Publisher>,
    surprise_pixels: Box<dyn Publisher>,
    surprise_typed: Box<dyn Publisher>,
    shape: ForecastShape,
    listener: Arc<Listener>,
}

impl<'a> Screen<'a> {
    /// Announces its topics. What it shows is of the camera of this lens.
    pub(super) fn open(
        transport: &'a dyn Transport,
        topics: &Topics,
        (listener, lens): (&Arc<Listener>, &Arc<Lens>),
        shape: &ForecastShape,
        is_recorded: bool,
    ) -> Result<Self, TransportError> {
        let advertise = |topic: &str, ros_type| transport.advertise(topic, ros_type, Delivery::Reliable);
        Ok(Self {
            frames: advertise(&topics.forecast, ImageView::TYPE)?,
            info: InfoTopic::open(transport, &topics.forecast_info, is_recorded)?,
            lens: Arc::clone(lens),
            json: advertise(&topics.forecast_json, Text::TYPE)?,
            typed: advertise(&topics.forecast_typed, ForecastMessage::TYPE)?,
            surprise: advertise(&topics.surprise, Float32::TYPE)?,
            surprise_pixels: advertise(&topics.surprise_pixels, Float32::TYPE)?,
            surprise_typed: advertise(&topics.surprise_typed, SurpriseMessage::TYPE)?,
            shape: shape.clone(),
            listener: Arc::clone(listener),
        })
    }

    /// The time that the frame `ahead` frames after `newest` is about.
    fn stamp_ns(&self, newest: &Received, ahead: usize) -> i64 {
        let ns = ahead as f64 / self.shape.rate_hz * NANOSECONDS_PER_SECOND;
        newest.seen_ns.saturating_add(ns.round() as i64)
    }

    /// One frame of a forecast made from a clip that ends with `newest`.
    pub(super) fn image<'f>(&self, newest: &Received, ahead: usize, rgb: &'f [u8]) -> ImageView<'f> {
        let (width, height) = (self.shape.width as u32, self.shape.height as u32);
        let stamp = Time::from_ns(self.stamp_ns(newest, ahead));
        ImageView {
            header: HeaderView { stamp, frame_id: newest.frame.frame_id },
            height,
            width,
            encoding: ShortString::new("rgb8").expect("it is short"),
            is_bigendian: 0,
            step: 3 * width,
            data: rgb,
        }
    }

    /// What is told of the lens beside the frames of a forecast made from a clip that ends with `newest`, if anything is.
    pub(super) fn info(&self, newest: &Received) -> Option<CameraInfo> {
        self.info.of(&self.lens, newest, [self.shape.width as u32, self.shape.height as u32])
    }

    /// Publishes a frame, and what is told beside it; returns how many messages were not taken.
    pub(super) fn show(
        &self,
        newest: &Received,
        ahead: usize,
        rgb: &[u8],
        info: Option<&mut CameraInfo>,
    ) -> u64 {
        let image = self.image(newest, ahead, rgb);
        let is_lost = self.frames.publish(encode_image(image)).is_err();
        let is_info_lost = info.is_some_and(|info| !self.info.show(info, image.header.stamp));
        u64::from(is_lost) + u64::from(is_info_lost)
    }

    /// Publishes what a frame that came was compared with; returns how many messages were not taken.
    pub(super) fn compare(&self, surprise: &PublishedSurprise, came: &Received) -> u64 {
        let publish = |publisher: &dyn Publisher, value: Option<f32>| {
            let result = value.map(|data| publisher.publish(encode(&Float32 { data })));
            u64::from(matches!(result, Some(Err(_))))
        };
        let typed = SurpriseMessage {
            header: Header {
                stamp: Time::from_ns(surprise.stamp_ns),
                frame_id: came.frame.frame_id.as_str().to_owned(),
            },
            frames_ahead: surprise.ahead as u32,
            latent: surprise.latent.map_or(f64::NAN, f64::from),
            pixels: surprise.pixels.map_or(f64::NAN, f64::from),
        };
        publish(&*self.surprise, surprise.latent)
            + publish(&*self.surprise_pixels, surprise.pixels)
            + u64::from(self.surprise_typed.publish(encode_padded(&typed)).is_err())
    }

    /// Publishes the report of a forecast; the second value says if it was not taken.
    pub(super) fn report(&self, made: &Made<'_>, age: Age) -> (PublishedForecast, bool) {
        let Made { forecast, actions, given, n_frames, began } = *made;
        let newest = given.last().expect("a clip has at least one frame");
        let (stamp_ns, now, age_ms) = (newest.frame.stamp_ns, age.now, age.ms());
        let forecast_ms = milliseconds(now.steady_ns, began.steady_ns);
        let stamps: Vec<Value> = given.iter().map(|received| time(received.frame.stamp_ns)).collect();
        let mut json = Map::new();
        json.insert("frame_id".into(), json!(newest.frame.frame_id.as_str()));
        json.insert("stamp".into(), time(stamp_ns));
        json.insert("stamps".into(), Value::Array(stamps));
        json.insert("stamp_suspect".into(), json!(age.is_suspect));
        json.insert("timed_by".into(), json!(newest.timed_by.name()));
        json.insert("horizon_frames".into(), json!(self.shape.horizon));
        json.insert("forecast_frames".into(), json!(n_frames));
        json.insert("truncated".into(), json!(forecast.is_cut));
        json.insert("fps".into(), json!(self.shape.rate_hz));
        json.insert("forecast_until".into(), time(self.stamp_ns(newest, n_frames)));
        json.insert("age_ms".into(), json!(age_ms));
        json.insert("forecast_ms".into(), json!(forecast_ms));
        json.insert(
            "camera_to_forecast_ms".into(),
            json!(milliseconds(now.steady_ns, newest.receipt.steady_ns)),
        );
        json.insert("valid_until".into(), time(age.reaches_ns(self.listener.max_age_ns())));
        let Forecast { is_cut, encode_ms, denoise_ms, step_ms, decode_ms, n_steps, seed, latent_only } =
            *forecast;
        for (name, value) in [
            ("encode_ms", json!(encode_ms)),
            ("denoise_ms", json!(denoise_ms)),
            ("step_ms", json!(step_ms)),
            ("decode_ms", json!(decode_ms)),
            ("steps", json!(n_steps)),
            ("seed", json!(seed)),
            ("latent_only", json!(latent_only)),
        ] {
            json.insert(name.to_owned(), value);
        }
        if let Some(actions) = actions {
            json.insert("actions".into(), json!(actions));
        }
        let typed = self.message(made, age, self.listener.max_age_ns());
        let text = encode(&Text::padded(Value::Object(json.clone()).to_string()));
        let is_lost = self.json.publish(text).is_err() | self.typed.publish(encode_padded(&typed)).is_err();
        (PublishedForecast { json, stamp_ns, n_frames, is_cut, age_ms, forecast_ms, step_ms }, is_lost)
    }

    /// The report as a message, of a forecast that may be acted upon for so long after its clip was seen.
    pub(super) fn message(&self, made: &Made<'_>, age: Age, max_age_ns: i64) -> ForecastMessage {
        let Made { forecast, actions, given, n_frames, began } = *made;
        let Forecast { is_cut, encode_ms, denoise_ms, step_ms, decode_ms, n_steps, seed, latent_only } =
            *forecast;
        let newest = given.last().expect("a clip has at least one frame");
        ForecastMessage {
            header: Header {
                stamp: Time::from_ns(newest.frame.stamp_ns),
                frame_id: newest.frame.frame_id.as_str().to_owned(),
            },
            stamps: given.iter().map(|received| Time::from_ns(received.frame.stamp_ns)).collect(),
            stamp_suspect: age.is_suspect,
            timed_by: newest.timed_by.name().to_owned(),
            horizon_frames: self.shape.horizon as u32,
            forecast_frames: n_frames as u32,
            truncated: is_cut,
            fps: self.shape.rate_hz,
            forecast_until: Time::from_ns(self.stamp_ns(newest, n_frames)),
            age_ms: age.ms(),
            forecast_ms: milliseconds(age.now.steady_ns, began.steady_ns),
            camera_to_forecast_ms: milliseconds(age.now.steady_ns, newest.receipt.steady_ns),
            valid_until: Time::from_ns(age.reaches_ns(max_age_ns)),
            encode_ms,
            denoise_ms,
            step_ms,
            decode_ms,
            steps: n_steps as u32,
            seed,
            latent_only,
            actions: actions.unwrap_or_default().to_owned(),
        }
    }
}

/// The body of an image, with trailing zeros where RTPS would fragment a body of odd length.
fn encode_image(image: ImageView<'_>) -> Vec<u8> {
    let header_bytes = encode(&ImageView { data: &[], ..image }).len();
    match padding_bytes(header_bytes + image.data.len()) {
        0 => encode(&image),
        n => encode(&ImageView { data: &[image.data, &vec![0; n]].concat(), ..image }),
    }
}

#[cfg(test)]
#[test]
fn large_images_are_multiples_of_four() {
    use crate::ros2::messages::{ByteOrder, decode};
    for width in [3u32, 400, 401, 402, 403] {
        let data: Vec<u8> = (0..3 * width).map(|i| i as u8).collect();
        let (header, encoding) = (HeaderView::default(), ShortString::new("rgb8").unwrap());
        let image =
            ImageView { header, height: 1, width, encoding, is_bigendian: 0, step: 3 * width, data: &data };
        let body = encode_image(image);
        assert!(body.len() < 1024 || body.len().is_multiple_of(4), "{width}");
        let back: ImageView<'_> = decode(&body, ByteOrder::Little).unwrap();
        assert_eq!((back.width, &back.data[..data.len()]), (width, &data[..]));
        assert!(back.data[data.len()..].iter().all(|byte| *byte == 0));
    }
}
