//! Answers beside the truth, and how many were right, task by task.
//!
//! An answer is right that says the truth letter by letter; a box is right that overlaps the true one by half, since one unit of the
//! model's grid more or less is no mistake (intersection over union, as detectors are judged).

use std::sync::Arc;

use serde::Serialize;

use super::observer::Heard;
use super::stage::{Stage, Take};
use crate::quality::boxes::{IOU_MIN, iou};
use crate::scenes::Task;

/// An answer with what is true of its own frames and its own question.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Verdict {
    /// The scene's number.
    pub(super) scene: u64,
    pub(super) is_backward: bool,
    pub(super) task: &'static str,
    pub(super) question: String,
    pub(super) answer: String,
    pub(super) truth: String,
    pub(super) is_right: bool,
    /// Intersection over union with the true box, where a box was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) iou: Option<f64>,
    pub(super) age_ms: f64,
    pub(super) camera_to_answer_ms: f64,
    /// What was shown, and which of its frames the answer's clip begins with.
    #[serde(skip)]
    pub(super) clip: (Arc<Take>, usize),
}

/// Why an answer says nothing about accuracy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unscored {
    /// Its frames are not consecutive frames of one scene: one was lost.
    NotOneClip,
    /// Its question was asked of the scene before and has no answer in this one.
    OtherScene,
    /// The node cut it short to publish it in time.
    Cut,
}

/// Right answers by task.
#[derive(Debug, Default)]
pub(super) struct Scoreboard {
    tallies: [Tally; Task::ALL.len()],
    iou_sum: f64,
    exact_boxes: u64,
    not_one_clip: u64,
    other_scene: u64,
    cut: u64,
}

/// Answers to one kind of question.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Tally {
    pub(super) asked: u64,
    pub(super) right: u64,
}

/// How well boxes were found.
#[derive(Debug, Default, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Boxes {
    pub(super) asked: u64,
    /// Mean intersection over union with the true box; an answer without a box has 0.
    pub(super) mean_iou: f64,
    /// Those that overlap by half.
    pub(super) right: u64,
    /// Those that are the true box, number by number.
    pub(super) exact: u64,
}

/// Answers that were heard and not scored, by the reason.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct UnscoredCounts {
    pub(super) not_one_clip: u64,
    pub(super) other_scene: u64,
    pub(super) cut: u64,
}

impl Scoreboard {
    /// Judges an answer by the frames that its stamps name and the question that it names, and counts it.
    ///
    /// # Errors
    /// Why it cannot be judged.
    pub(super) fn judge(&mut self, heard: &Heard, stage: &Stage) -> Result<Verdict, Unscored> {
        let verdict = verdict(heard, stage);
        match &verdict {
            Ok((task, verdict)) => self.count(*task, verdict),
            Err(Unscored::NotOneClip) => self.not_one_clip += 1,
            Err(Unscored::OtherScene) => self.other_scene += 1,
            Err(Unscored::Cut) => self.cut += 1,
        }
        verdict.map(|(_, verdict)| verdict)
    }

    fn count(&mut self, task: Task, verdict: &Verdict) {
        let tally = &mut self.tallies[task as usize];
        tally.asked += 1;
        tally.right += u64::from(verdict.is_right);
        if let Some(iou) = verdict.iou {
            self.iou_sum += iou;
            self.exact_boxes += u64::from(verdict.answer == verdict.truth);
        }
    }

    /// How well boxes were found, if one was asked for.
    pub(super) fn boxes(&self) -> Option<Boxes> {
        let Tally { asked, right } = self.tally(Task::Where);
        let mean_iou = self.iou_sum / asked as f64;
        (0 < asked).then_some(Boxes { asked, mean_iou, right, exact: self.exact_boxes })
    }

    pub(super) fn tally(&self, task: Task) -> Tally {
        self.tallies[task as usize]
    }

    /// Answers that were judged.
    pub(super) fn scored(&self) -> u64 {
        self.tallies.iter().map(|tally| tally.asked).sum()
    }

    pub(super) fn unscored(&self) -> UnscoredCounts {
        let &Self { not_one_clip, other_scene, cut, .. } = self;
        UnscoredCounts { not_one_clip, other_scene, cut }
    }
}

fn verdict(heard: &Heard, stage: &Stage) -> Result<(Task, Verdict), Unscored> {
    let (played, first) = stage.find(&heard.stamps_ns()).ok_or(Unscored::NotOneClip)?;
    let questions = played.take.questions(first);
    let asked = questions.into_iter().find(|question| question.texts.contains(&heard.prompt));
    let question = asked.ok_or(Unscored::OtherScene)?;
    if heard.is_cut() {
        return Err(Unscored::Cut);
    }
    let iou = (question.task == Task::Where).then(|| iou(&heard.text, &question.truth));
    let is_right = iou.map_or(heard.text == question.truth, |iou| IOU_MIN <= iou);
    let verdict = Verdict {
        scene: played.number,
        is_backward: played.take.is_backward(),
        task: question.task.name(),
        question: heard.prompt.clone(),
        answer: heard.text.clone(),
        truth: question.truth,
        is_right,
        iou,
        age_ms: heard.age_ms,
        camera_to_answer_ms: heard.camera_to_answer_ms,
        clip: (Arc::clone(&played.take), first),
    };
    Ok((question.task, verdict))
}
