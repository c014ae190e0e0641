//! Rows of a raw image.

/// Rows whose bounds have been checked.
pub(super) struct Rows<'a> {
    pub(super) data: &'a [u8],
    pub(super) step: usize,
    pub(super) row_bytes: usize,
    /// Which byte of a 16-bit sample is the high one.
    pub(super) high: usize,
}

impl<'a> Rows<'a> {
    /// The pixels of row `y`, without its padding.
    pub(super) fn row(&self, y: usize) -> &'a [u8] {
        &self.data[y * self.step..][..self.row_bytes]
    }
}
