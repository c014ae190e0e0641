//! One camera frame: its bytes as they came, and its picture once somebody has looked at it.
//!
//! Frames are shared by [`Arc`]: consecutive clips overlap, and several listeners hold the same frame. Each listener has a
//! bit in the frame, which stays set while it may still look at the pixels; with the last bit the picture goes.

use std::sync::atomic::{AtomicU32, Ordering::AcqRel, Ordering::Acquire};
use std::sync::{Arc, Mutex, PoisonError};

use crate::camera::{Decoder, FrameError, FrameSize, Picture, RawFrame, convert, size_in_header};
use crate::frames::clock::{Clock, Moment};
use crate::frames::decoded::{Decoded, DecodedPool};
use crate::frames::short_string::ShortString;
use crate::frames::stamps::TimedBy;

/// How the bytes of a frame are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Rows of pixels.
    Raw {
        /// The pixel format by the name that cameras give it.
        encoding: ShortString<63>,
        /// Pixels of a row.
        width: u32,
        /// Rows.
        height: u32,
        /// Bytes from one row to the next.
        step: u32,
        /// Whether wide samples stand most significant byte first.
        is_bigendian: bool,
    },
    /// A file in memory.
    Compressed {
        /// What the camera says of its compression.
        format: ShortString<63>,
    },
}

/// What a camera says of a frame beside its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// When the scene was seen, in nanoseconds of the camera's clock.
    pub stamp_ns: i64,
    /// The camera's coordinate frame.
    pub frame_id: ShortString<255>,
    /// How to read the bytes.
    pub format: Format,
}

/// One image as it came, in a buffer of the pool.
#[derive(Debug)]
pub struct Frame {
    /// When the scene was seen, in nanoseconds of the camera's clock.
    pub stamp_ns: i64,
    /// The camera's coordinate frame.
    pub frame_id: ShortString<255>,
    /// How to read the bytes.
    pub format: Format,
    /// Width and height, as far as the camera says.
    size: Option<(u32, u32)>,
    data: Vec<u8>,
    /// A bit for each listener that may still look at the pixels.
    wanted: AtomicU32,
    /// The picture, or why there is none; `None` until somebody has looked, and again when nobody will.
    decoded: Mutex<Option<Result<Arc<Decoded>, FrameError>>>,
    pictures: Arc<DecodedPool>,
}

impl Frame {
    /// An empty buffer for frames of up to `bytes_max` bytes.
    pub(super) fn empty(bytes_max: usize, pictures: Arc<DecodedPool>) -> Self {
        Self {
            stamp_ns: 0,
            frame_id: ShortString::default(),
            format: Format::Compressed { format: ShortString::default() },
            size: None,
            data: Vec::with_capacity(bytes_max),
            wanted: AtomicU32::new(0),
            decoded: Mutex::new(None),
            pictures,
        }
    }

    /// Becomes another frame, which the listeners of these bits may look at.
    pub(super) fn refill(&mut self, header: FrameHeader, data: &[u8], listeners: u32) {
        FrameHeader { stamp_ns: self.stamp_ns, frame_id: self.frame_id, format: self.format } = header;
        self.data.clear();
        self.data.extend_from_slice(data);
        self.size = match self.format {
            Format::Raw { width, height, .. } => Some((width, height)),
            Format::Compressed { .. } => size_in_header(data),
        };
        *self.wanted.get_mut() = listeners;
        *self.decoded.get_mut().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The image's bytes, perhaps followed by padding.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// Width and height as the camera says: a compressed frame in its file's header, if it has one.
    pub fn size(&self) -> Option<(u32, u32)> {
        self.size
    }

    /// Its picture, which is decoded by whoever looks first. Whoever looks meanwhile waits, which takes no longer than
    /// decoding it himself would.
    ///
    /// # Errors
    /// Why it cannot be used.
    ///
    /// # Panics
    /// If somebody keeps pictures of frames that he has let go of, until no buffer is free.
    pub fn decode(&self, decoder: &mut Decoder) -> Result<Arc<Decoded>, FrameError> {
        let mut decoded = self.decoded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &*decoded {
            return known.clone();
        }
        let result = self.pictures.fill(|rgb| self.convert(decoder, rgb));
        // Nobody would take away what is kept when the last listener has let go.
        if self.wanted.load(Acquire) != 0 {
            *decoded = Some(result.clone());
        }
        result
    }

    /// Decodes it into a buffer of the caller's own: for whoever only looks on, and may neither wait for those who decode it for their
    /// work nor make them, or the camera, wait.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn decode_apart<'a>(
        &self,
        decoder: &mut Decoder,
        rgb: &'a mut Vec<u8>,
    ) -> Result<Picture<'a>, FrameError> {
        let n_bytes = 3 * self.pictures.pixels_max();
        if rgb.len() < n_bytes {
            *rgb = vec![0; n_bytes];
        }
        let size = self.convert(decoder, rgb)?;
        Ok(Picture::new(&rgb[..size.rgb_bytes()], size))
    }

    fn convert(&self, decoder: &mut Decoder, rgb: &mut [u8]) -> Result<FrameSize, FrameError> {
        match &self.format {
            Format::Raw { encoding, width, height, step, is_bigendian } => {
                let (width, height, step, is_bigendian) = (*width, *height, *step, *is_bigendian);
                let encoding = encoding.as_str();
                convert(&RawFrame { width, height, step, encoding, is_bigendian, data: &self.data }, rgb)
            }
            Format::Compressed { format } => decoder.decode(format.as_str(), &self.data, rgb),
        }
    }

    /// The listener of this bit will not look at the pixels any more; saying it twice is as saying it once.
    pub(super) fn let_go(&self, listener: u32) {
        let before = self.wanted.fetch_and(!listener, AcqRel);
        if before == listener {
            *self.decoded.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }
}

/// A frame with what a listener knows of its way here.
#[derive(Debug, Clone)]
pub struct Received {
    /// The image.
    pub frame: Arc<Frame>,
    /// When it reached us.
    pub receipt: Moment,
    /// When it was seen, in nanoseconds of ROS time: its stamp, or its receipt where the stamp cannot be right.
    pub seen_ns: i64,
    /// By what that is known.
    pub timed_by: TimedBy,
    /// When what is made of it is too late, in steady time.
    pub deadline_steady_ns: i64,
    /// Whether its stamp cannot be right by our clock, so that its age counts from its receipt.
    pub stamp_suspect: bool,
    /// Where it stands among the frames that were taken in: the next frame of an unbroken clip has the next place.
    pub place: u64,
    /// The bit of the listener.
    pub(super) listener: u32,
}

impl Received {
    /// Says that its engine has seen enough of the pixels: the picture need not be kept for it.
    pub fn let_go_of_pixels(&self) {
        self.frame.let_go(self.listener);
    }

    /// How old it is at `now`, which may be after a jump of ROS time.
    pub fn age(&self, clock: &Clock, now: Moment) -> Age {
        let here_ns = now.steady_ns.saturating_sub(self.receipt.steady_ns);
        let way_ns = self.receipt.ros_ns.saturating_sub(self.frame.stamp_ns);
        let has_jumped = clock.elapsed_ns(self.receipt, now).is_none();
        let ns = match (self.stamp_suspect, has_jumped) {
            (true, _) => here_ns,
            (false, true) => way_ns.saturating_add(here_ns),
            (false, false) => now.ros_ns.saturating_sub(self.frame.stamp_ns),
        };
        Age { ns, is_suspect: self.stamp_suspect || has_jumped, now }
    }
}

/// How old a frame was at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Age {
    /// ROS time less the frame's stamp. Where these two cannot be compared it counts in steady time, and from the frame's
    /// receipt where the stamp is wrong.
    pub ns: i64,
    /// Whether they cannot be compared: the stamp is wrong, or ROS time jumped since the receipt.
    pub is_suspect: bool,
    /// The moment.
    pub now: Moment,
}

impl Age {
    /// The age in milliseconds.
    pub fn ms(self) -> f64 {
        self.ns as f64 / 1e6
    }

    /// The ROS time at which the frame will be `age_ns` old.
    pub fn reaches_ns(self, age_ns: i64) -> i64 {
        self.now.ros_ns.saturating_add(age_ns).saturating_sub(self.ns)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;
    use crate::frames::camera::{Camera, CameraOptions};
    use crate::frames::listener::ListenerOptions;

    /// Longer than a test takes.
    const PATIENCE: Duration = Duration::from_secs(60);

    #[test]
    fn neither_who_looks_on_nor_the_camera_waits_for_a_decode() {
        let (name, topic) = ("camera".to_owned(), "/image".to_owned());
        let options = CameraOptions { name, topic, frame_bytes_max: 8, pixels_max: 8 };
        let looks_on = ListenerOptions {
            clip_frames: 1,
            clip_rate_hz: 1.0,
            follow_frames: 0,
            pictures: 0,
            max_age: PATIENCE,
        };
        let engine = ListenerOptions { pictures: 1, ..looks_on };
        let camera = Camera::new(options, &Arc::new(Clock::stepped()), &[engine, looks_on]);
        let encoding = ShortString::new("mono8").unwrap();
        let format = Format::Raw { encoding, width: 2, height: 1, step: 2, is_bigendian: false };
        let offer = |camera: &Camera| {
            let header = FrameHeader { stamp_ns: 0, frame_id: ShortString::default(), format };
            camera.offer(camera.take(header, &[7, 9]), 0);
        };
        offer(&camera);
        let [engine, looks_on] = camera.listeners() else { panic!("there are two") };
        let mut taken = Vec::new();
        assert!(engine.take(&mut taken));
        let seen = looks_on.newest().unwrap();

        // As while an engine decodes it.
        let decoding = seen.frame.decoded.lock().unwrap();
        let (done, is_done) = channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut rgb = Vec::new();
                let picture = seen.frame.decode_apart(&mut Decoder::new(), &mut rgb).unwrap();
                assert_eq!((picture.size.width, picture.rgb), (2, &[7, 7, 7, 9, 9, 9][..]));
                // The next frame takes the place of the one that is looked at.
                offer(&camera);
                done.send(()).unwrap();
            });
            let waited = is_done.recv_timeout(PATIENCE);
            drop(decoding);
            assert!(waited.is_ok(), "someone waits for the picture");
        });
    }
}
