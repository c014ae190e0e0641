//! A block: the rows that a product walks along many panels, in a thread's scratch.

/// Multiply-adds of one chain. Two panels of a chunk leave room for rows in a first-level cache of 32 KiB.
pub(super) const CHUNK: usize = 192;
/// The longest row of a block: attention's heads and blocks of keys.
pub(super) const ROW_LEN_MAX: usize = 256;
/// Elements from one row of a block to the next: not a power of two, which would crowd a few cache sets.
pub(super) const ROW_STRIDE: usize = ROW_LEN_MAX + 16;
/// Rows of a block, at most. A multiple of every tile height.
pub(super) const BLOCK_ROWS: usize = 192;

/// A row of a block.
pub(super) type BlockRow = [f32; ROW_STRIDE];
