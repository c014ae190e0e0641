//! Balls that roll, slow down and bounce off the walls, the box and each other.
//!
//! Four small steps make a frame. Order matters for equality with the Python scenes that the checkpoints were
//! trained on: walls of every ball, then the box for every ball, then each pair.

use super::SIZE;
use super::start::{Ball, Start};

/// Speed kept by a bounce.
const RESTITUTION: f64 = 0.85;
/// Steps of the simulation in one frame.
const SUBSTEPS: usize = 4;
/// The fourth root of 0.93, the speed kept over one frame.
const FRICTION_OF_SUBSTEP: f64 = 0.982_020_914_288_130_4;
/// Below this distance a direction cannot be told.
const NO_DIRECTION: f64 = 1e-6;

/// What ball 0 touches first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touched {
    /// x = 0
    LeftWall,
    /// x = 64
    RightWall,
    /// y = 0
    TopWall,
    /// y = 64
    BottomWall,
    /// The grey box.
    Box,
    /// Another ball.
    OtherBall,
    /// Nothing before the horizon.
    Nothing,
}

impl Touched {
    /// The words of the answer.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Touched::LeftWall => "left wall",
            Touched::RightWall => "right wall",
            Touched::TopWall => "top wall",
            Touched::BottomWall => "bottom wall",
            Touched::Box => "box",
            Touched::OtherBall => "other ball",
            Touched::Nothing => "nothing",
        }
    }

    /// An object, not a wall: the path is not clear.
    #[must_use]
    pub fn is_object(self) -> bool {
        matches!(self, Touched::Box | Touched::OtherBall)
    }
}

/// The centres `[frame][ball]` of `n_frames`, and what ball 0 touches from the last of them to `horizon` later.
pub(super) fn roll(start: &Start, n_frames: usize, horizon: usize) -> (Vec<Vec<[f64; 2]>>, Touched) {
    assert!(0 < n_frames && !start.balls.is_empty(), "a scene has a frame and a ball");
    let mut balls = start.balls.clone();
    let mut track = Vec::with_capacity(n_frames);
    let mut touched = None;
    for frame in 0..n_frames + horizon {
        if frame < n_frames {
            track.push(balls.iter().map(|ball| ball.position).collect());
        }
        if Some(frame) == start.push_at {
            balls[0].velocity = [0, 1].map(|k| balls[0].velocity[k] + start.push[k]);
        }
        for _ in 0..SUBSTEPS {
            let hit = step(&mut balls, start);
            if n_frames - 1 <= frame {
                touched = touched.or(hit);
            }
        }
    }
    (track, touched.unwrap_or(Touched::Nothing))
}

/// One small step of every ball; returns what ball 0 hit, the last word among several.
fn step(balls: &mut [Ball], start: &Start) -> Option<Touched> {
    let mut hit = None;
    for (i, ball) in balls.iter_mut().enumerate().filter(|(_, ball)| ball.present) {
        for k in 0..2 {
            ball.position[k] += ball.velocity[k] / SUBSTEPS as f64;
        }
        let wall = bounce_off_walls(ball);
        let at_box = bounce_off_box(ball, start);
        if i == 0 {
            hit = if at_box { Some(Touched::Box) } else { wall };
        }
    }
    for i in 1..balls.len() {
        let (before, from_i) = balls.split_at_mut(i);
        for (j, other) in before.iter_mut().enumerate() {
            if bounce_pair(&mut from_i[0], other) && j == 0 {
                hit = Some(Touched::OtherBall);
            }
        }
    }
    for ball in balls {
        ball.velocity = ball.velocity.map(|v| v * FRICTION_OF_SUBSTEP);
    }
    hit
}

fn bounce_off_walls(ball: &mut Ball) -> Option<Touched> {
    let walls = [[Touched::LeftWall, Touched::RightWall], [Touched::TopWall, Touched::BottomWall]];
    let far = SIZE as f64 - ball.radius;
    let mut hit = None;
    for (k, [low_wall, high_wall]) in walls.into_iter().enumerate() {
        let (p, v) = (ball.position[k], ball.velocity[k]);
        if p < ball.radius {
            ball.position[k] = ball.radius;
            hit = Some(low_wall);
        } else if far < p {
            ball.position[k] = far;
            hit = Some(high_wall);
        }
        if (p < ball.radius && v < 0.0) || (far < p && 0.0 < v) {
            ball.velocity[k] = -RESTITUTION * v;
        }
    }
    hit
}

fn bounce_off_box(ball: &mut Ball, start: &Start) -> bool {
    let away = [0, 1].map(|k| {
        let offset = ball.position[k] - start.box_center[k];
        offset - offset.clamp(-start.box_half[k], start.box_half[k])
    });
    let distance = length(away);
    if !(distance < ball.radius && NO_DIRECTION < distance) {
        return false;
    }
    let normal = away.map(|a| a / distance);
    let along = dot(ball.velocity, normal);
    if along < 0.0 {
        ball.velocity = moved(ball.velocity, -((1.0 + RESTITUTION) * along), normal);
    }
    ball.position = moved(ball.position, ball.radius - distance, normal);
    true
}

/// Equal masses: the velocities along the line of centres are exchanged, less what the bounce costs.
fn bounce_pair(a: &mut Ball, b: &mut Ball) -> bool {
    let between = [0, 1].map(|k| a.position[k] - b.position[k]);
    let distance = length(between);
    let touch = a.radius + b.radius;
    if !(distance < touch && NO_DIRECTION < distance && a.present && b.present) {
        return false;
    }
    let normal = between.map(|d| d / distance);
    let along = dot([0, 1].map(|k| a.velocity[k] - b.velocity[k]), normal);
    if along < 0.0 {
        let impulse = (1.0 + RESTITUTION) / 2.0 * along;
        a.velocity = moved(a.velocity, -impulse, normal);
        b.velocity = moved(b.velocity, impulse, normal);
    }
    let apart = (touch - distance) / 2.0;
    a.position = moved(a.position, apart, normal);
    b.position = moved(b.position, -apart, normal);
    true
}

/// `from` and `by` along `direction`.
fn moved(from: [f64; 2], by: f64, direction: [f64; 2]) -> [f64; 2] {
    [0, 1].map(|k| from[k] + by * direction[k])
}

fn dot(a: [f64; 2], b: [f64; 2]) -> f64 {
    a[0] * b[0] + a[1] * b[1]
}

fn length(a: [f64; 2]) -> f64 {
    dot(a, a).sqrt()
}
