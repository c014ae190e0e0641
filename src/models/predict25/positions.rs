//! Rotary positions of patches along time, height and width, with NTK scaling
//! (<https://arxiv.org/abs/2309.00071>, section 3.1): a longer reach by a larger base, not by denser positions.

use super::DenoiserConfig;

/// The rate at which clips were trained, to which `fps` is relative.
const BASE_FPS: f32 = 24.0;
const THETA: f64 = 10_000.0;

/// The place of each patch, `[n_latents · height · width, 3]`: frame, row, column; `height` and `width` are in patches. With a rate,
/// frames stand further apart the slower they were taken.
pub fn places([n_latents, height, width]: [usize; 3], fps: Option<f64>) -> Vec<f32> {
    let mut out = Vec::with_capacity(n_latents * height * width * 3);
    for t in 0..n_latents {
        let frame = match fps {
            Some(fps) => (t as f32 / fps as f32) * BASE_FPS,
            None => t as f32,
        };
        for y in 0..height {
            for x in 0..width {
                out.extend([frame, y as f32, x as f32]);
            }
        }
    }
    out
}

/// For each frequency of a head its axis (time, height, width) and radians for one place.
pub(super) fn frequencies(config: &DenoiserConfig) -> (Vec<u8>, Vec<f32>) {
    let (mut axes, mut radians) = (Vec::new(), Vec::new());
    for (axis, n) in config.rope_frequencies().into_iter().enumerate() {
        // As many channels as the axis turns; the exponent runs over half of them.
        let dim = 2.0 * n as f64;
        let theta = THETA * config.rope_scale[axis].powf(dim / (dim - 2.0));
        for i in 0..n {
            let exponent = (2 * i) as f32 / dim as f32;
            axes.push(axis as u8);
            radians.push(1.0 / (theta as f32).powf(exponent));
        }
    }
    (axes, radians)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_stand_further_apart_at_a_lower_rate() {
        assert_eq!(
            places([2, 1, 2], Some(8.0)),
            [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 3.0, 0.0, 0.0, 3.0, 0.0, 1.0]
        );
        assert_eq!(places([2, 1, 1], None)[3..], [1.0, 0.0, 0.0]);
    }
}
