//! What the two sides of the wall say to each other: short records over a stream socket, as CDR behind their length.
//!
//! Images do not come this way: they lie in the ring, and a record says where. Whatever the outside says
//! is checked as a stranger's word: its lengths, its numbers, its slots.

use std::io::{Error, ErrorKind, Read, Result, Write};

use serde::{Deserialize, Serialize};

use crate::ros2::messages::{ByteOrder, decode, encode};
use crate::ros2::transport::{Delivery, ImageReliability, MESSAGE_BYTES_MAX, Qos, Reception};

/// The longest record that the outside may send: a message and what stands around it.
pub(super) const NEWS_BYTES_MAX: usize = MESSAGE_BYTES_MAX + 4096;
/// The longest record that the inside sends, such as a frame of a forecast.
pub(super) const ORDER_BYTES_MAX: usize = 64 << 20;

/// From the engine's process to the network's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Order {
    /// Join the graph; the first order.
    Join(Join),
    /// Keep a topic's images in the ring; the same again says whether they are heard from now on.
    Images { id: u32, topic: String, ros_type: String, is_heard: bool },
    /// Send a topic's messages.
    Subscribe { id: u32, topic: String, ros_type: String, delivery: WireDelivery },
    /// Announce a topic.
    Advertise { id: u32, topic: String, ros_type: String, delivery: WireDelivery },
    /// Offer a service.
    Serve { id: u32, service: String, ros_type: String },
    /// Publish to the topic of this number.
    Publish {
        id: u32,
        #[serde(with = "serde_bytes")]
        body: Vec<u8>,
    },
    /// The reply to the request of this number, if there is one.
    Reply {
        request: u64,
        is_given: bool,
        #[serde(with = "serde_bytes")]
        body: Vec<u8>,
    },
    /// A slot of the ring may be written again.
    Free { slot: u32 },
}

/// Who to be, and with how much.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Join {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) domain_id: u16,
    pub(super) is_local: bool,
    pub(super) gid_bytes: u32,
    pub(super) slot_bytes: u64,
    pub(super) n_slots: u32,
    pub(super) memory_bytes_max: u64,
    pub(super) log_level: u8,
    pub(super) image_reliability: ImageReliability,
    pub(super) image_reliability_of: Vec<(String, ImageReliability)>,
    pub(super) receive_buffer_bytes: u64,
}

/// A [`Delivery`], as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum WireDelivery {
    BestEffort,
    Reliable,
    Latched(u8),
    Told(Qos),
}

impl From<Delivery> for WireDelivery {
    fn from(delivery: Delivery) -> Self {
        match delivery {
            Delivery::BestEffort => Self::BestEffort,
            Delivery::Reliable => Self::Reliable,
            Delivery::Latched { kept } => Self::Latched(kept),
            Delivery::Told(qos) => Self::Told(qos),
        }
    }
}

impl From<WireDelivery> for Delivery {
    fn from(delivery: WireDelivery) -> Self {
        match delivery {
            WireDelivery::BestEffort => Self::BestEffort,
            WireDelivery::Reliable => Self::Reliable,
            WireDelivery::Latched(kept) => Self::Latched { kept },
            WireDelivery::Told(qos) => Self::Told(qos),
        }
    }
}

/// From the network's process to the engine's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum News {
    /// The graph was joined as the participant of this GUID.
    Joined { guid: [u8; 16] },
    /// An order could not be followed.
    Refused { attempt: String, problem: String },
    /// An image lies in a slot.
    Image { id: u32, writer: [u8; 16], sequence: i64, slot: u32, len: u64, is_big: bool },
    /// An image was not taken; the reason is its place among all reasons.
    ImageDropped { id: u32, writer: [u8; 16], sequence: i64, reason: u8 },
    /// A message.
    Message {
        id: u32,
        is_big: bool,
        #[serde(with = "serde_bytes")]
        body: Vec<u8>,
    },
    /// A message was not taken.
    MessageDropped { id: u32, reason: u8 },
    /// A request, whose reply is waited for.
    Request {
        id: u32,
        request: u64,
        is_big: bool,
        #[serde(with = "serde_bytes")]
        body: Vec<u8>,
    },
    /// What is there: names, types, publishers, subscribers. Comes once a second, as a sign of life too.
    Graph(Vec<(String, String, u32, u32)>),
    /// How the images of a topic come.
    Reception { topic: String, reception: Reception },
    /// Readers of this topic do not keep up, and a message was not taken.
    Full { id: u32 },
}

/// Writes one record.
pub(super) fn send<T: Serialize>(to: &mut impl Write, record: &T) -> Result<()> {
    let body = encode(record);
    let mut whole = Vec::with_capacity(4 + body.len());
    whole.extend_from_slice(&(body.len() as u32).to_le_bytes());
    whole.extend_from_slice(&body);
    to.write_all(&whole)
}

/// Reads one record into `scratch`; records longer than `bytes_max` are refused before a byte of them is claimed.
pub(super) fn receive<T: for<'a> Deserialize<'a>>(
    from: &mut impl Read,
    scratch: &mut Vec<u8>,
    bytes_max: usize,
) -> Result<T> {
    let mut len = [0; 4];
    from.read_exact(&mut len)?;
    let len = u32::from_le_bytes(len) as usize;
    if bytes_max < len {
        return Err(Error::new(ErrorKind::InvalidData, format!("a record of {len} bytes")));
    }
    scratch.resize(len, 0);
    from.read_exact(scratch)?;
    decode(scratch, ByteOrder::Little).map_err(|error| Error::new(ErrorKind::InvalidData, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_and_long_ones_are_refused() {
        let news = [
            News::Image { id: 1, writer: [7; 16], sequence: -2, slot: 3, len: 1 << 40, is_big: true },
            News::Message { id: 9, is_big: false, body: vec![1, 2, 3] },
            News::Graph(vec![("/a".into(), "b".into(), 1, 0)]),
            News::Joined { guid: [3; 16] },
        ];
        let mut stream = Vec::new();
        for record in &news {
            send(&mut stream, record).unwrap();
        }
        let (mut from, mut scratch) = (&stream[..], Vec::new());
        for record in &news {
            assert_eq!(&receive::<News>(&mut from, &mut scratch, 100).unwrap(), record);
        }
        let refused = receive::<News>(&mut &[0xff, 0xff, 0xff, 0x7f][..], &mut scratch, 100).unwrap_err();
        assert!(refused.to_string().contains("2147483647 bytes"), "{refused}");
        let mut first = Vec::new();
        send(&mut first, &news[0]).unwrap();
        for n in 0..first.len() {
            assert!(receive::<News>(&mut &first[..n], &mut scratch, 100).is_err(), "{n} bytes are a record");
        }
    }
}
