//! What answers to a lesson's questions are worth: greedy ones counted by kind as `report` counts them, others rewarded one by one.

use super::lesson::{Lesson, Lessons, Posed, together};
use super::reading::Reading;
use super::reasoner::Reasoner;
use crate::distill::DistillError;
use crate::distill::tape::Tensor;
use crate::quality::answers::{TOKENS_MAX, is_right};
use crate::quality::boxes::{box_in, iou};
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

/// Of clips of the validation split the mean over the true answers' tokens of what `of` sums up over a lesson's, by this name, and
/// greedy answers by kind.
pub(super) fn measured(
    reasoner: &Reasoner,
    lessons: &Lessons,
    weights: &[Tensor],
    n_clips: u64,
    name: &'static str,
    of: impl Fn(&Reading<'_>, &Lesson) -> Result<f64, DistillError>,
) -> Result<Vec<(&'static str, f64)>, DistillError> {
    let (mut sum, mut n_tokens) = (0.0, 0);
    let mut tally = Tally::default();
    for clips in together(n_clips) {
        for lesson in &lessons.measured(reasoner, clips)? {
            let reading = Reading::new(reasoner, weights, lesson)?;
            sum += of(&reading, lesson)?;
            n_tokens += lesson.posed.iter().map(|posed| posed.answer.len()).sum::<usize>();
            tally.ask(reasoner, &reading, lesson)?;
        }
    }
    let mut figures = vec![(name, sum / n_tokens.max(1) as f64)];
    figures.extend(tally.shares());
    Ok(figures)
}

/// The reward of an answer of up to [`TOKENS_MAX`] tokens, 0 to 1. `format` of it is for its form: it ended by itself, and names a box
/// where one is asked for. The rest is for what it says: all or nothing by the judge that `report` asks, but of a box the intersection
/// over union itself, so that nearer ones are worth more before any is right.
///
/// An answer that broke off, since its logits were no numbers, is worth no number either.
pub(super) fn reward(reasoner: &Reasoner, posed: &Posed, answer: &[u32], format: f64) -> f64 {
    let has_ended = answer.last().is_some_and(|last| reasoner.manifest.stop_token_ids.contains(last));
    if !has_ended && answer.len() < TOKENS_MAX {
        return f64::NAN;
    }
    let text = reasoner.tokenizer.decode(answer);
    let (said, has_form) = match posed.topic {
        Topic::Where => (iou(&text, &posed.truth), box_in(&text).is_some()),
        _ => (f64::from(u8::from(is_right(&text, &posed.truth, false))), true),
    };
    (1.0 - format) * said + format * f64::from(u8::from(has_ended && has_form))
}
