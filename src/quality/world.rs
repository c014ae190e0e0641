//! The rendered worlds as cases: clips to forecast, and clips to ask about, each from its number alone.

use crate::scenes::robot::{Anomaly, Clip, ClipOptions, SIDE, SPEED_MAX, Split, Topic};
use crate::scenes::{Color, FRAME_BYTES, Rng, SIZE, Scene, SceneOptions, Task};

/// Seeds of the world of balls begin here; what the small checkpoints were trained on did not use them.
const BALLS: u64 = 20_261_122;
/// Of the choices that questions leave open, apart from the seeds of clips.
const CHOICES: u64 = 0x9e37_79b9;
/// Fewer frames ahead leave no time for what is strange to be seen.
pub const HORIZON_MIN: usize = 5;
/// Of what is planted in them.
const STRANGE: u64 = 0x51ed_270b;
/// Share of a thing's half that is surely of its colour.
const CORE: f64 = 0.5;

/// Which scenes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum World {
    /// One or two balls and a box: what the small checkpoints were trained on.
    Balls,
    /// A robot's table; its held-out clips.
    Robot,
}

/// A clip to forecast.
#[derive(Clone, Debug)]
pub struct Course {
    /// Packed RGB.
    pub frames: Vec<Vec<u8>>,
    /// Colours that things may have; the first are those of the things that are there.
    pub palette: Vec<[f64; 3]>,
    /// How many things are there.
    pub n_things: usize,
    /// What the robot did after each frame but the last, along two axes as shares of its greatest speed; none where nobody acts.
    pub actions: Option<Vec<f32>>,
}

/// A question about a clip.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Its kind.
    pub task: &'static str,
    /// Whether its answer is a box.
    pub is_box: bool,
    /// The question.
    pub text: String,
    /// The answer.
    pub truth: String,
    /// The frames that are shown, by their numbers, in order.
    pub frames: Vec<usize>,
}

impl World {
    /// All of them.
    pub const ALL: [World; 2] = [World::Balls, World::Robot];

    /// As the command line names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            World::Balls => "balls",
            World::Robot => "robot",
        }
    }

    /// Whether its frames can be so many pixels wide and high.
    #[must_use]
    pub fn takes_side(self, side: usize) -> bool {
        match self {
            World::Balls => side == SIZE,
            World::Robot => (16..=1024).contains(&side),
        }
    }

    /// Kinds of questions, in the order of tables.
    #[must_use]
    pub fn tasks(self) -> Vec<&'static str> {
        match self {
            World::Balls => Task::ALL.iter().map(|task| task.name()).collect(),
            World::Robot => Topic::ALL.iter().map(|topic| topic.name()).collect(),
        }
    }

    /// Clip `index`, of so many frames of `side` by `side` pixels.
    ///
    /// # Panics
    /// If there is no frame, the world does not take that side, or the index reaches 2^62.
    #[must_use]
    pub fn course(self, index: u64, n_frames: usize, side: usize) -> Course {
        assert!(self.takes_side(side), "{} has no frames of {side}", self.name());
        match self {
            World::Balls => {
                let scene = balls(index, SceneOptions { n_frames, horizon: 0, ..SceneOptions::default() });
                let there = scene.start.balls.iter().filter(|ball| ball.present);
                let there: Vec<Color> = there.map(|ball| ball.color).collect();
                let (palette, n_things) =
                    palette(&there, there.iter().map(|color| color.rgb().map(f64::from)));
                Course { frames: shown(&scene), palette, n_things, actions: None }
            }
            World::Robot => {
                let clip = robot(index, n_frames);
                let frames: Vec<Vec<u8>> = (0..n_frames).map(|frame| view(&clip, frame, side)).collect();
                let colors: Vec<Color> = clip.tables[0].objects.iter().map(|object| object.color).collect();
                let as_seen = (0..colors.len()).map(|object| color_of(&clip, object, &frames[0], side));
                let (palette, n_things) = palette(&colors, as_seen);
                let actions = clip.actions.iter().flatten().map(|v| (v / SPEED_MAX) as f32).collect();
                Course { frames, palette, n_things, actions: Some(actions) }
            }
        }
    }

    /// The frames of the same clip, but that after the `n_given` first something strange happens, early enough to be seen a while. Nothing
    /// in a world that has no such things; within, nothing for a clip in which none can be seen.
    ///
    /// # Panics
    /// As [`World::course`], or if fewer than [`HORIZON_MIN`] frames follow the given ones.
    #[must_use]
    pub fn strange(
        self,
        index: u64,
        anomaly: Anomaly,
        n_given: usize,
        n_frames: usize,
        side: usize,
    ) -> Option<Option<Vec<Vec<u8>>>> {
        let World::Robot = self else { return None };
        assert!(
            self.takes_side(side) && n_given + HORIZON_MIN <= n_frames,
            "a clip of {n_frames} frames of {side}"
        );
        let clip = robot(index, n_frames);
        let mut rng = Rng::new(STRANGE ^ index);
        let at = n_given + rng.below(n_frames - n_given - 3);
        let tables = clip.with_anomaly(anomaly, at, &mut rng);
        Some(tables.map(|tables| {
            let see = |(frame, table): (usize, _)| {
                let mut rgb = vec![0; side * side * 3];
                clip.look.render(table, frame, side, &mut rgb);
                rgb
            };
            tables.iter().enumerate().map(see).collect()
        }))
    }

    /// The frames of clip `index`, 64 pixels wide and high, and a question of each kind about it. Half of the clips of balls are shown
    /// from their end.
    ///
    /// # Panics
    /// If the index reaches 2^62.
    #[must_use]
    pub fn asked(self, index: u64) -> (Vec<Vec<u8>>, Vec<Asked>) {
        match self {
            World::Balls => {
                let scene = balls(index, SceneOptions::default());
                let n = scene.n_frames();
                let is_reversed = index % 2 == 1;
                let order = if is_reversed { (0..n).rev().collect() } else { (0..n).collect::<Vec<usize>>() };
                let asked = scene.questions(is_reversed).into_iter().map(|mut question| Asked {
                    task: question.task.name(),
                    is_box: question.task == Task::Where,
                    text: question.texts.swap_remove(0),
                    truth: question.truth,
                    frames: order.clone(),
                });
                (shown(&scene), one_of_each(self, asked))
            }
            World::Robot => {
                let clip = robot(index, ClipOptions::default().n_frames);
                let n = clip.n_frames();
                let questions = clip.questions(&mut Rng::new(CHOICES ^ index));
                let asked = questions.into_iter().map(|mut question| Asked {
                    task: question.topic.name(),
                    is_box: question.topic == Topic::Where,
                    text: question.texts.swap_remove(0),
                    truth: question.truth,
                    frames: question.show.frames(n),
                });
                ((0..n).map(|frame| view(&clip, frame, SIZE)).collect(), one_of_each(self, asked))
            }
        }
    }
}

fn balls(index: u64, options: SceneOptions) -> Scene {
    Scene::draw(&mut Rng::new(BALLS.wrapping_add(index)), options)
}

fn robot(index: u64, n_frames: usize) -> Clip {
    Clip::draw(Split::HeldOut, index, &ClipOptions { n_frames, ..ClipOptions::default() })
}

fn shown(scene: &Scene) -> Vec<Vec<u8>> {
    let frame = |t| {
        let mut rgb = vec![0; FRAME_BYTES];
        scene.render(t, &mut rgb);
        rgb
    };
    (0..scene.n_frames()).map(frame).collect()
}

fn view(clip: &Clip, frame: usize, side: usize) -> Vec<u8> {
    let mut rgb = vec![0; side * side * 3];
    clip.render(frame, side, &mut rgb);
    rgb
}

/// The things' colours as they are seen, and behind them those that nothing there has.
fn palette(there: &[Color], as_seen: impl Iterator<Item = [f64; 3]>) -> (Vec<[f64; 3]>, usize) {
    let others = Color::ALL.into_iter().filter(|color| !there.contains(color));
    let palette = as_seen.chain(others.map(|color| color.rgb().map(f64::from))).collect();
    (palette, there.len())
}

/// The mean over an object's middle: light and shade are in it. Its own colour where something hides it.
fn color_of(clip: &Clip, object: usize, rgb: &[u8], side: usize) -> [f64; 3] {
    let it = &clip.tables[0].objects[object];
    let scale = side as f64 / SIDE;
    let is_core = |i: usize| {
        let at = [i % side, i / side].map(|p| (p as f64 + 0.5) / scale);
        (0..2).all(|k| (at[k] - it.position[k]).abs() <= CORE * it.half)
    };
    let (mut sum, mut n) = ([0.0; 3], 0);
    for (_, pixel) in rgb.chunks_exact(3).enumerate().filter(|(i, _)| is_core(*i)) {
        n += 1;
        (0..3).for_each(|k| sum[k] += f64::from(pixel[k]));
    }
    match n {
        0 => it.color.rgb().map(f64::from),
        _ if clip.visible(0, object) < 1.0 => it.color.rgb().map(f64::from),
        n => sum.map(|s| s / f64::from(n)),
    }
}

/// The first question of each kind, in the order of kinds.
fn one_of_each(world: World, asked: impl Iterator<Item = Asked>) -> Vec<Asked> {
    let all: Vec<Asked> = asked.collect();
    world.tasks().iter().filter_map(|task| all.iter().find(|asked| asked.task == *task).cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quality::things::{patch, sorted};

    /// What is measured by colour is where the simulation has it.
    #[test]
    fn things_are_seen_where_they_are() {
        let (mut n_seen, mut worst) = (0, 0.0f64);
        for index in 0..60 {
            let course = World::Balls.course(index, 9, SIZE);
            let scene = balls(index, SceneOptions { n_frames: 9, horizon: 0, ..SceneOptions::default() });
            let there: Vec<usize> = (0..2).filter(|ball| scene.start.balls[*ball].present).collect();
            assert_eq!(there.len(), course.n_things);
            for (thing, ball) in there.into_iter().enumerate() {
                let seen = patch(&sorted(&course.frames[8], &course.palette), thing, SIZE);
                let [x, y] = [0, 1].map(|k| seen.center[k] - scene.track[8][ball][k]);
                assert!(60 < seen.n, "{index}: {seen:?}");
                (n_seen, worst) = (n_seen + 1, worst.max((x * x + y * y).sqrt()));
            }
        }
        assert!(60 < n_seen && worst < 0.5, "{n_seen} seen, {worst} px");
    }

    #[test]
    fn a_robots_clips_have_actions_and_their_colors_as_they_are_lit() {
        let (mut n_plain, mut n_right) = (0, 0);
        for index in 0..30 {
            let course = World::Robot.course(index, 5, SIZE);
            let clip = robot(index, 5);
            assert_eq!(course.actions.as_ref().map(Vec::len), Some(8));
            for (thing, object) in clip.tables[4].objects.iter().enumerate() {
                if clip.visible(4, thing) < 1.0 {
                    continue;
                }
                let seen = patch(&sorted(&course.frames[4], &course.palette), thing, SIZE);
                let near = (0..2).all(|k| (seen.center[k] - object.position[k]).abs() < 1.5);
                n_plain += 1;
                n_right += usize::from(near);
            }
        }
        assert!(30 < n_plain && n_plain * 95 <= n_right * 100, "{n_right} of {n_plain}");
    }

    #[test]
    fn questions_are_one_of_each_kind_and_both_ways_of_time_are_shown() {
        let ways: Vec<bool> = (0..2)
            .map(|index| {
                let (frames, asked) = World::Balls.asked(index);
                let arrow = asked.iter().find(|asked| asked.task == "arrow").unwrap();
                assert_eq!(arrow.truth, if arrow.frames[0] == 0 { "forward" } else { "backward" });
                assert_eq!(frames.len(), 8);
                arrow.frames[0] == 0
            })
            .collect();
        assert_eq!(ways, [true, false]);
        for world in World::ALL {
            let (_, asked) = world.asked(4);
            let tasks: Vec<&str> = asked.iter().map(|asked| asked.task).collect();
            let all = world.tasks();
            assert!(4 < tasks.len() && tasks.windows(2).all(|pair| pair[0] != pair[1]));
            assert!(tasks.iter().all(|task| all.contains(task)));
        }
    }
}
