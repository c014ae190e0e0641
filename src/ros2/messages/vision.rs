//! `vision_msgs/Detection2DArray`: boxes and points of an answer, as other nodes of perception write theirs.

use serde::{Deserialize, Serialize};

use super::{Header, Message};

/// `vision_msgs/msg/Detection2DArray`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Detections {
    /// Of the image.
    pub header: Header,
    /// What is seen in it.
    pub detections: Vec<Detection>,
}

impl Message for Detections {
    const TYPE: &'static str = "vision_msgs/msg/Detection2DArray";
}

/// `vision_msgs/msg/Detection2D`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    /// Of the image.
    pub header: Header,
    /// What it may be.
    pub results: Vec<Hypothesis>,
    /// Where it is.
    pub bbox: Box2D,
    /// The same from image to image for the same thing; empty if nobody knows.
    pub id: String,
}

/// `vision_msgs/msg/ObjectHypothesisWithPose`, with what stands in `ObjectHypothesis`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Hypothesis {
    /// What it is.
    pub class_id: String,
    /// How sure that is.
    pub score: f64,
    /// Where it is in space.
    pub pose: PoseWithCovariance,
}

/// `geometry_msgs/msg/PoseWithCovariance`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PoseWithCovariance {
    /// x, y, z.
    pub position: [f64; 3],
    /// x, y, z, w.
    pub orientation: [f64; 4],
    /// Rows of x, y, z and the rotations about them.
    pub covariance: [[f64; 6]; 6],
}

impl Default for PoseWithCovariance {
    /// Nowhere in particular, and not turned.
    fn default() -> Self {
        Self { position: [0.0; 3], orientation: [0.0, 0.0, 0.0, 1.0], covariance: [[0.0; 6]; 6] }
    }
}

/// `vision_msgs/msg/BoundingBox2D`, with what stands in `Pose2D`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Box2D {
    /// The middle, in pixels.
    pub center: [f64; 2],
    /// How far it is turned, in radians.
    pub theta: f64,
    /// Pixels across.
    pub size_x: f64,
    /// Pixels down.
    pub size_y: f64,
}
