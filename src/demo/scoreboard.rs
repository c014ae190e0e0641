//! Answers beside the truth, and how many were right, task by task.

use serde::Serialize;

use super::observer::Heard;
use super::stage::Stage;
use crate::scenes::Task;

/// An answer with what is true of its own frames and its own question.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Verdict {
    /// The scene's number.
    pub(super) scene: u64,
    pub(super) is_backward: bool,
    pub(super) task: &'static str,
    pub(super) question: String,
    pub(super) answer: String,
    pub(super) truth: String,
    pub(super) is_right: bool,
    pub(super) age_ms: f64,
    pub(super) camera_to_answer_ms: f64,
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
            Ok((task, verdict)) => self.count(*task, verdict.is_right),
            Err(Unscored::NotOneClip) => self.not_one_clip += 1,
            Err(Unscored::OtherScene) => self.other_scene += 1,
            Err(Unscored::Cut) => self.cut += 1,
        }
        verdict.map(|(_, verdict)| verdict)
    }

    fn count(&mut self, task: Task, is_right: bool) {
        let tally = &mut self.tallies[task as usize];
        tally.asked += 1;
        tally.right += u64::from(is_right);
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
    let is_right = heard.text == question.truth;
    let verdict = Verdict {
        scene: played.number,
        is_backward: played.take.is_backward(),
        task: question.task.name(),
        question: heard.prompt.clone(),
        answer: heard.text.clone(),
        truth: question.truth,
        is_right,
        age_ms: heard.age_ms,
        camera_to_answer_ms: heard.camera_to_answer_ms,
    };
    Ok((question.task, verdict))
}
