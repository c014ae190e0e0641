//! Rotary positions of patches along time, height and width, with NTK scaling
//! (<https://arxiv.org/abs/2309.00071>, section 3.1): a longer reach by a larger base, not by denser positions.

use super::DenoiserConfig;

/// The rate at which clips were trained, to which `fps` is relative.
const BASE_FPS: f32 = 24.0;
const THETA: f64 = 10_000.0;

/// Cosines and then sines of each patch's angles, `[n_latents · height · width, head_dim]`: what [`Op::Rotary`] takes. `height` and
/// `width` are in patches. With a rate, frames stand further apart the slower they were taken.
///
/// [`Op::Rotary`]: crate::graph::Op::Rotary
pub(super) fn table(
    config: &DenoiserConfig,
    [n_latents, height, width]: [usize; 3],
    fps: Option<f64>,
) -> Vec<f32> {
    let frequencies = frequencies(config);
    let mut out = Vec::with_capacity(n_latents * height * width * config.head_dim);
    for t in 0..n_latents {
        let frame = match fps {
            Some(fps) => (t as f32 / fps as f32) * BASE_FPS,
            None => t as f32,
        };
        for y in 0..height {
            for x in 0..width {
                let place = [frame, y as f32, x as f32];
                // Angles are rounded to f32 first, as networks are trained with them.
                let angles = || frequencies.iter().map(|(axis, radians)| f64::from(place[*axis] * radians));
                out.extend(angles().map(|a| a.cos() as f32));
                out.extend(angles().map(|a| a.sin() as f32));
            }
        }
    }
    out
}

/// For each frequency of a head its axis (time, height, width) and radians for one place.
fn frequencies(config: &DenoiserConfig) -> Vec<(usize, f32)> {
    let mut out = Vec::with_capacity(config.head_dim / 2);
    for (axis, n) in config.rope_frequencies().into_iter().enumerate() {
        // As many channels as the axis turns; the exponent runs over half of them.
        let dim = 2.0 * n as f64;
        let theta = THETA * config.rope_scale[axis].powf(dim / (dim - 2.0));
        for i in 0..n {
            let exponent = (2 * i) as f32 / dim as f32;
            out.push((axis, 1.0 / (theta as f32).powf(exponent)));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_turn_further_at_a_lower_rate() {
        let config = DenoiserConfig {
            channels: 4,
            n_heads: 1,
            head_dim: 16,
            n_layers: 1,
            mlp_dim: 4,
            text_dim: 4,
            adaln_dim: 4,
            text_projection: None,
            padding_mask: true,
            rope_scale: [1.0; 3],
            positions_max: [8; 3],
        };
        assert_eq!(config.rope_frequencies(), [4, 2, 2]);
        let table = table(&config, [2, 1, 2], Some(8.0));
        // The first frequency of time is one radian a place, and a frame at 8 a second is three places long.
        assert_eq!(table[0], 1.0);
        assert_eq!(table[2 * 16], 3.0f64.cos() as f32);
        // The last row is the second patch of its row: the first frequency of width turns by one.
        assert_eq!(table[3 * 16 + 8 + 6], 1.0f64.sin() as f32);
    }
}
