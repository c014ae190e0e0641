//! What the demo has seen: accuracy by task, latencies, and the account of every frame; as text and as JSON.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::forecast;
use super::observer::Heard;
use super::scoreboard::{Scoreboard, Tally, UnscoredCounts, Verdict};
use crate::cli::output;
use crate::frames::accounts::Accounts;
use crate::ros2::node;
use crate::runtime::statistics::{PERCENTILE_RULE, Summary};
use crate::scenes::Task;

/// The answers as they were heard.
#[derive(Debug, Default)]
pub(super) struct Tape {
    heard: u64,
    verdicts: Vec<Verdict>,
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
    seconds: f64,
    scenes: u64,
    scenes_backward: u64,
    answers: Answers,
    accuracy: Map<String, Value>,
    latency: Latency,
    frames: Frames,
    /// Absent where no engine forecasts beside the one that answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    live_forecasts: Option<LiveForecasts>,
    /// Clips that were lost on the way and sent again; absent from the live demo, where nothing is sent again.
    #[serde(skip_serializing_if = "Option::is_none")]
    clips_sent_again: Option<u64>,
    /// Absent from a course of questions.
    #[serde(skip_serializing_if = "Option::is_none")]
    forecast: Option<forecast::Report>,
    log: Vec<Verdict>,
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

/// Where every frame has gone.
#[derive(Debug, Serialize)]
struct Frames {
    sent: u64,
    received: u64,
    answered: u64,
    clip_members: u64,
    dropped: u64,
    dropped_by_reason: Map<String, Value>,
    in_flight: u64,
    lost: u64,
    is_balanced: bool,
    #[serde(skip)]
    line: String,
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
        let Tape { heard, verdicts, age_ms, camera_to_answer_ms, ttft_ms, tpot_ms, .. } = tape;
        let samples = |samples: Vec<f64>| Samples { summary: Summary::of(&samples), samples };
        let tasks = Task::ALL.into_iter().map(|task| {
            let tally = board.tally(task);
            let Tally { asked, right } = tally;
            (task.name().to_owned(), json!({ "asked": asked, "right": right, "share": share(tally) }))
        });
        Self {
            seconds: took.as_secs_f64(),
            scenes,
            scenes_backward,
            answers: Answers {
                published: summary.published,
                heard,
                scored: board.scored(),
                unscored: board.unscored(),
            },
            accuracy: tasks.collect(),
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
            forecast: None,
            log: verdicts,
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

    /// Adds how many clips were sent again.
    pub(super) fn with_clips_sent_again(self, clips: u64) -> Self {
        Self { clips_sent_again: Some(clips), ..self }
    }

    /// Adds what was forecast.
    pub(super) fn with_forecasts(self, forecasts: forecast::Report) -> Self {
        Self { forecast: Some(forecasts), ..self }
    }

    /// What makes the demo a failure.
    ///
    /// # Errors
    /// If no answer could be judged, or the frames' account does not balance.
    pub(super) fn verdict(&self) -> anyhow::Result<()> {
        for frames in [&self.frames].into_iter().chain(self.live_forecasts.as_ref().map(|live| &live.frames))
        {
            anyhow::ensure!(frames.is_balanced, "the frames' account does not balance: {}", frames.line);
        }
        anyhow::ensure!(0 < self.answers.scored, "no answer came ({} were heard)", self.answers.heard);
        Ok(())
    }

    /// As a person reads it.
    pub(super) fn text(&self) -> String {
        let &Report { seconds, scenes, scenes_backward, answers, .. } = self;
        let Answers { heard, published, scored, unscored } = answers;
        let row = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>();
        let mut accuracy = vec![row(&["answers", "right", "of", "%"])];
        for (task, tally) in &self.accuracy {
            let number = |key: &str| tally[key].to_string();
            let percent =
                tally["share"].as_f64().map_or("–".to_owned(), |share| format!("{:.0}", 100.0 * share));
            accuracy.push(vec![task.clone(), number("right"), number("asked"), percent]);
        }
        let mut latency = vec![row(&["latency, ms", "n", "p50", "p90", "p95", "p99", "max"])];
        let Latency { age_ms, camera_to_answer_ms, ttft_ms, tpot_ms, .. } = &self.latency;
        for (name, Samples { summary, .. }) in [
            ("age of the newest frame", age_ms),
            ("camera to answer", camera_to_answer_ms),
            ("first token (TTFT)", ttft_ms),
            ("each further token (TPOT)", tpot_ms),
        ] {
            let number = |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.1}"));
            let figures = summary.sound_percentiles().into_iter().chain([summary.max]).map(number);
            let count = summary.count.to_string();
            latency.push([name.to_owned(), count].into_iter().chain(figures).collect());
        }
        let mut text = format!(
            "\n{scenes} scenes in {seconds:.1} s, {scenes_backward} of them backward; {published} answers published, {heard} \
             heard, {scored} judged\n"
        );
        let UnscoredCounts { not_one_clip, other_scene, cut } = unscored;
        if scored < heard {
            text.push_str(&format!(
                "not judged: {other_scene} to a question of the scene before, {not_one_clip} about frames with a gap, {cut} \
                 cut by the deadline\n"
            ));
        }
        if let Some(clips) = self.clips_sent_again {
            text.push_str(&format!("{clips} clips were sent again\n"));
        }
        let frames = format!("frames: sent {}; {}\n", self.frames.sent, self.frames.line);
        for part in [output::table(&accuracy), output::table(&latency), frames] {
            text.push('\n');
            text.push_str(&part);
        }
        if let Some(LiveForecasts { published, frames, surprise }) = &self.live_forecasts {
            let number = |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.2}"));
            let Summary { count, p50, max, .. } = surprise.summary;
            text.push_str(&format!(
                "\n{published} forecasts published; surprise in latent space, {count} times heard: p50 {}, max {}\nframes: {}\n",
                number(p50),
                number(max),
                frames.line
            ));
        }
        if let Some(forecast) = &self.forecast {
            text.push_str(&forecast.text());
        }
        text
    }
}

impl Frames {
    fn new(accounts: &Accounts, sent: u64) -> Self {
        let &Accounts { received, served: answered, clip_members, in_flight, lost, .. } = accounts;
        Self {
            sent,
            received,
            answered,
            clip_members,
            dropped: accounts.dropped_total(),
            dropped_by_reason: accounts
                .drops()
                .map(|(reason, n)| (reason.name().to_owned(), n.into()))
                .collect(),
            in_flight,
            lost,
            is_balanced: accounts.balance(),
            line: accounts.to_string(),
        }
    }
}

fn share(tally: Tally) -> Option<f64> {
    (0 < tally.asked).then(|| tally.right as f64 / tally.asked as f64)
}

/// A surprise, on one line.
pub(super) fn surprise_line(surprise: f32) -> String {
    format!("surprise {surprise:.2} in latent space\n")
}

/// An answer beside the truth, on one line.
pub(super) fn line(verdict: &Verdict) -> String {
    let Verdict { scene, is_backward, task, question, answer, truth, is_right, age_ms, camera_to_answer_ms } =
        verdict;
    let way = if *is_backward { "<" } else { ">" };
    let beside =
        if *is_right { format!("right: {answer}") } else { format!("WRONG: {answer} | truth: {truth}") };
    format!(
        "scene {scene:>3} {way}  {task:<8}  {question}  {beside}  (age {age_ms:.0} ms, camera to answer \
         {camera_to_answer_ms:.0} ms)\n"
    )
}
