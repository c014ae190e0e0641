//! A decoded image, and what tells it from every other.

use std::sync::OnceLock;

use sha2::{Digest as _, Sha256};

use super::grid::FrameSize;

/// SHA-256 of a picture's size and pixels: a strong digest, since a camera shows what others put before it.
pub type PictureDigest = [u8; 32];

/// A decoded image.
#[derive(Clone, Copy, Debug)]
pub struct Picture<'a> {
    /// Packed RGB, `[height, width, 3]`.
    pub rgb: &'a [u8],
    /// Its size.
    pub size: FrameSize,
    /// Where its digest is kept, if its pixels stay for more than one question.
    digest: Option<&'a OnceLock<PictureDigest>>,
}

impl<'a> Picture<'a> {
    /// A picture whose digest is computed whenever it is asked for.
    #[must_use]
    pub fn new(rgb: &'a [u8], size: FrameSize) -> Self {
        Self { rgb, size, digest: None }
    }

    /// A picture whose digest is kept beside its pixels, so that it is computed once, however many ask. It is the caller's
    /// to empty `digest` when other pixels take their place.
    #[must_use]
    pub fn with_digest(rgb: &'a [u8], size: FrameSize, digest: &'a OnceLock<PictureDigest>) -> Self {
        Self { rgb, size, digest: Some(digest) }
    }

    /// What tells it from every other picture.
    #[must_use]
    pub fn digest(&self) -> PictureDigest {
        match self.digest {
            Some(kept) => *kept.get_or_init(|| self.hash()),
            None => self.hash(),
        }
    }

    fn hash(&self) -> PictureDigest {
        let mut hash = Sha256::new();
        hash.update((self.size.width as u64).to_le_bytes());
        hash.update((self.size.height as u64).to_le_bytes());
        hash.update(self.rgb);
        hash.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_and_pixels_tell_pictures_apart() {
        let size = |width, height| FrameSize { width, height };
        let digest = |rgb: &[u8], size| Picture::new(rgb, size).digest();
        let wide = digest(&[1; 6], size(2, 1));
        assert_eq!(wide, digest(&[1; 6], size(2, 1)));
        assert_ne!(wide, digest(&[1; 6], size(1, 2)));
        assert_ne!(wide, digest(&[1, 1, 1, 1, 1, 2], size(2, 1)));
    }

    #[test]
    fn a_kept_digest_is_computed_once() {
        let (kept, size) = (OnceLock::new(), FrameSize { width: 1, height: 1 });
        let digest = Picture::with_digest(&[1; 3], size, &kept).digest();
        assert_eq!(digest, Picture::new(&[1; 3], size).digest());
        assert_eq!(kept.get(), Some(&digest));
        // What is kept counts: the pixels are not read again.
        assert_eq!(Picture::with_digest(&[2; 3], size, &kept).digest(), digest);
    }
}
