//! Errands to look at: what was wished, what was expected and what came, second by second.

use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::*;
use embedded_graphics::text::Alignment;

use super::Report;
use crate::demo::sheet;
use crate::drawing::{Canvas, LETTER_HEIGHT};
use crate::report::{Html, element};
use crate::scenes::robot::{ARRIVAL, Errand};
use crate::scenes::{FPS, SIZE};

/// Pixels of the sheet for one of the camera.
const SCALE: u32 = 2;
const SIDE: u32 = SCALE * SIZE as u32;
const GAP: u32 = 6;
/// Room for the rows' names.
const LEFT: u32 = 108;
/// Room for an errand's heading.
const CAPTION: u32 = 2 * (LETTER_HEIGHT + GAP);
/// Pixels between two errands.
const BETWEEN: u32 = 12;
const ROWS: [&str; 3] = ["wished", "imagined", "came"];
const HEIGHT: u32 = CAPTION + ROWS.len() as u32 * (SIDE + GAP) + BETWEEN;

/// An errand, as far as it went. In every picture the goal is a ring.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    index: u64,
    goal: [f64; 2],
    /// The picture that was wished for, of each second.
    wished: Vec<Vec<u8>>,
    imagined: Vec<Vec<u8>>,
    came: Vec<Vec<u8>>,
    /// Frames of each second.
    lengths: Vec<usize>,
    arrived_s: Option<f64>,
}

impl Shown {
    pub(super) fn new(index: u64, errand: &Errand) -> Self {
        let goal = errand.goal;
        let (wished, imagined, came, lengths) = (vec![], vec![], vec![], vec![]);
        Self { index, goal, wished, imagined, came, lengths, arrived_s: None }
    }

    /// One second more. What was expected of the time after the ball had arrived is left out.
    pub(super) fn note(&mut self, wished: &[u8], imagined: &[Vec<u8>], came: &[Vec<u8>]) {
        let ringed = |frame: &Vec<u8>| ringed(frame, self.goal);
        self.imagined.extend(imagined.iter().take(came.len()).map(ringed));
        self.came.extend(came.iter().map(ringed));
        self.wished.push(ringed(&wished.to_vec()));
        self.lengths.push(came.len());
    }

    pub(super) fn ended(self, arrived_s: Option<f64>) -> Self {
        Self { arrived_s, ..self }
    }

    fn heading(&self) -> String {
        match self.arrived_s {
            Some(seconds) => format!("start {}: arrived after {seconds:.1} s", self.index + 1),
            None => format!("start {}: not arrived", self.index + 1),
        }
    }

    /// Seconds of the table's time at which each plan had been carried out, and the rows of pictures then.
    fn rows(&self) -> (Vec<f64>, [Vec<Vec<u8>>; 3]) {
        let ends: Vec<usize> = self
            .lengths
            .iter()
            .scan(0, |end, length| {
                *end += length;
                Some(*end)
            })
            .collect();
        let at_ends =
            |frames: &[Vec<u8>]| ends.iter().filter_map(|end| frames.get(end - 1).cloned()).collect();
        let seconds = ends.iter().map(|end| *end as f64 / FPS).collect();
        (seconds, [self.wished.clone(), at_ends(&self.imagined), at_ends(&self.came)])
    }
}

/// One errand below the other, a column for each second.
pub(super) fn sheet(shown: &[Shown]) -> Canvas {
    let columns = shown.iter().map(|shown| shown.lengths.len()).max().unwrap_or(0) as u32;
    let mut canvas = Canvas::new(LEFT + columns * (SIDE + GAP), shown.len() as u32 * HEIGHT);
    for (i, shown) in shown.iter().enumerate() {
        let top = i as u32 * HEIGHT;
        let heading = Point::new(LEFT as i32, (top + CAPTION / 4) as i32);
        canvas.text(heading, Alignment::Left, &shown.heading(), Rgb888::BLACK);
        let (seconds, rows) = shown.rows();
        let left = |column: usize| LEFT + column as u32 * (SIDE + GAP);
        for (column, seconds) in seconds.iter().enumerate() {
            let at = Point::new((left(column) + SIDE / 2) as i32, (top + CAPTION * 3 / 4) as i32);
            canvas.text(at, Alignment::Center, &format!("{seconds:.1} s"), Rgb888::new(90, 90, 90));
        }
        for (row, (name, frames)) in ROWS.iter().zip(&rows).enumerate() {
            let top = top + CAPTION + row as u32 * (SIDE + GAP);
            let at = Point::new((LEFT - GAP) as i32, (top + SIDE / 2) as i32);
            canvas.text(at, Alignment::Right, name, Rgb888::BLACK);
            for (column, frame) in frames.iter().enumerate() {
                canvas.picture(left(column), top, frame, SIZE, SCALE);
            }
        }
    }
    canvas
}

/// The errands for a page.
pub(super) fn films(report: &Report) -> Html {
    let said = format!(
        "{} of the {} errand(s). A ball is to come within {ARRIVAL:.0} pixels of the ring. Once a second the node ranked {} plans of the \
         pusher by how near its forecast of each came to the picture that was wished for; the best was carried out. Imagined is what it \
         expected of that one.",
        report.shown.len(),
        report.starts,
        report.candidates
    );
    let cards = report.shown.iter().map(|shown| {
        let (seconds, [wished, imagined, came]) = shown.rows();
        let times: Vec<String> = seconds.iter().map(|seconds| format!("{seconds:.1} s")).collect();
        let playing = [("imagined, playing", &shown.imagined[..]), ("what came, playing", &shown.came[..])];
        let rows = [(ROWS[0], &wished[..]), (ROWS[1], &imagined[..]), (ROWS[2], &came[..])];
        sheet::card(Some(&shown.heading()), &playing, &times, &rows)
    });
    Html::join([Html::from(element("p", "soft").with(said)), Html::join(cards)])
}

/// The frame with a ring around the goal, as wide as the ball's centre may lie off.
fn ringed(frame: &[u8], goal: [f64; 2]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    for (i, pixel) in frame.chunks_exact_mut(3).enumerate() {
        let point = [i % SIZE, i / SIZE].map(|v| v as f64 + 0.5);
        let away = (point[0] - goal[0]).hypot(point[1] - goal[1]);
        if (away - ARRIVAL).abs() < 0.6 {
            pixel.copy_from_slice(&[255, 255, 255]);
        }
    }
    frame
}
