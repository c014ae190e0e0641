//! Frames as they came become pictures in RGB.
//!
//! A clip that moves on by one frame shares all others with the one before, so that decoded frames are kept until no
//! question shows them. Their buffers are claimed at the start.

use std::sync::Arc;

use crate::camera::{Decoder, FrameError, FrameSize, RawFrame, convert};
use crate::frames::frame::{Format, Received};
use crate::runtime::reason::Picture;

/// Decoded frames of one question.
#[derive(Debug)]
pub struct Pictures {
    decoder: Decoder,
    decoded: Vec<Decoded>,
}

/// A buffer for one frame in RGB, and which frame it holds.
#[derive(Debug)]
struct Decoded {
    holds: Option<FrameKey>,
    rgb: Vec<u8>,
    size: FrameSize,
}

/// Tells received frames apart, since a buffer's next frame has a later receipt.
type FrameKey = (usize, i64);

impl Pictures {
    /// Claims buffers for questions of `n_frames` frames of `pixels_max` pixels. The kernel backs them with memory as
    /// they are used.
    pub fn new(n_frames: usize, pixels_max: usize) -> Self {
        let empty = FrameSize { width: 0, height: 0 };
        let buffer = || Decoded { holds: None, rgb: vec![0; 3 * pixels_max], size: empty };
        Self { decoder: Decoder::new(), decoded: (0..n_frames).map(|_| buffer()).collect() }
    }

    /// Bytes of the buffers.
    pub fn claimed_bytes(&self) -> usize {
        self.decoded.iter().map(|decoded| decoded.rgb.len()).sum()
    }

    /// Decodes what is new among `frames`, and returns them all in their order.
    ///
    /// # Errors
    /// The first frame that cannot be used, counted from zero, and why.
    ///
    /// # Panics
    /// If there are more frames than buffers.
    pub fn of(&mut self, frames: &[Received]) -> Result<Vec<Picture<'_>>, (usize, FrameError)> {
        let keys: Vec<FrameKey> = frames.iter().map(key).collect();
        for decoded in &mut self.decoded {
            decoded.holds = decoded.holds.filter(|holds| keys.contains(holds));
        }
        let mut places = Vec::with_capacity(frames.len());
        for (i, (received, key)) in frames.iter().zip(&keys).enumerate() {
            let holding = self.decoded.iter().position(|decoded| decoded.holds == Some(*key));
            let free = || self.decoded.iter().position(|decoded| decoded.holds.is_none());
            let place = holding.or_else(free).expect("there are as many buffers as a question has frames");
            let decoded = &mut self.decoded[place];
            if decoded.holds.is_none() {
                decoded.size =
                    decode(&mut self.decoder, received, &mut decoded.rgb).map_err(|error| (i, error))?;
                decoded.holds = Some(*key);
            }
            places.push(place);
        }
        let picture = |place: usize| {
            let Decoded { rgb, size, .. } = &self.decoded[place];
            Picture { rgb: &rgb[..size.rgb_bytes()], size: *size }
        };
        Ok(places.into_iter().map(picture).collect())
    }
}

fn key(received: &Received) -> FrameKey {
    (Arc::as_ptr(&received.frame) as usize, received.receipt.steady_ns)
}

pub(super) fn decode(
    decoder: &mut Decoder,
    received: &Received,
    rgb: &mut [u8],
) -> Result<FrameSize, FrameError> {
    let frame = &received.frame;
    match &frame.format {
        Format::Raw { encoding, width, height, step, .. } => {
            let (width, height, step) = (*width, *height, *step);
            convert(&RawFrame { width, height, step, encoding: encoding.as_str(), data: frame.data() }, rgb)
        }
        Format::Compressed { format } => decoder.decode(format.as_str(), frame.data(), rgb),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::clock::Moment;
    use crate::frames::frame::{FramePool, ImageTransport};
    use crate::ros2::messages::{ByteOrder, HeaderView, ImageView, ShortString, encode};

    fn received(pool: &FramePool, encoding: &str, data: &[u8], steady_ns: i64) -> Received {
        let encoding = ShortString::new(encoding).unwrap();
        let header = HeaderView::default();
        let view = ImageView { header, height: 1, width: 1, encoding, is_bigendian: 0, step: 3, data };
        let frame = pool.take(ImageTransport::Raw, &encode(&view), ByteOrder::Little).unwrap();
        let receipt = Moment { ros_ns: 0, steady_ns };
        Received { frame, receipt, deadline_steady_ns: i64::MAX, stamp_suspect: false, place: 0 }
    }

    #[test]
    fn frames_keep_their_order_while_a_clip_moves_on() {
        let pool = FramePool::new(4, 3);
        let mut pictures = Pictures::new(2, 1);
        let frames: Vec<Received> = (0..4).map(|i| received(&pool, "rgb8", &[i; 3], i.into())).collect();
        for window in frames.windows(2) {
            let shown: Vec<u8> = pictures.of(window).unwrap().iter().map(|picture| picture.rgb[0]).collect();
            let expected: Vec<u8> = window.iter().map(|received| received.frame.data()[0]).collect();
            assert_eq!(shown, expected);
        }
    }

    #[test]
    fn a_buffer_that_is_used_again_is_decoded_again() {
        let pool = FramePool::new(1, 3);
        let mut pictures = Pictures::new(1, 1);
        for i in 0..3 {
            let frame = received(&pool, "bgr8", &[i, 9, 9], i.into());
            assert_eq!(pictures.of(&[frame]).unwrap()[0].rgb, [9, 9, i]);
        }
    }

    #[test]
    fn a_bad_frame_is_named_and_the_good_ones_stay() {
        let pool = FramePool::new(2, 3);
        let mut pictures = Pictures::new(2, 1);
        let frames = [received(&pool, "rgb8", &[1; 3], 0), received(&pool, "rgb99", &[2; 3], 1)];
        let (bad, error) = pictures.of(&frames).unwrap_err();
        assert_eq!((bad, error.reason()), (1, "unknown_encoding"));
        assert_eq!(pictures.of(&frames[..1]).unwrap()[0].rgb, [1; 3]);
    }
}
