//! The report as a terminal shows it.

use super::{Answers, Latency, LiveForecasts, Report, Samples, UnscoredCounts};
use crate::cli::output;
use crate::demo::ticker::say;
use crate::runtime::statistics::Summary;

impl Report {
    /// As a person reads it.
    pub(in crate::demo) fn text(&self) -> String {
        let &Report { seconds, scenes, scenes_backward, answers, .. } = self;
        let Answers { heard, published, scored, unscored } = answers;
        let mut text = String::from("\n");
        say(
            &mut text,
            &format!(
                "{scenes} scenes in {seconds:.1} s, {scenes_backward} of them backward; {published} answers published, {heard} \
                 heard, {scored} judged"
            ),
        );
        let UnscoredCounts { not_one_clip, other_scene, cut } = unscored;
        if scored < heard {
            say(
                &mut text,
                &format!(
                    "not judged: {other_scene} to a question of the scene before, {not_one_clip} about frames with a gap, {cut} \
                     cut by the deadline"
                ),
            );
        }
        if let Some(clips) = self.clips_sent_again {
            say(&mut text, &format!("{clips} clips were sent again"));
        }
        if self.is_interrupted {
            say(&mut text, "interrupted: this is what there was until then");
        }
        text.push('\n');
        text.push_str(&output::table(&self.accuracy_rows()));
        if let Some(boxes) = self.boxes {
            let (asked, right, exact, mean) = (boxes.asked, boxes.right, boxes.exact, boxes.mean_iou);
            say(
                &mut text,
                &format!(
                    "\nboxes: IoU {mean:.2} on average; {right} of {asked} overlap the true one by half or more, {exact} are the \
                     true one number by number"
                ),
            );
        }
        text.push('\n');
        text.push_str(&output::table(&self.latency_rows()));
        text.push('\n');
        say(&mut text, &format!("frames: sent {}; {}", self.frames.sent, self.frames.line));
        if let Some(LiveForecasts { published, frames, surprise }) = &self.live_forecasts {
            let number = |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.2}"));
            let Summary { count, p50, max, .. } = surprise.summary;
            let (p50, max) = (number(p50), number(max));
            text.push('\n');
            say(
                &mut text,
                &format!(
                    "{published} forecasts published; surprise in latent space, {count} times heard: p50 {p50}, max {max}"
                ),
            );
            say(&mut text, &format!("frames: {}", frames.line));
        }
        if let Some(forecast) = &self.forecast {
            text.push('\n');
            forecast.lines().iter().for_each(|line| say(&mut text, line));
            forecast.files().iter().for_each(|file| text.push_str(&format!("{}\n", file.display())));
        }
        if let Some(robot) = &self.robot {
            text.push('\n');
            robot.lines().iter().for_each(|line| say(&mut text, line));
            robot.file().into_iter().for_each(|file| text.push_str(&format!("{}\n", file.display())));
        }
        text.push_str(&format!("\nreport: {}\n", self.report.display()));
        text
    }

    fn accuracy_rows(&self) -> Vec<Vec<String>> {
        let mut rows = vec![["answers", "right", "of", "%"].map(str::to_owned).to_vec()];
        for (task, tally) in &self.accuracy {
            let number = |key: &str| tally[key].to_string();
            let percent =
                tally["share"].as_f64().map_or("–".to_owned(), |share| format!("{:.0}", 100.0 * share));
            rows.push(vec![task.clone(), number("right"), number("asked"), percent]);
        }
        rows
    }

    /// The heading, and a row for each latency.
    pub(super) fn latency_rows(&self) -> Vec<Vec<String>> {
        let Latency { age_ms, camera_to_answer_ms, ttft_ms, tpot_ms, .. } = &self.latency;
        let heading = ["latency, ms", "n", "p50", "p90", "p95", "p99", "max"];
        let mut rows = vec![heading.map(str::to_owned).to_vec()];
        for (name, Samples { summary, .. }) in [
            ("age of the newest frame", age_ms),
            ("camera to answer", camera_to_answer_ms),
            ("first token (TTFT)", ttft_ms),
            ("each further token (TPOT)", tpot_ms),
        ] {
            let number = |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.1}"));
            let figures = summary.sound_percentiles().into_iter().chain([summary.max]).map(number);
            rows.push([name.to_owned(), summary.count.to_string()].into_iter().chain(figures).collect());
        }
        rows
    }
}
