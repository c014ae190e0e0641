//! A Reason engine that looks at a forecast and says how likely an answer is.

use super::error::PlanError;
use crate::backend::RunError;
use crate::camera::FrameSize;
use crate::runtime::predict::{Predict, to_byte};
use crate::runtime::reason::{AskError, FinishReason, Picture, Reason, Request, Shown};
use crate::runtime::{Lender, Limits};

/// A question about every forecast, with the answer that is hoped for.
pub struct Critic<'a> {
    reason: &'a Lender<Reason>,
    question: &'a str,
    choices: Vec<&'a str>,
    expected: usize,
    fps: f64,
    size: FrameSize,
    /// The last frames of a forecast, as bytes, and the place of the first in the clip.
    frames: Vec<u8>,
    first: usize,
}

impl<'a> Critic<'a> {
    /// Asks `reason` about the last `n_frames` of every forecast: one is shown as an image, several as a clip at the engine's rate.
    /// It is taken for one question at a time, so that others may ask between them, and waited for no longer than the limits say.
    ///
    /// # Errors
    /// If `expected` is none of the choices, fewer or more frames are asked for than are forecast, the question would be refused, or the
    /// limits come before whoever has the engine gives it back.
    pub fn new(
        reason: &'a Lender<Reason>,
        predict: &Predict,
        question: &'a str,
        choices: &[&'a str],
        expected: &str,
        n_frames: usize,
        limits: Limits<'_>,
    ) -> Result<Critic<'a>, PlanError> {
        let manifest = predict.manifest();
        let Some(place) = choices.iter().position(|choice| *choice == expected) else {
            return Err(PlanError::Expected { expected: expected.to_owned(), choices: choices.join(", ") });
        };
        if !(1..=manifest.horizon()).contains(&n_frames) {
            return Err(PlanError::CriticFrames { found: n_frames, horizon: manifest.horizon() });
        }
        let size = FrameSize { width: manifest.clip.width, height: manifest.clip.height };
        let critic = Critic {
            reason,
            question,
            choices: choices.to_vec(),
            expected: place,
            fps: manifest.fps,
            size,
            frames: vec![0; n_frames * size.width * size.height * 3],
            first: manifest.clip.n_frames - n_frames,
        };
        match critic.ask(limits, |reason, request| reason.check(request)) {
            Err(AskError::Run(RunError::Deadline)) => Err(PlanError::NoTime),
            other => other.map(|()| critic).map_err(PlanError::from),
        }
    }

    /// The probability of the expected answer among the choices, of the forecast that `predict` has just made; none if the deadline
    /// passed.
    pub(super) fn score(
        &mut self,
        predict: &mut Predict,
        limits: Limits<'_>,
    ) -> Result<Option<f64>, PlanError> {
        let (frame_len, first) = (self.size.width * self.size.height * 3, self.first);
        let frames = &mut self.frames;
        let n_decoded = predict.decode(limits, |decoded| {
            for (i, pixels) in decoded.pixels.chunks(frame_len).enumerate() {
                if let Some(place) = (decoded.first + i).checked_sub(first) {
                    let frame = &mut frames[place * frame_len..][..frame_len];
                    frame.iter_mut().zip(pixels).for_each(|(to, value)| *to = to_byte(*value));
                }
            }
        })?;
        if n_decoded < predict.manifest().clip.n_frames {
            return Ok(None);
        }
        let answer = match self.ask(limits, |reason, request| reason.ask(request, None, &mut |_, _| {})) {
            Err(AskError::Run(RunError::Deadline)) => return Ok(None),
            other => other?,
        };
        let is_decided = answer.finish_reason != FinishReason::Deadline;
        Ok(answer.choices.get(self.expected).filter(|_| is_decided).map(|choice| choice.share))
    }

    /// Calls `ask` with the question about the frames, once the engine is there.
    fn ask<T>(
        &self,
        limits: Limits<'_>,
        ask: impl FnOnce(&mut Reason, &Request<'_>) -> Result<T, AskError>,
    ) -> Result<T, AskError> {
        let frame_len = self.size.width * self.size.height * 3;
        let pictures: Vec<Picture<'_>> =
            self.frames.chunks(frame_len).map(|rgb| Picture::new(rgb, self.size)).collect();
        let shown = match &pictures[..] {
            [only] => [Shown::Image(*only)],
            frames => [Shown::Clip { frames, fps: self.fps }],
        };
        let request = Request {
            choices: &self.choices,
            deadline: limits.deadline,
            stop: limits.stop,
            ..Request::new(&shown, self.question, 1)
        };
        let mut reason = self.reason.take(limits).map_err(|error| match error {
            RunError::Stopped => AskError::Stopped,
            other => AskError::Run(other),
        })?;
        ask(&mut reason, &request)
    }
}
