//! What lies on the table at first, and what the robot does: drawn at random.

use super::SIDE;
use super::shape::{Kind, Shape, overlap};
use super::table::{Object, Panel, Pusher, SPEED_MAX, Table, dot};
use crate::scenes::{Color, Rng};

/// The pusher's radius.
const PUSHER_RADIUS: f64 = 4.5;
/// Kept free around whatever is placed.
const CLEARANCE: f64 = 0.5;
/// Tries at placing one thing before it is left out.
const TRIES: usize = 60;

pub(super) fn table(rng: &mut Rng, n_objects_max: usize) -> Table {
    let mut colors = Color::ALL;
    rng.shuffle(&mut colors);
    let n_objects = 1 + rng.below(n_objects_max.clamp(1, colors.len()));
    let mut objects: Vec<Object> = Vec::with_capacity(n_objects);
    for color in colors.into_iter().take(n_objects) {
        let kind = if rng.chance(0.65) { Kind::Ball } else { Kind::Box };
        let half = if kind == Kind::Ball { rng.uniform(5.5, 8.5) } else { rng.uniform(4.5, 7.0) };
        let taken: Vec<Shape> = objects.iter().map(Object::shape).collect();
        let Some(position) = free_place(rng, kind, half, &taken) else { continue };
        let is_moving = rng.chance(if kind == Kind::Ball { 0.75 } else { 0.15 });
        let velocity = if is_moving { way(rng, 1.0, 4.5) } else { [0.0; 2] };
        objects.push(Object { kind, color, half, position, velocity });
    }
    let pusher = rng.chance(0.8).then(|| free_pusher(rng, &objects)).flatten();
    Table { objects, pusher, panel: None }
}

/// A pusher somewhere beside what lies there, which leaves room for it.
pub(super) fn pusher(rng: &mut Rng, objects: &[Object]) -> Pusher {
    loop {
        if let Some(pusher) = free_pusher(rng, objects) {
            return pusher;
        }
    }
}

fn free_pusher(rng: &mut Rng, objects: &[Object]) -> Option<Pusher> {
    let taken: Vec<Shape> = objects.iter().map(Object::shape).collect();
    let position = free_place(rng, Kind::Ball, PUSHER_RADIUS, &taken)?;
    Some(Pusher { radius: PUSHER_RADIUS, position })
}

/// A panel for one clip in three, often where something that could be seen at first ends. It stops nothing, so that it can be
/// put up afterwards.
pub(super) fn panel(rng: &mut Rng, first: &Table, last: &Table) -> Option<Panel> {
    if !rng.chance(0.35) {
        return None;
    }
    let half = [rng.uniform(9.0, 12.0), rng.uniform(9.0, 15.0)];
    let inside = |k: usize, p: f64| p.clamp(half[k], SIDE - half[k]);
    let anywhere = Panel { center: [0, 1].map(|k| rng.uniform(half[k], SIDE - half[k])), half };
    let over = |object: &Object| Panel { center: [0, 1].map(|k| inside(k, object.position[k])), half };
    let begins_outside = |i: &usize| !over(&last.objects[*i]).hides(first.objects[*i].position);
    let that_end_hidden: Vec<usize> = (0..last.objects.len()).filter(begins_outside).collect();
    if that_end_hidden.is_empty() || rng.chance(0.3) {
        return Some(anywhere);
    }
    Some(over(&last.objects[that_end_hidden[rng.below(that_end_hidden.len())]]))
}

fn free_place(rng: &mut Rng, kind: Kind, half: f64, taken: &[Shape]) -> Option<[f64; 2]> {
    (0..TRIES).map(|_| [rng.uniform(half, SIDE - half), rng.uniform(half, SIDE - half)]).find(|&center| {
        let shape = Shape { kind, center, half: half + CLEARANCE };
        taken.iter().all(|other| overlap(shape, *other).is_none())
    })
}

/// A velocity of any direction. Without trigonometry, so that it is the same on every machine.
fn way(rng: &mut Rng, slowest: f64, fastest: f64) -> [f64; 2] {
    loop {
        let p = [rng.uniform(-1.0, 1.0), rng.uniform(-1.0, 1.0)];
        let length = dot(p, p).sqrt();
        if (0.1..=1.0).contains(&length) {
            let speed = rng.uniform(slowest, fastest);
            return p.map(|v| v / length * speed);
        }
    }
}

/// What the robot does in a clip.
#[derive(Clone, Copy, Debug)]
pub(super) enum Policy {
    /// Nothing.
    Still,
    /// Goes about: a velocity that drifts.
    Wander {
        /// The velocity it drifts from.
        velocity: [f64; 2],
    },
    /// Goes behind an object and through it.
    Push {
        /// Which object.
        target: usize,
        /// Which way the object is to go, of length one.
        towards: [f64; 2],
        /// Pixels a frame.
        speed: f64,
    },
}

impl Policy {
    pub(super) fn draw(rng: &mut Rng, table: &Table) -> Policy {
        if table.pusher.is_none() || rng.chance(0.15) {
            return Policy::Still;
        }
        if table.objects.is_empty() || rng.chance(0.35) {
            return Policy::Wander { velocity: way(rng, 0.5, SPEED_MAX) };
        }
        let towards = way(rng, 1.0, 1.0);
        Policy::Push { target: rng.below(table.objects.len()), towards, speed: rng.uniform(2.0, SPEED_MAX) }
    }

    /// The command for the next frame, in pixels a frame.
    pub(super) fn command(&mut self, rng: &mut Rng, table: &Table) -> [f64; 2] {
        let Some(pusher) = &table.pusher else { return [0.0; 2] };
        let wanted = match self {
            Policy::Still => [0.0; 2],
            Policy::Wander { velocity } => {
                let drift = [rng.uniform(-1.2, 1.2), rng.uniform(-1.2, 1.2)];
                *velocity = [0, 1].map(|k| (velocity[k] * 0.9 + drift[k]).clamp(-SPEED_MAX, SPEED_MAX));
                *velocity
            }
            Policy::Push { target, towards, speed } => {
                let object = &table.objects[*target];
                // Behind it first, then through it.
                let reach = object.half + pusher.radius + 1.0;
                let behind = [0, 1].map(|k| object.position[k] - towards[k] * reach);
                let way_there = [0, 1].map(|k| behind[k] - pusher.position[k]);
                let away = [0, 1].map(|k| object.position[k] - pusher.position[k]);
                let is_behind = 0.7 * dot(away, away).sqrt() < dot(away, *towards);
                let aim = if is_behind { away } else { way_there };
                let length = dot(aim, aim).sqrt().max(1e-9);
                aim.map(|v| v / length * speed.min(length.max(1.0)))
            }
        };
        wanted.map(|v| v.clamp(-SPEED_MAX, SPEED_MAX))
    }
}
