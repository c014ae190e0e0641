//! Values over something as lines: an SVG whose colours and letters are the page's.

use super::html::{Element, Html, element};

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 250.0;
/// Room around the lines: left, right, top, bottom.
const MARGINS: [f64; 4] = [44.0, 12.0, 14.0, 36.0];
/// Points of a line at most; of more, each is the greatest of a run of them.
const POINTS_MAX: usize = 400;
/// Lines of the grid, at most, across and down.
const TICKS: [f64; 2] = [6.0, 5.0];

/// Lines over one axis.
#[derive(Clone, Debug, Default)]
pub struct Plot {
    /// What is shown.
    pub title: String,
    /// What lies along the axis across, with its unit.
    pub across: String,
    /// Unit of the values.
    pub unit: String,
    /// The lines, at most four.
    pub series: Vec<Series>,
    /// Levels to compare with.
    pub thresholds: Vec<Threshold>,
    /// Places on the axis across at which something happened.
    pub marks: Vec<Mark>,
}

/// One line.
#[derive(Clone, Debug)]
pub struct Series {
    /// What it is.
    pub name: String,
    /// Places and values in order; those that are no numbers are left out.
    pub points: Vec<[f64; 2]>,
}

/// A level.
#[derive(Clone, Debug)]
pub struct Threshold {
    /// What it is.
    pub name: String,
    /// Where it lies.
    pub value: f64,
}

/// Something that happened.
#[derive(Clone, Debug)]
pub struct Mark {
    /// What it was.
    pub name: String,
    /// Where on the axis across.
    pub at: f64,
}

impl Plot {
    /// The figure, with its title and its legend.
    #[must_use]
    pub fn figure(&self) -> Html {
        let key = |(number, series): (usize, &Series)| {
            let swatch = element("span", &format!("swatch s{}", number + 1));
            element("span", "key").with(swatch).with(series.name.as_str())
        };
        let keys = self.series.iter().enumerate().map(key);
        let title = element("figcaption", "")
            .with(element("strong", "").with(self.title.as_str()))
            .with(element("span", "unit").with(self.unit.as_str()))
            .with(element("span", "keys").with_all(keys));
        element("figure", "plot").with(title).with(self.svg()).into()
    }

    /// The lines as a file of their own, for a README or another program: an SVG with its colours.
    #[must_use]
    pub fn file(&self) -> String {
        const STYLE: &str = "text{font:12px sans-serif;fill:#666}text.end{text-anchor:end}text.middle{text-anchor:middle}\
            .grid{stroke:#ddd}.axis{stroke:#888}.line{fill:none;stroke-width:1.6}\
            g.s1{stroke:#2f6fc4;fill:#2f6fc4}g.s2{stroke:#d9760f;fill:#fff}g.s3{stroke:#2d9070;fill:#2d9070}\
            g.s4{stroke:#9450b8;fill:#fff}line.threshold{stroke:#c33;stroke-dasharray:6 4}line.mark{stroke:#888}";
        let svg = self.svg();
        let head = format!("<svg xmlns=\"http://www.w3.org/2000/svg\"><style>{STYLE}</style>");
        let (title, across) = (Html::from(self.title.as_str()), Html::from(self.unit.as_str()));
        match svg.as_str().strip_prefix("<svg") {
            Some(rest) => {
                let (attributes, content) = rest.split_once('>').expect("a tag ends");
                let title = format!("<title>{} ({})</title>", title.as_str(), across.as_str());
                format!(
                    "<svg xmlns=\"http://www.w3.org/2000/svg\"{attributes}><style>{STYLE}</style>{title}{content}\n"
                )
            }
            None => format!("{head}<text x=\"8\" y=\"20\">Nothing was measured.</text></svg>\n"),
        }
    }

    fn svg(&self) -> Html {
        let series: Vec<Vec<[f64; 2]>> = self.series.iter().map(|series| thinned(&series.points)).collect();
        let Some(area) = Area::of(&series, self) else {
            return element("p", "empty").with("Nothing was measured.").into();
        };
        let lines = series.iter().enumerate().map(|(number, points)| {
            element("g", &format!("s{}", number + 1))
                .with(element("path", "line").set("d", path(points, &area)))
                .with_all(points.iter().map(|point| self.dot(*point, &area)))
        });
        element("svg", "")
            .set("viewBox", format!("0 0 {WIDTH} {HEIGHT}"))
            .set("role", "img")
            .set("aria-label", format!("{} ({}) over {}", self.title, self.unit, self.across))
            .with_all(area.grid(&self.across))
            .with_all(self.levels(&area))
            .with_all(lines)
            .into()
    }

    /// A point, which tells its figures to who points at it.
    fn dot(&self, [x, y]: [f64; 2], area: &Area) -> Element {
        let words = format!("{}: {} {}", round(x), round(y), self.unit);
        element("circle", "")
            .set("cx", pixel(area.x(x)))
            .set("cy", pixel(area.y(y)))
            .set("r", "2.4")
            .with(element("title", "").with(words))
    }

    fn levels(&self, area: &Area) -> Vec<Element> {
        let mut all = Vec::new();
        for Threshold { name, value } in &self.thresholds {
            all.push(area.across("threshold", *value));
            let at = [area.x(area.x_range[1]), area.y(*value) - 5.0];
            all.push(letters("threshold end", at, name));
        }
        for Mark { name, at } in &self.marks {
            all.push(area.down("mark", *at));
            // On the side that has more room.
            let is_left = *at < (area.x_range[0] + area.x_range[1]) / 2.0;
            let (class, aside) = if is_left { ("mark", 5.0) } else { ("mark end", -5.0) };
            all.push(letters(class, [area.x(*at) + aside, MARGINS[2] + 8.0], name));
        }
        all
    }
}

/// Where places and values lie.
struct Area {
    x_range: [f64; 2],
    y_max: f64,
}

impl Area {
    /// Holds everything; `None` if there is no point.
    fn of(series: &[Vec<[f64; 2]>], plot: &Plot) -> Option<Area> {
        let points = || series.iter().flatten();
        points().next()?;
        let places = points().map(|p| p[0]).chain(plot.marks.iter().map(|mark| mark.at));
        let (from, to) = places.fold((f64::MAX, f64::MIN), |(from, to), x| (from.min(x), to.max(x)));
        let values = points().map(|p| p[1]).chain(plot.thresholds.iter().map(|t| t.value));
        let y_max = 1.08 * values.fold(0.0, f64::max);
        let to = if to - from < 1e-9 { from + 1.0 } else { to };
        Some(Area { x_range: [from, to], y_max: if y_max <= 0.0 { 1.0 } else { y_max } })
    }

    fn x(&self, x: f64) -> f64 {
        let [left, right, ..] = MARGINS;
        let [from, to] = self.x_range;
        left + (x - from) / (to - from) * (WIDTH - left - right)
    }

    fn y(&self, y: f64) -> f64 {
        let [.., top, bottom] = MARGINS;
        top + (1.0 - y.max(0.0) / self.y_max) * (HEIGHT - top - bottom)
    }

    fn across(&self, class: &str, y: f64) -> Element {
        self.line(class, [self.x_range[0], y], [self.x_range[1], y])
    }

    fn down(&self, class: &str, x: f64) -> Element {
        self.line(class, [x, 0.0], [x, self.y_max])
    }

    fn line(&self, class: &str, from: [f64; 2], to: [f64; 2]) -> Element {
        element("line", class)
            .set("x1", pixel(self.x(from[0])))
            .set("y1", pixel(self.y(from[1])))
            .set("x2", pixel(self.x(to[0])))
            .set("y2", pixel(self.y(to[1])))
    }

    fn grid(&self, across: &str) -> Vec<Element> {
        let mut all = Vec::new();
        let step = tick(self.y_max, TICKS[1]);
        for value in ticks([0.0, self.y_max], step) {
            all.push(self.across(if value == 0.0 { "axis" } else { "grid" }, value));
            let at = [MARGINS[0] - 7.0, self.y(value) + 4.0];
            all.push(letters("end", at, &label(value, step)));
        }
        let step = tick(self.x_range[1] - self.x_range[0], TICKS[0]);
        for place in ticks(self.x_range, step) {
            let at = [self.x(place), self.y(0.0) + 15.0];
            all.push(letters("middle", at, &label(place, step)));
        }
        let at = [WIDTH - MARGINS[1], HEIGHT - 4.0];
        all.push(letters("end", at, across));
        all
    }
}

fn letters(class: &str, [x, y]: [f64; 2], text: &str) -> Element {
    element("text", class).set("x", pixel(x)).set("y", pixel(y)).with(text)
}

fn path(points: &[[f64; 2]], area: &Area) -> String {
    let step = |(i, [x, y]): (usize, &[f64; 2])| {
        format!("{}{} {}", if i == 0 { "M" } else { "L" }, pixel(area.x(*x)), pixel(area.y(*y)))
    };
    points.iter().enumerate().map(step).collect()
}

/// The points that are numbers; of too many, the greatest of each run.
fn thinned(points: &[[f64; 2]]) -> Vec<[f64; 2]> {
    let points: Vec<[f64; 2]> =
        points.iter().copied().filter(|p| p.iter().all(|value| value.is_finite())).collect();
    let run = points.len().div_ceil(POINTS_MAX).max(1);
    points.chunks(run).filter_map(|run| run.iter().copied().max_by(|a, b| a[1].total_cmp(&b[1]))).collect()
}

/// A round distance of at most `n` grid lines over so much.
fn tick(range: f64, n: f64) -> f64 {
    let rough = range / n;
    let power = 10f64.powf(rough.log10().floor());
    [1.0, 2.0, 5.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| rough <= *step)
        .unwrap_or(10.0 * power)
}

fn ticks([from, to]: [f64; 2], step: f64) -> impl Iterator<Item = f64> {
    let first = (from / step - 1e-9).ceil();
    (0..100).map(move |i| (first + f64::from(i)) * step).take_while(move |value| *value <= to + 1e-9 * step)
}

fn label(value: f64, step: f64) -> String {
    let decimals = (-step.log10().floor()).max(0.0) as usize;
    let text = format!("{value:.decimals$}");
    if text.trim_start_matches('-').bytes().all(|digit| b"0.".contains(&digit)) {
        "0".to_owned()
    } else {
        text
    }
}

/// Three digits after the point where a value is small, none where it is large.
fn round(value: f64) -> String {
    if value.abs() < 10.0 { format!("{value:.3}") } else { format!("{value:.1}") }
}

fn pixel(value: f64) -> String {
    format!("{value:.1}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(points: Vec<[f64; 2]>) -> Plot {
        let series = vec![Series { name: "age <newest>".into(), points }];
        Plot { title: "Ages".into(), across: "seconds".into(), unit: "ms".into(), series, ..Plot::default() }
    }

    #[test]
    fn grid_lines_are_round_and_few() {
        for (range, expected, text) in [
            (0.9, 0.2, "0.4"),
            (0.031, 0.01, "0.02"),
            (12.0, 5.0, "10"),
            (1.0, 0.2, "0.4"),
            (300.0, 100.0, "200"),
        ] {
            let step = tick(range, 5.0);
            assert!((step - expected).abs() < 1e-12, "{range}: {step}");
            assert_eq!(label(2.0 * step, step), text);
        }
        assert_eq!(ticks([3.0, 9.0], 2.0).collect::<Vec<_>>(), [4.0, 6.0, 8.0]);
        assert_eq!((label(0.0, 0.5), label(-0.0, 0.1)), ("0".into(), "0".into()));
    }

    #[test]
    fn what_is_no_number_is_left_out_and_nothing_is_said_to_be_nothing() {
        for points in [vec![], vec![[f64::NAN, 1.0], [1.0, f64::INFINITY]]] {
            assert!(plot(points).figure().as_str().contains("Nothing was measured"));
        }
        for points in [vec![[5.0, 0.0]], vec![[0.0, 1.0], [f64::NAN, 2.0], [1.0, 3.0]]] {
            let n = points.iter().filter(|p| p[0].is_finite()).count();
            let html = plot(points).figure();
            assert_eq!(html.as_str().matches("<circle").count(), n);
            assert!(!html.as_str().contains("NaN") && !html.as_str().contains("inf"), "{}", html.as_str());
            assert!(html.as_str().contains("age &lt;newest&gt;"));
        }
    }

    #[test]
    fn a_file_stands_alone() {
        for (points, expected) in [(vec![[0.0, 1.0], [1.0, 2.0]], "<path"), (vec![], "Nothing was measured")]
        {
            let file = plot(points).file();
            assert!(file.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\""), "{file}");
            assert!(
                file.contains(expected) && file.contains("<style>") && file.ends_with("</svg>\n"),
                "{file}"
            );
            assert_eq!(file.matches("<svg").count(), 1);
        }
    }

    #[test]
    fn many_points_keep_their_peaks() {
        let mut points: Vec<[f64; 2]> = (0..100_000).map(|i| [f64::from(i), 1.0]).collect();
        points[77_777][1] = 50.0;
        let thin = thinned(&points);
        assert!(thin.len() <= POINTS_MAX && thin.contains(&[77_777.0, 50.0]));
    }

    #[test]
    fn thresholds_and_marks_lie_within() {
        let mut plot = plot(vec![[0.0, 0.1], [1.0, 0.2]]);
        plot.thresholds.push(Threshold { name: "threshold".into(), value: 0.7 });
        plot.marks.push(Mark { name: "the ball jumps".into(), at: 2.0 });
        let area = Area::of(&[vec![[0.0, 0.1], [1.0, 0.2]]], &plot).unwrap();
        assert_eq!((area.x_range, 0.7 < area.y_max), ([0.0, 2.0], true));
        let html = plot.figure();
        assert!(html.as_str().contains("the ball jumps") && html.as_str().contains("class=\"threshold\""));
    }
}
