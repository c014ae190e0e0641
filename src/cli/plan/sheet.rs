//! A contact sheet: forecasts one under the other, between what was seen and what is wanted.

use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};

/// Frames of a forecast that are shown at most, evenly spread, the last one among them.
const FRAMES_MAX: usize = 8;
/// Small frames are shown several times as large.
const WIDTH_MIN: u32 = 96;
const GAP: u32 = 4;
const WHITE: Rgb<u8> = Rgb([255; 3]);

/// Draws a row for each forecast, which have one length and size.
pub(super) fn draw(given: Option<RgbImage>, forecasts: &[Vec<RgbImage>], goal: Option<RgbImage>) -> RgbImage {
    let rows: Vec<Vec<&RgbImage>> = forecasts
        .iter()
        .map(|frames| given.iter().chain(spread(frames)).chain(goal.iter()).collect())
        .collect();
    let Some((width, height)) = rows.iter().flatten().next().map(|cell| cell.dimensions()) else {
        return RgbImage::new(1, 1);
    };
    let times = WIDTH_MIN.div_ceil(width);
    let (width, height) = (width * times, height * times);
    let n_columns = rows.iter().map(Vec::len).max().unwrap_or(0) as u32;
    let side = |n: u32, cell: u32| n * (cell + GAP) + GAP;
    let mut sheet = RgbImage::from_pixel(side(n_columns, width), side(rows.len() as u32, height), WHITE);
    for (y, row) in (0..).zip(&rows) {
        for (x, cell) in (0..).zip(row) {
            let cell = imageops::resize(*cell, width, height, FilterType::Nearest);
            imageops::replace(&mut sheet, &cell, side(x, width).into(), side(y, height).into());
        }
    }
    sheet
}

fn spread(frames: &[RgbImage]) -> impl Iterator<Item = &RgbImage> {
    let n = frames.len().min(FRAMES_MAX);
    (1..=n).map(move |i| &frames[i * frames.len() / n - 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_ends_in_its_last_frame_and_the_goal() {
        let shade = |v: u8| RgbImage::from_pixel(32, 16, Rgb([v; 3]));
        let forecasts = [(10..30).map(shade).collect::<Vec<_>>(), (30..50).map(shade).collect()];
        let sheet = draw(Some(shade(1)), &forecasts, Some(shade(2)));
        assert_eq!(sheet.dimensions(), (10 * 100 + 4, 2 * 52 + 4));
        let at = |x: u32, y: u32| sheet.get_pixel(4 + x * 100 + 50, 4 + y * 52 + 20).0[0];
        assert_eq!([at(0, 0), at(1, 0), at(8, 0), at(9, 0)], [1, 11, 29, 2]);
        assert_eq!([at(0, 1), at(8, 1), at(9, 1)], [1, 49, 2]);
        assert_eq!(sheet.get_pixel(1, 1), &WHITE);
    }
}
