//! What a robot would ask of a clip, and the true answers.
//!
//! A question is only asked where it has one answer: of what is plainly to be seen, and, for the future, if the robot holds still.

use super::clip::Clip;
use super::table::{Body, Object};
use crate::scenes::Rng;
use crate::scenes::questions::{grid_box, part, way};

/// The kinds of questions. Accuracy is counted by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    /// Ball or box.
    What,
    /// How many objects are to be seen.
    Count,
    /// An object's box on 0..=1000.
    Where,
    /// One of nine parts of the image.
    Side,
    /// One of eight directions, or still.
    Way,
    /// Whether an object can go on without hitting another or the pusher.
    Path,
    /// What an object will touch next.
    Touch,
    /// Whether the robot pushed an object.
    Push,
    /// Whether time runs forward.
    Arrow,
    /// In which order the shuffled parts of a clip belong.
    Puzzle,
    /// What is behind the panel.
    Hidden,
    /// Everything in one sentence.
    Describe,
}

impl Topic {
    /// Every topic.
    pub const ALL: [Topic; 12] = [
        Topic::What,
        Topic::Count,
        Topic::Where,
        Topic::Side,
        Topic::Way,
        Topic::Path,
        Topic::Touch,
        Topic::Push,
        Topic::Arrow,
        Topic::Puzzle,
        Topic::Hidden,
        Topic::Describe,
    ];

    /// The word that tables use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Topic::What => "what",
            Topic::Count => "count",
            Topic::Where => "where",
            Topic::Side => "side",
            Topic::Way => "way",
            Topic::Path => "path",
            Topic::Touch => "touch",
            Topic::Push => "push",
            Topic::Arrow => "arrow",
            Topic::Puzzle => "puzzle",
            Topic::Hidden => "hidden",
            Topic::Describe => "describe",
        }
    }

    /// The ways of asking it, each as good as the others; `{color}` and `{object}` stand for what is asked about.
    #[must_use]
    pub fn wordings(self) -> &'static [&'static str] {
        match self {
            Topic::What => &["What is the {color} object?", "Is the {color} object a ball or a box?"],
            Topic::Count => &["How many objects can be seen?", "Count the balls and boxes."],
            Topic::Where => &["Where is the {object}?", "Give the box of the {object}."],
            Topic::Side => &["In which part of the image is the {object}?"],
            Topic::Way => &["Which way is the {object} moving?", "In what direction does the {object} move?"],
            Topic::Path => &[
                "Is the path of the {object} clear?",
                "Can the {object} go on without hitting anything but a wall?",
            ],
            Topic::Touch => &["What will the {object} touch next, if the robot holds still?"],
            Topic::Push => &["Did the robot push the {object}?"],
            Topic::Arrow => &["Is the video playing forward or backward?"],
            Topic::Puzzle => &["The four parts of this video were shuffled. What is their right order?"],
            Topic::Hidden => &["What is behind the panel?"],
            Topic::Describe => &["Describe the scene.", "What do you see?"],
        }
    }
}

/// Which frames of a clip are shown, and in which order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    /// All of them.
    Forward,
    /// All of them, from the end.
    Backward,
    /// Its four equal parts in another order: part `parts[i]` (from 0) is shown as the `i`-th.
    Parts([usize; 4]),
}

impl Show {
    /// The frames' indices, as they are shown. Of parts, frames that do not fill a fourth are left out at the end.
    #[must_use]
    pub fn frames(&self, n_frames: usize) -> Vec<usize> {
        match self {
            Show::Forward => (0..n_frames).collect(),
            Show::Backward => (0..n_frames).rev().collect(),
            Show::Parts(parts) => {
                let len = n_frames / 4;
                parts.iter().flat_map(|part| part * len..(part + 1) * len).collect()
            }
        }
    }
}

/// A question about a clip with its true answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Its kind.
    pub topic: Topic,
    /// The object that is asked about, if one is.
    pub object: Option<usize>,
    /// The ways of asking it.
    pub texts: Vec<String>,
    /// The right answer, letter by letter.
    pub truth: String,
    /// What is shown with it.
    pub show: Show,
}

/// Seen at least by this share, an object is plainly there; seen at most by that, it is hidden.
const SEEN: f64 = 0.5;
const HIDDEN: f64 = 0.1;
/// Objects that the robot moved by less than this many pixels were not pushed, and are not asked about if it touched them.
const PUSHED: f64 = 2.0;
/// Pixels that something moves over the clip at least, where time and order can be told.
const STIRRED: f64 = 6.0;

impl Clip {
    /// Every question that has one answer; `rng` chooses the order of the shuffled parts and whether a clip runs backward.
    #[must_use]
    pub fn questions(&self, rng: &mut Rng) -> Vec<Asked> {
        let last = self.n_frames() - 1;
        let objects = &self.last().objects;
        let seen: Vec<f64> = (0..objects.len()).map(|object| self.visible(last, object)).collect();
        let is_plain = seen.iter().all(|share| SEEN <= *share || *share <= HIDDEN);
        let mut asked = Vec::new();
        let mut ask = |topic, object: Option<usize>, truth: String, show| {
            asked.push(question(topic, object.map(|i| (i, &objects[i])), truth, show));
        };

        if is_plain {
            let n_seen = seen.iter().filter(|share| SEEN <= **share).count();
            ask(Topic::Count, None, n_seen.to_string(), Show::Forward);
            ask(Topic::Describe, None, self.described(&seen), Show::Forward);
            // What was never seen cannot be known of.
            let was_seen = |i: usize| (0..last).any(|frame| SEEN <= self.visible(frame, i));
            let is_known = (0..seen.len()).all(|i| SEEN <= seen[i] || was_seen(i));
            if self.last().panel.is_some() && is_known {
                ask(Topic::Hidden, None, self.hidden(&seen), Show::Forward);
            }
        }
        for (i, object) in objects.iter().enumerate().filter(|(i, _)| SEEN <= seen[*i]) {
            ask(Topic::What, Some(i), object.kind.name().to_owned(), Show::Forward);
            ask(Topic::Where, Some(i), grid_box(object.position, object.half), Show::Forward);
            ask(Topic::Side, Some(i), part(object.position), Show::Forward);
            if let Some(way) = self.way(i) {
                ask(Topic::Way, Some(i), way.to_owned(), Show::Forward);
            }
            if 0 < last
                && let Some(pushed) = self.was_pushed(i)
            {
                ask(Topic::Push, Some(i), yes_or_no(pushed), Show::Forward);
            }
        }
        if let Some(i) = self.moving().filter(|_| 0 < last) {
            ask(Topic::Path, Some(i), yes_or_no(self.is_path_clear(i)), Show::Forward);
            ask(Topic::Touch, Some(i), self.touched(i), Show::Forward);
        }
        if STIRRED <= self.stirred() {
            let backward = rng.chance(0.5);
            let (truth, show) =
                if backward { ("backward", Show::Backward) } else { ("forward", Show::Forward) };
            ask(Topic::Arrow, None, truth.to_owned(), show);
            if 8 <= self.n_frames() {
                let mut parts = [0, 1, 2, 3];
                rng.shuffle(&mut parts);
                // The i-th part belongs where it was taken from: their order is the inverse.
                let order: Vec<String> = (0..4)
                    .map(|part| parts.iter().position(|p| *p == part).map_or(0, |at| at + 1).to_string())
                    .collect();
                ask(Topic::Puzzle, None, order.join(" "), Show::Parts(parts));
            }
        }
        asked
    }

    /// Pixels by which the object that went farthest lies from where it began.
    fn stirred(&self) -> f64 {
        let (first, last) = (&self.tables[0].objects, &self.last().objects);
        first.iter().zip(last).map(|(a, b)| distance(a.position, b.position)).fold(0.0, f64::max)
    }

    fn way(&self, object: usize) -> Option<&'static str> {
        let before = self.n_frames().checked_sub(2)?;
        let [a, b] = [before, before + 1].map(|frame| self.tables[frame].objects[object].position);
        (SEEN <= self.visible(before, object)).then(|| way([b[0] - a[0], b[1] - a[1]]))
    }

    /// None if it was touched but hardly moved, which can be told either way.
    fn was_pushed(&self, object: usize) -> Option<bool> {
        let pushed = self
            .events
            .iter()
            .find(|event| event.contact.object == object && event.contact.with == Body::Pusher);
        let Some(event) = pushed else { return Some(false) };
        let from = self.tables[event.frame - 1].objects[object].position;
        let by = distance(from, self.last().objects[object].position);
        (PUSHED <= by).then_some(true)
    }

    fn touched(&self, object: usize) -> String {
        self.next[object].map_or_else(|| "nothing".to_owned(), |body| self.name_of(body))
    }

    fn hidden(&self, seen: &[f64]) -> String {
        let names = self.names(|i| seen[i] <= HIDDEN);
        if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
    }

    fn described(&self, seen: &[f64]) -> String {
        let mut order: Vec<usize> = (0..seen.len()).filter(|i| SEEN <= seen[*i]).collect();
        let objects = &self.last().objects;
        order.sort_by(|&a, &b| objects[a].position[0].total_cmp(&objects[b].position[0]));
        let mut parts: Vec<String> = order
            .into_iter()
            .map(|i| {
                let tail = match self.way(i) {
                    None => String::new(),
                    Some("still") => ", still".to_owned(),
                    Some(way) => format!(", moving {way}"),
                };
                format!("{}, {}{tail}", objects[i].name(), part(objects[i].position))
            })
            .collect();
        if let Some(pusher) = &self.last().pusher {
            parts.push(format!("pusher, {}", part(pusher.position)));
        }
        if let Some(panel) = &self.last().panel {
            parts.push(format!("panel, {}", part(panel.center)));
        }
        if parts.is_empty() { "Nothing.".to_owned() } else { format!("{}.", parts.join("; ")) }
    }

    /// Objects that `which` takes, from left to right.
    fn names(&self, which: impl Fn(usize) -> bool) -> Vec<String> {
        let objects = &self.last().objects;
        let mut order: Vec<usize> = (0..objects.len()).filter(|i| which(*i)).collect();
        order.sort_by(|&a, &b| objects[a].position[0].total_cmp(&objects[b].position[0]));
        order.into_iter().map(|i| objects[i].name()).collect()
    }
}

fn question(topic: Topic, object: Option<(usize, &Object)>, truth: String, show: Show) -> Asked {
    let fill = |text: &&str| match object {
        Some((_, object)) => text.replace("{color}", object.color.name()).replace("{object}", &object.name()),
        None => (*text).to_owned(),
    };
    let texts = topic.wordings().iter().map(fill).collect();
    Asked { topic, object: object.map(|(i, _)| i), texts, truth, show }
}

fn yes_or_no(yes: bool) -> String {
    (if yes { "yes" } else { "no" }).to_owned()
}

fn distance(a: [f64; 2], b: [f64; 2]) -> f64 {
    let d = [a[0] - b[0], a[1] - b[1]];
    (d[0] * d[0] + d[1] * d[1]).sqrt()
}
