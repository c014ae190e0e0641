//! What a robot would ask of a scene, and the true answers, in the words that the small checkpoint was taught.

use super::SIZE;
use super::scene::Scene;

/// Appended to a question, it asks for a thought in `<think> </think>` before the answer.
pub const THINK_SUFFIX: &str = "\nThink first, in <think> </think>.";

/// The kinds of questions. Accuracy is counted by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Task {
    /// How many balls.
    Count,
    /// Their colours, from left to right.
    Colors,
    /// A ball's box on 0..=1000.
    Where,
    /// One of nine parts of the image.
    Side,
    /// One of eight directions, or still.
    Way,
    /// Whether time runs forward.
    Arrow,
    /// What ball 0 will touch.
    Touch,
    /// Whether ball 0 can go on without hitting an object.
    Path,
    /// Everything in one sentence.
    Describe,
}

impl Task {
    /// Every task.
    pub const ALL: [Task; 9] = [
        Task::Count,
        Task::Colors,
        Task::Where,
        Task::Side,
        Task::Way,
        Task::Arrow,
        Task::Touch,
        Task::Path,
        Task::Describe,
    ];

    /// The word that tables use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Task::Count => "count",
            Task::Colors => "colors",
            Task::Where => "where",
            Task::Side => "side",
            Task::Way => "way",
            Task::Arrow => "arrow",
            Task::Touch => "touch",
            Task::Path => "path",
            Task::Describe => "describe",
        }
    }

    /// The ways of asking it, each as good as the others; `{color}` stands for the ball's colour.
    #[must_use]
    pub fn wordings(self) -> &'static [&'static str] {
        match self {
            Task::Count => &["How many balls are there?", "Count the balls."],
            Task::Colors => &["What colors are the balls?", "Name the color of each ball."],
            Task::Where => &["Where is the {color} ball?", "Give the box of the {color} ball."],
            Task::Side => &["In which part of the image is the {color} ball?"],
            Task::Way => {
                &["Which way is the {color} ball moving?", "In what direction does the {color} ball move?"]
            }
            Task::Arrow => &["Is the video playing forward or backward?"],
            Task::Touch => &["What will the {color} ball touch next?"],
            Task::Path => &[
                "Is the path of the {color} ball clear?",
                "Can the {color} ball go on without hitting an object?",
            ],
            Task::Describe => &["Describe the scene.", "What do you see?"],
        }
    }
}

/// A question about a scene with its true answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Its kind.
    pub task: Task,
    /// The colour of the ball that is asked about, if one is.
    pub color: Option<&'static str>,
    /// The ways of asking it.
    pub texts: Vec<String>,
    /// The right answer, letter by letter.
    pub truth: String,
}

impl Scene {
    /// Every question about the clip, of which the last frame counts; `reversed` if it is shown from its end.
    ///
    /// One frame has no way, arrow, touch and path; a reversed clip has no touch and path.
    #[must_use]
    pub fn questions(&self, reversed: bool) -> Vec<Question> {
        let shown = Shown::new(self, reversed);
        let balls = &self.start.balls;
        let is_clip = 1 < self.n_frames();
        let names: Vec<&str> = shown.order.iter().map(|&b| balls[b].color.name()).collect();
        let mut out = vec![
            question(Task::Count, None, shown.order.len().to_string()),
            question(Task::Colors, None, names.join(", ")),
            question(Task::Describe, None, shown.describe()),
        ];
        for (b, ball) in balls.iter().enumerate().filter(|(_, ball)| ball.present) {
            let color = Some(ball.color.name());
            out.push(question(Task::Where, color, grid_box(shown.last[b], ball.radius)));
            out.push(question(Task::Side, color, part(shown.last[b])));
            if let Some(way) = shown.way(b) {
                out.push(question(Task::Way, color, way.to_owned()));
            }
        }
        if is_clip {
            let arrow = if reversed { "backward" } else { "forward" };
            out.push(question(Task::Arrow, None, arrow.to_owned()));
        }
        if is_clip && !reversed {
            let color = Some(balls[0].color.name());
            let path = if self.touched.is_object() { "no" } else { "yes" };
            out.push(question(Task::Touch, color, self.touched.name().to_owned()));
            out.push(question(Task::Path, color, path.to_owned()));
        }
        out
    }
}

fn question(task: Task, color: Option<&'static str>, truth: String) -> Question {
    let texts = task.wordings().iter().map(|text| text.replace("{color}", color.unwrap_or(""))).collect();
    Question { task, color, texts, truth }
}

/// The clip as it is shown: the last frame, the one before it, and the balls that are there from left to right.
struct Shown<'a> {
    scene: &'a Scene,
    last: &'a [[f64; 2]],
    before: Option<&'a [[f64; 2]]>,
    order: Vec<usize>,
}

impl<'a> Shown<'a> {
    fn new(scene: &'a Scene, reversed: bool) -> Self {
        let n_frames = scene.n_frames();
        let nth_from_end = |n: usize| if reversed { n } else { n_frames - 1 - n };
        let last: &[[f64; 2]] = &scene.track[nth_from_end(0)];
        let before = (1 < n_frames).then(|| &scene.track[nth_from_end(1)][..]);
        let mut order: Vec<usize> = (0..last.len()).filter(|&b| scene.start.balls[b].present).collect();
        order.sort_by(|&a, &b| last[a][0].total_cmp(&last[b][0]));
        Shown { scene, last, before, order }
    }

    fn way(&self, ball: usize) -> Option<&'static str> {
        let (last, before) = (self.last[ball], self.before?[ball]);
        Some(way([last[0] - before[0], last[1] - before[1]]))
    }

    fn describe(&self) -> String {
        let seen = self.order.iter().map(|&b| {
            let tail = match self.way(b) {
                None => String::new(),
                Some("still") => ", still".to_owned(),
                Some(way) => format!(", moving {way}"),
            };
            format!("{} ball, {}{tail}", self.scene.start.balls[b].color.name(), part(self.last[b]))
        });
        let seen: Vec<String> = seen.collect();
        format!("{}; gray box, {}.", seen.join("; "), part(self.scene.start.box_center))
    }
}

/// One of nine names: "top left" … "center" … "bottom right".
pub(super) fn part([x, y]: [f64; 2]) -> String {
    let third = |v: f64| ((v * 3.0 / SIZE as f64) as usize).min(2);
    let column = ["left", "center", "right"][third(x)];
    match (["top", "middle", "bottom"][third(y)], column) {
        ("middle", _) => column.to_owned(),
        (row, "center") => row.to_owned(),
        (row, _) => format!("{row} {column}"),
    }
}

/// One of eight directions, or "still" below 0.35 pixels a frame.
pub(super) fn way([x, y]: [f64; 2]) -> &'static str {
    const WAYS: [&str; 8] = ["right", "down right", "down", "down left", "left", "up left", "up", "up right"];
    if x.hypot(y) < 0.35 {
        return "still";
    }
    let eighth = (y.atan2(x) / std::f64::consts::FRAC_PI_4).round_ties_even() as i64;
    WAYS[eighth.rem_euclid(8) as usize]
}

/// The box around what lies within `radius` of a centre, `[left, top, right, bottom]` on 0..=1000, rounded to tens, as Qwen3-VL writes boxes.
pub(super) fn grid_box([x, y]: [f64; 2], radius: f64) -> String {
    let on_grid = |v: f64| (v / SIZE as f64 * 100.0).round_ties_even().clamp(0.0, 100.0) as i64 * 10;
    let [left, top, right, bottom] = [x - radius, y - radius, x + radius, y + radius].map(on_grid);
    format!("[{left}, {top}, {right}, {bottom}]")
}
