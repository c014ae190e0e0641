//! The state of each of the node's engines as `diagnostic_msgs` shows it: at 1 Hz, and at once when the state changes.

use crate::frames::accounts::{Accounts, DropReason};
use crate::ros2::messages::{DiagnosticStatus, KeyValue};

/// How bad it is, in the numbers of `diagnostic_msgs`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Answers, or forecasts, come.
    #[default]
    Ok = 0,
    /// They come, and something is lost, wrong or surprising.
    Warn = 1,
    /// None comes although frames do, or what comes is beyond all expectation.
    Error = 2,
    /// No frames come.
    Stale = 3,
}

/// What an engine makes of frames.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Work {
    /// Answers to the standing question.
    #[default]
    Answers,
    /// Forecasts.
    Forecasts,
}

impl Work {
    /// One of them, many of them, and making them.
    fn words(self) -> [&'static str; 3] {
        match self {
            Self::Answers => ["answer", "answers", "answering"],
            Self::Forecasts => ["forecast", "forecasts", "forecasting"],
        }
    }
}

/// What is known of an engine at one moment.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// What it makes.
    pub work: Work,
    /// Every frame's whereabouts.
    pub accounts: Accounts,
    /// Seconds since the last frame arrived, if one has.
    pub silence_s: Option<f64>,
    /// Seconds since the engine's last answer or forecast was published; since the start if none was.
    pub unserved_s: f64,
    /// Seconds that one may take before the engine counts as stuck.
    pub patience_s: f64,
    /// Publishers of the image topic.
    pub publishers: usize,
    /// What the engine said when it last failed, unless something was published since.
    pub failure: Option<String>,
    /// Age of the frame that was published about last.
    pub age_ms: Option<f64>,
    /// From the taking of the frames to publishing.
    pub taken_ms: Option<f64>,
    /// Published ones whose frame bore an impossible stamp.
    pub stamps_suspect: u64,
    /// Messages that could not be published.
    pub unpublished: u64,
    /// Datagrams that the kernel dropped since the graph was last joined.
    pub kernel_drops: u64,
    /// Whether images come and nothing was published since they do.
    pub awaits_first: bool,
    /// What is wrong for longer than a frame with the images or with the time to work on them.
    pub concerns: Vec<String>,
    /// What is wrong with the recording.
    pub recording: Vec<String>,
    /// Images a second, as measured.
    pub camera_hz: Option<f64>,
    /// By what it is known when an image was seen.
    pub timed_by: &'static str,
    /// What is wrong or surprising about the engine's own work, while it works.
    pub alarm: Option<(Level, String)>,
    /// Further figures, such as the question being asked.
    pub figures: Vec<(&'static str, String)>,
}

/// Frames that stay away for longer make the state stale.
pub const SILENCE_S_MAX: f64 = 2.0;

impl Status {
    /// The level and the words for it, judged against the accounts of the previous report.
    pub fn verdict(&self, before: &Accounts) -> (Level, String) {
        let grown = |reason: DropReason| self.accounts.dropped(reason).saturating_sub(before.dropped(reason));
        let is_explained = |reason: &DropReason| !self.concerns.is_empty() && reason.is_of_time();
        let unexpected =
            DropReason::ALL.into_iter().filter(|reason| !reason.is_expected() && !is_explained(reason));
        let worst = unexpected.map(|reason| (grown(reason), reason)).max_by_key(|(n, _)| *n);
        if let Some(failure) = &self.failure {
            return (Level::Error, format!("the engine fails: {failure}"));
        }
        match self.silence_s {
            None if self.publishers == 0 => return (Level::Stale, "nobody publishes the image topic".into()),
            None => return (Level::Stale, "no image has arrived".into()),
            Some(silence) if SILENCE_S_MAX < silence => {
                return (Level::Stale, format!("no image for {silence:.0} s"));
            }
            Some(_) => {}
        }
        let [one, _, making] = self.work.words();
        let concerns = self.concerned();
        if self.patience_s < self.unserved_s {
            let why = if concerns.is_empty() { String::new() } else { format!(": {concerns}") };
            return (Level::Error, format!("images come, and no {one} for {:.0} s{why}", self.unserved_s));
        }
        if let Some(alarm) = &self.alarm {
            return alarm.clone();
        }
        let losses = if let Some((n, reason)) = worst.filter(|(n, _)| 0 < *n) {
            format!("{n} images dropped: {reason}")
        } else if before.lost < self.accounts.lost {
            format!("{} images lost on the way", self.accounts.lost - before.lost)
        } else {
            String::new()
        };
        match (concerns.is_empty(), losses.is_empty()) {
            (true, true) => {}
            (true, false) => return (Level::Warn, losses),
            (false, true) => return (Level::Warn, concerns),
            (false, false) => return (Level::Warn, format!("{concerns}; {losses}")),
        }
        if self.awaits_first {
            return (Level::Ok, format!("images come, and the first {one} is being made"));
        }
        (Level::Ok, making.into())
    }

    /// What is wrong for longer than a frame, or with the recording, in one text.
    pub fn concerned(&self) -> String {
        let all: Vec<&str> = self.concerns.iter().chain(&self.recording).map(String::as_str).collect();
        all.join("; ")
    }

    /// As the logger `name` reports it, about the engine `hardware_id` and the camera, if it has a name.
    pub fn message(
        &self,
        name: &str,
        camera: Option<&str>,
        hardware_id: &str,
        verdict: &(Level, String),
    ) -> DiagnosticStatus {
        let [_, many, _] = self.work.words();
        let of_camera = camera.map_or_else(String::new, |camera| format!(": {camera}"));
        DiagnosticStatus {
            level: verdict.0 as u8,
            name: format!("{name}: {many}{of_camera}"),
            message: verdict.1.clone(),
            hardware_id: hardware_id.to_owned(),
            values: self.values(),
        }
    }

    fn values(&self) -> Vec<KeyValue> {
        let value = |key: &str, value: String| KeyValue { key: key.to_owned(), value };
        let Accounts { received, served, clip_members, in_flight, lost, .. } = self.accounts;
        let optional = |figure: Option<f64>| figure.map_or_else(String::new, |figure| format!("{figure:.1}"));
        let mut values = vec![
            value("received", received.to_string()),
            value("answered", served.to_string()),
            value("clip_members", clip_members.to_string()),
            value("dropped", self.accounts.dropped_total().to_string()),
            value("in_flight", in_flight.to_string()),
            value("lost", lost.to_string()),
        ];
        let drops = self.accounts.drops();
        values.extend(drops.map(|(reason, n)| value(&format!("dropped.{reason}"), n.to_string())));
        values.extend([
            value("age_ms", optional(self.age_ms)),
            value(&format!("{}_ms", self.work.words()[0]), optional(self.taken_ms)),
            value("publishers", self.publishers.to_string()),
            value("camera_hz", optional(self.camera_hz)),
            value("timed_by", self.timed_by.to_owned()),
            value("stamps_suspect", self.stamps_suspect.to_string()),
            value("unpublished", self.unpublished.to_string()),
            value("kernel_drops", self.kernel_drops.to_string()),
        ]);
        values.extend(self.figures.iter().map(|(key, figure)| value(key, figure.clone())));
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running() -> Status {
        let mut accounts = Accounts::default();
        (accounts.received, accounts.served) = (10, 10);
        Status { accounts, silence_s: Some(0.1), publishers: 1, patience_s: 5.0, ..Status::default() }
    }

    #[test]
    fn the_level_says_what_a_robot_must_know() {
        let check = |status: Status, expected, words: &str| {
            let (level, message) = status.verdict(&Accounts::default());
            assert_eq!(level, expected, "{message}");
            assert!(message.contains(words), "{message}");
        };
        check(running(), Level::Ok, "answering");
        check(Status { silence_s: None, publishers: 0, ..running() }, Level::Stale, "nobody publishes");
        check(Status { silence_s: Some(3.0), ..running() }, Level::Stale, "no image for 3 s");
        check(Status { unserved_s: 6.0, ..running() }, Level::Error, "no answer for 6 s");
        check(Status { failure: Some("NaN".into()), ..running() }, Level::Error, "NaN");
        let mut lossy = running();
        lossy.accounts.lost = 2;
        check(lossy, Level::Warn, "2 images lost");
        let mut dropping = running();
        dropping.accounts.drop_one(DropReason::Superseded);
        check(dropping.clone(), Level::Ok, "answering");
        dropping.accounts.drop_one(DropReason::Malformed);
        check(dropping.clone(), Level::Warn, "1 images dropped: malformed");
        let alarm = Some((Level::Error, "surprise 2 is beyond 1".to_owned()));
        check(Status { alarm: alarm.clone(), ..dropping }, Level::Error, "surprise 2");
        check(Status { alarm, silence_s: Some(3.0), ..running() }, Level::Stale, "no image for 3 s");
        let first = Status { awaits_first: true, ..running() };
        check(first, Level::Ok, "images come, and the first answer is being made");
        let concerns = vec!["the camera is slow".to_owned(), "its stamps are zero".to_owned()];
        let mut slow = Status { concerns, ..running() };
        check(slow.clone(), Level::Warn, "the camera is slow; its stamps are zero");
        slow.accounts.drop_one(DropReason::ClipRestart);
        assert_eq!(slow.verdict(&Accounts::default()).1, slow.concerned(), "which explains it");
        slow.accounts.drop_one(DropReason::Malformed);
        check(slow.clone(), Level::Warn, "its stamps are zero; 1 images dropped: malformed");
        let why = "no answer for 6 s: the camera is slow";
        check(Status { unserved_s: 6.0, ..slow }, Level::Error, why);
        let late = Status { work: Work::Forecasts, unserved_s: 6.0, ..running() };
        check(late, Level::Error, "no forecast for 6 s");
    }

    #[test]
    fn a_fault_is_reported_once_and_not_for_ever() {
        let mut status = running();
        status.accounts.drop_one(DropReason::Corrupt);
        assert_eq!(status.verdict(&Accounts::default()).0, Level::Warn);
        assert_eq!(status.verdict(&status.accounts).0, Level::Ok);
    }

    #[test]
    fn the_figures_hold_the_account() {
        let mut status = running();
        status.accounts.drop_one(DropReason::WrongType);
        let verdict = status.verdict(&Accounts::default());
        let message = status.message("eye", None, "engine", &verdict);
        assert_eq!(message.name, "eye: answers");
        assert_eq!(status.message("eye", Some("rear"), "engine", &verdict).name, "eye: answers: rear");
        let find = |key: &str| {
            message.values.iter().find(|value| value.key == key).map(|value| value.value.as_str())
        };
        assert_eq!(
            (find("received"), find("dropped.wrong_type"), find("age_ms")),
            (Some("10"), Some("1"), Some(""))
        );
    }
}
