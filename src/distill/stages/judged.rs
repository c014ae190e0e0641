//! Greedy answers to a lesson's questions, counted by kind as `report` counts them.

use super::lesson::Lesson;
use super::reading::Reading;
use super::reasoner::Reasoner;
use crate::distill::DistillError;
use crate::quality::answers::{TOKENS_MAX, is_right};
use crate::scenes::robot::Topic;

/// Right answers by kind of question.
#[derive(Default)]
pub(super) struct Tally(Vec<(Topic, u32, u32)>);

impl Tally {
    /// Asks every question of a lesson, greedily.
    pub(super) fn ask(
        &mut self,
        reasoner: &Reasoner,
        reading: &Reading<'_>,
        lesson: &Lesson,
    ) -> Result<(), DistillError> {
        let answers = reading.answers(TOKENS_MAX)?;
        for (posed, answer) in lesson.posed.iter().zip(answers) {
            let place = self.0.iter().position(|(topic, ..)| *topic == posed.topic).unwrap_or_else(|| {
                self.0.push((posed.topic, 0, 0));
                self.0.len() - 1
            });
            let (_, right, asked) = &mut self.0[place];
            let text = reasoner.tokenizer.decode(&answer);
            *right += u32::from(is_right(&text, &posed.truth, posed.topic == Topic::Where));
            *asked += 1;
        }
        Ok(())
    }

    pub(super) fn shares(self) -> impl Iterator<Item = (&'static str, f64)> {
        self.0.into_iter().map(|(topic, right, asked)| (topic.name(), f64::from(right) / f64::from(asked)))
    }
}
