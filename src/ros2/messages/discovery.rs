//! `rmw_dds_common/ParticipantEntitiesInfo`: which node owns which readers and writers.
//!
//! ROS 2 tools learn of nodes from this message alone. Its `Gid` had 24 bytes up to Humble and has had 16 since Iron,
//! under the same type name, so that a writer must know which generation listens.

use serde::ser::{SerializeSeq, SerializeStruct, SerializeTuple};
use serde::{Serialize, Serializer};

use super::Message;

/// An endpoint's identity: the 16 bytes of its DDS GUID, written in 16 or 24.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gid(pub [u8; 16]);

/// `rmw_dds_common/msg/NodeEntitiesInfo`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeEntities {
    /// The namespace, such as `/` or `/robot`.
    pub namespace: String,
    /// The name without its namespace.
    pub name: String,
    /// The node's readers.
    pub readers: Vec<Gid>,
    /// The node's writers.
    pub writers: Vec<Gid>,
}

/// `rmw_dds_common/msg/ParticipantEntitiesInfo`, in the layout of one ROS generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParticipantEntities {
    /// Bytes of every `Gid`: 16 or 24.
    pub gid_bytes: usize,
    /// The participant.
    pub participant: Gid,
    /// Its nodes; none of them says that it leaves.
    pub nodes: Vec<NodeEntities>,
}

impl Message for ParticipantEntities {
    const TYPE: &'static str = "rmw_dds_common/msg/ParticipantEntitiesInfo";
}

impl Serialize for ParticipantEntities {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("ParticipantEntitiesInfo", 2)?;
        fields.serialize_field("gid", &SizedGid(self.participant, self.gid_bytes))?;
        fields.serialize_field("node_entities_info_seq", &Nodes(&self.nodes, self.gid_bytes))?;
        fields.end()
    }
}

struct SizedGid(Gid, usize);

impl Serialize for SizedGid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut tuple = serializer.serialize_tuple(self.1)?;
        for i in 0..self.1 {
            tuple.serialize_element(self.0.0.get(i).unwrap_or(&0))?;
        }
        tuple.end()
    }
}

struct Gids<'a>(&'a [Gid], usize);

impl Serialize for Gids<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut sequence = serializer.serialize_seq(Some(self.0.len()))?;
        for gid in self.0 {
            sequence.serialize_element(&SizedGid(*gid, self.1))?;
        }
        sequence.end()
    }
}

struct Nodes<'a>(&'a [NodeEntities], usize);

impl Serialize for Nodes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut sequence = serializer.serialize_seq(Some(self.0.len()))?;
        for node in self.0 {
            let readers = Gids(&node.readers, self.1);
            let writers = Gids(&node.writers, self.1);
            sequence.serialize_element(&(&node.namespace, &node.name, readers, writers))?;
        }
        sequence.end()
    }
}

#[cfg(test)]
#[test]
fn both_generations_have_their_length() {
    use crate::ros2::messages::encode;
    let node = |writers| NodeEntities { namespace: "/".into(), name: "eye".into(), readers: vec![], writers };
    let info = |gid_bytes| ParticipantEntities {
        gid_bytes,
        participant: Gid([1; 16]),
        nodes: vec![node(vec![Gid([2; 16]), Gid([3; 16])])],
    };
    // gid, count, "/" padded to 8, "eye" to 8, empty sequence, count, two gids
    assert_eq!(encode(&info(16)).len(), 16 + 4 + 8 + 8 + 4 + 4 + 32);
    let humble = encode(&info(24));
    assert_eq!(humble.len(), 24 + 4 + 8 + 8 + 4 + 4 + 48);
    assert_eq!((&humble[..16], &humble[16..24]), (&[1; 16][..], &[0; 8][..]));
}
