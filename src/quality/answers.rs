//! Answers about clips of which everything is known: how many are right, by kind of question, beside what knowing nothing gives.

use std::collections::HashMap;

use serde::Serialize;

use super::boxes::{IOU_MIN, iou};
use super::world::{Asked, World};
use crate::camera::FrameSize;
use crate::runtime::reason::{AskError, Picture, Reason, Request, Shown};
use crate::scenes::{FPS, SIZE};

/// Tokens of an answer at most.
pub const TOKENS_MAX: usize = 64;

/// Answers to one kind of question.
#[derive(Clone, Debug, Serialize)]
pub struct Task {
    /// The kind.
    pub task: &'static str,
    /// Questions that were put.
    pub asked: u64,
    /// Right answers: letter by letter, or a box whose intersection over union with the true one is a half at least.
    pub right: u64,
    /// Right answers as a share.
    pub share: f64,
    /// Standard error of that share.
    pub standard_error: f64,
    /// The share that is right of who always says what is true most often; none of boxes, of which hardly two are the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub most_frequent: Option<f64>,
    /// Mean intersection over union with the true boxes; an answer without a box has 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean_iou: Option<f64>,
}

/// A wrong answer.
#[derive(Clone, Debug)]
pub struct Mistake {
    /// The clip's number.
    pub index: u64,
    /// The question.
    pub asked: Asked,
    /// What was said.
    pub answer: String,
    /// What was shown, as packed RGB.
    pub frames: Vec<Vec<u8>>,
}

/// What a model's answers come to.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// Clips that were asked about.
    pub n_clips: u64,
    /// By kind, those that were asked at all.
    pub tasks: Vec<Task>,
    /// What was said to each question, in order.
    pub said: Vec<String>,
    /// The first mistakes, one of each kind before a second.
    pub mistakes: Vec<Mistake>,
}

/// What is counted of one kind of question.
#[derive(Default)]
struct Tally {
    asked: u64,
    right: u64,
    truths: HashMap<String, u64>,
    iou: Option<f64>,
}

impl Tally {
    fn task(&self, task: &'static str) -> Task {
        let n = self.asked as f64;
        let share = self.right as f64 / n;
        Task {
            task,
            asked: self.asked,
            right: self.right,
            share,
            standard_error: (share * (1.0 - share) / n).sqrt(),
            most_frequent: self.truths.values().max().map(|most| *most as f64 / n),
            mean_iou: self.iou.map(|sum| sum / n),
        }
    }
}

/// Whether an answer is right: letter by letter the true one, or, where that is a box, by an intersection over union of a half at least.
#[must_use]
pub fn is_right(answer: &str, truth: &str, is_box: bool) -> bool {
    if is_box { IOU_MIN <= iou(answer, truth) } else { answer == truth }
}

/// Asks about `clips` of a world, greedily. `each` hears how many are done.
///
/// # Errors
/// If a question cannot be put to this model, or a run failed.
pub fn answers(
    reason: &mut Reason,
    world: World,
    clips: std::ops::Range<u64>,
    n_mistakes: usize,
    mut each: impl FnMut(u64),
) -> Result<Answers, AskError> {
    let mut tallies: Vec<(&'static str, Tally)> =
        world.tasks().into_iter().map(|task| (task, Tally::default())).collect();
    let (mut mistakes, mut said, mut n_clips) = (Vec::<(u64, Mistake)>::new(), Vec::new(), 0);
    for index in clips {
        let (frames, asked) = world.asked(index);
        for asked in asked {
            let answer = answer(reason, &frames, &asked)?;
            let (_, tally) =
                tallies.iter_mut().find(|(task, _)| *task == asked.task).expect("every task is listed");
            let overlap = asked.is_box.then(|| iou(&answer, &asked.truth));
            let is_right = is_right(&answer, &asked.truth, asked.is_box);
            tally.asked += 1;
            tally.right += u64::from(is_right);
            match overlap {
                Some(overlap) => *tally.iou.get_or_insert(0.0) += overlap,
                None => *tally.truths.entry(asked.truth.clone()).or_default() += 1,
            }
            said.push(answer.clone());
            let n_before = tally.asked - tally.right;
            if !is_right && n_before <= n_mistakes as u64 {
                let frames = asked.frames.iter().map(|frame| frames[*frame].clone()).collect();
                mistakes.push((n_before, Mistake { index, asked, answer, frames }));
            }
        }
        n_clips += 1;
        each(n_clips);
    }
    mistakes.sort_by_key(|(n_before, _)| *n_before);
    mistakes.truncate(n_mistakes);
    let tasks = tallies.iter().filter(|(_, tally)| 0 < tally.asked).map(|(task, tally)| tally.task(task));
    Ok(Answers {
        n_clips,
        tasks: tasks.collect(),
        said,
        mistakes: mistakes.into_iter().map(|(_, mistake)| mistake).collect(),
    })
}

fn answer(reason: &mut Reason, frames: &[Vec<u8>], asked: &Asked) -> Result<String, AskError> {
    let size = FrameSize { width: SIZE, height: SIZE };
    let pictures: Vec<Picture<'_>> =
        asked.frames.iter().map(|frame| Picture::new(&frames[*frame], size)).collect();
    let shown = [Shown::Clip { frames: &pictures, fps: FPS }];
    let request = Request::new(&shown, &asked.text, TOKENS_MAX);
    Ok(reason.ask(&request, None, &mut |_, _| ())?.text)
}

#[cfg(test)]
#[test]
fn a_share_has_its_error_and_what_it_is_to_be_compared_with() {
    let truths = HashMap::from([("yes".to_owned(), 60), ("no".to_owned(), 40)]);
    let task = Tally { asked: 100, right: 80, truths, iou: None }.task("path");
    assert!((task.share - 0.8).abs() < 1e-12 && (task.standard_error - 0.04).abs() < 1e-12);
    assert_eq!((task.most_frequent, task.mean_iou), (Some(0.6), None));
}
