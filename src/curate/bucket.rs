//! What clips are put together by: aspect, size and length, so that a batch of one shard has one shape.

use serde::Serialize;

use super::record::Clip;

/// Aspects that have names, widest first.
const ASPECTS: [(&str, f64); 5] =
    [("16:9", 16.0 / 9.0), ("4:3", 4.0 / 3.0), ("1:1", 1.0), ("3:4", 0.75), ("9:16", 0.5625)];

/// Clips of one bucket have one size, and are less than twice as long as the shortest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Bucket {
    /// Place of the aspect's name.
    #[serde(skip)]
    aspect_at: usize,
    /// The nearest aspect with a name.
    pub(super) aspect: &'static str,
    /// Pixels across.
    pub(super) width: usize,
    /// Pixels down.
    pub(super) height: usize,
    /// Clips have at least so many frames: a power of two.
    pub(super) frames_min: usize,
}

impl Bucket {
    pub(super) fn of(clip: &Clip) -> Self {
        let &Clip { width, height, .. } = clip;
        // By the ratio of ratios, compared as whole numbers would be: width / height is exact enough for five names.
        let off = |aspect: f64| {
            let ratio = width as f64 / height as f64;
            if ratio < aspect { aspect / ratio } else { ratio / aspect }
        };
        let nearest = (0..ASPECTS.len()).min_by(|a, b| off(ASPECTS[*a].1).total_cmp(&off(ASPECTS[*b].1)));
        let aspect_at = nearest.expect("there are names");
        let frames_min = 1 << clip.files.len().max(1).ilog2();
        Self { aspect_at, aspect: ASPECTS[aspect_at].0, width, height, frames_min }
    }
}
