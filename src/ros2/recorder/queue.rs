//! What waits to be written, and the newest frames that may come to be: both in blocks that are claimed once.
//!
//! A message is copied into free blocks when it comes, and its blocks change hands from then on, so that whoever holds the queue's lock
//! copies nothing. A frame that nobody has asked for yet gives way to what comes, the oldest first; what is to be written gives way to
//! nothing. A share of the blocks is kept from frames, so that what the node says finds room also behind a slow disk.

use std::collections::VecDeque;

use crate::frames::clock::Moment;

const BLOCK_BYTES: usize = 32 << 10;
/// One block of so many is kept from frames.
const RESERVED_SHARE: usize = 8;

type Block = Box<[u8]>;

/// Blocks for one message, which hold it once it was copied.
#[derive(Debug, Default)]
pub(super) struct Body {
    blocks: Vec<Block>,
    n_bytes: usize,
}

impl Body {
    /// Copies a message, of as many bytes as there was asked room for.
    pub(super) fn fill(&mut self, bytes: &[u8]) {
        debug_assert_eq!(bytes.len(), self.n_bytes);
        for (block, bytes) in self.blocks.iter_mut().zip(bytes.chunks(BLOCK_BYTES)) {
            block[..bytes.len()].copy_from_slice(bytes);
        }
    }

    /// Appends the message to `out`.
    pub(super) fn append_to(&self, out: &mut Vec<u8>) {
        let mut left = self.n_bytes;
        for block in &self.blocks {
            let n = left.min(BLOCK_BYTES);
            out.extend_from_slice(&block[..n]);
            left -= n;
        }
    }
}

/// A message as it came.
#[derive(Debug)]
pub(super) struct Entry {
    /// Of the topic, among all that were announced.
    pub(super) channel: usize,
    pub(super) received: Moment,
    pub(super) is_big_endian: bool,
    /// Which frame was made of it, by the address of its buffer: of those at one address the newest is meant. 0 is none.
    pub(super) frame: usize,
    pub(super) body: Body,
}

#[derive(Debug)]
pub(super) struct Queue {
    free: Vec<Block>,
    /// Blocks that frames leave free.
    n_reserved: usize,
    /// Frames that nobody has asked for, the oldest first.
    frames: VecDeque<Entry>,
    /// Identities of those that gave way, until another frame has one of them.
    gone: Vec<usize>,
    pending: VecDeque<Entry>,
    /// Blocks that are being filled or written.
    n_away: usize,
    /// A frame that gives way before it is so old, in steady time, has not waited long enough.
    patience_ns: i64,
    /// The shortest that one has.
    shortest_ns: Option<i64>,
}

impl Queue {
    /// Claims the blocks.
    pub(super) fn new(bytes: usize, patience_ns: i64) -> Self {
        let n_blocks = (bytes / BLOCK_BYTES).max(RESERVED_SHARE);
        let free = (0..n_blocks).map(|_| vec![0; BLOCK_BYTES].into_boxed_slice()).collect();
        let (frames, gone, pending) = Default::default();
        let n_reserved = n_blocks / RESERVED_SHARE;
        Self { free, n_reserved, frames, gone, pending, n_away: 0, patience_ns, shortest_ns: None }
    }

    /// Room for a message at this moment, if there is any.
    pub(super) fn room(&mut self, n_bytes: usize, is_frame: bool, now: Moment) -> Option<Body> {
        let n = n_bytes.div_ceil(BLOCK_BYTES);
        let wanted = n + if is_frame { self.n_reserved } else { 0 };
        let of_frames: usize = self.frames.iter().map(|entry| entry.body.blocks.len()).sum();
        if self.free.len() + of_frames < wanted {
            return None;
        }
        while self.free.len() < wanted {
            let oldest = self.frames.pop_front().expect("they were counted");
            let waited_ns = now.steady_ns.saturating_sub(oldest.received.steady_ns);
            if waited_ns < self.patience_ns {
                self.shortest_ns = Some(self.shortest_ns.map_or(waited_ns, |least| least.min(waited_ns)));
            }
            if !self.gone.contains(&oldest.frame) {
                self.gone.push(oldest.frame);
            }
            self.free.extend(oldest.body.blocks);
        }
        self.n_away += n;
        Some(Body { blocks: self.free.split_off(self.free.len() - n), n_bytes })
    }

    /// Takes a message in, to be written or to wait whether it is.
    pub(super) fn push(&mut self, entry: Entry, is_wanted: bool) {
        self.n_away -= entry.body.blocks.len();
        self.gone.retain(|frame| *frame != entry.frame);
        if is_wanted { self.pending.push_back(entry) } else { self.frames.push_back(entry) }
    }

    /// Lets the newest frame of this identity be written, if it waits. Says whether it has not given way before.
    pub(super) fn want_frame(&mut self, frame: usize) -> bool {
        let waits = self.frames.iter().rposition(|entry| entry.frame == frame);
        self.pending.extend(waits.and_then(|at| self.frames.remove(at)));
        let gone = self.gone.iter().position(|gone| *gone == frame);
        gone.map(|at| self.gone.remove(at)).is_none()
    }

    /// The newest frame of this identity found no room: those before it are not meant by it any more.
    pub(super) fn lose_frame(&mut self, frame: usize) {
        self.frames
            .iter_mut()
            .filter(|entry| entry.frame == frame)
            .for_each(|entry| entry.frame = usize::MAX);
        self.gone.retain(|gone| *gone != frame);
    }

    /// Lets the frames that were received at these moments of steady time be written.
    pub(super) fn want_between(&mut self, from_ns: i64, until_ns: i64) {
        for entry in std::mem::take(&mut self.frames) {
            let is_within = (from_ns..=until_ns).contains(&entry.received.steady_ns);
            if is_within { self.pending.push_back(entry) } else { self.frames.push_back(entry) }
        }
    }

    /// The next message to write.
    pub(super) fn pop(&mut self) -> Option<Entry> {
        let entry = self.pending.pop_front()?;
        self.n_away += entry.body.blocks.len();
        Some(entry)
    }

    /// Takes the blocks of a message back.
    pub(super) fn give_back(&mut self, body: Body) {
        self.n_away -= body.blocks.len();
        self.free.extend(body.blocks);
    }

    /// Whether something is to be written.
    pub(super) fn has_work(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Whether more room will come by waiting.
    pub(super) fn is_busy(&self) -> bool {
        0 < self.n_away || !self.pending.is_empty()
    }

    /// The shortest that a frame has waited which gave way too early.
    pub(super) fn shortest_ns(&self) -> Option<i64> {
        self.shortest_ns
    }

    /// Lets go of everything, the memory too.
    pub(super) fn clear(&mut self) {
        let (free, frames, pending) = Default::default();
        (self.free, self.frames, self.pending) = (free, frames, pending);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Moment {
        Moment { ros_ns: ms, steady_ns: ms }
    }

    /// Takes a message of so many blocks in, if there is room.
    fn offer(queue: &mut Queue, frame: usize, n_blocks: usize, ms: i64, is_wanted: bool) -> bool {
        let bytes = vec![frame as u8; n_blocks * BLOCK_BYTES - 7];
        let Some(mut body) = queue.room(bytes.len(), frame != 0, at(ms)) else { return false };
        body.fill(&bytes);
        queue.push(Entry { channel: 0, received: at(ms), is_big_endian: false, frame, body }, is_wanted);
        true
    }

    /// What is to be written, oldest first.
    fn drain(queue: &mut Queue) -> Vec<(usize, i64)> {
        std::iter::from_fn(|| queue.pop())
            .map(|entry| {
                let mut bytes = Vec::new();
                entry.body.append_to(&mut bytes);
                assert!(
                    bytes.iter().all(|byte| *byte == entry.frame as u8) && bytes.len() % BLOCK_BYTES != 0
                );
                (entry.frame, entry.received.steady_ns)
            })
            .collect()
    }

    #[test]
    fn the_newest_frames_stay_within_the_blocks_and_leave_some() {
        let mut queue = Queue::new(16 * BLOCK_BYTES, 0);
        for ms in 0..100 {
            assert!(offer(&mut queue, 1 + ms as usize, 3, ms, false));
            assert!(queue.frames.len() <= 4 && 2 <= queue.free.len(), "{} frames", queue.frames.len());
        }
        let n_blocks = |queue: &Queue| {
            queue.free.len() + 3 * queue.frames.len() + 3 * queue.pending.len() + queue.n_away
        };
        assert_eq!(n_blocks(&queue), 16);
        queue.want_between(98, 1000);
        assert!(queue.want_frame(98) && queue.want_frame(98), "it was asked for before");
        assert!(!queue.want_frame(2) && queue.want_frame(2), "it has given way, which is said once");
        assert_eq!(n_blocks(&queue), 16);
        assert_eq!(drain(&mut queue), [(99, 98), (100, 99), (98, 97)]);
        assert!(!offer(&mut queue, 200, 15, 200, false), "frames leave two blocks");
    }

    #[test]
    fn what_is_to_be_written_gives_way_to_nothing() {
        let mut queue = Queue::new(16 * BLOCK_BYTES, 0);
        assert!((0..4).all(|i| offer(&mut queue, 1 + i, 3, 0, true)));
        assert!(!offer(&mut queue, 9, 3, 0, true), "frames have no more room");
        assert!(offer(&mut queue, 0, 2, 0, true) && offer(&mut queue, 0, 2, 0, true), "and words have");
        assert!(!offer(&mut queue, 0, 1, 0, true) && queue.is_busy());
        let written = queue.pop().unwrap();
        assert_eq!(written.frame, 1);
        assert!(!offer(&mut queue, 0, 1, 0, true), "its blocks are being written");
        queue.give_back(written.body);
        assert!(offer(&mut queue, 0, 1, 0, true));
        assert_eq!(drain(&mut queue).len(), 6);
    }

    #[test]
    fn a_frame_that_gives_way_too_early_is_known() {
        let mut queue = Queue::new(16 * BLOCK_BYTES, 30);
        for ms in 0..4 {
            assert!(offer(&mut queue, 1, 3, 10 * ms, false));
        }
        assert!(offer(&mut queue, 1, 3, 40, false) && queue.shortest_ns().is_none());
        assert!(offer(&mut queue, 1, 3, 35, false));
        assert_eq!(queue.shortest_ns(), Some(25));
        // Of one buffer the newest is meant.
        queue.want_frame(1);
        assert_eq!(drain(&mut queue), [(1, 35)]);
    }
}
