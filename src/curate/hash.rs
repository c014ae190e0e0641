//! What is kept of a frame to find it again: the signs of its light's slowest waves, and its hues on a coarse grid.

use std::fmt;
use std::sync::OnceLock;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::pixels::mean_of_cell;
use crate::camera::FrameSize;

/// Pixels along each side of the small picture.
const SIDE: usize = 32;
/// Waves along each side that are kept.
const WAVES: usize = 16;
/// Cells along each side of which the hue is kept.
const CELLS: usize = 4;
/// How far red and blue are from green in each of them.
const HUES: usize = 2 * CELLS * CELLS;
/// Hexadecimal digits of a hash.
const DIGITS: usize = 4 * 16 + 2 * HUES;

/// Bits of a hash that say something: the mean light is none of them.
pub(super) const BITS: u32 = (WAVES * WAVES - 1) as u32;

/// The signs of the slowest 16×16 waves (DCT) of the light, without the mean, which are nearly the same of the same picture in another
/// file, size or light; and how far red and blue are from green, of which they know nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hash {
    signs: [u64; 4],
    /// In units of two levels.
    hues: [i8; HUES],
}

impl Hash {
    pub(super) fn of(rgb: &[u8], size: FrameSize) -> Self {
        let light = |cell: usize| {
            let [r, g, b] = mean_of_cell(rgb, size, [cell % SIDE, cell / SIDE], SIDE).map(i64::from);
            77 * r + 150 * g + 29 * b
        };
        let pixels: Vec<i64> = (0..SIDE * SIDE).map(light).collect();
        let waves = waves();
        // Across, then down; whole numbers, so that all machines agree on every sign.
        let mut across = [0i64; SIDE * WAVES];
        for y in 0..SIDE {
            for u in 0..WAVES {
                across[y * WAVES + u] = (0..SIDE).map(|x| pixels[y * SIDE + x] * waves[u * SIDE + x]).sum();
            }
        }
        let mut bits = [0u64; 4];
        for v in 0..WAVES {
            for u in 0..WAVES {
                let sum: i64 = (0..SIDE).map(|y| across[y * WAVES + u] * waves[v * SIDE + y]).sum();
                let at = v * WAVES + u;
                if 0 < at && 0 < sum {
                    bits[at / 64] |= 1 << (at % 64);
                }
            }
        }
        Self { signs: bits, hues: hues(rgb, size) }
    }

    /// Bits that differ.
    pub(super) fn apart(&self, other: &Self) -> u32 {
        self.signs.iter().zip(other.signs).map(|(a, b)| (a ^ b).count_ones()).sum()
    }

    /// How far the hues of the cell lie apart in which they are furthest, share.
    pub(super) fn hues_apart(&self, other: &Self) -> f32 {
        let furthest = self.hues.iter().zip(other.hues).map(|(a, b)| a.abs_diff(b)).max().unwrap_or(0);
        f32::from(furthest) * 2.0 / 255.0
    }
}

fn hues(rgb: &[u8], size: FrameSize) -> [i8; HUES] {
    let mut hues = [0; HUES];
    for (cell, pair) in hues.as_chunks_mut::<2>().0.iter_mut().enumerate() {
        let [r, g, b] = mean_of_cell(rgb, size, [cell % CELLS, cell / CELLS], CELLS).map(i16::from);
        *pair = [((r - g) / 2) as i8, ((b - g) / 2) as i8];
    }
    hues
}

/// Cosines in units of 2⁻¹⁰, `[wave, pixel]`.
fn waves() -> &'static [i64; WAVES * SIDE] {
    static WAVES_OF: OnceLock<[i64; WAVES * SIDE]> = OnceLock::new();
    WAVES_OF.get_or_init(|| {
        std::array::from_fn(|i| {
            let (wave, pixel) = ((i / SIDE) as f64, (i % SIDE) as f64);
            let angle = std::f64::consts::PI * wave * (pixel + 0.5) / SIDE as f64;
            (1024.0 * angle.cos()).round() as i64
        })
    })
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.signs.iter().try_for_each(|word| write!(f, "{word:016x}"))?;
        self.hues.iter().try_for_each(|hue| write!(f, "{hue:02x}"))
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = |from: usize, n: usize| text.get(from..from + n).filter(|d| !d.starts_with('+'));
        let word = |at: usize| digits(16 * at, 16).and_then(|word| u64::from_str_radix(word, 16).ok());
        let hue = |at: usize| digits(64 + 2 * at, 2).and_then(|hue| u8::from_str_radix(hue, 16).ok());
        let signs: Option<Vec<u64>> = (0..4).map(word).collect();
        let hues: Option<Vec<i8>> = (0..HUES).map(|at| hue(at).map(|hue| hue as i8)).collect();
        let of = |values: Option<Vec<u64>>| values.and_then(|values| <[u64; 4]>::try_from(values).ok());
        match (of(signs), hues.and_then(|hues| <[i8; HUES]>::try_from(hues).ok())) {
            (Some(signs), Some(hues)) if text.len() == DIGITS => Ok(Self { signs, hues }),
            _ => Err(D::Error::custom(format!(
                "expected a hash of {DIGITS} hexadecimal digits, found `{text}`"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: FrameSize = FrameSize { width: 48, height: 40 };

    fn picture(of: impl Fn(usize, usize) -> [u8; 3]) -> Hash {
        let pixels = (0..SIZE.height).flat_map(|y| (0..SIZE.width).map(move |x| (x, y)));
        Hash::of(&pixels.flat_map(|(x, y)| of(x, y)).collect::<Vec<u8>>(), SIZE)
    }

    #[test]
    fn the_same_picture_is_near_and_another_is_not() {
        let ramp = |x: usize, y: usize| {
            ((3 * x + 2 * y + 60 * usize::from((x / 9 + y / 7).is_multiple_of(2))) % 256) as u8
        };
        let plain = picture(|x, y| [ramp(x, y); 3]);
        let brighter = picture(|x, y| [ramp(x, y) / 2 + 20; 3]);
        let other = picture(|x, y| [ramp(SIZE.width - x, y * 3); 3]);
        assert_eq!(plain.apart(&plain), 0);
        assert!(plain.apart(&brighter) < BITS / 10, "{}", plain.apart(&brighter));
        assert!(BITS / 4 < plain.apart(&other), "{}", plain.apart(&other));
        // The same light in another colour: 77 of 256 are red, 29 blue.
        let red = picture(|x, _| if x < 24 { [200, 0, 0] } else { [0; 3] });
        let green = picture(|x, _| if x < 24 { [0, 103, 0] } else { [0; 3] });
        assert!(red.apart(&green) < BITS / 10 && 0.5 < red.hues_apart(&green));
    }

    #[test]
    fn it_is_read_as_it_was_written_and_nothing_else_is() {
        let hash = picture(|x, y| [(5 * x) as u8, (6 * y) as u8, 200]);
        let text = serde_json::to_string(&hash).unwrap();
        assert_eq!(serde_json::from_str::<Hash>(&text).unwrap(), hash);
        for bad in [
            "\"\"",
            "3",
            &text[..40],
            &text.replacen('"', "\"+", 1),
            &format!("\"{}\"", "ü".repeat(DIGITS / 2)),
        ] {
            assert!(serde_json::from_str::<Hash>(bad).is_err(), "{bad}");
        }
    }
}
