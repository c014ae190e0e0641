//! Image messages into a camera's buffers.

use std::sync::Arc;

use crate::frames::accounts::DropReason;
use crate::frames::camera::Camera;
use crate::frames::frame::{Format, Frame, FrameHeader};
use crate::ros2::messages::{ByteOrder, CompressedImageView, HeaderView, ImageView, Message, decode};

/// Which of the two image messages a topic carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageTransport {
    /// `sensor_msgs/msg/Image`
    Raw,
    /// `sensor_msgs/msg/CompressedImage`
    Compressed,
}

impl ImageTransport {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Raw, Self::Compressed];

    /// Its name, as the parameter has it.
    pub fn name(self) -> &'static str {
        match self {
            ImageTransport::Raw => "raw",
            ImageTransport::Compressed => "compressed",
        }
    }

    /// The message type, as ROS writes it.
    pub fn ros_type(self) -> &'static str {
        match self {
            ImageTransport::Raw => ImageView::TYPE,
            ImageTransport::Compressed => CompressedImageView::TYPE,
        }
    }

    /// Copies an image message's body into a free buffer of `camera`, and shows it to the camera's tap.
    ///
    /// # Errors
    /// The reason to drop it: malformed, oversized, or no buffer is free.
    pub fn take(self, camera: &Camera, body: &[u8], order: ByteOrder) -> Result<Arc<Frame>, DropReason> {
        let (header, format, data) = match self {
            ImageTransport::Raw => {
                let view: ImageView<'_> = decode(body, order).map_err(|_| DropReason::Malformed)?;
                let ImageView { header, height, width, encoding, is_bigendian, step, data } = view;
                let is_bigendian = is_bigendian != 0;
                (header, Format::Raw { encoding, width, height, step, is_bigendian }, data)
            }
            ImageTransport::Compressed => {
                let view: CompressedImageView<'_> = decode(body, order).map_err(|_| DropReason::Malformed)?;
                (view.header, Format::Compressed { format: view.format }, view.data)
            }
        };
        let HeaderView { stamp, frame_id } = header;
        let frame = camera.take(FrameHeader { stamp_ns: stamp.ns(), frame_id, format }, data);
        camera.show(body, order == ByteOrder::Big, frame.as_ref().ok());
        frame
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::frames::camera::CameraOptions;
    use crate::frames::clock::Clock;
    use crate::frames::listener::ListenerOptions;
    use crate::ros2::messages::{ShortString, Time, encode};

    fn camera() -> Camera {
        let (name, topic) = ("camera".to_owned(), "/image".to_owned());
        let options = CameraOptions { name, topic, frame_bytes_max: 64, pixels_max: 64 };
        let max_age = Duration::from_secs(1);
        let listener =
            ListenerOptions { clip_frames: 1, clip_rate_hz: 1.0, follow_frames: 0, pictures: 1, max_age };
        Camera::new(options, &Arc::new(Clock::stepped()), &[listener])
    }

    fn body(data: &[u8]) -> Vec<u8> {
        let header =
            HeaderView { stamp: Time { sec: 1, nanosec: 2 }, frame_id: ShortString::new("cam").unwrap() };
        let encoding = ShortString::new("mono8").unwrap();
        let (width, step) = (data.len() as u32, data.len() as u32);
        encode(&ImageView { header, height: 1, width, encoding, is_bigendian: 0, step, data })
    }

    #[test]
    fn a_message_becomes_a_frame() {
        let frame = ImageTransport::Raw.take(&camera(), &body(&[4, 5, 6]), ByteOrder::Little).unwrap();
        let encoding = ShortString::new("mono8").unwrap();
        let raw = Format::Raw { encoding, width: 3, height: 1, step: 3, is_bigendian: false };
        assert_eq!(
            (frame.stamp_ns, frame.frame_id.as_str(), frame.format, frame.data()),
            (1_000_000_002, "cam", raw, &[4, 5, 6][..])
        );
        let header = HeaderView { stamp: Time { sec: 3, nanosec: 4 }, frame_id: ShortString::default() };
        let format = ShortString::new("jpeg").unwrap();
        let body = encode(&CompressedImageView { header, format, data: &[9; 5] });
        let frame = ImageTransport::Compressed.take(&camera(), &body, ByteOrder::Little).unwrap();
        assert_eq!(
            (frame.stamp_ns, frame.format, frame.size(), frame.data()),
            (3_000_000_004, Format::Compressed { format }, None, &[9; 5][..])
        );
    }

    #[test]
    fn what_is_too_large_or_malformed_takes_no_buffer() {
        let camera = camera();
        let take = |body: &[u8]| ImageTransport::Raw.take(&camera, body, ByteOrder::Little);
        for _ in 0..10 {
            assert_eq!(take(&body(&[0; 65])).unwrap_err(), DropReason::Oversized);
            assert_eq!(take(&body(&[0; 64])[..30]).unwrap_err(), DropReason::Malformed);
        }
        assert!(take(&body(&[0; 64])).is_ok());
    }

    #[test]
    fn hostile_bodies_are_counted_drops() {
        let (camera, whole) = (camera(), body(&[7; 8]));
        let offer = |body: &[u8], order| {
            for transport in [ImageTransport::Raw, ImageTransport::Compressed] {
                camera.offer(transport.take(&camera, body, order), 0);
            }
        };
        for cut in 0..whole.len() {
            offer(&whole[..cut], ByteOrder::Little);
            offer(&whole[..cut], ByteOrder::Big);
        }
        for bit in 0..8 * whole.len() {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            offer(&flipped, ByteOrder::Little);
        }
        let accounts = camera.listeners()[0].accounts();
        assert!(0 < accounts.dropped(DropReason::Malformed) && accounts.balance(), "{accounts}");
        assert_eq!(accounts.received, 20 * whole.len() as u64);
    }
}
