//! Antialiased resizing of 8-bit RGB, equal to the last bit to the one inside torchvision (which is Pillow's).
//!
//! Two passes, across and then down, each a weighted sum of source pixels in 16-bit fixed point with as many fraction
//! bits as the largest weight allows, rounded to 8 bits after each pass. When shrinking, the filter is stretched over
//! the source.
//!
//! Why not a resizing crate: those round otherwise, off by one level when shrinking and by more when enlarging, and they
//! rebuild their weights with each call. Here a [`Resizer`] keeps weights and buffers: frames of one size cost no
//! allocation after the first. Both inner loops multiply 16-bit lanes that lie in memory, in fixed numbers, which is
//! what compilers turn into vector instructions on every processor.

use super::grid::FrameSize;
use super::preprocess::Resample;

/// Resizes frames, keeping the weights of the last pair of sizes.
#[derive(Debug, Default)]
pub struct Resizer {
    plan: Option<(FrameSize, FrameSize, Resample)>,
    across: Across,
    down: Down,
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
            (true, false) => self.down.run(source, target, target_size.width * 3),
            (false, true) => self.across.run(source, source_size.width, target),
            (false, false) => {
                self.rows.resize(source_size.height * target_size.width * 3, 0);
                self.across.run(source, source_size.width, &mut self.rows);
                self.down.run(&self.rows, target, target_size.width * 3);
            }
        }
    }

    /// Bytes that are kept between frames.
    #[must_use]
    pub fn reserved_bytes(&self) -> usize {
        self.across.reserved_bytes() + self.down.reserved_bytes() + self.rows.capacity()
    }
}

/// One pass of a resize as numbers, for devices that do the sums themselves: target pixel `i` is
/// `(half + Σ_j weights[i, j] * source[starts[i] + j]) >> fraction_bits`, clamped to a byte, with `half` one half in that fixed point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taps {
    /// First source pixel of each target pixel, `[n_target]`.
    pub starts: Vec<i32>,
    /// Source pixels of each target pixel, `[n_target]`.
    pub counts: Vec<i32>,
    /// `[n_target, taps_max]`, zeros behind a pixel's own.
    pub weights: Vec<i16>,
    /// Weights of a row.
    pub taps_max: usize,
    /// Bits behind the point.
    pub fraction_bits: u32,
}

impl Taps {
    /// The pass from `n_source` pixels to `n_target`; equal numbers are a copy, as in [`Resizer::resize`].
    ///
    /// # Panics
    /// If a number is zero.
    #[must_use]
    pub fn new(n_source: usize, n_target: usize, resample: Resample) -> Taps {
        assert!(0 < n_source && 0 < n_target, "a frame has pixels");
        if n_source == n_target {
            let starts: Vec<i32> = (0..n_target as i32).collect();
            let ones = vec![1; n_target];
            return Taps { counts: ones, weights: vec![1; n_target], starts, taps_max: 1, fraction_bits: 0 };
        }
        let mut weights = Weights::default();
        weights.fill(n_source, n_target, resample);
        Taps {
            starts: weights.windows.iter().map(|window| window.start as i32).collect(),
            counts: weights.windows.iter().map(|window| window.n_taps as i32).collect(),
            weights: weights.fixed,
            taps_max: weights.taps_max,
            fraction_bits: weights.fraction_bits,
        }
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
/// Products of 16 bits that the inner loops make at a time.
const LANES: usize = 8;

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

/// The pass across: windows of equal, padded length over one channel at a time, so that every sum is the same dot
/// product of 16-bit numbers, for which processors have an instruction.
#[derive(Debug, Default)]
struct Across {
    weights: Weights,
    /// First source pixel of each target pixel's padded window.
    starts: Vec<usize>,
    /// `[target, taps]`, zeros in the padding.
    padded: Vec<i16>,
    /// Taps of a padded window: a multiple of [`LANES`].
    n_taps: usize,
    /// A source row by channel, `[3, plane_len]`, with zeros behind each channel's pixels.
    planes: Vec<i16>,
    /// Pixels of a plane with its zeros.
    plane_len: usize,
}

impl Across {
    fn fill(&mut self, n_source: usize, n_target: usize, resample: Resample) {
        self.weights.fill(n_source, n_target, resample);
        let longest = self.weights.windows.iter().map(|window| window.n_taps).max().unwrap_or(1);
        self.n_taps = longest.next_multiple_of(LANES);
        self.plane_len = n_source + self.n_taps;
        self.planes.clear();
        self.planes.resize(3 * self.plane_len, 0);
        self.starts.clear();
        self.starts.extend(self.weights.windows.iter().map(|window| window.start));
        self.padded.clear();
        self.padded.resize(n_target * self.n_taps, 0);
        let targets = self.padded.chunks_exact_mut(self.n_taps);
        let weights = self.weights.fixed.chunks_exact(self.weights.taps_max);
        for ((padded, weights), window) in targets.zip(weights).zip(&self.weights.windows) {
            padded[..window.n_taps].copy_from_slice(&weights[..window.n_taps]);
        }
    }

    fn run(&mut self, source: &[u8], n_source: usize, target: &mut [u8]) {
        let rows = source.chunks_exact(n_source * 3);
        for (row, out) in rows.zip(target.chunks_exact_mut(self.starts.len() * 3)) {
            let (red, rest) = self.planes.split_at_mut(self.plane_len);
            let (green, blue) = rest.split_at_mut(self.plane_len);
            for (((pixel, r), g), b) in row.as_chunks::<3>().0.iter().zip(red).zip(green).zip(blue) {
                [*r, *g, *b] = pixel.map(i16::from);
            }
            self.sum_row(out);
        }
    }

    fn sum_row(&self, out: &mut [u8]) {
        let windows = self.starts.iter().zip(self.padded.chunks_exact(self.n_taps));
        for (pixel, (&start, weights)) in out.chunks_exact_mut(3).zip(windows) {
            for (plane, out) in self.planes.chunks_exact(self.plane_len).zip(pixel) {
                let sum = dot(weights, &plane[start..][..weights.len()]);
                *out = self.weights.byte(sum + self.weights.half());
            }
        }
    }

    fn reserved_bytes(&self) -> usize {
        self.weights.reserved_bytes()
            + self.starts.capacity() * size_of::<usize>()
            + self.padded.capacity() * 2
            + self.planes.capacity() * 2
    }
}

/// The pass down: a block of columns at a time, row by row.
#[derive(Debug, Default)]
struct Down {
    weights: Weights,
    /// `[target, taps_max]`, each weight as often as the inner loop has lanes.
    repeated: Vec<[i16; LANES]>,
}

/// Bytes of a row that the pass down sums at a time.
const COLUMNS: usize = 4 * LANES;

impl Down {
    fn fill(&mut self, n_source: usize, n_target: usize, resample: Resample) {
        self.weights.fill(n_source, n_target, resample);
        self.repeated.clear();
        self.repeated.extend(self.weights.fixed.iter().map(|&weight| [weight; LANES]));
    }

    /// Sums rows of `row_len` bytes.
    fn run(&self, source: &[u8], target: &mut [u8], row_len: usize) {
        let weights = self.repeated.chunks_exact(self.weights.taps_max);
        let windows = self.weights.windows.iter().zip(weights);
        for (out, (&Window { start, n_taps }, weights)) in target.chunks_exact_mut(row_len).zip(windows) {
            let source = &source[start * row_len..][..n_taps * row_len];
            // The last block reaches back over the one before it rather than being a shorter one.
            let last = row_len.saturating_sub(COLUMNS);
            for column in (0..row_len).step_by(COLUMNS).map(|column| column.min(last)) {
                match out[column..].first_chunk_mut::<COLUMNS>() {
                    Some(out) => self.sum_block(&source[column..], &weights[..n_taps], row_len, out),
                    None => self.sum_short(source, &weights[..n_taps], out),
                }
            }
        }
    }

    fn sum_block(&self, source: &[u8], weights: &[[i16; LANES]], row_len: usize, out: &mut [u8; COLUMNS]) {
        let mut sums = [self.weights.half(); COLUMNS];
        for (weight, row) in weights.iter().zip(source.chunks(row_len)) {
            let bytes = row.first_chunk::<COLUMNS>().expect("a row holds the block of columns");
            for i in 0..COLUMNS {
                sums[i] += i32::from(weight[i % LANES]) * i32::from(bytes[i]);
            }
        }
        for (o, sum) in out.iter_mut().zip(sums) {
            *o = self.weights.byte(sum);
        }
    }

    /// Rows that are shorter than one block.
    fn sum_short(&self, source: &[u8], weights: &[[i16; LANES]], out: &mut [u8]) {
        let row_len = out.len();
        for (column, o) in out.iter_mut().enumerate() {
            let bytes = source.iter().skip(column).step_by(row_len);
            let sum: i32 =
                weights.iter().zip(bytes).map(|(w, &byte)| i32::from(w[0]) * i32::from(byte)).sum();
            *o = self.weights.byte(sum + self.weights.half());
        }
    }

    fn reserved_bytes(&self) -> usize {
        self.weights.reserved_bytes() + self.repeated.capacity() * size_of::<[i16; LANES]>()
    }
}

/// Sums of eight lanes, added at the end: the shape that becomes 16-bit multiplications on every processor.
fn dot(a: &[i16], b: &[i16]) -> i32 {
    let mut sums = [0_i32; LANES];
    for (a, b) in a.as_chunks::<LANES>().0.iter().zip(b.as_chunks::<LANES>().0) {
        for i in 0..LANES {
            sums[i] += i32::from(a[i]) * i32::from(b[i]);
        }
    }
    sums.iter().sum()
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
