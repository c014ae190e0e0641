//! `sensor_msgs/Image` and `CompressedImage`, borrowed; an `Image` within another message, owned.
//!
//! The same struct reads and writes: `data` is a slice of the received sample, or of the frame that we publish.

use serde::{Deserialize, Serialize};

use super::{Header, HeaderView, Message, ShortString};

/// `sensor_msgs/msg/Image`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageView<'a> {
    /// When and where.
    pub header: HeaderView,
    /// Rows.
    pub height: u32,
    /// Pixels of a row.
    pub width: u32,
    /// The pixel format by its name in `sensor_msgs/image_encodings.hpp`, such as `rgb8`.
    pub encoding: ShortString<63>,
    /// Whether the samples of wide pixels stand most significant byte first.
    pub is_bigendian: u8,
    /// Bytes from one row to the next.
    pub step: u32,
    /// The rows, perhaps followed by padding.
    #[serde(with = "serde_bytes", borrow)]
    pub data: &'a [u8],
}

impl Message for ImageView<'_> {
    const TYPE: &'static str = "sensor_msgs/msg/Image";
}

/// `sensor_msgs/msg/Image` as a part of a message that outlives what it was made of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageMessage {
    /// When and where.
    pub header: Header,
    /// Rows.
    pub height: u32,
    /// Pixels of a row.
    pub width: u32,
    /// The pixel format, such as `rgb8`.
    pub encoding: String,
    /// Whether the samples of wide pixels stand most significant byte first.
    pub is_bigendian: u8,
    /// Bytes from one row to the next.
    pub step: u32,
    /// The rows.
    #[serde(with = "serde_bytes")]
    pub data: Vec<u8>,
}

impl From<&ImageView<'_>> for ImageMessage {
    fn from(view: &ImageView<'_>) -> Self {
        Self {
            header: Header { stamp: view.header.stamp, frame_id: view.header.frame_id.as_str().to_owned() },
            height: view.height,
            width: view.width,
            encoding: view.encoding.as_str().to_owned(),
            is_bigendian: view.is_bigendian,
            step: view.step,
            data: view.data.to_vec(),
        }
    }
}

/// `sensor_msgs/msg/CompressedImage`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompressedImageView<'a> {
    /// When and where.
    pub header: HeaderView,
    /// `jpeg`, `png`, or as `image_transport` writes it: `rgb8; jpeg compressed bgr8`.
    pub format: ShortString<63>,
    /// The file's bytes, perhaps followed by padding.
    #[serde(with = "serde_bytes", borrow)]
    pub data: &'a [u8],
}

impl Message for CompressedImageView<'_> {
    const TYPE: &'static str = "sensor_msgs/msg/CompressedImage";
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ros2::messages::{ByteOrder, Time, decode, encode};

    fn image(data: &[u8]) -> ImageView<'_> {
        let header =
            HeaderView { stamp: Time { sec: 7, nanosec: 9 }, frame_id: ShortString::new("cam").unwrap() };
        let encoding = ShortString::new("rgb8").unwrap();
        ImageView { header, height: 2, width: 1, encoding, is_bigendian: 0, step: 3, data }
    }

    #[test]
    fn pixels_are_borrowed_from_the_body() {
        let body = encode(&image(&[1, 2, 3, 4, 5, 6]));
        let back: ImageView<'_> = decode(&body, ByteOrder::Little).unwrap();
        assert_eq!(back, image(&[1, 2, 3, 4, 5, 6]));
        assert!(body.as_ptr_range().contains(&back.data.as_ptr()));
    }

    #[test]
    fn what_is_owned_is_written_as_what_is_borrowed() {
        let view = image(&[1, 2, 3, 4, 5, 6]);
        assert_eq!(encode(&ImageMessage::from(&view)), encode(&view));
    }

    #[test]
    fn a_frame_id_of_any_claimed_length_is_an_error() {
        let mut body = encode(&image(&[0; 6]));
        body[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(decode::<ImageView<'_>>(&body, ByteOrder::Little).is_err());
        let long = crate::ros2::messages::Header { frame_id: "x".repeat(256), ..Default::default() };
        assert!(decode::<HeaderView>(&encode(&long), ByteOrder::Little).is_err());
    }
}
