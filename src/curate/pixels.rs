//! Light and mean colours of a frame's pixels, in whole numbers.

use crate::camera::FrameSize;

/// Light of a frame.
#[derive(Clone, Debug)]
pub(super) struct Luma {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) pixels: Vec<u8>,
}

impl Luma {
    pub(super) fn of(rgb: &[u8], size: FrameSize) -> Self {
        let light = |[r, g, b]: &[u8; 3]| {
            ((77 * u32::from(*r) + 150 * u32::from(*g) + 29 * u32::from(*b)) >> 8) as u8
        };
        let pixels = rgb.as_chunks::<3>().0.iter().map(light).collect();
        Self { width: size.width, height: size.height, pixels }
    }

    /// Half as wide and high, at least one pixel; an odd last row or column is left out.
    pub(super) fn halved(&self) -> Self {
        let (width, height) = ((self.width / 2).max(1), (self.height / 2).max(1));
        let at = |x: usize, y: usize| {
            u32::from(self.pixels[y.min(self.height - 1) * self.width + x.min(self.width - 1)])
        };
        let mean = |x: usize, y: usize| {
            let sum =
                at(2 * x, 2 * y) + at(2 * x + 1, 2 * y) + at(2 * x, 2 * y + 1) + at(2 * x + 1, 2 * y + 1);
            ((sum + 2) / 4) as u8
        };
        let pixels = (0..height).flat_map(|y| (0..width).map(move |x| mean(x, y))).collect();
        Self { width, height, pixels }
    }

    /// The light below which, or at which, so many of a hundred pixels are.
    pub(super) fn percentile(&self, of_hundred: usize) -> u8 {
        let mut counts = [0usize; 256];
        self.pixels.iter().for_each(|light| counts[usize::from(*light)] += 1);
        let wanted = (self.pixels.len() * of_hundred).div_ceil(100);
        let mut seen = 0;
        let reached = counts.iter().position(|n| {
            seen += n;
            wanted <= seen
        });
        reached.unwrap_or(255) as u8
    }
}

/// The mean colour of one of `side` × `side` cells; of a frame with fewer pixels a pixel may be in several.
pub(super) fn mean_of_cell(rgb: &[u8], size: FrameSize, [across, down]: [usize; 2], side: usize) -> [u8; 3] {
    let range = |cell: usize, n: usize| {
        let from = cell * n / side;
        from..((cell + 1) * n / side).max(from + 1)
    };
    let (columns, rows) = (range(across, size.width), range(down, size.height));
    let mut sums = [0u64; 3];
    for y in rows.clone() {
        let row = &rgb[3 * (y * size.width + columns.start)..][..3 * columns.len()];
        for pixel in row.as_chunks::<3>().0 {
            sums.iter_mut().zip(pixel).for_each(|(sum, value)| *sum += u64::from(*value));
        }
    }
    let n = (columns.len() * rows.len()) as u64;
    sums.map(|sum| ((sum + n / 2) / n) as u8)
}
