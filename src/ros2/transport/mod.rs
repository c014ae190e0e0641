//! How messages come in and go out: DDS, a bag, or memory.
//!
//! A transport speaks in message bodies and type names, so that a message type costs it nothing. It calls its
//! subscribers from its own thread, hands images straight to a [`Camera`], and never makes a publisher wait.

mod bag;
mod dds;
mod gaps;
mod images;
mod layer;
mod memory;
mod reception;
mod reply;
mod subscriptions;
mod walled;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use bag::{Bag, BagMessage, BagReader, BagWriter, Pace, bag_files, bag_root};
pub use dds::{Dds, DdsOptions, free_domain};
pub use images::ImageTransport;
pub use layer::Layer;
pub use memory::Memory;
pub use reception::{Choice, ImageReliability, Reception, Why};
pub use reply::Reply;
pub use walled::{Walled, WalledOptions, serve};

use crate::frames::accounts::DropReason;
use crate::frames::camera::Camera;
use crate::frames::clock::Clock;
use crate::ros2::messages::ByteOrder;

/// The largest message that is not an image.
pub const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// Takes the messages of one topic; called from the transport's thread, so it must be quick.
pub type MessageSink = Box<dyn FnMut(Result<(&[u8], ByteOrder), DropReason>) + Send>;

/// Takes the requests of one service, each with the way to answer it, at once or later; called as a [`MessageSink`] is.
pub type ServiceHandler = Box<dyn FnMut(&[u8], ByteOrder, Reply) + Send>;

/// Where topics live. Topic names are absolute, such as `/camera/image`.
pub trait Transport: Send + Sync {
    /// The time that receipts and answers are stamped with.
    fn clock(&self) -> &Arc<Clock>;

    /// Sends the images of a camera's topic to it, the newest if it cannot take all.
    ///
    /// # Errors
    /// If the topic cannot be subscribed to.
    fn subscribe_images(&self, transport: ImageTransport, camera: Arc<Camera>) -> Result<(), TransportError>;

    /// Lets go of the camera that a topic's images are sent to. Another that subscribes to the topic later takes its place, so that
    /// a node may stop and go on any number of times; a transport that ends with its node need not.
    fn ignore_images(&self, topic: &str) {
        let _ = topic;
    }

    /// Sends a topic's other messages to `sink`.
    ///
    /// # Errors
    /// If the topic cannot be subscribed to.
    fn subscribe(
        &self,
        topic: &str,
        ros_type: &'static str,
        delivery: Delivery,
        sink: MessageSink,
    ) -> Result<(), TransportError>;

    /// Announces a topic that we publish.
    ///
    /// # Errors
    /// If it cannot be announced.
    fn advertise(
        &self,
        topic: &str,
        ros_type: &'static str,
        delivery: Delivery,
    ) -> Result<Box<dyn Publisher>, TransportError>;

    /// Offers a service of this absolute name and type, such as `rcl_interfaces/srv/GetParameters`. A transport that
    /// nobody else is on offers nothing.
    ///
    /// # Errors
    /// If it cannot be offered.
    fn serve(
        &self,
        service: &str,
        ros_type: &'static str,
        handler: ServiceHandler,
    ) -> Result<(), TransportError> {
        let _ = (service, ros_type, handler);
        Ok(())
    }

    /// The topics that are there, ours excluded.
    fn graph(&self) -> Vec<TopicSeen>;

    /// How the images of a topic come over the network, once they are subscribed to; `None` where there is no network.
    fn reception(&self, topic: &str) -> Option<Reception> {
        let _ = topic;
        None
    }

    /// Delivers the next message of a transport that waits for its reader.
    fn pump(&self) -> Pump;
}

/// Publishes to one topic.
pub trait Publisher: Send + Sync {
    /// Hands over a little-endian CDR body. Never waits.
    ///
    /// # Errors
    /// [`PublishError`] if the message could not be taken; it is gone then.
    fn publish(&self, body: Vec<u8>) -> Result<(), PublishError>;
}

/// What readers may rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// Lost messages stay lost.
    BestEffort,
    /// Lost messages are repeated, to the readers that are there.
    Reliable,
    /// Reliable, and the last messages also reach readers that come later.
    Latched {
        /// How many of them.
        kept: u8,
    },
    /// As a user wants it.
    Told(Qos),
}

/// Quality of service, policy by policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Qos {
    /// Whether lost messages are repeated.
    pub is_reliable: bool,
    /// Whether the last messages also reach readers that come later.
    pub is_latched: bool,
    /// How many messages are kept.
    pub depth: u16,
}

impl Delivery {
    /// Policy by policy.
    pub fn qos(self) -> Qos {
        let (is_reliable, is_latched, depth) = match self {
            Self::BestEffort => (false, false, 1),
            Self::Reliable => (true, false, 10),
            Self::Latched { kept } => (true, true, u16::from(kept)),
            Self::Told(qos) => return qos,
        };
        Qos { is_reliable, is_latched, depth }
    }
}

/// Whether a transport runs by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pump {
    /// It does: wait for what comes.
    Live,
    /// It has delivered one message.
    Delivered,
    /// Nothing will come any more.
    Ended,
}

/// One topic of the graph under one type.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TopicSeen {
    /// The absolute name.
    pub name: String,
    /// The type as ROS writes it.
    pub ros_type: String,
    /// How many publish it.
    pub publishers: usize,
    /// How many subscribe to it.
    pub subscribers: usize,
}

/// A transport that cannot do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The middleware says no.
    #[error("DDS: cannot {attempt}: {problem}")]
    Dds {
        /// What we wanted.
        attempt: String,
        /// What it said.
        problem: String,
    },
    /// The bag cannot be read.
    #[error("bag {path}: {problem}")]
    Bag {
        /// The file.
        path: String,
        /// What is wrong.
        problem: String,
    },
}

/// A message that was not published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// Readers have not confirmed what came before, so that there is no room.
    #[error("readers do not keep up")]
    Full,
    /// The transport is gone.
    #[error("the transport is closed")]
    Closed,
}
