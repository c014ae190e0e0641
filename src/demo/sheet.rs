//! The contact sheet: of each scene four rows, the frames that were given, the forecast, what really came, and the difference.

use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::*;
use embedded_graphics::text::Alignment;

use crate::drawing::{Canvas, LETTER_HEIGHT};
use crate::report::{Film, Html, element};
use crate::scenes::{FPS, SIZE};

/// Pixels of the sheet for one of the camera.
const SCALE: u32 = 3;
const SIDE: u32 = SCALE * SIZE as u32;
const GAP: u32 = 6;
/// Room for the rows' names.
const LEFT: u32 = 108;
/// Room for the times above a row.
const CAPTION: u32 = LETTER_HEIGHT + GAP;
/// Pixels between two scenes.
const BETWEEN: u32 = 12;
const HEIGHT: u32 = 2 * CAPTION + 4 * (SIDE + GAP) + BETWEEN;
/// How many frames ahead of the newest given one the frames that are shown lie.
const AHEAD: [usize; 5] = [1, 2, 4, 6, 8];

/// A scene, what was expected of it, and what came.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Forecasted {
    pub(super) given: Vec<Vec<u8>>,
    pub(super) forecast: Vec<Vec<u8>>,
    pub(super) came: Vec<Vec<u8>>,
}

/// Draws the scenes one below the other: the newest given frames in the first row, every row as wide as that of the forecast.
pub(super) fn draw(scenes: &[Forecasted]) -> Canvas {
    let width = LEFT + AHEAD.len() as u32 * (SIDE + GAP);
    let mut canvas = Canvas::new(width, scenes.len() as u32 * HEIGHT);
    for (i, scene) in scenes.iter().enumerate() {
        draw_scene(&mut canvas, i as u32 * HEIGHT, scene);
    }
    canvas
}

/// The scene for a page: what was given playing, and strips of the forecast, of what came and of the difference.
pub(super) fn films(scene: &Forecasted) -> Html {
    let Forecasted { given, forecast, came } = scene;
    let off: Vec<Vec<u8>> = forecast.iter().zip(came).map(|(a, b)| difference(a, b)).collect();
    let expected: Vec<Vec<u8>> = given.iter().chain(forecast).cloned().collect();
    let happened: Vec<Vec<u8>> = given.iter().chain(came).cloned().collect();
    let playing = [("forecast, playing", &expected[..]), ("what came, playing", &happened[..])];
    let times: Vec<String> =
        (1..=forecast.len()).map(|ahead| format!("{:+.2} s", ahead as f64 / FPS)).collect();
    let rows = [("forecast", &forecast[..]), ("what came", &came[..]), ("difference", &off[..])];
    card(None, &playing, &times, &rows)
}

/// Films that play beside each other, and below them rows of frames, a column for each of `times`.
pub(super) fn card(
    heading: Option<&str>,
    playing: &[(&str, &[Vec<u8>])],
    times: &[String],
    rows: &[(&str, &[Vec<u8>])],
) -> Html {
    let film = |frames: &[Vec<u8>]| Film::new(frames, SIZE as u32, SIZE as u32, FPS);
    let playing = playing.iter().map(|(words, frames)| {
        let film = film(frames);
        film.around("figure", "").with(film.playing(words)).with(element("figcaption", "meta").with(*words))
    });
    let playing = element("div", "playing").with_all(playing);
    let columns = times.iter().map(|time| element("span", "").with(time.as_str()));
    let columns = element("div", "times").set("style", format!("--n:{}", times.len())).with_all(columns);
    let mut below = element("div", "rows").with(element("span", "name").with("")).with(columns);
    for (name, frames) in rows {
        let film = film(frames);
        let strip = film.around("div", "").with(film.strip(&format!("{name}, {} frames", frames.len())));
        below = below.with(element("span", "name").with(*name)).with(strip);
    }
    let heading = heading.map(|words| element("header", "").with(element("h3", "").with(words)));
    let body = element("div", "forecast-body").with(playing).with(below);
    element("article", "card").with_all(heading).with(body).into()
}

fn draw_scene(canvas: &mut Canvas, top: u32, scene: &Forecasted) {
    let Forecasted { given, forecast, came } = scene;
    let n = given.len();
    let shown: Vec<usize> = AHEAD.into_iter().filter(|ahead| *ahead <= forecast.len()).collect();
    let past: Vec<usize> = (n.saturating_sub(AHEAD.len())..n).collect();
    let seconds =
        |frames: f64| if frames == 0.0 { "now".to_owned() } else { format!("{:+.2} s", frames / FPS) };

    captions(canvas, top, past.iter().map(|i| seconds(*i as f64 + 1.0 - n as f64)));
    row(canvas, top + CAPTION, "past", past.iter().map(|i| given[*i].clone()));
    let top = top + CAPTION + SIDE + GAP;
    captions(canvas, top, shown.iter().map(|ahead| seconds(*ahead as f64)));
    let tops = |number: u32| top + CAPTION + number * (SIDE + GAP);
    row(canvas, tops(0), "forecast", shown.iter().map(|ahead| forecast[ahead - 1].clone()));
    row(canvas, tops(1), "what came", shown.iter().map(|ahead| came[ahead - 1].clone()));
    row(
        canvas,
        tops(2),
        "difference",
        shown.iter().map(|ahead| difference(&forecast[ahead - 1], &came[ahead - 1])),
    );
}

fn left(column: usize) -> u32 {
    LEFT + column as u32 * (SIDE + GAP)
}

fn captions(canvas: &mut Canvas, top: u32, texts: impl Iterator<Item = String>) {
    for (column, text) in texts.enumerate() {
        let at = Point::new((left(column) + SIDE / 2) as i32, (top + CAPTION / 2) as i32);
        canvas.text(at, Alignment::Center, &text, Rgb888::new(90, 90, 90));
    }
}

fn row(canvas: &mut Canvas, top: u32, name: &str, frames: impl Iterator<Item = Vec<u8>>) {
    let at = Point::new((LEFT - GAP) as i32, (top + SIDE / 2) as i32);
    canvas.text(at, Alignment::Right, name, Rgb888::BLACK);
    for (column, frame) in frames.enumerate() {
        canvas.picture(left(column), top, &frame, SIZE, SCALE);
    }
}

/// How far each value is off: black where the forecast was right.
fn difference(a: &[u8], b: &[u8]) -> Vec<u8> {
    a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).collect()
}
