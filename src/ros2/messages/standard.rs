//! `builtin_interfaces/Time`, `std_msgs` and `rosgraph_msgs/Clock`.

use serde::{Deserialize, Serialize};

use super::{Message, ShortString, padding_bytes};

const NANOSECONDS_PER_SECOND: i64 = 1_000_000_000;

/// `builtin_interfaces/msg/Time`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Time {
    /// Seconds since the epoch of the clock.
    pub sec: i32,
    /// Nanoseconds, below a billion unless the sender lies.
    pub nanosec: u32,
}

impl Time {
    /// The time that lies `ns` nanoseconds after the epoch; what `sec` cannot hold is clamped.
    pub fn from_ns(ns: i64) -> Self {
        let sec = ns.div_euclid(NANOSECONDS_PER_SECOND).clamp(i32::MIN.into(), i32::MAX.into());
        let nanosec = ns.rem_euclid(NANOSECONDS_PER_SECOND);
        Self { sec: sec as i32, nanosec: nanosec as u32 }
    }

    /// Nanoseconds since the epoch. Every bit pattern has an answer: `i64` holds the largest of them.
    pub fn ns(self) -> i64 {
        i64::from(self.sec) * NANOSECONDS_PER_SECOND + i64::from(self.nanosec)
    }
}

/// `std_msgs/msg/Header`, as we write it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// When the data was true.
    pub stamp: Time,
    /// The coordinate frame of the data.
    pub frame_id: String,
}

/// `std_msgs/msg/Header` as a stranger wrote it: read in place, bounded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderView {
    /// When the data was true.
    pub stamp: Time,
    /// The coordinate frame of the data; longer names make the message malformed.
    pub frame_id: ShortString<255>,
}

/// `std_msgs/msg/String`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Text {
    /// The text.
    pub data: String,
}

impl Text {
    /// A message of `text`, with trailing spaces where RTPS would fragment a body of odd length.
    pub fn padded(mut text: String) -> Self {
        // Length, text and terminating zero.
        let body_bytes = 4 + text.len() + 1;
        text.extend(std::iter::repeat_n(' ', padding_bytes(body_bytes)));
        Self { data: text }
    }
}

impl Message for Text {
    const TYPE: &'static str = "std_msgs/msg/String";
}

/// `std_msgs/msg/Bool`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flag {
    /// Whether.
    pub data: bool,
}

impl Message for Flag {
    const TYPE: &'static str = "std_msgs/msg/Bool";
}

/// `std_msgs/msg/Float32`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Float32 {
    /// The number.
    pub data: f32,
}

impl Message for Float32 {
    const TYPE: &'static str = "std_msgs/msg/Float32";
}

/// `std_msgs/msg/MultiArrayDimension`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayoutDimension {
    /// The dimension's name.
    pub label: String,
    /// Elements along it.
    pub size: u32,
    /// Elements from one of its steps to the next of the dimension outside it.
    pub stride: u32,
}

/// `std_msgs/msg/MultiArrayLayout`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// The dimensions, outermost first.
    pub dim: Vec<LayoutDimension>,
    /// Elements before the first that counts.
    pub data_offset: u32,
}

/// `std_msgs/msg/Float32MultiArray`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Float32MultiArray {
    /// How `data` is to be read.
    pub layout: Layout,
    /// The elements, row-major.
    pub data: Vec<f32>,
}

impl Message for Float32MultiArray {
    const TYPE: &'static str = "std_msgs/msg/Float32MultiArray";
}

/// `rosgraph_msgs/msg/Clock`: the simulated time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// Now.
    pub clock: Time,
}

impl Message for Clock {
    const TYPE: &'static str = "rosgraph_msgs/msg/Clock";
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ros2::messages::{ByteOrder, decode, encode};

    #[test]
    fn time_keeps_its_nanoseconds_before_and_after_the_epoch() {
        for ns in [0, 1, 1_700_000_000_123_456_789, -1, -2_500_000_000] {
            assert_eq!(Time::from_ns(ns).ns(), ns);
        }
        assert_eq!(Time { sec: i32::MAX, nanosec: u32::MAX }.ns(), 2_147_483_651_294_967_295);
    }

    #[test]
    fn text_is_length_bytes_and_zero() {
        let body = encode(&Text { data: "hi".into() });
        assert_eq!(body, [3, 0, 0, 0, b'h', b'i', 0]);
        let back: Text = decode(&[0, 0, 0, 3, b'h', b'i', 0], ByteOrder::Big).unwrap();
        assert_eq!(back.data, "hi");
        assert!(decode::<Text>(&[3, 0, 0, 0, 0xff, 0xfe, 0], ByteOrder::Little).is_err(), "not UTF-8");
    }

    #[test]
    fn long_texts_are_multiples_of_four() {
        for len in 1500..1504 {
            let body = encode(&Text::padded("x".repeat(len)));
            assert_eq!(body.len() % 4, 0, "{len}");
        }
        assert_eq!(Text::padded("short".into()).data, "short");
    }

    #[test]
    fn arrays_round_trip() {
        let dim = vec![LayoutDimension { label: "step".into(), size: 2, stride: 4 }];
        let message =
            Float32MultiArray { layout: Layout { dim, data_offset: 0 }, data: vec![1.0, -2.5, 0.0, 3.0] };
        let back: Float32MultiArray = decode(&encode(&message), ByteOrder::Little).unwrap();
        assert_eq!(back, message);
    }
}
