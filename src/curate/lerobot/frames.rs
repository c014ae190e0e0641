//! An episode's image files, one after the other, as they go into a data set.

use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::numbers::{Tally, sampled};
use crate::camera::{channels_in_header, load_image, png, size_in_header};
use crate::container::hex;
use crate::curate::encoded::{extension, read_stored};
use crate::curate::error::CurateError;
use crate::curate::record::Clip;

const PIXELS_MAX: u64 = 1 << 26;

/// The frames of a clip.
pub(super) struct Frames<'a> {
    from: &'a Path,
    clip: &'a Clip,
    sampled: Vec<usize>,
    tally: Tally,
    digest: Sha256,
}

impl<'a> Frames<'a> {
    pub(super) fn of(clip: &'a Clip, from: &'a Path) -> Self {
        let sampled = sampled(clip.files.len());
        Self { from, clip, sampled, tally: Tally::new(), digest: Sha256::new() }
    }

    /// The next frame's name and bytes; each is asked for once, in order.
    pub(super) fn read(&mut self, at: usize) -> Result<(String, Vec<u8>), CurateError> {
        let &Clip { width, height, ref files, .. } = self.clip;
        let (path, bytes) = read_stored(self.from, &files[at])?;
        if size_in_header(&bytes) != Some((width as u32, height as u32)) {
            let problem = format!("expected an image of {width}×{height} pixels");
            return Err(CurateError::Part { path, problem });
        }
        let is_gray = channels_in_header(&bytes) != Some(3);
        let extension = if is_gray { "png" } else { extension(&files[at]) };
        let name = format!("frame-{at:06}.{extension}");
        let is_sampled = self.sampled.binary_search(&at).is_ok();
        if !is_gray && !is_sampled {
            self.digest.update(&bytes);
            return Ok((name, bytes));
        }
        let image = load_image(&path, PIXELS_MAX)?;
        // Readers make one channel of a grey JPEG, and a feature has three.
        let bytes = if is_gray { png(&image.rgb, image.size()) } else { bytes };
        if is_sampled {
            self.tally.add(&image.rgb, width, height);
        }
        self.digest.update(&bytes);
        Ok((name, bytes))
    }

    /// What the frames look like, and the digest of their bytes one after the other.
    pub(super) fn end(self) -> (Tally, String) {
        (self.tally, hex(&self.digest.finalize()))
    }
}
