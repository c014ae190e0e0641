//! What the camera shows and what is true of it: scenes played forward or backward, found again by the stamps of frames.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::ros2::node::NodeOptions;
use crate::scenes::{Question, Rng, Scene, SceneOptions};

/// Frames of a clip that is asked about, as many as the small checkpoint was taught with.
pub(super) const CLIP_FRAMES: usize = 8;
/// Frames that are left out between two scenes, so that the node's clip starts over.
pub(super) const PAUSE_FRAMES: usize = 3;
/// Simulated time at which the first clip begins.
pub(super) const EPOCH_NS: i64 = 1_000_000_000_000;
/// Of the scenes, those that are shown from their end.
const BACKWARD_SHARE: f64 = 0.5;
/// Scenes that answers may still come to.
const KEPT_SCENES: usize = 64;

/// A scene as it is shown.
#[derive(Debug, Clone)]
pub(super) struct Take {
    scene: Scene,
    is_backward: bool,
}

impl Take {
    /// Draws a scene of `n_frames` and the direction in which it is shown.
    pub(super) fn draw(rng: &mut Rng, n_frames: usize) -> Self {
        let scene = Scene::draw(rng, SceneOptions { n_frames, ..SceneOptions::default() });
        Self { scene, is_backward: rng.chance(BACKWARD_SHARE) }
    }

    pub(super) fn n_frames(&self) -> usize {
        self.scene.n_frames()
    }

    pub(super) fn is_backward(&self) -> bool {
        self.is_backward
    }

    /// Renders the frame that is shown as number `shown`, counted from 0, as packed RGB.
    pub(super) fn render(&self, shown: usize, rgb: &mut [u8]) {
        let frame = if self.is_backward { self.n_frames() - 1 - shown } else { shown };
        self.scene.render(frame, rgb);
    }

    /// Every question, and its true answer, about the clip that begins with the frame shown as number `first`.
    pub(super) fn questions(&self, first: usize) -> Vec<Question> {
        let Scene { start, track, .. } = &self.scene;
        let end = first + CLIP_FRAMES;
        let clip = if self.is_backward {
            let n_frames = self.n_frames();
            let track = track[n_frames - end..n_frames - first].to_vec();
            // What ball 0 touches is not asked of a clip that is shown backward.
            Scene { start: start.clone(), track, touched: self.scene.touched }
        } else {
            let rolled = Scene::simulate(start.clone(), end, SceneOptions::default().horizon);
            Scene { track: rolled.track[first..].to_vec(), ..rolled }
        };
        clip.questions(self.is_backward)
    }
}

/// A take with its number and the stamps of its frames.
#[derive(Debug, Clone)]
pub(super) struct Played {
    /// Counted from 1.
    pub(super) number: u64,
    pub(super) take: Arc<Take>,
    pub(super) first_stamp_ns: i64,
}

/// The last scenes that were shown.
#[derive(Debug)]
pub(super) struct Stage {
    played: VecDeque<Played>,
    period_ns: i64,
    shown: u64,
    shown_backward: u64,
}

impl Stage {
    /// A stage whose frames are stamped `period_ns` apart.
    pub(super) fn new(period_ns: i64) -> Self {
        Self { played: VecDeque::with_capacity(KEPT_SCENES), period_ns, shown: 0, shown_backward: 0 }
    }

    pub(super) fn period_ns(&self) -> i64 {
        self.period_ns
    }

    /// Scenes so far, and how many of them backward.
    pub(super) fn shown(&self) -> (u64, u64) {
        (self.shown, self.shown_backward)
    }

    /// Notes that a scene's first frame is stamped so. Returns the scene's number.
    pub(super) fn enter(&mut self, take: Arc<Take>, first_stamp_ns: i64) -> u64 {
        self.shown += 1;
        self.shown_backward += u64::from(take.is_backward());
        if self.played.len() == KEPT_SCENES {
            self.played.pop_front();
        }
        self.played.push_back(Played { number: self.shown, take, first_stamp_ns });
        self.shown
    }

    /// The scene that is being shown.
    pub(super) fn current(&self) -> Option<&Played> {
        self.played.back()
    }

    /// The scene of a clip with these stamps, and which of its frames the clip begins with; `None` unless they are those of
    /// consecutive frames of one scene.
    pub(super) fn find(&self, stamps_ns: &[i64]) -> Option<(&Played, usize)> {
        let first_ns = *stamps_ns.first()?;
        let is_clip = stamps_ns.len() == CLIP_FRAMES
            && stamps_ns.windows(2).all(|pair| pair[1].checked_sub(pair[0]) == Some(self.period_ns));
        let played = self.played.iter().rfind(|played| played.first_stamp_ns <= first_ns)?;
        let since_ns = first_ns - played.first_stamp_ns;
        let first = usize::try_from(since_ns / self.period_ns).ok()?;
        let fits = since_ns % self.period_ns == 0 && first + CLIP_FRAMES <= played.take.n_frames();
        (is_clip && fits).then_some((played, first))
    }
}

/// Sets what a node needs to see the stage's clips.
pub(super) fn fit(options: &mut NodeOptions, rate_hz: f64) {
    options.clip_frames = CLIP_FRAMES;
    options.clip_rate_hz = rate_hz;
    options.max_image_bytes = crate::scenes::FRAME_BYTES;
    options.max_pixels = crate::scenes::SIZE * crate::scenes::SIZE;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenes::{FRAME_BYTES, Task};

    const PERIOD_NS: i64 = 125_000_000;

    fn take(n_frames: usize, is_backward: bool) -> Take {
        let scene = Scene::draw(&mut Rng::new(9), SceneOptions { n_frames, ..SceneOptions::default() });
        Take { scene, is_backward }
    }

    #[test]
    fn a_clip_inside_a_scene_has_the_truths_of_its_own_last_frame() {
        let long = take(12, false);
        // The same start, of which only the first frames are shown, is a scene of its own.
        let short = Scene::simulate(long.scene.start.clone(), 8, SceneOptions::default().horizon);
        assert_eq!(long.questions(0), short.questions(false));
        assert_ne!(long.questions(0), long.questions(4), "the balls have moved on");
        assert_eq!(long.questions(4), {
            let rolled = Scene::simulate(long.scene.start.clone(), 12, SceneOptions::default().horizon);
            Scene { track: rolled.track[4..].to_vec(), ..rolled }.questions(false)
        });
    }

    #[test]
    fn a_scene_backward_shows_its_end_first_and_ends_at_its_beginning() {
        let (forward, backward) = (take(12, false), take(12, true));
        let render = |take: &Take, shown| {
            let mut rgb = vec![0; FRAME_BYTES];
            take.render(shown, &mut rgb);
            rgb
        };
        assert_eq!(render(&backward, 0), render(&forward, 11));
        assert_eq!(render(&backward, 11), render(&forward, 0));
        let truth = |take: &Take, first, task| {
            take.questions(first).into_iter().find(|question| question.task == task).map(|q| q.truth)
        };
        assert_eq!(truth(&backward, 0, Task::Arrow).as_deref(), Some("backward"));
        assert_eq!(truth(&backward, 0, Task::Touch), None);
        // The last frame shown is the scene's first, where the very same box is asked for.
        let alone = Scene { track: forward.scene.track[..1].to_vec(), ..forward.scene.clone() };
        let boxed = alone.questions(false).into_iter().find(|q| q.task == Task::Where).map(|q| q.truth);
        assert_eq!(truth(&backward, 4, Task::Where), boxed);
    }

    #[test]
    fn stamps_lead_back_to_the_frames() {
        let mut stage = Stage::new(PERIOD_NS);
        let (first_ns, second_ns) = (1_000, 1_000 + 15 * PERIOD_NS);
        assert_eq!(stage.enter(take(12, false).into(), first_ns), 1);
        assert_eq!(stage.enter(take(12, true).into(), second_ns), 2);
        let clip = |from_ns: i64, step_ns: i64| -> Vec<i64> {
            (0..CLIP_FRAMES as i64).map(|i| from_ns + i * step_ns).collect()
        };
        let find = |stamps: &[i64]| stage.find(stamps).map(|(played, first)| (played.number, first));
        assert_eq!(find(&clip(first_ns, PERIOD_NS)), Some((1, 0)));
        assert_eq!(find(&clip(second_ns + 4 * PERIOD_NS, PERIOD_NS)), Some((2, 4)));
        assert_eq!(find(&clip(first_ns + 5 * PERIOD_NS, PERIOD_NS)), None, "beyond the scene's end");
        assert_eq!(find(&clip(first_ns, 2 * PERIOD_NS)), None, "frames are missing");
        assert_eq!(find(&clip(first_ns + 1, PERIOD_NS)), None, "not our stamps");
        assert_eq!(find(&clip(0, PERIOD_NS)), None, "before the first");
        assert_eq!(find(&clip(first_ns, PERIOD_NS)[1..]), None, "too few");
        assert_eq!(find(&[]), None);
    }
}
