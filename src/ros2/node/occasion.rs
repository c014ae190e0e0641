//! When the question is put: all the time, or when something happens.
//!
//! | `ask_when` | a question is put |
//! | --- | --- |
//! | `rate` | whenever there is time, and no more often than `max_rate` |
//! | `surprise` | when surprise in latent space rises beyond `ask_surprise`; once, until it has been below |
//! | `topic` | at a `true` on `~/ask`; those that come before it is put are one |
//! | `change` | when a camera's picture differs by more than `ask_change` from that of the last question about it |
//!
//! The change of a picture is that of its cell that has changed most: of a grid of 8 by 8, each cell's mean of red, green and blue, as a
//! share of their range. A mean over a cell does not see the noise of its pixels, and the largest over all sees something small that
//! moves far. Why against the last question's picture and not the one before: what creeps is seen as well.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use super::cameras::CAMERAS_MAX;
use crate::camera::Picture;
use crate::ros2::messages::{Flag, decode};
use crate::ros2::parameter_store::SharedParameters;
use crate::ros2::parameters::{Declaration, Parameters, Value};
use crate::ros2::transport::MessageSink;

/// Cells along each side of a picture.
const CELLS: usize = 8;

/// What a question is put for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Because {
    /// There is time.
    #[default]
    Rate,
    /// The forecast was off.
    Surprise,
    /// Somebody said so.
    Topic,
    /// The picture is another.
    Change,
}

impl Because {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Rate, Self::Surprise, Self::Topic, Self::Change];

    /// Its name, as the parameter and answers have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Surprise => "surprise",
            Self::Topic => "topic",
            Self::Change => "change",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }
}

/// When questions are put, and from where on something counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AskWhen {
    /// For what.
    pub because: Because,
    /// Surprise in latent space from which the forecast is off.
    pub surprise: f64,
    /// Change of a picture from which it is another.
    pub change: f64,
}

impl Default for AskWhen {
    fn default() -> Self {
        Self { because: Because::Rate, surprise: 0.5, change: 0.05 }
    }
}

impl AskWhen {
    /// As the parameters say it.
    pub(super) fn of(parameters: &Parameters) -> Self {
        Self {
            because: Because::named(parameters.text("ask_when")).unwrap_or_default(),
            surprise: parameters.double("ask_surprise"),
            change: parameters.double("ask_change"),
        }
    }

    /// The parameters at these settings.
    pub(super) fn declarations(&self) -> [Declaration; 3] {
        let declare = |name, default, description| Declaration {
            read_only: false,
            ..Declaration::new(name, default, description)
        };
        let number = |name, default, description, range| Declaration {
            range: Some(range),
            ..declare(name, Value::Double(default), description)
        };
        [
            Declaration {
                check: is_occasion,
                ..declare(
                    "ask_when",
                    Value::Text(self.because.name().to_owned()),
                    "`rate`, `surprise`, `topic` (~/ask) or `change`: when the question is put.",
                )
            },
            number(
                "ask_surprise",
                self.surprise,
                "Surprise in latent space beyond which the question is put.",
                (0.0, 1e6),
            ),
            number("ask_change", self.change, "Change of the picture beyond which it is put.", (0.0, 1.0)),
        ]
    }
}

fn is_occasion(value: &Value) -> Result<(), String> {
    match value {
        Value::Text(text) if Because::named(text).is_some() => Ok(()),
        other => Err(format!("expected `rate`, `surprise`, `topic` or `change`, found {other}")),
    }
}

/// What has happened since the last question.
pub(super) struct Occasion {
    parameters: SharedParameters,
    /// What waits for its question, by its place in [`Because::ALL`].
    waits: [AtomicBool; 4],
    /// Whether surprise is beyond its limit since a while.
    is_surprised: AtomicBool,
    /// Of the picture that was asked about last, camera by camera.
    cells: Mutex<[Option<Cells>; CAMERAS_MAX]>,
    asked: [AtomicU64; 4],
}

impl Occasion {
    pub(super) fn new(parameters: &SharedParameters) -> Self {
        let (waits, is_surprised, asked) = Default::default();
        let cells = Mutex::new([const { None }; CAMERAS_MAX]);
        Self { parameters: Arc::clone(parameters), waits, is_surprised, cells, asked }
    }

    fn when(&self) -> AskWhen {
        self.parameters.read(AskWhen::of)
    }

    /// For what the newest frames are to be looked at now, if for anything.
    pub(super) fn calls(&self) -> Option<Because> {
        let because = self.when().because;
        // What called under another rule is over.
        for other in Because::ALL.into_iter().filter(|other| *other != because) {
            self.waits[other as usize].store(false, Relaxed);
        }
        let is_there = match because {
            Because::Rate | Because::Change => true,
            Because::Surprise | Because::Topic => self.waits[because as usize].load(Relaxed),
        };
        is_there.then_some(because)
    }

    /// Notes what a forecast that was compared says.
    pub(super) fn surprised(&self, latent: f32) {
        let when = self.when();
        // What is beyond the limit when the rule comes into force has risen then.
        let is_beyond = when.because == Because::Surprise && when.surprise < f64::from(latent);
        if is_beyond && !self.is_surprised.swap(is_beyond, Relaxed) {
            self.call(Because::Surprise);
        }
        self.is_surprised.store(is_beyond, Relaxed);
    }

    /// Takes the messages of the topic that asks.
    pub(super) fn sink(self: &Arc<Self>) -> MessageSink {
        let occasion = Arc::clone(self);
        Box::new(move |body| {
            // What is no such message says nothing.
            if let Ok(Ok(Flag { data: true })) = body.map(|(body, order)| decode::<Flag>(body, order)) {
                occasion.call(Because::Topic);
            }
        })
    }

    fn call(&self, because: Because) {
        if self.when().because != because {
            return;
        }
        // Whoever puts questions looks again in a moment.
        self.waits[because as usize].store(true, Relaxed);
    }

    /// Whether a camera's picture is another than that of the last question about it that was answered, and the picture.
    pub(super) fn compare(&self, camera: usize, picture: &Picture<'_>) -> (bool, Cells) {
        let limit = self.when().change;
        let new = Cells::of(picture);
        let last = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        (last[camera].as_ref().is_none_or(|last| limit < last.change_to(&new)), new)
    }

    /// Says that the question is put, for what has called. What calls from now on asks for another.
    pub(super) fn answers(&self, because: Because) {
        self.waits[because as usize].store(false, Relaxed);
        self.asked[because as usize].fetch_add(1, Relaxed);
    }

    /// Says what became of that question, which was about these cameras' pictures if pictures count: one without an answer is put again.
    pub(super) fn ended(
        &self,
        because: Because,
        has_answer: bool,
        pictures: impl Iterator<Item = (usize, Cells)>,
    ) {
        if has_answer {
            let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
            for (camera, picture) in pictures {
                cells[camera] = Some(picture);
            }
        } else if [Because::Surprise, Because::Topic].contains(&because) {
            self.call(because);
        }
    }

    /// How many questions were put, and for what.
    pub(super) fn asked(&self) -> impl Iterator<Item = (Because, u64)> {
        Because::ALL.into_iter().zip(self.asked.iter().map(|n| n.load(Relaxed)))
    }
}

/// A picture, as the means of its cells, of each colour.
pub(super) struct Cells([[f64; 3]; CELLS * CELLS]);

impl Cells {
    fn of(picture: &Picture<'_>) -> Self {
        let (width, height) = (picture.size.width, picture.size.height);
        let mut sums = [[0u64; 3]; CELLS * CELLS];
        let mut counts = [0u64; CELLS * CELLS];
        for (y, row) in picture.rgb.chunks_exact(3 * width.max(1)).take(height).enumerate() {
            let down = y * CELLS / height;
            for (x, pixel) in row.chunks_exact(3).enumerate() {
                let cell = down * CELLS + x * CELLS / width;
                counts[cell] += 1;
                for (sum, value) in sums[cell].iter_mut().zip(pixel) {
                    *sum += u64::from(*value);
                }
            }
        }
        let mut cells = [[0.0; 3]; CELLS * CELLS];
        for (cell, (sum, count)) in cells.iter_mut().zip(sums.iter().zip(counts)) {
            // A picture of fewer pixels than cells has empty ones.
            *cell = sum.map(|sum| sum as f64 / (255 * count.max(1)) as f64);
        }
        Self(cells)
    }

    /// Of the cell that differs most.
    fn change_to(&self, other: &Self) -> f64 {
        let off = |(a, b): (&[f64; 3], &[f64; 3])| {
            a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum::<f64>() / a.len() as f64
        };
        self.0.iter().zip(&other.0).map(off).fold(0.0, f64::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::camera::FrameSize;

    fn cells(width: usize, height: usize, value: impl Fn(usize, usize) -> u8) -> Cells {
        let rgb: Vec<u8> = (0..width * height).flat_map(|i| [value(i % width, i / width); 3]).collect();
        Cells::of(&Picture::new(&rgb, FrameSize { width, height }))
    }

    #[test]
    fn a_change_is_that_of_the_cell_that_changed_most() {
        let plain = cells(64, 48, |_, _| 100);
        assert_eq!(plain.change_to(&plain), 0.0);
        let brighter = cells(64, 48, |_, _| 151);
        assert!((plain.change_to(&brighter) - 0.2).abs() < 1e-9);
        // Something as large as a cell.
        let spot =
            cells(64, 48, |x, y| if (8..16).contains(&x) && (12..18).contains(&y) { 202 } else { 100 });
        assert!((plain.change_to(&spot) - 0.4).abs() < 1e-9, "{}", plain.change_to(&spot));
        let noise = cells(64, 48, |x, y| if (x + y) % 2 == 0 { 90 } else { 110 });
        assert!(plain.change_to(&noise) < 1e-9);
    }

    #[test]
    fn pictures_of_any_size_have_cells() {
        for (width, height) in [(1, 1), (3, 5), (9, 7), (0, 0)] {
            let (dark, bright) = (cells(width, height, |_, _| 0), cells(width, height, |_, _| 255));
            let change = dark.change_to(&bright);
            assert_eq!(change, if width == 0 { 0.0 } else { 1.0 }, "{width}x{height}");
        }
    }

    #[test]
    fn names_come_back() {
        for one in Because::ALL {
            assert_eq!(Because::named(one.name()), Some(one));
            assert_eq!(Because::ALL[one as usize], one);
        }
        assert_eq!(Because::named("never"), None);
    }
}
