//! A thread's scratch, cut into what a task of attention works on.

use super::{BLOCK_ROWS, BlockRow, KEYS_FLOATS, LANES, ROWS_FLOATS, SUMS_FLOATS};

/// The parts of a thread's scratch.
pub(super) struct Blocks<'a> {
    /// `[part of the head][row]`.
    pub(super) queries: &'a mut [BlockRow],
    /// Scores, then their exponentials.
    pub(super) shares: &'a mut [BlockRow],
    /// `[16 keys each][d]`.
    pub(super) keys: &'a mut [[f32; LANES]],
    /// `[16 elements of the head each][key]`.
    pub(super) values: &'a mut [[f32; LANES]],
    /// `[16 elements of the head each][row]`.
    pub(super) sums: &'a mut [[f32; LANES]],
    pub(super) greatest: &'a mut [f32],
    pub(super) weight: &'a mut [f32],
}

impl<'a> Blocks<'a> {
    #[inline]
    pub(super) fn new(scratch: &'a mut [f32]) -> Blocks<'a> {
        let (keys, scratch) = scratch.split_at_mut(KEYS_FLOATS);
        let (values, scratch) = scratch.split_at_mut(KEYS_FLOATS);
        let (sums, scratch) = scratch.split_at_mut(SUMS_FLOATS);
        let (queries, scratch) = scratch.split_at_mut(ROWS_FLOATS);
        let (shares, scratch) = scratch.split_at_mut(ROWS_FLOATS);
        let (greatest, scratch) = scratch.split_at_mut(BLOCK_ROWS);
        Blocks {
            queries: queries.as_chunks_mut().0,
            shares: shares.as_chunks_mut().0,
            keys: keys.as_chunks_mut().0,
            values: values.as_chunks_mut().0,
            sums: sums.as_chunks_mut().0,
            greatest,
            weight: &mut scratch[..BLOCK_ROWS],
        }
    }
}
