//! Where the buffers of a session stand.

use super::device::{Place, Space};
use crate::backend::Memory;
use crate::backend::tensorrt::layers::Element;
use crate::backend::tensorrt::weights::ALIGN_BYTES;
use crate::graph::{Buffer, Network, Purpose};

/// Where a buffer stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Home {
    pub(super) place: Place,
    pub(super) element: Element,
    pub(super) row_bytes: usize,
}

/// Memory that is handed out, before any is claimed.
pub(super) struct Room {
    pub(super) device_bytes: usize,
    pub(super) host_bytes: usize,
}

impl Room {
    /// Room for a buffer whose elements are kept in a type.
    pub(super) fn home(&mut self, buffer: &Buffer, element: Element) -> Home {
        let (space, bytes) = match buffer.purpose {
            Purpose::Input | Purpose::Output => (Space::Host, &mut self.host_bytes),
            Purpose::Cache | Purpose::Features => (Space::Device, &mut self.device_bytes),
        };
        let row_bytes = element.bytes_of(buffer.row_len());
        let offset = bytes.next_multiple_of(ALIGN_BYTES);
        *bytes = (offset + buffer.shape[0] * row_bytes).next_multiple_of(ALIGN_BYTES);
        Home { place: Place { space, offset }, element, row_bytes }
    }
}

/// Bytes of buffers by purpose.
pub(super) fn counted(network: &Network, homes: &[Home]) -> Memory {
    let mut memory = Memory::default();
    for (buffer, home) in network.buffers.iter().zip(homes) {
        let n_bytes = (buffer.shape[0] * home.row_bytes) as u64;
        match home.place.space {
            Space::Host => memory.buffers_bytes += n_bytes,
            Space::Device => memory.caches_bytes += n_bytes,
        }
    }
    memory
}
