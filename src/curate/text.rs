//! Screens and sheets of text: tiles of two tones with many strokes across.
//!
//! Why not character recognition: what matters is that most of the picture is no scene, and a page in any script looks so.

use super::pixels::Luma;

/// Side of a tile, in pixels.
const TILE: usize = 16;
/// Levels between paper and ink, at least.
const CONTRAST_MIN: u8 = 64;
/// Pixels of a tile that are near paper or ink, at least, in hundredths.
const TWO_TONED: usize = 70;
/// Changes between paper and ink along a row of a tile, at least, in the mean of its rows.
const CHANGES_MIN: usize = 2;
/// Letters are looked for in the picture and its halves down to this size.
const SIDE_MIN: usize = 64;

/// The share of tiles that look like text, in the size of the picture in which it is greatest.
pub(super) fn share(luma: &Luma) -> f32 {
    let mut most = share_of_tiles(luma);
    let mut small = None;
    loop {
        let halved = small.as_ref().unwrap_or(luma).halved();
        if halved.width.min(halved.height) < SIDE_MIN {
            return most;
        }
        most = most.max(share_of_tiles(&halved));
        small = Some(halved);
    }
}

fn share_of_tiles(luma: &Luma) -> f32 {
    let (across, down) = (luma.width / TILE, luma.height / TILE);
    if across * down == 0 {
        return 0.0;
    }
    let tiles = (0..down).flat_map(|y| (0..across).map(move |x| (x, y)));
    let n_text = tiles.filter(|(x, y)| is_text(luma, TILE * x, TILE * y)).count();
    n_text as f32 / (across * down) as f32
}

fn is_text(luma: &Luma, left: usize, top: usize) -> bool {
    let row = |y: usize| &luma.pixels[(top + y) * luma.width + left..][..TILE];
    let pixels = || (0..TILE).flat_map(row);
    let (darkest, lightest) = pixels().fold((255, 0), |(low, high), v| (low.min(*v), high.max(*v)));
    let range = lightest - darkest.min(lightest);
    if range < CONTRAST_MIN {
        return false;
    }
    let near = range / 4;
    let n_toned = pixels().filter(|v| **v - darkest <= near || lightest - **v <= near).count();
    let middle = darkest + range / 2;
    let changes =
        |y: usize| row(y).windows(2).filter(|pair| (pair[0] < middle) != (pair[1] < middle)).count();
    let n_changes: usize = (0..TILE).map(changes).sum();
    TWO_TONED * TILE * TILE <= 100 * n_toned && CHANGES_MIN * TILE <= n_changes
}
