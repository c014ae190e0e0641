//! Frames: table, box, ball 0, ball 1, …, painted over one another with edges softened over one pixel.
//!
//! Cover (how much of a pixel an object hides) is computed in f64 and the colours in f32, then rounded to 8 bits, ties
//! to even: the very arithmetic that made the training images.

use super::scene::Scene;
use super::{FRAME_BYTES, SIZE};

const BOX_GRAY: f32 = 150.0;

impl Scene {
    /// Renders one frame as packed RGB, `[SIZE, SIZE, 3]`. A reversed clip is rendered from the last frame to the first.
    ///
    /// # Panics
    /// If `frame` is not below [`Scene::n_frames`] or `rgb` is not [`FRAME_BYTES`] long.
    pub fn render(&self, frame: usize, rgb: &mut [u8]) {
        assert_eq!(rgb.len(), FRAME_BYTES, "a frame is {SIZE}×{SIZE} pixels of three bytes");
        let centers = &self.track[frame];
        let background = self.start.background.map(|c| c as f32);
        for (i, pixel) in rgb.chunks_exact_mut(3).enumerate() {
            let (x, y) = ((i % SIZE) as f64 + 0.5, (i / SIZE) as f64 + 0.5);
            let mut color = background;
            paint(&mut color, [BOX_GRAY; 3], self.box_cover(x, y));
            for (ball, center) in self.start.balls.iter().zip(centers) {
                let distance = ((x - center[0]).powi(2) + (y - center[1]).powi(2)).sqrt();
                let cover = (ball.radius - distance + 0.5).clamp(0.0, 1.0) as f32;
                paint(&mut color, ball.color.rgb().map(f32::from), cover);
            }
            for (byte, value) in pixel.iter_mut().zip(color) {
                *byte = value.round_ties_even() as u8;
            }
        }
    }

    fn box_cover(&self, x: f64, y: f64) -> f32 {
        let [across, down] = [(0, x), (1, y)].map(|(k, p)| {
            (self.start.box_half[k] - (p - self.start.box_center[k]).abs() + 0.5).clamp(0.0, 1.0)
        });
        (across * down) as f32
    }
}

fn paint(under: &mut [f32; 3], over: [f32; 3], cover: f32) {
    for (u, o) in under.iter_mut().zip(over) {
        *u = *u * (1.0 - cover) + o * cover;
    }
}
