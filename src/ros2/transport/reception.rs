//! How the images of a topic are read: best effort, or so that what is lost on the way is sent again.
//!
//! Best effort matches every camera and keeps the newest image newest, so it is the rule. It needs a receive buffer that
//! holds an image: what an untouched kernel grants holds 208 KiB, and of a larger image some datagrams are lost, and with
//! them all of it. Read reliably, the rest is asked for again. So where the buffer is small and every camera of the topic
//! publishes reliably, it is read reliably.
//!
//! Why not by the size of what arrives: of an image that was lost nobody knows the size, and the next JPEG may be larger.

use serde::{Deserialize, Serialize};

use crate::ros2::kernel_limits::{RECEIVE_BUFFER_BYTES_WANTED, image_bytes_safe};

/// What the user wants of image topics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ImageReliability {
    /// What the buffer and the cameras ask for.
    #[default]
    Auto,
    /// Best effort, whatever is lost.
    BestEffort,
    /// Reliably: cameras that publish best effort are not heard.
    Reliable,
}

impl ImageReliability {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Auto, Self::BestEffort, Self::Reliable];

    /// As parameters name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::BestEffort => "best_effort",
            Self::Reliable => "reliable",
        }
    }
}

/// How a topic's images are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// Whether what is lost is asked for again.
    pub is_reliable: bool,
    /// Why so.
    pub why: Why,
}

/// What a [`Choice`] follows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Why {
    /// The user said so.
    Told,
    /// The receive buffer holds large images.
    LargeBuffer,
    /// The receive buffer is small, and nobody publishes the topic yet.
    NobodyYet,
    /// The receive buffer is small, and every publisher repeats what is lost.
    SmallBuffer,
    /// The receive buffer is small, and a publisher repeats nothing.
    NothingRepeated,
    /// The user wants repetition, and a publisher repeats nothing, so that it is not heard.
    Unheard,
}

impl Choice {
    /// What `wanted` comes to with a receive buffer of so many bytes (`None` where they are not known) and publishers that
    /// offer to repeat, or do not.
    pub(super) fn of(wanted: ImageReliability, buffer_bytes: Option<u64>, offers: &[bool]) -> Self {
        let is_small = buffer_bytes.is_some_and(|bytes| bytes < RECEIVE_BUFFER_BYTES_WANTED);
        let (is_reliable, why) = match wanted {
            ImageReliability::BestEffort => (false, Why::Told),
            ImageReliability::Reliable if offers.contains(&false) => (true, Why::Unheard),
            ImageReliability::Reliable => (true, Why::Told),
            ImageReliability::Auto if !is_small => (false, Why::LargeBuffer),
            ImageReliability::Auto if offers.is_empty() => (false, Why::NobodyYet),
            ImageReliability::Auto if offers.contains(&false) => (false, Why::NothingRepeated),
            ImageReliability::Auto => (true, Why::SmallBuffer),
        };
        Self { is_reliable, why }
    }

    /// As parameters name it.
    pub fn name(self) -> &'static str {
        let as_wanted =
            if self.is_reliable { ImageReliability::Reliable } else { ImageReliability::BestEffort };
        as_wanted.name()
    }
}

/// How a topic's images come over the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reception {
    /// How they are read.
    pub choice: Choice,
    /// The receive buffer that the kernel granted, in bytes, if it is known.
    pub buffer_bytes: Option<u64>,
    /// Datagrams, of images and other messages, that did not fit into it since the graph was joined.
    pub dropped_datagrams: u64,
    /// The largest image that has arrived, in bytes.
    pub image_bytes_max: u64,
}

impl Reception {
    /// Whether images of this size may be lost whole, as far as we know.
    pub fn loses(&self, image_bytes: u64) -> bool {
        let is_too_small = self.buffer_bytes.is_some_and(|bytes| image_bytes_safe(bytes) < image_bytes);
        is_too_small && !self.choice.is_reliable
    }
}

#[cfg(test)]
#[test]
fn a_small_buffer_and_cameras_that_repeat_make_it_reliable() {
    let (stock, tuned) = (Some(212_992), Some(8 << 20));
    let auto = |buffer, offers: &[bool]| {
        let Choice { is_reliable, why } = Choice::of(ImageReliability::Auto, buffer, offers);
        (is_reliable, why)
    };
    assert_eq!(auto(tuned, &[true]), (false, Why::LargeBuffer));
    assert_eq!(auto(None, &[true]), (false, Why::LargeBuffer));
    assert_eq!(auto(stock, &[]), (false, Why::NobodyYet));
    assert_eq!(auto(stock, &[true, true]), (true, Why::SmallBuffer));
    assert_eq!(auto(stock, &[true, false]), (false, Why::NothingRepeated));
    for (wanted, is_reliable) in [(ImageReliability::BestEffort, false), (ImageReliability::Reliable, true)] {
        let told = Choice { is_reliable, why: Why::Told };
        assert_eq!([Choice::of(wanted, stock, &[true]), Choice::of(wanted, tuned, &[])], [told; 2]);
        assert_eq!(told.name(), wanted.name());
    }
    assert_eq!(Choice::of(ImageReliability::Reliable, tuned, &[true, false]).why, Why::Unheard);
    assert_eq!(Choice::of(ImageReliability::BestEffort, stock, &[false]).why, Why::Told);
}

#[cfg(test)]
#[test]
fn what_is_read_reliably_is_not_lost_for_its_size() {
    let choice = Choice { is_reliable: false, why: Why::NobodyYet };
    let stock = Reception { choice, buffer_bytes: Some(212_992), dropped_datagrams: 0, image_bytes_max: 0 };
    assert_eq!([190_000, 192_000].map(|bytes| stock.loses(bytes)), [false, true]);
    let reliable = Choice { is_reliable: true, ..choice };
    assert!(!Reception { choice: reliable, ..stock }.loses(6 << 20));
    assert!(!Reception { buffer_bytes: None, ..stock }.loses(6 << 20));
}
