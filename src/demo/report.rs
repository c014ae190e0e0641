//! What the demo has seen: accuracy by task, latencies, and the account of every frame; as text, as JSON and as a page.

mod album;
mod page;
mod text;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::observer::Heard;
use super::scoreboard::{Boxes, Scoreboard, Tally, UnscoredCounts, Verdict};
use super::sent::Frames;
use super::{errands, forecast};
use crate::ros2::node;
use crate::runtime::statistics::{PERCENTILE_RULE, Summary};
use crate::scenes::Task;

/// The answers as they were heard.
#[derive(Debug, Default)]
pub(super) struct Tape {
    heard: u64,
    verdicts: Vec<Verdict>,
    /// Stamps of the newest frames, in seconds.
    stamps_s: Vec<f64>,
    age_ms: Vec<f64>,
    camera_to_answer_ms: Vec<f64>,
    ttft_ms: Vec<f64>,
    tpot_ms: Vec<f64>,
    surprise: Vec<f64>,
}

impl Tape {
    /// Answers that were heard.
    pub(super) fn heard(&self) -> u64 {
        self.heard
    }

    pub(super) fn note(&mut self, heard: &Heard, verdict: Option<Verdict>) {
        self.heard += 1;
        self.verdicts.extend(verdict);
        self.stamps_s.push(heard.stamps_ns().last().map_or(f64::NAN, |ns| *ns as f64 / 1e9));
        self.age_ms.push(heard.age_ms);
        self.camera_to_answer_ms.push(heard.camera_to_answer_ms);
        self.ttft_ms.extend(heard.ttft_ms);
        self.tpot_ms.extend(heard.tpot_ms);
    }

    /// The surprises that were heard.
    pub(super) fn take_surprise(&mut self) -> Vec<f64> {
        std::mem::take(&mut self.surprise)
    }

    pub(super) fn note_surprise(&mut self, surprise: f32) {
        self.surprise.push(surprise.into());
    }
}

/// The result. Its fields are those of `demo --json`.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// The page that tells the same.
    report: PathBuf,
    seconds: f64,
    is_interrupted: bool,
    scenes: u64,
    scenes_backward: u64,
    answers: Answers,
    accuracy: Map<String, Value>,
    /// Absent where no box was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    boxes: Option<Boxes>,
    latency: Latency,
    frames: Frames,
    /// Absent where no engine forecasts beside the one that answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    live_forecasts: Option<LiveForecasts>,
    /// Clips that were lost on the way and sent again; absent from the live demo, where nothing is sent again.
    #[serde(skip_serializing_if = "Option::is_none")]
    clips_sent_again: Option<u64>,
    /// Scenes that the course was to have; absent from the live demo.
    #[serde(skip_serializing_if = "Option::is_none")]
    scenes_asked: Option<u64>,
    /// Absent from a course of questions, and where the demo was interrupted before.
    #[serde(skip_serializing_if = "Option::is_none")]
    forecast: Option<forecast::Report>,
    /// The same.
    #[serde(skip_serializing_if = "Option::is_none")]
    robot: Option<errands::Report>,
    log: Vec<Verdict>,
    #[serde(skip)]
    stamps_s: Vec<f64>,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct Answers {
    published: u64,
    heard: u64,
    scored: u64,
    unscored: UnscoredCounts,
}

#[derive(Debug, Serialize)]
struct Latency {
    age_ms: Samples,
    camera_to_answer_ms: Samples,
    ttft_ms: Samples,
    tpot_ms: Samples,
    percentile_rule: &'static str,
}

/// What the node forecast of the same camera while it answered.
#[derive(Debug, Serialize)]
struct LiveForecasts {
    published: u64,
    frames: Frames,
    /// In latent space, of the scenes as they were shown.
    surprise: Samples,
}

#[derive(Debug, Serialize)]
struct Samples {
    #[serde(flatten)]
    summary: Summary,
    samples: Vec<f64>,
}

impl Report {
    /// Sums up. `shown` are the scenes and those of them that were shown backward, `sent` the camera's frames.
    pub(super) fn new(
        board: &Scoreboard,
        tape: Tape,
        (scenes, scenes_backward): (u64, u64),
        summary: &node::Summary,
        sent: u64,
        took: Duration,
    ) -> Self {
        let Tape { heard, verdicts, stamps_s, age_ms, camera_to_answer_ms, ttft_ms, tpot_ms, .. } = tape;
        let samples = |samples: Vec<f64>| Samples { summary: Summary::of(&samples), samples };
        let tasks = Task::ALL.into_iter().map(|task| {
            let tally = board.tally(task);
            let Tally { asked, right } = tally;
            (task.name().to_owned(), json!({ "asked": asked, "right": right, "share": share(tally) }))
        });
        Self {
            report: PathBuf::new(),
            seconds: took.as_secs_f64(),
            is_interrupted: false,
            scenes,
            scenes_backward,
            answers: Answers {
                published: summary.published,
                heard,
                scored: board.scored(),
                unscored: board.unscored(),
            },
            accuracy: tasks.collect(),
            boxes: board.boxes(),
            latency: Latency {
                age_ms: samples(age_ms),
                camera_to_answer_ms: samples(camera_to_answer_ms),
                ttft_ms: samples(ttft_ms),
                tpot_ms: samples(tpot_ms),
                percentile_rule: PERCENTILE_RULE,
            },
            frames: Frames::new(&summary.accounts, sent),
            live_forecasts: None,
            clips_sent_again: None,
            scenes_asked: None,
            forecast: None,
            robot: None,
            log: verdicts,
            stamps_s,
        }
    }

    /// Adds what became of the frames that were forecast from, and the surprises that were heard.
    pub(super) fn with_live_forecasts(self, summary: &node::Summary, sent: u64, surprise: Vec<f64>) -> Self {
        let surprise = Samples { summary: Summary::of(&surprise), samples: surprise };
        let frames = Frames::new(&summary.accounts, sent);
        Self {
            live_forecasts: Some(LiveForecasts { published: summary.published, frames, surprise }),
            ..self
        }
    }

    /// Adds how many clips of a course were sent again, and how many scenes it was to have.
    pub(super) fn of_a_course(self, clips_sent_again: u64, scenes: u64) -> Self {
        let is_interrupted = self.is_interrupted || self.scenes < scenes;
        Self { clips_sent_again: Some(clips_sent_again), scenes_asked: Some(scenes), is_interrupted, ..self }
    }

    /// Notes that somebody ended it.
    pub(super) fn interrupted(self) -> Self {
        Self { is_interrupted: true, ..self }
    }

    /// Adds what was forecast.
    pub(super) fn with_forecasts(self, forecasts: forecast::Report) -> Self {
        Self { forecast: Some(forecasts), ..self }
    }

    /// Adds what became of the errands.
    pub(super) fn with_errands(self, errands: errands::Report) -> Self {
        Self { robot: Some(errands), ..self }
    }

    /// Where the page lies.
    pub(super) fn place(&self) -> &Path {
        &self.report
    }

    /// Adds where the page lies.
    pub(super) fn at(self, page: PathBuf) -> Self {
        Self { report: page, ..self }
    }

    /// What makes the demo a failure.
    ///
    /// # Errors
    /// If no answer could be judged, a course did not come to its end, or the frames' account does not balance.
    pub(super) fn verdict(&self) -> anyhow::Result<()> {
        for frames in [&self.frames].into_iter().chain(self.live_forecasts.as_ref().map(|live| &live.frames))
        {
            anyhow::ensure!(frames.is_balanced, "the frames' account does not balance: {}", frames.line);
        }
        self.robot.as_ref().filter(|_| !self.is_interrupted).map_or(Ok(()), errands::Report::verdict)?;
        if let Some(asked) = self.scenes_asked.filter(|asked| self.scenes < *asked) {
            anyhow::bail!("stopped after {} of {asked} scenes", self.scenes);
        }
        anyhow::ensure!(0 < self.answers.scored, "no answer came ({} were heard)", self.answers.heard);
        Ok(())
    }
}

fn share(tally: Tally) -> Option<f64> {
    (0 < tally.asked).then(|| tally.right as f64 / tally.asked as f64)
}
