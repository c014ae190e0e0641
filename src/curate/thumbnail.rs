//! Small pictures of frames, for the page.

use crate::camera::{FrameSize, Resample, Resizer};

/// Pixels of the longer side.
const SIDE_MAX: usize = 96;

/// The frame, small, as packed RGB with its size.
pub(super) fn thumbnail(resizer: &mut Resizer, rgb: &[u8], size: FrameSize) -> (Vec<u8>, FrameSize) {
    let longest = size.width.max(size.height);
    if longest <= SIDE_MAX {
        return (rgb.to_vec(), size);
    }
    let scaled = |n: usize| (n * SIDE_MAX / longest).max(1);
    let small = FrameSize { width: scaled(size.width), height: scaled(size.height) };
    let mut pixels = vec![0; small.rgb_bytes()];
    resizer.resize(rgb, size, &mut pixels, small, Resample::Bilinear);
    (pixels, small)
}
