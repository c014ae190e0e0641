//! Antialiased resizing of 8-bit RGB, equal to the last bit to the one inside torchvision (which is Pillow's).
//!
//! Two passes, across and then down, each a weighted sum of source pixels in 16-bit fixed point with as many fraction
//! bits as the largest weight allows, rounded to 8 bits after each pass. When shrinking, the filter is stretched over
//! the source.
//!
//! Why not a resizing crate: those round their weights otherwise, so that a value in some thousands differs, and they
//! rebuild their weights with each call. Here a [`Resizer`] keeps weights and buffers: frames of one size cost no
//! allocation after the first.

use super::grid::FrameSize;
use super::preprocess::Resample;

/// Resizes frames, keeping the weights of the last pair of sizes.
#[derive(Debug, Default)]
pub struct Resizer {
    plan: Option<(FrameSize, FrameSize, Resample)>,
    across: Across,
    down: Weights,
    /// Rows after the pass across, `[source height, target width, 3]`.
    rows: Vec<u8>,
}

impl Resizer {
    /// A resizer that has claimed nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Resizer::default()
    }

    /// Resizes packed RGB `source` of `source_size` into `target` of `target_size`.
    ///
    /// # Panics
    /// If a buffer's length is not its size's, or a size is zero.
    pub fn resize(
        &mut self,
        source: &[u8],
        source_size: FrameSize,
        target: &mut [u8],
        target_size: FrameSize,
        resample: Resample,
    ) {
        assert!(0 < source_size.n_pixels() && 0 < target_size.n_pixels(), "a frame has pixels");
        assert_eq!(source.len(), source_size.rgb_bytes());
        assert_eq!(target.len(), target_size.rgb_bytes());
        let plan = Some((source_size, target_size, resample));
        if self.plan != plan {
            self.across.fill(source_size.width, target_size.width, resample);
            self.down.fill(source_size.height, target_size.height, resample);
            self.plan = plan;
        }
        match (source_size.width == target_size.width, source_size.height == target_size.height) {
            (true, true) => target.copy_from_slice(source),
            (true, false) => self.down.sum_rows(source, target, target_size.width * 3),
            (false, true) => self.across.run(source, source_size.width, target),
            (false, false) => {
                self.rows.resize(source_size.height * target_size.width * 3, 0);
                self.across.run(source, source_size.width, &mut self.rows);
                self.down.sum_rows(&self.rows, target, target_size.width * 3);
            }
        }
    }

    /// Bytes that are kept between frames.
    #[must_use]
    pub fn reserved_bytes(&self) -> usize {
        self.across.reserved_bytes() + self.down.reserved_bytes() + self.rows.capacity()
    }
}

/// The source pixels that make one target pixel.
#[derive(Clone, Copy, Debug)]
struct Window {
    start: usize,
    n_taps: usize,
}

/// The windows and weights of one pass.
#[derive(Debug, Default)]
struct Weights {
    windows: Vec<Window>,
    /// `[target, taps_max]`, before rounding.
    exact: Vec<f64>,
    /// `[target, taps_max]`, in units of 2^-fraction_bits.
    fixed: Vec<i16>,
    taps_max: usize,
    fraction_bits: u32,
}

/// Fraction bits at most: a sum of weighted bytes then fits 32 bits.
const FRACTION_BITS_MAX: u32 = 22;
/// Bytes of a row that the pass down sums at a time.
const COLUMNS: usize = 64;

impl Weights {
    fn fill(&mut self, n_source: usize, n_target: usize, resample: Resample) {
        let (filter, filter_width): (fn(f64) -> f64, f64) = match resample {
            Resample::Bilinear => (triangle, 2.0),
            Resample::Bicubic => (cubic, 4.0),
        };
        let scale = n_source as f64 / n_target as f64;
        let stretch = scale.max(1.0);
        let support = filter_width * 0.5 * stretch;
        self.taps_max = support.ceil() as usize * 2 + 1;
        self.windows.clear();
        self.exact.clear();
        self.exact.resize(n_target * self.taps_max, 0.0);
        let mut weight_max = 0.0_f64;
        for (i, weights) in self.exact.chunks_exact_mut(self.taps_max).enumerate() {
            let center = scale * (i as f64 + 0.5);
            let start = (center - support + 0.5).max(0.0) as usize;
            let end = ((center + support + 0.5) as usize).min(n_source);
            let n_taps = end.saturating_sub(start).min(self.taps_max);
            let weights = &mut weights[..n_taps];
            for (tap, weight) in weights.iter_mut().enumerate() {
                *weight = filter(((tap + start) as f64 - center + 0.5) * (1.0 / stretch));
            }
            let sum: f64 = weights.iter().sum();
            for weight in weights {
                *weight /= sum;
                weight_max = weight_max.max(*weight);
            }
            self.windows.push(Window { start, n_taps });
        }
        let fits = |bits: u32| (0.5 + weight_max * f64::from(1_u32 << (bits + 1))) < 32768.0;
        self.fraction_bits = (0..FRACTION_BITS_MAX).find(|&bits| !fits(bits)).unwrap_or(FRACTION_BITS_MAX);
        let one = f64::from(1_u32 << self.fraction_bits);
        self.fixed.clear();
        // `round` takes ties away from zero, as the reference does by adding a half of the sign.
        self.fixed.extend(self.exact.iter().map(|weight| (weight * one).round() as i16));
    }

    /// Sums rows of `row_len` bytes: the pass down.
    fn sum_rows(&self, source: &[u8], target: &mut [u8], row_len: usize) {
        let rows = target.chunks_exact_mut(row_len).zip(self.fixed.chunks_exact(self.taps_max));
        for ((out, weights), &Window { start, n_taps }) in rows.zip(&self.windows) {
            let source = &source[start * row_len..][..n_taps * row_len];
            for (block, out) in out.chunks_mut(COLUMNS).enumerate() {
                let mut sums = [self.half(); COLUMNS];
                for (&weight, row) in weights.iter().zip(source.chunks_exact(row_len)) {
                    let bytes = &row[block * COLUMNS..][..out.len()];
                    for (sum, &byte) in sums.iter_mut().zip(bytes) {
                        *sum += i32::from(weight) * i32::from(byte);
                    }
                }
                for (o, sum) in out.iter_mut().zip(sums) {
                    *o = self.byte(sum);
                }
            }
        }
    }

    fn half(&self) -> i32 {
        1 << self.fraction_bits >> 1
    }

    fn byte(&self, sum: i32) -> u8 {
        (sum >> self.fraction_bits).clamp(0, 255) as u8
    }

    fn reserved_bytes(&self) -> usize {
        self.windows.capacity() * size_of::<Window>() + self.exact.capacity() * 8 + self.fixed.capacity() * 2
    }
}

/// The pass across: windows of equal, padded length, so that the inner loop is the same for every pixel.
#[derive(Debug, Default)]
struct Across {
    weights: Weights,
    /// First source pixel of each target pixel's padded window.
    starts: Vec<usize>,
    /// `[target, taps, 3]`: each weight for its three channels, zeros in the padding.
    lanes: Vec<i16>,
    /// Taps of a padded window.
    n_taps: usize,
    /// A source row followed by zeros, where a row is shorter than a window.
    padded_row: Vec<u8>,
}

/// Windows are padded to a multiple of this many taps.
const TAPS: usize = 8;
/// Numbers that the inner loop takes at a time.
const LANES: usize = TAPS * 3;

impl Across {
    fn fill(&mut self, n_source: usize, n_target: usize, resample: Resample) {
        self.weights.fill(n_source, n_target, resample);
        let longest = self.weights.windows.iter().map(|window| window.n_taps).max().unwrap_or(1);
        self.n_taps = longest.next_multiple_of(TAPS);
        self.padded_row.clear();
        self.padded_row.resize(if n_source < self.n_taps { self.n_taps * 3 } else { 0 }, 0);
        self.starts.clear();
        self.lanes.clear();
        self.lanes.resize(n_target * self.n_taps * 3, 0);
        let targets = self.lanes.chunks_exact_mut(self.n_taps * 3);
        let weights = self.weights.fixed.chunks_exact(self.weights.taps_max);
        for ((lanes, weights), window) in targets.zip(weights).zip(&self.weights.windows) {
            let start = window.start.min(n_source.saturating_sub(self.n_taps));
            let lanes = lanes[(window.start - start) * 3..].chunks_exact_mut(3);
            for (lanes, &weight) in lanes.zip(&weights[..window.n_taps]) {
                lanes.fill(weight);
            }
            self.starts.push(start);
        }
    }

    fn run(&mut self, source: &[u8], n_source: usize, target: &mut [u8]) {
        let rows = source.chunks_exact(n_source * 3);
        for (row, out) in rows.zip(target.chunks_exact_mut(self.starts.len() * 3)) {
            if self.padded_row.is_empty() {
                self.sum_row(row, out);
            } else {
                self.padded_row[..row.len()].copy_from_slice(row);
                self.sum_row(&self.padded_row, out);
            }
        }
    }

    fn sum_row(&self, row: &[u8], out: &mut [u8]) {
        let windows = self.starts.iter().zip(self.lanes.chunks_exact(self.n_taps * 3));
        for (pixel, (start, lanes)) in out.chunks_exact_mut(3).zip(windows) {
            let bytes = &row[start * 3..][..lanes.len()];
            let mut sums = [0_i32; LANES];
            for (weights, bytes) in lanes.chunks_exact(LANES).zip(bytes.chunks_exact(LANES)) {
                for ((sum, &weight), &byte) in sums.iter_mut().zip(weights).zip(bytes) {
                    *sum += i32::from(weight) * i32::from(byte);
                }
            }
            for (channel, out) in pixel.iter_mut().enumerate() {
                let sum: i32 = sums.iter().skip(channel).step_by(3).sum();
                *out = self.weights.byte(sum + self.weights.half());
            }
        }
    }

    fn reserved_bytes(&self) -> usize {
        self.weights.reserved_bytes()
            + self.starts.capacity() * size_of::<usize>()
            + self.lanes.capacity() * 2
            + self.padded_row.capacity()
    }
}

fn triangle(x: f64) -> f64 {
    (1.0 - x.abs()).max(0.0)
}

/// Keys' cubic convolution (Keys 1981, <https://doi.org/10.1109/TASSP.1981.1163711>) with a = −0.5.
fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A
    } else {
        0.0
    }
}
