//! What a frame looks like, as a few numbers.
//!
//! Sums are of whole numbers and divisions of 32 bits, so that every machine measures the same.

use super::hash::Hash;
use super::pixels::{Luma, mean_of_cell};
use super::text;
use crate::camera::FrameSize;

/// Cells of the grid along each side.
const SIDE: usize = 16;
/// A frame is halved until it is not larger than this before its blur is measured: what a network sees of it is not larger.
const BLUR_SIDE_MAX: usize = 640;
/// Neighbours on each side that the blur of the blur measure averages over.
const BLUR_REACH: usize = 4;
/// Steps between neighbouring pixels up to this many levels are no structure.
const STEP_MIN: u64 = 2;

/// Mean colours of a 16×16 grid.
pub(super) type Grid = [[u8; 3]; SIDE * SIDE];

/// What a frame looks like.
#[derive(Clone, Debug)]
pub(super) struct Measures {
    /// The light below which 95 of 100 pixels are, share.
    pub(super) light: f32,
    /// 0 is sharp, 1 has no structure.
    pub(super) blur: f32,
    /// Share of tiles that look like text.
    pub(super) text: f32,
    pub(super) grid: Box<Grid>,
    pub(super) hash: Hash,
}

impl Measures {
    /// Measures packed RGB.
    pub(super) fn of(rgb: &[u8], size: FrameSize) -> Self {
        let luma = Luma::of(rgb, size);
        let light = f32::from(luma.percentile(95)) / 255.0;
        let hash = Hash::of(rgb, size);
        let mut small = luma;
        let text = text::share(&small);
        while BLUR_SIDE_MAX < small.width.max(small.height) {
            small = small.halved();
        }
        Self { light, blur: blur(&small), text, grid: grid(rgb, size), hash }
    }
}

/// The cell of a grid that differs most in one of its colours, share.
pub(super) fn largest_change(a: &Grid, b: &Grid) -> f32 {
    let changes = a.iter().flatten().zip(b.iter().flatten()).map(|(a, b)| a.abs_diff(*b));
    f32::from(changes.max().unwrap_or(0)) / 255.0
}

/// The mean difference of two grids, share.
pub(super) fn mean_change(a: &Grid, b: &Grid) -> f32 {
    let sum: u32 = a.iter().flatten().zip(b.iter().flatten()).map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
    sum as f32 / (255 * 3 * SIDE * SIDE) as f32
}

fn grid(rgb: &[u8], size: FrameSize) -> Box<Grid> {
    let mut grid = Box::new([[0; 3]; SIDE * SIDE]);
    for (cell, mean) in grid.iter_mut().enumerate() {
        *mean = mean_of_cell(rgb, size, [cell % SIDE, cell / SIDE], SIDE);
    }
    grid
}

/// How much of the steps between neighbouring pixels is left when the picture is blurred further (F. Crete, T. Dolmiere, P. Ladret,
/// M. Nicolas, "The blur effect", 2007, <https://doi.org/10.1117/12.702790>): in a sharp picture little, in a blurred one nearly all.
/// It does not depend on contrast. The greater of both directions.
fn blur(luma: &Luma) -> f32 {
    let Luma { width, height, pixels } = luma;
    let across = blur_along(*height, *width, |line, at| pixels[line * width + at]);
    let down = blur_along(*width, *height, |line, at| pixels[at * width + line]);
    across.max(down)
}

fn blur_along(n_lines: usize, n: usize, at: impl Fn(usize, usize) -> u8) -> f32 {
    let (mut steps, mut lost) = (0u64, 0u64);
    let window = (2 * BLUR_REACH + 1) as u64;
    let mut averaged = vec![0u64; n];
    for line in 0..n_lines {
        // Sums over a window that repeats the line's ends.
        let pixel = |i: isize| u64::from(at(line, i.clamp(0, n as isize - 1) as usize));
        let reach = BLUR_REACH as isize;
        let mut sum: u64 = (-reach..=reach).map(pixel).sum();
        for i in 0..n as isize {
            averaged[i as usize] = sum;
            sum = sum + pixel(i + reach + 1) - pixel(i - reach);
        }
        for i in 1..n {
            // In ninths of a level, as the averages are.
            let step = window * u64::from(at(line, i).abs_diff(at(line, i - 1)));
            if step <= window * STEP_MIN {
                continue;
            }
            steps += step;
            lost += step.saturating_sub(averaged[i].abs_diff(averaged[i - 1]));
        }
    }
    if steps == 0 { 1.0 } else { (steps - lost) as f32 / steps as f32 }
}
