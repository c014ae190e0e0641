//! Colour from a Bayer filter by bilinear interpolation: each missing channel is the mean of its nearest samples.
//!
//! Why not half resolution (one pixel per 2×2 cell): the resize that follows would see half of a small camera's detail.
//! At the border the neighbours are mirrored about the edge pixel, which keeps the colours of the filter.

use super::grid::FrameSize;
use super::rows::Rows;

/// Writes RGB of a filter whose red samples lie at `red` (x, y) of each 2×2 cell, the blue ones diagonally across. A sample has
/// `N` bytes.
pub(super) fn demosaic<const N: usize>(
    rows: &Rows<'_>,
    size: FrameSize,
    red: (usize, usize),
    rgb: &mut [u8],
) {
    let FrameSize { width, height } = size;
    let high = if N == 1 { 0 } else { rows.high };
    let at = |row: &[u8], x: usize| row[x * N + high];
    for (y, out) in rgb.chunks_exact_mut(width * 3).enumerate() {
        let above = rows.row(if y == 0 { 1 } else { y - 1 });
        let below = rows.row(if y + 1 == height { height - 2 } else { y + 1 });
        let here = rows.row(y);
        let is_red_row = y % 2 == red.1;
        // In a row of blue the same pattern holds with red and blue exchanged, and shifted by one pixel.
        let (own, other) = if is_red_row { (0, 2) } else { (2, 0) };
        let own_x = if is_red_row { red.0 } else { 1 - red.0 };
        for (x, pixel) in out.chunks_exact_mut(3).enumerate() {
            let left = if x == 0 { 1 } else { x - 1 };
            let right = if x + 1 == width { width - 2 } else { x + 1 };
            if x % 2 == own_x {
                pixel[own] = at(here, x);
                pixel[1] = mean4(at(here, left), at(here, right), at(above, x), at(below, x));
                pixel[other] = mean4(at(above, left), at(above, right), at(below, left), at(below, right));
            } else {
                pixel[own] = mean2(at(here, left), at(here, right));
                pixel[1] = at(here, x);
                pixel[other] = mean2(at(above, x), at(below, x));
            }
        }
    }
}

fn mean2(a: u8, b: u8) -> u8 {
    (u16::from(a) + u16::from(b)).div_ceil(2) as u8
}

fn mean4(a: u8, b: u8, c: u8, d: u8) -> u8 {
    ((u16::from(a) + u16::from(b) + u16::from(c) + u16::from(d) + 2) / 4) as u8
}
