//! An errand: a ball that lies on the table is to be brought to a place.

use super::clip::{Clip, ClipOptions};
use super::draw;
use super::look::Look;
use super::shape::Kind;
use super::split::Split;
use super::table::{Object, SPEED_MAX, Table, dot};
use crate::scenes::{Color, FPS, Rng};

/// Frames that one plan is carried out for: a second.
const PLAN: usize = FPS as usize;
/// Seconds that an errand has gone on for at most when a clip of it is seen.
const SECONDS_BEFORE: usize = 7;
/// Plans to choose from in a clip, in the half of its seconds in which the robot chooses at all.
const CHOICES: usize = 16;
/// Pixels from its goal within which a ball has arrived.
pub const ARRIVAL: f64 = 6.0;
/// The ball's way at least, in pixels: more than its diameter.
const WAY_MIN: f64 = 18.0;
/// Pixels between the table's sides and the ball at first, so that the pusher finds room behind it, and its goal.
const BALL_MARGIN: f64 = 20.0;
const GOAL_MARGIN: f64 = 14.0;
/// How far a ball is to come in one wish, in pixels.
const WISH: f64 = 14.0;
/// The cosine of the angle between the ways to the ball and from the ball to its goal, above which the pusher is behind it.
const BEHIND: f64 = 0.9;
/// How far round the ball the pusher is to come in one wish: cosine and sine of the angle.
const ROUND: [f64; 2] = [0.36, 0.933];
/// Room between ball and pusher while it goes round.
const CLEARANCE: f64 = 3.0;

/// A table with a ball and a pusher, both at rest, and a goal.
#[derive(Clone, Debug, PartialEq)]
pub struct Errand {
    /// How it looks.
    pub look: Look,
    /// The table at first; the ball is its object 0.
    pub start: Table,
    /// Where the ball is to come.
    pub goal: [f64; 2],
}

impl Errand {
    /// Errand `index` of a split.
    ///
    /// # Panics
    /// If the index reaches 2^62.
    #[must_use]
    pub fn draw(split: Split, index: u64) -> Errand {
        Errand::drawn(&mut split.rng(index))
    }

    fn drawn(rng: &mut Rng) -> Errand {
        let look = Look::draw(rng);
        let place = |rng: &mut Rng, margin: f64| [(); 2].map(|()| rng.uniform(margin, super::SIDE - margin));
        let ball = Object {
            kind: Kind::Ball,
            color: Color::ALL[rng.below(Color::ALL.len())],
            half: rng.uniform(6.0, 8.0),
            position: place(rng, BALL_MARGIN),
            velocity: [0.0; 2],
        };
        let goal = loop {
            let goal = place(rng, GOAL_MARGIN);
            if WAY_MIN <= distance(goal, ball.position) {
                break goal;
            }
        };
        let start = Table { objects: vec![ball], pusher: Some(draw::pusher(rng, &[ball])), panel: None };
        Errand { look, start, goal }
    }

    /// A clip of the errand of that index: from some second of it on, in which the robot has chosen by [`Errand::wish`] or at random. Of its
    /// plans this share come to rest.
    ///
    /// # Panics
    /// If there is no frame, or the index reaches 2^62.
    #[must_use]
    pub fn clip(split: Split, index: u64, options: &ClipOptions, resting: f64) -> Clip {
        let mut rng = split.rng(index);
        let errand = Errand::drawn(&mut rng);
        let (mut table, mut commands) = (errand.start.clone(), vec![[0.0; 2]; PLAN]);
        for _ in 0..rng.below(SECONDS_BEFORE + 1) {
            commands.iter().for_each(|command| drop(table.step(*command)));
            commands = errand.chosen(&mut rng, &table, resting);
        }
        // It begins in the midst of that second.
        let (before, after) = commands.split_at(PLAN / 2);
        before.iter().for_each(|command| drop(table.step(*command)));
        let mut commands = after.to_vec();
        let command = |table: &Table| {
            if commands.is_empty() {
                commands = errand.chosen(&mut rng, table, resting);
            }
            commands.remove(0)
        };
        Clip::simulate(table, errand.look, options, command)
    }

    /// What the pusher is told for a second: plans at random, or the one of several that comes nearest to the wish.
    fn chosen(&self, rng: &mut Rng, table: &Table, resting: f64) -> Vec<[f64; 2]> {
        let wished = self.wish(table);
        let n = if rng.chance(0.5) { CHOICES } else { 1 };
        let draw = if 0.0 < resting && rng.chance(resting) { commands_to_rest } else { smooth_commands };
        let plans: Vec<_> = (0..n).map(|_| draw(rng, PLAN)).collect();
        let nearest =
            plans.into_iter().min_by(|a, b| miss(table, a, &wished).total_cmp(&miss(table, b, &wished)));
        nearest.expect("there is a plan")
    }

    /// Whether the ball is where it is to be.
    #[must_use]
    pub fn has_arrived(&self, table: &Table) -> bool {
        distance(table.objects[0].position, self.goal) <= ARRIVAL
    }

    /// The table as one would like to see it a moment later: the pusher further round the ball, or, if it is behind it already, the
    /// ball nearer to its goal and the pusher after it.
    ///
    /// # Panics
    /// If there is no pusher.
    #[must_use]
    pub fn wish(&self, table: &Table) -> Table {
        let mut wished = table.clone();
        let pusher = wished.pusher.as_mut().expect("an errand has a pusher");
        let ball = &mut wished.objects[0];
        let reach = ball.half + pusher.radius;
        let onward = towards(ball.position, self.goal);
        let away = towards(ball.position, pusher.position);
        if BEHIND < -dot(away, onward) {
            let step = distance(ball.position, self.goal).min(WISH);
            ball.position = [0, 1].map(|k| ball.position[k] + onward[k] * step);
            pusher.position = [0, 1].map(|k| ball.position[k] - onward[k] * (reach + 1.0));
        } else {
            let back = onward.map(|v| -v);
            let side = if away[0] * back[1] < away[1] * back[0] { -1.0 } else { 1.0 };
            let [cos, sin] = ROUND;
            let turned = [away[0] * cos - away[1] * sin * side, away[0] * sin * side + away[1] * cos];
            // No further than to the place behind it.
            let way = if cos < dot(away, back) { back } else { turned };
            let out = reach + CLEARANCE;
            pusher.position = [0, 1].map(|k| ball.position[k] + way[k] * out);
        }
        let room = |p: f64| p.clamp(pusher.radius, super::SIDE - pusher.radius);
        pusher.position = pusher.position.map(room);
        wished
    }
}

/// A course of the pusher that turns smoothly: commands in pixels a frame, through three that are drawn at random.
fn smooth_commands(rng: &mut Rng, n_frames: usize) -> Vec<[f64; 2]> {
    let knots = [(); 3].map(|()| command(rng));
    through(knots, n_frames)
}

/// A course that turns smoothly through two commands that are drawn at random, and to rest at the end: where the pusher then is it
/// stays, and a ball that it has pushed is let go. Commands are in pixels a frame.
#[must_use]
pub fn commands_to_rest(rng: &mut Rng, n_frames: usize) -> Vec<[f64; 2]> {
    let [first, middle] = [(); 2].map(|()| command(rng));
    through([first, middle, [0.0; 2]], n_frames)
}

fn command(rng: &mut Rng) -> [f64; 2] {
    [(); 2].map(|()| rng.uniform(-SPEED_MAX, SPEED_MAX))
}

fn through(knots: [[f64; 2]; 3], n_frames: usize) -> Vec<[f64; 2]> {
    let between = |frame: usize| {
        let at = frame as f64 / n_frames.saturating_sub(1).max(1) as f64 * 2.0;
        let knot = (at as usize).min(1);
        let part = at - knot as f64;
        [0, 1].map(|k| knots[knot][k] * (1.0 - part) + knots[knot + 1][k] * part)
    };
    (0..n_frames).map(between).collect()
}

/// How far ball and pusher are from where they are wished, in pixels, once a plan has been carried out.
fn miss(table: &Table, plan: &[[f64; 2]], wished: &Table) -> f64 {
    let mut table = table.clone();
    plan.iter().for_each(|command| drop(table.step(*command)));
    let pusher = |table: &Table| table.pusher.as_ref().expect("an errand has a pusher").position;
    distance(table.objects[0].position, wished.objects[0].position) + distance(pusher(&table), pusher(wished))
}

fn distance(a: [f64; 2], b: [f64; 2]) -> f64 {
    let away = [0, 1].map(|k| a[k] - b[k]);
    dot(away, away).sqrt()
}

/// The way from `a` to `b`, of length one.
fn towards(a: [f64; 2], b: [f64; 2]) -> [f64; 2] {
    let length = distance(a, b);
    if length < 1e-9 { [1.0, 0.0] } else { [0, 1].map(|k| (b[k] - a[k]) / length) }
}

#[cfg(test)]
mod tests {
    use super::super::table::Body;
    use super::*;

    #[test]
    fn errands_follow_from_their_indices_and_begin_apart_from_their_goals() {
        for index in 0..200 {
            let errand = Errand::draw(Split::HeldOut, index);
            assert_eq!(errand, Errand::draw(Split::HeldOut, index));
            let (ball, pusher) = (errand.start.objects[0], errand.start.pusher.unwrap());
            assert!(ball.half + pusher.radius < distance(ball.position, pusher.position), "{index}");
            assert!(!errand.has_arrived(&errand.start) && WAY_MIN <= distance(ball.position, errand.goal));
        }
        assert_ne!(Errand::draw(Split::HeldOut, 1).goal, Errand::draw(Split::Train, 1).goal);
    }

    #[test]
    fn clips_of_errands_show_a_ball_and_a_pusher_that_often_meet() {
        let options = ClipOptions::default();
        let mut met = 0;
        for index in 0..200 {
            let clip = Errand::clip(Split::Train, index, &options, 0.5);
            assert_eq!(clip, Errand::clip(Split::Train, index, &options, 0.5));
            assert_eq!((clip.tables.len(), clip.actions.len()), (13, 12));
            assert!(clip.tables.iter().all(|table| table.objects.len() == 1 && table.pusher.is_some()));
            assert!(clip.actions.iter().flatten().all(|v| v.abs() <= SPEED_MAX));
            met += u32::from(clip.events.iter().any(|event| event.contact.with == Body::Pusher));
        }
        assert!((25..150).contains(&met), "{met} of 200");
    }

    #[test]
    fn what_is_wished_is_on_the_table_and_apart() {
        for index in 0..500 {
            let errand = Errand::draw(Split::Train, index);
            let wished = errand.wish(&errand.start);
            let (ball, pusher) = (wished.objects[0], wished.pusher.unwrap());
            let is_inside = |p: [f64; 2], r: f64| p.iter().all(|v| (r..=super::super::SIDE - r).contains(v));
            assert!(is_inside(pusher.position, pusher.radius) && is_inside(ball.position, ball.half));
            assert!(ball.half + pusher.radius < distance(ball.position, pusher.position), "{index}");
        }
    }

    /// With the table itself as the model, plans that come nearest to the wish bring the ball to its goal; plans at random seldom do.
    #[test]
    fn whoever_fulfils_the_wishes_runs_the_errand() {
        let mut rng = Rng::new(3);
        let mut arrived = [0; 2];
        for index in 0..60 {
            let errand = Errand::draw(Split::Validation, index);
            for (plans, arrived) in [64, 1].into_iter().zip(&mut arrived) {
                let mut table = errand.start.clone();
                'errand: for _ in 0..10 {
                    let wished = errand.wish(&table);
                    let miss = |plan: &Vec<_>| miss(&table, plan, &wished);
                    let plans: Vec<_> = (0..plans).map(|_| commands_to_rest(&mut rng, PLAN)).collect();
                    let best = plans.iter().min_by(|a, b| miss(a).total_cmp(&miss(b))).unwrap();
                    for command in best {
                        table.step(*command);
                        if errand.has_arrived(&table) {
                            *arrived += 1;
                            break 'errand;
                        }
                    }
                }
            }
        }
        let [wishing, random] = arrived;
        assert!(54 <= wishing && random <= 12, "{wishing} and {random} of 60");
    }
}
