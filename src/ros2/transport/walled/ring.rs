//! The shared memory through which images come over the wall: slots of one size in a file that has no name.
//!
//! The outside writes a slot and says so; the inside reads it and gives it back. The file is sealed, so that nobody can
//! cut it under the maps.
//!
//! Why not `pwrite`: it takes a multiple of a copy's time, and RustDDS's network thread waits meanwhile.
#![expect(unsafe_code, reason = "a map is unsafe because another process writes to the file below it")]

use std::fs::File;
use std::io;
use std::sync::{Mutex, PoisonError};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};

use crate::frames::accounts::DropReason;

/// The inside's half: reads.
pub(super) struct RingReader {
    map: memmap2::Mmap,
    slot_bytes: usize,
}

impl RingReader {
    /// Makes a ring, and the file by which the outside writes to it. Its memory is claimed as it is written.
    pub(super) fn make(n_slots: usize, slot_bytes: usize) -> io::Result<(Self, File)> {
        let descriptor = memfd_create("images", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        let bytes = n_slots.checked_mul(slot_bytes).ok_or(io::ErrorKind::InvalidInput)?;
        ftruncate(&descriptor, bytes as u64)?;
        fcntl_add_seals(&descriptor, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        let file = File::from(descriptor);
        // SAFETY: the map is read-only, and the seals keep its length. The outside is this same program; it writes a slot
        // only while the slot is its own, from `Free` to `Image`, and we read only between those.
        let map = unsafe { memmap2::Mmap::map(&file) }?;
        Ok((Self { map, slot_bytes }, file))
    }

    /// The first `len` bytes of a slot, or `None` where there are none such.
    pub(super) fn slot(&self, slot: u32, len: u64) -> Option<&[u8]> {
        let len = usize::try_from(len).ok().filter(|len| *len <= self.slot_bytes)?;
        let start = (slot as usize).checked_mul(self.slot_bytes)?;
        self.map.get(start..start.checked_add(len)?)
    }
}

/// The outside's half: writes.
pub(super) struct RingWriter {
    slot_bytes: usize,
    slots: Mutex<Slots>,
}

struct Slots {
    map: memmap2::MmapMut,
    is_free: Vec<bool>,
}

impl RingWriter {
    /// A ring all of whose slots are free, in the file that [`RingReader::make`] made.
    pub(super) fn new(file: &File, n_slots: usize, slot_bytes: usize) -> io::Result<Self> {
        // SAFETY: the seals keep its length, and nobody else writes to it. The inside reads a slot from `Image` to `Free`,
        // and we write it only between those.
        let map = unsafe { memmap2::MmapMut::map_mut(file) }?;
        Ok(Self { slot_bytes, slots: Mutex::new(Slots { map, is_free: vec![true; n_slots] }) })
    }

    /// Copies `body` to a free slot.
    ///
    /// # Errors
    /// If it is too long, or the inside still reads all slots.
    pub(super) fn write(&self, body: &[u8]) -> Result<u32, DropReason> {
        let slot_bytes = self.slot_bytes;
        if slot_bytes < body.len() {
            return Err(DropReason::Oversized);
        }
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = slots.is_free.iter().position(|free| *free).ok_or(DropReason::NoBuffer)?;
        let room = slots.map.get_mut(slot * slot_bytes..slot * slot_bytes + body.len());
        room.ok_or(DropReason::Oversized)?.copy_from_slice(body);
        slots.is_free[slot] = false;
        Ok(slot as u32)
    }

    /// Lets a slot be written again.
    pub(super) fn free(&self, slot: u32) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(free) = slots.is_free.get_mut(slot as usize) {
            *free = true;
        }
    }
}

#[cfg(test)]
#[test]
fn what_is_written_is_read_and_nothing_else() {
    let (reader, file) = RingReader::make(2, 10).unwrap();
    assert!(file.set_len(0).is_err(), "a sealed file was cut");
    let writer = RingWriter::new(&file, 2, 10).unwrap();
    let slots = [writer.write(&[1; 10]), writer.write(&[2; 3])];
    assert_eq!(slots, [Ok(0), Ok(1)]);
    assert_eq!(
        (writer.write(&[3]), writer.write(&[3; 11])),
        (Err(DropReason::NoBuffer), Err(DropReason::Oversized))
    );
    assert_eq!((reader.slot(0, 10), reader.slot(1, 3)), (Some(&[1; 10][..]), Some(&[2; 3][..])));
    for (slot, len) in [(0, 11), (2, 1), (u32::MAX, 10), (0, u64::MAX)] {
        assert_eq!(reader.slot(slot, len), None);
    }
    writer.free(1);
    writer.free(7);
    assert_eq!(writer.write(&[4]), Ok(1));
}
