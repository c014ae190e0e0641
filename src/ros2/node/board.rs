//! What an engine's thread writes down for the reporting thread and for the end.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::answerer::Outcome;
use super::concerns;
use super::cuts::Cuts;
use super::screen::PublishedForecast;
use crate::frames::accounts::{Accounts, DropReason};
use crate::frames::clock::Moment;
use crate::frames::listener::Verdict;

/// Latencies that are kept for percentiles; the oldest give way.
const KEPT_LATENCIES: usize = 4096;

/// Figures about answers, or about forecasts.
#[derive(Debug)]
pub(super) struct Board {
    notes: Mutex<Notes>,
}

#[derive(Debug, Clone)]
pub(super) struct Notes {
    pub(super) published: u64,
    pub(super) last_published_steady_ns: Option<i64>,
    pub(super) last: Option<(f64, f64)>,
    pub(super) failure: Option<String>,
    pub(super) stamps_suspect: u64,
    pub(super) unpublished: u64,
    pub(super) cuts: Cuts,
    pub(super) foresight: Foresight,
    ages_ms: Vec<f64>,
    camera_to_publishing_ms: Vec<f64>,
    rejected: [u64; DropReason::ALL.len()],
}

/// What is known of forecasts alone.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Foresight {
    /// The last comparison of latents.
    pub(super) latent: Option<f32>,
    /// The last comparison of pixels.
    pub(super) pixels: Option<f32>,
    /// The largest of latents since the last report, or the last.
    pub(super) peak: Option<f32>,
    /// Of a step of the denoiser, in the last forecast.
    pub(super) step_ms: Option<f64>,
}

/// An answer or a forecast that was published.
pub(super) struct Delivered {
    pub(super) age_ms: f64,
    pub(super) taken_ms: f64,
    pub(super) camera_to_publishing_ms: f64,
    pub(super) stamp_suspect: bool,
    pub(super) is_cut: bool,
    pub(super) unpublished: u64,
    pub(super) now: Moment,
}

/// What an engine did in the node from its start to its end.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// Every frame's whereabouts.
    pub accounts: Accounts,
    /// Answers or forecasts that were published.
    pub published: u64,
    /// Those whose frame bore an impossible stamp.
    pub stamps_suspect: u64,
    /// Messages that could not be published.
    pub unpublished: u64,
    /// Their frames' ages when published, in milliseconds, camera by camera in the order of publishing; the last few thousand.
    pub ages_ms: Vec<f64>,
    /// From the arrival of a frame to publishing, likewise.
    pub camera_to_publishing_ms: Vec<f64>,
}

impl Summary {
    /// Takes in what was done about another camera.
    pub(super) fn join(&mut self, mut other: Self) {
        self.accounts += other.accounts;
        self.published += other.published;
        self.stamps_suspect += other.stamps_suspect;
        self.unpublished += other.unpublished;
        self.ages_ms.append(&mut other.ages_ms);
        self.camera_to_publishing_ms.append(&mut other.camera_to_publishing_ms);
    }
}

impl Board {
    pub(super) fn new() -> Self {
        let notes = Notes {
            published: 0,
            last_published_steady_ns: None,
            last: None,
            failure: None,
            stamps_suspect: 0,
            unpublished: 0,
            cuts: Cuts::default(),
            foresight: Foresight::default(),
            ages_ms: Vec::with_capacity(KEPT_LATENCIES),
            camera_to_publishing_ms: Vec::with_capacity(KEPT_LATENCIES),
            rejected: [0; DropReason::ALL.len()],
        };
        Self { notes: Mutex::new(notes) }
    }

    pub(super) fn delivered(&self, delivered: &Delivered) {
        let mut notes = self.lock();
        let slot = (notes.published % KEPT_LATENCIES as u64) as usize;
        keep(&mut notes.ages_ms, slot, delivered.age_ms);
        keep(&mut notes.camera_to_publishing_ms, slot, delivered.camera_to_publishing_ms);
        notes.published += 1;
        notes.last = Some((delivered.age_ms, delivered.taken_ms));
        notes.last_published_steady_ns = Some(delivered.now.steady_ns);
        notes.failure = None;
        notes.cuts.note(delivered.is_cut);
        notes.stamps_suspect += u64::from(delivered.stamp_suspect);
        notes.unpublished += delivered.unpublished;
    }

    /// Notes why there is nothing to publish about these cameras, if they have names, and says it where it is news.
    ///
    /// # Panics
    /// If there is.
    pub(super) fn verdict<T>(&self, outcome: Outcome<T>, cameras: &[&str]) -> Verdict {
        match outcome {
            Outcome::Made(_) => unreachable!("what is there is published"),
            Outcome::Expired => Verdict::Dropped(DropReason::MadeTooLate),
            Outcome::Stopped => Verdict::Dropped(DropReason::Stopped),
            Outcome::Rejected { frame, reason, message } => {
                if self.is_news(reason) {
                    let camera = if let [camera] = cameras { Some(camera) } else { cameras.get(frame) };
                    let text = format!("image dropped ({reason}): {message}");
                    concerns::say(camera.copied(), vec![(log::Level::Warn, text)]);
                }
                Verdict::Rejected(frame, reason)
            }
            Outcome::Failed(message) => {
                self.failed(message, cameras);
                Verdict::Dropped(DropReason::EngineFailed)
            }
        }
    }

    /// Messages beside these that could not be published.
    pub(super) fn unpublished(&self, n: u64) {
        self.lock().unpublished += n;
    }

    fn failed(&self, message: String, cameras: &[&str]) {
        let mut notes = self.lock();
        if notes.failure.as_ref() != Some(&message) {
            let camera = if let [camera] = cameras { Some(*camera) } else { None };
            concerns::say(camera, vec![(log::Level::Error, format!("the engine fails: {message}"))]);
            notes.failure = Some(message);
        }
    }

    /// Whether a rejection is worth a line: the first, second, fourth, eighth … of its kind.
    fn is_news(&self, reason: DropReason) -> bool {
        let count = &mut self.lock().rejected[reason as usize];
        *count += 1;
        count.is_power_of_two()
    }

    pub(super) fn surprised(&self, latent: Option<f32>, pixels: Option<f32>) {
        let foresight = &mut self.lock().foresight;
        foresight.pixels = pixels.or(foresight.pixels);
        if let Some(latent) = latent {
            foresight.latent = Some(latent);
            foresight.peak = Some(foresight.peak.map_or(latent, |peak| peak.max(latent)));
        }
    }

    /// What was reported need not be reported again, unless it is still so.
    pub(super) fn reported(&self) {
        let foresight = &mut self.lock().foresight;
        foresight.peak = foresight.latent;
    }

    pub(super) fn forecast(&self, forecast: &PublishedForecast) {
        self.lock().foresight.step_ms = Some(forecast.step_ms);
    }

    /// Lets `read` look at the notes.
    pub(super) fn read<T>(&self, read: impl FnOnce(&Notes) -> T) -> T {
        read(&self.lock())
    }

    pub(super) fn summary(&self, accounts: Accounts) -> Summary {
        let Notes { published, stamps_suspect, unpublished, ages_ms, camera_to_publishing_ms, .. } =
            self.lock().clone();
        Summary { accounts, published, stamps_suspect, unpublished, ages_ms, camera_to_publishing_ms }
    }

    fn lock(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn keep(kept: &mut Vec<f64>, slot: usize, value: f64) {
    match kept.get_mut(slot) {
        Some(old) => *old = value,
        None => kept.push(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deliver(board: &Board, age_ms: f64) {
        let (taken_ms, camera_to_publishing_ms, stamp_suspect, unpublished) = (1.0, 2.0, false, 1);
        let now = Moment { ros_ns: 7, steady_ns: 9 };
        board.delivered(&Delivered {
            age_ms,
            taken_ms,
            camera_to_publishing_ms,
            stamp_suspect,
            is_cut: false,
            unpublished,
            now,
        });
    }

    #[test]
    fn a_failure_stands_until_something_is_published() {
        let board = Board::new();
        let failed: Outcome<()> = Outcome::Failed("a logit is not a number".to_owned());
        assert_eq!(board.verdict(failed, &[]), Verdict::Dropped(DropReason::EngineFailed));
        assert!(board.read(|notes| notes.failure.is_some()));
        deliver(&board, 3.0);
        assert_eq!(board.read(|notes| (notes.failure.clone(), notes.last)), (None, Some((3.0, 1.0))));
        assert_eq!(board.read(|notes| notes.last_published_steady_ns), Some(9));
    }

    #[test]
    fn the_latencies_that_are_kept_are_the_last() {
        let board = Board::new();
        for i in 0..KEPT_LATENCIES + 3 {
            deliver(&board, i as f64);
        }
        let summary = board.summary(Accounts::default());
        assert_eq!(summary.published, KEPT_LATENCIES as u64 + 3);
        assert_eq!(summary.unpublished, summary.published);
        let of = |i: usize| summary.ages_ms[i];
        assert_eq!((of(0), of(2), of(3)), (KEPT_LATENCIES as f64, KEPT_LATENCIES as f64 + 2.0, 3.0));
        assert_eq!(summary.ages_ms.len(), KEPT_LATENCIES);
    }

    #[test]
    fn the_peak_is_of_what_came_since_the_last_report() {
        let board = Board::new();
        let peak = || board.read(|notes| (notes.foresight.latent, notes.foresight.peak));
        for latent in [0.2, 0.9, 0.5] {
            board.surprised(Some(latent), None);
        }
        board.surprised(None, Some(0.1));
        assert_eq!(peak(), (Some(0.5), Some(0.9)));
        board.reported();
        assert_eq!(peak(), (Some(0.5), Some(0.5)), "it is still so");
        assert_eq!(board.read(|notes| notes.foresight.pixels), Some(0.1));
    }
}
