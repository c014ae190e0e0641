//! What the rows of the cache are of: a question that begins as the last one did goes on where they part.
//!
//! A row's key and value follow from the tokens up to it, their positions, and what the visual ones among them show. Positions
//! follow from the tokens and the extents of the pictures. So a token's *key* is its id, and for a visual token the digest of its
//! picture and its place in it; equal keys up to a row make equal rows.

/// SHA-256 of the pixels that a picture was made of, with their extents: a strong digest, since a camera shows what others put
/// before it.
pub type Digest = [u8; 32];

/// What one row of the cache is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::runtime) enum TokenKey {
    /// A token of text.
    Text(u32),
    /// A visual token.
    Visual {
        /// Of its picture.
        digest: Digest,
        /// Its place among the picture's tokens.
        index: u32,
    },
}

/// The keys of the cache's valid rows, in memory claimed once.
#[derive(Debug)]
pub(in crate::runtime) struct CacheRows {
    rows: Vec<TokenKey>,
    rows_max: usize,
}

impl CacheRows {
    /// For a cache of `rows_max` rows, of which none is valid.
    pub(in crate::runtime) fn new(rows_max: usize) -> Self {
        Self { rows: Vec::with_capacity(rows_max), rows_max }
    }

    /// Valid rows.
    pub(in crate::runtime) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Bytes that it has claimed.
    pub(in crate::runtime) fn claimed_bytes(&self) -> u64 {
        (self.rows.capacity() * size_of::<TokenKey>()) as u64
    }

    /// How many rows at the beginning are already what `prompt` needs.
    pub(in crate::runtime) fn common_with(&self, prompt: &[TokenKey]) -> usize {
        self.rows.iter().zip(prompt).take_while(|(row, wanted)| row == wanted).count()
    }

    /// Forgets the rows from `len` on.
    pub(in crate::runtime) fn cut(&mut self, len: usize) {
        self.rows.truncate(len);
    }

    /// Counts rows as valid that a run has written.
    ///
    /// # Panics
    /// If they are more than the cache holds: the run would have been refused.
    pub(in crate::runtime) fn commit(&mut self, rows: &[TokenKey]) {
        assert!(self.rows.len() + rows.len() <= self.rows_max);
        self.rows.extend_from_slice(rows);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_common_up_to_the_first_difference() {
        use TokenKey::Text;
        let image = |first, index| TokenKey::Visual { digest: [first; 32], index };
        let mut rows = CacheRows::new(5);
        rows.commit(&[Text(1), image(7, 0), image(7, 1), Text(2)]);
        assert_eq!(rows.common_with(&[Text(1), image(7, 0), image(7, 1), Text(3)]), 3);
        assert_eq!(rows.common_with(&[Text(1), image(8, 0), image(8, 1), Text(2)]), 1);
        // The same image, one token on: another place in it.
        assert_eq!(rows.common_with(&[Text(1), image(7, 1)]), 1);
        assert_eq!(rows.common_with(&[Text(1)]), 1);
        rows.cut(1);
        assert_eq!((rows.len(), rows.common_with(&[Text(1), image(7, 0)])), (1, 1));
    }
}
