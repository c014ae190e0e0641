//! `geometry_msgs/Twist`, the action of a robot that drives.

use serde::{Deserialize, Serialize};

use super::Message;

/// `geometry_msgs/msg/Vector3`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Vector3 {
    /// Forward.
    pub x: f64,
    /// Left.
    pub y: f64,
    /// Up.
    pub z: f64,
}

/// `geometry_msgs/msg/Twist`: velocities, in metres and radians per second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Twist {
    /// Metres per second along each axis.
    pub linear: Vector3,
    /// Radians per second about each axis.
    pub angular: Vector3,
}

impl Message for Twist {
    const TYPE: &'static str = "geometry_msgs/msg/Twist";
}

#[cfg(test)]
#[test]
fn a_twist_is_six_doubles() {
    use crate::ros2::messages::{ByteOrder, decode, encode};
    let twist = Twist { linear: Vector3 { x: 0.5, ..Vector3::default() }, ..Twist::default() };
    let body = encode(&twist);
    assert_eq!((body.len(), &body[..8]), (48, &0.5f64.to_le_bytes()[..]));
    assert_eq!(decode::<Twist>(&body, ByteOrder::Little).unwrap(), twist);
}
