//! The ROS 2 messages that the node speaks, as CDR bodies.
//!
//! Every message is a serde struct whose fields stand in the order of its `.msg` file; `cdr-encoding` does the rest.
//! Large payloads are borrowed from the sample, and texts that a stranger chooses land in [`ShortString`]s, so that a
//! hostile header costs neither time nor memory.
//!
//! Why not generated types: we speak a dozen messages and want the image's pixels as a slice.

mod action;
mod asks;
mod camera_info;
mod definitions;
mod description;
mod diagnostic;
mod discovery;
mod geometry;
mod image;
mod interfaces;
mod lifecycle;
mod logger;
mod parameter;
mod perihelion;
mod standard;
mod vision;

use serde::{Deserialize, Serialize};

pub use crate::frames::short_string::ShortString;
pub use action::{
    CancelReply, CancelRequest, FeedbackMessage, GetResultReply, GetResultRequest, GoalId, GoalInfo,
    GoalStatus, GoalStatuses, SendGoalReply, SendGoalRequest,
};
pub use asks::{AskFeedback, AskReply, AskRequest, ImagineReply, ImagineRequest};
pub use camera_info::{CameraInfo, RegionOfInterest};
pub use definitions::definition;
pub use description::{
    Field, FieldType, IndividualType, TypeDescription, TypeReply, TypeRequest, TypeSource,
};
pub use diagnostic::{DiagnosticArray, DiagnosticStatus, KeyValue, Log};
pub use discovery::{Gid, NodeEntities, ParticipantEntities};
pub use geometry::{Twist, Vector3};
pub use image::{CompressedImageView, ImageMessage, ImageView};
pub use lifecycle::{
    ChangeReply, ChangeRequest, EmptyRequest, Labelled, StateReply, StatesReply, TransitionDescription,
    TransitionEvent, TransitionsReply,
};
pub use logger::{LoggerLevel, LoggerLevels, LoggersRequest, SetLevelsReply};
pub use parameter::{
    DescribeReply, Descriptor, GetTypesReply, ListReply, ListRequest, NamesRequest, ParameterEvent,
    ParameterValue, SetAtomicallyReply, SetReply, SetRequest, SetResult, ValuesReply, WireParameter,
};
pub use perihelion::{AnswerMessage, ForecastMessage, PlanMessage, SurpriseMessage};
pub use standard::{
    Clock, Flag, Float32, Float32MultiArray, Header, HeaderView, Layout, LayoutDimension, Text, Time,
};
pub use vision::{Box2D, Detection, Detections, Hypothesis, PoseWithCovariance};

/// A message type that can be named to other ROS nodes.
pub trait Message {
    /// The name as ROS writes it, such as `std_msgs/msg/String`.
    const TYPE: &'static str;
}

/// Byte order of a received body; RTPS and MCAP both tell it beside the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteOrder {
    /// Least significant byte first; what we write ourselves.
    Little,
    /// Most significant byte first.
    Big,
}

/// A body that is not the message it claims to be.
#[derive(Debug, thiserror::Error)]
#[error("malformed message: {0}")]
pub struct DecodeError(#[from] cdr_encoding::Error);

/// The little-endian CDR body of `message`, without the encapsulation header.
pub fn encode<M: Serialize>(message: &M) -> Vec<u8> {
    cdr_encoding::to_vec::<M, byteorder::LittleEndian>(message).expect("our sequences know their lengths")
}

/// The body of `message`, with trailing zeros where RTPS would fragment one of odd length: readers of CDR stop at the end of what
/// they know.
pub fn encode_padded<M: Serialize>(message: &M) -> Vec<u8> {
    let mut body = encode(message);
    body.resize(body.len() + padding_bytes(body.len()), 0);
    body
}

/// Reads a message, borrowing from `body` where its type does.
///
/// # Errors
/// If the body is cut short, a text is not UTF-8, or a short text is too long. Trailing bytes are allowed: writers pad.
pub fn decode<'a, M: Deserialize<'a>>(body: &'a [u8], order: ByteOrder) -> Result<M, DecodeError> {
    let (message, _consumed) = match order {
        ByteOrder::Little => cdr_encoding::from_bytes::<M, byteorder::LittleEndian>(body)?,
        ByteOrder::Big => cdr_encoding::from_bytes::<M, byteorder::BigEndian>(body)?,
    };
    Ok(message)
}

/// Splits an encapsulated payload (as bags store it) into its byte order and body.
///
/// # Errors
/// `None` unless the payload starts with the identifier of plain CDR.
pub fn split_encapsulation(payload: &[u8]) -> Option<(ByteOrder, &[u8])> {
    match payload {
        [0, 0, _, _, body @ ..] => Some((ByteOrder::Big, body)),
        [0, 1, _, _, body @ ..] => Some((ByteOrder::Little, body)),
        _ => None,
    }
}

/// The encapsulation header that bags store before a body in this order of bytes.
pub fn encapsulation(order: ByteOrder) -> [u8; 4] {
    match order {
        ByteOrder::Big => [0, 0, 0, 0],
        ByteOrder::Little => [0, 1, 0, 0],
    }
}

/// `body` with the little-endian encapsulation header that bags store before it.
pub fn with_encapsulation(body: &[u8]) -> Vec<u8> {
    let mut payload = Vec::with_capacity(4 + body.len());
    payload.extend_from_slice(&encapsulation(ByteOrder::Little));
    payload.extend_from_slice(body);
    payload
}

/// The type name as DDS writes it: `std_msgs/msg/String` is `std_msgs::msg::dds_::String_`.
pub fn dds_type_name(ros_type: &str) -> String {
    match ros_type.rsplit_once('/') {
        Some((package, name)) => format!("{}::dds_::{name}_", package.replace('/', "::")),
        None => ros_type.to_owned(),
    }
}

/// The inverse of [`dds_type_name`]; names that are not ROS types stay as they are.
pub fn ros_type_name(dds_type: &str) -> String {
    match dds_type.rsplit_once("::dds_::") {
        Some((package, name)) => format!("{}/{}", package.replace("::", "/"), name.trim_end_matches('_')),
        None => dds_type.to_owned(),
    }
}

/// Bodies up to this length travel in one RTPS submessage on every path, so that they need no padding.
const UNFRAGMENTED_BYTES: usize = 1024;

/// How many bytes a body of `body_bytes` lacks to the multiple of four that RTPS fragments need.
///
/// RustDDS does not pad `DATA_FRAG` submessages, and CycloneDDS up to 0.10.2 drops those of other lengths.
pub fn padding_bytes(body_bytes: usize) -> usize {
    if body_bytes <= UNFRAGMENTED_BYTES { 0 } else { body_bytes.next_multiple_of(4) - body_bytes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_names_go_both_ways() {
        assert_eq!(dds_type_name("sensor_msgs/msg/Image"), "sensor_msgs::msg::dds_::Image_");
        assert_eq!(ros_type_name("sensor_msgs::msg::dds_::Image_"), "sensor_msgs/msg/Image");
        let request = "rcl_interfaces/srv/GetParameters_Request";
        assert_eq!(dds_type_name(request), "rcl_interfaces::srv::dds_::GetParameters_Request_");
        assert_eq!(ros_type_name("Plain"), "Plain");
    }

    #[test]
    fn encapsulation_tells_the_byte_order() {
        assert_eq!(split_encapsulation(&[0, 0, 0, 0, 7]), Some((ByteOrder::Big, &[7][..])));
        assert_eq!(split_encapsulation(&with_encapsulation(&[9])), Some((ByteOrder::Little, &[9][..])));
        assert_eq!(split_encapsulation(&[0, 3, 0, 0, 7]), None);
        assert_eq!(split_encapsulation(&[0, 1]), None);
    }

    #[test]
    fn only_long_bodies_are_padded() {
        assert_eq!([7, 1024, 1025, 1027, 1028].map(padding_bytes), [0, 0, 3, 1, 0]);
    }
}
