//! The node: ROS 2 topics in, answers out.
//!
//! Everything here speaks to other nodes through a small [`transport`] trait, so that the same node runs on a live DDS
//! graph, on a bag, and in memory. Frames come in at any rate and leave through one place that holds the newest.
//!
//! Why RustDDS directly and not through `ros2-client`'s `Node`: its `ros_discovery_info` has the layout of one ROS
//! generation, chosen at compile time, and the wrong layout disturbs the other nodes of a graph; its QoS has no
//! resource limits, so that a slow reader sees frames seconds old. It is our peer in the tests instead.

pub mod arguments;
mod asks;
pub mod diagnostics;
pub mod environment;
pub mod kernel_limits;
pub mod lifecycle;
pub mod logging;
pub mod messages;
pub mod names;
pub mod node;
pub mod parameter_events;
pub mod parameter_services;
pub mod parameter_store;
mod parameter_wire;
pub mod parameters;
mod planner;
pub mod predict;
pub mod qos;
pub mod reason;
pub mod recorder;
pub mod services;
mod told;
pub mod transport;
