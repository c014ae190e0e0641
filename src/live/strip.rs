//! The frames of a forecast as one small picture: few enough and small enough to be copied while they are made.

use serde_json::{Value, json};

use crate::ros2::node::ForecastShape;

/// Frames of a strip at most; of a longer forecast it has every second, or third, and so on.
const TILES_MAX: usize = 16;
/// Pixels of a frame's row at most; of a larger frame it has every second pixel, or third, and so on.
const TILE_WIDTH_MAX: usize = 160;

/// Frames beside each other.
#[derive(Debug, Clone)]
pub(super) struct Strip {
    /// Width and height of a frame of the forecast, and of one here.
    of: [usize; 2],
    tile: [usize; 2],
    /// One pixel in so many, one frame in so many.
    pixels: usize,
    frames: usize,
    rate_hz: f64,
    /// How many frames ahead each tile is.
    aheads: Vec<usize>,
    /// `[tiles, tile height, tile width, 3]`, room for all of them.
    rgb: Vec<u8>,
}

impl Strip {
    /// An empty one.
    pub(super) fn new(shape: &ForecastShape) -> Self {
        let of = [shape.width, shape.height];
        let pixels = shape.width.div_ceil(TILE_WIDTH_MAX).max(1);
        let tile = of.map(|side| side / pixels);
        let frames = shape.horizon.div_ceil(TILES_MAX).max(1);
        let n_tiles = shape.horizon.div_ceil(frames);
        let rgb = vec![0; n_tiles * 3 * tile[0] * tile[1]];
        Self { of, tile, pixels, frames, rate_hz: shape.rate_hz, aheads: Vec::with_capacity(n_tiles), rgb }
    }

    /// Takes in a frame, if it is one of those that are shown.
    pub(super) fn show(&mut self, ahead: usize, rgb: &[u8]) {
        let Self { of: [width, height], tile: [tile_width, tile_height], pixels, .. } = *self;
        if ahead == 1 {
            // One that never had a report.
            self.aheads.clear();
        }
        if !ahead.is_multiple_of(self.frames) || rgb.len() != 3 * width * height {
            return;
        }
        let tile_bytes = 3 * tile_width * tile_height;
        let Some(tile) = self.rgb.chunks_exact_mut(tile_bytes.max(1)).nth(self.aheads.len()) else { return };
        for (y, row) in tile.chunks_exact_mut(3 * tile_width).enumerate() {
            let from = &rgb[3 * width * pixels * y..][..3 * width];
            for (to, from) in row.chunks_exact_mut(3).zip(from.chunks_exact(3).step_by(pixels)) {
                to.copy_from_slice(from);
            }
        }
        self.aheads.push(ahead);
    }

    /// What was shown, after which it is empty.
    pub(super) fn finish(&mut self) -> Self {
        let done = self.clone();
        self.aheads.clear();
        done
    }

    /// Width and height of the whole, and its pixels row by row; none where it is empty.
    pub(super) fn picture(&self) -> Option<([usize; 2], Vec<u8>)> {
        let [tile_width, height] = self.tile;
        let (row_bytes, n_tiles) = (3 * tile_width, self.aheads.len());
        if n_tiles == 0 || row_bytes == 0 {
            return None;
        }
        let mut rgb = Vec::with_capacity(row_bytes * height * n_tiles);
        for y in 0..height {
            for tile in 0..n_tiles {
                rgb.extend_from_slice(&self.rgb[(tile * height + y) * row_bytes..][..row_bytes]);
            }
        }
        Some(([tile_width * n_tiles, height], rgb))
    }

    /// Where which frame is in it.
    pub(super) fn told(&self) -> Value {
        let ms = |ahead: &usize| *ahead as f64 * 1000.0 / self.rate_hz;
        json!({
            "tile": self.tile,
            "frames_ahead": self.aheads,
            "ahead_ms": self.aheads.iter().map(ms).collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(width: usize, height: usize, horizon: usize) -> ForecastShape {
        ForecastShape {
            n_given: 1,
            horizon,
            rate_hz: 4.0,
            width,
            height,
            action_names: Vec::new(),
            action_limits: Vec::new(),
        }
    }

    #[test]
    fn frames_stand_beside_each_other() {
        let mut strip = Strip::new(&shape(2, 1, 3));
        assert!(strip.picture().is_none());
        strip.show(1, &[1; 6]);
        strip.show(2, &[2; 6]);
        strip.show(3, &[3; 5]);
        let done = strip.finish();
        assert_eq!(done.picture(), Some(([4, 1], vec![1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2])));
        assert_eq!(done.told()["ahead_ms"], json!([250.0, 500.0]));
        assert!(strip.picture().is_none());
        // A forecast without a report is no part of the next.
        for (ahead, value) in [(1, 7), (2, 7), (1, 8)] {
            strip.show(ahead, &[value; 6]);
        }
        assert_eq!(strip.finish().picture(), Some(([2, 1], vec![8; 6])));
    }

    #[test]
    fn large_and_long_forecasts_become_small() {
        let (width, height, horizon) = (833, 481, 93);
        let mut strip = Strip::new(&shape(width, height, horizon));
        let rgb: Vec<u8> = (0..3 * width * height).map(|i| (i / 3 % width) as u8).collect();
        for ahead in 1..=horizon {
            strip.show(ahead, &rgb);
        }
        let done = strip.finish();
        let ([across, down], picture) = done.picture().unwrap();
        assert!(done.aheads.len() <= TILES_MAX && done.aheads.len() == 15, "{:?}", done.aheads);
        assert!(across <= TILES_MAX * TILE_WIDTH_MAX && picture.len() == 3 * across * down);
        assert_eq!(picture[3 * 5], 30, "the sixth pixel of a row is the thirty-first of the frame's");
    }
}
