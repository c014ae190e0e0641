//! The surprise plot: in latent space and in pixels over time, of a quiet course and of one in which a ball jumps.

use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::*;
use embedded_graphics::text::Alignment;

use crate::drawing::Canvas;
use crate::report::{Html, Mark, Plot, Series, Threshold};

const WIDTH: u32 = 900;
const PANEL_HEIGHT: i32 = 260;
/// Room around a panel's area: left, right, top, bottom.
const MARGINS: [i32; 4] = [70, 20, 34, 40];
const GRAY: Rgb888 = Rgb888::new(120, 120, 120);
const PALE: Rgb888 = Rgb888::new(225, 225, 225);
const RED: Rgb888 = Rgb888::new(200, 30, 30);
/// Lengths of a dash and of the gap after it.
const DASH: [i32; 2] = [8, 6];
/// Lines of the grid in a panel, at most.
const TICKS: f64 = 5.0;

/// One course of values.
#[derive(Debug, Clone)]
pub(super) struct Curve {
    pub(super) name: &'static str,
    pub(super) color: Rgb888,
    /// Seconds and values, in the order of time.
    pub(super) points: Vec<[f64; 2]>,
}

/// Curves of one measure.
#[derive(Debug, Clone)]
pub(super) struct Panel {
    pub(super) title: &'static str,
    /// Of the values.
    pub(super) unit: &'static str,
    pub(super) threshold: f64,
    /// When the ball jumps.
    pub(super) jump_s: f64,
    pub(super) curves: Vec<Curve>,
}

impl Panel {
    /// The same for a page.
    pub(super) fn figure(&self) -> Html {
        let line = |curve: &Curve| Series { name: curve.name.to_owned(), points: curve.points.clone() };
        let mut title = self.title.to_owned();
        title[..1].make_ascii_uppercase();
        let plot = Plot {
            title,
            across: "seconds".to_owned(),
            unit: self.unit.to_owned(),
            series: self.curves.iter().map(line).collect(),
            thresholds: vec![Threshold { name: "threshold".to_owned(), value: self.threshold }],
            marks: vec![Mark { name: "the ball jumps".to_owned(), at: self.jump_s }],
        };
        plot.figure()
    }
}

/// Draws the panels one below the other, with a mark at the jump.
pub(super) fn draw(panels: &[Panel]) -> Canvas {
    let mut canvas = Canvas::new(WIDTH, panels.len() as u32 * PANEL_HEIGHT as u32);
    let times = panels.iter().flat_map(|panel| &panel.curves).flat_map(|curve| &curve.points).map(|p| p[0]);
    let end_s = times.fold(1.0, f64::max).ceil();
    for (i, panel) in panels.iter().enumerate() {
        let values = panel.curves.iter().flat_map(|curve| &curve.points).map(|p| p[1]);
        let top = i as i32 * PANEL_HEIGHT;
        let area = Area { top, end_s, value_max: 1.1 * values.fold(panel.threshold, f64::max) };
        draw_panel(&mut canvas, panel, &area);
    }
    canvas
}

/// Where times and values lie.
struct Area {
    top: i32,
    end_s: f64,
    value_max: f64,
}

impl Area {
    fn x(&self, seconds: f64) -> i32 {
        let [left, right, ..] = MARGINS;
        left + (seconds / self.end_s * f64::from(WIDTH as i32 - left - right)).round() as i32
    }

    fn y(&self, value: f64) -> i32 {
        let [.., above, below] = MARGINS;
        let height = f64::from(PANEL_HEIGHT - above - below);
        self.top + above + (height * (1.0 - value / self.value_max)).round() as i32
    }

    fn at(&self, [seconds, value]: [f64; 2]) -> Point {
        Point::new(self.x(seconds), self.y(value))
    }
}

fn draw_panel(canvas: &mut Canvas, panel: &Panel, area: &Area) {
    let jump_s = panel.jump_s;
    let step = tick(area.value_max);
    for value in (0..).map(|i| f64::from(i) * step).take_while(|value| *value <= area.value_max) {
        canvas.line(area.at([0.0, value]), area.at([area.end_s, value]), PALE, 1);
        let at = Point::new(area.x(0.0) - 8, area.y(value));
        canvas.text(at, Alignment::Right, &label(value, step), GRAY);
    }
    for seconds in (0..=area.end_s as u32).map(f64::from) {
        let at = Point::new(area.x(seconds), area.y(0.0) + 14);
        canvas.text(at, Alignment::Center, &format!("{seconds} s"), GRAY);
    }
    dashed(canvas, area.at([jump_s, 0.0]), area.at([jump_s, area.value_max]), GRAY);
    let at = Point::new(area.x(jump_s) + 6, area.y(area.value_max) + 8);
    canvas.text(at, Alignment::Left, "the ball jumps", GRAY);
    dashed(canvas, area.at([0.0, panel.threshold]), area.at([area.end_s, panel.threshold]), RED);
    let at = Point::new(area.x(area.end_s), area.y(panel.threshold) - 9);
    canvas.text(at, Alignment::Right, "threshold", RED);

    let middle = area.top + 16;
    let title = format!("{} ({})", panel.title, panel.unit);
    canvas.text(Point::new(area.x(0.0), middle), Alignment::Left, &title, Rgb888::BLACK);
    let mut right = area.x(area.end_s);
    for Curve { name, color, points } in panel.curves.iter().rev() {
        for pair in points.windows(2) {
            canvas.line(area.at(pair[0]), area.at(pair[1]), *color, 2);
        }
        for point in points {
            canvas.line(area.at(*point) - Point::new(2, 0), area.at(*point) + Point::new(2, 0), *color, 5);
        }
        canvas.text(Point::new(right, middle), Alignment::Right, name, *color);
        right -= 9 * (name.len() as i32 + 2);
    }
}

/// A round distance of grid lines.
fn tick(value_max: f64) -> f64 {
    let rough = value_max / TICKS;
    let power = 10f64.powf(rough.log10().floor());
    let factors = [1.0, 2.0, 5.0, 10.0];
    power * factors.into_iter().find(|factor| rough <= factor * power).unwrap_or(10.0)
}

fn label(value: f64, step: f64) -> String {
    let decimals = (-step.log10().floor()).max(0.0) as usize;
    format!("{value:.decimals$}")
}

/// A horizontal or vertical line of dashes.
fn dashed(canvas: &mut Canvas, from: Point, to: Point, color: Rgb888) {
    let along = to - from;
    let length = along.x.abs().max(along.y.abs());
    let unit = Point::new(along.x.signum(), along.y.signum());
    for start in (0..length).step_by((DASH[0] + DASH[1]) as usize) {
        let end = (start + DASH[0]).min(length);
        canvas.line(from + unit * start, from + unit * end, color, 1);
    }
}

#[cfg(test)]
#[test]
fn grid_lines_are_round_and_few() {
    for (value_max, expected, text) in
        [(0.9, 0.2, "0.4"), (0.031, 0.01, "0.02"), (12.0, 5.0, "10"), (1.0, 0.2, "0.4")]
    {
        let step = tick(value_max);
        assert!((step - expected).abs() < 1e-12, "{value_max}: {step}");
        assert_eq!(label(2.0 * step, step), text);
    }
}
