//! How near a frame is to the true one, in pixels: peak signal to noise, structural similarity, sharpness.

/// Channels may differ by this share of their range before a pixel counts as one that moved.
const STILL: f64 = 0.05;
/// Side of the window of [`ssim`], and its standard deviation.
const WINDOW: usize = 11;
const SIGMA: f64 = 1.5;

/// Squared differences of bytes, each as a share of 255.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Squares {
    sum: f64,
    n: u64,
}

impl Squares {
    /// Takes two frames of one size into account.
    pub fn add(&mut self, found: &[u8], truth: &[u8]) {
        self.add_where(found, truth, |_| true);
    }

    /// Those of their pixels, by number, that are wanted.
    ///
    /// # Panics
    /// If the frames are of two lengths.
    pub fn add_where(&mut self, found: &[u8], truth: &[u8], is_wanted: impl Fn(usize) -> bool) {
        assert_eq!(found.len(), truth.len(), "frames of one size");
        for (i, (found, truth)) in found.chunks_exact(3).zip(truth.chunks_exact(3)).enumerate() {
            if is_wanted(i) {
                self.sum += found.iter().zip(truth).map(|(f, t)| share(*f, *t).powi(2)).sum::<f64>();
                self.n += 3;
            }
        }
    }

    /// All that another has counted too.
    pub fn absorb(&mut self, other: Squares) {
        self.sum += other.sum;
        self.n += other.n;
    }

    /// Peak signal to noise in dB: infinite where nothing differs, none of nothing.
    #[must_use]
    pub fn psnr_db(&self) -> Option<f64> {
        (0 < self.n).then(|| 10.0 * (self.n as f64 / self.sum).log10())
    }
}

fn share(a: u8, b: u8) -> f64 {
    (f64::from(a) - f64::from(b)) / 255.0
}

/// Which pixels differ between two frames by more than noise.
#[must_use]
pub fn moved(now: &[u8], before: &[u8]) -> Vec<bool> {
    let pairs = now.chunks_exact(3).zip(before.chunks_exact(3));
    pairs.map(|(now, before)| now.iter().zip(before).any(|(n, b)| STILL < share(*n, *b).abs())).collect()
}

/// Mean square of the differences between neighbours, of brightness: a blurred frame has less than the true one.
#[must_use]
pub fn sharpness(rgb: &[u8], width: usize) -> f64 {
    let light = brightness(rgb);
    let across = light.chunks_exact(width).flat_map(|row| row.windows(2).map(|pair| pair[1] - pair[0]));
    let down = light.iter().zip(light.get(width..).unwrap_or_default()).map(|(above, below)| below - above);
    let (sum, n) = across.chain(down).fold((0.0, 0usize), |(sum, n), v| (sum + v * v, n + 1));
    if n == 0 { 0.0 } else { sum / n as f64 }
}

/// Mean structural similarity of brightness, 1 for equal frames (Wang et al. 2004, <https://doi.org/10.1109/TIP.2003.819861>): a Gaussian
/// window of 11×11, whole within the frame. None of frames smaller than that.
#[must_use]
pub fn ssim(found: &[u8], truth: &[u8], width: usize) -> Option<f64> {
    const C: [f64; 2] = [(0.01 * 255.0) * (0.01 * 255.0), (0.03 * 255.0) * (0.03 * 255.0)];
    let (x, y) = (brightness(found), brightness(truth));
    if width < WINDOW || x.len() / width < WINDOW {
        return None;
    }
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).collect::<Vec<f64>>();
    let [mean_x, mean_y, xx, yy, xy] =
        [x.clone(), y.clone(), product(&x, &x), product(&y, &y), product(&x, &y)].map(|v| blurred(&v, width));
    let one = |i: usize| {
        let (mx, my) = (mean_x[i], mean_y[i]);
        let (vx, vy, cov) = (xx[i] - mx * mx, yy[i] - my * my, xy[i] - mx * my);
        (2.0 * mx * my + C[0]) * (2.0 * cov + C[1]) / ((mx * mx + my * my + C[0]) * (vx + vy + C[1]))
    };
    Some((0..mean_x.len()).map(one).sum::<f64>() / mean_x.len() as f64)
}

/// Brightness of pixels, 0 to 255 (Rec. 601).
fn brightness(rgb: &[u8]) -> Vec<f64> {
    let of = |pixel: &[u8]| {
        0.299 * f64::from(pixel[0]) + 0.587 * f64::from(pixel[1]) + 0.114 * f64::from(pixel[2])
    };
    rgb.chunks_exact(3).map(of).collect()
}

/// Under the window, where it lies wholly within.
fn blurred(values: &[f64], width: usize) -> Vec<f64> {
    let half = (WINDOW / 2) as f64;
    let weight = |i: usize| (-(i as f64 - half).powi(2) / (2.0 * SIGMA * SIGMA)).exp();
    let total: f64 = (0..WINDOW).map(weight).sum();
    let weights: [f64; WINDOW] = std::array::from_fn(|i| weight(i) / total);
    let under = |values: &mut dyn Iterator<Item = f64>| values.zip(weights).map(|(v, w)| v * w).sum::<f64>();
    let inner = width - WINDOW + 1;
    let rows: Vec<f64> = values
        .chunks_exact(width)
        .flat_map(|row| row.windows(WINDOW).map(|part| under(&mut part.iter().copied())))
        .collect();
    let height = rows.len() / inner;
    let n = inner * (height - WINDOW + 1);
    (0..n).map(|i| under(&mut (0..WINDOW).map(|k| rows[i + k * inner]))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `[height, width, 3]` of a pattern, shifted and dimmed.
    fn pattern(width: usize, height: usize, shift: usize, dim: usize) -> Vec<u8> {
        let value = |i: usize| (((i / 3 % width + shift) * 7 + i / 3 / width * 13 + i % 3 * 29) % 256) / dim;
        (0..3 * width * height).map(|i| value(i) as u8).collect()
    }

    #[test]
    fn noise_is_counted_in_decibels_and_only_where_it_is_wanted() {
        let (black, grey) = ([0; 12], [51; 12]);
        let mut squares = Squares::default();
        assert_eq!(squares.psnr_db(), None);
        squares.add_where(&grey, &black, |pixel| pixel == 2);
        assert_eq!(squares.n, 3);
        // A fifth of the range: 20 log10 5.
        assert!((squares.psnr_db().unwrap() - 13.979_4).abs() < 1e-4);
        let mut none = Squares::default();
        none.add(&black, &black);
        assert_eq!(none.psnr_db(), Some(f64::INFINITY));
        none.absorb(squares);
        assert!((none.psnr_db().unwrap() - 20.969_1).abs() < 1e-4);
        assert_eq!(moved(&[0, 0, 0, 12, 0, 0], &[0, 0, 0, 0, 0, 0]), [false, false]);
        assert_eq!(moved(&[0, 0, 0, 13, 0, 0], &[0, 0, 0, 0, 0, 0]), [false, true]);
    }

    #[test]
    fn a_blurred_frame_is_less_sharp() {
        let edges: Vec<u8> = (0..8 * 8).flat_map(|i| [if i % 8 < 4 { 0 } else { 200 }; 3]).collect();
        let soft: Vec<u8> = (0..8 * 8).flat_map(|i| [(i % 8 * 28) as u8; 3]).collect();
        assert!(2.0 * sharpness(&soft, 8) < sharpness(&edges, 8));
        assert_eq!(sharpness(&[9; 3], 1), 0.0);
    }

    /// The values are those that a convolution in NumPy gives, in f64, of the same definition.
    #[test]
    fn structural_similarity_is_that_of_its_paper() {
        let frame = pattern(24, 17, 0, 1);
        assert!((ssim(&frame, &frame, 24).unwrap() - 1.0).abs() < 1e-12);
        assert!((ssim(&pattern(24, 17, 1, 1), &frame, 24).unwrap() - 0.763_919_231_982_118_6).abs() < 1e-9);
        assert!((ssim(&pattern(24, 17, 0, 2), &frame, 24).unwrap() - 0.648_270_857_225_285).abs() < 1e-9);
        assert_eq!(ssim(&frame[..3 * 24 * 10], &frame[..3 * 24 * 10], 24), None);
    }
}
