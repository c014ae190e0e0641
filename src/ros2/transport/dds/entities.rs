//! How other ROS 2 nodes learn that we are a node: the topic `ros_discovery_info`.
//!
//! Each change of our readers and writers is published anew, whole. The message's layout is chosen at run time, so that
//! one program is seen by Humble and by its successors.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustdds::{DomainParticipant, GUID, RTPSEntity, TopicKind};

use super::writer::{DdsPublisher, Writers};
use super::{DdsOptions, Delivery, qos, refused};
use crate::ros2::messages::{Gid, Message, NodeEntities, ParticipantEntities, dds_type_name, encode};
use crate::ros2::transport::{Publisher, TransportError};

pub(super) struct Entities {
    writer: DdsPublisher,
    info: Mutex<ParticipantEntities>,
}

impl Entities {
    pub(super) fn announce(
        participant: &DomainParticipant,
        publisher: &rustdds::Publisher,
        options: &DdsOptions,
        writers: &Arc<Writers>,
    ) -> Result<Self, TransportError> {
        let dds_type = dds_type_name(ParticipantEntities::TYPE);
        // Without the prefix of ROS topics: it is the middleware's own.
        let topic = participant
            .create_topic(
                "ros_discovery_info".into(),
                dds_type,
                &qos(Delivery::Latched { kept: 1 }),
                TopicKind::NoKey,
            )
            .map_err(refused("create ros_discovery_info"))?;
        let writer = DdsPublisher::new(publisher, &topic, writers);
        let writer = writer.map_err(refused("publish ros_discovery_info"))?;
        let node = NodeEntities {
            namespace: options.node.namespace().to_owned(),
            name: options.node.name().to_owned(),
            readers: Vec::new(),
            writers: Vec::new(),
        };
        let info = ParticipantEntities {
            gid_bytes: options.gid_bytes,
            participant: Gid(participant.guid().to_bytes()),
            nodes: vec![node],
        };
        let entities = Self { writer, info: Mutex::new(info) };
        entities.update(|_| {});
        Ok(entities)
    }

    pub(super) fn add_reader(&self, guid: GUID) {
        self.update(|info| info.nodes[0].readers.push(Gid(guid.to_bytes())));
    }

    pub(super) fn add_writer(&self, guid: GUID) {
        self.update(|info| info.nodes[0].writers.push(Gid(guid.to_bytes())));
    }

    /// Says that the node is gone, and gives the others a moment to hear it.
    pub(super) fn leave(&self) {
        self.update(|info| info.nodes.clear());
        self.writer.flush(Duration::from_millis(200));
    }

    fn update(&self, change: impl FnOnce(&mut ParticipantEntities)) {
        let mut info = self.info.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut info);
        if let Err(error) = self.writer.publish(encode(&*info)) {
            log::warn!("other nodes may not see this one: {error}");
        }
    }
}
