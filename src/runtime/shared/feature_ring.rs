//! Which rows of the feature buffers hold the visual tokens of which picture.
//!
//! A picture (an image, or a group of a clip's frames) is encoded into a range of rows and stays there until the ring comes round,
//! so that a clip that has moved on by one group encodes one group, and a second question about an image encodes none.

use super::rows::Digest;

/// The ranges in use, oldest first, in memory claimed once.
#[derive(Debug)]
pub(in crate::runtime) struct FeatureRing {
    held: Vec<Kept>,
    /// Where the next picture goes if nothing is in its way.
    next: usize,
    rows_max: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kept {
    digest: Digest,
    start: usize,
    len: usize,
}

impl FeatureRing {
    /// A ring over `rows_max` rows; so many pictures of one row each fit.
    pub(in crate::runtime) fn new(rows_max: usize) -> Self {
        Self { held: Vec::with_capacity(rows_max), next: 0, rows_max }
    }

    /// Bytes that it has claimed.
    pub(in crate::runtime) fn claimed_bytes(&self) -> u64 {
        (self.held.capacity() * size_of::<Kept>()) as u64
    }

    /// The first row of a picture that is there.
    pub(in crate::runtime) fn find(&self, digest: &Digest) -> Option<usize> {
        self.held.iter().find(|held| held.digest == *digest).map(|held| held.start)
    }

    /// Finds `len` rows for a new picture, away from those that `is_needed`; what else lay there is forgotten. The picture is there
    /// only after [`FeatureRing::commit`].
    ///
    /// `None` if the needed ones leave no such range: then [`FeatureRing::clear`] and encoding all of them anew makes room, as long
    /// as together they have at most the ring's rows.
    pub(in crate::runtime) fn reserve(
        &mut self,
        len: usize,
        is_needed: impl Fn(&Digest) -> bool,
    ) -> Option<usize> {
        let overlaps = |held: &Kept, start: usize| held.start < start + len && start < held.start + held.len;
        let mut start = self.next;
        let mut has_wrapped = false;
        loop {
            if self.rows_max < start + len {
                if has_wrapped {
                    return None;
                }
                (start, has_wrapped) = (0, true);
                continue;
            }
            match self.held.iter().find(|held| overlaps(held, start) && is_needed(&held.digest)) {
                Some(in_the_way) => start = in_the_way.start + in_the_way.len,
                None => break,
            }
        }
        self.held.retain(|held| !overlaps(held, start));
        self.next = start + len;
        Some(start)
    }

    /// Counts a picture as there that a run has written to reserved rows.
    pub(in crate::runtime) fn commit(&mut self, digest: Digest, start: usize, len: usize) {
        self.held.push(Kept { digest, start, len });
    }

    /// Forgets every picture.
    pub(in crate::runtime) fn clear(&mut self) {
        self.held.clear();
        self.next = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Encodes what is not there of `pictures`, each of `len` rows; how many were encoded.
    fn show(ring: &mut FeatureRing, pictures: &[u8], len: usize) -> usize {
        let is_needed = |digest: &Digest| pictures.contains(&digest[0]);
        let mut n_encoded = 0;
        for picture in pictures {
            if ring.find(&[*picture; 32]).is_none() {
                let start = ring.reserve(len, is_needed).expect("room");
                ring.commit([*picture; 32], start, len);
                n_encoded += 1;
            }
        }
        let mut ranges: Vec<_> = ring.held.iter().map(|held| (held.start, held.len)).collect();
        ranges.sort_unstable();
        assert!(ranges.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0), "{ranges:?} overlap");
        assert!(pictures.iter().all(|p| ring.find(&[*p; 32]).is_some()));
        n_encoded
    }

    #[test]
    fn a_clip_that_moves_on_by_a_group_encodes_one() {
        for rows_max in [64, 70, 80, 200] {
            let mut ring = FeatureRing::new(rows_max);
            assert_eq!(show(&mut ring, &[0, 1, 2, 3], 16), 4);
            for first in 1..20 {
                let clip: Vec<u8> = (first..first + 4).collect();
                assert_eq!(show(&mut ring, &clip, 16), 1, "{rows_max} rows");
                assert_eq!(show(&mut ring, &clip, 16), 0);
            }
        }
    }

    #[test]
    fn needed_pictures_are_not_overwritten() {
        let mut ring = FeatureRing::new(10);
        show(&mut ring, &[1], 4);
        show(&mut ring, &[1, 2], 3);
        // 3 rows are left at the end, but 4 are wanted and picture 2 lies at 4..7.
        assert_eq!(ring.reserve(4, |d| d[0] == 2), Some(0));
        assert_eq!((ring.find(&[1; 32]), ring.find(&[2; 32])), (None, Some(4)));
        assert_eq!(ring.reserve(5, |d| d[0] == 2), None);
    }
}
